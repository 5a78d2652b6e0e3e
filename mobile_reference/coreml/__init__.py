"""Executes Core ML ML Programs (``.mlpackage``) on any machine, with numpy.

    from mien.mobile_reference.coreml import Evaluator, load_package

    program = load_package("appraisal.mlpackage")
    outputs = Evaluator(program)(face=pixels)  # uint8 (256, 256, 3) -> {"score": ...}

Results are not validated on Apple hardware: the evaluator follows the published definitions of the
operations, and docs/coreml/evaluator.md says what was compared with what.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .arithmetic import Arithmetic, NumpyArithmetic, TorchArithmetic, best_arithmetic
    from .evaluator import Evaluator, Observer
    from .package import load_package
    from .precision import DECLARED, FLOAT32, HALF_SUMS, IDEAL, POLICIES, Policy, policy_named
    from .program import Program
    from .registry import State, Value

NOT_VALIDATED = "not validated on Apple hardware"
"""What is said wherever the evaluator's results are shown."""

__all__ = [
    "DECLARED",
    "FLOAT32",
    "HALF_SUMS",
    "IDEAL",
    "NOT_VALIDATED",
    "POLICIES",
    "Arithmetic",
    "Evaluator",
    "NumpyArithmetic",
    "Observer",
    "Policy",
    "Program",
    "State",
    "TorchArithmetic",
    "Value",
    "best_arithmetic",
    "load_package",
    "policy_named",
]

# A bundle's commands say NOT_VALIDATED; most of their calls never evaluate a package, and the evaluator's
# table of operations is the larger part of what they would import.
_MODULES = {
    "arithmetic": ("Arithmetic", "NumpyArithmetic", "TorchArithmetic", "best_arithmetic"),
    "evaluator": ("Evaluator", "Observer"),
    "package": ("load_package",),
    "precision": ("DECLARED", "FLOAT32", "HALF_SUMS", "IDEAL", "POLICIES", "Policy", "policy_named"),
    "program": ("Program",),
    "registry": ("State", "Value"),
}


def __getattr__(name: str) -> Any:
    """Import what this package offers when it is first asked for."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f".{module}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

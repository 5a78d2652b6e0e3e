"""Executes Core ML ML Programs (``.mlpackage``) on any machine, with numpy.

    from mien.mobile_reference.coreml import Evaluator, load_package

    program = load_package("appraisal.mlpackage")
    outputs = Evaluator(program)(face=pixels)  # uint8 (256, 256, 3) -> {"score": ...}

Results are not validated on Apple hardware: the evaluator follows the published definitions of the
operations, and docs/coreml-evaluator.md says what was compared with what.
"""

from .arithmetic import Arithmetic, NumpyArithmetic, TorchArithmetic, best_arithmetic
from .evaluator import NOT_VALIDATED, Evaluator, Observer
from .package import load_package
from .precision import DECLARED, FLOAT32, HALF_SUMS, IDEAL, POLICIES, Policy, policy_named
from .program import Program
from .registry import State, Value

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

"""Executes Core ML ML Programs (``.mlpackage``) on any machine, with numpy.

    from mien.mobile_reference.mil import Evaluator, load_package

    program = load_package("appraisal.mlpackage")
    outputs = Evaluator(program)(face=pixels)  # uint8 (256, 256, 3) -> {"score": ...}

Results are not validated on Apple hardware: the evaluator follows the published definitions of the
operations, and docs/coreml-evaluator.md says what was compared with what.
"""

from mien.mobile_reference.mil.arithmetic import (
    Arithmetic,
    NumpyArithmetic,
    TorchArithmetic,
    best_arithmetic,
)
from mien.mobile_reference.mil.evaluator import NOT_VALIDATED, Evaluator, Observer
from mien.mobile_reference.mil.package import load_package
from mien.mobile_reference.mil.precision import (
    DECLARED,
    FLOAT32,
    HALF_SUMS,
    IDEAL,
    POLICIES,
    Policy,
    policy_named,
)
from mien.mobile_reference.mil.program import Program
from mien.mobile_reference.mil.registry import State, Value

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

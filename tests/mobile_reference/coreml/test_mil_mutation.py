"""Faults put into a program: the parity gate sees them, or they are listed here with the reason."""

from dataclasses import replace

import numpy as np
import pytest

from mien.mobile_reference.coreml import FLOAT32, Evaluator, load_package
from mien.mobile_reference.coreml.parity import difference
from mien.mobile_reference.coreml.program import Constant
from mien.mobile_reference.errors import MienError

FAULTS = 100
GATE = 1e-5  # the gate that `mien coreml check` applies to float32 packages


def constants(program):
    """Consts that something uses, as (position, parameter and operation that use it)."""
    operations = program.functions["main"].body.operations
    users = {}
    for operation in operations:
        for parameter, arguments in operation.arguments.items():
            users |= {a.name: (operation, parameter) for a in arguments if not _fixed(a)}
    return [(i, *users[o.name]) for i, o in enumerate(operations) if _mutable(o, users)]


def _fixed(argument):
    return isinstance(argument, Constant)


def _mutable(operation, users):
    return operation.type == "const" and operation.name in users


def faulty(value, generator):
    """The value with one fault, and the fault's name; None where it has no fault of these kinds."""
    if isinstance(value, str):
        return {"custom": "valid", "valid": "same"}.get(value), "another text"
    flat = np.array(value).reshape(-1)
    place = generator.integers(flat.size)
    if flat.dtype == np.bool_:
        flat[place] = not flat[place]
        return flat.reshape(value.shape), "a turned truth"
    others = np.flatnonzero(flat != flat[place])
    if flat.dtype.kind in "iu" and others.size and generator.random() < 0.5:
        other = generator.choice(others)
        flat[[place, other]] = flat[[other, place]]
        return flat.reshape(value.shape), "swapped numbers"
    if flat.dtype.kind in "iu":
        flat[place] += generator.choice([-1, 1])
        return flat.reshape(value.shape), "a number off by one"
    if not flat[place]:
        return None, "a zero has no sign"
    flat[place] = -flat[place]
    return flat.reshape(value.shape), "a turned sign"


def mutated(program, position, value):
    function = program.functions["main"]
    operations = list(function.body.operations)
    (constant,) = operations[position].arguments["val"]
    arguments = {"val": (replace(constant, value=value),)}
    operations[position] = replace(operations[position], arguments=arguments)
    body = replace(function.body, operations=tuple(operations))
    return replace(program, functions={"main": replace(function, body=body)})


def is_seen(program, x, expected):
    try:
        result = Evaluator(program, FLOAT32)(x=x)["y"]
        return not difference("y", result, expected).relative <= GATE
    except MienError:
        return True


@pytest.fixture(scope="module")
def outcomes(small):
    """For each fault: what it is, and whether the gate sees it."""
    program = load_package(small.single)
    generator = np.random.default_rng(0)
    candidates = constants(program)
    found = []
    while len(found) < FAULTS:
        position, operation, parameter = candidates[generator.integers(len(candidates))]
        (constant,) = program.functions["main"].body.operations[position].arguments["val"]
        value, fault = faulty(constant.load(), generator)
        if value is None:
            continue
        seen = is_seen(mutated(program, position, value), small.x, small.expected)
        found.append((f"{operation.type}.{parameter}: {fault}", seen))
    return found


def test_the_sound_program_passes_the_gate(small):
    assert not is_seen(load_package(small.single), small.x, small.expected)


# Kinds of faults of which some change nothing: the program means the same with them.
UNSEEN = {
    "avg_pool.ceil_mode: a turned truth": "the windows of one pool divide its input exactly",
    "avg_pool.exclude_padding_from_average: a turned truth": "one pool has no padding to exclude",
    "avg_pool.pad_type: another text": "custom padding of zero is no padding",
    "conv.pad: a number off by one": "with stride 2 no window reaches the last padded row",
    "slice_by_index.end: a number off by one": "the end is masked, or beyond the last element",
    "slice_by_index.end: swapped numbers": "the ends are masked",
    "slice_by_index.end_mask: a turned truth": "the end is the size of the axis",
}


def test_every_fault_is_seen_or_listed(outcomes):
    unseen = {fault for fault, seen in outcomes if not seen}
    assert unseen <= UNSEEN.keys()


def test_nothing_is_listed_that_is_seen(outcomes):
    assert UNSEEN.keys() <= {fault for fault, seen in outcomes if not seen}


def test_the_faults_are_of_many_kinds(outcomes):
    assert len(outcomes) == FAULTS
    assert len({fault for fault, _ in outcomes}) >= 20
    assert sum(seen for _, seen in outcomes) >= 0.8 * FAULTS

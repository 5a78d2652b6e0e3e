"""Networks of an engineer's own in float16 and int8: near the float module, int8 where it is promised."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from mien.export.tflite.conversion import convert_proven
from mien.export.tflite.converters.flatbuffer_direct import WAYS
from mien.export.tflite.graph_moments import round_graph
from mien.export.tflite.holding import holding_assignment
from mien.export.tflite.interpreter import Runner
from mien.export.tflite.products import products
from mien.export.tflite.quantise import check_contract, quantise, seen_by_converted
from mien.export.tflite.ranges import with_headroom
from mien.mobile_reference.tflite.flatbuffer import operation_names, parse
from mien.mobile_reference.tflite.model_file import read_tflite
from tests.networks import NETWORKS, component_of, samples_of

HALF = schema.TensorType.FLOAT16
# Least share of multiplications in int8; what is kept in float is kept because its output would not hold.
SHARES = dict.fromkeys(NETWORKS, 0.95) | {"attended": 0.0}


# An index is right or wrong, and what of the whole grader stays float is bridged more often.
@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in ("several", "grader")])
def test_a_network_holds_in_float16_and_in_int8(name: str, tmp_path: Path) -> None:
    one = component_of(name)
    count = NETWORKS[name].samples
    samples, others = samples_of(one, count, 1000), samples_of(one, count, 2000)
    model = convert_proven(WAYS, one, None, samples, tmp_path)
    if name != "attended":  # whose own transpositions stay
        assert "TRANSPOSE" not in operation_names(model.read_bytes())
    rounded = round_graph(one, model.read_bytes(), samples)
    assignment, _ = holding_assignment(one, model, rounded, samples, samples)
    seen = seen_by_converted(one, model, assignment, rounded, samples, samples)
    found = with_headroom(seen, model.read_bytes(), len(samples))
    made = {"fp16": quantise(model, {}, found, rounded), "int8": quantise(model, assignment, found, rounded)}
    for variant, (error, correlation) in {"fp16": (0.01, 0.999), "int8": (0.05, 0.99)}.items():
        file = tmp_path / f"{variant}.tflite"
        file.write_bytes(made[variant])
        check_contract(one, file)
        runner = Runner(file)
        outputs = [runner.run([sample[n] for n in one.inputs]) for sample in others]
        for position, output in enumerate(one.outputs):
            exact = np.concatenate([sample[output].ravel() for sample in others])
            other = np.concatenate([row[position].ravel() for row in outputs])
            assert np.abs(exact - other).max() <= error * np.ptp(exact), (variant, output)
            assert np.corrcoef(exact, other)[0, 1] >= correlation, (variant, output)
    read, counts = read_tflite(tmp_path / "int8.tflite"), Counter(operation_names(made["int8"]))
    assert read.integer_macs >= SHARES[name] * read.macs.total()
    assert counts["QUANTIZE"] + counts["DEQUANTIZE"] <= 4 + 4 * (SHARES[name] < 0.9)
    halves = [tensor for tensor in parse(made["fp16"]).subgraphs[0].tensors if tensor.type == HALF]
    assert len(halves) >= len(list(products(parse(model.read_bytes()))))

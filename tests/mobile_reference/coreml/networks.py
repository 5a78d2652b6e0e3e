"""Every figure of the Core ML evaluator: operations, conformance, whole networks, our own graph, memory.

    python -m tests.mobile_reference.coreml.networks --bundle BUNDLE      # all twelve networks and ours
    python -m tests.mobile_reference.coreml.networks resnet18 --json      # some, as JSON

A network is converted, saved, executed, and compared with PyTorch; so is what ONNX Runtime makes of the same
source, which knows neither Core ML's converter nor our evaluator.

Weights are random with calibrated batch norm, so that values keep their size through the depth;
without calibration they vanish and a comparison means nothing. Errors are the largest difference
over the largest value of the reference. Times are the best of five on one thread, as a multiple of
PyTorch's. None of it is validated on Apple hardware.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
import warnings
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import torch  # before coremltools: the other order can crash
import torchvision

from mien.export.tflite.converters.onnx_graph import to_onnx
from mien.mobile_reference.bundle.reader import open_bundle
from mien.mobile_reference.coreml import DECLARED, NOT_VALIDATED, POLICIES, Evaluator, load_package
from mien.mobile_reference.coreml.parity import difference
from mien.mobile_reference.coreml.registry import OPERATIONS
from mien.mobile_reference.coreml.sources import SourceModel
from tests.export.components import shipped

NETWORKS = {
    "mobilenet_v3_small": 224,
    "mobilenet_v2": 224,
    "resnet18": 224,
    "lraspp_mobilenet_v3_large": 224,
    "deeplabv3_mobilenet_v3_large": 224,
    "efficientnet_b0": 224,
    "swin_t": 224,
    "vit_b_16": 224,
    "shufflenet_v2_x1_0": 224,
    "densenet121": 224,
    "convnext_tiny": 224,
    "squeezenet1_1": 224,
}


@dataclass(frozen=True)
class Row:
    """One network; errors are relative, times multiples of PyTorch's float32.

    ``onnx`` is between the evaluator and ONNX Runtime, the other errors between it and PyTorch.
    ``spread`` is the least and greatest error of the float16 package over the rounding policies.
    """

    network: str
    operations: int
    kinds: int
    float32: float
    onnx: float
    float16: float
    spread: tuple[float, float]
    time_float32: float
    time_float16: float


class First(torch.nn.Module):
    """Segmentation networks give a dictionary; the package gives its first entry."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        result = self.inner(x)
        return result["out"] if isinstance(result, dict) else result


def network(name, size):
    """The network with calibrated batch norm, and an input."""
    torch.manual_seed(0)
    family = torchvision.models
    factory = getattr(family, name, None) or getattr(family.segmentation, name)
    extra = {"weights_backbone": None} if hasattr(family.segmentation, name) else {}
    net = First(factory(weights=None, **extra))
    for weight in net.parameters():
        if weight.ndim > 1 and not weight.any():  # some heads start as zeros and would hide all
            torch.nn.init.normal_(weight, std=0.02)
    for module in net.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = None  # a cumulative average
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    net.train()
    with torch.no_grad():
        for _ in range(2):
            net(torch.rand(4, 3, size, size))
    return net.eval(), torch.rand(1, 3, size, size)


def convert(net, x, precision, folder):
    import coremltools as ct

    model = ct.convert(
        torch.jit.trace(net, x, check_trace=False),
        inputs=[ct.TensorType(name="x", shape=x.shape)],
        convert_to="mlprogram",
        compute_precision=getattr(ct.precision, precision),
        minimum_deployment_target=ct.target.iOS17,
        skip_model_load=True,
    )
    package = folder / f"{precision}.mlpackage"
    model.save(str(package))
    return package


def best_times(*runs):
    """The best of five of each, taken in turns so that a busy machine slows all alike."""
    times = [[] for _ in runs]
    for _ in range(5):
        for record, run in zip(times, runs, strict=True):
            start = time.perf_counter()
            run()
            record.append(time.perf_counter() - start)
    return [min(record) for record in times]


def eager(net, x):
    with torch.no_grad():
        return net(x)


def third_opinion(net, x, folder):
    """What ONNX Runtime makes of the source model."""
    source = folder / "net.onnx"
    with warnings.catch_warnings():
        # The TorchScript exporter is deprecated, and the one that mien exports with.
        warnings.simplefilter("ignore")
        names = {"input_names": ["x"], "output_names": ["y"]}
        torch.onnx.export(net, (x,), str(source), dynamo=False, opset_version=17, **names)
    (result,) = SourceModel(source)({"x": x.numpy()})
    return result


def measure(name, folder, policies=(DECLARED,)):
    net, x = network(name, NETWORKS[name])
    single, half = (convert(net, x, p, folder) for p in ("FLOAT32", "FLOAT16"))
    return row(
        name, single, half, partial(eager, net, x), {"x": x.numpy()}, third_opinion(net, x, folder), policies
    )


def ours(bundle, folder, policies=(DECLARED,)):
    """The end-to-end model from aligned face to score, judged by its final heatmap."""
    graph = shipped("appraisal")
    net, pixels = graph.module, bundle.goldens[1].read("face")
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    single, half = (bundle.variant(f"coreml-{p}").files["appraisal"] for p in ("fp32", "fp16"))
    to_onnx(graph, folder / "net.onnx")
    session = onnxruntime.InferenceSession(str(folder / "net.onnx"), providers=["CPUExecutionProvider"])
    (opinion,) = session.run(["heatmap"], {"face": x.numpy()})

    def heatmap():
        return eager(net, x)[graph.outputs.index("heatmap")]

    return row("appraisal (ours)", single, half, heatmap, {"face": pixels[0]}, opinion, policies, "heatmap")


def row(name, single, half, reference, inputs, opinion, policies, output=None):
    """Compare and time the packages ``single`` and ``half``; of several outputs one is compared."""
    expected = reference().numpy()
    fast, slow = (Evaluator(load_package(package)) for package in (single, half))

    def value(evaluator):
        found = evaluator(**inputs)
        return found[output] if output else next(iter(found.values()))

    base, time_fast, time_slow = best_times(reference, partial(value, fast), partial(value, slow))
    steps = [o for o in fast.function.body.operations if o.type != "const"]
    program = load_package(half)
    results = {policy.name: value(Evaluator(program, policy)) for policy in policies}
    errors = {name: difference("y", result, expected).relative for name, result in results.items()}
    return Row(
        network=name,
        operations=len(steps),
        kinds=len({o.type for o in steps}),
        float32=difference("y", value(fast), expected).relative,
        onnx=difference("y", value(fast), opinion).relative,
        float16=errors[DECLARED.name],
        spread=(min(errors.values()), max(errors.values())),
        time_float32=time_fast / base,
        time_float16=time_slow / base,
    )


def operations():
    """How many of coremltools' operations the evaluator knows, and of how many."""
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

    # "const" is not a row of the evaluator's table, it is read with the program.
    known = {name for name, _ in OPERATIONS} | {"const"}
    return len(known & SSAOpRegistry.core_ops.keys()), len(SSAOpRegistry.core_ops)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", default=list(NETWORKS), metavar="NETWORK")
    parser.add_argument("--bundle", type=Path, help="our own graph too, from this bundle")
    parser.add_argument("--json", action="store_true", dest="as_json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    policies = tuple(POLICIES.values())
    jobs = [partial(measure, name, policies=policies) for name in options.names]
    if options.bundle:
        jobs.append(partial(ours, open_bundle(options.bundle), policies=policies))
    rows = []
    for job in jobs:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(job(folder=Path(folder)))
        sys.stderr.write(f"{rows[-1]}\n")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    conformance = json.loads((Path(__file__).parent / "conformance" / "results.json").read_text())["full"]
    report = {
        "note": NOT_VALIDATED,
        "operations": dict(zip(("known", "all"), operations(), strict=True)),
        "conformance": conformance,
        "peak_bytes": peak,
        "networks": [asdict(r) for r in rows],
    }
    sys.stdout.write((json.dumps(report, indent=1) if options.as_json else _text(report, rows)) + "\n")


def _text(report, rows):
    known, counts = report["operations"], report["conformance"]
    return "\n".join(
        [
            f"operations: {known['known']} of {known['all']}",
            f"conformance: {counts['reached']} tests reached the evaluator, {counts['passed']} pass",
            f"peak memory, converter and PyTorch included: {report['peak_bytes'] / 2**30:.1f} GiB",
            "",
            "| net | op types | ops | float32 | ONNX Runtime | float16 | least to most | time fp32 | fp16 |",
            "|---|---|---|---|---|---|---|---|---|",
            *(_line(row) for row in rows),
            "",
            NOT_VALIDATED,
        ]
    )


def _line(r):
    errors = f"{r.float32:.1e} | {r.onnx:.1e} | {r.float16:.1e} | {r.spread[0]:.1e} to {r.spread[1]:.1e}"
    times = f"{r.time_float32:.1f}x | {r.time_float16:.1f}x"
    return f"| {r.network} | {r.kinds} | {r.operations} | {errors} | {times} |"


if __name__ == "__main__":
    np.seterr(all="ignore")
    main()

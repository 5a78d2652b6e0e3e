"""Whole networks: converted, saved, executed, compared with PyTorch.

    python tests/mil/networks.py                      # all twelve and a picture input
    python tests/mil/networks.py resnet18 --json      # some, as JSON

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
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch  # before coremltools: the other order can crash
import torchvision

from mien.mobile_reference.mil import (
    DECLARED,
    FLOAT32,
    HALF_SUMS,
    NOT_VALIDATED,
    Evaluator,
    load_package,
)
from mien.mobile_reference.mil.parity import difference

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
    """One network; errors are relative, times multiples of PyTorch's float32."""

    network: str
    operations: int
    kinds: int
    float32: float
    float16: float
    float16_sums: float | None
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


def error(package, policy, x, expected):
    (value,) = Evaluator(load_package(package), policy)(x=x.numpy()).values()
    return difference("y", value, expected.numpy()).relative


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


def measure(name, folder, *, with_sums):
    net, x = network(name, NETWORKS[name])
    expected = eager(net, x)
    single, half = (convert(net, x, p, folder) for p in ("FLOAT32", "FLOAT16"))
    fast, slow = (Evaluator(load_package(p)) for p in (single, half))
    values = x.numpy()
    base, time_fast, time_slow = best_times(
        lambda: eager(net, x), lambda: fast(x=values), lambda: slow(x=values)
    )
    steps = [o for o in fast.function.body.operations if o.type != "const"]
    return Row(
        network=name,
        operations=len(steps),
        kinds=len({o.type for o in steps}),
        float32=error(single, FLOAT32, x, expected),
        float16=error(half, DECLARED, x, expected),
        float16_sums=error(half, HALF_SUMS, x, expected) if with_sums else None,
        time_float32=time_fast / base,
        time_float16=time_slow / base,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", default=list(NETWORKS), metavar="NETWORK")
    parser.add_argument("--json", action="store_true", dest="as_json")
    parser.add_argument("--sums", action="store_true", help="float16-accumulation too (slow)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name in options.names:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(name, Path(folder), with_sums=options.sums))
        sys.stderr.write(f"{rows[-1]}\n")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    report = {"note": NOT_VALIDATED, "peak_bytes": peak, "networks": [asdict(r) for r in rows]}
    sys.stdout.write((json.dumps(report, indent=1) if options.as_json else _table(rows)) + "\n")


def _table(rows):
    lines = ["| net | op types | ops | fp32 rel | fp16 rel | fp16 sums | time fp32 | time fp16 |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for r in rows:
        sums = "" if r.float16_sums is None else f"{r.float16_sums:.1e}"
        lines.append(
            f"| {r.network} | {r.kinds} | {r.operations} | {r.float32:.1e} | {r.float16:.1e} "
            f"| {sums} | {r.time_float32:.1f}x | {r.time_float16:.1f}x |"
        )
    return "\n".join([*lines, NOT_VALIDATED])


if __name__ == "__main__":
    np.seterr(all="ignore")
    main()

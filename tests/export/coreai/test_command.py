"""``mien coreai`` on a bundle of two small stages, with Apple's runtime where it is set up."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

from mien.export.coreai.command import coreai
from mien.export.environments import COREAI
from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.files import default_cache
from mien.mobile_reference.metrics import METRICS
from mien.models import sources
from tests.benchmarks.emulation.test_verify_on_gpu import SPEC, activations, bundle_of, scaled_mean
from tests.schemas import schema


class First(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x).relu()


class Last(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, y: Tensor) -> Tensor:
        return y.mean((1, 2, 3)) * self.factor


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The float pipeline of the bundle, which the command opens."""
    stages = [
        SimpleNamespace(name=one.name, module=module, inputs=one.inputs, outputs=one.outputs, quantise=True)
        for one, module in zip(SPEC.stages, (First(), Last(1.0)), strict=True)
    ]
    made = SimpleNamespace(spec=SPEC, models=stages, weights="0" * 64, metrics=METRICS)
    monkeypatch.setattr(sources, "open_pipeline", lambda source, front: made)
    return made


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return bundle_of(tmp_path / "bundle", activations("TANH", "RELU"), scaled_mean(1))


def test_another_pipeline_than_the_bundles_is_refused(pipeline: SimpleNamespace, bundle: Path) -> None:
    pipeline.weights = "1" * 64
    with pytest.raises(UsageError, match="the bundle was made from weights 000000000000"):
        CliRunner().invoke(coreai, [str(bundle)], catch_exceptions=False)


@pytest.mark.parametrize("factor", [1.0, 1.5])
def test_packages_are_judged_and_written_where_every_gate_holds(
    pipeline: SimpleNamespace, bundle: Path, tmp_path: Path, factor: float
) -> None:
    if not COREAI.is_ready(default_cache()):
        pytest.skip("Apple's runtime is not set up here; mien setup coreai")
    pipeline.models[1].module = Last(factor)
    done = CliRunner().invoke(coreai, [str(bundle), "-o", str(tmp_path / "packages"), "--json"])
    report = json.loads(done.stdout)
    assert schema("coreai").problems(report) == []
    failed = {row["variant"] for row in report["results"] if not row["passed"]}
    assert {row["variant"] for row in report["results"]} == {"tflite-fp32", "coreai-fp32"}
    assert (done.exit_code, report["passed"], failed) == (
        (0, True, set()) if factor == 1 else (1, False, {"coreai-fp32"})
    )
    written = {path.name for path in (tmp_path / "packages").glob("*.aimodel")}
    assert written == ({"first.aimodel", "last.aimodel"} if factor == 1 else set())

"""PyTorch -> Core ML ML Program in float16, for iOS 16 and later.

Nothing of Apple's runs on Linux: ``mien verify`` executes what is made here with an evaluator of our own.
"""

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mien.models.appraisal import FACE_SIZE
from mien.models.checkpoint import Checkpoint

from .canonical_package import canonicalise
from .graphs import Graph, TensorSpec

MINIMUM = "iOS16"


def to_coreml(graph: Graph, checkpoint: Checkpoint, package: Path) -> None:
    """Convert a graph and save it as an ``.mlpackage`` folder.

    uint8 inputs become RGB images, so that an app passes pixels; the other tensors are float32 arrays,
    channels second.
    """
    import coremltools as ct

    examples = tuple(torch.rand(spec.shape) for spec in graph.specs(graph.inputs))
    with warnings.catch_warnings():
        # Tracing warns of shapes taken as constants, which is what a graph of fixed size wants.
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(_Single(graph.build(checkpoint)).eval(), examples)  # type: ignore[no-untyped-call]
        model = ct.convert(
            traced,
            convert_to="mlprogram",
            minimum_deployment_target=getattr(ct.target, MINIMUM),
            compute_precision=_precision(graph),
            inputs=[_input(spec) for spec in graph.specs(graph.inputs)],
            outputs=[ct.TensorType(name=name, dtype=np.float32) for name in graph.outputs],
            skip_model_load=True,
        )
    model.save(str(package))
    canonicalise(package)


def _precision(graph: Graph) -> Any:
    """Choose float16 for the graphs that are worth quantising; detector and mask stay float32."""
    import coremltools as ct

    return ct.transform.FP16ComputePrecision(_fits_float16) if graph.int8 else ct.precision.FLOAT32


def _fits_float16(operation: Any) -> bool:
    """Keep single numbers, and maps as large as the face, in float32.

    A float16 score near 100 has steps of a sixteenth of a point; and where nothing is masked, the
    composite must give back the photograph's own pixels, or the comparison sees a change.
    """
    shapes = [output.shape for output in operation.outputs]
    return any(math.prod(shape) != 1 for shape in shapes) and not any(
        len(shape) == 4 and shape[-1] >= FACE_SIZE for shape in shapes
    )


class _Single(nn.Module):
    """Returns a tensor where the module returns a tuple of one, as Core ML's converter wants."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        outputs: tuple[Tensor, ...] = self.module(*inputs)
        return outputs[0] if len(outputs) == 1 else outputs


def _input(spec: TensorSpec) -> Any:
    import coremltools as ct

    if spec.dtype == "uint8":
        return ct.ImageType(name=spec.name, shape=spec.shape, color_layout=ct.colorlayout.RGB)
    return ct.TensorType(name=spec.name, shape=spec.shape, dtype=np.float32)

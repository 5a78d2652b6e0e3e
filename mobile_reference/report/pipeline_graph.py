"""A pipeline drawn as a graph: its inputs, its front and its stages, with the tensors that each makes."""

from collections.abc import Iterable

from mien.mobile_reference.bundle.reader import Bundle, size_of
from mien.mobile_reference.contract import PipelineSpec, StageSpec, TensorSpec

from .charts import Graph, Node, cut


def pipeline_graph(bundle: Bundle) -> Graph:
    """Draw the pipeline of a bundle, with the sizes of its first variant's models."""
    spec, files = bundle.spec, bundle.variants[0].files
    sizes = {stage.name: size_of(files[stage.name]) for stage in spec.stages if stage.name in files}
    nodes = [_begin(spec)]
    maker = dict.fromkeys(spec.inputs, 0)
    for stage in spec.stages:
        reads = sorted({maker[name] for name in stage.inputs if name in maker})
        maker |= dict.fromkeys(stage.outputs, len(nodes))
        nodes.append(Node(_title(stage, sizes), list(_tensors(spec, stage.outputs)), reads))
    if spec.whole:
        title = f"{spec.whole.name}: all stages in one model"
        nodes.append(Node(cut(title), list(_tensors(spec, spec.whole.outputs)), [], dashed=True))
    return Graph(f"the stages of {bundle.name}; sizes are those of {bundle.variants[0].name}", nodes)


def _begin(spec: PipelineSpec) -> Node:
    if spec.front is None:
        return Node("what the app gives", list(_tensors(spec, spec.inputs)), [], dashed=True)
    models = "".join(f", model {model.name}" for model in spec.front.models)
    return Node(cut(f"front: {spec.front.kind}{models}"), list(_tensors(spec, spec.inputs)), [], dashed=True)


def _title(stage: StageSpec, sizes: dict[str, int]) -> str:
    size = f", {sizes[stage.name] / 1e6:.2f} MB" if stage.name in sizes else ""
    return cut(f"{stage.name}{size}")


def _tensors(spec: PipelineSpec, names: Iterable[str]) -> Iterable[str]:
    return (cut(_words(spec.tensor(name)), 72) for name in names)


def _words(tensor: TensorSpec) -> str:
    shape = " x ".join(map(str, tensor.shape))
    return f"{tensor.name}: {tensor.dtype} {shape}{f', {tensor.meaning}' if tensor.meaning else ''}"

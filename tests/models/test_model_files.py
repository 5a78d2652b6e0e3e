"""Components that come as files: .pt2 and ONNX, benign and hostile."""

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from mien.mobile_reference.contract import PICTURE
from mien.models.errors import InputError, PipelineError
from mien.models.exported_program import UnsafeProgramError, open_program
from mien.models.onnx_module import open_onnx
from mien.models.sources import Origin, open_pipeline


class Net(nn.Module):
    """Two inputs, two outputs, batch normalisation, dropout, and a constant of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.last = nn.Linear(4, 2)

    def forward(self, image: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
        x = self.drop(torch.relu(self.norm(self.conv(image)))).mean((2, 3))
        return self.last(x), shift + torch.tensor([1.0])


EXAMPLES = (torch.rand(1, 3, 8, 10), torch.rand(1, 2))


def net() -> Net:
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("program") / "net.pt2"
    torch.export.save(torch.export.export(net(), EXAMPLES), file)
    return file


@pytest.fixture(scope="module", params=["torchscript", "dynamo"])
def onnx_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("onnx") / "net.onnx"
    names = {"input_names": ["image", "shift"], "output_names": ["logits", "moved"]}
    torch.onnx.export(net(), EXAMPLES, str(file), dynamo=request.param == "dynamo", **names)
    return file


def changed(file: Path, target: Path, edit: Callable[[str, bytes], Mapping[str, bytes]]) -> Path:
    """Copy an archive, each entry replaced by what ``edit`` gives for it by its name inside."""
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            root, _, inside = name.partition("/")
            for inner, content in edit(inside, old.read(name)).items():
                new.writestr(f"{root}/{inner}", content)
    return target


def in_graph(old: str, new: str) -> Callable[[str, bytes], Mapping[str, bytes]]:
    def edit(name: str, content: bytes) -> Mapping[str, bytes]:
        if name == "models/model.json":
            assert old.encode() in content
            content = content.replace(old.encode(), new.encode())
        return {name: content}

    return edit


class Malice:
    """Creates a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.file,)


def test_a_program_computes_what_its_module_does(program: Path) -> None:
    module = open_program(program)
    with torch.inference_mode():
        for made, expected in zip(module(*EXAMPLES), net()(*EXAMPLES), strict=True):
            torch.testing.assert_close(made, expected)
    assert module.inputs == (("image", (1, 3, 8, 10), "float32"), ("shift", (1, 2), "float32"))


def test_a_program_can_be_traced_and_copied(program: Path) -> None:
    import copy

    module = copy.deepcopy(open_program(program)).eval()
    traced = torch.jit.trace(module, EXAMPLES)
    torch.testing.assert_close(traced(*EXAMPLES), module(*EXAMPLES))


def test_an_onnx_file_computes_what_its_module_does(onnx_file: Path) -> None:
    module = open_onnx(onnx_file)
    with torch.inference_mode():
        for made, expected in zip(module(*EXAMPLES), net()(*EXAMPLES), strict=True):
            torch.testing.assert_close(made, expected, atol=1e-5, rtol=1e-5)


def arrays(folder: Path, *shapes: tuple[int, ...]) -> Path:
    rng = np.random.default_rng(1)
    image, shift = (rng.random(shape, np.float32) for shape in shapes)
    np.savez(folder / "inputs.npz", image=image, shift=shift)
    return folder / "inputs.npz"


@pytest.mark.parametrize(("shape", "layout"), [((4, 3, 8, 10), "any"), ((4, 8, 10, 3), PICTURE)])
def test_arrays_without_a_file_of_python_are_split_and_laid_out(
    program: Path, tmp_path: Path, shape: tuple[int, ...], layout: str
) -> None:
    pipeline = open_pipeline(program)
    inputs = pipeline.inputs
    prepared = inputs._prepared(pipeline, [arrays(tmp_path, shape, (4, 2))], [])  # type: ignore[attr-defined]
    assert len(prepared) == 4
    opened = inputs._opened(pipeline, prepared[0])  # type: ignore[attr-defined]
    assert opened.layout.get("image", "any") == layout


@pytest.mark.parametrize("shape", [(4, 3, 8, 10), (4, 8, 10, 3)])
def test_pixels_are_taken_channels_first_or_last(tmp_path: Path, shape: tuple[int, ...]) -> None:
    class Bright(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image.float().mean((2, 3))

    file = tmp_path / "bright.pt2"
    program = torch.export.export(Bright().eval(), (torch.zeros(1, 3, 8, 10, dtype=torch.uint8),))
    torch.export.save(program, file)
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    np.savez(tmp_path / "inputs.npz", image=pixels)
    pipeline = open_pipeline(file)
    found = pipeline.inputs.gather(pipeline, [tmp_path / "inputs.npz"], [])
    tensors = found.goldens[0].sample.tensors
    assert tensors["image"].shape == (1, 8, 10, 3)
    rows = (1, 2) if shape[3] == 3 else (2, 3)
    assert tensors["output"][0].tolist() == pytest.approx(pixels.mean(rows)[0].tolist())


def test_a_picture_for_a_float_input_is_refused(program: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    pipeline = open_pipeline(program)
    with pytest.raises(InputError, match=r"image \[1, 3, 8, 10\], shift \[1, 2\]; give \.npz"):
        pipeline.inputs.gather(pipeline, [tmp_path / "a.png"], [])


def test_arrays_of_other_lengths_are_refused(program: Path, tmp_path: Path) -> None:
    pipeline = open_pipeline(program)
    with pytest.raises(InputError, match=r"\[2, 4\] inputs along their first axis"):
        pipeline.inputs.gather(pipeline, [arrays(tmp_path, (4, 3, 8, 10), (2, 2))], [])


def test_a_pickle_in_the_place_of_arrays_is_refused(program: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", image=np.array([Malice(tmp_path / "ran")], object))
    pipeline = open_pipeline(program)
    with pytest.raises(InputError, match=r"is not an \.npz file of arrays"):
        pipeline.inputs.gather(pipeline, [tmp_path / "a.npz"], [])
    assert not (tmp_path / "ran").exists()


def test_a_program_with_a_hostile_pickle_is_refused_unless_it_is_trusted(
    program: Path, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"

    def edit(name: str, content: bytes) -> Mapping[str, bytes]:
        if name == "data/weights/model_weights_config.json":
            config = json.loads(content)
            config["config"]["conv.weight"]["use_pickle"] = True
            content = json.dumps(config).encode()
        if name == "data/weights/weight_0":
            stream = io.BytesIO()
            torch.save(Malice(ran), stream)
            content = stream.getvalue()
        return {name: content}

    file = changed(program, tmp_path / "hostile.pt2", edit)
    with pytest.raises(UnsafeProgramError, match=r"holds a pickle of more than tensors.*--trust-pt2"):
        open_pipeline(file)
    assert not ran.exists()
    with pytest.raises(PipelineError):  # what it unpickles to is not a tensor
        open_pipeline(Origin(file, trust_pt2=True))
    assert ran.exists()


def test_a_hostile_pickle_of_an_old_protocol_is_refused_too(program: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"

    def edit(name: str, content: bytes) -> Mapping[str, bytes]:
        if name == "data/constants/model_constants_config.json":
            config = json.loads(content)
            (constant,) = config["config"].values()
            constant["use_pickle"] = True
            content = json.dumps(config).encode()
        if name == "data/constants/tensor_0":
            content = pickle.dumps(Malice(ran), protocol=0)
        return {name: content}

    with pytest.raises(UnsafeProgramError, match="--trust-pt2"):
        open_pipeline(changed(program, tmp_path / "hostile.pt2", edit))
    assert not ran.exists()


@pytest.mark.parametrize(
    "entry",
    [
        # Names of older versions, which torch reads before those that it writes.
        "data/weights/model.pt",
        "data/constants/model.pt",
        # torch finds entries in other upper and lower case.
        "data/sample_inputs/MODEL.pt",
        "DATA/weights/weight_0",
    ],
)
@pytest.mark.parametrize("place", [0, -1])
def test_a_pickle_of_another_name_is_refused(program: Path, tmp_path: Path, entry: str, place: int) -> None:
    ran, file = tmp_path / "ran", tmp_path / "hostile.pt2"
    with zipfile.ZipFile(program) as old:
        entries = [(name, old.read(name)) for name in old.namelist()]
    root = entries[0][0].partition("/")[0]
    entries.insert(place if place else 0, (f"{root}/{entry}", pickle.dumps(Malice(ran))))
    with zipfile.ZipFile(file, "w") as new:
        for name, content in entries:
            new.writestr(name, content)
    with pytest.raises(UnsafeProgramError, match=r"which torch.export.save does not write.*--trust-pt2"):
        open_pipeline(file)
    assert not ran.exists()


def test_entries_beside_the_archive_s_folder_are_refused(program: Path, tmp_path: Path) -> None:
    """They are what torch of before 2.8 wrote, and torch unpickles them when the rest cannot be read."""
    file = changed(program, tmp_path / "hostile.pt2", lambda name, content: {name: content})
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("serialized_constants.pt", pickle.dumps(Malice(tmp_path / "ran")))
    with pytest.raises(UnsafeProgramError, match="holds several folders"):
        open_pipeline(file)
    assert not (tmp_path / "ran").exists()


def test_what_torch_cannot_read_is_told_in_one_line(
    program: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def edit(name: str, content: bytes) -> Mapping[str, bytes]:
        return {} if name == "archive_version" else {name: content}

    with pytest.raises(PipelineError, match=r"cannot be read by torch .*archive_version"):
        open_pipeline(changed(program, tmp_path / "cut.pt2", edit))
    assert "Traceback" not in capfd.readouterr().err


HOSTILE = {
    "operation 'torch.os.system'": ("torch.ops.aten.relu.default", "torch.os.system"),
    "operation 'math.sqrt'": ("torch.ops.aten.relu.default", "math.sqrt"),
    'name "a=open': ('"name": "image"', "\"name\": \"a=open('x', 'w')\""),
    "name 'conv weight'": ('"parameter_name": "conv.weight"', '"parameter_name": "conv weight"'),
    "axes without a fixed length": ('"range_constraints": {}', '"range_constraints": {"s0": {"min_val": 1}}'),
    r"custom objects": ('"tensor_constant_name": ', '"custom_obj_name": '),
}


@pytest.mark.parametrize("said", HOSTILE)
def test_a_program_that_torch_would_make_code_of_is_refused(program: Path, tmp_path: Path, said: str) -> None:
    with pytest.raises(PipelineError, match=said):
        open_pipeline(changed(program, tmp_path / "hostile.pt2", in_graph(*HOSTILE[said])))


def test_native_code_in_a_program_is_refused(program: Path, tmp_path: Path) -> None:
    def edit(name: str, content: bytes) -> Mapping[str, bytes]:
        more = {"data/aotinductor/model/a.so": b"\x7fELF"} if name == "archive_format" else {}
        return {name: content, **more}

    with pytest.raises(UnsafeProgramError, match="would be executed"):
        open_pipeline(changed(program, tmp_path / "hostile.pt2", edit))


def test_a_program_of_a_newer_torch_is_refused(program: Path, tmp_path: Path) -> None:
    content = json.loads(zipfile.ZipFile(program).read("net/models/model.json"))
    major = content["schema_version"]["major"]
    edit = in_graph(f'"schema_version": {{"major": {major}', f'"schema_version": {{"major": {major + 90}')
    with pytest.raises(PipelineError, match="export it again with this version of torch"):
        open_pipeline(changed(program, tmp_path / "newer.pt2", edit))


@pytest.mark.parametrize("content", [b"", b"PK", b"not a zip file at all"])
def test_what_is_not_a_program_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "net.pt2").write_bytes(content)
    with pytest.raises(PipelineError, match=r"is not a \.pt2 file"):
        open_pipeline(tmp_path / "net.pt2")


def test_a_program_in_training_mode_is_refused(tmp_path: Path) -> None:
    torch.export.save(torch.export.export(net().train(), EXAMPLES), tmp_path / "net.pt2")
    with pytest.raises(PipelineError, match=r"in training mode; call \.eval"):
        open_pipeline(tmp_path / "net.pt2")


def test_a_program_with_loose_axes_is_refused(tmp_path: Path) -> None:
    loose = {"image": {0: torch.export.Dim.DYNAMIC}, "shift": None}
    examples = (torch.rand(2, 3, 8, 10), torch.rand(1, 2))
    torch.export.save(torch.export.export(net(), examples, dynamic_shapes=loose), tmp_path / "net.pt2")
    with pytest.raises(PipelineError, match="axes without a fixed length; export it without dynamic_shapes"):
        open_pipeline(tmp_path / "net.pt2")


def onnx_net(file: Path, **options: object) -> Path:
    torch.onnx.export(net(), EXAMPLES, str(file), dynamo=False, input_names=["image", "shift"], **options)  # type: ignore[arg-type]
    return file


def test_an_onnx_file_with_loose_axes_is_refused(tmp_path: Path) -> None:
    file = onnx_net(tmp_path / "net.onnx", dynamic_axes={"image": {0: "batch"}})
    with pytest.raises(PipelineError, match=r"image has an axis without a fixed length \(batch\)"):
        open_pipeline(file)


def test_an_onnx_file_with_a_foreign_operation_is_refused(tmp_path: Path) -> None:
    model = onnx.load(str(onnx_net(tmp_path / "net.onnx")))
    model.graph.node[0].domain = "com.example"
    onnx.save(model, str(tmp_path / "net.onnx"))
    with pytest.raises(PipelineError, match=r"operation \w+ of domain com\.example"):
        open_pipeline(tmp_path / "net.onnx")


def test_an_onnx_file_in_training_mode_is_refused(tmp_path: Path) -> None:
    training = torch.onnx.TrainingMode.TRAINING
    file = tmp_path / "net.onnx"
    torch.onnx.export(net().train(), EXAMPLES, str(file), dynamo=False, training=training)
    with pytest.raises(PipelineError, match=r"in training mode; call \.eval"):
        open_pipeline(file)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x07"])
def test_what_is_not_an_onnx_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "net.onnx").write_bytes(content)
    with pytest.raises(PipelineError):
        open_pipeline(tmp_path / "net.onnx")


def test_the_hash_of_an_onnx_file_follows_its_weights(onnx_file: Path, tmp_path: Path) -> None:
    before = open_onnx(onnx_file).content
    model = onnx.load(str(onnx_file))
    weight = model.graph.initializer[0]
    values = onnx.numpy_helper.to_array(weight) + 1
    weight.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float32), weight.name))
    onnx.save(model, str(tmp_path / "net.onnx"))
    assert not torch.equal(open_onnx(tmp_path / "net.onnx").content, before)


@pytest.mark.parametrize("location", ["/dev/zero", "nowhere.bin", "pipe", "../elsewhere.bin"])
def test_weights_beside_an_onnx_file_that_are_no_file_of_its_folder_are_refused(
    onnx_file: Path, tmp_path: Path, location: str
) -> None:
    (tmp_path / "elsewhere.bin").write_bytes(bytes(1000))
    (tmp_path / "model").mkdir()
    os.mkfifo(tmp_path / "model" / "pipe")
    model = onnx.load(str(onnx_file))
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = "location", location
    (tmp_path / "model" / "net.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(PipelineError):
        open_onnx(tmp_path / "model" / "net.onnx")


class Keyed(nn.Module):
    """Tensors by keyword and in a list, a flag and nothing in; a dictionary with nothing in it out."""

    def forward(
        self, x: Tensor, others: list[Tensor], scale: Tensor | None = None, *, twice: bool = False
    ) -> dict[str, object]:
        x = x + others[0]
        x = 2 * x if twice else x
        return {"low": x, "none": scale, "high": [x + others[1], x > 1]}


def test_a_program_of_keywords_lists_and_dictionaries_takes_and_makes_tensors_in_a_row(
    tmp_path: Path,
) -> None:
    given = [torch.rand(1, 3) for _ in range(3)]
    program = torch.export.export(Keyed(), (given[0],), {"twice": True, "others": given[1:]})
    torch.export.save(program, tmp_path / "net.pt2")
    (stage,) = open_pipeline(tmp_path / "net.pt2").stages
    assert len(stage.inputs) == 3
    assert len(stage.outputs) == 3
    low, high, above = stage.module(*given)
    torch.testing.assert_close(low, 2 * (given[0] + given[1]))
    torch.testing.assert_close(high, low + given[2])
    assert above.tolist() == (low > 1).int().tolist()
    # It can be traced, as converters do.
    assert len(torch.jit.trace(stage.module, tuple(given))(*given)) == 3  # type: ignore[no-untyped-call]


class Classified(nn.Module):
    """Tokens of 64 bits in, a class of 64 bits and a number without axes out."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 8)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        found = self.table(tokens).mean(1)
        return found.argmax(1), found.mean()


@pytest.fixture(params=["pt2", "torchscript", "dynamo"])
def classified(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    torch.manual_seed(0)
    module, example = Classified().eval(), (torch.randint(20, (1, 6)),)
    if request.param == "pt2":
        torch.export.save(torch.export.export(module, example), tmp_path / "net.pt2")
        return tmp_path / "net.pt2"
    names = {"input_names": ["tokens"], "output_names": ["found", "level"]}
    torch.onnx.export(module, example, str(tmp_path / "net.onnx"), dynamo=request.param == "dynamo", **names)
    return tmp_path / "net.onnx"


def test_whole_numbers_of_64_bits_and_single_numbers_are_stated_for_an_app(
    classified: Path, tmp_path: Path
) -> None:
    tokens = np.random.default_rng(0).integers(20, size=(8, 6))
    np.savez(tmp_path / "inputs.npz", tokens=tokens)
    pipeline = open_pipeline(classified)
    sample = pipeline.inputs.gather(pipeline, [tmp_path / "inputs.npz"], []).calibration.samples[0]
    tensors = list(sample.tensors.values())
    assert [(one.dtype.name, one.shape) for one in tensors] == [
        ("int32", (1, 6)),
        ("int32", (1,)),
        ("float32", (1,)),
    ]
    torch.manual_seed(0)
    exact = Classified().eval()
    wide = torch.from_numpy(tensors[0]).to(torch.int64)
    assert tensors[1][0] == int(exact(wide)[0])
    np.testing.assert_allclose(tensors[2][0], exact(wide)[1].item(), atol=1e-6)


def test_whole_numbers_that_32_bits_do_not_hold_are_refused(classified: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "inputs.npz", tokens=np.full((8, 6), 1 << 40))
    pipeline = open_pipeline(classified)
    with pytest.raises(InputError, match=r"tokens of int64 with values from \d+ to \d+, which int32 does"):
        pipeline.inputs.gather(pipeline, [tmp_path / "inputs.npz"], [])


def test_an_onnx_file_whose_output_has_a_loose_axis_is_opened(tmp_path: Path) -> None:
    model = onnx.load(str(onnx_net(tmp_path / "net.onnx")))
    # So PyTorch writes what reflects the border of a picture.
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "Linear_dim_0"
    onnx.save(model, str(tmp_path / "net.onnx"))
    assert open_pipeline(tmp_path / "net.onnx").stages[0].inputs == ("image", "shift")


FLOAT = onnx.TensorProto.FLOAT


def own_onnx(file: Path, inputs: Sequence[str], nodes: Sequence[onnx.NodeProto], **outputs: int) -> Path:
    """Write an ONNX file whose ends are all [1, 4], with outputs of the types given by name."""

    def ends(names: Mapping[str, int]) -> list[onnx.ValueInfoProto]:
        return [onnx.helper.make_tensor_value_info(name, kind, [1, 4]) for name, kind in names.items()]

    graph = onnx.helper.make_graph(nodes, "own", ends(dict.fromkeys(inputs, FLOAT)), ends(outputs))
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, str(file))
    return file


def test_names_of_an_onnx_file_that_differ_in_signs_alone_stay_apart(tmp_path: Path) -> None:
    nodes = [onnx.helper.make_node("Sub", ["a.b", "a_b"], ["a/b"])]
    (stage,) = open_pipeline(own_onnx(tmp_path / "net.onnx", ["a.b", "a_b"], nodes, **{"a/b": FLOAT})).stages
    assert (list(stage.inputs), list(stage.outputs)) == (["a_b", "a_b_2"], ["a_b_3"])


def test_an_onnx_file_that_makes_true_and_false_is_stated_for_an_app(tmp_path: Path) -> None:
    nodes = [onnx.helper.make_node("Greater", ["x", "y"], ["more"])]
    module = open_onnx(own_onnx(tmp_path / "net.onnx", ["x", "y"], nodes, more=onnx.TensorProto.BOOL))
    (made,) = module(torch.tensor([[0.0, 1, 2, 3]]), torch.ones(1, 4))
    assert (made.dtype, made.tolist()) == (torch.int32, [[0, 0, 1, 1]])


def test_an_onnx_file_that_gives_an_input_out_is_refused(tmp_path: Path) -> None:
    nodes = [onnx.helper.make_node("Relu", ["x"], ["y"])]
    with pytest.raises(PipelineError, match="gives out x, which is an input or another output as it is"):
        open_onnx(own_onnx(tmp_path / "net.onnx", ["x"], nodes, y=FLOAT, x=FLOAT))


def test_a_foreign_operation_that_an_onnx_file_may_choose_is_refused(tmp_path: Path) -> None:
    made = onnx.helper.make_tensor_value_info("made", FLOAT, [1, 4])
    ways = [
        onnx.helper.make_graph(
            [onnx.helper.make_node(operation, ["x"], ["made"], domain=domain)], "way", [], [made]
        )
        for operation, domain in (("Relu", ""), ("Gelu", "com.microsoft"))
    ]
    nodes = [
        onnx.helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        onnx.helper.make_node("Cast", ["sum"], ["is"], to=onnx.TensorProto.BOOL),
        onnx.helper.make_node("If", ["is"], ["y"], then_branch=ways[0], else_branch=ways[1]),
    ]
    with pytest.raises(PipelineError, match=r"operation Gelu of domain com\.microsoft"):
        open_onnx(own_onnx(tmp_path / "net.onnx", ["x"], nodes, y=FLOAT))

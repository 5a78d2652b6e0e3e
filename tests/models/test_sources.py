"""A pipeline of a user's own: from a file of Python, from files, and what is refused before anything runs."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mien.mobile_reference.contract import AS_IT_IS, PICTURE
from mien.models.errors import InputError, ModelsError, PipelineError
from mien.models.pipeline import Gathered
from mien.models.sources import Origin, open_pipeline

GRADER = """
import numpy as np
import torch
from torch import nn
from mien import Pipeline, Stage, scalar

torch.manual_seed(0)


class Segment(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 3, padding=1)

    def forward(self, image):
        return torch.sigmoid(self.conv(image.float() / 127.5 - 1))


class Rate(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 2, 3)
        self.drop = nn.Dropout(0.5)

    def forward(self, image, mask):
        both = torch.cat([image.float() / 255, mask], 1)
        return 10 * self.drop(self.conv(both)).mean((1, 2, 3))


def prepare(file):
    return {"image": np.load(file)}


segment, rate = Segment(), Rate()
stages = [
    Stage("segment", segment, inputs=["image"], outputs=["mask"]),
    Stage("rate", rate, inputs=["image", "mask"], outputs=["grade"]),
]
"""
PIPELINE = (
    'pipeline = Pipeline(name="grader", stages=stages, prepare=prepare, gates=[scalar("grade", any=1)])\n'
)


@pytest.fixture(autouse=True)
def path_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the folders of users' files from the tests that follow."""
    monkeypatch.setattr(sys, "path", [*sys.path])


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a user's file: the grader, with something in between."""

    def written(between: str = "", pipeline: str = PIPELINE) -> Path:
        file = tmp_path / f"grader_{abs(hash((between, pipeline)))}.py"
        file.write_text(GRADER + between + "\n" + pipeline)
        return file

    return written


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Eight small pictures as arrays."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(8):
        np.save(folder / f"{number}.npy", rng.integers(0, 256, (1, 8, 10, 3), np.uint8))
    return folder


def gathered(file: Path, *calibration: Path, golden: tuple[Path, ...] = (), skip: bool = False) -> Gathered:
    pipeline = open_pipeline(Origin(file, skip_unreadable=skip))
    return pipeline.inputs.gather(pipeline, calibration, golden)


def test_shapes_layouts_and_the_end_to_end_model_are_found(
    write: Callable[..., Path], pictures: Path
) -> None:
    spec = gathered(write(), pictures).pipeline.spec
    assert {t.name: (t.shape, t.dtype, t.layout) for t in spec.tensors} == {
        "image": ((1, 8, 10, 3), "uint8", PICTURE),
        "mask": ((1, 1, 8, 10), "float32", AS_IT_IS),
        "grade": ((1,), "float32", AS_IT_IS),
    }
    assert spec.whole is not None
    assert (spec.whole.inputs, spec.whole.outputs) == (("image",), ("grade",))


def test_a_tensor_that_is_said_to_be_a_picture_is_channels_last(
    write: Callable[..., Path], pictures: Path
) -> None:
    said = PIPELINE.replace("prepare=prepare", 'prepare=prepare, layout={"mask": "NHWC"}')
    assert gathered(write(pipeline=said), pictures).pipeline.spec.tensor("mask").shape == (1, 8, 10, 1)


def test_the_composed_model_computes_what_the_stages_do(write: Callable[..., Path], pictures: Path) -> None:
    found = gathered(write(), pictures)
    pipeline = found.pipeline
    sample = found.goldens[0].sample.tensors
    assert pipeline.end_to_end is not None
    alone = pipeline.run_models(pipeline.stages, {"image": sample["image"]})
    whole = pipeline.run_models((pipeline.end_to_end,), {"image": sample["image"]})
    np.testing.assert_array_equal(whole["grade"], alone["grade"])
    assert alone["grade"] != 0


@pytest.mark.parametrize(
    ("whole", "expected"),
    [("None", None), ("'composed'", ["grade"]), ("Whole()", ["grade"])],
)
def test_the_end_to_end_model_is_left_out_or_replaced(
    write: Callable[..., Path], pictures: Path, whole: str, expected: list[str] | None
) -> None:
    own = (
        "class Whole(nn.Module):\n    def forward(self, image):\n        return rate(image, segment(image))\n"
    )
    file = write(own, PIPELINE.replace("prepare=prepare", f"prepare=prepare, whole={whole}"))
    found = gathered(file, pictures).pipeline.spec.whole
    assert (None if found is None else list(found.outputs)) == expected


def test_a_span_is_found_over_calibration_unless_it_is_given(
    write: Callable[..., Path], pictures: Path
) -> None:
    found = gathered(write(), pictures)
    grades = [sample.tensors["grade"] for sample in found.calibration.samples]
    assert found.pipeline.spec.tensor("grade").full_scale == pytest.approx(
        float(np.max(grades) - np.min(grades))
    )
    given = PIPELINE.replace("prepare=prepare", 'prepare=prepare, scale={"grade": 100}')
    assert gathered(write(pipeline=given), pictures).pipeline.spec.tensor("grade").full_scale == 100


def test_another_process_finds_the_same_pipeline(write: Callable[..., Path], pictures: Path) -> None:
    file = write()
    pipeline = gathered(file, pictures).pipeline
    origin = Origin(file).of(pipeline)
    assert open_pipeline(origin).spec == pipeline.spec


def test_weights_that_are_drawn_anew_are_refused(write: Callable[..., Path], pictures: Path) -> None:
    file = write("torch.seed()\nnn.init.normal_(rate.conv.weight)")
    origin = Origin(file).of(gathered(file, pictures).pipeline)
    with pytest.raises(PipelineError, match="other weights each time"):
        open_pipeline(origin)


def test_the_hash_of_weights_follows_every_tensor(write: Callable[..., Path]) -> None:
    plain = open_pipeline(write()).weights
    assert open_pipeline(write("# a remark")).weights == plain
    assert open_pipeline(write("rate.conv.bias.data[0] += 1")).weights != plain
    assert open_pipeline(write("rate.factor = torch.ones(1)")).weights != plain


def test_without_golden_inputs_some_are_held_out(write: Callable[..., Path], pictures: Path) -> None:
    found = gathered(write(), pictures)
    ranged = [sample.name for sample in found.calibration.samples]
    judged = [golden.sample.name for golden in found.goldens]
    assert (len(ranged), len(judged)) == (6, 2)
    assert not set(ranged) & set(judged)


def test_a_module_is_put_into_evaluation_mode(write: Callable[..., Path]) -> None:
    assert not open_pipeline(write()).model("rate").module.training


def test_without_gates_the_defaults_judge_what_the_last_stage_makes(
    write: Callable[..., Path], pictures: Path
) -> None:
    silent = PIPELINE.replace(', gates=[scalar("grade", any=1)]', "")
    (gate,) = gathered(write(pipeline=silent), pictures).pipeline.spec.gates
    assert (gate.tensor, gate.metric, gate.limit("tflite-int8")) == ("grade", "relative", 5e-2)


STRUCTURE = {
    "segment and rate both make mask": ('outputs=["grade"]', 'outputs=["mask"]'),
    "segment and rate wait for each other": (
        '"segment", segment, inputs=["image"]',
        '"segment", segment, inputs=["image", "grade"]',
    ),
    "a stage is named whole": ('Stage("rate"', 'Stage("whole"'),
    "two stages are named segment": ('Stage("rate"', 'Stage("segment"'),
    "expected a list": ('inputs=["image"]', 'inputs="image"'),
    "letters, digits and underscores": ('outputs=["grade"]', 'outputs=["the grade"]'),
    "stage rate has no outputs": ('outputs=["grade"]', "outputs=[]"),
}


SAID = {
    "a gate names mark, which no stage reads or makes; there are grade, image, mask": 'scalar("mark", any=1)',
    r"a gate is <function prepare .*judged_by": "prepare",
    "scale names mark": 'scalar("grade", any=1)], scale={"mark": 1}, views=[',
    "the scale of grade is 0, expected": 'scalar("grade", any=1)], scale={"grade": 0}, views=[',
    "the scale of grade is nan, expected": 'scalar("grade", any=1)], scale={"grade": float("nan")}, views=[',
    "the layout of mask is 'NCHW', expected": 'scalar("grade", any=1)], layout={"mask": "NCHW"}, views=[',
}


@pytest.mark.parametrize("said", SAID)
def test_what_is_said_of_no_tensor_is_refused(write: Callable[..., Path], said: str) -> None:
    with pytest.raises(PipelineError, match=said):
        open_pipeline(write(pipeline=PIPELINE.replace('scalar("grade", any=1)', SAID[said])))


def test_a_composed_model_is_quantised_if_every_stage_may_be(
    write: Callable[..., Path], pictures: Path
) -> None:
    plain = gathered(write(), pictures).pipeline.end_to_end
    kept = gathered(
        write("stages[0] = Stage('segment', segment, ['image'], ['mask'], quantise=False)"), pictures
    ).pipeline.end_to_end
    assert plain is not None
    assert kept is not None
    assert (plain.quantise, kept.quantise) == (True, False)


@pytest.mark.parametrize("said", STRUCTURE)
def test_stages_that_contradict_each_other_are_refused(tmp_path: Path, said: str) -> None:
    before, after = STRUCTURE[said]
    file = tmp_path / "grader_structure.py"
    file.write_text((GRADER + PIPELINE).replace(before, after))
    with pytest.raises(PipelineError, match=said) as raised:
        open_pipeline(file)
    assert "\n" not in str(raised.value)


def test_a_stage_before_the_one_it_waits_for_is_named(write: Callable[..., Path]) -> None:
    with pytest.raises(PipelineError, match="stage rate reads what segment makes; list segment before it"):
        open_pipeline(write("stages.reverse()"))


MODULES = {
    r"is on meta, expected the CPU; call \.cpu\(\)": 'rate.to("meta")',
    r"is float16, expected float32; call \.float\(\)": "rate.half()",
    r"is float64, expected float32": "rate.double()",
    "is in training mode even after": "rate.drop.train = lambda mode=True: rate.drop",
}


@pytest.mark.parametrize("said", MODULES)
def test_modules_that_an_app_could_not_run_are_refused(write: Callable[..., Path], said: str) -> None:
    with pytest.raises(PipelineError, match=said):
        open_pipeline(write(MODULES[said]))


PREPARED = {
    "stage segment reads image, which no stage makes": 'return {"picture": np.load(file)}',
    "gives depth, which is not an input": 'return {"image": np.load(file), "depth": np.zeros(1, np.float32)}',
    "of float64, expected uint8, float32, int32": 'return {"image": np.load(file) / 255}',
    "expected numpy arrays by name": "return np.load(file)",
    "prepare cannot read .*0.npy: .*ValueError: no; .*; take it out": 'raise ValueError("no")',
    "prepare cannot read .*0.npy: .*SystemExit: 0": "raise SystemExit(0)",
    "resize all alike": 'return {"image": np.load(file)[:, :7 + (file.stem == "0")]}',
}


@pytest.mark.parametrize("said", PREPARED)
def test_what_prepare_gives_is_checked(write: Callable[..., Path], pictures: Path, said: str) -> None:
    file = write(f"def prepare(file):\n    {PREPARED[said]}")
    with pytest.raises(InputError, match=said):
        gathered(file, pictures)


def test_a_file_that_cannot_be_read_is_named_and_left_out_if_asked(
    write: Callable[..., Path], pictures: Path
) -> None:
    (pictures / "notes.txt").write_text("none")
    with pytest.raises(InputError, match=r"prepare cannot read .*notes\.txt"):
        gathered(write(), pictures)
    (warning,) = gathered(write(), pictures, skip=True).calibration.warnings
    assert "notes.txt" in warning


RUNS = {
    "makes another grade of the same input each time": "both = both + torch.rand(1)",
    "makes grade with values that are not finite": "both = both / 0 * 0",
    "of float64; expected": "return both.double().mean((1, 2, 3))",
    "first it was": "self.n = getattr(self, 'n', 0) + 1; return both.mean((1, 2, 3)).repeat(self.n)",
    "stage rate, given image .*mask .*: RuntimeError": "both = both[:, :2]",
    r"made a dictionary.*; return made\['grade'\] of it": 'return {"grade": both}',
    "stage rate, given image .*: SystemExit: 0": "raise SystemExit(0)",
    "made str, expected a tensor": 'return "grade"',
    "made 2 tensors, expected 1: grade": "return both, both",
}


@pytest.mark.parametrize("said", RUNS)
def test_what_a_stage_makes_is_checked(tmp_path: Path, pictures: Path, said: str) -> None:
    file = tmp_path / "grader_runs.py"
    text = (GRADER + PIPELINE).replace("        return 10", f"        {RUNS[said]}\n        return 10")
    file.write_text(text)
    with pytest.raises(PipelineError, match=said):
        gathered(file, pictures)


def test_whole_numbers_and_single_numbers_of_a_module_are_stated_for_an_app(
    tmp_path: Path, pictures: Path
) -> None:
    file = tmp_path / "grader_stated.py"
    returned = "return both.flatten().argmax()"
    file.write_text(
        (GRADER + PIPELINE).replace("        return 10", f"        {returned}\n        return 10")
    )
    tensors = gathered(file, pictures).pipeline.spec.tensor("grade")
    assert (tensors.shape, tensors.dtype) == ((1,), "int32")


def test_a_golden_input_that_gave_ranges_is_refused(write: Callable[..., Path], pictures: Path) -> None:
    again = pictures.parent / "again"
    again.mkdir()
    np.save(again / "copy.npy", np.load(pictures / "3.npy"))
    with pytest.raises(InputError, match=r"copy\.npy is the same as the calibration input .*3\.npy"):
        gathered(write(), pictures, golden=(again,))


def test_one_input_alone_cannot_give_ranges_and_judge_them(
    write: Callable[..., Path], pictures: Path
) -> None:
    with pytest.raises(InputError, match="give two or more"):
        gathered(write(), pictures / "0.npy")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\n", "defines no pipeline"),
        ("pipeline = 3\n", "pipeline is a int, expected"),
        ("def make():\n    return 1 / 0\n\n\nmake()\n", "ZeroDivisionError: division by zero"),
        ("def (:\n", "SyntaxError"),
        ("raise SystemExit(0)\n", "SystemExit: 0"),
    ],
)
def test_a_file_that_cannot_be_executed_is_refused(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "broken_pipeline.py"
    file.write_text(text)
    with pytest.raises(PipelineError, match=said):
        open_pipeline(file)


def test_the_traceback_is_that_of_the_users_file(tmp_path: Path) -> None:
    file = tmp_path / "deep_pipeline.py"
    file.write_text("import json\n\n\ndef make():\n    return json.loads('{')\n\n\nmake()\n")
    with pytest.raises(PipelineError) as raised:
        open_pipeline(file)
    first, *places = str(raised.value).split("; ")
    assert first.startswith("deep_pipeline.py raised JSONDecodeError")
    assert places == [
        f"{file}, line 8, in <module>: make()",
        f"{file}, line 5, in make: return json.loads('{{')",
    ]


def test_a_file_that_is_called_like_a_library_does_not_take_its_place(tmp_path: Path) -> None:
    file = tmp_path / "json.py"
    file.write_text(GRADER + PIPELINE)
    assert open_pipeline(file).name == "grader"
    import json

    assert json.loads("[1]") == [1]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for name in ("none.py", "none.onnx", "none.pt2"):
        with pytest.raises(ModelsError, match=f"{name} does not exist"):
            open_pipeline(tmp_path / name)


def test_a_module_may_write_to_its_input_without_harm(write: Callable[..., Path], pictures: Path) -> None:
    changed = GRADER.replace("both = torch.cat", "mask.mul_(0)\n        both = torch.cat") + PIPELINE
    file = pictures.parent / "writes.py"
    file.write_text(changed)
    assert gathered(file, pictures).goldens[0].sample.tensors["mask"].any()
    assert torch.is_inference_mode_enabled() is False

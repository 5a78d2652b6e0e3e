"""The networks: shapes, the frozen teacher, and the inpainter's composite."""

from pathlib import Path

import pytest
import torch

from mien.models.appraisal.checkpoint import Checkpoint
from mien.models.appraisal.networks.appraisal import AppraisalNet, AppraisalRule
from mien.models.appraisal.networks.detector import KEYPOINTS, BlazeFace
from mien.models.appraisal.networks.inpainter import Inpainter, composite
from mien.models.appraisal.networks.layers import InvertedResidual, SameConv, mirror, unit_channels, upsample
from mien.models.appraisal.networks.student import HeatmapHead, Student
from mien.models.appraisal.networks.teacher import Features, Teacher, packaged_teacher

FEATURES = [(2, 24, 64, 64), (2, 40, 32, 32), (2, 112, 16, 16)]


@torch.inference_mode()
def test_student_and_teacher_give_features_of_the_same_three_scales():
    face = torch.rand(2, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    for network in (Teacher(), Student().eval()):
        assert [tuple(f.shape) for f in network(face)] == FEATURES


@torch.inference_mode()
def test_the_head_compares_at_three_scales_and_answers_with_one_map():
    face = torch.rand(2, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    teacher = Teacher()(face)
    answer = HeatmapHead().eval()(teacher, Student().eval()(face))
    assert [tuple(d.shape) for d in answer.distances] == [(2, 1, s, s) for s in (64, 32, 16)]
    assert answer.logit.shape == (2, 1, 64, 64)
    assert all(d.min() >= 0 and d.max() <= 4 for d in answer.distances)


def test_the_head_sees_the_other_half_of_the_face():
    head = HeatmapHead().eval()
    teacher, student = (Features(*(torch.rand(shape)[:1] for shape in FEATURES)) for _ in range(2))
    touched = [scale.clone() for scale in teacher]
    touched[0][..., 40:44, 60:64] += 1
    moved = (head(teacher, student).logit - head(Features(*touched), student).logit).abs()
    # 5x5 convolutions at the finest scale carry a change 4 places far at most, so the left half was told.
    assert moved[..., 40:44, 0:4].min() > 0
    assert moved[..., 40:44, 20:40].max() == 0


def test_a_mirror_turns_left_to_right_and_back():
    x = torch.rand(1, 2, 3, 4)
    assert torch.equal(mirror(x), x.flip(3))
    assert torch.equal(mirror(mirror(x)), x)


def test_the_teacher_is_frozen_and_never_leaves_evaluation_mode():
    net = AppraisalNet(AppraisalRule())
    for turn in (net, net.train()):
        assert turn.student.training
        assert not any(module.training for module in turn.teacher.modules())
    assert not any(parameter.requires_grad for parameter in net.teacher.parameters())
    assert any(parameter.requires_grad for parameter in net.student.parameters())


def test_faces_leave_no_trace_in_the_teachers_statistics():
    teacher = Teacher().train()
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    teacher(torch.rand(2, 3, 64, 64))
    assert all(torch.equal(before[name], tensor) for name, tensor in teacher.state_dict().items())


def test_the_teacher_is_built_from_a_packaged_file_by_position(tmp_path: Path):
    published = Teacher()
    for tensor in published.state_dict().values():
        tensor.copy_(torch.rand(tensor.shape).to(tensor.dtype))
    renamed = {f"layer.{i}": t for i, t in enumerate(published.state_dict().values())}
    torch.save(renamed | {"_fc.weight": torch.zeros(3)}, tmp_path / "packaged.pth")
    built = packaged_teacher(tmp_path / "packaged.pth").state_dict()
    assert all(torch.equal(built[name], tensor) for name, tensor in published.state_dict().items())


@torch.inference_mode()
def test_the_detector_gives_896_candidates_with_scores_between_0_and_1(checkpoint: Checkpoint):
    noise = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0)) * 255
    candidates = checkpoint.detector(noise)
    assert candidates.shape == (2, 896, 5 + 2 * len(KEYPOINTS))
    assert candidates[..., 0].min() >= 0
    assert candidates[..., 0].max() <= 1
    assert BlazeFace()(noise[:1]).shape == (1, 896, 17)


@torch.inference_mode()
def test_the_inpainter_keeps_the_face_outside_the_mask_and_paints_inside():
    rng = torch.Generator().manual_seed(0)
    inpainter = Inpainter().eval()
    face = torch.rand(2, 3, 256, 256, generator=rng)
    mask = torch.zeros(2, 1, 256, 256)
    assert torch.equal(inpainter(face, mask), face)
    mask[..., 100:160, 90:150] = 1
    coarse, refined = inpainter.phases(face, mask)
    assert coarse.shape == refined.shape == face.shape
    painted = inpainter(face, mask)
    outside = (mask == 0).expand_as(face)
    assert torch.equal(painted[outside], face[outside])
    # face + 1 * (refined - face) rounds twice.
    torch.testing.assert_close(painted[~outside], refined[~outside], atol=1e-6, rtol=0)


@torch.inference_mode()
def test_the_inpainter_cannot_see_what_the_mask_covers():
    inpainter = Inpainter().eval()
    mask = torch.zeros(1, 1, 256, 256)
    mask[..., 100:160, 90:150] = 1
    faces = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    other = faces * (1 - mask)
    seen, hidden = (inpainter.phases(f, mask)[1] for f in (faces, other))
    # The composite f + 1 * (c - f) rounds by the covered colour: a last bit of float32, and no more.
    torch.testing.assert_close(seen, hidden, atol=1e-6, rtol=0)


def test_a_composite_takes_each_side_where_the_mask_says():
    face, painted = torch.zeros(1, 3, 2, 2), torch.ones(1, 3, 2, 2)
    mask = torch.tensor([[0.0, 1.0], [0.25, 0.5]]).view(1, 1, 2, 2)
    assert torch.equal(composite(face, painted, mask), mask.expand(1, 3, 2, 2))


@pytest.mark.parametrize(
    ("size", "kernel", "stride"), [(8, 3, 2), (7, 3, 2), (8, 5, 2), (9, 5, 1), (8, 1, 2)]
)
def test_same_padding_is_tensorflows(size: int, kernel: int, stride: int):
    convolution = SameConv(1, 1, kernel, stride, bias=False)
    torch.nn.init.ones_(convolution.weight)
    line = torch.ones(1, 1, size, size)
    answer = convolution(line)
    out = -(-size // stride)
    assert answer.shape == (1, 1, out, out)
    # With ones everywhere the answer counts the pixels under the kernel, which shows where the padding is.
    left = max((out - 1) * stride + kernel - size, 0) // 2
    reach = [len([k for k in range(kernel) if 0 <= place * stride - left + k < size]) for place in range(out)]
    assert answer[0, 0].tolist() == [[float(a * b) for b in reach] for a in reach]


def test_a_block_adds_its_input_only_where_the_shapes_allow():
    assert InvertedResidual(16, 16, 3, 1, 4).residual
    assert not InvertedResidual(16, 16, 3, 2, 4).residual
    assert not InvertedResidual(16, 24, 3, 1, 4).residual


def test_unit_channels_are_one_long_and_survive_zero():
    x = torch.rand(1, 8, 4, 4) + 1
    torch.testing.assert_close(unit_channels(x).square().sum(dim=1), torch.ones(1, 4, 4), atol=1e-3, rtol=0)
    assert unit_channels(torch.zeros(1, 8, 4, 4)).abs().max() == 0


def test_upsampling_keeps_a_plain_map_plain():
    plain = torch.full((1, 2, 4, 4), 0.3)
    # Interpolation weights sum to 1 within float32.
    torch.testing.assert_close(upsample(plain, 10), torch.full((1, 2, 10, 10), 0.3), atol=1e-6, rtol=0)

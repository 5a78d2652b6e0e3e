"""The composed appraisal: its cost, shapes, ranges, order relations and independence of the batch."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from mien.models.appraisal.appraiser import CheckpointAppraiser, open_checkpoint
from mien.models.appraisal.checkpoint import Checkpoint
from mien.models.appraisal.evaluation.anomalies import FacePlan, draw
from mien.models.appraisal.networks.appraisal import (
    FAINT,
    AppraisalNet,
    AppraisalRule,
    face_region,
    feature_change,
)
from mien.models.appraisal.pipeline import appraisal
from mien.models.appraisal.portraits import read_image
from mien.models.errors import NoFaceError

SEEDS = st.integers(0, 2**31 - 1)


def maps(seed: int, high: float = 1.0) -> Tensor:
    """Random smooth-ish maps [1, 1, 64, 64] in 0..high, many of them zero."""
    rng = torch.Generator().manual_seed(seed)
    return (torch.rand(1, 1, 64, 64, generator=rng) * 3 - 2).clamp(0, 1) * high


def with_cleft(face: Tensor, template: tuple[tuple[float, float], ...], severity: float) -> Tensor:
    right_eye, left_eye, nose, mouth = template
    plan = FacePlan(right_eye, left_eye, nose, mouth, side=1)
    picture = face.permute(1, 2, 0).contiguous().numpy()
    return torch.from_numpy(draw("cleft", picture, plan, severity, seed=3)).permute(2, 0, 1)


@torch.inference_mode()
def test_the_whole_appraisal_costs_at_most_two_giga_multiply_accumulates(checkpoint: Checkpoint):
    picture, pixels = torch.zeros(1, 3, 128, 128), torch.zeros(1, 3, 256, 256)
    with FlopCounterMode(display=False) as counter:
        # The detector looks twice.
        checkpoint.detector(picture)
        checkpoint.detector(picture)
        checkpoint.appraisal(pixels)
    macs = counter.get_total_flops() / 2
    # A count of almost nothing would mean that the counter saw no convolution.
    assert 0.2e9 < macs <= 2e9


@torch.inference_mode()
def test_outputs_have_the_promised_shapes_and_ranges(checkpoint: Checkpoint, face: Tensor):
    faces = torch.stack([face, 255 - face, torch.zeros_like(face), torch.full_like(face, 255)])
    result = checkpoint.appraisal(faces.float())
    assert result.score.shape == (4,)
    assert result.heatmap.shape == result.mask.shape == (4, 1, 256, 256)
    assert result.normalised.shape == (4, 3, 256, 256)
    assert all(torch.isfinite(tensor).all() for tensor in result)
    assert result.score.min() >= 0
    assert result.score.max() <= 100
    assert result.heatmap.min() >= 0
    assert result.mask.min() >= 0
    # A blur's weights sum to 1 within float32.
    assert result.mask.max() <= 1 + 1e-6
    assert result.normalised.min() >= 0
    assert result.normalised.max() <= 255 + 1e-3


@torch.inference_mode()
def test_what_the_mask_leaves_out_is_kept_from_the_photograph(checkpoint: Checkpoint, face: Tensor):
    drawn = with_cleft(face, checkpoint.config.alignment.template, 1.0)[None].float()
    result = checkpoint.appraisal(drawn)
    outside = (result.mask == 0).expand_as(drawn)
    assert outside.float().mean() > 0.5
    # Colours go through a division by 255 and back.
    torch.testing.assert_close(result.normalised[outside], drawn[outside], atol=1e-3, rtol=0)
    assert (result.normalised - drawn)[~outside].abs().max() > 1


@torch.inference_mode()
def test_a_cleft_lowers_the_score_and_lights_up_where_it_is_drawn(checkpoint: Checkpoint, face: Tensor):
    drawn = with_cleft(face, checkpoint.config.alignment.template, 1.0)
    plain, cleft = (checkpoint.appraisal(f[None].float()) for f in (face, drawn))
    assert plain.score.item() > cleft.score.item() + 1
    place = (drawn.float() - face.float()).abs().mean(dim=0) > 12
    assert place.sum() > 200
    elsewhere = face_region(checkpoint.config.appraisal, 256)[0, 0] * ~place > 0.5
    heat = cleft.heatmap[0, 0]
    assert heat[place].mean() > 3 * heat[elsewhere].mean()
    assert heat[place].mean() > 3 * plain.heatmap[0, 0][place].mean()


@torch.inference_mode()
def test_a_face_is_rated_alike_alone_and_in_company(checkpoint: Checkpoint, face: Tensor):
    drawn = with_cleft(face, checkpoint.config.alignment.template, 0.7)
    both = checkpoint.appraisal(torch.stack([face, drawn]).float())
    for index, single in enumerate((face, drawn)):
        alone = checkpoint.appraisal(single[None].float())
        # Convolutions may sum in another order for another batch size.
        torch.testing.assert_close(both.score[index : index + 1], alone.score, atol=1e-2, rtol=0)
        torch.testing.assert_close(both.heatmap[index], alone.heatmap[0], atol=1e-4, rtol=0)
        torch.testing.assert_close(both.normalised[index], alone.normalised[0], atol=0.05, rtol=0)


@torch.inference_mode()
def test_the_same_face_gives_the_same_bytes(checkpoint: Checkpoint, face: Tensor):
    first, second = (checkpoint.appraisal(face[None].float()) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@given(SEEDS, SEEDS)
def test_more_heat_never_shrinks_the_mask(checkpoint: Checkpoint, first: int, second: int):
    low = maps(first)
    high = torch.maximum(low, maps(second))
    # Sums of float32 may differ in their last bits.
    assert (checkpoint.appraisal.mask(high) - checkpoint.appraisal.mask(low)).min() >= -1e-6


@given(SEEDS, SEEDS)
@torch.inference_mode()
def test_more_heat_or_change_never_raises_the_score(checkpoint: Checkpoint, first: int, second: int):
    net, heat, change = checkpoint.appraisal, maps(first), maps(second, 4.0)
    score, heatmap = net.rate(heat, change)
    for more in (net.rate(heat + maps(second), change), net.rate(heat, change + maps(first))):
        assert more[0].item() <= score.item() + 1e-4
        assert (more[1] - heatmap).min() >= -1e-5


@torch.inference_mode()
def test_the_score_is_100_without_evidence_and_50_at_the_tolerated_one():
    net = AppraisalNet(AppraisalRule()).eval()
    none = torch.zeros(1, 1, 64, 64)
    assert net.rate(none, none)[0].item() == 100
    score, heatmap = net.rate(net.region, none)
    evidence = heatmap.pow(1.5).mean() / net.region.mean()
    net.tolerated_evidence.fill_(float(evidence))
    # The evidence is averaged at 64x64, this one at 256x256, where slopes are finer.
    assert net.rate(net.region, none)[0].item() == pytest.approx(50, abs=0.5)
    assert score.item() < 100


@torch.inference_mode()
def test_what_is_normal_at_its_place_counts_little_and_is_not_masked():
    net = AppraisalNet(AppraisalRule()).eval()
    heat, change = maps(1), maps(2, 4.0)
    full = net.rate(heat, change)
    net.normal_heat.copy_(heat)
    net.normal_change.copy_(change)
    faint = net.rate(heat, change)
    torch.testing.assert_close(faint[1], FAINT * full[1])
    assert faint[0] > full[0]
    assert net.mask(heat).max() == 0


def test_heat_stays_inside_the_face_region(checkpoint: Checkpoint):
    net = checkpoint.appraisal
    noise = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        heat = net.heat(noise, net.teacher(noise))
    assert heat[net.region == 0].abs().max() == 0
    assert heat.max() <= 1


@torch.inference_mode()
def test_a_mirrored_face_gets_the_mirrored_heat(checkpoint: Checkpoint, face: Tensor):
    net = checkpoint.appraisal
    colours = face[None].float() / 255
    heat, turned = (net.heat(x, net.teacher(x)) for x in (colours, colours.flip(3)))
    assert heat.max() > 1e-3
    # Convolutions may add up in another order.
    torch.testing.assert_close(turned.flip(3), heat, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("size", [64, 256])
def test_the_face_region_is_full_inside_and_empty_at_the_border(size: int):
    rule = AppraisalRule()
    region = face_region(rule, size)[0, 0]
    scale = size / 256
    x, y = (int(c * scale) for c in rule.region_centre)
    assert region[y, x] == 1
    assert max(region[0].max(), region[-1].max(), region[:, 0].max(), region[:, -1].max()) == 0
    wider = replace(rule, region_radii=tuple(1.1 * r for r in rule.region_radii))
    assert (face_region(wider, size)[0, 0] >= region).all()


@torch.inference_mode()
def test_a_face_compared_with_itself_has_not_changed(checkpoint: Checkpoint, face: Tensor):
    features = checkpoint.appraisal.teacher(face[None].float() / 255)
    # unit_channels leaves vectors a little shorter than 1, by its epsilon.
    assert feature_change(features, features).max() < 0.1
    other = checkpoint.appraisal.teacher(1 - face[None].float() / 255)
    change = feature_change(features, other)
    assert change.shape == (1, 1, 64, 64)
    assert change.mean() > feature_change(features, features).mean()
    assert change.max() <= 4


@torch.inference_mode()
def test_where_nothing_is_masked_nothing_changes_by_a_bit(checkpoint: Checkpoint):
    net = checkpoint.appraisal
    pixels = torch.arange(256.0).repeat(3 * 256).view(1, 3, 256, 256)
    nothing = torch.zeros(1, 1, 256, 256)
    assert torch.equal(net.paint(pixels, nothing), pixels)
    before, after = net.teacher(pixels / 255), net.teacher(1 - pixels / 255)
    left = net.change(before, after, nothing)
    assert not left.any()
    assert not left.signbit().any()
    somewhere = nothing.clone()
    somewhere[0, 0, 255, 0] = 1 / 1024
    compared = feature_change(before, after)
    torch.testing.assert_close(net.change(before, after, somewhere), compared)
    torch.testing.assert_close(net.change(before, after, somewhere / 2), compared / 2)


@torch.inference_mode()
def test_the_stages_in_a_row_give_what_the_net_gives(checkpoint: Checkpoint, face: Tensor):
    pipeline = appraisal(checkpoint)
    inputs = {"face": face.permute(1, 2, 0)[None].numpy()}
    made = pipeline.run_models(pipeline.stages, inputs)
    for name, value in pipeline.run(inputs).items():
        np.testing.assert_allclose(made[name], value, rtol=1e-5, atol=1e-5, err_msg=name)


def test_the_appraiser_gives_numpy_arrays_of_the_aligned_frame(checkpoint: Checkpoint, portrait: Tensor):
    photograph = portrait.permute(1, 2, 0).contiguous().numpy()
    result = CheckpointAppraiser(checkpoint).appraise(photograph)
    assert 0 <= result.score <= 100
    (face,) = result.prepared.inputs.values()
    tensors = result.tensors
    assert face.shape == tensors["normalised"].shape == (1, 256, 256, 3)
    assert face.dtype == np.uint8
    assert tensors["heatmap"].shape == tensors["mask"].shape == (1, 256, 256, 1)
    assert {tensors[name].dtype for name in ("heatmap", "mask", "normalised")} == {np.dtype(np.float32)}
    assert result.prepared.alignment.shape == (2, 3)
    assert result.prepared.faces == 1


def test_the_appraiser_opens_the_shipped_checkpoint_and_says_float(samples: list[Path]):
    appraiser = open_checkpoint(None, 1)
    assert appraiser.variant == "float"
    plain, cleft = (
        appraiser.appraise(read_image(path).permute(1, 2, 0).contiguous().numpy()) for path in samples[:2]
    )
    assert plain.score > cleft.score
    with pytest.raises(NoFaceError, match="no face found"):
        appraiser.appraise(np.zeros((200, 200, 3), np.uint8))

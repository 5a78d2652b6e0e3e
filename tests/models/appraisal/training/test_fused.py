"""The quicker forwards of training give what the modules give, and the same gradients."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mien.models.appraisal.checkpoint import REFERENCE, load_checkpoint
from mien.models.appraisal.networks.appraisal import AppraisalNet, AppraisalRule
from mien.models.appraisal.networks.student import Disagreement
from mien.models.appraisal.networks.teacher import Features
from mien.models.appraisal.training.fused import disagreement, student_features, teacher_features


@pytest.fixture(scope="module", params=["shipped", "untrained"])
def net(request: pytest.FixtureRequest) -> AppraisalNet:
    if request.param == "shipped":
        return load_checkpoint(REFERENCE).appraisal
    torch.manual_seed(1)
    net = AppraisalNet(AppraisalRule()).eval()
    # Statistics unlike those a module is born with, which would hide a mistake in the fusing.
    for name, buffer in net.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.copy_(torch.rand(buffer.shape) + 0.5)
    return net


@pytest.fixture(scope="module")
def faces(face: Tensor) -> Tensor:
    return torch.stack([face, face.flip(1)]).float() / 255


def test_the_teachers_features_are_the_same(net: AppraisalNet, faces: Tensor):
    for plain, quick in zip(net.teacher(faces), teacher_features(net.teacher, faces), strict=True):
        torch.testing.assert_close(quick, plain, atol=2e-4 * float(plain.detach().abs().max()), rtol=0)


def test_the_students_features_are_the_same(net: AppraisalNet, faces: Tensor):
    for plain, quick in zip(net.student(faces), student_features(net.student, faces), strict=True):
        torch.testing.assert_close(quick, plain, atol=2e-4 * float(plain.detach().abs().max()), rtol=0)


def test_verdict_distances_and_all_gradients_are_the_same(net: AppraisalNet, faces: Tensor):
    features = net.teacher(faces)

    def run(found: Callable[[], Disagreement]) -> tuple[Disagreement, dict[str, Tensor]]:
        net.zero_grad()
        verdict = found()
        loss = torch.sigmoid(verdict.logit).mean() + sum(d.square().mean() for d in verdict.distances)
        torch.autograd.backward(loss)
        return verdict, {name: p.grad for name, p in net.named_parameters() if p.grad is not None}

    plain, expected = run(lambda: net.head(features, net.student(faces)))
    quick, found = run(lambda: disagreement(net.head, features, student_features(net.student, faces)))
    torch.testing.assert_close(quick.logit, plain.logit, atol=2e-4, rtol=1e-4)
    for a, b in zip(quick.distances, plain.distances, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    assert expected.keys() == found.keys()
    largest = max(float(gradient.norm()) for gradient in expected.values())
    for name, gradient in expected.items():
        assert float((found[name] - gradient).norm()) < 1e-3 * float(gradient.norm()) + 1e-5 * largest, name


def test_a_head_that_looks_at_other_features_says_something_else(net: AppraisalNet, faces: Tensor):
    """The comparison above can fail."""
    features = net.teacher(faces)
    other = Features(*(scale.flip(1) for scale in features))
    student = student_features(net.student, faces)
    with torch.no_grad():
        a, b = (disagreement(net.head, f, student).logit for f in (features, other))
    assert (a - b).abs().max() > 1e-3

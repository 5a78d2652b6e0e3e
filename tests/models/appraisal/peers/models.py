"""anomalib's models with mien's packaged teacher in the place of the weights they would download.

Of anomalib: students, bottleneck, decoder, autoencoder, losses, optimisers, anomaly maps and the rule that a
picture is as unusual as its most unusual pixel. Of mien: the teacher, and what fits its features in.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace

import timm
import torch
import torch.nn.functional as F
from anomalib.models.image.efficient_ad.lightning_model import EfficientAd
from anomalib.models.image.reverse_distillation.lightning_model import ReverseDistillation
from anomalib.models.image.stfpm.lightning_model import Stfpm
from sklearn.datasets import load_sample_images
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from mien.models.appraisal.checkpoint import REFERENCE, load_checkpoint
from mien.models.appraisal.networks.teacher import CHANNELS, STAGES, Teacher

# timm counts stride 2 as tap 0; these are mien's taps, at strides 4, 8 and 16.
_TIMM_TAPS = (1, 2, 3)


@dataclass(frozen=True)
class Trainee:
    """A model to train on faces [N, 3, 256, 256] in 0..1.

    ``fit_before`` is given the training faces one by one, ``fit_after`` faces that were kept back; they fit
    statistics that belong to the model, before and after its training.
    """

    model: nn.Module
    optimiser: Optimizer
    loss: Callable[[Tensor], Tensor]
    fit_before: Callable[[Iterator[Tensor]], None] = lambda faces: None
    fit_after: Callable[[Iterator[Tensor]], None] = lambda faces: None


@dataclass(frozen=True)
class Peer:
    """How one of anomalib's models is trained here."""

    title: str
    make: Callable[[], Trainee]
    steps: int
    batch: int


def _teacher() -> Teacher:
    return load_checkpoint(REFERENCE).appraisal.teacher


@timm.models.register_model
def packaged_lite0(pretrained: bool = False, **options: object) -> nn.Module:  # noqa: FBT001, FBT002 - timm's
    """Build timm's EfficientNet-Lite0 up to stride 16, with the packaged teacher's weights or untrained.

    anomalib asks timm for backbones by name, and timm downloads their weights; this name needs no download.
    Stages that nothing reads are cut off, and faces are taken in 0..1.
    """
    net = timm.create_model("tf_efficientnet_lite0", features_only=True, out_indices=options["out_indices"])
    net.blocks = net.blocks[: len(STAGES)]
    net.register_forward_pre_hook(lambda _, faces: faces[0] * (255 / 128) - 127 / 128)
    if pretrained:
        # The same tensors in the same order under other names; strict as to their number and shapes.
        weights = _teacher().state_dict().values()
        net.load_state_dict(OrderedDict(zip(net.state_dict(), weights, strict=True)))
    return net


def _stfpm() -> Trainee:
    """anomalib's STFPM as it is: teacher and student are both EfficientNet-Lite0."""
    peer = Stfpm(backbone=packaged_lite0.__name__, layers=_TIMM_TAPS)
    return Trainee(peer.model, peer.configure_optimizers(), lambda faces: peer.loss(*peer.model(faces)))


class WideTeacher(nn.Module):
    """The teacher's features in as many channels as ResNet-18 has at the same strides: 64, 128, 256.

    anomalib's bottleneck and decoder exist for ResNets alone. The widening is drawn once and has orthonormal
    columns, so that lengths and angles between features stay what they are.
    """

    WIDTHS = (64, 128, 256)

    def __init__(self) -> None:
        super().__init__()
        self.teacher = _teacher()
        self.widen = nn.ModuleList(
            nn.Conv2d(own, wide, 1, bias=False) for own, wide in zip(CHANNELS, self.WIDTHS, strict=True)
        )
        for layer in self.widen:
            nn.init.orthogonal_(layer.weight)
        self.requires_grad_(requires_grad=False)

    def forward(self, faces: Tensor) -> dict[str, Tensor]:
        """Map faces to features by the names of ResNet's layers."""
        maps = zip(self.widen, self.teacher(faces), strict=True)
        return {f"layer{place}": widen(features) for place, (widen, features) in enumerate(maps, start=1)}


def _reverse_distillation() -> Trainee:
    """anomalib's Reverse Distillation for ResNet-18, whose encoder is replaced."""
    peer = ReverseDistillation(backbone="resnet18", pre_trained=False)
    peer.model.encoder = WideTeacher()
    return Trainee(peer.model, peer.configure_optimizers(), lambda faces: peer.loss(*peer.model(faces)))


class PatchTeacher(nn.Module):
    """The teacher's features at strides 4 and 8 on the grid of EfficientAD's networks, [N, 64, 56, 56].

    The patch networks see 33 pixels around each of 56 x 56 places 4 pixels apart, without the 4 places at
    each border; the features at stride 16 see several times as much and are left out, since no student of
    theirs could follow them.
    """

    CHANNELS = CHANNELS[0] + CHANNELS[1]
    BORDER = 4

    def __init__(self) -> None:
        super().__init__()
        self.teacher = _teacher()

    def forward(self, faces: Tensor) -> Tensor:
        """Map faces, or one face [3, 256, 256], to features."""
        fine, coarse, _ = self.teacher(faces.reshape(-1, *faces.shape[-3:]))
        coarse = F.interpolate(coarse, fine.shape[-2:], mode="bilinear")
        inside = slice(self.BORDER, -self.BORDER)
        return torch.cat([fine, coarse], dim=1)[:, :, inside, inside]


def _everyday_pictures() -> Iterator[Tensor]:
    """Yield crops [1, 3, 256, 256] of scikit-learn's two photographs, in the place of ImageNet."""
    pictures = [torch.from_numpy(p.copy()).permute(2, 0, 1)[None] / 255 for p in load_sample_images().images]
    while True:
        picture = pictures[int(torch.randint(len(pictures), ()))]
        top, left = (int(torch.randint(size - 255, ())) for size in picture.shape[-2:])
        yield picture[:, :, top : top + 256, left : left + 256]


def _efficient_ad() -> Trainee:
    """anomalib's EfficientAD, small, whose pretrained patch network is replaced."""
    peer = EfficientAd(teacher_out_channels=PatchTeacher.CHANNELS)
    peer.model.teacher = PatchTeacher()
    others = _everyday_pictures()
    trained = [*peer.model.student.parameters(), *peer.model.ae.parameters()]

    def loss(faces: Tensor) -> Tensor:
        return sum(peer.model(batch=faces, batch_imagenet=next(others)))

    def channels(faces: Iterator[Tensor]) -> None:
        peer.model.mean_std.update(peer.teacher_channel_mean_std(_batches(faces)))

    def quantiles(faces: Iterator[Tensor]) -> None:
        peer.model.quantiles.update(peer.map_norm_quantiles(_batches(faces)))

    # The rates of its configure_optimizers, which asks a trainer for the number of steps.
    optimiser = Adam(trained, lr=peer.lr, weight_decay=peer.weight_decay)
    return Trainee(peer.model, optimiser, loss, channels, quantiles)


def _batches(faces: Iterator[Tensor]) -> Iterator[SimpleNamespace]:
    """Present faces as anomalib's batches of one untouched picture, which it takes apart again."""
    for face in faces:
        yield SimpleNamespace(image=face, gt_label=[0])


PEERS = {
    "stfpm": Peer("STFPM", _stfpm, steps=600, batch=8),
    "reverse-distillation": Peer("Reverse Distillation", _reverse_distillation, steps=400, batch=8),
    "efficient-ad": Peer("EfficientAD", _efficient_ad, steps=500, batch=1),
}

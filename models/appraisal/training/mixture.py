"""What batches are drawn from: pools of faces, mixed by weight, the hard ones picked more often."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import torch
from torch import Generator, Tensor

from mien.models.appraisal.training.corruptions import uniform
from mien.models.appraisal.training.nuisance import ordinary
from mien.models.appraisal.training.variation import brightness, vary

# Of how many faces about as bright one is picked.
_NEAREST = 16
# How often a face that costs nothing is picked against one that costs as much as all do on average, and the
# most that a face may cost in averages: one strange photograph must not be all that is seen.
_EASY, _HARDEST = 0.35, 4.0


@dataclass(frozen=True)
class Pool:
    """Aligned faces of one kind, uint8 [K, 3, 256, 256].

    ``weight`` is their share of a batch, in units of all pools' sum. ``bare`` [K] tells who wears neither
    glasses nor hat. ``mined`` pools are looked through for hard faces.
    """

    faces: Tensor
    weight: float
    bare: Tensor
    mined: bool = True


class Mixture:
    """Pools of faces, and how hard each face is, as a tensor [K] of mean 1 for each pool.

    ``rate`` is how often ordinary things are drawn on faces, see ``nuisance.ordinary``.
    """

    def __init__(self, pools: Sequence[Pool], rate: float = 0.0) -> None:
        self.pools = tuple(pools)
        self.rate = rate
        self.hardness = [torch.ones(len(pool.faces)) for pool in pools]
        self._bright = [brightness(pool.faces) for pool in pools]
        self._weights = torch.tensor([pool.weight for pool in pools], dtype=torch.float64)

    def draw(self, size: int, rng: Generator) -> Tensor:
        """Draw faces [size, 3, 256, 256] in 0..1, with ordinary things upon them, and vary what is normal."""
        return torch.stack([self._one(rng) for _ in range(size)])

    def _one(self, rng: Generator) -> Tensor:
        which = int(torch.multinomial(self._weights, 1, generator=rng))
        pool, face = self.pools[which], self._pick(which, rng)
        colours = pool.faces[face].float() / 255
        return vary(ordinary(colours, rng, self.rate, bare=bool(pool.bare[face])), rng)

    def _pick(self, which: int, rng: Generator) -> int:
        """Pick a face by how hard it is, every other time evenly from darkest to brightest.

        So dark skin, rare among the faces at hand, is seen no less often than light skin.
        """
        hardness, bright = self.hardness[which], self._bright[which]
        if uniform(0, 1, rng) < 0.5:
            level = uniform(float(bright.min()), float(bright.max()), rng)
            near = (bright - level).abs().topk(min(_NEAREST, len(bright)), largest=False).indices
            return int(near[torch.multinomial(hardness[near], 1, generator=rng)])
        return int(torch.multinomial(hardness, 1, generator=rng))

    def mine(self, which: int, cost: Tensor) -> None:
        """Let faces of a pool be picked by what each of them costs untouched, [K] of at least 0."""
        relative = (cost / cost.mean().clamp(min=1e-9)).clamp(max=_HARDEST)
        self.hardness[which] = _EASY + relative

    def digest(self) -> str:
        """Return a hash of every face, and of how the pools are mixed."""
        state = sha256()
        for pool in self.pools:
            state.update(repr((tuple(pool.faces.shape), pool.weight, pool.mined)).encode())
            state.update(pool.faces.contiguous().numpy().tobytes())
            state.update(pool.bare.contiguous().numpy().tobytes())
        return state.hexdigest()

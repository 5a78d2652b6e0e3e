"""Batch normalisation folded into the convolution that it follows.

Converters fold it too, but Core ML's then gives the weights new names; folded here, every weight keeps the
name of its module, by which what is quantised is chosen.
"""

import copy
from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norm(module: nn.Module) -> nn.Module:
    """Return a copy of ``module``, in evaluation mode, that computes the same without batch normalisation.

    A normalisation is folded where the module that was registered before it is a convolution, as in every
    network here; another stays.
    """
    folded = copy.deepcopy(module).eval()
    for parent in list(folded.modules()):
        children = list(parent.named_children())
        for (before, conv), (name, norm) in pairwise(children):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, before, fuse_conv_bn_eval(conv, norm))
                setattr(parent, name, nn.Identity())
    return folded

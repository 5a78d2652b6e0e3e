"""Imported once by the server that converters are forked from; see ``isolation``."""

import gc
import logging
import sys
import time
import warnings

from mien.mobile_reference.run.child import end_with_parent

# The server sees that nobody needs it any more only when it has imported all of this, which takes seconds.
end_with_parent()

# coremltools tells of parts that exist on macOS alone, and of a PyTorch newer than its tests.
logging.disable(logging.WARNING)
warnings.simplefilter("ignore")

import torch  # noqa: E402, F401, I001 - torch goes first: coremltools has crashed when it did

import onnx  # noqa: E402, F401
import ai_edge_quantizer  # noqa: E402, F401

# coremltools loads TensorFlow where there is one, and Triton, which PyTorch loads later, then crashes. It
# loads torchvision too, which it needs for training alone, and which brings PyTorch's compiler: two seconds.
_NOT_LOADED = ("tensorflow", "torchvision")
sys.modules.update(dict.fromkeys(_NOT_LOADED))  # type: ignore[arg-type]
import coremltools  # noqa: E402, F401

for name in _NOT_LOADED:
    del sys.modules[name]
logging.disable(logging.NOTSET)
warnings.resetwarnings()

# Every conversion of coremltools looks for garbage, several times, and need not look among what is imported.
gc.freeze()

SECONDS = time.process_time()
"""What the imports took, in processor seconds."""

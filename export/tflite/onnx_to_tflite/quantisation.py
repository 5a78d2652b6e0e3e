"""TensorFlow's own int8 quantisation, for comparison."""

from pathlib import Path


def quantise_saved_model(saved: str, calibration: str, made: str) -> Path:
    """Quantise a SavedModel by TFLiteConverter with its defaults.

    ``calibration`` is an .npz file: for every input an array whose first axis counts the samples. ``made`` is
    the file that is written.
    """
    import numpy as np
    import tensorflow as tf

    samples = np.load(calibration, allow_pickle=False)
    count = len(samples[samples.files[0]])
    converter = tf.lite.TFLiteConverter.from_saved_model(saved)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: (
        {name: samples[name][number] for name in samples.files} for number in range(count)
    )
    target = Path(made)
    target.write_bytes(converter.convert())
    return target

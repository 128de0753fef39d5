"""Writes a net's .tflite file: one-bit by Larq Compute Engine, float32 or int8 by TensorFlow Lite.

In: net, form (`binary`, `binary-dense`, `float`, `int8`), batch, output file. The weights are the
same for every batch. Needs the environment `larq`.
"""

import argparse
import os
from pathlib import Path

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import larq_compute_engine as lce
import numpy as np
import tensorflow as tf

import nets

# Images whose ranges set the int8 scales.
N_REPRESENTATIVE = 16


def converted(name, form, batch):
    """The file's bytes."""
    if form.startswith("binary"):
        return lce.convert_keras_model(nets.build(name, form, batch))
    model = nets.build(name, "float", batch)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if form == "int8":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: random_images(model.input.shape)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.int8
        converter.inference_output_type = tf.int8
    return converter.convert()


def random_images(shape):
    """Inputs of the model, of the kind its batch norms were calibrated with."""
    generator = np.random.default_rng(nets.SEED + 1)
    for _ in range(N_REPRESENTATIVE):
        yield [generator.uniform(-1, 1, shape).astype(np.float32)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("net", choices=nets.NETS)
    parser.add_argument("form", choices=[*nets.FORMS, "int8"])
    parser.add_argument("batch", type=int)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    options.out.write_bytes(converted(options.net, options.form, options.batch))


if __name__ == "__main__":
    main()

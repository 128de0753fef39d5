"""Larq on TensorFlow's CPU build, trained by `fit`, which is Larq's documented way.

Run by train_speed.py in its own environment. --compile turns on XLA (`jit_compile`).
"""

import os

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import larq
import tensorflow as tf

import workload


def binary_net():
    """Binary dense, batch norm, for each layer; a layer's inputs are signed as they come in."""
    net = tf.keras.Sequential()
    for idx, (n_in, n_out) in enumerate(zip(workload.WIDTHS, workload.WIDTHS[1:])):
        net.add(
            larq.layers.QuantDense(
                n_out,
                # The images are +-1 already.
                input_quantizer=None if idx == 0 else "ste_sign",
                kernel_quantizer="ste_sign",
                kernel_constraint="weight_clip",
                use_bias=False,
                input_shape=(n_in,),
            )
        )
        net.add(tf.keras.layers.BatchNormalization())
    return net


class Timed(tf.keras.callbacks.Callback):
    """Times each epoch of `fit`."""

    def __init__(self):
        super().__init__()
        self.clock = workload.EpochClock()

    def on_epoch_begin(self, epoch, logs=None):
        self.clock.start()

    def on_epoch_end(self, epoch, logs=None):
        self.clock.stop(logs["loss"])


def main():
    options = workload.options(__doc__)
    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(options.threads)
    tf.keras.utils.set_random_seed(1)
    images, labels = workload.images_and_labels(options)
    net = binary_net()
    net.compile(
        optimizer=tf.keras.optimizers.Adam(workload.LEARNING_RATE),
        loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=options.compile,
    )
    # Warm up on both batch sizes of an epoch.
    n_warm = 2 * options.batch + len(images) % options.batch
    fit = {"batch_size": options.batch, "verbose": 0}
    net.fit(images[:n_warm], labels[:n_warm], **fit)
    timed = Timed()
    net.fit(images, labels, epochs=options.epochs, callbacks=[timed], **fit)
    versions = {"larq": larq.__version__, "tensorflow": tf.__version__}
    workload.answer(timed.clock, versions)


if __name__ == "__main__":
    main()

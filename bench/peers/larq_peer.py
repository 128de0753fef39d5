"""Larq on TensorFlow's CPU build, trained by `fit`, which is Larq's documented way.

Run by train_speed.py in its own environment. --compile turns on XLA (`jit_compile`).
"""

import os

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import larq
import tensorflow as tf

import larq_nets
import train_nets
import workload


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
    if options.bf16:
        raise SystemExit("Larq's own layers keep float32; leave out --bf16")
    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(options.threads)
    tf.keras.utils.set_random_seed(1)
    images, labels = workload.images_and_labels(options)
    facts = train_nets.NETS[options.net]
    net = larq_nets.build(options.net, facts.shape)
    train_nets.check_binary_weights(options.net, larq_nets.n_binary_weights(net))
    net.compile(
        optimizer=tf.keras.optimizers.Adam(facts.learning_rate),
        loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=options.compile,
    )
    n_warm = workload.n_warm_images(options, len(images))
    fit = {"batch_size": options.batch, "verbose": 0}
    net.fit(images[:n_warm], labels[:n_warm], **fit)
    timed = Timed()
    net.fit(images, labels, epochs=options.epochs, callbacks=[timed], **fit)
    versions = {"larq": larq.__version__, "tensorflow": tf.__version__}
    workload.answer(timed.clock, versions)


if __name__ == "__main__":
    main()

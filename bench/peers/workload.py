"""The work every Python peer does: the data, the command line, the timing, the answer.

In: a function that trains some epochs. Out: one JSON object on the last line of standard output.
Imports nothing but numpy and the standard library, as it runs in each peer's own environment.
"""

import argparse
import gzip
import json
import os
import time
from pathlib import Path

import numpy as np

WIDTHS = (784, 1024, 1024, 1024, 10)
LEARNING_RATE = 1e-3
# A pixel of at least this value is +1, any other -1.
PIXEL_THRESHOLD = 128


def options(description):
    """The peer's command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=3, help="timed epochs")
    parser.add_argument("--images", type=int, default=60_000, help="images in an epoch")
    parser.add_argument("--data", type=Path, help="folder of MNIST idx.gz files; random without")
    parser.add_argument("--compile", action="store_true", help="compile the step, where possible")
    return parser.parse_args()


def images_and_labels(options):
    """Images as +-1 float32 [n, 784], labels as int64 [n]."""
    if options.data is None:
        generator = np.random.default_rng(1)
        pixels = generator.integers(0, 256, (options.images, WIDTHS[0]), dtype=np.uint8)
        labels = generator.integers(0, WIDTHS[-1], options.images)
    else:
        pixels = read_idx(options.data / "train-images-idx3-ubyte.gz", header=16)
        pixels = pixels.reshape(-1, WIDTHS[0])[: options.images]
        labels = read_idx(options.data / "train-labels-idx1-ubyte.gz", header=8)[: options.images]
    bits = np.where(pixels >= PIXEL_THRESHOLD, np.float32(1), np.float32(-1))
    return bits, labels.astype(np.int64)


def read_idx(path, header):
    """The bytes after the header of an idx.gz file."""
    with gzip.open(path, "rb") as file:
        return np.frombuffer(file.read(), dtype=np.uint8, offset=header)


class EpochClock:
    """Wall and CPU seconds of each epoch; CPU counts all threads of the process."""

    def __init__(self):
        self.epochs = []

    def start(self):
        self.began = time.perf_counter(), time.process_time()

    def stop(self, mean_loss):
        wall = time.perf_counter() - self.began[0]
        cpu = time.process_time() - self.began[1]
        self.epochs.append({"wall_s": wall, "cpu_s": cpu, "loss": float(mean_loss)})


def answer(clock, versions):
    """Prints what train_speed.py reads."""
    cores = sorted(os.sched_getaffinity(0))
    print(json.dumps({"epochs": clock.epochs, "versions": versions, "cores": cores}))

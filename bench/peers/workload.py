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

from train_nets import NETS

N_CLASSES = 10
# A pixel of MNIST of at least this value is +1, any other -1.
PIXEL_THRESHOLD = 128
# Of a record of CIFAR-10's binary files: a label, then 32x32 pixels of each colour.
CIFAR_RECORD = 1 + 3 * 32 * 32


def options(description):
    """The peer's command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--net", choices=NETS, default="lfc")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=3, help="timed epochs")
    parser.add_argument("--images", type=int, default=60_000, help="images in an epoch")
    parser.add_argument("--data", type=Path, help="folder of the data set; random without")
    parser.add_argument("--compile", action="store_true", help="compile the step, where possible")
    parser.add_argument("--bf16", action="store_true", help="products in bfloat16, where possible")
    return parser.parse_args()


def images_and_labels(options):
    """Images as float32 `[n, *shape]`, labels as int64 `[n]`.

    Pixels are -1 or +1 for MNIST and from -1 to 1, channels last, for CIFAR-10.
    """
    net = NETS[options.net]
    if options.data is None:
        generator = np.random.default_rng(1)
        pixels = generator.integers(0, 256, (options.images, *net.shape), dtype=np.uint8)
        labels = generator.integers(0, N_CLASSES, options.images)
    elif net.data == "mnist":
        pixels = read_idx(options.data / "train-images-idx3-ubyte.gz", header=16)
        pixels = pixels.reshape(-1, *net.shape)[: options.images]
        labels = read_idx(options.data / "train-labels-idx1-ubyte.gz", header=8)[: options.images]
    else:
        pixels, labels = read_cifar10(options.data, options.images)
    if net.data == "mnist":
        values = np.where(pixels >= PIXEL_THRESHOLD, np.float32(1), np.float32(-1))
    else:
        values = pixels.astype(np.float32) / np.float32(127.5) - np.float32(1)
    return values, labels.astype(np.int64)


def read_idx(path, header):
    """The bytes after the header of an idx.gz file."""
    with gzip.open(path, "rb") as file:
        return np.frombuffer(file.read(), dtype=np.uint8, offset=header)


def read_cifar10(folder, n_images):
    """The first images `[n, 32, 32, 3]` and labels `[n]` of data_batch_1.bin to _5.bin."""
    parts = []
    for number in range(1, 6):
        if sum(map(len, parts)) < n_images:
            records = np.fromfile(folder / f"data_batch_{number}.bin", dtype=np.uint8)
            parts.append(records.reshape(-1, CIFAR_RECORD))
    records = np.concatenate(parts)[:n_images]
    pixels = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(pixels), records[:, 0]


def n_warm_images(options, n_images):
    """Images of the pass before the timed ones: some batches, and the last, shorter one."""
    return NETS[options.net].n_warm_batches * options.batch + n_images % options.batch


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

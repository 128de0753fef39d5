"""The nets that train_speed.py can train, as facts that every peer shares.

Imports nothing but the standard library, as it is read by train_speed.py and in each peer's own
environment. The topologies themselves are in torch_nets.py, larq_nets.py and onebit's recipes.
"""

import dataclasses
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


@dataclasses.dataclass(frozen=True)
class TrainNet:
    """One net: its data, its recipe, and how an epoch of it is timed."""

    title: str
    # One line for the record: what is trained.
    topology: str
    data: str
    # Height, width, channels of an image, or its number of pixels.
    shape: tuple
    # Images in an epoch.
    n_images: int
    recipe: Path
    learning_rate: float
    # Batches of n images that come before the timed epochs.
    n_warm_batches: int
    # Weights of one bit: what a peer built is compared with this before it trains.
    n_binary: int


NETS = {
    "lfc": TrainNet(
        "LFC",
        "784-1024-1024-1024-10, one-bit weights and activations, batch norm, Adam.",
        "mnist",
        (784,),
        60_000,
        HERE / "lfc.toml",
        1e-3,
        2,
        2_910_208,
    ),
    "cnv": TrainNet(
        "CNV",
        "FINN's CNV, no padding: 2x64C3-MP2-2x128C3-MP2-2x256C3-2x512-10, one-bit weights and "
        "activations.",
        "cifar10",
        (32, 32, 3),
        50_000,
        ROOT / "zoo/cifar10-cnv.toml",
        5e-3,
        5,
        1_542_848,
    ),
    "resnet20": TrainNet(
        "ResNet-20",
        "18 one-bit 3x3 convolutions of 16, 32 and 64 channels, each with batch norm, a real "
        "shortcut and PReLU, between a real stem and a real head.",
        "cifar10",
        (32, 32, 3),
        50_000,
        ROOT / "zoo/cifar10-resnet20.toml",
        5e-3,
        5,
        267_264,
    ),
}


def check_binary_weights(name, n_binary):
    """Ends the process when a peer's net is not the one that the others train."""
    expected = NETS[name].n_binary
    if n_binary != expected:
        raise SystemExit(f"{name} has {n_binary} one-bit weights here, but must have {expected}")

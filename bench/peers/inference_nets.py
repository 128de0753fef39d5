"""Which nets inference.py measures, and the files that its engines read.

In: a net, a form, a batch. Out: the file, made once in a work folder whose name says which version
of the scripts made it.
"""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import environments

HERE = Path(__file__).resolve().parent
# What decides the contents of the files.
SOURCES = ("nets.py", "convert.py", "graph.py", "onnx_twin.py", "requirements-larq.txt")

NETS = ("lfc", "cnv", "binarynet", "quicknet", "bireal18")
# The published QuickNet of version 0.2: its file is in the folder of shared models.
SHARED = "quicknet-v0.2"
SHARED_FILE = "models/quicknet/quicknet_modern_schema.tflite"
LAYERS = ("64x56", "128x28", "256x14", "512x7")
# Convolutions in the two nets of a layer shape.
MANY_LAYERS, ONE_LAYER = 9, 1


class Files:
    """Makes the files of the nets under one folder, each once."""

    def __init__(self, cache, shared):
        text = b"".join((HERE / name).read_bytes() for name in SOURCES)
        self.cache = cache
        self.folder = cache / f"nets-{hashlib.sha256(text).hexdigest()[:10]}"
        self.shared = shared

    def get(self, net, form, batch):
        """The file or folder that an engine reads."""
        if form in ("float32", "u8s8", "s8s8"):
            folder = self.made(
                self.folder / f"{net}-onnx",
                "onnx",
                lambda out: ["onnx_twin.py", self.graph(net, "float"), out],
            )
            return folder / ("float.onnx" if form == "float32" else f"{form}.onnx")
        if form == "graph":
            return self.graph(net, "binary")
        return self.tflite(net, form, batch if form.startswith("binary") else 1)

    def tflite(self, net, form, batch):
        if net == SHARED:
            if batch != 1:
                raise ValueError("the published file is for one image at a time")
            return self.shared_file(SHARED_FILE)
        return self.made(
            self.folder / f"{net}-{form}-{batch}.tflite",
            "larq",
            lambda out: ["convert.py", net, form, batch, out],
        )

    def graph(self, net, form):
        """The plain list of operations of a net's file."""
        return self.made(
            self.folder / f"{net}-{form}-graph",
            "larq",
            lambda out: ["graph.py", self.tflite(net, form, 1), out],
        )

    def macs(self, net):
        """Multiplications with additions of the one-bit net for an image."""
        return json.loads((self.graph(net, "binary") / "graph.json").read_text())["macs"]

    def shared_file(self, name):
        if self.shared is None:
            raise ValueError("it is a published file: give its folder with --shared")
        return self.shared / name

    def made(self, path, environment, command):
        """The path, after its script has made it under another name."""
        if path.exists():
            return path
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f"unfinished-{path.name}")
        remove(unfinished)
        script, *arguments = command(unfinished)
        print(f"making {path.name}", file=sys.stderr, flush=True)
        python = environments.python_of(environment, self.cache)
        run([python, HERE / script, *arguments])
        unfinished.rename(path)
        return path


def run(command):
    """Runs a script of this folder. Out: what it printed."""
    done = subprocess.run(
        list(map(str, command)), env=environments.variables(1), capture_output=True, text=True
    )
    if done.returncode != 0:
        raise ValueError(f"{Path(command[1]).name} failed: {done.stderr.strip()[-600:]}")
    return done.stdout


def remove(path):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)

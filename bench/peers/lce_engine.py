"""Larq Compute Engine's Python interpreter. The mode is a comma list of its three switches.

Its public `predict` takes a batch apart and runs one image at a time; the interpreter inside runs
the batch that the file was converted for, and that is what is timed.
"""

import importlib.metadata
import importlib.util
from pathlib import Path

import numpy as np

import engine


MODULE = "interpreter_wrapper_lite"


def interpreter_module():
    """The interpreter alone: its package loads TensorFlow first, for the converter."""
    package = importlib.metadata.distribution("larq-compute-engine")
    path = package.locate_file(f"larq_compute_engine/tflite/python/{MODULE}.so")
    spec = importlib.util.spec_from_file_location(MODULE, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load(options):
    modes = options.mode.split(",")
    inner = interpreter_module().LiteInterpreter(
        Path(options.file).read_bytes(),
        1,
        "reference" in modes,
        "indirect" in modes,
        "xnnpack" in modes,
    )
    shape = tuple(inner.input_shapes[0])
    if shape[0] != options.batch:
        raise ValueError(f"{options.file} was converted for batch {shape[0]}, not {options.batch}")
    versions = {"larq-compute-engine": importlib.metadata.version("larq-compute-engine")}
    return shape, np.ascontiguousarray, lambda x: inner.predict([x])[0], versions


if __name__ == "__main__":
    engine.serve(load, __doc__.splitlines()[0])

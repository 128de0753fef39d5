"""Reads a .tflite file of Larq Compute Engine or TensorFlow Lite into a list of operations.

In: a file of float and one-bit operations (no int8). Out: a folder with `graph.json` and
`arrays.npz`, for the engines that have no reader of their own. Values are NHWC; weights are
[out, height, width, in], one-bit ones as +-1. Needs the environment `larq`.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from flatbuffers import flexbuffers
from tensorflow.lite.python import schema_py_generated as schema

FLOAT32, INT32 = schema.TensorType.FLOAT32, schema.TensorType.INT32
OP_NAMES = {code: name for name, code in vars(schema.BuiltinOperator).items() if name[0] != "_"}
ACTIVATIONS = {0: None, 1: "relu"}


class Reader:
    """One file on its way to a list of operations."""

    def __init__(self, path):
        self.model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
        self.graph = self.model.subgraphs[0]
        self.arrays = {}
        self.ops = []

    def read(self):
        """The whole graph, arrays apart."""
        readers = {
            "CONV_2D": self.conv,
            "DEPTHWISE_CONV_2D": self.depthwise,
            "LceBconv2d": self.bconv,
            "LceQuantize": self.quantize,
            "LceBMaxPool2d": self.bit_max_pool,
            "MAX_POOL_2D": self.pool,
            "AVERAGE_POOL_2D": self.pool,
            "FULLY_CONNECTED": self.dense,
            "RESHAPE": self.reshape,
        }
        for op in self.graph.operators:
            name = self.name(op)
            readers.get(name, self.plain)(op, name)
        source, result = self.graph.inputs[0], self.graph.outputs[0]
        return {
            "input": {"name": self.value(source), "shape": self.shape(source)},
            "output": self.value(result),
            "macs": self.macs(),
            "ops": self.ops,
        }

    def macs(self):
        """Multiplications with additions for an image, one-bit and float."""
        counts = {"bits": 0, "float": 0}
        for op in self.ops:
            if op["op"] in ("conv", "bconv", "dense"):
                # Every output position multiplies with each of its channel's weights.
                positions = int(np.prod(op["shape"][1:-1]))
                kind = "bits" if op["op"] == "bconv" else "float"
                counts[kind] += positions * self.arrays[op["w"]].size
        return counts

    def name(self, op):
        code = self.model.operatorCodes[op.opcodeIndex]
        if code.customCode:
            return code.customCode.decode()
        return OP_NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]

    def shape(self, idx):
        return [int(size) for size in self.graph.tensors[idx].shape]

    def constant(self, idx):
        """The array of a tensor that has one."""
        tensor = self.graph.tensors[idx] if idx >= 0 else None
        data = self.model.buffers[tensor.buffer].data if tensor else None
        if data is None or len(data) == 0:
            return None
        kind = {FLOAT32: np.float32, INT32: np.int32}[tensor.type]
        return np.frombuffer(bytes(data), kind).reshape(self.shape(idx))

    def value(self, idx):
        """A tensor's name in the list; its array is kept when it is a constant."""
        name = f"t{idx}"
        array = self.constant(idx)
        if array is not None:
            self.arrays[name] = array
        return name

    def add(self, op, kind, **attributes):
        values = {"x": self.value(op.inputs[0]), "y": self.value(op.outputs[0])}
        self.ops.append({"op": kind} | values | {"shape": self.shape(op.outputs[0])} | attributes)

    def keep(self, op, role, array):
        """Keeps an array that belongs to an operation. Out: its name."""
        name = f"t{op.outputs[0]}_{role}"
        self.arrays[name] = array
        return name

    def window(self, op, kernel, strides, padding, same):
        """Strides and explicit padding [top, left, bottom, right] of a sliding window."""
        size = self.shape(op.inputs[0])[1:3]
        pads = [0, 0, 0, 0]
        for axis in range(2):
            if padding == same:
                n_out = -(-size[axis] // strides[axis])
                total = max((n_out - 1) * strides[axis] + kernel[axis] - size[axis], 0)
                pads[axis], pads[axis + 2] = total // 2, total - total // 2
        return {"strides": [int(stride) for stride in strides], "pads": [int(pad) for pad in pads]}

    def conv(self, op, name, groups=1, weights=None):
        options = op.builtinOptions
        if (options.dilationHFactor, options.dilationWFactor) != (1, 1):
            raise ValueError("a dilated convolution is not handled")
        weights = self.constant(op.inputs[1]) if weights is None else weights
        strides = (options.strideH, options.strideW)
        self.add(
            op,
            "conv",
            w=self.keep(op, "w", weights),
            b=self.keep(op, "b", self.constant(op.inputs[2])),
            groups=groups,
            activation=ACTIVATIONS[options.fusedActivationFunction],
            **self.window(op, weights.shape[1:3], strides, options.padding, schema.Padding.SAME),
        )

    def depthwise(self, op, name):
        """A convolution with a group for each input channel."""
        weights = self.constant(op.inputs[1]).transpose(3, 1, 2, 0)
        self.conv(op, name, groups=self.shape(op.inputs[0])[-1], weights=weights)

    def bconv(self, op, name):
        options = flexbuffers.Loads(bytes(op.customOptions))
        if self.graph.tensors[op.inputs[0]].type != INT32:
            raise ValueError("a file of the 2020 schema is not handled; use the current one")
        weights = signs(self.constant(op.inputs[1]), options["channels_in"])
        extra = {"k": int(np.prod(weights.shape[1:]))}
        threshold = self.constant(op.inputs[4])
        if threshold is not None:
            extra["threshold"] = self.keep(op, "threshold", threshold)
        else:
            extra["mul"] = self.keep(op, "mul", self.constant(op.inputs[2]))
            extra["add"] = self.keep(op, "add", self.constant(op.inputs[3]))
        strides = (options["stride_height"], options["stride_width"])
        self.add(
            op,
            "bconv",
            w=self.keep(op, "w", weights),
            pad_value=options["pad_values"],
            activation=ACTIVATIONS[options["fused_activation_function"]],
            **self.window(op, weights.shape[1:3], strides, options["padding"], schema.Padding.SAME),
            **extra,
        )

    def quantize(self, op, name):
        self.add(op, "sign", channels=self.shape(op.inputs[0])[-1])

    def bit_max_pool(self, op, name):
        options = flexbuffers.Loads(bytes(op.customOptions))
        kernel = [options["filter_height"], options["filter_width"]]
        strides = (options["stride_height"], options["stride_width"])
        window = self.window(op, kernel, strides, options["padding"], schema.Padding.SAME)
        self.add(op, "max_pool", kernel=kernel, **window)

    def pool(self, op, name):
        options = op.builtinOptions
        kernel = [options.filterHeight, options.filterWidth]
        strides = (options.strideH, options.strideW)
        window = self.window(op, kernel, strides, options.padding, schema.Padding.SAME)
        kind = "max_pool" if name == "MAX_POOL_2D" else "average_pool"
        self.add(op, kind, kernel=kernel, **window)

    def dense(self, op, name):
        weights = self.constant(op.inputs[1])
        bias = self.constant(op.inputs[2]) if len(op.inputs) > 2 else None
        bias = np.zeros(len(weights), np.float32) if bias is None else bias
        activation = ACTIVATIONS[op.builtinOptions.fusedActivationFunction]
        names = {"w": self.keep(op, "w", weights), "b": self.keep(op, "b", bias)}
        self.add(op, "dense", activation=activation, **names)

    def reshape(self, op, name):
        self.add(op, "flatten", from_shape=self.shape(op.inputs[0]))

    def plain(self, op, name):
        """Operations without attributes of interest; others are refused."""
        if name in ("ADD", "MUL"):
            activation = ACTIVATIONS[op.builtinOptions.fusedActivationFunction]
            self.add(op, name.lower(), other=self.value(op.inputs[1]), activation=activation)
        elif name == "CONCATENATION":
            self.add(op, "concat", other=self.value(op.inputs[1]))
        elif name in ("MEAN", "RELU", "SOFTMAX"):
            self.add(op, name.lower())
        else:
            raise ValueError(f"the operation {name} is not handled")


def signs(words, channels):
    """Packed words [out, height, width, words] as +-1 int8 [out, height, width, channels]."""
    bits = np.unpackbits(words.view(np.uint8), axis=-1, bitorder="little")[..., :channels]
    return (1 - 2 * bits.astype(np.int8)).astype(np.int8)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    reader = Reader(options.file)
    graph = reader.read()
    options.out.mkdir(parents=True, exist_ok=True)
    np.savez(options.out / "arrays.npz", **reader.arrays)
    (options.out / "graph.json").write_text(json.dumps(graph, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Writes the ONNX files of a float net: float32, and int8 with QDQ nodes in onnxruntime's two ways.

In: a folder that graph.py wrote, and a folder for `float.onnx`, `u8s8.onnx` (unsigned activations,
signed weights) and `s8s8.onnx`. Values are NCHW; the batch is free. Needs the environment `onnx`.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

OPSET = 17
# The newest version of the format is not yet read by every onnxruntime.
IR_VERSION = 8
N_REPRESENTATIVE = 16


class Writer:
    """Builds the float model operation by operation."""

    def __init__(self, folder):
        self.graph = json.loads((folder / "graph.json").read_text())
        self.arrays = np.load(folder / "arrays.npz")
        self.nodes = []
        self.constants = {}
        # NHWC shapes of the values, as in the .tflite file.
        self.shapes = {self.graph["input"]["name"]: self.graph["input"]["shape"]}
        # Rows that were an image: the weights after them wait for NHWC.
        self.flattened = {}

    def model(self):
        source, result = self.graph["input"], self.graph["output"]
        for op in self.graph["ops"]:
            getattr(self, op["op"])(op)
            self.shapes[op["y"]] = op["shape"]
        described = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *turned(shape)[1:]])
            for name, shape in ((source["name"], source["shape"]), (result, self.shapes[result]))
        ]
        constants = [numpy_helper.from_array(array, name) for name, array in self.constants.items()]
        graph = helper.make_graph(self.nodes, "twin", described[:1], described[1:], constants)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
        onnx.checker.check_model(model)
        return onnx.shape_inference.infer_shapes(model)

    def constant(self, name, array):
        self.constants[name] = np.ascontiguousarray(array)
        return name

    def node(self, kind, inputs, op, **attributes):
        """A node, and the ReLU after it where the operation has one."""
        relu = op.get("activation") == "relu"
        output = op["y"] + "_before" if relu else op["y"]
        self.nodes.append(helper.make_node(kind, inputs, [output], output, **attributes))
        if relu:
            self.nodes.append(helper.make_node("Relu", [output], [op["y"]], op["y"]))

    def conv(self, op):
        weights = self.constant(op["w"], self.arrays[op["w"]].transpose(0, 3, 1, 2))
        inputs = [op["x"], weights, self.constant(op["b"], self.arrays[op["b"]])]
        window = {"strides": op["strides"], "pads": op["pads"]}
        self.node("Conv", inputs, op, group=op["groups"], **window)

    def dense(self, op):
        weights, source = self.arrays[op["w"]], op["x"]
        if len(self.shapes[source]) == 4:
            self.flattened[source] = self.shapes[source]
            source = self.flat(source, op["y"] + "_row")
        if op["x"] in self.flattened:
            _, height, width, channels = self.flattened[op["x"]]
            weights = weights.reshape(-1, height, width, channels).transpose(0, 3, 1, 2)
            weights = weights.reshape(len(weights), -1)
        inputs = [source, self.constant(op["w"], weights)]
        self.node("Gemm", [*inputs, self.constant(op["b"], self.arrays[op["b"]])], op, transB=1)

    def flat(self, source, result):
        self.nodes.append(helper.make_node("Flatten", [source], [result], result, axis=1))
        return result

    def flatten(self, op):
        self.flattened[op["y"]] = op["from_shape"]
        self.flat(op["x"], op["y"])

    def max_pool(self, op):
        self.node("MaxPool", [op["x"]], op, **pool(op))

    def average_pool(self, op):
        self.node("AveragePool", [op["x"]], op, count_include_pad=0, **pool(op))

    def mean(self, op):
        self.node("GlobalAveragePool", [op["x"]], op)

    def relu(self, op):
        self.node("Relu", [op["x"]], op)

    def softmax(self, op):
        self.node("Softmax", [op["x"]], op, axis=1)

    def add(self, op):
        self.node("Add", [op["x"], self.operand(op["other"])], op)

    def mul(self, op):
        self.node("Mul", [op["x"], self.operand(op["other"])], op)

    def operand(self, name):
        """A computed value, or a constant for each channel."""
        if name not in self.arrays:
            return name
        return self.constant(name, self.arrays[name].reshape(1, -1, 1, 1))


def pool(op):
    return {"kernel_shape": op["kernel"], "strides": op["strides"], "pads": op["pads"]}


def turned(shape):
    """An NHWC shape as NCHW; a row stays one."""
    return [shape[0], shape[-1], *shape[1:-1]]


class Images(CalibrationDataReader):
    """Random images that set the int8 scales."""

    def __init__(self, name, shape):
        generator = np.random.default_rng(8)
        self.images = iter(
            {name: generator.uniform(-1, 1, (1, *shape[1:])).astype(np.float32)}
            for _ in range(N_REPRESENTATIVE)
        )

    def get_next(self):
        return next(self.images, None)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("graph", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    writer = Writer(options.graph)
    float_file = options.out / "float.onnx"
    onnx.save(writer.model(), float_file)
    source = writer.graph["input"]
    for name, activations in (("u8s8", QuantType.QUInt8), ("s8s8", QuantType.QInt8)):
        quantize_static(
            float_file,
            options.out / f"{name}.onnx",
            Images(source["name"], turned(source["shape"])),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=activations,
            weight_type=QuantType.QInt8,
        )


if __name__ == "__main__":
    main()

"""OpenVINO's one-bit convolution, on a graph built by hand: no converter makes that operation.

The file is a folder that graph.py wrote. ONEDNN_MAX_CPU_ISA=AVX2 in the environment keeps it off
AVX-512.
"""

import json
from pathlib import Path

import numpy as np
import openvino
from openvino.runtime import op as ops
from openvino.runtime import opset1, opset8

import engine

# The largest float32 below zero that is not subnormal: sign(0) is +1, FakeQuantize compares by `>`.
BELOW_ZERO = -np.finfo(np.float32).tiny


class Builder:
    """Builds the model operation by operation. Values are NCHW; bits are 0 and 1."""

    def __init__(self, folder, batch):
        self.graph = json.loads((folder / "graph.json").read_text())
        self.arrays = np.load(folder / "arrays.npz")
        self.batch = batch
        self.values = {}
        # Bits that are not yet made: (value, limits).
        self.before_bits = {}

    def model(self):
        image = opset1.parameter([self.batch, *self.graph["input"]["shape"][1:]], np.float32)
        # OpenVINO keeps NHWC in memory here, and turns nothing.
        turned = opset1.transpose(image, np.array([0, 3, 1, 2]))
        self.values[self.graph["input"]["name"]] = turned
        for op in self.graph["ops"]:
            self.values[op["y"]] = getattr(self, op["op"])(op)
        return openvino.Model([self.values[self.graph["output"]]], [image])

    def value(self, name):
        """A computed value, or a constant for each channel."""
        if name in self.values:
            return self.values[name]
        return self.per_channel(self.arrays[name])

    def per_channel(self, array):
        return opset1.constant(np.asarray(array, np.float32).reshape(1, -1, 1, 1))

    def activated(self, value, op):
        return opset1.relu(value) if op.get("activation") == "relu" else value

    def bits(self, value, above):
        """1 where the value is above its channel's limit, else 0.

        The outputs must be 0 and 1: with -1 and 1 the convolution after it reads constants,
        silently. Each constant is one of its own: the convolution before it takes in no operation
        that shares them.
        """
        low, high, zero, one = map(self.per_channel, (above, above, [0], [1]))
        return opset1.fake_quantize(value, low, high, zero, one, 2)

    def sign(self, op):
        return self.bits(self.value(op["x"]), np.full(op["channels"], BELOW_ZERO))

    def bconv(self, op):
        weights = self.arrays[op["w"]].transpose(0, 3, 1, 2)
        packed = np.packbits((weights > 0).ravel(), bitorder="little")
        tensor = openvino.Tensor(packed, openvino.Shape(weights.shape), openvino.Type.u1)
        value = opset1.binary_convolution(
            self.value(op["x"]),
            ops.Constant(tensor),
            op["strides"],
            op["pads"][:2],
            op["pads"][2:],
            [1, 1],
            "xnor-popcount",
            float(op["pad_value"]),
        )
        if "threshold" in op:
            # +1 while at most `threshold` products are -1. Sums are k - 2 * that number.
            limit = self.arrays[op["threshold"]].astype(np.float64)
            above = op["k"] - 2 * np.clip(limit, -1, op["k"]) - 1
            self.before_bits[op["y"]] = value, above
            return self.bits(value, above)
        value = opset1.multiply(self.activated(value, op), self.value(op["mul"]))
        return opset1.add(value, self.value(op["add"]))

    def conv(self, op):
        weights = self.arrays[op["w"]].transpose(0, 3, 1, 2)
        window = [op["strides"], op["pads"][:2], op["pads"][2:], [1, 1]]
        if op["groups"] == 1:
            kernel = opset1.constant(np.ascontiguousarray(weights))
            value = opset1.convolution(self.value(op["x"]), kernel, *window)
        else:
            split = (op["groups"], weights.shape[0] // op["groups"], *weights.shape[1:])
            kernel = opset1.constant(np.ascontiguousarray(weights.reshape(split)))
            value = opset1.group_convolution(self.value(op["x"]), kernel, *window)
        return self.activated(opset1.add(value, self.value(op["b"])), op)

    def max_pool(self, op):
        window = [op["strides"], op["pads"][:2], op["pads"][2:], op["kernel"]]
        if op["x"] in self.before_bits:
            # It pools no bits. The greatest sum is above its limit when one of the sums is.
            value, above = self.before_bits[op["x"]]
            return self.bits(opset1.max_pool(value, *window), above)
        return opset1.max_pool(self.value(op["x"]), *window)

    def average_pool(self, op):
        window = [op["strides"], op["pads"][:2], op["pads"][2:], op["kernel"]]
        # Pixels outside do not count, as in the .tflite file.
        return opset1.avg_pool(self.value(op["x"]), *window, exclude_pad=True)

    def mean(self, op):
        return opset1.reduce_mean(self.value(op["x"]), np.array([2, 3]), keep_dims=True)

    def add(self, op):
        return self.activated(opset1.add(self.value(op["x"]), self.value(op["other"])), op)

    def mul(self, op):
        return self.activated(opset1.multiply(self.value(op["x"]), self.value(op["other"])), op)

    def concat(self, op):
        return opset1.concat([self.value(op["x"]), self.value(op["other"])], 1)

    def relu(self, op):
        return opset1.relu(self.value(op["x"]))

    def flatten(self, op):
        if op["from_shape"][1:3] != [1, 1]:
            raise ValueError("an image of more than one pixel is not flattened here")
        return self.value(op["x"])

    def dense(self, op):
        """On one pixel: as a 1x1 convolution, whose result stays NCHW."""
        weights = opset1.constant(np.ascontiguousarray(self.arrays[op["w"]][:, :, None, None]))
        value = opset1.convolution(self.value(op["x"]), weights, [1, 1], [0, 0], [0, 0], [1, 1])
        return self.activated(opset1.add(value, self.value(op["b"])), op)

    def softmax(self, op):
        return opset8.softmax(self.value(op["x"]), 1)


def load(options):
    builder = Builder(Path(options.file), options.batch)
    settings = {
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        # Otherwise float layers run in bfloat16 where the CPU has it.
        "INFERENCE_PRECISION_HINT": "f32",
    }
    request = openvino.Core().compile_model(builder.model(), "CPU", settings).create_infer_request()
    shape = (options.batch, *builder.graph["input"]["shape"][1:])

    def run(images):
        request.infer([images], share_inputs=True)
        return np.moveaxis(request.get_output_tensor(0).data, 1, -1)

    return shape, np.ascontiguousarray, run, {"openvino": openvino.__version__.split("-")[0]}


if __name__ == "__main__":
    engine.serve(load, __doc__.splitlines()[0])

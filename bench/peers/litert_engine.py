"""LiteRT, the successor of TensorFlow Lite, with its XNNPACK delegate, one thread."""

import importlib.metadata

import numpy as np
from ai_edge_litert.interpreter import Interpreter

import engine


def load(options):
    interpreter = Interpreter(model_path=options.file, num_threads=1)
    source = interpreter.get_input_details()[0]
    shape = (options.batch, *(int(size) for size in source["shape"][1:]))
    interpreter.resize_tensor_input(source["index"], shape)
    interpreter.allocate_tensors()
    result = interpreter.get_output_details()[0]["index"]

    def prepare(images):
        if source["dtype"] == np.float32:
            return images
        scale, zero = source["quantization"]
        return np.clip(np.round(images / scale) + zero, -128, 127).astype(np.int8)

    def run(images):
        interpreter.set_tensor(source["index"], images)
        interpreter.invoke()
        return interpreter.get_tensor(result)

    versions = {"ai-edge-litert": importlib.metadata.version("ai-edge-litert")}
    return shape, prepare, run, versions


if __name__ == "__main__":
    engine.serve(load, __doc__.splitlines()[0])

"""onnxruntime on the CPU, one thread. The file's batch is free; here it is fixed."""

import numpy as np
import onnxruntime

import engine


def load(options):
    session_options = onnxruntime.SessionOptions()
    session_options.intra_op_num_threads = 1
    session_options.inter_op_num_threads = 1
    session_options.add_free_dimension_override_by_name("batch", options.batch)
    session = onnxruntime.InferenceSession(
        options.file, session_options, providers=["CPUExecutionProvider"]
    )
    source = session.get_inputs()[0]
    channels, *sides = source.shape[1:]
    shape = (options.batch, *sides, channels)

    def prepare(images):
        return np.ascontiguousarray(np.moveaxis(images, -1, 1))

    def run(images):
        return session.run(None, {source.name: images})[0]

    return shape, prepare, run, {"onnxruntime": onnxruntime.__version__}


if __name__ == "__main__":
    engine.serve(load, __doc__.splitlines()[0])

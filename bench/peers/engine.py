"""What every engine of inference.py does: the command line, the clock, the answers to the driver.

In: a function that loads a file, and commands on standard input. Out: a JSON object for each
command on standard output. Imports nothing but numpy and the standard library, as it runs in each
engine's own environment.

`time SECONDS` runs the net over and over; `answer IN OUT` runs it on the images of a .npy file,
NHWC float32, and writes what it says as [images, outputs]; `end` ends.
"""

import argparse
import json
import sys
import time

import numpy as np

# Calls in a measurement, however long one takes.
MIN_CALLS = 3


def serve(load, description):
    """Loads as the command line says, warms up, and obeys until the end.

    `load(options)` returns the shape of the input in NHWC with its batch, a function from such an
    array to the array that the engine reads, a function that runs the net on that, and versions.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("file")
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--mode", default="", help="a variant of this engine")
    options = parser.parse_args()
    # A library that prints must not disturb the answers.
    answers, sys.stdout = sys.stdout, sys.stderr
    shape, prepare, run, versions = load(options)
    images = np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)
    prepared = prepare(images)
    run(prepared)
    say(answers, {"versions": versions})
    for line in sys.stdin:
        verb, *words = line.split()
        if verb == "time":
            say(answers, timed(lambda: run(prepared), float(words[0])))
        elif verb == "answer":
            say(answers, write_answers(lambda x: run(prepare(x)), shape, *words))
        else:
            break


def say(file, answer):
    print(json.dumps(answer), file=file, flush=True)


def timed(call, seconds):
    """Milliseconds of the calls in so many seconds."""
    times = []
    end = time.perf_counter() + seconds
    while len(times) < MIN_CALLS or time.perf_counter() < end:
        began = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - began))
    return {
        "min_ms": min(times),
        "median_ms": float(np.median(times)),
        "p99_ms": float(np.percentile(times, 99)),
        "calls": len(times),
    }


def write_answers(answer, shape, path_in, path_out):
    """Runs the images of a file, a batch at a time."""
    images = np.load(path_in)
    batch = shape[0]
    if len(images) % batch:
        raise ValueError(f"{len(images)} images are no multiple of the batch {batch}")
    parts = []
    for start in range(0, len(images), batch):
        part = images[start : start + batch].reshape(shape)
        # The engine may write the next answer to the same memory.
        parts.append(np.array(answer(part), np.float32).reshape(batch, -1))
    np.save(path_out, np.concatenate(parts))
    return {"written": path_out}

"""Images for the comparison of answers, and the comparison. Needs only numpy.

`random SHAPE N OUT`: N images of a comma-separated shape, from -1 to 1. `raw FILE SHAPE OUT`:
little-endian float32 as .npy. `compare A B`: two .npy files, as JSON.
"""

import json
import sys

import numpy as np


def shape_of(text):
    return tuple(map(int, text.split(",")))


def compare(path_a, path_b):
    """The largest difference, and whether every image gets the same class."""
    first, second = (np.load(path).astype(np.float64) for path in (path_a, path_b))
    first = first.reshape(len(first), -1)
    second = second.reshape(len(second), -1)
    if first.shape != second.shape:
        sys.exit(f"error: answers of shapes {first.shape} and {second.shape}")
    return {
        "images": len(first),
        "max_difference": float(abs(first - second).max()),
        "same_class": bool((first.argmax(1) == second.argmax(1)).all()),
    }


def main():
    verb, *words = sys.argv[1:]
    if verb == "random":
        shape, count, out = words
        images = np.random.default_rng(3).uniform(-1, 1, (int(count), *shape_of(shape)))
        np.save(out, images.astype(np.float32))
    elif verb == "raw":
        file, shape, out = words
        np.save(out, np.fromfile(file, "<f4").reshape(shape_of(shape)))
    elif verb == "compare":
        print(json.dumps(compare(*words)))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()

"""A Python environment for each peer, made once under a cache folder.

An environment is complete when its stamp holds the very requirements it was installed from; any
other is thrown away and made again, so an interrupted install cannot be measured.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
OLDEST, NEWEST = (3, 10), (3, 12)
STAMP = "onebit-requirements.txt"


def python_of(peer, cache):
    """The peer's interpreter, after installing what it needs."""
    folder = cache / peer
    python = folder / "bin" / "python"
    requirements = HERE / f"requirements-{peer}.txt"
    wanted = requirements.read_text()
    stamp = folder / STAMP
    if stamp.is_file() and stamp.read_text() == wanted:
        return python
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        sys.exit("error: run this with Python 3.10 to 3.12; TensorFlow 2.16 has no other wheels")
    print(f"installing {peer} into {folder}", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--no-cache-dir", "-r", requirements],
        check=True,
    )
    stamp.write_text(wanted)
    return python


def variables(threads):
    """Variables of a measured process: so many threads everywhere, no GPU, quiet TensorFlow."""
    threads = str(threads)
    return os.environ | {
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "RAYON_NUM_THREADS": threads,
        "CUDA_VISIBLE_DEVICES": "",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_USE_LEGACY_KERAS": "1",
    }

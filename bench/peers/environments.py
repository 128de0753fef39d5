"""A Python environment for each peer, made once under a cache folder.

An environment is complete when its stamp holds the very requirements it was installed from; any
other is thrown away and made again, so an interrupted install cannot be measured.
"""

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

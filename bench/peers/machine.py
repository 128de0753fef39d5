"""What a record says about the machine and the code that gave it."""

import datetime
import platform
import subprocess
import time
from pathlib import Path


def description(root):
    """CPU, cores, system, date and commit."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": cpu_name(),
        "n_cores": len(busy_ticks()),
        "system": platform.platform(),
        "python": platform.python_version(),
        "commit": commit(root),
    }


def cpu_name():
    """The kernel's name for the CPU."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, "unknown CPU")


def commit(root):
    """The commit, marked where tracked files differ from it."""

    def git(*args):
        done = subprocess.run(["git", *args], cwd=root, capture_output=True, text=True)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + ("-modified" if changed else "")


def busy_ticks():
    """Clock ticks that each core has spent working since boot, and in all: {core: (busy, all)}."""
    ticks = {}
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name.startswith("cpu") and name != "cpu":
            counts = [int(field) for field in fields[:8]]
            ticks[int(name[3:])] = (sum(counts) - counts[3] - counts[4], sum(counts))
    return ticks


def busy_share(cores, seconds=1.0):
    """How busy these cores are with other work, 0..1, looking for `seconds`."""
    before = busy_ticks()
    time.sleep(seconds)
    after = busy_ticks()
    busy = sum(after[core][0] - before[core][0] for core in cores)
    total = sum(after[core][1] - before[core][1] for core in cores)
    return busy / max(total, 1)

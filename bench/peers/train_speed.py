#!/usr/bin/env python3
"""Seconds to train an epoch: onebit, PyTorch and Larq on the same cores, one after another.

In: a release build of onebit, MNIST (or random images), and the network for pip the first time.
Out: a JSON record and a Markdown table. README.md beside this file says what is compared and how.
"""

import argparse
import dataclasses
import datetime
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import environments
import machine
import onebit_peer
import report

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent

# name on the command line: (name in the table, environment, further arguments of its script)
PEERS = {
    "torch": ("PyTorch", "torch", []),
    "torch-compile": ("PyTorch, torch.compile", "torch", ["--compile"]),
    "larq": ("Larq", "larq", []),
    "larq-compile": ("Larq, XLA", "larq", ["--compile"]),
}
ONEBIT_COMMAND = "{onebit} train {recipe} --data {data} --out {run} --threads {threads}"


@dataclasses.dataclass
class Job:
    """One measurement: who, on which cores, at which batch size."""

    peer: str
    threads: int
    batch: int
    cores: list

    def pinned(self, command):
        """The command, held to the job's cores."""
        return ["taskset", "-c", ",".join(map(str, self.cores)), *map(str, command)]

    def environment(self):
        """One thread a core everywhere, no GPU, quiet TensorFlow."""
        return environments.variables(self.threads)


def parse_options():
    """The command line, with the defaults that depend on the environment filled in."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--peers", default="onebit,torch,torch-compile,larq,larq-compile", help="comma list")
    add("--threads", default="1,2", help="comma list")
    add("--batches", default="256,100", help="comma list")
    add("--epochs", type=int, default=3, help="timed epochs for each measurement")
    add("--cores", help="comma list of cores to use, the first for one thread; default: last ones")
    add("--cache", type=Path, default=ROOT / "target/peers", help="folder of Python environments")
    add("--out", type=Path, default=ROOT / "bench/record", help="folder of the records")
    add("--data", default=None, help="MNIST folder; default $ONEBIT_DATA/mnist, else random images")
    add("--onebit", default=str(ROOT / "target/release/onebit"), help="the program")
    add("--onebit-command", default=ONEBIT_COMMAND, help="template of its command line")
    add("--onebit-field", default="seconds", help="field of log.jsonl that times an epoch")
    add("--recipe", type=Path, default=HERE / "lfc.toml")
    add("--quick", action="store_true", help="smoke test: peers 20 batches, no record kept")
    add("--install-only", action="store_true", help="make the environments and stop")
    options = parser.parse_args()
    if options.data is None and "ONEBIT_DATA" in os.environ:
        options.data = str(Path(os.environ["ONEBIT_DATA"]) / "mnist")
    options.peers = options.peers.split(",")
    for peer in options.peers:
        if peer != "onebit" and peer not in PEERS:
            parser.error(f"there is no peer {peer}; there are onebit, {', '.join(PEERS)}")
    if "onebit" in options.peers and options.data is None and not options.install_only:
        parser.error("onebit wants MNIST: set ONEBIT_DATA or --data, or leave it out of --peers")
    if options.quick:
        options.epochs, options.out = 1, options.cache / "quick"
    return options


def jobs(options):
    """Every measurement, the peers next to each other for equal cores and batch."""
    allowed = sorted(os.sched_getaffinity(0))
    cores = [int(core) for core in options.cores.split(",")] if options.cores else allowed[::-1]
    for threads in map(int, options.threads.split(",")):
        if threads > len(cores):
            sys.exit(f"error: {threads} threads asked for, {len(cores)} cores to use")
        for batch in map(int, options.batches.split(",")):
            for peer in options.peers:
                yield Job(peer, threads, batch, sorted(cores[:threads]))


def measure(job, options):
    """Runs one job. Out: its epochs with what they were measured under."""
    busy = machine.busy_share(job.cores)
    images = onebit_peer.N_TRAINING_IMAGES
    if job.peer == "onebit":
        title = "onebit"
        measured = onebit_peer.measure(job, options.cache / "onebit", options)
    else:
        images = 20 * job.batch if options.quick else images
        title, measured = PEERS[job.peer][0], measure_python(job, options, images)
    if len(measured["epochs"]) < options.epochs:
        raise ValueError(f"{job.peer} timed {len(measured['epochs'])} epochs of {options.epochs}")
    setting = {"threads": job.threads, "batch": job.batch, "images": images, "busy_before": busy}
    return {"trainer": title} | setting | measured


def measure_python(job, options, images):
    """Runs a Python peer in its environment and reads its last line."""
    _, environment, extra = PEERS[job.peer]
    python = environments.python_of(environment, options.cache)
    data = ["--data", options.data] if options.data else []
    sizes = ["--threads", job.threads, "--batch", job.batch]
    sizes += ["--epochs", options.epochs, "--images", images]
    command = job.pinned([python, HERE / f"{environment}_peer.py", *sizes, *data, *extra])
    done = subprocess.run(command, env=job.environment(), capture_output=True, text=True)
    if done.returncode != 0:
        raise ValueError(f"{job.peer} ended with {done.returncode}: {done.stderr.strip()[-400:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure_all(options):
    """Runs every job, goes on after a failing one. Out: results and failures."""
    results, failures = [], []
    for job in jobs(options):
        try:
            measured = measure(job, options)
        except (ValueError, OSError, subprocess.CalledProcessError) as error:
            failures.append(f"{job.peer}, {job.threads} cores, batch {job.batch}: {error}")
            print("failed:", failures[-1], file=sys.stderr)
            continue
        results.append(measured)
        print(report.row(measured), flush=True)
    return results, failures


def write(record, options):
    """Writes DATE-train-speed.json and .md."""
    options.out.mkdir(parents=True, exist_ok=True)
    date = datetime.date.today().isoformat()
    stem = options.out / f"{date}-train-speed"
    stem.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    stem.with_suffix(".md").write_text(report.markdown(record))
    print(f"written: {stem}.json and .md")


def main():
    """Makes the environments, measures, records; exit code 1 when a measurement failed."""
    options = parse_options()
    for environment in sorted({PEERS[peer][1] for peer in options.peers if peer != "onebit"}):
        environments.python_of(environment, options.cache)
    if options.install_only:
        return
    print(report.COLUMNS)
    results, failures = measure_all(options)
    record = {
        "machine": machine.description(ROOT),
        "command": shlex.join(["bench/peers/train_speed.py", *sys.argv[1:]]),
        "results": results,
        "failures": failures,
    }
    write(record, options)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()

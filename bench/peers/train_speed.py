#!/usr/bin/env python3
"""Seconds to train an epoch: onebit, PyTorch and Larq on the same cores, one after another.

In: a release build of onebit, MNIST or CIFAR-10 (or random images), and the network for pip the
first time. The nets are those of train_nets.py: LFC in whole epochs, the others in samples.
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
from train_nets import NETS

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent

# name on the command line: (name in the table, environment, further arguments of its script)
PEERS = {
    "torch": ("PyTorch", "torch", []),
    "torch-compile": ("PyTorch, torch.compile", "torch", ["--compile"]),
    "torch-bf16": ("PyTorch, autocast to bfloat16", "torch", ["--bf16"]),
    "larq": ("Larq", "larq", []),
    "larq-compile": ("Larq, XLA", "larq", ["--compile"]),
}
# name on the command line: (name in the table, the recipe's key `gradients`, None as it is written)
ONEBITS = {
    "onebit": ("onebit", None),
    "onebit-f32": ("onebit, float32 gradients", "f32"),
}
ONEBIT_COMMAND = "{onebit} train {recipe} --data {data} --out {run} --threads {threads}"
SAMPLE_ONEBIT_COMMAND = ONEBIT_COMMAND + " --overwrite --prove 1"
WHOLE_PEERS = "onebit,torch,torch-compile,larq,larq-compile"
SAMPLE_PEERS = "onebit,onebit-f32,torch,torch-bf16,torch-compile,larq,larq-compile"
# Batches that a smoke test trains on: LFC's, and the convolutional nets'.
QUICK_BATCHES, QUICK_SAMPLE_BATCHES = 20, 5


@dataclasses.dataclass
class Job:
    """One measurement: which net, who, on which cores, at which batch size."""

    net: str
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
    add("--net", default="lfc", help=f"{', '.join(NETS)}; comma list of all but the first")
    add("--peers", help=f"comma list; default: {WHOLE_PEERS}, or with other nets {SAMPLE_PEERS}")
    add("--threads", default="1,2", help="comma list")
    add("--batches", help="comma list; default: 256,100, or 128 with other nets than lfc")
    add("--sample", type=int, default=5120, help="images of a timed epoch with other nets than lfc")
    add("--epochs", type=int, default=3, help="timed epochs for each measurement")
    add("--cores", help="comma list of cores to use, the first for one thread; default: last ones")
    add("--cache", type=Path, default=ROOT / "target/peers", help="folder of Python environments")
    add("--out", type=Path, default=ROOT / "bench/record", help="folder of the records")
    add("--data", help="folder of the data set; default: from $ONEBIT_DATA or $ONEBIT_CIFAR10")
    add("--onebit", default=str(ROOT / "target/release/onebit"), help="the program")
    add("--onebit-command", help="template of its command line")
    add("--onebit-field", default="seconds", help="field of log.jsonl that times an epoch")
    add("--recipe", type=Path, help="onebit's recipe; default: the net's own")
    add("--quick", action="store_true", help="smoke test: a few batches, no record kept")
    add("--install-only", action="store_true", help="make the environments and stop")
    options = parser.parse_args()
    check(fill_in(options), parser)
    return options


def fill_in(options):
    """Puts in what depends on the net and the environment. Out: the options."""
    options.nets = options.net.split(",")
    options.samples = options.nets != ["lfc"]
    options.peers = (options.peers or (SAMPLE_PEERS if options.samples else WHOLE_PEERS)).split(",")
    batches = options.batches or ("128" if options.samples else "256,100")
    options.batches = [int(batch) for batch in batches.split(",")]
    if options.onebit_command is None:
        options.onebit_command = SAMPLE_ONEBIT_COMMAND if options.samples else ONEBIT_COMMAND
    if options.data is None:
        options.data = data_folder("cifar10" if options.samples else "mnist", os.environ)
    if options.quick:
        options.epochs, options.out = 1, options.cache / "quick"
    return options


def data_folder(name, variables):
    """Where the environment says that the data set is, None where it says nothing."""
    if name == "cifar10" and variables.get("ONEBIT_CIFAR10"):
        return variables["ONEBIT_CIFAR10"]
    return str(Path(variables["ONEBIT_DATA"]) / name) if "ONEBIT_DATA" in variables else None


def check(options, parser):
    """Ends the program where options do not fit each other."""
    for net in options.nets:
        if net not in NETS:
            parser.error(f"there is no net {net}; there are {', '.join(NETS)}")
    if "lfc" in options.nets and options.samples:
        parser.error("lfc has a table of its own: run it without the other nets")
    if options.recipe is not None and len(options.nets) > 1:
        parser.error("--recipe is for one net: run each net by itself")
    for peer in options.peers:
        if peer not in ONEBITS and peer not in PEERS:
            parser.error(f"there is no peer {peer}; there are {', '.join([*ONEBITS, *PEERS])}")
    if "onebit-f32" in options.peers and not options.samples:
        parser.error("onebit-f32 is onebit with lfc, whose gradients are float32 already")
    for batch in options.batches:
        if options.samples and options.sample % batch != 0:
            parser.error(f"--sample must be a multiple of {batch}: onebit leaves out a rest")
    has_onebit = any(peer in ONEBITS for peer in options.peers)
    if has_onebit and options.data is None and not options.install_only:
        wanted = "ONEBIT_CIFAR10" if options.samples else "ONEBIT_DATA"
        parser.error(f"onebit wants data: set {wanted} or --data, or leave it out of --peers")


def jobs(options):
    """Every measurement, the peers next to each other for equal cores and batch."""
    allowed = sorted(os.sched_getaffinity(0))
    cores = [int(core) for core in options.cores.split(",")] if options.cores else allowed[::-1]
    for net in options.nets:
        for threads in map(int, options.threads.split(",")):
            if threads > len(cores):
                sys.exit(f"error: {threads} threads asked for, {len(cores)} cores to use")
            for batch in options.batches:
                for peer in options.peers:
                    yield Job(net, peer, threads, batch, sorted(cores[:threads]))


def n_images(job, options):
    """Images in each timed epoch of the job."""
    if job.net == "lfc":
        is_short = options.quick and job.peer not in ONEBITS
        return QUICK_BATCHES * job.batch if is_short else NETS["lfc"].n_images
    return QUICK_SAMPLE_BATCHES * job.batch if options.quick else options.sample


def measure(job, options):
    """Runs one job. Out: its epochs with what they were measured under."""
    busy = machine.busy_share(job.cores)
    images = n_images(job, options)
    if job.peer in ONEBITS:
        title, measured = ONEBITS[job.peer][0], measure_onebit(job, options, images)
    else:
        title, measured = PEERS[job.peer][0], measure_python(job, options, images)
    if len(measured["epochs"]) < options.epochs:
        raise ValueError(f"{job.peer} timed {len(measured['epochs'])} epochs of {options.epochs}")
    setting = {"net": job.net, "threads": job.threads, "batch": job.batch, "images": images}
    return {"trainer": title} | setting | {"busy_before": busy} | measured


def measure_onebit(job, options, images):
    """Runs onebit on the net's recipe: whole epochs of LFC, a sample of other nets."""
    options = argparse.Namespace(**vars(options))
    options.recipe = options.recipe or NETS[job.net].recipe
    folder = options.cache / "onebit"
    if job.net == "lfc":
        return onebit_peer.measure(job, folder, options)
    return onebit_peer.measure_sample(job, folder, images, ONEBITS[job.peer][1], options)


def measure_python(job, options, images):
    """Runs a Python peer in its environment and reads its last line."""
    _, environment, extra = PEERS[job.peer]
    python = environments.python_of(environment, options.cache)
    data = ["--data", options.data] if options.data else []
    sizes = ["--net", job.net, "--threads", job.threads, "--batch", job.batch]
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
            place = f"{job.net}, {job.peer}, {job.threads} cores, batch {job.batch}"
            failures.append(f"{place}: {error}")
            print("failed:", failures[-1], file=sys.stderr)
            continue
        results.append(measured)
        line = report.sample_row(measured, results) if options.samples else report.row(measured)
        print(line, flush=True)
    return results, failures


def write(record, options):
    """Writes DATE-train-speed.json and .md, other nets than LFC in the name."""
    options.out.mkdir(parents=True, exist_ok=True)
    date = datetime.date.today().isoformat()
    nets = "".join(f"-{net}" for net in options.nets if net != "lfc")
    stem = options.out / f"{date}-train-speed{nets}"
    stem.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    stem.with_suffix(".md").write_text(report.markdown(record))
    print(f"written: {stem}.json and .md")


def main():
    """Makes the environments, measures, records; exit code 1 when a measurement failed."""
    options = parse_options()
    for environment in sorted({PEERS[peer][1] for peer in options.peers if peer in PEERS}):
        environments.python_of(environment, options.cache)
    if options.install_only:
        return
    print(report.SAMPLE_COLUMNS if options.samples else report.COLUMNS)
    results, failures = measure_all(options)
    record = {
        "machine": machine.description(ROOT),
        "command": shlex.join(["bench/peers/train_speed.py", *sys.argv[1:]]),
        "nets": options.nets,
        "results": results,
        "failures": failures,
    }
    write(record, options)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()

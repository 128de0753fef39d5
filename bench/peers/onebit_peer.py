"""onebit in the same run: its own command line, timed by its own log.

In: the recipe of a net, changed so that only training in bits is timed. Out: the epochs of
`log.jsonl`, whose field `seconds` is one pass over the training images. The first epoch warms up
and is not counted.
"""

import json
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

# How long a program may take to end after SIGINT: it looks for the signal after every step.
STOP_SECONDS = 60
POLL_SECONDS = 0.2


def recipe_text(text, batch, epochs):
    """The recipe with another batch size and number of epochs."""
    for key, value in (("batch", batch), ("epochs", epochs)):
        text, n_replaced = re.subn(rf"(?m)^{key} = \d+$", f"{key} = {value}", text)
        if n_replaced != 1:
            raise ValueError(f"the recipe must have one line `{key} = N`, it has {n_replaced}")
    validation = re.search(r"(?m)^validation = (\d+)$", text)
    if validation is None or validation.group(1) != "0":
        raise ValueError("the recipe must have the line `validation = 0`: an epoch is all images")
    return text


def bitwise_stage_only(text):
    """The recipe without its stages of other kinds than `bitwise`."""
    head, *stages = re.split(r"(?m)^(?=\[\[stage\]\]$)", text)
    bitwise = [stage for stage in stages if re.search(r'(?m)^kind = "bitwise"$', stage)]
    if len(bitwise) != 1:
        raise ValueError(f"the recipe must have one stage of kind bitwise, it has {len(bitwise)}")
    return head + bitwise[0]


def settings(job, images, epochs, gradients):
    """What `--set` changes: a sample without augmentation, all of it trained on."""
    values = {
        "validation": 0,
        "examples": images,
        "stage.0.batch": job.batch,
        "stage.0.epochs": epochs,
        "stage.0.augment_shift": 0,
        "stage.0.recalibrate": 0,
        "stage.0.augment_flip": "false",
    }
    if gradients is not None:
        values["stage.0.gradients"] = f'"{gradients}"'
    return [word for key, value in values.items() for word in ("--set", f"{key}={value}")]


def read_log(path, field, n_warm):
    """The timed epochs of a log.jsonl; lines without the field are other events."""
    entries = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    timed = [entry for entry in entries if field in entry][n_warm:]
    return [
        {"wall_s": entry[field], "cpu_s": entry.get("cpu_seconds"), "loss": entry.get("loss")}
        for entry in timed
    ]


def command_of(job, recipe, run_folder, options):
    """The command template of `options`, filled in."""
    words = {
        "onebit": options.onebit,
        "recipe": recipe,
        "data": options.data,
        "run": run_folder,
        "threads": job.threads,
    }
    return [word.format(**words) for word in shlex.split(options.onebit_command)]


def fresh(folder):
    """The folder, empty."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def measure(job, folder, options):
    """Trains whole epochs of lfc.toml and reads the log. Out: as the other peers."""
    fresh(folder)
    recipe, run_folder = folder / "lfc.toml", folder / "run"
    recipe.write_text(recipe_text(options.recipe.read_text(), job.batch, options.epochs + 1))
    process_cpu = run_timed(
        job.pinned(command_of(job, recipe, run_folder, options)), job.environment()
    )
    logs = sorted(run_folder.rglob("log.jsonl"))
    if not logs:
        raise ValueError(f"onebit wrote no log.jsonl under {run_folder}")
    return {
        "epochs": read_log(logs[0], options.onebit_field, n_warm=1),
        "cores": job.cores,
        "versions": {"onebit": version(options)},
        "process_cpu_s": process_cpu,
    }


def measure_sample(job, folder, images, gradients, options):
    """Trains the bitwise stage of `options.recipe` on a sample of this many images.

    `gradients` is the stage's key of that name, None what the recipe says. The process is ended
    when enough epochs are in its log: evaluation and proof would follow. Out: as the other peers.
    """
    fresh(folder)
    recipe, run_folder = folder / options.recipe.name, folder / "run"
    recipe.write_text(bitwise_stage_only(options.recipe.read_text()))
    # The first epoch warms up, the last one is under way when the process is ended.
    changes = settings(job, images, options.epochs + 2, gradients)
    command = job.pinned(command_of(job, recipe, run_folder, options) + changes)
    with open(folder / "stderr", "w+") as errors:
        process = subprocess.Popen(
            command,
            env=job.environment(),
            stdout=subprocess.DEVNULL,
            stderr=errors,
            preexec_fn=heed_interrupts,
        )
        try:
            epochs = wait_for_epochs(process, run_folder / "log.jsonl", options)
        finally:
            end(process)
        if len(epochs) < options.epochs:
            errors.seek(0)
            said = errors.read().strip()[-400:]
            raise ValueError(f"onebit ended with {process.returncode}: {said}")
    return {
        "epochs": epochs[: options.epochs],
        "cores": job.cores,
        "versions": {"onebit": version(options)},
        "settings": changes[1::2],
    }


def heed_interrupts():
    """In the child: a shell that starts this script in the background has SIGINT ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_for_epochs(process, log, options):
    """Looks into the log until it has the timed epochs or the process ends. Out: what it has.

    The log has no CPU seconds: they are the process' own between the ends of two epochs.
    """
    cpu_at = {}
    while True:
        has_ended = process.poll() is not None
        epochs = read_log(log, options.onebit_field, n_warm=0) if log.exists() else []
        if not has_ended:
            cpu_at.setdefault(len(epochs), cpu_seconds(process.pid))
        if has_ended or len(epochs) > options.epochs:
            break
        time.sleep(POLL_SECONDS)
    for idx, epoch in enumerate(epochs):
        if epoch["cpu_s"] is None and idx in cpu_at and idx + 1 in cpu_at:
            epoch["cpu_s"] = cpu_at[idx + 1] - cpu_at[idx]
    return epochs[1:]


def cpu_seconds(pid):
    """CPU seconds of a child that has not been waited for, all its threads together."""
    # The name, in brackets, may hold spaces; user and system ticks are the 12th and 13th after it.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def end(process):
    """Ends the process as Ctrl-C does, and for good when that does not help."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def run_timed(command, environment):
    """Runs the command. Out: its CPU seconds in all, start and evaluation included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise ValueError(f"onebit ended with {done.returncode}: {done.stderr.strip()[-400:]}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def version(options):
    """What `onebit --version` says."""
    said = subprocess.run([options.onebit, "--version"], capture_output=True, text=True).stdout
    return said.strip().removeprefix("onebit ") or "unknown"

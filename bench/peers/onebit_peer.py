"""onebit in the same run: its own command line, timed by its own log.

In: the recipe lfc.toml with batch and epochs replaced. Out: the epochs of `log.jsonl`, whose field
`seconds` is one pass over the training images. The first epoch warms up and is not counted.
"""

import json
import re
import resource
import shlex
import shutil
import subprocess

N_TRAINING_IMAGES = 60_000


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


def read_log(path, field, n_warm):
    """The timed epochs of a log.jsonl; lines without the field are other events."""
    entries = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    timed = [entry for entry in entries if field in entry][n_warm:]
    return [
        {"wall_s": entry[field], "cpu_s": entry.get("cpu_seconds"), "loss": entry.get("loss")}
        for entry in timed
    ]


def measure(job, folder, options):
    """Trains with the command template of `options` and reads the log. Out: as the other peers."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    recipe = folder / "lfc.toml"
    recipe.write_text(recipe_text(options.recipe.read_text(), job.batch, options.epochs + 1))
    run_folder = folder / "run"
    words = {
        "onebit": options.onebit,
        "recipe": recipe,
        "data": options.data,
        "run": run_folder,
        "threads": job.threads,
    }
    command = [word.format(**words) for word in shlex.split(options.onebit_command)]
    process_cpu = run_timed(job.pinned(command), job.environment())
    logs = sorted(run_folder.rglob("log.jsonl"))
    if not logs:
        raise ValueError(f"onebit wrote no log.jsonl under {run_folder}")
    return {
        "epochs": read_log(logs[0], options.onebit_field, n_warm=1),
        "cores": job.cores,
        "versions": {"onebit": version(options)},
        "process_cpu_s": process_cpu,
    }


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

"""From measured epochs to a table: whole epochs of LFC, samples of the convolutional nets."""

import statistics

from train_nets import NETS

COLUMNS = "| trainer | cores | batch | s/epoch | s/epoch min | CPU s/epoch | busy before |"
SAMPLE_COLUMNS = (
    "| net | trainer | threads | s per 50,000 images | images/s | times onebit's "
    "| CPU s | busy before |"
)


def seconds(measured, images, epoch_images=60_000):
    """Wall and CPU seconds for a whole epoch of `epoch_images`, from epochs of `images`."""
    scale = epoch_images / images
    walls = [epoch["wall_s"] * scale for epoch in measured["epochs"]]
    cpus = [epoch["cpu_s"] * scale for epoch in measured["epochs"] if epoch["cpu_s"] is not None]
    return walls, cpus


def row(measured):
    """One line of the table."""
    walls, cpus = seconds(measured, measured["images"])
    cpu = f"{statistics.median(cpus):.2f}" if cpus else "-"
    cells = [
        measured["trainer"],
        str(measured["threads"]),
        str(measured["batch"]),
        f"{statistics.median(walls):.2f}",
        f"{min(walls):.2f}",
        cpu,
        f"{measured['busy_before']:.0%}",
    ]
    return "| " + " | ".join(cells) + " |"


def sample_row(measured, results):
    """One line of the samples' table, with the ratio to onebit's where `results` has it."""
    n_images = NETS[measured["net"]].n_images
    walls, cpus = seconds(measured, measured["images"], n_images)
    wall = statistics.median(walls)
    base = onebit_seconds(measured, results)
    cells = [
        NETS[measured["net"]].title,
        measured["trainer"],
        str(measured["threads"]),
        f"{wall:.1f}",
        f"{n_images / wall:.0f}",
        f"{wall / base:.2f}" if base else "-",
        f"{statistics.median(cpus):.1f}" if cpus else "-",
        f"{measured['busy_before']:.0%}",
    ]
    return "| " + " | ".join(cells) + " |"


def onebit_seconds(measured, results):
    """onebit's median seconds under the same setting, None where it was not measured."""
    setting = ("net", "threads", "batch")
    for other in results:
        if other["trainer"] == "onebit" and all(other[key] == measured[key] for key in setting):
            walls, _ = seconds(other, other["images"], NETS[other["net"]].n_images)
            return statistics.median(walls)
    return None


def markdown(record):
    """The record as a page: the machine, the command, the table, what failed."""
    machine = record["machine"]
    results = record["results"]
    place = f"{machine['cpu']}, {machine['n_cores']} cores"
    versions = {}
    for measured in results:
        versions.update(measured["versions"])
    lines = [
        "# Seconds to train one epoch",
        "",
        f"{machine['date']}, {place}, commit {machine['commit']}.",
        f"Command: `{record['command']}`.",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in versions.items()) + ".",
        *(sample_table(results) if has_samples(record) else whole_table(results)),
    ]
    if record["failures"]:
        lines += ["", *(f"Failed: {failure}." for failure in record["failures"])]
    return "\n".join(lines) + "\n"


def has_samples(record):
    """Whether the record is of the convolutional nets, whose epochs are scaled from samples."""
    return record.get("nets", ["lfc"]) != ["lfc"]


def whole_table(results):
    """LFC: whole epochs."""
    return [
        f"60,000 images, {NETS['lfc'].topology}",
        "Seconds are medians over the timed epochs, and the least of them.",
        "",
        COLUMNS,
        "|---|---|---|---|---|---|---|",
        *map(row, results),
    ]


def sample_table(results):
    """The convolutional nets: epochs of a sample, scaled to 50,000 images."""
    names = dict.fromkeys(measured["net"] for measured in results)
    sizes = sorted({(measured["images"], measured["batch"]) for measured in results})
    timed = ", ".join(f"{images:,} images in batches of {batch}" for images, batch in sizes)
    n_epochs = min((len(measured["epochs"]) for measured in results), default=0)
    return [
        "CIFAR-10 without augmentation, Adam; a step is forward, backward and update.",
        f"Timed epochs: {n_epochs}, each of {timed}, after a warm-up.",
        "Seconds are their medians, scaled to 50,000 images for every trainer alike.",
        "",
        *(f"- {NETS[name].title}: {NETS[name].topology}" for name in names),
        "",
        SAMPLE_COLUMNS,
        "|---|---|---|---|---|---|---|---|",
        *(sample_row(measured, results) for measured in results),
    ]

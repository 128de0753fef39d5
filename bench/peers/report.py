"""From measured epochs to a table."""

import statistics

COLUMNS = "| trainer | cores | batch | s/epoch | s/epoch min | CPU s/epoch | busy before |"


def seconds(measured, images):
    """Wall and CPU seconds for a whole epoch of 60,000 images, from epochs of `images`."""
    scale = 60_000 / images
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


def markdown(record):
    """The record as a page: the machine, the command, the table, what failed."""
    machine = record["machine"]
    place = f"{machine['cpu']}, {machine['n_cores']} cores"
    versions = {}
    for measured in record["results"]:
        versions.update(measured["versions"])
    lines = [
        "# Seconds to train one epoch",
        "",
        f"{machine['date']}, {place}, commit {machine['commit']}.",
        f"Command: `{record['command']}`.",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in versions.items()) + ".",
        "60,000 images, 784-1024-1024-1024-10, one-bit weights and activations, batch norm, Adam.",
        "Seconds are medians over the timed epochs, and the least of them.",
        "",
        COLUMNS,
        "|---|---|---|---|---|---|---|",
        *map(row, record["results"]),
    ]
    if record["failures"]:
        lines += ["", *(f"Failed: {failure}." for failure in record["failures"])]
    return "\n".join(lines) + "\n"

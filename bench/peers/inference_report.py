"""From inference.py's record to tables."""

HEAD = "| engine | median ms | min ms | images/s | T bit-MAC/s | time, onebit = 1 | busy before |"
RULE = "|---|---:|---:|---:|---:|---:|---:|"


def markdown(record):
    """The record as a page: the machine, the command, a table for each net, what failed."""
    machine, settings = record["machine"], record["settings"]
    versions = {}
    for result in record["results"]:
        versions |= result.get("versions", {})
    lines = [
        "# Inference beside the peers",
        "",
        f"{machine['date']}, {machine['cpu']}, core {machine['core']} of {machine['n_cores']}, "
        f"one thread, {machine['system']}, commit {machine['commit']}.",
        f"Command: `{record['command']}`.",
        "Versions: " + ", ".join(f"{name} {text}" for name, text in sorted(versions.items())) + ".",
        f"{settings['rounds']} rounds of {settings['seconds']} s for each engine, by turns. "
        "Times are for a batch: the median over the rounds of each round's median, and the least.",
    ]
    for net, batch in titles(record["results"]):
        results = [one for one in record["results"] if (one["net"], one["batch"]) == (net, batch)]
        macs = record["macs"].get(net, {})
        lines += ["", f"## {net}, batch {batch}", ""]
        if macs:
            counts = f"{macs['bits'] / 1e6:,.1f} M one-bit and {macs['float'] / 1e6:,.1f} M float"
            lines += [f"{counts} multiplications with additions for an image.", ""]
        lines += [HEAD, RULE, *rows(results, record["macs"])]
    lines += layer_table(record["layers"], record["macs"]) + answer_table(record["answers"])
    failures = [one for one in record["results"] if one["error"]]
    if failures:
        lines += ["", "## Failed", ""]
        lines += [
            f"- {one['title']}, {one['net']}, batch {one['batch']}: `{last_line(one['error'])}`"
            for one in failures
        ]
    return "\n".join(lines) + "\n"


def titles(results):
    """Nets and batches in the order they were measured; layers have a table of their own."""
    found = dict.fromkeys((one["net"], one["batch"]) for one in results)
    return [(net, batch) for net, batch in found if not net.startswith("layers_")]


def rows(results, macs):
    """A line of the table for each result that has times."""
    ours = [one["median_ms"] for one in results if one["peer"] == "onebit" and one["rounds"]]
    lines = []
    for one in results:
        if not one["rounds"]:
            lines.append(f"| {one['title']} | failed | | | | | |")
            continue
        images_per_s = 1e3 * one["batch"] / one["median_ms"]
        bits = macs.get(one["net"], {}).get("bits", 0) * images_per_s / 1e12
        rate = f"{bits:.3f}" if one["one_bit"] and bits else ""
        cells = [
            one["title"],
            number(one["median_ms"]),
            number(one["min_ms"]),
            f"{images_per_s:,.0f}",
            rate,
            # Against onebit as it runs by itself, which is the first of its rows.
            f"{one['median_ms'] / ours[0]:.2f}" if ours else "",
            f"{one['busy_before']:.0%}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def number(value):
    """Three digits or more."""
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}"


def layer_table(layers, macs):
    """Milliseconds of a 3x3 layer for each shape."""
    if not layers:
        return []
    shapes = list(dict.fromkeys(one["shape"] for one in layers))
    lines = [
        "",
        "## One 3x3 layer with bits in and bits out, batch 1",
        "",
        "(time of nine in a row - time of one) / 8, from medians; in brackets T bit-MAC/s.",
        "",
        "| engine | " + " | ".join(f"{shape} ms" for shape in shapes) + " |",
        "|---|" + "---:|" * len(shapes),
    ]
    for title in dict.fromkeys(one["title"] for one in layers):
        cells = [title]
        for shape in shapes:
            times = [x["median_ms"] for x in layers if (x["title"], x["shape"]) == (title, shape)]
            bits = macs.get(f"layers_{shape}_1", {}).get("bits", 0)
            rate = f" ({bits / times[0] / 1e9:.2f})" if bits and times and times[0] > 0 else ""
            cells.append(f"{times[0]:.4f}{rate}" if times else "")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def answer_table(answers):
    """How far the engines' answers are from the reference's."""
    if not answers:
        return []
    lines = [
        "",
        "## Answers",
        "",
        "Against Larq Compute Engine's default kernels on random images; quicknet-v0.2 against its "
        "published answer to a photograph.",
        "",
        "| net | engine | largest difference | same classes |",
        "|---|---|---:|---|",
    ]
    for one in answers:
        if one.get("error"):
            cells = [f"failed: `{last_line(one['error'])}`", ""]
        else:
            cells = [f"{one['max_difference']:.1e}", "yes" if one["same_class"] else "no"]
        lines.append("| " + " | ".join([one["net"], one["title"], *cells]) + " |")
    return lines


def last_line(text):
    """The end of an error, without what breaks a table."""
    lines = text.strip().splitlines() or ["no reason given"]
    return lines[-1].replace("|", "/").replace("`", "'")[:300]

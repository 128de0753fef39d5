#!/usr/bin/env python3
"""Times inference in onebit and its peers: the same nets, one core, one thread, turn by turn.

In: a release build of onebit, and the network for pip the first time. Out: a JSON record and a
Markdown table beside it. README.md in this folder says what every row is.
"""

import argparse
import dataclasses
import json
import os
import shlex
import statistics
import sys
from pathlib import Path

import environments
import inference_checks
import inference_report
import machine
import workers
from inference_nets import LAYERS, MANY_LAYERS, NETS, ONE_LAYER, SHARED, Files

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
FAILURES = (ValueError, OSError, KeyError)


@dataclasses.dataclass(frozen=True)
class Peer:
    """An engine with its settings and the form of the nets that it runs."""

    title: str
    environment: str
    script: str
    form: str
    mode: str = ""
    nets: tuple = ()

    @property
    def one_bit(self):
        """Whether it runs the one-bit net itself."""
        return self.form in ("bnn", "binary", "binary-dense", "graph")

    def runs(self, net, batch):
        """Whether there is such a measurement."""
        if self.nets:
            return net in self.nets
        if net == SHARED:
            # Larq Compute Engine cannot change the batch of a finished file.
            return self.one_bit and (batch == 1 or self.form != "binary")
        return self.one_bit or net in NETS

    def command(self, files, net, batch):
        """What starts its script."""
        command = [environments.python_of(self.environment, files.cache), HERE / self.script]
        command += [files.get(net, self.form, batch), "--batch", batch]
        return command + (["--mode", self.mode] if self.mode else [])


def lce(mode, title, form="binary", nets=()):
    title = f"Larq Compute Engine, {title}"
    return Peer(title, "larq", "lce_engine.py", form, mode, nets)


PEERS = {
    "onebit": Peer("onebit", "", "", "bnn"),
    "openvino": Peer("OpenVINO, one-bit", "openvino", "openvino_engine.py", "graph"),
    "lce-xnnpack": lce("indirect,xnnpack", "indirect with XNNPACK"),
    "lce-indirect": lce("indirect", "indirect"),
    "lce-reference": lce("reference", "reference"),
    "lce-default": lce("", "default"),
    "lce-dense": lce("indirect,xnnpack", "dense as written", "binary-dense", ("lfc",)),
    "lce-dense-default": lce("", "dense as written, default", "binary-dense", ("lfc",)),
    "litert-float": Peer("LiteRT float32 twin", "litert", "litert_engine.py", "float"),
    "litert-int8": Peer("LiteRT int8 twin", "litert", "litert_engine.py", "int8"),
    "ort-float": Peer("onnxruntime float32 twin", "onnx", "onnxruntime_engine.py", "float32"),
    "ort-u8s8": Peer("onnxruntime int8 twin, u8s8", "onnx", "onnxruntime_engine.py", "u8s8"),
    "ort-s8s8": Peer("onnxruntime int8 twin, s8s8", "onnx", "onnxruntime_engine.py", "s8s8"),
}
# Engines that can be held to an instruction set: the others choose for themselves.
HELD = ("onebit", "openvino")


@dataclasses.dataclass
class Job:
    """One row: who runs which net at which batch size, and what came of it."""

    peer: str
    isa: str
    net: str
    batch: int
    rounds: list = dataclasses.field(default_factory=list)
    worker: object = None
    error: str = ""

    @property
    def title(self):
        return PEERS[self.peer].title + (f", {self.isa}" if self.isa else "")

    def start(self, files, options):
        """Starts the process and loads the net."""
        peer = PEERS[self.peer]
        if self.peer == "onebit":
            net = inference_checks.imported(files, options.onebit, self.net)
            command = [options.onebit, "bench", net, *shlex.split(options.bench_arguments)]
            self.worker = workers.Onebit(options.core, command, self.batch, self.isa)
            return
        command = peer.command(files, self.net, self.batch)
        self.worker = workers.Worker(options.core, command, workers.held(self.isa))

    def attempt(self, action):
        """Does a step unless one has failed; a failure is kept."""
        if self.error:
            return
        try:
            action()
        except FAILURES as error:
            self.error = str(error) or type(error).__name__
            where = f"{self.title}, {self.net}, batch {self.batch}"
            print(f"failed: {where}: {self.error}", file=sys.stderr)

    def result(self, busy):
        """What the record keeps."""
        kept = {name: getattr(self, name) for name in ("peer", "isa", "title", "net", "batch")}
        kept |= {"busy_before": busy, "rounds": self.rounds, "error": self.error}
        kept["one_bit"] = PEERS[self.peer].one_bit
        if self.rounds:
            kept["median_ms"] = statistics.median(one["median_ms"] for one in self.rounds)
            kept["min_ms"] = min(one["min_ms"] for one in self.rounds)
            kept["p99_ms"] = statistics.median(one["p99_ms"] for one in self.rounds)
        if self.worker is not None:
            kept["versions"] = self.worker.versions
        if getattr(self.worker, "layers", None):
            kept["layers"] = self.worker.layers
        return kept


def parse_options():
    """The command line, with the defaults that depend on the machine filled in."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("verb", choices=["run", "prepare"], help="prepare only installs and makes the files")
    add("--onebit", type=Path, default=ROOT / "target/release/onebit", help="the program")
    add("--bench-arguments", default="", help="further arguments of `onebit bench`")
    add("--shared", type=Path, default=os.environ.get("ONEBIT_SHARED"), help="published models")
    add("--out", type=Path, default=ROOT / "target/peers/inference.json", help=".json; .md beside")
    add("--nets", default=",".join([*NETS, SHARED, "layers"]), help="comma list")
    add("--peers", default=",".join(PEERS), help="comma list")
    add("--batches", default="1,64", help="comma list")
    add("--isa", default="avx512,avx2", help="comma list, for onebit and OpenVINO")
    add("--core", type=int, default=max(os.sched_getaffinity(0)), help="default: the last one")
    add("--rounds", type=int, default=5)
    add("--seconds", type=float, default=0.5, help="of each engine in each round")
    add("--cache", type=Path, default=ROOT / "target/peers", help="environments and nets")
    options = parser.parse_args()
    known_nets = [*NETS, SHARED, "layers"]
    for name, known in (("nets", known_nets), ("peers", PEERS), ("isa", workers.ONEDNN_ISA)):
        wanted = getattr(options, name).split(",")
        setattr(options, name, wanted)
        unknown = [one for one in wanted if one not in known]
        if unknown:
            parser.error(f"--{name}: there is no {unknown[0]}; there are {', '.join(known)}")
    options.batches = [int(batch) for batch in options.batches.split(",")]
    options.cache, options.out = options.cache.resolve(), options.out.resolve()
    options.shared = Path(options.shared).resolve() if options.shared else None
    options.onebit = options.onebit.resolve()
    if options.verb == "run" and "onebit" in options.peers and not options.onebit.is_file():
        parser.error(f"there is no {options.onebit}: cargo build --release, or give --onebit")
    return options


def groups(options):
    """The jobs that take turns: a net at a batch size, or the two nets of a layer shape."""
    for net in options.nets:
        if net == "layers":
            for shape in LAYERS:
                names = [f"layers_{shape}", f"layers_{shape}_1"]
                yield [job for peer in options.peers for job in jobs(peer, names, 1, options)]
            continue
        for batch in options.batches:
            yield [job for peer in options.peers for job in jobs(peer, [net], batch, options)]


def jobs(peer, nets, batch, options):
    """One for each net and instruction set that this peer can be held to."""
    isas = options.isa if peer in HELD else [""]
    nets = [net for net in nets if PEERS[peer].runs(net, batch)]
    return [Job(peer, isa, net, batch) for isa in isas for net in nets]


def measure(group, files, options):
    """Rounds in which every job of the group has its turn. Out: results."""
    for job in group:
        job.attempt(lambda: job.start(files, options))
    busy = machine.busy_share([options.core])
    for _ in range(options.rounds):
        for job in group:
            job.attempt(lambda: job.rounds.append(job.worker.time(options.seconds)))
    for job in group:
        if job.worker is not None:
            job.worker.end()
    return [job.result(busy) for job in group]


def prepare(files, options):
    """Installs the environments and makes the files, so that measuring meets no surprise."""
    for peer in options.peers:
        if PEERS[peer].environment:
            environments.python_of(PEERS[peer].environment, files.cache)
    for group in groups(options):
        for job in group:
            form = "binary" if job.peer == "onebit" else PEERS[job.peer].form
            batch = 1 if job.peer == "onebit" else job.batch
            job.attempt(lambda: files.get(job.net, form, batch))


def layer_times(results):
    """Milliseconds of one layer: what eight more of them add, by shape and row."""
    found = []
    many = {key(one): one for one in results if one["net"] in [f"layers_{x}" for x in LAYERS]}
    for one in results:
        longer = many.get(key(one | {"net": one["net"].removesuffix("_1")}))
        if longer is None or longer is one or not (one["rounds"] and longer["rounds"]):
            continue
        times = {
            which: (longer[which] - one[which]) / (MANY_LAYERS - ONE_LAYER)
            for which in ("median_ms", "min_ms")
        }
        shape = longer["net"].removeprefix("layers_")
        found.append({"shape": shape, "title": one["title"]} | times)
    return found


def key(result):
    return result["net"], result["title"], result["batch"]


def write(record, options):
    """Writes the record after every group, so that a broken run leaves what it has."""
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(portable(json.dumps(record, indent=1) + "\n", options))
    page = inference_report.markdown(record)
    options.out.with_suffix(".md").write_text(portable(page, options))


def portable(text, options):
    """The text without the paths of this machine."""
    names = {str(options.onebit): "onebit", str(options.cache): "CACHE"}
    names |= {f"{ROOT}/": "", sys.base_prefix: "PYTHON"}
    if options.shared:
        names[str(options.shared)] = "SHARED"
    if not options.out.is_relative_to(ROOT):
        names[str(options.out.parent)] = "OUT"
    # Longer paths first: the cache is usually inside the tree.
    for path in sorted(names, key=len, reverse=True):
        text = text.replace(path, names[path])
    return text


def main():
    """Prepares, measures, compares answers, records; exit code 1 for a failure or a difference."""
    options = parse_options()
    files = Files(options.cache, options.shared)
    prepare(files, options)
    if options.verb == "prepare":
        return
    record = {
        "machine": machine.description(ROOT) | {"core": options.core},
        "command": shlex.join(["bench/peers/inference.py", *sys.argv[1:]]),
        "settings": {"rounds": options.rounds, "seconds": options.seconds},
        "macs": {},
        "results": [],
        "layers": [],
        "answers": inference_checks.compare_all(files, options, PEERS),
    }
    for group in groups(options):
        results = measure(group, files, options)
        record["results"] += results
        record["layers"] = layer_times(record["results"])
        for net in dict.fromkeys(job.net for job in group):
            try:
                record["macs"][net] = files.macs(net)
            except FAILURES:
                print(f"no operations are known of {net}", file=sys.stderr)
            lines = inference_report.rows([x for x in results if x["net"] == net], record["macs"])
            print("\n".join([f"{net}, batch {group[0].batch}", *lines]), flush=True)
        write(record, options)
    print(f"written: {options.out} and {options.out.with_suffix('.md').name}")
    failed = any(one.get("error") for one in record["results"] + record["answers"])
    differs = not all(one.get("agree", True) for one in record["answers"])
    sys.exit(1 if failed or differs else 0)


if __name__ == "__main__":
    main()

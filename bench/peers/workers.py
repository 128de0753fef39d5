"""The measured processes of inference.py, each held to one core.

A `Worker` is an engine's script: started once, then asked to time its net in every round, and
asleep in between. `Onebit` has the same calls and starts the program anew each time. What an engine
says in place of an answer becomes a ValueError.
"""

import json
import select
import subprocess
import tempfile

import environments

# Seconds to load a net, and the least to answer a command.
PATIENCE = 600
# The variable's value for each instruction set that oneDNN, and so OpenVINO, can be held to.
ONEDNN_ISA = {"avx512": "DEFAULT", "avx2": "AVX2"}


def pinned(core, command):
    return ["taskset", "-c", str(core), *map(str, command)]


def held(isa):
    """The variable that holds OpenVINO to an instruction set; none for an engine that chooses."""
    return {"ONEDNN_MAX_CPU_ISA": ONEDNN_ISA[isa]} if isa else {}


def variables(extra):
    return environments.variables(1) | extra


class Worker:
    """One engine with one net at one batch size."""

    def __init__(self, core, command, extra):
        self.errors = tempfile.TemporaryFile("w+")
        self.said = ""
        self.process = subprocess.Popen(
            pinned(core, command),
            env=variables(extra),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        self.versions = self.answer()["versions"]

    def time(self, seconds):
        """Statistics of calls in so many seconds."""
        return self.ask(f"time {seconds}")

    def ask(self, line):
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except OSError:
            raise ValueError(self.last_words()) from None
        return self.answer()

    def answer(self):
        """Waits for one line, which is an engine's whole answer."""
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
        if not ready:
            self.end()
            raise ValueError(f"no answer in {PATIENCE} s")
        line = self.process.stdout.readline()
        if not line:
            raise ValueError(self.last_words())
        return json.loads(line)

    def last_words(self):
        """Why the process ended, as far as it said."""
        self.end()
        return f"ended with {self.process.returncode}: {self.said[-600:]}"

    def end(self):
        """Ends the process, however it is; again is nothing."""
        if self.errors.closed:
            return
        try:
            self.process.stdin.close()
            self.process.wait(5)
        except (OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.errors.seek(0)
        self.said = self.errors.read().strip()
        self.errors.close()


class Onebit:
    """onebit's own bench of an imported net, one process for each measurement."""

    def __init__(self, core, command, batch, isa):
        self.core = core
        self.command = [*command, "--threads", 1, "--batch", batch, "--json"]
        self.isa = isa
        self.layers = None
        said = run_onebit([command[0], "--version"], {})
        self.versions = {"onebit": said.strip().removeprefix("onebit ")}

    def time(self, seconds):
        command = pinned(self.core, [*self.command, "--seconds", seconds])
        report = json.loads(run_onebit(command, {"ONEBIT_ISA": self.isa}))
        if report["isa"] != self.isa:
            raise ValueError(f"onebit ran {report['isa']} where {self.isa} was asked for")
        self.layers = report["layers"]
        return {
            "min_ms": report["min_ms"],
            "median_ms": report["median_ms"],
            "p99_ms": report["p99_ms"],
            "calls": report["runs"],
            "share_of_peak": report["share_of_peak"],
        }

    def end(self):
        """There is no process between measurements."""


def run_onebit(command, extra):
    """Runs onebit. Out: what it printed."""
    try:
        done = subprocess.run(
            list(map(str, command)),
            env=variables(extra),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired:
        raise ValueError(f"onebit took more than {PATIENCE} s") from None
    if done.returncode != 0:
        raise ValueError(f"onebit ended with {done.returncode}: {done.stderr.strip()[-600:]}")
    return done.stdout

"""Instructions, flash and memory of an emitted network on a Cortex-M4, next to plain 8-bit loops.

Reads the folder that `onebit emit c zoo/mnist-sfc.bnn -o DIR` wrote. Needs gcc-arm-none-eabi, libnewlib-arm-none-eabi
and qemu-system-arm. Prints one JSON object.
"""

import argparse
import datetime
import json
import pathlib
import random
import re
import subprocess
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
LINKS = HERE.parent.parent / "crates/emit/tests/c/bare.ld"
CPU = ["-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"]
FLAGS = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-ffreestanding"]
LAYERS = [(784, 256), (256, 256), (256, 256), (256, 10)]
# The timer has 25 MHz and an instruction takes a nanosecond of virtual time.
INSTRUCTIONS_PER_TICK = 40
LOOP_INSTRUCTIONS = 2_000_000


def output(command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def first_line(command):
    return output(command).splitlines()[0]


def int8_header():
    """Weights of no meaning: the loops take the same instructions whatever they multiply."""
    source = random.Random(1)
    lines = ["#include <stdint.h>", "void int8_run(const uint8_t *, int32_t *, void *);"]
    for idx, (n_in, n_out) in enumerate(LAYERS, 1):
        weights = ",".join(str(source.randint(-127, 127)) for _ in range(n_in * n_out))
        lines.append(f"static const int8_t weights{idx}[] = {{{weights}}};")
        lines.append(f"static const int32_t bias{idx}[{n_out}] = {{1}};")
    return "\n".join(lines) + "\n"


def section_bytes(obj):
    """Flash (code and constants) and memory (variables) of an object file."""
    text, data, bss = output(["arm-none-eabi-size", str(obj)]).splitlines()[1].split()[:3]
    return int(text) + int(data), int(data) + int(bss)


def measure(folder, source, level, bench):
    """Compiles a network and the counter around it; instructions of a run, and the object's sizes."""
    runs = 20
    names = ["RUN", "INPUT_BYTES", "OUTPUT_BYTES", "SCRATCH_BYTES"]
    lines = [f'#include "{bench["header"]}"', f"#define RUNS {runs}"]
    lines += [f"#define {name}{bench[name]}" for name in names]
    if "declaration" in bench:
        lines[0] = bench["declaration"]
    (folder / "bench.h").write_text("\n".join(lines) + "\n")
    compiler = ["arm-none-eabi-gcc", *CPU, *FLAGS, level, f"-I{folder}", f"-I{source.parent}"]
    obj, elf = folder / "net.o", folder / "bench.elf"
    output([*compiler, "-c", str(source), "-o", str(obj)])
    counter = str(HERE / "count.c")
    output([*compiler, "-nostartfiles", "-T", str(LINKS), counter, str(obj), "-o", str(elf)])
    emulator = ["qemu-system-arm", "-M", "mps2-an386", "-display", "none", "-monitor", "none"]
    emulator += ["-serial", "none", "-icount", "shift=0"]
    emulator += ["-semihosting-config", "enable=on,target=native", "-kernel", str(elf)]
    done = subprocess.run(emulator, check=True, capture_output=True, text=True, timeout=280)
    ticks = dict(re.findall(r"(\w+) (\d+)", done.stdout + done.stderr))
    loop = int(ticks["loop"]) * INSTRUCTIONS_PER_TICK
    if abs(loop - LOOP_INSTRUCTIONS) > LOOP_INSTRUCTIONS // 100:
        raise SystemExit(f"the timer counts {loop} instructions of {LOOP_INSTRUCTIONS}: other clocks than expected")
    flash, ram = section_bytes(obj)
    instructions = int(ticks["ticks"]) * INSTRUCTIONS_PER_TICK // runs
    return {"level": level, "instructions": instructions, "flash_bytes": flash, "static_ram_bytes": ram}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("emitted", type=pathlib.Path, help="folder with mnist_sfc.h and mnist_sfc.c")
    folder_of_net = parser.parse_args().emitted.resolve()
    header = (folder_of_net / "mnist_sfc.h").read_text()
    arena = int(re.search(r"MNIST_SFC_ARENA_BYTES (\d+)", header)[1])
    onebit = {
        "header": "mnist_sfc.h",
        "RUN": "(x, y, a) mnist_sfc_run(x, (int32_t *)(y), a)",
        "INPUT_BYTES": " MNIST_SFC_INPUT_LENGTH",
        "OUTPUT_BYTES": " 40",
        "SCRATCH_BYTES": " MNIST_SFC_ARENA_BYTES",
    }
    int8 = {
        "header": "",
        "declaration": "void int8_run(const uint8_t *, int32_t *, void *);",
        "RUN": "(x, y, a) int8_run(x, (int32_t *)(y), a)",
        "INPUT_BYTES": " 784",
        "OUTPUT_BYTES": " 40",
        "SCRATCH_BYTES": " (784 + 1024)",
    }
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "int8.h").write_text(int8_header())
        source = folder_of_net / "mnist_sfc.c"
        ours = [measure(folder, source, level, onebit) for level in ("-Os", "-O2", "-O3")]
        theirs = [measure(folder, HERE / "int8.c", level, int8) for level in ("-O2", "-O3")]
    best = min(theirs, key=lambda row: row["instructions"])
    record = {
        "what": "mnist-sfc on a Cortex-M4 (emulated): instructions of one inference",
        "command": "python3 bench/mcu/count.py DIR",
        "date": datetime.date.today().isoformat(),
        "cpu": "Cortex-M4, emulated; instructions, not cycles",
        "commit": first_line(["git", "-C", str(HERE), "rev-parse", "--short", "HEAD"]),
        "compiler": first_line(["arm-none-eabi-gcc", "--version"]),
        "emulator": first_line(["qemu-system-arm", "--version"]),
        "arena_bytes": arena,
        "onebit": ours,
        "int8_loops": theirs,
        "int8_scratch_bytes": 784 + 1024,
        "times_fewer": {row["level"]: round(best["instructions"] / row["instructions"], 2) for row in ours},
    }
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()

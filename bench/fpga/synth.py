"""Area of emitted Verilog after Yosys, next to what the emitter estimates; clock after nextpnr.

Each argument is TARGETS:DIR, where `onebit emit verilog ... -o DIR` wrote the folder and TARGETS are some of xilinx,
ice40, ecp5, gates and hx8k, joined by commas. Needs yosys, and for hx8k nextpnr-ice40. Modules are mapped one by one;
`gates` maps memories to gates as well and is for designs without ROM. Prints one JSON object.
"""

import argparse
import datetime
import json
import pathlib
import platform
import re
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
MAPPERS = {
    "xilinx": "synth_xilinx -top {top} -noiopad -noclkbuf -nowidelut",
    "ice40": "synth_ice40 -top {top} -noflatten",
    "ecp5": "synth_ecp5 -top {top} -noflatten",
    "gates": "synth -top {top} -flatten; abc -g gates",
}
# LUTs of a cell; a distributed memory takes one for each of its ports and pages.
LUTS = {"RAM32M": 4, "RAM64M": 4, "RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1D": 4, "TRELLIS_DPR16X4": 4, "SB_LUT4": 1}
LUTS |= {f"LUT{n}": 1 for n in range(1, 7)}
BLOCKS = {"RAMB36E1": 1, "RAMB18E1": 0.5, "SB_RAM40_4K": 1, "DP16KD": 1}


def output(command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def first_line(command):
    return output(command).splitlines()[0]


def counted(cells, weights):
    return sum(n * weights.get(name, 0) for name, n in cells.items())


def read(folder):
    sources = [path for path in sorted(folder.glob("*.v")) if not path.name.endswith("_tb.v")]
    return "read_verilog " + " ".join(str(path) for path in sources)


def synthesise(folder, top, target, limit):
    """LUTs, flip-flops, carries and block memories of a design."""
    with tempfile.TemporaryDirectory() as name:
        stat = pathlib.Path(name) / "stat.json"
        script = f"{read(folder)}; {MAPPERS[target].format(top=top)}; flatten; opt_clean; tee -q -o {stat} stat -json"
        start = time.monotonic()
        try:
            subprocess.run(["yosys", "-q", "-p", script], check=True, capture_output=True, timeout=limit)
        except subprocess.TimeoutExpired:
            return {"target": target, "gave_up_after_seconds": limit}
        cells = json.loads(stat.read_text())["design"]["num_cells_by_type"]
    seconds = round(time.monotonic() - start)
    if target == "gates":
        flops = {name: n for name, n in cells.items() if "DFF" in name}
        n_flops = sum(flops.values())
        n_gates = sum(cells.values()) - n_flops
        return {"target": target, "gates": n_gates, "flip_flops": n_flops, "seconds": seconds}
    flops = sum(n for name, n in cells.items() if re.match(r"FD|SB_DFF|TRELLIS_FF", name))
    carries = sum(n for name, n in cells.items() if name in ("CARRY4", "SB_CARRY", "CCU2C"))
    return {
        "target": target,
        "luts": counted(cells, LUTS),
        "flip_flops": flops,
        "carry_cells": carries,
        "block_rams": counted(cells, BLOCKS),
        "seconds": seconds,
    }


def wrapper(top, text):
    """A module with few pins: registers that shift an image in and the answer out."""
    n_in = int(re.search(r"input wire \[(\d+):0\] in_data", text)[1]) + 1
    n_out = int(re.search(r"output wire \[(\d+):0\] out_data", text)[1]) + 1
    return f"""
module pins (input wire clk, input wire rst, input wire serial_in, input wire go, output wire serial_out);
  reg [{n_in - 1}:0] image;
  reg [{n_out}:0] answer;
  wire [{n_out - 1}:0] out_data;
  wire out_valid;
  {top} net (.clk(clk), .rst(rst), .en(1'b1), .in_valid(go), .in_data(image),
    .out_valid(out_valid), .out_data(out_data));
  always @(posedge clk) begin
    image <= {{image, serial_in}};
    answer <= out_valid ? {{out_data, 1'b0}} : {{answer, 1'b0}};
  end
  assign serial_out = answer[{n_out}];
endmodule
"""


def place(folder, top, limit):
    """Greatest clock and cells of a design on an iCE40 HX8K, behind a wrapper where its pins are too many."""
    text = (folder / f"{top}.v").read_text()
    with tempfile.TemporaryDirectory() as name:
        work = pathlib.Path(name)
        sources, module = read(folder), top
        if "in_data" in text:
            (work / "pins.v").write_text(wrapper(top, text))
            sources, module = f"{sources} {work / 'pins.v'}", "pins"
        netlist = work / "net.json"
        output(["yosys", "-q", "-p", f"{sources}; synth_ice40 -top {module} -json {netlist}"])
        command = ["nextpnr-ice40", "--hx8k", "--package", "ct256", "--json", str(netlist)]
        command += ["--pcf-allow-unconstrained", "--timing-allow-fail", "--seed", "1"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    if done.returncode != 0:
        return {"target": "hx8k", "error": done.stderr.strip().splitlines()[-1]}
    clock = re.findall(r"Max frequency for clock '([^']+)': ([\d.]+) MHz", done.stderr)
    cells = re.findall(r"ICESTORM_LC:\s*(\d+)/\s*(\d+)", done.stderr)
    return {
        "target": "hx8k",
        "mhz": float(clock[-1][1]),
        "logic_cells": int(cells[-1][0]),
        "logic_cells_of_part": int(cells[-1][1]),
        "has_wrapper": module != top,
    }


def estimate(folder, top):
    """The emitter's report, and its figures as numbers."""
    lines = (folder / f"{top}_report.txt").read_text().splitlines()
    report = dict(line.split(": ", 1) for line in lines)
    luts = [int(report[f"LUT6 {what}, estimated"]) for what in ("without encoder", "of the encoder")]
    return {
        "core_luts": luts[0],
        "encoder_luts": luts[1],
        "luts": sum(luts),
        "flip_flops": int(report["flip-flops, estimated"]),
        "block_rams": float(report["block RAMs of 36 Kbit, estimated"]),
        "interval": int(report["cycles between images (II)"]),
        "latency": int(report["cycles of latency of a lone image, at most"]),
    }


def measure(argument, limit):
    targets, _, name = argument.partition(":")
    folder = pathlib.Path(name).resolve()
    benches = sorted(folder.glob("*_tb.v"))
    if len(benches) != 1:
        raise SystemExit(f"{folder} is no folder of `onebit emit verilog`: {len(benches)} testbenches instead of one")
    top = benches[0].name.removesuffix("_tb.v")
    row = {"design": folder.name, "estimate": estimate(folder, top), "after_synthesis": []}
    for target in targets.split(","):
        found = place(folder, top, limit) if target == "hx8k" else synthesise(folder, top, target, limit)
        row["after_synthesis"].append(found)
        if target == "xilinx" and "luts" in found:
            error = row["estimate"]["luts"] / max(found["luts"], 1) - 1
            row["estimate"]["error_percent"] = round(100 * error, 1)
    return row


def shown(argument):
    """An argument without the machine's own folders."""
    targets, _, name = argument.partition(":")
    return f"{targets}:{pathlib.Path(name).name}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("designs", nargs="+", metavar="TARGETS:DIR")
    parser.add_argument("--limit", type=int, default=1800, help="seconds that a tool may take [default: 1800]")
    arguments = parser.parse_args()
    cpu = re.search(r"model name\s*:\s*(.+)", pathlib.Path("/proc/cpuinfo").read_text())
    record = {
        "what": "emitted Verilog after synthesis, next to the emitter's estimate",
        "command": " ".join(["python3 bench/fpga/synth.py", *map(shown, arguments.designs)]),
        "date": datetime.date.today().isoformat(),
        "machine": f"{cpu[1] if cpu else platform.machine()}, shared",
        "commit": first_line(["git", "-C", str(HERE), "rev-parse", "--short", "HEAD"]),
        "yosys": first_line(["yosys", "-V"]),
        "designs": [measure(argument, arguments.limit) for argument in arguments.designs],
    }
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()

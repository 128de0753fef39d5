//! Runs the simulators and Yosys on emitted files.
//!
//! Files come in and what the tools print goes out. A tool that this machine lacks is a skip with its Debian package.

use std::fs;
use std::path::Path;
use std::process::Command;

use onebit_emit::Emitted;

use crate::tools::{has_tool, run};

pub fn has_verilator() -> bool {
    has_tool("verilator", "verilator g++ make")
}

pub fn has_icarus() -> bool {
    // Icarus comes with two programs, of which only one states its version in the usual way.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_here = std::env::split_paths(&path).any(|folder| folder.join("iverilog").is_file());
    is_here || has_tool("iverilog", "iverilog")
}

pub fn has_yosys() -> bool {
    has_tool("yosys", "yosys")
}

/// Writes the files of a design into a folder.
pub fn write(folder: &Path, emitted: &Emitted) {
    for file in &emitted.files {
        fs::write(folder.join(&file.name), &file.bytes).unwrap();
    }
}

/// The Verilog files of a design but its testbench.
pub fn sources(emitted: &Emitted) -> Vec<&str> {
    let names = emitted.files.iter().map(|file| file.name.as_str());
    names
        .filter(|name| name.ends_with(".v") && !name.ends_with("_tb.v"))
        .collect()
}

/// What a program prints, run in a folder; it must succeed.
fn must(folder: &Path, program: &str, arguments: &[&str]) -> String {
    run(Command::new(program).args(arguments).current_dir(folder))
}

/// Has Verilator look for faults, any of which is an error.
pub fn lint(folder: &Path, sources: &[&str]) {
    let mut arguments = vec!["--lint-only", "-Wall", "--top-module", "net"];
    arguments.extend(sources);
    must(folder, "verilator", &arguments);
}

/// The testbench's words under Icarus Verilog, held to the language of 2001.
pub fn icarus(folder: &Path, sources: &[&str], parameters: &[(&str, usize)]) -> String {
    let settings: Vec<String> = parameters
        .iter()
        .map(|(name, value)| format!("-Pnet_tb.{name}={value}"))
        .collect();
    let mut arguments = vec!["-g2001", "-o", "sim", "-s", "net_tb", "net_tb.v"];
    arguments.extend(settings.iter().map(String::as_str));
    arguments.extend(sources);
    must(folder, "iverilog", &arguments);
    must(folder, "vvp", &["-n", "sim"])
}

/// The testbench's words under Verilator.
pub fn verilator(folder: &Path, sources: &[&str], parameters: &[(&str, usize)]) -> String {
    let settings: Vec<String> = parameters
        .iter()
        .map(|(name, value)| format!("-G{name}={value}"))
        .collect();
    let mut arguments = vec![
        "--binary",
        "-O3",
        "--x-assign",
        "fast",
        "--x-initial",
        "fast",
        "--noassert",
        // The code that fills the ROMs runs once and is long: only the rest is optimised.
        "-MAKEFLAGS",
        "OPT_FAST=-O2",
        "--Mdir",
        "obj",
        "-o",
        "sim",
        "--top-module",
        "net_tb",
        "-Wno-fatal",
        "net_tb.v",
    ];
    arguments.extend(settings.iter().map(String::as_str));
    arguments.extend(sources);
    must(folder, "verilator", &arguments);
    must(folder, "obj/sim", &[])
}

/// What [`synthesise`] writes.
pub const NETLIST: [&str; 1] = ["netlist.v"];

/// Writes the netlist that Yosys makes of LUTs, carries and flip-flops of Xilinx. A LUT is what its contents say, any
/// other cell what Yosys' own model of it says.
pub fn synthesise(folder: &Path) {
    fs::write(folder.join("luts.v"), (1..=6).map(lut).collect::<String>()).unwrap();
    let script = "read_verilog net.v; synth_xilinx -top net -flatten -noiopad -nowidelut; techmap -map luts.v; \
                  read_verilog -overwrite +/xilinx/cells_sim.v; hierarchy -top net; proc; flatten; opt_clean; \
                  write_verilog -noattr netlist.v";
    must(folder, "yosys", &["-q", "-p", script]);
}

/// A LUT of Xilinx as Yosys' table: the same contents, input 0 lowest.
fn lut(n: usize) -> String {
    let inputs: Vec<String> = (0..n).map(|i| format!("I{i}")).collect();
    let mut reversed = inputs.clone();
    reversed.reverse();
    format!(
        "module LUT{n}(output O, input {});\n  parameter [{}:0] INIT = 0;\n  \
         \\$lut #(.WIDTH({n}), .LUT(INIT)) _TECHMAP_REPLACE_ (.A({{{}}}), .Y(O));\nendmodule\n",
        inputs.join(", "),
        (1 << n) - 1,
        reversed.join(", ")
    )
}

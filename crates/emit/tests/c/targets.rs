//! Emulated machines: aarch64 and riscv64 under Linux, Cortex-M4 and M7 without a system.

use std::path::Path;
use std::process::Command;

use onebit_emit::loops::WordBits;
use onebit_testkit::{random_conv_program, random_input, random_program};

use crate::host::{Case, build, compare, sources};
use crate::tools::{has_tool, run};
use crate::zoo::zoo_case;

/// Random Programs of every kind, and a trained one if its images are here.
fn cases(first_seed: u64) -> Vec<Case> {
    let mut cases = Vec::new();
    for seed in first_seed..first_seed + 12 {
        let program = match seed % 2 {
            0 => random_program(seed),
            _ => random_conv_program(seed),
        };
        let inputs = (0..3)
            .map(|i| random_input(&program, seed * 1000 + i))
            .collect();
        cases.push(Case::new(format!("program seed {seed}"), program, inputs));
    }
    cases.extend(zoo_case("mnist-sfc", 300));
    cases
}

/// Compiles statically, in a dialect that fuses multiplications and additions unless the file forbids it.
fn check_linux(compiler: &str, package: &str, emulator: &str, first_seed: u64) {
    if !has_tool(compiler, package) || !has_tool(emulator, "qemu-user") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder for a moment");
    for word in [WordBits::W32, WordBits::W64] {
        let cases = cases(first_seed);
        let flags = [
            "-std=gnu99",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-O2",
            "-static",
        ];
        let binary = build(folder.path(), &cases, word, compiler, &flags);
        let mut command = Command::new(emulator);
        command.arg(binary);
        compare(&cases, word, command);
    }
}

#[test]
fn aarch64_agrees() {
    let packages = "gcc-aarch64-linux-gnu libc6-dev-arm64-cross";
    check_linux("aarch64-linux-gnu-gcc", packages, "qemu-aarch64", 20_000);
}

#[test]
fn riscv64_agrees() {
    let packages = "gcc-riscv64-linux-gnu libc6-dev-riscv64-cross";
    check_linux("riscv64-linux-gnu-gcc", packages, "qemu-riscv64", 21_000);
}

/// Starts without a C library's runtime and talks to the emulator; reads and writes as `main` of [`build`].
const BARE: &str = include_str!("bare.c");
const BARE_LINKS: &str = include_str!("bare.ld");

fn check_cortex(board: &str, cpu: &[&str], first_seed: u64) {
    let packages = "gcc-arm-none-eabi libnewlib-arm-none-eabi";
    if !has_tool("arm-none-eabi-gcc", packages) || !has_tool("qemu-system-arm", "qemu-system-arm") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder for a moment");
    let cases = cases(first_seed);
    let binary = build_bare(folder.path(), &cases, cpu);
    let mut command = Command::new("qemu-system-arm");
    command.args([
        "-M", board, "-display", "none", "-monitor", "none", "-serial", "none",
    ]);
    command.args(["-semihosting-config", "enable=on,target=native"]);
    command.arg("-kernel").arg(binary);
    compare(&cases, WordBits::W32, command);
}

fn build_bare(folder: &Path, cases: &[Case], cpu: &[&str]) -> std::path::PathBuf {
    let (sources, table) = sources(folder, cases, WordBits::W32);
    let write = |name: &str, text: String| {
        std::fs::write(folder.join(name), text).expect("the folder is writable");
    };
    write(
        "bare.c",
        BARE.replace("/* TABLE */", &table.rows)
            .replace("/* NETS */", &table.runs),
    );
    write("bare.ld", BARE_LINKS.into());
    let binary = folder.join("bare.elf");
    run(Command::new("arm-none-eabi-gcc")
        .args(cpu)
        .args([
            "-std=c99",
            "-Wall",
            "-Wextra",
            "-Wpedantic",
            "-Werror",
            "-O2",
            "-mthumb",
        ])
        .args(["-ffreestanding", "-nostartfiles", "-Wl,--gc-sections", "-T"])
        .arg(folder.join("bare.ld"))
        .args(sources)
        .arg(folder.join("bare.c"))
        .arg("-o")
        .arg(&binary));
    binary
}

#[test]
fn cortex_m4_agrees() {
    let cpu = ["-mcpu=cortex-m4", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"];
    check_cortex("mps2-an386", &cpu, 22_000);
}

#[test]
fn cortex_m7_agrees() {
    let cpu = ["-mcpu=cortex-m7", "-mfloat-abi=hard", "-mfpu=fpv5-d16"];
    check_cortex("mps2-an500", &cpu, 23_000);
}

//! What `cargo xtask test --all` installs: Debian packages, cargo-fuzz and CIFAR-10's batches, only what
//! is missing.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::process::{cargo, is_on_path, output, run};
use crate::{cifar, cross};

/// The cargo-fuzz whose command line [`crate::fuzz`] uses.
pub const CARGO_FUZZ_VERSION: &str = "0.13.2";

/// A program the suite runs, the Debian package that holds it, and what it is for.
struct Tool {
    program: &'static str,
    package: &'static str,
    reason: &'static str,
}

const TOOLS: [Tool; 3] = [
    Tool {
        program: "c++",
        package: "g++",
        reason: "cargo-fuzz compiles libFuzzer with it",
    },
    Tool {
        program: "git",
        package: "git",
        reason: "tidy lists the project's files with it",
    },
    Tool {
        program: "python3",
        package: "python3",
        reason: "the tests of the bench scripts run in it",
    },
];

/// Debian packages with which the tests of emitters compile and run what was emitted.
const FOR_EMITTED: [&str; 15] = [
    "chromium",
    "clang",
    "gcc",
    "gcc-aarch64-linux-gnu",
    "gcc-arm-none-eabi",
    "gcc-riscv64-linux-gnu",
    "iverilog",
    "libc6-dev-arm64-cross",
    "libc6-dev-riscv64-cross",
    "libnewlib-arm-none-eabi",
    "make",
    "qemu-system-arm",
    "qemu-user",
    "verilator",
    "yosys",
];

/// Installs what is missing and says what it does; does nothing twice.
pub fn install(root: &Path) -> Result<()> {
    println!("== setup");
    let missing: Vec<&Tool> = TOOLS
        .iter()
        .filter(|tool| !is_on_path(tool.program))
        .collect();
    for tool in &missing {
        println!(
            "{} is missing ({}): installing {}",
            tool.program, tool.reason, tool.package
        );
    }
    let cross = cross::missing_packages();
    if !cross.is_empty() {
        println!(
            "tests for other machines need Debian packages: installing {}",
            cross.join(" ")
        );
    }
    let emitted: Vec<&str> = FOR_EMITTED
        .into_iter()
        .filter(|package| !cross::is_installed(package))
        .collect();
    if !emitted.is_empty() {
        println!(
            "tests of emitted code need Debian packages: installing {}",
            emitted.join(" ")
        );
    }
    let cifar = cifar::missing_packages(root);
    if !cifar.is_empty() {
        println!(
            "unpacking CIFAR-10 needs Debian packages: installing {}",
            cifar.join(" ")
        );
    }
    let packages: Vec<&str> = missing
        .iter()
        .map(|tool| tool.package)
        .chain(cross)
        .chain(emitted)
        .chain(cifar)
        .collect();
    if !packages.is_empty() {
        install_packages(&packages)?;
    }
    cifar::unpack(root)?;
    if has_cargo_fuzz(root) {
        return Ok(());
    }
    println!("cargo-fuzz {CARGO_FUZZ_VERSION} is missing: installing it");
    let version = ["--version", CARGO_FUZZ_VERSION];
    run(cargo(root)
        .args(["install", "cargo-fuzz", "--locked", "--force"])
        .args(version))
}

/// Whether the cargo-fuzz of the pinned version answers.
pub fn has_cargo_fuzz(root: &Path) -> bool {
    let answer = output(cargo(root).args(["fuzz", "--version"]));
    answer.is_ok_and(|text| text.trim().ends_with(CARGO_FUZZ_VERSION))
}

fn install_packages(packages: &[&str]) -> Result<()> {
    if !is_on_path("apt-get") {
        bail!(
            "no apt-get here; install these Debian packages' like: {}",
            packages.join(" ")
        );
    }
    run(apt_get()?.arg("update"))?;
    run(apt_get()?
        .args(["install", "-y", "--no-install-recommends"])
        .args(packages))
}

/// apt-get as root: directly, or through sudo.
fn apt_get() -> Result<Command> {
    let is_root = output(Command::new("id").arg("-u"))?.trim() == "0";
    let mut command = if is_root {
        Command::new("apt-get")
    } else if is_on_path("sudo") {
        let mut sudo = Command::new("sudo");
        sudo.arg("apt-get");
        sudo
    } else {
        bail!("installing packages needs root or sudo");
    };
    command.env("DEBIAN_FRONTEND", "noninteractive");
    Ok(command)
}

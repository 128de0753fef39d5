//! The steps `aarch64` and `wasm`: tests of kernels and engine on machines that this one is not.
//!
//! Owns the two targets: Debian packages, compiler flags and the emulator that runs what was built.
//! The toolchain of the checkout has this machine's standard library only, so Debian's compiler for
//! browsers builds one from its own source. In: the checkout. Out: the tests' counts, or a skip that
//! names the packages.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::Scope;
use crate::process::{is_on_path, output, target_dir};
use crate::report::Tally;
use crate::test::{lock, run_tests};

/// Where this is not set already, the random Programs run on the target's vector instructions alone: the
/// scalar code is the one that this machine's own tests run, and emulation is slow.
const AGREEMENT_ISAS: (&str, &str) = ("ONEBIT_AGREEMENT_ISAS", "best");

/// Debian's compiler and cargo of this year, and the source of their standard library.
const RUST_PACKAGES: [&str; 4] = [
    "rustc-web",
    "cargo-web",
    "libstd-rust-web-dev",
    "rust-web-src",
];
const CARGO: &str = "/usr/bin/cargo";
const RUSTC: &str = "/usr/bin/rustc";

/// A machine that tests are run on by an emulator.
struct Target {
    triple: &'static str,
    /// Debian packages beside [`RUST_PACKAGES`].
    packages: &'static [&'static str],
    rustflags: &'static str,
    /// The emulator and its arguments; a word that starts with `@` is a file of the checkout.
    runner: &'static [&'static str],
}

const AARCH64: Target = Target {
    triple: "aarch64-unknown-linux-gnu",
    packages: &[
        "gcc-aarch64-linux-gnu",
        "libc6-dev-arm64-cross",
        "qemu-user",
    ],
    rustflags: "-C linker=aarch64-linux-gnu-gcc",
    runner: &["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"],
};

/// WASI gives tests their arguments and output; the kernels are the same on every wasm32 target.
const WASM: Target = Target {
    triple: "wasm32-wasip1",
    packages: &["lld", "wasi-libc", "nodejs"],
    // Debian's C library lacks functions of threads that the standard library names and never calls.
    rustflags: "-C target-feature=+simd128 -C linker=wasm-ld -C linker-flavor=wasm-ld \
                -C link-self-contained=no -L native=/usr/lib/wasm32-wasi \
                -C link-arg=/usr/lib/wasm32-wasi/crt1-command.o \
                -C link-arg=--unresolved-symbols=ignore-all",
    runner: &["node", "--no-warnings", "@xtask/wasi.mjs"],
};

/// The tests on an emulated ARM machine.
pub fn aarch64(root: &Path, scope: Scope) -> Result<Tally> {
    test(&AARCH64, root, scope)
}

/// The tests in a WebAssembly engine.
pub fn wasm(root: &Path, scope: Scope) -> Result<Tally> {
    test(&WASM, root, scope)
}

/// The Debian packages that either step needs and this machine lacks.
pub fn missing_packages() -> Vec<&'static str> {
    let mut missing = AARCH64.missing();
    missing.extend(WASM.missing());
    missing.sort_unstable();
    missing.dedup();
    missing
}

impl Target {
    fn missing(&self) -> Vec<&'static str> {
        let wanted = RUST_PACKAGES.iter().chain(self.packages).copied();
        wanted.filter(|package| !is_installed(package)).collect()
    }

    /// The emulator as a setting of cargo.
    fn runner_setting(&self, root: &Path) -> Result<String> {
        let mut words = Vec::new();
        for word in self.runner {
            words.push(match word.strip_prefix('@') {
                Some(file) => {
                    let path = root.join(file);
                    let path = path.to_str().context("the checkout's path is not UTF-8")?;
                    toml::Value::from(path)
                }
                None => toml::Value::from(*word),
            });
        }
        Ok(format!(
            "target.{}.runner = {}",
            self.triple,
            toml::Value::Array(words)
        ))
    }
}

/// Whether a Debian package is here.
pub fn is_installed(package: &str) -> bool {
    // Many machines have a Node.js that is not Debian's.
    if package == "nodejs" && is_on_path("node") {
        return true;
    }
    let mut query = Command::new("dpkg-query");
    let status = output(query.args(["-W", "-f", "${db:Status-Status}", package]));
    status.is_ok_and(|text| text == "installed")
}

fn test(target: &Target, root: &Path, scope: Scope) -> Result<Tally> {
    let missing = target.missing();
    if !missing.is_empty() {
        return Ok(Tally::skip(format!(
            "tests for {}: install with `apt-get install --no-install-recommends {}`",
            target.triple,
            missing.join(" ")
        )));
    }
    let mut command = Command::new(CARGO);
    command.current_dir(root);
    command
        .env("RUSTC", RUSTC)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", target.rustflags)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env("CARGO_PROFILE_TEST_DEBUG", "0")
        .env("CARGO_INCREMENTAL", "0");
    if std::env::var_os(AGREEMENT_ISAS.0).is_none() {
        command.env(AGREEMENT_ISAS.0, AGREEMENT_ISAS.1);
    }
    command
        .args(["test", "-p", "onebit-bits", "-p", "onebit-run"])
        .args(["--lib", "--tests", "--no-fail-fast"])
        .args(["--target", target.triple, "--target-dir"])
        .arg(target_dir(root).join("cross"))
        .args(["-Zbuild-std=std,panic_abort"])
        .arg("-Zbuild-std-features=panic-unwind")
        .arg("--config")
        .arg(target.runner_setting(root)?);
    lock(&mut command, scope).args(["--", "--show-output"]);
    run_tests(&mut command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runner_is_a_list_of_words() {
        let setting = WASM.runner_setting(Path::new("/a \"b\""));
        let table: toml::Table = setting.expect("UTF-8").parse().expect("TOML");
        let runner = &table["target"]["wasm32-wasip1"]["runner"];
        let script = runner[2].as_str();
        assert_eq!(script, Some("/a \"b\"/xtask/wasi.mjs"));
    }

    #[test]
    fn a_package_that_does_not_exist_is_not_installed() {
        assert!(!is_installed("onebit-no-such-package"));
    }
}

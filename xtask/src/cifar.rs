//! CIFAR-10 for the tests that read it, unpacked from the archive of the shared folder.
//!
//! In: `ONEBIT_SHARED`, whose `data/cifar10/unpack` writes the six binary batches. Out: the folder
//! `cifar10` beside what cargo builds, made once. Where `ONEBIT_CIFAR10` is set, nothing is done.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::process::{is_on_path, output, run, target_dir};

/// The setting that the tests read: a folder with the batches.
pub const VARIABLE: &str = "ONEBIT_CIFAR10";

/// 10,000 records of a label and three planes of 32 x 32 bytes.
const BATCH_BYTES: u64 = 10_000 * (1 + 3 * 32 * 32);

/// Debian's Python, which is the one that Debian's numpy serves.
const PYTHON: &str = "/usr/bin/python3";

/// The unpacked folder for the tests; none where it is not there, or where the caller names one.
pub fn folder(root: &Path) -> Option<PathBuf> {
    let folder = unpacked(root);
    (setting(VARIABLE).is_none() && is_whole(&folder)).then_some(folder)
}

/// The Debian packages that unpacking needs and this machine lacks; none where nothing is to be unpacked.
pub fn missing_packages(root: &Path) -> Vec<&'static str> {
    let mut missing = Vec::new();
    if script_to_run(root).is_some() {
        if !is_on_path("zstd") {
            missing.push("zstd");
        }
        if output(Command::new(PYTHON).args(["-c", "import numpy"])).is_err() {
            missing.push("python3-numpy");
        }
    }
    missing
}

/// Unpacks the archive, unless it is done already or there is none.
pub fn unpack(root: &Path) -> Result<()> {
    let Some(script) = script_to_run(root) else {
        return Ok(());
    };
    let folder = unpacked(root);
    println!("CIFAR-10 is packed: unpacking it into {}", folder.display());
    run(Command::new(PYTHON).arg(&script).arg(&folder))?;
    if !is_whole(&folder) {
        bail!(
            "{} left {} without the six batches of {BATCH_BYTES} bytes",
            script.display(),
            folder.display()
        );
    }
    Ok(())
}

/// The archive's script, where the batches are wanted and not there.
fn script_to_run(root: &Path) -> Option<PathBuf> {
    if setting(VARIABLE).is_some() || is_whole(&unpacked(root)) {
        return None;
    }
    let script = PathBuf::from(setting("ONEBIT_SHARED")?).join("data/cifar10/unpack");
    script.is_file().then_some(script)
}

fn setting(variable: &str) -> Option<OsString> {
    std::env::var_os(variable).filter(|value| !value.is_empty())
}

fn unpacked(root: &Path) -> PathBuf {
    target_dir(root).join("cifar10")
}

/// The names of the six batches.
fn batches() -> impl Iterator<Item = String> {
    let of_training = (1..=5).map(|number| format!("data_batch_{number}.bin"));
    of_training.chain(["test_batch.bin".to_owned()])
}

/// Whether all batches are here at their full size.
fn is_whole(folder: &Path) -> bool {
    batches().all(|name| {
        let file = folder.join(name).metadata();
        file.is_ok_and(|file| file.is_file() && file.len() == BATCH_BYTES)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs::{self, File};

    #[test]
    fn a_folder_is_whole_when_all_six_batches_have_their_size() {
        let folder = std::env::temp_dir().join(format!("onebit-xtask-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        for name in batches() {
            assert!(!is_whole(&folder), "before {name}");
            let file = File::create(folder.join(&name)).expect("a file");
            file.set_len(BATCH_BYTES).expect("a sparse file");
        }
        assert!(is_whole(&folder));
        let last = File::create(folder.join("test_batch.bin")).expect("a file");
        last.set_len(BATCH_BYTES - 1).expect("a sparse file");
        assert!(!is_whole(&folder));
        fs::remove_dir_all(&folder).expect("the folder goes");
    }
}

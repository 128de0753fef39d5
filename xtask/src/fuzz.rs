//! A few seconds of fuzzing for each target in fuzz/, from its committed corpus.
//!
//! libFuzzer's coverage flags work on the stable compiler, so no nightly is needed; the address
//! sanitizer would need one, and all but `crates/bits` is safe code. Finds go to the target
//! folder, so that a run leaves the checkout as it was.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::Scope;
use crate::process::{cargo, run, target_dir};
use crate::report::Tally;
use crate::setup::{CARGO_FUZZ_VERSION, has_cargo_fuzz};

const SECONDS_A_TARGET: u32 = 5;

/// libFuzzer's own options: a fixed seed, one input may take 10 s and 1 GiB.
const LIBFUZZER: [&str; 5] = [
    "-seed=1",
    "-timeout=10",
    "-rss_limit_mb=1024",
    "-verbosity=0",
    "-print_final_stats=1",
];

/// Runs every target; without cargo-fuzz each is skipped.
pub fn smoke(root: &Path, _: Scope) -> Result<Tally> {
    let targets = targets(root)?;
    if targets.is_empty() {
        return Ok(Tally::skip(
            "fuzzing: there are no targets in fuzz/Cargo.toml",
        ));
    }
    if !has_cargo_fuzz(root) {
        let reason = format!(
            "fuzzing {}: install with `cargo install cargo-fuzz --locked --version {CARGO_FUZZ_VERSION}`",
            targets.join(", "),
        );
        return Ok(Tally::skip(reason));
    }
    let mut tally = Tally::default();
    for target in &targets {
        tally.add(match fuzz(root, target) {
            Ok(()) => Tally::pass(),
            Err(error) => Tally::failure(format!("fuzz target {target}: {error:#}")),
        });
    }
    Ok(tally)
}

fn fuzz(root: &Path, target: &str) -> Result<()> {
    let build = target_dir(root).join("fuzz");
    let finds = build.join("finds").join(target);
    fs::create_dir_all(&finds).with_context(|| format!("cannot create {}", finds.display()))?;
    let mut command = cargo(root);
    command
        .args(["fuzz", "run", "--sanitizer", "none", "--target-dir"])
        .arg(&build);
    command
        .arg(target)
        .arg(&finds)
        .arg(root.join("fuzz/corpus").join(target));
    command
        .arg("--")
        .arg(format!("-max_total_time={SECONDS_A_TARGET}"))
        .args(LIBFUZZER);
    run(&mut command)
}

/// The names of the fuzz targets, none when there is no fuzz/ folder.
pub fn targets(root: &Path) -> Result<Vec<String>> {
    let path = root.join("fuzz/Cargo.toml");
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(&path).context("fuzz/Cargo.toml cannot be read")?;
    target_names(&text).context("fuzz/Cargo.toml is not understood")
}

fn target_names(manifest: &str) -> Result<Vec<String>> {
    let table: toml::Table = manifest.parse()?;
    let binaries = table.get("bin").and_then(toml::Value::as_array);
    let names = binaries
        .into_iter()
        .flatten()
        .filter_map(|binary| binary.get("name")?.as_str());
    Ok(names.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_the_binaries_of_the_manifest() {
        let manifest =
            "[package]\nname = \"f\"\n[[bin]]\nname = \"npy\"\n[[bin]]\nname = \"idx\"\n";
        assert_eq!(
            target_names(manifest).ok(),
            Some(vec!["npy".to_owned(), "idx".to_owned()])
        );
        assert_eq!(target_names("").ok(), Some(Vec::new()));
        assert!(target_names("[[bin").is_err());
    }
}

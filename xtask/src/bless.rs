//! `cargo xtask bless`: rewrite the expected files of snapshot tests from what the code does now.
//!
//! The rewritten files are listed afterwards: a person reads their diff before committing it.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::process::{cargo, output, run};

/// Runs `cargo test` with `BLESS=1`; `args` go to it (`-p onebit`, a test's name).
pub fn bless(root: &Path, args: &[String]) -> Result<bool> {
    let mut command = cargo(root);
    command
        .arg("test")
        .env("BLESS", "1")
        .env("INSTA_UPDATE", "always");
    if args.is_empty() {
        command.arg("--workspace");
    }
    run(command.args(args))?;
    let changed = output(
        Command::new("git")
            .args(["status", "--short"])
            .current_dir(root),
    )?;
    if changed.is_empty() {
        println!("nothing changed");
    } else {
        print!("changed against the last commit (read the diff before you commit it):\n{changed}");
    }
    Ok(true)
}

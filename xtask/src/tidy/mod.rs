//! `cargo xtask tidy`: house rules that no compiler checks.
//!
//! In: the files git knows or would add. Out: one line a finding, `path:line: what is wrong`.
//! Rules are functions from text to findings; only this file reads the disk. That `unsafe` stays in
//! `crates/bits` is the compiler's check (`unsafe_code = "deny"` in the workspace's lints), so tidy
//! only sees to it that every crate inherits those lints and none lifts them.

mod arrows;
mod markdown;
mod project;
mod text;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::output;
use crate::report::Tally;

/// One broken rule.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    /// Path from the root of the checkout.
    path: String,
    /// Line, from 1; 0 for the file as a whole.
    line: usize,
    message: String,
}

impl Finding {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Finding {
        Finding {
            path: path.to_owned(),
            line,
            message: message.into(),
        }
    }
}

/// A file of the project.
struct Source {
    /// Path from the root of the checkout, with `/`.
    path: String,
    /// `None` for a file that is not UTF-8.
    text: Option<String>,
}

/// Prints every finding. Out: whether there is none.
pub fn tidy(root: &Path) -> Result<bool> {
    Ok(check(root)?.n_failed == 0)
}

/// Prints every finding and counts the run as one check.
pub fn check(root: &Path) -> Result<Tally> {
    let sources = read_sources(root)?;
    let findings = findings(&sources, |path| root.join(path).exists());
    for finding in &findings {
        match finding.line {
            0 => println!("{}: {}", finding.path, finding.message),
            line => println!("{}:{line}: {}", finding.path, finding.message),
        }
    }
    println!("tidy: {} files, {} findings", sources.len(), findings.len());
    match findings.len() {
        0 => Ok(Tally::pass()),
        n_findings => Ok(Tally::failure(format!("tidy: {n_findings} findings"))),
    }
}

fn findings(sources: &[Source], exists: impl Fn(&str) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        let Some(text) = &source.text else { continue };
        findings.extend(text::check(&source.path, text));
        if source.path.ends_with(".md") {
            findings.extend(markdown::check(&source.path, text, &exists));
        }
        if source.path.ends_with("Cargo.toml") {
            findings.extend(arrows::check(&source.path, text));
        }
    }
    findings.extend(project::check(sources));
    findings
}

/// What git tracks, and what it would add.
fn read_sources(root: &Path) -> Result<Vec<Source>> {
    let mut command = Command::new("git");
    command.args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]);
    let list = output(command.current_dir(root)).context("tidy reads a git checkout")?;
    let mut paths: Vec<&str> = list.split('\0').filter(|path| !path.is_empty()).collect();
    paths.sort_unstable();
    paths.dedup();
    let files = paths.into_iter().filter(|path| root.join(path).is_file());
    files.map(|path| read_source(root, path)).collect()
}

fn read_source(root: &Path, path: &str) -> Result<Source> {
    let bytes = fs::read(root.join(path)).with_context(|| format!("cannot read {path}"))?;
    Ok(Source {
        path: path.to_owned(),
        text: String::from_utf8(bytes).ok(),
    })
}

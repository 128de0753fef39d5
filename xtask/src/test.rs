//! `cargo xtask test`: the hermetic suite.
//!
//! The steps run from the cheapest to the dearest, and all of them run whatever failed before.
//! The heavy dependencies are compiled once (profile `test`, which is optimised) and checked once
//! (for clippy and the documentation).

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::process::{cargo, echo, is_on_path, run, target_dir};
use crate::report::{Report, Tally};
use crate::testlog::{Show, TestLog};
use crate::{Scope, cifar, cross, fuzz, setup, tidy};

/// Lints of house rules that are not on by default: every `unsafe` has its proof, and a function
/// over the limit in clippy.toml explains itself with `#[expect(..., reason = "...")]`.
const LINTS: [&str; 6] = [
    "-D",
    "warnings",
    "-D",
    "clippy::undocumented_unsafe_blocks",
    "-D",
    "clippy::too_many_lines",
];

type Step = (&'static str, fn(&Path, Scope) -> Result<Tally>);

const STEPS: [Step; 10] = [
    ("tidy", |root, _| tidy::check(root)),
    ("format", |root, _| {
        as_check(run(cargo(root).args(["fmt", "--all", "--check"])))
    }),
    ("scripts", |root, _| scripts(root)),
    ("clippy", clippy),
    ("docs", docs),
    ("tests", tests),
    ("examples", |root, _| examples(root)),
    ("fuzz", fuzz::smoke),
    ("aarch64", cross::aarch64),
    ("wasm", cross::wasm),
];

/// Runs every step and prints the summary. Out: whether the run is good.
pub fn test(root: &Path, scope: Scope) -> Result<bool> {
    if scope == Scope::All {
        shared_folder()?;
        setup::install(root)?;
    }
    let mut report = Report::new(scope);
    for (name, step) in STEPS {
        println!("\n== {name}");
        let start = Instant::now();
        let tally = step(root, scope).unwrap_or_else(|error| {
            println!("error: {error:#}");
            Tally::failure(format!("{name}: {error:#}"))
        });
        report.add(name, tally, start.elapsed());
    }
    print!("{report}");
    Ok(report.is_good())
}

fn shared_folder() -> Result<PathBuf> {
    let folder = std::env::var_os("ONEBIT_SHARED")
        .map(PathBuf::from)
        .context(
            "`test --all` needs ONEBIT_SHARED, the folder with data/, models/ and fixtures/; \
         plain `test` runs without it",
        )?;
    if !folder.join("data").is_dir() {
        bail!(
            "ONEBIT_SHARED is {}, which has no folder data/",
            folder.display()
        );
    }
    Ok(folder)
}

fn as_check(outcome: Result<()>) -> Result<Tally> {
    outcome.map(|()| Tally::pass())
}

/// Unit tests of the Python scripts in bench/, which need nothing beyond Python.
fn scripts(root: &Path) -> Result<Tally> {
    if !is_on_path("python3") {
        return Ok(Tally::skip(
            "bench scripts: install with `apt-get install python3`",
        ));
    }
    let mut command = Command::new("python3");
    command.args(["-B", "-m", "unittest", "discover", "-s", "bench/peers"]);
    as_check(run(command.current_dir(root)))
}

fn clippy(root: &Path, scope: Scope) -> Result<Tally> {
    let mut command = cargo(root);
    command.args(["clippy", "--workspace", "--all-targets"]);
    lock(&mut command, scope).arg("--").args(LINTS);
    as_check(run(&mut command))
}

fn docs(root: &Path, scope: Scope) -> Result<Tally> {
    let mut command = cargo(root);
    command
        .args(["doc", "--workspace", "--no-deps", "--quiet"])
        .env("RUSTDOCFLAGS", "-D warnings");
    as_check(run(lock(&mut command, scope)))
}

/// Unit, integration and documentation tests. A skipped test says so in its output, which the
/// harness shows only when asked for; what passed is then hidden again by [`TestLog`].
fn tests(root: &Path, scope: Scope) -> Result<Tally> {
    let mut command = cargo(root);
    command.args(["test", "--workspace", "--no-fail-fast"]);
    lock(&mut command, scope).args(["--", "--show-output"]);
    if scope == Scope::All {
        command.env("CI", "true");
    }
    if let Some(data) = default_data_folder() {
        command.env("ONEBIT_DATA", data);
    }
    if let Some(folder) = cifar::folder(root) {
        command.env(cifar::VARIABLE, folder);
    }
    run_tests(&mut command)
}

/// Runs a `cargo test` with `--show-output` and counts its tests.
pub fn run_tests(command: &mut Command) -> Result<Tally> {
    echo(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = child
        .stdout
        .take()
        .context("cargo test has no standard output")?;
    let mut log = TestLog::default();
    for line in BufReader::new(stdout).split(b'\n') {
        let bytes = line?;
        let line = String::from_utf8_lossy(&bytes);
        if log.read(&line) == Show::Yes {
            println!("{line}");
        }
    }
    let status = child.wait()?;
    let mut tally = log.into_tally();
    if !status.success() && tally.n_failed == 0 {
        tally.add(Tally::failure(format!(
            "cargo test ended with {status} outside any test"
        )));
    }
    Ok(tally)
}

/// `$ONEBIT_SHARED/data`, when nothing else is asked for.
fn default_data_folder() -> Option<PathBuf> {
    if std::env::var_os("ONEBIT_DATA").is_some() {
        return None;
    }
    let data = PathBuf::from(std::env::var_os("ONEBIT_SHARED")?).join("data");
    data.is_dir().then_some(data)
}

/// Asks for the committed Cargo.lock where the whole suite runs.
pub fn lock(command: &mut Command, scope: Scope) -> &mut Command {
    match scope {
        Scope::All => command.arg("--locked"),
        Scope::Hermetic => command,
    }
}

/// Runs each example as `cargo test` built it, without arguments.
fn examples(root: &Path) -> Result<Tally> {
    let mut tally = Tally::default();
    for source in example_sources(root)? {
        let name = source.file_stem().context("an example without a name")?;
        let binary = target_dir(root).join("debug/examples").join(name);
        let outcome = if binary.is_file() {
            run(Command::new(&binary).current_dir(root))
        } else {
            Err(anyhow::anyhow!(
                "not built: is it an [[example]] in a Cargo.toml?"
            ))
        };
        tally.add(match outcome {
            Ok(()) => Tally::pass(),
            Err(error) => Tally::failure(format!("example {}: {error:#}", source.display())),
        });
    }
    Ok(tally)
}

fn example_sources(root: &Path) -> Result<Vec<PathBuf>> {
    let mut folders = vec![root.join("examples")];
    for entry in root
        .join("crates")
        .read_dir()
        .context("crates/ cannot be listed")?
    {
        folders.push(entry?.path().join("examples"));
    }
    let mut sources = Vec::new();
    for folder in folders.iter().filter(|folder| folder.is_dir()) {
        for entry in folder.read_dir()? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push(path);
            }
        }
    }
    sources.sort();
    Ok(sources)
}

//! `cargo xtask VERB`: the project's own chores.
//!
//! Owns the command line of the chores; each verb is one module. In: the checkout it is run from.
//! Out: an exit code (0 all well, 1 something failed, 2 misuse) and plain lines on stdout.
//! The build itself is cargo's.

mod ablation;
mod bench;
mod bless;
mod cifar;
mod cross;
mod fuzz;
mod process;
mod report;
mod setup;
mod test;
mod testlog;
mod tidy;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};

const USAGE: &str = "\
usage: cargo xtask VERB

  test          the hermetic suite; says what it skips and how to get it
  test --all    the same with nothing skipped: installs the Debian packages and cargo-fuzz it
                needs, and wants ONEBIT_SHARED (the folder of shared data and fixtures)
  tidy          house rules that no compiler checks
  bless [ARGS]  rewrite the expected files of snapshot tests; ARGS go to `cargo test`
  ablation [ROW...]
                train the rows of bench/ablation.toml (all that are not recorded, or those named),
                append to bench/record/ablation.jsonl, print the table of docs/methods.md
  bench         measure the zoo net and every kernel on every ISA, appended to bench/record/
";

/// How much of the suite has to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// What this machine can run; the rest is skipped and named.
    Hermetic,
    /// Everything; a skip is a failure.
    All,
}

#[derive(Debug, PartialEq, Eq)]
enum Verb {
    Test(Scope),
    Tidy,
    Bless(Vec<String>),
    Ablation(Vec<String>),
    Bench,
    Help,
}

fn parse(args: &[String]) -> Result<Verb, String> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["test"] => Ok(Verb::Test(Scope::Hermetic)),
        ["test", "--all"] => Ok(Verb::Test(Scope::All)),
        ["tidy"] => Ok(Verb::Tidy),
        ["bless", ..] => Ok(Verb::Bless(args[1..].to_vec())),
        ["ablation", ..] => Ok(Verb::Ablation(args[1..].to_vec())),
        ["bench"] => Ok(Verb::Bench),
        ["help" | "--help" | "-h"] => Ok(Verb::Help),
        [] => Err("no verb given".to_owned()),
        _ => Err(format!("not understood: {}", words.join(" "))),
    }
}

/// The checkout, from the folder that cargo names when it runs this program.
fn project_root() -> Result<PathBuf> {
    let manifest =
        std::env::var_os("CARGO_MANIFEST_DIR").context("run this through `cargo xtask`")?;
    let root = PathBuf::from(manifest).parent().map(PathBuf::from);
    root.context("xtask/ has no parent folder")
}

fn run(verb: Verb) -> Result<bool> {
    let root = project_root()?;
    match verb {
        Verb::Test(scope) => test::test(&root, scope),
        Verb::Tidy => tidy::tidy(&root),
        Verb::Bless(args) => bless::bless(&root, &args),
        Verb::Ablation(rows) => ablation::ablation(&root, &rows),
        Verb::Bench => bench::bench(&root),
        Verb::Help => {
            print!("{USAGE}");
            Ok(true)
        }
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let verb = match parse(&args) {
        Ok(verb) => verb,
        Err(message) => {
            eprintln!("error: {message}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(verb) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(words: &[&str]) -> Result<Verb, String> {
        let args: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        parse(&args)
    }

    #[test]
    fn verbs_are_understood() {
        assert_eq!(parse_words(&["test"]), Ok(Verb::Test(Scope::Hermetic)));
        assert_eq!(parse_words(&["test", "--all"]), Ok(Verb::Test(Scope::All)));
        let bless = Verb::Bless(vec!["-p".to_owned(), "onebit".to_owned()]);
        assert_eq!(parse_words(&["bless", "-p", "onebit"]), Ok(bless));
    }

    #[test]
    fn misuse_names_the_words() {
        assert_eq!(parse_words(&[]), Err("no verb given".to_owned()));
        assert!(parse_words(&["test", "--most"]).is_err_and(|text| text.contains("--most")));
    }
}

//! `onebit`: train networks of single bits, lower them to bitwise programs, prove the two equal, run and emit them.
//!
//! Owns the command line: one file per verb under `verbs`, and what verbs share beside it. In: arguments,
//! files, a terminal. Out: text or JSON on stdout, progress on stderr, files, and an exit code (0 all well,
//! 1 failure, 2 misuse of the command line, 130 stopped by Ctrl-C). Every computation is another crate's.
#![forbid(unsafe_code)]

mod agree;
mod card;
mod cost;
mod draw;
mod energy;
mod engine;
mod error;
mod examples;
mod files;
mod finish;
mod fpga;
mod modelfile;
mod output;
mod plot;
mod progress;
mod recorded;
mod report;
mod signals;
mod statistics;
mod table;
mod verbs;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::Failure;

/// Train networks of single bits, prove their bitwise programs equal, run them fast, emit them anywhere.
#[derive(Parser)]
#[command(name = "onebit", version, disable_help_subcommand = true)]
#[command(
    after_help = "Exit codes: 0 success, 1 failure, 2 misuse of the command line, 130 stopped by Ctrl-C."
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Demo(verbs::demo::Args),
    Data(verbs::data::Args),
    Train(verbs::train::Args),
    Eval(verbs::eval::Args),
    Compile(verbs::compile::Args),
    Import(verbs::import::Args),
    Inspect(verbs::inspect::Args),
    Doctor(verbs::doctor::Args),
    Run(verbs::run::Args),
    Verify(verbs::verify::Args),
    Emit(verbs::emit::Args),
    Bench(verbs::bench::Args),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help into a closed pipe is no error.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match run(&cli.verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(verb: &Verb) -> Result<(), Failure> {
    match verb {
        Verb::Demo(args) => verbs::demo::run(args),
        Verb::Data(args) => verbs::data::run(args),
        Verb::Train(args) => verbs::train::run(args),
        Verb::Eval(args) => verbs::eval::run(args),
        Verb::Compile(args) => verbs::compile::run(args),
        Verb::Import(args) => verbs::import::run(args),
        Verb::Inspect(args) => verbs::inspect::run(args),
        Verb::Doctor(args) => verbs::doctor::run(args),
        Verb::Run(args) => verbs::run::run(args),
        Verb::Verify(args) => verbs::verify::run(args),
        Verb::Emit(args) => verbs::emit::run(args),
        Verb::Bench(args) => verbs::bench::run(args),
    }
}

//! Writes `examples/browser/index.html`: `cargo run -p onebit-emit --example playground`.

mod page;

use std::process::ExitCode;

fn main() -> ExitCode {
    let path = page::path();
    let written = page::page().and_then(|text| {
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
    });
    match written {
        Ok(()) => {
            println!("{}", path.display());
            ExitCode::SUCCESS
        }
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

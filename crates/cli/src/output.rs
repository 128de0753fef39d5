//! Standard output.
//!
//! In: text or JSON. Out: bytes on stdout, or a [`Failure`] when it is full or closed, which `println!` would
//! turn into a panic.

use std::io::{self, Write};

use serde_json::Value;

use crate::error::Failure;

/// Prints text and a newline.
pub fn say(text: impl AsRef<str>) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{}", text.as_ref())
        .and_then(|()| stdout.flush())
        .map_err(|error| Failure::stdout(&error))
}

/// Prints one JSON object on one line.
pub fn say_json(value: &Value) -> Result<(), Failure> {
    say(value.to_string())
}

/// Prints a note for people on stderr, so that stdout stays for the answer.
pub fn note(text: impl AsRef<str>) {
    // A note that nobody can read is no reason to stop.
    let _ = writeln!(io::stderr(), "{}", text.as_ref());
}

//! Why the program ends without success, and with which exit code.
//!
//! In: the errors of every crate, each already a sentence with place and remedy. Out: one message on stderr
//! and an exit code.

use std::io::{self, Write};
use std::process::ExitCode;

use onebit_bits::IsaError;
use onebit_compile::CompileError;
use onebit_data::DataError;

/// Why a verb did not succeed.
#[derive(Debug)]
pub enum Failure {
    /// The command line asks for something that cannot be: exit code 2.
    Misuse(String),
    /// Something went wrong, or two things that must be equal are not: exit code 1.
    Failed(String),
    /// The person stopped it: exit code 130.
    Interrupted(String),
    /// Nobody reads our output any more: exit code 0.
    ClosedPipe,
}

impl Failure {
    /// Prints the message and gives the exit code.
    pub fn report(self) -> ExitCode {
        let (message, code) = match self {
            Failure::ClosedPipe => return ExitCode::SUCCESS,
            Failure::Misuse(message) => (message, 2),
            Failure::Failed(message) => (message, 1),
            Failure::Interrupted(message) => (message, 130),
        };
        let prefix = if code == 130 { "" } else { "error: " };
        // With stderr gone, the exit code has to say it all.
        let _ = writeln!(io::stderr(), "{prefix}{message}");
        ExitCode::from(code)
    }

    /// An error of standard output.
    pub fn stdout(error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::ClosedPipe,
            _ => Failure::Failed(format!(
                "cannot write to standard output: {error}; free some space or write elsewhere"
            )),
        }
    }
}

/// A failure that is nobody's misuse.
pub fn failed<T>(message: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Failed(message.into()))
}

/// A misuse of the command line.
pub fn misuse<T>(message: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Misuse(message.into()))
}

impl From<DataError> for Failure {
    fn from(error: DataError) -> Failure {
        Failure::Failed(error.to_string())
    }
}

impl From<CompileError> for Failure {
    fn from(error: CompileError) -> Failure {
        Failure::Failed(error.to_string())
    }
}

impl From<IsaError> for Failure {
    fn from(error: IsaError) -> Failure {
        Failure::Misuse(error.to_string())
    }
}

//! Programs as files that need no onebit: C99, WebAssembly, Verilog-2001.
//!
//! A verified [`Program`] comes in; files and a report for people go out. Nothing is written to disk here, and no
//! tool is run. What the files compute equals the interpreter's answer bit for bit.
#![forbid(unsafe_code)]

pub mod c;
pub mod loops;
pub mod lower;
pub mod verilog;
pub mod wasm;

use onebit_model::program::Program;
use onebit_model::{ProgramTypes, VerifyErrors, verify};
use thiserror::Error;

/// A file of the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its name in the folder that the caller chose.
    pub name: String,
    /// What it holds.
    pub bytes: Vec<u8>,
}

/// What an emitter makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emitted {
    /// The files.
    pub files: Vec<File>,
    /// What a person should know of them, name and figure: sizes, cycles, memory.
    pub report: Vec<(String, String)>,
}

/// Why nothing was emitted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EmitError {
    /// The Program is malformed.
    #[error("the Program cannot be emitted because it is malformed: {0}")]
    Malformed(#[from] VerifyErrors),
    /// This target cannot express a node.
    #[error("{target} cannot express layer `{layer}` ({op}): {reason}")]
    Unsupported {
        /// The emitter's name.
        target: &'static str,
        /// The node's name.
        layer: String,
        /// The node's op.
        op: &'static str,
        /// Why, and what to do instead.
        reason: String,
    },
}

/// One target language.
pub trait Emitter {
    /// What `onebit emit` calls it.
    fn name(&self) -> &'static str;

    /// Whether every node of the Program can be expressed; the first that cannot is the error.
    fn check(&self, program: &Program, types: &ProgramTypes) -> Result<(), EmitError>;

    /// The files, for a Program that [`Emitter::check`] accepts.
    fn emit(&self, program: &Program, types: &ProgramTypes) -> Result<Emitted, EmitError>;
}

/// Verifies, checks and emits.
pub fn emit(emitter: &dyn Emitter, program: &Program) -> Result<Emitted, EmitError> {
    let types = verify(program)?;
    emitter.check(program, &types)?;
    emitter.emit(program, &types)
}

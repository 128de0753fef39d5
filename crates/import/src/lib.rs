//! Other people's networks as Programs.
//!
//! A file or folder comes in: a Larq Compute Engine `.tflite`, an ONNX or QONNX model, a FINN
//! parameter folder, or safetensors with a TOML topology. A verified Program with exactly the same
//! meaning goes out, or an error that names the node, its op and the reason. Nothing is approximated
//! silently. Importers translate node by node into plain Programs; folding batch norms into integer
//! thresholds and every other simplification is left to the passes of `onebit_compile`.
#![forbid(unsafe_code)]

mod error;
mod finn;
mod lce;
mod onnx;
mod same;
mod search;
mod source;
mod topology;

use std::path::Path;

use onebit_model::program::Program;

pub use error::ImportError;
pub use onnx::import_onnx_bytes;
pub use source::Source;

/// How a file is imported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// What the file is; `None` recognises it by its content.
    pub source: Option<Source>,
    /// What an ONNX `Sign` of zero becomes.
    pub zero_sign: ZeroSign,
    /// What a FINN classifier answers with.
    pub head: Head,
}

/// What an ONNX `Sign` of zero becomes. In PyTorch it is 0, which one bit cannot say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ZeroSign {
    /// Exactly 0: where a zero can occur the activation becomes a 2-bit code, at twice the cost.
    #[default]
    Exact,
    /// +1, in one bit. The Program differs from the model wherever an activation is exactly zero.
    Plus,
}

/// What a FINN classifier answers with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Head {
    /// What the host software of the original project reads as scores, so that argmax is its answer.
    #[default]
    Scores,
    /// The popcounts of the last layer.
    Popcounts,
}

/// An imported network.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The network.
    pub program: Program,
    /// What it was.
    pub source: Source,
    /// What a person should know, one sentence each.
    pub warnings: Vec<String>,
}

/// Imports a file or folder.
pub fn import(path: &Path, options: &Options) -> Result<Imported, ImportError> {
    let source = match options.source {
        Some(source) => source,
        None => source::recognise(path)?,
    };
    match source {
        Source::Lce => lce::import(path),
        Source::Onnx => onnx::import(path, options),
        Source::Finn => finn::import(path, options),
        Source::Safetensors => topology::import(path),
    }
}

/// Imports a Larq Compute Engine `.tflite` from its bytes; in errors it is called `model.tflite`.
pub fn import_lce_bytes(bytes: &[u8]) -> Result<Imported, ImportError> {
    lce::import_bytes(Path::new("model.tflite"), bytes)
}

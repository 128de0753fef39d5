//! What can be wrong with a file that is to be imported: one clear sentence, with the place and the remedy.

use std::path::{Path, PathBuf};

use onebit_model::VerifyErrors;
use thiserror::Error;

/// Why a file was not imported.
#[derive(Debug, Error)]
pub enum ImportError {
    /// The file or folder cannot be read.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// The content is none of the kinds there are.
    #[error(
        "{}: not recognised as a Larq Compute Engine .tflite, an ONNX model, a FINN parameter folder or a TOML \
         topology; say what it is with --from lce|onnx|finn|safetensors", path.display()
    )]
    Unknown {
        /// The file.
        path: PathBuf,
    },
    /// The file is damaged or not of the format.
    #[error("{}: {place}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where in it: a byte offset, a table, a tensor.
        place: String,
        /// What is wrong, and what to do about it.
        reason: String,
    },
    /// A node has no exact meaning as a Program, or none that onebit knows.
    #[error("{}: node {node} ({op}) cannot be imported: {reason}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The node's name, or its index where it has none.
        node: String,
        /// Its op, as the format names it.
        op: String,
        /// Why, and what to do about it.
        reason: String,
    },
    /// The parts were read, but what they make up breaks a rule of Programs, such as a limit on sizes.
    #[error("{}: the network cannot be a Program: {errors}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Every rule that is broken.
        errors: VerifyErrors,
    },
}

impl ImportError {
    pub(crate) fn io(path: &Path, error: std::io::Error) -> Self {
        ImportError::Io {
            path: path.into(),
            error,
        }
    }

    pub(crate) fn malformed(
        path: &Path,
        place: impl Into<String>,
        reason: impl Into<String>,
    ) -> Self {
        ImportError::Malformed {
            path: path.into(),
            place: place.into(),
            reason: reason.into(),
        }
    }

    pub(crate) fn unsupported(
        path: &Path,
        node: impl Into<String>,
        op: impl Into<String>,
        reason: impl Into<String>,
    ) -> Self {
        ImportError::Unsupported {
            path: path.into(),
            node: node.into(),
            op: op.into(),
            reason: reason.into(),
        }
    }

    pub(crate) fn invalid(path: &Path, errors: VerifyErrors) -> Self {
        ImportError::Invalid {
            path: path.into(),
            errors,
        }
    }
}

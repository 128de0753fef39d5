//! Writing and reading whole files.
//!
//! A file is written beside its destination and renamed, so that a full disk or a stop leaves what was there.
//! A destination that is no regular file (a device, a pipe) is written to directly.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use onebit_data::io_remedy;

use crate::error::Failure;

/// Largest model file that is read; far above what the limits of `onebit_model` allow to be useful.
const MAX_MODEL_BYTES: u64 = 4 << 30;

/// Writes a whole file, or leaves what was there.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let is_special = fs::metadata(path).is_ok_and(|m| !m.is_file());
    let written = if is_special {
        write_into(path, bytes)
    } else {
        onebit_data::write_whole(path, bytes)
    };
    written.map_err(|error| {
        Failure::Failed(format!(
            "{}: cannot write: {error}; {}",
            path.display(),
            io_remedy(&error)
        ))
    })
}

fn write_into(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::options().write(true).open(path)?;
    file.write_all(bytes)?;
    file.flush()
}

/// Reads a whole model file.
pub fn read_model_bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    let refuse = |error: &io::Error| {
        Failure::Failed(format!(
            "{}: cannot read: {error}; {}",
            path.display(),
            io_remedy(error)
        ))
    };
    let metadata = fs::metadata(path).map_err(|error| refuse(&error))?;
    if metadata.is_dir() {
        let problem = "is a folder; name the .bnn or .net file in it";
        return Err(Failure::Failed(format!("{}: {problem}", path.display())));
    }
    if metadata.len() > MAX_MODEL_BYTES {
        let problem = format!(
            "has {} bytes, more than any model; check the path",
            metadata.len()
        );
        return Err(Failure::Failed(format!("{}: {problem}", path.display())));
    }
    fs::read(path).map_err(|error| refuse(&error))
}

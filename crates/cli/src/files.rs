//! Writing and reading whole files.
//!
//! A file is written beside its destination and renamed, so that a full disk or a stop leaves what was there.
//! A destination that is no regular file (a device, a pipe) is written to directly.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::Failure;

/// Largest model file that is read; far above what the limits of `onebit_model` allow to be useful.
const MAX_MODEL_BYTES: u64 = 4 << 30;

/// Writes a whole file, or leaves what was there.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let is_special = fs::metadata(path).is_ok_and(|m| !m.is_file());
    let written = if is_special {
        write_into(path, bytes)
    } else {
        replace(path, bytes)
    };
    written.map_err(|error| {
        Failure::Failed(format!(
            "{}: cannot write: {error}; {}",
            path.display(),
            remedy(&error)
        ))
    })
}

fn write_into(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::options().write(true).open(path)?;
    file.write_all(bytes)?;
    file.flush()
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = beside(path);
    let write = || {
        let mut file = File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().inspect_err(|_| {
        // The first failure is the one to report.
        let _ = fs::remove_file(&beside);
    })
}

/// The temporary neighbour: same folder, so that the rename stays on one disk.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.tmp", std::process::id()));
    path.with_file_name(name)
}

/// Reads a whole model file.
pub fn read_model_bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    let refuse = |error: &io::Error| {
        Failure::Failed(format!(
            "{}: cannot read: {error}; {}",
            path.display(),
            remedy(error)
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

/// What to do about an error of the file system.
pub fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => "check the path",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "choose a place that you may write to and read from"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            "free some space or choose another disk"
        }
        io::ErrorKind::IsADirectory => "name a file, not a folder",
        io::ErrorKind::AlreadyExists => {
            "something else has this name: remove it or choose another name"
        }
        _ => "check the disk, then try again",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write_whole(&path, b"one").unwrap();
        write_whole(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let below_a_file = path.join("b");
        assert!(write_whole(&below_a_file, b"three").is_err());
        assert_eq!(fs::read(&path).unwrap(), b"two");
    }
}

//! Whole files in and out.
//!
//! Owns the two ways this crate touches the disk: a regular file read under a size limit, and a file written
//! beside its destination and renamed, which training and the command line write theirs with too. Leaves every
//! format to its reader.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::error::{DataError, Place};

/// The most bytes a file may hold, as it lies on the disk.
pub const MAX_FILE_BYTES: u64 = 2 << 30;
/// The most bytes a compressed file, an archive member or an image may expand to.
pub const MAX_EXPANDED_BYTES: u64 = 2 << 30;

/// Reads a regular file of at most [`MAX_FILE_BYTES`].
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, DataError> {
    read_file_up_to(path, MAX_FILE_BYTES)
}

pub(crate) fn read_file_up_to(path: &Path, limit: u64) -> Result<Vec<u8>, DataError> {
    let meta = fs::metadata(path).map_err(|e| DataError::io(path, "read", e))?;
    if !meta.is_file() {
        return Err(DataError::unsupported(
            path,
            Place::Whole,
            "this is not a regular file",
            "give the path of a file, not of a folder, pipe or device",
        ));
    }
    let too_large = |size: u64| {
        let problem = format!("the file holds {size} bytes, the limit is {limit}");
        DataError::too_large(
            path,
            Place::Whole,
            problem,
            "split the data into smaller files",
        )
    };
    if meta.len() > limit {
        return Err(too_large(meta.len()));
    }
    let file = File::open(path).map_err(|e| DataError::io(path, "read", e))?;
    let mut bytes = Vec::new();
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| DataError::io(path, "read", e))?;
    if bytes.len() as u64 > limit {
        return Err(too_large(bytes.len() as u64));
    }
    Ok(bytes)
}

/// Writes `bytes` to a file beside `path`, then renames it, so that `path` is either untouched or complete.
///
/// # Errors
/// What the file system said; [`io_remedy`](crate::io_remedy) says what to do about it.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = beside(path);
    let write = || {
        let mut file = File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().inspect_err(|_| {
        // The first failure is the one to report; a leftover that cannot be removed changes nothing about it.
        let _ = fs::remove_file(&beside);
    })
}

/// The temporary neighbour of `path`: same folder, so that the rename stays on one disk.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.tmp", std::process::id()));
    path.with_file_name(name)
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

//! Gzip, inflated under a limit.
//!
//! In: the bytes of a .gz file. Out: what it inflates to, never more than the caller allows. Leaves the
//! meaning of the bytes, and therefore the limit, to the caller.

use std::io::Read;
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use crate::error::{DataError, Place};

/// Deflate spends at least two bits on 258 bytes of output, so no stream expands by more than this factor.
pub const MAX_EXPANSION: u64 = 1032;

/// Whether `bytes` begin like a gzip file.
pub fn is_gz(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b])
}

/// The first `n` bytes that `bytes` inflate to; fewer where the stream ends earlier.
pub fn inflate_prefix(file: &Path, bytes: &[u8], n: u64) -> Result<Vec<u8>, DataError> {
    let mut out = Vec::new();
    MultiGzDecoder::new(bytes)
        .take(n)
        .read_to_end(&mut out)
        .map_err(|e| broken(file, out.len(), &e))?;
    Ok(out)
}

/// Everything that `bytes` inflate to, checksums verified. More than `limit` bytes are refused and at most
/// one byte beyond the limit is ever held.
pub fn inflate(file: &Path, bytes: &[u8], limit: u64) -> Result<Vec<u8>, DataError> {
    let out = inflate_prefix(file, bytes, limit.saturating_add(1))?;
    if out.len() as u64 > limit {
        let problem = format!("the data goes on after its {limit} bytes");
        return Err(DataError::too_large(
            file,
            Place::InflatedByte(limit),
            problem,
            "the file is damaged or not what its name says: get it again",
        ));
    }
    Ok(out)
}

fn broken(file: &Path, inflated: usize, source: &std::io::Error) -> DataError {
    DataError::malformed(
        file,
        Place::InflatedByte(inflated as u64),
        format!("the gzip stream is broken ({source})"),
        "the file is damaged or incomplete: get it again",
    )
}

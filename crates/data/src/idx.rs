//! The idx format of MNIST: a magic number, big-endian sizes, then the values.
//!
//! In: the bytes of an idx file, plain or gzip. Out: [`Idx`], whose values fill its shape exactly. Leaves
//! pairing images with labels to `idx_set`.
//!
//! Bytes 0 and 1 are zero, byte 2 is the type of the values, byte 3 the rank; then one u32 for each axis.

use std::path::Path;

use crate::error::{DataError, Source};
use crate::files::{self, MAX_EXPANDED_BYTES};
use crate::gz;

/// The largest rank read: `[n, h, w, c]`.
pub const MAX_RANK: usize = 4;

const MAX_HEADER: usize = 4 + 4 * MAX_RANK;
const DAMAGED: &str = "the file is damaged or incomplete: get it again";
const NOT_IDX: &str = "check that this is an idx file";

/// An array of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idx {
    /// First axis first; the product is `values.len()`, and no axis is 0.
    pub shape: Vec<usize>,
    /// Row-major.
    pub values: Vec<u8>,
}

/// Whether `bytes` (not compressed) begin like an idx file of any type.
pub fn is_idx(bytes: &[u8]) -> bool {
    matches!(bytes, [0, 0, kind, rank, ..] if *rank > 0 && type_name(*kind).is_some())
}

/// Reads an idx file, plain or gzip.
pub fn read(path: &Path) -> Result<Idx, DataError> {
    parse(path, &files::read_file(path)?)
}

/// Reads the bytes of an idx file, plain or gzip; `file` only names it in errors.
pub fn parse(file: &Path, bytes: &[u8]) -> Result<Idx, DataError> {
    if gz::is_gz(bytes) {
        return parse_gz(file, bytes);
    }
    let source = Source::plain(file);
    let header = parse_header(source, bytes)?;
    if (bytes.len() as u64) > header.end {
        let problem = format!(
            "{} bytes follow the last value",
            bytes.len() as u64 - header.end
        );
        return Err(source.malformed(header.end as usize, problem, DAMAGED));
    }
    check_complete(source, bytes.len(), &header)?;
    let values = bytes[header.len..].to_vec();
    Ok(Idx {
        shape: header.shape,
        values,
    })
}

/// The header is inflated alone first: the size it announces is the limit for the rest.
fn parse_gz(file: &Path, bytes: &[u8]) -> Result<Idx, DataError> {
    let source = Source::inflated(file);
    let prefix = gz::inflate_prefix(file, bytes, MAX_HEADER as u64)?;
    let header = parse_header(source, &prefix)?;
    if header.end > (bytes.len() as u64).saturating_mul(gz::MAX_EXPANSION) {
        let problem = format!(
            "the header announces {} bytes, {} compressed bytes cannot hold them",
            header.end,
            bytes.len()
        );
        return Err(source.malformed(4, problem, DAMAGED));
    }
    let mut inflated = gz::inflate(file, bytes, header.end)?;
    check_complete(source, inflated.len(), &header)?;
    inflated.drain(..header.len);
    Ok(Idx {
        shape: header.shape,
        values: inflated,
    })
}

fn check_complete(source: Source, n_bytes: usize, header: &Header) -> Result<(), DataError> {
    if n_bytes as u64 >= header.end {
        return Ok(());
    }
    let problem = format!(
        "the data ends here, its header announces {} bytes",
        header.end
    );
    Err(source.malformed(n_bytes, problem, DAMAGED))
}

struct Header {
    shape: Vec<usize>,
    /// Size of the header in bytes.
    len: usize,
    /// Size of header and values in bytes, within the limit.
    end: u64,
}

fn parse_header(source: Source, bytes: &[u8]) -> Result<Header, DataError> {
    let ends = |need: usize| {
        let problem = format!("the file ends inside its header, which needs {need} bytes");
        source.malformed(bytes.len(), problem, DAMAGED)
    };
    let &[zero0, zero1, kind, rank] = bytes.first_chunk::<4>().ok_or_else(|| ends(4))?;
    if zero0 != 0 || zero1 != 0 {
        let problem = format!(
            "an idx file begins with two zero bytes, this one with {zero0:#04x} {zero1:#04x}"
        );
        return Err(source.malformed(0, problem, NOT_IDX));
    }
    check_type(source, kind)?;
    let rank = usize::from(rank);
    if rank == 0 || rank > MAX_RANK {
        let problem = format!("the rank is {rank}, onebit reads 1 to {MAX_RANK}");
        return Err(source.unsupported(3, problem, NOT_IDX));
    }
    let len = 4 + 4 * rank;
    let (axes, _) = bytes.get(4..len).ok_or_else(|| ends(len))?.as_chunks::<4>();
    let axes: Vec<u32> = axes.iter().map(|&axis| u32::from_be_bytes(axis)).collect();
    if let Some(empty) = axes.iter().position(|&axis| axis == 0) {
        let problem = format!("axis {empty} of the shape {axes:?} is empty");
        return Err(source.malformed(4 + 4 * empty, problem, "give at least one example"));
    }
    let n_values = axes
        .iter()
        .try_fold(1u64, |n, &axis| n.checked_mul(u64::from(axis)));
    let end = n_values
        .and_then(|n| n.checked_add(len as u64))
        .filter(|&n| n <= MAX_EXPANDED_BYTES);
    let end = end.ok_or_else(|| {
        let problem = format!("the shape {axes:?} needs more than {MAX_EXPANDED_BYTES} bytes");
        source.too_large(4, problem, "split the data into smaller files")
    })?;
    Ok(Header {
        shape: axes.iter().map(|&axis| axis as usize).collect(),
        len,
        end,
    })
}

fn type_name(kind: u8) -> Option<&'static str> {
    match kind {
        0x08 => Some("u8"),
        0x09 => Some("i8"),
        0x0b => Some("i16"),
        0x0c => Some("i32"),
        0x0d => Some("f32"),
        0x0e => Some("f64"),
        _ => None,
    }
}

fn check_type(source: Source, kind: u8) -> Result<(), DataError> {
    match type_name(kind) {
        Some("u8") => Ok(()),
        Some(name) => {
            let problem = format!("the values are {name}, onebit reads u8 idx files only");
            Err(source.unsupported(2, problem, "save the array as .npy instead"))
        }
        None => Err(source.malformed(2, format!("{kind:#04x} is no idx type"), NOT_IDX)),
    }
}

//! The .npy format of numpy: a header in Python's notation, then the values.
//!
//! In: the bytes of a .npy file, or an array to write. Out: an [`Array`], or a file. Leaves archives to `npz`
//! and the header's notation to `npy_header`. Written here because the known crate allocates whatever size a
//! header claims and brings a parser generator for one line of text.

use std::path::Path;

use crate::array::{Array, ArrayData, index_of};
use crate::error::{DataError, Source};
use crate::files;
use crate::npy_header::{self, Header};

const DAMAGED: &str = "the file is damaged or incomplete: write it again with numpy.save";

/// The first bytes of every .npy file.
pub const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// Reads a .npy file; f64 values are rounded to f32, 16-bit integers become 32-bit ones.
pub fn read_npy(path: &Path) -> Result<Array, DataError> {
    parse_npy(path, &files::read_file(path)?)
}

/// Reads the bytes of a .npy file; `file` only names it in errors.
pub fn parse_npy(file: &Path, bytes: &[u8]) -> Result<Array, DataError> {
    parse(Source::plain(file), bytes).map(|parsed| parsed.array)
}

/// An array together with where its values lie, so that a later complaint can name the byte.
pub(crate) struct Parsed {
    pub array: Array,
    /// Offset in bytes of the first value.
    start: usize,
    /// Size in bytes of one value in the file.
    width: usize,
}

impl Parsed {
    /// Offset in bytes of value `flat`.
    pub fn offset(&self, flat: usize) -> usize {
        self.start + flat * self.width
    }
}

/// Whether every number must be finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// Inputs and data sets: NaN and infinities are mistakes.
    Finite,
    /// What a program has computed, whatever that was.
    AsRecorded,
}

pub(crate) fn parse(source: Source, bytes: &[u8]) -> Result<Parsed, DataError> {
    parse_numbers(source, bytes, Numbers::Finite)
}

/// As [`parse`], with a choice of numbers.
pub(crate) fn parse_numbers(
    source: Source,
    bytes: &[u8],
    numbers: Numbers,
) -> Result<Parsed, DataError> {
    let header = npy_header::parse(source, bytes)?;
    let end = header.end();
    if bytes.len() < end {
        let problem = format!("the file ends here, its header announces {end} bytes");
        return Err(source.malformed(bytes.len(), problem, DAMAGED));
    }
    if bytes.len() > end {
        let problem = format!("{} bytes follow the last value", bytes.len() - end);
        return Err(source.malformed(end, problem, DAMAGED));
    }
    let data = values(source, &header, &bytes[header.start..end], numbers)?;
    let (start, width) = (header.start, header.kind.width());
    Ok(Parsed {
        array: Array {
            shape: header.shape,
            data,
        },
        start,
        width,
    })
}

/// The type of the values in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    U8,
    I8,
    I16,
    U16,
    I32,
    I64,
    F32,
    F64,
}

impl Kind {
    /// Size of one value in bytes.
    pub fn width(self) -> usize {
        match self {
            Kind::U8 | Kind::I8 => 1,
            Kind::I16 | Kind::U16 => 2,
            Kind::I32 | Kind::F32 => 4,
            Kind::I64 | Kind::F64 => 8,
        }
    }

    /// Size of one value in bytes where it is larger in memory than in the file, else the same.
    pub fn width_in_memory(self) -> usize {
        match self {
            Kind::I16 | Kind::U16 => 4,
            _ => self.width(),
        }
    }
}

fn values(
    source: Source,
    header: &Header,
    raw: &[u8],
    numbers: Numbers,
) -> Result<ArrayData, DataError> {
    let big = header.big_endian;
    Ok(match header.kind {
        Kind::U8 => ArrayData::U8(raw.to_vec()),
        Kind::I8 => ArrayData::I8(raw.iter().map(|&byte| byte.cast_signed()).collect()),
        Kind::I16 => ArrayData::I32(map(raw, big, |bytes| i16::from_le_bytes(bytes).into())),
        Kind::U16 => ArrayData::I32(map(raw, big, |bytes| u16::from_le_bytes(bytes).into())),
        Kind::I32 => ArrayData::I32(map(raw, big, i32::from_le_bytes)),
        Kind::I64 => ArrayData::I64(map(raw, big, i64::from_le_bytes)),
        Kind::F32 if numbers == Numbers::AsRecorded => {
            ArrayData::F32(map(raw, big, f32::from_le_bytes))
        }
        Kind::F64 if numbers == Numbers::AsRecorded => {
            ArrayData::F32(map(raw, big, |bytes| f64::from_le_bytes(bytes) as f32))
        }
        Kind::F32 => finite(
            source,
            header,
            map(raw, big, f32::from_le_bytes),
            map_at_f32(raw, big),
        )?,
        Kind::F64 => {
            let narrowed = map(raw, big, |bytes| f64::from_le_bytes(bytes) as f32);
            finite(source, header, narrowed, map_at_f64(raw, big))?
        }
    })
}

/// Each `N` bytes of `raw`, turned into little-endian order, through `read`.
fn map<const N: usize, T>(raw: &[u8], big_endian: bool, read: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (chunks, _) = raw.as_chunks::<N>();
    chunks
        .iter()
        .map(|&chunk| read(ordered(chunk, big_endian)))
        .collect()
}

fn ordered<const N: usize>(mut chunk: [u8; N], big_endian: bool) -> [u8; N] {
    if big_endian {
        chunk.reverse();
    }
    chunk
}

fn map_at_f32(raw: &[u8], big: bool) -> impl Fn(usize) -> f64 {
    move |i| {
        raw.as_chunks::<4>()
            .0
            .get(i)
            .map_or(0.0, |&c| f64::from(f32::from_le_bytes(ordered(c, big))))
    }
}

fn map_at_f64(raw: &[u8], big: bool) -> impl Fn(usize) -> f64 {
    move |i| {
        raw.as_chunks::<8>()
            .0
            .get(i)
            .map_or(0.0, |&c| f64::from_le_bytes(ordered(c, big)))
    }
}

/// Passes values on that are all finite; names the first that is not, as `original` gives it.
fn finite(
    source: Source,
    header: &Header,
    values: Vec<f32>,
    original: impl Fn(usize) -> f64,
) -> Result<ArrayData, DataError> {
    let Some(bad) = values.iter().position(|value| !value.is_finite()) else {
        return Ok(ArrayData::F32(values));
    };
    let at = header.start + bad * header.kind.width();
    let value = original(bad);
    let index = index_of(&header.shape, bad);
    let problem = if value.is_finite() {
        format!("the value {value:e} at {index} does not fit a 32-bit float")
    } else {
        format!("the value at {index} is {value}, not a finite number")
    };
    Err(source.malformed(
        at,
        problem,
        "replace or remove such values (numpy.nan_to_num) before saving",
    ))
}

/// Writes a .npy file (version 1.0, little-endian, C order): beside `path` first, then renamed.
///
/// # Panics
/// Where `data` does not fill `shape`.
pub fn write_npy(path: &Path, shape: &[usize], data: &ArrayData) -> Result<(), DataError> {
    files::write_whole(path, &npy_bytes(shape, data)).map_err(|e| DataError::io(path, "write", e))
}

/// The bytes of a .npy file, as [`write_npy`] writes them.
///
/// # Panics
/// Where `data` does not fill `shape`.
pub fn npy_bytes(shape: &[usize], data: &ArrayData) -> Vec<u8> {
    assert_eq!(
        shape.iter().product::<usize>(),
        data.len(),
        "shape and number of values"
    );
    let mut bytes = npy_header::bytes(shape, data);
    match data {
        ArrayData::U8(values) => bytes.extend_from_slice(values),
        ArrayData::I8(values) => bytes.extend(values.iter().map(|value| value.cast_unsigned())),
        ArrayData::I32(values) => bytes.extend(values.iter().flat_map(|value| value.to_le_bytes())),
        ArrayData::I64(values) => bytes.extend(values.iter().flat_map(|value| value.to_le_bytes())),
        ArrayData::F32(values) => bytes.extend(values.iter().flat_map(|value| value.to_le_bytes())),
    }
    bytes
}

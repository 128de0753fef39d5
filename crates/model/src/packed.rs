//! The bytes of one tensor in a file: packed bits, narrow integers, little-endian floats.
//!
//! Owns the encodings that `.bnn` and Net files share. Nothing here allocates more than a constant
//! times the bytes it is given.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use safetensors::Dtype;

use crate::container::{BnnError, Stored};
use crate::weights::{BitMatrix, Matrix};

/// A tensor that is about to be written.
pub(crate) struct PackedTensor {
    pub(crate) name: String,
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

/// Packs a matrix: `U8[rows, ceil(cols / 8)]`, bit `i` of byte `b` is column `8 b + i`.
pub(crate) fn pack_bits(name: String, matrix: &BitMatrix) -> PackedTensor {
    let bytes_per_row = matrix.n_cols().div_ceil(8);
    let mut bytes = Vec::with_capacity(matrix.n_rows() * bytes_per_row);
    for row in 0..matrix.n_rows() {
        let row_bytes = matrix.row(row).iter().flat_map(|word| word.to_le_bytes());
        bytes.extend(row_bytes.take(bytes_per_row));
    }
    let shape = vec![matrix.n_rows(), bytes_per_row];
    PackedTensor {
        name,
        dtype: Dtype::U8,
        shape,
        bytes,
    }
}

/// Packs flags: `U8[ceil(n / 8)]`, bit `i` of byte `b` is flag `8 b + i`.
pub(crate) fn pack_flags(name: String, flags: &[bool]) -> PackedTensor {
    let mut tensor = pack_bits(
        name,
        &BitMatrix::from_fn(1, flags.len(), |_, col| flags[col]),
    );
    tensor.shape.remove(0);
    tensor
}

/// Packs integers as the narrowest of I8, I16 and I32 that holds them all.
///
/// The least value of the narrow type stands for -2^31, the threshold that every value reaches, so
/// that constant channels do not force a wide tensor.
pub(crate) fn pack_ints(name: String, ints: &[i32]) -> PackedTensor {
    let fits = |min: i32, max: i32| ints.iter().all(|&x| x == i32::MIN || (x > min && x <= max));
    let (dtype, bytes): (Dtype, Vec<u8>) = if fits(i8::MIN.into(), i8::MAX.into()) {
        let narrow = |&x: &i32| i8::try_from(x).unwrap_or(i8::MIN);
        (
            Dtype::I8,
            ints.iter().flat_map(|x| narrow(x).to_le_bytes()).collect(),
        )
    } else if fits(i16::MIN.into(), i16::MAX.into()) {
        let narrow = |&x: &i32| i16::try_from(x).unwrap_or(i16::MIN);
        (
            Dtype::I16,
            ints.iter().flat_map(|x| narrow(x).to_le_bytes()).collect(),
        )
    } else {
        (
            Dtype::I32,
            ints.iter().flat_map(|x| x.to_le_bytes()).collect(),
        )
    };
    PackedTensor {
        name,
        dtype,
        shape: vec![ints.len()],
        bytes,
    }
}

/// Packs reals: `F32[n]`, little endian.
pub(crate) fn pack_reals(name: String, reals: &[f32]) -> PackedTensor {
    let bytes = reals.iter().flat_map(|x| x.to_le_bytes()).collect();
    PackedTensor {
        name,
        dtype: Dtype::F32,
        shape: vec![reals.len()],
        bytes,
    }
}

/// Packs 8-bit integers as they are: `I8[rows, cols]`.
pub(crate) fn pack_int8_matrix(name: String, matrix: &Matrix<i8>) -> PackedTensor {
    PackedTensor {
        name,
        dtype: Dtype::I8,
        shape: vec![matrix.n_rows(), matrix.n_cols()],
        bytes: matrix
            .values()
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect(),
    }
}

/// Packs a matrix of reals: `F32[rows, cols]`, little endian.
pub(crate) fn pack_real_matrix(name: String, matrix: &Matrix<f32>) -> PackedTensor {
    PackedTensor {
        shape: vec![matrix.n_rows(), matrix.n_cols()],
        ..pack_reals(name, matrix.values())
    }
}

/// Reads what [`pack_bits`] wrote.
pub(crate) fn unpack_bits(
    stored: &Stored<'_>,
    n_rows: usize,
    n_cols: usize,
) -> Result<BitMatrix, BnnError> {
    expect_dtype(stored, "U8", &[Dtype::U8])?;
    let bytes_per_row = n_cols.div_ceil(8);
    expect_shape(stored, &[n_rows, bytes_per_row])?;
    unpack_rows(stored, n_rows, n_cols, bytes_per_row)
}

/// Reads what [`pack_flags`] wrote.
pub(crate) fn unpack_flags(stored: &Stored<'_>, n: usize) -> Result<Vec<bool>, BnnError> {
    expect_dtype(stored, "U8", &[Dtype::U8])?;
    expect_shape(stored, &[n.div_ceil(8)])?;
    let matrix = unpack_rows(stored, 1, n, n.div_ceil(8))?;
    Ok((0..n).map(|col| matrix.get(0, col)).collect())
}

/// Unpacks rows whose number of bytes is known to be right.
fn unpack_rows(
    stored: &Stored<'_>,
    n_rows: usize,
    n_cols: usize,
    bytes_per_row: usize,
) -> Result<BitMatrix, BnnError> {
    if n_rows == 0 || n_cols == 0 {
        return Err(shape_error(stored, "at least one row and one column"));
    }
    let mut words = Vec::with_capacity(n_rows * n_cols.div_ceil(64));
    for (row, bytes) in stored.bytes.chunks_exact(bytes_per_row).enumerate() {
        let used = n_cols % 8;
        let last = bytes[bytes_per_row - 1];
        if used != 0 && last >> used != 0 {
            let offset = stored.offset + (row + 1) * bytes_per_row - 1;
            return Err(BnnError::PadBits {
                name: stored.name.into(),
                row,
                offset,
            });
        }
        words.extend(bytes.chunks(8).map(word_of_bytes));
    }
    Ok(BitMatrix::from_words(n_rows, n_cols, words).expect("pad bits are zero, counts agree"))
}

/// Up to eight bytes as a word, the first byte least significant.
fn word_of_bytes(bytes: &[u8]) -> u64 {
    let mut eight = [0u8; 8];
    eight[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(eight)
}

/// Reads what [`pack_ints`] wrote, or any wider form of it.
pub(crate) fn unpack_ints(stored: &Stored<'_>, n: usize) -> Result<Vec<i32>, BnnError> {
    expect_dtype(
        stored,
        "I8, I16 or I32",
        &[Dtype::I8, Dtype::I16, Dtype::I32],
    )?;
    expect_shape(stored, &[n])?;
    let widen = |x: i32, min: i32| if x == min { i32::MIN } else { x };
    Ok(match stored.dtype {
        Dtype::I8 => {
            let narrow = stored.bytes.iter().map(|&byte| i8::from_le_bytes([byte]));
            narrow.map(|x| widen(x.into(), i8::MIN.into())).collect()
        }
        Dtype::I16 => {
            let (pairs, _) = stored.bytes.as_chunks::<2>();
            let narrow = pairs.iter().map(|pair| i16::from_le_bytes(*pair));
            narrow.map(|x| widen(x.into(), i16::MIN.into())).collect()
        }
        _ => stored
            .bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|four| i32::from_le_bytes(*four))
            .collect(),
    })
}

/// Reads what [`pack_reals`] wrote.
pub(crate) fn unpack_reals(stored: &Stored<'_>, n: usize) -> Result<Vec<f32>, BnnError> {
    expect_dtype(stored, "F32", &[Dtype::F32])?;
    expect_shape(stored, &[n])?;
    Ok(reals_of(stored.bytes))
}

/// Reads what [`pack_int8_matrix`] wrote.
pub(crate) fn unpack_int8_matrix(
    stored: &Stored<'_>,
    n_rows: usize,
    n_cols: usize,
) -> Result<Matrix<i8>, BnnError> {
    expect_dtype(stored, "I8", &[Dtype::I8])?;
    expect_shape(stored, &[n_rows, n_cols])?;
    let values = stored.bytes.iter().map(|&byte| i8::from_le_bytes([byte]));
    let matrix = Matrix::from_vec(n_rows, n_cols, values.collect());
    Ok(matrix.expect("a tensor's length is that of its shape"))
}

/// Reads what [`pack_real_matrix`] wrote.
pub(crate) fn unpack_real_matrix(
    stored: &Stored<'_>,
    n_rows: usize,
    n_cols: usize,
) -> Result<Matrix<f32>, BnnError> {
    expect_dtype(stored, "F32", &[Dtype::F32])?;
    expect_shape(stored, &[n_rows, n_cols])?;
    let values = reals_of(stored.bytes);
    let matrix = Matrix::from_vec(n_rows, n_cols, values);
    Ok(matrix.expect("a tensor's length is that of its shape"))
}

fn reals_of(bytes: &[u8]) -> Vec<f32> {
    let (fours, _) = bytes.as_chunks::<4>();
    fours.iter().map(|four| f32::from_le_bytes(*four)).collect()
}

fn expect_dtype(
    stored: &Stored<'_>,
    wanted: &'static str,
    dtypes: &[Dtype],
) -> Result<(), BnnError> {
    if dtypes.contains(&stored.dtype) {
        return Ok(());
    }
    let (name, found) = (stored.name.into(), format!("{:?}", stored.dtype));
    Err(BnnError::TensorType {
        name,
        found,
        wanted,
    })
}

fn expect_shape(stored: &Stored<'_>, wanted: &[usize]) -> Result<(), BnnError> {
    if stored.shape == wanted {
        return Ok(());
    }
    Err(shape_error(stored, &format!("{wanted:?}")))
}

fn shape_error(stored: &Stored<'_>, wanted: &str) -> BnnError {
    let (name, found) = (stored.name.into(), format!("{:?}", stored.shape));
    BnnError::TensorShape {
        name,
        found,
        wanted: wanted.to_string(),
    }
}

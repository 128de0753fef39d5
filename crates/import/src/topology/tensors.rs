//! The tensors of a safetensors file as numbers.
//!
//! In: the bytes of the file. Out: [`Numbers64`], a shape and its values as f64, which holds every number of
//! the types that are read exactly. Keeps count of which tensors were asked for. Leaves what they mean to
//! `layers`.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};

use crate::error::ImportError;

/// The most bytes of a safetensors file.
pub(super) const MAX_BYTES: u64 = 8 << 30;

/// Reads a regular file of at most `limit` bytes.
pub(super) fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>, ImportError> {
    let io = |error| ImportError::io(path, error);
    let metadata = fs::metadata(path).map_err(io)?;
    let too_large = || {
        let reason = format!("has more than {limit} bytes, the limit");
        ImportError::malformed(path, "the file", reason)
    };
    if !metadata.is_file() {
        let reason = "is not a regular file; give the path of a file";
        return Err(ImportError::malformed(path, "the path", reason));
    }
    if metadata.len() > limit {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .map_err(io)?;
    if bytes.len() as u64 > limit {
        return Err(too_large());
    }
    Ok(bytes)
}

/// A tensor's values; every one is finite.
#[derive(Clone, Debug)]
pub(super) struct Numbers64 {
    pub name: String,
    pub shape: Vec<usize>,
    /// Row-major.
    pub values: Vec<f64>,
}

/// The tensors of a file.
pub(super) struct Tensors<'a> {
    path: PathBuf,
    file: SafeTensors<'a>,
    used: RefCell<BTreeSet<String>>,
}

impl<'a> Tensors<'a> {
    /// Reads the header.
    pub fn parse(path: &Path, bytes: &'a [u8]) -> Result<Self, ImportError> {
        let file = SafeTensors::deserialize(bytes).map_err(|error| {
            let reason = format!("is not a whole safetensors file ({error}); save it again");
            ImportError::malformed(path, "the header", reason)
        })?;
        let (path, used) = (path.into(), RefCell::default());
        Ok(Tensors { path, file, used })
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.file.len()
    }

    /// The tensors that nobody has asked for, by name; counters of batch norms, which no network needs, are
    /// not among them.
    pub fn unused(&self) -> Vec<String> {
        let used = self.used.borrow();
        let names = self.file.names().into_iter();
        let mut unused: Vec<String> = names
            .filter(|&name| !used.contains(name) && !name.ends_with("num_batches_tracked"))
            .map(String::from)
            .collect();
        unused.sort_unstable();
        unused
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.file.tensor(name).is_ok()
    }

    /// An error about a tensor.
    pub fn wrong(&self, name: &str, reason: impl Into<String>) -> ImportError {
        ImportError::malformed(&self.path, format!("tensor {name}"), reason)
    }

    /// The numbers of a tensor.
    pub fn get(&self, name: &str) -> Result<Numbers64, ImportError> {
        let Ok(view) = self.file.tensor(name) else {
            let mut names = self.file.names();
            names.sort_unstable();
            let shown = names.len().min(20);
            let more = if names.len() > shown { ", ..." } else { "" };
            let names = names[..shown].join(", ");
            let reason = format!("is not in the file, which has {names}{more}; name one of them");
            return Err(self.wrong(name, reason));
        };
        self.used.borrow_mut().insert(name.into());
        let values = decode(view.dtype(), view.data()).ok_or_else(|| {
            let reason = format!(
                "has the type {:?}; save it as F32, F64, F16, BF16, I8, I16, I32, I64, U8, U16 or BOOL",
                view.dtype()
            );
            self.wrong(name, reason)
        })?;
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            let reason = format!("has {} at element {at}; remove such values", values[at]);
            return Err(self.wrong(name, reason));
        }
        if view.dtype() == Dtype::I64
            && let Some(at) = values.iter().position(|value| value.abs() > EXACT_F64)
        {
            let reason = format!("has {} at element {at}, beyond 2^53", values[at]);
            return Err(self.wrong(name, reason));
        }
        Ok(Numbers64 {
            name: name.into(),
            shape: view.shape().to_vec(),
            values,
        })
    }
}

/// Integers up to here are exact in f64.
const EXACT_F64: f64 = 9_007_199_254_740_992.0;

fn decode(dtype: Dtype, data: &[u8]) -> Option<Vec<f64>> {
    Some(match dtype {
        Dtype::F32 => map(data, |bytes| f32::from_le_bytes(bytes).into()),
        Dtype::F64 => map(data, f64::from_le_bytes),
        Dtype::F16 => map(data, |bytes| half(u16::from_le_bytes(bytes))),
        // A bfloat16 is the upper half of a binary32.
        Dtype::BF16 => map(data, |[low, high]| {
            f32::from_le_bytes([0, 0, low, high]).into()
        }),
        Dtype::I8 => map(data, |bytes| i8::from_le_bytes(bytes).into()),
        Dtype::U8 | Dtype::BOOL => map(data, |[byte]| byte.into()),
        Dtype::I16 => map(data, |bytes| i16::from_le_bytes(bytes).into()),
        Dtype::U16 => map(data, |bytes| u16::from_le_bytes(bytes).into()),
        Dtype::I32 => map(data, |bytes| i32::from_le_bytes(bytes).into()),
        Dtype::I64 => map(data, |bytes| i64::from_le_bytes(bytes) as f64),
        _ => return None,
    })
}

fn map<const N: usize>(data: &[u8], read: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    let (chunks, _) = data.as_chunks::<N>();
    chunks.iter().map(|&chunk| read(chunk)).collect()
}

/// The value of an IEEE 754 binary16.
fn half(bits: u16) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    sign * match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1024.0 + fraction) * 2f64.powi(exponent - 25),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_exact() {
        for (bits, value) in [
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x0001, 5.960_464_477_539_063e-8),
            (0x7bff, 65_504.0),
            (0x3555, 0.333_251_953_125),
            (0x8000, -0.0),
        ] {
            assert_eq!(half(bits).to_bits(), f64::to_bits(value), "{bits:x}");
        }
        assert!(half(0x7c01).is_nan());
        assert_eq!(half(0xfc00), f64::NEG_INFINITY);
    }

    #[test]
    fn every_type_is_little_endian() {
        assert_eq!(decode(Dtype::BF16, &[0x80, 0x3f]), Some(vec![1.0]));
        assert_eq!(decode(Dtype::I16, &[0xff, 0xff]), Some(vec![-1.0]));
        assert_eq!(decode(Dtype::U16, &[0x00, 0x01]), Some(vec![256.0]));
        assert_eq!(decode(Dtype::F64, &1.5f64.to_le_bytes()), Some(vec![1.5]));
        assert_eq!(decode(Dtype::C64, &[0; 8]), None);
    }
}

//! Constants: tensors whose values the file gives, or that follow from such tensors.
//!
//! A `TensorProto` comes in, a [`Const`] goes out. A tensor whose elements are all alike may hold just one of
//! them, so that a shape computed by the network never decides how much memory is taken.

use std::rc::Rc;

use super::proto::TensorProto;

/// Most elements of one constant.
pub(super) const MAX_CONST: usize = 1 << 28;

/// Most axes of one constant.
pub(super) const MAX_RANK: usize = 16;

/// How many elements a constant may hold that is made from `n_held` elements: what is computed stays in
/// proportion to what the file holds.
pub(super) fn check_grown(n: usize, n_held: usize) -> Result<(), String> {
    let limit = (1 << 24).max(n_held.saturating_mul(4));
    if n <= limit {
        return Ok(());
    }
    Err(format!(
        "it makes a constant of {n} elements, over the limit of {limit} here"
    ))
}

/// A constant tensor, row-major.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Const {
    /// Sizes per axis; a scalar has none.
    pub shape: Vec<usize>,
    // One entry per element, or a single one that stands for all of them.
    data: Data,
    /// Where the values are a scale times an integer, by a QONNX `Quant`: both of them.
    quanta: Option<Rc<Quanta>>,
}

/// The elements by type. Every integer type is read as `i64`, every float type as `f32`.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Data {
    F32(Vec<f32>),
    I64(Vec<i64>),
    Bool(Vec<bool>),
}

/// Integers and their scales: one entry per element.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Quanta {
    pub codes: Vec<i16>,
    pub scales: Vec<f32>,
}

impl Data {
    fn len(&self) -> usize {
        match self {
            Data::F32(x) => x.len(),
            Data::I64(x) => x.len(),
            Data::Bool(x) => x.len(),
        }
    }

    fn pick(&self, index: &[usize]) -> Data {
        match self {
            Data::F32(x) => Data::F32(index.iter().map(|&i| x[i]).collect()),
            Data::I64(x) => Data::I64(index.iter().map(|&i| x[i]).collect()),
            Data::Bool(x) => Data::Bool(index.iter().map(|&i| x[i]).collect()),
        }
    }
}

/// Number of elements of a shape, if it stays under the limit even with its empty axes left out.
pub(super) fn count(shape: &[usize]) -> Result<usize, String> {
    if shape.len() > MAX_RANK {
        return Err(format!(
            "a constant has {} axes, over the limit of {MAX_RANK}",
            shape.len()
        ));
    }
    let n = shape
        .iter()
        .try_fold(1usize, |n, &size| n.checked_mul(size.max(1)));
    let is_empty = shape.contains(&0);
    n.filter(|&n| n <= MAX_CONST)
        .map(|n| if is_empty { 0 } else { n })
        .ok_or_else(|| {
            format!("a constant of shape {shape:?} is over the limit of {MAX_CONST} elements")
        })
}

impl Const {
    /// A tensor of these elements, or of one element that stands for all.
    pub(super) fn new(shape: Vec<usize>, data: Data) -> Result<Const, String> {
        let n = count(&shape)?;
        if data.len() != n && data.len() != 1 {
            let found = data.len();
            return Err(format!(
                "a constant of shape {shape:?} has {found} elements"
            ));
        }
        let quanta = None;
        Ok(Const {
            shape,
            data,
            quanta,
        })
    }

    /// A list of integers.
    pub(super) fn list(values: Vec<i64>) -> Const {
        let (shape, quanta) = (vec![values.len()], None);
        let data = Data::I64(values);
        Const {
            shape,
            data,
            quanta,
        }
    }

    /// The same values, known to be integers times scales.
    pub(super) fn with_quanta(mut self, quanta: Quanta) -> Const {
        self.quanta = Some(Rc::new(quanta));
        self
    }

    /// Integers and scales, if they are known.
    pub(super) fn quanta(&self) -> Option<&Quanta> {
        self.quanta.as_deref()
    }

    /// Number of elements.
    pub(super) fn n_elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Number of elements that are held in memory.
    pub(super) fn n_held(&self) -> usize {
        self.data.len()
    }

    /// The elements: all, or the one that stands for all.
    pub(super) fn data(&self) -> &Data {
        &self.data
    }

    /// The tensor of another shape whose elements are those at `index`, which is asked for only when the
    /// elements are not all alike.
    pub(super) fn pick(
        &self,
        shape: Vec<usize>,
        index: impl FnOnce() -> Vec<usize>,
    ) -> Result<Const, String> {
        count(&shape)?;
        if self.data.len() == 1 && self.quanta.is_none() {
            let data = self.data.clone();
            return Ok(Const {
                shape,
                data,
                quanta: None,
            });
        }
        check_grown(count(&shape)?, self.data.len())?;
        let index = index();
        let data = self.data.pick(&index);
        let quanta = self.quanta.as_ref().map(|quanta| {
            Rc::new(Quanta {
                codes: index.iter().map(|&i| quanta.codes[i]).collect(),
                scales: index.iter().map(|&i| quanta.scales[i]).collect(),
            })
        });
        Ok(Const {
            shape,
            data,
            quanta,
        })
    }

    /// The same elements in the same order under another shape of as many.
    pub(super) fn reshape(&self, shape: Vec<usize>) -> Result<Const, String> {
        if count(&shape)? != self.n_elements() {
            return Err(format!("{:?} cannot be reshaped to {shape:?}", self.shape));
        }
        let mut out = self.clone();
        out.shape = shape;
        Ok(out)
    }

    /// The element at a row-major index, as a number; a boolean is 0 or 1.
    pub(super) fn number(&self, index: usize) -> f64 {
        let at = if self.data.len() == 1 { 0 } else { index };
        match &self.data {
            Data::F32(x) => f64::from(x[at]),
            Data::I64(x) => x[at] as f64,
            Data::Bool(x) => f64::from(u8::from(x[at])),
        }
    }

    /// All elements as `f32`, one per element.
    pub(super) fn floats(&self) -> Vec<f32> {
        (0..self.n_elements())
            .map(|i| self.number(i) as f32)
            .collect()
    }

    /// All elements as integers.
    pub(super) fn ints(&self) -> Result<Vec<i64>, String> {
        let n = self.n_elements();
        match &self.data {
            Data::I64(x) if x.len() == n => Ok(x.clone()),
            Data::I64(x) if n <= 64 => Ok(vec![x[0]; n]),
            _ => Err("a list of integers is needed here".into()),
        }
    }

    /// The one value that every element has, if that is so.
    pub(super) fn uniform(&self) -> Option<f64> {
        if self.n_elements() == 0 {
            return None;
        }
        let first = self.number(0);
        (1..self.data.len())
            .all(|i| self.number(i) == first)
            .then_some(first)
    }
}

/// Reads a tensor whose bytes are in the message, or in `external`.
pub(super) fn from_proto(tensor: &TensorProto, external: Option<&[u8]>) -> Result<Const, String> {
    let mut shape = Vec::new();
    for &dim in &tensor.dims {
        let dim =
            usize::try_from(dim).map_err(|_| format!("a tensor has an axis of size {dim}"))?;
        shape.push(dim);
    }
    let n = count(&shape)?;
    let raw = external
        .or(tensor.raw_data.as_deref())
        .filter(|raw| !raw.is_empty() || n == 0);
    let data = match raw {
        Some(raw) => from_raw(tensor.data_type, raw, n)?,
        None => from_fields(tensor)?,
    };
    if data.len() != n {
        let found = data.len();
        return Err(format!(
            "a tensor of shape {shape:?} holds {found} elements"
        ));
    }
    let quanta = None;
    Ok(Const {
        shape,
        data,
        quanta,
    })
}

/// The type's name and bytes per element, for the types that are read.
fn element(data_type: i32) -> Result<usize, String> {
    match data_type {
        2 | 3 | 9 => Ok(1),
        4 | 5 | 10 | 16 => Ok(2),
        1 | 6 | 12 => Ok(4),
        7 | 11 | 13 => Ok(8),
        _ => Err(format!(
            "tensors of ONNX data type {data_type} are not read; export the network in 32-bit floats"
        )),
    }
}

/// How many bytes a tensor takes in a file.
pub(super) fn n_bytes(tensor: &TensorProto) -> Result<u64, String> {
    let size = element(tensor.data_type)?;
    let n = tensor.dims.iter().try_fold(size as u64, |n, &dim| {
        n.checked_mul(u64::try_from(dim).ok()?)
    });
    n.filter(|&n| n <= 8 * MAX_CONST as u64)
        .ok_or_else(|| format!("a tensor of shape {:?} is too large", tensor.dims))
}

fn from_raw(data_type: i32, raw: &[u8], n: usize) -> Result<Data, String> {
    let size = element(data_type)?;
    if n.checked_mul(size) != Some(raw.len()) {
        let found = raw.len();
        return Err(format!(
            "{n} elements of {size} bytes are announced, {found} bytes are there"
        ));
    }
    let le4 = |b: &[u8]| [b[0], b[1], b[2], b[3]];
    let le8 = |b: &[u8]| [b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]];
    let le2 = |b: &[u8]| [b[0], b[1]];
    let chunks = raw.chunks_exact(size);
    Ok(match data_type {
        1 => Data::F32(chunks.map(|b| f32::from_le_bytes(le4(b))).collect()),
        2 => Data::I64(chunks.map(|b| i64::from(b[0])).collect()),
        3 => Data::I64(chunks.map(|b| i64::from(b[0] as i8)).collect()),
        4 => Data::I64(
            chunks
                .map(|b| i64::from(u16::from_le_bytes(le2(b))))
                .collect(),
        ),
        5 => Data::I64(
            chunks
                .map(|b| i64::from(i16::from_le_bytes(le2(b))))
                .collect(),
        ),
        6 => Data::I64(
            chunks
                .map(|b| i64::from(i32::from_le_bytes(le4(b))))
                .collect(),
        ),
        7 | 13 => Data::I64(chunks.map(|b| i64::from_le_bytes(le8(b))).collect()),
        9 => Data::Bool(chunks.map(|b| b[0] != 0).collect()),
        10 => Data::F32(chunks.map(|b| half(u16::from_le_bytes(le2(b)))).collect()),
        11 => Data::F32(chunks.map(|b| f64::from_le_bytes(le8(b)) as f32).collect()),
        12 => Data::I64(
            chunks
                .map(|b| i64::from(u32::from_le_bytes(le4(b))))
                .collect(),
        ),
        _ => {
            let brain = |b: &[u8]| f32::from_bits(u32::from(u16::from_le_bytes(le2(b))) << 16);
            Data::F32(chunks.map(brain).collect())
        }
    })
}

fn from_fields(tensor: &TensorProto) -> Result<Data, String> {
    element(tensor.data_type)?;
    let ints = || tensor.int32_data.iter();
    Ok(match tensor.data_type {
        1 => Data::F32(tensor.float_data.clone()),
        9 => Data::Bool(ints().map(|&x| x != 0).collect()),
        7 => Data::I64(tensor.int64_data.clone()),
        10 => Data::F32(ints().map(|&x| half(x as u16)).collect()),
        16 => Data::F32(ints().map(|&x| f32::from_bits((x as u32) << 16)).collect()),
        11 => Data::F32(tensor.double_data.iter().map(|&x| x as f32).collect()),
        12 | 13 => Data::I64(tensor.uint64_data.iter().map(|&x| x as i64).collect()),
        _ => Data::I64(ints().map(|&x| i64::from(x)).collect()),
    })
}

/// An IEEE binary16 number, which binary32 holds exactly.
fn half(bits: u16) -> f32 {
    let (exponent, fraction) = (u32::from(bits >> 10) & 31, u32::from(bits & 0x3ff));
    let magnitude = match exponent {
        0 => fraction as f32 / 16_777_216.0,
        31 => f32::from_bits(0x7f80_0000 | (fraction << 13)),
        _ => f32::from_bits(((exponent + 112) << 23) | (fraction << 13)),
    };
    if bits >> 15 == 1 {
        -magnitude
    } else {
        magnitude
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_numbers_are_exact() {
        for (bits, value) in [
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x3555, 0.333_251_95),
            (0x0001, 5.960_464_5e-8),
        ] {
            assert_eq!(half(bits), value);
        }
        assert_eq!(half(0xfc00), f32::NEG_INFINITY);
    }

    #[test]
    fn sizes_that_do_not_agree_are_refused() {
        let tensor = |dims: Vec<i64>, raw: Vec<u8>| TensorProto {
            dims,
            data_type: 1,
            raw_data: Some(raw),
            ..Default::default()
        };
        assert!(from_proto(&tensor(vec![2], vec![0; 8]), None).is_ok());
        for (dims, n) in [
            (vec![2], 7),
            (vec![-1], 4),
            (vec![i64::MAX, i64::MAX], 4),
            (vec![3], 8),
        ] {
            assert!(from_proto(&tensor(dims, vec![0; n]), None).is_err());
        }
    }
}

//! An array as it lies in a file: a shape and typed values.
//!
//! Owns [`Array`] and [`ArrayData`]. Every reader of single arrays gives them and `write_npy` takes them.
//! Leaves what the axes mean to the caller.

/// A typed, row-major array.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// First axis first; the product is the number of values, and no axis is 0.
    pub shape: Vec<usize>,
    /// The values, row-major.
    pub data: ArrayData,
}

/// The values of an [`Array`].
#[derive(Clone, Debug, PartialEq)]
pub enum ArrayData {
    /// Bytes, such as pixels.
    U8(Vec<u8>),
    /// Signed bytes.
    I8(Vec<i8>),
    /// 32-bit integers.
    I32(Vec<i32>),
    /// 64-bit integers, numpy's default for labels.
    I64(Vec<i64>),
    /// Real numbers; finite wherever a reader of this crate made them.
    F32(Vec<f32>),
}

impl ArrayData {
    /// Number of values.
    pub fn len(&self) -> usize {
        match self {
            ArrayData::U8(values) => values.len(),
            ArrayData::I8(values) => values.len(),
            ArrayData::I32(values) => values.len(),
            ArrayData::I64(values) => values.len(),
            ArrayData::F32(values) => values.len(),
        }
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name of the type, as numpy writes it.
    pub fn type_name(&self) -> &'static str {
        match self {
            ArrayData::U8(_) => "uint8",
            ArrayData::I8(_) => "int8",
            ArrayData::I32(_) => "int32",
            ArrayData::I64(_) => "int64",
            ArrayData::F32(_) => "float32",
        }
    }
}

/// The index of value `flat` in an array of this shape, written `[i, j, k]`.
pub(crate) fn index_of(shape: &[usize], flat: usize) -> String {
    let mut rest = flat;
    let mut index: Vec<usize> = Vec::with_capacity(shape.len());
    for &axis in shape.iter().rev() {
        index.push(rest.checked_rem(axis).unwrap_or(0));
        rest = rest.checked_div(axis).unwrap_or(0);
    }
    index.reverse();
    format!("{index:?}")
}

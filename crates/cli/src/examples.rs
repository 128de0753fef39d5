//! Examples in the form that a Program reads.
//!
//! In: a split of a data set, or an array from a file. Out: [`Examples`] of exactly the Program's input type,
//! or one error that names the array, the example and the element that do not fit.

use onebit_data::{Array, ArrayData, Dataset, Features, Split};
use onebit_model::Tensor;
use onebit_model::program::{Kind, Type};
use onebit_run::InputBatch;

use crate::error::{Failure, failed};

/// The largest integer below which binary32 holds every integer.
const MAX_EXACT: i32 = 1 << 24;

/// Examples of one input type, `[n][width]`.
#[derive(Clone, Debug)]
pub struct Examples {
    /// How many.
    pub n: usize,
    /// Elements of one.
    pub width: usize,
    values: Values,
}

#[derive(Clone, Debug)]
enum Values {
    /// Of `bits`: -1 and +1.
    Bits(Vec<i8>),
    /// Of `levels`.
    Codes(Vec<u8>),
    /// Of `int`.
    Ints(Vec<i32>),
    /// Of `real`.
    Reals(Vec<f32>),
}

impl Examples {
    /// Example `idx` as the interpreter takes it.
    pub fn tensor(&self, idx: usize) -> Tensor {
        let range = idx * self.width..(idx + 1) * self.width;
        match &self.values {
            Values::Bits(x) => Tensor::Bits(x[range].iter().map(|&x| x > 0).collect()),
            Values::Codes(x) => Tensor::Levels(x[range].to_vec()),
            Values::Ints(x) => Tensor::Int(x[range].to_vec()),
            Values::Reals(x) => Tensor::Real(x[range].to_vec()),
        }
    }

    /// Some examples as an engine takes them.
    pub fn batch(&self, examples: std::ops::Range<usize>) -> InputBatch<'_> {
        let range = examples.start * self.width..examples.end * self.width;
        match &self.values {
            Values::Bits(x) => InputBatch::Int8(&x[range]),
            Values::Codes(x) => InputBatch::Levels(&x[range]),
            Values::Ints(x) => InputBatch::Int(&x[range]),
            Values::Reals(x) => InputBatch::Real(&x[range]),
        }
    }
}

/// The examples of a split as inputs of a type.
pub fn from_split(data: &Dataset, split: &Split, input: &Type) -> Result<Examples, Failure> {
    let (n, width) = (split.len(), input.n_elements());
    let wanted_shape = &input.shape;
    if n == 0 {
        return failed(format!(
            "data set `{}` has no examples here; use another one",
            data.name
        ));
    }
    if split.n_features() != width {
        return failed(format!(
            "data set `{}` has examples of shape {:?}, the model reads {input}; use the data set it was trained on",
            data.name, data.shape
        ));
    }
    // A shape is part of the contract unless one side is flat.
    if data.shape.len() > 1
        && wanted_shape.len() > 1
        && without_ones(&data.shape) != without_ones(wanted_shape)
    {
        return failed(format!(
            "data set `{}` has examples of shape {:?}, the model reads {input}; use the data set it was trained on",
            data.name, data.shape
        ));
    }
    let (shape, data_array) = match &split.features {
        Features::U8(x) => (vec![n, width], ArrayData::U8(x.clone())),
        Features::F32(x) => (vec![n, width], ArrayData::F32(x.clone())),
    };
    from_array(
        &format!("data set `{}`", data.name),
        Array {
            shape,
            data: data_array,
        },
        input,
    )
}

/// The axes of a shape that hold more than one element: where a grey image's channel stands does not matter.
fn without_ones(shape: &[usize]) -> Vec<usize> {
    shape.iter().copied().filter(|&n| n != 1).collect()
}

/// An array whose first axis is the batch as inputs of a type; `what` names it in errors.
pub fn from_array(what: &str, array: Array, input: &Type) -> Result<Examples, Failure> {
    let n = array.shape.first().copied().unwrap_or(0);
    let width = input.n_elements();
    let one: usize = array.shape.iter().skip(1).product();
    let axes = array.shape.get(1..).unwrap_or(&[]);
    let is_flat = axes.len() <= 1 || input.shape.len() == 1;
    // Recorders keep a batch of one inside each run.
    let axes = match axes {
        [1, rest @ ..] if rest.len() >= input.shape.len() => rest,
        _ => axes,
    };
    // A grey image may leave out its axis of one channel.
    let is_same = axes == input.shape
        || (input.shape.last() == Some(&1) && axes == &input.shape[..input.shape.len() - 1]);
    if n == 0 || one != width || !(is_flat || is_same) {
        return failed(format!(
            "{what}: has shape {:?}, the model reads batches of {input}: save it as [batch, {}]",
            array.shape,
            input
                .shape
                .iter()
                .map(usize::to_string)
                .collect::<Vec<_>>()
                .join(", ")
        ));
    }
    let refuse = |wrong: Wrong| {
        let Wrong { at, value } = wrong;
        let (example, element) = (at / width, at % width);
        Failure::Failed(format!(
            "{what}: example {example}, element {element} is {value}, the model reads {}",
            domain(input.kind)
        ))
    };
    let values = convert(array.data, input.kind).map_err(refuse)?;
    Ok(Examples { n, width, values })
}

/// Repeatable noise of an input type, for checks that need no data set.
pub fn noise(n: usize, input: &Type) -> Examples {
    let width = input.n_elements();
    let mut state = 0x2545_F491_4F6C_DD1Du64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 32
    };
    let words: Vec<u64> = (0..n * width).map(|_| next()).collect();
    let values = match input.kind {
        Kind::Bits => Values::Bits(
            words
                .iter()
                .map(|word| if word & 1 == 1 { 1 } else { -1 })
                .collect(),
        ),
        Kind::Levels(bits) => Values::Codes(
            words
                .iter()
                .map(|word| (word >> (32 - u32::from(bits))) as u8)
                .collect(),
        ),
        Kind::Int => Values::Ints(
            words
                .iter()
                .map(|word| (word & 0xFF) as i32 - 128)
                .collect(),
        ),
        Kind::Real => Values::Reals(
            words
                .iter()
                .map(|word| (word & 0xFFFF) as f32 / 16384.0 - 2.0)
                .collect(),
        ),
    };
    Examples { n, width, values }
}

/// What a kind of input may hold, with what to do.
fn domain(kind: Kind) -> String {
    match kind {
        Kind::Bits => "-1 and +1 (or 0 and 1 of dtype uint8)".into(),
        Kind::Levels(bits) => {
            let max = (1u32 << bits) - 1;
            format!("whole numbers from 0 to {max}: give it pixels as they are stored, not scaled")
        }
        Kind::Int => "whole numbers of 32 bits".into(),
        Kind::Real => format!("float32 numbers without NaN, or whole ones up to {MAX_EXACT}"),
    }
}

/// The first element that does not fit.
struct Wrong {
    at: usize,
    value: String,
}

fn convert(data: ArrayData, kind: Kind) -> Result<Values, Wrong> {
    let is_unsigned = matches!(data, ArrayData::U8(_));
    Ok(match kind {
        Kind::Levels(8) if is_unsigned => match data {
            ArrayData::U8(codes) => Values::Codes(codes),
            _ => unreachable!("the guard has looked"),
        },
        Kind::Levels(bits) => Values::Codes(integers(&data, |x| {
            u8::try_from(x)
                .ok()
                .filter(|&code| u32::from(code) >> bits == 0)
        })?),
        Kind::Int => Values::Ints(integers(&data, |x| i32::try_from(x).ok())?),
        Kind::Bits => Values::Bits(integers(&data, |x| match x {
            1 => Some(1),
            -1 => Some(-1),
            0 if is_unsigned => Some(-1),
            _ => None,
        })?),
        Kind::Real => match data {
            ArrayData::F32(x) => match x.iter().position(|x| x.is_nan()) {
                Some(at) => {
                    return Err(Wrong {
                        at,
                        value: x[at].to_string(),
                    });
                }
                None => Values::Reals(x),
            },
            whole => Values::Reals(integers(&whole, |x| {
                i32::try_from(x)
                    .ok()
                    .filter(|x| x.abs() <= MAX_EXACT)
                    .map(|x| x as f32)
            })?),
        },
    })
}

/// Every element as a whole number that `fit` takes.
fn integers<T>(data: &ArrayData, fit: impl Fn(i64) -> Option<T>) -> Result<Vec<T>, Wrong> {
    fn all<S: Copy + ToString, T>(
        values: &[S],
        whole: impl Fn(S) -> Option<i64>,
        fit: impl Fn(i64) -> Option<T>,
    ) -> Result<Vec<T>, Wrong> {
        let one = |(at, &value): (usize, &S)| {
            whole(value).and_then(&fit).ok_or_else(|| Wrong {
                at,
                value: value.to_string(),
            })
        };
        values.iter().enumerate().map(one).collect()
    }
    match data {
        ArrayData::U8(x) => all(x, |x| Some(i64::from(x)), fit),
        ArrayData::I8(x) => all(x, |x| Some(i64::from(x)), fit),
        ArrayData::I32(x) => all(x, |x| Some(i64::from(x)), fit),
        ArrayData::I64(x) => all(x, Some, fit),
        // A float is whole if nothing is lost on the way to an integer; NaN is not.
        ArrayData::F32(x) => all(
            x,
            |x| (x.fract() == 0.0 && x.abs() < 1e18).then_some(x as i64),
            fit,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ty(kind: Kind, shape: &[usize]) -> Type {
        Type {
            kind,
            shape: shape.to_vec(),
        }
    }

    fn error(shape: &[usize], data: ArrayData, input: &Type) -> String {
        match from_array(
            "x.npy",
            Array {
                shape: shape.to_vec(),
                data,
            },
            input,
        ) {
            Err(Failure::Failed(message)) => message,
            other => panic!("must be refused: {other:?}"),
        }
    }

    #[test]
    fn a_recorders_batch_of_one_is_left_out() {
        let input = ty(Kind::Real, &[2, 2, 3]);
        let array = |shape: &[usize]| Array {
            shape: shape.to_vec(),
            data: ArrayData::F32(vec![0.5; 24]),
        };
        let examples = from_array("x", array(&[2, 1, 2, 2, 3]), &input).expect("two images");
        assert_eq!((examples.n, examples.width), (2, 12));
        assert!(from_array("x", array(&[2, 2, 2, 3, 1]), &input).is_err());
    }

    #[test]
    fn whole_floats_are_pixels() {
        let data = ArrayData::F32(vec![0.0, 255.0, 7.0, 8.0]);
        let examples = from_array(
            "x",
            Array {
                shape: vec![2, 2],
                data,
            },
            &ty(Kind::Levels(8), &[2]),
        )
        .unwrap();
        assert_eq!(examples.tensor(1), Tensor::Levels(vec![7, 8]));
    }

    #[test]
    fn bits_come_signed_or_as_zero_and_one() {
        let input = ty(Kind::Bits, &[2]);
        for data in [
            ArrayData::I8(vec![-1, 1]),
            ArrayData::U8(vec![0, 1]),
            ArrayData::F32(vec![-1.0, 1.0]),
        ] {
            let examples = from_array(
                "x",
                Array {
                    shape: vec![1, 2],
                    data,
                },
                &input,
            )
            .unwrap();
            assert_eq!(examples.tensor(0), Tensor::Bits(vec![false, true]));
        }
        assert!(
            error(&[1, 2], ArrayData::I8(vec![0, 1]), &input).contains("example 0, element 0 is 0")
        );
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let pixels = ty(Kind::Levels(8), &[2, 2, 1]);
        let scaled = error(&[1, 4], ArrayData::F32(vec![0.0, 1.0, 0.5, 0.0]), &pixels);
        assert!(
            scaled.contains("example 0, element 2 is 0.5") && scaled.contains("not scaled"),
            "{scaled}"
        );
        assert!(error(&[1, 5], ArrayData::U8(vec![0; 5]), &pixels).contains("[1, 5]"));
        assert!(error(&[1, 1, 4], ArrayData::U8(vec![0; 4]), &pixels).contains("[1, 1, 4]"));
        let real = ty(Kind::Real, &[1]);
        assert!(
            error(&[2, 1], ArrayData::F32(vec![0.0, f32::NAN]), &real)
                .contains("example 1, element 0 is NaN")
        );
        assert!(error(&[1, 1], ArrayData::I64(vec![1 << 40]), &real).contains("is 1099511627776"));
    }
}

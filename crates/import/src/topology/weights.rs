//! Weight matrices from tensors.
//!
//! In: a tensor, the order of its axes and what its numbers are to become. Out: [`Weights`], and the scale of
//! each row where the numbers had one. Nothing is rounded except reals to binary32 and, where `sign` asks for
//! it, latent weights to their signs.

use onebit_model::weights::{BitMatrix, Matrix, Weights};

use crate::topology::document::{ConvLayout, DenseLayout, Flattened, WeightKind};
use crate::topology::tensors::Numbers64;

/// Weights, and what each row is to be multiplied by.
pub(super) struct Weighted {
    pub weights: Weights,
    /// One factor per row; `None` is all ones.
    pub scale: Option<Vec<f32>>,
}

/// Numbers as a matrix: one row per output, columns in the order of a Program.
pub(super) struct Rows {
    n_cols: usize,
    values: Vec<f64>,
}

impl Rows {
    fn new(
        n_rows: usize,
        n_cols: usize,
        numbers: &Numbers64,
        at: impl Fn(usize, usize) -> usize,
    ) -> Self {
        let rows = (0..n_rows).flat_map(|row| (0..n_cols).map(move |col| (row, col)));
        let values = rows
            .map(|(row, col)| numbers.values[at(row, col)])
            .collect();
        Rows { n_cols, values }
    }

    fn n_rows(&self) -> usize {
        self.values.len() / self.n_cols
    }

    fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.n_cols..(row + 1) * self.n_cols]
    }
}

/// The rows of a dense layer over an operand of shape `operand`.
pub(super) fn dense_rows(
    numbers: &Numbers64,
    layout: DenseLayout,
    flattened: Flattened,
    operand: &[usize],
) -> Result<Rows, String> {
    let &[first, second] = &numbers.shape[..] else {
        return Err(format!(
            "has the shape {:?}; a dense layer takes two axes",
            numbers.shape
        ));
    };
    let (n_rows, n_cols) = match layout {
        DenseLayout::Oi => (first, second),
        DenseLayout::Io => (second, first),
    };
    let n_inputs: usize = operand.iter().product();
    if n_cols != n_inputs || n_rows == 0 {
        let names = match layout {
            DenseLayout::Oi => "[outputs, inputs]",
            DenseLayout::Io => "[inputs, outputs]",
        };
        return Err(format!(
            "has the shape {:?}, read as {names}, but the operand {operand:?} has {n_inputs} elements; check \
             weight_layout",
            numbers.shape
        ));
    }
    let source_col: Box<dyn Fn(usize) -> usize> = match (flattened, operand) {
        (Flattened::Hwc, _) => Box::new(|col| col),
        (Flattened::Chw, &[height, width, channels]) => Box::new(move |col| {
            let (pixel, channel) = (col / channels, col % channels);
            channel * height * width + pixel
        }),
        (Flattened::Chw, _) => {
            return Err(format!(
                "is to be read with flattened = \"chw\", but the operand has the shape {operand:?}; a dense layer \
                 flattens by itself, so remove the layer that flattens before it"
            ));
        }
    };
    Ok(Rows::new(
        n_rows,
        n_cols,
        numbers,
        |row, col| match layout {
            DenseLayout::Oi => row * n_cols + source_col(col),
            DenseLayout::Io => source_col(col) * n_rows + row,
        },
    ))
}

/// The rows of a convolution and its kernel's height and width.
pub(super) fn conv_rows(
    numbers: &Numbers64,
    layout: ConvLayout,
    channels_of_group: usize,
) -> Result<(Rows, [usize; 2]), String> {
    let &[a, b, c, d] = &numbers.shape[..] else {
        return Err(format!(
            "has the shape {:?}; a convolution takes four axes",
            numbers.shape
        ));
    };
    let (n_out, n_in, height, width) = match layout {
        ConvLayout::Oihw => (a, b, c, d),
        ConvLayout::Ohwi => (a, d, b, c),
        ConvLayout::Hwio => (d, c, a, b),
    };
    if n_in != channels_of_group || numbers.values.is_empty() {
        return Err(format!(
            "has the shape {:?} with {n_in} input channels, but a group of the operand has {channels_of_group}; \
             check weight_layout and groups",
            numbers.shape
        ));
    }
    let rows = Rows::new(n_out, height * width * n_in, numbers, |out, col| {
        let (tap, channel) = (col / n_in, col % n_in);
        let (y, x) = (tap / width, tap % width);
        match layout {
            ConvLayout::Oihw => ((out * n_in + channel) * height + y) * width + x,
            ConvLayout::Ohwi => out * height * width * n_in + col,
            ConvLayout::Hwio => col * n_out + out,
        }
    });
    Ok((rows, [height, width]))
}

/// The weights that rows are to become.
pub(super) fn weighted(rows: &Rows, kind: WeightKind) -> Result<Weighted, String> {
    let plane = |of: fn(f64) -> bool| {
        BitMatrix::from_fn(
            rows.n_rows(),
            rows.n_cols,
            |row, col| of(rows.row(row)[col]),
        )
    };
    match kind {
        WeightKind::Sign => Ok(Weighted {
            weights: Weights::Bits(plane(|weight| weight >= 0.0)),
            scale: None,
        }),
        WeightKind::Bits => Ok(Weighted {
            scale: scales(rows, kind)?,
            weights: Weights::Bits(plane(|weight| weight > 0.0)),
        }),
        WeightKind::Ternary => Ok(Weighted {
            scale: scales(rows, kind)?,
            weights: Weights::Ternary {
                sign: plane(|weight| weight > 0.0),
                mask: plane(|weight| weight != 0.0),
            },
        }),
        WeightKind::Int8 => Ok(Weighted {
            weights: Weights::Int8(matrix(rows, |weight| {
                let is_integer = weight.fract() == 0.0 && (-128.0..=127.0).contains(&weight);
                is_integer
                    .then_some(weight as i8)
                    .ok_or("not an integer from -128 to 127")
            })?),
            scale: None,
        }),
        WeightKind::Real => Ok(Weighted {
            weights: Weights::Real(matrix(rows, |weight| {
                let narrow = weight as f32;
                narrow
                    .is_finite()
                    .then_some(narrow)
                    .ok_or("too large for 32 bits")
            })?),
            scale: None,
        }),
    }
}

fn matrix<T: Copy>(
    rows: &Rows,
    convert: impl Fn(f64) -> Result<T, &'static str>,
) -> Result<Matrix<T>, String> {
    let mut values = Vec::with_capacity(rows.values.len());
    for (i, &weight) in rows.values.iter().enumerate() {
        values.push(convert(weight).map_err(|problem| {
            let (row, col) = (i / rows.n_cols, i % rows.n_cols);
            format!("has the weight {weight} of output {row}, input {col}, which is {problem}")
        })?);
    }
    Ok(Matrix::from_vec(rows.n_rows(), rows.n_cols, values).expect("rows hold this many values"))
}

/// The magnitude of each row's weights, which is one number; `None` where all are 1.
fn scales(rows: &Rows, kind: WeightKind) -> Result<Option<Vec<f32>>, String> {
    let mut scales = Vec::with_capacity(rows.n_rows());
    for row in 0..rows.n_rows() {
        let weights = rows.row(row);
        let zero_is_allowed = kind == WeightKind::Ternary;
        let first = weights
            .iter()
            .map(|weight| weight.abs())
            .find(|&size| size > 0.0);
        let scale = first.unwrap_or(1.0);
        let is_odd = |&weight: &f64| weight.abs() != scale && !(zero_is_allowed && weight == 0.0);
        if let Some(col) = weights.iter().position(is_odd) {
            let odd = weights[col];
            let zero = if zero_is_allowed { ", 0" } else { "" };
            return Err(format!(
                "has the weight {odd} of output {row}, input {col}, where weights = {:?} asks for -{scale}{zero} or \
                 {scale} in this row; weights = \"sign\" takes the signs of trained latent weights",
                kind.name()
            ));
        }
        let narrow = scale as f32;
        if !narrow.is_normal() {
            return Err(format!(
                "has weights of size {scale} in output {row}, out of range for 32 bits"
            ));
        }
        scales.push(narrow);
    }
    let is_one = scales.iter().all(|&scale| scale == 1.0);
    Ok((!is_one).then_some(scales))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(shape: &[usize]) -> Numbers64 {
        let n: usize = shape.iter().product();
        Numbers64 {
            name: "t".into(),
            shape: shape.to_vec(),
            values: (0..n).map(|i| i as f64).collect(),
        }
    }

    #[test]
    fn every_layout_gives_the_same_rows() {
        // The weight of output o, channel i at (y, x) is 1000 o + 100 i + 10 y + x.
        let [n_out, n_in, height, width] = [3, 2, 2, 4];
        let value =
            |o: usize, i: usize, y: usize, x: usize| (1000 * o + 100 * i + 10 * y + x) as f64;
        let build = |layout: ConvLayout| {
            let shape = match layout {
                ConvLayout::Oihw => [n_out, n_in, height, width],
                ConvLayout::Ohwi => [n_out, height, width, n_in],
                ConvLayout::Hwio => [height, width, n_in, n_out],
            };
            let mut values = Vec::new();
            for a in 0..shape[0] {
                for b in 0..shape[1] {
                    for c in 0..shape[2] {
                        for d in 0..shape[3] {
                            values.push(match layout {
                                ConvLayout::Oihw => value(a, b, c, d),
                                ConvLayout::Ohwi => value(a, d, b, c),
                                ConvLayout::Hwio => value(d, c, a, b),
                            });
                        }
                    }
                }
            }
            let numbers = Numbers64 {
                name: "t".into(),
                shape: shape.to_vec(),
                values,
            };
            conv_rows(&numbers, layout, n_in).unwrap().0.values
        };
        let wanted = build(ConvLayout::Oihw);
        assert_eq!(wanted[..4], [0.0, 100.0, 1.0, 101.0]);
        assert_eq!(build(ConvLayout::Ohwi), wanted);
        assert_eq!(build(ConvLayout::Hwio), wanted);
    }

    #[test]
    fn columns_follow_the_operand_whatever_was_flattened() {
        let tensor = numbers(&[1, 12]);
        let rows = |flattened| dense_rows(&tensor, DenseLayout::Oi, flattened, &[2, 3, 2]).unwrap();
        assert_eq!(rows(Flattened::Hwc).values, tensor.values);
        let chw = [0, 6, 1, 7, 2, 8, 3, 9, 4, 10, 5, 11].map(f64::from);
        assert_eq!(rows(Flattened::Chw).values, chw);
        let io = dense_rows(&numbers(&[2, 3]), DenseLayout::Io, Flattened::Hwc, &[2]).unwrap();
        assert_eq!(io.values, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    }

    #[test]
    fn scales_are_one_number_a_row_or_an_error() {
        let rows = |values: &[f64]| Rows {
            n_cols: 2,
            values: values.to_vec(),
        };
        let bits = weighted(&rows(&[0.5, -0.5, -2.0, -2.0]), WeightKind::Bits)
            .ok()
            .unwrap();
        assert_eq!(bits.scale, Some(vec![0.5, 2.0]));
        assert_eq!((bits.weights.get(0, 1), bits.weights.get(1, 0)), (-1, -1));
        let ones = weighted(&rows(&[1.0, -1.0]), WeightKind::Bits)
            .ok()
            .unwrap();
        assert_eq!(ones.scale, None);
        let ternary = weighted(&rows(&[0.0, -0.5, 0.0, 0.0]), WeightKind::Ternary)
            .ok()
            .unwrap();
        assert_eq!(ternary.scale, Some(vec![0.5, 1.0]));
        for (values, kind, word) in [
            (
                [0.0, 1.0],
                WeightKind::Bits,
                "weight 0 of output 0, input 0",
            ),
            (
                [1.0, 0.5],
                WeightKind::Ternary,
                "weight 0.5 of output 0, input 1",
            ),
            ([1.0, 128.0], WeightKind::Int8, "not an integer from -128"),
            ([1.0, 1e39], WeightKind::Real, "too large"),
        ] {
            let error = weighted(&rows(&values), kind).err().unwrap();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn the_sign_of_zero_is_plus_one() {
        let rows = Rows {
            n_cols: 3,
            values: vec![0.0, -0.0, -1e-30],
        };
        let sign = weighted(&rows, WeightKind::Sign).ok().unwrap();
        let weights = [0, 1, 2].map(|col| sign.weights.get(0, col));
        assert_eq!(weights, [1, 1, -1]);
    }
}

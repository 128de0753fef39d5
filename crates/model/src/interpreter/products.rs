//! Dense and convolution.

use alloc::vec::Vec;
use core::ops::{Add, Mul};

use super::{integers, reals};
use crate::program::Conv2d;
use crate::tensor::Tensor;
use crate::weights::{BitMatrix, Weights};

/// `out[r] = bias[r] + sum over c of weights[r][c] * x[c]`.
pub(super) fn dense(weights: &Weights, bias: Option<&[i32]>, x: &Tensor) -> Tensor {
    let rows = 0..weights.n_rows();
    let Some(ints) = integers(x).filter(|_| !weights.is_real()) else {
        let x = reals(x);
        let row_sum = |row| dot(0.0, &real_row(weights, row), &x);
        return Tensor::Real(rows.map(row_sum).collect());
    };
    let sums: Vec<i32> = match (x, weights) {
        (Tensor::Bits(bits), Weights::Bits(sign)) => dense_bits(weights, sign, None, bits),
        (Tensor::Bits(bits), Weights::Ternary { sign, mask }) => {
            dense_bits(weights, sign, Some(mask), bits)
        }
        _ => rows
            .map(|row| dot(0, &integer_row(weights, row), &ints))
            .collect(),
    };
    Tensor::Int(match bias {
        None => sums,
        Some(bias) => sums
            .iter()
            .zip(bias)
            .map(|(sum, bias)| sum + bias)
            .collect(),
    })
}

/// Each active column adds +1 where weight and input agree in sign and -1 where they differ.
fn dense_bits(
    weights: &Weights,
    sign: &BitMatrix,
    mask: Option<&BitMatrix>,
    bits: &[bool],
) -> Vec<i32> {
    let x = BitMatrix::from_fn(1, bits.len(), |_, col| bits[col]);
    let row_sum = |row: usize| {
        let differ = sign.row(row).iter().zip(x.row(0)).map(|(w, x)| w ^ x);
        let n_differ: u32 = match mask {
            None => differ.map(u64::count_ones).sum(),
            Some(mask) => {
                let masked = differ.zip(mask.row(row));
                masked
                    .map(|(differ, mask)| (differ & mask).count_ones())
                    .sum()
            }
        };
        weights.row_nonzero(row) as i32 - 2 * n_differ as i32
    };
    (0..weights.n_rows()).map(row_sum).collect()
}

/// `start + w[0] * x[0] + w[1] * x[1] + ...`, from left to right, each operation rounded.
fn dot<T>(start: T, w: &[T], x: &[T]) -> T
where
    T: Copy + Add<Output = T> + Mul<Output = T>,
{
    w.iter().zip(x).fold(start, |sum, (&w, &x)| sum + w * x)
}

fn integer_row(weights: &Weights, row: usize) -> Vec<i32> {
    let cols = 0..weights.n_cols();
    cols.map(|col| weights.get(row, col)).collect()
}

fn real_row(weights: &Weights, row: usize) -> Vec<f32> {
    let cols = 0..weights.n_cols();
    cols.map(|col| weights.get_real(row, col)).collect()
}

/// A dense at every position of the window; `shape` and `result` are the shapes of `x` and of the value.
pub(super) fn conv2d(conv: &Conv2d, x: &Tensor, shape: &[usize], result: &[usize]) -> Tensor {
    let n_rows = conv.weights.n_rows();
    let n_positions = result[0] * result[1];
    let Some(ints) = integers(x).filter(|_| !conv.weights.is_real()) else {
        let (x, pad) = (reals(x), conv.pad as f32);
        let mut out = Vec::from_iter(core::iter::repeat_n(0.0f32, n_positions * n_rows));
        for row in 0..n_rows {
            let weights = real_row(&conv.weights, row);
            for position in 0..n_positions {
                let at = [position / result[1], position % result[1]];
                out[position * n_rows + row] = window_sum(conv, row, &weights, &x, pad, shape, at);
            }
        }
        return Tensor::Real(out);
    };
    let mut out = Vec::from_iter(core::iter::repeat_n(0i32, n_positions * n_rows));
    for row in 0..n_rows {
        let weights = integer_row(&conv.weights, row);
        let bias = conv.bias.as_ref().map_or(0, |bias| bias[row]);
        for position in 0..n_positions {
            let at = [position / result[1], position % result[1]];
            let sum = window_sum(conv, row, &weights, &ints, conv.pad, shape, at);
            out[position * n_rows + row] = sum + bias;
        }
    }
    Tensor::Int(out)
}

/// One output: the sum over kernel rows, kernel columns and the channels of the row's group, from left to
/// right.
fn window_sum<T>(
    conv: &Conv2d,
    row: usize,
    weights: &[T],
    x: &[T],
    pad: T,
    shape: &[usize],
    at: [usize; 2],
) -> T
where
    T: Copy + Default + Add<Output = T> + Mul<Output = T>,
{
    let [height, width, n_channels] = [shape[0], shape[1], shape[2]];
    let n_group = n_channels / conv.groups;
    let first_channel = row / (conv.weights.n_rows() / conv.groups) * n_group;
    let [kernel_height, kernel_width] = conv.window.kernel;
    let mut sum = T::default();
    for i in 0..kernel_height {
        for j in 0..kernel_width {
            let first_col = (i * kernel_width + j) * n_group;
            let w = &weights[first_col..first_col + n_group];
            let source_row = conv.window.source(0, at[0], i, height);
            let source_col = conv.window.source(1, at[1], j, width);
            sum = match (source_row, source_col) {
                (Some(y), Some(x_idx)) => {
                    let first = (y * width + x_idx) * n_channels + first_channel;
                    dot(sum, w, &x[first..first + n_group])
                }
                _ => w.iter().fold(sum, |sum, &w| sum + w * pad),
            };
        }
    }
    sum
}

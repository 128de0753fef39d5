//! The fully connected product `x . w^T` and its gradients: XNOR and popcount forward when the operands are
//! bits or ternary, which is exactly the f32 product, since every sum is an integer below 2^24.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::backend::ops::FloatTensorOps;
use onebit_bits::Isa;
use onebit_bits::train_conv::{FloatConv, Geometry, Precision};
use rayon::prelude::*;

use super::product::geometry;
use super::{dims, flex_tensor, values};
use crate::graph::ProductShape;
use crate::simd::{CHUNK, rows_per_group, vectorized};

/// What values both operands of a product are known to hold, which decides the forward kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// Any real numbers: f32 matrix product.
    Real,
    /// Only -1 and +1 on both sides: XNOR and popcount.
    Bits,
    /// Only -1, 0 and +1 on both sides: masked XNOR and popcount.
    Ternary,
    /// Whole numbers of magnitude up to 256 on both sides, with sums below 2^24: exact products of floats.
    Codes,
}

/// `g . w`: the gradient of the operand, `[batch, n_in]`, of a product with `w: [n_out, n_in]`.
pub(super) fn input_gradient(g: FlexTensor, w: FlexTensor, precision: Precision) -> FlexTensor {
    if precision == Precision::F32 {
        return Flex::float_matmul(g, w);
    }
    let ((batch, n_out), (_, n_in)) = (dims(&g), dims(&w));
    let (g, w) = (values(&g), values(&w));
    let conv = FloatConv::backward(Isa::best(), precision, &row_geometry(n_in, n_out), w);
    let mut gx = vec![0.0f32; batch * n_in];
    let rows = rows_per_group(batch);
    gx.par_chunks_mut(rows * n_in)
        .zip(g.par_chunks(rows * n_out))
        .for_each(|(gx, g)| conv.input_gradient(g, gx));
    flex_tensor(gx, batch, n_in)
}

/// `g^T . x`: the gradient of the weights, `[n_out, n_in]`.
pub(super) fn weight_gradient(x: FlexTensor, g: FlexTensor, precision: Precision) -> FlexTensor {
    if precision == Precision::F32 {
        return Flex::float_matmul(Flex::float_transpose(g), x);
    }
    let ((batch, n_in), (_, n_out)) = (dims(&x), dims(&g));
    let (x, g) = (values(&x), values(&g));
    let geometry = row_geometry(n_in, n_out);
    let rows = batch.div_ceil(2).max(1);
    let parts = x
        .par_chunks(rows * n_in)
        .zip(g.par_chunks(rows * n_out))
        .map(|(x, g)| {
            let mut gw = vec![0.0f32; n_in * n_out];
            let isa = Isa::best();
            onebit_bits::train_conv::weight_gradient(isa, precision, &geometry, x, 0.0, g, &mut gw);
            gw
        })
        .collect();
    flex_tensor(summed(parts), n_out, n_in)
}

/// A dense layer as a convolution of one tap over images of one pixel.
fn row_geometry(n_in: usize, n_out: usize) -> Geometry {
    geometry(&ProductShape::Dense { n_in, n_out })
}

/// The sum of several gradients, in order.
pub(super) fn summed(parts: Vec<Vec<f32>>) -> Vec<f32> {
    let mut parts = parts.into_iter();
    let mut total = parts.next().expect("a batch is not empty");
    for part in parts {
        total
            .par_chunks_mut(CHUNK)
            .zip(part.par_chunks(CHUNK))
            .for_each(|(total, part)| {
                vectorized(
                    #[inline(always)]
                    || {
                        for (t, p) in total.iter_mut().zip(part) {
                            *t += p;
                        }
                    },
                );
            });
    }
    total
}

/// The forward product `x . w^T` on Flex tensors, `[batch, n_in]` by `[n_out, n_in]`.
pub fn product(x: &FlexTensor, w: &FlexTensor, operand: Operand) -> FlexTensor {
    match operand {
        Operand::Real | Operand::Codes => {
            Flex::float_matmul(x.clone(), Flex::float_transpose(w.clone()))
        }
        Operand::Bits => bits_product(x, w),
        Operand::Ternary => ternary_product(x, w),
    }
}

fn bits_product(x: &FlexTensor, w: &FlexTensor) -> FlexTensor {
    let isa = Isa::best();
    let ((m, n_in), (n, _)) = (dims(x), dims(w));
    let x_bits = pack(values(x), n_in, |v, words| {
        onebit_bits::train::pack_signs(isa, v, n_in, words)
    });
    let w_bits = pack(values(w), n_in, |v, words| {
        onebit_bits::train::pack_signs(isa, v, n_in, words)
    });
    let words = n_in.div_ceil(64);
    let mut out = vec![0.0f32; m * n];
    let rows = rows_per_group(m);
    out.par_chunks_mut(rows * n)
        .zip(x_bits.par_chunks(rows * words))
        .for_each(|(out, x)| {
            onebit_bits::train::xnor_gemm_f32(isa, x, &w_bits, n_in, out.len() / n, n, out);
        });
    flex_tensor(out, m, n)
}

fn ternary_product(x: &FlexTensor, w: &FlexTensor) -> FlexTensor {
    let isa = Isa::best();
    let ((m, n_in), (n, _)) = (dims(x), dims(w));
    let (xs, xm) = pack_ternary(isa, values(x), n_in);
    let (ws, wm) = pack_ternary(isa, values(w), n_in);
    let words = n_in.div_ceil(64);
    let mut out = vec![0.0f32; m * n];
    let rows = rows_per_group(m);
    out.par_chunks_mut(rows * n)
        .zip(xs.par_chunks(rows * words).zip(xm.par_chunks(rows * words)))
        .for_each(|(out, (xs, xm))| {
            onebit_bits::train::ternary_gemm_f32(
                isa,
                xs,
                xm,
                &ws,
                &wm,
                n_in,
                out.len() / n,
                n,
                out,
            );
        });
    flex_tensor(out, m, n)
}

fn pack(values: &[f32], n_cols: usize, f: impl Fn(&[f32], &mut [u64]) + Sync + Send) -> Vec<u64> {
    let (n_rows, n_words) = (values.len() / n_cols, n_cols.div_ceil(64));
    let mut words = vec![0u64; n_rows * n_words];
    let rows = rows_per_group(n_rows);
    words
        .par_chunks_mut(rows * n_words)
        .zip(values.par_chunks(rows * n_cols))
        .for_each(|(words, values)| f(values, words));
    words
}

fn pack_ternary(isa: Isa, values: &[f32], n_cols: usize) -> (Vec<u64>, Vec<u64>) {
    let (n_rows, n_words) = (values.len() / n_cols, n_cols.div_ceil(64));
    let (mut sign, mut mask) = (vec![0u64; n_rows * n_words], vec![0u64; n_rows * n_words]);
    let rows = rows_per_group(n_rows);
    sign.par_chunks_mut(rows * n_words)
        .zip(mask.par_chunks_mut(rows * n_words))
        .zip(values.par_chunks(rows * n_cols))
        .for_each(|((sign, mask), values)| {
            onebit_bits::train::pack_nonzero(isa, values, n_cols, sign, mask)
        });
    (sign, mask)
}

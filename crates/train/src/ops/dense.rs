//! The fully connected product `x . w^T`: XNOR and popcount forward when the operands are bits or
//! ternary, f32 products backward. Exactly the f32 forward, since every sum is an integer below 2^24.

use burn::backend::Flex;
use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::ops::FloatTensorOps;
use burn::tensor::Tensor;
use onebit_bits::Isa;
use rayon::prelude::*;

use super::{contiguous, dims, flex_handle, flex_tensor, values};
use crate::simd::{rows_per_group, vectorized};

/// What values both operands of a product are known to hold, which decides the forward kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// Any real numbers: f32 matrix product.
    Real,
    /// Only -1 and +1 on both sides: XNOR and popcount.
    Bits,
    /// Only -1, 0 and +1 on both sides: masked XNOR and popcount.
    Ternary,
}

/// `scale * (x . w^T)`, with `x: [batch, n_in]`, `w: [n_out, n_in]`, giving `[batch, n_out]`.
///
/// Gradients: `scale * g . w` for `x` and `scale * g^T . x` for `w`.
pub fn dense(x: Tensor<2>, w: Tensor<2>, operand: Operand, scale: f32) -> Tensor<2> {
    match (flex_handle(&x), flex_handle(&w)) {
        (Some(x), Some(w)) => {
            let (x_node, w_node) = (x.node(), w.node());
            let (xp, wp) = (
                contiguous(x.into_primitive()),
                contiguous(w.into_primitive()),
            );
            let mut out = product(&xp, &wp, operand);
            scale_in_place(&mut out, scale);
            let out = match Dense
                .prepare::<burn::backend::autodiff::checkpoint::strategy::NoCheckpointing>([
                    x_node, w_node,
                ])
                .compute_bound()
                .stateful()
            {
                OpsKind::Tracked(prep) => prep.finish((xp, wp, scale), out),
                OpsKind::UnTracked(prep) => prep.finish(out),
            };
            Tensor::from_primitive::<Autodiff<Flex>>(out)
        }
        _ => x.matmul(w.transpose()) * scale,
    }
}

#[derive(Debug)]
struct Dense;

impl Backward<Flex, 2> for Dense {
    type State = (FlexTensor, FlexTensor, f32);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (x, w, scale) = ops.state;
        let [x_node, w_node] = ops.parents;
        let mut g = contiguous(grads.consume::<Flex>(&ops.node));
        scale_in_place(&mut g, scale);
        if let Some(node) = x_node {
            grads.register::<Flex>(node.id, Flex::float_matmul(g.clone(), w));
        }
        if let Some(node) = w_node {
            let g = Flex::float_transpose(g);
            grads.register::<Flex>(node.id, Flex::float_matmul(g, x));
        }
    }
}

/// Multiplies in place when the storage is not shared and `scale` is not 1.
fn scale_in_place(tensor: &mut FlexTensor, scale: f32) {
    if scale == 1.0 {
        return;
    }
    let data = tensor.storage_mut::<f32>();
    data.par_chunks_mut(crate::simd::CHUNK).for_each(|chunk| {
        vectorized(
            #[inline(always)]
            || {
                for value in chunk {
                    *value *= scale;
                }
            },
        );
    });
}

/// The forward product `x . w^T` on Flex tensors, `[batch, n_in]` by `[n_out, n_in]`.
pub fn product(x: &FlexTensor, w: &FlexTensor, operand: Operand) -> FlexTensor {
    match operand {
        Operand::Real => Flex::float_matmul(x.clone(), Flex::float_transpose(w.clone())),
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

//! `(x + bias) * scale` over rows: the whole epilogue of a layer without batch normalisation.

use burn::backend::Flex;
use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::Tensor;

use super::{contiguous, dims, flex_handle, flex_tensor, values};
use crate::simd::{fold_runs, for_row_groups, for_run, run_of_rows, sum_row_groups, vectorized};

/// `(x + bias) * scale`, with `x: [batch, n]` and `bias: [1, n]`.
///
/// Gradients: `g * scale` for `x`, its sum over the batch for `bias`.
pub fn add_bias(x: Tensor<2>, bias: Tensor<2>, scale: f32) -> Tensor<2> {
    let (Some(x_handle), Some(b_handle)) = (flex_handle(&x), flex_handle(&bias)) else {
        return (x + bias) * scale;
    };
    let (x, x_node) = x_handle.into_parts();
    let (b, b_node) = b_handle.into_parts();
    let (x, b) = (contiguous(x), contiguous(b));
    let (rows, cols) = dims(&x);
    let mut out = vec![0.0f32; rows * cols];
    let run = run_of_rows(cols);
    let (xv, bv) = (values(&x), for_run(values(&b)));
    for_row_groups(&mut out, cols, |first, chunk| {
        vectorized(
            #[inline(always)]
            || {
                for (o, x) in chunk.chunks_mut(run).zip(xv[first * cols..].chunks(run)) {
                    for ((o, x), b) in o.iter_mut().zip(x).zip(&bv) {
                        *o = (x + b) * scale;
                    }
                }
            },
        );
    });
    let out = flex_tensor(out, rows, cols);
    let out = match AddBias
        .prepare::<NoCheckpointing>([x_node, b_node])
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(prep) => prep.finish(scale, out),
        OpsKind::UnTracked(prep) => prep.finish(out),
    };
    Tensor::from_primitive::<Autodiff<Flex>>(out)
}

#[derive(Debug)]
struct AddBias;

impl Backward<Flex, 2> for AddBias {
    type State = f32;

    fn backward(self, ops: Ops<f32, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let scale = ops.state;
        let [x_node, b_node] = ops.parents;
        let mut g = contiguous(grads.consume::<Flex>(&ops.node));
        let (rows, cols) = dims(&g);
        for_row_groups(g.storage_mut::<f32>(), cols, |_, chunk| {
            vectorized(
                #[inline(always)]
                || {
                    for v in chunk {
                        *v *= scale;
                    }
                },
            );
        });
        if let Some(node) = b_node {
            let gv = values(&g);
            let run = run_of_rows(cols);
            let sums = sum_row_groups(rows, run, |start, end, sums| {
                vectorized(
                    #[inline(always)]
                    || {
                        for row in gv[start * cols..end * cols].chunks(run) {
                            for (s, g) in sums.iter_mut().zip(row) {
                                *s += g;
                            }
                        }
                    },
                );
            });
            grads.register::<Flex>(node.id, flex_tensor(fold_runs(&sums, cols), 1, cols));
        }
        if let Some(node) = x_node {
            grads.register::<Flex>(node.id, g);
        }
    }
}

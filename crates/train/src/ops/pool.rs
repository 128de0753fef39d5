//! Pools over windows of images `[images * positions, channels]`, forward and backward.
//!
//! A maximum's gradient goes to the first element that reached it. Padding is never the maximum and does not
//! count in an average.

use burn::backend::Flex;
use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;
use onebit_model::program::Window;
use rayon::prelude::*;

use super::{composite_conv, contiguous, flex_handle, flex_tensor, values};
use crate::graph::Extent;
use crate::simd::vectorized;

/// What is taken over a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolKind {
    /// The greatest element.
    Max,
    /// The average of those inside the image.
    Average,
}

/// A pool and its shapes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pool {
    /// What is taken.
    pub kind: PoolKind,
    /// Where it looks.
    pub window: Window,
    /// Shape of the operand.
    pub from: Extent,
    /// Shape of the result.
    pub to: Extent,
}

/// Pools `x: [batch * positions, channels]`.
pub fn pool(x: Tensor<2>, pool: Pool) -> Tensor<2> {
    let Some(handle) = flex_handle(&x) else {
        return composite_conv::pool(x, &pool);
    };
    let (x, node) = handle.into_parts();
    let x = contiguous(x);
    let (out, winners) = pool_values(values(&x), &pool);
    let images = values(&x).len() / pool.from.elements();
    let out = flex_tensor(out, images * pool.to.positions(), pool.to.channels);
    let out = match PoolOp
        .prepare::<NoCheckpointing>([node])
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(prep) => prep.finish((pool, winners), out),
        OpsKind::UnTracked(prep) => prep.finish(out),
    };
    Tensor::from_primitive::<Autodiff<Flex>>(out)
}

/// The input positions of each window, in tap order.
fn sources(pool: &Pool, at: usize) -> impl Iterator<Item = usize> + '_ {
    let (w, from) = (&pool.window, pool.from);
    let (y, x) = (at / pool.to.width, at % pool.to.width);
    (0..w.kernel[0] * w.kernel[1]).filter_map(move |tap| {
        let y = w.source(0, y, tap / w.kernel[1], from.height)?;
        let x = w.source(1, x, tap % w.kernel[1], from.width)?;
        Some(y * from.width + x)
    })
}

/// Pooled values; for maxima also the input position that won, per output element.
pub fn pool_values(x: &[f32], pool: &Pool) -> (Vec<f32>, Vec<u32>) {
    let c = pool.from.channels;
    let images = x.len() / pool.from.elements();
    let n = pool.to.elements();
    let mut out = vec![0.0f32; images * n];
    let is_max = pool.kind == PoolKind::Max;
    let mut winners = vec![0u32; if is_max { images * n } else { 0 }];
    let windows: Vec<Vec<usize>> = (0..pool.to.positions())
        .map(|at| sources(pool, at).collect())
        .collect();
    let one = |x: &[f32], out: &mut [f32], winners: &mut [u32]| {
        vectorized(
            #[inline(always)]
            || {
                for (at, taps) in windows.iter().enumerate() {
                    let out = &mut out[at * c..][..c];
                    if is_max {
                        maxima(x, taps, out, &mut winners[at * c..][..c]);
                    } else {
                        averages(x, taps, out);
                    }
                }
            },
        );
    };
    if is_max {
        out.par_chunks_mut(n)
            .zip(winners.par_chunks_mut(n))
            .zip(x.par_chunks(pool.from.elements()))
            .for_each(|((out, winners), x)| one(x, out, winners));
    } else {
        out.par_chunks_mut(n)
            .zip(x.par_chunks(pool.from.elements()))
            .for_each(|(out, x)| one(x, out, &mut []));
    }
    (out, winners)
}

#[inline(always)]
fn maxima(x: &[f32], taps: &[usize], out: &mut [f32], winners: &mut [u32]) {
    let c = out.len();
    for (tap, &px) in taps.iter().enumerate() {
        let x = &x[px * c..][..c];
        if tap == 0 {
            out.copy_from_slice(x);
            winners.fill(px as u32);
            continue;
        }
        for ((o, w), &x) in out.iter_mut().zip(winners.iter_mut()).zip(x) {
            // A NaN stays, so that it is noticed in the loss.
            let wins = x > *o;
            *o = if wins { x } else { *o };
            *w = if wins { px as u32 } else { *w };
        }
    }
}

#[inline(always)]
fn averages(x: &[f32], taps: &[usize], out: &mut [f32]) {
    let c = out.len();
    for &px in taps {
        for (o, x) in out.iter_mut().zip(&x[px * c..][..c]) {
            *o += x;
        }
    }
    let n = taps.len() as f32;
    out.iter_mut().for_each(|o| *o /= n);
}

#[derive(Debug)]
struct PoolOp;

impl Backward<Flex, 1> for PoolOp {
    type State = (Pool, Vec<u32>);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (pool, winners) = ops.state;
        let [node] = ops.parents;
        let g = contiguous(grads.consume::<Flex>(&ops.node));
        if let Some(node) = node {
            grads.register::<Flex>(node.id, pool_gradient(&g, &pool, &winners));
        }
    }
}

fn pool_gradient(g: &FlexTensor, pool: &Pool, winners: &[u32]) -> FlexTensor {
    let g = values(g);
    let (c, n) = (pool.from.channels, pool.to.elements());
    let images = g.len() / n;
    let mut out = vec![0.0f32; images * pool.from.elements()];
    let windows: Vec<Vec<usize>> = (0..pool.to.positions())
        .map(|at| sources(pool, at).collect())
        .collect();
    out.par_chunks_mut(pool.from.elements())
        .zip(g.par_chunks(n))
        .enumerate()
        .for_each(|(image, (gx, g))| match pool.kind {
            PoolKind::Max => {
                let winners = &winners[image * n..][..n];
                for (at, (g, &px)) in g.iter().zip(winners).enumerate() {
                    gx[px as usize * c + at % c] += g;
                }
            }
            PoolKind::Average => {
                for (g, taps) in g.chunks_exact(c).zip(&windows) {
                    let share = 1.0 / taps.len() as f32;
                    for &px in taps {
                        for (gx, g) in gx[px * c..][..c].iter_mut().zip(g) {
                            *gx += g * share;
                        }
                    }
                }
            }
        });
    flex_tensor(out, images * pool.from.positions(), c)
}

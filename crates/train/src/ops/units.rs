//! PReLU, DoReFa's gradient quantiser and XNOR-Net's scale map over `[batch * positions, channels]`.

use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Flex, TensorMetadata};
use burn::tensor::{Tensor, TensorData, read_sync};
use onebit_model::program::Window;
use rayon::prelude::*;

use super::depthwise::ordered_conv;
use super::{contiguous, dims, flex_handle, flex_tensor, values};
use crate::graph::Extent;
use crate::simd::{
    fold_runs, for_row_groups, for_run, hash32, run_of_rows, sum_row_groups, vectorized,
};
use onebit_bits::train_conv::Geometry;

/// `x` where `x >= 0`, else `slope[c] * x` (He et al. 2015); `slope: [1, channels]`.
pub fn prelu(x: Tensor<2>, slope: Tensor<2>) -> Tensor<2> {
    let (Some(x_handle), Some(s_handle)) = (flex_handle(&x), flex_handle(&slope)) else {
        let is_low = x.clone().lower_elem(0.0).float();
        return x.clone() * (is_low * (slope - 1.0) + 1.0);
    };
    let (x, x_node) = x_handle.into_parts();
    let (slope, s_node) = s_handle.into_parts();
    let (x, slope) = (contiguous(x), contiguous(slope));
    let (rows, cols) = dims(&x);
    let out = flex_tensor(prelu_values(values(&x), values(&slope)), rows, cols);
    let out = match Prelu
        .prepare::<NoCheckpointing>([x_node, s_node])
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(prep) => prep.finish((x, slope), out),
        OpsKind::UnTracked(prep) => prep.finish(out),
    };
    Tensor::from_primitive::<Autodiff<Flex>>(out)
}

/// The forward values of [`prelu`].
pub fn prelu_values(x: &[f32], slope: &[f32]) -> Vec<f32> {
    let cols = slope.len();
    let run = run_of_rows(cols);
    let slope = for_run(slope);
    let mut out = x.to_vec();
    for_row_groups(&mut out, cols, |_, chunk| {
        vectorized(
            #[inline(always)]
            || {
                for rows in chunk.chunks_mut(run) {
                    for (o, s) in rows.iter_mut().zip(&slope) {
                        *o = if *o >= 0.0 { *o } else { s * *o };
                    }
                }
            },
        );
    });
    out
}

#[derive(Debug)]
struct Prelu;

impl Backward<Flex, 2> for Prelu {
    type State = (FlexTensor, FlexTensor);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (x, slope) = ops.state;
        let [x_node, s_node] = ops.parents;
        let mut g = contiguous(grads.consume::<Flex>(&ops.node));
        let (rows, cols) = dims(&g);
        let run = run_of_rows(cols);
        let (x, slope) = (values(&x), for_run(values(&slope)));
        if let Some(node) = s_node {
            let gv = values(&g);
            let sums = sum_row_groups(rows, run, |start, end, sums| {
                vectorized(
                    #[inline(always)]
                    || {
                        let rows = start * cols..end * cols;
                        let pairs = gv[rows.clone()].chunks(run);
                        for (g, x) in pairs.zip(x[rows].chunks(run)) {
                            for ((s, g), x) in sums.iter_mut().zip(g).zip(x) {
                                *s += g * x.min(0.0);
                            }
                        }
                    },
                );
            });
            grads.register::<Flex>(node.id, flex_tensor(fold_runs(&sums, cols), 1, cols));
        }
        if let Some(node) = x_node {
            for_row_groups(g.storage_mut::<f32>(), cols, |first, chunk| {
                vectorized(
                    #[inline(always)]
                    || {
                        let x = x[first * cols..].chunks(run);
                        for (g, x) in chunk.chunks_mut(run).zip(x) {
                            for ((g, x), s) in g.iter_mut().zip(x).zip(&slope) {
                                *g = if *x >= 0.0 { *g } else { s * *g };
                            }
                        }
                    },
                );
            });
            grads.register::<Flex>(node.id, g);
        }
    }
}

/// The identity, whose gradient is rounded to `bits` bits (DoReFa-Net, Zhou et al. 2016):
/// `f(g) = 2 M [q_k(g / (2 M) + 1/2 + N) - 1/2]`, with `M` the greatest magnitude of an example's gradient and
/// `N` uniform noise of half a step either way.
///
/// `x: [batch * rows_per_example, channels]`.
pub fn quantise_gradient(x: Tensor<2>, bits: u8, rows_per_example: usize, seed: u32) -> Tensor<2> {
    let args = (bits, rows_per_example, seed);
    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    if let Ok(handle) = x
        .clone()
        .try_into_primitive::<Autodiff<burn::backend::Cube>>()
    {
        let out = with_quantised_gradient(handle, args);
        return Tensor::from_primitive::<Autodiff<burn::backend::Cube>>(out);
    }
    let handle = x
        .try_into_primitive::<Autodiff<Flex>>()
        .expect("graphs are made on one of this build's backends");
    Tensor::from_primitive::<Autodiff<Flex>>(with_quantised_gradient(handle, args))
}

fn with_quantised_gradient<B: Backend>(
    x: FloatTensor<Autodiff<B>>,
    args: (u8, usize, u32),
) -> FloatTensor<Autodiff<B>> {
    let (x, node) = x.into_parts();
    match QuantiseGradient
        .prepare::<NoCheckpointing>([node])
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(prep) => prep.finish(args, x),
        OpsKind::UnTracked(prep) => prep.finish(x),
    }
}

#[derive(Debug)]
struct QuantiseGradient;

impl<B: Backend> Backward<B, 1> for QuantiseGradient {
    type State = (u8, usize, u32);

    /// Rounds on the host, which draws the noise: on every device the same.
    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (bits, rows, seed) = ops.state;
        let [node] = ops.parents;
        let g = grads.consume::<B>(&ops.node);
        if let Some(node) = node {
            let (device, shape) = (g.device(), g.shape());
            let mut values: Vec<f32> = read_sync(B::float_into_data(g))
                .expect("a device that fails ends the run where its scores are read")
                .try_into_vec_as()
                .expect("floats convert to f32");
            round_gradient(&mut values, rows * shape[1], bits, seed);
            let g = B::float_from_data(TensorData::new(values, shape), &device);
            grads.register::<B>(node.id, g);
        }
    }
}

/// [`quantise_gradient`]'s backward pass over examples of `n` elements each.
pub(super) fn round_gradient(g: &mut [f32], n: usize, bits: u8, seed: u32) {
    let steps = ((1u32 << bits) - 1) as f32;
    g.par_chunks_mut(n).enumerate().for_each(|(example, g)| {
        let most = g.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        if !(most > 0.0 && most.is_finite()) {
            return;
        }
        for (i, v) in g.iter_mut().enumerate() {
            let random = hash32(seed, (example * n + i) as u32) as f32 / 2f32.powi(32) - 0.5;
            let at = *v / (2.0 * most) + 0.5 + random / steps;
            let code = (at.clamp(0.0, 1.0) * steps).round();
            *v = 2.0 * most * (code / steps - 0.5);
        }
    });
}

/// XNOR-Net's K (Rastegari et al. 2016): for each output position the mean magnitude of the operand under the
/// window, zeros outside the image; `x: [batch * positions, channels]`, result `[batch * out positions]`.
///
/// It is the convolution of `|x|` with equal weights `1 / (taps * channels)`, summed in index order.
pub fn scale_map(x: &[f32], from: Extent, to: Extent, window: &Window) -> Vec<f32> {
    let geometry = Geometry {
        size: [from.height, from.width],
        channels: from.channels,
        out: [to.height, to.width],
        rows: 1,
        groups: 1,
        kernel: window.kernel,
        stride: window.stride,
        dilation: window.dilation,
        pads: [window.pads[0], window.pads[1]],
    };
    let n = window.kernel[0] * window.kernel[1] * from.channels;
    let weights = vec![map_weight(from, window); n];
    let images = x.len() / from.elements();
    let mut out = vec![0.0f32; images * to.positions()];
    out.par_chunks_mut(to.positions())
        .zip(x.par_chunks(from.elements()))
        .for_each(|(out, x)| {
            let magnitudes: Vec<f32> = x.iter().map(|v| v.abs()).collect();
            ordered_conv(&magnitudes, &weights, &geometry, 0.0, out);
        });
    out
}

/// The weight of every tap and channel of a scale map.
pub fn map_weight(from: Extent, window: &Window) -> f32 {
    1.0 / (window.kernel[0] * window.kernel[1] * from.channels) as f32
}

/// `y[row][c] * k[row]`; `k` is a constant in the gradient, as in the paper.
pub fn multiply_rows(y: Tensor<2>, k: Vec<f32>) -> Tensor<2> {
    let rows = k.len();
    let k = burn::tensor::TensorData::new(k, [rows, 1]);
    let k = Tensor::<2>::from_data(k, &y.device());
    y * k
}

//! Products of weights with an operand: fully connected and convolutional, binary, integer and real.
//!
//! Forward, operands of whole numbers are multiplied exactly: XNOR and popcount for bits, bfloat16 products
//! (exact up to 256) for codes. Backward are products of floats. The gradient that reaches the weight's leaf
//! is that of the effective weights, `sum over bases of scale[row] * codes[row][col]`; `binarize` takes it on to the
//! real copies.

use burn::backend::Flex;
use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;
use onebit_bits::Isa;
pub use onebit_bits::train_conv::Precision;
use onebit_bits::train_conv::{FloatConv, Geometry, SignConv, weight_gradient};
use rayon::prelude::*;

use super::dense::{self, Operand};
use super::{composite_conv, contiguous, depthwise, dims, flex_handle, flex_tensor, values};
use crate::graph::ProductShape;
use crate::simd::{for_row_groups, for_run, run_of_rows, vectorized};

/// Groups of images whose weight gradients are summed one after the other: few, as each holds a whole gradient.
const GRADIENT_GROUPS: usize = 4;
/// Groups of images of a forward pass or an input gradient.
const IMAGE_GROUPS: usize = 16;

/// One matrix of a sum that makes up the effective weights.
#[derive(Clone, Debug)]
pub struct Factor {
    /// `[rows, cols]`: bits, integers or reals.
    pub codes: FlexTensor,
    /// One per row; none is 1.
    pub scale: Option<Vec<f32>>,
}

/// A product's weights and how it is computed.
#[derive(Clone, Debug)]
pub struct Product {
    /// Dense or convolution.
    pub shape: ProductShape,
    /// The effective weights.
    pub factors: Vec<Factor>,
    /// What both operands hold.
    pub operand: Operand,
    /// Number meant by code 1 of the operand, and what dropout makes up for: a factor on every sum.
    pub unit: f32,
    /// How gradients are multiplied.
    pub precision: Precision,
}

/// `unit * (x . w~)` for `x: [batch * positions, channels]`, where `w~` are the effective weights.
///
/// `leaf: [rows, cols]` stands for the effective weights in the graph and receives their gradient.
pub fn product(x: Tensor<2>, leaf: Tensor<2>, args: Product) -> Tensor<2> {
    let (Some(x_handle), Some(w_handle)) = (flex_handle(&x), flex_handle(&leaf)) else {
        return composite_conv::product(x, leaf, &args);
    };
    let (x, x_node) = x_handle.into_parts();
    let (_, w_node) = w_handle.into_parts();
    let x = contiguous(x);
    let out = product_values(&x, &args, false);
    let out = match ProductOp
        .prepare::<NoCheckpointing>([x_node, w_node])
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(prep) => prep.finish((x, args), out),
        OpsKind::UnTracked(prep) => prep.finish(out),
    };
    Tensor::from_primitive::<Autodiff<Flex>>(out)
}

/// The forward values. With `in_order`, sums of reals are taken in index order without fused operations, as a
/// Net defines them.
pub fn product_values(x: &FlexTensor, args: &Product, in_order: bool) -> FlexTensor {
    let mut total: Option<FlexTensor> = None;
    for factor in &args.factors {
        let mut sums = sums(x, &factor.codes, args, in_order);
        scale_columns(&mut sums, factor.scale.as_deref(), args.unit);
        match &mut total {
            None => total = Some(sums),
            Some(total) => add_in_place(total, &sums),
        }
    }
    total.expect("a product has at least one factor")
}

/// Sums of codes, exact where both operands are whole numbers.
fn sums(x: &FlexTensor, codes: &FlexTensor, args: &Product, in_order: bool) -> FlexTensor {
    match args.shape {
        ProductShape::Dense { n_in, n_out } => {
            let batch = values(x).len() / n_in;
            let x = flat(x, batch, n_in);
            if in_order && args.operand == Operand::Real {
                return flex_tensor(ordered_dense(values(&x), values(codes), n_in), batch, n_out);
            }
            dense::product(&x, codes, args.operand)
        }
        ProductShape::Conv {
            from,
            to,
            groups,
            window,
            pad,
        } => {
            let images = values(x).len() / from.elements();
            if groups == from.channels && to.channels == groups {
                let out =
                    depthwise::forward(values(x), values(codes), from, to, window, pad as f32);
                return flex_tensor(out, images * to.positions(), to.channels);
            }
            let geometry = geometry(&args.shape);
            let out = grouped(groups, values(x), from.channels, to.channels, |x, group| {
                let rows = to.channels / groups;
                let n_cols = args.shape.n_cols();
                let w = &values(codes)[group * rows * n_cols..][..rows * n_cols];
                conv_sums(x, w, &geometry, args, pad, in_order)
            });
            flex_tensor(out, images * to.positions(), to.channels)
        }
    }
}

/// The same elements as `[rows, cols]`.
fn flat(x: &FlexTensor, rows: usize, cols: usize) -> FlexTensor {
    if dims(x) == (rows, cols) {
        x.clone()
    } else {
        x.reshape([rows, cols].into())
    }
}

/// The geometry of one group of a convolution; of a dense layer, that of a batch of rows as one image.
pub fn geometry(shape: &ProductShape) -> Geometry {
    match *shape {
        ProductShape::Conv {
            from,
            to,
            window,
            groups,
            ..
        } => Geometry {
            size: [from.height, from.width],
            channels: from.channels / groups,
            out: [to.height, to.width],
            rows: to.channels / groups,
            groups: 1,
            kernel: window.kernel,
            stride: window.stride,
            dilation: window.dilation,
            pads: [window.pads[0], window.pads[1]],
        },
        ProductShape::Dense { n_in, n_out } => Geometry {
            size: [1, 1],
            channels: n_in,
            out: [1, 1],
            rows: n_out,
            groups: 1,
            kernel: [1, 1],
            stride: [1, 1],
            dilation: [1, 1],
            pads: [0, 0],
        },
    }
}

/// Runs `f(the group's channels of x, group)` for each group and joins the results' channels.
fn grouped(
    groups: usize,
    x: &[f32],
    channels: usize,
    rows: usize,
    f: impl Fn(&[f32], usize) -> Vec<f32>,
) -> Vec<f32> {
    if groups == 1 {
        return f(x, 0);
    }
    let mut out = Vec::new();
    for group in 0..groups {
        let part = f(&slice_channels(x, channels, groups, group), group);
        out.resize(part.len() * groups, 0.0);
        join_channels(&part, rows, groups, group, &mut out);
    }
    out
}

fn slice_channels(x: &[f32], channels: usize, groups: usize, group: usize) -> Vec<f32> {
    let n = channels / groups;
    x.chunks_exact(channels)
        .flat_map(|px| px[group * n..][..n].iter().copied())
        .collect()
}

fn join_channels(part: &[f32], rows: usize, groups: usize, group: usize, out: &mut [f32]) {
    let n = rows / groups;
    for (to, from) in out.chunks_exact_mut(rows).zip(part.chunks_exact(n)) {
        to[group * n..][..n].copy_from_slice(from);
    }
}

fn conv_sums(
    x: &[f32],
    w: &[f32],
    geometry: &Geometry,
    args: &Product,
    pad: i32,
    in_order: bool,
) -> Vec<f32> {
    let isa = Isa::best();
    let image = geometry.size[0] * geometry.size[1] * geometry.channels;
    let out_image = geometry.out_px() * geometry.rows;
    let images = x.len() / image;
    let mut out = vec![0.0f32; images * out_image];
    let per_group = images.div_ceil(IMAGE_GROUPS).max(1);
    let chunks = out
        .par_chunks_mut(per_group * out_image)
        .zip(x.par_chunks(per_group * image));
    match args.operand {
        Operand::Bits => {
            let conv = SignConv::new(isa, geometry, w, pad);
            chunks.for_each(|(out, x)| conv.product(x, out));
        }
        Operand::Real if in_order => {
            let weights = depthwise::columns(w, geometry.rows);
            chunks.for_each(|(out, x)| {
                depthwise::ordered_conv(x, &weights, geometry, pad as f32, out)
            });
        }
        _ => {
            let precision = match args.operand {
                Operand::Real => Precision::F32,
                _ => Precision::Bf16,
            };
            let conv = FloatConv::forward(isa, precision, geometry, w);
            chunks.for_each(|(out, x)| conv.product(x, pad as f32, out));
        }
    }
    out
}

/// `x . w^T` with every sum in index order.
fn ordered_dense(x: &[f32], w: &[f32], n_in: usize) -> Vec<f32> {
    let n_out = w.len() / n_in;
    let columns = depthwise::columns(w, n_out);
    let mut out = vec![0.0f32; x.len() / n_in * n_out];
    for_row_groups(&mut out, n_out, |first, chunk| {
        vectorized(
            #[inline(always)]
            || {
                for (row, out) in chunk.chunks_exact_mut(n_out).enumerate() {
                    let x = &x[(first + row) * n_in..][..n_in];
                    for (x, w) in x.iter().zip(columns.chunks_exact(n_out)) {
                        for (o, w) in out.iter_mut().zip(w) {
                            *o += x * w;
                        }
                    }
                }
            },
        );
    });
    out
}

/// `y * scale[c] * unit + 0`, one rounding for the combined factor: what an affine of the Net computes.
fn scale_columns(y: &mut FlexTensor, scale: Option<&[f32]>, unit: f32) {
    if scale.is_none() && unit == 1.0 {
        return;
    }
    let (_, cols) = dims(y);
    let run = run_of_rows(cols);
    let factors = for_run(&column_factors(scale, unit, cols));
    for_row_groups(y.storage_mut::<f32>(), cols, |_, chunk| {
        vectorized(
            #[inline(always)]
            || {
                for rows in chunk.chunks_mut(run) {
                    for (y, s) in rows.iter_mut().zip(&factors) {
                        *y = *y * s + 0.0;
                    }
                }
            },
        );
    });
}

/// The factor on each column of the sums: what the Net's affine holds.
pub fn column_factors(scale: Option<&[f32]>, unit: f32, n: usize) -> Vec<f32> {
    match scale {
        Some(scale) => scale.iter().map(|s| s * unit).collect(),
        None => vec![unit; n],
    }
}

fn add_in_place(total: &mut FlexTensor, other: &FlexTensor) {
    let (_, cols) = dims(total);
    let other = values(other);
    for_row_groups(total.storage_mut::<f32>(), cols, |first, chunk| {
        let other = &other[first * cols..][..chunk.len()];
        for (t, o) in chunk.iter_mut().zip(other) {
            *t += o;
        }
    });
}

#[derive(Debug)]
struct ProductOp;

impl Backward<Flex, 2> for ProductOp {
    type State = (FlexTensor, Product);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (x, args) = ops.state;
        let [x_node, w_node] = ops.parents;
        let mut g = contiguous(grads.consume::<Flex>(&ops.node));
        scale_columns(&mut g, None, args.unit);
        if let Some(node) = w_node {
            grads.register::<Flex>(node.id, weight_grad(&x, &g, &args));
        }
        if let Some(node) = x_node {
            let (rows, cols) = dims(&x);
            grads.register::<Flex>(node.id, flat(&input_grad(g, &args), rows, cols));
        }
    }
}

fn weight_grad(x: &FlexTensor, g: &FlexTensor, args: &Product) -> FlexTensor {
    let (n_rows, n_cols) = (args.shape.n_rows(), args.shape.n_cols());
    let grad = match args.shape {
        ProductShape::Dense { n_in, .. } => {
            let batch = values(x).len() / n_in;
            return dense::weight_gradient(flat(x, batch, n_in), g.clone(), args.precision);
        }
        ProductShape::Conv {
            from,
            to,
            window,
            groups,
            pad,
        } => {
            let (x, g, pad) = (values(x), values(g), pad as f32);
            let geometry = geometry(&args.shape);
            if groups == from.channels && to.channels == groups {
                depthwise::weight_gradient(x, g, from, to, window, pad)
            } else if groups == 1 {
                conv_weight_grad(x, g, &geometry, pad, args.precision)
            } else {
                let one = |group| {
                    let x = slice_channels(x, from.channels, groups, group);
                    let g = slice_channels(g, to.channels, groups, group);
                    conv_weight_grad(&x, &g, &geometry, pad, args.precision)
                };
                (0..groups).flat_map(one).collect()
            }
        }
    };
    flex_tensor(grad, n_rows, n_cols)
}

fn conv_weight_grad(
    x: &[f32],
    g: &[f32],
    geometry: &Geometry,
    pad: f32,
    precision: Precision,
) -> Vec<f32> {
    let image = geometry.size[0] * geometry.size[1] * geometry.channels;
    let out_image = geometry.out_px() * geometry.rows;
    let images = x.len() / image;
    let n = geometry.rows * geometry.kernel[0] * geometry.kernel[1] * geometry.channels;
    let per_group = images.div_ceil(GRADIENT_GROUPS).max(1);
    let parts: Vec<Vec<f32>> = x
        .par_chunks(per_group * image)
        .zip(g.par_chunks(per_group * out_image))
        .map(|(x, g)| {
            let mut gw = vec![0.0; n];
            weight_gradient(Isa::best(), precision, geometry, x, pad, g, &mut gw);
            gw
        })
        .collect();
    dense::summed(parts)
}

fn input_grad(mut g: FlexTensor, args: &Product) -> FlexTensor {
    // One factor's codes are multiplied as they are, exact in bfloat16; its scale goes into the gradient.
    let weights = match &args.factors[..] {
        [only] => {
            if only.scale.is_some() {
                scale_columns(&mut g, only.scale.as_deref(), 1.0);
            }
            only.codes.clone()
        }
        factors => {
            let (rows, cols) = (args.shape.n_rows(), args.shape.n_cols());
            flex_tensor(effective_weights(factors), rows, cols)
        }
    };
    let ProductShape::Conv {
        from,
        to,
        window,
        groups,
        ..
    } = args.shape
    else {
        return dense::input_gradient(g, weights, args.precision);
    };
    let (g, weights) = (values(&g), values(&weights));
    let images = g.len() / to.elements();
    let grad = if groups == from.channels && to.channels == groups {
        depthwise::input_gradient(g, weights, from, to, window)
    } else {
        let geometry = geometry(&args.shape);
        grouped(groups, g, to.channels, from.channels, |g, group| {
            let n = geometry.rows * args.shape.n_cols();
            let w = &weights[group * n..][..n];
            conv_input_grad(g, w, &geometry, args.precision)
        })
    };
    flex_tensor(grad, images * from.positions(), from.channels)
}

fn conv_input_grad(g: &[f32], w: &[f32], geometry: &Geometry, precision: Precision) -> Vec<f32> {
    let image = geometry.size[0] * geometry.size[1] * geometry.channels;
    let out_image = geometry.out_px() * geometry.rows;
    let conv = FloatConv::backward(Isa::best(), precision, geometry, w);
    let images = g.len() / out_image;
    let mut gx = vec![0.0f32; images * image];
    let per_group = images.div_ceil(IMAGE_GROUPS).max(1);
    gx.par_chunks_mut(per_group * image)
        .zip(g.par_chunks(per_group * out_image))
        .for_each(|(gx, g)| conv.input_gradient(g, gx));
    gx
}

/// `sum over factors of scale[row] * codes[row][col]`.
pub fn effective_weights(factors: &[Factor]) -> Vec<f32> {
    let (rows, cols) = dims(&factors[0].codes);
    let mut out = vec![0.0f32; rows * cols];
    for factor in factors {
        let codes = values(&factor.codes);
        for (row, (out, codes)) in out
            .chunks_exact_mut(cols)
            .zip(codes.chunks_exact(cols))
            .enumerate()
        {
            let scale = factor.scale.as_ref().map_or(1.0, |s| s[row]);
            out.iter_mut().zip(codes).for_each(|(o, c)| *o += scale * c);
        }
    }
    out
}

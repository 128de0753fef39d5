//! Convolutions, products and pools from Burn's own operations, for backends without the custom ones.

use burn::tensor::Tensor;
use burn::tensor::module;
use burn::tensor::ops::{ConvOptions, MaxPoolOptions};

use super::pool::{Pool, PoolKind};
use super::product::Product;
use crate::graph::{Extent, ProductShape};

/// `[batch * positions, channels]` to `[batch, channels, height, width]`.
fn to_images(x: Tensor<2>, extent: Extent) -> Tensor<4> {
    let [rows, _] = x.dims();
    let batch = rows / extent.positions();
    x.reshape([batch, extent.height, extent.width, extent.channels])
        .permute([0, 3, 1, 2])
}

/// The reverse of [`to_images`].
fn from_images(x: Tensor<4>) -> Tensor<2> {
    let [batch, channels, height, width] = x.dims();
    x.permute([0, 2, 3, 1])
        .reshape([batch * height * width, channels])
}

/// `unit * (x . w^T)`; `weights: [rows, cols]` are the effective ones.
pub(super) fn product(x: Tensor<2>, weights: Tensor<2>, args: &Product) -> Tensor<2> {
    match args.shape {
        ProductShape::Dense { n_in, .. } => {
            let [rows, cols] = x.dims();
            let x = x.reshape([rows * cols / n_in, n_in]);
            x.matmul(weights.transpose()) * args.unit
        }
        ProductShape::Conv {
            from,
            to,
            window,
            groups,
            pad,
        } => {
            let [kh, kw] = window.kernel;
            let kernels = weights
                .clone()
                .reshape([to.channels, kh, kw, from.channels / groups])
                .permute([0, 3, 1, 2]);
            let [top, left, bottom, right] = window.pads;
            let options = ConvOptions {
                stride: window.stride,
                padding: [(top, bottom), (left, right)],
                dilation: window.dilation,
                groups,
            };
            // An image padded with `pad` is `pad` plus one padded with zero whose elements are less by `pad`.
            let x = to_images(x, from) - pad as f32;
            let out = from_images(module::conv2d(x, kernels, None, options));
            let sums = weights.sum_dim(1).transpose() * pad as f32;
            (out + sums) * args.unit
        }
    }
}

/// As `pool::pool`.
pub(super) fn pool(x: Tensor<2>, pool: &Pool) -> Tensor<2> {
    let [top, left, bottom, right] = pool.window.pads;
    let x = to_images(x, pool.from);
    match pool.kind {
        PoolKind::Max => {
            let options = MaxPoolOptions::new(pool.window.kernel)
                .with_stride(pool.window.stride)
                .with_padding_pairs([(top, bottom), (left, right)]);
            from_images(module::max_pool2d(x, options))
        }
        PoolKind::Average => {
            let [_, channels, height, width] = x.dims();
            let kernel = pool.window.kernel;
            let ones = Tensor::<4>::ones([channels, 1, kernel[0], kernel[1]], &x.device());
            let options = ConvOptions {
                stride: pool.window.stride,
                padding: [(top, bottom), (left, right)],
                dilation: [1, 1],
                groups: channels,
            };
            let inside = Tensor::<4>::ones([1, channels, height, width], &x.device());
            let sums = module::conv2d(x, ones.clone(), None, options.clone());
            let counts = module::conv2d(inside, ones, None, options);
            from_images(sums / counts)
        }
    }
}

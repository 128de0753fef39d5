//! Batch normalisation over the rows of `[batch, features]` (Ioffe & Szegedy 2015), training mode.

use burn::backend::Flex;
use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;

use super::{contiguous, dims, flex_handle, flex_tensor, values};
use crate::simd::{fold_runs, for_row_groups, for_run, run_of_rows, sum_row_groups, vectorized};

/// Mean and biased variance of each feature over the batch.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchStats {
    /// One mean per feature.
    pub mean: Vec<f32>,
    /// One variance per feature, not negative.
    pub var: Vec<f32>,
}

/// `gamma * (x - mean) / sqrt(var + eps) + beta` with the batch's own statistics, which are returned too.
///
/// `x: [batch, n]`, `gamma` and `beta: [1, n]`.
pub fn batch_norm(
    x: Tensor<2>,
    gamma: Tensor<2>,
    beta: Tensor<2>,
    eps: f32,
) -> (Tensor<2>, BatchStats) {
    let (Some(xh), Some(gh), Some(bh)) = (flex_handle(&x), flex_handle(&gamma), flex_handle(&beta))
    else {
        return composite(x, gamma, beta, eps);
    };
    let (x, x_node) = xh.into_parts();
    let (gamma, gamma_node) = gh.into_parts();
    let (beta, beta_node) = bh.into_parts();
    let (x, gamma, beta) = (contiguous(x), contiguous(gamma), contiguous(beta));
    let (rows, cols) = dims(&x);
    let stats = statistics(values(&x), rows, cols);
    let rstd: Vec<f32> = stats.var.iter().map(|v| 1.0 / (v + eps).sqrt()).collect();
    let scale: Vec<f32> = rstd
        .iter()
        .zip(values(&gamma))
        .map(|(r, g)| r * g)
        .collect();
    let out = flex_tensor(
        normalised(values(&x), &stats.mean, &scale, values(&beta), cols),
        rows,
        cols,
    );
    let out = match BatchNorm
        .prepare::<NoCheckpointing>([x_node, gamma_node, beta_node])
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(prep) => prep.finish(
            Saved {
                x,
                gamma,
                mean: stats.mean.clone(),
                rstd,
            },
            out,
        ),
        OpsKind::UnTracked(prep) => prep.finish(out),
    };
    (Tensor::from_primitive::<Autodiff<Flex>>(out), stats)
}

fn normalised(x: &[f32], mean: &[f32], scale: &[f32], beta: &[f32], cols: usize) -> Vec<f32> {
    let run = run_of_rows(cols);
    let (mean, scale, beta) = (for_run(mean), for_run(scale), for_run(beta));
    let mut out = vec![0.0f32; x.len()];
    for_row_groups(&mut out, cols, |first, chunk| {
        vectorized(
            #[inline(always)]
            || {
                for (o, x) in chunk.chunks_mut(run).zip(x[first * cols..].chunks(run)) {
                    let columns = mean.iter().zip(&scale).zip(&beta);
                    for ((o, x), ((mean, scale), beta)) in o.iter_mut().zip(x).zip(columns) {
                        *o = (x - mean) * scale + beta;
                    }
                }
            },
        );
    });
    out
}

/// One pass over the differences to one of the rows, so that a large mean does not swallow the variance.
fn statistics(x: &[f32], rows: usize, cols: usize) -> BatchStats {
    let n = 1.0 / rows as f32;
    // A pixel in the middle: those at a border see padding and lie far from the mean.
    let first = &x[rows / 2 * cols..][..cols];
    let run = run_of_rows(cols);
    let firsts = for_run(first);
    let sums = sum_row_groups(rows, 2 * run, |start, end, sums| {
        let (sum, squares) = sums.split_at_mut(run);
        vectorized(
            #[inline(always)]
            || {
                for x in x[start * cols..end * cols].chunks(run) {
                    let sums = sum.iter_mut().zip(squares.iter_mut());
                    for ((x, first), (sum, square)) in x.iter().zip(&firsts).zip(sums) {
                        let d = x - first;
                        *sum += d;
                        *square += d * d;
                    }
                }
            },
        );
    });
    let sums = fold_runs(&sums, cols);
    let (sum, squares) = sums.split_at(cols);
    let mean = sum.iter().zip(first).map(|(s, x)| x + s * n).collect();
    let var = sum
        .iter()
        .zip(squares)
        .map(|(s, q)| (q * n - (s * n) * (s * n)).max(0.0))
        .collect();
    BatchStats { mean, var }
}

#[derive(Clone, Debug)]
struct Saved {
    x: FlexTensor,
    gamma: FlexTensor,
    mean: Vec<f32>,
    rstd: Vec<f32>,
}

#[derive(Debug)]
struct BatchNorm;

impl Backward<Flex, 3> for BatchNorm {
    type State = Saved;

    fn backward(self, ops: Ops<Saved, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let saved = ops.state;
        let [x_node, gamma_node, beta_node] = ops.parents;
        let mut g = contiguous(grads.consume::<Flex>(&ops.node));
        let (rows, cols) = dims(&g);
        // [sum of g, sum of g * xhat], each of length cols.
        let sums = gradient_sums(values(&g), &saved, rows, cols);
        let (sum_g, sum_gx) = sums.split_at(cols);
        if let Some(node) = x_node {
            input_gradient(g.storage_mut::<f32>(), &saved, sum_g, sum_gx, rows, cols);
            grads.register::<Flex>(node.id, g);
        }
        if let Some(node) = gamma_node {
            grads.register::<Flex>(node.id, flex_tensor(sum_gx.to_vec(), 1, cols));
        }
        if let Some(node) = beta_node {
            grads.register::<Flex>(node.id, flex_tensor(sum_g.to_vec(), 1, cols));
        }
    }
}

fn gradient_sums(g: &[f32], saved: &Saved, rows: usize, cols: usize) -> Vec<f32> {
    let x = values(&saved.x);
    let run = run_of_rows(cols);
    let (mean, rstd) = (for_run(&saved.mean), for_run(&saved.rstd));
    let sums = sum_row_groups(rows, 2 * run, |start, end, sums| {
        let (sum_g, sum_gx) = sums.split_at_mut(run);
        vectorized(
            #[inline(always)]
            || {
                let rows = start * cols..end * cols;
                for (g, x) in g[rows.clone()].chunks(run).zip(x[rows].chunks(run)) {
                    let columns = mean.iter().zip(&rstd);
                    let sums = sum_g.iter_mut().zip(sum_gx.iter_mut());
                    let elements = g.iter().zip(x).zip(columns).zip(sums);
                    for (((g, x), (mean, rstd)), (sum_g, sum_gx)) in elements {
                        *sum_g += g;
                        *sum_gx += g * ((x - mean) * rstd);
                    }
                }
            },
        );
    });
    fold_runs(&sums, cols)
}

/// `g = gamma * rstd * (g - sum_g / n - xhat * sum_gx / n)`.
fn input_gradient(
    g: &mut [f32],
    saved: &Saved,
    sum_g: &[f32],
    sum_gx: &[f32],
    rows: usize,
    cols: usize,
) {
    let x = values(&saved.x);
    let n = 1.0 / rows as f32;
    let run = run_of_rows(cols);
    let factor = |(gamma, rstd)| gamma * rstd;
    let factor: Vec<f32> = values(&saved.gamma)
        .iter()
        .zip(&saved.rstd)
        .map(factor)
        .collect();
    let share = |sums: &[f32]| for_run(&sums.iter().map(|s| s * n).collect::<Vec<f32>>());
    let (of_g, of_gx) = (share(sum_g), share(sum_gx));
    let (mean, rstd, factor) = (for_run(&saved.mean), for_run(&saved.rstd), for_run(&factor));
    for_row_groups(g, cols, |first, chunk| {
        vectorized(
            #[inline(always)]
            || {
                for (g, x) in chunk.chunks_mut(run).zip(x[first * cols..].chunks(run)) {
                    let shares = of_g.iter().zip(&of_gx);
                    let columns = mean.iter().zip(&rstd).zip(&factor).zip(shares);
                    let elements = g.iter_mut().zip(x).zip(columns);
                    for ((g, x), (((mean, rstd), factor), (of_g, of_gx))) in elements {
                        let xhat = (x - mean) * rstd;
                        *g = factor * (*g - of_g - xhat * of_gx);
                    }
                }
            },
        );
    });
}

/// The same function from Burn's own operations, for backends without the custom one.
pub(super) fn composite(
    x: Tensor<2>,
    gamma: Tensor<2>,
    beta: Tensor<2>,
    eps: f32,
) -> (Tensor<2>, BatchStats) {
    let mean = x.clone().mean_dim(0);
    let centred = x - mean.clone();
    let var = centred.clone().powi_scalar(2).mean_dim(0);
    let out = centred / (var.clone() + eps).sqrt() * gamma + beta;
    let host = |t: Tensor<2>| {
        t.into_data()
            .try_to_vec::<f32>()
            .expect("statistics are f32")
    };
    (
        out,
        BatchStats {
            mean: host(mean),
            var: host(var),
        },
    )
}

/// Group normalisation of each example (Wu & He 2018), from Burn's own operations.
///
/// `x: [batch * positions, channels]`; `gamma` and `beta: [1, channels]`.
pub fn group_norm(
    x: Tensor<2>,
    gamma: Tensor<2>,
    beta: Tensor<2>,
    positions: usize,
    groups: usize,
    eps: f32,
) -> Tensor<2> {
    let [rows, cols] = x.dims();
    let per_group = cols / groups;
    let x = x.reshape([rows / positions, positions, groups, per_group]);
    let mean = x.clone().mean_dim(3).mean_dim(1);
    let centred = x - mean;
    let var = (centred.clone() * centred.clone()).mean_dim(3).mean_dim(1);
    let normed = centred / (var + eps).sqrt();
    normed.reshape([rows, cols]) * gamma + beta
}

//! Evaluation of the network being trained: running statistics, no dropout, nothing drawn.
//!
//! In a bitwise stage the numbers are those that `onebit_model`'s evaluation of the exported Net gives, bit for
//! bit: whole-number sums are exact, sums of reals are taken in index order, and every other operation is one
//! rounded binary32 operation, in the Net's order.

use burn::backend::flex::FlexTensor;
use onebit_model::program::Window;

use crate::binarize::{self, CodeKind};
use crate::graph::{Extent, GraphNode, NodeOp, Product, ValueKind};
use crate::network::{EPS, Network, NodeState, Role};
use crate::ops::{self, Pool, PoolKind, Unit, values};
use crate::recipe::StageKind;
use crate::recipe::layers::UnitName;
use crate::simd::{for_row_groups, for_run, run_of_rows, vectorized};

/// The greatest factor of an integer norm.
const MOST_GAIN: f32 = 31.0;

impl Network {
    /// Scores `[batch, classes]` of an encoded batch `[batch, inputs]`, by running statistics and without dropout: after
    /// [`Network::settle`] those of the exported Net, bit for bit.
    pub fn evaluate(&self, x: FlexTensor) -> FlexTensor {
        self.evaluate_values(x, &[]).0
    }

    /// Scores, and copies of the values `taps`.
    pub fn evaluate_values(&self, x: FlexTensor, taps: &[usize]) -> (FlexTensor, Vec<Vec<f32>>) {
        let mut last_read = vec![0usize; self.graph.nodes.len() + 1];
        for (idx, node) in self.graph.nodes.iter().enumerate() {
            node.inputs.iter().for_each(|&id| last_read[id] = idx);
        }
        let mut kept = vec![Vec::new(); taps.len()];
        let mut present: Vec<Option<FlexTensor>> = vec![None; last_read.len()];
        present[0] = Some(as_rows(x, self.graph.input.channels));
        for (idx, node) in self.graph.nodes.iter().enumerate() {
            let operands: Vec<FlexTensor> = node
                .inputs
                .iter()
                .map(|&id| present[id].clone().expect("nodes read earlier values"))
                .collect();
            for &id in &node.inputs {
                if last_read[id] == idx {
                    present[id] = None;
                }
            }
            let y = self.evaluate_node(idx, node, operands);
            for (kept, &tap) in kept.iter_mut().zip(taps) {
                if tap == idx + 1 {
                    *kept = values(&y).to_vec();
                }
            }
            present[idx + 1] = Some(y);
        }
        let scores = present.pop().flatten().expect("a graph has nodes");
        let n = self.graph.extent(self.graph.nodes.len()).elements();
        (as_rows(scores, n), kept)
    }

    fn evaluate_node(&self, idx: usize, node: &GraphNode, x: Vec<FlexTensor>) -> FlexTensor {
        let state = &self.nodes[idx];
        let from = self.graph.extent(node.inputs[0]);
        let first = x[0].clone();
        let pool = |kind, window: Window| {
            let pool = Pool {
                kind,
                window,
                from,
                to: node.extent,
            };
            let (out, _) = ops::pool_values(values(&first), &pool);
            rows(out, node.extent.channels)
        };
        match &node.op {
            NodeOp::Rescale { scale, shift } if self.mode.encodes() => {
                let n = node.extent.channels;
                affine(first, &vec![*scale; n], &vec![*shift; n])
            }
            NodeOp::Rescale { .. } | NodeOp::QuantiseGradient { .. } => first,
            NodeOp::Product(product) => self.evaluate_product(idx, product, &first),
            NodeOp::Bias => shifted(first, &state.param(Role::Bias).latent),
            NodeOp::BatchNorm { .. } => {
                let (scale, shift) = self.deployed_norm(idx);
                affine(first, &scale, &shift)
            }
            NodeOp::GroupNorm { groups } => group_norm(first, state, from, *groups),
            NodeOp::Activate { spec, .. } => {
                let x = match state.find(Role::Shift) {
                    Some(shift) => shifted(first, &shift.latent),
                    None => first,
                };
                unit_of(x, self.mode.unit(spec, 1.0, 0))
            }
            NodeOp::Unit(unit) => evaluate_unit(*unit, state, first),
            NodeOp::Add => {
                let (mut y, other) = (first, values(&x[1]));
                let cols = node.extent.channels;
                for_row_groups(y.storage_mut::<f32>(), cols, |at, chunk| {
                    let other = &other[at * cols..][..chunk.len()];
                    chunk.iter_mut().zip(other).for_each(|(y, o)| *y += o);
                });
                y
            }
            NodeOp::Repeat { times } => {
                let n = from.channels;
                let out = values(&first)
                    .chunks_exact(n)
                    .flat_map(|px| px.repeat(*times))
                    .collect();
                rows(out, node.extent.channels)
            }
            NodeOp::MaxPool(window) => pool(PoolKind::Max, *window),
            NodeOp::AvgPool(window) => pool(PoolKind::Average, *window),
            NodeOp::GlobalAvgPool => {
                pool(PoolKind::Average, Window::new([from.height, from.width]))
            }
            NodeOp::ScaleMap { .. } if !self.mode.encodes() => first,
            NodeOp::ScaleMap { window } => {
                let from = self.graph.extent(node.inputs[1]);
                let map = ops::scale_map(values(&x[1]), from, node.extent, window);
                let mut y = first;
                let cols = node.extent.channels;
                let rows = y.storage_mut::<f32>().chunks_exact_mut(cols);
                for (row, k) in rows.zip(&map) {
                    row.iter_mut().for_each(|y| *y *= k);
                }
                y
            }
        }
    }

    /// Whether all sums of codes of product `idx` stay below 2^24, whatever its weights become.
    pub(crate) fn sums_are_exact(&self, idx: usize, product: &Product) -> bool {
        let largest_x = match self.kind(self.graph.nodes[idx].inputs[0]) {
            ValueKind::Bits => 1,
            ValueKind::Levels { bits, .. } => (1u64 << bits) - 1,
            ValueKind::Real => return false,
        };
        let largest_w = match self.mode.form(product).code_kind() {
            CodeKind::Bits | CodeKind::Ternary => 1,
            CodeKind::Ints => u64::from(binarize::largest_code(&product.weights)),
            CodeKind::Real => return false,
        };
        largest_x * largest_w * (product.shape.n_cols() as u64) < 1 << 24
    }

    /// Factors and addends of a batch norm as evaluation and the Net use them.
    ///
    /// An integer norm of a bitwise stage has the factors and addends of the plain one times the number that makes
    /// the greatest factor [`MOST_GAIN`], rounded. Scores keep their order but for what the rounding changes.
    pub(crate) fn deployed_norm(&self, idx: usize) -> (Vec<f32>, Vec<f32>) {
        let norm = self.nodes[idx].frozen();
        let channels = 0..norm.gamma.len();
        let (mut scale, mut shift): (Vec<f32>, Vec<f32>) =
            channels.map(|c| norm.scale_shift(c, f32::sqrt)).unzip();
        let op = &self.graph.nodes[idx].op;
        let is_integer = matches!(op, NodeOp::BatchNorm { is_integer: true });
        if is_integer && self.mode.kind == StageKind::Bitwise {
            let most = scale.iter().map(|s| s.abs()).fold(0.0, f32::max);
            let factor = if most.is_normal() {
                MOST_GAIN / most
            } else {
                1.0
            };
            let limit = (1 << 22) as f32;
            // An integer has no -0.
            let round =
                |x: &mut f32| *x = (*x * factor).round_ties_even().clamp(-limit, limit) + 0.0;
            scale.iter_mut().chain(&mut shift).for_each(round);
        }
        (scale, shift)
    }

    fn evaluate_product(&self, idx: usize, product: &Product, x: &FlexTensor) -> FlexTensor {
        let state = &self.nodes[idx];
        let args = ops::Product {
            shape: product.shape,
            factors: state.factors.clone(),
            operand: self.operand(idx, product, false, false),
            unit: self.unit_of_input(idx),
            precision: self.mode.precision,
        };
        // Only what is exported has to be summed in the Net's order.
        let y = ops::product_values(x, &args, self.mode.kind == StageKind::Bitwise);
        match state.find(Role::FormBias) {
            Some(bias) => shifted(y, values(&bias.value)),
            None => y,
        }
    }
}

fn rows(x: Vec<f32>, cols: usize) -> FlexTensor {
    let n = x.len() / cols;
    ops::flex_tensor(x, n, cols)
}

fn as_rows(x: FlexTensor, cols: usize) -> FlexTensor {
    let n = values(&x).len() / cols;
    x.reshape([n, cols].into())
}

fn evaluate_unit(unit: UnitName, state: &NodeState, x: FlexTensor) -> FlexTensor {
    let slope = |x: &FlexTensor| {
        let slope = &state.param(Role::Slope).latent;
        rows(ops::prelu_values(values(x), slope), slope.len())
    };
    match unit {
        UnitName::None => x,
        // A Net's relu of -0 is +0; training's hands its argument on, so that NaN is noticed.
        UnitName::Relu => {
            let cols = ops::dims(&x).1;
            shifted(unit_of(x, Unit::Relu), &vec![0.0; cols])
        }
        UnitName::Hardtanh => unit_of(x, Unit::Hardtanh),
        UnitName::Prelu => slope(&x),
        UnitName::Rprelu => {
            let x = shifted(x, &state.param(Role::Shift).latent);
            shifted(slope(&x), &state.param(Role::After).latent)
        }
    }
}

fn unit_of(x: FlexTensor, unit: Unit) -> FlexTensor {
    let (_, cols) = ops::dims(&x);
    rows(ops::unit_values(values(&x), unit), cols)
}

/// `x * scale[c] + shift[c]`.
fn affine(mut x: FlexTensor, scale: &[f32], shift: &[f32]) -> FlexTensor {
    let (cols, run) = (scale.len(), run_of_rows(scale.len()));
    let (scale, shift) = (for_run(scale), for_run(shift));
    for_row_groups(x.storage_mut::<f32>(), cols, |_, chunk| {
        vectorized(
            #[inline(always)]
            || {
                for rows in chunk.chunks_mut(run) {
                    for ((x, a), b) in rows.iter_mut().zip(&scale).zip(&shift) {
                        *x = *x * a + b;
                    }
                }
            },
        );
    });
    x
}

/// `x + shift[c]`.
fn shifted(mut x: FlexTensor, shift: &[f32]) -> FlexTensor {
    let (cols, run) = (shift.len(), run_of_rows(shift.len()));
    let shift = for_run(shift);
    for_row_groups(x.storage_mut::<f32>(), cols, |_, chunk| {
        vectorized(
            #[inline(always)]
            || {
                for rows in chunk.chunks_mut(run) {
                    rows.iter_mut().zip(&shift).for_each(|(x, b)| *x += b);
                }
            },
        );
    });
    x
}

/// Group normalisation as `onebit_model::net::GroupNorm` defines it.
fn group_norm(mut x: FlexTensor, state: &NodeState, from: Extent, groups: usize) -> FlexTensor {
    let (gamma, beta) = (
        &state.param(Role::Gamma).latent,
        &state.param(Role::Beta).latent,
    );
    let per_group = from.channels / groups;
    let n = (from.positions() * per_group) as f32;
    let images = x.storage_mut::<f32>().chunks_exact_mut(from.elements());
    for image in images {
        for group in 0..groups {
            let channels = group * per_group..(group + 1) * per_group;
            let mut sum = 0.0f32;
            for px in image.chunks_exact(from.channels) {
                px[channels.clone()].iter().for_each(|v| sum += v);
            }
            let mean = sum / n;
            let mut squares = 0.0f32;
            for px in image.chunks_exact(from.channels) {
                for v in &px[channels.clone()] {
                    squares += (v - mean) * (v - mean);
                }
            }
            let root = (squares / n + EPS).sqrt();
            for px in image.chunks_exact_mut(from.channels) {
                for c in channels.clone() {
                    px[c] = ((px[c] - mean) / root) * gamma[c] + beta[c];
                }
            }
        }
    }
    x
}

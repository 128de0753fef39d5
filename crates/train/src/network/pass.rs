//! The training forward pass: each node's operation on Burn tensors.

use burn::tensor::Gradients;
use onebit_model::program::Window;

use super::*;
use crate::device::to_host;
use crate::graph::Extent;

impl Network {
    /// Scores with the graph that leads to them, normalised by the batch's own statistics.
    ///
    /// `x` is `[batch, elements]`, an encoded batch as [`Feeder`](crate::encode::Feeder) makes it, `elements` those of
    /// the graph's input. `seed` decides what dropout drops and what stochastic activations draw; `taps` are values to
    /// keep: 0 is the input, `i + 1` what node `i` computes.
    ///
    /// # Panics
    /// If `x` has another number of columns, or a tap is no value of the graph.
    pub fn forward(&self, x: FlexTensor, seed: u32, taps: &[usize]) -> Forward {
        self.pass(x, taps, Pass::new(self, Leaves::Tracked, seed))
    }

    /// The batch's statistics of each node's norm, by a forward pass that leaves no graph behind; `x` as in
    /// [`Network::forward`].
    pub fn batch_stats(&self, x: FlexTensor) -> Vec<Option<BatchStats>> {
        self.pass(x, &[], Pass::new(self, Leaves::Plain, 0)).stats
    }

    fn pass(&self, x: FlexTensor, taps: &[usize], mut pass: Pass<'_>) -> Forward {
        let mut readers = vec![0usize; self.graph.nodes.len() + 1];
        for node in &self.graph.nodes {
            node.inputs.iter().for_each(|&id| readers[id] += 1);
        }
        taps.iter().for_each(|&id| readers[id] += 1);
        let mut present: Vec<Option<Tensor<2>>> = vec![None; readers.len()];
        present[0] = Some(pass.input(x));
        for (idx, node) in self.graph.nodes.iter().enumerate() {
            // A value is handed on, not copied, to its last reader.
            let operands = node
                .inputs
                .iter()
                .map(|&id| {
                    readers[id] -= 1;
                    let value = match readers[id] {
                        0 => present[id].take(),
                        _ => present[id].clone(),
                    };
                    value.expect("nodes read earlier values")
                })
                .collect();
            present[idx + 1] = Some(pass.node(idx, node, operands));
        }
        let kept = taps
            .iter()
            .map(|&id| present[id].clone().expect("a tapped value is kept"))
            .collect();
        let last = present.pop().flatten().expect("a graph has nodes");
        Forward {
            scores: pass.scores(last),
            leaves: pass.leaves,
            stats: pass.stats,
            taps: kept,
        }
    }
}

/// Whether gradients of the parameters are wanted. A graph stays in memory until a backward pass takes it up.
#[derive(Clone, Copy)]
enum Leaves {
    Tracked,
    Plain,
}

/// A forward pass in progress.
struct Pass<'a> {
    network: &'a Network,
    kind: Leaves,
    seed: u32,
    leaves: Vec<Tensor<2>>,
    stats: Vec<Option<BatchStats>>,
}

impl<'a> Pass<'a> {
    fn new(network: &'a Network, kind: Leaves, seed: u32) -> Self {
        Pass {
            network,
            kind,
            seed,
            leaves: Vec::new(),
            stats: Vec::new(),
        }
    }

    fn leaf(&mut self, param: &Param) -> Tensor<2> {
        self.leaf_of(param.value.clone())
    }

    fn leaf_of(&mut self, values: FlexTensor) -> Tensor<2> {
        let mut leaf = self.network.device.tensor(values);
        if let Leaves::Tracked = self.kind {
            leaf = leaf.require_grad();
            self.leaves.push(leaf.clone());
        }
        leaf
    }

    fn input(&self, mut x: FlexTensor) -> Tensor<2> {
        let dropout = Dropout {
            rate: self.network.mode.dropout_input,
            seed: self.seed.wrapping_mul(0xC2B2_AE35),
        };
        ops::drop_in_place(&mut x, dropout);
        let extent = self.network.graph.input;
        let x = self.network.device.tensor(x);
        let [rows, cols] = x.dims();
        assert_eq!(cols, extent.elements(), "columns of an encoded batch");
        x.reshape([rows * cols / extent.channels, extent.channels])
    }

    fn dropout(&self, node: usize) -> Dropout {
        Dropout {
            rate: self.network.mode.dropout_hidden,
            seed: self
                .seed
                .wrapping_add(node as u32 + 1)
                .wrapping_mul(0x85EB_CA6B),
        }
    }

    fn node(&mut self, idx: usize, node: &GraphNode, mut x: Vec<Tensor<2>>) -> Tensor<2> {
        let network = self.network;
        let state = &network.nodes[idx];
        let graph = &network.graph;
        let mode = &network.mode;
        let first = x.remove(0);
        self.stats.push(None);
        let from = graph.extent(node.inputs[0]);
        match &node.op {
            NodeOp::Rescale { scale, shift } => match mode.encodes() {
                true => first * *scale + *shift,
                false => first,
            },
            NodeOp::Product(product) => self.product(idx, product, first),
            NodeOp::Bias => add_bias(first, self.leaf(state.param(Role::Bias)), 1.0),
            NodeOp::BatchNorm { .. } => {
                let (gamma, beta) = self.gain(state);
                let (y, stats) = batch_norm(first, gamma, beta, EPS);
                self.stats[idx] = Some(stats);
                y
            }
            NodeOp::GroupNorm { groups } => {
                let (gamma, beta) = self.gain(state);
                ops::group_norm(first, gamma, beta, from.positions(), *groups, EPS)
            }
            NodeOp::Activate { spec, drops } => {
                let shift = state.find(Role::Shift).map(|p| self.leaf(p));
                let x = match shift {
                    Some(shift) => add_bias(first, shift, 1.0),
                    None => first,
                };
                let dropout = match drops {
                    true => self.dropout(idx),
                    false => Dropout::NONE,
                };
                let seed = hash32(self.seed, idx as u32);
                activate(x, mode.unit(spec, network.progress, seed), dropout)
            }
            NodeOp::Unit(unit) => self.unit(*unit, state, first),
            NodeOp::Add => first + x.remove(0),
            NodeOp::Repeat { times } => Tensor::cat(vec![first; *times], 1),
            NodeOp::MaxPool(window) => pooled(first, PoolKind::Max, *window, from, node.extent),
            NodeOp::AvgPool(window) => pooled(first, PoolKind::Average, *window, from, node.extent),
            NodeOp::GlobalAvgPool => {
                let window = Window::new([from.height, from.width]);
                pooled(first, PoolKind::Average, window, from, node.extent)
            }
            NodeOp::ScaleMap { .. } if !mode.encodes() => first,
            NodeOp::ScaleMap { window } => {
                let real = x.remove(0);
                let from = graph.extent(node.inputs[1]);
                let host = real.inner().into_data();
                let host = host.try_to_vec::<f32>().expect("values are f32");
                let map = ops::scale_map(&host, from, node.extent, window);
                ops::multiply_rows(first, map)
            }
            NodeOp::QuantiseGradient { .. } if !mode.encodes() => first,
            NodeOp::QuantiseGradient { bits } => {
                let seed = hash32(self.seed ^ 0x5bd1_e995, idx as u32);
                ops::quantise_gradient(first, *bits, node.extent.positions(), seed)
            }
        }
    }

    fn gain(&mut self, state: &NodeState) -> (Tensor<2>, Tensor<2>) {
        let gamma = self.leaf(state.param(Role::Gamma));
        (gamma, self.leaf(state.param(Role::Beta)))
    }

    fn unit(&mut self, unit: UnitName, state: &NodeState, x: Tensor<2>) -> Tensor<2> {
        match unit {
            UnitName::None => x,
            UnitName::Relu => activate(x, Unit::Relu, Dropout::NONE),
            UnitName::Hardtanh => activate(x, Unit::Hardtanh, Dropout::NONE),
            UnitName::Prelu => ops::prelu(x, self.leaf(state.param(Role::Slope))),
            UnitName::Rprelu => {
                let shift = self.leaf(state.param(Role::Shift));
                let x = add_bias(x, shift, 1.0);
                let x = ops::prelu(x, self.leaf(state.param(Role::Slope)));
                add_bias(x, self.leaf(state.param(Role::After)), 1.0)
            }
        }
    }

    fn product(&mut self, idx: usize, product: &Product, x: Tensor<2>) -> Tensor<2> {
        let network = self.network;
        let state = &network.nodes[idx];
        let rate = network.mode.dropout(product.dropped);
        let unit = network.unit_of_input(idx) / (1.0 - rate);
        let args = ops::Product {
            shape: product.shape,
            factors: state.factors.clone(),
            operand: network.operand(idx, product, rate > 0.0, true),
            unit,
            precision: network.mode.precision,
        };
        let weight = state.param(Role::Weight);
        let leaf = match network.device.is_fused() {
            true => self.leaf(weight),
            // Composites multiply by the leaf itself.
            false => {
                let (rows, cols) = weight.dims();
                let weights = ops::effective_weights(&state.factors);
                self.leaf_of(ops::flex_tensor(weights, rows, cols))
            }
        };
        let y = ops::product(x, leaf, args);
        // Parameters' leaves come in the order of the parameters.
        let bias = state.find(Role::FormBias).map(|p| self.leaf(p));
        if let Some(scale) = state.find(Role::Scale) {
            self.leaf(scale);
        }
        match bias {
            Some(bias) => {
                let scale = network.mode.sum_scale(product.shape.n_cols());
                add_bias(y, bias, scale)
            }
            None => y,
        }
    }

    /// The last value as `[batch, classes]`. Sums of binary weights without norm are divided by the root of
    /// their number of terms, which changes no order of scores and puts them where softmax expects them.
    fn scores(&self, x: Tensor<2>) -> Tensor<2> {
        let graph = &self.network.graph;
        let node = graph.nodes.last().expect("a graph has nodes");
        let [rows, cols] = x.dims();
        let n = node.extent.elements();
        let x = x.reshape([rows * cols / n, n]);
        match &node.op {
            NodeOp::Product(product)
                if !product.bias && self.network.mode.form(product).is_binary() =>
            {
                x / (product.shape.n_cols() as f32).sqrt()
            }
            _ => x,
        }
    }
}

/// The gradients of a forward pass's leaves on the host, in their order: those of the effective weights and of every
/// other parameter, each `[rows, cols]` as its leaf. Zeros where a leaf is no part of the loss's graph.
///
/// `gradients` is what `backward` of a loss over [`Forward::scores`] gave; they are taken out of it.
pub fn leaf_gradients(leaves: Vec<Tensor<2>>, gradients: &mut Gradients) -> Vec<FlexTensor> {
    let gradient = |leaf: Tensor<2>| match leaf.grad_remove(gradients) {
        Some(grad) => to_host(grad),
        // Scales of weights are no part of the graph; their gradient follows from the weights'.
        None => {
            let [rows, cols] = leaf.dims();
            ops::flex_tensor(vec![0.0; rows * cols], rows, cols)
        }
    };
    leaves.into_iter().map(gradient).collect()
}

fn pooled(x: Tensor<2>, kind: PoolKind, window: Window, from: Extent, to: Extent) -> Tensor<2> {
    let pool = Pool {
        kind,
        window,
        from,
        to,
    };
    ops::pool(x, pool)
}

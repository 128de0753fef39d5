//! The network being trained: parameters, the training forward pass, the optimizer step.
//!
//! In: a graph and a stage's mode. Out: scores as a Burn tensor with its graph. Evaluation, whose numbers equal
//! the exported Net's bit for bit, is in `evaluate`.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;
use onebit_model::net::BatchNorm;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::binarize::{self, CodeKind, WeightContext};
use crate::graph::{Dropped, Graph, GraphNode, NodeOp, Product, ValueKind};
use crate::mode::Mode;
use crate::ops::{
    self, BatchStats, Dropout, Factor, Operand, Pool, PoolKind, Unit, activate, add_bias,
    batch_norm, values,
};
use crate::optim::{Form, Param, Update};
use crate::recipe::layers::{ActivationName, StandardiseName, UnitName, WeightName, WeightSpec};
use crate::simd::hash32;

/// Added to a variance before its root.
pub const EPS: f32 = 1e-4;
/// How much of the running statistics one step replaces.
const STATS_RATE: f32 = 0.1;
/// The slope that PReLU and RPReLU start from.
const FIRST_SLOPE: f32 = 0.25;

/// What a parameter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Weights of a product.
    Weight,
    /// A bias of the weights' form.
    FormBias,
    /// Learned scales and gains of a product's weights.
    Scale,
    /// A real bias.
    Bias,
    /// Gain of a norm.
    Gamma,
    /// Offset of a norm.
    Beta,
    /// RSign's shift, RPReLU's first addend.
    Shift,
    /// Slope of a unit.
    Slope,
    /// RPReLU's second addend.
    After,
}

impl Role {
    /// The name in checkpoints and of the Net's tensors.
    pub fn name(self) -> &'static str {
        match self {
            Role::Weight => "weight",
            Role::FormBias | Role::Bias => "bias",
            Role::Scale => "scale",
            Role::Gamma => "gamma",
            Role::Beta => "beta",
            Role::Shift => "shift",
            Role::Slope => "slope",
            Role::After => "after",
        }
    }
}

/// Running statistics of a batch normalisation.
#[derive(Clone, Debug, PartialEq)]
pub struct Running {
    /// Running mean.
    pub mean: Vec<f32>,
    /// Running variance.
    pub var: Vec<f32>,
}

/// What one node holds.
#[derive(Clone, Debug, Default)]
pub struct NodeState {
    /// Its parameters.
    pub params: Vec<(Role, Param)>,
    /// Statistics of a batch norm.
    pub stats: Option<Running>,
    /// The effective weights of a product, as the forward pass uses them.
    pub factors: Vec<Factor>,
}

impl NodeState {
    /// The parameter of a role.
    ///
    /// # Panics
    /// If the node has none.
    pub fn param(&self, role: Role) -> &Param {
        self.find(role)
            .expect("the node's operation has this parameter")
    }

    /// The parameter of a role, if the node has one.
    pub fn find(&self, role: Role) -> Option<&Param> {
        self.params.iter().find(|(r, _)| *r == role).map(|(_, p)| p)
    }

    /// The normalisation with its running statistics.
    pub fn frozen(&self) -> BatchNorm {
        let stats = self
            .stats
            .as_ref()
            .expect("a batch norm has running statistics");
        BatchNorm {
            gamma: self.param(Role::Gamma).latent.clone(),
            beta: self.param(Role::Beta).latent.clone(),
            mean: stats.mean.clone(),
            var: stats.var.clone(),
            eps: EPS,
        }
    }
}

/// A graph with parameters, and how they are used in the present stage.
#[derive(Clone, Debug)]
pub struct Network {
    /// The steps.
    pub graph: Graph,
    /// What each step holds, in the same order.
    pub nodes: Vec<NodeState>,
    /// How the present stage computes them.
    pub mode: Mode,
    /// What each value holds in the present stage; the input first.
    kinds: Vec<ValueKind>,
    /// Progress of the stage in `[0, 1]`, for what changes over it.
    progress: f32,
}

/// One training forward pass: the scores, and what the step after it needs.
pub struct Forward {
    /// `[batch, n_classes]`.
    pub scores: Tensor<2>,
    /// One tracked tensor per parameter, in the order of the nodes and their parameters.
    pub leaves: Vec<Tensor<2>>,
    /// Batch statistics per node.
    pub stats: Vec<Option<BatchStats>>,
    /// Values of the nodes asked for, for distillation.
    pub taps: Vec<Tensor<2>>,
}

impl Network {
    /// A network with Glorot-uniform weights.
    pub fn new(graph: Graph, mode: Mode, seed: u64) -> Network {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let nodes = graph
            .nodes
            .iter()
            .map(|node| node_state(&graph, node, &mut rng))
            .collect();
        let mut network = Network {
            graph,
            nodes,
            mode,
            kinds: Vec::new(),
            progress: 0.0,
        };
        network.enter(mode);
        network
    }

    /// Takes over the weights for another stage: forward values follow the new mode, moments restart.
    pub fn enter(&mut self, mode: Mode) {
        self.mode = mode;
        self.progress = 0.0;
        self.kinds = value_kinds(&self.graph, &mode);
        for node in &mut self.nodes {
            for (_, param) in &mut node.params {
                param.reset_moments();
            }
        }
        self.refresh(0);
    }

    /// Sets how far the stage has come, in `[0, 1]`.
    pub fn set_progress(&mut self, progress: f32) {
        self.progress = progress;
    }

    /// What value `id` holds in the present stage.
    pub fn kind(&self, id: usize) -> ValueKind {
        self.kinds[id]
    }

    /// Recomputes every forward value from its latent one; `seed` draws stochastic weights.
    pub fn refresh(&mut self, seed: u32) {
        for idx in 0..self.nodes.len() {
            self.refresh_node(idx, true, seed);
        }
    }

    /// As [`Network::refresh`], with the weights that are deployed: nothing is drawn.
    pub fn settle(&mut self) {
        for idx in 0..self.nodes.len() {
            self.refresh_node(idx, false, 0);
        }
    }

    fn refresh_node(&mut self, idx: usize, training: bool, seed: u32) {
        let (mode, progress) = (self.mode, self.progress);
        let node = &mut self.nodes[idx];
        let NodeOp::Product(product) = &self.graph.nodes[idx].op else {
            for (_, param) in &mut node.params {
                param.refresh(Form::Real);
            }
            return;
        };
        // Shared storage would be copied when the parameter is written.
        node.factors.clear();
        let form = mode.form(product);
        for (role, param) in &mut node.params {
            let form = match role {
                Role::Weight | Role::FormBias => form.simple(),
                _ => Form::Real,
            };
            param.refresh(form);
        }
        let context = WeightContext {
            progress,
            seed: hash32(seed, idx as u32),
            training,
        };
        node.factors = factors(node, product, form, &context);
    }

    /// Every parameter with its node's index, in the order of [`Forward::leaves`].
    pub fn params_mut(&mut self) -> impl Iterator<Item = (usize, Role, &mut Param)> {
        self.nodes.iter_mut().enumerate().flat_map(|(idx, node)| {
            node.params
                .iter_mut()
                .map(move |(role, param)| (idx, *role, param))
        })
    }

    /// Whether the weights of node `idx` are binarised in the present stage.
    pub fn is_binary(&self, idx: usize) -> bool {
        match &self.graph.nodes[idx].op {
            NodeOp::Product(product) => self.mode.form(product).is_binary(),
            _ => false,
        }
    }

    /// What both operands of product `idx` hold, in training or in evaluation.
    pub fn operand(&self, idx: usize, product: &Product, dropped: bool, training: bool) -> Operand {
        let input = self.graph.nodes[idx].inputs[0];
        let x = match training && self.is_softened(input) {
            true => ValueKind::Real,
            false => self.kinds[input],
        };
        let w = self.mode.form(product).code_kind();
        let is_dense = matches!(product.shape, crate::graph::ProductShape::Dense { .. });
        match (x, w) {
            (ValueKind::Real, _) | (_, CodeKind::Real) => Operand::Real,
            (ValueKind::Bits, CodeKind::Bits) if !dropped => Operand::Bits,
            (ValueKind::Bits, CodeKind::Bits | CodeKind::Ternary) if is_dense => Operand::Ternary,
            (ValueKind::Levels { bits: 1, .. }, CodeKind::Bits | CodeKind::Ternary) if is_dense => {
                Operand::Ternary
            }
            _ => Operand::Codes,
        }
    }

    /// Whether value `id` comes from an activation that is not yet a sign in training.
    fn is_softened(&self, id: usize) -> bool {
        let Some(node) = id.checked_sub(1).map(|idx| &self.graph.nodes[idx]) else {
            return false;
        };
        match &node.op {
            NodeOp::Activate { spec, .. } => match self.mode.unit(spec, self.progress, 0) {
                Unit::Sign(estimator) => !estimator.keeps_sign(),
                _ => false,
            },
            NodeOp::MaxPool(_) => self.is_softened(node.inputs[0]),
            _ => false,
        }
    }

    /// Scores with the graph that leads to them. `seed` decides what dropout drops; `taps` are values to keep.
    pub fn forward(&self, x: FlexTensor, seed: u32, taps: &[usize]) -> Forward {
        let mut pass = Pass {
            network: self,
            seed,
            leaves: Vec::new(),
            stats: Vec::new(),
        };
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

    /// Applies one optimizer step; returns (sign flips, binary weights). `update` gives the numbers for the
    /// parameter of a node and role.
    pub fn step(
        &mut self,
        grads: Vec<FlexTensor>,
        stats: &[Option<BatchStats>],
        update: impl Fn(&Network, usize, Role) -> Update,
        seed: u32,
    ) -> (usize, usize) {
        let (mut flips, mut total) = (0, 0);
        let mut grads = grads.into_iter();
        for idx in 0..self.nodes.len() {
            let updates: Vec<Update> = (0..self.nodes[idx].params.len())
                .map(|i| update(self, idx, self.nodes[idx].params[i].0))
                .collect();
            let mode = self.mode;
            let progress = self.progress;
            let node = &mut self.nodes[idx];
            let mut own: Vec<FlexTensor> = grads.by_ref().take(updates.len()).collect();
            for ((grad, update), (_, param)) in own.iter_mut().zip(&updates).zip(&node.params) {
                param.clip_rows(grad.storage_mut::<f32>(), update.clip_share);
            }
            if let NodeOp::Product(product) = &self.graph.nodes[idx].op {
                let form = mode.form(product);
                if let WeightForm::Method(spec) = form {
                    let context = WeightContext {
                        progress,
                        seed: hash32(seed, idx as u32),
                        training: true,
                    };
                    to_latent(node, spec, &mut own, &context);
                }
                node.factors.clear();
                for (((role, param), grad), update) in node.params.iter_mut().zip(&own).zip(updates)
                {
                    let is_form = matches!(role, Role::Weight | Role::FormBias);
                    let n = param.step(
                        values(grad),
                        if is_form { form.simple() } else { Form::Real },
                        update,
                    );
                    if is_form {
                        flips += n;
                        total += param.latent.len();
                    }
                }
                self.renew_factors(idx, seed);
            } else {
                for (((_, param), grad), update) in node.params.iter_mut().zip(&own).zip(updates) {
                    param.step(values(grad), Form::Real, update);
                }
            }
        }
        self.blend_stats(stats, STATS_RATE);
        (flips, total)
    }

    /// Moves running statistics towards a batch's by `rate`.
    pub fn blend_stats(&mut self, stats: &[Option<BatchStats>], rate: f32) {
        for (node, stats) in self.nodes.iter_mut().zip(stats) {
            if let (Some(running), Some(stats)) = (&mut node.stats, stats) {
                blend(&mut running.mean, &stats.mean, rate);
                blend(&mut running.var, &stats.var, rate);
            }
        }
    }

    /// The factors after a step has already renewed the values of simple forms.
    fn renew_factors(&mut self, idx: usize, seed: u32) {
        let NodeOp::Product(product) = &self.graph.nodes[idx].op else {
            return;
        };
        let context = WeightContext {
            progress: self.progress,
            seed: hash32(seed.wrapping_add(1), idx as u32),
            training: true,
        };
        let form = self.mode.form(product);
        self.nodes[idx].factors = factors(&self.nodes[idx], product, form, &context);
    }
}

pub use crate::mode::WeightForm;

/// Moves `running` towards `batch` by `rate`.
pub fn blend(running: &mut [f32], batch: &[f32], rate: f32) {
    for (r, b) in running.iter_mut().zip(batch) {
        *r += rate * (b - *r);
    }
}

/// Takes the gradients of effective weights and auxiliary values on to the latent ones.
fn to_latent(node: &NodeState, spec: &WeightSpec, grads: &mut [FlexTensor], ctx: &WeightContext) {
    let at = |role| node.params.iter().position(|(r, _)| *r == role);
    let weight_at = at(Role::Weight).expect("a product has weights");
    let weight = &node.params[weight_at].1;
    let (rows, cols) = weight.dims();
    let aux: &[f32] = node.find(Role::Scale).map_or(&[], |p| &p.latent);
    let bases: Vec<binarize::Base> = node
        .factors
        .iter()
        .map(|f| binarize::Base {
            codes: values(&f.codes).to_vec(),
            scale: f.scale.clone(),
        })
        .collect();
    let grad = grads[weight_at].storage_mut::<f32>();
    let aux_grad =
        binarize::latent_gradient(spec, &weight.latent, rows, cols, aux, &bases, ctx, grad);
    if let Some(scale_at) = at(Role::Scale) {
        let n = aux_grad.len();
        grads[scale_at] = ops::flex_tensor(aux_grad, 1, n);
    }
}

fn factors(
    node: &NodeState,
    product: &Product,
    form: WeightForm<'_>,
    context: &WeightContext,
) -> Vec<Factor> {
    let weight = node.param(Role::Weight);
    let (rows, cols) = (product.shape.n_rows(), product.shape.n_cols());
    let WeightForm::Method(spec) = form else {
        return vec![Factor {
            codes: weight.value.clone(),
            scale: None,
        }];
    };
    let aux: &[f32] = node.find(Role::Scale).map_or(&[], |p| &p.latent);
    binarize::binarise(spec, &weight.latent, rows, cols, aux, context)
        .into_iter()
        .map(|base| Factor {
            codes: ops::flex_tensor(base.codes, rows, cols),
            scale: base.scale,
        })
        .collect()
}

/// What each value holds in a stage; the input first.
fn value_kinds(graph: &Graph, mode: &Mode) -> Vec<ValueKind> {
    let mut kinds = vec![if mode.encodes() {
        graph.input_kind
    } else {
        ValueKind::Real
    }];
    for node in &graph.nodes {
        let kind = match &node.op {
            NodeOp::Activate { .. } if !mode.activations_are_codes() => ValueKind::Real,
            NodeOp::MaxPool(_) => kinds[node.inputs[0]],
            _ => node.kind,
        };
        kinds.push(kind);
    }
    kinds
}

fn node_state(graph: &Graph, node: &GraphNode, rng: &mut ChaCha8Rng) -> NodeState {
    let channels = node.extent.channels;
    let vector = |role: Role, value: f32| {
        (
            role,
            Param::new(vec![value; channels], 1, channels, Form::Real),
        )
    };
    let mut state = NodeState::default();
    match &node.op {
        NodeOp::Product(product) => state.params = product_params(product, rng),
        NodeOp::Bias => state.params = vec![vector(Role::Bias, 0.0)],
        NodeOp::BatchNorm => {
            state.params = vec![vector(Role::Gamma, 1.0), vector(Role::Beta, 0.0)];
            state.stats = Some(Running {
                mean: vec![0.0; channels],
                var: vec![1.0; channels],
            });
        }
        NodeOp::GroupNorm { .. } => {
            state.params = vec![vector(Role::Gamma, 1.0), vector(Role::Beta, 0.0)];
        }
        NodeOp::Activate { spec, .. } if spec.form == ActivationName::Rsign => {
            state.params = vec![vector(Role::Shift, 0.0)];
        }
        NodeOp::Unit(UnitName::Prelu) => state.params = vec![vector(Role::Slope, FIRST_SLOPE)],
        NodeOp::Unit(UnitName::Rprelu) => {
            state.params = vec![
                vector(Role::Shift, 0.0),
                vector(Role::Slope, FIRST_SLOPE),
                vector(Role::After, 0.0),
            ];
        }
        _ => {}
    }
    debug_assert!(node.inputs.iter().all(|&id| id <= graph.nodes.len()));
    state
}

fn product_params(product: &Product, rng: &mut ChaCha8Rng) -> Vec<(Role, Param)> {
    let (rows, cols) = (product.shape.n_rows(), product.shape.n_cols());
    // Glorot & Bengio 2010; a convolution's fans are taken over its window.
    let fan_out = match product.shape {
        crate::graph::ProductShape::Dense { n_out, .. } => n_out,
        crate::graph::ProductShape::Conv { window, groups, .. } => {
            rows * window.kernel[0] * window.kernel[1] / groups
        }
    };
    let limit = (6.0 / (cols + fan_out) as f32).sqrt();
    let mut draw =
        |n: usize| -> Vec<f32> { (0..n).map(|_| rng.random_range(-limit..limit)).collect() };
    let mut params = vec![(
        Role::Weight,
        Param::new(draw(rows * cols), rows, cols, Form::Real),
    )];
    if product.bias {
        params.push((Role::FormBias, Param::new(draw(rows), 1, rows, Form::Real)));
    }
    let n_aux = binarize::n_aux(&product.weights, rows);
    if n_aux > 0 && !product.follows_stage {
        let aux = binarize::initial_aux(&product.weights, &params[0].1.latent, rows, cols);
        params.push((Role::Scale, Param::new(aux, 1, n_aux, Form::Real)));
    }
    params
}

/// A forward pass in progress.
struct Pass<'a> {
    network: &'a Network,
    seed: u32,
    leaves: Vec<Tensor<2>>,
    stats: Vec<Option<BatchStats>>,
}

impl Pass<'_> {
    fn leaf(&mut self, param: &Param) -> Tensor<2> {
        let leaf = Tensor::<2>::from_primitive::<Flex>(param.value.clone())
            .autodiff()
            .require_grad();
        self.leaves.push(leaf.clone());
        leaf
    }

    fn input(&self, mut x: FlexTensor) -> Tensor<2> {
        let dropout = Dropout {
            rate: self.network.mode.dropout_input,
            seed: self.seed.wrapping_mul(0xC2B2_AE35),
        };
        ops::drop_in_place(&mut x, dropout);
        let extent = self.network.graph.input;
        let x = Tensor::<2>::from_primitive::<Flex>(x).autodiff();
        let [rows, cols] = x.dims();
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
            NodeOp::BatchNorm => {
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
            NodeOp::MaxPool(window) => ops::pool(
                first,
                Pool {
                    kind: PoolKind::Max,
                    window: *window,
                    from,
                    to: node.extent,
                },
            ),
            NodeOp::AvgPool(window) => ops::pool(
                first,
                Pool {
                    kind: PoolKind::Average,
                    window: *window,
                    from,
                    to: node.extent,
                },
            ),
            NodeOp::GlobalAvgPool => {
                let window = onebit_model::program::Window::new([from.height, from.width]);
                let pool = Pool {
                    kind: PoolKind::Average,
                    window,
                    from,
                    to: node.extent,
                };
                ops::pool(first, pool)
            }
            NodeOp::ScaleMap { window } => {
                let real = x.remove(0);
                let from = graph.extent(node.inputs[1]);
                let host = real.inner().into_data();
                let host = host.try_to_vec::<f32>().expect("values are f32");
                let map = ops::scale_map(&host, from, node.extent, window);
                ops::multiply_rows(first, map)
            }
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
        let leaf = self.leaf(state.param(Role::Weight));
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

impl Network {
    /// The number meant by code 1 of product `idx`'s operand.
    pub fn unit_of_input(&self, idx: usize) -> f32 {
        match self.kinds[self.graph.nodes[idx].inputs[0]] {
            ValueKind::Levels { unit, .. } => unit,
            _ => 1.0,
        }
    }
}

/// Whether a weight spec is the plain sign, which has a fused step of its own.
pub(crate) fn is_plain_sign(spec: &WeightSpec) -> bool {
    spec.form == WeightName::Sign
        && spec.scale == crate::recipe::layers::ScaleName::None
        && spec.standardise == StandardiseName::None
        && spec.clip == 0.0
}

/// Whether weights of this dropout kind are dropped in a mode.
pub(crate) fn rate_of(dropped: Dropped, mode: &Mode) -> f32 {
    match dropped {
        Dropped::Never => 0.0,
        Dropped::Input => mode.dropout_input,
        Dropped::Hidden => mode.dropout_hidden,
    }
}

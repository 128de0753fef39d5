//! The network being trained: parameters, the training forward pass, the optimizer step.
//!
//! In: a graph and a stage's mode. Out: scores as a Burn tensor with its graph. Evaluation, whose numbers equal
//! the exported Net's bit for bit, is in `evaluate`.

use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;
use onebit_model::net::BatchNorm;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::binarize::{self, BaseRef, CodeKind, WeightContext};
use crate::device::Device;
use crate::graph::{Graph, GraphNode, NodeOp, Product, ValueKind};
use crate::mode::{Mode, WeightForm};
use crate::ops::{
    self, BatchStats, Dropout, Factor, Operand, Pool, PoolKind, Unit, activate, add_bias,
    batch_norm, values,
};
use crate::optim::{Form, Param, Update};
use crate::recipe::layers::{ActivationName, UnitName};
use crate::simd::hash32;

mod initial;
mod pass;

pub use pass::leaf_gradients;

/// Added to a variance before its root.
pub const EPS: f32 = 1e-4;
/// How much of the running statistics one step replaces.
pub const STATS_RATE: f32 = 0.1;
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
    /// Whether the parameter takes the form of its product's weights.
    pub fn has_form(self) -> bool {
        matches!(self, Role::Weight | Role::FormBias)
    }

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
    /// Where training's forward and backward passes are computed.
    pub device: Device,
}

/// What a step did to the weights of one product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flips {
    /// Index of its node.
    pub node: usize,
    /// Weights whose sign changed.
    pub flipped: usize,
    /// All its weights, a bias of their form among them.
    pub weights: usize,
}

/// One training forward pass: the scores, and what the step after it needs.
pub struct Forward {
    /// `[batch, n_classes]`.
    pub scores: Tensor<2>,
    /// One tracked tensor per parameter, in the order of the nodes and their parameters; each has the parameter's
    /// shape, `[rows, cols]` of a weight and `[1, n]` of a vector. [`leaf_gradients`] reads their gradients.
    pub leaves: Vec<Tensor<2>>,
    /// Batch statistics per node; `None` where it is no batch norm.
    pub stats: Vec<Option<BatchStats>>,
    /// Values of the nodes asked for, each `[batch * positions, channels]`.
    pub taps: Vec<Tensor<2>>,
}

impl Network {
    /// A network with Glorot-uniform weights and neutral norms, on the processor; `mode` says what is binary.
    pub fn new(graph: Graph, mode: Mode, seed: u64) -> Network {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let nodes = graph
            .nodes
            .iter()
            .map(|node| initial::node_state(&graph, node, &mut rng))
            .collect();
        let mut network = Network {
            graph,
            nodes,
            mode,
            kinds: Vec::new(),
            progress: 0.0,
            device: Device::default(),
        };
        network.take(None, mode);
        network
    }

    /// Takes over the weights for another stage: forward values follow the new mode, moments restart.
    /// Learned scales start at the weights that are first binarised with them, and weights that are drawn from now on are
    /// scaled to a mean magnitude of 1/2.
    pub fn enter(&mut self, mode: Mode) {
        let before = self.mode;
        self.take(Some(before), mode);
    }

    fn take(&mut self, before: Option<Mode>, mode: Mode) {
        self.mode = mode;
        for (node, state) in self.graph.nodes.iter().zip(&mut self.nodes) {
            let NodeOp::Product(product) = &node.op else {
                continue;
            };
            let before = before.as_ref().map(|before| before.form(product));
            initial::begin(state, product, before, mode.form(product));
        }
        self.progress = 0.0;
        self.kinds = value_kinds(&self.graph, &mode);
        for node in &mut self.nodes {
            for (_, param) in &mut node.params {
                param.reset_moments();
            }
        }
        self.refresh(0);
    }

    /// Whether every parameter and statistic is a finite number.
    pub fn is_finite(&self) -> bool {
        let are = |values: &[f32]| values.iter().all(|v| v.is_finite());
        self.nodes.iter().all(|node| {
            let stats = node.stats.as_ref();
            node.params.iter().all(|(_, param)| are(&param.latent))
                && stats.is_none_or(|stats| are(&stats.mean) && are(&stats.var))
        })
    }

    /// Sets how far the stage has come, in `[0, 1]`.
    pub fn set_progress(&mut self, progress: f32) {
        self.progress = progress;
    }

    /// What value `id` holds in the present stage.
    pub fn kind(&self, id: usize) -> ValueKind {
        self.kinds[id]
    }

    /// Recomputes every forward value from its latent one; `seed` draws stochastic weights. After latent values were
    /// changed by hand this is due before the next pass.
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
        // Shared storage would be copied when the parameter is written.
        self.nodes[idx].factors.clear();
        for i in 0..self.nodes[idx].params.len() {
            let form = self.form(idx, self.nodes[idx].params[i].0);
            self.nodes[idx].params[i].1.refresh(form);
        }
        self.renew_factors(idx, &self.context(idx, seed, training));
    }

    /// How a parameter's forward value follows from its latent one.
    fn form(&self, idx: usize, role: Role) -> Form {
        match &self.graph.nodes[idx].op {
            NodeOp::Product(product) if role.has_form() => self.mode.form(product).simple(),
            _ => Form::Real,
        }
    }

    fn context(&self, idx: usize, seed: u32, training: bool) -> WeightContext {
        WeightContext {
            progress: self.progress,
            seed: hash32(seed, idx as u32),
            training,
        }
    }

    /// The effective weights of a product, from parameters whose values are up to date.
    fn renew_factors(&mut self, idx: usize, context: &WeightContext) {
        let NodeOp::Product(product) = &self.graph.nodes[idx].op else {
            return;
        };
        let form = self.mode.form(product);
        self.nodes[idx].factors = factors(&self.nodes[idx], product, form, context);
    }

    /// Turns the gradients of the forward values, as [`leaf_gradients`] gives them, into those of the latent values:
    /// what an optimizer of your own steps along. `seed` is the step's, as in [`Network::refresh`].
    ///
    /// After its step the latent values are refreshed, and the statistics blended ([`Network::blend_stats`]).
    /// [`Network::step`] does all of this itself.
    ///
    /// # Panics
    /// If `grads` are not one `[rows, cols]` for each parameter, in the order of [`Network::params_mut`].
    pub fn latent_gradients(&self, grads: &mut [FlexTensor], seed: u32) {
        self.check_count(grads);
        let mut rest = grads;
        for (idx, node) in self.nodes.iter().enumerate() {
            let (own, others) = rest.split_at_mut(node.params.len());
            self.to_latent(idx, own, seed);
            for ((role, param), grad) in node.params.iter().zip(own) {
                if self.form(idx, *role) == Form::Tanh {
                    let grad = grad.storage_mut::<f32>().iter_mut();
                    grad.zip(values(&param.value))
                        .for_each(|(g, v)| *g *= 1.0 - v * v);
                }
            }
            rest = others;
        }
    }

    fn check_count(&self, grads: &[FlexTensor]) {
        let n_params: usize = self.nodes.iter().map(|node| node.params.len()).sum();
        assert_eq!(grads.len(), n_params, "one gradient for each parameter");
    }

    /// Takes the gradients of effective weights and auxiliary values on to the latent ones.
    fn to_latent(&self, idx: usize, grads: &mut [FlexTensor], seed: u32) {
        let NodeOp::Product(product) = &self.graph.nodes[idx].op else {
            return;
        };
        let WeightForm::Method(spec) = self.mode.form(product) else {
            return;
        };
        let node = &self.nodes[idx];
        let at = |role| node.params.iter().position(|(r, _)| *r == role);
        let weight_at = at(Role::Weight).expect("a product has weights");
        let weight = &node.params[weight_at].1;
        let (rows, cols) = weight.dims();
        let aux: &[f32] = node.find(Role::Scale).map_or(&[], |p| &p.latent);
        let bases: Vec<BaseRef<'_>> = node
            .factors
            .iter()
            .map(|factor| BaseRef {
                codes: values(&factor.codes),
                scale: factor.scale.as_deref(),
            })
            .collect();
        let context = self.context(idx, seed, true);
        let grad = grads[weight_at].storage_mut::<f32>();
        let latent = &weight.latent;
        let aux_grad =
            binarize::latent_gradient(spec, latent, rows, cols, aux, &bases, &context, grad);
        if let Some(scale_at) = at(Role::Scale) {
            let n = aux_grad.len();
            grads[scale_at] = ops::flex_tensor(aux_grad, 1, n);
        }
    }

    /// The number meant by code 1 of product `idx`'s operand.
    pub fn unit_of_input(&self, idx: usize) -> f32 {
        match self.kinds[self.graph.nodes[idx].inputs[0]] {
            ValueKind::Levels { unit, .. } => unit,
            _ => 1.0,
        }
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
            _ if !self.sums_are_exact(idx, product) => Operand::Real,
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

    /// Applies one optimizer step; returns the sign changes of every product, in the order of the nodes.
    ///
    /// `grads` and `stats` are [`leaf_gradients`] and [`Forward::stats`] of one forward pass; `update` gives the numbers
    /// for the parameter of a node and role; `seed` draws stochastic weights. The scores' graph is best dropped before:
    /// while it holds the weights' values, they are copied instead of changed in place.
    ///
    /// # Panics
    /// If `grads` are not one `[rows, cols]` for each parameter, in the order of [`Network::params_mut`].
    pub fn step(
        &mut self,
        grads: Vec<FlexTensor>,
        stats: &[Option<BatchStats>],
        update: impl Fn(&Network, usize, Role) -> Update,
        seed: u32,
    ) -> Vec<Flips> {
        self.check_count(&grads);
        let mut flips = Vec::new();
        let mut grads = grads.into_iter();
        for idx in 0..self.nodes.len() {
            let n_params = self.nodes[idx].params.len();
            let mut own: Vec<FlexTensor> = grads.by_ref().take(n_params).collect();
            self.to_latent(idx, &mut own, seed);
            // Shared storage would be copied when the parameter is written.
            self.nodes[idx].factors.clear();
            let mut of_node = Flips {
                node: idx,
                flipped: 0,
                weights: 0,
            };
            for (i, grad) in own.iter_mut().enumerate() {
                let role = self.nodes[idx].params[i].0;
                let (update, form) = (update(self, idx, role), self.form(idx, role));
                let param = &mut self.nodes[idx].params[i].1;
                param.clip_rows(grad.storage_mut::<f32>(), update.clip_share);
                let flipped = param.step(values(grad), form, update);
                if role.has_form() {
                    of_node.flipped += flipped;
                    of_node.weights += param.latent.len();
                }
            }
            if of_node.weights > 0 {
                flips.push(of_node);
            }
            self.renew_factors(idx, &self.context(idx, seed.wrapping_add(1), true));
        }
        self.blend_stats(stats, STATS_RATE);
        flips
    }

    /// Moves running statistics towards a batch's by `rate`: [`STATS_RATE`] in [`Network::step`].
    pub fn blend_stats(&mut self, stats: &[Option<BatchStats>], rate: f32) {
        for (node, stats) in self.nodes.iter_mut().zip(stats) {
            if let (Some(running), Some(stats)) = (&mut node.stats, stats) {
                blend(&mut running.mean, &stats.mean, rate);
                blend(&mut running.var, &stats.var, rate);
            }
        }
    }
}

/// Moves `running` towards `batch` by `rate`.
fn blend(running: &mut [f32], batch: &[f32], rate: f32) {
    for (r, b) in running.iter_mut().zip(batch) {
        *r += rate * (b - *r);
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
            NodeOp::Activate { .. } if !mode.encodes() => ValueKind::Real,
            NodeOp::MaxPool(_) => kinds[node.inputs[0]],
            _ => node.kind,
        };
        kinds.push(kind);
    }
    kinds
}

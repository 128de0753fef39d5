//! From a verified Program to steps: which nodes are fused, and which kernel computes what.
//!
//! A step that begins with a convolution, a pool or stored values goes on through every per-element op
//! that is the only reader of the value before it, and may end in the thresholds that read the last one.

use std::sync::Arc;

use onebit_bits::Isa;
use onebit_bits::chain::{ChainOps, FloatWindow, RealThresholds};
use onebit_bits::conv::Geometry;
use onebit_bits::dense::CodeThresholds;
use onebit_model::ProgramTypes;
use onebit_model::program::{
    Conv2d, Cuts, Kind, Node, Op, Program, ThresholdValues, Thresholds, Type, ValueId, Window,
};
use onebit_model::weights::Weights;

use crate::conv::{ConvLayer, dense_as_conv, geometry, image_size, is_listable};
use crate::dense::DenseLayer;
use crate::layout::pixels;
use crate::step::{Action, Chain, Move, Step, When};

/// Lowers a verified Program: the fused steps that the answer needs, and steps of one node each for every
/// value that those leave out, in an order in which operands come first.
pub(crate) fn lower(program: &Program, types: &ProgramTypes, isa: Isa) -> Vec<Step> {
    let graph = Graph::new(program, types, isa);
    let mut fused: Vec<Option<Step>> = (0..program.nodes.len()).map(|_| None).collect();
    let mut is_made = vec![false; program.nodes.len() + 1];
    let mut is_inside = vec![false; program.nodes.len()];
    for idx in 0..program.nodes.len() {
        if is_inside[idx] {
            continue;
        }
        let Some((step, members)) = graph.fuse(idx, &is_inside) else {
            continue;
        };
        let at = members.iter().copied().filter(|&member| {
            !matches!(program.nodes[member].op, Op::Threshold(_)) || step.outputs.len() == 1
        });
        let at = at.max().unwrap_or(idx);
        for member in members {
            is_inside[member] = true;
        }
        for output in &step.outputs {
            is_made[output.0] = true;
        }
        fused[at] = Some(step);
    }
    let mut steps = Vec::with_capacity(program.nodes.len());
    for (idx, node) in program.nodes.iter().enumerate() {
        if !is_made[idx + 1] {
            let mut step = graph.alone(idx, node);
            // A value inside a fused step is only wanted for looking at.
            step.when = if is_inside[idx] {
                When::Layers
            } else {
                When::Always
            };
            steps.push(step);
        }
        steps.extend(fused[idx].take());
    }
    mark_needed(program, &mut steps);
    steps
}

/// Leaves `Always` only to steps that the answer depends on.
fn mark_needed(program: &Program, steps: &mut [Step]) {
    let mut is_needed = vec![false; program.nodes.len() + 1];
    is_needed[program.output.0] = true;
    for step in steps.iter_mut().rev() {
        let feeds = step.outputs.iter().any(|output| is_needed[output.0]);
        if step.when == When::Layers || !feeds {
            step.when = When::Layers;
            continue;
        }
        for input in &step.inputs {
            is_needed[input.0] = true;
        }
    }
}

/// A Program with who reads what.
pub(crate) struct Graph<'a> {
    pub program: &'a Program,
    types: &'a ProgramTypes,
    isa: Isa,
    // Nodes that read each value, once per operand; the answer counts as a reader without a node.
    pub readers: Vec<Vec<usize>>,
    // The kernel of each product and pool, made once for the fused step and the node on its own.
    layers: Vec<Option<Layer>>,
}

/// The kernel of a product or pool.
enum Layer {
    /// A counting product: a dense layer of bits or codes with weights -1, 0 and +1, or a convolution whose
    /// window is the whole image.
    Counted(DenseLayer),
    /// Any other.
    Windows(Arc<ConvLayer>),
}

/// Where a chain begins.
pub(crate) enum Head {
    Conv(Arc<ConvLayer>),
    Stored,
}

impl<'a> Graph<'a> {
    fn new(program: &'a Program, types: &'a ProgramTypes, isa: Isa) -> Self {
        let mut readers = vec![Vec::new(); program.nodes.len() + 1];
        readers[program.output.0].push(usize::MAX);
        for (idx, node) in program.nodes.iter().enumerate() {
            for input in &node.inputs {
                readers[input.0].push(idx);
            }
        }
        let layer = |node| layer(isa, node, types.of(node.inputs[0]));
        Graph {
            program,
            types,
            isa,
            readers,
            layers: program.nodes.iter().map(layer).collect(),
        }
    }

    /// The only reader of a value.
    pub(crate) fn only_reader(&self, value: ValueId) -> Option<&'a Node> {
        match self.readers[value.0][..] {
            [idx] if idx != usize::MAX => Some(&self.program.nodes[idx]),
            _ => None,
        }
    }

    pub(crate) fn kind(&self, value: ValueId) -> Kind {
        self.types.of(value).kind
    }

    /// The fused step that begins at a node, and the nodes in it; `None` where nothing is gained.
    fn fuse(&self, idx: usize, is_inside: &[bool]) -> Option<(Step, Vec<usize>)> {
        let node = &self.program.nodes[idx];
        if let Some(found) = self.fuse_dense(idx, node) {
            return Some(found);
        }
        let (head, source) = (self.head(idx, node)?, node.inputs[0]);
        let first = ValueId(idx + 1);
        if let (Head::Conv(layer), Kind::Int) = (&head, self.kind(first))
            && let Some(next) = self.only_reader(first)
            && let Op::Threshold(thresholds) = &next.op
        {
            let thresholds = layer.thresholds(thresholds)?;
            let next_idx = self.readers[first.0][0];
            let step = Step {
                name: format!("{}+{}", node.name, next.name),
                inputs: vec![source],
                outputs: vec![ValueId(next_idx + 1)],
                action: Action::ConvBits(Arc::clone(layer), thresholds),
                when: When::Always,
            };
            return Some((step, vec![idx, next_idx]));
        }
        self.fuse_chain(idx, head, source, is_inside)
    }

    /// A dense layer on bits or codes and its thresholds.
    fn fuse_dense(&self, idx: usize, node: &Node) -> Option<(Step, Vec<usize>)> {
        let next = self.only_reader(ValueId(idx + 1))?;
        let next_idx = self.readers[idx + 1][0];
        let Op::Threshold(thresholds) = &next.op else {
            return None;
        };
        let Some(Layer::Counted(layer)) = &self.layers[idx] else {
            return None;
        };
        let weights = match &node.op {
            Op::Dense { weights, .. } | Op::Conv2d(Conv2d { weights, .. }) => weights,
            _ => return None,
        };
        let layer = layer.compared(self.isa, weights, thresholds)?;
        let step = Step {
            name: format!("{}+{}", node.name, next.name),
            inputs: node.inputs.clone(),
            outputs: vec![ValueId(next_idx + 1)],
            action: Action::Compared(layer),
            when: When::Always,
        };
        Some((step, vec![idx, next_idx]))
    }

    /// Where a chain may begin at this node.
    fn head(&self, idx: usize, node: &Node) -> Option<Head> {
        if let Some(layer) = &self.layers[idx] {
            return match layer {
                Layer::Windows(layer) => Some(Head::Conv(Arc::clone(layer))),
                Layer::Counted(_) => None,
            };
        }
        let is_int = self.kind(node.inputs[0]) == Kind::Int;
        let is_head = match &node.op {
            Op::Relu if is_int => {
                let next = self.only_reader(ValueId(idx + 1))?;
                matches!(next.op, Op::Affine { .. })
            }
            Op::Affine { .. } | Op::Relu | Op::Clip { .. } => true,
            Op::Prelu { .. } | Op::Rprelu { .. } | Op::Mul => true,
            Op::Add => !is_int,
            Op::Threshold(thresholds) => matches!(thresholds.at, ThresholdValues::Real(_)),
            _ => false,
        };
        is_head.then_some(Head::Stored)
    }

    /// The step of one node.
    fn alone(&self, idx: usize, node: &Node) -> Step {
        Step {
            name: node.name.clone(),
            inputs: node.inputs.clone(),
            outputs: vec![ValueId(idx + 1)],
            action: self.action(idx, node),
            when: When::Always,
        }
    }

    /// A chain of one node, on stored values.
    fn chain_alone(&self, idx: usize, node: &Node) -> Action {
        let mut ops = ChainOps::new();
        let is_op = self.append(idx, node.inputs[0], &mut ops, &mut Vec::new());
        debug_assert!(is_op, "an op of chains");
        Action::Chain(Chain {
            ops,
            ..Chain::reals()
        })
    }

    /// The action of one node on its own.
    fn action(&self, idx: usize, node: &Node) -> Action {
        let input = node.inputs[0];
        let ty = self.types.of(input);
        match &self.layers[idx] {
            Some(Layer::Counted(layer)) => return Action::Scores(layer.clone()),
            Some(Layer::Windows(layer)) => {
                let layer = Arc::clone(layer);
                return match self.kind(ValueId(idx + 1)) {
                    Kind::Int => Action::ConvInts(layer),
                    _ => Action::ConvChain(layer, Chain::reals()),
                };
            }
            None => {}
        }
        match &node.op {
            Op::Dense { weights, bias } => {
                Action::PlainConv(dense_as_conv(weights, bias.as_deref()))
            }
            Op::Conv2d(conv) => Action::PlainConv(conv.clone()),
            Op::Threshold(thresholds) => self.threshold(thresholds, input),
            Op::Quantize { bits, cuts } => quantize(*bits, cuts, ty.kind),
            Op::Planes => match ty.kind {
                Kind::Levels(bits) => Action::Planes(usize::from(bits)),
                _ => unreachable!("verify: planes reads levels"),
            },
            Op::Relu if ty.kind == Kind::Int => Action::ReluInts,
            Op::Add if ty.kind == Kind::Int => Action::AddInts,
            Op::Affine { .. }
            | Op::Relu
            | Op::Clip { .. }
            | Op::Prelu { .. }
            | Op::Rprelu { .. }
            | Op::Add
            | Op::Mul => self.chain_alone(idx, node),
            Op::Concat => Action::Concat,
            Op::ConcatChannels => Action::Move(Move::ConcatChannels),
            Op::Slice { start, .. } => Action::Move(Move::Slice(start.clone())),
            Op::Reshape { .. } => Action::Move(Move::Reshape),
            Op::Transpose { perm } => Action::Move(Move::Transpose(perm.clone())),
            Op::MaxPool(window) => Action::MaxPool(*window),
            Op::AvgPool { window, count_pads } => Action::AvgPool(*window, *count_pads),
            Op::GlobalAvgPool => {
                let [height, width, _] = image_size(ty);
                Action::AvgPool(Window::new([height, width]), false)
            }
            Op::GroupNorm(norm) => Action::GroupNorm(norm.clone()),
            Op::Softmax => Action::Softmax,
            Op::Argmax => Action::Argmax,
        }
    }

    fn threshold(&self, thresholds: &Thresholds, input: ValueId) -> Action {
        let ty = self.types.of(input);
        let Thresholds { at, flip } = thresholds;
        match (at, ty.kind) {
            (ThresholdValues::Int(at), Kind::Levels(_)) => {
                let (px, n) = pixels(ty);
                let elements = (0..px * n).map(|i| (at[i % n], flip[i % n]));
                Action::CodeThreshold(CodeThresholds::new(elements))
            }
            (ThresholdValues::Real(at), _) => Action::Chain(Chain {
                ops: ChainOps::new(),
                stores_reals: false,
                bits: Some(RealThresholds::new(at, flip)),
            }),
            _ => Action::Threshold {
                at: at.clone(),
                flip: flip.clone(),
            },
        }
    }
}

/// The kernel of a node, if it is a product or a pool and has one.
fn layer(isa: Isa, node: &Node, ty: &Type) -> Option<Layer> {
    let conv = match &node.op {
        Op::Dense { weights, bias } => {
            if is_counted(weights, ty.kind) {
                let layer = DenseLayer::new(weights, bias.as_deref(), ty.kind);
                return Some(Layer::Counted(layer));
            }
            let conv = dense_as_conv(weights, bias.as_deref());
            ConvLayer::new(isa, &conv, ty.kind, [1, 1, ty.n_elements()])
        }
        Op::Conv2d(conv) => {
            let size = image_size(ty);
            let whole = Window {
                stride: conv.window.stride,
                ..Window::new([size[0], size[1]])
            };
            if conv.groups == 1 && conv.window == whole && is_counted(&conv.weights, ty.kind) {
                let layer = DenseLayer::new(&conv.weights, conv.bias.as_deref(), ty.kind);
                return Some(Layer::Counted(layer));
            }
            ConvLayer::new(isa, conv, ty.kind, size)
        }
        Op::MaxPool(window) => pool(window, ty, FloatWindow::max_pool),
        Op::AvgPool { window, count_pads } => pool(window, ty, |geometry| {
            FloatWindow::avg_pool(geometry, *count_pads)
        }),
        Op::GlobalAvgPool => {
            let [height, width, _] = image_size(ty);
            pool(&Window::new([height, width]), ty, |geometry| {
                FloatWindow::avg_pool(geometry, false)
            })
        }
        _ => None,
    };
    conv.map(|layer| Layer::Windows(Arc::new(layer)))
}

/// Whether a product is one of counting kernels.
fn is_counted(weights: &Weights, kind: Kind) -> bool {
    matches!(kind, Kind::Bits | Kind::Levels(_)) && weights.sign().is_some()
}

/// A pool of reals in windows that can be listed.
fn pool(window: &Window, ty: &Type, make: impl Fn(Geometry) -> FloatWindow) -> Option<ConvLayer> {
    if ty.kind != Kind::Real {
        return None;
    }
    let size = image_size(ty);
    let geometry = Geometry {
        groups: size[2],
        ..geometry(window, size, size[2], 1, None)
    };
    is_listable(&geometry).then(|| ConvLayer::pool(make(geometry), size))
}

/// Lists of cuts that become tables, at most.
const MAX_TABLES: usize = 4096;

/// Codes are looked up; other kinds are compared with the cuts.
fn quantize(bits: u8, cuts: &Cuts, kind: Kind) -> Action {
    // A table holds 256 codes for each list of cuts, which must not dwarf the Program.
    let (Kind::Levels(_), Cuts::Int(list)) = (kind, cuts) else {
        return Action::Quantize(bits, cuts.clone());
    };
    if list.len() >> bits > MAX_TABLES {
        return Action::Quantize(bits, cuts.clone());
    }
    let sets = list.chunks_exact((1 << bits) - 1);
    let code = |cuts: &[i32], x: i32| cuts.partition_point(|&cut| x >= cut) as u8;
    Action::Table(
        sets.flat_map(|cuts| (0..256).map(move |x| code(cuts, x)))
            .collect(),
    )
}

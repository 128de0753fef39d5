//! From a verified Program to steps: which nodes are fused, and which kernel computes what.
//!
//! A step that begins with a convolution, a pool or stored values goes on through every per-element op
//! that is the only reader of the value before it, and may end in the thresholds that read the last one.

use onebit_bits::Isa;
use onebit_bits::chain::{ChainOps, FloatWindow, RealThresholds};
use onebit_bits::conv::Geometry;
use onebit_bits::dense::CodeThresholds;
use onebit_model::ProgramTypes;
use onebit_model::program::{
    Conv2d, Cuts, Kind, Node, Op, Program, ThresholdValues, Thresholds, ValueId, Window,
};

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
}

/// Where a chain begins.
pub(crate) enum Head {
    Conv(Box<ConvLayer>),
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
        Graph {
            program,
            types,
            isa,
            readers,
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
        let (head, source) = self.head(node)?;
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
                action: Action::ConvBits(*layer.clone(), thresholds),
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
        let Action::Scores(layer) = self.dense(node)? else {
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

    /// The counting product that a node is: a dense layer of bits or codes with weights -1, 0 and +1, or a
    /// convolution whose window is the whole image.
    fn dense(&self, node: &Node) -> Option<Action> {
        let kind = self.kind(node.inputs[0]);
        let (weights, bias) = match &node.op {
            Op::Dense { weights, bias } => (weights, bias),
            Op::Conv2d(conv) if self.is_whole(conv, node) => (&conv.weights, &conv.bias),
            _ => return None,
        };
        let is_counted = matches!(kind, Kind::Bits | Kind::Levels(_)) && weights.sign().is_some();
        is_counted.then(|| Action::Scores(DenseLayer::new(weights, bias.as_deref(), kind)))
    }

    /// Whether a convolution has one window, which is the whole image.
    fn is_whole(&self, conv: &Conv2d, node: &Node) -> bool {
        let [height, width, _] = image_size(self.types.of(node.inputs[0]));
        conv.groups == 1
            && conv.window
                == Window {
                    stride: conv.window.stride,
                    ..Window::new([height, width])
                }
    }

    /// Where a chain may begin at this node, and with which value.
    fn head(&self, node: &Node) -> Option<(Head, ValueId)> {
        let source = node.inputs[0];
        let ty = self.types.of(source);
        match &node.op {
            Op::Dense { weights, bias } if self.dense(node).is_none() => {
                let conv = dense_as_conv(weights, bias.as_deref());
                let layer = ConvLayer::new(self.isa, &conv, ty.kind, [1, 1, ty.n_elements()])?;
                Some((Head::Conv(Box::new(layer)), source))
            }
            Op::Conv2d(conv) if self.dense(node).is_none() => {
                let layer = ConvLayer::new(self.isa, conv, ty.kind, image_size(ty))?;
                Some((Head::Conv(Box::new(layer)), source))
            }
            Op::MaxPool(window) if self.has_pool(source, window) => {
                let pool = FloatWindow::max_pool(self.pool_geometry(source, window));
                Some((
                    Head::Conv(Box::new(ConvLayer::pool(pool, image_size(ty)))),
                    source,
                ))
            }
            Op::AvgPool { window, count_pads } if self.has_pool(source, window) => {
                let pool = FloatWindow::avg_pool(self.pool_geometry(source, window), *count_pads);
                Some((
                    Head::Conv(Box::new(ConvLayer::pool(pool, image_size(ty)))),
                    source,
                ))
            }
            Op::GlobalAvgPool if ty.kind == Kind::Real => {
                let [height, width, _] = image_size(ty);
                let window = Window::new([height, width]);
                if !self.has_pool(source, &window) {
                    return None;
                }
                let pool = FloatWindow::avg_pool(self.pool_geometry(source, &window), false);
                Some((
                    Head::Conv(Box::new(ConvLayer::pool(pool, image_size(ty)))),
                    source,
                ))
            }
            Op::Affine { .. } if matches!(ty.kind, Kind::Int | Kind::Real) => {
                Some((Head::Stored, source))
            }
            Op::Relu if ty.kind == Kind::Int => {
                let next = self.only_reader(ValueId(self.index_of(node) + 1))?;
                matches!(next.op, Op::Affine { .. }).then_some((Head::Stored, source))
            }
            Op::Relu | Op::Clip { .. } | Op::Prelu { .. } | Op::Rprelu { .. } | Op::Mul => {
                Some((Head::Stored, source))
            }
            Op::Add | Op::Threshold(_) if ty.kind == Kind::Real => Some((Head::Stored, source)),
            _ => None,
        }
    }

    pub(crate) fn index_of(&self, node: &Node) -> usize {
        let position = self
            .program
            .nodes
            .iter()
            .position(|other| std::ptr::eq(other, node));
        position.expect("the node is one of the program's")
    }

    /// Whether a kernel pools these values: reals, in windows that can be listed.
    fn has_pool(&self, source: ValueId, window: &Window) -> bool {
        self.kind(source) == Kind::Real
            && is_listable(&Geometry {
                groups: image_size(self.types.of(source))[2],
                ..self.pool_geometry(source, window)
            })
    }

    fn pool_geometry(&self, source: ValueId, window: &Window) -> Geometry {
        let size = image_size(self.types.of(source));
        geometry(window, size, size[2], size[2], None)
    }

    /// The step of one node.
    fn alone(&self, idx: usize, node: &Node) -> Step {
        Step {
            name: node.name.clone(),
            inputs: node.inputs.clone(),
            outputs: vec![ValueId(idx + 1)],
            action: self.action(node),
            when: When::Always,
        }
    }

    /// A chain of one node, on stored values.
    fn chain_alone(&self, node: &Node) -> Action {
        let mut ops = ChainOps::new();
        let mut operands = Vec::new();
        let is_op = self.append(node, node.inputs[0], &mut ops, &mut operands);
        debug_assert!(is_op, "an op of chains");
        Action::Chain(Chain {
            ops,
            in_place: None,
            stores_reals: true,
            bits: None,
        })
    }

    /// The action of one node on its own.
    fn action(&self, node: &Node) -> Action {
        let input = node.inputs[0];
        let ty = self.types.of(input);
        if let Some(action) = self.dense(node) {
            return action;
        }
        match &node.op {
            Op::Dense { weights, bias } => {
                let conv = dense_as_conv(weights, bias.as_deref());
                self.conv_alone(&conv, ty.kind, [1, 1, ty.n_elements()])
            }
            Op::Conv2d(conv) => self.conv_alone(conv, ty.kind, image_size(ty)),
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
            | Op::Mul => self.chain_or_affine(node, ty.kind),
            Op::Concat => Action::Concat,
            Op::ConcatChannels => Action::Move(Move::ConcatChannels),
            Op::Slice { start, .. } => Action::Move(Move::Slice(start.clone())),
            Op::Reshape { .. } => Action::Move(Move::Reshape),
            Op::Transpose { perm } => Action::Move(Move::Transpose(perm.clone())),
            Op::MaxPool(window) if self.has_pool(input, window) => {
                let pool = FloatWindow::max_pool(self.pool_geometry(input, window));
                pool_alone(ConvLayer::pool(pool, image_size(ty)))
            }
            Op::MaxPool(window) => Action::MaxPool(*window),
            Op::AvgPool { window, count_pads } => self.avg_pool(input, window, *count_pads),
            Op::GlobalAvgPool => {
                let [height, width, _] = image_size(ty);
                self.avg_pool(input, &Window::new([height, width]), false)
            }
            Op::Softmax => Action::Softmax,
            Op::Argmax => Action::Argmax,
        }
    }

    /// An affine of bits or codes has a plain form; all others are chains.
    fn chain_or_affine(&self, node: &Node, kind: Kind) -> Action {
        match (&node.op, kind) {
            (Op::Affine { scale, shift }, Kind::Bits | Kind::Levels(_)) => {
                let mut ops = ChainOps::new();
                ops.affine(scale, shift);
                Action::Chain(Chain {
                    ops,
                    in_place: None,
                    stores_reals: true,
                    bits: None,
                })
            }
            _ => self.chain_alone(node),
        }
    }

    fn conv_alone(&self, conv: &Conv2d, kind: Kind, size: [usize; 3]) -> Action {
        let is_real = kind == Kind::Real || conv.weights.is_real();
        match ConvLayer::new(self.isa, conv, kind, size) {
            None => Action::PlainConv(conv.clone()),
            Some(layer) if is_real => pool_alone(layer),
            Some(layer) => Action::ConvInts(layer),
        }
    }

    fn avg_pool(&self, input: ValueId, window: &Window, count_pads: bool) -> Action {
        let ty = self.types.of(input);
        if !self.has_pool(input, window) {
            return Action::AvgPool(*window, count_pads);
        }
        let pool = FloatWindow::avg_pool(self.pool_geometry(input, window), count_pads);
        pool_alone(ConvLayer::pool(pool, image_size(ty)))
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
                in_place: None,
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

/// A convolution or pool of floats without a chain.
fn pool_alone(layer: ConvLayer) -> Action {
    Action::ConvChain(
        layer,
        Chain {
            ops: ChainOps::new(),
            in_place: None,
            stores_reals: true,
            bits: None,
        },
    )
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

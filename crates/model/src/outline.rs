//! The Outline: a Program's structure without its numbers.
//!
//! It is what the text form prints and parses. Weights, thresholds and factors appear only as the
//! names, kinds and shapes of the tensors that hold them in a file; `bnn` joins the two.

use alloc::string::String;
use alloc::vec::Vec;

use crate::program::{Conv2d, Cuts, Op, Program, ThresholdValues, Type, ValueId, Window};
use crate::weights::Weights;

/// A Program's structure: everything but the numbers in its tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct Outline {
    /// As in [`Program`].
    pub name: String,
    /// As in [`Program`].
    pub notes: Vec<(String, String)>,
    /// As in [`Program`].
    pub input: Type,
    /// As in [`Program`], without the numbers.
    pub nodes: Vec<OutlineNode>,
    /// As in [`Program`].
    pub output: ValueId,
}

/// One node of an [`Outline`].
#[derive(Clone, Debug, PartialEq)]
pub struct OutlineNode {
    /// Unique name, the first part of the names of the node's tensors.
    pub name: String,
    /// What is computed.
    pub op: OutlineOp,
    /// The operands.
    pub inputs: Vec<ValueId>,
}

/// An op without its numbers; each variant says which tensors hold them.
#[derive(Clone, Debug, PartialEq)]
pub enum OutlineOp {
    /// The tensors of the weights, with a bias `NAME.bias`.
    Dense {
        /// Kind and size of the weights.
        weights: WeightsOutline,
        /// Whether there is a bias.
        has_bias: bool,
    },
    /// As `Dense`.
    Conv2d(Conv2dOutline),
    /// Tensors `NAME.at` and, if any channel is flipped, `NAME.flip`.
    Threshold {
        /// Integers or reals.
        number: NumberKind,
        /// How many.
        n_channels: usize,
        /// Whether any channel is flipped.
        has_flip: bool,
    },
    /// Tensor `NAME.cuts`.
    Quantize {
        /// Width of the codes.
        bits: u8,
        /// Integers or reals.
        number: NumberKind,
        /// How many channels have cuts of their own; `None` if all share one list.
        n_channels: Option<usize>,
    },
    /// No tensors.
    Planes,
    /// Tensors `NAME.scale` and `NAME.shift`.
    Affine {
        /// How many channels.
        n_channels: usize,
    },
    /// No tensors.
    Relu,
    /// No tensors; the text has the numbers.
    Clip {
        /// As in [`Op::Clip`].
        min: f32,
        /// As in [`Op::Clip`].
        max: f32,
    },
    /// Tensor `NAME.slope`.
    Prelu {
        /// How many channels.
        n_channels: usize,
    },
    /// Tensors `NAME.before`, `NAME.slope` and `NAME.after`.
    Rprelu {
        /// How many channels.
        n_channels: usize,
    },
    /// Tensors `NAME.gamma` and `NAME.beta`; the text has the other numbers.
    GroupNorm {
        /// How many channels.
        n_channels: usize,
        /// As in [`GroupNorm`](crate::program::GroupNorm).
        groups: usize,
        /// As in [`GroupNorm`](crate::program::GroupNorm).
        eps: f32,
    },
    /// No tensors.
    Add,
    /// No tensors.
    Mul,
    /// No tensors.
    Concat,
    /// No tensors.
    ConcatChannels,
    /// No tensors.
    Slice {
        /// As in [`Op::Slice`].
        start: Vec<usize>,
        /// As in [`Op::Slice`].
        size: Vec<usize>,
    },
    /// No tensors.
    Reshape {
        /// As in [`Op::Reshape`].
        shape: Vec<usize>,
    },
    /// No tensors.
    Transpose {
        /// As in [`Op::Transpose`].
        perm: Vec<usize>,
    },
    /// No tensors.
    MaxPool(Window),
    /// No tensors.
    AvgPool {
        /// As in [`Op::AvgPool`].
        window: Window,
        /// As in [`Op::AvgPool`].
        count_pads: bool,
    },
    /// No tensors.
    GlobalAvgPool,
    /// No tensors.
    Softmax,
    /// No tensors.
    Argmax,
}

/// A [`Conv2d`] without its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dOutline {
    /// Kind and size of the weights.
    pub weights: WeightsOutline,
    /// Whether there is a bias.
    pub has_bias: bool,
    /// As in [`Conv2d`].
    pub window: Window,
    /// As in [`Conv2d`].
    pub groups: usize,
    /// As in [`Conv2d`].
    pub pad: i32,
}

/// Whether thresholds or cuts are integers or reals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberKind {
    /// i32.
    Int,
    /// binary32.
    Real,
}

/// What the entries of a weight matrix are, which decides on its tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightKind {
    /// Tensor `NAME.sign`.
    Bits,
    /// Tensors `NAME.sign` and `NAME.mask`.
    Ternary,
    /// Tensors `NAME.plane0` and on, as many.
    Planes(u8),
    /// Tensor `NAME.weights`.
    Int8,
    /// Tensor `NAME.weights`.
    Real,
}

/// Kind and size of a weight matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightsOutline {
    /// What its entries are.
    pub kind: WeightKind,
    /// Outputs.
    pub n_rows: usize,
    /// Inputs.
    pub n_cols: usize,
}

impl WeightsOutline {
    /// The outline of a weight matrix.
    pub fn of(weights: &Weights) -> Self {
        WeightsOutline {
            kind: match weights {
                Weights::Bits(_) => WeightKind::Bits,
                Weights::Ternary { .. } => WeightKind::Ternary,
                Weights::Planes(planes) => WeightKind::Planes(planes.planes().len() as u8),
                Weights::Int8(_) => WeightKind::Int8,
                Weights::Real(_) => WeightKind::Real,
            },
            n_rows: weights.n_rows(),
            n_cols: weights.n_cols(),
        }
    }
}

impl Outline {
    /// The outline of a Program.
    pub fn of(program: &Program) -> Self {
        let node = |node: &crate::program::Node| OutlineNode {
            name: node.name.clone(),
            op: OutlineOp::of(&node.op),
            inputs: node.inputs.clone(),
        };
        Outline {
            name: program.name.clone(),
            notes: program.notes.clone(),
            input: program.input.clone(),
            nodes: program.nodes.iter().map(node).collect(),
            output: program.output,
        }
    }
}

impl OutlineOp {
    /// The outline of an op.
    pub(crate) fn of(op: &Op) -> Self {
        match op {
            Op::Dense { weights, bias } => OutlineOp::Dense {
                weights: WeightsOutline::of(weights),
                has_bias: bias.is_some(),
            },
            Op::Threshold(thresholds) => {
                let (number, n_channels) = match &thresholds.at {
                    ThresholdValues::Int(at) => (NumberKind::Int, at.len()),
                    ThresholdValues::Real(at) => (NumberKind::Real, at.len()),
                };
                let has_flip = thresholds.flip.contains(&true);
                OutlineOp::Threshold {
                    number,
                    n_channels,
                    has_flip,
                }
            }
            Op::Quantize { bits, cuts } => {
                let (number, n) = match cuts {
                    Cuts::Int(cuts) => (NumberKind::Int, cuts.len()),
                    Cuts::Real(cuts) => (NumberKind::Real, cuts.len()),
                };
                let n_lists = n.checked_div(n_cuts(*bits)).unwrap_or(0);
                OutlineOp::Quantize {
                    bits: *bits,
                    number,
                    n_channels: (n_lists > 1).then_some(n_lists),
                }
            }
            Op::Affine { scale, .. } => OutlineOp::Affine {
                n_channels: scale.len(),
            },
            Op::Prelu { slope } => OutlineOp::Prelu {
                n_channels: slope.len(),
            },
            Op::Rprelu { slope, .. } => OutlineOp::Rprelu {
                n_channels: slope.len(),
            },
            Op::GroupNorm(norm) => OutlineOp::GroupNorm {
                n_channels: norm.gamma.len(),
                groups: norm.groups,
                eps: norm.eps,
            },
            Op::Conv2d(conv) => OutlineOp::Conv2d(Conv2dOutline::of(conv)),
            Op::Planes => OutlineOp::Planes,
            Op::Relu => OutlineOp::Relu,
            &Op::Clip { min, max } => OutlineOp::Clip { min, max },
            Op::Add => OutlineOp::Add,
            Op::Mul => OutlineOp::Mul,
            Op::Concat => OutlineOp::Concat,
            Op::ConcatChannels => OutlineOp::ConcatChannels,
            Op::Slice { start, size } => OutlineOp::Slice {
                start: start.clone(),
                size: size.clone(),
            },
            Op::Reshape { shape } => OutlineOp::Reshape {
                shape: shape.clone(),
            },
            Op::Transpose { perm } => OutlineOp::Transpose { perm: perm.clone() },
            &Op::MaxPool(window) => OutlineOp::MaxPool(window),
            &Op::AvgPool { window, count_pads } => OutlineOp::AvgPool { window, count_pads },
            Op::GlobalAvgPool => OutlineOp::GlobalAvgPool,
            Op::Softmax => OutlineOp::Softmax,
            Op::Argmax => OutlineOp::Argmax,
        }
    }
}

/// Number of cuts in one list for codes of `bits` bits.
pub(crate) fn n_cuts(bits: u8) -> usize {
    (1 << bits.min(8)) - 1
}

impl Conv2dOutline {
    fn of(conv: &Conv2d) -> Self {
        Conv2dOutline {
            weights: WeightsOutline::of(&conv.weights),
            has_bias: conv.bias.is_some(),
            window: conv.window,
            groups: conv.groups,
            pad: conv.pad,
        }
    }
}

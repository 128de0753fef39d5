//! The Outline: a Program's structure without its numbers.
//!
//! It is what the text form prints and parses. Weights, thresholds and factors appear only as the
//! names, kinds and shapes of the tensors that hold them in a file; `bnn` joins the two.

use alloc::string::String;
use alloc::vec::Vec;

use crate::program::{Cuts, Op, Program, ThresholdValues, Type, ValueId};
use crate::weights::Weights;

/// A Program's structure: everything but the numbers in its tensors.
#[derive(Clone, Debug, PartialEq, Eq)]
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutlineNode {
    /// Unique name, the first part of the names of the node's tensors.
    pub name: String,
    /// What is computed.
    pub op: OutlineOp,
    /// The operands.
    pub inputs: Vec<ValueId>,
}

/// An op without its numbers; each variant says which tensors hold them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutlineOp {
    /// Tensors `NAME.sign`, for ternary weights `NAME.mask`, with a bias `NAME.bias`.
    Dense {
        /// Kind and size of the weights.
        weights: WeightsOutline,
        /// Whether there is a bias.
        has_bias: bool,
    },
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
    },
    /// No tensors.
    Planes,
    /// Tensors `NAME.scale` and `NAME.shift`.
    Affine {
        /// How many channels.
        n_channels: usize,
    },
    /// No tensors.
    Concat,
    /// No tensors.
    Argmax,
}

/// Whether thresholds or cuts are integers or reals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberKind {
    /// i32.
    Int,
    /// binary32.
    Real,
}

/// Kind and size of a weight matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightsOutline {
    /// Whether there is a mask plane.
    pub is_ternary: bool,
    /// Outputs.
    pub n_rows: usize,
    /// Inputs.
    pub n_cols: usize,
}

impl WeightsOutline {
    /// The outline of a weight matrix.
    pub fn of(weights: &Weights) -> Self {
        WeightsOutline {
            is_ternary: matches!(weights, Weights::Ternary { .. }),
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
    fn of(op: &Op) -> Self {
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
                let number = match cuts {
                    Cuts::Int(_) => NumberKind::Int,
                    Cuts::Real(_) => NumberKind::Real,
                };
                OutlineOp::Quantize {
                    bits: *bits,
                    number,
                }
            }
            Op::Planes => OutlineOp::Planes,
            Op::Affine { scale, .. } => OutlineOp::Affine {
                n_channels: scale.len(),
            },
            Op::Concat => OutlineOp::Concat,
            Op::Argmax => OutlineOp::Argmax,
        }
    }
}

//! The steps of a Plan: one op or several fused ones, with everything precomputed.
//!
//! Owns what a step is. Which nodes become which steps is decided in `lower`; execution is in `execute`.

use std::sync::Arc;

use onebit_bits::chain::{ChainOps, RealThresholds};
use onebit_bits::conv::ConvThresholds;
use onebit_bits::dense::CodeThresholds;
use onebit_model::program::{Conv2d, Cuts, GroupNorm, ThresholdValues, ValueId, Window};

use crate::conv::ConvLayer;
use crate::dense::DenseLayer;

/// What a step computes.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Flat bits or codes to integer sums.
    Scores(DenseLayer),
    /// Flat bits or codes to flat bits: a dense layer and the thresholds after it.
    Compared(DenseLayer),
    /// An image to integer sums.
    ConvInts(Arc<ConvLayer>),
    /// An image to bits: a convolution and the thresholds after it.
    ConvBits(Arc<ConvLayer>, ConvThresholds),
    /// An image to reals, bits or both: a convolution or pool and the chain after it.
    ConvChain(Arc<ConvLayer>, Chain),
    /// Any kind but bits to reals, bits or both.
    Chain(Chain),
    /// A convolution or dense layer of another form, in plain loops.
    PlainConv(Conv2d),
    /// Codes to flat bits.
    CodeThreshold(CodeThresholds),
    /// Integers, codes or reals to bits.
    Threshold {
        at: ThresholdValues,
        flip: Vec<bool>,
    },
    /// Any kind to codes of so many bits.
    Quantize(u8, Cuts),
    /// Codes to codes, by a table of 256 for every channel or for all.
    Table(Vec<u8>),
    /// Codes of so many bits to bits.
    Planes(usize),
    /// Bits to bits.
    Concat,
    /// Any kind to the same, elements moved.
    Move(Move),
    /// Bits, codes or integers to the same: the greatest of a window.
    MaxPool(Window),
    /// Bits, codes or integers to reals: the average of a window.
    AvgPool(Window, bool),
    /// Integers below zero become zero.
    ReluInts,
    /// Integers, added.
    AddInts,
    /// Reals to reals.
    GroupNorm(GroupNorm),
    /// Reals to reals.
    Softmax,
    /// Integers or reals to an index.
    Argmax,
}

/// An op that only moves elements.
#[derive(Clone, Debug)]
pub(crate) enum Move {
    /// Joins operands along the channels.
    ConcatChannels,
    /// A block that begins here.
    Slice(Vec<usize>),
    /// Nothing moves, or bits change their layout.
    Reshape,
    /// Axes change places.
    Transpose(Vec<usize>),
}

/// A chain of operations on floats and where it leads.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    /// The operations; operand `i` is the step's input `i + 1`, and no two are the same value.
    pub ops: ChainOps,
    /// Whether the floats are stored, in the step's first output.
    pub stores_reals: bool,
    /// Comparisons, stored in the step's last output.
    pub bits: Option<RealThresholds>,
}

impl Chain {
    /// No operations: reals that are stored.
    pub(crate) fn reals() -> Self {
        Chain {
            ops: ChainOps::new(),
            stores_reals: true,
            bits: None,
        }
    }
}

/// When a step is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// In every run: the answer depends on it.
    Always,
    /// Only when every layer's value is asked for.
    Layers,
}

/// One step of a Plan.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// Names of the nodes, joined by `+`.
    pub name: String,
    /// The operands: of a chain, what it begins with, then those of its operations.
    pub inputs: Vec<ValueId>,
    /// The values computed.
    pub outputs: Vec<ValueId>,
    /// How.
    pub action: Action,
    /// When.
    pub when: When,
}

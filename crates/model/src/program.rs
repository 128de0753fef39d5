//! The Program: the deployable form of a network, a list of typed ops over bits and integers.
//!
//! Owns the closed set of ops and their types. What an op means to the bit is written in FORMAT.md
//! and defined in code by `interpreter`; whether a Program is well formed is decided by `verify`.

use alloc::string::String;
use alloc::vec::Vec;

use crate::weights::Weights;

/// What one element of a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// -1 or +1, stored as one bit: 1 is +1, 0 is -1.
    Bits,
    /// An unsigned code of this many bits, 1 to 8. A grey pixel is `Levels(8)`.
    Levels(u8),
    /// A 32-bit signed integer.
    Int,
    /// An IEEE binary32 number.
    Real,
}

/// The type of a value: what an element is, and how many there are per image.
///
/// Shapes exclude the batch axis and are channels last: `[features]` or `[height, width, channels]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Type {
    /// What one element is.
    pub kind: Kind,
    /// Sizes per axis, channels last. All are at least 1.
    pub shape: Vec<usize>,
}

impl Type {
    /// Number of elements per image.
    pub fn n_elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Names a value: 0 is the Program's input, `i + 1` is what node `i` computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueId(pub usize);

/// One step of a Program.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Unique, non-empty name: letters, digits, `_`, `.` and `-`.
    pub name: String,
    /// What is computed.
    pub op: Op,
    /// The operands, each an earlier value.
    pub inputs: Vec<ValueId>,
}

/// The closed set of operations.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// `bits` or `levels(k)` of any shape to `int[rows]`: `out[r] = bias[r] + sum_c weights[r][c] * x[c]`,
    /// where `x` is the operand flattened in row-major, channels-last order.
    Dense {
        /// One row per output, one column per input element.
        weights: Weights,
        /// One integer per row; `None` is all zeros.
        bias: Option<Vec<i32>>,
    },
    /// Any kind but bits, `[.., c]` to `bits[.., c]`: compares each element with its channel's threshold.
    Threshold(Thresholds),
    /// `int`, `real` or `levels` `[.., c]` to `levels(bits)[.., c]`: the code is the number of cuts
    /// `x >= cut` that hold. There are `2^bits - 1` ascending cuts, shared by all channels.
    Quantize {
        /// Width of the resulting codes, 1 to 8.
        bits: u8,
        /// Ascending cuts.
        cuts: Cuts,
    },
    /// `levels(k)` of any shape, flattened to `n` elements, to `bits[n * k]`: bit plane 0 (least
    /// significant) of all elements first, then plane 1, and so on; a set bit is +1.
    Planes,
    /// `int[.., c]` to `real[.., c]`: `scale[c] * (x as f32) + shift[c]`; conversion, product and sum
    /// round once each, no FMA.
    Affine {
        /// One finite factor per channel.
        scale: Vec<f32>,
        /// One finite addend per channel.
        shift: Vec<f32>,
    },
    /// One or more `bits` values of any shape to one of rank 1: flattened and joined in operand order.
    Concat,
    /// `int[c]` or `real[c]` to `int[1]`: index of the greatest element, the lowest on a tie.
    Argmax,
}

/// Per-channel comparison `(x >= at) != flip`.
///
/// A channel that is always +1 has `at` = `i32::MIN` (or -infinity) and no flip; one that is always -1 has the
/// same `at` with flip.
#[derive(Clone, Debug, PartialEq)]
pub struct Thresholds {
    /// What `x` is compared with, one per channel.
    pub at: ThresholdValues,
    /// Whether the channel's answer is inverted (the direction of a negative batch-norm gain).
    pub flip: Vec<bool>,
}

/// The thresholds themselves: integers for `int` and `levels` operands, reals for `real` ones.
#[derive(Clone, Debug, PartialEq)]
pub enum ThresholdValues {
    /// Compared with an `int` or `levels` operand.
    Int(Vec<i32>),
    /// Compared with a `real` operand; never NaN.
    Real(Vec<f32>),
}

/// Cuts of a [`Op::Quantize`], of the operand's own kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Cuts {
    /// For `int` and `levels` operands.
    Int(Vec<i32>),
    /// For `real` operands; never NaN.
    Real(Vec<f32>),
}

/// A bitwise program: one input, nodes in order, one output.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// A short name for people.
    pub name: String,
    /// Type of value 0.
    pub input: Type,
    /// The steps, each using only earlier values.
    pub nodes: Vec<Node>,
    /// The value that is the answer.
    pub output: ValueId,
    /// Free-form notes, such as the data set and the class names, in key order.
    pub notes: Vec<(String, String)>,
}

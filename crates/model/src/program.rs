//! The Program: the deployable form of a network, a list of typed ops over bits, integers and reals.
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
    /// Any kind and shape to `int[rows]` or `real[rows]`: `out[r] = bias[r] + sum_c weights[r][c] * x[c]`, where
    /// `x` is the operand flattened in row-major, channels-last order.
    ///
    /// The result is real when the operand or the weights are, and then there is no bias; else it is int.
    Dense {
        /// One row per output, one column per input element.
        weights: Weights,
        /// One integer per row; `None` is all zeros.
        bias: Option<Vec<i32>>,
    },
    /// `[h, w, c]` to `[oh, ow, rows]`: the product of [`Op::Dense`] at every position of a window.
    Conv2d(Conv2d),
    /// Any kind but bits, `[.., c]` to `bits[.., c]`: compares each element with its channel's threshold.
    Threshold(Thresholds),
    /// Any kind `[.., c]` to `levels(bits)[.., c]`: the code is the number of cuts `x >= cut` that hold.
    /// There are `2^bits - 1` ascending cuts, shared by all channels or one list after the other for each.
    Quantize {
        /// Width of the resulting codes, 1 to 8.
        bits: u8,
        /// Ascending cuts, `2^bits - 1` or `c` times as many, channel by channel.
        cuts: Cuts,
    },
    /// `levels(k)` of any shape, flattened to `n` elements, to `bits[n * k]`: bit plane 0 (least
    /// significant) of all elements first, then plane 1, and so on; a set bit is +1.
    Planes,
    /// Any kind `[.., c]` to `real[.., c]`: `scale[c] * (x as f32) + shift[c]`; conversion, product and sum
    /// round once each, no FMA.
    Affine {
        /// One finite factor per channel.
        scale: Vec<f32>,
        /// One finite addend per channel.
        shift: Vec<f32>,
    },
    /// `int` or `real` to the same: `x` where `x > 0`, else 0.
    Relu,
    /// `real` to `real`: `max` where the greater of `x` and `min` is not below `max`; see FORMAT.md for NaN.
    Clip {
        /// Least result; finite or -infinity.
        min: f32,
        /// Greatest result; finite or infinity, not below `min`.
        max: f32,
    },
    /// `real[.., c]` to the same: `x` where `x >= 0`, else `slope[c] * x` (PReLU; He et al. 2015).
    Prelu {
        /// One finite slope per channel.
        slope: Vec<f32>,
    },
    /// `real[.., c]` to the same: `prelu(x + before[c]) + after[c]` (RPReLU; ReActNet, Liu et al. 2020).
    Rprelu {
        /// One finite addend per channel, before the slope.
        before: Vec<f32>,
        /// One finite slope per channel.
        slope: Vec<f32>,
        /// One finite addend per channel, after the slope.
        after: Vec<f32>,
    },
    /// `real[.., c]` to the same: group normalisation.
    GroupNorm(GroupNorm),
    /// Two values of one type, both `int` or both `real`: their sum, element by element.
    Add,
    /// Two values of one type, both `real`: their product, element by element.
    Mul,
    /// One or more `bits` values of any shape to one of rank 1: flattened and joined in operand order.
    Concat,
    /// One or more values of one kind whose shapes differ in the last axis only: joined along it.
    ConcatChannels,
    /// Any kind: the block of `size` elements per axis that begins at `start`.
    Slice {
        /// First index on each axis.
        start: Vec<usize>,
        /// Number of elements on each axis.
        size: Vec<usize>,
    },
    /// Any kind to the same elements in the same order under another shape.
    Reshape {
        /// The new shape, of as many elements.
        shape: Vec<usize>,
    },
    /// Any kind: axis `i` of the result is axis `perm[i]` of the operand.
    Transpose {
        /// A permutation of the operand's axes.
        perm: Vec<usize>,
    },
    /// Any kind `[h, w, c]` to `[oh, ow, c]`: the greatest element of each window (on bits: OR). Padding is never it.
    MaxPool(Window),
    /// Any kind `[h, w, c]` to `real[oh, ow, c]`: the sum of each window divided by a count.
    AvgPool {
        /// Where it looks.
        window: Window,
        /// Whether padded positions, whose value is zero, are counted in the divisor.
        count_pads: bool,
    },
    /// Any kind `[h, w, c]` to `real[c]`: the average over the whole image.
    GlobalAvgPool,
    /// `real[.., c]` to the same: the softmax over the last axis, with the exponential of FORMAT.md.
    Softmax,
    /// `int[c]` or `real[c]` to `int[1]`: index of the greatest element, the lowest on a tie.
    Argmax,
}

impl Op {
    /// The name of the op, as the text of a Program writes it.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Dense { .. } => "dense",
            Op::Conv2d(_) => "conv2d",
            Op::Threshold(_) => "threshold",
            Op::Quantize { .. } => "quantize",
            Op::Planes => "planes",
            Op::Affine { .. } => "affine",
            Op::Relu => "relu",
            Op::Clip { .. } => "clip",
            Op::Prelu { .. } => "prelu",
            Op::Rprelu { .. } => "rprelu",
            Op::Add => "add",
            Op::Mul => "mul",
            Op::Concat => "concat",
            Op::ConcatChannels => "concat_channels",
            Op::Slice { .. } => "slice",
            Op::Reshape { .. } => "reshape",
            Op::Transpose { .. } => "transpose",
            Op::MaxPool(_) => "max_pool",
            Op::AvgPool { .. } => "avg_pool",
            Op::GlobalAvgPool => "global_avg_pool",
            Op::GroupNorm(_) => "group_norm",
            Op::Softmax => "softmax",
            Op::Argmax => "argmax",
        }
    }
}

/// A two-dimensional convolution (a cross-correlation, as in every framework).
///
/// Output channel `r` belongs to group `r / (rows / groups)` and reads the `c / groups` channels of that group.
/// `weights` has one row per output channel; its columns are ordered kernel row, kernel column, channel of the
/// group. `groups == c` is a depthwise convolution.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv2d {
    /// One row per output channel, `kernel height * kernel width * c / groups` columns.
    pub weights: Weights,
    /// One integer per row where the result is int; `None` is all zeros.
    pub bias: Option<Vec<i32>>,
    /// Where it looks.
    pub window: Window,
    /// Number of groups; divides the channels of the operand and the rows.
    pub groups: usize,
    /// Value of every element outside the image: -1, 0 (exact) or 1 for bits, a code for levels,
    /// any integer of magnitude up to 2^24 for int and real.
    pub pad: i32,
}

/// Group normalisation of one example (Wu & He 2018).
///
/// The channels are cut into `groups` runs of equal length. Over all positions and channels of a group, in
/// row-major order: `mean = sum(x) / n`; `var = sum((x - mean) * (x - mean)) / n`, sums from +0.0;
/// `y = ((x - mean) / sqrt(var + eps)) * gamma[c] + beta[c]`; each operation rounded once.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupNorm {
    /// Number of groups; divides the channels.
    pub groups: usize,
    /// Gain, one finite number per channel.
    pub gamma: Vec<f32>,
    /// Offset, one finite number per channel.
    pub beta: Vec<f32>,
    /// Added to the variance; finite, not negative.
    pub eps: f32,
}

/// A window that slides over an image; all pairs are `[height, width]`.
///
/// Tap `(i, j)` at output position `(y, x)` reads row `y * stride[0] + i * dilation[0] - pads[0]` and column
/// `x * stride[1] + j * dilation[1] - pads[1]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Taps.
    pub kernel: [usize; 2],
    /// Step between output positions.
    pub stride: [usize; 2],
    /// Step between taps.
    pub dilation: [usize; 2],
    /// Rows and columns added around the image: top, left, bottom, right.
    pub pads: [usize; 4],
}

impl Window {
    /// A window of stride 1 without dilation and padding.
    pub const fn new(kernel: [usize; 2]) -> Self {
        Window {
            kernel,
            stride: [1, 1],
            dilation: [1, 1],
            pads: [0; 4],
        }
    }

    /// Output positions on each axis over an image of `size`; `None` if the window does not fit.
    pub fn output(&self, size: [usize; 2]) -> Option<[usize; 2]> {
        let axis = |axis: usize| {
            let padded = size[axis]
                .checked_add(self.pads[axis])?
                .checked_add(self.pads[axis + 2])?;
            let reach = self.kernel[axis]
                .checked_sub(1)?
                .checked_mul(self.dilation[axis])?
                .checked_add(1)?;
            padded
                .checked_sub(reach)?
                .checked_div(self.stride[axis])?
                .checked_add(1)
        };
        Some([axis(0)?, axis(1)?])
    }

    /// The row or column that tap `tap` reads at output position `at` of an image of `size`; `None` in the padding.
    pub fn source(&self, axis: usize, at: usize, tap: usize, size: usize) -> Option<usize> {
        let padded = at * self.stride[axis] + tap * self.dilation[axis];
        padded
            .checked_sub(self.pads[axis])
            .filter(|&index| index < size)
    }
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
    /// For `bits` (-1 and +1), `int` and `levels` operands.
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

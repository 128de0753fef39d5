//! The Net: a trained network as a plain description with float parameters.
//!
//! `train` writes it, `compile` lowers it. Its evaluation in binary32, exactly as training evaluates
//! it, is in `evaluate`. Weights are held as training's forward pass used them (after
//! binarisation); the real-valued copies that training keeps live in its checkpoints only.

use alloc::string::String;
use alloc::vec::Vec;

use crate::program::Type;
use crate::weights::Weights;

/// A trained network.
#[derive(Clone, Debug, PartialEq)]
pub struct Net {
    /// A short name for people.
    pub name: String,
    /// Type of what goes in: `levels(8)` pixels of rank 1 or 3, or `real` features of rank 1.
    pub input: Type,
    /// How the input becomes the first layer's operand.
    pub encoder: Encoder,
    /// The layers, first to last; the last one has [`Activation::Scores`].
    pub layers: Vec<Layer>,
    /// Free-form notes, such as the data set and the class names, in key order.
    pub notes: Vec<(String, String)>,
}

/// How an input becomes the first layer's operand. The input is flattened first.
#[derive(Clone, Debug, PartialEq)]
pub enum Encoder {
    /// `levels(8)[n]` to `bits[n]`: +1 where the pixel is at least `at`, else -1.
    Sign {
        /// The least pixel that counts as +1.
        at: u8,
    },
    /// `levels(8)[n]` to `levels(1)[n]`: 1 where the pixel is at least `at`, else 0.
    ZeroOne {
        /// The least pixel that counts as 1.
        at: u8,
    },
    /// `levels(8)[n]` to `bits[n * bits]`: the `bits` most significant bits of each pixel, each a
    /// bipolar input of its own, in the order of the Program op `planes`.
    FixedPoint {
        /// How many of the most significant bits are kept, 1 to 8.
        bits: u8,
    },
    /// `levels(8)[n]` to `bits[n * cuts]`: for each cut in order, all pixels compared `>= cut`.
    Thermometer {
        /// Ascending cuts.
        cuts: Vec<u8>,
    },
    /// `real[n]` to `bits[n * m]`: for each `j < m`, all features compared `x[i] >= cuts[j][i]`.
    RealThermometer {
        /// `[m][n]` cuts, ascending in `j` for every feature; never NaN.
        cuts: Vec<Vec<f32>>,
    },
    /// `levels(8)[n]` as it is.
    Levels,
}

impl Encoder {
    /// Number of elements the first layer sees, for an input of `n` elements.
    pub fn n_outputs(&self, n: usize) -> usize {
        match self {
            Encoder::Sign { .. } | Encoder::ZeroOne { .. } | Encoder::Levels => n,
            Encoder::FixedPoint { bits } => n * usize::from(*bits),
            Encoder::Thermometer { cuts } => n * cuts.len(),
            Encoder::RealThermometer { cuts } => n * cuts.len(),
        }
    }
}

/// One fully connected layer: `acc = weights . x + bias`, then the optional norm, then the activation.
///
/// All arithmetic is binary32, one rounding per operation. `acc` is always an integer below 2^24, so it
/// is exact in any order of summation.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Unique name: letters, digits, `_` and `-`; lowering adds `.sign` and the like.
    pub name: String,
    /// One row per output.
    pub weights: Weights,
    /// Integer-valued bias, one per output (Kim & Smaragdis: -1, 0 or +1).
    pub bias: Option<Vec<i32>>,
    /// Batch normalisation in evaluation mode.
    pub norm: Option<BatchNorm>,
    /// What follows.
    pub activation: Activation,
}

/// What follows a layer's sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// +1 where the value is >= 0 (so -0 and +0 both give +1), else -1.
    Sign,
    /// The value itself: the network's scores.
    Scores,
}

/// Batch normalisation with fixed statistics, one entry of each per output.
///
/// `scale = gamma / sqrt(var + eps)`, `shift = beta - mean * scale`, `y = acc * scale + shift`:
/// each `/ sqrt + - *` is one binary32 operation, rounded once.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNorm {
    /// Gain.
    pub gamma: Vec<f32>,
    /// Offset.
    pub beta: Vec<f32>,
    /// Running mean.
    pub mean: Vec<f32>,
    /// Running variance, not negative.
    pub var: Vec<f32>,
    /// Added to the variance.
    pub eps: f32,
}

impl BatchNorm {
    /// The factor and addend of one channel, as evaluation computes them.
    ///
    /// `sqrt` is the host's correctly rounded square root, handed in because `core` has none.
    pub fn scale_shift(&self, channel: usize, sqrt: fn(f32) -> f32) -> (f32, f32) {
        let scale = self.gamma[channel] / sqrt(self.var[channel] + self.eps);
        let shift = self.beta[channel] - self.mean[channel] * scale;
        (scale, shift)
    }
}

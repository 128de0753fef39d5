//! The network as a graph of steps with known shapes: what a recipe's layers become for one input.
//!
//! In: a recipe's model, the type of the encoded input, the number of classes. Out: a [`Graph`], or one error
//! that names the layer and both shapes. Parameters are `network`'s, arithmetic is `ops`'.

use onebit_model::program::Window;

use crate::recipe::layers::{ActivationName, ActivationSpec, NormName, UnitName, WeightSpec};
use crate::recipe::{Norm, RecipeError};

mod build;
mod joins;
mod limits;
mod norms;

pub use build::build;

/// Rows, columns and channels of a value; `[1, 1, n]` for features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Rows of an image.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Channels.
    pub channels: usize,
}

impl Extent {
    /// Features without positions.
    pub fn flat(channels: usize) -> Extent {
        Extent {
            height: 1,
            width: 1,
            channels,
        }
    }

    /// Positions of an image.
    pub fn positions(&self) -> usize {
        self.height * self.width
    }

    /// Elements of one example.
    pub fn elements(&self) -> usize {
        self.positions() * self.channels
    }
}

impl std::fmt::Display for Extent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{}, {}, {}]", self.height, self.width, self.channels)
    }
}

/// What the elements of a value are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValueKind {
    /// -1 and +1.
    Bits,
    /// Codes from 0 to `2^bits - 1`; the number meant is the code times `unit`.
    Levels {
        /// Width of a code.
        bits: u8,
        /// Value of code 1.
        unit: f32,
    },
    /// Any real number.
    Real,
}

/// A product of weights with an operand.
#[derive(Clone, Debug, PartialEq)]
pub struct Product {
    /// Dense or convolution.
    pub shape: ProductShape,
    /// How the weights follow from their real copies.
    pub weights: WeightSpec,
    /// Whether weights follow the stage instead of `weights`: the short form `[model]`.
    pub follows_stage: bool,
    /// Whether there is a bias of the weights' form (Kim & Smaragdis).
    pub bias: bool,
    /// Which dropout, if any, its operand went through.
    pub dropped: Dropped,
}

/// The shape of a product.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ProductShape {
    /// `[n_in]` to `[n_out]`.
    Dense {
        /// Elements of the operand.
        n_in: usize,
        /// Outputs.
        n_out: usize,
    },
    /// `[h, w, c]` to `[oh, ow, rows]`.
    Conv {
        /// Shape of the operand.
        from: Extent,
        /// Shape of the result.
        to: Extent,
        /// Where it looks.
        window: Window,
        /// Groups.
        groups: usize,
        /// Value of elements outside the image, in the operand's codes.
        pad: i32,
    },
}

impl ProductShape {
    /// Rows of the weight matrix.
    pub fn n_rows(&self) -> usize {
        match self {
            ProductShape::Dense { n_out, .. } => *n_out,
            ProductShape::Conv { to, .. } => to.channels,
        }
    }

    /// Columns of the weight matrix: terms of one sum.
    pub fn n_cols(&self) -> usize {
        match self {
            ProductShape::Dense { n_in, .. } => *n_in,
            ProductShape::Conv {
                from,
                window,
                groups,
                ..
            } => window.kernel[0] * window.kernel[1] * from.channels / groups,
        }
    }
}

/// Dropout on the operand of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// None.
    Never,
    /// The stage's `dropout_input`.
    Input,
    /// The stage's `dropout_hidden`.
    Hidden,
}

/// What a node computes.
#[derive(Clone, Debug, PartialEq)]
pub enum NodeOp {
    /// `x * scale + shift` with fixed numbers: pixels to `[-1, 1]`.
    Rescale {
        /// Factor.
        scale: f32,
        /// Addend.
        shift: f32,
    },
    /// Weights times operand.
    Product(Product),
    /// A real bias per channel.
    Bias,
    /// Batch normalisation.
    BatchNorm {
        /// Whether it is deployed with integers, see `Network::deployed_norm`.
        is_integer: bool,
    },
    /// Group normalisation.
    GroupNorm {
        /// Number of groups.
        groups: usize,
    },
    /// Codes from reals.
    Activate {
        /// Which codes.
        spec: ActivationSpec,
        /// Whether the stage's `dropout_hidden` follows.
        drops: bool,
    },
    /// A real-valued unit.
    Unit(UnitName),
    /// Sum of two values.
    Add,
    /// The operand beside itself until it has as many channels.
    Repeat {
        /// How many times.
        times: usize,
    },
    /// Maximum over windows.
    MaxPool(Window),
    /// Average over windows, padding not counted.
    AvgPool(Window),
    /// Average over the image.
    GlobalAvgPool,
    /// XNOR-Net's K: the first operand times the mean magnitude of the second under each window, where that is
    /// binarised; real stages leave the first as it is.
    ScaleMap {
        /// The convolution's window.
        window: Window,
    },
    /// DoReFa's gradient quantiser: the operand; its gradient is rounded to this many bits.
    QuantiseGradient {
        /// Width of a gradient's code.
        bits: u8,
    },
}

/// A step of the network.
#[derive(Clone, Debug, PartialEq)]
pub struct GraphNode {
    /// Unique name; the Net's layers have it too.
    pub name: String,
    /// What is computed.
    pub op: NodeOp,
    /// Operands: 0 is the encoded input, `i + 1` what node `i` computes.
    pub inputs: Vec<usize>,
    /// Shape of the result.
    pub extent: Extent,
    /// What its elements are.
    pub kind: ValueKind,
}

/// A network's steps, each after those it reads; the last one gives the scores.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    /// Shape of the encoded input.
    pub input: Extent,
    /// What its elements are.
    pub input_kind: ValueKind,
    /// The steps.
    pub nodes: Vec<GraphNode>,
}

impl Graph {
    /// Shape of value `id`.
    pub fn extent(&self, id: usize) -> Extent {
        match id {
            0 => self.input,
            _ => self.nodes[id - 1].extent,
        }
    }

    /// Kind of value `id`.
    pub fn kind(&self, id: usize) -> ValueKind {
        match id {
            0 => self.input_kind,
            _ => self.nodes[id - 1].kind,
        }
    }
}

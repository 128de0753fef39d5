//! Chains of operations on floats, channels last, run on stored values, on pools, or on the sums of a
//! convolution while they are in registers.
//!
//! Owns [`ChainOps`], the operations with their numbers, and the loops over stored values. Floats or
//! integers come in; floats, packed comparisons or both go out. Every operation is one IEEE binary32
//! operation, rounded once, in the same order on every tier.

use alloc::vec;
use alloc::vec::Vec;

use crate::aligned::halves_mut;
use crate::conv::{Geometry, SLACK};
use crate::dispatch::dispatch_lanes;
use crate::generic::conv::Rect;
use crate::generic::finish::{Chain, RealBits, Stage};
use crate::generic::pixels::{Reduce, Spot, Values, Windows};
use crate::isa::{Isa, Tier};

/// Operations on floats, in order. Lists are one entry per channel.
#[derive(Clone, Debug, Default)]
pub struct ChainOps {
    relu: bool,
    stages: Vec<Stage>,
}

impl ChainOps {
    /// No operations.
    pub fn new() -> Self {
        ChainOps::default()
    }

    /// Whether nothing is done.
    pub fn is_empty(&self) -> bool {
        self.stages.is_empty() && !self.relu
    }

    /// Number of operations.
    pub fn len(&self) -> usize {
        self.stages.len() + usize::from(self.relu)
    }

    /// Integers below zero become zero before they become floats.
    pub fn relu_of_ints(&mut self) {
        self.relu = true;
    }

    /// `x` where `x > 0`, else 0.
    pub fn relu(&mut self) {
        self.stages.push(Stage::Relu);
    }

    /// `t = x > min ? x : min`, then `t < max ? t : max`.
    pub fn clip(&mut self, min: f32, max: f32) {
        self.stages.push(Stage::Clip(min, max));
    }

    /// `scale * x + shift`.
    pub fn affine(&mut self, scale: &[f32], shift: &[f32]) {
        self.stages
            .push(Stage::Affine(padded(scale), padded(shift)));
    }

    /// `x` where `x >= 0`, else `slope * x`.
    pub fn prelu(&mut self, slope: &[f32]) {
        self.stages.push(Stage::Prelu(padded(slope)));
    }

    /// `x + shift`.
    pub fn shift(&mut self, shift: &[f32]) {
        self.stages.push(Stage::Shift(padded(shift)));
    }

    /// `x` plus the operand of this index.
    pub fn add(&mut self, operand: usize) {
        self.stages.push(Stage::Add(operand));
    }

    /// `x` times the operand of this index.
    pub fn mul(&mut self, operand: usize) {
        self.stages.push(Stage::Mul(operand));
    }
}

/// A per-channel list with the entries that whole registers read past its end.
pub(crate) fn padded(list: &[f32]) -> Vec<f32> {
    let mut padded = list.to_vec();
    padded.resize(list.len() + SLACK, 0.0);
    padded
}

/// Thresholds of floats: channel `c` answers `(x >= at[c]) != flip[c]`.
#[derive(Clone, Debug)]
pub struct RealThresholds {
    at: Vec<f32>,
    flip: Vec<u32>,
}

impl RealThresholds {
    /// One threshold and flip for each channel.
    pub fn new(at: &[f32], flip: &[bool]) -> Self {
        assert_eq!(at.len(), flip.len(), "a flip for each threshold");
        let mut words = vec![0; at.len().div_ceil(32) + 2];
        for (channel, &flip) in flip.iter().enumerate() {
            words[channel / 32] |= u32::from(flip) << (channel % 32);
        }
        RealThresholds {
            at: padded(at),
            flip: words,
        }
    }

    /// Number of channels.
    pub fn n(&self) -> usize {
        self.at.len() - SLACK
    }
}

/// Where a chain leads.
#[derive(Debug)]
pub struct ChainOut<'a> {
    /// The operations.
    pub ops: &'a ChainOps,
    /// Operands of `add` and `mul`: `[positions][channels]`.
    pub operands: &'a [&'a [f32]],
    /// The operand that lies where the floats go, and is read there; its entry of `operands` is not looked at.
    pub held: Option<usize>,
    /// Where the floats go.
    pub reals: Option<&'a mut [f32]>,
    /// Where packed comparisons go, `[positions][ceil(channels / 32)]` words of 32 bits.
    pub bits: Option<(&'a RealThresholds, &'a mut [u64])>,
}

impl ChainOut<'_> {
    /// The chain in the form that kernels run.
    pub(crate) fn chain(&mut self, n: usize) -> Chain<'_> {
        Chain {
            relu: self.ops.relu,
            stages: &self.ops.stages,
            operands: self.operands,
            held: self.held,
            reals: self.reals.as_deref_mut(),
            bits: self.bits.as_mut().map(|(thresholds, out)| {
                assert_eq!(thresholds.n(), n, "a threshold for each channel");
                RealBits {
                    at: &thresholds.at,
                    flip: &thresholds.flip,
                    out: halves_mut(out),
                }
            }),
        }
    }
}

/// Runs a chain on integers, `[positions][n]`, which become floats.
pub fn chain_ints(isa: Isa, x: &[i32], n: usize, mut out: ChainOut<'_>) {
    let mut chain = out.chain(n);
    dispatch_lanes!(isa, elementwise(Values::Ints(x), n, &mut chain));
}

/// Runs a chain on floats, `[positions][n]`.
pub fn chain_reals(isa: Isa, x: &[f32], n: usize, mut out: ChainOut<'_>) {
    let mut chain = out.chain(n);
    dispatch_lanes!(isa, elementwise(Values::Reals(x), n, &mut chain));
}

/// What is made of the floats in a window.
#[derive(Clone, Debug)]
enum Kind {
    Max,
    Mean(Vec<f32>),
    Weighted(Vec<f32>),
}

/// A window over images of floats whose results keep the channels: pools and depthwise convolutions.
#[derive(Clone, Debug)]
pub struct FloatWindow {
    geometry: Geometry,
    spots: Vec<Spot>,
    kind: Kind,
}

impl FloatWindow {
    /// The greatest element; padding is never it.
    pub fn max_pool(geometry: Geometry) -> Self {
        Self::new(geometry, |_| Kind::Max)
    }

    /// The sum divided by the number of taps, or of those inside the image.
    pub fn avg_pool(geometry: Geometry, count_pads: bool) -> Self {
        let area = geometry.kernel[0] * geometry.kernel[1];
        Self::new(geometry, |rects| {
            let count = |rect: &Rect| match count_pads {
                true => area as f32,
                false => ((rect.ky[1] - rect.ky[0]) * (rect.kx[1] - rect.kx[0])) as f32,
            };
            Kind::Mean(rects.iter().map(count).collect())
        })
    }

    /// A depthwise convolution, `weight(tap, channel)`; elements outside the image are zero.
    pub fn depthwise(geometry: Geometry, weight: impl Fn(usize, usize) -> f32) -> Self {
        let (taps, n) = (geometry.kernel[0] * geometry.kernel[1], geometry.channels);
        let tap = |tap: usize| {
            let weights: Vec<f32> = (0..n).map(|channel| weight(tap, channel)).collect();
            padded(&weights)
        };
        let weights = (0..taps).flat_map(tap).collect();
        Self::new(geometry, |_| Kind::Weighted(weights))
    }

    fn new(geometry: Geometry, kind: impl FnOnce(&[Rect]) -> Kind) -> Self {
        assert_eq!(
            geometry.channels, geometry.rows,
            "as many channels out as in"
        );
        let rects = geometry.rects();
        FloatWindow {
            kind: kind(&rects),
            spots: rects.into_iter().map(|rect| geometry.spot(rect)).collect(),
            geometry,
        }
    }

    /// Bytes of weights.
    pub fn n_bytes(&self) -> usize {
        match &self.kind {
            Kind::Weighted(weights) => 4 * weights.len(),
            Kind::Max | Kind::Mean(_) => 0,
        }
    }

    /// The name of the kernel.
    pub fn kernel(&self) -> &'static str {
        match self.kind {
            Kind::Max => "max_pool",
            Kind::Mean(_) => "avg_pool",
            Kind::Weighted(_) => "conv_depthwise",
        }
    }

    /// Reduces every window of images of floats and runs a chain on the results.
    pub fn run(&self, isa: Isa, x: &[f32], images: usize, mut out: ChainOut<'_>) {
        let Geometry { size, channels, .. } = self.geometry;
        let row = size[1] * channels;
        let windows = Windows {
            x: &x[..images * size[0] * row],
            image_len: size[0] * row,
            n: channels,
            out_width: self.geometry.out[1],
            out_px: self.geometry.out_px(),
            down: self.geometry.stride[0] * row,
            across: self.geometry.stride[1] * channels,
            spots: &self.spots,
            reduce: match &self.kind {
                Kind::Max => Reduce::Max,
                Kind::Mean(counts) => Reduce::Mean(counts),
                Kind::Weighted(weights) => Reduce::Weighted(weights),
            },
        };
        let mut chain = out.chain(channels);
        dispatch_lanes!(isa, windows(windows, &mut chain));
    }
}

//! Activations that are no binarisers: `Relu`, `PRelu`, `LeakyRelu`, and everything that clips.

use onebit_model::program::{Kind, Op};

use super::constant::Const;
use super::fold::{Operands, bounds};
use super::live::{Live, Map};
use super::lower::{Lower, Value};
use super::proto::NodeProto;
use super::steps::Relation;

impl Lower<'_> {
    /// `max(x, 0)`.
    pub(super) fn relu(&mut self, node: &NodeProto) -> Result<Live, String> {
        let x = self.live(node, 0)?;
        let x = self.without_rim(x)?;
        if matches!(x.kind, Kind::Bits | Kind::Levels(_)) {
            return self.limited(x, 0.0, f32::INFINITY);
        }
        let x = self.settled(x)?;
        let id = self.emit(Op::Relu, &[x.id])?;
        Ok(x.with(id, x.kind, Map::identity()))
    }

    /// A PReLU with one slope.
    pub(super) fn leaky_relu(&mut self, node: &NodeProto) -> Result<Live, String> {
        let x = self.live(node, 0)?;
        let slope = node.float("alpha").unwrap_or(0.01);
        self.sloped(x, &[f64::from(slope)])
    }

    /// A PReLU with one slope or one per channel.
    pub(super) fn prelu(&mut self, node: &NodeProto) -> Result<Live, String> {
        let x = self.live(node, 0)?;
        let slope = self.constant(node, 1)?;
        let (x, slope) = self.along(x, &slope)?;
        self.sloped(x, &slope)
    }

    fn sloped(&mut self, x: Live, slope: &[f64]) -> Result<Live, String> {
        let x = self.real(x)?;
        let at = |c: usize| slope[if slope.len() == 1 { 0 } else { c }] as f32;
        let slope: Vec<f32> = (0..x.n_channels()).map(at).collect();
        if slope.iter().any(|slope| !slope.is_finite()) {
            return Err("a slope is not a finite number".into());
        }
        let id = self.emit(Op::Prelu { slope }, &[x.id])?;
        Ok(x.with(id, Kind::Real, Map::identity()))
    }

    /// `Clip`, `HardSigmoid`, and `Max` or `Min` with a number: a clip that is applied when it matters.
    pub(super) fn clip(&mut self, node: &NodeProto) -> Result<Live, String> {
        let (x, min, max) = match node.op_type.as_str() {
            "Clip" => {
                let constants = self.constants(node);
                if constants.len() > 1 {
                    self.optional(node, 1)?;
                }
                if constants.len() > 2 {
                    self.optional(node, 2)?;
                }
                let inputs: Vec<Option<&Const>> = constants.iter().map(Option::as_deref).collect();
                let (min, max) = bounds(node, &Operands { inputs: &inputs })?;
                (self.live(node, 0)?, min, max)
            }
            "HardSigmoid" => {
                let (alpha, beta) = (
                    node.float("alpha").unwrap_or(0.2),
                    node.float("beta").unwrap_or(0.5),
                );
                let x = self.live(node, 0)?;
                (
                    self.scaled(x, &[f64::from(alpha)], &[f64::from(beta)])?,
                    0.0,
                    1.0,
                )
            }
            op => {
                let [_, _] = node.input.as_slice() else {
                    return Err("it has more than two operands; onebit reads two".into());
                };
                let is_live_first = matches!(self.value(node, 0), Some(Value::Live(_)));
                let (live, constant) = if is_live_first { (0, 1) } else { (1, 0) };
                let bound = self
                    .constant(node, constant)?
                    .uniform()
                    .ok_or("its bound is not one number")? as f32;
                let x = self.live(node, live)?;
                if op == "Max" {
                    (x, bound, f32::INFINITY)
                } else {
                    (x, f32::NEG_INFINITY, bound)
                }
            }
        };
        let x = self.without_rim(x)?;
        self.limited(x, min, max)
    }

    /// A clip; of something with two values, or with two values left, it is an affine map of a bit.
    fn limited(&mut self, mut x: Live, min: f32, max: f32) -> Result<Live, String> {
        if is_within(&x, min, max) {
            return Ok(x);
        }
        let value = |x: &Live, c: usize, element: i32| {
            let (scale, offset) = x.map.at(c);
            scale * element as f32 + offset
        };
        let clipped = |value: f32| value.max(min).min(max);
        let n_maps = x.map.scale.len();
        match x.kind {
            Kind::Bits if x.clip.is_none() => {
                let ends = |c| [-1, 1].map(|bit| f64::from(clipped(value(&x, c, bit))));
                let pairs = (0..n_maps)
                    .map(ends)
                    .map(|[low, high]| ((high - low) / 2.0, (high + low) / 2.0));
                let (scale, offset) = pairs.unzip();
                return Ok(x.with(x.id, Kind::Bits, Map { scale, offset }));
            }
            Kind::Levels(bits) if x.clip.is_none() && n_maps == 1 => {
                let reach = x.reach.as_ref().and_then(|reach| reach.first());
                let top = reach.map_or((1 << bits) - 1, |reach| reach.max as i32);
                let values = || (0..=top).map(|code| value(&x, 0, code));
                let low = values().map(clipped).fold(f32::INFINITY, f32::min);
                let high = values().map(clipped).fold(f32::NEG_INFINITY, f32::max);
                if values()
                    .map(clipped)
                    .all(|value| value == low || value == high)
                {
                    let first = values()
                        .filter(|&value| clipped(value) == high)
                        .fold(f32::INFINITY, f32::min);
                    let (low, high) = (f64::from(low), f64::from(high));
                    let bits = self.compared(x, Relation::AT_LEAST, &[f64::from(first)])?;
                    return self.scaled(bits, &[(high - low) / 2.0], &[(high + low) / 2.0]);
                }
            }
            _ => {}
        }
        let within = |bound: f32| bound.max(min).min(max);
        x.clip = Some(match x.clip {
            None => (min, max),
            Some((low, high)) => (within(low), within(high)),
        });
        Ok(x)
    }
}

/// Whether a clip changes none of the few values there are.
fn is_within(x: &Live, min: f32, max: f32) -> bool {
    let (low, high) = match x.kind {
        Kind::Bits => (-1.0, 1.0),
        Kind::Levels(bits) => (0.0, ((1u32 << bits) - 1) as f32),
        Kind::Int | Kind::Real => return false,
    };
    let stays = |c: usize| {
        let (scale, offset) = x.map.at(c);
        [low, high]
            .iter()
            .all(|end| (min..=max).contains(&(scale * end + offset)))
    };
    x.clip.is_none() && (0..x.map.scale.len()).all(stays)
}

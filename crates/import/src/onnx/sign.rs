//! `Sign`, the binariser of PyTorch, whose value at zero is 0.
//!
//! Where no zero can reach it the answer is one bit. Where one can, it is a 2-bit code (`sign + 1`), or one bit
//! and a warning, as the options say.

use std::rc::Rc;

use onebit_model::program::{Cuts, Kind, Op};

use super::live::{Live, Map, Reach};
use super::lower::Lower;
use super::proto::NodeProto;
use super::steps::Relation;
use crate::ZeroSign;

impl Lower<'_> {
    /// The sign of a live value.
    pub(super) fn sign(&mut self, node: &NodeProto) -> Result<Live, String> {
        let mut x = self.live(node, 0)?;
        x = self.without_rim(x)?;
        if x.clip.is_some_and(|(min, max)| min < 0.0 && max > 0.0) {
            x.clip = None;
        }
        if x.clip.is_some() {
            x = self.settled(x)?;
        }
        if x.kind == Kind::Bits {
            return Ok(sign_of_bits(&x));
        }
        if let Kind::Levels(bits) = x.kind {
            return self.sign_of_codes(x, bits);
        }
        if !may_be_zero(&x) {
            return self.compared(x, Relation::AT_LEAST, &[0.0]);
        }
        if self.options.zero_sign == ZeroSign::Plus {
            let out = self.compared(x, Relation::AT_LEAST, &[0.0])?;
            let title = node.title();
            self.warn(
                out.id,
                format!(
                    "Sign {title:?} is taken to be +1 at zero, where the model says 0; the Program differs wherever an \
                     activation there is exactly zero."
                ),
            );
            return Ok(out);
        }
        let x = if x.map.is_identity() {
            x
        } else {
            self.real(x)?
        };
        let cuts = match x.kind {
            Kind::Real => Cuts::Real(vec![0.0, 0.0f32.next_up(), f32::INFINITY]),
            _ => Cuts::Int(vec![0, 1, i32::MAX]),
        };
        let id = self.emit(Op::Quantize { bits: 2, cuts }, &[x.id])?;
        let mut out = x.with(id, Kind::Levels(2), Map::uniform(1.0, -1.0));
        let codes = Reach {
            min: 0,
            max: 2,
            step: 1,
        };
        out.reach = Some(Rc::new(vec![codes; out.n_channels()]));
        Ok(out)
    }

    /// A code has few values: each is looked at.
    fn sign_of_codes(&mut self, x: Live, bits: u8) -> Result<Live, String> {
        let n_maps = x.map.scale.len();
        let value = |c: usize, code: i32| {
            let (scale, offset) = x.map.at(c);
            scale * code as f32 + offset
        };
        let codes = || 0..1i32 << bits;
        if !(0..n_maps).any(|c| codes().any(|code| value(c, code) == 0.0)) {
            return self.compared(x, Relation::AT_LEAST, &[0.0]);
        }
        let mut cuts = Vec::new();
        let mut direction = Vec::new();
        for c in 0..n_maps {
            let rise = if x.map.at(c).0 < 0.0 { -1.0 } else { 1.0 };
            let first =
                |holds: &dyn Fn(f32) -> bool| codes().find(|&code| holds(rise * value(c, code)));
            let at = |found: Option<i32>| found.unwrap_or(i32::MAX);
            cuts.extend([at(first(&|v| v >= 0.0)), at(first(&|v| v > 0.0)), i32::MAX]);
            direction.push(f64::from(rise));
        }
        let offset = direction.iter().map(|rise| -rise).collect();
        let id = self.emit(
            Op::Quantize {
                bits: 2,
                cuts: Cuts::Int(cuts),
            },
            &[x.id],
        )?;
        Ok(x.with(
            id,
            Kind::Levels(2),
            Map {
                scale: direction,
                offset,
            },
        ))
    }
}

/// A function of a bit is an affine map of it.
fn sign_of_bits(x: &Live) -> Live {
    let sign = |value: f32| {
        if value == 0.0 {
            0.0
        } else {
            f64::from(value.signum())
        }
    };
    let pair = |c: usize| {
        let (scale, offset) = x.map.at(c);
        (sign(offset - scale), sign(offset + scale))
    };
    let pairs = (0..x.map.scale.len()).map(pair);
    let (scale, offset) = pairs
        .map(|(low, high)| ((high - low) / 2.0, (high + low) / 2.0))
        .unzip();
    x.with(x.id, Kind::Bits, Map { scale, offset })
}

/// Whether any element can be exactly zero: of integers with a known reach each candidate is tried.
fn may_be_zero(x: &Live) -> bool {
    let (Kind::Int, Some(reach)) = (x.kind, x.reach.as_deref()) else {
        return true;
    };
    let is_zero = |c: usize, &Reach { min, max, step }: &Reach| {
        let (scale, offset) = x.map.at(c);
        if scale == 0.0 {
            return offset == 0.0;
        }
        let near = (-f64::from(offset) / f64::from(scale)).round();
        if near.abs() > 4e9 {
            return false;
        }
        // Products of integers below 2^24 round by less than two units of the integer.
        let candidates = (near as i64 - 3)..=(near as i64 + 3);
        let mut within = candidates.filter(|&k| min <= k && k <= max && (k - min) % step == 0);
        within.any(|k| scale * k as f32 + offset == 0.0)
    };
    reach.iter().enumerate().any(|(c, reach)| is_zero(c, reach))
}

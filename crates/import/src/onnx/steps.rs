//! Functions with few values of something with many: thresholds and codes.
//!
//! A live value and a comparison, or the ascending cuts of a staircase, come in; bits or codes with a reading
//! go out. Cuts of a rounding rule are found by searching all binary32 numbers, so they are exact.

use onebit_model::program::{Cuts, Kind, Op, ThresholdValues, Thresholds};

use super::live::{Live, Map};
use super::lower::Lower;

/// A comparison with a number: `x >= number` or `x > number`, or the opposite of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Relation {
    /// Equality does not do.
    pub is_strict: bool,
    /// The answer is inverted.
    pub is_flipped: bool,
}

impl Relation {
    /// `x >= number`.
    pub(super) const AT_LEAST: Relation = Relation {
        is_strict: false,
        is_flipped: false,
    };

    fn holds(self, x: f64, number: f64) -> bool {
        let is_over = if self.is_strict {
            x > number
        } else {
            x >= number
        };
        is_over != self.is_flipped
    }

    /// The least integer and the least binary32 number that is over.
    fn first(self, number: f64) -> (i32, f32) {
        let whole = if self.is_strict {
            number.floor() + 1.0
        } else {
            number.ceil()
        };
        let real = number as f32;
        (
            whole as i32,
            if self.is_strict { real.next_up() } else { real },
        )
    }
}

fn at(list: &[f64], idx: usize) -> f64 {
    list[if list.len() == 1 { 0 } else { idx }]
}

impl Lower<'_> {
    /// +1 where the relation to the channel's number holds, else -1.
    pub(super) fn compared(
        &mut self,
        x: Live,
        relation: Relation,
        numbers: &[f64],
    ) -> Result<Live, String> {
        if numbers.iter().any(|number| number.is_nan()) {
            return Err("it compares with NaN".into());
        }
        let mut x = self.without_rim(x)?;
        if let Some((min, max)) = x.clip {
            let (min, max) = (f64::from(min), f64::from(max));
            let is_inside = |&t: &f64| {
                if relation.is_strict {
                    min <= t && t < max
                } else {
                    min < t && t <= max
                }
            };
            if numbers.iter().all(is_inside) {
                x.clip = None;
            } else {
                x = self.settled(x)?;
            }
        }
        let n = x.n_channels();
        let value = |c: usize, element: i32| {
            let (scale, offset) = x.map.at(c);
            f64::from(scale * element as f32 + offset)
        };
        let answer = |c: usize, element: i32| relation.holds(value(c, element), at(numbers, c));
        let thresholds = match x.kind {
            Kind::Bits => {
                let n = if numbers.len() == 1 {
                    x.map.scale.len()
                } else {
                    n
                };
                let sign = |holds: bool| if holds { 1.0 } else { -1.0 };
                let pairs = (0..n).map(|c| (sign(answer(c, -1)), sign(answer(c, 1))));
                let (scale, offset) = pairs
                    .map(|(low, high)| ((high - low) / 2.0, (high + low) / 2.0))
                    .unzip();
                return Ok(x.with(x.id, Kind::Bits, Map { scale, offset }));
            }
            Kind::Levels(bits) => {
                let channel = |c: usize| {
                    let at_zero = answer(c, 0);
                    match (1..1 << bits).find(|&code| answer(c, code) != at_zero) {
                        Some(first) => (first, at_zero),
                        None => (i32::MIN, !at_zero),
                    }
                };
                let (at, flip) = (0..n).map(channel).unzip();
                Thresholds {
                    at: ThresholdValues::Int(at),
                    flip,
                }
            }
            Kind::Int if x.map.is_identity() => {
                let at = (0..n).map(|c| relation.first(at(numbers, c)).0).collect();
                Thresholds {
                    at: ThresholdValues::Int(at),
                    flip: vec![relation.is_flipped; n],
                }
            }
            Kind::Int | Kind::Real => {
                x = self.real(x)?;
                let at = (0..n).map(|c| relation.first(at(numbers, c)).1).collect();
                Thresholds {
                    at: ThresholdValues::Real(at),
                    flip: vec![relation.is_flipped; n],
                }
            }
        };
        let id = self.emit(Op::Threshold(thresholds), &[x.id])?;
        Ok(x.with(id, Kind::Bits, Map::identity()))
    }

    /// `first + rise * (number of cuts that are reached)`, for ascending cuts of a settled value: one list for
    /// all channels, or one for each.
    pub(super) fn staircase(
        &mut self,
        x: Live,
        cuts: &[Vec<f32>],
        first: f64,
        rise: f64,
    ) -> Result<Live, String> {
        let n_cuts = cuts[0].len();
        let n = x.n_channels();
        if n_cuts == 1 {
            let list: Vec<f64> = cuts.iter().map(|cut| f64::from(cut[0])).collect();
            let x = self.compared(x, Relation::AT_LEAST, &list)?;
            return self.scaled(x, &[rise / 2.0], &[first + rise / 2.0]);
        }
        let bits = (1..=8).find(|&bits| (1usize << bits) > n_cuts);
        let bits =
            bits.ok_or_else(|| format!("it has {n_cuts} steps; at most 255 are possible"))?;
        let n_wanted = (1usize << bits) - 1;
        let is_whole = x.kind != Kind::Real;
        let lists = if cuts.len() == 1 { 1 } else { n };
        let padded = |cut: &Vec<f32>| {
            let mut cut = cut.clone();
            cut.resize(n_wanted, f32::INFINITY);
            cut
        };
        let all = cuts[..lists].iter().flat_map(padded);
        let cuts = if is_whole {
            // The conversion saturates, so cuts beyond every integer stay out of reach.
            Cuts::Int(all.map(|cut| f64::from(cut).ceil() as i32).collect())
        } else {
            Cuts::Real(all.collect())
        };
        let id = self.emit(Op::Quantize { bits, cuts }, &[x.id])?;
        Ok(x.with(id, Kind::Levels(bits), Map::uniform(rise, first)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relations_agree_with_their_first_numbers() {
        for is_strict in [false, true] {
            for number in [-1.0, 0.0, 0.5, 2.0] {
                let relation = Relation {
                    is_strict,
                    is_flipped: false,
                };
                let (whole, real) = relation.first(number);
                assert!(
                    relation.holds(f64::from(whole), number)
                        && !relation.holds(f64::from(whole - 1), number)
                );
                assert!(relation.holds(f64::from(real), number));
                assert!(!relation.holds(f64::from(real.next_down()), number));
            }
        }
    }
}

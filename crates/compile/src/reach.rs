//! Reach: which integers one row of a product can sum to.
//!
//! A row of weights, its bias and what its operand's elements can be come in; an arithmetic progression
//! goes out. It contains every sum that some operand gives, and for weights of magnitude 0 and 1 over
//! elements that are free of one another nothing else.

use onebit_model::IntRange;
use onebit_model::program::{Conv2d, Kind};
use onebit_model::weights::Weights;

/// The integers that each element of an operand lies among: `low`, `low + step`, ..., `high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elements {
    /// The least.
    pub low: i64,
    /// The greatest.
    pub high: i64,
    /// 2 for bits, else 1.
    pub step: i32,
}

impl Elements {
    /// The elements of bits and levels; `None` for kinds that say nothing.
    pub fn of_kind(kind: Kind) -> Option<Elements> {
        match kind {
            Kind::Bits => Some(Elements {
                low: -1,
                high: 1,
                step: 2,
            }),
            Kind::Levels(bits) => Some(Elements {
                low: 0,
                high: (1i64 << bits) - 1,
                step: 1,
            }),
            Kind::Int | Kind::Real => None,
        }
    }

    /// The elements of a value of this kind and range; `None` for reals.
    pub fn of_value(kind: Kind, range: Option<IntRange>) -> Option<Elements> {
        let of_range = |range: IntRange| Elements {
            low: range.min.into(),
            high: range.max.into(),
            step: 1,
        };
        Elements::of_kind(kind).or(range.map(of_range))
    }

    /// The elements that a convolution sees of a value: those, and its pad value if there is padding.
    pub fn with_padding(self, conv: &Conv2d) -> Elements {
        if conv.window.pads == [0; 4] {
            return self;
        }
        let pad = i64::from(conv.pad);
        let is_between = (pad - self.low) % i64::from(self.step) == 0;
        Elements {
            low: self.low.min(pad),
            high: self.high.max(pad),
            step: if is_between { self.step } else { 1 },
        }
    }
}

/// The integers `min`, `min + step`, ..., `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// The least.
    pub min: i32,
    /// The greatest.
    pub max: i32,
    /// 2 for a row over bits, where the parity is fixed; else 1.
    pub step: i32,
}

impl Reach {
    /// The sums of one row of a dense over bits or levels; `None` over other operands, for weights that
    /// are reals, or if a sum leaves i32.
    pub fn of_row(weights: &Weights, row: usize, bias: i32, operand: Kind) -> Option<Reach> {
        Reach::of_sum(weights, row, bias, Elements::of_kind(operand)?)
    }

    /// The sums of one row over any elements; `None` if the weights are reals or a sum leaves i32.
    pub fn of_sum(weights: &Weights, row: usize, bias: i32, elements: Elements) -> Option<Reach> {
        if weights.is_real() {
            return None;
        }
        let Elements { low, high, step } = elements;
        let (plus, minus) = weights.row_sums(row);
        let min = plus * low + minus * high + i64::from(bias);
        let max = plus * high + minus * low + i64::from(bias);
        Some(Reach {
            min: i32::try_from(min).ok()?,
            max: i32::try_from(max).ok()?,
            step,
        })
    }

    /// Every integer of the reach, ascending.
    pub fn values(self) -> impl Iterator<Item = i32> {
        (self.min..=self.max).step_by(self.step as usize)
    }

    /// The negatives of these integers; `None` if one leaves i32.
    pub fn negated(self) -> Option<Reach> {
        let (min, max) = (self.max.checked_neg()?, self.min.checked_neg()?);
        Some(Reach {
            min,
            max,
            step: self.step,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use onebit_model::weights::BitMatrix;
    use std::collections::BTreeSet;

    /// The sums of a row for every operand there is.
    fn all_sums(weights: &Weights, bias: i32, elements: &[i32]) -> BTreeSet<i32> {
        let mut sums = BTreeSet::from([bias]);
        for col in 0..weights.n_cols() {
            let terms = elements.iter().map(|x| weights.get(0, col) * x);
            sums = terms
                .flat_map(|term| sums.iter().map(move |sum| sum + term))
                .collect();
        }
        sums
    }

    #[test]
    fn the_reach_is_exactly_the_set_of_sums() {
        for n in 1..=6usize {
            for pattern in 0..3u32.pow(n as u32) {
                let digit = |col: usize| pattern / 3u32.pow(col as u32) % 3;
                let mask = BitMatrix::from_fn(1, n, |_, col| digit(col) != 0);
                let sign = BitMatrix::from_fn(1, n, |_, col| digit(col) == 2);
                let weights = Weights::Ternary { sign, mask };
                for bias in [-3, 0, 2] {
                    for (kind, elements) in [
                        (Kind::Bits, vec![-1, 1]),
                        (Kind::Levels(2), vec![0, 1, 2, 3]),
                    ] {
                        let reach = Reach::of_row(&weights, 0, bias, kind).unwrap();
                        let expected = all_sums(&weights, bias, &elements);
                        assert_eq!(reach.values().collect::<BTreeSet<i32>>(), expected);
                    }
                }
            }
        }
    }
}

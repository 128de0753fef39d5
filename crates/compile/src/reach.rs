//! Reach: which integers one row of a dense op can sum to.
//!
//! A row of weights, its bias and the operand's kind come in; an arithmetic progression goes out.
//! It contains every sum that some operand gives, and for operands whose elements are free of one
//! another nothing else.

use onebit_model::program::Kind;
use onebit_model::weights::Weights;

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
    /// The sums of one row; `None` if the operand is neither bits nor levels or a sum leaves i32.
    pub fn of_row(weights: &Weights, row: usize, bias: i32, operand: Kind) -> Option<Reach> {
        let (low, high, step) = match operand {
            Kind::Bits => (-1, 1, 2),
            Kind::Levels(bits) => (0, (1i64 << bits) - 1, 1),
            Kind::Int | Kind::Real => return None,
        };
        let n_plus = i64::from(weights.sign().count_ones(row));
        let n_minus = i64::from(weights.row_nonzero(row)) - n_plus;
        let min = n_plus * low - n_minus * high + i64::from(bias);
        let max = n_plus * high - n_minus * low + i64::from(bias);
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

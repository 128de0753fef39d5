//! Folding: from "is this sum's value at least zero" to one integer threshold.
//!
//! A reach and a predicate come in, a threshold with its direction goes out. The predicate is the
//! net's own binary32 expression, and the threshold is found by searching the reach for the place
//! where its answer changes, so no algebra can round differently from the evaluation.

use crate::reach::Reach;

/// A threshold of one channel: the answer is `(sum >= at) != flip`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Folded {
    /// What the sum is compared with; `i32::MIN` for a constant channel.
    pub at: i32,
    /// Whether the answer is inverted.
    pub flip: bool,
}

impl Folded {
    /// The channel that gives the same answer for every sum.
    pub fn constant(answer: bool) -> Self {
        Folded {
            at: i32::MIN,
            flip: !answer,
        }
    }

    /// The answer for one sum.
    pub fn answer(self, sum: i32) -> bool {
        (sum >= self.at) != self.flip
    }

    /// The answer, if it is the same for every sum of the reach.
    pub fn constant_answer(self, reach: Reach) -> Option<bool> {
        let answer = self.answer(reach.min);
        (answer == self.answer(reach.max)).then_some(answer)
    }
}

/// The canonical threshold that agrees with `answer` on the whole reach.
///
/// `answer` is monotone: going up the reach it changes at most once. Every `acc * scale + shift >= 0`
/// with finite factors is, because binary32 rounding keeps order.
pub fn fold_monotone(reach: Reach, answer: impl Fn(i32) -> bool) -> Folded {
    let first = answer(reach.min);
    if first == answer(reach.max) {
        return Folded::constant(first);
    }
    // Steps from `min`: at `below` the answer is still the first one, at `above` it is not.
    let step = i64::from(reach.step);
    let sum_at = |n_steps: i64| {
        let sum = i64::from(reach.min) + n_steps * step;
        i32::try_from(sum).expect("the sum lies between min and max")
    };
    let mut below = 0i64;
    let mut above = (i64::from(reach.max) - i64::from(reach.min)) / step;
    while above - below > 1 {
        let middle = below + (above - below) / 2;
        if answer(sum_at(middle)) == first {
            below = middle;
        } else {
            above = middle;
        }
    }
    // Every integer above the last sum with the first answer would do; the least is canonical.
    Folded {
        at: sum_at(below) + 1,
        flip: first,
    }
}

/// The canonical threshold that agrees with `folded` on the whole reach: the least possible `at`, and
/// `i32::MIN` for a constant channel.
pub fn canonical(folded: Folded, reach: Reach) -> Folded {
    fold_monotone(reach, |sum| folded.answer(sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_threshold_of_every_small_reach_is_found_and_least() {
        for step in [1, 2] {
            for min in -9..=3 {
                for n in 0..8 {
                    let reach = Reach {
                        min,
                        max: min + n * step,
                        step,
                    };
                    for at in min - 2..=reach.max + 2 {
                        for flip in [false, true] {
                            check_one(reach, Folded { at, flip });
                        }
                    }
                }
            }
        }
    }

    fn check_one(reach: Reach, wanted: Folded) {
        let found = canonical(wanted, reach);
        let agrees = |other: Folded| reach.values().all(|x| other.answer(x) == wanted.answer(x));
        assert!(agrees(found), "{reach:?} {wanted:?} {found:?}");
        let is_constant = wanted.constant_answer(reach).is_some();
        assert_eq!(is_constant, found.at == i32::MIN, "{reach:?} {wanted:?}");
        if !is_constant {
            let lower = Folded {
                at: found.at - 1,
                ..found
            };
            assert!(
                !agrees(lower),
                "{reach:?} {wanted:?}: {found:?} is not the least"
            );
        }
    }

    #[test]
    fn the_whole_of_i32_is_searched() {
        let reach = Reach {
            min: i32::MIN,
            max: i32::MAX,
            step: 1,
        };
        for at in [i32::MIN + 1, -1, 0, 77, i32::MAX] {
            assert_eq!(
                fold_monotone(reach, |x| x >= at),
                Folded { at, flip: false }
            );
            assert_eq!(fold_monotone(reach, |x| x < at), Folded { at, flip: true });
        }
    }
}

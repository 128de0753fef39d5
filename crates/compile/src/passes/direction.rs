//! The pass `direction`: negates weight rows so that no threshold is flipped.
//!
//! `(acc >= t) != true` is `-acc >= 1 - t`, so a flipped channel becomes an unflipped one when its
//! row of weights and its bias change sign. It fires where the threshold is the only user of a dense
//! op; the sums of such rows change sign, every bit after the threshold stays. Engines then compare
//! without a second mask and files lose their `flip` tensors.

use onebit_model::program::{Kind, Op, Program, ThresholdValues};
use onebit_model::weights::{BitMatrix, Weights};

use super::{sole_dense_operand, use_counts, value_types};
use crate::fold::{Folded, canonical};
use crate::reach::Reach;

/// Runs the pass on a well-formed Program.
pub fn direction(mut program: Program) -> Program {
    let types = value_types(&program);
    let counts = use_counts(&program);
    for node_idx in 0..program.nodes.len() {
        let node = &program.nodes[node_idx];
        let Op::Threshold(thresholds) = &node.op else {
            continue;
        };
        let flip = thresholds.flip.clone();
        let Some(dense_idx) = sole_dense_operand(&program, &counts, node) else {
            continue;
        };
        let operand = types[program.nodes[dense_idx].inputs[0].0].kind;
        for channel in (0..flip.len()).filter(|&channel| flip[channel]) {
            unflip(&mut program, dense_idx, node_idx, channel, operand);
        }
    }
    program
}

/// Turns one flipped channel round, unless a number would leave i32.
fn unflip(
    program: &mut Program,
    dense_idx: usize,
    threshold_idx: usize,
    channel: usize,
    operand: Kind,
) {
    let (before, after) = program.nodes.split_at_mut(threshold_idx);
    let Op::Dense { weights, bias } = &mut before[dense_idx].op else {
        return;
    };
    let Op::Threshold(thresholds) = &mut after[0].op else {
        return;
    };
    let ThresholdValues::Int(at) = &mut thresholds.at else {
        return;
    };
    let row_bias = bias.as_ref().map_or(0, |bias| bias[channel]);
    let Some(reach) = Reach::of_row(weights, channel, row_bias, operand) else {
        return;
    };
    let flipped = Folded {
        at: at[channel],
        flip: true,
    };
    let unflipped = match flipped.constant_answer(reach) {
        Some(true) => Some(i32::MIN),
        // A threshold just above every sum says no without a flip.
        Some(false) => reach.max.checked_add(1),
        None => reach
            .negated()
            .zip(row_bias.checked_neg())
            .map(|(negated, negated_bias)| {
                negate_row(weights, channel);
                if let Some(bias) = bias {
                    bias[channel] = negated_bias;
                }
                // Not constant, so the threshold lies above the least sum and 1 - t cannot overflow.
                canonical(
                    Folded {
                        at: 1 - at[channel],
                        flip: false,
                    },
                    negated,
                )
                .at
            }),
    };
    if let Some(unflipped) = unflipped {
        at[channel] = unflipped;
        thresholds.flip[channel] = false;
    }
}

/// Changes the sign of every weight of a row.
fn negate_row(weights: &mut Weights, row: usize) {
    match weights {
        Weights::Bits(sign) => flip_columns(sign, row, |_| true),
        Weights::Ternary { sign, mask } => flip_columns(sign, row, |col| mask.get(row, col)),
    }
}

fn flip_columns(sign: &mut BitMatrix, row: usize, is_active: impl Fn(usize) -> bool) {
    for col in (0..sign.n_cols()).filter(|&col| is_active(col)) {
        let bit = sign.get(row, col);
        sign.set(row, col, !bit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use onebit_model::builder::ProgramBuilder;
    use onebit_model::program::ValueId;
    use onebit_model::{Tensor, interpret, verify};

    /// Five bits, three rows, thresholds of every direction; the dense is also used by `also`.
    fn program(at: Vec<i32>, flip: Vec<bool>, is_shared: bool) -> Program {
        let mut b = ProgramBuilder::new("p", Kind::Bits, &[5]);
        let mask = BitMatrix::from_fn(3, 5, |row, col| (row + col) % 4 != 0);
        let sign = BitMatrix::from_fn(3, 5, |row, col| mask.get(row, col) && col % 2 == row % 2);
        let weights = Weights::Ternary { sign, mask };
        let sums = b.dense("fc", b.input(), weights, Some(vec![1, 0, -2]));
        let bits = b.threshold_flip("sign", sums, at, flip);
        let last = Weights::Bits(BitMatrix::from_fn(3, 3, |row, col| row == col));
        let scores = b.dense("scores", bits, last, None);
        if is_shared {
            b.argmax("also", sums);
        }
        b.finish(scores).unwrap()
    }

    fn flips(program: &Program) -> usize {
        let Op::Threshold(thresholds) = &program.nodes[1].op else {
            panic!("not a threshold")
        };
        thresholds.flip.iter().filter(|&&flip| flip).count()
    }

    fn all_answers(program: &Program) -> Vec<Tensor> {
        let types = verify(program).unwrap();
        let image = |n: u32| Tensor::Bits((0..5).map(|bit| (n >> bit) & 1 == 1).collect());
        (0..32)
            .map(|n| interpret(program, &types, &image(n)))
            .collect()
    }

    #[test]
    fn it_removes_every_flip_and_changes_no_answer() {
        for t in -7..=7 {
            for at in [vec![t, t, t], vec![t, i32::MIN, i32::MAX]] {
                let before = program(at, vec![true; 3], false);
                let after = direction(before.clone());
                assert_eq!(flips(&after), 0);
                assert_eq!(all_answers(&before), all_answers(&after));
                verify(&after).unwrap();
            }
        }
    }

    #[test]
    fn it_leaves_a_dense_that_something_else_reads() {
        let before = program(vec![0; 3], vec![true; 3], true);
        assert_eq!(direction(before.clone()), before);
    }

    #[test]
    fn it_leaves_a_dense_that_is_the_answer() {
        let mut before = program(vec![0; 3], vec![true; 3], false);
        before.output = ValueId(1);
        assert_eq!(direction(before.clone()), before);
    }

    #[test]
    fn it_leaves_programs_without_flips() {
        let before = program(vec![0; 3], vec![false; 3], false);
        assert_eq!(direction(before.clone()), before);
    }
}

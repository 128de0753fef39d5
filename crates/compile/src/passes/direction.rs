//! The pass `direction`: negates weight rows so that no threshold is flipped.
//!
//! `(acc >= t) != true` is `-acc >= 1 - t`, so a flipped channel becomes an unflipped one when its
//! row of weights and its bias change sign. It fires where the threshold is the only user of a dense
//! op or a convolution whose sums are integers; the sums of such rows change sign, every bit after the
//! threshold stays. Engines then compare without a second mask and files lose their `flip` tensors.

use onebit_model::program::{Op, Program, ThresholdValues, ValueId};
use onebit_model::weights::{BitMatrix, Matrix, Weights};

use super::{producer, sums_elements, use_counts};
use crate::fold::{Folded, canonical};
use crate::reach::{Elements, Reach};

/// Runs the pass on a well-formed Program.
pub fn direction(mut program: Program) -> Program {
    let types = onebit_model::verify(&program).expect("a pass is given a well-formed Program");
    let counts = use_counts(&program);
    for node_idx in 0..program.nodes.len() {
        let node = &program.nodes[node_idx];
        let Op::Threshold(thresholds) = &node.op else {
            continue;
        };
        let flip = thresholds.flip.clone();
        let sums = node.inputs[0];
        let Some(sums_idx) = producer(sums).filter(|_| counts[sums.0] == 1) else {
            continue;
        };
        // Negated rows of earlier layers change no operand of a sum: bits after a threshold stay.
        let Some(elements) = sums_elements(&program, &types, ValueId(sums_idx + 1)) else {
            continue;
        };
        for channel in (0..flip.len()).filter(|&channel| flip[channel]) {
            unflip(&mut program, sums_idx, node_idx, channel, elements);
        }
    }
    program
}

/// Turns one flipped channel round, unless a number would leave its type.
fn unflip(
    program: &mut Program,
    sums_idx: usize,
    threshold_idx: usize,
    channel: usize,
    elements: Elements,
) {
    let (before, after) = program.nodes.split_at_mut(threshold_idx);
    let Some((weights, bias)) = product_mut(&mut before[sums_idx].op) else {
        return;
    };
    let Op::Threshold(thresholds) = &mut after[0].op else {
        return;
    };
    let ThresholdValues::Int(at) = &mut thresholds.at else {
        return;
    };
    let row_bias = bias.as_ref().map_or(0, |bias| bias[channel]);
    let Some(reach) = Reach::of_sum(weights, channel, row_bias, elements) else {
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
            .filter(|_| is_negatable(weights, channel, row_bias, elements))
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

/// Negates the row and the bias of one channel of a product; false, with nothing changed, if a number would
/// leave its type.
pub(super) fn negate_channel(op: &mut Op, channel: usize, elements: Elements) -> bool {
    let Some((weights, bias)) = product_mut(op) else {
        return false;
    };
    let row_bias = bias.as_ref().map_or(0, |bias| bias[channel]);
    let is_possible = row_bias != i32::MIN && is_negatable(weights, channel, row_bias, elements);
    if is_possible {
        negate_row(weights, channel);
        if let Some(bias) = bias {
            bias[channel] = -row_bias;
        }
    }
    is_possible
}

/// The weights and the bias of a dense or a convolution.
fn product_mut(op: &mut Op) -> Option<(&mut Weights, &mut Option<Vec<i32>>)> {
    match op {
        Op::Dense { weights, bias } => Some((weights, bias)),
        Op::Conv2d(conv) => Some((&mut conv.weights, &mut conv.bias)),
        _ => None,
    }
}

/// Whether a row's weights have negatives of their type, and no partial sum of them leaves i32.
fn is_negatable(weights: &Weights, row: usize, bias: i32, elements: Elements) -> bool {
    let has_negatives = match weights {
        Weights::Bits(_) | Weights::Ternary { .. } | Weights::Planes(_) => true,
        Weights::Int8(values) => !values.row(row).contains(&i8::MIN),
        Weights::Real(_) => false,
    };
    let with_zero = Elements {
        low: elements.low.min(0),
        high: elements.high.max(0),
        step: 1,
    };
    let fits = |bias: i32| {
        let sums = Reach::of_sum(weights, row, bias, with_zero);
        sums.and_then(Reach::negated).is_some()
    };
    has_negatives && fits(0) && fits(bias)
}

/// Changes the sign of every weight of a row.
fn negate_row(weights: &mut Weights, row: usize) {
    match weights {
        Weights::Bits(sign) => flip_columns(sign, row, |_| true),
        Weights::Ternary { sign, mask } => flip_columns(sign, row, |col| mask.get(row, col)),
        Weights::Planes(planes) => planes.negate_row(row),
        Weights::Int8(values) => {
            let entry = |r: usize, col: usize| {
                let w = values.row(r)[col];
                if r == row { -w } else { w }
            };
            *values = Matrix::from_fn(values.n_rows(), values.n_cols(), entry);
        }
        Weights::Real(_) => unreachable!("the pass negates rows of integers"),
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
    use onebit_model::program::{Conv2d, Kind, Window};
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

    /// An image of bits or codes, a convolution with padding, flipped thresholds.
    fn image_program(kind: Kind, weights: Weights, pad: i32) -> Program {
        let mut b = ProgramBuilder::new("p", kind, &[4, 3, 2]);
        let n_rows = weights.n_rows();
        let conv = Conv2d {
            weights,
            bias: Some((0..n_rows as i32).collect()),
            window: Window {
                pads: [1, 0, 1, 1],
                ..Window::new([2, 2])
            },
            groups: 1,
            pad,
        };
        let sums = b.conv2d("conv", b.input(), conv);
        let at = (0..n_rows as i32).map(|row| 2 * row - 3).collect();
        let bits = b.threshold_flip("sign", sums, at, vec![true; n_rows]);
        b.finish(bits).unwrap()
    }

    #[test]
    fn it_turns_the_rows_of_convolutions() {
        let entries = |row: usize, col: usize| (row * 3 + col * 5) as i8 % 7 - 3;
        let int8 = Weights::Int8(Matrix::from_fn(5, 8, entries));
        let bits = Weights::Bits(BitMatrix::from_fn(5, 8, |row, col| entries(row, col) > 0));
        for (kind, pad) in [
            (Kind::Bits, -1),
            (Kind::Bits, 0),
            (Kind::Bits, 1),
            (Kind::Levels(3), 5),
        ] {
            for weights in [int8.clone(), bits.clone()] {
                let before = image_program(kind, weights, pad);
                let after = direction(before.clone());
                assert_eq!(flips(&after), 0);
                let types = [&before, &after].map(|program| verify(program).unwrap());
                for seed in 0..50 {
                    let input = onebit_testkit::random_input(&before, seed);
                    assert_eq!(
                        interpret(&before, &types[0], &input),
                        interpret(&after, &types[1], &input)
                    );
                }
            }
        }
    }

    #[test]
    fn it_leaves_rows_with_a_weight_that_has_no_negative() {
        let weights = Weights::Int8(Matrix::from_fn(
            2,
            8,
            |row, _| if row == 0 { -128 } else { 3 },
        ));
        let after = direction(image_program(Kind::Bits, weights, 0));
        assert_eq!(flips(&after), 1);
    }
}

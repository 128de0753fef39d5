//! The pass `constant_channels`: removes hidden channels whose bit never changes.
//!
//! It fires on `dense`, `threshold`, `dense` where each is the only user of the one before. A channel
//! that is constant over its row's reach leaves the first dense and the threshold, and its column
//! leaves the second dense, whose bias takes up the constant. At least one channel always stays.
//!
//! Training rarely makes such channels (a threshold beyond the reach, or a gain of zero), and layers
//! end up narrower than in the Net, so it is off by default and hands out a [`ChannelMap`].

use std::collections::BTreeMap;

use onebit_model::program::{Kind, Op, Program, ThresholdValues};
use onebit_model::weights::{BitMatrix, Matrix, Weights};

use super::{sole_dense_operand, use_counts, value_types};
use crate::fold::Folded;
use crate::reach::Reach;

/// Which channels are left, by name of the dense and threshold nodes that lost some.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelMap {
    /// Entry `i` of a list is the former index of the node's channel `i`.
    pub kept: BTreeMap<String, Vec<usize>>,
}

impl ChannelMap {
    /// The former index of a node's channel.
    pub fn former(&self, node: &str, channel: usize) -> usize {
        self.kept.get(node).map_or(channel, |kept| kept[channel])
    }
}

/// Runs the pass on a well-formed Program.
pub fn constant_channels(program: Program) -> Program {
    constant_channels_with_map(program).0
}

/// Runs the pass on a well-formed Program; also says which channels are left.
pub fn constant_channels_with_map(mut program: Program) -> (Program, ChannelMap) {
    let types = value_types(&program);
    let counts = use_counts(&program);
    let mut map = ChannelMap::default();
    // In node order, so that a bias that has taken up constants can make the next layer's constant.
    for next_idx in 0..program.nodes.len() {
        let Some((dense_idx, threshold_idx)) = chain(&program, &counts, next_idx) else {
            continue;
        };
        let operand = types[program.nodes[dense_idx].inputs[0].0].kind;
        let answers = constant_answers(&program, dense_idx, threshold_idx, operand);
        // A threshold on real sums has no answers.
        if answers.is_empty() {
            continue;
        }
        let mut kept: Vec<usize> = (0..answers.len())
            .filter(|&channel| answers[channel].is_none())
            .collect();
        if kept.is_empty() {
            kept.push(0);
        }
        if kept.len() == answers.len() || !take_up(&mut program, next_idx, &answers, &kept) {
            continue;
        }
        keep_channels(&mut program, dense_idx, threshold_idx, &kept);
        for idx in [dense_idx, threshold_idx] {
            map.kept
                .insert(program.nodes[idx].name.clone(), kept.clone());
        }
    }
    (program, map)
}

/// The dense and the threshold before a dense, each with no other user.
fn chain(program: &Program, counts: &[usize], next_idx: usize) -> Option<(usize, usize)> {
    let next = &program.nodes[next_idx];
    let Op::Dense { .. } = next.op else {
        return None;
    };
    let id = next.inputs[0];
    let threshold_idx = super::producer(id)?;
    let threshold = &program.nodes[threshold_idx];
    if !matches!(threshold.op, Op::Threshold(_)) || counts[id.0] != 1 {
        return None;
    }
    Some((
        sole_dense_operand(program, counts, threshold)?,
        threshold_idx,
    ))
}

/// Each channel's bit, where it is the same for the row's whole reach.
fn constant_answers(
    program: &Program,
    dense_idx: usize,
    threshold_idx: usize,
    operand: Kind,
) -> Vec<Option<bool>> {
    let Op::Dense { weights, bias } = &program.nodes[dense_idx].op else {
        return Vec::new();
    };
    let Op::Threshold(thresholds) = &program.nodes[threshold_idx].op else {
        return Vec::new();
    };
    let ThresholdValues::Int(at) = &thresholds.at else {
        return Vec::new();
    };
    let answer = |channel: usize| {
        let row_bias = bias.as_ref().map_or(0, |bias| bias[channel]);
        let reach = Reach::of_row(weights, channel, row_bias, operand)?;
        let folded = Folded {
            at: at[channel],
            flip: thresholds.flip[channel],
        };
        folded.constant_answer(reach)
    };
    (0..at.len()).map(answer).collect()
}

/// Moves the removed channels' contributions into the next bias; false if one would leave i32, or if the
/// next sums are real and have none.
fn take_up(
    program: &mut Program,
    next_idx: usize,
    answers: &[Option<bool>],
    kept: &[usize],
) -> bool {
    let Op::Dense { weights, bias } = &mut program.nodes[next_idx].op else {
        return false;
    };
    if weights.is_real() {
        return false;
    }
    let removed: Vec<(usize, i32)> = (0..answers.len())
        .filter(|channel| kept.binary_search(channel).is_err())
        .filter_map(|channel| Some((channel, if answers[channel]? { 1 } else { -1 })))
        .collect();
    let new_bias = |row: usize| {
        let old = bias.as_ref().map_or(0, |bias| i64::from(bias[row]));
        let constant: i64 = removed
            .iter()
            .map(|&(col, x)| i64::from(weights.get(row, col) * x))
            .sum();
        i32::try_from(old + constant).ok()
    };
    let Some(sums) = (0..weights.n_rows())
        .map(new_bias)
        .collect::<Option<Vec<i32>>>()
    else {
        return false;
    };
    let n_rows = weights.n_rows();
    *weights = select(weights, &(0..n_rows).collect::<Vec<_>>(), kept);
    *bias = sums.iter().any(|&sum| sum != 0).then_some(sums);
    true
}

/// Keeps these rows of the dense and these channels of the threshold.
fn keep_channels(program: &mut Program, dense_idx: usize, threshold_idx: usize, kept: &[usize]) {
    if let Op::Dense { weights, bias } = &mut program.nodes[dense_idx].op {
        *weights = select(weights, kept, &(0..weights.n_cols()).collect::<Vec<_>>());
        if let Some(bias) = bias {
            *bias = kept.iter().map(|&row| bias[row]).collect();
        }
    }
    if let Op::Threshold(thresholds) = &mut program.nodes[threshold_idx].op {
        thresholds.flip = kept
            .iter()
            .map(|&channel| thresholds.flip[channel])
            .collect();
        if let ThresholdValues::Int(at) = &mut thresholds.at {
            *at = kept.iter().map(|&channel| at[channel]).collect();
        }
    }
}

/// The weights at these rows and columns.
fn select(weights: &Weights, rows: &[usize], cols: &[usize]) -> Weights {
    let plane = |plane: &BitMatrix| {
        BitMatrix::from_fn(rows.len(), cols.len(), |row, col| {
            plane.get(rows[row], cols[col])
        })
    };
    match weights {
        Weights::Bits(sign) => Weights::Bits(plane(sign)),
        Weights::Ternary { sign, mask } => Weights::Ternary {
            sign: plane(sign),
            mask: plane(mask),
        },
        Weights::Planes(planes) => {
            let planes = planes.map(plane);
            Weights::Planes(planes.expect("rows and columns are taken from all planes alike"))
        }
        Weights::Int8(values) => Weights::Int8(entries(values, rows, cols)),
        Weights::Real(values) => Weights::Real(entries(values, rows, cols)),
    }
}

fn entries<T: Copy>(values: &Matrix<T>, rows: &[usize], cols: &[usize]) -> Matrix<T> {
    Matrix::from_fn(rows.len(), cols.len(), |row, col| {
        values.row(rows[row])[cols[col]]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use onebit_model::builder::ProgramBuilder;
    use onebit_model::{Tensor, interpret, verify};

    /// Four bits, four hidden channels with these thresholds, three scores.
    fn program(at: [i32; 4], flip: [bool; 4], is_shared: bool) -> Program {
        let mut b = ProgramBuilder::new("p", Kind::Bits, &[4]);
        let weights = Weights::Bits(BitMatrix::from_fn(4, 4, |row, col| (row * col) % 3 == 1));
        let sums = b.dense("fc1", b.input(), weights, Some(vec![0, 1, 0, -1]));
        let bits = b.threshold_flip("fc1.sign", sums, at.into(), flip.into());
        let mask = BitMatrix::from_fn(3, 4, |row, col| row != col);
        let sign = BitMatrix::from_fn(3, 4, |row, col| row != col && (row + col) % 2 == 0);
        let scores = b.dense("fc2", bits, Weights::Ternary { sign, mask }, None);
        if is_shared {
            b.concat("also", &[bits, bits]);
        }
        b.finish(scores).unwrap()
    }

    fn all_answers(program: &Program) -> Vec<Tensor> {
        let types = verify(program).unwrap();
        let image = |n: u32| Tensor::Bits((0..4).map(|bit| (n >> bit) & 1 == 1).collect());
        (0..16)
            .map(|n| interpret(program, &types, &image(n)))
            .collect()
    }

    #[test]
    fn it_removes_constant_channels_and_changes_no_answer() {
        // The sums of channels 0 and 2 lie in -4..=4, of 1 in -3..=5, of 3 in -5..=3.
        let cases = [
            ([i32::MIN, 0, 0, 0], vec![1, 2, 3]),
            ([0, 6, 0, 4], vec![0, 2]),
            ([5, -3, 0, 0], vec![2, 3]),
            ([5, 6, 5, 4], vec![0]),
        ];
        for (at, kept) in cases {
            for flip in [[false; 4], [true; 4], [true, false, true, false]] {
                let before = program(at, flip, false);
                let (after, map) = constant_channels_with_map(before.clone());
                assert_eq!(all_answers(&before), all_answers(&after));
                assert_eq!(map.kept["fc1"], kept);
                assert_eq!(map.former("fc1.sign", 0), kept[0]);
                assert_eq!(map.former("fc2", 2), 2);
                let Op::Dense { weights, .. } = &after.nodes[0].op else {
                    panic!("not a dense")
                };
                assert_eq!(weights.n_rows(), kept.len());
            }
        }
    }

    #[test]
    fn it_leaves_channels_that_change_and_bits_that_something_else_reads() {
        let changing = program([0, 1, 2, 3], [false; 4], false);
        assert_eq!(constant_channels(changing.clone()), changing);
        let shared = program([i32::MIN; 4], [false; 4], true);
        assert_eq!(constant_channels(shared.clone()), shared);
    }
}

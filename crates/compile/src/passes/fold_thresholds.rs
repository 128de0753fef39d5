//! The pass `fold_thresholds`: compares integers where a chain of real ops stood before the comparison.
//!
//! A threshold or quantize that reads affines, relus, clips and prelus of an integer asks a question of
//! that integer alone. Where the answer changes once along a channel's reach, the question is one integer
//! threshold, found by searching the reach with the arithmetic of the interpreter. A threshold that compares
//! the sums of a product already is brought to the least number that answers the same. Only the operand
//! and the numbers of the threshold change; what else reads the chain still does, and what nobody reads any
//! more is left to `dead_nodes`.
//!
//! A quantize has no flips. Its falling channels are turned round by negating their rows of weights where
//! nothing else reads the sums; otherwise it stays.

use onebit_model::ProgramTypes;
use onebit_model::program::{Cuts, Kind, Op, Program, ThresholdValues, Thresholds, ValueId};
use onebit_model::scalar;

use super::direction::negate_channel;
use super::{is_elementwise, producer, product, sums_elements, use_counts};
use crate::fold::{Folded, fold_monotone};
use crate::reach::Reach;

/// Longest reach that is searched number by number, where a chain may turn.
const MAX_SEARCH: i64 = 1 << 14;

/// Runs the pass on a well-formed Program.
pub fn fold_thresholds(mut program: Program) -> Program {
    let types = onebit_model::verify(&program).expect("a pass is given a well-formed Program");
    let counts = use_counts(&program);
    for node_idx in 0..program.nodes.len() {
        match &program.nodes[node_idx].op {
            Op::Threshold(_) => fold_threshold(&mut program, &types, node_idx),
            Op::Quantize { .. } => fold_quantize(&mut program, &types, &counts, node_idx),
            _ => {}
        }
    }
    program
}

fn fold_threshold(program: &mut Program, types: &ProgramTypes, node_idx: usize) {
    let node = &program.nodes[node_idx];
    let Op::Threshold(thresholds) = &node.op else {
        return;
    };
    let Some(chain) = chain_before(program, types, node.inputs[0]) else {
        return;
    };
    let is_canonical = chain.ops.is_empty() && sums_elements(program, types, chain.start).is_none();
    if is_canonical {
        return;
    }
    let Some(folded) = chain.fold_threshold(thresholds) else {
        return;
    };
    let start = chain.start;
    let node = &mut program.nodes[node_idx];
    node.op = Op::Threshold(folded);
    node.inputs = vec![start];
}

fn fold_quantize(program: &mut Program, types: &ProgramTypes, counts: &[usize], node_idx: usize) {
    let node = &program.nodes[node_idx];
    let &Op::Quantize { bits, ref cuts } = &node.op else {
        return;
    };
    let Some(chain) = chain_before(program, types, node.inputs[0]) else {
        return;
    };
    if chain.ops.is_empty() {
        return;
    }
    let (start, ids) = (chain.start, chain.ids.clone());
    let n_channels = chain.reaches.len();
    let folded: Vec<Option<Vec<i32>>> = (0..n_channels)
        .map(|channel| chain.fold_cuts(bits, cuts, channel, Direction::Rising))
        .collect();
    // A falling channel's row is negated, and its cuts are those of the negated sum.
    let negated: Vec<Option<Vec<i32>>> = (0..n_channels)
        .map(|channel| match folded[channel] {
            Some(_) => None,
            None => chain.fold_cuts(bits, cuts, channel, Direction::Falling),
        })
        .collect();
    let is_read_here_only = counts[start.0] == 1 && ids.iter().all(|id| counts[id.0] == 1);
    let falling: Vec<usize> = (0..n_channels)
        .filter(|&channel| folded[channel].is_none())
        .collect();
    let is_turned = |channel: &usize| negated[*channel].is_some();
    if !falling.is_empty() {
        let Some(elements) = sums_elements(program, types, start).filter(|_| is_read_here_only)
        else {
            return;
        };
        if !falling.iter().all(is_turned) {
            return;
        }
        let Some(sums_idx) = producer(start) else {
            return;
        };
        let mut turned = program.nodes[sums_idx].op.clone();
        if !falling
            .iter()
            .all(|&channel| negate_channel(&mut turned, channel, elements))
        {
            return;
        }
        program.nodes[sums_idx].op = turned;
    }
    let lists: Vec<Vec<i32>> = folded
        .into_iter()
        .zip(negated)
        .filter_map(|(folded, negated)| folded.or(negated))
        .collect();
    let is_shared = lists.windows(2).all(|pair| pair[0] == pair[1]);
    let n_lists = if is_shared { 1 } else { lists.len() };
    let node = &mut program.nodes[node_idx];
    node.inputs = vec![start];
    node.op = Op::Quantize {
        bits,
        cuts: Cuts::Int(lists[..n_lists].concat()),
    };
}

/// Which way the sum of a channel counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    /// As it is.
    Rising,
    /// Negated.
    Falling,
}

/// Ops from an integer value to what a threshold reads, first to last.
struct Chain<'program> {
    start: ValueId,
    /// Of each channel of `start`.
    reaches: Vec<Reach>,
    ops: Vec<&'program Op>,
    /// The values of the ops.
    ids: Vec<ValueId>,
}

/// The chain that ends in `end`, if there is one.
fn chain_before<'program>(
    program: &'program Program,
    types: &ProgramTypes,
    end: ValueId,
) -> Option<Chain<'program>> {
    let (mut start, mut ops, mut ids) = (end, Vec::new(), Vec::new());
    while let Some(node) = producer(start).map(|node_idx| &program.nodes[node_idx])
        && is_elementwise(&node.op)
    {
        ops.push(&node.op);
        ids.push(start);
        start = node.inputs[0];
    }
    ops.reverse();
    if !matches!(types.of(start).kind, Kind::Int | Kind::Levels(_)) {
        return None;
    }
    let reaches = reaches(program, types, start)?;
    Some(Chain {
        start,
        reaches,
        ops,
        ids,
    })
}

/// The integers that each channel of a value lies among.
fn reaches(program: &Program, types: &ProgramTypes, id: ValueId) -> Option<Vec<Reach>> {
    let ty = types.of(id);
    let n_channels = *ty.shape.last()?;
    let node = producer(id).map(|node_idx| &program.nodes[node_idx]);
    if let Some(elements) = sums_elements(program, types, id)
        && let Some((weights, bias)) = node.and_then(|node| product(&node.op))
    {
        let of_row = |row: usize| {
            let bias = bias.map_or(0, |bias| bias[row]);
            Reach::of_sum(weights, row, bias, elements)
        };
        return (0..n_channels).map(of_row).collect();
    }
    let range = types.range(id)?;
    let reach = Reach {
        min: range.min,
        max: range.max,
        step: 1,
    };
    Some(vec![reach; n_channels])
}

/// An element on its way along a chain.
#[derive(Clone, Copy)]
enum Element {
    Int(i32),
    Real(f32),
}

impl Element {
    fn real(self) -> f32 {
        match self {
            Element::Int(x) => x as f32,
            Element::Real(x) => x,
        }
    }

    /// `self >= cut` where they are of one kind.
    fn reaches(self, cut: Element) -> bool {
        match (self, cut) {
            (Element::Int(x), Element::Int(cut)) => x >= cut,
            (x, cut) => x.real() >= cut.real(),
        }
    }
}

impl Chain<'_> {
    /// One op on one element.
    fn step(op: &Op, x: Element, channel: usize) -> Element {
        match op {
            Op::Relu => match x {
                Element::Int(x) => Element::Int(x.max(0)),
                Element::Real(x) => Element::Real(scalar::relu(x)),
            },
            Op::Affine { scale, shift } => {
                Element::Real(scalar::affine(x.real(), scale[channel], shift[channel]))
            }
            &Op::Clip { min, max } => Element::Real(scalar::clip(x.real(), min, max)),
            Op::Prelu { slope } => Element::Real(scalar::prelu(x.real(), slope[channel])),
            Op::Rprelu {
                before,
                slope,
                after,
            } => Element::Real(scalar::rprelu(
                x.real(),
                before[channel],
                slope[channel],
                after[channel],
            )),
            _ => unreachable!("a chain holds no other op"),
        }
    }

    /// What becomes of an integer.
    fn end(&self, x: i32, channel: usize) -> Element {
        let start = Element::Int(x);
        self.ops
            .iter()
            .fold(start, |x, op| Self::step(op, x, channel))
    }

    /// Whether the chain of a channel rises throughout its reach or falls throughout, and never makes a NaN.
    ///
    /// Between the ends of a reach lies what is between the results of the ends, op by op, as long as no op
    /// turns; so a sign, an infinity and the NaN that comes of it show at an end.
    fn is_monotone(&self, channel: usize) -> bool {
        let Reach { min, max, .. } = self.reaches[channel];
        let mut ends = [Element::Int(min), Element::Int(max)];
        self.ops.iter().all(|op| {
            let corner = match op {
                Op::Prelu { slope } if slope[channel] < 0.0 => Some(0.0),
                Op::Rprelu { before, slope, .. } if slope[channel] < 0.0 => Some(before[channel]),
                _ => None,
            };
            let is_turn = corner.is_some_and(|before| {
                let [low, high] = ends.map(|x| x.real() + before >= 0.0);
                low != high
            });
            ends = ends.map(|x| Self::step(op, x, channel));
            !is_turn && !ends.iter().any(|x| x.real().is_nan())
        })
    }

    /// The threshold that agrees with `answer` on the whole reach of a channel, if there is one.
    fn fold(&self, channel: usize, reach: Reach, answer: impl Fn(i32) -> bool) -> Option<Folded> {
        if !self.is_monotone(channel) {
            let length = i64::from(reach.max) - i64::from(reach.min);
            if length / i64::from(reach.step) >= MAX_SEARCH {
                return None;
            }
            let answers: Vec<bool> = reach.values().map(&answer).collect();
            let n_changes = answers.windows(2).filter(|pair| pair[0] != pair[1]).count();
            if n_changes > 1 {
                return None;
            }
        }
        Some(fold_monotone(reach, answer))
    }

    fn fold_threshold(&self, thresholds: &Thresholds) -> Option<Thresholds> {
        let of_channel = |channel: usize| {
            let cut = match &thresholds.at {
                ThresholdValues::Int(at) => Element::Int(at[channel]),
                ThresholdValues::Real(at) => Element::Real(at[channel]),
            };
            let flip = thresholds.flip[channel];
            let reach = self.reaches[channel];
            let folded = self.fold(channel, reach, |x| {
                self.end(x, channel).reaches(cut) != flip
            })?;
            // A channel that always says no needs no flip where there is an integer past its reach.
            Some(match reach.max.checked_add(1) {
                Some(at) if folded == Folded::constant(false) => Folded { at, flip: false },
                _ => folded,
            })
        };
        let n_channels = self.reaches.len();
        let folded: Vec<Folded> = (0..n_channels).map(of_channel).collect::<Option<_>>()?;
        Some(Thresholds {
            at: ThresholdValues::Int(folded.iter().map(|folded| folded.at).collect()),
            flip: folded.iter().map(|folded| folded.flip).collect(),
        })
    }

    /// The cuts of one channel over its sum or over the negated one; `None` if a code falls there.
    fn fold_cuts(
        &self,
        bits: u8,
        cuts: &Cuts,
        channel: usize,
        direction: Direction,
    ) -> Option<Vec<i32>> {
        let reach = match direction {
            Direction::Rising => self.reaches[channel],
            Direction::Falling => self.reaches[channel].negated()?,
        };
        let end = |x: i32| match direction {
            Direction::Rising => self.end(x, channel),
            Direction::Falling => self.end(-x, channel),
        };
        let n_cuts = (1usize << bits) - 1;
        let cut_at = |idx: usize| match cuts {
            Cuts::Int(cuts) => Element::Int(cuts[idx % cuts.len()]),
            Cuts::Real(cuts) => Element::Real(cuts[idx % cuts.len()]),
        };
        let fold_cut = |idx: usize| {
            // One list for all channels repeats.
            let cut = cut_at(channel * n_cuts + idx);
            let folded = self.fold(channel, reach, |x| end(x).reaches(cut))?;
            match folded {
                // Nothing reaches the cut, so it goes past everything.
                Folded { flip: true, at } if at == i32::MIN => reach.max.checked_add(1),
                Folded { flip: true, .. } => None,
                Folded { at, .. } => Some(at),
            }
        };
        (0..n_cuts).map(fold_cut).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use onebit_model::builder::ProgramBuilder;
    use onebit_model::weights::{BitMatrix, Matrix, Weights};
    use onebit_model::{Tensor, interpret, interpret_all, verify};
    use onebit_testkit::Random;

    /// What the node `name` reads after the pass.
    fn operand(program: &Program, name: &str) -> ValueId {
        let mut nodes = program.nodes.iter();
        nodes.find(|node| node.name == name).unwrap().inputs[0]
    }

    /// Sums over six bits, three channels that rise or fall, and every op that may stand in a chain.
    fn program(scale: [f32; 3], slope: f32, cut: f32) -> Program {
        let mut b = ProgramBuilder::new("p", Kind::Bits, &[6]);
        let weights = Weights::Bits(BitMatrix::from_fn(3, 6, |row, col| (row + col) % 2 == 0));
        let sums = b.dense("sums", b.input(), weights, Some(vec![0, 3, -1]));
        let norm = b.affine("norm", sums, scale.into(), vec![0.1, -0.7, 0.0]);
        let act = b.rprelu("act", norm, vec![0.3; 3], vec![slope; 3], vec![-0.2; 3]);
        let clip = b.clip("clip", act, -1.5, 2.5);
        let again = b.prelu("again", clip, vec![0.5, 0.0, 1.0]);
        let sign = b.threshold_real("sign", again, vec![cut; 3], vec![false, true, false]);
        b.quantize(
            "codes",
            again,
            2,
            Cuts::Real(vec![cut - 1.0, cut, cut + 0.5]),
        );
        b.relu("relu", sums);
        b.finish(sign).unwrap()
    }

    fn agree(before: &Program, after: &Program) {
        let types = [before, after].map(|program| verify(program).unwrap());
        for n in 0..64u32 {
            let x = Tensor::Bits((0..6).map(|bit| (n >> bit) & 1 == 1).collect());
            let before = interpret_all(before, &types[0], &x);
            for (before, after) in before.iter().zip(interpret_all(after, &types[1], &x)) {
                assert_eq!(before.first_difference(&after), None);
            }
        }
    }

    #[test]
    fn it_folds_chains_and_changes_no_value() {
        let mut random = Random::new(4);
        for _ in 0..300 {
            let number = |random: &mut Random| random.int(-40, 40) as f32 / 37.0;
            let scale = [(); 3].map(|()| number(&mut random));
            let before = program(scale, random.int(0, 3) as f32 / 2.0, number(&mut random));
            let after = fold_thresholds(before.clone());
            assert_eq!(operand(&after, "sign"), ValueId(1));
            let rises = scale.iter().all(|&scale| scale >= 0.0);
            assert!(!rises || operand(&after, "codes") == ValueId(1));
            agree(&before, &after);
        }
    }

    #[test]
    fn falling_channels_are_flipped_and_keep_their_quantize() {
        let after = fold_thresholds(program([1.0, -1.0, 1.0], 0.5, 0.0));
        assert_eq!(operand(&after, "sign"), ValueId(1));
        assert_eq!(operand(&after, "codes"), ValueId(5));
    }

    #[test]
    fn chains_that_turn_or_overflow_fold_where_their_answer_changes_once() {
        let twice = program([1.0; 3], -0.5, 0.5);
        assert_eq!(fold_thresholds(twice.clone()), twice);
        let mut n_folded = 0;
        for step in -8..8 {
            for (scale, slope) in [([1.0; 3], -0.5), ([1.0, f32::MAX, -1.0], 0.0)] {
                let before = program(scale, slope, step as f32 / 4.0);
                let after = fold_thresholds(before.clone());
                n_folded += usize::from(operand(&after, "sign") == ValueId(1));
                agree(&before, &after);
            }
        }
        assert!((10..32).contains(&n_folded), "{n_folded}");
    }

    #[test]
    fn a_slope_below_zero_is_no_turn_where_all_is_on_one_side() {
        // Too many integers to be searched one by one.
        for (shift, is_folded) in [(-40_000.0, true), (0.0, true), (-16_000.0, false)] {
            let mut b = ProgramBuilder::new("p", Kind::Levels(8), &[130]);
            let row = Weights::Int8(Matrix::from_fn(1, 130, |_, _| 1));
            let sums = b.dense("sums", b.input(), row, None);
            let norm = b.affine("norm", sums, vec![1.0], vec![shift]);
            let act = b.prelu("act", norm, vec![-0.5]);
            let sign = b.threshold_real("sign", act, vec![5000.0], vec![false]);
            let before = b.finish(sign).unwrap();
            let after = fold_thresholds(before.clone());
            assert_eq!(operand(&after, "sign") == ValueId(1), is_folded);
            for step in 0..=255 {
                let x = Tensor::Levels(vec![step; 130]);
                let values = [&before, &after]
                    .map(|program| interpret_all(program, &verify(program).unwrap(), &x));
                assert_eq!(values[0], values[1]);
            }
        }
    }

    #[test]
    fn falling_codes_turn_their_rows_round() {
        let mut random = Random::new(21);
        for _ in 0..100 {
            let mut b = ProgramBuilder::new("p", Kind::Levels(2), &[3]);
            let entry = |_, _| random.int(-127, 127) as i8;
            let weights = Weights::Int8(Matrix::from_fn(4, 3, entry));
            let sums = b.dense("sums", b.input(), weights, Some(vec![7, -3, 0, 1]));
            let scale: Vec<f32> = (0..4).map(|_| random.int(-9, 9) as f32 / 97.0).collect();
            let relu = b.affine("norm", sums, scale, vec![0.5, 0.25, -0.1, 1.0]);
            let codes = b.quantize("codes", relu, 2, Cuts::Real(vec![0.2, 0.5, 0.8]));
            let before = b.finish(codes).unwrap();
            let after = fold_thresholds(before.clone());
            assert_eq!(operand(&after, "codes"), ValueId(1));
            let types = [&before, &after].map(|program| verify(program).unwrap());
            for n in 0..64u8 {
                let x = Tensor::Levels((0..3).map(|place| (n >> (2 * place)) & 3).collect());
                let found = interpret(&after, &types[1], &x);
                assert_eq!(found, interpret(&before, &types[0], &x));
            }
        }
    }

    #[test]
    fn sums_get_the_least_threshold() {
        let mut b = ProgramBuilder::new("p", Kind::Bits, &[4]);
        let weights = Weights::Bits(BitMatrix::zeros(3, 4));
        let sums = b.dense("sums", b.input(), weights, Some(vec![0, 1, 0]));
        let sign = b.threshold("sign", sums, vec![0, 0, 5]);
        let after = fold_thresholds(b.finish(sign).unwrap());
        // Sums are even, odd and even, and no sum is 5.
        let at = ThresholdValues::Int(vec![-1, 0, 5]);
        let flip = vec![false; 3];
        assert_eq!(after.nodes[1].op, Op::Threshold(Thresholds { at, flip }));
    }

    #[test]
    fn it_folds_integers_of_every_size_with_the_rounding_of_binary32() {
        let mut random = Random::new(8);
        for _ in 0..200 {
            let mut b = ProgramBuilder::new("p", Kind::Int, &[1]);
            let relu = b.relu("relu", b.input());
            let scale = (random.int(1, 1 << 24) as f32) * 1e-7;
            let norm = b.affine("norm", relu, vec![scale], vec![random.real() * 1e4]);
            let cut = random.real() * 1e5;
            let sign = b.threshold_real("sign", norm, vec![cut], vec![random.once_in(2)]);
            let before = b.finish(sign).unwrap();
            let after = fold_thresholds(before.clone());
            assert_eq!(operand(&after, "sign"), ValueId(0));
            let Op::Threshold(Thresholds {
                at: ThresholdValues::Int(at),
                ..
            }) = &after.nodes[2].op
            else {
                panic!("not a threshold of integers")
            };
            for x in -3..=3 {
                let input = Tensor::Int(vec![at[0].saturating_add(x)]);
                let values = [&before, &after]
                    .map(|program| interpret_all(program, &verify(program).unwrap(), &input));
                assert_eq!(values[0], values[1]);
            }
        }
    }

    #[test]
    fn cuts_are_shared_where_they_agree() {
        let mut b = ProgramBuilder::new("p", Kind::Levels(4), &[2]);
        let norm = b.affine("norm", b.input(), vec![0.5; 2], vec![0.0; 2]);
        let codes = b.quantize("codes", norm, 2, Cuts::Real(vec![0.4, 3.0, 99.0]));
        let after = fold_thresholds(b.finish(codes).unwrap());
        let cuts = Cuts::Int(vec![1, 6, 16]);
        assert_eq!(after.nodes[1].op, Op::Quantize { bits: 2, cuts });
        let mut b = ProgramBuilder::new("p", Kind::Levels(4), &[2]);
        let eye = Weights::Int8(Matrix::from_fn(2, 2, |row, col| i8::from(row == col)));
        let sums = b.dense("sums", b.input(), eye, None);
        let norm = b.affine("norm", sums, vec![0.5, 1.0], vec![0.0; 2]);
        let codes = b.quantize("codes", norm, 1, Cuts::Real(vec![3.0]));
        let after = fold_thresholds(b.finish(codes).unwrap());
        let cuts = Cuts::Int(vec![6, 3]);
        assert_eq!(after.nodes[2].op, Op::Quantize { bits: 1, cuts });
    }
}

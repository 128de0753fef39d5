//! The pass `fold_thresholds`: compares integers where a chain of real ops stood before the comparison.
//!
//! A threshold or quantize that reads affines, relus, clips and prelus of an integer asks a question of
//! that integer alone. Where each channel of the chain rises or falls throughout, the question is one
//! integer threshold, found by searching the range with the arithmetic of the interpreter. Only the operand
//! and the numbers of the threshold change; what else reads the chain still does, and what nobody reads any
//! more is left to `dead_nodes`.
//!
//! A quantize has no flips, so one with a falling channel stays, and so does one over a chain that
//! overflows: past an infinity there may be a NaN.

use onebit_model::ProgramTypes;
use onebit_model::program::{Cuts, Kind, Op, Program, ThresholdValues, Thresholds, ValueId};
use onebit_model::scalar;

use super::{producer, product, sums_elements};
use crate::fold::{Folded, fold_monotone};
use crate::reach::Reach;

/// Runs the pass on a well-formed Program.
pub fn fold_thresholds(mut program: Program) -> Program {
    let types = onebit_model::verify(&program).expect("a pass is given a well-formed Program");
    for node_idx in 0..program.nodes.len() {
        let node = &program.nodes[node_idx];
        let is_question = matches!(node.op, Op::Threshold(_) | Op::Quantize { .. });
        let Some(chain) = is_question
            .then(|| chain_before(&program, &types, node.inputs[0]))
            .flatten()
        else {
            continue;
        };
        let start = chain.start;
        let folded = match &node.op {
            Op::Threshold(thresholds) => Some(Op::Threshold(chain.fold_threshold(thresholds))),
            &Op::Quantize { bits, ref cuts } => chain
                .fold_cuts(bits, cuts)
                .map(|cuts| Op::Quantize { bits, cuts }),
            _ => None,
        };
        if let Some(op) = folded {
            let node = &mut program.nodes[node_idx];
            node.op = op;
            node.inputs = vec![start];
        }
    }
    program
}

/// Ops from an integer value to what a threshold reads, first to last; never empty.
struct Chain<'program> {
    start: ValueId,
    /// Of each channel of `start`.
    reaches: Vec<Reach>,
    ops: Vec<&'program Op>,
}

/// The chain that ends in `end`, if there is one that is monotone in every channel.
fn chain_before<'program>(
    program: &'program Program,
    types: &ProgramTypes,
    end: ValueId,
) -> Option<Chain<'program>> {
    let (mut start, mut ops) = (end, Vec::new());
    while let Some(node) = producer(start).map(|node_idx| &program.nodes[node_idx]) {
        match &node.op {
            Op::Affine { .. } | Op::Relu | Op::Clip { .. } => {}
            Op::Prelu { slope } | Op::Rprelu { slope, .. } if slope.iter().all(|&s| s >= 0.0) => {}
            _ => break,
        }
        ops.push(&node.op);
        start = node.inputs[0];
    }
    ops.reverse();
    let is_start = matches!(types.of(start).kind, Kind::Int | Kind::Levels(_));
    if ops.is_empty() || !is_start {
        return None;
    }
    let reaches = reaches(program, types, start)?;
    let chain = Chain {
        start,
        reaches,
        ops,
    };
    let is_finite = |channel: usize| {
        let Reach { min, max, .. } = chain.reaches[channel];
        [min, max].iter().all(|&x| chain.ends_finite(x, channel))
    };
    (0..chain.reaches.len()).all(is_finite).then_some(chain)
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

    /// Whether an integer stays finite all along. If the ends of a reach do, so does all between them.
    fn ends_finite(&self, x: i32, channel: usize) -> bool {
        let mut x = Element::Int(x);
        self.ops.iter().all(|op| {
            // A sum inside an rprelu that overflows is infinite at its end too, unless a slope of zero
            // makes a NaN of it.
            x = Self::step(op, x, channel);
            x.real().is_finite()
        })
    }

    fn fold_threshold(&self, thresholds: &Thresholds) -> Thresholds {
        let n_channels = self.reaches.len();
        let of_channel = |channel: usize| {
            let cut = match &thresholds.at {
                ThresholdValues::Int(at) => Element::Int(at[channel]),
                ThresholdValues::Real(at) => Element::Real(at[channel]),
            };
            let flip = thresholds.flip[channel];
            let reach = self.reaches[channel];
            let folded = fold_monotone(reach, |x| self.end(x, channel).reaches(cut) != flip);
            // A channel that always says no needs no flip where there is an integer past its reach.
            match reach.max.checked_add(1) {
                Some(at) if folded == Folded::constant(false) => Folded { at, flip: false },
                _ => folded,
            }
        };
        let folded: Vec<Folded> = (0..n_channels).map(of_channel).collect();
        Thresholds {
            at: ThresholdValues::Int(folded.iter().map(|folded| folded.at).collect()),
            flip: folded.iter().map(|folded| folded.flip).collect(),
        }
    }

    fn fold_cuts(&self, bits: u8, cuts: &Cuts) -> Option<Cuts> {
        let n_cuts = (1usize << bits) - 1;
        let cuts: Vec<Element> = match cuts {
            Cuts::Int(cuts) => cuts.iter().map(|&cut| Element::Int(cut)).collect(),
            Cuts::Real(cuts) => cuts.iter().map(|&cut| Element::Real(cut)).collect(),
        };
        let mut lists = Vec::with_capacity(self.reaches.len());
        for (channel, &reach) in self.reaches.iter().enumerate() {
            if !self
                .end(reach.max, channel)
                .reaches(self.end(reach.min, channel))
            {
                return None;
            }
            let first = if cuts.len() == n_cuts {
                0
            } else {
                channel * n_cuts
            };
            let list: Option<Vec<i32>> = cuts[first..first + n_cuts]
                .iter()
                .map(|&cut| {
                    let folded = fold_monotone(reach, |x| self.end(x, channel).reaches(cut));
                    // Only a cut that nothing reaches is flipped; it goes past everything.
                    match folded.flip {
                        true => reach.max.checked_add(1),
                        false => Some(folded.at),
                    }
                })
                .collect();
            lists.push(list?);
        }
        let is_shared = lists.windows(2).all(|pair| pair[0] == pair[1]);
        lists.truncate(if is_shared { 1 } else { lists.len() });
        Some(Cuts::Int(lists.concat()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use onebit_model::builder::ProgramBuilder;
    use onebit_model::weights::{BitMatrix, Matrix, Weights};
    use onebit_model::{Tensor, interpret_all, verify};
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
            assert_eq!(before, interpret_all(after, &types[1], &x));
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
    fn it_leaves_chains_that_turn_or_overflow() {
        let turning = program([1.0; 3], -0.5, 0.0);
        assert_eq!(fold_thresholds(turning.clone()), turning);
        let overflowing = program([1.0, f32::MAX, 1.0], 0.0, 0.0);
        assert_eq!(fold_thresholds(overflowing.clone()), overflowing);
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

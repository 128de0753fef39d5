//! Every invariant of a Program is checked, all violations are listed, and types are inferred.

use onebit_model::builder::ProgramBuilder;
use onebit_model::program::{Cuts, Kind, Node, Op, Program, ThresholdValues, Thresholds, ValueId};
use onebit_model::weights::{BitMatrix, Weights};
use onebit_model::{IntRange, verify};

/// Pixels, an integer layer, every kind of op after it.
fn good() -> Program {
    let mut b = ProgramBuilder::new("good", Kind::Levels(3), &[2, 1, 3]);
    let weights = Weights::Bits(BitMatrix::from_fn(5, 6, |row, col| row > col));
    let sums = b.dense("fc1", b.input(), weights, Some(vec![0, 1, -1, 2, 0]));
    let bits = b.threshold_flip("sign", sums, vec![0; 5], vec![false; 5]);
    let codes = b.quantize("codes", sums, 2, Cuts::Int(vec![-1, 0, 1]));
    let planes = b.planes("planes", codes);
    let joined = b.concat("joined", &[bits, planes]);
    let mask = BitMatrix::from_fn(2, 15, |_, col| col != 3);
    let sign = BitMatrix::from_fn(2, 15, |row, col| col != 3 && (row + col) % 2 == 0);
    let scores = b.dense("fc2", joined, Weights::Ternary { sign, mask }, None);
    let real = b.affine("norm", scores, vec![0.5, -1.0], vec![0.0, 0.25]);
    let signs = b.threshold_real("real", real, vec![0.0, -0.5], vec![false, true]);
    b.quantize("real-codes", real, 1, Cuts::Real(vec![0.0]));
    b.dense("fc3", signs, Weights::Bits(BitMatrix::zeros(1, 2)), None);
    let best = b.argmax("best", real);
    b.note("classes", "no yes");
    b.finish(best).unwrap()
}

#[test]
fn types_and_ranges_are_inferred() {
    let program = good();
    let types = verify(&program).unwrap();
    let shown: Vec<String> = (0..types.n_values())
        .map(|idx| types.of(ValueId(idx)).to_string())
        .collect();
    let expected = [
        "levels(3)[2, 1, 3]",
        "int[5]",
        "bits[5]",
        "levels(2)[5]",
        "bits[10]",
        "bits[15]",
        "int[2]",
        "real[2]",
        "bits[2]",
        "levels(1)[2]",
        "int[1]",
        "int[1]",
    ];
    assert_eq!(shown, expected);
    // Row 0 of fc1 is all -1 over codes 0..=7; row 3 is +1 three times with bias 2, row 4 four times.
    assert_eq!(
        types.range(ValueId(1)),
        Some(IntRange { min: -42, max: 28 })
    );
    assert_eq!(
        types.range(ValueId(6)),
        Some(IntRange { min: -14, max: 14 })
    );
    assert_eq!(types.range(ValueId(7)), None);
    assert_eq!(types.range(ValueId(11)), Some(IntRange { min: 0, max: 1 }));
}

/// A word of the violation and the mutation of a good Program that must cause it.
type Case = (&'static str, fn(&mut Program));

fn bias(program: &mut Program) -> &mut Vec<i32> {
    let Op::Dense {
        bias: Some(bias), ..
    } = &mut program.nodes[0].op
    else {
        unreachable!()
    };
    bias
}

fn set_weights(program: &mut Program, node_idx: usize, new: Weights) {
    let Op::Dense { weights, .. } = &mut program.nodes[node_idx].op else {
        unreachable!()
    };
    *weights = new;
}

fn thresholds(program: &mut Program, node_idx: usize) -> &mut Thresholds {
    let Op::Threshold(thresholds) = &mut program.nodes[node_idx].op else {
        unreachable!()
    };
    thresholds
}

fn set_cuts(program: &mut Program, node_idx: usize, new: Cuts) {
    let Op::Quantize { cuts, .. } = &mut program.nodes[node_idx].op else {
        unreachable!()
    };
    *cuts = new;
}

#[rustfmt::skip]
const CASES: &[Case] = &[
    ("name: has 257 bytes", |p| p.name = "x".repeat(257)),
    ("notes: have 65537 bytes", |p| p.notes = vec![("k".into(), "x".repeat(65_536))]),
    ("are not in ascending order", |p| p.notes = vec![("b".into(), "".into()), ("a".into(), "".into())]),
    ("are not in ascending order", |p| p.notes = vec![("a".into(), "".into()), ("a".into(), "".into())]),
    ("a key is empty", |p| p.notes = vec![("".into(), "".into())]),
    ("nodes: there are 4097", |p| p.nodes = (0..4097).map(|i| Node {
        name: format!("n{i}"), op: Op::Planes, inputs: vec![ValueId(0)] }).collect()),
    ("operands; the limit is 16384", |p| p.nodes[4].inputs = vec![ValueId(2); 16_384]),
    ("input: levels(0) is not", |p| p.input.kind = Kind::Levels(0)),
    ("input: levels(9) is not", |p| p.input.kind = Kind::Levels(9)),
    ("input: rank 0 is not", |p| p.input.shape = vec![]),
    ("input: rank 5 is not", |p| p.input.shape = vec![1; 5]),
    ("input: an axis has size zero", |p| p.input.shape = vec![2, 0]),
    ("input: has more than 16777216", |p| p.input.shape = vec![(1 << 24) + 1]),
    ("input: has more than 16777216", |p| p.input.shape = vec![usize::MAX, usize::MAX]),
    ("node 1 (): name \"\" is not", |p| p.nodes[1].name = "".into()),
    ("(a b): name \"a b\" is not", |p| p.nodes[1].name = "a b".into()),
    ("is not 1 to 64", |p| p.nodes[1].name = "x".repeat(65)),
    ("(fc1): another node has the same name", |p| p.nodes[3].name = "fc1".into()),
    ("node 0 (fc1): operand is value 1, which is not an earlier", |p| p.nodes[0].inputs = vec![ValueId(1)]),
    ("operand is value 99", |p| p.nodes[5].inputs = vec![ValueId(99)]),
    ("has 0 operands, exactly 1", |p| p.nodes[0].inputs = vec![]),
    ("has 2 operands, exactly 1", |p| p.nodes[0].inputs = vec![ValueId(0); 2]),
    ("has 0 operands, at least 1", |p| p.nodes[4].inputs = vec![]),
    ("output: is value 12, but there are only 12", |p| p.output = ValueId(12)),
    ("weights are 0 by 6", |p| set_weights(p, 0, Weights::Bits(BitMatrix::zeros(0, 6)))),
    ("weights are 5 by 0", |p| set_weights(p, 0, Weights::Bits(BitMatrix::zeros(5, 0)))),
    ("16777217 by 1 are over the limits", |p| set_weights(p, 0, Weights::Bits(BitMatrix::zeros((1 << 24) + 1, 1)))),
    ("a row of weights has 7 entries, 6", |p| set_weights(p, 0, Weights::Bits(BitMatrix::zeros(5, 7)))),
    ("mask is 2 by 14, sign is 2 by 15", |p| set_weights(p, 5, Weights::Ternary {
        sign: BitMatrix::zeros(2, 15), mask: BitMatrix::zeros(2, 14) })),
    ("row 1 has a sign bit of 1 where the mask is 0", |p| set_weights(p, 5, Weights::Ternary {
        sign: BitMatrix::from_fn(2, 15, |row, _| row == 1), mask: BitMatrix::zeros(2, 15) })),
    ("bias has 4 entries, 5", |p| { bias(p).pop(); }),
    ("row 1 reaches 2147483612 to 2147483654, outside i32", |p| {
        set_weights(p, 0, Weights::Bits(BitMatrix::from_fn(5, 6, |row, col| row == 1 && col == 0)));
        bias(p)[1] = i32::MAX }),
    ("flip has 4 entries, 5", |p| { thresholds(p, 1).flip.pop(); }),
    ("threshold has 6 entries, 5", |p| {
        thresholds(p, 1).at = ThresholdValues::Int(vec![0; 6]); thresholds(p, 1).flip.push(false) }),
    ("thresholds cannot read an operand of type int[5]", |p| thresholds(p, 1).at = ThresholdValues::Real(vec![0.0; 5])),
    ("thresholds cannot read an operand of type bits[2, 1, 3]", |p| { p.input.kind = Kind::Bits; p.nodes[1].inputs = vec![ValueId(0)] }),
    ("thresholds cannot read an operand of type real[2]", |p| thresholds(p, 7).at = ThresholdValues::Int(vec![0; 2])),
    ("threshold 1 is NaN", |p| thresholds(p, 7).at = ThresholdValues::Real(vec![0.0, f32::NAN])),
    ("codes of 9 bits", |p| { let Op::Quantize { bits, .. } = &mut p.nodes[2].op else { unreachable!() }; *bits = 9 }),
    ("codes of 0 bits", |p| { let Op::Quantize { bits, .. } = &mut p.nodes[2].op else { unreachable!() }; *bits = 0 }),
    ("cuts has 2 entries, 3", |p| set_cuts(p, 2, Cuts::Int(vec![0, 1]))),
    ("cuts are not in ascending order", |p| set_cuts(p, 2, Cuts::Int(vec![0, 2, 1]))),
    ("cuts cannot read an operand of type int[5]", |p| set_cuts(p, 2, Cuts::Real(vec![0.0; 3]))),
    ("cuts cannot read an operand of type real[2]", |p| set_cuts(p, 8, Cuts::Int(vec![0]))),
    ("cut 0 is NaN", |p| set_cuts(p, 8, Cuts::Real(vec![f32::NAN]))),
    ("planes cannot read an operand of type int[5]", |p| p.nodes[3].inputs = vec![ValueId(1)]),
    ("operand is value 8, which is not an earlier", |p| p.nodes[6].inputs = vec![ValueId(8)]),
    ("scale has 2 entries, 5", |p| p.nodes[6].inputs = vec![ValueId(1)]),
    ("shift has 1 entries, 2", |p| { let Op::Affine { shift, .. } = &mut p.nodes[6].op else { unreachable!() }; shift.pop(); }),
    ("scale of channel 1 is not a finite", |p| { let Op::Affine { scale, .. } = &mut p.nodes[6].op else { unreachable!() }; scale[1] = f32::NAN }),
    ("shift of channel 0 is not a finite", |p| { let Op::Affine { shift, .. } = &mut p.nodes[6].op else { unreachable!() }; shift[0] = f32::INFINITY }),
    ("concat cannot read an operand of type int[5]", |p| p.nodes[4].inputs = vec![ValueId(1)]),
    ("(joined): has more than 16777216", |p| { p.input.kind = Kind::Bits; p.input.shape = vec![1 << 24]; p.nodes[4].inputs = vec![ValueId(0); 2] }),
    ("(planes): has more than 16777216", |p| { p.input.shape = vec![1 << 24]; p.nodes[3].inputs = vec![ValueId(0)] }),
    ("argmax cannot read an operand of type bits[2]", |p| p.nodes[10].inputs = vec![ValueId(8)]),
    ("argmax needs rank 1", |p| { p.input.kind = Kind::Int; p.nodes[10].inputs = vec![ValueId(0)] }),
];

#[test]
fn every_invariant_is_checked() {
    for (word, spoil) in CASES {
        let mut program = good();
        spoil(&mut program);
        let errors = verify(&program).expect_err(word).to_string();
        // A case may move an operand after its user, which is said in other words.
        let is_moved = errors.contains("which is not an earlier value");
        assert!(
            errors.contains(word) || is_moved,
            "{word:?} is not in: {errors}"
        );
    }
}

#[test]
fn all_violations_are_listed() {
    let mut program = good();
    program.nodes[0].name = "a b".into();
    bias(&mut program).pop();
    thresholds(&mut program, 7).at = ThresholdValues::Real(vec![f32::NAN, 0.0]);
    program.output = ValueId(99);
    let errors = verify(&program).unwrap_err();
    assert_eq!(errors.violations.len(), 4, "{errors}");
}

#[test]
fn a_sum_may_use_the_whole_of_i32_and_no_more() {
    let overflows = |n_cols: usize, bias: i32| {
        let mut b = ProgramBuilder::new("p", Kind::Levels(8), &[n_cols]);
        let ones = Weights::Bits(BitMatrix::from_fn(1, n_cols, |_, _| true));
        let sums = b.dense("fc", b.input(), ones, Some(vec![bias]));
        b.finish(sums).is_err()
    };
    assert!(!overflows(2, i32::MAX - 510));
    assert!(overflows(2, i32::MAX - 509));
    // 2^31 / 255 lies between these, with no bias at all.
    assert!(!overflows(8_421_504, 0));
    assert!(overflows(8_421_505, 0));
}

#[test]
fn all_values_together_have_a_limit() {
    let mut b = ProgramBuilder::new("large", Kind::Real, &[1 << 12, 1 << 12]);
    let mut x = b.input();
    for node in 0..15 {
        x = b.node(&format!("relu{node}"), Op::Relu, &[x]);
    }
    assert!(b.clone().finish(x).is_ok(), "2^28 elements are allowed");
    x = b.node("last", Op::Relu, &[x]);
    let errors = b.finish(x).unwrap_err().to_string();
    let wanted = "nodes: have 285212672 elements together; the limit is 268435456";
    assert!(errors.contains(wanted), "{errors}");
}

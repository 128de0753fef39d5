//! Every invariant is broken once.

use super::*;
use crate::evaluate::tests::{layer, small_net};
use crate::net::Encoder;
use crate::weights::{BitMatrix, Matrix};

/// A mutation of a good Net and a word of the violation it must cause.
type Case = (&'static str, fn(&mut Net));

#[rustfmt::skip]
const CASES: &[Case] = &[
    ("limit is 256", |net| net.name = "x".repeat(257)),
    ("ascending order", |net| net.notes = vec![("b".into(), "".into()), ("a".into(), "".into())]),
    ("a key is empty", |net| net.notes = vec![("".into(), "".into())]),
    ("have 65537 bytes", |net| net.notes = vec![("k".into(), "x".repeat(65_536))]),
    ("there are 0;", |net| net.layers.clear()),
    ("is not 1 to 64", |net| net.layers[0].name = "a b".into()),
    ("are taken", |net| net.layers[0].name = "encoder.sign".into()),
    ("same name", |net| net.layers[1].name = net.layers[0].name.clone()),
    ("gives the scores", |net| net.layers.truncate(3)),
    ("is value 9,", |net| net.layers[2].inputs[0].0 = 9),
    ("is value 4,", |net| net.layers[3].inputs[0].0 = 4),
    ("has 2 operands", |net| net.layers[1].inputs.push(ValueId(0))),
    ("sign cannot read", |net| net.layers[2].inputs[0].0 = 0),
    ("quantize cannot read", |net| net.layers[2] = layer("q", LayerOp::Quantize { bits: 2 }, &[1])),
    ("codes of 9 bits", |net| net.layers[2] = layer("q", LayerOp::Quantize { bits: 9 }, &[2])),
    ("heaviside cannot read", |net| net.layers[2] = layer("h", LayerOp::Heaviside, &[0])),
    ("one type", |net| net.layers[2] = layer("add", LayerOp::Add, &[1, 2])),
    ("reads an image", |net| net.encoder = Encoder::ChannelThermometer { cuts: vec![1] }),
    ("no integer bias", |net| *dense(net) = LayerOp::Dense {
        weights: Weights::Real(Matrix::from_fn(4, 6, |_, _| 1.0)), bias: Some(vec![0; 4]) }),
    ("not a finite number", |net| *dense(net) = LayerOp::Dense {
        weights: Weights::Real(Matrix::from_fn(4, 6, |_, _| f32::NAN)), bias: None }),
    ("reads levels(8)", |net| net.input.kind = Kind::Bits),
    ("neither 1 nor 3", |net| net.input.shape = vec![2, 3]),
    ("size zero", |net| net.input.shape = vec![0]),
    ("reads real of rank 1", |net| net.encoder = Encoder::RealThermometer { cuts: vec![vec![0.0; 6]] }),
    ("no cuts", |net| net.encoder = Encoder::RealThermometer { cuts: vec![] }),
    ("is NaN", |net| net.encoder = Encoder::RealThermometer { cuts: vec![vec![f32::NAN; 6]] }),
    ("below the one", |net| net.encoder = Encoder::RealThermometer { cuts: vec![vec![1.0; 6], vec![0.0; 6]] }),
    ("cut 0 has 5", |net| net.encoder = Encoder::RealThermometer { cuts: vec![vec![1.0; 5]] }),
    ("keeps 9 bits", |net| net.encoder = Encoder::FixedPoint { bits: 9 }),
    ("not in ascending", |net| net.encoder = Encoder::Thermometer { cuts: vec![3, 2] }),
    ("row of weights has 6", |net| net.input.shape = vec![7]),
    ("bias has 1", |net| *bias(net) = Some(vec![1])),
    ("2^24 is not exact", |net| *bias(net) = Some(vec![1 << 24; 4])),
    ("gamma has 0", |net| norm(net).gamma.clear()),
    ("gamma of channel 1 is NaN", |net| norm(net).gamma[1] = f32::NAN),
    ("mean of channel 0 is inf", |net| norm(net).mean[0] = f32::INFINITY),
    ("var of channel 2 is negative", |net| norm(net).var[2] = -1.0),
    ("eps is", |net| norm(net).eps = -1.0),
    ("scale inf", |net| { norm(net).var[3] = 0.0; norm(net).eps = 0.0; norm(net).gamma[3] = 1.0 }),
    ("both must be finite", |net| { norm(net).gamma[0] = 1e30; norm(net).mean[0] = 1e30 }),
    ("mask is 4 by 5", |net| *weights(net) = Weights::Ternary {
        sign: BitMatrix::zeros(4, 6), mask: BitMatrix::zeros(4, 5) }),
    ("row 2 has a sign bit", |net| *weights(net) = Weights::Ternary {
        sign: BitMatrix::from_fn(4, 6, |row, _| row == 2), mask: BitMatrix::zeros(4, 6) }),
    ("0 by 6", |net| *weights(net) = Weights::Bits(BitMatrix::zeros(0, 6))),
];

fn dense(net: &mut Net) -> &mut LayerOp {
    &mut net.layers[0].op
}

fn weights(net: &mut Net) -> &mut Weights {
    let LayerOp::Dense { weights, .. } = dense(net) else {
        panic!("not a dense")
    };
    weights
}

fn bias(net: &mut Net) -> &mut Option<Vec<i32>> {
    let LayerOp::Dense { bias, .. } = dense(net) else {
        panic!("not a dense")
    };
    bias
}

fn norm(net: &mut Net) -> &mut BatchNorm {
    let LayerOp::Norm(norm) = &mut net.layers[1].op else {
        panic!("not a norm")
    };
    norm
}

#[test]
fn every_invariant_is_checked() {
    check_net(&small_net()).unwrap();
    for (word, spoil) in CASES {
        let mut net = small_net();
        spoil(&mut net);
        let errors = check_net(&net).expect_err(word).to_string();
        assert!(errors.contains(word), "{word:?} is not in: {errors}");
    }
}

#[test]
fn all_violations_are_listed() {
    let mut net = small_net();
    net.layers[0].name = String::new();
    norm(&mut net).eps = -1.0;
    assert_eq!(check_net(&net).unwrap_err().violations.len(), 2);
}

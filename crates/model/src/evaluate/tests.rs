//! The evaluation against formulas written out.

use super::*;
use crate::net::{BatchNorm, Encoder};
use crate::program::{Conv2d, Kind, Type, Window};
use crate::weights::{BitMatrix, Matrix, Weights};

/// A layer that reads these values.
pub(crate) fn layer(name: &str, op: LayerOp, inputs: &[usize]) -> Layer {
    Layer {
        name: name.into(),
        op,
        inputs: inputs.iter().map(|&id| ValueId(id)).collect(),
    }
}

/// Six pixels, a hidden layer of four with a norm, two scores without one.
pub(crate) fn small_net() -> Net {
    let weights = Weights::Bits(BitMatrix::from_fn(4, 6, |row, col| (row + col) % 3 == 0));
    let bias = Some(vec![1, 0, -1, 0]);
    let norm = BatchNorm {
        gamma: vec![1.0, -0.5, 0.0, 2.0],
        beta: vec![0.1, 0.0, -0.25, 0.5],
        mean: vec![0.5, -1.5, 0.0, 3.0],
        var: vec![4.0, 1.0, 0.25, 9.0],
        eps: 1e-5,
    };
    let mask = BitMatrix::from_fn(2, 4, |row, col| row != col);
    let sign = BitMatrix::from_fn(2, 4, |row, col| row != col && col == 2);
    let scores = LayerOp::Dense {
        weights: Weights::Ternary { sign, mask },
        bias: None,
    };
    Net {
        name: "small".into(),
        input: Type {
            kind: Kind::Levels(8),
            shape: vec![6],
        },
        encoder: Encoder::Sign { at: 128 },
        layers: vec![
            layer("fc1", LayerOp::Dense { weights, bias }, &[0]),
            layer("fc1.norm", LayerOp::Norm(norm), &[1]),
            layer("fc1.sign", LayerOp::Sign, &[2]),
            layer("fc2", scores, &[3]),
        ],
        notes: vec![("classes".into(), "no yes".into())],
    }
}

#[test]
fn a_small_net_by_hand() {
    let net = small_net();
    let image = Tensor::Levels(vec![0, 127, 128, 255, 200, 3]);
    let evaluation = evaluate(&net, &image).unwrap();
    let x = [-1, -1, 1, 1, 1, -1];
    assert_eq!(
        evaluation.encoded,
        Tensor::Bits(x.iter().map(|&x| x > 0).collect())
    );
    let LayerOp::Dense { weights, bias } = &net.layers[0].op else {
        panic!("not a dense")
    };
    let LayerOp::Norm(norm) = &net.layers[1].op else {
        panic!("not a norm")
    };
    let (mut accs, mut normed) = (vec![], vec![]);
    for row in 0..4 {
        let sum: i32 = (0..6).map(|col| weights.get(row, col) * x[col]).sum();
        let acc = sum + bias.as_ref().unwrap()[row];
        let (scale, shift) = norm.scale_shift(row, f32::sqrt);
        accs.push(acc);
        normed.push(acc as f32 * scale + shift);
    }
    let bits = normed.iter().map(|&y| y >= 0.0).collect();
    assert_eq!(evaluation.values[0], Tensor::Int(accs));
    assert_eq!(evaluation.values[1], Tensor::Real(normed));
    assert_eq!(evaluation.values[2], Tensor::Bits(bits));
    let Tensor::Bits(hidden) = &evaluation.values[2] else {
        panic!("not bits")
    };
    let sign = |idx: usize| 2 * i32::from(hidden[idx]) - 1;
    let scores = vec![-sign(1) + sign(2) - sign(3), -sign(0) + sign(2) - sign(3)];
    assert_eq!(evaluation.scores(), &Tensor::Int(scores));
}

#[test]
fn minus_zero_is_plus_one() {
    let mut net = small_net();
    let LayerOp::Norm(norm) = &mut net.layers[1].op else {
        panic!("not a norm")
    };
    (norm.gamma[0], norm.beta[0], norm.mean[0]) = (-0.0, -0.0, 0.0);
    let evaluation = evaluate(&net, &Tensor::Levels(vec![255; 6])).unwrap();
    let (Tensor::Real(normed), Tensor::Bits(hidden)) =
        (&evaluation.values[1], &evaluation.values[2])
    else {
        panic!("not reals and bits")
    };
    assert_eq!(normed[0], 0.0);
    assert!(hidden[0]);
}

#[test]
fn codes_round_half_away_from_zero() {
    let codes = |bits: u8, x: &[f32]| quantize(bits, &Tensor::Real(x.to_vec()));
    let x = [-1.0, -0.0, 0.16, 0.5, 0.84, 1.0, 7.0, f32::NAN];
    assert_eq!(codes(2, &x), Tensor::Levels(vec![0, 0, 0, 2, 3, 3, 3, 0]));
    assert_eq!(codes(1, &x), Tensor::Levels(vec![0, 0, 0, 1, 1, 1, 1, 0]));
    let ends = [0.0, 1.0, 0.501, f32::INFINITY, f32::NEG_INFINITY];
    assert_eq!(codes(8, &ends), Tensor::Levels(vec![0, 255, 128, 255, 0]));
}

#[test]
fn heaviside_and_sign_differ_at_zero() {
    let x = Tensor::Real(vec![
        -0.0,
        0.0,
        f32::from_bits(1),
        -f32::from_bits(1),
        f32::NAN,
    ]);
    assert_eq!(heaviside(&x), Tensor::Levels(vec![0, 0, 1, 0, 0]));
    assert_eq!(sign(&x), Tensor::Bits(vec![true, true, true, false, false]));
    let x = Tensor::Int(vec![-1, 0, 1]);
    assert_eq!(heaviside(&x), Tensor::Levels(vec![0, 0, 1]));
    assert_eq!(sign(&x), Tensor::Bits(vec![false, true, true]));
}

/// The sums of a convolution, each tap looked up and added on its own.
fn naive(conv: &Conv2d, size: [usize; 3], x: &[f32]) -> Vec<f32> {
    let [height, width, channels] = size;
    let [out_height, out_width] = conv.window.output([height, width]).unwrap();
    let n_group = channels / conv.groups;
    let mut out = vec![];
    for idx in 0..out_height * out_width * conv.weights.n_rows() {
        let (position, row) = (idx / conv.weights.n_rows(), idx % conv.weights.n_rows());
        let (y, at_x) = (position / out_width, position % out_width);
        let first = row / (conv.weights.n_rows() / conv.groups) * n_group;
        let mut sum = 0.0f32;
        for col in 0..conv.weights.n_cols() {
            let (tap, channel) = (col / n_group, first + col % n_group);
            let [i, j] = [tap / conv.window.kernel[1], tap % conv.window.kernel[1]];
            let source = conv.window.source(0, y, i, height);
            let element = match source.zip(conv.window.source(1, at_x, j, width)) {
                Some((y, x_idx)) => x[(y * width + x_idx) * channels + channel],
                None => conv.pad as f32,
            };
            sum += conv.weights.get_real(row, col) * element;
        }
        out.push(sum);
    }
    out
}

#[test]
fn convolutions_of_every_shape_round_as_the_naive_sum() {
    let mut state = 7u32;
    let mut random = |n: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % n
    };
    for _ in 0..200 {
        let groups = 1 + random(3) as usize;
        let size = [
            1 + random(7) as usize,
            1 + random(7) as usize,
            groups * (1 + random(4) as usize),
        ];
        let mut pair = |n: u32| [1 + random(n) as usize, 1 + random(n) as usize];
        let mut window = Window {
            stride: pair(3),
            dilation: pair(2),
            ..Window::new(pair(3))
        };
        window.pads = [(); 4].map(|()| random(3) as usize);
        let n_cols = window.kernel[0] * window.kernel[1] * size[2] / groups;
        let n_rows = groups * (1 + random(40) as usize);
        let mut number = || (random(2001) as f32 - 1000.0) / 37.0;
        let weights = Weights::Real(Matrix::from_fn(n_rows, n_cols, |_, _| number()));
        let x: Vec<f32> = (0..size.iter().product()).map(|_| number()).collect();
        let pad = random(3) as i32 - 1;
        let conv = Conv2d {
            weights,
            bias: None,
            window,
            groups,
            pad,
        };
        if conv.window.output([size[0], size[1]]).is_none() {
            continue;
        }
        let ty = Type {
            kind: Kind::Real,
            shape: size.to_vec(),
        };
        let found = Product::conv2d(&conv, &ty).evaluate(&Tensor::Real(x.clone()));
        let expected = Tensor::Real(naive(&conv, size, &x));
        assert_eq!(
            found.first_difference(&expected),
            None,
            "{size:?} {window:?}"
        );
    }
}

#[test]
fn encoders_follow_their_formula_on_every_pixel() {
    let pixels: Vec<u8> = (0..=255).collect();
    let image = Tensor::Levels(pixels.clone());
    for bits in 1..=8u8 {
        let encoded = encode(&Encoder::FixedPoint { bits }, &image, &[256]);
        let Tensor::Bits(planes) = encoded else {
            panic!("not bits")
        };
        for (idx, pixel) in pixels.iter().enumerate() {
            let code: u32 = (0..usize::from(bits))
                .map(|p| u32::from(planes[p * 256 + idx]) << p)
                .sum();
            assert_eq!(code, u32::from(*pixel) >> (8 - bits));
        }
    }
    let cuts = vec![0, 3, 3, 255];
    let encoded = encode(&Encoder::Thermometer { cuts: cuts.clone() }, &image, &[256]);
    let Tensor::Bits(bits) = encoded else {
        panic!("not bits")
    };
    let encoder = Encoder::ChannelThermometer { cuts: cuts.clone() };
    let Tensor::Bits(by_position) = encode(&encoder, &image, &[8, 8, 4]) else {
        panic!("not bits")
    };
    for (cut_idx, cut) in cuts.iter().enumerate() {
        for (idx, pixel) in pixels.iter().enumerate() {
            assert_eq!(bits[cut_idx * 256 + idx], pixel >= cut);
            let (position, channel) = (idx / 4, idx % 4);
            assert_eq!(
                by_position[position * 16 + cut_idx * 4 + channel],
                pixel >= cut
            );
        }
    }
}

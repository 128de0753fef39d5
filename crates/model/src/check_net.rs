//! The check of a Net: every invariant that lowering, evaluating and saving rely on.
//!
//! A Net comes in; nothing or the list of all violations goes out. A Net that passes can be
//! evaluated exactly: its sums stay below 2^24 and its norms have finite factors and addends.

use std::collections::BTreeSet;

use crate::checks::{
    check_len, check_title_and_notes, check_type, check_weights, is_name, row_reach,
};
use crate::limits::{MAX_ELEMENTS, MAX_EXACT_SUM, MAX_NODES};
use crate::net::{Activation, BatchNorm, Encoder, Layer, Net};
use crate::program::Kind;
use crate::violation::{Findings, VerifyErrors};
use crate::weights::Weights;

/// Checks every invariant of a Net.
///
/// Layer names are those of nodes without dots: lowering names its own nodes `LAYER.sign` and so on.
pub fn check_net(net: &Net) -> Result<(), VerifyErrors> {
    let mut findings = Findings::default();
    check_title_and_notes(&net.name, &net.notes, &mut findings);
    if net.layers.is_empty() || net.layers.len() > MAX_NODES {
        let n = net.layers.len();
        findings.add(
            "layers",
            format!("there are {n}; 1 to {MAX_NODES} are possible"),
        );
    }
    let mut operand = check_input(net, &mut findings);
    let mut names = BTreeSet::new();
    for (layer_idx, layer) in net.layers.iter().enumerate() {
        let location = format!("layer {layer_idx} ({})", layer.name);
        if !is_name(&layer.name) || layer.name.contains('.') {
            findings.add(
                &location,
                "the name is not 1 to 64 letters, digits, `_` and `-`",
            );
        }
        if !names.insert(&layer.name) {
            findings.add(&location, "another layer has the same name");
        }
        let is_last = layer_idx + 1 == net.layers.len();
        if (layer.activation == Activation::Scores) != is_last {
            findings.add(
                &location,
                "the last layer, and no other, has activation scores",
            );
        }
        check_layer(layer, operand, &location, &mut findings);
        operand = Some(Operand {
            n: layer.weights.n_rows(),
            low: -1,
            high: 1,
        });
    }
    findings.finish(())
}

/// What a layer reads: how many elements, and from where to where each can be.
#[derive(Clone, Copy)]
struct Operand {
    n: usize,
    low: i64,
    high: i64,
}

/// Checks input and encoder; gives the first layer's operand if it is known.
fn check_input(net: &Net, findings: &mut Findings) -> Option<Operand> {
    let is_sound = check_type(&net.input, "input", findings);
    let rank = net.input.shape.len();
    let is_real = matches!(net.encoder, Encoder::RealThermometer { .. });
    if is_real {
        if net.input.kind != Kind::Real || rank != 1 {
            let ty = &net.input;
            findings.add(
                "input",
                format!("real-thermometer reads real of rank 1, not {ty}"),
            );
        }
    } else {
        if net.input.kind != Kind::Levels(8) {
            let ty = &net.input;
            findings.add("input", format!("this encoder reads levels(8), not {ty}"));
        }
        if rank != 1 && rank != 3 {
            findings.add("input", format!("rank {rank} is neither 1 nor 3"));
        }
    }
    if !is_sound {
        return None;
    }
    let n = net.input.n_elements();
    check_encoder(&net.encoder, n, findings);
    let n_outputs = net.encoder.n_outputs(n);
    if n_outputs > MAX_ELEMENTS {
        findings.add(
            "encoder",
            format!("gives more than {MAX_ELEMENTS} elements"),
        );
        return None;
    }
    let (low, high) = match net.encoder {
        Encoder::ZeroOne { .. } => (0, 1),
        Encoder::Levels => (0, 255),
        _ => (-1, 1),
    };
    Some(Operand {
        n: n_outputs,
        low,
        high,
    })
}

fn check_encoder(encoder: &Encoder, n: usize, findings: &mut Findings) {
    match encoder {
        Encoder::Sign { .. } | Encoder::ZeroOne { .. } | Encoder::Levels => {}
        Encoder::FixedPoint { bits } => {
            if !(1..=8).contains(bits) {
                findings.add("encoder", format!("keeps {bits} bits; 1 to 8 are possible"));
            }
        }
        Encoder::Thermometer { cuts } => {
            if cuts.is_empty() || !cuts.is_sorted() {
                findings.add("encoder", "the cuts are empty or not in ascending order");
            }
        }
        Encoder::RealThermometer { cuts } => check_real_cuts(cuts, n, findings),
    }
}

fn check_real_cuts(cuts: &[Vec<f32>], n: usize, findings: &mut Findings) {
    if cuts.is_empty() {
        findings.add("encoder", "there are no cuts");
    }
    for (cut_idx, row) in cuts.iter().enumerate() {
        check_len(&format!("cut {cut_idx}"), row.len(), n, "encoder", findings);
        if let Some(feature) = row.iter().position(|cut| cut.is_nan()) {
            findings.add(
                "encoder",
                format!("cut {cut_idx} of feature {feature} is NaN"),
            );
        }
        let before = cut_idx.checked_sub(1).map(|idx| cuts[idx].iter());
        let mut pairs = before.into_iter().flatten().zip(row);
        if let Some(feature) = pairs.position(|(before, cut)| before > cut) {
            let message = format!("cut {cut_idx} of feature {feature} is below the one before it");
            findings.add("encoder", message);
        }
    }
}

fn check_layer(layer: &Layer, operand: Option<Operand>, location: &str, findings: &mut Findings) {
    if !check_weights(&layer.weights, location, findings) {
        return;
    }
    if matches!(layer.weights, Weights::Int8(_) | Weights::Real(_)) {
        findings.add(location, "the weights of a Net are bits or ternary");
        return;
    }
    let n_rows = layer.weights.n_rows();
    if let Some(operand) = operand {
        let n_cols = layer.weights.n_cols();
        check_len("a row of weights", n_cols, operand.n, location, findings);
        check_sums(
            &layer.weights,
            layer.bias.as_deref(),
            operand,
            location,
            findings,
        );
    }
    if let Some(bias) = &layer.bias {
        check_len("bias", bias.len(), n_rows, location, findings);
    }
    if let Some(norm) = &layer.norm {
        check_norm(norm, n_rows, location, findings);
    }
}

/// Checks that no sum, with its bias or without, reaches 2^24.
fn check_sums(
    weights: &Weights,
    bias: Option<&[i32]>,
    operand: Operand,
    location: &str,
    findings: &mut Findings,
) {
    for row in 0..weights.n_rows() {
        let bias = bias
            .and_then(|bias| bias.get(row))
            .map_or(0, |&bias| i64::from(bias));
        let (low, high) = row_reach(weights, row, operand.low, operand.high);
        let extremes = [low, high, low + bias, high + bias, bias];
        if extremes.iter().any(|sum| sum.abs() >= MAX_EXACT_SUM) {
            let (low, high) = (low + bias, high + bias);
            let message = format!("row {row} reaches {low} to {high}; 2^24 is not exact");
            findings.add(location, message);
            return;
        }
    }
}

fn check_norm(norm: &BatchNorm, n_rows: usize, location: &str, findings: &mut Findings) {
    let lists = [&norm.gamma, &norm.beta, &norm.mean, &norm.var];
    for (what, list) in ["gamma", "beta", "mean", "var"].iter().zip(lists) {
        check_len(what, list.len(), n_rows, location, findings);
        if let Some(channel) = list.iter().position(|x| !x.is_finite()) {
            let x = list[channel];
            findings.add(
                location,
                format!("{what} of channel {channel} is {x}, not finite"),
            );
            return;
        }
    }
    if let Some(channel) = norm.var.iter().position(|&var| var < 0.0) {
        findings.add(location, format!("var of channel {channel} is negative"));
        return;
    }
    if !norm.eps.is_finite() || norm.eps < 0.0 {
        let eps = norm.eps;
        findings.add(
            location,
            format!("eps is {eps}; it must be finite and not negative"),
        );
        return;
    }
    if lists.iter().any(|list| list.len() != n_rows) {
        return;
    }
    for channel in 0..n_rows {
        let (scale, shift) = norm.scale_shift(channel, f32::sqrt);
        if !scale.is_finite() || !shift.is_finite() {
            let message = format!(
                "channel {channel} has scale {scale} and shift {shift}; both must be finite: \
                 raise eps or retrain the channel"
            );
            findings.add(location, message);
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::tests::small_net;
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
        ("the name is not", |net| net.layers[0].name = "a.b".into()),
        ("same name", |net| net.layers[1].name = net.layers[0].name.clone()),
        ("activation scores", |net| net.layers[0].activation = Activation::Scores),
        ("activation scores", |net| net.layers[1].activation = Activation::Sign),
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
        ("bias has 1", |net| net.layers[0].bias = Some(vec![1])),
        ("2^24 is not exact", |net| net.layers[0].bias = Some(vec![1 << 24; 4])),
        ("gamma has 0", |net| norm(net).gamma.clear()),
        ("gamma of channel 1 is NaN", |net| norm(net).gamma[1] = f32::NAN),
        ("mean of channel 0 is inf", |net| norm(net).mean[0] = f32::INFINITY),
        ("var of channel 2 is negative", |net| norm(net).var[2] = -1.0),
        ("eps is", |net| norm(net).eps = -1.0),
        ("scale inf", |net| { norm(net).var[3] = 0.0; norm(net).eps = 0.0; norm(net).gamma[3] = 1.0 }),
        ("both must be finite", |net| { norm(net).gamma[0] = 1e30; norm(net).mean[0] = 1e30 }),
        ("mask is 4 by 5", |net| net.layers[0].weights = Weights::Ternary {
            sign: BitMatrix::zeros(4, 6), mask: BitMatrix::zeros(4, 5) }),
        ("row 2 has a sign bit", |net| net.layers[0].weights = Weights::Ternary {
            sign: BitMatrix::from_fn(4, 6, |row, _| row == 2), mask: BitMatrix::zeros(4, 6) }),
        ("the weights of a Net are bits or ternary", |net| net.layers[0].weights =
            Weights::Int8(Matrix::from_fn(4, 6, |_, _| 1))),
        ("the weights of a Net are bits or ternary", |net| net.layers[0].weights =
            Weights::Real(Matrix::from_fn(4, 6, |_, _| 1.0))),
        ("0 by 6", |net| net.layers[0].weights = Weights::Bits(BitMatrix::zeros(0, 6))),
    ];

    fn norm(net: &mut Net) -> &mut BatchNorm {
        net.layers[0].norm.as_mut().unwrap()
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
        net.layers[1].bias = Some(vec![]);
        assert_eq!(check_net(&net).unwrap_err().violations.len(), 2);
    }
}

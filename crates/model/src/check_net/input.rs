//! The input and its encoder: kinds, shapes, cuts, and the type of the first operand.

use crate::checks::{check_len, check_type};
use crate::limits::MAX_ELEMENTS;
use crate::net::{Encoder, Net};
use crate::program::{Kind, Type};
use crate::verify::{Known, with_kind_range};
use crate::violation::Findings;

/// Checks input and encoder; gives the encoded input if it is known.
pub(super) fn check(net: &Net, findings: &mut Findings) -> Known {
    let is_sound = check_type(&net.input, "input", findings);
    check_input(net, findings);
    if !is_sound {
        return None;
    }
    let n = net.input.n_elements();
    check_encoder(&net.encoder, n, findings);
    let factor = net.encoder.n_outputs(1);
    if factor == 0 {
        return None;
    }
    if n.checked_mul(factor).is_none_or(|n| n > MAX_ELEMENTS) {
        findings.add(
            "encoder",
            format!("gives more than {MAX_ELEMENTS} elements"),
        );
        return None;
    }
    let kind = match net.encoder {
        Encoder::ZeroOne { .. } => Kind::Levels(1),
        Encoder::Levels => net.input.kind,
        _ => Kind::Bits,
    };
    let mut shape = net.input.shape.clone();
    match net.encoder {
        Encoder::Sign { .. } | Encoder::ZeroOne { .. } | Encoder::Levels => {}
        Encoder::ChannelThermometer { .. } => {
            if let Some(channels) = shape.last_mut() {
                *channels *= factor;
            }
        }
        _ => shape = vec![n * factor],
    }
    Some(with_kind_range(Type { kind, shape }))
}

/// Checks kind and rank of the input.
fn check_input(net: &Net, findings: &mut Findings) {
    let rank = net.input.shape.len();
    let ty = &net.input;
    if let Encoder::RealThermometer { .. } = net.encoder {
        if ty.kind != Kind::Real || rank != 1 {
            let message = format!("real-thermometer reads real of rank 1, not {ty}");
            findings.add("input", message);
        }
        return;
    }
    if ty.kind != Kind::Levels(8) {
        findings.add("input", format!("this encoder reads levels(8), not {ty}"));
    }
    let is_image_needed = matches!(net.encoder, Encoder::ChannelThermometer { .. });
    if is_image_needed && rank != 3 {
        findings.add(
            "input",
            format!("channel-thermometer reads an image, not {ty}"),
        );
    } else if rank != 1 && rank != 3 {
        findings.add("input", format!("rank {rank} is neither 1 nor 3"));
    }
}

fn check_encoder(encoder: &Encoder, n: usize, findings: &mut Findings) {
    match encoder {
        Encoder::Sign { .. } | Encoder::ZeroOne { .. } | Encoder::Levels => {}
        Encoder::FixedPoint { bits } => {
            if !(1..=8).contains(bits) {
                findings.add("encoder", format!("keeps {bits} bits; 1 to 8 are possible"));
            }
        }
        Encoder::Thermometer { cuts } | Encoder::ChannelThermometer { cuts } => {
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

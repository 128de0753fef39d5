//! The check of a Net: every invariant that lowering, evaluating and saving rely on.
//!
//! A Net comes in; [`NetTypes`], the type of every layer's value, or the list of all violations goes out. A Net
//! that passes can be evaluated exactly: its integer sums stay below 2^24 and its norms have finite factors
//! and addends. Layers with a Program op of their name are checked by the rules of `verify`.

mod input;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use crate::checks::{check_len, check_title_and_notes, row_reach};
use crate::limits::{MAX_EXACT_SUM, MAX_NODES, MAX_OPERANDS, MAX_TOTAL_ELEMENTS};
use crate::net::{BatchNorm, Layer, LayerOp, Net};
use crate::program::{Conv2d, Kind, Node, Type, ValueId};
use crate::verify::{IntRange, Known, Typed, check_name, check_node, with_kind_range};
use crate::violation::{Findings, VerifyErrors};
use crate::weights::Weights;

/// The type and range of every value of a checked Net.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetTypes {
    // Indexed by `ValueId`; private because only `check_net` may vouch for them.
    values: Vec<Typed>,
}

impl NetTypes {
    /// The type of a value: 0 is the encoded input, `i + 1` what layer `i` computes.
    pub fn of(&self, id: ValueId) -> &Type {
        &self.values[id.0].0
    }

    /// The range of a value's elements; `None` for reals.
    pub fn range(&self, id: ValueId) -> Option<IntRange> {
        self.values[id.0].1
    }

    /// Number of values: the encoded input and one per layer.
    pub fn n_values(&self) -> usize {
        self.values.len()
    }
}

/// Checks every invariant of a Net and infers the type of every value.
pub fn check_net(net: &Net) -> Result<NetTypes, VerifyErrors> {
    let mut findings = Findings::default();
    let values = check_values(net, &mut findings);
    if net.layers.is_empty() {
        findings.add(
            "layers",
            format!("there are 0; 1 to {MAX_NODES} are possible"),
        );
    }
    if let (Some(last), Some(Some((ty, _)))) = (net.layers.last(), values.last())
        && !matches!(ty.kind, Kind::Int | Kind::Real)
    {
        let location = format!("layer {} ({})", net.layers.len() - 1, last.name);
        findings.add(
            &location,
            format!("the last layer gives the scores, which are int or real, not {ty}"),
        );
    }
    finish(values, findings)
}

/// As [`check_net`], of a Net that is still built: it may lack layers, and the last may give anything.
pub fn check_unfinished(net: &Net) -> Result<NetTypes, VerifyErrors> {
    let mut findings = Findings::default();
    let values = check_values(net, &mut findings);
    finish(values, findings)
}

fn finish(values: Vec<Known>, findings: Findings) -> Result<NetTypes, VerifyErrors> {
    // A value stays unknown only where something was found, so `finish` sees all or none.
    let values = values.into_iter().flatten().collect();
    findings.finish(NetTypes { values })
}

/// Checks everything but the end; gives what is known of each value.
fn check_values(net: &Net, findings: &mut Findings) -> Vec<Known> {
    check_title_and_notes(&net.name, &net.notes, findings);
    check_counts(net, findings);
    let mut values: Vec<Known> = vec![input::check(net, findings)];
    let mut names = BTreeSet::new();
    let mut n_elements = 0;
    for (layer_idx, layer) in net.layers.iter().enumerate() {
        let location = format!("layer {layer_idx} ({})", layer.name);
        check_name(&layer.name, &location, findings);
        if layer.name.starts_with("encoder.") {
            findings.add(&location, "names that begin with `encoder.` are taken");
        }
        if !names.insert(&layer.name) {
            findings.add(&location, "another layer has the same name");
        }
        let value = check_layer(layer, &values, &location, findings);
        n_elements += value.as_ref().map_or(0, |(ty, _)| ty.n_elements());
        values.push(value);
    }
    if n_elements > MAX_TOTAL_ELEMENTS {
        let message =
            format!("have {n_elements} elements together; the limit is {MAX_TOTAL_ELEMENTS}");
        findings.add("layers", message);
    }
    values
}

fn check_counts(net: &Net, findings: &mut Findings) {
    let n = net.layers.len();
    if n > MAX_NODES {
        findings.add("layers", format!("there are {n}; the limit is {MAX_NODES}"));
    }
    let n_operands: usize = net.layers.iter().map(|layer| layer.inputs.len()).sum();
    if n_operands > MAX_OPERANDS {
        findings.add(
            "layers",
            format!("have {n_operands} operands; the limit is {MAX_OPERANDS}"),
        );
    }
}

/// Checks one layer against the values before it and infers its own value.
fn check_layer(layer: &Layer, values: &[Known], location: &str, findings: &mut Findings) -> Known {
    let Some(op) = layer.op.program_op() else {
        let x = sole_operand(layer, values, location, findings)?;
        return check_own(&layer.op, x, location, findings);
    };
    let node = Node {
        name: layer.name.clone(),
        op,
        inputs: layer.inputs.clone(),
    };
    let value = check_node(&node, values, location, findings);
    let operand = layer.inputs.first().and_then(|id| values.get(id.0));
    let operand = operand.and_then(Option::as_ref);
    if let (Some(value), Some(operand)) = (&value, operand) {
        check_exact(&layer.op, operand, value, location, findings);
    }
    value
}

/// The only operand of a layer; `None`, noted, if there is another number or it is no earlier value.
fn sole_operand<'a>(
    layer: &Layer,
    values: &'a [Known],
    location: &str,
    findings: &mut Findings,
) -> Option<&'a Typed> {
    let &[id] = &layer.inputs[..] else {
        let n = layer.inputs.len();
        findings.add(location, format!("has {n} operands, exactly 1 needed"));
        return None;
    };
    match values.get(id.0) {
        Some(value) => value.as_ref(),
        None => {
            let message = format!("operand is value {}, which is not an earlier value", id.0);
            findings.add(location, message);
            None
        }
    }
}

/// Checks a layer that a Program computes with other ops.
fn check_own(op: &LayerOp, (ty, _): &Typed, location: &str, findings: &mut Findings) -> Known {
    let mut demand = |is_right: bool, what: &str| {
        if !is_right {
            let message = format!("{what} cannot read an operand of type {ty}");
            findings.add(location, message);
        }
        is_right
    };
    let kind = match op {
        LayerOp::Sign => demand(ty.kind != Kind::Bits, "sign").then_some(Kind::Bits)?,
        LayerOp::Heaviside => {
            demand(ty.kind != Kind::Bits, "heaviside").then_some(Kind::Levels(1))?
        }
        LayerOp::Quantize { bits } => {
            let is_real = demand(ty.kind == Kind::Real, "quantize");
            if !(1..=8).contains(bits) {
                findings.add(
                    location,
                    format!("codes of {bits} bits; 1 to 8 are possible"),
                );
                return None;
            }
            is_real.then_some(Kind::Levels(*bits))?
        }
        LayerOp::Norm(norm) => {
            let n_channels = ty.shape.last().map_or(0, |&n| n);
            check_norm(norm, n_channels, location, findings).then_some(Kind::Real)?
        }
        _ => unreachable!("the other layers have a Program op of their name"),
    };
    let shape = ty.shape.clone();
    Some(with_kind_range(Type { kind, shape }))
}

/// Checks that what training adds up in binary32 is an integer below 2^24 wherever it is one at all.
fn check_exact(
    op: &LayerOp,
    operand: &Typed,
    (ty, range): &Typed,
    location: &str,
    findings: &mut Findings,
) {
    let Some(elements) = operand.1 else { return };
    let (low, high) = (i64::from(elements.min), i64::from(elements.max));
    match op {
        LayerOp::Dense { weights, bias } => {
            check_sums(weights, bias.as_deref(), (low, high), location, findings);
        }
        LayerOp::Conv2d(Conv2d {
            weights,
            bias,
            window,
            pad,
            ..
        }) => {
            let pad = i64::from(*pad);
            let reach = match window.pads {
                [0, 0, 0, 0] => (low, high),
                _ => (low.min(pad), high.max(pad)),
            };
            check_sums(weights, bias.as_deref(), reach, location, findings);
        }
        LayerOp::AvgPool { window, .. } => {
            let n_taps = (window.kernel[0] * window.kernel[1]) as i64;
            check_pool(n_taps, (low, high), location, findings);
        }
        LayerOp::GlobalAvgPool => {
            let n_taps = operand.0.shape[..2].iter().product::<usize>() as i64;
            check_pool(n_taps, (low, high), location, findings);
        }
        _ => {
            if let (Kind::Int, Some(range)) = (ty.kind, range)
                && [range.min, range.max]
                    .iter()
                    .any(|&x| i64::from(x).abs() >= MAX_EXACT_SUM)
            {
                let IntRange { min, max } = range;
                let message = format!("the result reaches {min} to {max}; 2^24 is not exact");
                findings.add(location, message);
            }
        }
    }
}

fn check_pool(n_taps: i64, (low, high): (i64, i64), location: &str, findings: &mut Findings) {
    let (low, high) = (n_taps * low.min(0), n_taps * high.max(0));
    if low <= -MAX_EXACT_SUM || high >= MAX_EXACT_SUM {
        let message =
            format!("the sum of {n_taps} elements reaches {low} to {high}; 2^24 is not exact");
        findings.add(location, message);
    }
}

/// Checks that no integer sum, whole or partial, with its bias or without, reaches 2^24.
fn check_sums(
    weights: &Weights,
    bias: Option<&[i32]>,
    (low, high): (i64, i64),
    location: &str,
    findings: &mut Findings,
) {
    if weights.is_real() {
        return;
    }
    for row in 0..weights.n_rows() {
        let bias = bias
            .and_then(|bias| bias.get(row))
            .map_or(0, |&bias| i64::from(bias));
        let (low, high) = row_reach(weights, row, low.min(0), high.max(0));
        let extremes = [low, high, low + bias, high + bias, bias];
        if extremes.iter().any(|sum| sum.abs() >= MAX_EXACT_SUM) {
            let (low, high) = (low + bias, high + bias);
            let message = format!("row {row} reaches {low} to {high}; 2^24 is not exact");
            findings.add(location, message);
            return;
        }
    }
}

/// Checks a norm over `n_channels` channels; true if it is sound.
fn check_norm(
    norm: &BatchNorm,
    n_channels: usize,
    location: &str,
    findings: &mut Findings,
) -> bool {
    let lists = [&norm.gamma, &norm.beta, &norm.mean, &norm.var];
    for (what, list) in ["gamma", "beta", "mean", "var"].iter().zip(lists) {
        check_len(what, list.len(), n_channels, location, findings);
        if let Some(channel) = list.iter().position(|x| !x.is_finite()) {
            let x = list[channel];
            findings.add(
                location,
                format!("{what} of channel {channel} is {x}, not finite"),
            );
            return false;
        }
    }
    if let Some(channel) = norm.var.iter().position(|&var| var < 0.0) {
        findings.add(location, format!("var of channel {channel} is negative"));
        return false;
    }
    if !norm.eps.is_finite() || norm.eps < 0.0 {
        let eps = norm.eps;
        findings.add(
            location,
            format!("eps is {eps}; it must be finite and not negative"),
        );
        return false;
    }
    if lists.iter().any(|list| list.len() != n_channels) {
        return false;
    }
    for channel in 0..n_channels {
        let (scale, shift) = norm.scale_shift(channel, f32::sqrt);
        if !scale.is_finite() || !shift.is_finite() {
            let message = format!(
                "channel {channel} has scale {scale} and shift {shift}; both must be finite: \
                 raise eps or retrain the channel"
            );
            findings.add(location, message);
            return false;
        }
    }
    true
}

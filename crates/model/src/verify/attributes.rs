//! What an op says about itself, whatever its operands: lengths, finite numbers, windows.

use alloc::format;

use super::Report;
use crate::checks::check_weights;
use crate::limits::{MAX_ELEMENTS, MAX_PAD};
use crate::program::{Conv2d, Cuts, GroupNorm, Op, ThresholdValues, Window};
use crate::weights::Weights;

/// Checks an op alone; true if its sizes can be relied on.
pub(super) fn check(op: &Op, report: &mut Report<'_>) -> bool {
    match op {
        Op::Dense { weights, bias } => product(weights, bias.as_deref(), report),
        Op::Conv2d(conv) => conv2d(conv, report),
        Op::Threshold(thresholds) => {
            let n = match &thresholds.at {
                ThresholdValues::Int(at) => at.len(),
                ThresholdValues::Real(at) => {
                    no_nan("threshold", at, report);
                    at.len()
                }
            };
            report.check_len("flip", thresholds.flip.len(), n);
            true
        }
        Op::Quantize { bits, cuts } => quantize(*bits, cuts, report),
        Op::Affine { scale, shift } => {
            report.check_len("shift", shift.len(), scale.len());
            finite("scale", scale, report);
            finite("shift", shift, report);
            true
        }
        Op::Clip { min, max } => {
            // False for NaN too.
            let is_sound = min <= max && *min < f32::INFINITY && *max > f32::NEG_INFINITY;
            if !is_sound {
                report.add(format!("clips from {min:?} to {max:?}, which is no range"));
            }
            true
        }
        Op::Prelu { slope } => {
            finite("slope", slope, report);
            true
        }
        Op::Rprelu {
            before,
            slope,
            after,
        } => {
            report.check_len("before", before.len(), slope.len());
            report.check_len("after", after.len(), slope.len());
            finite("before", before, report);
            finite("slope", slope, report);
            finite("after", after, report);
            true
        }
        Op::GroupNorm(norm) => group_norm(norm, report),
        Op::MaxPool(window) | Op::AvgPool { window, .. } => check_window(window, report),
        Op::Planes
        | Op::Relu
        | Op::Add
        | Op::Mul
        | Op::Concat
        | Op::ConcatChannels
        | Op::Slice { .. }
        | Op::Reshape { .. }
        | Op::Transpose { .. }
        | Op::GlobalAvgPool
        | Op::Softmax
        | Op::Argmax => true,
    }
}

fn product(weights: &Weights, bias: Option<&[i32]>, report: &mut Report<'_>) -> bool {
    if let Some(bias) = bias {
        report.check_len("bias", bias.len(), weights.n_rows());
    }
    check_weights(weights, report.location, report.findings)
}

fn conv2d(conv: &Conv2d, report: &mut Report<'_>) -> bool {
    if conv.groups == 0 {
        report.add("has 0 groups; 1 is all channels together");
    }
    let has_weights = product(&conv.weights, conv.bias.as_deref(), report);
    let has_window = check_window(&conv.window, report);
    has_weights && has_window && conv.groups > 0
}

fn group_norm(norm: &GroupNorm, report: &mut Report<'_>) -> bool {
    report.check_len("beta", norm.beta.len(), norm.gamma.len());
    finite("gamma", &norm.gamma, report);
    finite("beta", &norm.beta, report);
    let eps = norm.eps;
    // No range holds a NaN.
    if !(0.0..f32::INFINITY).contains(&eps) {
        report.add(format!("eps is {eps}; it must be finite and not negative"));
    }
    if norm.groups == 0 {
        report.add("has 0 groups; 1 is all channels together");
    }
    norm.groups > 0
}

/// Checks a window by itself, so that arithmetic with it cannot overflow.
fn check_window(window: &Window, report: &mut Report<'_>) -> bool {
    let mut is_sound = true;
    let pairs = [
        ("kernel", window.kernel),
        ("stride", window.stride),
        ("dilation", window.dilation),
    ];
    for (what, pair) in pairs {
        if !pair.iter().all(|n| (1..=MAX_ELEMENTS).contains(n)) {
            report.add(format!("{what} {pair:?} is not from 1 to {MAX_ELEMENTS}"));
            is_sound = false;
        }
    }
    if window.pads.iter().any(|&pad| pad > MAX_PAD) {
        let pads = window.pads;
        report.add(format!("pads {pads:?} are over the limit of {MAX_PAD}"));
        is_sound = false;
    }
    let [height, width] = window.kernel;
    if is_sound && height.checked_mul(width).is_none_or(|n| n > MAX_ELEMENTS) {
        report.add(format!("a kernel of more than {MAX_ELEMENTS} taps"));
        is_sound = false;
    }
    is_sound
}

fn quantize(bits: u8, cuts: &Cuts, report: &mut Report<'_>) -> bool {
    if !(1..=8).contains(&bits) {
        report.add(format!("codes of {bits} bits; 1 to 8 are possible"));
        return false;
    }
    let n = (1usize << bits) - 1;
    let is_ascending = match cuts {
        Cuts::Int(cuts) => cuts.chunks(n).all(<[i32]>::is_sorted),
        Cuts::Real(cuts) => {
            no_nan("cut", cuts, report);
            // A NaN has been noted; it has no place in any order.
            cuts.chunks(n).all(<[f32]>::is_sorted) || cuts.iter().any(|cut| cut.is_nan())
        }
    };
    if !is_ascending {
        report.add("the cuts are not in ascending order");
    }
    true
}

fn no_nan(what: &str, list: &[f32], report: &mut Report<'_>) {
    if let Some(idx) = list.iter().position(|x| x.is_nan()) {
        report.add(format!("{what} {idx} is NaN"));
    }
}

fn finite(what: &str, list: &[f32], report: &mut Report<'_>) {
    if let Some(channel) = list.iter().position(|x| !x.is_finite()) {
        report.add(format!(
            "{what} of channel {channel} is not a finite number"
        ));
    }
}

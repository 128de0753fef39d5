//! Dense and convolution: sizes, and that no integer sum leaves i32.

use alloc::format;
use alloc::vec;

use super::{IntRange, Known, Report, Typed};
use crate::checks::row_reach;
use crate::limits::MAX_PAD_VALUE;
use crate::program::{Conv2d, Kind, Type};
use crate::weights::Weights;

pub(super) fn dense(
    weights: &Weights,
    bias: Option<&[i32]>,
    (ty, range): &Typed,
    report: &mut Report<'_>,
) -> Known {
    report.check_len("a row of weights", weights.n_cols(), ty.n_elements());
    let (kind, range) = sums(weights, bias, *range, report)?;
    let shape = vec![weights.n_rows()];
    Some((Type { kind, shape }, range))
}

pub(super) fn conv2d(conv: &Conv2d, (ty, range): &Typed, report: &mut Report<'_>) -> Known {
    let [height, width, n_channels] = report.image("conv2d", ty)?;
    let (groups, n_rows) = (conv.groups, conv.weights.n_rows());
    if n_channels % groups != 0 || n_rows % groups != 0 {
        report.add(format!(
            "{groups} groups do not divide {n_channels} channels and {n_rows} rows"
        ));
        return None;
    }
    let [kernel_height, kernel_width] = conv.window.kernel;
    // Both factors are at most 2^24.
    let n_cols = (kernel_height * kernel_width) as u64 * (n_channels / groups) as u64;
    if conv.weights.n_cols() as u64 != n_cols {
        let found = conv.weights.n_cols();
        report.add(format!(
            "a row of weights has {found} entries, {n_cols} are needed"
        ));
    }
    check_pad(conv.pad, ty, report);
    let Some([out_height, out_width]) = conv.window.output([height, width]) else {
        report.add(format!("the window does not fit into the operand {ty}"));
        return None;
    };
    let range = range.map(|range| match conv.window.pads {
        [0, 0, 0, 0] => range,
        _ => IntRange {
            min: range.min.min(conv.pad),
            max: range.max.max(conv.pad),
        },
    });
    let (kind, range) = sums(&conv.weights, conv.bias.as_deref(), range, report)?;
    let shape = vec![out_height, out_width, n_rows];
    let result = Type { kind, shape };
    report.check_type(&result).then_some((result, range))
}

/// Checks the value of the elements outside the image.
fn check_pad(pad: i32, ty: &Type, report: &mut Report<'_>) {
    let (min, max) = match ty.kind {
        Kind::Bits => (-1, 1),
        Kind::Levels(bits) => (0, (1 << bits) - 1),
        Kind::Int | Kind::Real => (-MAX_PAD_VALUE, MAX_PAD_VALUE),
    };
    if !(min..=max).contains(&pad) {
        report.add(format!(
            "pad {pad} is not from {min} to {max}, as the operand {ty} needs"
        ));
    }
}

/// The kind and range of the rows' sums over elements of `range`, which is `None` for reals.
fn sums(
    weights: &Weights,
    bias: Option<&[i32]>,
    range: Option<IntRange>,
    report: &mut Report<'_>,
) -> Option<(Kind, Option<IntRange>)> {
    let Some(range) = range.filter(|_| !weights.is_real()) else {
        if bias.is_some() {
            report.add("a real sum has no integer bias; add it with an affine");
        }
        return Some((Kind::Real, None));
    };
    let (low, high) = (i64::from(range.min), i64::from(range.max));
    let (mut min, mut max) = (i64::MAX, i64::MIN);
    for row in 0..weights.n_rows() {
        let bias = bias
            .and_then(|bias| bias.get(row))
            .map_or(0, |&bias| i64::from(bias));
        // A partial sum lacks some terms, as if their elements were zero. The bias may be added first,
        // last or in between, so both extremes must fit with it and without.
        let (below, above) = row_reach(weights, row, low.min(0), high.max(0));
        let fits = [below, above, below + bias, above + bias]
            .iter()
            .all(|&x| i32::try_from(x).is_ok());
        if !fits {
            let (below, above) = (below + bias, above + bias);
            report.add(format!("row {row} reaches {below} to {above}, outside i32"));
            return None;
        }
        let (least, greatest) = row_reach(weights, row, low, high);
        (min, max) = (min.min(least + bias), max.max(greatest + bias));
    }
    let range = IntRange {
        min: i32::try_from(min).ok()?,
        max: i32::try_from(max).ok()?,
    };
    Some((Kind::Int, Some(range)))
}

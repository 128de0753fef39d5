//! Pools: windows that see at least one element, and sums of integers that fit i32.

use alloc::format;
use alloc::vec;

use super::{IntRange, Known, Report, Typed};
use crate::program::{Kind, Type, Window};

pub(super) fn max_pool(window: &Window, (ty, range): &Typed, report: &mut Report<'_>) -> Known {
    let [height, width, n_channels] = report.image("max_pool", ty)?;
    let [out_height, out_width] = output(window, ty, [height, width], report)?;
    check_taps(window, ty, [height, width], [out_height, out_width], report);
    let result = Type {
        kind: ty.kind,
        shape: vec![out_height, out_width, n_channels],
    };
    report.check_type(&result).then_some((result, *range))
}

pub(super) fn avg_pool(
    window: &Window,
    count_pads: bool,
    (ty, range): &Typed,
    report: &mut Report<'_>,
) -> Known {
    let [height, width, n_channels] = report.image("avg_pool", ty)?;
    let [out_height, out_width] = output(window, ty, [height, width], report)?;
    if !count_pads {
        check_taps(window, ty, [height, width], [out_height, out_width], report);
    }
    let n_taps = window.kernel[0].min(height) * window.kernel[1].min(width);
    check_sum(n_taps, *range, report);
    let result = Type {
        kind: Kind::Real,
        shape: vec![out_height, out_width, n_channels],
    };
    report.check_type(&result).then_some((result, None))
}

pub(super) fn global_avg_pool((ty, range): &Typed, report: &mut Report<'_>) -> Known {
    let [height, width, n_channels] = report.image("global_avg_pool", ty)?;
    check_sum(height * width, *range, report);
    let result = Type {
        kind: Kind::Real,
        shape: vec![n_channels],
    };
    Some((result, None))
}

fn output(
    window: &Window,
    ty: &Type,
    size: [usize; 2],
    report: &mut Report<'_>,
) -> Option<[usize; 2]> {
    let output = window.output(size);
    if output.is_none() {
        report.add(format!("the window does not fit into the operand {ty}"));
    }
    output
}

/// Checks that every position of the window has a tap inside the image.
fn check_taps(
    window: &Window,
    ty: &Type,
    size: [usize; 2],
    output: [usize; 2],
    report: &mut Report<'_>,
) {
    for axis in 0..2 {
        let (stride, dilation) = (window.stride[axis], window.dilation[axis]);
        let pad = window.pads[axis];
        let sees = |at: usize| {
            let start = at * stride;
            let first_tap = pad.saturating_sub(start).div_ceil(dilation);
            let is_inside = start + first_tap * dilation - pad < size[axis];
            first_tap < window.kernel[axis] && is_inside
        };
        // Among the positions that begin inside the image or after it the last is the worst.
        let n_before = output[axis].min(pad / stride + 1);
        if !(0..n_before).all(sees) || !sees(output[axis] - 1) {
            report.add(format!(
                "a position of the window lies in the padding alone, over the operand {ty}"
            ));
            return;
        }
    }
}

/// Checks that the sum of `n_taps` integers fits i32.
fn check_sum(n_taps: usize, range: Option<IntRange>, report: &mut Report<'_>) {
    let Some(range) = range else { return };
    // At most 2^24 taps.
    let n_taps = n_taps as i64;
    let low = n_taps * i64::from(range.min.min(0));
    let high = n_taps * i64::from(range.max.max(0));
    if i32::try_from(low).is_err() || i32::try_from(high).is_err() {
        report.add(format!(
            "the sum of {n_taps} elements reaches {low} to {high}, outside i32"
        ));
    }
}

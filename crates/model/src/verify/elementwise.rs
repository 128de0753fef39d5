//! Ops that keep the shape, and argmax: kinds, channels and ranges.

use alloc::format;
use alloc::vec;

use super::{IntRange, Known, Report, Typed, n_channels, with_kind_range};
use crate::program::{Cuts, GroupNorm, Kind, ThresholdValues, Thresholds, Type};

/// A value of the operand's shape and of another kind.
fn of_kind(kind: Kind, ty: &Type) -> Known {
    Some(with_kind_range(Type {
        kind,
        shape: ty.shape.clone(),
    }))
}

pub(super) fn threshold(
    thresholds: &Thresholds,
    (ty, _): &Typed,
    report: &mut Report<'_>,
) -> Known {
    let (is_right, n) = match &thresholds.at {
        ThresholdValues::Int(at) => (matches!(ty.kind, Kind::Int | Kind::Levels(_)), at.len()),
        ThresholdValues::Real(at) => (ty.kind == Kind::Real, at.len()),
    };
    report.check_kind(is_right, "thresholds", ty);
    report.check_len("threshold", n, n_channels(ty));
    of_kind(Kind::Bits, ty)
}

pub(super) fn quantize(bits: u8, cuts: &Cuts, (ty, _): &Typed, report: &mut Report<'_>) -> Known {
    let (is_right, n) = match cuts {
        Cuts::Int(cuts) => (ty.kind != Kind::Real, cuts.len()),
        Cuts::Real(cuts) => (ty.kind == Kind::Real, cuts.len()),
    };
    let n_per_channel = (1usize << bits) - 1;
    if n != n_per_channel && n != n_per_channel * n_channels(ty) {
        let message =
            format!("cuts has {n} entries, {n_per_channel} are needed or as many for each channel");
        report.add(message);
    }
    let is_sound = report.check_kind(is_right, "cuts", ty);
    is_sound.then(|| of_kind(Kind::Levels(bits), ty)).flatten()
}

pub(super) fn affine(scale: &[f32], (ty, _): &Typed, report: &mut Report<'_>) -> Known {
    report.check_len("scale", scale.len(), n_channels(ty));
    of_kind(Kind::Real, ty)
}

pub(super) fn relu((ty, range): &Typed, report: &mut Report<'_>) -> Known {
    let is_right = matches!(ty.kind, Kind::Int | Kind::Real);
    let clamped = range.map(|range| IntRange {
        min: range.min.max(0),
        max: range.max.max(0),
    });
    let is_sound = report.check_kind(is_right, "relu", ty);
    is_sound.then(|| (ty.clone(), clamped))
}

/// An op on reals that needs nothing else.
pub(super) fn real_to_real(what: &str, (ty, range): &Typed, report: &mut Report<'_>) -> Known {
    let is_sound = report.check_kind(ty.kind == Kind::Real, what, ty);
    is_sound.then(|| (ty.clone(), *range))
}

/// An op on reals with one slope per channel.
pub(super) fn per_channel(what: &str, slope: &[f32], x: &Typed, report: &mut Report<'_>) -> Known {
    report.check_len("slope", slope.len(), n_channels(&x.0));
    real_to_real(what, x, report)
}

pub(super) fn group_norm(norm: &GroupNorm, x: &Typed, report: &mut Report<'_>) -> Known {
    let (n, groups) = (n_channels(&x.0), norm.groups);
    report.check_len("gamma", norm.gamma.len(), n);
    if n % groups != 0 {
        report.add(format!("{groups} groups do not divide {n} channels"));
        return None;
    }
    real_to_real("group_norm", x, report)
}

pub(super) fn add(a: &Typed, b: &Typed, report: &mut Report<'_>) -> Known {
    let is_right = matches!(a.0.kind, Kind::Int | Kind::Real);
    if !report.check_kind(is_right, "add", &a.0) || !one_type("add", a, b, report) {
        return None;
    }
    let range = match (a.1, b.1) {
        (Some(a), Some(b)) => {
            let sum = a.min.checked_add(b.min).zip(a.max.checked_add(b.max));
            if sum.is_none() {
                let low = i64::from(a.min) + i64::from(b.min);
                let high = i64::from(a.max) + i64::from(b.max);
                report.add(format!("the sum reaches {low} to {high}, outside i32"));
            }
            let (min, max) = sum?;
            Some(IntRange { min, max })
        }
        _ => None,
    };
    Some((a.0.clone(), range))
}

pub(super) fn mul(a: &Typed, b: &Typed, report: &mut Report<'_>) -> Known {
    let is_right = report.check_kind(a.0.kind == Kind::Real, "mul", &a.0);
    (is_right && one_type("mul", a, b, report)).then(|| a.clone())
}

fn one_type(what: &str, a: &Typed, b: &Typed, report: &mut Report<'_>) -> bool {
    let is_same = a.0 == b.0;
    if !is_same {
        let (a, b) = (&a.0, &b.0);
        report.add(format!(
            "{what} needs operands of one type, not {a} and {b}"
        ));
    }
    is_same
}

pub(super) fn argmax((ty, _): &Typed, report: &mut Report<'_>) -> Known {
    report.check_kind(matches!(ty.kind, Kind::Int | Kind::Real), "argmax", ty);
    if ty.shape.len() != 1 {
        report.add(format!("argmax needs rank 1, the operand is {ty}"));
    }
    let max = i32::try_from(ty.n_elements() - 1).ok()?;
    let index = Type {
        kind: Kind::Int,
        shape: vec![1],
    };
    Some((index, Some(IntRange { min: 0, max })))
}

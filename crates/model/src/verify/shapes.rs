//! Ops that move elements: planes, concat, slice, reshape and transpose.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use super::{IntRange, Known, Report, Typed, n_channels, with_kind_range};
use crate::program::{Kind, Type};

pub(super) fn planes((ty, _): &Typed, report: &mut Report<'_>) -> Known {
    let Kind::Levels(bits) = ty.kind else {
        report.check_kind(false, "planes", ty);
        return None;
    };
    let joined = Type {
        kind: Kind::Bits,
        shape: vec![ty.n_elements() * usize::from(bits)],
    };
    report.check_type(&joined).then(|| with_kind_range(joined))
}

pub(super) fn concat(operands: &[&Typed], report: &mut Report<'_>) -> Known {
    let mut n = 0usize;
    for (ty, _) in operands {
        report.check_kind(ty.kind == Kind::Bits, "concat", ty);
        n = n.saturating_add(ty.n_elements());
    }
    let joined = Type {
        kind: Kind::Bits,
        shape: vec![n],
    };
    report.check_type(&joined).then(|| with_kind_range(joined))
}

pub(super) fn concat_channels(operands: &[&Typed], report: &mut Report<'_>) -> Known {
    let (first, mut range) = operands[0].clone();
    let outer = |ty: &Type| ty.shape[..ty.shape.len() - 1].to_vec();
    let mut n = 0usize;
    for (ty, other) in operands {
        if ty.kind != first.kind || outer(ty) != outer(&first) {
            report.add(format!(
                "concat_channels needs operands of one kind that differ in the last axis only, \
                 not {first} and {ty}"
            ));
            return None;
        }
        n = n.saturating_add(n_channels(ty));
        range = range.zip(*other).map(|(a, b)| IntRange {
            min: a.min.min(b.min),
            max: a.max.max(b.max),
        });
    }
    let mut shape = outer(&first);
    shape.push(n);
    let joined = Type {
        kind: first.kind,
        shape,
    };
    report.check_type(&joined).then_some((joined, range))
}

pub(super) fn slice(
    start: &[usize],
    size: &[usize],
    (ty, range): &Typed,
    report: &mut Report<'_>,
) -> Known {
    let rank = ty.shape.len();
    if start.len() != rank || size.len() != rank {
        report.check_len("start", start.len(), rank);
        report.check_len("size", size.len(), rank);
        return None;
    }
    for (axis, ((&start, &size), &whole)) in start.iter().zip(size).zip(&ty.shape).enumerate() {
        let is_inside = start.checked_add(size).is_some_and(|end| end <= whole);
        if size == 0 || !is_inside {
            report.add(format!(
                "axis {axis}: {size} elements from {start} are no part of {whole}"
            ));
            return None;
        }
    }
    let block = Type {
        kind: ty.kind,
        shape: size.to_vec(),
    };
    Some((block, *range))
}

pub(super) fn reshape(shape: &[usize], (ty, range): &Typed, report: &mut Report<'_>) -> Known {
    let reshaped = Type {
        kind: ty.kind,
        shape: shape.to_vec(),
    };
    if !report.check_type(&reshaped) {
        return None;
    }
    if reshaped.n_elements() != ty.n_elements() {
        report.add(format!(
            "{ty} has another number of elements than {reshaped}"
        ));
        return None;
    }
    Some((reshaped, *range))
}

pub(super) fn transpose(perm: &[usize], (ty, range): &Typed, report: &mut Report<'_>) -> Known {
    let mut sorted = perm.to_vec();
    sorted.sort_unstable();
    if !sorted.iter().copied().eq(0..ty.shape.len()) {
        let rank = ty.shape.len();
        report.add(format!("perm {perm:?} is no permutation of {rank} axes"));
        return None;
    }
    let shape: Vec<usize> = perm.iter().map(|&axis| ty.shape[axis]).collect();
    let turned = Type {
        kind: ty.kind,
        shape,
    };
    Some((turned, *range))
}

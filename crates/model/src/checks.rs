//! Checks that `verify` and `check_net` share: names, notes, shapes and weight matrices.

use alloc::format;
use alloc::string::String;

use crate::limits::{
    MAX_ELEMENTS, MAX_NAME_LEN, MAX_NOTES_LEN, MAX_RANK, MAX_TITLE_LEN, MAX_WEIGHTS,
};
use crate::program::{Kind, Type};
use crate::violation::Findings;
use crate::weights::{BitMatrix, Weights};

/// Whether `name` may name a node: 1 to [`MAX_NAME_LEN`] letters, digits, `_`, `.` and `-`, of ASCII.
pub fn is_name(name: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    (1..=MAX_NAME_LEN).contains(&name.len()) && name.bytes().all(legal)
}

/// Checks the title and the notes.
pub(crate) fn check_title_and_notes(
    title: &str,
    notes: &[(String, String)],
    findings: &mut Findings,
) {
    if title.len() > MAX_TITLE_LEN {
        let n = title.len();
        findings.add(
            "name",
            format!("has {n} bytes; the limit is {MAX_TITLE_LEN}"),
        );
    }
    let n_bytes: usize = notes.iter().map(|(key, text)| key.len() + text.len()).sum();
    if n_bytes > MAX_NOTES_LEN {
        findings.add(
            "notes",
            format!("have {n_bytes} bytes; the limit is {MAX_NOTES_LEN}"),
        );
    }
    for pair in notes.windows(2) {
        if pair[0].0 >= pair[1].0 {
            let (a, b) = (&pair[0].0, &pair[1].0);
            findings.add(
                "notes",
                format!("keys {a:?} and {b:?} are not in ascending order"),
            );
        }
    }
    if let Some((_, _)) = notes.iter().find(|(key, _)| key.is_empty()) {
        findings.add("notes", "a key is empty");
    }
}

/// Checks a shape and the width of levels; true if sizes can be relied on.
pub(crate) fn check_type(ty: &Type, location: &str, findings: &mut Findings) -> bool {
    let mut sound = true;
    if let Kind::Levels(bits) = ty.kind
        && !(1..=8).contains(&bits)
    {
        findings.add(
            location,
            format!("levels({bits}) is not one of levels(1) to levels(8)"),
        );
        sound = false;
    }
    if ty.shape.is_empty() || ty.shape.len() > MAX_RANK {
        let rank = ty.shape.len();
        findings.add(location, format!("rank {rank} is not from 1 to {MAX_RANK}"));
        sound = false;
    }
    if ty.shape.contains(&0) {
        findings.add(location, "an axis has size zero");
        sound = false;
    }
    let product = ty
        .shape
        .iter()
        .try_fold(1usize, |n, &axis| n.checked_mul(axis));
    if product.is_none_or(|n| n > MAX_ELEMENTS) {
        findings.add(location, format!("has more than {MAX_ELEMENTS} elements"));
        sound = false;
    }
    sound
}

/// Checks a weight matrix by itself; true if its sizes can be relied on.
pub(crate) fn check_weights(weights: &Weights, location: &str, findings: &mut Findings) -> bool {
    let (n_rows, n_cols) = (weights.n_rows(), weights.n_cols());
    if n_rows == 0 || n_cols == 0 {
        findings.add(
            location,
            format!("weights are {n_rows} by {n_cols}; both must be at least 1"),
        );
        return false;
    }
    let too_many = (n_rows as u64)
        .checked_mul(n_cols as u64)
        .is_none_or(|n| n > MAX_WEIGHTS);
    if n_rows > MAX_ELEMENTS || n_cols > MAX_ELEMENTS || too_many {
        findings.add(
            location,
            format!("weights of {n_rows} by {n_cols} are over the limits"),
        );
        return false;
    }
    if let Some(sign) = weights.sign() {
        check_tail("sign", sign, location, findings);
    }
    if let Weights::Planes(planes) = weights {
        for plane in planes.planes() {
            check_tail("plane", plane, location, findings);
        }
    }
    if let Weights::Real(values) = weights
        && let Some(idx) = values.values().iter().position(|x| !x.is_finite())
    {
        let (row, col) = (idx / n_cols, idx % n_cols);
        findings.add(
            location,
            format!("the weight at row {row}, column {col} is not a finite number"),
        );
    }
    if let Weights::Ternary { sign, mask } = weights {
        if (mask.n_rows(), mask.n_cols()) != (n_rows, n_cols) {
            let (rows, cols) = (mask.n_rows(), mask.n_cols());
            let message = format!("mask is {rows} by {cols}, sign is {n_rows} by {n_cols}");
            findings.add(location, message);
            return false;
        }
        check_tail("mask", mask, location, findings);
        let stray = |row: &usize| {
            let mut words = sign.row(*row).iter().zip(mask.row(*row));
            words.any(|(sign, mask)| sign & !mask != 0)
        };
        if let Some(row) = (0..n_rows).find(stray) {
            let message = format!("row {row} has a sign bit of 1 where the mask is 0");
            findings.add(location, message);
        }
    }
    true
}

/// Checks that the bits past the last column are zero.
fn check_tail(plane: &str, matrix: &BitMatrix, location: &str, findings: &mut Findings) {
    let used = matrix.n_cols() % 64;
    if used == 0 {
        return;
    }
    let dirty = |row: &usize| {
        matrix
            .row(*row)
            .last()
            .is_some_and(|word| word >> used != 0)
    };
    if let Some(row) = (0..matrix.n_rows()).find(dirty) {
        findings.add(
            location,
            format!("{plane} row {row} has bits set past its last column"),
        );
    }
}

/// Checks that a per-row or per-channel list has the length it must have.
pub(crate) fn check_len(
    what: &str,
    found: usize,
    wanted: usize,
    location: &str,
    findings: &mut Findings,
) {
    if found != wanted {
        findings.add(
            location,
            format!("{what} has {found} entries, {wanted} are needed"),
        );
    }
}

/// The least and greatest value of `weights[row] . x` for `x` from `low` to `high` in every column, of
/// weights that are integers.
///
/// Where zero lies between `low` and `high`, so does every partial sum in every order.
pub(crate) fn row_reach(weights: &Weights, row: usize, low: i64, high: i64) -> (i64, i64) {
    // At most 2^24 columns, weights below 2^8 and elements of 32 bits: no product leaves i64.
    let (plus, minus) = weights.row_sums(row);
    (plus * low + minus * high, plus * high + minus * low)
}

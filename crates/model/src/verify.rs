//! The verifier: decides whether a Program is well formed and infers the type of every value.
//!
//! A Program comes in; [`ProgramTypes`] goes out, the proof that the shape rules of every op hold
//! and that no integer accumulator overflows, or the list of everything that is wrong. Whoever
//! holds a `ProgramTypes` of a Program relies on it and checks nothing again.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use crate::checks::{
    check_len, check_title_and_notes, check_type, check_weights, is_name, row_reach,
};
use crate::limits::{MAX_NODES, MAX_OPERANDS};
use crate::program::{Cuts, Kind, Node, Op, Program, ThresholdValues, Thresholds, Type, ValueId};
use crate::violation::{Findings, VerifyErrors};
use crate::weights::Weights;

/// The least and greatest value an element can have, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntRange {
    /// The least value.
    pub min: i32,
    /// The greatest value.
    pub max: i32,
}

/// The type and range of every value of a verified Program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramTypes {
    // Indexed by `ValueId`; private because only `verify` may vouch for them.
    types: Vec<Type>,
    ranges: Vec<Option<IntRange>>,
}

impl ProgramTypes {
    /// The type of a value of the Program that was verified.
    pub fn of(&self, id: ValueId) -> &Type {
        &self.types[id.0]
    }

    /// The range of a value's elements: of -1 and +1 for bits, of the codes for levels, of every
    /// possible sum for integers; `None` for reals.
    pub fn range(&self, id: ValueId) -> Option<IntRange> {
        self.ranges[id.0]
    }

    /// Number of values: the input and one per node.
    pub fn n_values(&self) -> usize {
        self.types.len()
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Bits => f.write_str("bits"),
            Kind::Levels(bits) => write!(f, "levels({bits})"),
            Kind::Int => f.write_str("int"),
            Kind::Real => f.write_str("real"),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", self.kind, self.shape)
    }
}

/// A value whose type is known, or `None` where an earlier error leaves it open.
type Known = Option<(Type, Option<IntRange>)>;

/// Checks every invariant of a Program and infers the type and range of every value.
pub fn verify(program: &Program) -> Result<ProgramTypes, VerifyErrors> {
    let mut findings = Findings::default();
    check_title_and_notes(&program.name, &program.notes, &mut findings);
    check_counts(program, &mut findings);
    let sound = check_type(&program.input, "input", &mut findings);
    let mut values: Vec<Known> = vec![sound.then(|| with_kind_range(program.input.clone()))];
    let mut names = BTreeSet::new();
    for (node_idx, node) in program.nodes.iter().enumerate() {
        let location = format!("node {node_idx} ({})", node.name);
        check_name(&node.name, &mut names, &location, &mut findings);
        let value = check_node(node, &values, &location, &mut findings);
        values.push(value);
    }
    if program.output.0 >= values.len() {
        let (output, n) = (program.output.0, values.len());
        findings.add(
            "output",
            format!("is value {output}, but there are only {n} values"),
        );
    }
    // A value stays unknown only where something was found, so `finish` sees all or none.
    let (types, ranges) = values.into_iter().flatten().unzip();
    findings.finish(ProgramTypes { types, ranges })
}

fn check_counts(program: &Program, findings: &mut Findings) {
    if program.nodes.len() > MAX_NODES {
        let n = program.nodes.len();
        findings.add("nodes", format!("there are {n}; the limit is {MAX_NODES}"));
    }
    let n_operands: usize = program.nodes.iter().map(|node| node.inputs.len()).sum();
    if n_operands > MAX_OPERANDS {
        findings.add(
            "nodes",
            format!("have {n_operands} operands; the limit is {MAX_OPERANDS}"),
        );
    }
}

fn check_name<'a>(
    name: &'a str,
    names: &mut BTreeSet<&'a str>,
    location: &str,
    findings: &mut Findings,
) {
    if !is_name(name) {
        let message = format!("name {name:?} is not 1 to 64 of the letters, digits, `_`, `.`, `-`");
        findings.add(location, message);
    }
    if !names.insert(name) {
        findings.add(location, "another node has the same name");
    }
}

/// Checks one node against the values before it and infers its own value.
fn check_node(node: &Node, values: &[Known], location: &str, findings: &mut Findings) -> Known {
    let is_arity_right = match node.op {
        Op::Concat => !node.inputs.is_empty(),
        _ => node.inputs.len() == 1,
    };
    if !is_arity_right {
        let wanted = if matches!(node.op, Op::Concat) {
            "at least 1"
        } else {
            "exactly 1"
        };
        let n = node.inputs.len();
        findings.add(location, format!("has {n} operands, {wanted} needed"));
    }
    let mut operands = Vec::with_capacity(node.inputs.len());
    for id in &node.inputs {
        if id.0 >= values.len() {
            let message = format!("operand is value {}, which is not an earlier value", id.0);
            findings.add(location, message);
        }
        operands.push(values.get(id.0).and_then(Option::as_ref));
    }
    check_op_alone(&node.op, location, findings);
    if !is_arity_right {
        return None;
    }
    if let Op::Concat = node.op {
        return check_concat(&operands, location, findings);
    }
    let (ty, _) = operands[0]?;
    check_unary(&node.op, ty, location, findings)
}

/// Checks what an op says about itself, whatever its operand.
fn check_op_alone(op: &Op, location: &str, findings: &mut Findings) {
    match op {
        Op::Dense { weights, bias } => {
            check_weights(weights, location, findings);
            if let Some(bias) = bias {
                check_len("bias", bias.len(), weights.n_rows(), location, findings);
            }
        }
        Op::Threshold(thresholds) => {
            let n = match &thresholds.at {
                ThresholdValues::Int(at) => at.len(),
                ThresholdValues::Real(at) => {
                    check_no_nan("threshold", at, location, findings);
                    at.len()
                }
            };
            check_len("flip", thresholds.flip.len(), n, location, findings);
        }
        Op::Quantize { bits, cuts } => check_cuts(*bits, cuts, location, findings),
        Op::Affine { scale, shift } => {
            check_len("shift", shift.len(), scale.len(), location, findings);
            for (what, list) in [("scale", scale), ("shift", shift)] {
                if let Some(channel) = list.iter().position(|x| !x.is_finite()) {
                    let message = format!("{what} of channel {channel} is not a finite number");
                    findings.add(location, message);
                }
            }
        }
        Op::Planes | Op::Concat | Op::Argmax => {}
    }
}

fn check_no_nan(what: &str, list: &[f32], location: &str, findings: &mut Findings) {
    if let Some(idx) = list.iter().position(|x| x.is_nan()) {
        findings.add(location, format!("{what} {idx} is NaN"));
    }
}

fn check_cuts(bits: u8, cuts: &Cuts, location: &str, findings: &mut Findings) {
    if !(1..=8).contains(&bits) {
        findings.add(
            location,
            format!("codes of {bits} bits; 1 to 8 are possible"),
        );
        return;
    }
    let (n, is_ascending) = match cuts {
        Cuts::Int(cuts) => (cuts.len(), cuts.is_sorted()),
        Cuts::Real(cuts) => {
            check_no_nan("cut", cuts, location, findings);
            (
                cuts.len(),
                cuts.is_sorted() || cuts.iter().any(|cut| cut.is_nan()),
            )
        }
    };
    check_len("cuts", n, (1usize << bits) - 1, location, findings);
    if !is_ascending {
        findings.add(location, "the cuts are not in ascending order");
    }
}

/// Checks an op of one operand against the operand's type.
fn check_unary(op: &Op, ty: &Type, location: &str, findings: &mut Findings) -> Known {
    match op {
        Op::Dense { weights, bias } => {
            check_dense(weights, bias.as_deref(), ty, location, findings)
        }
        Op::Threshold(thresholds) => check_threshold(thresholds, ty, location, findings),
        Op::Quantize { bits, cuts } => {
            let is_right = match cuts {
                Cuts::Int(_) => matches!(ty.kind, Kind::Int | Kind::Levels(_)),
                Cuts::Real(_) => ty.kind == Kind::Real,
            };
            expect_kind(is_right, "cuts", ty, location, findings);
            let is_sound = is_right && (1..=8).contains(bits);
            is_sound.then(|| {
                with_kind_range(Type {
                    kind: Kind::Levels(*bits),
                    shape: ty.shape.clone(),
                })
            })
        }
        Op::Planes => {
            let Kind::Levels(bits) = ty.kind else {
                return expect_kind(false, "planes", ty, location, findings);
            };
            let n = ty.n_elements() * usize::from(bits);
            let joined = Type {
                kind: Kind::Bits,
                shape: vec![n],
            };
            check_type(&joined, location, findings).then(|| with_kind_range(joined))
        }
        Op::Affine { scale, .. } => {
            expect_kind(ty.kind == Kind::Int, "affine", ty, location, findings);
            check_len("scale", scale.len(), n_channels(ty), location, findings);
            Some(with_kind_range(Type {
                kind: Kind::Real,
                shape: ty.shape.clone(),
            }))
        }
        Op::Argmax => {
            let is_right = matches!(ty.kind, Kind::Int | Kind::Real);
            expect_kind(is_right, "argmax", ty, location, findings);
            if ty.shape.len() != 1 {
                findings.add(
                    location,
                    format!("argmax needs rank 1, the operand is {ty}"),
                );
            }
            let max = i32::try_from(ty.n_elements() - 1).ok()?;
            let index = Type {
                kind: Kind::Int,
                shape: vec![1],
            };
            Some((index, Some(IntRange { min: 0, max })))
        }
        Op::Concat => unreachable!("concat is checked with all its operands"),
    }
}

fn check_dense(
    weights: &Weights,
    bias: Option<&[i32]>,
    ty: &Type,
    location: &str,
    findings: &mut Findings,
) -> Known {
    let range = match ty.kind {
        Kind::Bits | Kind::Levels(_) => kind_range(ty.kind)?,
        _ => return expect_kind(false, "dense", ty, location, findings),
    };
    let mut scratch = Findings::default();
    if !check_weights(weights, location, &mut scratch) {
        return None;
    }
    check_len(
        "a row of weights",
        weights.n_cols(),
        ty.n_elements(),
        location,
        findings,
    );
    let (mut min, mut max) = (i64::MAX, i64::MIN);
    for row in 0..weights.n_rows() {
        let (low, high) = row_reach(weights, row, range.min.into(), range.max.into());
        let bias = bias
            .and_then(|bias| bias.get(row))
            .map_or(0, |&bias| i64::from(bias));
        // The bias may be added first, last or in between, so both extremes must fit with it and without.
        let fits = [low, high, low + bias, high + bias]
            .iter()
            .all(|&x| i32::try_from(x).is_ok());
        if !fits {
            let (low, high) = (low + bias, high + bias);
            findings.add(
                location,
                format!("row {row} reaches {low} to {high}, outside i32"),
            );
            return None;
        }
        (min, max) = (min.min(low + bias), max.max(high + bias));
    }
    let range = IntRange {
        min: i32::try_from(min).ok()?,
        max: i32::try_from(max).ok()?,
    };
    Some((
        Type {
            kind: Kind::Int,
            shape: vec![weights.n_rows()],
        },
        Some(range),
    ))
}

fn check_threshold(
    thresholds: &Thresholds,
    ty: &Type,
    location: &str,
    findings: &mut Findings,
) -> Known {
    let (is_right, n) = match &thresholds.at {
        ThresholdValues::Int(at) => (matches!(ty.kind, Kind::Int | Kind::Levels(_)), at.len()),
        ThresholdValues::Real(at) => (ty.kind == Kind::Real, at.len()),
    };
    expect_kind(is_right, "thresholds", ty, location, findings);
    check_len("threshold", n, n_channels(ty), location, findings);
    Some(with_kind_range(Type {
        kind: Kind::Bits,
        shape: ty.shape.clone(),
    }))
}

fn check_concat(
    operands: &[Option<&(Type, Option<IntRange>)>],
    location: &str,
    findings: &mut Findings,
) -> Known {
    let mut n = 0usize;
    let mut all_known = true;
    for operand in operands {
        let Some((ty, _)) = operand else {
            all_known = false;
            continue;
        };
        expect_kind(ty.kind == Kind::Bits, "concat", ty, location, findings);
        n = n.saturating_add(ty.n_elements());
    }
    let joined = Type {
        kind: Kind::Bits,
        shape: vec![n],
    };
    (all_known && check_type(&joined, location, findings)).then(|| with_kind_range(joined))
}

/// Notes a wrong operand kind; always `None`, for a caller that cannot go on.
fn expect_kind(
    is_right: bool,
    what: &str,
    ty: &Type,
    location: &str,
    findings: &mut Findings,
) -> Known {
    if !is_right {
        findings.add(
            location,
            format!("{what} cannot read an operand of type {ty}"),
        );
    }
    None
}

fn n_channels(ty: &Type) -> usize {
    *ty.shape
        .last()
        .expect("check_type: every shape has an axis")
}

fn kind_range(kind: Kind) -> Option<IntRange> {
    match kind {
        Kind::Bits => Some(IntRange { min: -1, max: 1 }),
        Kind::Levels(bits) => Some(IntRange {
            min: 0,
            max: (1 << bits) - 1,
        }),
        Kind::Int => Some(IntRange {
            min: i32::MIN,
            max: i32::MAX,
        }),
        Kind::Real => None,
    }
}

fn with_kind_range(ty: Type) -> (Type, Option<IntRange>) {
    let range = kind_range(ty.kind);
    (ty, range)
}

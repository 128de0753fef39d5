//! The verifier: decides whether a Program is well formed and infers the type of every value.
//!
//! A Program comes in; [`ProgramTypes`] goes out, the proof that the shape rules of every op hold
//! and that no integer accumulator overflows, or the list of everything that is wrong. Whoever
//! holds a `ProgramTypes` of a Program relies on it and checks nothing again.

mod attributes;
mod elementwise;
mod pools;
mod products;
mod shapes;

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use crate::checks::{check_len, check_title_and_notes, check_type, is_name};
use crate::limits::{MAX_NODES, MAX_OPERANDS, MAX_TOTAL_ELEMENTS};
use crate::program::{Kind, Node, Op, Program, Type, ValueId};
use crate::violation::{Findings, VerifyErrors};

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

/// A value's type, and its range unless it is real.
pub(crate) type Typed = (Type, Option<IntRange>);

/// A value whose type is known, or `None` where an earlier error leaves it open.
pub(crate) type Known = Option<Typed>;

/// Checks every invariant of a Program and infers the type and range of every value.
pub fn verify(program: &Program) -> Result<ProgramTypes, VerifyErrors> {
    let mut findings = Findings::default();
    check_title_and_notes(&program.name, &program.notes, &mut findings);
    check_counts(program, &mut findings);
    let mut values: Vec<Known> = vec![check_input(&program.input, &mut findings)];
    let mut names = BTreeSet::new();
    for (node_idx, node) in program.nodes.iter().enumerate() {
        let location = format!("node {node_idx} ({})", node.name);
        check_name(&node.name, &location, &mut findings);
        if !names.insert(&node.name) {
            findings.add(&location, NAME_IS_TAKEN);
        }
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
    let known = values.iter().flatten();
    let n_elements: usize = known.map(|(ty, _)| ty.n_elements()).sum();
    if n_elements > MAX_TOTAL_ELEMENTS {
        findings.add(
            "nodes",
            format!("have {n_elements} elements together; the limit is {MAX_TOTAL_ELEMENTS}"),
        );
    }
    // A value stays unknown only where something was found, so `finish` sees all or none.
    let (types, ranges) = values.into_iter().flatten().unzip();
    findings.finish(ProgramTypes { types, ranges })
}

/// Checks the type of the input.
pub(crate) fn check_input(input: &Type, findings: &mut Findings) -> Known {
    let is_sound = check_type(input, "input", findings);
    is_sound.then(|| with_kind_range(input.clone()))
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

/// What is said of a node whose name an earlier node has.
pub(crate) const NAME_IS_TAKEN: &str = "another node has the same name";

/// Checks that a name is legal by itself.
pub(crate) fn check_name(name: &str, location: &str, findings: &mut Findings) {
    if !is_name(name) {
        let message = format!("name {name:?} is not 1 to 64 of the letters, digits, `_`, `.`, `-`");
        findings.add(location, message);
    }
}

/// Checks one node against the values before it and infers its own value.
pub(crate) fn check_node(
    node: &Node,
    values: &[Known],
    location: &str,
    findings: &mut Findings,
) -> Known {
    let report = &mut Report { location, findings };
    let is_arity_right = check_arity(node, report);
    let mut operands = Vec::with_capacity(node.inputs.len());
    for id in &node.inputs {
        if id.0 >= values.len() {
            let message = format!("operand is value {}, which is not an earlier value", id.0);
            report.add(message);
        }
        operands.push(values.get(id.0).and_then(Option::as_ref));
    }
    let is_sound = attributes::check(&node.op, report);
    if !is_arity_right || !is_sound {
        return None;
    }
    let operands: Option<Vec<&Typed>> = operands.into_iter().collect();
    infer(&node.op, &operands?, report)
}

/// Checks the number of operands.
fn check_arity(node: &Node, report: &mut Report<'_>) -> bool {
    let n = node.inputs.len();
    let (is_right, wanted) = match node.op {
        Op::Concat | Op::ConcatChannels => (n >= 1, "at least 1"),
        Op::Add | Op::Mul => (n == 2, "exactly 2"),
        _ => (n == 1, "exactly 1"),
    };
    if !is_right {
        report.add(format!("has {n} operands, {wanted} needed"));
    }
    is_right
}

/// Checks an op, sound by itself, against its operands, as many as it needs.
fn infer(op: &Op, operands: &[&Typed], report: &mut Report<'_>) -> Known {
    let x = operands[0];
    match op {
        Op::Dense { weights, bias } => products::dense(weights, bias.as_deref(), x, report),
        Op::Conv2d(conv) => products::conv2d(conv, x, report),
        Op::Threshold(thresholds) => elementwise::threshold(thresholds, x, report),
        Op::Quantize { bits, cuts } => elementwise::quantize(*bits, cuts, x, report),
        Op::Affine { scale, .. } => elementwise::affine(scale, x, report),
        Op::Relu => elementwise::relu(x, report),
        Op::Clip { .. } => elementwise::real_to_real("clip", x, report),
        Op::Prelu { slope } => elementwise::per_channel("prelu", slope, x, report),
        Op::Rprelu { slope, .. } => elementwise::per_channel("rprelu", slope, x, report),
        Op::GroupNorm(norm) => elementwise::group_norm(norm, x, report),
        Op::Add => elementwise::add(x, operands[1], report),
        Op::Mul => elementwise::mul(x, operands[1], report),
        Op::Softmax => elementwise::real_to_real("softmax", x, report),
        Op::Argmax => elementwise::argmax(x, report),
        Op::Planes => shapes::planes(x, report),
        Op::Concat => shapes::concat(operands, report),
        Op::ConcatChannels => shapes::concat_channels(operands, report),
        Op::Slice { start, size } => shapes::slice(start, size, x, report),
        Op::Reshape { shape } => shapes::reshape(shape, x, report),
        Op::Transpose { perm } => shapes::transpose(perm, x, report),
        Op::MaxPool(window) => pools::max_pool(window, x, report),
        Op::AvgPool { window, count_pads } => pools::avg_pool(window, *count_pads, x, report),
        Op::GlobalAvgPool => pools::global_avg_pool(x, report),
    }
}

/// Where the findings about one node go.
struct Report<'a> {
    location: &'a str,
    findings: &'a mut Findings,
}

impl Report<'_> {
    fn add(&mut self, message: impl Into<String>) {
        self.findings.add(self.location, message);
    }

    /// Notes a list of the wrong length.
    fn check_len(&mut self, what: &str, found: usize, wanted: usize) {
        check_len(what, found, wanted, self.location, self.findings);
    }

    /// Notes an operand of a kind that `what` cannot read.
    fn check_kind(&mut self, is_right: bool, what: &str, ty: &Type) -> bool {
        if !is_right {
            self.add(format!("{what} cannot read an operand of type {ty}"));
        }
        is_right
    }

    /// Notes a result over the limits; true if its sizes can be relied on.
    fn check_type(&mut self, ty: &Type) -> bool {
        check_type(ty, self.location, self.findings)
    }

    /// The height, width and channels of an image; `None`, noted, if the operand is none.
    fn image(&mut self, what: &str, ty: &Type) -> Option<[usize; 3]> {
        let image = <[usize; 3]>::try_from(ty.shape.as_slice()).ok();
        if image.is_none() {
            self.add(format!("{what} needs rank 3, the operand is {ty}"));
        }
        image
    }
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

pub(crate) fn with_kind_range(ty: Type) -> (Type, Option<IntRange>) {
    let range = kind_range(ty.kind);
    (ty, range)
}

//! The text form of a Program's structure: one line per node, for people and for the `.bnn` header.
//!
//! An [`Outline`] comes in and text goes out, or the reverse with an error that names the line. The
//! numbers themselves are no part of it. The grammar is in FORMAT.md.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use crate::outline::{NumberKind, Outline, OutlineNode, OutlineOp, WeightsOutline};
use crate::program::{Program, ValueId};
use crate::scan::{Scanner, write_preamble};
pub use crate::scan::{TextError, TextErrorKind};

/// The first line of a Program's text.
const DOCUMENT: &str = "onebit program 1";

/// The name of value 0 in the text; no node can have it.
const INPUT: &str = "@input";

/// The text form of a well-formed Program.
pub fn print(program: &Program) -> String {
    Outline::of(program).to_string()
}

/// Parses the text form. Whether the outline makes a well-formed Program is left to `verify`.
pub fn parse(text: &str) -> Result<Outline, TextError> {
    let mut scanner = Scanner::new(text);
    scanner.document(DOCUMENT)?;
    let preamble = scanner.preamble()?;
    let mut values = BTreeMap::from([(INPUT, ValueId(0))]);
    let mut nodes: Vec<OutlineNode> = Vec::new();
    let output = loop {
        scanner.next_line("the output")?;
        let name = scanner.word("the name of a node, or output")?;
        if !scanner.take("=") {
            if name != "output" {
                return Err(scanner.expected("="));
            }
            break operand(&mut scanner, &values)?;
        }
        let node = node(name, &mut scanner, &values)?;
        scanner.end_of_line()?;
        nodes.push(node);
        if values.insert(name, ValueId(nodes.len())).is_some() {
            return Err(scanner.error(TextErrorKind::Redefined(name.into())));
        }
    };
    scanner.end_of_line()?;
    scanner.end_of_text()?;
    let (name, notes, input) = (preamble.name, preamble.notes, preamble.input);
    Ok(Outline {
        name,
        notes,
        input,
        nodes,
        output,
    })
}

/// Parses what follows `NAME =`.
fn node(
    name: &str,
    scanner: &mut Scanner<'_>,
    values: &BTreeMap<&str, ValueId>,
) -> Result<OutlineNode, TextError> {
    let op_name = scanner.word("an op")?;
    let known = [
        "dense",
        "threshold",
        "quantize",
        "planes",
        "affine",
        "concat",
        "argmax",
    ];
    if !known.contains(&op_name) {
        return Err(scanner.error(TextErrorKind::UnknownOp(op_name.into())));
    }
    let mut inputs = Vec::from([operand(scanner, values)?]);
    let op = match op_name {
        "dense" => OutlineOp::Dense {
            weights: parse_weights(scanner)?,
            has_bias: scanner.take_word("bias"),
        },
        "threshold" => OutlineOp::Threshold {
            number: number_kind(scanner)?,
            n_channels: length(scanner)?,
            has_flip: scanner.take_word("flip"),
        },
        "quantize" => {
            scanner.demand("levels")?;
            OutlineOp::Quantize {
                bits: scanner.level_bits()?,
                number: number_kind(scanner)?,
            }
        }
        "planes" => OutlineOp::Planes,
        "affine" => {
            scanner.demand("real")?;
            OutlineOp::Affine {
                n_channels: length(scanner)?,
            }
        }
        "concat" => {
            while !scanner.at_end_of_line() {
                inputs.push(operand(scanner, values)?);
            }
            OutlineOp::Concat
        }
        _ => OutlineOp::Argmax,
    };
    Ok(OutlineNode {
        name: name.into(),
        op,
        inputs,
    })
}

fn operand(
    scanner: &mut Scanner<'_>,
    values: &BTreeMap<&str, ValueId>,
) -> Result<ValueId, TextError> {
    let name = scanner.word("an operand")?;
    let unknown = || scanner.error(TextErrorKind::UnknownValue(name.into()));
    values.get(name).copied().ok_or_else(unknown)
}

/// Parses `bits[rows, cols]` or `ternary[rows, cols]`.
pub(crate) fn parse_weights(scanner: &mut Scanner<'_>) -> Result<WeightsOutline, TextError> {
    let is_ternary = scanner.take_word("ternary");
    if !is_ternary && !scanner.take_word("bits") {
        return Err(scanner.expected("bits or ternary"));
    }
    match scanner.shape()?[..] {
        [n_rows, n_cols] => Ok(WeightsOutline {
            is_ternary,
            n_rows,
            n_cols,
        }),
        _ => Err(scanner.expected("a shape of two axes before this")),
    }
}

fn number_kind(scanner: &mut Scanner<'_>) -> Result<NumberKind, TextError> {
    if scanner.take_word("int") {
        Ok(NumberKind::Int)
    } else if scanner.take_word("real") {
        Ok(NumberKind::Real)
    } else {
        Err(scanner.expected("int or real"))
    }
}

fn length(scanner: &mut Scanner<'_>) -> Result<usize, TextError> {
    match scanner.shape()?[..] {
        [n] => Ok(n),
        _ => Err(scanner.expected("a shape of one axis before this")),
    }
}

impl fmt::Display for Outline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{DOCUMENT}")?;
        write_preamble(f, &self.name, &self.notes, &self.input)?;
        for node in &self.nodes {
            write!(f, "{} = {}", node.name, op_name(&node.op))?;
            for id in &node.inputs {
                write!(f, " {}", self.value_name(*id))?;
            }
            write_attributes(f, &node.op)?;
            writeln!(f)?;
        }
        writeln!(f, "output {}", self.value_name(self.output))
    }
}

impl Outline {
    /// The name of a value: its node's, or `@input`.
    pub fn value_name(&self, id: ValueId) -> &str {
        match id.0.checked_sub(1) {
            None => INPUT,
            Some(node_idx) => self.nodes.get(node_idx).map_or("?", |node| &node.name),
        }
    }
}

fn op_name(op: &OutlineOp) -> &'static str {
    match op {
        OutlineOp::Dense { .. } => "dense",
        OutlineOp::Threshold { .. } => "threshold",
        OutlineOp::Quantize { .. } => "quantize",
        OutlineOp::Planes => "planes",
        OutlineOp::Affine { .. } => "affine",
        OutlineOp::Concat => "concat",
        OutlineOp::Argmax => "argmax",
    }
}

fn write_attributes(f: &mut fmt::Formatter<'_>, op: &OutlineOp) -> fmt::Result {
    match op {
        OutlineOp::Dense { weights, has_bias } => {
            write!(f, " {weights}{}", if *has_bias { " bias" } else { "" })
        }
        OutlineOp::Threshold {
            number,
            n_channels,
            has_flip,
        } => {
            write!(
                f,
                " {number}[{n_channels}]{}",
                if *has_flip { " flip" } else { "" }
            )
        }
        OutlineOp::Quantize { bits, number } => write!(f, " levels({bits}) {number}"),
        OutlineOp::Affine { n_channels } => write!(f, " real[{n_channels}]"),
        OutlineOp::Planes | OutlineOp::Concat | OutlineOp::Argmax => Ok(()),
    }
}

impl fmt::Display for WeightsOutline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_ternary { "ternary" } else { "bits" };
        write!(f, "{kind}[{}, {}]", self.n_rows, self.n_cols)
    }
}

impl fmt::Display for NumberKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NumberKind::Int => "int",
            NumberKind::Real => "real",
        })
    }
}

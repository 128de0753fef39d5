//! The text form of a Program's structure: one line per node, for people and for the `.bnn` header.
//!
//! An [`Outline`] comes in and text goes out, or the reverse with an error that names the line. The
//! numbers themselves are no part of it. The grammar is in FORMAT.md.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use crate::outline::{
    Conv2dOutline, NumberKind, Outline, OutlineNode, OutlineOp, WeightKind, WeightsOutline,
};
use crate::program::{Program, ValueId, Window};
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
pub(crate) fn node(
    name: &str,
    scanner: &mut Scanner<'_>,
    values: &BTreeMap<&str, ValueId>,
) -> Result<OutlineNode, TextError> {
    let op_name = scanner.word("an op")?;
    if !OP_NAMES.contains(&op_name) {
        return Err(scanner.error(TextErrorKind::UnknownOp(op_name.into())));
    }
    let mut inputs = Vec::from([operand(scanner, values)?]);
    match op_name {
        "add" | "mul" => inputs.push(operand(scanner, values)?),
        "concat" | "concat_channels" => {
            while !scanner.at_end_of_line() {
                inputs.push(operand(scanner, values)?);
            }
        }
        _ => {}
    }
    Ok(OutlineNode {
        name: name.into(),
        op: attributes(op_name, scanner)?,
        inputs,
    })
}

/// Every op's name.
const OP_NAMES: [&str; 23] = [
    "dense",
    "conv2d",
    "threshold",
    "quantize",
    "planes",
    "affine",
    "relu",
    "clip",
    "prelu",
    "rprelu",
    "group_norm",
    "add",
    "mul",
    "concat",
    "concat_channels",
    "slice",
    "reshape",
    "transpose",
    "max_pool",
    "avg_pool",
    "global_avg_pool",
    "softmax",
    "argmax",
];

/// Parses what follows the operands of an op whose name is known.
fn attributes(op_name: &str, scanner: &mut Scanner<'_>) -> Result<OutlineOp, TextError> {
    Ok(match op_name {
        "dense" => OutlineOp::Dense {
            weights: parse_weights(scanner)?,
            has_bias: scanner.take_word("bias"),
        },
        "conv2d" => OutlineOp::Conv2d(conv2d(scanner)?),
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
                n_channels: match scanner.at_end_of_line() {
                    true => None,
                    false => Some(length(scanner)?),
                },
            }
        }
        "planes" => OutlineOp::Planes,
        "affine" => OutlineOp::Affine {
            n_channels: real_length(scanner)?,
        },
        "relu" => OutlineOp::Relu,
        "clip" => OutlineOp::Clip {
            min: scanner.real()?,
            max: scanner.real()?,
        },
        "prelu" => OutlineOp::Prelu {
            n_channels: real_length(scanner)?,
        },
        "rprelu" => OutlineOp::Rprelu {
            n_channels: real_length(scanner)?,
        },
        "group_norm" => {
            let n_channels = real_length(scanner)?;
            scanner.demand("groups")?;
            let groups = scanner.number()?;
            scanner.demand("eps")?;
            OutlineOp::GroupNorm {
                n_channels,
                groups,
                eps: scanner.real()?,
            }
        }
        "add" => OutlineOp::Add,
        "mul" => OutlineOp::Mul,
        "concat" => OutlineOp::Concat,
        "concat_channels" => OutlineOp::ConcatChannels,
        "slice" => {
            scanner.demand("start")?;
            let start = scanner.shape()?;
            scanner.demand("size")?;
            let size = scanner.shape()?;
            OutlineOp::Slice { start, size }
        }
        "reshape" => OutlineOp::Reshape {
            shape: scanner.shape()?,
        },
        "transpose" => {
            scanner.demand("perm")?;
            OutlineOp::Transpose {
                perm: scanner.shape()?,
            }
        }
        "max_pool" => OutlineOp::MaxPool(window(scanner)?),
        "avg_pool" => OutlineOp::AvgPool {
            window: window(scanner)?,
            count_pads: scanner.take_word("count_pads"),
        },
        "global_avg_pool" => OutlineOp::GlobalAvgPool,
        "softmax" => OutlineOp::Softmax,
        _ => OutlineOp::Argmax,
    })
}

/// Parses weights, window, pad value, groups and bias.
fn conv2d(scanner: &mut Scanner<'_>) -> Result<Conv2dOutline, TextError> {
    Ok(Conv2dOutline {
        weights: parse_weights(scanner)?,
        window: window(scanner)?,
        pad: match scanner.take_word("pad") {
            false => 0,
            true => scanner.number()?,
        },
        groups: match scanner.take_word("groups") {
            false => 1,
            true => scanner.number()?,
        },
        has_bias: scanner.take_word("bias"),
    })
}

/// Parses `kernel[3, 3]` and what differs from [`Window::new`].
fn window(scanner: &mut Scanner<'_>) -> Result<Window, TextError> {
    scanner.demand("kernel")?;
    let mut window = Window::new(pair(scanner)?);
    if scanner.take_word("stride") {
        window.stride = pair(scanner)?;
    }
    if scanner.take_word("dilation") {
        window.dilation = pair(scanner)?;
    }
    if scanner.take_word("pads") {
        let pads = scanner.shape()?;
        let wrong = |_| scanner.expected("a list of four numbers before this");
        window.pads = <[usize; 4]>::try_from(pads).map_err(wrong)?;
    }
    Ok(window)
}

fn pair(scanner: &mut Scanner<'_>) -> Result<[usize; 2], TextError> {
    let list = scanner.shape()?;
    let wrong = |_| scanner.expected("a list of two numbers before this");
    <[usize; 2]>::try_from(list).map_err(wrong)
}

pub(crate) fn operand(
    scanner: &mut Scanner<'_>,
    values: &BTreeMap<&str, ValueId>,
) -> Result<ValueId, TextError> {
    let name = scanner.word("an operand")?;
    let unknown = || scanner.error(TextErrorKind::UnknownValue(name.into()));
    values.get(name).copied().ok_or_else(unknown)
}

/// Parses the kind and size of weights, such as `bits[rows, cols]`.
pub(crate) fn parse_weights(scanner: &mut Scanner<'_>) -> Result<WeightsOutline, TextError> {
    let kinds = [
        WeightKind::Bits,
        WeightKind::Ternary,
        WeightKind::Int8,
        WeightKind::Real,
    ];
    let kind = if scanner.take_word("planes") {
        WeightKind::Planes(scanner.n_planes()?)
    } else {
        kinds
            .into_iter()
            .find(|kind| scanner.take_word(&kind.to_string()))
            .ok_or_else(|| scanner.expected("bits, ternary, planes(k), int8 or real"))?
    };
    match scanner.shape()?[..] {
        [n_rows, n_cols] => Ok(WeightsOutline {
            kind,
            n_rows,
            n_cols,
        }),
        _ => Err(scanner.expected("a shape of two axes before this")),
    }
}

impl fmt::Display for WeightKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WeightKind::Bits => f.write_str("bits"),
            WeightKind::Ternary => f.write_str("ternary"),
            WeightKind::Planes(n) => write!(f, "planes({n})"),
            WeightKind::Int8 => f.write_str("int8"),
            WeightKind::Real => f.write_str("real"),
        }
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

pub(crate) fn real_length(scanner: &mut Scanner<'_>) -> Result<usize, TextError> {
    scanner.demand("real")?;
    length(scanner)
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

pub(crate) fn op_name(op: &OutlineOp) -> &'static str {
    match op {
        OutlineOp::Dense { .. } => "dense",
        OutlineOp::Conv2d(_) => "conv2d",
        OutlineOp::Threshold { .. } => "threshold",
        OutlineOp::Quantize { .. } => "quantize",
        OutlineOp::Planes => "planes",
        OutlineOp::Affine { .. } => "affine",
        OutlineOp::Relu => "relu",
        OutlineOp::Clip { .. } => "clip",
        OutlineOp::Prelu { .. } => "prelu",
        OutlineOp::Rprelu { .. } => "rprelu",
        OutlineOp::GroupNorm { .. } => "group_norm",
        OutlineOp::Add => "add",
        OutlineOp::Mul => "mul",
        OutlineOp::Concat => "concat",
        OutlineOp::ConcatChannels => "concat_channels",
        OutlineOp::Slice { .. } => "slice",
        OutlineOp::Reshape { .. } => "reshape",
        OutlineOp::Transpose { .. } => "transpose",
        OutlineOp::MaxPool(_) => "max_pool",
        OutlineOp::AvgPool { .. } => "avg_pool",
        OutlineOp::GlobalAvgPool => "global_avg_pool",
        OutlineOp::Softmax => "softmax",
        OutlineOp::Argmax => "argmax",
    }
}

/// What follows the operands of an op.
#[cfg(feature = "std")]
pub(crate) struct Attributes<'a>(pub(crate) &'a OutlineOp);

#[cfg(feature = "std")]
impl fmt::Display for Attributes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_attributes(f, self.0)
    }
}

fn write_attributes(f: &mut fmt::Formatter<'_>, op: &OutlineOp) -> fmt::Result {
    match op {
        OutlineOp::Dense { weights, has_bias } => {
            write!(f, " {weights}")?;
            write_word(f, "bias", *has_bias)
        }
        OutlineOp::Conv2d(conv) => {
            write!(f, " {}", conv.weights)?;
            write_window(f, &conv.window)?;
            if conv.pad != 0 {
                write!(f, " pad {}", conv.pad)?;
            }
            if conv.groups != 1 {
                write!(f, " groups {}", conv.groups)?;
            }
            write_word(f, "bias", conv.has_bias)
        }
        OutlineOp::Threshold {
            number,
            n_channels,
            has_flip,
        } => {
            write!(f, " {number}[{n_channels}]")?;
            write_word(f, "flip", *has_flip)
        }
        OutlineOp::Quantize {
            bits,
            number,
            n_channels,
        } => {
            write!(f, " levels({bits}) {number}")?;
            match n_channels {
                None => Ok(()),
                Some(n_channels) => write!(f, "[{n_channels}]"),
            }
        }
        OutlineOp::Affine { n_channels }
        | OutlineOp::Prelu { n_channels }
        | OutlineOp::Rprelu { n_channels } => write!(f, " real[{n_channels}]"),
        OutlineOp::GroupNorm {
            n_channels,
            groups,
            eps,
        } => write!(f, " real[{n_channels}] groups {groups} eps {eps:?}"),
        // The shortest decimal numbers that are read as the same binary32.
        OutlineOp::Clip { min, max } => write!(f, " {min:?} {max:?}"),
        OutlineOp::Slice { start, size } => write!(f, " start{start:?} size{size:?}"),
        OutlineOp::Reshape { shape } => write!(f, " {shape:?}"),
        OutlineOp::Transpose { perm } => write!(f, " perm{perm:?}"),
        OutlineOp::MaxPool(window) => write_window(f, window),
        OutlineOp::AvgPool { window, count_pads } => {
            write_window(f, window)?;
            write_word(f, "count_pads", *count_pads)
        }
        OutlineOp::Planes
        | OutlineOp::Relu
        | OutlineOp::Add
        | OutlineOp::Mul
        | OutlineOp::Concat
        | OutlineOp::ConcatChannels
        | OutlineOp::GlobalAvgPool
        | OutlineOp::Softmax
        | OutlineOp::Argmax => Ok(()),
    }
}

/// Writes a word that stands only where `holds`.
fn write_word(f: &mut fmt::Formatter<'_>, word: &str, holds: bool) -> fmt::Result {
    if holds { write!(f, " {word}") } else { Ok(()) }
}

fn write_window(f: &mut fmt::Formatter<'_>, window: &Window) -> fmt::Result {
    let plain = Window::new(window.kernel);
    write!(f, " kernel{:?}", window.kernel)?;
    if window.stride != plain.stride {
        write!(f, " stride{:?}", window.stride)?;
    }
    if window.dilation != plain.dilation {
        write!(f, " dilation{:?}", window.dilation)?;
    }
    if window.pads != plain.pads {
        write!(f, " pads{:?}", window.pads)?;
    }
    Ok(())
}

impl fmt::Display for WeightsOutline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}, {}]", self.kind, self.n_rows, self.n_cols)
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

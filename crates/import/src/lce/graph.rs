//! The state of a translation: what each tensor of the file is in the Program so far.
//!
//! Owns [`Graph`], which appends nodes, names them after tensors and finds operands, and [`Value`], a Program
//! value with its meaning. Leaves every op to the module that knows it.

use std::collections::HashMap;

use onebit_model::builder::ProgramBuilder;
use onebit_model::program::{Conv2d, Cuts, Kind, Op, ThresholdValues, Thresholds, ValueId, Window};
use onebit_model::weights::{BitMatrix, Weights};

use super::constant;
use super::schema::{ElementType, Model, Operator, Options, Tensor};

/// Bytes of weights, scales and cuts that the nodes of any Program may take, and how many more for each byte of
/// the file: a small file that refers to the same constants again and again must not fill the memory.
const FREE_PARAMETER_BYTES: usize = 1 << 28;
const PARAMETER_BYTES_PER_BYTE: usize = 16;

/// Longest part of a node's name that comes from the file.
const MAX_STEM: usize = 40;

/// A result whose error says why a node cannot be imported and what to do.
pub(super) type Outcome<T> = Result<T, String>;

/// How the codes of an 8-bit tensor stand for reals: `scale * (code - zero)`.
///
/// The code of an INT8 element `q` is `q + 128`, that of a UINT8 element is itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    pub scale: f32,
    pub zero: i32,
    pub is_signed: bool,
}

/// What the elements of a value stand for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Meaning {
    /// Themselves, of whatever kind: a FLOAT32 tensor.
    Float,
    /// The signs that an INT32 tensor packs.
    Packed,
    /// The reals of an 8-bit tensor, as `levels(8)`.
    Codes(Scale),
    /// A BOOL tensor as bits: true is +1.
    Bool,
    /// Positions, the answer of ARG_MAX, as `int`.
    Index,
}

/// Rows and columns around an image that no node has computed yet: top, left, bottom, right.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Border {
    pub pads: [usize; 4],
    /// The value of the elements there, of the value's own kind.
    pub value: i32,
}

/// What a tensor of the file is in the Program.
#[derive(Clone, Debug)]
pub(super) struct Value {
    pub id: ValueId,
    /// The tensor's shape without the batch axis, border included; never empty.
    pub shape: Vec<usize>,
    pub meaning: Meaning,
    /// A border that is still to be added, around `[h, w, c]`.
    pub border: Option<Border>,
    /// Least and greatest value that an element can have, where known.
    pub range: Option<(f32, f32)>,
}

impl Value {
    pub fn new(id: ValueId, shape: &[usize], meaning: Meaning) -> Self {
        Value {
            id,
            shape: shape.into(),
            meaning,
            border: None,
            range: None,
        }
    }

    pub fn float(id: ValueId, shape: &[usize]) -> Self {
        Value::new(id, shape, Meaning::Float)
    }

    /// The image's height, width and channels.
    pub fn image(&self) -> Outcome<[usize; 3]> {
        <[usize; 3]>::try_from(self.shape.as_slice()).map_err(|_| {
            let shape = &self.shape;
            format!(
                "its operand has the shape {shape:?} per image; a shape of height, width and channels is needed"
            )
        })
    }

    pub fn channels(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    pub fn n_elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// An operator that is being translated.
pub(super) struct Step<'a> {
    pub operator: &'a Operator<'a>,
    pub op: String,
}

impl Step<'_> {
    /// The options of a builtin op, which are of the table `kind` of the schema's union or left out.
    pub fn options(&self, kind: u8) -> Outcome<&Options<'_>> {
        let options = &self.operator.options;
        if options.kind != 0 && options.kind != kind {
            let found = options.kind;
            return Err(format!(
                "its options are table {found} of the schema, not {kind}: the file is damaged"
            ));
        }
        Ok(options)
    }
}

/// The Program so far.
pub(super) struct Graph<'a> {
    pub model: &'a Model<'a>,
    pub builder: ProgramBuilder,
    /// By tensor.
    pub values: Vec<Option<Value>>,
    /// Constant tensors that are the same data as another, by tensor.
    pub aliases: HashMap<usize, usize>,
    pub warnings: Vec<String>,
    stem: String,
    names: HashMap<String, usize>,
    reals: HashMap<ValueId, ValueId>,
    /// The signs of real values that were binarised.
    pub signs: HashMap<ValueId, ValueId>,
    /// The reals of 8-bit codes that were dequantised.
    pub dequantized: HashMap<ValueId, ValueId>,
    parameter_bytes: usize,
    parameter_limit: usize,
}

impl<'a> Graph<'a> {
    /// The start of a translation of a file of `n_bytes`.
    pub fn new(model: &'a Model<'a>, builder: ProgramBuilder, n_bytes: usize) -> Self {
        let parameter_limit = n_bytes
            .saturating_mul(PARAMETER_BYTES_PER_BYTE)
            .saturating_add(FREE_PARAMETER_BYTES);
        Graph {
            model,
            builder,
            values: vec![None; model.tensors.len()],
            aliases: HashMap::new(),
            warnings: Vec::new(),
            stem: String::new(),
            names: HashMap::new(),
            reals: HashMap::new(),
            signs: HashMap::new(),
            dequantized: HashMap::new(),
            parameter_bytes: 0,
            parameter_limit,
        }
    }

    /// Names the nodes to come after a tensor.
    pub fn name_after(&mut self, tensor: &str) {
        self.stem = stem(tensor);
    }

    /// Adds a warning once.
    pub fn warn(&mut self, warning: String) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    /// Appends a node.
    pub fn push(&mut self, op: Op, inputs: &[ValueId]) -> Outcome<ValueId> {
        self.parameter_bytes = self.parameter_bytes.saturating_add(parameter_bytes(&op));
        if self.parameter_bytes > self.parameter_limit {
            return Err(format!(
                "with it the weights and constants take more than {} bytes, the limit for a file of this size",
                self.parameter_limit
            ));
        }
        let wanted = format!("{}.{}", self.stem, role(&op));
        let n_used = self.names.entry(wanted.clone()).or_insert(0);
        *n_used += 1;
        let name = match *n_used {
            1 => self.builder.unused_name(&wanted),
            n => self.builder.unused_name(&format!("{wanted}{n}")),
        };
        let pushed = self.builder.try_node(&name, op, inputs);
        pushed.map_err(|errors| {
            let sentence = |v: &onebit_model::Violation| v.message.clone();
            let sentences: Vec<_> = errors.violations.iter().map(sentence).collect();
            format!(
                "the node it becomes is not allowed: {}",
                sentences.join("; ")
            )
        })
    }

    /// The kind of a value.
    pub fn kind(&self, id: ValueId) -> Kind {
        let ty = self.builder.ty(id);
        ty.expect("every value here was appended by try_node").kind
    }

    fn last_axis(&self, id: ValueId) -> usize {
        let ty = self.builder.ty(id);
        let shape = &ty.expect("every value here was appended by try_node").shape;
        shape.last().copied().unwrap_or(1)
    }

    /// The value as `real`.
    pub fn real(&mut self, id: ValueId) -> Outcome<ValueId> {
        if self.kind(id) == Kind::Real {
            return Ok(id);
        }
        if let Some(&real) = self.reals.get(&id) {
            return Ok(real);
        }
        let real = self.affine(id, 1.0, 0.0)?;
        self.reals.insert(id, real);
        Ok(real)
    }

    /// `scale * x + shift` with one pair for all channels.
    pub fn affine(&mut self, id: ValueId, scale: f32, shift: f32) -> Outcome<ValueId> {
        let n = self.last_axis(id);
        let (scale, shift) = (vec![scale; n], vec![shift; n]);
        self.push(Op::Affine { scale, shift }, &[id])
    }

    /// The sign bits of `x >= at`, inverted where `flip`, with one threshold for all channels of a real value.
    pub fn compare(&mut self, id: ValueId, at: f32, flip: bool) -> Outcome<ValueId> {
        let n = self.last_axis(id);
        let at = ThresholdValues::Real(vec![at; n]);
        let flip = vec![flip; n];
        self.push(Op::Threshold(Thresholds { at, flip }), &[id])
    }

    /// Another shape of the same elements; no node where it is the shape already.
    pub fn reshape(&mut self, id: ValueId, shape: &[usize]) -> Outcome<ValueId> {
        let ty = self.builder.ty(id);
        if ty.is_some_and(|ty| ty.shape == shape) {
            return Ok(id);
        }
        let shape = shape.into();
        self.push(Op::Reshape { shape }, &[id])
    }

    /// The value with its border added, by a convolution whose one tap is +1.
    pub fn settle(&mut self, value: Value) -> Outcome<Value> {
        let Some(border) = value.border else {
            return Ok(value);
        };
        let channels = value.channels();
        let conv = Op::Conv2d(Conv2d {
            weights: Weights::Bits(BitMatrix::from_fn(channels, 1, |_, _| true)),
            bias: None,
            window: Window {
                pads: border.pads,
                ..Window::new([1, 1])
            },
            groups: channels,
            pad: border.value,
        });
        let mut id = self.push(conv, &[value.id])?;
        if matches!(value.meaning, Meaning::Codes(_)) {
            // The sums are the codes themselves, as `int`.
            let cuts = Cuts::Int((1..=255).collect());
            id = self.push(Op::Quantize { bits: 8, cuts }, &[id])?;
        }
        Ok(Value {
            id,
            border: None,
            ..value
        })
    }

    fn operand_index(step: &Step, i: usize) -> Option<usize> {
        usize::try_from(*step.operator.inputs.get(i)?).ok()
    }

    /// The tensor of operand `i`; `None` where it is left out.
    pub fn tensor(&self, step: &Step, i: usize) -> Option<&'a Tensor<'a>> {
        self.model.tensors.get(Self::operand_index(step, i)?)
    }

    /// The constant of operand `i` as reals, with its shape; `None` where it is left out or no constant.
    pub fn floats(&self, step: &Step, i: usize) -> Outcome<Option<Constant<f32>>> {
        self.constant(step, i, constant::floats)
    }

    /// The constant of operand `i` as integers, with its shape; `None` where it is left out or no constant.
    pub fn ints(&self, step: &Step, i: usize) -> Outcome<Option<Constant<i64>>> {
        self.constant(step, i, constant::ints)
    }

    fn constant<T>(
        &self,
        step: &Step,
        i: usize,
        read: fn(&Tensor) -> Outcome<Vec<T>>,
    ) -> Outcome<Option<Constant<T>>> {
        let Some(idx) = Self::operand_index(step, i) else {
            return Ok(None);
        };
        let source = self.aliases.get(&idx).copied().unwrap_or(idx);
        let tensor = &self.model.tensors[source];
        if tensor.data.is_none() || self.values[idx].is_some() {
            return Ok(None);
        }
        let values = read(tensor)?;
        let shape = constant::sizes(&self.model.tensors[idx])?;
        let n = shape
            .iter()
            .try_fold(1usize, |n, &size| n.checked_mul(size));
        if n != Some(values.len()) {
            let n = values.len();
            return Err(format!(
                "operand {i} has {n} elements, its shape is {shape:?}: the file is damaged"
            ));
        }
        Ok(Some(Constant { values, shape }))
    }

    /// The value of operand `i`, which may have a border.
    pub fn bordered(&self, step: &Step, i: usize) -> Outcome<Value> {
        let Some(idx) = Self::operand_index(step, i) else {
            return Err(format!("operand {i} is missing"));
        };
        let name = &self.model.tensors[idx].name;
        self.values[idx].clone().ok_or_else(|| match self.model.tensors[idx].data {
            Some(_) => format!(
                "operand {i} (`{name}`) is a constant where onebit needs a computed tensor; convert the model \
                 with constant folding on"
            ),
            None => format!("operand {i} (`{name}`) is not computed before it"),
        })
    }

    /// The value of operand `i`, border added.
    pub fn operand(&mut self, step: &Step, i: usize) -> Outcome<Value> {
        let value = self.bordered(step, i)?;
        self.settle(value)
    }

    /// The value of operand `i` as a FLOAT32 tensor of whatever kind; an 8-bit tensor is dequantised.
    pub fn float(&mut self, step: &Step, i: usize) -> Outcome<Value> {
        let value = self.operand(step, i)?;
        match value.meaning {
            Meaning::Float => Ok(value),
            Meaning::Codes(scale) => super::quantized::dequantize(self, &value, scale),
            _ => Err(format!(
                "operand {i} is a {} tensor where a FLOAT32 or INT8 one is needed",
                self.type_of(step, i)
            )),
        }
    }

    /// The value of operand `i` as a FLOAT32 tensor of kind `real`.
    pub fn real_operand(&mut self, step: &Step, i: usize) -> Outcome<Value> {
        let value = self.float(step, i)?;
        let id = self.real(value.id)?;
        Ok(Value { id, ..value })
    }

    /// The schema's name for the element type of operand `i`.
    pub fn type_of(&self, step: &Step, i: usize) -> &'static str {
        self.tensor(step, i).map_or("missing", |t| t.ty.name())
    }

    /// The tensor of the first output.
    pub fn output(&self, step: &Step) -> Outcome<&'a Tensor<'a>> {
        let idx = step.operator.outputs.first().copied();
        let idx = idx.and_then(|idx| usize::try_from(idx).ok());
        let tensor = idx.and_then(|idx| self.model.tensors.get(idx));
        tensor.ok_or_else(|| String::from("it has no output"))
    }

    /// Turns a FLOAT32 result into what the output tensor is: itself, or 8-bit codes.
    pub fn deliver(&mut self, step: &Step, value: Value) -> Outcome<Value> {
        let tensor = self.output(step)?;
        match tensor.ty {
            ElementType::Float32 => Ok(value),
            ElementType::Int8 | ElementType::Uint8 => {
                let scale = constant::scale(tensor)?;
                self.warn(format!(
                    "8-bit {} nodes are computed in reals and rounded once: a code can differ by 1 from TFLite's \
                     fixed-point kernels",
                    step.op
                ));
                super::quantized::quantize(self, &value, scale)
            }
            other => Err(format!(
                "its output is {}; FLOAT32 and INT8 are supported",
                other.name()
            )),
        }
    }
}

/// A constant with the shape of its tensor.
pub(super) struct Constant<T> {
    pub values: Vec<T>,
    pub shape: Vec<usize>,
}

/// The start of the node names of a tensor: its last two path parts.
fn stem(tensor: &str) -> String {
    let path = tensor.split(';').next().unwrap_or_default();
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let tail = parts[parts.len().saturating_sub(2)..].join(".");
    let clean = |c: char| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '.' | '-' => c,
        _ => '_',
    };
    let stem: String = tail.chars().map(clean).take(MAX_STEM).collect();
    if stem.is_empty() { "node".into() } else { stem }
}

fn role(op: &Op) -> &'static str {
    match op {
        Op::Dense { .. } => "dense",
        Op::Conv2d(_) => "conv",
        Op::Threshold(_) => "sign",
        Op::Quantize { .. } => "codes",
        Op::Planes => "planes",
        Op::Affine { .. } => "affine",
        Op::Relu => "relu",
        Op::Clip { .. } => "clip",
        Op::Prelu { .. } => "prelu",
        Op::Rprelu { .. } => "rprelu",
        Op::Add => "add",
        Op::Mul => "mul",
        Op::Concat | Op::ConcatChannels => "concat",
        Op::Slice { .. } => "slice",
        Op::Reshape { .. } => "reshape",
        Op::Transpose { .. } => "transpose",
        Op::MaxPool(_) => "maxpool",
        Op::AvgPool { .. } | Op::GlobalAvgPool => "avgpool",
        Op::GroupNorm(_) => "norm",
        Op::Softmax => "softmax",
        Op::Argmax => "argmax",
    }
}

/// Bytes that the constants of an op take.
fn parameter_bytes(op: &Op) -> usize {
    let weights_bytes = |weights: &Weights| match weights {
        Weights::Bits(bits) => 8 * bits.n_rows() * bits.words_per_row(),
        Weights::Ternary { sign, .. } => 16 * sign.n_rows() * sign.words_per_row(),
        Weights::Planes(_) | Weights::Int8(_) => weights.n_rows() * weights.n_cols(),
        Weights::Real(values) => 4 * values.values().len(),
    };
    match op {
        Op::Dense { weights, bias } => {
            weights_bytes(weights) + bias.as_ref().map_or(0, Vec::len) * 4
        }
        Op::Conv2d(conv) => {
            weights_bytes(&conv.weights) + conv.bias.as_ref().map_or(0, Vec::len) * 4
        }
        Op::Threshold(thresholds) => 5 * thresholds.flip.len(),
        Op::Quantize { cuts, .. } => match cuts {
            Cuts::Int(cuts) => 4 * cuts.len(),
            Cuts::Real(cuts) => 4 * cuts.len(),
        },
        Op::Affine { scale, .. } => 8 * scale.len(),
        Op::Prelu { slope } => 4 * slope.len(),
        _ => 0,
    }
}

/// How a tensor is called in messages.
pub(super) fn display_name(name: &str) -> String {
    name.chars()
        .take(120)
        .flat_map(char::escape_debug)
        .collect()
}

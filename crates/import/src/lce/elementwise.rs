//! Ops on each element: activations, arithmetic, comparisons, rounding.
//!
//! In: builtin ops whose operands are tensors of one shape, or a tensor and a constant that is broadcast. Out:
//! `affine`, `add`, `mul`, `clip` and their like. 8-bit operands are dequantised, and the result quantised again.

use onebit_model::program::{Cuts, Op, ValueId};

use super::constant;
use super::graph::{Constant, Graph, Meaning, Outcome, Step, Value};
use super::quantized;

/// Most copies of an operand that broadcasting makes along an axis.
const MAX_REPEATS: usize = 1024;

/// An activation fused into another op.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activation {
    None,
    Relu,
    ReluN1To1,
    Relu6,
}

impl Activation {
    /// By the number of the schema's enum.
    pub fn from_code(code: u8) -> Outcome<Self> {
        match code {
            0 => Ok(Activation::None),
            1 => Ok(Activation::Relu),
            2 => Ok(Activation::ReluN1To1),
            3 => Ok(Activation::Relu6),
            4 => Err("its fused activation is TANH, which onebit has no op for".into()),
            5 => Err("its fused activation is SIGN_BIT, which onebit has no op for".into()),
            _ => Err(format!(
                "its fused activation {code} is none of the schema's"
            )),
        }
    }
}

/// Applies an activation to a FLOAT32 tensor.
pub(super) fn activate(graph: &mut Graph, value: Value, activation: Activation) -> Outcome<Value> {
    match activation {
        Activation::None => Ok(value),
        Activation::Relu => {
            let is_int = graph.kind(value.id) == onebit_model::program::Kind::Int;
            let id = if is_int {
                value.id
            } else {
                graph.real(value.id)?
            };
            let id = graph.push(Op::Relu, &[id])?;
            let range = value.range.unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
            let range = Some((range.0.max(0.0), range.1.max(0.0)));
            Ok(Value { id, range, ..value })
        }
        Activation::ReluN1To1 => clip(graph, value, -1.0, 1.0),
        Activation::Relu6 => clip(graph, value, 0.0, 6.0),
    }
}

fn clip(graph: &mut Graph, value: Value, min: f32, max: f32) -> Outcome<Value> {
    let real = graph.real(value.id)?;
    let id = graph.push(Op::Clip { min, max }, &[real])?;
    let (low, high) = value.range.unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
    let range = Some((low.max(min).min(max), high.max(min).min(max)));
    Ok(Value { id, range, ..value })
}

/// RELU, RELU6, RELU_N1_TO_1.
pub(super) fn unary_activation(
    graph: &mut Graph,
    step: &Step,
    activation: Activation,
) -> Outcome<Value> {
    let value = graph.operand(step, 0)?;
    if let Meaning::Codes(from) = value.meaning {
        let to = constant::scale(graph.output(step)?)?;
        return quantized::rescale(graph, &value, (from, to), activation);
    }
    let value = graph.float(step, 0)?;
    let value = activate(graph, value, activation)?;
    graph.deliver(step, value)
}

/// RELU_0_TO_1.
pub(super) fn relu_0_to_1(graph: &mut Graph, step: &Step) -> Outcome<Value> {
    let value = graph.float(step, 0)?;
    let value = clip(graph, value, 0.0, 1.0)?;
    graph.deliver(step, value)
}

/// A constant broadcast to a value: one entry per channel, or one per element.
pub(super) enum Spread {
    Channels(Vec<f32>),
    Elements(Vec<f32>),
}

/// Broadcasts a constant to the shape of a value, batch axis left out.
pub(super) fn spread(constant: &Constant<f32>, value: &Value) -> Outcome<Spread> {
    let (values, from, to) = (&constant.values, &constant.shape, &value.shape);
    let does_not_fit = || {
        format!(
            "its constant of shape {from:?} does not broadcast to the operand of shape {to:?} per image"
        )
    };
    // Aligned at the last axis; axes that the constant lacks, and the batch axis, have size 1.
    let size = |axis: usize| {
        let from_end = to.len() - axis;
        from.len().checked_sub(from_end).map_or(1, |i| from[i])
    };
    let has_more_axes = from.iter().rev().skip(to.len()).any(|&size| size != 1);
    let fits = (0..to.len()).all(|axis| size(axis) == 1 || size(axis) == to[axis]);
    if !fits || has_more_axes || values.is_empty() {
        return Err(does_not_fit());
    }
    let channels = value.channels();
    let is_per_channel = (0..to.len() - 1).all(|axis| size(axis) == 1);
    if is_per_channel {
        let values = match values[..] {
            [one] => vec![one; channels],
            _ => values.clone(),
        };
        return Ok(Spread::Channels(values));
    }
    let element = |mut flat: usize| {
        let (mut at, mut step) = (0, 1);
        for axis in (0..to.len()).rev() {
            let index = flat % to[axis];
            flat /= to[axis];
            if size(axis) != 1 {
                at += index * step;
                step *= size(axis);
            }
        }
        values[at]
    };
    Ok(Spread::Elements(
        (0..value.n_elements()).map(element).collect(),
    ))
}

/// Runs a node with one constant per channel, or per element on the flattened value.
pub(super) fn with_constant(
    graph: &mut Graph,
    value: &Value,
    constant: Spread,
    op: impl Fn(Vec<f32>) -> Op,
) -> Outcome<ValueId> {
    match constant {
        Spread::Channels(constant) => graph.push(op(constant), &[value.id]),
        Spread::Elements(constant) => {
            let flat = graph.reshape(value.id, &[value.n_elements()])?;
            let id = graph.push(op(constant), &[flat])?;
            graph.reshape(id, &value.shape)
        }
    }
}

/// `scale * x + shift` with a constant made from the file's by `pair`.
fn affine(
    graph: &mut Graph,
    value: Value,
    constant: &Constant<f32>,
    pair: fn(f32) -> (f32, f32),
) -> Outcome<Value> {
    let spread = spread(constant, &value)?;
    let id = with_constant(graph, &value, spread, |constant| {
        let (scale, shift) = constant.into_iter().map(pair).unzip();
        Op::Affine { scale, shift }
    })?;
    let range = match (value.range, &constant.values[..]) {
        (Some((low, high)), &[only]) => {
            let (scale, shift) = pair(only);
            let ends = [scale * low + shift, scale * high + shift];
            Some((ends[0].min(ends[1]), ends[0].max(ends[1])))
        }
        _ => None,
    };
    Ok(Value { id, range, ..value })
}

/// An arithmetic op of two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Sub,
    Mul,
    Div,
}

/// ADD, SUB, MUL and DIV.
pub(super) fn arithmetic(graph: &mut Graph, step: &Step, what: Arithmetic) -> Outcome<Value> {
    let kind = match what {
        Arithmetic::Add => 11,
        Arithmetic::Mul => 21,
        Arithmetic::Sub => 28,
        Arithmetic::Div => 29,
    };
    let activation = Activation::from_code(step.options(kind)?.byte(0))?;
    let value = match (graph.floats(step, 0)?, graph.floats(step, 1)?) {
        (None, Some(right)) => {
            let left = graph.float(step, 0)?;
            match what {
                Arithmetic::Add => affine(graph, left, &right, |c| (1.0, c))?,
                Arithmetic::Sub => affine(graph, left, &right, |c| (1.0, -c))?,
                Arithmetic::Mul => affine(graph, left, &right, |c| (c, 0.0))?,
                Arithmetic::Div => {
                    let is_exact = |c: &f32| c.to_bits() << 9 == 0 && c.is_normal();
                    if !right.values.iter().all(is_exact) {
                        graph.warn(format!(
                            "{} by a constant that is no power of two is done as a product with its reciprocal: \
                             results can differ in the last bit",
                            step.op
                        ));
                    }
                    affine(graph, left, &right, |c| (1.0 / c, 0.0))?
                }
            }
        }
        (Some(left), None) => {
            let right = graph.float(step, 1)?;
            match what {
                Arithmetic::Add => affine(graph, right, &left, |c| (1.0, c))?,
                Arithmetic::Sub => affine(graph, right, &left, |c| (-1.0, c))?,
                Arithmetic::Mul => affine(graph, right, &left, |c| (c, 0.0))?,
                Arithmetic::Div => return Err(NO_QUOTIENT.into()),
            }
        }
        _ => {
            let left = graph.real_operand(step, 0)?;
            let right = graph.real_operand(step, 1)?;
            of_tensors(graph, left, right, what)?
        }
    };
    let value = activate(graph, value, activation)?;
    graph.deliver(step, value)
}

const NO_QUOTIENT: &str = "it divides by a tensor that is computed, which onebit has no op for";

pub(super) fn of_tensors(
    graph: &mut Graph,
    left: Value,
    right: Value,
    what: Arithmetic,
) -> Outcome<Value> {
    let (left, right) = match left.n_elements() >= right.n_elements() {
        true => (left.clone(), repeat(graph, right, &left.shape)?),
        false => (repeat(graph, left, &right.shape)?, right),
    };
    one_shape(&left, &right)?;
    let id = match what {
        Arithmetic::Add => graph.push(Op::Add, &[left.id, right.id])?,
        Arithmetic::Sub => {
            let negative = graph.affine(right.id, -1.0, 0.0)?;
            graph.push(Op::Add, &[left.id, negative])?
        }
        Arithmetic::Mul => graph.push(Op::Mul, &[left.id, right.id])?,
        Arithmetic::Div => return Err(NO_QUOTIENT.into()),
    };
    Ok(Value::float(id, &left.shape))
}

/// Repeats a value that has one entry for each channel, such as a squeeze-and-excite gate, for every pixel of
/// `shape`; any other value stays as it is.
fn repeat(graph: &mut Graph, value: Value, shape: &[usize]) -> Outcome<Value> {
    let channels = value.channels();
    let is_per_channel = value.n_elements() == channels && shape.last() == Some(&channels);
    if !is_per_channel || value.shape == shape {
        return Ok(value);
    }
    let mut id = graph.reshape(value.id, &[channels])?;
    for &times in &shape[..shape.len() - 1] {
        if times > MAX_REPEATS {
            return Err(format!(
                "it repeats an operand {times} times along an axis; up to {MAX_REPEATS} are supported"
            ));
        }
        if times > 1 {
            id = graph.push(Op::ConcatChannels, &vec![id; times])?;
        }
    }
    let id = graph.reshape(id, shape)?;
    Ok(Value::float(id, shape))
}

pub(super) fn one_shape(left: &Value, right: &Value) -> Outcome<()> {
    if left.shape == right.shape {
        return Ok(());
    }
    Err(format!(
        "its operands have the shapes {:?} and {:?} per image; of computed tensors only those with one entry for \
         each channel are broadcast, repeat the smaller one in the model",
        left.shape, right.shape
    ))
}

/// LOGISTIC: the sigmoid of `x` is the softmax of `x` and 0.
pub(super) fn logistic(graph: &mut Graph, step: &Step) -> Outcome<Value> {
    let value = graph.real_operand(step, 0)?;
    let n = value.n_elements();
    let column = graph.reshape(value.id, &[n, 1])?;
    let zeros = graph.affine(column, 0.0, 0.0)?;
    let pairs = graph.push(Op::ConcatChannels, &[column, zeros])?;
    let pairs = graph.push(Op::Softmax, &[pairs])?;
    let first = Op::Slice {
        start: vec![0, 0],
        size: vec![n, 1],
    };
    let first = graph.push(first, &[pairs])?;
    let id = graph.reshape(first, &value.shape)?;
    graph.deliver(step, Value::float(id, &value.shape))
}

/// PRELU.
pub(super) fn prelu(graph: &mut Graph, step: &Step) -> Outcome<Value> {
    let value = graph.real_operand(step, 0)?;
    let Some(slope) = graph.floats(step, 1)? else {
        return Err(
            "its slope is no constant; export the model with trained weights frozen".into(),
        );
    };
    let slope = spread(&slope, &value)?;
    let id = with_constant(graph, &value, slope, |slope| Op::Prelu { slope })?;
    graph.deliver(step, Value::float(id, &value.shape))
}

/// LEAKY_RELU.
pub(super) fn leaky_relu(graph: &mut Graph, step: &Step) -> Outcome<Value> {
    let alpha = step.options(75)?.float(0);
    let value = graph.real_operand(step, 0)?;
    let slope = vec![alpha; value.channels()];
    let id = graph.push(Op::Prelu { slope }, &[value.id])?;
    graph.deliver(step, Value::float(id, &value.shape))
}

/// HARD_SWISH: `x * relu6(x + 3) / 6`.
pub(super) fn hard_swish(graph: &mut Graph, step: &Step) -> Outcome<Value> {
    let value = graph.real_operand(step, 0)?;
    let shifted = graph.affine(value.id, 1.0, 3.0)?;
    let gate = Op::Clip { min: 0.0, max: 6.0 };
    let gate = graph.push(gate, &[shifted])?;
    let gate = graph.affine(gate, 1.0 / 6.0, 0.0)?;
    let id = graph.push(Op::Mul, &[value.id, gate])?;
    graph.deliver(step, Value::float(id, &value.shape))
}

/// NEG.
pub(super) fn negate(graph: &mut Graph, step: &Step) -> Outcome<Value> {
    let value = graph.float(step, 0)?;
    let id = graph.affine(value.id, -1.0, 0.0)?;
    graph.deliver(step, Value::float(id, &value.shape))
}

/// SQUARE.
pub(super) fn square(graph: &mut Graph, step: &Step) -> Outcome<Value> {
    let value = graph.real_operand(step, 0)?;
    let id = graph.push(Op::Mul, &[value.id, value.id])?;
    graph.deliver(step, Value::float(id, &value.shape))
}

/// MAXIMUM (`is_max`) or MINIMUM with one constant for all elements.
pub(super) fn extremum(graph: &mut Graph, step: &Step, is_max: bool) -> Outcome<Value> {
    let at = if graph.floats(step, 0)?.is_some() {
        0
    } else {
        1
    };
    let constant = graph.floats(step, at)?.map(|constant| constant.values);
    let bound = match constant.as_deref() {
        Some([bound, rest @ ..]) if rest.iter().all(|other| other == bound) => *bound,
        Some(_) => {
            return Err(
                "its constant differs between elements; one bound for all is supported".into(),
            );
        }
        None => {
            return Err("it compares two computed tensors; a constant bound is supported".into());
        }
    };
    let value = graph.float(step, 1 - at)?;
    let (min, max) = match is_max {
        true => (bound, f32::INFINITY),
        false => (f32::NEG_INFINITY, bound),
    };
    let value = clip(graph, value, min, max)?;
    graph.deliver(step, value)
}

/// How ROUND and FLOOR choose between two integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rounding {
    HalfToEven,
    Down,
}

/// ROUND and FLOOR of values whose range is known and holds at most 256 integers: the integers become codes.
pub(super) fn round(graph: &mut Graph, step: &Step, rounding: Rounding) -> Outcome<Value> {
    let value = graph.real_operand(step, 0)?;
    let whole = |x: f32| match rounding {
        Rounding::HalfToEven => x.round_ties_even(),
        Rounding::Down => x.floor(),
    };
    let range = value.range.map(|(low, high)| (whole(low), whole(high)));
    let Some((low, high)) = range.filter(|(low, high)| high - low <= 255.0 && low.abs() < 1e6)
    else {
        return Err(
            "its operand is not known to stay within 256 integers, and onebit has no op that rounds; clip the \
             operand (clip_by_value) before it"
                .into(),
        );
    };
    let n_cuts = (high - low) as usize;
    let bits = (usize::BITS - n_cuts.leading_zeros()).max(1) as u8;
    let cut = |k: usize| {
        let integer = low + k as f32;
        match rounding {
            _ if k > n_cuts => f32::INFINITY,
            Rounding::Down => integer,
            Rounding::HalfToEven if integer % 2.0 == 0.0 => integer - 0.5,
            Rounding::HalfToEven => (integer - 0.5).next_up(),
        }
    };
    let cuts = Cuts::Real((1..1 << bits).map(cut).collect());
    let mut id = graph.push(Op::Quantize { bits, cuts }, &[value.id])?;
    if low != 0.0 {
        id = graph.affine(id, 1.0, low)?;
    }
    let range = Some((low, high));
    let value = Value { id, range, ..value };
    graph.deliver(step, value)
}

/// SIGN, whose answer to 0 is 0.
pub(super) fn sign(graph: &mut Graph, step: &Step) -> Outcome<Value> {
    let value = graph.real_operand(step, 0)?;
    let cuts = Cuts::Real(vec![0.0, 0f32.next_up(), f32::INFINITY]);
    let codes = graph.push(Op::Quantize { bits: 2, cuts }, &[value.id])?;
    let id = graph.affine(codes, 1.0, -1.0)?;
    graph.deliver(step, Value::float(id, &value.shape))
}

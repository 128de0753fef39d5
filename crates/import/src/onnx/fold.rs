//! Constant folding: what follows from constants alone is computed here, once, in the types that ONNX says.
//!
//! A node whose inputs are all constants comes in, its outputs go out. Elementwise ops and reductions are here,
//! ops that only move elements in `fold_shape`, weight quantisers in `quant_ops`.

use super::constant::{Const, Data, check_grown, count};
use super::fold_shape;
use super::graph::is_standard;
use super::proto::NodeProto;
use super::quant_ops;

/// The inputs of a node that is folded, by position; an input that is left out is `None`.
pub(super) struct Operands<'a> {
    /// The constants.
    pub inputs: &'a [Option<&'a Const>],
}

impl<'a> Operands<'a> {
    /// The constant at a position.
    pub(super) fn get(&self, idx: usize) -> Result<&'a Const, String> {
        self.optional(idx)
            .ok_or_else(|| format!("input {idx} is missing"))
    }

    /// The constant at a position, if there is one.
    pub(super) fn optional(&self, idx: usize) -> Option<&'a Const> {
        self.inputs.get(idx).copied().flatten()
    }
}

/// The node's outputs.
pub(super) fn fold(node: &NodeProto, operands: &Operands<'_>) -> Result<Vec<Const>, String> {
    if !is_standard(&node.domain) {
        return quant_ops::fold(node, operands).map(|out| vec![out]);
    }
    if let Some(out) = fold_shape::fold(node, operands)? {
        return Ok(out);
    }
    elementwise(node, operands).map(|out| vec![out])
}

fn elementwise(node: &NodeProto, operands: &Operands<'_>) -> Result<Const, String> {
    let x = operands.get(0)?;
    let two = |float: fn(f32, f32) -> f32, int: fn(i64, i64) -> Option<i64>| {
        arithmetic(x, operands.get(1)?, float, int)
    };
    let compared = |holds: fn(f64, f64) -> bool| compare(x, operands.get(1)?, holds);
    match node.op_type.as_str() {
        "Identity" | "Dropout" => Ok(x.clone()),
        "Cast" => cast(x, node.int("to").unwrap_or(0)),
        "CastLike" => match operands.get(1)?.data() {
            Data::F32(_) => cast(x, 1),
            Data::I64(_) => cast(x, 7),
            Data::Bool(_) => cast(x, 9),
        },
        "Neg" => one(x, |x| -x, i64::checked_neg),
        "Abs" => one(x, f32::abs, i64::checked_abs),
        "Sign" => one(x, sign, |x| Some(x.signum())),
        "Relu" => one(x, |x| if x > 0.0 { x } else { 0.0 }, |x| Some(x.max(0))),
        "Sqrt" => floats(x, f32::sqrt),
        "Reciprocal" => floats(x, |x| 1.0 / x),
        "Exp" => floats(x, f32::exp),
        "Log" => floats(x, f32::ln),
        "Tanh" => floats(x, f32::tanh),
        "Floor" => floats(x, f32::floor),
        "Ceil" => floats(x, f32::ceil),
        "Round" => floats(x, f32::round_ties_even),
        "Add" => two(|a, b| a + b, i64::checked_add),
        "Sub" => two(|a, b| a - b, i64::checked_sub),
        "Mul" => two(|a, b| a * b, i64::checked_mul),
        "Div" => two(|a, b| a / b, i64::checked_div),
        "Pow" => two(power, |a, b| a.checked_pow(u32::try_from(b).ok()?)),
        "Max" => two(f32::max, |a, b| Some(a.max(b))),
        "Min" => two(f32::min, |a, b| Some(a.min(b))),
        "Mod" => two(|a, b| a % b, i64::checked_rem),
        "Greater" => compared(|a, b| a > b),
        "GreaterOrEqual" => compared(|a, b| a >= b),
        "Less" => compared(|a, b| a < b),
        "LessOrEqual" => compared(|a, b| a <= b),
        "Equal" => compared(|a, b| a == b),
        "And" => compared(|a, b| a != 0.0 && b != 0.0),
        "Or" => compared(|a, b| a != 0.0 || b != 0.0),
        "Not" => match x.data() {
            Data::Bool(values) => {
                Const::new(x.shape.clone(), Data::Bool(values.iter().map(|x| !x).collect()))
            }
            _ => Err("it inverts something that is not boolean".into()),
        },
        "Where" => choose(x, operands.get(1)?, operands.get(2)?),
        "Clip" => clip(node, operands),
        "ReduceMean" | "ReduceSum" | "ReduceMax" | "ReduceMin" | "ReduceL1" => reduce(node, operands),
        _ => Err("onebit does not compute this op of constants; export the network with constant folding".into()),
    }
}

fn sign(x: f32) -> f32 {
    if x > 0.0 {
        1.0
    } else if x < 0.0 {
        -1.0
    } else {
        x * 0.0
    }
}

/// Whole exponents by products, as the common uses (squares, and an exponent of one) are exact then.
fn power(x: f32, exponent: f32) -> f32 {
    match exponent {
        1.0 => x,
        2.0 => x * x,
        _ => x.powf(exponent),
    }
}

fn one(x: &Const, float: fn(f32) -> f32, int: fn(i64) -> Option<i64>) -> Result<Const, String> {
    let data = match x.data() {
        Data::F32(values) => Data::F32(values.iter().map(|&x| float(x)).collect()),
        Data::I64(values) => {
            let out: Option<Vec<i64>> = values.iter().map(|&x| int(x)).collect();
            Data::I64(out.ok_or("an integer overflows")?)
        }
        Data::Bool(_) => return Err("it computes with booleans".into()),
    };
    Const::new(x.shape.clone(), data)
}

fn floats(x: &Const, float: fn(f32) -> f32) -> Result<Const, String> {
    one(x, float, |_| None).map_err(|_| "it needs numbers that are not whole".into())
}

/// The shape of two shapes broadcast together.
pub(super) fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, String> {
    let rank = a.len().max(b.len());
    let at = |shape: &[usize], axis: usize| {
        (axis + shape.len())
            .checked_sub(rank)
            .map_or(1, |axis| shape[axis])
    };
    let size = |axis| match (at(a, axis), at(b, axis)) {
        (1, size) | (size, 1) => Ok(size),
        (one, other) if one == other => Ok(one),
        _ => Err(format!("shapes {a:?} and {b:?} do not go together")),
    };
    (0..rank).map(size).collect()
}

/// For every element of `to`, the row-major index of the element of `from` that is broadcast to it.
pub(super) fn broadcast_index(from: &[usize], to: &[usize]) -> Vec<usize> {
    let skipped = to.len() - from.len();
    let mut strides = vec![0; to.len()];
    let mut stride = 1;
    for axis in (0..from.len()).rev() {
        if from[axis] != 1 {
            strides[skipped + axis] = stride;
        }
        stride *= from[axis];
    }
    strided(to, &strides, 0)
}

/// The indices `start + sum of position * stride` for every position of a shape in row-major order.
pub(super) fn strided(shape: &[usize], strides: &[usize], start: usize) -> Vec<usize> {
    let mut index = vec![start];
    for (&size, &stride) in shape.iter().zip(strides) {
        let grown = index
            .iter()
            .flat_map(|&base| (0..size).map(move |at| base.wrapping_add(at.wrapping_mul(stride))));
        index = grown.collect();
    }
    index
}

/// The elements of both operands, pair by pair, under their common shape.
fn pairs<T>(
    a: &Const,
    b: &Const,
    make: impl Fn(usize, usize) -> Result<T, String>,
) -> Result<(Vec<usize>, Vec<T>), String> {
    let shape = broadcast(&a.shape, &b.shape)?;
    let n = count(&shape)?;
    let is_uniform = a.n_held() == 1 && b.n_held() == 1 && n > 0;
    if is_uniform {
        return Ok((shape, vec![make(0, 0)?]));
    }
    check_grown(n, a.n_held() + b.n_held())?;
    let (ia, ib) = (
        broadcast_index(&a.shape, &shape),
        broadcast_index(&b.shape, &shape),
    );
    let out: Result<Vec<T>, String> = ia.into_iter().zip(ib).map(|(i, j)| make(i, j)).collect();
    Ok((shape, out?))
}

fn arithmetic(
    a: &Const,
    b: &Const,
    float: fn(f32, f32) -> f32,
    int: fn(i64, i64) -> Option<i64>,
) -> Result<Const, String> {
    match (a.data(), b.data()) {
        (Data::F32(x), Data::F32(y)) => {
            let at = |v: &[f32], i: usize| v[if v.len() == 1 { 0 } else { i }];
            let (shape, out) = pairs(a, b, |i, j| Ok(float(at(x, i), at(y, j))))?;
            Const::new(shape, Data::F32(out))
        }
        (Data::I64(x), Data::I64(y)) => {
            let at = |v: &[i64], i: usize| v[if v.len() == 1 { 0 } else { i }];
            let failed = "an integer overflows, or is divided by zero";
            let (shape, out) = pairs(a, b, |i, j| {
                int(at(x, i), at(y, j)).ok_or_else(|| failed.to_owned())
            })?;
            Const::new(shape, Data::I64(out))
        }
        _ => Err("its operands are of different types".into()),
    }
}

fn compare(a: &Const, b: &Const, holds: fn(f64, f64) -> bool) -> Result<Const, String> {
    let (shape, out) = pairs(a, b, |i, j| Ok(holds(a.number(i), b.number(j))))?;
    Const::new(shape, Data::Bool(out))
}

fn choose(condition: &Const, yes: &Const, no: &Const) -> Result<Const, String> {
    let arms = broadcast(&yes.shape, &no.shape)?;
    let shape = broadcast(&condition.shape, &arms)?;
    let is_uniform = [condition, yes, no].iter().all(|x| x.n_held() == 1);
    if !is_uniform {
        check_grown(
            count(&shape)?,
            condition.n_held() + yes.n_held() + no.n_held(),
        )?;
    }
    let index = |x: &Const| {
        if is_uniform {
            vec![0]
        } else {
            broadcast_index(&x.shape, &shape)
        }
    };
    let picks = index(condition).into_iter().zip(index(yes)).zip(index(no));
    let number = |((c, y), n): ((usize, usize), usize)| {
        if condition.number(c) != 0.0 {
            yes.number(y)
        } else {
            no.number(n)
        }
    };
    let data = match (yes.data(), no.data()) {
        (Data::F32(_), Data::F32(_)) => Data::F32(picks.map(|at| number(at) as f32).collect()),
        (Data::I64(_), Data::I64(_)) => Data::I64(picks.map(|at| number(at) as i64).collect()),
        _ => return Err("its two values are of different types".into()),
    };
    Const::new(shape, data)
}

fn cast(x: &Const, to: i64) -> Result<Const, String> {
    if let (Data::F32(_), 1) | (Data::I64(_), 7) | (Data::Bool(_), 9) = (x.data(), to) {
        return Ok(x.clone());
    }
    let numbers = (0..x.n_held()).map(|i| x.number(i));
    let data = match to {
        1 | 11 => Data::F32(numbers.map(|x| x as f32).collect()),
        2..=7 | 12 | 13 => Data::I64(numbers.map(|x| x.trunc() as i64).collect()),
        9 => Data::Bool(numbers.map(|x| x != 0.0).collect()),
        _ => {
            return Err(format!(
                "it casts to ONNX data type {to}; export the network in 32-bit floats"
            ));
        }
    };
    Const::new(x.shape.clone(), data)
}

/// The bounds of a `Clip`, from its inputs or, before version 11, its attributes.
pub(super) fn bounds(node: &NodeProto, operands: &Operands<'_>) -> Result<(f32, f32), String> {
    let bound = |idx: usize, name: &str, default: f32| match operands.optional(idx) {
        Some(bound) => match bound.uniform() {
            Some(bound) => Ok(bound as f32),
            None => Err(format!("its {name} is not one number")),
        },
        None => Ok(node.float(name).unwrap_or(default)),
    };
    let (min, max) = (
        bound(1, "min", f32::NEG_INFINITY)?,
        bound(2, "max", f32::INFINITY)?,
    );
    if min.is_nan() || max.is_nan() {
        return Err("a bound is NaN".into());
    }
    // Where the bounds cross, every element becomes the upper one.
    Ok((min.min(max), max))
}

fn clip(node: &NodeProto, operands: &Operands<'_>) -> Result<Const, String> {
    let x = operands.get(0)?;
    let (min, max) = bounds(node, operands)?;
    match x.data() {
        Data::F32(values) => Const::new(
            x.shape.clone(),
            Data::F32(values.iter().map(|x| x.max(min).min(max)).collect()),
        ),
        _ => Err("it clips integers".into()),
    }
}

/// The axes of a reduction, from its attribute or its second input; none stated means all.
pub(super) fn axes(
    node: &NodeProto,
    second: Option<&Const>,
    rank: usize,
) -> Result<Vec<usize>, String> {
    let stated = match (node.ints("axes"), second) {
        (Some(axes), _) => axes.to_vec(),
        (None, Some(axes)) => axes.ints()?,
        (None, None) => Vec::new(),
    };
    if stated.is_empty() && node.int("noop_with_empty_axes").unwrap_or(0) == 0 {
        return Ok((0..rank).collect());
    }
    stated
        .iter()
        .map(|&axis| fold_shape::axis(axis, rank))
        .collect()
}

fn reduce(node: &NodeProto, operands: &Operands<'_>) -> Result<Const, String> {
    let x = operands.get(0)?;
    let Data::F32(_) = x.data() else {
        return Err("it reduces integers".into());
    };
    check_grown(x.n_elements(), x.n_held())?;
    let reduced = axes(node, operands.optional(1), x.shape.len())?;
    let keep = node.int("keepdims").unwrap_or(1) != 0;
    let is_reduced = |axis: usize| reduced.contains(&axis);
    let kept_shape: Vec<usize> = (0..x.shape.len())
        .map(|axis| if is_reduced(axis) { 1 } else { x.shape[axis] })
        .collect();
    let target = broadcast_index(&kept_shape, &x.shape);
    let n_out: usize = count(&kept_shape)?;
    let n_each = x.n_elements().checked_div(n_out).unwrap_or(0);
    let (start, join): (f64, fn(f64, f64) -> f64) = match node.op_type.as_str() {
        "ReduceMax" => (f64::NEG_INFINITY, f64::max),
        "ReduceMin" => (f64::INFINITY, f64::min),
        "ReduceL1" => (0.0, |sum, x| sum + x.abs()),
        _ => (0.0, |sum, x| sum + x),
    };
    let mut sums = vec![start; n_out];
    for (i, at) in target.into_iter().enumerate() {
        sums[at] = join(sums[at], x.number(i));
    }
    let is_mean = node.op_type == "ReduceMean";
    let finish = |sum: f64| {
        if is_mean {
            (sum / n_each as f64) as f32
        } else {
            sum as f32
        }
    };
    let shape = if keep {
        kept_shape
    } else {
        (0..x.shape.len())
            .filter(|&axis| !is_reduced(axis))
            .map(|axis| x.shape[axis])
            .collect()
    };
    Const::new(shape, Data::F32(sums.into_iter().map(finish).collect()))
}

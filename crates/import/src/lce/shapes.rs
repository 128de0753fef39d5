//! Ops that move elements: reshapes, transposes, slices, concatenation, padding.
//!
//! In: builtin ops on FLOAT32, BOOL and 8-bit tensors, with constant attributes. Out: the same on Programs, where
//! the batch axis does not exist. Packed bits are refused: moving words is not moving signs.

use onebit_model::program::{Kind, Op};

use super::constant;
use super::elementwise::{Activation, activate};
use super::graph::{Border, Graph, Meaning, Outcome, Step, Value};
use super::quantized;

/// The value of operand `i`, which is not packed.
fn loose(graph: &mut Graph, step: &Step, i: usize) -> Outcome<Value> {
    let value = graph.operand(step, i)?;
    match value.meaning {
        Meaning::Packed => Err(
            "its operand is packed bits, whose words cannot be moved; put the op before LceQuantize or after \
             LceDequantize"
                .into(),
        ),
        _ => Ok(value),
    }
}

/// RESHAPE, SQUEEZE and EXPAND_DIMS: the output tensor has the shape.
pub(super) fn reshape(graph: &mut Graph, step: &Step) -> Outcome<Value> {
    let value = loose(graph, step, 0)?;
    let shape = super::image_shape(graph.output(step)?)?;
    if shape.iter().product::<usize>() != value.n_elements() {
        return Err(format!(
            "it makes {shape:?} of {:?} per image; the batch axis must stay alone",
            value.shape
        ));
    }
    let id = graph.reshape(value.id, &shape)?;
    Ok(Value { id, shape, ..value })
}

/// A constant list of integers, as long as the rank of the operand with its batch axis.
fn list(graph: &Graph, step: &Step, i: usize, what: &str, n: usize) -> Outcome<Vec<i64>> {
    let list = graph.ints(step, i)?.map(|constant| constant.values);
    match list {
        Some(list) if list.len() == n => Ok(list),
        _ => Err(format!("its {what} is not a constant of {n} integers")),
    }
}

/// TRANSPOSE.
pub(super) fn transpose(graph: &mut Graph, step: &Step) -> Outcome<Value> {
    let value = loose(graph, step, 0)?;
    let rank = value.shape.len();
    let perm = list(graph, step, 1, "permutation", rank + 1)?;
    let image_axis = |&axis: &i64| {
        usize::try_from(axis.saturating_sub(1))
            .ok()
            .filter(|&axis| axis < rank)
    };
    let axes: Option<Vec<usize>> = perm[1..].iter().map(image_axis).collect();
    let (0, Some(perm)) = (perm[0], axes) else {
        return Err(format!("its permutation {perm:?} moves the batch axis"));
    };
    let shape: Vec<usize> = perm.iter().map(|&axis| value.shape[axis]).collect();
    let id = graph.push(Op::Transpose { perm }, &[value.id])?;
    Ok(Value { id, shape, ..value })
}

/// An axis of a tensor with its batch axis as an axis of the value; negative ones count from the end.
pub(super) fn image_axis(axis: i64, rank: usize) -> Outcome<usize> {
    let n = rank as i64 + 1;
    let axis = if axis < 0 { axis + n } else { axis };
    let inside = usize::try_from(axis - 1).ok().filter(|&axis| axis < rank);
    inside.ok_or_else(|| {
        format!("its axis {axis} is the batch axis or outside the {n} axes of its operand")
    })
}

/// CONCATENATION along the channels.
pub(super) fn concatenation(graph: &mut Graph, step: &Step) -> Outcome<Value> {
    let options = step.options(10)?;
    let activation = Activation::from_code(options.byte(1))?;
    let n = step.operator.inputs.len();
    let mut values = Vec::with_capacity(n);
    for i in 0..n {
        values.push(loose(graph, step, i)?);
    }
    let Some(first) = values.first().cloned() else {
        return Err("it has no operands".into());
    };
    let rank = first.shape.len();
    let axis = image_axis(options.int(0, 0).into(), rank)?;
    if axis + 1 != rank {
        return Err(format!(
            "it joins axis {} of {}; the last axis, the channels, is supported",
            axis + 1,
            rank + 1
        ));
    }
    let mut shape = first.shape.clone();
    let in_front = |value: &Value| value.shape[..value.shape.len() - 1] == shape[..rank - 1];
    if !values
        .iter()
        .all(|value| value.shape.len() == rank && in_front(value))
    {
        return Err("its operands differ in more than the last axis".into());
    }
    shape[rank - 1] = values.iter().map(Value::channels).sum();
    let meaning = match first.meaning {
        Meaning::Codes(_) => {
            let to = constant::scale(graph.output(step)?)?;
            for value in &mut values {
                let Meaning::Codes(from) = value.meaning else {
                    return Err("some of its operands are 8-bit and some are not".into());
                };
                *value = quantized::rescale(graph, value, (from, to), Activation::None)?;
            }
            Meaning::Codes(to)
        }
        meaning => {
            let kind = graph.kind(first.id);
            if values.iter().any(|value| value.meaning != meaning) {
                return Err("its operands are of different element types".into());
            }
            let of_one_kind = values.iter().all(|value| graph.kind(value.id) == kind);
            if !of_one_kind {
                for value in &mut values {
                    value.id = graph.real(value.id)?;
                }
            }
            meaning
        }
    };
    let ids: Vec<_> = values.iter().map(|value| value.id).collect();
    let id = match ids[..] {
        [only] => only,
        _ => graph.push(Op::ConcatChannels, &ids)?,
    };
    let value = Value::new(id, &shape, meaning);
    match (activation, meaning) {
        (Activation::None, _) => Ok(value),
        (_, Meaning::Float) => activate(graph, value, activation),
        _ => Err("it has a fused activation on elements that are not FLOAT32".into()),
    }
}

/// PAD and PADV2 (`has_value`) of the rows and columns of an image.
pub(super) fn pad(graph: &mut Graph, step: &Step, has_value: bool) -> Outcome<Value> {
    let value = loose(graph, step, 0)?;
    value.image()?;
    let pads = list(graph, step, 1, "padding", 8)?;
    let size = |&n: &i64| usize::try_from(n).ok();
    let sizes: Option<Vec<usize>> = pads.iter().map(size).collect();
    let Some([0, 0, top, bottom, left, right, 0, 0]) = sizes.as_deref() else {
        return Err(format!(
            "its padding is {pads:?}; rows and columns can be padded, batch and channels not"
        ));
    };
    let pads = [*top, *left, *bottom, *right];
    let limit = onebit_model::limits::MAX_PAD;
    if pads.iter().any(|&pad| pad > limit) {
        return Err(format!("its padding {pads:?} is over the limit of {limit}"));
    }
    if pads == [0; 4] {
        return Ok(value);
    }
    let constant = if has_value {
        graph.floats(step, 2)?
    } else {
        None
    };
    let around = match (constant.map(|constant| constant.values), value.meaning) {
        (None, Meaning::Codes(scale)) => scale.zero,
        (None, Meaning::Float) => 0,
        (Some(around), Meaning::Float) => border_value(graph, &value, &around)?,
        _ => return Err("it pads a tensor that is not FLOAT32 with a value of its own".into()),
    };
    let mut shape = value.shape.clone();
    shape[0] += pads[0] + pads[2];
    shape[1] += pads[1] + pads[3];
    let border = Some(Border {
        pads,
        value: around,
    });
    // A border of zeros may widen the range.
    let edge = around as f32;
    let range = value
        .range
        .map(|(low, high)| (low.min(edge), high.max(edge)));
    Ok(Value {
        shape,
        border,
        range,
        ..value
    })
}

/// The integer that a constant border is.
fn border_value(graph: &Graph, value: &Value, around: &[f32]) -> Outcome<i32> {
    let [around] = *around else {
        return Err("its padding value is not one constant".into());
    };
    let fits = match graph.kind(value.id) {
        Kind::Bits => [-1.0, 0.0, 1.0].contains(&around),
        Kind::Levels(bits) => (0.0..=((1 << bits) - 1) as f32).contains(&around),
        Kind::Int | Kind::Real => around.abs() <= 16_777_216.0,
    };
    if !fits || around.fract() != 0.0 {
        return Err(format!(
            "it pads with {around}; integers that the operand can hold are supported"
        ));
    }
    Ok(around as i32)
}

/// A block of a value.
fn block(graph: &mut Graph, value: &Value, start: Vec<usize>, size: Vec<usize>) -> Outcome<Value> {
    if start.iter().all(|&at| at == 0) && size == value.shape {
        return Ok(value.clone());
    }
    let op = Op::Slice {
        start,
        size: size.clone(),
    };
    let id = graph.push(op, &[value.id])?;
    Ok(Value {
        id,
        shape: size,
        ..value.clone()
    })
}

/// SLICE.
pub(super) fn slice(graph: &mut Graph, step: &Step) -> Outcome<Value> {
    let value = loose(graph, step, 0)?;
    let n = value.shape.len() + 1;
    let begin = list(graph, step, 1, "begin", n)?;
    let size = list(graph, step, 2, "size", n)?;
    if begin[0] != 0 || !matches!(size[0], -1 | 1) {
        return Err("it slices the batch axis".into());
    }
    let (mut starts, mut sizes) = (Vec::new(), Vec::new());
    for ((&begin, &size), &whole) in begin[1..].iter().zip(&size[1..]).zip(&value.shape) {
        let start = usize::try_from(begin).ok().filter(|&start| start < whole);
        let Some(start) = start else {
            return Err(format!("its begin {begin} is outside an axis of {whole}"));
        };
        let rest = whole - start;
        let size = if size == -1 {
            Some(rest)
        } else {
            usize::try_from(size).ok()
        };
        match size {
            Some(size) if (1..=rest).contains(&size) => {
                starts.push(start);
                sizes.push(size);
            }
            _ => {
                return Err(format!(
                    "its block at {start} does not fit an axis of {whole}"
                ));
            }
        }
    }
    block(graph, &value, starts, sizes)
}

/// STRIDED_SLICE with strides of 1 that keeps every axis.
pub(super) fn strided_slice(graph: &mut Graph, step: &Step) -> Outcome<Value> {
    let options = step.options(32)?;
    let value = loose(graph, step, 0)?;
    let n = value.shape.len() + 1;
    let begin = list(graph, step, 1, "begin", n)?;
    let end = list(graph, step, 2, "end", n)?;
    let strides = list(graph, step, 3, "strides", n)?;
    let [begin_mask, end_mask] = [0, 1].map(|id| options.int(id, 0));
    let is_plain = (2..=4).all(|id| options.int(id, 0) == 0) && options.byte(5) == 0;
    if !is_plain || strides.iter().any(|&stride| stride != 1) {
        return Err("only strides of 1 that keep every axis are supported".into());
    }
    let (mut starts, mut sizes) = (Vec::new(), Vec::new());
    for axis in 0..n {
        let whole = if axis == 0 {
            1
        } else {
            value.shape[axis - 1] as i64
        };
        let place = |at: i64| (if at < 0 { at.saturating_add(whole) } else { at }).clamp(0, whole);
        let is_masked = |mask: i32| mask >> axis & 1 == 1;
        let start = if is_masked(begin_mask) {
            0
        } else {
            place(begin[axis])
        };
        let end = if is_masked(end_mask) {
            whole
        } else {
            place(end[axis])
        };
        if start >= end || axis == 0 && start != 0 {
            return Err(format!("its block of axis {axis} is empty"));
        }
        if axis > 0 {
            starts.push(start as usize);
            sizes.push((end - start) as usize);
        }
    }
    block(graph, &value, starts, sizes)
}

/// SPLIT into equal blocks.
pub(super) fn split(graph: &mut Graph, step: &Step) -> Outcome<Vec<Value>> {
    let value = loose(graph, step, 1)?;
    let axis = list(graph, step, 0, "axis", 1)?[0];
    let axis = image_axis(axis, value.shape.len())?;
    let n = step.operator.outputs.len();
    if n == 0 || value.shape[axis] % n != 0 {
        return Err(format!("it splits {} into {n} parts", value.shape[axis]));
    }
    let mut size = value.shape.clone();
    size[axis] /= n;
    let mut parts = Vec::with_capacity(n);
    for part in 0..n {
        let mut start = vec![0; size.len()];
        start[axis] = part * size[axis];
        parts.push(block(graph, &value, start, size.clone())?);
    }
    Ok(parts)
}

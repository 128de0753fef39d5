//! Constant folding of the ops that make shapes and move elements.
//!
//! A node over constants comes in; its outputs go out, or nothing where the op is none of these. The rules for
//! axes, slices and reshapes are here too, for the ops on values that are computed at run time.

use super::constant::{Const, Data, MAX_RANK, check_grown, count};
use super::fold::{Operands, broadcast, broadcast_index, strided};
use super::graph::read_tensor;
use super::proto::NodeProto;

/// An axis that may be counted from the end.
pub(super) fn axis(stated: i64, rank: usize) -> Result<usize, String> {
    let from_end = usize::try_from(stated.unsigned_abs()).unwrap_or(usize::MAX);
    let axis = if stated < 0 {
        rank.checked_sub(from_end)
    } else {
        Some(from_end)
    };
    axis.filter(|&axis| axis < rank)
        .ok_or_else(|| format!("axis {stated} of something with {rank} axes"))
}

/// The outputs of a node, if it is one of the ops here.
pub(super) fn fold(
    node: &NodeProto,
    operands: &Operands<'_>,
) -> Result<Option<Vec<Const>>, String> {
    let one = |out: Const| Ok(Some(vec![out]));
    match node.op_type.as_str() {
        "Constant" => one(constant(node)?),
        "ConstantOfShape" => one(constant_of_shape(node, operands.get(0)?)?),
        "Shape" => one(shape_of(node, &operands.get(0)?.shape)?),
        "Size" => one(Const::new(
            vec![],
            Data::I64(vec![operands.get(0)?.n_elements() as i64]),
        )?),
        "Gather" => one(gather(node, operands.get(0)?, operands.get(1)?)?),
        "Unsqueeze" | "Squeeze" | "Reshape" | "Flatten" => {
            let x = operands.get(0)?;
            one(x.reshape(new_shape(node, &x.shape, operands.optional(1))?)?)
        }
        "Expand" => {
            let x = operands.get(0)?;
            let wanted = sizes(&operands.get(1)?.ints()?)?;
            one(expand(x, broadcast(&x.shape, &wanted)?)?)
        }
        "Transpose" => {
            let x = operands.get(0)?;
            one(transpose(x, &permutation(node, x.shape.len())?)?)
        }
        "Concat" => one(concat(node, operands)?),
        "Slice" => one(slice(node, operands)?),
        "Range" => one(range(operands)?),
        "Split" => split(node, operands).map(Some),
        _ => Ok(None),
    }
}

/// The value of a `Constant`.
pub(super) fn constant(node: &NodeProto) -> Result<Const, String> {
    let [attr] = node.attribute.as_slice() else {
        return Err("a Constant needs exactly one value".into());
    };
    match attr.name.as_str() {
        "value" => read_tensor(attr.t.as_ref().ok_or("its value is no tensor")?, None),
        "value_float" => Const::new(vec![], Data::F32(vec![attr.f.unwrap_or(0.0)])),
        "value_int" => Const::new(vec![], Data::I64(vec![attr.i.unwrap_or(0)])),
        "value_floats" => Const::new(vec![attr.floats.len()], Data::F32(attr.floats.clone())),
        "value_ints" => Ok(Const::list(attr.ints.clone())),
        other => Err(format!("constants of the form {other:?} are not read")),
    }
}

fn constant_of_shape(node: &NodeProto, shape: &Const) -> Result<Const, String> {
    let value = match node.attr("value").and_then(|attr| attr.t.as_ref()) {
        None => Data::F32(vec![0.0]),
        Some(tensor) => read_tensor(tensor, None)?.data().clone(),
    };
    let shape = sizes(&shape.ints()?)?;
    if shape.contains(&0) {
        return Const::new(shape, empty_like(&value));
    }
    Const::new(shape, value)
}

fn empty_like(data: &Data) -> Data {
    match data {
        Data::F32(_) => Data::F32(Vec::new()),
        Data::I64(_) => Data::I64(Vec::new()),
        Data::Bool(_) => Data::Bool(Vec::new()),
    }
}

/// Sizes from integers.
fn sizes(list: &[i64]) -> Result<Vec<usize>, String> {
    let size = |&size: &i64| usize::try_from(size).map_err(|_| format!("an axis of size {size}"));
    list.iter().map(size).collect()
}

/// What `Shape` answers for a shape.
pub(super) fn shape_of(node: &NodeProto, shape: &[usize]) -> Result<Const, String> {
    let rank = shape.len() as i64;
    let bound = |name: &str, default: i64| {
        let at = node.int(name).unwrap_or(default);
        (if at < 0 { at.saturating_add(rank) } else { at }).clamp(0, rank) as usize
    };
    let (start, end) = (bound("start", 0), bound("end", rank));
    let part = if start < end { &shape[start..end] } else { &[] };
    Ok(Const::list(part.iter().map(|&size| size as i64).collect()))
}

fn gather(node: &NodeProto, x: &Const, index: &Const) -> Result<Const, String> {
    let axis = axis(node.int("axis").unwrap_or(0), x.shape.len())?;
    let n = x.shape[axis];
    let wanted = index.ints()?;
    let mut rows = Vec::with_capacity(wanted.len());
    for at in wanted {
        let row = if at < 0 {
            at.saturating_add(n as i64)
        } else {
            at
        };
        let row = usize::try_from(row).ok().filter(|&row| row < n);
        rows.push(row.ok_or_else(|| format!("index {at} of an axis of size {n}"))?);
    }
    let (outer, inner) = (product(&x.shape[..axis]), product(&x.shape[axis + 1..]));
    let mut shape = x.shape[..axis].to_vec();
    shape.extend(&index.shape);
    shape.extend(&x.shape[axis + 1..]);
    x.pick(shape, || {
        let rows = &rows;
        let each = |o: usize| {
            rows.iter()
                .flat_map(move |&row| (0..inner).map(move |i| (o * n + row) * inner + i))
        };
        (0..outer).flat_map(each).collect()
    })
}

fn product(shape: &[usize]) -> usize {
    shape.iter().product()
}

/// The shape that `Reshape`, `Flatten`, `Squeeze` or `Unsqueeze` gives to something of `shape`.
pub(super) fn new_shape(
    node: &NodeProto,
    shape: &[usize],
    second: Option<&Const>,
) -> Result<Vec<usize>, String> {
    let list = |name: &str| match (second, node.ints(name)) {
        (Some(list), _) => list.ints().map(Some),
        (None, Some(list)) => Ok(Some(list.to_vec())),
        (None, None) => Ok(None),
    };
    let rank = shape.len();
    match node.op_type.as_str() {
        "Reshape" => {
            let wanted = list("shape")?.ok_or("its new shape is not given")?;
            reshaped(shape, &wanted, node.int("allowzero").unwrap_or(0) != 0)
        }
        "Flatten" => {
            let stated = node.int("axis").unwrap_or(1);
            let at = if stated == rank as i64 {
                rank
            } else {
                axis(stated, rank)?
            };
            Ok(vec![product(&shape[..at]), product(&shape[at..])])
        }
        "Squeeze" => {
            let axes = match list("axes")? {
                None => (0..rank).filter(|&axis| shape[axis] == 1).collect(),
                Some(axes) => axes
                    .iter()
                    .map(|&at| axis(at, rank))
                    .collect::<Result<Vec<_>, _>>()?,
            };
            if let Some(at) = axes.iter().find(|&&at| shape[at] != 1) {
                return Err(format!("it drops axis {at}, whose size is {}", shape[*at]));
            }
            Ok((0..rank)
                .filter(|axis| !axes.contains(axis))
                .map(|axis| shape[axis])
                .collect())
        }
        _ => {
            let axes = list("axes")?.ok_or("its axes are not given")?;
            let wide = rank + axes.len();
            if wide > MAX_RANK {
                return Err(format!(
                    "it makes {wide} axes; at most {MAX_RANK} are possible"
                ));
            }
            let axes = axes
                .iter()
                .map(|&at| axis(at, wide))
                .collect::<Result<Vec<_>, _>>()?;
            let mut old = shape.iter();
            let size = |at: usize| {
                if axes.contains(&at) {
                    Some(1)
                } else {
                    old.next().copied()
                }
            };
            let new: Option<Vec<usize>> = (0..wide).map(size).collect();
            new.filter(|new| product(new) == product(shape))
                .ok_or_else(|| "an axis is stated twice".into())
        }
    }
}

fn reshaped(shape: &[usize], wanted: &[i64], zero_is_zero: bool) -> Result<Vec<usize>, String> {
    let refused = || format!("{shape:?} cannot be reshaped to {wanted:?}");
    let mut new = Vec::with_capacity(wanted.len());
    let mut open = None;
    for (at, &size) in wanted.iter().enumerate() {
        match size {
            -1 if open.is_none() => {
                open = Some(at);
                new.push(1);
            }
            0 if !zero_is_zero => new.push(*shape.get(at).ok_or_else(refused)?),
            size => new.push(usize::try_from(size).map_err(|_| refused())?),
        }
    }
    let n = product(shape);
    let known = new
        .iter()
        .try_fold(1usize, |n, &size| n.checked_mul(size))
        .ok_or_else(refused)?;
    if let Some(at) = open {
        new[at] = n.checked_div(known).ok_or_else(refused)?;
    }
    let total = new.iter().try_fold(1usize, |n, &size| n.checked_mul(size));
    if total == Some(n) {
        Ok(new)
    } else {
        Err(refused())
    }
}

/// The tensor broadcast to a shape.
pub(super) fn expand(x: &Const, shape: Vec<usize>) -> Result<Const, String> {
    let target = shape.clone();
    x.pick(shape, || broadcast_index(&x.shape, &target))
}

/// The permutation of a `Transpose`: stated, or all axes reversed.
pub(super) fn permutation(node: &NodeProto, rank: usize) -> Result<Vec<usize>, String> {
    let perm: Vec<usize> = match node.ints("perm") {
        None | Some([]) => (0..rank).rev().collect(),
        Some(perm) => perm
            .iter()
            .map(|&at| axis(at, rank))
            .collect::<Result<_, _>>()?,
    };
    let is_whole = perm.len() == rank && (0..rank).all(|axis| perm.contains(&axis));
    if is_whole {
        Ok(perm)
    } else {
        Err(format!("{perm:?} is no order of {rank} axes"))
    }
}

/// Axis `i` of the result is axis `perm[i]` of the operand.
pub(super) fn transpose(x: &Const, perm: &[usize]) -> Result<Const, String> {
    let shape: Vec<usize> = perm.iter().map(|&axis| x.shape[axis]).collect();
    let target = shape.clone();
    x.pick(shape, || {
        let strides = row_major(&x.shape);
        let moved: Vec<usize> = perm.iter().map(|&axis| strides[axis]).collect();
        strided(&target, &moved, 0)
    })
}

fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

fn concat(node: &NodeProto, operands: &Operands<'_>) -> Result<Const, String> {
    let first = operands.get(0)?;
    let rank = first.shape.len();
    let axis = axis(node.int("axis").unwrap_or(0), rank)?;
    let mut shape = first.shape.clone();
    shape[axis] = 0;
    let mut parts = Vec::new();
    for idx in 0..operands.inputs.len() {
        let part = operands.get(idx)?;
        let fits = part.shape.len() == rank
            && (0..rank).all(|at| at == axis || part.shape[at] == shape[at]);
        if !fits {
            return Err(format!(
                "{:?} and {:?} cannot be joined along axis {axis}",
                first.shape, part.shape
            ));
        }
        shape[axis] += part.shape[axis];
        parts.push(part);
    }
    let n = count(&shape)?;
    check_grown(n, parts.iter().map(|part| part.n_held()).sum())?;
    let (outer, inner) = (product(&shape[..axis]), product(&shape[axis + 1..]));
    let places = (0..outer).flat_map(|o| {
        parts.iter().enumerate().flat_map(move |(which, part)| {
            let width = part.shape[axis] * inner;
            (0..width).map(move |i| (which, o * width + i))
        })
    });
    let mut numbers = Vec::with_capacity(n);
    numbers.extend(places.map(|(which, at)| parts[which].number(at)));
    let data = match first.data() {
        Data::F32(_) => Data::F32(numbers.iter().map(|&x| x as f32).collect()),
        Data::I64(_) => Data::I64(joined_ints(&parts, n, &numbers)?),
        Data::Bool(_) => Data::Bool(numbers.iter().map(|&x| x != 0.0).collect()),
    };
    Const::new(shape, data)
}

/// Lists of integers are joined as such, because binary64 does not hold every one of them.
fn joined_ints(parts: &[&Const], n: usize, numbers: &[f64]) -> Result<Vec<i64>, String> {
    if parts.iter().any(|part| part.shape.len() != 1) {
        return Ok(numbers.iter().map(|&x| x as i64).collect());
    }
    let mut out = Vec::with_capacity(n);
    for part in parts {
        out.extend(part.ints()?);
    }
    Ok(out)
}

/// Start, number and step on each axis of a `Slice`.
pub(super) fn slices(
    node: &NodeProto,
    operands: &Operands<'_>,
    shape: &[usize],
) -> Result<Vec<(usize, usize, i64)>, String> {
    let list = |idx: usize, name: &str| match (operands.optional(idx), node.ints(name)) {
        (Some(list), _) => list.ints().map(Some),
        (None, list) => Ok(list.map(<[i64]>::to_vec)),
    };
    let starts = list(1, "starts")?.ok_or("its starts are not given")?;
    let ends = list(2, "ends")?.ok_or("its ends are not given")?;
    let axes = list(3, "axes")?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = list(4, "steps")?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()]
        .iter()
        .any(|&n| n != starts.len())
    {
        return Err("its starts, ends, axes and steps are not of one length".into());
    }
    let mut parts: Vec<(usize, usize, i64)> = shape.iter().map(|&size| (0, size, 1)).collect();
    for (idx, &at) in axes.iter().enumerate() {
        let at = axis(at, shape.len())?;
        let (size, step) = (shape[at] as i64, steps[idx]);
        let from_end = |at: i64| if at < 0 { at.saturating_add(size) } else { at };
        let (start, end) = (from_end(starts[idx]), from_end(ends[idx]));
        let (start, span) = match step {
            0 => return Err("a step is 0".into()),
            1.. => {
                let start = start.clamp(0, size);
                (start, end.clamp(0, size) - start)
            }
            _ => {
                let start = start.clamp(-1, size - 1);
                (start, start - end.clamp(-1, size - 1))
            }
        };
        let n = if span <= 0 {
            0
        } else {
            (span as u64).div_ceil(step.unsigned_abs()) as usize
        };
        parts[at] = (usize::try_from(start).unwrap_or(0), n, step);
    }
    Ok(parts)
}

fn slice(node: &NodeProto, operands: &Operands<'_>) -> Result<Const, String> {
    let x = operands.get(0)?;
    let parts = slices(node, operands, &x.shape)?;
    let strides = row_major(&x.shape);
    let start = parts
        .iter()
        .zip(&strides)
        .map(|(part, stride)| part.0 * stride)
        .sum();
    // A negative step wraps around, and so comes out right.
    let moves: Vec<usize> = parts
        .iter()
        .zip(&strides)
        .map(|(part, &stride)| (part.2 as usize).wrapping_mul(stride))
        .collect();
    let shape: Vec<usize> = parts.iter().map(|part| part.1).collect();
    if shape.contains(&0) {
        return Const::new(shape, empty_like(x.data()));
    }
    let target = shape.clone();
    x.pick(shape, || strided(&target, &moves, start))
}

/// The sizes of the parts of a `Split` along an axis of `size`.
pub(super) fn split_sizes(
    node: &NodeProto,
    second: Option<&Const>,
    size: usize,
) -> Result<Vec<usize>, String> {
    let parts = match (second, node.ints("split")) {
        (Some(list), _) => sizes(&list.ints()?)?,
        (None, Some(list)) => sizes(list)?,
        (None, None) => {
            let n = node.output.len().max(1);
            let each = size.div_ceil(n);
            (0..n)
                .map(|i| size.saturating_sub(i * each).min(each))
                .collect()
        }
    };
    let total = parts
        .iter()
        .try_fold(0usize, |sum, &part| sum.checked_add(part));
    if total != Some(size) || parts.len() != node.output.len() {
        return Err(format!("parts {parts:?} of an axis of size {size}"));
    }
    Ok(parts)
}

fn split(node: &NodeProto, operands: &Operands<'_>) -> Result<Vec<Const>, String> {
    let x = operands.get(0)?;
    let at = axis(node.int("axis").unwrap_or(0), x.shape.len())?;
    let strides = row_major(&x.shape);
    let mut start = 0;
    let mut out = Vec::new();
    for size in split_sizes(node, operands.optional(1), x.shape[at])? {
        let mut shape = x.shape.clone();
        shape[at] = size;
        let target = shape.clone();
        let from = start * strides[at];
        out.push(x.pick(shape, || strided(&target, &strides, from))?);
        start += size;
    }
    Ok(out)
}

fn range(operands: &Operands<'_>) -> Result<Const, String> {
    let number = |idx: usize| match operands.get(idx)?.data() {
        Data::I64(x) if x.len() == 1 => Ok(x[0]),
        _ => Err("only ranges of integers are computed".to_owned()),
    };
    let (start, limit, delta) = (number(0)?, number(1)?, number(2)?);
    let n = match delta {
        0 => return Err("its step is 0".into()),
        1.. => limit.saturating_sub(start).max(0) as u64,
        _ => start.saturating_sub(limit).max(0) as u64,
    }
    .div_ceil(delta.unsigned_abs());
    if n > 1 << 20 {
        return Err("it has over a million elements".into());
    }
    Ok(Const::list(
        (0..n as i64)
            .map(|i| start.wrapping_add(i.wrapping_mul(delta)))
            .collect(),
    ))
}

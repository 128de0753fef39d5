//! The interpreter: the definition of every op in code.
//!
//! A verified Program and one image come in; the value of every node goes out. The loops are naive
//! and share nothing with `run` or `bits`, so that agreement between the two means something.
//! Speed, batches and packed values are left to `run`.

pub(crate) mod elementwise;
pub(crate) mod pools;
mod products;
pub(crate) mod shapes;

use alloc::vec::Vec;

use crate::program::{Node, Op, Program, ValueId};
use crate::tensor::Tensor;
use crate::verify::ProgramTypes;

/// The Program's answer for one image.
///
/// # Panics
///
/// If `input` is not a value of the Program's input type (see [`Tensor::check`]).
pub fn interpret(program: &Program, types: &ProgramTypes, input: &Tensor) -> Tensor {
    interpret_all(program, types, input).swap_remove(program.output.0)
}

/// Every value for one image, indexed by `ValueId`: the input first, then each node's value.
///
/// # Panics
///
/// If `input` is not a value of the Program's input type (see [`Tensor::check`]).
pub fn interpret_all(program: &Program, types: &ProgramTypes, input: &Tensor) -> Vec<Tensor> {
    if let Err(reason) = input.check(&program.input) {
        panic!("the input does not fit the Program: {reason}");
    }
    let mut values = Vec::with_capacity(program.nodes.len() + 1);
    values.push(input.clone());
    for (node_idx, node) in program.nodes.iter().enumerate() {
        let result = &types.of(ValueId(node_idx + 1)).shape;
        let value = value_of(node, &values, types, result);
        values.push(value);
    }
    values
}

/// The value of one node, whose shape is `result`.
fn value_of(node: &Node, values: &[Tensor], types: &ProgramTypes, result: &[usize]) -> Tensor {
    let operand = |idx: usize| &values[node.inputs[idx].0];
    let x = operand(0);
    let ty = types.of(node.inputs[0]);
    let shape = ty.shape.as_slice();
    let n_channels = *shape.last().expect("verify: every shape has an axis");
    match &node.op {
        Op::Dense { weights, bias } => products::dense(weights, bias.as_deref(), x),
        Op::Conv2d(conv) => products::conv2d(conv, x, shape, result),
        Op::Threshold(thresholds) => elementwise::threshold(thresholds, n_channels, x),
        Op::Quantize { bits, cuts } => elementwise::quantize(*bits, cuts, n_channels, x),
        Op::Affine { scale, shift } => elementwise::affine(scale, shift, x),
        Op::Relu => elementwise::relu(x),
        Op::Clip { min, max } => elementwise::clip(*min, *max, x),
        Op::Prelu { slope } => elementwise::prelu(slope, x),
        Op::Rprelu {
            before,
            slope,
            after,
        } => elementwise::rprelu(before, slope, after, x),
        Op::GroupNorm(norm) => elementwise::group_norm(norm, x),
        Op::Add => elementwise::add(x, operand(1)),
        Op::Mul => elementwise::mul(x, operand(1)),
        Op::Softmax => elementwise::softmax(n_channels, x),
        Op::Argmax => elementwise::argmax(x),
        Op::Planes => shapes::planes(ty.kind, x),
        Op::Concat => shapes::concat(node.inputs.iter().map(|id| &values[id.0])),
        Op::ConcatChannels => {
            let operands: Vec<(&Tensor, usize)> = node
                .inputs
                .iter()
                .map(|id| (&values[id.0], types.of(*id)))
                .map(|(x, ty)| (x, ty.shape[ty.shape.len() - 1]))
                .collect();
            shapes::concat_channels(&operands, result)
        }
        Op::Slice { start, .. } => shapes::slice(start, x, shape, result),
        Op::Reshape { .. } => x.clone(),
        Op::Transpose { perm } => shapes::transpose(perm, x, shape, result),
        Op::MaxPool(window) => pools::max_pool(window, x, shape, result),
        Op::AvgPool { window, count_pads } => {
            pools::avg_pool(window, *count_pads, x, shape, result)
        }
        Op::GlobalAvgPool => pools::global_avg_pool(n_channels, x),
    }
}

/// The exact integers that the elements of bits, levels or int stand for; `None` for reals.
fn integers(x: &Tensor) -> Option<Vec<i32>> {
    match x {
        Tensor::Bits(x) => Some(x.iter().map(|&bit| 2 * i32::from(bit) - 1).collect()),
        Tensor::Levels(x) => Some(x.iter().map(|&code| i32::from(code)).collect()),
        Tensor::Int(x) => Some(x.clone()),
        Tensor::Real(_) => None,
    }
}

/// The elements as binary32; integers from 2^24 on are rounded to nearest even.
fn reals(x: &Tensor) -> Vec<f32> {
    match (x, integers(x)) {
        (Tensor::Real(x), _) => x.clone(),
        (_, integers) => integers.into_iter().flatten().map(|x| x as f32).collect(),
    }
}

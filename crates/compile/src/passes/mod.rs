//! The passes: each takes a well-formed Program and gives one that computes the same.
//!
//! One file per pass. `optimize` verifies the Program before and after each of them.

mod constant_channels;
mod dead_nodes;
mod direction;
mod fold_thresholds;
mod pool_after_threshold;

use onebit_model::ProgramTypes;
use onebit_model::program::{Node, Op, Program, Type, ValueId};
use onebit_model::weights::Weights;

use crate::reach::Elements;

pub use constant_channels::{ChannelMap, constant_channels, constant_channels_with_map};
pub use dead_nodes::dead_nodes;
pub(crate) use dead_nodes::used_values;
pub use direction::direction;
pub use fold_thresholds::fold_thresholds;
pub use pool_after_threshold::pool_after_threshold;

/// How often each value is used: as an operand, or as the Program's answer.
fn use_counts(program: &Program) -> Vec<usize> {
    let mut counts = vec![0; program.nodes.len() + 1];
    for id in program.nodes.iter().flat_map(|node| &node.inputs) {
        counts[id.0] += 1;
    }
    counts[program.output.0] += 1;
    counts
}

/// The node that computes a value, unless it is the input.
fn producer(id: ValueId) -> Option<usize> {
    id.0.checked_sub(1)
}

/// The dense node whose only use is as operand of `user`, if there is one.
fn sole_dense_operand(program: &Program, counts: &[usize], user: &Node) -> Option<usize> {
    let id = *user.inputs.first()?;
    let node_idx = producer(id)?;
    let is_dense = matches!(program.nodes[node_idx].op, Op::Dense { .. });
    (is_dense && counts[id.0] == 1).then_some(node_idx)
}

/// Whether an op treats each element of a single operand on its own and gives reals or integers.
fn is_elementwise(op: &Op) -> bool {
    matches!(
        op,
        Op::Affine { .. } | Op::Relu | Op::Clip { .. } | Op::Prelu { .. } | Op::Rprelu { .. }
    )
}

/// The weights and the bias of a dense or a convolution.
fn product(op: &Op) -> Option<(&Weights, Option<&[i32]>)> {
    match op {
        Op::Dense { weights, bias } => Some((weights, bias.as_deref())),
        Op::Conv2d(conv) => Some((&conv.weights, conv.bias.as_deref())),
        _ => None,
    }
}

/// What the elements are that the rows of a dense or a convolution with integer sums multiply; `None` for
/// other values.
fn sums_elements(program: &Program, types: &ProgramTypes, id: ValueId) -> Option<Elements> {
    let node = &program.nodes[producer(id)?];
    let operand = *node.inputs.first()?;
    let of_operand = Elements::of_value(types.of(operand).kind, types.range(operand))?;
    match &node.op {
        Op::Dense { weights, .. } if !weights.is_real() => Some(of_operand),
        Op::Conv2d(conv) if !conv.weights.is_real() => Some(of_operand.with_padding(conv)),
        _ => None,
    }
}

/// Types of all values of a Program that `optimize` has verified.
fn value_types(program: &Program) -> Vec<Type> {
    let types = onebit_model::verify(program).expect("a pass is given a well-formed Program");
    (0..types.n_values())
        .map(|idx| types.of(ValueId(idx)).clone())
        .collect()
}

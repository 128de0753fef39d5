//! The passes: each takes a well-formed Program and gives one that computes the same.
//!
//! One file per pass. `optimize` verifies the Program before and after each of them.

mod constant_channels;
mod direction;

use onebit_model::program::{Node, Op, Program, Type, ValueId};

pub use constant_channels::{ChannelMap, constant_channels, constant_channels_with_map};
pub use direction::direction;

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
fn producer(program: &Program, id: ValueId) -> Option<usize> {
    debug_assert!(id.0 <= program.nodes.len());
    id.0.checked_sub(1)
}

/// The dense node whose only use is as operand of `user`, if there is one.
fn sole_dense_operand(program: &Program, counts: &[usize], user: &Node) -> Option<usize> {
    let id = *user.inputs.first()?;
    let node_idx = producer(program, id)?;
    let is_dense = matches!(program.nodes[node_idx].op, Op::Dense { .. });
    (is_dense && counts[id.0] == 1).then_some(node_idx)
}

/// Types of all values of a Program that `optimize` has verified.
fn value_types(program: &Program) -> Vec<Type> {
    let types = onebit_model::verify(program).expect("a pass is given a well-formed Program");
    (0..types.n_values())
        .map(|idx| types.of(ValueId(idx)).clone())
        .collect()
}

//! Counterparts: which value of a compiled Program is which value of its Net.
//!
//! A Net and a Program that was compiled from it come in; for each value of the Net the equal value of the
//! Program goes out, where there is one. Passes remove nodes, negate rows of sums before a comparison, move
//! pools behind their threshold and drop channels; what they touch has no counterpart.

use std::collections::BTreeMap;

use onebit_model::ProgramTypes;
use onebit_model::check_net::NetTypes;
use onebit_model::net::{LayerOp, Net};
use onebit_model::program::{Kind, Op, Program, ValueId};

use crate::passes::used_values;

/// Indexed by the Net's value numbers: 0 is the encoded input, `i + 1` what layer `i` computes.
pub fn counterparts(
    (net, net_types): (&Net, &NetTypes),
    (program, types): (&Program, &ProgramTypes),
) -> Vec<Option<ValueId>> {
    let is_used = used_values(program);
    let nodes: BTreeMap<&str, usize> = program
        .nodes
        .iter()
        .enumerate()
        // A dead node may read sums that were negated.
        .filter(|(idx, _)| is_used[idx + 1])
        .map(|(idx, node)| (node.name.as_str(), idx))
        .collect();
    let node_of = |layer_idx: usize| nodes.get(net.layers[layer_idx].name.as_str()).copied();
    let is_same = |net_id: usize, id: &ValueId| types.of(*id) == net_types.of(ValueId(net_id));

    let mut found = vec![None; net.layers.len() + 1];
    // The operand of a product stays, whatever happens to the rows.
    let is_product = |op: &LayerOp| matches!(op, LayerOp::Dense { .. } | LayerOp::Conv2d(_));
    let mut first = (0..net.layers.len()).filter(|&layer_idx| {
        let layer = &net.layers[layer_idx];
        is_product(&layer.op) && layer.inputs[0] == ValueId(0)
    });
    found[0] = first
        .find_map(node_of)
        .map(|node_idx| program.nodes[node_idx].inputs[0])
        .filter(|id| is_same(0, id));
    // The last node of the layers so far; a layer whose node is before it has been moved before a pool.
    let mut last = None;
    for layer_idx in 0..net.layers.len() {
        let Some(node_idx) = node_of(layer_idx) else {
            continue;
        };
        let is_moved = last.is_some_and(|last| node_idx < last);
        last = last.max(Some(node_idx));
        let id = ValueId(node_idx + 1);
        let is_sum = types.of(id).kind == Kind::Int;
        if !is_moved && !is_sum && is_same(layer_idx + 1, &id) {
            found[layer_idx + 1] = Some(id);
        }
    }
    let scores = scores(program);
    if is_same(net.layers.len(), &scores) {
        found[net.layers.len()] = Some(scores);
    }
    found
}

/// The Program's scores: its answer, or what its final argmax reads.
fn scores(program: &Program) -> ValueId {
    let last = program.output.0.checked_sub(1);
    match last.map(|idx| &program.nodes[idx]) {
        Some(node) if matches!(node.op, Op::Argmax) => node.inputs[0],
        _ => program.output,
    }
}

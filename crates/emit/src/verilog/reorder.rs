//! Ops that only move elements: where each element of the result comes from.

use onebit_model::program::{Kind, Node, Op, ValueId};

use super::graph::Graph;

/// Where an element of a result comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Source {
    /// Index among the node's operands.
    pub(super) operand: usize,
    /// Element of the flattened operand.
    pub(super) element: usize,
    /// Bit of the element's code, for planes; else 0.
    pub(super) bit: usize,
}

/// The sources of the elements of `planes`, `concat`, `concat_channels`, `slice`, `reshape` and `transpose`, in order.
pub(super) fn sources(node: &Node, graph: &Graph<'_>) -> Vec<Source> {
    let shape = &graph.ty(node.inputs[0]).shape;
    let n = graph.ty(node.inputs[0]).n_elements();
    let from_first = |element: usize| Source {
        operand: 0,
        element,
        bit: 0,
    };
    match &node.op {
        Op::Planes => {
            let bits = match graph.ty(node.inputs[0]).kind {
                Kind::Levels(bits) => usize::from(bits),
                _ => unreachable!("verify: planes read levels"),
            };
            let plane = |bit: usize| {
                (0..n).map(move |element| Source {
                    operand: 0,
                    element,
                    bit,
                })
            };
            (0..bits).flat_map(plane).collect()
        }
        Op::Concat => joined(&node.inputs, |_, id| graph.ty(id).n_elements(), 1),
        Op::ConcatChannels => {
            let n_runs: usize = shape[..shape.len() - 1].iter().product();
            let channels = |_: usize, id: ValueId| graph.ty(id).shape[shape.len() - 1];
            joined(&node.inputs, channels, n_runs)
        }
        Op::Slice { start, size } => {
            let shifted = |index: &[usize]| -> Vec<usize> {
                index.iter().zip(start).map(|(i, s)| i + s).collect()
            };
            positions(size)
                .iter()
                .map(|index| from_first(flat(shape, &shifted(index))))
                .collect()
        }
        Op::Transpose { perm } => {
            let result: Vec<usize> = perm.iter().map(|axis| shape[*axis]).collect();
            let source = |index: &Vec<usize>| {
                let mut from = vec![0; perm.len()];
                for (axis, i) in perm.iter().zip(index) {
                    from[*axis] = *i;
                }
                from_first(flat(shape, &from))
            };
            positions(&result).iter().map(source).collect()
        }
        _ => (0..n).map(from_first).collect(),
    }
}

/// `n_runs` runs, each with the next `length` elements of every operand.
fn joined(
    inputs: &[ValueId],
    length: impl Fn(usize, ValueId) -> usize,
    n_runs: usize,
) -> Vec<Source> {
    let mut sources = Vec::new();
    for run in 0..n_runs {
        for (operand, id) in inputs.iter().enumerate() {
            let n = length(operand, *id);
            sources.extend((run * n..(run + 1) * n).map(|element| Source {
                operand,
                element,
                bit: 0,
            }));
        }
    }
    sources
}

/// All indices of a shape in row-major order.
fn positions(shape: &[usize]) -> Vec<Vec<usize>> {
    let n: usize = shape.iter().product();
    let index = |mut flat: usize| {
        let mut index = vec![0; shape.len()];
        for (axis, size) in shape.iter().enumerate().rev() {
            index[axis] = flat % size;
            flat /= size;
        }
        index
    };
    (0..n).map(index).collect()
}

fn flat(shape: &[usize], index: &[usize]) -> usize {
    shape
        .iter()
        .zip(index)
        .fold(0, |flat, (size, i)| flat * size + i)
}

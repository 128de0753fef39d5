//! The part of a Program that its answer depends on, and whether hardware can express it.
//!
//! A verified Program comes in. Nodes that nobody reads go; every other node either has bits, levels and integers
//! alone, or is refused with its name and the way out.

use onebit_model::program::{Kind, Node, Op, Program, Type, ValueId};
use onebit_model::{IntRange, ProgramTypes};

use crate::EmitError;

/// Most elements of a value whose elements change places: their order is a table.
const MAX_REORDERED: usize = 1 << 18;

/// A Program and which of its values are needed.
pub(super) struct Graph<'a> {
    pub(super) program: &'a Program,
    pub(super) types: &'a ProgramTypes,
    is_live: Vec<bool>,
}

impl<'a> Graph<'a> {
    pub(super) fn new(program: &'a Program, types: &'a ProgramTypes) -> Self {
        let mut is_live = vec![false; types.n_values()];
        is_live[program.output.0] = true;
        for (node_idx, node) in program.nodes.iter().enumerate().rev() {
            if is_live[node_idx + 1] {
                for input in &node.inputs {
                    is_live[input.0] = true;
                }
            }
        }
        Graph {
            program,
            types,
            is_live,
        }
    }

    /// The nodes that the answer depends on, in order, each with its value.
    pub(super) fn nodes(&self) -> impl DoubleEndedIterator<Item = (ValueId, &'a Node)> {
        let nodes = self.program.nodes.iter().enumerate();
        let values = nodes.map(|(node_idx, node)| (ValueId(node_idx + 1), node));
        values.filter(|(id, _)| self.is_live[id.0])
    }

    pub(super) fn ty(&self, id: ValueId) -> &'a Type {
        self.types.of(id)
    }

    /// The range of a value, none of which is real.
    pub(super) fn range(&self, id: ValueId) -> IntRange {
        self.types
            .range(id)
            .expect("`check` refuses reals, and all else has a range")
    }
}

/// Refuses the first node that hardware of integers cannot express.
pub(super) fn check(program: &Program, types: &ProgramTypes) -> Result<(), EmitError> {
    let refuse = |layer: &str, op: &'static str, reason: &str| EmitError::Unsupported {
        target: "verilog",
        layer: layer.to_string(),
        op,
        reason: reason.to_string(),
    };
    let graph = Graph::new(program, types);
    let is_real = |id: ValueId| types.of(id).kind == Kind::Real;
    if program.output == ValueId(0) && is_real(ValueId(0)) {
        return Err(refuse("@input", "input", REALS_COME_IN));
    }
    for (id, node) in graph.nodes() {
        let op = node.op.name();
        if node
            .inputs
            .iter()
            .any(|input| *input == ValueId(0) && is_real(*input))
        {
            return Err(refuse(&node.name, op, REALS_COME_IN));
        }
        if is_real(id) {
            return Err(refuse(&node.name, op, REALS_GO_OUT));
        }
        let is_reordering = matches!(
            node.op,
            Op::Planes | Op::Concat | Op::ConcatChannels | Op::Slice { .. } | Op::Transpose { .. }
        );
        if is_reordering && types.of(id).n_elements() > MAX_REORDERED {
            return Err(refuse(&node.name, op, TOO_MANY_REORDERED));
        }
    }
    Ok(())
}

const REALS_COME_IN: &str = "the input is real, and the modules have no floating-point units; train with an encoder \
     that reads levels(8), such as `sign(128)` or `thermometer(..)`";

const REALS_GO_OUT: &str = "its result is real, and the modules have no floating-point units; let `onebit compile` \
     fold norms into integer thresholds and leave the sums of the last layer as scores, or emit C";

const TOO_MANY_REORDERED: &str =
    "more than 262144 elements change places; order the channels before export, or emit C";

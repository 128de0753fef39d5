//! The part of a Program that its answer depends on, and whether hardware can express it.
//!
//! A verified Program comes in. Nodes that nobody reads go; every other node either has bits, levels and integers
//! alone, or is a real answer that follows from integers one by one, or is refused with its name and the way out.

use onebit_model::builder::ProgramBuilder;
use onebit_model::program::{Kind, Node, Op, Program, Type, ValueId};
use onebit_model::{IntRange, ProgramTypes, Tensor, interpret, verify};

use crate::EmitError;

/// Most elements of a value whose elements change places: their order is a table.
const MAX_REORDERED: usize = 1 << 18;

/// Most entries of the table of a real answer.
const MAX_TABLE: i64 = 1 << 18;

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

    /// The reals that the answer ends in, if it does.
    pub(super) fn tail(&self) -> Option<Tail> {
        let mut ids = Vec::new();
        let mut id = self.program.output;
        while self.ty(id).kind == Kind::Real {
            let node = &self.program.nodes[id.0.checked_sub(1)?];
            let is_pointwise = matches!(
                node.op,
                Op::Affine { .. }
                    | Op::Relu
                    | Op::Clip { .. }
                    | Op::Prelu { .. }
                    | Op::Rprelu { .. }
            );
            if !is_pointwise {
                return None;
            }
            ids.insert(0, id);
            id = node.inputs[0];
        }
        let is_int = self.ty(id).kind == Kind::Int;
        (is_int && !ids.is_empty()).then(|| Tail {
            ids,
            from: id,
            n_channels: self.ty(id).shape.last().copied().unwrap_or(1),
        })
    }

    /// The bits of the reals that follow from these integers, as many for each channel, one channel after the other.
    pub(super) fn tail_bits(&self, tail: &Tail, integers: &[i64]) -> Vec<u32> {
        let per_channel = integers.len() / tail.n_channels;
        // Channels come last in a value.
        let at = |i: usize| integers[i % tail.n_channels * per_channel + i / tail.n_channels];
        let x = (0..integers.len()).map(|i| at(i).clamp(i32::MIN.into(), i32::MAX.into()) as i32);
        let mut builder =
            ProgramBuilder::new("tail", Kind::Int, &[per_channel, 1, tail.n_channels]);
        let mut value = builder.input();
        for id in &tail.ids {
            let node = &self.program.nodes[id.0 - 1];
            let added = builder.try_node(&node.name, node.op.clone(), &[value]);
            value = added.expect("the op takes any shape with its channels");
        }
        let program = builder.finish(value).expect("the Program has one chain");
        let types = verify(&program).expect("a builder makes well-formed Programs");
        let Tensor::Real(reals) = interpret(&program, &types, &Tensor::Int(x.collect())) else {
            unreachable!("the chain ends in reals")
        };
        let at = |i: usize| reals[i % per_channel * tail.n_channels + i / per_channel];
        (0..reals.len()).map(|i| at(i).to_bits()).collect()
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

/// Nodes that make reals of integers, one element of one, and end in the answer.
pub(super) struct Tail {
    /// Their values, in order.
    pub(super) ids: Vec<ValueId>,
    /// The integers.
    pub(super) from: ValueId,
    /// Channels of the integers.
    pub(super) n_channels: usize,
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
    let tail = graph.tail();
    if let Some(tail) = &tail {
        let range = graph.range(tail.from);
        let n_integers = i64::from(range.max) - i64::from(range.min) + 1;
        if n_integers.saturating_mul(tail.n_channels as i64) > MAX_TABLE {
            let node = &program.nodes[tail.ids[0].0 - 1];
            return Err(refuse(&node.name, node.op.name(), TABLE_IS_TOO_LARGE));
        }
    }
    let is_tail = |id: ValueId| tail.as_ref().is_some_and(|tail| tail.ids.contains(&id));
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
        if is_real(id) && !is_tail(id) {
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

const REALS_GO_OUT: &str = "its result is real, and the modules have no floating-point units; only the answer may \
     be real, where it follows from integers one by one; train with binary activations and a last layer whose norm is \
     \"none\" or \"batch-integer\", or emit C";

const TABLE_IS_TOO_LARGE: &str = "the answer is real, and a table of it for every sum of every channel has more than \
     262144 entries; train the last layer with norm \"none\" or \"batch-integer\", or emit C";

const TOO_MANY_REORDERED: &str =
    "more than 262144 elements change places; order the channels before export, or emit C";

//! The steps of a Plan: one op, or two fused ones, with everything precomputed.
//!
//! Owns the lowering of a verified Program to steps. Execution is in `workspace`.

use onebit_bits::Isa;
use onebit_bits::dense::CodeThresholds;
use onebit_model::ProgramTypes;
use onebit_model::program::{Cuts, Kind, Op, Program, ThresholdValues, Thresholds, ValueId};
use onebit_model::weights::Weights;

use crate::dense::DenseLayer;

/// What a step computes.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Bits or codes to integer sums.
    Scores(DenseLayer),
    /// Bits or codes to bits: a dense layer and the thresholds after it.
    Compared(DenseLayer),
    /// Codes to bits.
    CodeThreshold(CodeThresholds),
    /// Integers or reals to bits.
    Threshold {
        at: ThresholdValues,
        flip: Vec<bool>,
    },
    /// Integers, reals or codes to codes.
    Quantize(Cuts),
    /// Codes of so many bits to bits.
    Planes(usize),
    /// Integers to reals.
    Affine { scale: Vec<f32>, shift: Vec<f32> },
    /// Bits to bits.
    Concat,
    /// Integers or reals to an index.
    Argmax,
}

/// When a step is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// In every run: the answer depends on it.
    Always,
    /// Only when every layer's value is asked for.
    Layers,
}

/// One step of a Plan.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// Name of the node; of both nodes, joined by `+`, when two are fused.
    pub name: String,
    /// The operands.
    pub inputs: Vec<ValueId>,
    /// The value computed.
    pub output: ValueId,
    /// How.
    pub action: Action,
    /// When.
    pub when: When,
}

/// Lowers a verified Program to steps, in node order.
pub(crate) fn lower(program: &Program, types: &ProgramTypes, isa: Isa) -> Vec<Step> {
    let fused = fused_operands(program);
    let needed = needed_values(program, &fused);
    let mut steps: Vec<Step> = Vec::with_capacity(program.nodes.len());
    for (node_idx, node) in program.nodes.iter().enumerate() {
        let output = ValueId(node_idx + 1);
        let mut step = Step {
            name: node.name.clone(),
            inputs: node.inputs.clone(),
            output,
            action: action(&node.op, types, node.inputs[0]),
            when: if needed[output.0] {
                When::Always
            } else {
                When::Layers
            },
        };
        if let (Op::Threshold(thresholds), true) = (&node.op, fused[node_idx]) {
            let before = node.inputs[0].0 - 1;
            if let Op::Dense { weights, .. } = &program.nodes[before].op {
                fuse(&mut step, &steps[before], weights, isa, thresholds);
            }
        }
        steps.push(step);
    }
    steps
}

/// Which nodes are thresholds fused with the dense layer before them.
///
/// A dense layer whose sums another node or the caller reads stays on its own.
fn fused_operands(program: &Program) -> Vec<bool> {
    let mut n_readers = vec![0usize; program.nodes.len() + 1];
    n_readers[program.output.0] += 1;
    for input in program.nodes.iter().flat_map(|node| &node.inputs) {
        n_readers[input.0] += 1;
    }
    let is_fused = |node: &onebit_model::program::Node| match (&node.op, node.inputs[0].0) {
        (Op::Threshold(_), value) if value > 0 => {
            matches!(program.nodes[value - 1].op, Op::Dense { .. }) && n_readers[value] == 1
        }
        _ => false,
    };
    program.nodes.iter().map(is_fused).collect()
}

/// Which values the answer depends on, when fused thresholds skip the sums before them.
fn needed_values(program: &Program, fused: &[bool]) -> Vec<bool> {
    let mut needed = vec![false; program.nodes.len() + 1];
    needed[program.output.0] = true;
    for node_idx in (0..program.nodes.len()).rev() {
        if needed[node_idx + 1] {
            let node = &program.nodes[node_idx];
            let read = if fused[node_idx] {
                &program.nodes[node.inputs[0].0 - 1]
            } else {
                node
            };
            for input in &read.inputs {
                needed[input.0] = true;
            }
        }
    }
    needed
}

/// Makes a threshold's step compute the dense layer before it as well.
fn fuse(step: &mut Step, before: &Step, weights: &Weights, isa: Isa, thresholds: &Thresholds) {
    let Action::Scores(layer) = &before.action else {
        return;
    };
    if let Some(layer) = layer.compared(isa, weights, thresholds) {
        step.name = format!("{}+{}", before.name, step.name);
        step.inputs = before.inputs.clone();
        step.action = Action::Compared(layer);
    }
}

/// The action of one node on its own.
fn action(op: &Op, types: &ProgramTypes, input: ValueId) -> Action {
    let ty = types.of(input);
    match (op, ty.kind) {
        (Op::Dense { weights, bias }, kind) => {
            Action::Scores(DenseLayer::new(weights, bias.as_deref(), kind))
        }
        (
            Op::Threshold(Thresholds {
                at: ThresholdValues::Int(at),
                flip,
            }),
            Kind::Levels(_),
        ) => {
            let n_channels = at.len();
            let elements = (0..ty.n_elements()).map(|i| (at[i % n_channels], flip[i % n_channels]));
            Action::CodeThreshold(CodeThresholds::new(elements))
        }
        (Op::Threshold(thresholds), _) => Action::Threshold {
            at: thresholds.at.clone(),
            flip: thresholds.flip.clone(),
        },
        (Op::Quantize { cuts, .. }, _) => Action::Quantize(cuts.clone()),
        (Op::Planes, Kind::Levels(bits)) => Action::Planes(usize::from(bits)),
        (Op::Planes, _) => unreachable!("verify: planes reads levels"),
        (Op::Affine { scale, shift }, _) => Action::Affine {
            scale: scale.clone(),
            shift: shift.clone(),
        },
        (Op::Concat, _) => Action::Concat,
        (Op::Argmax, _) => Action::Argmax,
    }
}

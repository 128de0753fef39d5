//! The unrolled style: a whole network as logic that takes an image every cycle.
//!
//! A Program comes in. Weights, thresholds and the encoder become tables of at most six inputs, pipelined by levels; a
//! module, its testbench and a report go out. Constants are folded, equal functions exist once, what rows have in
//! common is counted once, and what the answer does not depend on is gone.

mod linear;
mod lower;
mod netlist;
mod print;
mod share;

use onebit_model::Tensor;

use super::Unrolled;
use super::estimate;
use super::graph::Graph;
use super::testbench::{self, Interface};
use crate::{EmitError, Emitted, File};
use lower::{Lowered, lower};
use print::Pipeline;

/// Most literals that become logic, over all layers.
const MAX_TERMS: u64 = 4_000_000;

/// Refuses a real answer, and a Program that is too large to be logic, at its largest layer.
pub(super) fn check(graph: &Graph<'_>) -> Result<(), EmitError> {
    if let Some(tail) = graph.tail() {
        let node = &graph.program.nodes[tail.ids[0].0 - 1];
        return Err(EmitError::Unsupported {
            target: "verilog",
            layer: node.name.clone(),
            op: node.op.name(),
            reason: REALS_GO_OUT.to_string(),
        });
    }
    let terms = lower::n_terms(graph);
    let n_terms = terms.iter().fold(0u64, |sum, n| sum.saturating_add(*n));
    match graph.nodes().max_by_key(|(id, _)| terms[id.0]) {
        Some((id, node)) if n_terms > MAX_TERMS => Err(EmitError::Unsupported {
            target: "verilog",
            layer: node.name.clone(),
            op: node.op.name(),
            reason: format!(
                "it has {} bits times weights that would each be logic, of {n_terms} in all, and the unrolled style \
                 takes {MAX_TERMS}; use the folded style, or train a sparser network",
                terms[id.0]
            ),
        }),
        _ => Ok(()),
    }
}

const REALS_GO_OUT: &str = "its result is real, which only the folded style has a table for; use that, or train the \
     last layer with norm \"none\" or \"batch-integer\"";

/// A Program as tables, and where registers are.
pub(super) struct Unrolling {
    lowered: Lowered,
    pub(super) pipeline: Pipeline,
}

impl Unrolling {
    pub(super) fn new(graph: &Graph<'_>, options: &Unrolled) -> Self {
        let lowered = lower(graph);
        let pipeline = Pipeline::new(&lowered.netlist, &lowered.outputs, options.levels);
        Unrolling { lowered, pipeline }
    }

    /// Tables and flip-flops of each value.
    pub(super) fn layer_costs(&self, n_values: usize) -> Vec<[u64; 2]> {
        let netlist = &self.lowered.netlist;
        let is_needed = netlist.needed(&self.lowered.outputs);
        let mut costs = vec![[0; 2]; n_values];
        for id in (0..netlist.len()).filter(|id| is_needed[*id]) {
            let cost = &mut costs[netlist.layer_of(id as u32)];
            cost[0] += u64::from(matches!(
                netlist.node(id as u32),
                netlist::Node::Table { .. }
            ));
            cost[1] += self.pipeline.n_registers(id) as u64;
        }
        costs
    }
}

/// The files and the report.
pub(super) fn emit(
    graph: &Graph<'_>,
    module: &str,
    options: &Unrolled,
    vectors: &[Tensor],
) -> Emitted {
    let unrolling = Unrolling::new(graph, options);
    let Unrolling { lowered, pipeline } = &unrolling;
    let text = print::module(module, lowered, pipeline);
    let mut files = vec![File {
        name: format!("{module}.v"),
        bytes: text.into_bytes(),
    }];
    let interface = Interface {
        module: module.to_string(),
        input_bits: lowered.input_bits,
        element_bits: lowered.element_bits,
        per_beat: graph.program.input.n_elements(),
        n_beats: 1,
        n_answers: graph.ty(graph.program.output).n_elements(),
        // The enable is low in a quarter of the cycles of a run with stalls.
        limit: 100 * (pipeline.n_stages as u64 + 1000),
        drain: 2 * pipeline.n_stages as u64 + 16,
    };
    files.extend(testbench::bus_files(
        graph,
        &interface,
        lowered.answer_bits,
        vectors,
    ));
    let mut report = estimate::of_unrolling(graph, &unrolling).report();
    report.push(("levels of logic".to_string(), pipeline.n_levels.to_string()));
    Emitted { files, report }
}

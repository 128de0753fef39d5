//! The pipeline of a network of tables, and its text.
//!
//! Levels of tables are cut into stages of so many levels. A node that a later stage reads goes through a register
//! for each stage in between, shared by all who read it there.

use std::collections::BTreeMap;

use super::lower::Lowered;
use super::netlist::{Lit, Netlist, Node};
use crate::verilog::text::{constant, range};

/// Where registers are.
pub(in crate::verilog) struct Pipeline {
    /// The stage that computes each node.
    stages: Vec<usize>,
    /// Registers behind each node; the outputs of the last stage are among them.
    delays: Vec<usize>,
    is_needed: Vec<bool>,
    pub(super) n_levels: usize,
    /// Stages, each with a register at its end.
    pub(in crate::verilog) n_stages: usize,
    pub(in crate::verilog) n_flip_flops: usize,
}

impl Pipeline {
    /// Cuts after every `levels` tables, at least one.
    pub(super) fn new(netlist: &Netlist, outputs: &[Lit], levels: usize) -> Self {
        let levels = levels.max(1);
        let is_needed = netlist.needed(outputs);
        let n = netlist.len();
        let mut depth = vec![0usize; n];
        for id in 0..n {
            if let (true, Node::Table { inputs, .. }) = (is_needed[id], netlist.node(id as u32)) {
                let below = inputs.iter().map(|input| depth[*input as usize]).max();
                depth[id] = 1 + below.unwrap_or(0);
            }
        }
        let n_levels = outputs
            .iter()
            .map(|output| depth[output.node as usize])
            .max()
            .unwrap_or(0);
        let stages: Vec<usize> = depth
            .iter()
            .map(|depth| depth.saturating_sub(1) / levels)
            .collect();
        let n_stages = n_levels.max(1).div_ceil(levels);
        let mut delays = vec![0; n];
        for id in 0..n {
            if let (true, Node::Table { inputs, .. }) = (is_needed[id], netlist.node(id as u32)) {
                for input in inputs.iter().map(|input| *input as usize) {
                    delays[input] = delays[input].max(stages[id] - stages[input]);
                }
            }
        }
        for output in outputs.iter().map(|output| output.node as usize) {
            delays[output] = delays[output].max(n_stages - stages[output]);
        }
        // The constant is the same in every stage.
        delays[0] = 0;
        Pipeline {
            n_flip_flops: delays.iter().sum::<usize>() + n_stages,
            stages,
            delays,
            is_needed,
            n_levels,
            n_stages,
        }
    }
}

impl Pipeline {
    /// Registers behind a node.
    pub(super) fn n_registers(&self, node: usize) -> usize {
        self.delays[node]
    }
}

/// A node as it is after so many registers.
fn name(node: u32, delay: usize) -> String {
    match (node, delay) {
        (0, _) => "1'b0".to_string(),
        (_, 0) => format!("n{node}"),
        _ => format!("n{node}_{delay}"),
    }
}

/// The module: tables, registers, and a shift register that says when an answer is one.
pub(super) fn module(module: &str, lowered: &Lowered, pipeline: &Pipeline) -> String {
    let n_out = lowered.outputs.len();
    let mut text = format!(
        "// An image every cycle, an answer {} cycle(s) later; nothing moves while en is low.\nmodule {module} (\n  \
         input wire clk,\n  input wire rst,\n  input wire en,\n  input wire in_valid,\n  input wire {}in_data,\n  \
         output wire out_valid,\n  output wire {}out_data\n);\n  wire unused_in = &{{1'b0, in_data}};\n",
        pipeline.n_stages,
        range(lowered.input_bits),
        range(n_out)
    );
    text.push_str(&valid(pipeline.n_stages));
    let tables = tables(&lowered.netlist, pipeline);
    for ((n_inputs, table), index) in &tables {
        let n_entries = 1usize << n_inputs;
        text.push_str(&format!(
            "  localparam {}T{index} = {n_entries}'h{table:x};\n",
            range(n_entries)
        ));
    }
    let mut registers = String::new();
    for id in (0..lowered.netlist.len()).filter(|id| pipeline.is_needed[*id]) {
        let value = match lowered.netlist.node(id as u32) {
            Node::Zero => continue,
            Node::Input(bit) => format!("in_data[{bit}]"),
            Node::Table { inputs, table } => {
                let read = |input: &u32| {
                    name(
                        *input,
                        pipeline.stages[id] - pipeline.stages[*input as usize],
                    )
                };
                let read: Vec<String> = inputs.iter().rev().map(read).collect();
                format!(
                    "T{}[{{{}}}]",
                    tables[&(inputs.len(), *table)],
                    read.join(", ")
                )
            }
        };
        text.push_str(&format!("  wire n{id} = {value};\n"));
        for delay in 1..=pipeline.delays[id] {
            let (from, to) = (name(id as u32, delay - 1), name(id as u32, delay));
            text.push_str(&format!("  reg {to};\n"));
            registers.push_str(&format!("    {to} <= {from};\n"));
        }
    }
    if !registers.is_empty() {
        text.push_str(&format!(
            "  always @(posedge clk) if (en) begin\n{registers}  end\n"
        ));
    }
    for (bit, output) in lowered.outputs.iter().enumerate() {
        let not = if output.is_inverted { "~" } else { "" };
        let delay = pipeline.n_stages - pipeline.stages[output.node as usize];
        text.push_str(&format!(
            "  assign out_data[{bit}] = {not}{};\n",
            name(output.node, delay)
        ));
    }
    text.push_str("endmodule\n");
    text
}

/// The shift register of `in_valid`.
fn valid(n_stages: usize) -> String {
    let next = match n_stages {
        1 => "in_valid".to_string(),
        n => format!("{{valid[{}:0], in_valid}}", n - 2),
    };
    format!(
        "  reg {}valid;\n  always @(posedge clk)\n    if (rst) valid <= {};\n    else if (en) valid <= {next};\n  \
         assign out_valid = valid[{}];\n",
        range(n_stages),
        constant(n_stages, 0),
        n_stages - 1
    )
}

/// The distinct tables with their numbers.
fn tables(netlist: &Netlist, pipeline: &Pipeline) -> BTreeMap<(usize, u64), usize> {
    let mut tables = BTreeMap::new();
    for id in (0..netlist.len()).filter(|id| pipeline.is_needed[*id]) {
        if let Node::Table { inputs, table } = netlist.node(id as u32) {
            let n = tables.len();
            tables.entry((inputs.len(), *table)).or_insert(n);
        }
    }
    tables
}

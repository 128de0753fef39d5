//! The top module of the folded style, its testbench and its report.
//!
//! The stages of a design come in; the module with AXI streams, the module that makes 32-bit answers, the testbench
//! and what a person should know go out.

use onebit_model::Tensor;

use super::layers::Built;
use super::stream::{Stream, ports};
use crate::verilog::estimate;
use crate::verilog::graph::Graph;
use crate::verilog::testbench::{self, Interface};
use crate::verilog::text::{constant, range, unsigned_width};
use crate::{Emitted, File};

/// Adds what surrounds the stages.
pub(super) fn finish(graph: &Graph<'_>, built: Built, vectors: &[Tensor]) -> Emitted {
    let Built {
        mut design,
        input,
        answer,
    } = built;
    let out = design.module_name("answer");
    design.file(&out, answer_module(&out, &answer));
    let top = top_module(&design.module, &design.body, &out, &input, &answer);
    let name = design.module.clone();
    let mut files = vec![File {
        name: format!("{name}.v"),
        bytes: top.into_bytes(),
    }];
    files.append(&mut design.files);
    let estimate = estimate::of_stages(&design.stages);
    let interface = Interface {
        module: name,
        input_bits: bus_bits(&input),
        element_bits: input.element.bits,
        per_beat: input.per_beat,
        n_beats: input.n_elements / input.per_beat,
        n_answers: answer.n_elements,
        // Stalls may take three of four cycles; a testbench's numbers have 32 bits.
        drain: estimate.interval.min(1_000_000_000),
        limit: (8 * (estimate.latency + estimate.interval)).clamp(1_000_000, 1_000_000_000),
    };
    files.extend(testbench::stream_files(graph, &interface, vectors));
    let bus = format!("{} bits, {} element(s)", bus_bits(&input), input.per_beat);
    let mut report = vec![("input bus".to_string(), bus)];
    report.extend(estimate.report());
    Emitted { files, report }
}

/// Bits of the input's bus: whole bytes.
fn bus_bits(input: &Stream) -> usize {
    input.bits().next_multiple_of(8)
}

fn top_module(name: &str, body: &str, out: &str, input: &Stream, answer: &Stream) -> String {
    let bus = bus_bits(input);
    let surplus = match bus - input.bits() {
        0 => String::new(),
        _ => format!(
            "  wire unused_tdata = &{{1'b0, s_axis_tdata[{}:{}]}};\n",
            bus - 1,
            input.bits()
        ),
    };
    format!(
        "// Beats of {per_beat} element(s) of {bits} bit(s) in, {n_in} beats an image; {n_out} answer(s) of 32 bits out.\n\
         module {name} (\n  input wire aclk,\n  input wire aresetn,\n  input wire s_axis_tvalid,\n  \
         output wire s_axis_tready,\n  input wire {bus_range}s_axis_tdata,\n  input wire s_axis_tlast,\n  \
         output wire m_axis_tvalid,\n  input wire m_axis_tready,\n  output wire [31:0] m_axis_tdata,\n  \
         output wire m_axis_tlast\n);\n  reg rst;\n  always @(posedge aclk) rst <= !aresetn;\n  \
         // Images follow one another without gaps, so their ends are counted, not told.\n  \
         wire unused_tlast = &{{1'b0, s_axis_tlast}};\n{surplus}{body}  \
         assign {x}_valid = s_axis_tvalid && !rst;\n  assign {x}_data = s_axis_tdata[{top}:0];\n  \
         assign s_axis_tready = {x}_ready && !rst;\n  {out} u_{out} (\n    .clk(aclk), .rst(rst),\n    \
         .s_valid({y}_valid), .s_ready({y}_ready), .s_data({y}_data),\n    .m_valid(m_axis_tvalid), \
         .m_ready(m_axis_tready), .m_data(m_axis_tdata),\n    .m_last(m_axis_tlast)\n  );\nendmodule\n",
        per_beat = input.per_beat,
        bits = input.element.bits,
        n_in = input.n_elements / input.per_beat,
        n_out = answer.n_elements,
        bus_range = range(bus),
        x = input.name,
        y = answer.name,
        top = input.bits() - 1,
    )
}

/// Elements as 32-bit numbers, the last of an image marked.
fn answer_module(name: &str, x: &Stream) -> String {
    let bits = unsigned_width(x.n_elements as u64 - 1);
    format!(
        "// Answers of 32 bits.\nmodule {name} (\n{ports},\n  output reg m_last\n);\n  reg {index}index;\n  \
         wire is_last = index == {last};\n  assign s_ready = !m_valid || m_ready;\n  always @(posedge clk)\n    \
         if (rst) begin\n      m_valid <= 1'b0;\n      index <= {zero};\n    end else if (s_ready) begin\n      \
         m_valid <= s_valid;\n      if (s_valid) index <= is_last ? {zero} : index + {one};\n    end\n  \
         always @(posedge clk)\n    if (s_ready) begin\n      m_data <= {value};\n      m_last <= is_last;\n    end\n\
         endmodule\n",
        ports = ports(x.bits(), 32, "reg", "reg").trim_end(),
        index = range(bits),
        value = x.element.number("s_data", 0, 32),
        last = constant(bits, x.n_elements as u64 - 1),
        zero = constant(bits, 0),
        one = constant(bits, 1),
    )
}

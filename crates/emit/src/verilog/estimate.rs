//! What a design will cost, before any tool has run: LUTs, flip-flops, block memory, cycles.
//!
//! A Program and the options of a design come in; sums and the cost of each layer go out. The unrolled style is
//! counted, as its tables are known; the factors behind the folded style's LUTs are fitted to Yosys' `synth_xilinx`
//! and are a guide, not a promise: `docs/verilog.md` states their error.

use onebit_model::ProgramTypes;
use onebit_model::program::Program;

use super::folded::{Memory, Stage};
use super::graph::{self, Graph};
use super::unrolled::Unrolling;
use super::{Style, Verilog, folded, unrolled};
use crate::EmitError;

/// Estimated cost of a design.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Estimate {
    /// LUTs with six inputs, the encoder's and memories of a few words included.
    pub luts: u64,
    /// Those of them that encode the input: all that comes before the first product; 0 without a product.
    pub encoder_luts: u64,
    /// Flip-flops.
    pub flip_flops: u64,
    /// Block memories of 36 Kbit; one of 18 Kbit is a half.
    pub block_rams: f64,
    /// Bits of constant memory; weights that are logic are none.
    pub rom_bits: u64,
    /// Cycles between images: those of the slowest layer.
    pub interval: u64,
    /// Cycles from the first beat of an image that meets an empty design to the last of its answer: at most, where
    /// layers are folded.
    pub latency: u64,
    /// The layers that the answer depends on, in the Program's order; in the folded style between `input` and
    /// `answer`, the ends of the design.
    pub layers: Vec<LayerEstimate>,
}

/// Estimated cost of a layer, with what brings its operands to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LayerEstimate {
    /// The node's name.
    pub name: String,
    /// The node's op, or `input`, or `answer`.
    pub op: &'static str,
    /// Rows (of a product) or elements at a time.
    pub pe: usize,
    /// Columns of a product at a time; 0 for other ops.
    pub simd: usize,
    /// Cycles of an image.
    pub cycles: u64,
    /// LUTs with six inputs, memories of a few words included.
    pub luts: u64,
    /// Flip-flops.
    pub flip_flops: u64,
    /// Block memories of 36 Kbit.
    pub block_rams: f64,
    /// Bits of constant memory.
    pub rom_bits: u64,
    /// Bits of memory for values.
    pub buffer_bits: u64,
}

/// What the design of these options will cost; an error where `check` would refuse the Program.
pub fn estimate(
    options: &Verilog,
    program: &Program,
    types: &ProgramTypes,
) -> Result<Estimate, EmitError> {
    graph::check(program, types)?;
    let graph = Graph::new(program, types);
    match &options.style {
        Style::Folded(options) => Ok(of_stages(&folded::stages(&graph, options))),
        Style::Unrolled(options) => {
            unrolled::check(&graph)?;
            Ok(of_unrolling(&graph, &Unrolling::new(&graph, options)))
        }
    }
}

/// Widths of a block memory of 18 Kbit, and its depth at each.
const BLOCKS: [(usize, usize); 6] = [
    (1, 16384),
    (2, 8192),
    (4, 4096),
    (9, 2048),
    (18, 1024),
    (36, 512),
];

/// Block memories of 36 Kbit for a memory, in halves; none where LUTs hold it better.
fn blocks(memory: &Memory) -> f64 {
    let Memory { depth, width, .. } = *memory;
    if !memory.is_block() {
        return 0.0;
    }
    let halves = BLOCKS.map(|(block_width, block_depth)| {
        width.div_ceil(block_width) * depth.div_ceil(block_depth)
    });
    let halves = halves.into_iter().min().unwrap_or(0);
    (halves * memory.n) as f64 / 2.0
}

/// LUTs that hold a memory of few words.
fn distributed(memory: &Memory) -> f64 {
    if memory.is_block() {
        return 0.0;
    }
    let depth = memory.depth as f64;
    let per_bit = match (memory.is_constant, memory.depth) {
        // A constant function of the address.
        (true, 0..=8) => 1.0,
        (true, 9..=49) => 1.6,
        (true, _) => depth / 31.0,
        (false, _) => (depth / 32.0).ceil() * 0.67,
    };
    per_bit * (memory.width * memory.n) as f64
}

/// The cost of all stages.
pub(super) fn of_stages(stages: &[Stage]) -> Estimate {
    let layers = stages.iter().map(|stage| LayerEstimate {
        name: stage.layer.clone(),
        op: stage.op,
        pe: stage.pe,
        simd: stage.simd,
        cycles: stage.cycles,
        luts: (stage.logic[0] + stage.memories.iter().map(distributed).sum::<f64>()).round() as u64,
        flip_flops: stage.logic[1].round() as u64,
        // A sum of no floats is -0.0.
        block_rams: stage.memories.iter().map(blocks).sum::<f64>() + 0.0,
        rom_bits: stage.rom_bits as u64,
        buffer_bits: stage.buffer_bits as u64,
    });
    let mut sum = sum_of(layers.collect());
    sum.latency = stages.iter().map(|stage| stage.delay).sum();
    sum
}

/// The tables and registers of an unrolled design.
pub(super) fn of_unrolling(graph: &Graph<'_>, unrolling: &Unrolling) -> Estimate {
    let costs = unrolling.layer_costs(graph.types.n_values());
    let layers = graph.nodes().map(|(id, node)| LayerEstimate {
        name: node.name.clone(),
        op: node.op.name(),
        pe: graph.ty(id).n_elements(),
        cycles: 1,
        luts: costs[id.0][0],
        flip_flops: costs[id.0][1],
        ..LayerEstimate::default()
    });
    let mut sum = sum_of(layers.collect());
    // Registers of the input belong to no layer.
    sum.flip_flops = unrolling.pipeline.n_flip_flops as u64;
    sum.interval = 1;
    sum.latency = unrolling.pipeline.n_stages as u64;
    sum
}

fn sum_of(layers: Vec<LayerEstimate>) -> Estimate {
    let is_product = |layer: &LayerEstimate| matches!(layer.op, "dense" | "conv2d");
    let n_encoders = layers.iter().position(is_product).unwrap_or(0);
    Estimate {
        luts: layers.iter().map(|layer| layer.luts).sum(),
        encoder_luts: layers[..n_encoders].iter().map(|layer| layer.luts).sum(),
        flip_flops: layers.iter().map(|layer| layer.flip_flops).sum(),
        block_rams: layers.iter().map(|layer| layer.block_rams).sum::<f64>() + 0.0,
        rom_bits: layers.iter().map(|layer| layer.rom_bits).sum(),
        interval: layers.iter().map(|layer| layer.cycles).max().unwrap_or(1),
        latency: 0,
        layers,
    }
}

impl Estimate {
    /// What a person should know of a design.
    pub(super) fn report(&self) -> Vec<(String, String)> {
        let mut report = Vec::new();
        for layer in &self.layers {
            let mut text = match layer.simd {
                0 => format!("{} at a time", layer.pe),
                simd => format!("PE {}, SIMD {simd}", layer.pe),
            };
            text.push_str(&format!(", {} cycles, {} LUT6", layer.cycles, layer.luts));
            for (bits, what) in [(layer.rom_bits, "ROM"), (layer.buffer_bits, "buffer")] {
                if bits > 0 {
                    text.push_str(&format!(", {bits} bits of {what}"));
                }
            }
            report.push((layer.name.clone(), text));
        }
        let mut row = |name: &str, value: String| report.push((name.to_string(), value));
        row("cycles between images (II)", self.interval.to_string());
        row(
            "cycles of latency of a lone image, at most",
            self.latency.to_string(),
        );
        row(
            "LUT6 without encoder, estimated",
            (self.luts - self.encoder_luts).to_string(),
        );
        row(
            "LUT6 of the encoder, estimated",
            self.encoder_luts.to_string(),
        );
        row("flip-flops, estimated", self.flip_flops.to_string());
        if self.rom_bits > 0 {
            row("bits of ROM", self.rom_bits.to_string());
        }
        row(
            "block RAMs of 36 Kbit, estimated",
            format!("{:.1}", self.block_rams),
        );
        row("clock", CLOCK.to_string());
        report
    }
}

/// Nothing here knows wires, so nothing here knows a frequency.
const CLOCK: &str = "not placed: run nextpnr or a vendor's tool; docs/verilog.md says how";

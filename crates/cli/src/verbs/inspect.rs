//! `onebit inspect`: what a model consists of, what it weighs and what it costs.

use std::path::PathBuf;

use onebit_emit::EmitError;
use onebit_emit::verilog::{Estimate, LayerEstimate, Style, Verilog, estimate};
use serde_json::json;

use crate::energy::ASSUMPTIONS;
use crate::error::{Failure, misuse};
use crate::fpga::FpgaArgs;
use crate::modelfile::{self, Model, class_names};
use crate::output::{say, say_json};
use crate::statistics::{self, LayerStatistics, Totals};
use crate::table::{Align, Table, energy, grouped};

/// Show a model's layers, size and cost
#[derive(clap::Args)]
pub struct Args {
    /// A .bnn or .net file
    model: PathBuf,
    /// Estimate instead what it takes as hardware: LUTs, flip-flops, memory and cycles, before any tool has run
    #[arg(long, value_enum)]
    target: Option<Target>,
    #[command(flatten)]
    fpga: FpgaArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Target {
    Fpga,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<(), Failure> {
    if args.target.is_none() && args.fpga.is_given() {
        return misuse(
            "--style, --cycles and --levels are for --target fpga; add it, or leave them out",
        );
    }
    let style = args.fpga.style()?;
    let model = modelfile::load(&args.model)?;
    if args.target.is_some() {
        return as_hardware(args, &model, style);
    }
    let layers = statistics::layers(&model.program, &model.types);
    let totals = statistics::totals(&layers);
    if args.json {
        return say_json(&as_json(&model, &layers, &totals));
    }
    say(as_text(&model, &layers, &totals))
}

fn as_text(model: &Model, layers: &[LayerStatistics], totals: &Totals) -> String {
    let program = &model.program;
    let mut lines = Vec::new();
    let output = model.types.of(program.output);
    lines.push(format!("{}: {} -> {output}", program.name, program.input));
    if model.net.is_some() {
        lines.push("The file holds a Net; this is the Program it lowers to.".into());
    }
    let classes = class_names(program);
    if !classes.is_empty() {
        lines.push(format!("classes: {}", classes.join(", ")));
    }
    for (key, text) in program.notes.iter().filter(|(key, _)| key != "classes") {
        lines.push(format!("{key}: {text}"));
    }
    lines.push(String::new());
    lines.push(statistics::table(layers).text());
    lines.push(String::new());
    lines.push(size_line(model, totals));
    let others = match totals.macs {
        0 => String::new(),
        macs => format!(" and {} MACs of integers and reals", grouped(macs)),
    };
    lines.push(format!(
        "work     {} bit-MACs{others} an image",
        grouped(totals.bit_macs)
    ));
    let (bits, float) = (totals.work.estimate(), totals.f32_work.estimate());
    let with_sram = |e: crate::energy::Estimate| energy(e.compute + e.sram);
    lines.push(format!(
        "energy   about {} an image with the weights on chip; float32 {}",
        with_sram(bits),
        with_sram(float)
    ));
    lines.push(format!(
        "         arithmetic {} (float32 {}), weights from SRAM {} ({}), from DRAM {} to {} ({} to {})",
        energy(bits.compute),
        energy(float.compute),
        energy(bits.sram),
        energy(float.sram),
        energy(bits.dram.0),
        energy(bits.dram.1),
        energy(float.dram.0),
        energy(float.dram.1)
    ));
    lines.push(String::new());
    lines.push(ASSUMPTIONS.into());
    lines.join("\n")
}

fn size_line(model: &Model, totals: &Totals) -> String {
    let ratio = totals.f32_bytes as f64 / model.n_bytes as f64;
    format!(
        "size     {} weights; {} bytes of weights and constants, {} bytes as a file; float32 {} bytes, {ratio:.1} times the file",
        grouped(totals.n_weights),
        grouped(totals.bytes),
        grouped(model.n_bytes as u64),
        grouped(totals.f32_bytes)
    )
}

fn as_json(model: &Model, layers: &[LayerStatistics], totals: &Totals) -> serde_json::Value {
    let program = &model.program;
    json!({
        "name": program.name,
        "kind": if model.net.is_some() { "net" } else { "program" },
        "input": program.input.to_string(),
        "output": model.types.of(program.output).to_string(),
        "notes": program.notes.iter().map(|(key, text)| (key.clone(), json!(text))).collect::<serde_json::Map<_, _>>(),
        "layers": layers.iter().map(LayerStatistics::json).collect::<Vec<_>>(),
        "weights": totals.n_weights,
        "bytes": totals.bytes,
        "file_bytes": model.n_bytes,
        "f32_bytes": totals.f32_bytes,
        "bit_macs": totals.bit_macs,
        "macs": totals.macs,
        "energy": totals.work.estimate().json(),
        "f32_energy": totals.f32_work.estimate().json(),
        "energy_assumptions": ASSUMPTIONS.replace('\n', " "),
    })
}

/// What the Program takes as hardware.
fn as_hardware(args: &Args, model: &Model, style: Style) -> Result<(), Failure> {
    let options = Verilog {
        style,
        ..Verilog::default()
    };
    let cost = estimate(&options, &model.program, &model.types).map_err(|error: EmitError| {
        Failure::Failed(format!("{}: {error}", args.model.display()))
    })?;
    if args.json {
        return say_json(&hardware_json(&model.program.name, style, &cost));
    }
    let mut table = Table::new(&[
        ("layer", Align::Left),
        ("op", Align::Left),
        ("PE", Align::Right),
        ("SIMD", Align::Right),
        ("cycles", Align::Right),
        ("LUT6", Align::Right),
        ("FF", Align::Right),
        ("BRAM36", Align::Right),
    ]);
    for layer in &cost.layers {
        table.row(vec![
            layer.name.clone(),
            layer.op.into(),
            grouped(layer.pe as u64),
            match layer.simd {
                0 => String::new(),
                simd => grouped(simd as u64),
            },
            grouped(layer.cycles),
            grouped(layer.luts),
            grouped(layer.flip_flops),
            format!("{:.1}", layer.block_rams),
        ]);
    }
    say(format!(
        "{}: {}\n\n{}\n\n\
         area     {} LUT6, {} of them the encoder's; {} flip-flops, {:.1} block RAMs of 36 Kbit\n\
         time     an image every {} cycles, the answer after {} at most\n\n\
         Estimated without a tool; docs/verilog.md states the error.",
        model.program.name,
        style_name(style),
        table.text(),
        grouped(cost.luts),
        grouped(cost.encoder_luts),
        grouped(cost.flip_flops),
        cost.block_rams,
        grouped(cost.interval),
        grouped(cost.latency),
    ))
}

fn style_name(style: Style) -> String {
    match style {
        Style::Folded(options) => format!("folded, {} cycles an image asked for", options.cycles),
        Style::Unrolled(options) => {
            format!(
                "unrolled, registers every {} levels of logic",
                options.levels
            )
        }
    }
}

fn hardware_json(name: &str, style: Style, cost: &Estimate) -> serde_json::Value {
    let layer = |layer: &LayerEstimate| {
        json!({
            "name": layer.name,
            "op": layer.op,
            "pe": layer.pe,
            "simd": layer.simd,
            "cycles": layer.cycles,
            "luts": layer.luts,
            "flip_flops": layer.flip_flops,
            "block_rams": layer.block_rams,
            "rom_bits": layer.rom_bits,
            "buffer_bits": layer.buffer_bits,
        })
    };
    json!({
        "name": name,
        "target": "fpga",
        "style": style_name(style),
        "luts": cost.luts,
        "encoder_luts": cost.encoder_luts,
        "flip_flops": cost.flip_flops,
        "block_rams": cost.block_rams,
        "rom_bits": cost.rom_bits,
        "interval": cost.interval,
        "latency": cost.latency,
        "layers": cost.layers.iter().map(layer).collect::<Vec<_>>(),
    })
}

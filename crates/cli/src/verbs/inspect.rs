//! `onebit inspect`: what a model consists of, what it weighs and what it costs.

use std::path::PathBuf;

use serde_json::json;

use crate::energy::ASSUMPTIONS;
use crate::error::Failure;
use crate::modelfile::{self, Model, class_names};
use crate::output::{say, say_json};
use crate::statistics::{self, LayerStatistics, Totals};
use crate::table::{energy, grouped};

/// Show a model's layers, size and cost
#[derive(clap::Args)]
pub struct Args {
    /// A .bnn or .net file
    model: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<(), Failure> {
    let model = modelfile::load(&args.model)?;
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

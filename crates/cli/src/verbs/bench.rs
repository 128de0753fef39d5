//! `onebit bench`: how fast a model runs here, against what this core could do at best.

use std::path::PathBuf;
use std::time::Duration;

use onebit_bits::Isa;
use onebit_run::bench::{BenchOptions, BenchReport, bench};
use onebit_run::{Plan, PlanOptions};
use serde_json::Value;

use crate::engine::{Answers, Engine, answers, fast};
use crate::error::{Failure, failed, misuse};
use crate::examples::noise;
use crate::modelfile::{self, Model};
use crate::output::{note, say, say_json};
use crate::table::{Align, Table, grouped, with_prefix};

/// Answers that are compared with the interpreter's before the clock starts.
const N_CHECKED: usize = 48;

/// Measure how fast a model runs on this machine
#[derive(clap::Args)]
pub struct Args {
    /// A .bnn or .net file
    model: PathBuf,
    /// Threads
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Images run at once [default: 256, and in the table also 1]
    #[arg(long)]
    batch: Option<usize>,
    /// Instruction set: scalar, avx2, avx512 or neon [default: every one, with --json the best]
    #[arg(long)]
    isa: Option<String>,
    /// Seconds for each measurement
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<(), Failure> {
    if args.threads == 0 || args.batch == Some(0) {
        return misuse("--threads and --batch must be at least 1");
    }
    if !(args.seconds > 0.0 && args.seconds <= 3600.0) {
        return misuse("--seconds must be above 0 and at most 3600");
    }
    let isas = isas(args)?;
    let model = modelfile::load(&args.model)?;
    if args.json {
        let isa = *isas.last().expect("there is always an instruction set");
        return say_json(&measured_json(&measure(
            &model,
            isa,
            args,
            args.batch.unwrap_or(256),
        )?));
    }
    let batches = args.batch.map_or(vec![1, 256], |batch| vec![batch]);
    let mut reports = Vec::new();
    for isa in isas {
        for &batch in &batches {
            note(format!("measuring {} with batch {batch} ...", isa.name()));
            reports.push(measure(&model, isa, args, batch)?);
        }
    }
    say(text(&model, &reports))
}

/// The instruction sets to measure, slowest first.
fn isas(args: &Args) -> Result<Vec<Isa>, Failure> {
    if let Some(name) = &args.isa {
        return match Engine::parse(name)? {
            Engine::Isa(isa) => Ok(vec![isa]),
            _ => misuse(format!(
                "`{name}` is no instruction set; use scalar, avx2, avx512 or neon"
            )),
        };
    }
    if args.json || std::env::var_os("ONEBIT_ISA").is_some() {
        return Ok(vec![Isa::from_env()?]);
    }
    Ok(Isa::available().collect())
}

fn measure(model: &Model, isa: Isa, args: &Args, batch: usize) -> Result<BenchReport, Failure> {
    check(model, isa, args.threads)?;
    let fail = |error: &dyn std::fmt::Display| Failure::Failed(format!("{}: {error}", isa.name()));
    let plan = Plan::new(
        &model.program,
        &PlanOptions {
            isa,
            threads: args.threads,
        },
    )
    .map_err(|error| fail(&error))?;
    let options = BenchOptions {
        batch,
        duration: Duration::from_secs_f64(args.seconds),
    };
    bench(&plan, &options).map_err(|error| fail(&error))
}

/// Fast and wrong is worthless: the engine's answers to noise must be the interpreter's.
fn check(model: &Model, isa: Isa, threads: usize) -> Result<(), Failure> {
    let examples = noise(N_CHECKED, &model.program.input);
    let expected = answers(Engine::Interpreter, model, None, &examples, threads)?;
    let bits = |answers: &Answers| -> Vec<u32> {
        match answers {
            Answers::Int(x) => x.iter().map(|x| x.cast_unsigned()).collect(),
            Answers::Real(x) => x.iter().map(|x| x.to_bits()).collect(),
        }
    };
    // Alone, and in a batch: the two may use different kernels.
    let mut found = Vec::new();
    for idx in 0..4 {
        found.extend(bits(&fast(
            &model.program,
            isa,
            &examples,
            idx..idx + 1,
            1,
        )?));
    }
    found.extend(bits(&fast(
        &model.program,
        isa,
        &examples,
        4..N_CHECKED,
        threads,
    )?));
    if found != bits(&expected) {
        return failed(format!(
            "{} gives other answers than the interpreter, so nothing was measured; see `onebit verify`",
            isa.name()
        ));
    }
    Ok(())
}

fn measured_json(report: &BenchReport) -> Value {
    serde_json::to_value(report).expect("a report is plain data")
}

fn text(model: &Model, reports: &[BenchReport]) -> String {
    let mut table = Table::new(&[
        ("isa", Align::Left),
        ("threads", Align::Right),
        ("batch", Align::Right),
        ("images/s", Align::Right),
        ("median ms", Align::Right),
        ("p99 ms", Align::Right),
        ("bit-MAC/s", Align::Right),
        ("share of peak", Align::Right),
    ]);
    for report in reports {
        table.row(vec![
            report.isa.into(),
            report.threads.to_string(),
            report.batch.to_string(),
            grouped(report.images_per_s as u64),
            format!("{:.4}", report.median_ms),
            format!("{:.4}", report.p99_ms),
            with_prefix(report.bit_macs_per_s),
            format!("{:.1} %", 100.0 * report.share_of_peak),
        ]);
    }
    let mut lines = vec![
        format!(
            "{}: answers checked against the interpreter before each measurement",
            model.program.name
        ),
        String::new(),
        table.text(),
    ];
    if let Some(last) = reports.last() {
        let peak = with_prefix(last.peak.bit_macs_per_s);
        lines.push(String::new());
        lines.push(format!(
            "Peak is XOR, population count and add on one core, measured here: {peak} bit-MAC/s on {}.",
            last.isa
        ));
        lines.push(format!(
            "Layers on {}, batch {}, one thread:",
            last.isa, last.batch
        ));
        lines.push(layers(last).text());
    }
    lines.join("\n")
}

fn layers(report: &BenchReport) -> Table {
    let mut table = Table::new(&[
        ("layer", Align::Left),
        ("kernel", Align::Left),
        ("images", Align::Right),
        ("median µs", Align::Right),
        ("bit-MAC/s", Align::Right),
    ]);
    for layer in &report.layers {
        let rate = if layer.info.bit_macs == 0 {
            String::new()
        } else {
            with_prefix(layer.bit_macs_per_s)
        };
        table.row(vec![
            layer.info.name.clone(),
            layer.info.kernel.into(),
            layer.tile.to_string(),
            format!("{:.2}", layer.median_us),
            rate,
        ]);
    }
    table
}

//! `onebit bench`: how fast a model runs here, against what this core could do at best.

use std::path::PathBuf;
use std::time::Duration;

use onebit_bits::Isa;
use onebit_run::bench::{BenchOptions, BenchReport, LayerTiming, bench};
use onebit_run::{Plan, PlanOptions};
use serde_json::Value;

use crate::engine::{Answers, Engine, answers, fast};
use crate::error::{Failure, failed, misuse};
use crate::examples::{Examples, noise};
use crate::modelfile::{self, Model};
use crate::output::{note, say, say_json};
use crate::statistics;
use crate::table::{Align, Table, bar, grouped, shortened, with_prefix};

/// Answers that are compared with the interpreter's before the clock starts.
const N_CHECKED: usize = 48;
/// Of those, the ones that are computed one by one.
const N_ALONE: usize = 4;
/// Products that the interpreter may take for all of them together; beyond it fewer answers are compared.
const MAX_CHECKED_MACS: u64 = 10_000_000_000;

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
    let sample = Sample::new(&model, args.threads)?;
    if args.json {
        let isa = *isas.last().expect("there is always an instruction set");
        let batch = args.batch.unwrap_or(256);
        return say_json(&measured_json(&measure(&model, &sample, isa, args, batch)?));
    }
    let batches = args.batch.map_or(vec![1, 256], |batch| vec![batch]);
    let mut reports = Vec::new();
    for isa in isas {
        for &batch in &batches {
            note(format!("measuring {} with batch {batch} ...", isa.name()));
            reports.push(measure(&model, &sample, isa, args, batch)?);
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

fn measure(
    model: &Model,
    sample: &Sample,
    isa: Isa,
    args: &Args,
    batch: usize,
) -> Result<BenchReport, Failure> {
    check(model, sample, isa, args.threads)?;
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

/// Inputs of noise and the interpreter's answers to them.
struct Sample {
    examples: Examples,
    expected: Answers,
}

impl Sample {
    fn new(model: &Model, threads: usize) -> Result<Sample, Failure> {
        let totals = statistics::totals(&statistics::layers(&model.program, &model.types));
        let affordable = MAX_CHECKED_MACS / (totals.bit_macs + totals.macs).max(1);
        let n = usize::try_from(affordable).unwrap_or(usize::MAX);
        let examples = noise(n.clamp(N_ALONE + 1, N_CHECKED), &model.program.input);
        let expected = answers(Engine::Interpreter, model, None, &examples, threads)?;
        Ok(Sample { examples, expected })
    }
}

/// Fast and wrong is worthless: the engine's answers to noise must be the interpreter's.
fn check(model: &Model, sample: &Sample, isa: Isa, threads: usize) -> Result<(), Failure> {
    let Sample { examples, expected } = sample;
    let fast = |range, threads| fast(&model.program, isa, examples, range, threads);
    // Alone, and in a batch: the two may use different kernels.
    let mut found = Vec::new();
    for idx in 0..N_ALONE {
        found.extend(bits(&fast(idx..idx + 1, 1)?));
    }
    found.extend(bits(&fast(N_ALONE..examples.n, threads)?));
    if found != bits(expected) {
        return failed(format!(
            "{} gives other answers than the interpreter, so nothing was measured; see `onebit verify`",
            isa.name()
        ));
    }
    Ok(())
}

/// Answers for comparing them to the bit; those of a NaN are not defined.
fn bits(answers: &Answers) -> Vec<u32> {
    let real = |&x: &f32| if x.is_nan() { f32::NAN } else { x }.to_bits();
    match answers {
        Answers::Int(x) => x.iter().map(|x| x.cast_unsigned()).collect(),
        Answers::Real(x) => x.iter().map(real).collect(),
    }
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
        lines.push(format!("{}:", layers_title(last)));
        lines.push(String::new());
        lines.push(layers(last).text());
    }
    lines.join("\n")
}

/// Columns of the terminal that the table of layers fits, and those of its two columns of names.
const WIDTH: usize = 100;
const LAYER_WIDTH: usize = 22;
const KERNEL_WIDTH: usize = 18;

/// Columns of the bars, of which the table may leave fewer.
const MOST_BAR: usize = 32;

fn layers_title(report: &BenchReport) -> String {
    let tile = match report.layers.first().map(|layer| layer.tile) {
        None | Some(1) => "one image".to_string(),
        Some(tile) => format!("{tile} images at once"),
    };
    format!("Layers on {}, {tile}, one thread", report.isa)
}

/// A row for each layer, ending in a bar in proportion to its share of the time, and their sum.
fn layers(report: &BenchReport) -> Table {
    let headings = [
        ("layer", Align::Left),
        ("kernel", Align::Left),
        ("µs", Align::Right),
        ("bit-MAC/s", Align::Right),
        ("of peak", Align::Right),
        ("bytes", Align::Right),
        ("of time", Align::Right),
    ];
    let mut rows: Vec<Vec<String>> = report.layers.iter().map(layer).collect();
    rows.push(sum(report));
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells
            .max()
            .unwrap_or(0)
            .max(headings[column].0.chars().count())
    };
    let taken: usize = (0..headings.len()).map(|column| width(column) + 2).sum();
    let room = WIDTH.saturating_sub(taken).min(MOST_BAR);
    let mut table = Table::new(&[headings.as_slice(), &[("", Align::Left)]].concat());
    let shares = report.layers.iter().map(|layer| layer.share_of_time);
    let most = shares.clone().fold(f64::MIN_POSITIVE, f64::max);
    // The longest bar fills the room, and the sum has none.
    for (mut row, share) in rows.into_iter().zip(shares.chain([0.0])) {
        row.push(bar(share / most, room));
        table.row(row);
    }
    table
}

fn layer(layer: &LayerTiming) -> Vec<String> {
    row(
        [&layer.info.name, layer.info.kernel],
        layer.median_us,
        layer
            .share_of_peak
            .map(|share| (layer.bit_macs_per_s, share)),
        layer.bytes,
        layer.share_of_time,
    )
}

/// All layers together.
fn sum(report: &BenchReport) -> Vec<String> {
    let layers = &report.layers;
    let micros: f64 = layers.iter().map(|layer| layer.median_us).sum();
    let bit_macs = layers
        .iter()
        .map(|layer| layer.info.bit_macs as f64 * layer.tile as f64);
    let rate = bit_macs.sum::<f64>() / (micros * 1e-6).max(1e-9);
    let bytes = layers.iter().map(|layer| layer.bytes).sum();
    let rate = (rate > 0.0).then_some((rate, rate / report.peak.bit_macs_per_s));
    row(["total", ""], micros, rate, bytes, 1.0)
}

/// A row without its bar; `rate` is products of bits per second and their share of the peak.
fn row(
    [layer, kernel]: [&str; 2],
    micros: f64,
    rate: Option<(f64, f64)>,
    bytes: usize,
    share: f64,
) -> Vec<String> {
    let (rate, peak) = match rate {
        Some((rate, share)) => (with_prefix(rate), format!("{:.1} %", 100.0 * share)),
        None => (String::new(), String::new()),
    };
    vec![
        shortened(layer, LAYER_WIDTH),
        shortened(kernel, KERNEL_WIDTH),
        format!("{micros:.2}"),
        rate,
        peak,
        match bytes {
            0..1000 => bytes.to_string(),
            _ => with_prefix(bytes as f64),
        },
        format!("{:.1} %", 100.0 * share),
    ]
}

#[cfg(test)]
mod tests {
    use onebit_run::LayerInfo;
    use onebit_run::peak::Peak;

    use super::*;

    fn timing(name: &str, bit_macs: u64, median_us: f64, share_of_time: f64) -> LayerTiming {
        let bit_macs_per_s = bit_macs as f64 * 64.0 / (median_us * 1e-6);
        LayerTiming {
            info: LayerInfo {
                name: name.into(),
                kernel: if bit_macs == 0 {
                    "chain"
                } else {
                    "dense_bits_sliced"
                },
                bit_macs,
                macs: 0,
                weight_bytes: 1000,
                value_bytes: 10,
            },
            median_us,
            tile: 64,
            bytes: 1640,
            share_of_time,
            bit_macs_per_s,
            share_of_peak: (bit_macs > 0).then_some(bit_macs_per_s / 1e12),
        }
    }

    fn report() -> BenchReport {
        BenchReport {
            isa: "avx2",
            threads: 1,
            batch: 256,
            runs: 3,
            images_per_s: 1.0,
            median_ms: 1.0,
            p99_ms: 1.0,
            min_ms: 1.0,
            bit_macs_per_s: 1.0,
            peak: Peak {
                isa: "avx2",
                bit_macs_per_s: 1e12,
            },
            share_of_peak: 1.0,
            layers: vec![
                timing(
                    "features.block3.conv2+features.block3.bn",
                    1_000_000,
                    75.0,
                    0.75,
                ),
                timing("head", 0, 25.0, 0.25),
            ],
        }
    }

    #[test]
    fn every_layer_is_a_row_with_a_bar_of_its_share() {
        assert_eq!(
            layers(&report()).text(),
            "\
layer                   kernel                 µs  bit-MAC/s  of peak   bytes  of time
features.bl….block3.bn  dense_bits_sliced   75.00   853.33 G   85.3 %  1.64 k   75.0 %  ████████████
head                    chain               25.00                      1.64 k   25.0 %  ████
total                                      100.00   640.00 G   64.0 %  3.28 k  100.0 %"
        );
    }

    #[test]
    fn no_row_is_wider_than_the_terminal() {
        for line in layers(&report()).text().lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
        assert_eq!(
            layers_title(&report()),
            "Layers on avx2, 64 images at once, one thread"
        );
    }
}

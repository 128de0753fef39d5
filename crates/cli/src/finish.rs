//! What follows training: lowering, proof, and everything a run leaves behind.
//!
//! In: a [`Job`] with the outcome of a run. Out: a [`Finished`] result, and in the run folder `NAME.bnn`,
//! `NAME.net`, `NAME.toml`, `curves.svg`, `confusion.svg`, `report.html` and the card `NAME.md`. The Program is
//! only written once it has been compared with the Net and every engine on the whole test split.

use std::path::Path;

use onebit_bits::Isa;
use onebit_compile::{Options, compile};
use onebit_data::Dataset;
use onebit_model::net::LayerOp;
use onebit_model::program::Program;
use onebit_model::weights::Weights;
use onebit_model::{bnn, net_to_bytes, verify};
use onebit_train::fit::{EpochRecord, Outcome, TestReport, tally};
use onebit_train::recipe::{Recipe, StageKind};

use crate::agree::{Subject, all_engines, compare, names};
use crate::card;
use crate::engine::fast;
use crate::error::{Failure, failed};
use crate::examples::from_split;
use crate::files::write_whole;
use crate::plot;
use crate::progress::{examples_bar, title};
use crate::report::Page;
use crate::statistics::{self, LayerStatistics, Totals};
use crate::table::{Align, Table, grouped, percent};

/// A finished training run and how it was asked for.
pub struct Job<'a> {
    /// The recipe that was run.
    pub recipe: &'a Recipe,
    /// Its file's text, as a person wrote it.
    pub recipe_text: &'a str,
    /// The commands that reproduce the run, in order.
    pub commands: Vec<String>,
    /// The data.
    pub data: &'a Dataset,
    /// What training gave.
    pub outcome: &'a Outcome,
    /// Folder for the files.
    pub dir: &'a Path,
    /// Threads, at least 1.
    pub threads: usize,
    /// How many test examples everyone has to agree on; all if none.
    pub prove: Option<usize>,
}

/// A run with its proven Program.
pub struct Finished {
    /// The Program.
    pub program: Program,
    /// The class that each test example is given.
    pub classes: Vec<usize>,
    /// Counts on the test split.
    pub test: TestReport,
    /// Test examples on which all agree.
    pub n_proven: usize,
    /// Who agrees.
    pub engines: Vec<&'static str>,
    /// Bytes of `NAME.bnn`.
    pub n_bytes: usize,
    /// Layers.
    pub layers: Vec<LayerStatistics>,
    /// Their sums.
    pub totals: Totals,
}

/// Lowers and compares; nothing is written yet.
pub fn prove(job: &Job<'_>) -> Result<Finished, Failure> {
    let net = &job.outcome.net;
    let program = compile(net, &Options::default())?;
    let types = verify(&program).map_err(|error| Failure::Failed(error.to_string()))?;
    let n_proven = job.prove.unwrap_or(usize::MAX).min(job.data.test.len());
    let proven = job.data.test.select(&(0..n_proven).collect::<Vec<_>>());
    let examples = from_split(job.data, &proven, &program.input)?;
    let subject = Subject {
        program: &program,
        types: &types,
        net: Some(net),
        examples: &examples,
    };
    let engines = all_engines();
    let bar = examples_bar(examples.n, "verifying");
    let agreement = compare(&subject, &engines, job.threads, &|n| bar.inc(n as u64))?;
    bar.finish_and_clear();
    let agreement = match agreement {
        Ok(agreement) => agreement,
        Err(disagreement) => {
            return failed(format!(
                "the Program is not the trained Net, please report this as a bug of onebit: {disagreement}"
            ));
        }
    };
    let width = types.of(program.output).n_elements();
    let mut classes = agreement.answers.classes(width);
    if n_proven < job.data.test.len() {
        let all = from_split(job.data, &job.data.test, &program.input)?;
        classes = fast(&program, Isa::best(), &all, 0..all.n, job.threads)?.classes(width);
    }
    let test = tally(&classes, &job.data.test.labels, job.data.n_classes);
    if test != job.outcome.test {
        return failed(format!(
            "training counts {} right answers and the Program {}, please report this as a bug of onebit",
            job.outcome.test.correct, test.correct
        ));
    }
    let layers = statistics::layers(&program, &types);
    let totals = statistics::totals(&layers);
    let n_bytes = bnn::write(&program).len();
    let engines = names(true, &engines);
    Ok(Finished {
        program,
        classes,
        test,
        n_proven,
        engines,
        n_bytes,
        layers,
        totals,
    })
}

/// Writes everything.
pub fn write(job: &Job<'_>, finished: &Finished) -> Result<(), Failure> {
    let name = &job.recipe.name;
    let put = |file: &str, bytes: &[u8]| write_whole(&job.dir.join(file), bytes);
    put(&format!("{name}.bnn"), &bnn::write(&finished.program))?;
    put(&format!("{name}.net"), &net_to_bytes(&job.outcome.net))?;
    put(&format!("{name}.toml"), job.recipe_text.as_bytes())?;
    let curves = plot::curves(&job.outcome.history, name)?;
    let title = format!("{name}: {} right", percent(finished.test.accuracy()));
    let confusion = plot::confusion(&finished.test.confusion, &job.data.class_names, &title)?;
    put("curves.svg", curves.as_bytes())?;
    put("confusion.svg", confusion.as_bytes())?;
    put(
        &format!("{name}.md"),
        card::markdown(job, finished).as_bytes(),
    )?;
    put(
        "report.html",
        page(job, finished, &curves, &confusion).html().as_bytes(),
    )
}

fn page(job: &Job<'_>, finished: &Finished, curves: &str, confusion: &str) -> Page {
    let mut page = Page::new(&job.recipe.name);
    page.text(&card::summary(job, finished).replace('`', ""));
    page.table(&card::results(job, finished));
    page.heading("Training");
    page.table(&stages(job));
    page.svg(curves, "Loss, accuracy and weight flips by epoch");
    page.heading("Answers on the test split");
    page.svg(confusion, "Confusion matrix");
    page.heading("Layers");
    page.table(&statistics::table(&finished.layers));
    page.heading("Recipe");
    page.verbatim(job.recipe_text.trim_end());
    page.heading("How to reproduce");
    page.verbatim(&job.commands.join("\n"));
    page
}

/// One row per stage: what it did and what it cost.
pub fn stages(job: &Job<'_>) -> Table {
    let mut table = Table::new(&[
        ("stage", Align::Left),
        ("epochs", Align::Right),
        ("batch", Align::Right),
        ("learning rate", Align::Left),
        ("final loss", Align::Right),
        ("training", Align::Right),
        ("validation", Align::Right),
        ("s an epoch", Align::Right),
    ]);
    let recipe = job.recipe;
    let stages = recipe.stages.iter().chain(&recipe.twin);
    for (phase, stage) in stages.enumerate() {
        let records: Vec<&EpochRecord> = job
            .outcome
            .history
            .iter()
            .filter(|r| r.phase == phase)
            .collect();
        let Some(last) = records.last() else { continue };
        let mut seconds: Vec<f64> = records.iter().map(|r| r.seconds).collect();
        seconds.sort_by(f64::total_cmp);
        let validation = if recipe.validation > 0 {
            percent(last.val_accuracy)
        } else {
            String::new()
        };
        table.row(vec![
            title(stage.kind, phase, recipe.stages.len()),
            records.len().to_string(),
            stage.batch.to_string(),
            format!("{} to {}", stage.lr, stage.lr_end),
            format!("{:.4}", last.loss),
            percent(last.train_accuracy),
            validation,
            format!("{:.3}", seconds[seconds.len() / 2]),
        ]);
    }
    table
}

/// The topology for people: `784-1024-10`, with convolutions as `64C3` (rows, kernel) and max pools as `MP2`; many equal
/// layers in a row as `(36x16C3)`.
pub fn topology(job: &Job<'_>) -> String {
    let net = &job.outcome.net;
    let axes: Vec<String> = net.input.shape.iter().map(usize::to_string).collect();
    let mut sizes = vec![axes.join("x")];
    for layer in &net.layers {
        match &layer.op {
            // A norm of integers is a product with a diagonal.
            LayerOp::Dense { .. } if layer.name.ends_with(".norm") => {}
            LayerOp::Dense { weights, .. } => {
                if sizes.len() == 1 {
                    sizes = vec![weights.n_cols().to_string()];
                }
                sizes.push(weights.n_rows().to_string());
            }
            LayerOp::Conv2d(conv) => {
                sizes.push(format!(
                    "{}C{}",
                    conv.weights.n_rows(),
                    conv.window.kernel[0]
                ));
            }
            LayerOp::MaxPool(window) => sizes.push(format!("MP{}", window.kernel[0])),
            _ => {}
        }
    }
    short(&sizes)
}

/// Sizes in a row, more than three equal ones as one.
fn short(sizes: &[String]) -> String {
    let runs = sizes.chunk_by(|a, b| a == b).map(|run| match run.len() {
        n if n > 3 => format!("({n}x{})", run[0]),
        _ => run.join("-"),
    });
    runs.collect::<Vec<String>>().join("-")
}

/// Most bits of a weight or of a value between layers, in words.
pub fn bits(job: &Job<'_>) -> String {
    let bits = job.outcome.net.layers.iter().map(|layer| match &layer.op {
        LayerOp::Dense { weights, .. } => n_bits(weights),
        LayerOp::Conv2d(conv) => n_bits(&conv.weights),
        LayerOp::Quantize { bits, .. } => usize::from(*bits),
        _ => 1,
    });
    match bits.max() {
        None | Some(1) => "single bits".into(),
        Some(bits) => format!("up to {bits} bits"),
    }
}

/// Bits of a low-precision weight; 1 for others, which a network of bits has at its ends only.
fn n_bits(weights: &Weights) -> usize {
    match weights {
        Weights::Planes(planes) => planes.planes().len(),
        _ => 1,
    }
}

/// What is left on the disk, for people.
pub fn size(finished: &Finished) -> String {
    format!(
        "{} bytes, {:.1} times smaller than in float32 ({} bytes)",
        grouped(finished.n_bytes as u64),
        finished.totals.f32_bytes as f64 / finished.n_bytes as f64,
        grouped(finished.totals.f32_bytes)
    )
}

/// Whether a stage trains bits.
pub fn is_bitwise(record: &EpochRecord) -> bool {
    record.kind == StageKind::Bitwise
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn many_equal_layers_are_written_once() {
        let sizes = |text: &str| text.split('-').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(short(&sizes("784-9-9-9-10")), "784-9-9-9-10");
        assert_eq!(
            short(&sizes("32x32x3-8C3-8C3-8C3-8C3-MP2-8C3-10")),
            "32x32x3-(4x8C3)-MP2-8C3-10"
        );
    }
}

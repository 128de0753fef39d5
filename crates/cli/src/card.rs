//! The card of a trained net, `NAME.md`: what it is, how good it is, how to get it again.
//!
//! In: a finished run. Out: Markdown, and the sentences and tables that reports share with it.

use onebit_train::recipe::{BitValues, Input, Norm};

use crate::finish::{Finished, Job, bits, size, stages, topology};
use crate::statistics;
use crate::table::{Align, Table, grouped, percent};

/// The card.
pub fn markdown(job: &Job<'_>, finished: &Finished) -> String {
    let name = &job.recipe.name;
    let parts = [
        format!("# {name}"),
        summary(job, finished),
        results(job, finished).markdown().trim_end().to_string(),
        "## Data".into(),
        data(job),
        "## Training".into(),
        format!(
            "{} Seed {}, {} thread{}{}. The recipe is `{name}.toml`, the log `{name}.log.jsonl` (`log.jsonl` in the run folder).",
            epoch_choice(job),
            job.recipe.seed,
            job.threads,
            if job.threads == 1 { "" } else { "s" },
            cpu().map_or(String::new(), |cpu| format!(" on {cpu}"))
        ) + &changes(job),
        stages(job).markdown().trim_end().to_string(),
        "## Layers".into(),
        statistics::table(&finished.layers)
            .markdown()
            .trim_end()
            .to_string(),
        format!(
            "{} weights, {} bit-MACs an image, {}.",
            grouped(finished.totals.n_weights),
            grouped(finished.totals.bit_macs),
            size(finished)
        ),
        "## Proof".into(),
        format!(
            "{} agree bit for bit, layer by layer, on {} {} test examples.",
            sentence_list(&finished.engines),
            if finished.n_proven == finished.test.total {
                "all"
            } else {
                "the first"
            },
            grouped(finished.n_proven as u64)
        ),
        "## How to reproduce".into(),
        format!("```sh\n{}\n```", job.commands.join("\n")),
    ];
    parts.join("\n\n") + "\n"
}

/// What was changed while the run was stopped.
fn changes(job: &Job<'_>) -> String {
    match job.outcome.changes.is_empty() {
        true => String::new(),
        false => format!(" Resumed with {}.", job.outcome.changes.join("; ")),
    }
}

/// One sentence: what the net is and how good it is.
pub fn summary(job: &Job<'_>, finished: &Finished) -> String {
    let norm = match job.recipe.model.as_ref().map(|model| model.norm) {
        Some(Norm::Batch) => "batch norm folded into thresholds",
        Some(Norm::None) => "no batch norm",
        None => "trained from a list of layers",
    };
    format!(
        "A {} network of {} for `{}`: {}, {norm}. It gets {} of the test split right.",
        topology(job),
        bits(job),
        job.data.name,
        input(&job.recipe.input),
        percent(finished.test.accuracy())
    )
}

/// Accuracy, the float twin, sizes.
pub fn results(job: &Job<'_>, finished: &Finished) -> Table {
    let mut table = Table::new(&[
        ("", Align::Left),
        ("bits", Align::Right),
        ("float32 twin", Align::Right),
    ]);
    let twin = job.outcome.twin.as_ref();
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "not trained".into());
    let test = &finished.test;
    table.row(vec![
        "test accuracy".into(),
        percent(test.accuracy()),
        or_none(twin.map(|twin| percent(twin.accuracy()))),
    ]);
    let right = |correct: usize, total: usize| {
        format!("{} of {}", grouped(correct as u64), grouped(total as u64))
    };
    table.row(vec![
        "right answers".into(),
        right(test.correct, test.total),
        or_none(twin.map(|twin| right(twin.correct, twin.total))),
    ]);
    if let Some((best, epoch)) = job.outcome.best {
        table.row(vec![
            "validation accuracy".into(),
            format!("{} (epoch {epoch})", percent(best)),
            String::new(),
        ]);
    }
    if let Some(twin) = twin {
        let gap = 100.0 * (test.accuracy() - twin.accuracy());
        table.row(vec![
            "gap to float32".into(),
            format!("{gap:+.2} points"),
            String::new(),
        ]);
    }
    table.row(vec![
        "size in bytes".into(),
        grouped(finished.n_bytes as u64),
        grouped(finished.totals.f32_bytes),
    ]);
    table
}

fn data(job: &Job<'_>) -> String {
    let data = job.data;
    let (n_train, n_test) = (data.train.len() as u64, data.test.len() as u64);
    let held_out = match job.recipe.validation {
        0 => "none of them held out".into(),
        n => format!("{} of them held out for validation", grouped(n as u64)),
    };
    format!(
        "`{}`: {} training examples ({held_out}) and {} test examples of shape {:?}, {} classes.",
        data.name,
        grouped(n_train),
        grouped(n_test),
        data.shape,
        data.n_classes
    )
}

fn epoch_choice(job: &Job<'_>) -> &'static str {
    if job.outcome.best.is_some() {
        "The epoch of the last stage with the best validation accuracy is kept; the test split is only reported."
    } else {
        "The last epoch is kept; the test split is only reported."
    }
}

/// The name of this machine's CPU, where the system tells it.
fn cpu() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_string())
}

/// How examples become bits, in words.
fn input(input: &Input) -> String {
    match input {
        Input::Sign { at } => format!("bipolar inputs (pixel at least {at})"),
        Input::ZeroOne { at } => format!("0/1 inputs (pixel at least {at})"),
        Input::FixedPoint { bits, values } => {
            let as_what = match values {
                BitValues::Bipolar => "-1 or +1",
                BitValues::ZeroOne => "0 or 1",
            };
            format!("{bits}-bit fixed-point inputs, each bit counting as {as_what}")
        }
        Input::Thermometer { cuts } => format!("thermometer inputs with {} cuts", cuts.len()),
        Input::Quantiles { levels } => format!("{levels} quantiles of each feature as inputs"),
        Input::ChannelThermometer { cuts } => {
            format!("thermometer inputs with {} cuts as channels", cuts.len())
        }
        Input::Levels { normalise: false } => "8-bit inputs".into(),
        Input::Levels { normalise: true } => "8-bit inputs scaled to -1 to 1".into(),
    }
}

/// `a, b and c`, the first letter large.
fn sentence_list(names: &[&str]) -> String {
    let text = match names {
        [] => String::new(),
        [only] => (*only).to_string(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    };
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| {
        first.to_uppercase().collect::<String>() + chars.as_str()
    })
}

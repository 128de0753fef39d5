//! `onebit doctor`: what goes on inside a training run, and which key of its recipe to change.

use std::path::{Path, PathBuf};

use onebit_train::doctor::{
    ActivationFacts, CurveFacts, Diagnosis, DoctorError, Finding, Place, WeightFacts, examine, open,
};
use serde_json::json;

use crate::cost::{self, Cost};
use crate::error::Failure;
use crate::output::{note, say, say_json};
use crate::table::{Align, Table, grouped, percent, shortened};

/// Longest layer name in a table.
const NAME_WIDTH: usize = 24;
/// Layers that a finding names.
const NAMED_LAYERS: usize = 4;

/// Look into a training run: starved weights, dead channels, blocked gradients, and what to change
#[derive(clap::Args)]
pub struct Args {
    /// A run folder of `onebit train`, finished or not
    run: PathBuf,
    /// Data set: a name such as digits or mnist, or a folder [default: what the recipe says]
    #[arg(long, value_name = "SET")]
    data: Option<String>,
    /// Training examples that are looked at
    #[arg(long, value_name = "N", default_value_t = 512)]
    examples: usize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<(), Failure> {
    if args.examples == 0 {
        return Err(Failure::Misuse(
            "--examples: must be at least 1, so that there is something to look at".into(),
        ));
    }
    let failed = |error: DoctorError| Failure::Failed(error.to_string());
    let folder = open(&args.run).map_err(failed)?;
    let data = args.data.as_ref().unwrap_or(&folder.recipe.data);
    let opened = onebit_data::open_with(data, &onebit_data::OpenOptions::default())?;
    opened.notes.iter().for_each(note);
    let mut diagnosis = examine(&folder, &opened.dataset, args.examples).map_err(failed)?;
    let cost = cost::of_run(&args.run)?;
    diagnosis
        .findings
        .extend(cost.as_ref().and_then(cost::finding));
    if args.json {
        return say_json(&as_json(&diagnosis, cost.as_ref())?);
    }
    say(as_text(&diagnosis, cost.as_ref(), &args.run))
}

fn as_json(diagnosis: &Diagnosis, cost: Option<&Cost>) -> Result<serde_json::Value, Failure> {
    let mut all = serde_json::to_value(diagnosis)
        .map_err(|error| Failure::Failed(format!("cannot write the diagnosis: {error}")))?;
    all["cost"] = cost.map_or(json!(null), Cost::json);
    Ok(all)
}

fn as_text(diagnosis: &Diagnosis, cost: Option<&Cost>, run: &Path) -> String {
    let Place {
        stage,
        stages,
        epoch,
        epochs,
        ..
    } = diagnosis.place;
    let kind = serde_json::to_value(diagnosis.place.kind).unwrap_or_default();
    let mut parts = vec![format!(
        "{}: stage {} of {stages} ({}) after epoch {epoch} of {epochs}, on {} training examples of {}",
        diagnosis.name,
        stage + 1,
        kind.as_str().unwrap_or("?"),
        grouped(diagnosis.examples as u64),
        diagnosis.data
    )];
    parts.extend(section("Binary weights", weights(&diagnosis.weights)));
    parts.extend(section("Activations", activations(&diagnosis.activations)));
    parts.push(match cost {
        Some(cost) => format!("Cost of the lowered network\n{}", cost.text()),
        None => format!(
            "Cost of the lowered network\n{}: no best.net yet; the last stage writes it",
            run.display()
        ),
    });
    if let Some(curve) = &diagnosis.curve {
        parts.push(format!("Curve of this stage\n{}", curve_lines(curve)));
    }
    parts.push(match diagnosis.findings.is_empty() {
        true => "Findings\nnone: every figure is within its bounds".into(),
        false => format!("Findings\n{}", findings(&diagnosis.findings)),
    });
    parts.join("\n\n")
}

fn section(title: &str, table: Option<Table>) -> Option<String> {
    table.map(|table| format!("{title}\n{}", table.text()))
}

fn or_dash<T>(value: Option<T>, text: impl Fn(T) -> String) -> String {
    value.map_or("-".into(), text)
}

fn weights(facts: &[WeightFacts]) -> Option<Table> {
    if facts.is_empty() {
        return None;
    }
    let mut table = Table::new(&[
        ("layer", Align::Left),
        ("weights", Align::Right),
        ("starved", Align::Right),
        ("zero", Align::Right),
        ("positive", Align::Right),
        ("|w| p10", Align::Right),
        ("median", Align::Right),
        ("p90", Align::Right),
        ("flips a step", Align::Right),
    ]);
    for fact in facts {
        let [low, median, high] = fact.magnitudes;
        table.row(vec![
            shortened(&fact.layer, NAME_WIDTH),
            grouped(fact.weights as u64),
            or_dash(fact.starved, percent),
            if fact.zeros == 0.0 {
                String::new()
            } else {
                percent(fact.zeros)
            },
            or_dash(fact.positive, percent),
            format!("{low:.3}"),
            format!("{median:.3}"),
            format!("{high:.3}"),
            or_dash(fact.flips, flip_ratio),
        ]);
    }
    Some(table)
}

fn flip_ratio(share: f64) -> String {
    format!("{:.4} %", 100.0 * share)
}

fn activations(facts: &[ActivationFacts]) -> Option<Table> {
    if facts.is_empty() {
        return None;
    }
    let mut table = Table::new(&[
        ("quantiser", Align::Left),
        ("channels", Align::Right),
        ("constant", Align::Right),
        ("positive", Align::Right),
        ("entropy, bits", Align::Right),
        ("blocked", Align::Right),
    ]);
    for fact in facts {
        table.row(vec![
            shortened(&fact.layer, NAME_WIDTH),
            grouped(fact.channels as u64),
            grouped(fact.constant.len() as u64),
            percent(fact.positive),
            format!("{:.3} of {}", fact.entropy, fact.most_entropy),
            percent(fact.blocked),
        ]);
    }
    Some(table)
}

fn curve_lines(curve: &CurveFacts) -> String {
    let mut accuracy = format!("accuracy  training {}", percent(curve.train_accuracy));
    if let (Some(val), Some(gap)) = (curve.val_accuracy, curve.gap) {
        accuracy.push_str(&format!(
            ", validation {}, gap {:+.1} points",
            percent(val),
            100.0 * gap
        ));
    }
    if let (Some(epoch), Some(best)) = (curve.best_epoch, curve.best_accuracy) {
        accuracy.push_str(&format!("; best {} in epoch {epoch}", percent(best)));
    }
    let mut loss = format!("loss      {:.4}", curve.loss);
    if let Some(fall) = curve.loss_fall {
        loss.push_str(&format!(
            ", the last tenth of the epochs {:.2} % below the tenth before",
            100.0 * fall
        ));
    }
    let flips = format!(
        "flips     {} of the weights a step, at most {}; starved {}",
        flip_ratio(curve.flip_ratio),
        flip_ratio(curve.most_flips),
        percent(curve.starved)
    );
    [accuracy, loss, flips].join("\n")
}

fn findings(found: &[Finding]) -> String {
    let lines: Vec<String> = found
        .iter()
        .enumerate()
        .map(|(idx, finding)| {
            let number = idx + 1;
            let layers = match finding.layers.len() {
                0 => String::new(),
                _ => format!("{}: ", layer_names(&finding.layers)),
            };
            format!(
                "{number:>2}. {layers}{}\n    {}",
                finding.seen, finding.advice
            )
        })
        .collect();
    lines.join("\n")
}

fn layer_names(layers: &[String]) -> String {
    let named: Vec<String> = layers
        .iter()
        .take(NAMED_LAYERS)
        .map(|name| shortened(name, NAME_WIDTH))
        .collect();
    match layers.len().saturating_sub(NAMED_LAYERS) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

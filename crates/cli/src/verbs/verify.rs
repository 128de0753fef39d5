//! `onebit verify`: proof by comparison that Net, interpreter and engines agree on a whole test split.

use std::path::{Path, PathBuf};

use onebit_model::net::Net;
use serde_json::json;

use crate::agree::{Agreement, Subject, all_engines, compare, names};
use crate::engine::{Engine, n_correct, n_threads, parse_threads};
use crate::error::{Failure, failed, misuse};
use crate::examples::from_split;
use crate::modelfile::{self, Model};
use crate::output::{note, say, say_json};
use crate::progress::examples_bar;
use crate::table::percent;

/// Compare the Net, the interpreter and every engine on a whole test split, bit for bit
#[derive(clap::Args)]
pub struct Args {
    /// A .bnn file, a .net file, or the folder of a training run
    model: PathBuf,
    /// Data set: a name such as digits or mnist, or a folder
    #[arg(long, value_name = "SET")]
    data: String,
    /// Engines, separated by commas: net, interpreter, scalar, avx2, avx512, neon [default: all there are]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    engines: Vec<String>,
    /// The Net the Program was lowered from [default: the .net file beside it]
    #[arg(long, value_name = "FILE")]
    net: Option<PathBuf>,
    /// Threads; 0 is all cores
    #[arg(long, default_value_t = 0, value_parser = parse_threads)]
    threads: usize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<(), Failure> {
    let mut engines = all_engines();
    if !args.engines.is_empty() {
        engines = args
            .engines
            .iter()
            .map(|name| Engine::parse(name))
            .collect::<Result<_, _>>()?;
    }
    let model = modelfile::load(&find(&args.model)?)?;
    let net = net(args, &model, &engines)?;
    let opened = onebit_data::open_with(&args.data, &onebit_data::OpenOptions::default())?;
    opened.notes.iter().for_each(note);
    let data = opened.dataset;
    let examples = from_split(&data, &data.test, &model.program.input)?;
    let subject = Subject {
        program: &model.program,
        types: &model.types,
        net: net.as_ref(),
        examples: &examples,
    };
    let bar = examples_bar(examples.n, "verifying");
    let found = compare(&subject, &engines, n_threads(args.threads), &|n| {
        bar.inc(n as u64)
    })?;
    bar.finish_and_clear();
    let names = names(net.is_some(), &engines);
    match found {
        Ok(agreement) => {
            let correct = n_correct(
                &agreement.answers.classes(model.n_outputs()),
                &data.test.labels,
            );
            agreed(args, &model, &names, &agreement, correct)
        }
        Err(disagreement) => {
            if args.json {
                say_json(&json!({
                    "agree": false,
                    "engines": names,
                    "between": [disagreement.between.0, disagreement.between.1],
                    "layer": disagreement.layer,
                    "neuron": disagreement.neuron,
                    "image": disagreement.image,
                    "values": [disagreement.values.0, disagreement.values.1],
                }))?;
            }
            failed(format!("{}: {disagreement}", model.path.display()))
        }
    }
}

fn agreed(
    args: &Args,
    model: &Model,
    names: &[&str],
    agreement: &Agreement,
    correct: usize,
) -> Result<(), Failure> {
    let n = agreement.n_examples;
    let accuracy = correct as f64 / n as f64;
    if args.json {
        return say_json(&json!({
            "agree": true,
            "engines": names,
            "examples": n,
            "values": model.types.n_values(),
            "not_compared": agreement.not_compared,
            "accuracy": accuracy,
            "correct": correct,
        }));
    }
    let mut text = format!(
        "{}: {} agree bit for bit on all {n} test examples, in all {} layers (accuracy {})",
        model.program.name,
        names.join(", "),
        model.program.nodes.len(),
        percent(accuracy)
    );
    if !agreement.not_compared.is_empty() {
        let layers = agreement.not_compared.join(", ");
        text.push_str(&format!("\nlayers of the Net without the same value in the Program, so compared by their effect only: {layers}"));
    }
    say(text)
}

/// The model file: the argument itself, or the only .bnn file of a folder.
fn find(path: &Path) -> Result<PathBuf, Failure> {
    if !path.is_dir() {
        return Ok(path.to_path_buf());
    }
    let unreadable = |error: std::io::Error| {
        Failure::Failed(format!("{}: cannot list: {error}", path.display()))
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        if file.extension().is_some_and(|extension| extension == "bnn") {
            found.push(file);
        }
    }
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => failed(format!(
            "{}: holds no .bnn file; name the model, or finish the training run",
            path.display()
        )),
        n => misuse(format!(
            "{}: holds {n} .bnn files; name the one to verify",
            path.display()
        )),
    }
}

/// The Net to compare with, and a note where there is none.
fn net(args: &Args, model: &Model, engines: &[Engine]) -> Result<Option<Net>, Failure> {
    if let Some(path) = &args.net {
        return modelfile::load_net(path).map(Some);
    }
    // An explicit list without `net` leaves it out.
    if !args.engines.is_empty() && !engines.contains(&Engine::Net) {
        return Ok(None);
    }
    let net = model.net_beside()?;
    if net.is_none() && engines.contains(&Engine::Net) {
        return misuse(format!(
            "{}: has no .net file beside it; name the Net with --net",
            model.path.display()
        ));
    }
    if net.is_none() {
        note(format!(
            "{}: no .net file beside it, so the trained Net is not part of the comparison",
            model.path.display()
        ));
    }
    Ok(net)
}

//! `onebit eval`: the accuracy of a model on the full test split of a data set.

use std::path::PathBuf;

use serde_json::json;

use crate::engine::{self, Engine, answers, n_threads, parse_threads};
use crate::error::{Failure, failed};
use crate::examples::from_split;
use crate::modelfile::{self, Model};
use crate::output::{note, say, say_json};
use crate::table::percent;

/// Print the accuracy of a model on the test split of a data set
#[derive(clap::Args)]
pub struct Args {
    /// A .bnn or .net file
    model: PathBuf,
    /// Data set: a name such as digits or mnist, or a folder
    #[arg(long, value_name = "SET")]
    data: String,
    /// Engine: net, interpreter, scalar, avx2, avx512 or neon [default: net for a .net file, else the fastest]
    #[arg(long)]
    engine: Option<String>,
    /// Threads; 0 is all cores
    #[arg(long, default_value_t = 0, value_parser = parse_threads)]
    threads: usize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<(), Failure> {
    let model = modelfile::load(&args.model)?;
    let engine = match &args.engine {
        Some(name) => Engine::parse(name)?,
        None if model.net.is_some() => Engine::Net,
        None => Engine::fastest()?,
    };
    let score = score(&model, engine, &args.data, n_threads(args.threads))?;
    let Score {
        data,
        correct,
        total,
    } = &score;
    if args.json {
        return say_json(&json!({
            "model": model.program.name,
            "data": data,
            "engine": engine.name(),
            "accuracy": score.accuracy(),
            "correct": correct,
            "total": total,
        }));
    }
    let name = &model.program.name;
    say(format!(
        "{name} on {data}: {} ({correct} of {total} test examples right, engine {})",
        percent(score.accuracy()),
        engine.name()
    ))
}

/// What an evaluation counted.
struct Score {
    data: String,
    correct: usize,
    total: usize,
}

impl Score {
    fn accuracy(&self) -> f64 {
        self.correct as f64 / self.total.max(1) as f64
    }
}

fn score(model: &Model, engine: Engine, data: &str, threads: usize) -> Result<Score, Failure> {
    let opened = onebit_data::open_with(data, &onebit_data::OpenOptions::default())?;
    opened.notes.iter().for_each(note);
    let data = opened.dataset;
    let width = model.n_outputs();
    if width != 1 && width != data.n_classes {
        return failed(format!(
            "{}: gives {width} scores, data set `{}` has {} classes; use the data set it was trained on",
            model.path.display(),
            data.name,
            data.n_classes
        ));
    }
    let examples = from_split(&data, &data.test, &model.program.input)?;
    let net = if engine == Engine::Net {
        model.net_beside()?
    } else {
        None
    };
    let classes = answers(engine, model, net.as_ref(), &examples, threads)?.classes(width);
    let correct = engine::n_correct(&classes, &data.test.labels);
    Ok(Score {
        data: data.name,
        correct,
        total: data.test.len(),
    })
}

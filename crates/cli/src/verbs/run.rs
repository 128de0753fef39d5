//! `onebit run`: answers for inputs from a file.

use std::io::Read;
use std::path::{Path, PathBuf};

use onebit_data::{Array, ArrayData, npy_bytes};
use onebit_model::program::Kind;

use crate::engine::{Answers, Engine, answers, n_threads, parse_threads};
use crate::error::Failure;
use crate::examples::from_array;
use crate::files::write_whole;
use crate::modelfile::{self, Model};
use crate::output::say;
use crate::table::{Align, Table};

/// Most bytes that are read from standard input.
const MAX_STDIN: u64 = 4 << 30;

/// Run a model on inputs from a file
#[derive(clap::Args)]
pub struct Args {
    /// A .bnn or .net file
    model: PathBuf,
    /// Inputs: .npy, .npz, idx, idx.gz or PNG, or - for standard input; the first axis is the batch
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Write the answers to this .npy file instead of printing a table
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Engine: net, interpreter, scalar, avx2, avx512 or neon [default: the fastest]
    #[arg(long)]
    engine: Option<String>,
    /// Threads; 0 is all cores
    #[arg(long, default_value_t = 0, value_parser = parse_threads)]
    threads: usize,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<(), Failure> {
    let model = modelfile::load(&args.model)?;
    let engine = match &args.engine {
        Some(name) => Engine::parse(name)?,
        None => Engine::fastest()?,
    };
    let array = read(&args.input)?;
    let examples = from_array(
        &args.input.display().to_string(),
        array,
        &model.program.input,
    )?;
    let net = if engine == Engine::Net {
        model.net_beside()?
    } else {
        None
    };
    let answers = answers(
        engine,
        &model,
        net.as_ref(),
        &examples,
        n_threads(args.threads),
    )?;
    match &args.output {
        Some(path) => write(path, &model, examples.n, answers),
        None => say(table(&model, &answers).text()),
    }
}

fn read(path: &Path) -> Result<Array, Failure> {
    if path != Path::new("-") {
        return Ok(onebit_data::read_input(path)?);
    }
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .take(MAX_STDIN)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::Failed(format!("cannot read standard input: {error}")))?;
    Ok(onebit_data::parse_input(
        Path::new("standard input"),
        &bytes,
    )?)
}

fn write(path: &Path, model: &Model, n: usize, answers: Answers) -> Result<(), Failure> {
    let mut shape = vec![n];
    shape.extend(&model.types.of(model.program.output).shape);
    let data = match answers {
        Answers::Int(x) => ArrayData::I32(x),
        Answers::Real(x) => ArrayData::F32(x),
    };
    write_whole(path, &npy_bytes(&shape, &data))
}

/// One line per example: index, class and scores.
fn table(model: &Model, answers: &Answers) -> Table {
    let width = model.n_outputs();
    let is_class = width == 1 && model.types.of(model.program.output).kind == Kind::Int;
    let mut table = Table::new(&[
        ("index", Align::Right),
        ("class", Align::Left),
        ("scores", Align::Left),
    ]);
    for (idx, class) in answers.classes(width).into_iter().enumerate() {
        let range = idx * width..(idx + 1) * width;
        let scores: Vec<String> = match answers {
            Answers::Int(_) if is_class => Vec::new(),
            Answers::Int(x) => x[range].iter().map(|x| format!("{x:>5}")).collect(),
            Answers::Real(x) => x[range].iter().map(|x| format!("{x:>9.3}")).collect(),
        };
        table.row(vec![
            idx.to_string(),
            model.class_name(class),
            scores.join(" "),
        ]);
    }
    table
}

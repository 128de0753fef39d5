//! `onebit import`: other people's networks become Programs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use onebit_bits::Isa;
use onebit_compile::{Options as Passes, optimize};
use onebit_data::read_npz;
use onebit_import::{Head, Imported, Options, Source, ZeroSign, import};
use onebit_model::program::Program;
use onebit_model::{ProgramTypes, bnn, verify};
use serde_json::{Value, json};

use crate::engine::{fast, n_threads};
use crate::error::{Failure, failed, misuse};
use crate::examples::from_array;
use crate::files::write_whole;
use crate::output::{note, say, say_json};
use crate::recorded::{self, Comparison};
use crate::statistics;
use crate::table::grouped;

/// Turn a network of another framework into a Program
#[derive(clap::Args)]
pub struct Args {
    /// A Larq .tflite, an ONNX model, a FINN parameter folder or .tar.gz, or a TOML topology of safetensors
    file: PathBuf,
    /// The .bnn file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// What the file is [default: by its content]
    #[arg(long, value_name = "KIND", value_enum)]
    from: Option<From>,
    /// What an ONNX Sign of zero becomes: 0 in a 2-bit code, or +1 in one bit
    #[arg(long, value_enum, default_value_t = Zero::Exact)]
    zero_sign: Zero,
    /// What a FINN classifier answers with
    #[arg(long, value_enum, default_value_t = Answer::Scores)]
    head: Answer,
    /// Keep the Program as it was translated
    #[arg(long)]
    no_optimize: bool,
    /// Compare with recorded answers: a .npz file with inputs and outputs
    #[arg(long, value_name = "FILE.npz")]
    check: Option<PathBuf>,
    /// The member with the batch of inputs
    #[arg(long, value_name = "NAME", default_value = "x0", requires = "check")]
    check_input: String,
    /// The member with the recorded answers
    #[arg(long, value_name = "NAME", default_value = "y0", requires = "check")]
    check_output: String,
    /// Largest difference of a real answer, as a share of the image's greatest recorded one
    #[arg(long, value_name = "SHARE", default_value_t = 1e-4)]
    tolerance: f64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The kinds of files, as `--from` names them.
#[derive(Clone, Copy, clap::ValueEnum)]
enum From {
    Lce,
    Onnx,
    Finn,
    Safetensors,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Zero {
    Exact,
    Plus,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Answer {
    Scores,
    Popcounts,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<(), Failure> {
    if !(args.tolerance >= 0.0 && args.tolerance.is_finite()) {
        return misuse(format!(
            "--tolerance {} is not a share; give a number from 0 such as 1e-4",
            args.tolerance
        ));
    }
    let Imported {
        program,
        source,
        warnings,
    } = import(&args.file, &options(args)).map_err(|error| Failure::Failed(error.to_string()))?;
    for warning in &warnings {
        note(format!("warning: {warning}"));
    }
    let program = if args.no_optimize {
        program
    } else {
        optimize(program, &Passes::default())?
    };
    let types = verify(&program)
        .map_err(|error| Failure::Failed(format!("{}: {error}", args.file.display())))?;
    let comparison = match &args.check {
        Some(path) => Some(check(args, path, &program, &types)?),
        None => None,
    };
    let bytes = bnn::write(&program);
    write_whole(&args.output, &bytes)?;
    let summary = Summary {
        args,
        program: &program,
        types: &types,
        source,
        warnings: &warnings,
        n_bytes: bytes.len(),
        comparison: comparison.as_ref(),
    };
    if args.json {
        say_json(&summary.json())
    } else {
        say(summary.text())
    }
}

fn options(args: &Args) -> Options {
    Options {
        source: args.from.map(|from| match from {
            From::Lce => Source::Lce,
            From::Onnx => Source::Onnx,
            From::Finn => Source::Finn,
            From::Safetensors => Source::Safetensors,
        }),
        zero_sign: match args.zero_sign {
            Zero::Exact => ZeroSign::Exact,
            Zero::Plus => ZeroSign::Plus,
        },
        head: match args.head {
            Answer::Scores => Head::Scores,
            Answer::Popcounts => Head::Popcounts,
        },
    }
}

/// Compares the fastest engine's answers with recorded ones; a difference is a failure.
fn check(
    args: &Args,
    path: &Path,
    program: &Program,
    types: &ProgramTypes,
) -> Result<Comparison, Failure> {
    let names = [args.check_input.as_str(), args.check_output.as_str()];
    let [inputs, expected] = read_npz(path, names)?;
    let what = |name: &str| format!("{}: member {name}", path.display());
    let examples = from_array(&what(names[0]), inputs, &program.input)?;
    let width = types.of(program.output).n_elements();
    let found = fast(
        program,
        Isa::from_env()?,
        &examples,
        0..examples.n,
        n_threads(0),
    )?;
    let compared = recorded::compare(&found, &expected, width, args.tolerance);
    let comparison = compared.map_err(|problem| {
        Failure::Failed(format!(
            "{} {problem}; the model answers {} inputs with {} each",
            what(names[1]),
            examples.n,
            types.of(program.output)
        ))
    })?;
    match comparison.first_wrong {
        None => Ok(comparison),
        Some(_) => failed(format!(
            "{}: {}; nothing was written",
            what(names[1]),
            comparison.text()
        )),
    }
}

/// What is said at the end.
struct Summary<'a> {
    args: &'a Args,
    program: &'a Program,
    types: &'a ProgramTypes,
    source: Source,
    warnings: &'a [String],
    n_bytes: usize,
    comparison: Option<&'a Comparison>,
}

impl Summary<'_> {
    /// How many nodes of each op there are.
    fn ops(&self) -> BTreeMap<&'static str, usize> {
        let mut ops = BTreeMap::new();
        for node in &self.program.nodes {
            *ops.entry(node.op.name()).or_insert(0) += 1;
        }
        ops
    }

    fn totals(&self) -> statistics::Totals {
        statistics::totals(&statistics::layers(self.program, self.types))
    }

    fn text(&self) -> String {
        let program = self.program;
        let totals = self.totals();
        let output = self.types.of(program.output);
        let ops: Vec<String> = self
            .ops()
            .into_iter()
            .map(|(op, n)| format!("{n} {op}"))
            .collect();
        let mut lines = vec![
            format!(
                "{}: {} of {}, {} bytes",
                self.args.output.display(),
                program.name,
                self.source.name(),
                grouped(self.n_bytes as u64)
            ),
            format!("types    {} -> {output}", program.input),
            format!("ops      {}: {}", program.nodes.len(), ops.join(", ")),
            format!(
                "weights  {}; {} bit-MACs and {} others an image",
                grouped(totals.n_weights),
                grouped(totals.bit_macs),
                grouped(totals.macs)
            ),
        ];
        lines.extend(
            self.comparison
                .map(|comparison| format!("check    {}", comparison.text())),
        );
        lines.join("\n")
    }

    fn json(&self) -> Value {
        let totals = self.totals();
        json!({
            "file": self.args.output.display().to_string(),
            "source": self.source.name(),
            "name": self.program.name,
            "input": self.program.input.to_string(),
            "output": self.types.of(self.program.output).to_string(),
            "nodes": self.program.nodes.len(),
            "ops": self.ops(),
            "weights": totals.n_weights,
            "bit_macs": totals.bit_macs,
            "macs": totals.macs,
            "bytes": self.n_bytes,
            "warnings": self.warnings,
            "check": self.comparison.map(Comparison::json),
        })
    }
}

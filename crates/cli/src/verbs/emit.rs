//! `onebit emit`: a Program becomes files that need no onebit.

use std::fs;
use std::path::{Path, PathBuf};

use onebit_data::io_remedy;
use onebit_emit::c::{C, COptions};
use onebit_emit::loops::WordBits;
use onebit_emit::lower::Values;
use onebit_emit::verilog::Verilog;
use onebit_emit::wasm::{Lanes, Wasm, WasmOptions};
use onebit_emit::{Emitter, emit};
use onebit_model::Tensor;
use onebit_model::program::{Program, Type};
use serde_json::json;

use crate::error::{Failure, failed, misuse};
use crate::examples::{from_split, noise};
use crate::files::write_whole;
use crate::fpga::FpgaArgs;
use crate::modelfile;
use crate::output::{note, say, say_json};

/// Write a Program as files that need no onebit
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    target: Target,
}

#[derive(clap::Subcommand)]
enum Target {
    C(CArgs),
    Wasm(WasmArgs),
    Verilog(VerilogArgs),
}

/// C99 for firmware: one .h, one .c, no allocation, no library
#[derive(clap::Args)]
struct CArgs {
    #[command(flatten)]
    common: Common,
    /// Bits of a word of packed values: 32 for microcontrollers, 64 for processors with such registers
    #[arg(long, value_name = "BITS", default_value = "32", value_parser = ["32", "64"])]
    word: String,
}

/// WebAssembly for browsers and Node.js: modules with and without SIMD, and their loader
#[derive(clap::Args)]
struct WasmArgs {
    #[command(flatten)]
    common: Common,
    /// Which modules to write
    #[arg(long, value_enum, default_value_t = Modules::Both)]
    modules: Modules,
    /// Keep every layer's value readable in memory, for pages that show them
    #[arg(long)]
    keep_values: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Modules {
    Both,
    Simd,
    Scalar,
}

/// Verilog-2001 for FPGA and ASIC: modules, a testbench that checks itself, and its vectors
#[derive(clap::Args)]
struct VerilogArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    fpga: FpgaArgs,
    /// Data set whose test images the testbench runs [default: noise]
    #[arg(long, value_name = "SET")]
    data: Option<String>,
    /// Images of the testbench, at most
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    images: u32,
}

#[derive(clap::Args)]
struct Common {
    /// A .bnn file, or a .net file, which is lowered first
    model: PathBuf,
    /// The folder to write to; it is made where it is missing
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Name of the files and of what they define [default: the Program's]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<(), Failure> {
    match &args.target {
        Target::C(args) => {
            let word = match args.word.as_str() {
                "64" => WordBits::W64,
                _ => WordBits::W32,
            };
            let name = args.common.name.clone().unwrap_or_default();
            let options = COptions { name, word };
            write(&args.common, &args.common.program()?, &C { options })
        }
        Target::Wasm(args) => {
            let options = WasmOptions {
                name: args.common.name.clone().unwrap_or_default(),
                lanes: match args.modules {
                    Modules::Both => Lanes::Both,
                    Modules::Simd => Lanes::Simd,
                    Modules::Scalar => Lanes::Scalar,
                },
                values: match args.keep_values {
                    true => Values::Kept,
                    false => Values::Reused,
                },
            };
            write(&args.common, &args.common.program()?, &Wasm { options })
        }
        Target::Verilog(args) => {
            let style = args.fpga.style()?;
            let program = args.common.program()?;
            let module = args
                .common
                .name
                .clone()
                .unwrap_or_else(|| program.name.clone());
            let vectors = args.vectors(&program.input)?;
            let emitter = Verilog {
                module,
                style,
                vectors,
            };
            write(&args.common, &program, &emitter)
        }
    }
}

impl VerilogArgs {
    /// What the testbench runs.
    fn vectors(&self, input: &Type) -> Result<Vec<Tensor>, Failure> {
        let wanted = self.images as usize;
        let examples = match &self.data {
            None => noise(wanted, input),
            Some(name) => {
                let opened = onebit_data::open_with(name, &onebit_data::OpenOptions::default())?;
                opened.notes.iter().for_each(note);
                from_split(&opened.dataset, &opened.dataset.test, input)?
            }
        };
        let n = wanted.min(examples.n);
        Ok((0..n).map(|idx| examples.tensor(idx)).collect())
    }
}

impl Common {
    /// The Program of the model.
    fn program(&self) -> Result<Program, Failure> {
        if self.name.as_deref() == Some("") {
            return misuse(
                "--name is empty; give a word, or leave it out for the Program's own name",
            );
        }
        Ok(modelfile::load(&self.model)?.program)
    }
}

fn write(args: &Common, program: &Program, emitter: &dyn Emitter) -> Result<(), Failure> {
    let emitted = emit(emitter, program)
        .map_err(|error| Failure::Failed(format!("{}: {error}", args.model.display())))?;
    make_folder(&args.output)?;
    let mut paths = Vec::new();
    for file in &emitted.files {
        let path = args.output.join(&file.name);
        write_whole(&path, &file.bytes)?;
        paths.push((path.display().to_string(), file.bytes.len()));
    }
    if args.json {
        let files: Vec<_> = paths
            .iter()
            .map(|(path, n_bytes)| json!({ "path": path, "bytes": n_bytes }))
            .collect();
        // Rows, not keys: two layers may have one name.
        let report: Vec<_> = emitted
            .report
            .iter()
            .map(|(what, figure)| json!({ "name": what, "value": figure }))
            .collect();
        return say_json(&json!({
            "target": emitter.name(),
            "files": files,
            "report": report,
        }));
    }
    let files = paths.iter().map(|(path, _)| ("file", path.as_str()));
    let figures = emitted
        .report
        .iter()
        .map(|(what, figure)| (what.as_str(), figure.as_str()));
    let rows: Vec<(&str, &str)> = files.chain(figures).collect();
    let width = rows.iter().map(|(what, _)| what.len()).max().unwrap_or(0);
    let lines: Vec<String> = rows
        .iter()
        .map(|(what, figure)| format!("{what:width$}  {figure}"))
        .collect();
    say(lines.join("\n"))
}

fn make_folder(path: &Path) -> Result<(), Failure> {
    match fs::create_dir_all(path) {
        Ok(()) => Ok(()),
        Err(error) => failed(format!(
            "{}: cannot make the folder: {error}; {}",
            path.display(),
            io_remedy(&error)
        )),
    }
}

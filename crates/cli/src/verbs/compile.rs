//! `onebit compile`: a Net becomes a Program.

use std::path::PathBuf;

use onebit_compile::{Options, compile};
use onebit_model::bnn;

use crate::error::{Failure, misuse};
use crate::files::write_whole;
use crate::modelfile;
use crate::output::say;
use crate::table::grouped;

/// Lower a trained Net to a bitwise Program
#[derive(clap::Args)]
pub struct Args {
    /// A .net file; with --text also a .bnn file
    model: PathBuf,
    /// The .bnn file to write
    #[arg(short, long, value_name = "FILE", required_unless_present = "text")]
    output: Option<PathBuf>,
    /// Keep flipped thresholds instead of negating weight rows
    #[arg(long)]
    keep_flips: bool,
    /// Remove hidden channels that never change; layers are then narrower than in the Net
    #[arg(long)]
    drop_constant: bool,
    /// Print the Program's text form
    #[arg(long)]
    text: bool,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<(), Failure> {
    let model = modelfile::load(&args.model)?;
    let options = Options {
        direction: !args.keep_flips,
        constant_channels: args.drop_constant,
        ..Options::default()
    };
    let program = match &model.net {
        Some(net) => compile(net, &options)?,
        None if args.text && args.output.is_none() => model.program,
        None => {
            return misuse(format!(
                "{}: is a Program already; compile takes the .net file that training wrote",
                args.model.display()
            ));
        }
    };
    if let Some(path) = &args.output {
        let bytes = bnn::write(&program);
        write_whole(path, &bytes)?;
        if !args.text {
            say(format!(
                "{}: {} ops, {} bytes",
                path.display(),
                program.nodes.len(),
                grouped(bytes.len() as u64)
            ))?;
        }
    }
    if args.text {
        say(onebit_model::text::print(&program).trim_end())?;
    }
    Ok(())
}

//! The knobs of hardware, as the command line has them; `emit verilog` and `inspect --target fpga` share them.

use onebit_emit::verilog::{Folded, Style, Unrolled};

use crate::error::{Failure, misuse};

/// Cycles that an image may take where nothing is said.
const CYCLES: u64 = 1024;
/// Levels of logic between registers where nothing is said.
const LEVELS: u16 = 3;

/// How a network becomes hardware.
#[derive(clap::Args)]
pub struct FpgaArgs {
    /// Style: folded, a machine per layer with weights in ROM; unrolled, all of it logic, an image every cycle [default: folded]
    #[arg(long, value_enum)]
    style: Option<StyleName>,
    /// Folded: cycles that an image may take [default: 1024]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    cycles: Option<u64>,
    /// Unrolled: levels of logic between registers [default: 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    levels: Option<u16>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum StyleName {
    Folded,
    Unrolled,
}

impl FpgaArgs {
    /// The style that is asked for, or why the options do not go together.
    pub fn style(&self) -> Result<Style, Failure> {
        match (
            self.style.unwrap_or(StyleName::Folded),
            self.cycles,
            self.levels,
        ) {
            (StyleName::Folded, _, Some(_)) => {
                misuse("--levels is for --style unrolled; leave it out, or give --cycles")
            }
            (StyleName::Unrolled, Some(_), _) => misuse(
                "--cycles is for --style folded; an unrolled network takes an image every cycle",
            ),
            (StyleName::Folded, cycles, None) => Ok(Style::Folded(Folded {
                cycles: cycles.unwrap_or(CYCLES),
            })),
            (StyleName::Unrolled, None, levels) => Ok(Style::Unrolled(Unrolled {
                levels: levels.unwrap_or(LEVELS).into(),
            })),
        }
    }

    /// Whether any of them was given.
    pub fn is_given(&self) -> bool {
        self.style.is_some() || self.cycles.is_some() || self.levels.is_some()
    }
}

//! Programs as Verilog-2001 for any FPGA or ASIC.
//!
//! A Program whose values are bits, levels and integers comes in; modules, a testbench that checks itself and its
//! vectors go out, in one of two styles. *Folded*: every layer is a small machine with its weights in ROM, joined by
//! streams; the folding follows from a number of cycles per image. *Unrolled*: the whole network is logic, with the
//! weights folded into it, and takes an image every cycle. Reals are refused, but for an answer that a table can give.
//! What the modules compute equals the interpreter's answer bit for bit.

mod estimate;
mod folded;
mod graph;
mod reorder;
mod testbench;
mod text;
mod unrolled;

pub use estimate::{Estimate, LayerEstimate, estimate};

use onebit_model::program::Program;
use onebit_model::{ProgramTypes, Tensor};

use crate::{EmitError, Emitted, Emitter, File};

/// What `onebit emit verilog` makes.
#[derive(Clone, Debug, PartialEq)]
pub struct Verilog {
    /// Name of the top module, and the beginning of every other module's and file's; made legal where it is not, and
    /// the Program's where it is empty.
    pub module: String,
    /// The style and its knobs.
    pub style: Style,
    /// Inputs of the testbench, each a value of the Program's input type; without any, a few are made up.
    pub vectors: Vec<Tensor>,
}

/// How time is traded for area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Layers that take several cycles an image.
    Folded(Folded),
    /// One network of logic that takes an image every cycle.
    Unrolled(Unrolled),
}

/// The knobs of the folded style.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Folded {
    /// Cycles that an image may take; every layer is folded as far as this allows. A layer that cannot be as fast
    /// is unfolded as far as it can be.
    pub cycles: u64,
}

/// The knobs of the unrolled style.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unrolled {
    /// Levels of logic between registers, at least 1.
    pub levels: usize,
}

impl Default for Verilog {
    fn default() -> Self {
        Verilog {
            module: "net".to_string(),
            style: Style::Folded(Folded { cycles: 1024 }),
            vectors: Vec::new(),
        }
    }
}

impl Emitter for Verilog {
    fn name(&self) -> &'static str {
        "verilog"
    }

    fn check(&self, program: &Program, types: &ProgramTypes) -> Result<(), EmitError> {
        graph::check(program, types)?;
        match self.style {
            Style::Folded(_) => Ok(()),
            Style::Unrolled(_) => unrolled::check(&graph::Graph::new(program, types)),
        }
    }

    fn emit(&self, program: &Program, types: &ProgramTypes) -> Result<Emitted, EmitError> {
        let module = text::identifier(match self.module.as_str() {
            "" => &program.name,
            name => name,
        });
        let graph = graph::Graph::new(program, types);
        let mut emitted = match &self.style {
            Style::Folded(options) => folded::emit(&graph, &module, options, &self.vectors),
            Style::Unrolled(options) => unrolled::emit(&graph, &module, options, &self.vectors),
        };
        let lines = emitted.report.iter();
        let text: String = lines
            .map(|(name, figure)| format!("{name}: {figure}\n"))
            .collect();
        emitted.files.push(File {
            name: format!("{module}_report.txt"),
            bytes: text.into_bytes(),
        });
        Ok(emitted)
    }
}

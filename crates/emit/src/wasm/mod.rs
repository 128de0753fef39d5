//! WebAssembly: `NAME.wasm` and `NAME.scalar.wasm`, and `NAME.mjs`, which loads either in browsers and Node.js.
//!
//! A module imports nothing, has one memory of fixed size and runs one image at a time. What a page needs to know of
//! it is in its custom section `onebit`, so that the loader is the same text for all networks.

mod assemble;
mod body;
mod counting;
mod describe;

use onebit_model::ProgramTypes;
use onebit_model::program::Program;

use crate::c::{C, COptions};
use crate::loops::WordBits;
use crate::lower::{self, Values};
use crate::{EmitError, Emitted, Emitter, File};

/// Which modules are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lanes {
    /// `NAME.wasm` with vectors of 128 bits and `NAME.scalar.wasm` without; the loader chooses.
    #[default]
    Both,
    /// `NAME.wasm` with vectors.
    Simd,
    /// `NAME.wasm` without them.
    Scalar,
}

/// What is chosen for all files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WasmOptions {
    /// The files' name; made from the Program's name where it is empty.
    pub name: String,
    /// Which modules are written.
    pub lanes: Lanes,
    /// Whether the values between the layers can be read after a run.
    pub values: Values,
}

/// The emitter `wasm`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wasm {
    /// What is chosen.
    pub options: WasmOptions,
}

/// How the bits in which rows differ are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counting {
    /// 64 at a time.
    Words,
    /// 128 at a time.
    Vectors,
}

const LOADER: &str = include_str!("loader.mjs");

impl Wasm {
    /// The name of the files: that of the C emitter's.
    pub fn file_name(&self, program: &Program) -> String {
        let options = COptions {
            name: self.options.name.clone(),
            word: WordBits::W64,
        };
        C { options }.file_name(program)
    }
}

impl Emitter for Wasm {
    fn name(&self) -> &'static str {
        "wasm"
    }

    /// WebAssembly can express every op of a verified Program.
    fn check(&self, _program: &Program, _types: &ProgramTypes) -> Result<(), EmitError> {
        Ok(())
    }

    /// The files; [`EmitError::Unsupported`] where constants and values need more than 4 GiB.
    fn emit(&self, program: &Program, types: &ProgramTypes) -> Result<Emitted, EmitError> {
        let module = lower::lower_with(program, types, WordBits::W64, self.options.values);
        let layout = assemble::layout(program, types, &module)?;
        let section = describe::describe(program, types, &module, &layout);
        let name = self.file_name(program);
        let plain = format!("{name}.wasm");
        let scalar = format!("{name}.scalar.wasm");
        let variants = match self.options.lanes {
            Lanes::Both => vec![(&plain, Counting::Vectors), (&scalar, Counting::Words)],
            Lanes::Simd => vec![(&plain, Counting::Vectors)],
            Lanes::Scalar => vec![(&plain, Counting::Words)],
        };
        let (simd_file, scalar_file) = match self.options.lanes {
            Lanes::Both => (&plain, &scalar),
            Lanes::Simd | Lanes::Scalar => (&plain, &plain),
        };
        let mut files = Vec::new();
        let mut report = Vec::new();
        for (file, counting) in variants {
            let bytes = assemble::assemble(&module, &layout, counting, &section);
            report.push((file.clone(), format!("{} bytes", bytes.len())));
            files.push(File {
                name: file.clone(),
                bytes,
            });
        }
        let loader = LOADER
            .replace("SIMD_FILE", simd_file)
            .replace("SCALAR_FILE", scalar_file);
        files.push(File {
            name: format!("{name}.mjs"),
            bytes: loader.into_bytes(),
        });
        let memory = format!("{} bytes", layout.n_pages() * assemble::PAGE);
        let constants = format!("{} bytes", module.constant_bytes());
        report.push(("constants".into(), constants));
        report.push(("memory".into(), memory));
        report.push(("layers".into(), program.nodes.len().to_string()));
        report.push(("kernels".into(), module.functions.len().to_string()));
        Ok(Emitted { files, report })
    }
}

//! Model files: a Program (`.bnn`) or a Net (`.net`), told apart by content.
//!
//! In: a path. Out: a [`Model`], whose Program is verified; a Net is lowered on the way. Owns what a model
//! says to people (its class names) and where the Net of a Program is looked for.

use std::path::{Path, PathBuf};

use onebit_compile::Options;
use onebit_model::bnn::{self, BnnError};
use onebit_model::net::Net;
use onebit_model::program::Program;
use onebit_model::text::TextErrorKind;
use onebit_model::{ProgramTypes, net_from_bytes, verify};

use crate::error::{Failure, failed};
use crate::files::read_model_bytes;

/// A model ready to be used.
#[derive(Clone, Debug)]
pub struct Model {
    /// The file.
    pub path: PathBuf,
    /// Bytes of the file.
    pub n_bytes: usize,
    /// What is run.
    pub program: Program,
    /// Its types, as `verify` found them.
    pub types: ProgramTypes,
    /// The Net, when the file holds one.
    pub net: Option<Net>,
}

/// Reads a `.bnn` or `.net` file.
pub fn load(path: &Path) -> Result<Model, Failure> {
    let bytes = read_model_bytes(path)?;
    let broken =
        |error: &dyn std::fmt::Display| Failure::Failed(format!("{}: {error}", path.display()));
    let (program, net) = match bnn::read(&bytes) {
        Ok(program) => (program, None),
        Err(error) if is_net(&error) => {
            let net = net_from_bytes(&bytes).map_err(|error| broken(&error))?;
            let program = onebit_compile::compile(&net, &Options::default())
                .map_err(|error| broken(&error))?;
            (program, Some(net))
        }
        Err(error) => return Err(broken(&error)),
    };
    let types = verify(&program).map_err(|error| broken(&error))?;
    Ok(Model {
        path: path.to_path_buf(),
        n_bytes: bytes.len(),
        program,
        types,
        net,
    })
}

/// Reads a file that must hold a Net.
pub fn load_net(path: &Path) -> Result<Net, Failure> {
    match load(path)?.net {
        Some(net) => Ok(net),
        None => failed(format!(
            "{}: holds a Program, not a Net; name the .net file that training wrote",
            path.display()
        )),
    }
}

/// Whether the reader of Programs has met a Net.
fn is_net(error: &BnnError) -> bool {
    match error {
        BnnError::Text(text) => {
            matches!(&text.kind, TextErrorKind::Document { found, .. } if found.starts_with("onebit net"))
        }
        _ => false,
    }
}

impl Model {
    /// The Net of this model: its own, or the one in the file beside it.
    pub fn net_beside(&self) -> Result<Option<Net>, Failure> {
        if let Some(net) = &self.net {
            return Ok(Some(net.clone()));
        }
        let beside = self.path.with_extension("net");
        if beside.is_file() {
            load_net(&beside).map(Some)
        } else {
            Ok(None)
        }
    }

    /// The name of a class, as the model's notes give it.
    pub fn class_name(&self, class: usize) -> String {
        class_names(&self.program)
            .get(class)
            .cloned()
            .unwrap_or_else(|| class.to_string())
    }

    /// Number of elements of the answer.
    pub fn n_outputs(&self) -> usize {
        self.types.of(self.program.output).n_elements()
    }
}

/// The class names in a Program's notes; empty where there are none.
pub fn class_names(program: &Program) -> Vec<String> {
    let note = program.notes.iter().find(|(key, _)| key == "classes");
    note.map_or(Vec::new(), |(_, text)| {
        text.split(',')
            .map(|name| name.trim().to_string())
            .collect()
    })
}

//! The general way in: tensors in a safetensors file, the topology in TOML.
//!
//! In: a TOML file that names its safetensors file. Out: the Program its layers describe, one after the other.
//! `document` is the notation, `tensors` reads numbers, `weights` makes weight matrices of them, `layers`
//! translates each layer. docs/import.md defines the format for those who write such files.

mod document;
mod layers;
mod numbers;
mod tensors;
mod weights;
mod windows;

use std::path::{Path, PathBuf};

use onebit_model::builder::ProgramBuilder;
use onebit_model::program::{Kind, ValueId};

use crate::Imported;
use crate::error::ImportError;
use crate::source::{Source, title};

/// The most bytes of a topology.
const MAX_TOML_BYTES: u64 = 4 << 20;

/// Imports a topology and its tensors.
pub(crate) fn import(path: &Path) -> Result<Imported, ImportError> {
    let text = tensors::read_file(path, MAX_TOML_BYTES)?;
    let text = String::from_utf8(text).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let reason = "is not UTF-8 text; save the topology as UTF-8";
        ImportError::malformed(path, format!("byte {at}"), reason)
    })?;
    let document = document::parse(path, &text)?;
    let tensors_path = beside(path, &document.weights);
    let bytes = tensors::read_file(&tensors_path, tensors::MAX_BYTES)?;
    let tensors = tensors::Tensors::parse(&tensors_path, &bytes)?;

    let name = document.name.clone().unwrap_or_else(|| title(path));
    let kind = document.input.kind(path)?;
    check_input(path, &document.input.shape, kind)?;
    let mut builder = ProgramBuilder::new(&name, kind, &document.input.shape);
    if !document.classes.is_empty() {
        if let Some(class) = document.classes.iter().find(|class| class.contains(',')) {
            let reason = format!("the name {class:?} holds a comma; leave it out of class names");
            return Err(ImportError::malformed(path, "classes", reason));
        }
        builder.note("classes", &document.classes.join(","));
    }
    let translated = layers::translate(path, &mut builder, &document, &tensors)?;
    let output = output(path, &document, &translated)?;
    let unused = tensors.unused();
    let mut warnings = Vec::new();
    if !unused.is_empty() {
        warnings.push(format!(
            "{}: {} of {} tensors are not used by any layer: {}",
            tensors_path.display(),
            unused.len(),
            tensors.len(),
            unused.join(", ")
        ));
    }
    let program = builder
        .finish(output)
        .map_err(|errors| ImportError::invalid(path, errors))?;
    Ok(Imported {
        program,
        source: Source::Safetensors,
        warnings,
    })
}

/// A layer's name and its value.
type Translated = Vec<(String, ValueId)>;

fn output(
    path: &Path,
    document: &document::Document,
    translated: &Translated,
) -> Result<ValueId, ImportError> {
    let found = match &document.output {
        None => translated.last(),
        Some(wanted) => translated.iter().find(|(name, _)| name == wanted),
    };
    found.map(|(_, id)| *id).ok_or_else(|| {
        let reason = match &document.output {
            Some(wanted) => format!("there is no layer {wanted:?}; name one of the layers"),
            None => "there are no layers; add a [[layer]]".into(),
        };
        ImportError::malformed(path, "output", reason)
    })
}

fn check_input(path: &Path, shape: &[usize], kind: Kind) -> Result<(), ImportError> {
    let n = shape
        .iter()
        .try_fold(1usize, |n, &axis| n.checked_mul(axis));
    let is_sound = (1..=onebit_model::limits::MAX_RANK).contains(&shape.len())
        && n.is_some_and(|n| (1..=onebit_model::limits::MAX_ELEMENTS).contains(&n));
    let bits_are_sound = match kind {
        Kind::Levels(bits) => (1..=8).contains(&bits),
        _ => true,
    };
    if is_sound && bits_are_sound {
        return Ok(());
    }
    let reason = if bits_are_sound {
        format!("shape = {shape:?} is not 1 to 4 sizes, each at least 1, of at most 2^24 elements")
    } else {
        "bits is not from 1 to 8".into()
    };
    Err(ImportError::malformed(path, "input", reason))
}

/// A path that a file names, relative to that file's folder.
fn beside(path: &Path, named: &str) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).join(named)
}

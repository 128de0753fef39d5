//! FINN: the parameter folders of BNN-PYNQ.
//!
//! In: a folder of `LAYER-PE-weights.bin` and `LAYER-PE-thres.bin`, at any depth, or a tar archive of one.
//! Out: the Program of the published network it belongs to. The folders do not say what they are, so the
//! networks are tables (`nets`); `files` finds the bytes, `folds` unfolds them and `build` makes the Program.

mod build;
mod files;
mod folds;
mod nets;

use std::path::Path;

use crate::error::ImportError;
use crate::source::Source;
use crate::{Imported, Options};

/// Imports a parameter folder or an archive of one.
pub(crate) fn import(path: &Path, options: &Options) -> Result<Imported, ImportError> {
    let folder = files::read(path)?;
    let net = nets::recognise(path, &folder)?;
    let mut warnings = Vec::new();
    let n_layers = net.layers.len();
    let n_classes = match &folder.classes {
        Some(names) => {
            let most = net.layers[n_layers - 1].rows;
            if !(1..=most).contains(&names.len()) {
                let reason = format!(
                    "names {} classes; {} has 1 to {most}, one on a line",
                    names.len(),
                    net.name
                );
                return Err(ImportError::malformed(path, "classes.txt", reason));
            }
            names.len()
        }
        None => {
            warnings.push(format!(
                "there is no classes.txt beside the parameters, so the first {} rows of the last layer are taken \
                 as the classes",
                nets::DEFAULT_CLASSES
            ));
            nets::DEFAULT_CLASSES
        }
    };
    let mut layers = Vec::with_capacity(n_layers);
    for layer_idx in 0..n_layers {
        let n_rows = if layer_idx + 1 == n_layers {
            n_classes
        } else {
            net.layers[layer_idx].rows
        };
        layers.push(folds::unfold(path, &folder, net, layer_idx, n_rows)?);
    }
    let classes = folder.classes.as_deref().unwrap_or_default();
    let program = build::build(net, &layers, classes, options.head)
        .map_err(|errors| ImportError::invalid(path, errors))?;
    Ok(Imported {
        program,
        source: Source::Finn,
        warnings,
    })
}

//! ONNX models, with or without the quantisers of QONNX.
//!
//! A `.onnx` file comes in, with its external data beside it; a verified Program goes out. The model becomes a
//! small graph (`graph`), constants are folded (`fold`), ways of writing a binariser that spread over several
//! nodes are put back together (`straight_through`, `zero_fix`), and each remaining node is translated
//! (`lower`, and one file per family of ops). Images are channels last inside the Program; its input and
//! output keep the order of the file.

mod activation;
mod affine;
mod batch_norm;
mod comparison;
mod constant;
mod conv;
mod dense;
mod fold;
mod fold_shape;
mod graph;
mod head;
mod live;
mod lower;
mod pad;
mod pool;
mod product;
mod proto;
mod quant;
mod quant_ops;
mod reshape;
mod sign;
mod steps;
mod straight_through;
mod weights;
mod window;
mod zero_fix;

use std::path::Path;

use prost::Message;

use crate::source::title;
use crate::{ImportError, Imported, Options, Source};

/// Most bytes of a model, the limit of its container.
const MAX_MODEL_BYTES: u64 = (1 << 31) - 1;

/// Imports a file.
pub(crate) fn import(path: &Path, options: &Options) -> Result<Imported, ImportError> {
    let metadata = std::fs::metadata(path).map_err(|error| ImportError::io(path, error))?;
    if metadata.len() > MAX_MODEL_BYTES {
        let reason = format!("it has over {MAX_MODEL_BYTES} bytes, more than ONNX allows");
        return Err(ImportError::malformed(path, "file", reason));
    }
    let bytes = std::fs::read(path).map_err(|error| ImportError::io(path, error))?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    import_model(
        path,
        &bytes,
        Some(folder.unwrap_or(Path::new("."))),
        options,
    )
}

/// Imports an ONNX model from memory, with the default options. Tensors in other files are refused.
pub fn import_onnx_bytes(bytes: &[u8]) -> Result<Imported, ImportError> {
    import_model(Path::new("model.onnx"), bytes, None, &Options::default())
}

fn import_model(
    path: &Path,
    bytes: &[u8],
    folder: Option<&Path>,
    options: &Options,
) -> Result<Imported, ImportError> {
    let model = proto::ModelProto::decode(bytes).map_err(|error| {
        let reason =
            format!("it cannot be decoded as an ONNX model ({error}); download or export it again");
        ImportError::malformed(path, "file", reason)
    })?;
    let mut graph = graph::load(model, folder)
        .map_err(|damage| ImportError::malformed(path, damage.place, damage.reason))?;
    straight_through::rewrite(&mut graph);
    zero_fix::rewrite(&mut graph);
    let lowered = lower::lower(graph, &title(path), options).map_err(|refusal| {
        ImportError::unsupported(path, refusal.node, refusal.op, refusal.reason)
    })?;
    let verified = onebit_model::verify(&lowered.program);
    verified.map_err(|errors| ImportError::invalid(path, errors))?;
    let (program, warnings) = (lowered.program, lowered.warnings);
    Ok(Imported {
        program,
        source: Source::Onnx,
        warnings,
    })
}

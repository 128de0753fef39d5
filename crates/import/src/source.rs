//! What a file is, by its content, and what a Program made from it is called.

use std::path::Path;

use crate::error::ImportError;

/// The kinds of network files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A Larq Compute Engine `.tflite`.
    Lce,
    /// ONNX, with or without QONNX ops.
    Onnx,
    /// A FINN (BNN-PYNQ) parameter folder, or a tar archive of one.
    Finn,
    /// A TOML topology that names a safetensors file.
    Safetensors,
}

impl Source {
    /// Every kind.
    pub const ALL: [Source; 4] = [Source::Lce, Source::Onnx, Source::Finn, Source::Safetensors];

    /// The name that `--from` takes.
    pub fn name(self) -> &'static str {
        match self {
            Source::Lce => "lce",
            Source::Onnx => "onnx",
            Source::Finn => "finn",
            Source::Safetensors => "safetensors",
        }
    }
}

/// Recognises a file or folder.
pub(crate) fn recognise(path: &Path) -> Result<Source, ImportError> {
    let metadata = std::fs::metadata(path).map_err(|error| ImportError::io(path, error))?;
    if metadata.is_dir() {
        return Ok(Source::Finn);
    }
    let mut head = [0; 64];
    let n = {
        use std::io::Read;
        let mut file = std::fs::File::open(path).map_err(|error| ImportError::io(path, error))?;
        file.read(&mut head)
            .map_err(|error| ImportError::io(path, error))?
    };
    let head = &head[..n];
    let extension = path.extension().and_then(|extension| extension.to_str());
    match head {
        [_, _, _, _, b'T', b'F', b'L', b'3', ..] => Ok(Source::Lce),
        [0x1f, 0x8b, ..] => Ok(Source::Finn),
        // A ModelProto begins with its ir_version, field 1, a varint.
        [0x08, ..] => Ok(Source::Onnx),
        _ if extension == Some("onnx") => Ok(Source::Onnx),
        _ if extension == Some("tar") => Ok(Source::Finn),
        _ if extension == Some("toml") => Ok(Source::Safetensors),
        _ => Err(ImportError::Unknown { path: path.into() }),
    }
}

/// The name of a Program made from a file that gives none.
pub(crate) fn title(path: &Path) -> String {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy());
    let stem = stem.as_deref().unwrap_or("network");
    let title: String = stem.chars().filter(|c| !c.is_control()).take(60).collect();
    if title.is_empty() {
        "network".into()
    } else {
        title
    }
}

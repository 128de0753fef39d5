//! Topologies and tensors, written to a folder and imported from it.
#![allow(dead_code, reason = "each test file uses its own part of this module")]

use std::fs;
use std::path::PathBuf;

use onebit_import::{ImportError, Imported, Options, import};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, serialize};
use tempfile::TempDir;

pub const REAL_3: &str = "kind = \"real\"\nshape = [3]";

/// A tensor to write: name, shape, values as F32.
pub type Given<'a> = (&'a str, &'a [usize], Vec<f32>);

/// A folder with `net.toml` and `net.safetensors`.
pub struct Files {
    _folder: TempDir,
    pub toml: PathBuf,
    pub tensors: PathBuf,
}

pub fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

pub fn write(toml: &str, tensors: &[(&str, Dtype, &[usize], Vec<u8>)]) -> Files {
    let folder = TempDir::new().unwrap();
    let named = tensors.iter().map(|(name, dtype, shape, data)| {
        let view = TensorView::new(*dtype, shape.to_vec(), data).unwrap();
        (*name, view)
    });
    let files = Files {
        toml: folder.path().join("net.toml"),
        tensors: folder.path().join("net.safetensors"),
        _folder: folder,
    };
    fs::write(&files.tensors, serialize(named, None).unwrap()).unwrap();
    fs::write(&files.toml, toml).unwrap();
    files
}

pub fn write_f32(toml: &str, tensors: &[Given]) -> Files {
    let tensors: Vec<_> = tensors
        .iter()
        .map(|(name, shape, values)| (*name, Dtype::F32, *shape, f32_bytes(values)))
        .collect();
    write(toml, &tensors)
}

pub fn import_files(files: &Files) -> Result<Imported, ImportError> {
    import(&files.toml, &Options::default())
}

/// A topology with an input of this type and these layers.
pub fn with_input(input: &str, layers: &str) -> String {
    format!("name = \"net\"\nweights = \"net.safetensors\"\n[input]\n{input}\n{layers}")
}

/// Asserts that an import fails with each of the `words`.
#[track_caller]
pub fn assert_error(files: &Files, words: &[&str]) {
    let error = import_files(files).unwrap_err().to_string();
    for word in words {
        assert!(error.contains(word), "`{word}` is not in: {error}");
    }
}

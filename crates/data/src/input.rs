//! One file of inputs for `onebit run`.
//!
//! In: a path. Out: an [`Array`] whose first axis is the batch. Owns recognising the kind of a file by its
//! content. Leaves every format to its reader, and whether a network takes the array to the caller.

use std::path::Path;

use crate::array::{Array, ArrayData};
use crate::error::{DataError, Place, Source};
use crate::files;
use crate::npz::Npz;
use crate::{gz, idx, npy, png};

/// Reads .npy, .npz, idx (plain or .gz) or PNG, recognised by content; the first axis is the batch.
///
/// A PNG gives `[1, h, w, c]`. An archive must hold one array, or one named `x`.
pub fn read_input(path: &Path) -> Result<Array, DataError> {
    parse_input(path, &files::read_file(path)?)
}

/// [`read_input`] for bytes in memory; `file` only names them in errors.
pub fn parse_input(file: &Path, bytes: &[u8]) -> Result<Array, DataError> {
    if bytes.starts_with(npy::MAGIC) {
        return with_batch(file, npy::parse_npy(file, bytes)?);
    }
    if bytes.starts_with(b"PK") {
        return with_batch(file, parse_npz(file, bytes)?);
    }
    if bytes.starts_with(png::MAGIC) {
        let mut image = png::parse_png(file, bytes)?;
        image.shape.insert(0, 1);
        return Ok(image);
    }
    if gz::is_gz(bytes) || idx::is_idx(bytes) {
        let idx = idx::parse(file, bytes)?;
        return Ok(Array {
            shape: idx.shape,
            data: ArrayData::U8(idx.values),
        });
    }
    let problem = match bytes {
        [] => "the file is empty",
        _ => "the content is none of .npy, .npz, idx, idx.gz and PNG",
    };
    Err(DataError::unsupported(
        file,
        Place::Byte(0),
        problem,
        "save the inputs with numpy.save",
    ))
}

fn with_batch(file: &Path, array: Array) -> Result<Array, DataError> {
    if array.shape.is_empty() {
        let problem = "the array is a single value without axes";
        return Err(DataError::unsupported(
            file,
            Place::Whole,
            problem,
            "save x[None], the first axis is the batch",
        ));
    }
    Ok(array)
}

fn parse_npz(file: &Path, bytes: &[u8]) -> Result<Array, DataError> {
    let mut npz = Npz::open(file, bytes)?;
    let name = match npz.names() {
        [only] => only.clone(),
        names if names.iter().any(|name| name == "x") => "x".into(),
        names => {
            let problem = format!(
                "the archive holds {} arrays and none is named `x`",
                names.len()
            );
            let remedy = "save the inputs as the only array, or under the name `x`";
            return Err(Source::plain(file).unsupported(0, problem, remedy));
        }
    };
    match npz.read(&name)? {
        Some(parsed) => Ok(parsed.array),
        None => {
            Err(npz
                .source(&name)
                .malformed(0, "the member is gone", "write the archive again"))
        }
    }
}

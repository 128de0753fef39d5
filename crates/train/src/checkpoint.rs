//! Checkpoints: everything a stopped run needs to go on as if it had not stopped.
//!
//! One safetensors file: the tensors of the network and Adam's moments as F32, the run's position and
//! history as JSON in the metadata. Written beside, then renamed, so the last good one survives any stop.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use crate::network::Network;
use crate::optim::Param;
use crate::outcome::EpochRecord;

/// The header's key of the position.
const POSITION: &str = "onebit.position";
/// The header's key of the CRC-32 of all tensors, in the order of the network.
const CRC: &str = "onebit.crc32";

/// Where a run is, and how it got there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// The recipe as TOML; a resumed run may only change what is still to come.
    pub recipe: String,
    /// A checksum of the data that the run began with; 0 in files that have none.
    #[serde(default)]
    pub data: u32,
    /// What was changed in the recipe on resuming, as sentences.
    #[serde(default)]
    pub changes: Vec<String>,
    /// Index of the present phase: a stage, or the number of stages for the twin.
    pub phase: usize,
    /// Epochs finished in this phase.
    pub epoch: usize,
    /// Optimizer steps taken in this phase.
    pub step: u32,
    /// Best validation accuracy of the last stage so far, and its epoch.
    pub best: Option<(f64, usize)>,
    /// Everything logged so far.
    pub history: Vec<EpochRecord>,
}

/// Why a checkpoint could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file system said no.
    #[error("{}: {source}; {}", path.display(), onebit_data::io_remedy(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// The file is not a whole checkpoint of this recipe.
    #[error("{}: {problem}; start afresh without --resume", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// Writes a file whole or not at all, as [`onebit_data::write_whole`] does.
///
/// # Errors
/// [`CheckpointError::Io`]; `path` is then as it was before.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), CheckpointError> {
    onebit_data::write_whole(path, bytes).map_err(|source| CheckpointError::Io {
        path: path.to_path_buf(),
        source,
    })
}

/// Saves a network and its position.
///
/// # Errors
/// [`CheckpointError::Io`].
pub fn save(
    path: &Path,
    network: &mut Network,
    position: &Position,
) -> Result<(), CheckpointError> {
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    visit(network, |name, data, dims| {
        tensors.push((
            name,
            dims,
            data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        ));
        Ok(())
    })
    .expect("saving visits without errors");
    let views = tensors.iter().map(|(name, dims, bytes)| {
        let view = TensorView::new(Dtype::F32, dims.clone(), bytes)
            .expect("the shape is the buffer's own");
        (name.as_str(), view)
    });
    let json = serde_json::to_string(position).expect("a position is plain data");
    let mut hasher = crc32fast::Hasher::new();
    tensors
        .iter()
        .for_each(|(_, _, bytes)| hasher.update(bytes));
    let metadata = HashMap::from([
        (POSITION.to_string(), json),
        (CRC.to_string(), hasher.finalize().to_string()),
    ]);
    let bytes = safetensors::serialize(views, Some(metadata)).expect("names are unique");
    write_whole(path, &bytes)
}

/// Reads only the position.
///
/// # Errors
/// [`CheckpointError`] when the file is missing or broken.
pub fn position(path: &Path) -> Result<Position, CheckpointError> {
    let bytes = read(path)?;
    parse_position(path, &bytes)
}

fn read(path: &Path) -> Result<Vec<u8>, CheckpointError> {
    fs::read(path).map_err(|source| CheckpointError::Io {
        path: path.to_path_buf(),
        source,
    })
}

fn broken(path: &Path, problem: impl Into<String>) -> CheckpointError {
    CheckpointError::Broken {
        path: path.to_path_buf(),
        problem: problem.into(),
    }
}

fn parse_position(path: &Path, bytes: &[u8]) -> Result<Position, CheckpointError> {
    let (_, metadata) =
        SafeTensors::read_metadata(bytes).map_err(|e| broken(path, e.to_string()))?;
    let json = entry(&metadata, POSITION).ok_or_else(|| {
        broken(
            path,
            "has no position in its header, so it is no checkpoint of onebit",
        )
    })?;
    serde_json::from_str(json)
        .map_err(|e| broken(path, format!("its position cannot be read: {e}")))
}

/// A text of the header.
fn entry<'a>(metadata: &'a Metadata, key: &str) -> Option<&'a String> {
    metadata.metadata().as_ref().and_then(|m| m.get(key))
}

/// Fills a network of the same shape from a checkpoint.
///
/// # Errors
/// [`CheckpointError`]; the network may then be partly filled.
pub fn restore(path: &Path, network: &mut Network) -> Result<(), CheckpointError> {
    let bytes = read(path)?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| broken(path, e.to_string()))?;
    let mut hasher = crc32fast::Hasher::new();
    visit(network, |name, data, dims| {
        let view = file
            .tensor(&name)
            .map_err(|_| broken(path, format!("tensor `{name}` is missing")))?;
        if view.dtype() != Dtype::F32 || view.shape() != dims {
            return Err(broken(
                path,
                format!(
                    "tensor `{name}` is {:?} {:?}, not F32 {dims:?}",
                    view.dtype(),
                    view.shape()
                ),
            ));
        }
        hasher.update(view.data());
        for (value, bytes) in data.iter_mut().zip(view.data().chunks_exact(4)) {
            *value = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        Ok(())
    })?;
    let (_, metadata) =
        SafeTensors::read_metadata(&bytes).map_err(|e| broken(path, e.to_string()))?;
    // Files of earlier versions have none.
    if entry(&metadata, CRC).is_some_and(|crc| *crc != hasher.finalize().to_string()) {
        return Err(broken(
            path,
            "is damaged: its tensors do not have their checksum",
        ));
    }
    network.refresh(0);
    Ok(())
}

/// Calls `f(name, values, shape)` for every tensor of a network, always in the same order.
fn visit(
    network: &mut Network,
    mut f: impl FnMut(String, &mut [f32], Vec<usize>) -> Result<(), CheckpointError>,
) -> Result<(), CheckpointError> {
    let names: Vec<String> = network.graph.nodes.iter().map(|n| n.name.clone()).collect();
    for (node, name) in network.nodes.iter_mut().zip(names) {
        for (role, param) in &mut node.params {
            visit_param(&format!("{name}.{}", role.name()), param, &mut f)?;
        }
        if let Some(stats) = &mut node.stats {
            let n = stats.mean.len();
            f(format!("{name}.mean"), &mut stats.mean, vec![n])?;
            f(format!("{name}.var"), &mut stats.var, vec![n])?;
        }
    }
    Ok(())
}

fn visit_param(
    name: &str,
    param: &mut Param,
    f: &mut impl FnMut(String, &mut [f32], Vec<usize>) -> Result<(), CheckpointError>,
) -> Result<(), CheckpointError> {
    let (rows, cols) = param.dims();
    f(
        format!("{name}.latent"),
        &mut param.latent,
        vec![rows, cols],
    )?;
    f(
        format!("{name}.moment1"),
        &mut param.moment1,
        vec![rows, cols],
    )?;
    f(
        format!("{name}.moment2"),
        &mut param.moment2,
        vec![rows, cols],
    )
}

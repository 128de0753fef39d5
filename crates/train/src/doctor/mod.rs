//! What goes on inside a training run: weights that no longer move, channels that never change, blocked
//! gradients, the course of the curves; and what to change in the recipe about it.
//!
//! In: a run folder and its data set, read only. Out: a [`Diagnosis`]. Costs of the lowered network are the
//! command line's, and so is every table.

use std::path::{Path, PathBuf};

use onebit_data::{Dataset, Split, split_validation};
use serde::Serialize;

use crate::checkpoint::{self, CheckpointError, Position};
use crate::encode::{Augment, Feeder, fit_encoder};
use crate::fit::{LAST_CHECKPOINT, STAGES_CHECKPOINT, network_graph, target};
use crate::mode::Mode;
use crate::network::Network;
use crate::outcome::EpochRecord;
use crate::recipe::{Recipe, Stage, StageKind};

pub mod activations;
pub mod advice;
pub mod curve;
#[cfg(test)]
mod tests;
pub mod weights;

pub use activations::{ActivationFacts, activation_facts};
pub use advice::{Finding, Problem, findings};
pub use curve::{CurveFacts, curve_facts};
pub use weights::{WeightFacts, weight_facts};

/// Examples evaluated at a time: every watched value of a batch is kept.
const BATCH: usize = 32;

/// A run folder whose checkpoint can be read.
#[derive(Clone, Debug)]
pub struct RunFolder {
    /// The checkpoint that holds the network.
    pub checkpoint: PathBuf,
    /// The recipe it was trained by.
    pub recipe: Recipe,
    /// Where the run is; within the stages, never in the twin.
    pub position: Position,
}

/// Where in its stages a run is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Place {
    /// Index of the stage.
    pub stage: usize,
    /// Number of stages.
    pub stages: usize,
    /// Its kind.
    pub kind: StageKind,
    /// Epochs done.
    pub epoch: usize,
    /// Epochs of the stage.
    pub epochs: usize,
}

impl Place {
    /// Whether the stage has come to its end.
    pub fn is_finished(&self) -> bool {
        self.epoch >= self.epochs
    }
}

/// What was found in a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Diagnosis {
    /// Name of the network.
    pub name: String,
    /// The data set looked at.
    pub data: String,
    /// Training examples looked at.
    pub examples: usize,
    /// Where the run is.
    pub place: Place,
    /// Layers with binary weights, first to last.
    pub weights: Vec<WeightFacts>,
    /// Quantisers of activations, first to last.
    pub activations: Vec<ActivationFacts>,
    /// The log of the stage; `None` before its first epoch.
    pub curve: Option<CurveFacts>,
    /// What deserves attention, and what to do.
    pub findings: Vec<Finding>,
}

/// Why there is no diagnosis.
#[derive(Debug, thiserror::Error)]
pub enum DoctorError {
    /// A file could not be read.
    #[error("{}: cannot read: {source}; name the folder of a run of `onebit train` that has finished an epoch", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: std::io::Error,
    },
    /// A file is damaged, or not what its name says.
    #[error("{}: {problem}; train again with `onebit train --overwrite`", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The run's data set is another one.
    #[error("{}: does not fit data set `{data}`: {problem}; name the data set it was trained on with --data", path.display())]
    Mismatch {
        /// The checkpoint.
        path: PathBuf,
        /// The data set.
        data: String,
        /// What does not fit.
        problem: String,
    },
}

/// Reads where a run is and by which recipe. Of a run that trains its float twin, or has, the last stage counts.
///
/// # Errors
/// [`DoctorError`], naming the file.
pub fn open(dir: &Path) -> Result<RunFolder, DoctorError> {
    let last = dir.join(LAST_CHECKPOINT);
    let mut folder = read(&last)?;
    if folder.position.phase < folder.recipe.stages.len() {
        return Ok(folder);
    }
    let kept = dir.join(STAGES_CHECKPOINT);
    if !kept.exists() {
        let problem = format!(
            "holds the float twin, and {STAGES_CHECKPOINT}, which keeps the network trained before it, is missing"
        );
        return Err(DoctorError::Broken {
            path: last,
            problem,
        });
    }
    folder = read(&kept)?;
    if folder.position.phase >= folder.recipe.stages.len() {
        let problem = "holds the float twin".into();
        return Err(DoctorError::Broken {
            path: kept,
            problem,
        });
    }
    Ok(folder)
}

fn read(path: &Path) -> Result<RunFolder, DoctorError> {
    let broken = |problem: String| DoctorError::Broken {
        path: path.to_path_buf(),
        problem,
    };
    let position = checkpoint::position(path).map_err(|error| match error {
        CheckpointError::Io { path, source } => DoctorError::Read { path, source },
        CheckpointError::Broken { path, problem } => DoctorError::Broken { path, problem },
    })?;
    let recipe = Recipe::parse(&position.recipe).map_err(|error| broken(error.to_string()))?;
    Ok(RunFolder {
        checkpoint: path.to_path_buf(),
        recipe,
        position,
    })
}

/// Looks into a run, with `n_examples` of its training examples spread over the whole training set.
///
/// # Errors
/// [`DoctorError`], naming the checkpoint.
pub fn examine(
    run: &RunFolder,
    data: &Dataset,
    n_examples: usize,
) -> Result<Diagnosis, DoctorError> {
    let RunFolder {
        recipe, position, ..
    } = run;
    let stage = &recipe.stages[position.phase];
    let place = Place {
        stage: position.phase,
        stages: recipe.stages.len(),
        kind: stage.kind,
        epoch: position.epoch,
        epochs: stage.epochs,
    };
    let (network, feeder) = rebuild(run, data, stage)?;
    let history: Vec<&EpochRecord> = position
        .history
        .iter()
        .filter(|record| record.phase == position.phase)
        .collect();
    let (train, _) = split_validation(&data.train, recipe.validation, recipe.seed);
    let examples = spread(train.len(), n_examples);
    let batches = examples
        .chunks(BATCH)
        .map(|chunk| feeder.batch(&train, chunk, target(stage.kind), Augment::NONE));
    let last = recipe.stages.last().map_or(network.mode, Mode::of);
    let weights = weight_facts(&network, stage, &last, &history);
    let activations = activation_facts(&network, progress(&place), batches);
    let curve = curve_facts(&history, recipe.validation > 0);
    let findings = findings(recipe, &place, &weights, &activations, curve.as_ref());
    Ok(Diagnosis {
        name: recipe.name.clone(),
        data: data.name.clone(),
        examples: examples.len(),
        place,
        weights,
        activations,
        curve,
        findings,
    })
}

/// The network of a run with its weights, as the stage's evaluation uses them.
fn rebuild(
    run: &RunFolder,
    data: &Dataset,
    stage: &Stage,
) -> Result<(Network, Feeder), DoctorError> {
    let RunFolder {
        checkpoint: path,
        recipe,
        position,
    } = run;
    let mismatch = |problem: String| DoctorError::Mismatch {
        path: path.clone(),
        data: data.name.clone(),
        problem,
    };
    let encoder = fit_encoder(&recipe.input, data).map_err(mismatch)?;
    check_size(recipe, &data.train).map_err(mismatch)?;
    let feeder = Feeder::new(encoder, &recipe.input, &data.shape);
    let graph = network_graph(recipe, data, &feeder, stage.kind)
        .map_err(|error| mismatch(error.to_string()))?;
    let mut network = Network::new(graph, Mode::of(stage), recipe.seed);
    checkpoint::restore(path, &mut network).map_err(|error| match error {
        CheckpointError::Io { path, source } => DoctorError::Read { path, source },
        CheckpointError::Broken { problem, .. } => mismatch(problem),
    })?;
    network.set_progress(position.epoch as f32 / stage.epochs as f32);
    network.settle();
    Ok((network, feeder))
}

fn check_size(recipe: &Recipe, train: &Split) -> Result<(), String> {
    match recipe.validation < train.len() {
        true => Ok(()),
        false => Err(format!(
            "the recipe holds out {} of its {} training examples",
            recipe.validation,
            train.len()
        )),
    }
}

fn progress(place: &Place) -> f32 {
    place.epoch as f32 / place.epochs as f32
}

/// At most `n` of `of` indices, in equal steps.
fn spread(of: usize, n: usize) -> Vec<usize> {
    let n = n.min(of);
    (0..n).map(|i| i * of / n).collect()
}

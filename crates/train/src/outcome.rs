//! What a run tells while it goes on, and what it ends with: log lines, events, reports and errors.
//!
//! Owned by `fit`, read by whoever draws progress, cards and plots.

use std::path::PathBuf;

use onebit_model::net::Net;
use serde::{Deserialize, Serialize};

use crate::checkpoint::CheckpointError;
use crate::device::DeviceError;
use crate::recipe::{RecipeError, StageKind};

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// What was binary.
    pub kind: StageKind,
    /// Index of the stage; the number of stages for the twin.
    pub phase: usize,
    /// Epoch within the phase, from 1.
    pub epoch: usize,
    /// Learning rate at the epoch's end.
    pub lr: f32,
    /// Mean training loss.
    pub loss: f64,
    /// Accuracy on the training batches as they were trained on.
    pub train_accuracy: f64,
    /// Accuracy on the held-out validation examples.
    pub val_accuracy: f64,
    /// Share of binary weights that changed sign, per step.
    pub flip_ratio: f64,
    /// Share of latent weights at the clip (or beyond 1 where there is none).
    pub starved: f64,
    /// Seconds of training, without validation.
    pub seconds: f64,
    /// The flip ratio of each layer whose weights are binary in this stage, in the order of the layers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flips: Vec<(String, f64)>,
}

/// What an observer is told.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// A phase begins.
    Phase {
        /// What kind.
        kind: StageKind,
        /// Its index.
        phase: usize,
        /// Its epochs.
        epochs: usize,
        /// Steps in each epoch.
        steps: usize,
    },
    /// A step is done.
    Step {
        /// Epoch within the phase, from 1.
        epoch: usize,
        /// Step within the epoch, from 1.
        step: usize,
        /// Its loss.
        loss: f32,
    },
    /// An epoch is done and checkpointed.
    Epoch(&'a EpochRecord),
    /// Something about the recipe that is allowed and worth knowing.
    Note(&'a str),
    /// Training is over and checkpointed; what follows reads the test split.
    Testing,
}

/// Results on the full test split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TestReport {
    /// Right answers.
    pub correct: usize,
    /// Examples.
    pub total: usize,
    /// `confusion[label][answer]`.
    pub confusion: Vec<Vec<usize>>,
}

impl TestReport {
    /// Share of right answers.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.total.max(1) as f64
    }
}

/// A finished run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The best epoch's Net.
    pub net: Net,
    /// Validation accuracy and epoch of the best epoch; `None` without a validation split.
    pub best: Option<(f64, usize)>,
    /// The Net on the test split.
    pub test: TestReport,
    /// The float twin on the test split.
    pub twin: Option<TestReport>,
    /// Every epoch of every phase.
    pub history: Vec<EpochRecord>,
    /// What was changed in the recipe when the run was resumed, as sentences.
    pub changes: Vec<String>,
}

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    /// The recipe is wrong in itself.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The recipe does not fit the data.
    #[error("recipe and data set `{data}` do not fit: {problem}")]
    Mismatch {
        /// The data set.
        data: String,
        /// What does not fit, and what would.
        problem: String,
    },
    /// A file could not be written or read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The loss was not a number any more, or the weights no longer make a Net.
    #[error(
        "{problem} in epoch {epoch}, step {step}; {}",
        way_on(checkpoint, "lower `lr` and go on with --resume", "lower `lr`")
    )]
    Diverged {
        /// What was found.
        problem: String,
        /// Epoch within the phase.
        epoch: usize,
        /// Step within the epoch.
        step: usize,
        /// Where to resume from, if there is a checkpoint.
        checkpoint: Option<PathBuf>,
    },
    /// The caller asked to stop.
    #[error(
        "stopped in epoch {epoch}; {}",
        way_on(checkpoint, "go on with --resume", "start again")
    )]
    Stopped {
        /// Epoch within the phase.
        epoch: usize,
        /// Where to resume from, if there is a checkpoint.
        checkpoint: Option<PathBuf>,
    },
    /// The device is not there.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The thread pool could not be made.
    #[error("cannot start training threads: {0}")]
    Threads(String),
}

/// The last good checkpoint and what to do with it, or without one.
fn way_on(checkpoint: &Option<PathBuf>, with: &str, without: &str) -> String {
    match checkpoint {
        Some(path) => format!("the last good checkpoint is {}; {with}", path.display()),
        None => format!("there is no checkpoint yet; {without}"),
    }
}

/// Counts answers against labels.
pub fn tally(answers: &[usize], labels: &[u16], n_classes: usize) -> TestReport {
    let mut confusion = vec![vec![0; n_classes]; n_classes];
    for (&answer, &label) in answers.iter().zip(labels) {
        confusion[usize::from(label)][answer] += 1;
    }
    let correct = (0..n_classes).map(|c| confusion[c][c]).sum();
    TestReport {
        correct,
        total: labels.len(),
        confusion,
    }
}

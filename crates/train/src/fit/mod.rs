//! The training loop: phases (stages, then the float twin), epochs, checkpoints, the best epoch, the log.
//!
//! In: a recipe, a data set, a run folder. Out: an [`Outcome`], and in the folder `recipe.toml`, `log.jsonl`,
//! `last.ckpt` (with a twin also `stages.ckpt`, the last stage's), `best.net` and `result.json`. The validation
//! split, held out of the training set, picks the epoch; the test set is only read once everything is trained.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use onebit_data::{Dataset, Features, Split};
use onebit_model::evaluate::Evaluator;
use onebit_model::net::Net;
use onebit_model::tensor::Tensor;
use rayon::prelude::*;

use crate::checkpoint::{self, CheckpointError, Position, write_whole};
use crate::device::{Device, DeviceName};
use crate::encode::{Augment, Feeder, Target};
use crate::export::export;
use crate::graph::Graph;
use crate::loss::predictions;
use crate::mode::Mode;
use crate::network::Network;
use crate::ops::values;
pub use crate::outcome::{EpochRecord, Event, FitError, Outcome, TestReport, tally};
use crate::recipe::{Recipe, RecipeError, Stage, StageKind};
use crate::simd::hash32;
use distill::Teacher;
pub use topology::{network_graph, target};

/// Examples evaluated at a time.
const EVAL_BATCH: usize = 512;
/// The checkpoint of the newest epoch.
pub(crate) const LAST_CHECKPOINT: &str = "last.ckpt";
/// The last stage's checkpoint in a folder whose newest is the twin's.
pub(crate) const STAGES_CHECKPOINT: &str = "stages.ckpt";
/// The Net of the best epoch.
const BEST_NET: &str = "best.net";
/// An object per epoch.
const LOG: &str = "log.jsonl";
/// What a finished run found.
const RESULT: &str = "result.json";

/// Where and how to run.
#[derive(Clone, Debug)]
pub struct FitOptions {
    /// Folder of this run; made if it is not there.
    pub run_dir: PathBuf,
    /// Go on from the folder's last checkpoint.
    pub resume: bool,
    /// Threads; 0 is all cores.
    pub threads: usize,
    /// Where forward and backward passes of training are computed; everything else is the processor's.
    pub device: DeviceName,
}

/// Trains a recipe. `stop` is looked at after every step; `observer` is told what happens.
///
/// A process that trains and does little else calls `onebit_bits::memory::keep_freed` first: with glibc a step of a
/// convolutional network then takes 55 to 70 % of its time on two cores (BENCHMARKS.md).
///
/// # Errors
/// [`FitError`]; whatever happens, the run folder's last checkpoint is whole.
pub fn fit(
    recipe: &Recipe,
    data: &Dataset,
    options: &FitOptions,
    stop: &AtomicBool,
    observer: &mut (dyn FnMut(Event<'_>) + Send),
) -> Result<Outcome, FitError> {
    recipe.check()?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(options.threads)
        .build()
        .map_err(|e| FitError::Threads(e.to_string()))?;
    pool.install(|| Run::open(recipe, data, options)?.train(stop, observer))
}

mod begin;
#[cfg(test)]
mod device_tests;
mod distill;
mod epoch;
mod resume;
mod topology;
mod update;

/// A run in progress.
struct Run<'a> {
    recipe: &'a Recipe,
    data: &'a Dataset,
    dir: PathBuf,
    train: Split,
    validation: Split,
    feeder: Feeder,
    position: Position,
    resumed: bool,
    resumes: bool,
    device: Device,
}

impl<'a> Run<'a> {
    fn checkpoint_path(&self) -> PathBuf {
        self.dir.join(LAST_CHECKPOINT)
    }

    fn train(
        mut self,
        stop: &AtomicBool,
        observer: &mut (dyn FnMut(Event<'_>) + Send),
    ) -> Result<Outcome, FitError> {
        let stages: Vec<Stage> = self.recipe.stages.clone();
        let notes = self.fits()?;
        let teacher_recipe = self.teacher_recipe();
        let teacher_run = match &teacher_recipe {
            Some(recipe) => Some(self.open_teacher(recipe)?),
            None => None,
        };
        self.begin()?;
        notes.iter().for_each(|text| observer(Event::Note(text)));
        let teacher = match teacher_run {
            Some(run) => Some(run.train(&self.graph(StageKind::Bitwise)?, stop, observer)?),
            None => None,
        };
        let mut network = None;
        while self.position.phase < stages.len() {
            let stage = &stages[self.position.phase];
            let mut net = self.enter(stage, network.take())?;
            self.restore_once(&mut net)?;
            self.run_phase(&mut net, stage, teacher.as_ref(), stop, observer)?;
            if self.position.phase + 1 == stages.len() && self.validation.is_empty() {
                // Without examples to judge by, the last epoch counts; a resumed stage may have none left to run.
                self.save_best(&self.lowered(&net)?)?;
            }
            network = Some(net);
            self.next_phase();
        }
        drop(network);
        let mut twin_report = None;
        if let Some(twin) = &self.recipe.twin {
            self.keep_stages()?;
            let mut net = self.enter(twin, None)?;
            self.restore_once(&mut net)?;
            self.run_phase(&mut net, twin, None, stop, observer)?;
            observer(Event::Testing);
            twin_report = Some(self.test(&net, Target::Real));
        }
        observer(Event::Testing);
        self.finish(twin_report)
    }

    /// Keeps the last stage's checkpoint beside the twin's, for whoever looks into the trained network.
    fn keep_stages(&self) -> Result<(), FitError> {
        if self.position.epoch > 0 {
            // The newest checkpoint is the twin's already.
            return Ok(());
        }
        let path = self.checkpoint_path();
        let bytes = std::fs::read(&path).map_err(|source| CheckpointError::Io { path, source })?;
        Ok(write_whole(&self.dir.join(STAGES_CHECKPOINT), &bytes)?)
    }

    fn next_phase(&mut self) {
        self.position.phase += 1;
        self.position.epoch = 0;
        self.position.step = 0;
    }

    /// The network at the start of a stage.
    fn enter(&self, stage: &Stage, before: Option<Network>) -> Result<Network, FitError> {
        let mode = Mode::of(stage);
        match before {
            Some(mut network) => {
                network.enter(mode);
                Ok(network)
            }
            None => {
                let graph = self.graph(stage.kind)?;
                let mut network = Network::new(graph, mode, self.recipe.seed);
                network.device = self.device.clone();
                Ok(network)
            }
        }
    }

    fn graph(&self, kind: StageKind) -> Result<Graph, RecipeError> {
        network_graph(self.recipe, self.data, &self.feeder, kind)
    }

    fn restore_once(&mut self, network: &mut Network) -> Result<(), FitError> {
        if std::mem::take(&mut self.resumed) {
            checkpoint::restore(&self.checkpoint_path(), network)?;
        }
        Ok(())
    }

    fn run_phase(
        &mut self,
        network: &mut Network,
        stage: &Stage,
        teacher: Option<&Teacher>,
        stop: &AtomicBool,
        observer: &mut (dyn FnMut(Event<'_>) + Send),
    ) -> Result<(), FitError> {
        let (_, steps) = self.batches(stage);
        let phase = self.position.phase;
        observer(Event::Phase {
            kind: stage.kind,
            phase,
            epochs: stage.epochs,
            steps,
        });
        // A finished stage that is resumed has the weights that it ended with.
        network.set_progress(self.position.epoch as f32 / stage.epochs as f32);
        while self.position.epoch < stage.epochs {
            let mut record = self.run_epoch(network, stage, teacher, stop, observer)?;
            self.position.epoch += 1;
            network.set_progress(self.position.epoch as f32 / stage.epochs as f32);
            network.settle();
            self.recalibrate(network, stage);
            record.val_accuracy = self.validate(network, target(stage.kind));
            // A teacher is a stage of its own and has no bits to export.
            let last_stage =
                phase + 1 == self.recipe.stages.len() && stage.kind == StageKind::Bitwise;
            if last_stage {
                let net = self.lowered(network)?;
                if !self.validation.is_empty() {
                    self.keep_best(&net, record.val_accuracy)?;
                }
            }
            self.position.history.push(record);
            checkpoint::save(&self.checkpoint_path(), network, &self.position)?;
            self.write_log()?;
            observer(Event::Epoch(
                self.position.history.last().expect("just pushed"),
            ));
        }
        Ok(())
    }

    /// Examples in a batch of a stage, and batches in its epochs.
    fn batches(&self, stage: &Stage) -> (usize, usize) {
        let batch = stage.batch.min(self.train.len());
        (batch, self.train.len() / batch)
    }

    /// Averages the statistics of batch norms anew over some batches, with the weights as they are.
    fn recalibrate(&self, network: &mut Network, stage: &Stage) {
        let (batch, _) = self.batches(stage);
        let indices: Vec<usize> = (0..self.train.len()).collect();
        for (i, indices) in indices
            .chunks_exact(batch)
            .take(stage.recalibrate)
            .enumerate()
        {
            let augment = epoch::augment_of(stage, hash32(self.recipe.seed as u32, i as u32));
            let x = self
                .feeder
                .batch(&self.train, indices, target(stage.kind), augment);
            let stats = network.batch_stats(x);
            network.blend_stats(&stats, 1.0 / (i + 1) as f32);
        }
    }

    fn validate(&self, network: &Network, target: Target) -> f64 {
        if self.validation.is_empty() {
            return 0.0;
        }
        let answers = self.answers(network, &self.validation, target);
        let correct = answers
            .iter()
            .zip(&self.validation.labels)
            .filter(|(a, l)| **a == usize::from(**l))
            .count();
        correct as f64 / self.validation.len() as f64
    }

    fn answers(&self, network: &Network, split: &Split, target: Target) -> Vec<usize> {
        let indices: Vec<usize> = (0..split.len()).collect();
        indices
            .chunks(EVAL_BATCH)
            .flat_map(|chunk| {
                let x = self.feeder.batch(split, chunk, target, Augment::NONE);
                predictions(values(&network.evaluate(x)), self.data.n_classes)
            })
            .collect()
    }

    /// The network's Net, of which nothing was written yet that could not be written.
    fn lowered(&self, network: &Network) -> Result<Net, FitError> {
        let net = export(network, self.recipe, self.feeder.encoder(), self.data);
        let (_, steps) = self.batches(&self.recipe.stages[self.position.phase]);
        match onebit_model::check_net(&net) {
            Ok(_) => Ok(net),
            Err(errors) => Err(FitError::Diverged {
                problem: format!("the network cannot be lowered any more ({errors})"),
                epoch: self.position.epoch,
                step: steps,
                checkpoint: self.last_checkpoint(),
            }),
        }
    }

    /// The checkpoint that a run that ends early can go on from, if there is one.
    fn last_checkpoint(&self) -> Option<PathBuf> {
        Some(self.checkpoint_path()).filter(|path| path.exists())
    }

    /// Keeps the Net of an epoch that is better than all before it.
    fn keep_best(&mut self, net: &Net, accuracy: f64) -> Result<(), FitError> {
        if self.position.best.is_none_or(|(best, _)| accuracy > best) {
            self.position.best = Some((accuracy, self.position.epoch));
            self.save_best(net)?;
        }
        Ok(())
    }

    fn save_best(&self, net: &Net) -> Result<(), FitError> {
        let bytes = onebit_model::netfile::net_to_bytes(net);
        Ok(write_whole(&self.dir.join(BEST_NET), &bytes)?)
    }

    fn test(&self, network: &Network, target: Target) -> TestReport {
        let answers = self.answers(network, &self.data.test, target);
        tally(&answers, &self.data.test.labels, self.data.n_classes)
    }

    fn finish(self, twin: Option<TestReport>) -> Result<Outcome, FitError> {
        let path = self.dir.join(BEST_NET);
        let broken = |problem: String| CheckpointError::Broken {
            path: path.clone(),
            problem,
        };
        let bytes = std::fs::read(&path).map_err(|e| broken(e.to_string()))?;
        let net =
            onebit_model::netfile::net_from_bytes(&bytes).map_err(|e| broken(e.to_string()))?;
        let test = tally(
            &net_answers(&net, &self.data.test),
            &self.data.test.labels,
            self.data.n_classes,
        );
        let outcome = Outcome {
            net,
            best: self.position.best,
            test,
            twin,
            history: self.position.history.clone(),
            changes: self.position.changes.clone(),
        };
        self.write_result(&outcome)?;
        Ok(outcome)
    }

    fn write_log(&self) -> Result<(), FitError> {
        let lines: String = self
            .position
            .history
            .iter()
            .map(|r| serde_json::to_string(r).expect("a record is plain data") + "\n")
            .collect();
        Ok(write_whole(&self.dir.join(LOG), lines.as_bytes())?)
    }

    fn write_result(&self, outcome: &Outcome) -> Result<(), FitError> {
        let json = serde_json::json!({
            "name": self.recipe.name,
            "data": self.data.name,
            "best_validation": outcome.best.map(|b| b.0),
            "best_epoch": outcome.best.map(|b| b.1),
            "test_accuracy": outcome.test.accuracy(),
            "test": outcome.test,
            "twin_accuracy": outcome.twin.as_ref().map(TestReport::accuracy),
            "twin": outcome.twin,
        });
        let text = serde_json::to_string_pretty(&json).expect("plain data") + "\n";
        Ok(write_whole(&self.dir.join(RESULT), text.as_bytes())?)
    }
}

/// The answers of an exported Net, as `onebit-model` evaluates it; ties go to the lowest class.
fn net_answers(net: &Net, split: &Split) -> Vec<usize> {
    let evaluator = Evaluator::new(net).expect("an exported Net is well formed");
    let n = split.n_features();
    (0..split.len())
        .into_par_iter()
        .map(|i| {
            let example = match &split.features {
                Features::U8(values) => Tensor::Levels(values[i * n..][..n].to_vec()),
                Features::F32(values) => Tensor::Real(values[i * n..][..n].to_vec()),
            };
            match evaluator.evaluate(&example).scores() {
                Tensor::Int(scores) => first_greatest(scores),
                Tensor::Real(scores) => first_greatest(scores),
                Tensor::Bits(_) | Tensor::Levels(_) => unreachable!("scores are numbers"),
            }
        })
        .collect()
}

fn first_greatest<T: PartialOrd>(scores: &[T]) -> usize {
    (0..scores.len()).fold(0, |best, c| if scores[c] > scores[best] { c } else { best })
}

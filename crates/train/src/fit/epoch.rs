//! One epoch: batches, losses, optimizer steps and what is counted on the way.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::distill::Teacher;
use super::update::update_of;
use super::{Run, target};
use crate::device::to_host;
use crate::encode::{Augment, Target};
use crate::loss::{loss, n_correct};
use crate::network::{Flips, Network, Role, leaf_gradients};
use crate::ops::{scheduled, values};
use crate::outcome::{EpochRecord, Event, FitError};
use crate::recipe::Stage;
use crate::simd::hash32;

impl Run<'_> {
    pub(super) fn run_epoch(
        &mut self,
        network: &mut Network,
        stage: &Stage,
        teacher: Option<&Teacher>,
        stop: &AtomicBool,
        observer: &mut (dyn FnMut(Event<'_>) + Send),
    ) -> Result<EpochRecord, FitError> {
        let began = Instant::now();
        let (batch, steps) = self.batches(stage);
        let epoch = self.position.epoch + 1;
        let seed = hash32(
            self.recipe.seed as u32,
            (self.position.phase * 100_003 + epoch) as u32,
        );
        let mut order: Vec<usize> = (0..self.train.len()).collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(
            u64::from(seed) << 32 | self.recipe.seed & 0xFFFF_FFFF,
        ));
        let total_steps = (steps * stage.epochs) as f32;
        let mut sums = Sums::default();
        // Draws and schedules of weights start anew, so that a resumed epoch is the same as any other.
        network.set_progress((epoch - 1) as f32 / stage.epochs as f32);
        network.refresh(seed);
        for (step, indices) in order.chunks_exact(batch).enumerate() {
            let progress = (epoch - 1) as f32 / stage.epochs as f32 + step as f32 / total_steps;
            let lr = stage.lr_at(progress);
            network.set_progress(progress);
            let loss = self.run_step(
                network,
                stage,
                teacher,
                indices,
                lr,
                hash32(seed, step as u32),
                &mut sums,
            );
            if !loss.is_finite() {
                return Err(FitError::Diverged {
                    problem: format!("the loss is {loss}"),
                    epoch,
                    step: step + 1,
                    checkpoint: self.last_checkpoint(),
                });
            }
            observer(Event::Step {
                epoch,
                step: step + 1,
                loss,
            });
            if stop.load(Ordering::Relaxed) {
                return Err(FitError::Stopped {
                    epoch,
                    checkpoint: self.last_checkpoint(),
                });
            }
        }
        if !network.is_finite() {
            return Err(FitError::Diverged {
                problem: "a weight or a statistic is no finite number any more".to_string(),
                epoch,
                step: steps,
                checkpoint: self.last_checkpoint(),
            });
        }
        Ok(self.record(network, stage, &sums, began))
    }

    /// The log line of an epoch.
    fn record(
        &self,
        network: &mut Network,
        stage: &Stage,
        sums: &Sums,
        began: Instant,
    ) -> EpochRecord {
        let (batch, steps) = self.batches(stage);
        let epoch = self.position.epoch + 1;
        let limit = if stage.latent_clip > 0.0 {
            stage.latent_clip
        } else {
            1.0
        };
        let (mut starved, mut weights) = (0, 0);
        for (_, role, param) in network.params_mut() {
            if role == Role::Weight {
                starved += param.starved(limit);
                weights += param.latent.len();
            }
        }
        let (flipped, of) = sums.flips.iter().fold((0, 0), |(flipped, of), flips| {
            (flipped + flips.flipped, of + flips.weights)
        });
        let ratio = |flipped: usize, of: usize| flipped as f64 / of.max(1) as f64;
        let binary = sums.flips.iter().filter(|f| network.is_binary(f.node));
        let flips = binary
            .map(|f| {
                let name = network.graph.nodes[f.node].name.clone();
                (name, ratio(f.flipped, f.weights))
            })
            .collect();
        EpochRecord {
            kind: stage.kind,
            phase: self.position.phase,
            epoch,
            lr: stage.lr_at(epoch as f32 / stage.epochs as f32),
            loss: sums.loss / steps as f64,
            train_accuracy: sums.correct as f64 / (steps * batch) as f64,
            val_accuracy: 0.0,
            flip_ratio: ratio(flipped, of),
            starved: starved as f64 / weights as f64,
            seconds: began.elapsed().as_secs_f64(),
            flips,
        }
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "one call, whose arguments are all of one step"
    )]
    fn run_step(
        &mut self,
        network: &mut Network,
        stage: &Stage,
        teacher: Option<&Teacher>,
        indices: &[usize],
        lr: f32,
        seed: u32,
        sums: &mut Sums,
    ) -> f32 {
        let augment = augment_of(stage, seed);
        let x = self
            .feeder
            .batch(&self.train, indices, target(stage.kind), augment);
        let labels: Vec<u16> = indices.iter().map(|&i| self.train.labels[i]).collect();
        let taps = teacher.map_or(Vec::new(), |teacher| teacher.student_taps());
        let forward = network.forward(x, seed, &taps);
        let scores = to_host(forward.scores.clone().inner());
        sums.correct += n_correct(values(&scores), &labels, self.data.n_classes);
        let mut loss = loss(
            forward.scores.clone(),
            &labels,
            stage.loss,
            stage.temperature,
            stage.label_smoothing,
            scheduled(stage.estimator, stage.clip, 0.0),
        );
        if let (Some(teacher), Some(spec)) = (teacher, &stage.distill) {
            let real = self
                .feeder
                .batch(&self.train, indices, Target::Real, augment);
            loss = teacher.loss(spec, loss, &forward, real);
        }
        let loss_value = loss.clone().inner().into_scalar::<f32>();
        let mut gradients = loss.backward();
        let grads = leaf_gradients(forward.leaves, &mut gradients);
        // The graph holds the weights' values; without it they are updated in place.
        drop((gradients, loss));
        let stats = forward.stats;
        self.position.step += 1;
        if loss_value.is_finite() {
            let step = self.position.step;
            let update = |network: &Network, node: usize, role: Role| {
                update_of(stage, network, (node, role), lr, step)
            };
            sums.count(network.step(grads, &stats, update, seed));
        }
        sums.loss += f64::from(loss_value);
        loss_value
    }
}

#[derive(Default)]
struct Sums {
    loss: f64,
    correct: usize,
    /// Of every product, over all steps.
    flips: Vec<Flips>,
}

impl Sums {
    fn count(&mut self, flips: Vec<Flips>) {
        if self.flips.is_empty() {
            self.flips = flips;
            return;
        }
        for (sum, step) in self.flips.iter_mut().zip(flips) {
            sum.flipped += step.flipped;
            sum.weights += step.weights;
        }
    }
}

/// What a stage does to its images.
pub(super) fn augment_of(stage: &Stage, seed: u32) -> Augment {
    Augment {
        shift: stage.augment_shift,
        rotate: stage.augment_rotate,
        scale: stage.augment_scale,
        flip: stage.augment_flip,
        cutout: stage.augment_cutout,
        seed,
    }
}

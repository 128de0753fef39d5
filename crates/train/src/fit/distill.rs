//! Distillation: the float teacher, trained first, and what a student's loss takes from it.
//!
//! The teacher's run lies in the folder `teacher` of the student's and resumes as any other.

use std::sync::atomic::AtomicBool;

use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;
use burn::tensor::activation::log_softmax;

use super::update::check_groups;
use super::{FitOptions, Run};
use crate::device::constant_beside;
use crate::graph::{Graph, ValueKind};
use crate::network::{Forward, Network};
use crate::ops::values;
use crate::outcome::{Event, FitError};
use crate::recipe::{DistillSpec, Recipe, RecipeError};

/// A trained teacher, and the values of teacher and student that are compared.
pub(super) struct Teacher {
    network: Network,
    /// (value of the student, value of the teacher, positions of an image).
    pairs: Vec<(usize, usize, usize)>,
}

/// A teacher's run, of which nothing is written yet.
pub(super) struct TeacherRun<'a> {
    run: Run<'a>,
    network: Network,
}

impl Run<'_> {
    /// The recipe of the teacher, where a stage distils from one.
    pub(super) fn teacher_recipe(&self) -> Option<Recipe> {
        let distils = self.recipe.stages.iter().any(|s| s.distill.is_some());
        let spec = self.recipe.teacher.as_ref().filter(|_| distils)?;
        let mut recipe = Recipe {
            name: format!("{}-teacher", self.recipe.name),
            stages: vec![spec.stage.clone()],
            teacher: None,
            twin: None,
            ..self.recipe.clone()
        };
        if !spec.layers.is_empty() {
            recipe.model = None;
            recipe.layers = spec.layers.clone();
            recipe.defaults = spec.defaults.clone();
        }
        Some(recipe)
    }

    /// The teacher's run at its start or where its checkpoint left it.
    ///
    /// # Errors
    /// What does not fit, by its key in the student's recipe.
    pub(super) fn open_teacher<'a>(
        &'a self,
        recipe: &'a Recipe,
    ) -> Result<TeacherRun<'a>, FitError> {
        let options = FitOptions {
            run_dir: self.dir.join("teacher"),
            resume: self.resumes,
            threads: 0,
            device: self.device.name(),
        };
        let mut run = Run::open(recipe, self.data, &options)?;
        let spec = self.recipe.teacher.as_ref();
        let is_own = spec.is_some_and(|spec| !spec.layers.is_empty());
        let stage = &recipe.stages[0];
        let mut network = run.enter(stage, None).map_err(|error| match error {
            FitError::Recipe(RecipeError::Value { key, problem }) if is_own => {
                let key = format!("teacher.{key}");
                FitError::Recipe(RecipeError::Value { key, problem })
            }
            other => other,
        })?;
        check_groups(stage, "teacher.stage", &network)?;
        run.restore_once(&mut network)?;
        Ok(TeacherRun { run, network })
    }
}

impl TeacherRun<'_> {
    /// Trains the teacher to its end.
    pub(super) fn train(
        mut self,
        student: &Graph,
        stop: &AtomicBool,
        observer: &mut (dyn FnMut(Event<'_>) + Send),
    ) -> Result<Teacher, FitError> {
        let stage = &self.run.recipe.stages[0];
        self.run.begin()?;
        self.run
            .run_phase(&mut self.network, stage, None, stop, observer)?;
        let pairs = pairs(student, &self.network.graph);
        Ok(Teacher {
            network: self.network,
            pairs,
        })
    }
}

/// For each size of image that both networks have, the last value of that size in either that is no code: all codes
/// of a sign have the same square.
fn pairs(student: &Graph, teacher: &Graph) -> Vec<(usize, usize, usize)> {
    let last = |graph: &Graph, size: (usize, usize)| {
        (1..=graph.nodes.len()).rev().find(|&id| {
            let extent = graph.extent(id);
            (extent.height, extent.width) == size && graph.kind(id) == ValueKind::Real
        })
    };
    let mut sizes: Vec<(usize, usize)> = student
        .nodes
        .iter()
        .map(|node| (node.extent.height, node.extent.width))
        .filter(|&(height, width)| height * width > 1)
        .collect();
    sizes.dedup();
    sizes
        .into_iter()
        .filter_map(|size| Some((last(student, size)?, last(teacher, size)?, size.0 * size.1)))
        .collect()
}

impl Teacher {
    /// The student's values that [`Teacher::loss`] reads.
    pub(super) fn student_taps(&self) -> Vec<usize> {
        self.pairs.iter().map(|pair| pair.0).collect()
    }

    /// `labels * loss + weight * T^2 * KL(teacher || student) + attention * sum of squared distances` between
    /// normalised attention maps (Hinton et al. 2015; Zagoruyko & Komodakis 2017; Martinez et al. 2020).
    pub(super) fn loss(
        &self,
        spec: &DistillSpec,
        loss: Tensor<1>,
        forward: &Forward,
        x: FlexTensor,
    ) -> Tensor<1> {
        let taps: Vec<usize> = self.pairs.iter().map(|pair| pair.1).collect();
        let (scores, maps) = self.network.evaluate_values(x, &taps);
        let [batch, n_classes] = forward.scores.dims();
        let t = spec.temperature;
        let target = softmax(values(&scores), n_classes, t);
        let entropy: f32 = target.iter().map(|p| p * p.max(1e-30).ln()).sum();
        let target = constant_beside(&forward.scores, target, batch, n_classes);
        let log = log_softmax(forward.scores.clone() / t, 1);
        let divergence = ((log * target).sum() * -1.0 + entropy) * (t * t / batch as f32);
        let mut total = loss * spec.labels + divergence * spec.weight;
        if spec.attention > 0.0 {
            for ((tap, map), pair) in forward.taps.iter().zip(maps).zip(&self.pairs) {
                let distance = attention_distance(tap.clone(), &map, batch, pair.2);
                total = total + distance * (spec.attention / batch as f32);
            }
        }
        total
    }
}

/// Squared distance of the normalised maps `mean_c(A^2)`, summed over a batch.
fn attention_distance(student: Tensor<2>, teacher: &[f32], batch: usize, n: usize) -> Tensor<1> {
    let channels = teacher.len() / (batch * n);
    let mut map: Vec<f32> = teacher
        .chunks_exact(channels)
        .map(|px| px.iter().map(|v| v * v).sum::<f32>() / channels as f32)
        .collect();
    for map in map.chunks_exact_mut(n) {
        let norm = map.iter().map(|v| v * v).sum::<f32>().sqrt().max(1e-12);
        map.iter_mut().for_each(|v| *v /= norm);
    }
    let own = (student.clone() * student).mean_dim(1).reshape([batch, n]);
    let norm = ((own.clone() * own.clone()).sum_dim(1) + 1e-12).sqrt();
    let off = own.clone() / norm - constant_beside(&own, map, batch, n);
    (off.clone() * off).sum()
}

/// The softmax of each row of `scores / t`.
fn softmax(scores: &[f32], n_classes: usize, t: f32) -> Vec<f32> {
    let mut out: Vec<f32> = scores.iter().map(|s| s / t).collect();
    for row in out.chunks_exact_mut(n_classes) {
        let most = row.iter().fold(f32::NEG_INFINITY, |m, &v| m.max(v));
        row.iter_mut().for_each(|v| *v = (*v - most).exp());
        let sum: f32 = row.iter().sum();
        row.iter_mut().for_each(|v| *v /= sum);
    }
    out
}

#[cfg(test)]
#[path = "distill_tests.rs"]
mod tests;

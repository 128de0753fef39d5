//! Recipes: everything that decides a training run, as one TOML file.
//!
//! In: TOML text. Out: a [`Recipe`] whose every number has been checked, or one error that names the key.
//! Unknown keys are errors, so a misspelt option never silently does nothing.

use serde::{Deserialize, Serialize};

mod check;
pub mod layers;
pub mod optimizer;
pub mod overrides;

use layers::{Defaults, LayerSpec};
use optimizer::{GroupSpec, OptimizerSpec};

use crate::ops::Precision;

/// Widest layer a recipe may ask for.
pub const MAX_WIDTH: usize = 65_536;
/// Most layers a recipe may ask for.
pub const MAX_LAYERS: usize = 64;
/// Most steps of a network that a recipe's layers may become.
pub const MAX_NODES: usize = 4096;

/// A whole training run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Name of the network; becomes file names.
    pub name: String,
    /// Data set to train on when the caller names none.
    pub data: String,
    /// Seeds initial weights, shuffling, dropout, augmentation and the validation split.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// Training examples held out to pick the best epoch.
    #[serde(default = "default_validation")]
    pub validation: usize,
    /// How many of the other training examples are used, drawn by the seed; 0 is all.
    #[serde(default, skip_serializing_if = "is_none_of_them")]
    pub examples: usize,
    /// How examples become bits.
    pub input: Input,
    /// Sizes and normalisation of fully connected layers: the short form of `[[layer]]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Model>,
    /// Options of the layers that do not give them.
    #[serde(default, skip_serializing_if = "Defaults::is_empty")]
    pub defaults: Defaults,
    /// The layers, first to last.
    #[serde(rename = "layer", default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<LayerSpec>,
    /// Stages, run in order; each starts from the weights the one before ended with.
    #[serde(rename = "stage")]
    pub stages: Vec<Stage>,
    /// A float network that stages with `distill` learn from; trained first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teacher: Option<TeacherSpec>,
    /// The same topology in float32, trained for comparison.
    pub twin: Option<Stage>,
}

/// How examples become the first layer's operand; the terms of `onebit_model::net::Encoder`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "encoding", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Input {
    /// +1 where the pixel is at least `at`, else -1.
    Sign {
        /// The least pixel that counts as +1.
        at: u8,
    },
    /// 1 where the pixel is at least `at`, else 0.
    ZeroOne {
        /// The least pixel that counts as 1.
        at: u8,
    },
    /// The `bits` most significant bits of each pixel, each an input of its own.
    FixedPoint {
        /// How many bits, 1 to 8.
        bits: u8,
        /// What a bit counts as in the sums.
        #[serde(default, skip_serializing_if = "BitValues::is_bipolar")]
        values: BitValues,
    },
    /// One bipolar input per pixel and cut.
    Thermometer {
        /// Ascending cuts.
        cuts: Vec<u8>,
    },
    /// One bipolar input per feature and quantile of the training set; for real features.
    Quantiles {
        /// How many quantiles, 1 to 64.
        levels: usize,
    },
    /// One bipolar input per pixel and cut, as channels of the image (FracBNN, Zhang et al. 2021).
    ChannelThermometer {
        /// Ascending cuts.
        cuts: Vec<u8>,
    },
    /// The 8-bit pixel itself.
    Levels {
        /// Whether the first layers read pixels scaled to `[-1, 1]`: for real weights.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        normalise: bool,
    },
}

/// What an input bit counts as in the first layer's sums.
///
/// Either way the deployed net holds bipolar bits: `w . x` over 0/1 bits is half of `w . b + sum(w)` over the
/// same bits as -1/+1, so the sum of a row's weights goes into its integer bias, and so into the threshold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BitValues {
    /// -1 and +1.
    #[default]
    Bipolar,
    /// 0 and 1.
    ZeroOne,
}

impl BitValues {
    fn is_bipolar(&self) -> bool {
        *self == BitValues::Bipolar
    }
}

/// Layer sizes and normalisation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Units per hidden layer.
    pub hidden: Vec<usize>,
    /// Normalisation before each hidden unit.
    pub norm: Norm,
    /// Normalisation of the scores; `none` keeps them integers.
    #[serde(default)]
    pub output_norm: Norm,
}

/// Whether a layer's sums are batch normalised or get a binarised bias.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Norm {
    /// No normalisation; a bias that is binarised as the weights are (Kim & Smaragdis).
    #[default]
    None,
    /// Batch normalisation (BinaryNet).
    Batch,
}

/// One stage of training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// What is binary in this stage.
    pub kind: StageKind,
    /// Passes over the training set.
    pub epochs: usize,
    /// Examples per step.
    pub batch: usize,
    /// Learning rate at the start.
    pub lr: f32,
    /// Learning rate at the end.
    #[serde(default)]
    pub lr_end: f32,
    /// How the rate goes from one to the other.
    #[serde(default)]
    pub schedule: Schedule,
    /// What is minimised.
    #[serde(default)]
    pub loss: Loss,
    /// Divides the scores before the loss.
    #[serde(default = "one")]
    pub temperature: f32,
    /// Rule that parameters follow.
    #[serde(default, skip_serializing_if = "OptimizerSpec::is_default")]
    pub optimizer: OptimizerSpec,
    /// Rules of some parameters only; the first that matches counts.
    #[serde(rename = "group", default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupSpec>,
    /// Epochs over which the rate rises from 0 to `lr`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub warmup: f32,
    /// Epochs after which `schedule = "step"` multiplies the rate by `step_factor`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<usize>,
    /// See `steps`.
    #[serde(default = "tenth", skip_serializing_if = "is_tenth")]
    pub step_factor: f32,
    /// Share of the target that is spread evenly over all classes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub label_smoothing: f32,
    /// What the stage takes from the teacher.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distill: Option<DistillSpec>,
    /// How gradients are multiplied.
    #[serde(default, skip_serializing_if = "Gradients::is_default")]
    pub gradients: Gradients,
    /// Batches over which the statistics of batch norms are averaged anew after each epoch.
    #[serde(default, skip_serializing_if = "is_none_of_them")]
    pub recalibrate: usize,
    /// Stand-in for the derivative of sign.
    #[serde(default = "default_estimator")]
    pub estimator: EstimatorName,
    /// Half width of the `clipped` estimator's window.
    #[serde(default = "one")]
    pub clip: f32,
    /// Real copies of binary weights are kept in `[-latent_clip, latent_clip]`; 0 is no limit.
    #[serde(default)]
    pub latent_clip: f32,
    /// Share of zero weights per layer, in `[0, 1)` (Kim & Smaragdis' lambda).
    #[serde(default)]
    pub sparsity: f32,
    /// Probability of dropping an input.
    #[serde(default)]
    pub dropout_input: f32,
    /// Probability of dropping a hidden unit.
    #[serde(default)]
    pub dropout_hidden: f32,
    /// Images are shifted by up to this many pixels each way; 0 is none.
    #[serde(default)]
    pub augment_shift: usize,
    /// Images are turned by up to this many degrees either way.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub augment_rotate: f32,
    /// Images are scaled by up to this share either way, in `[0, 1)`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub augment_scale: f32,
    /// Images are mirrored left to right half of the time.
    #[serde(default)]
    pub augment_flip: bool,
    /// A square of this many pixels is zeroed somewhere in each image (cutout; DeVries & Taylor 2017).
    #[serde(default, skip_serializing_if = "is_none_of_them")]
    pub augment_cutout: usize,
}

/// A float network to learn from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeacherSpec {
    /// How it is trained; of kind `float`.
    pub stage: Stage,
    /// Its layers; those of the recipe by default.
    #[serde(rename = "layer", default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<LayerSpec>,
    /// Options of its layers that do not give them.
    #[serde(default, skip_serializing_if = "Defaults::is_empty")]
    pub defaults: Defaults,
}

/// What a stage takes from the teacher.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistillSpec {
    /// Factor on the loss over labels.
    #[serde(default = "one")]
    pub labels: f32,
    /// Factor on the divergence from the teacher's probabilities.
    #[serde(default = "one")]
    pub weight: f32,
    /// Divides the scores of both before the divergence, which is multiplied by its square.
    #[serde(default = "one")]
    pub temperature: f32,
    /// Factor on the distances between attention maps.
    #[serde(default)]
    pub attention: f32,
}

/// How gradients are multiplied with weights and activations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gradients {
    /// In binary32.
    #[default]
    F32,
    /// Rounded to bfloat16 first, sums in binary32: twice as fast where the CPU has the instruction.
    Bf16,
}

impl Gradients {
    fn is_default(&self) -> bool {
        *self == Gradients::F32
    }

    /// The precision of `ops`.
    pub fn precision(self) -> Precision {
        match self {
            Gradients::F32 => Precision::F32,
            Gradients::Bf16 => Precision::Bf16,
        }
    }
}

/// What is binary in a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StageKind {
    /// Kim & Smaragdis' round 1: tanh on weights, biases and units.
    Compress,
    /// Real weights; `clip(x, -1, 1)` in place of activations of -1 and +1, `clip(x, 0, 1)` of others.
    Real,
    /// Real weights and the recipe's activations: the middle of three stages.
    BinaryActivations,
    /// Binary weights and units: round 2 (noisy backpropagation), or BinaryNet with batch norm.
    Bitwise,
    /// Real weights and ReLU units.
    Float,
}

/// How the learning rate falls from `lr` to `lr_end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// Stays at `lr`.
    Constant,
    /// Half a cosine.
    #[default]
    Cosine,
    /// By the same amount every step.
    Linear,
    /// By the same factor every step.
    Exponential,
    /// By `step_factor` at each of `steps`.
    Step,
}

/// What is minimised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// Softmax and cross-entropy.
    #[default]
    CrossEntropy,
    /// `max(0, 1 - t y)^2` summed over classes (L2-SVM output of BinaryNet).
    SquareHinge,
    /// `(1 - t sign(y)) / 2` summed over classes (Kim & Smaragdis' bitwise disagreement).
    Bitwise,
}

/// Names of the stand-ins for the derivative of sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EstimatorName {
    /// 1 everywhere.
    Identity,
    /// `1 - tanh^2`.
    Tanh,
    /// 1 inside the window, 0 outside.
    Clipped,
    /// `max(0, 2 - 2 |x|)` (Bi-Real-Net).
    ApproxSign,
    /// Derivative of the sign-swish with beta 5 (BNN+).
    SwishSign,
    /// IR-Net's error decay estimator: a tanh that steepens over the stage.
    Ede,
    /// The forward pass itself goes from clip to sign over the stage.
    Progressive,
    /// ReSTE's power function, whose exponent grows over the stage.
    Reste,
}

fn is_zero(value: &f32) -> bool {
    *value == 0.0
}
fn default_seed() -> u64 {
    1
}
fn default_validation() -> usize {
    5000
}
fn one() -> f32 {
    1.0
}
fn is_none_of_them(value: &usize) -> bool {
    *value == 0
}
fn tenth() -> f32 {
    0.1
}
fn is_tenth(value: &f32) -> bool {
    *value == 0.1
}
fn default_estimator() -> EstimatorName {
    EstimatorName::Clipped
}

/// Why a recipe was refused.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// Not TOML, an unknown key, or a value of the wrong type.
    #[error("recipe: {0}")]
    Syntax(String),
    /// A number out of its range or a combination that cannot be lowered.
    #[error("recipe: `{key}` {problem}")]
    Value {
        /// The key, with its table.
        key: String,
        /// What is wrong and what is allowed.
        problem: String,
    },
}

impl Recipe {
    /// Reads and checks a recipe.
    ///
    /// # Errors
    /// One error naming the first key that is unknown, missing or out of range.
    pub fn parse(text: &str) -> Result<Recipe, RecipeError> {
        let recipe: Recipe = toml::from_str(text)
            .map_err(|e| RecipeError::Syntax(e.to_string().trim_end().to_string()))?;
        recipe.check()?;
        Ok(recipe)
    }

    /// The recipe as TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).expect("a recipe is always representable in TOML")
    }

    fn first_norm(&self) -> Option<Norm> {
        let model = self.model.as_ref()?;
        Some(match model.hidden.is_empty() {
            true => model.output_norm,
            false => model.norm,
        })
    }

    /// Checks every number.
    ///
    /// # Errors
    /// As [`Recipe::parse`].
    pub fn check(&self) -> Result<(), RecipeError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if self.name.is_empty() || self.name.starts_with('.') || !self.name.chars().all(plain) {
            return bad(
                "name",
                "must be letters, digits, `_`, `.` or `-`, as it becomes a file name",
            );
        }
        self.input.check()?;
        if self.input.has_zero_one_planes() && self.first_norm() != Some(Norm::None) {
            return bad(
                "input.values",
                "\"zero-one\" needs [model] and a first layer without batch norm: it is lowered into the integer bias",
            );
        }
        match (&self.model, self.layers.is_empty()) {
            (None, true) => return bad("model", "is missing: a recipe needs [model] or [[layer]]"),
            (Some(_), false) => return bad("model", "and [[layer]] exclude each other; give one"),
            (Some(_), true) if !self.defaults.is_empty() => {
                return bad(
                    "defaults",
                    "is for networks of [[layer]]; [model] has its own keys",
                );
            }
            (Some(model), true) => model.check()?,
            (None, false) => {}
        }
        if self.stages.is_empty() {
            return bad("stage", "is missing: a recipe needs at least one [[stage]]");
        }
        for (i, stage) in self.stages.iter().enumerate() {
            stage.check(&format!("stage[{i}]"))?;
            if self.model.is_none() {
                stage.check_for_layers(&format!("stage[{i}]"))?;
            }
        }
        if self
            .stages
            .last()
            .is_some_and(|s| s.kind != StageKind::Bitwise)
        {
            return bad(
                "stage",
                "must end with kind = \"bitwise\", else there are no bits to lower",
            );
        }
        if self.stages.iter().any(|s| s.kind == StageKind::Float) {
            return bad("stage", "of kind \"float\" belongs under [twin]");
        }
        match &self.teacher {
            Some(teacher) if teacher.stage.kind != StageKind::Float => {
                return bad("teacher.stage.kind", "must be \"float\"");
            }
            Some(teacher) => {
                teacher.stage.check("teacher.stage")?;
                if self.model.is_none() || !teacher.layers.is_empty() {
                    teacher.stage.check_for_layers("teacher.stage")?;
                }
            }
            None if self.stages.iter().any(|stage| stage.distill.is_some()) => {
                return bad(
                    "teacher",
                    "is missing: a stage with `distill` needs [teacher]",
                );
            }
            None => {}
        }
        match &self.twin {
            Some(twin) if twin.kind != StageKind::Float => bad("twin.kind", "must be \"float\""),
            Some(twin) if self.model.is_none() => {
                twin.check("twin")?;
                twin.check_for_layers("twin")
            }
            Some(twin) => twin.check("twin"),
            None => Ok(()),
        }
    }
}

fn bad<T>(key: impl Into<String>, problem: impl Into<String>) -> Result<T, RecipeError> {
    Err(RecipeError::Value {
        key: key.into(),
        problem: problem.into(),
    })
}

#[cfg(test)]
mod tests;

//! Optimizers of a recipe: the rule of a stage, and rules of some of its parameters.

use serde::{Deserialize, Serialize};

use super::{RecipeError, bad};
use crate::optim::Rule;

/// Which rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuleName {
    /// Adam, or AdamW where there is decay (Kingma & Ba 2015; Loshchilov & Hutter 2019).
    #[default]
    Adam,
    /// Gradient descent with momentum.
    Sgd,
    /// Bop, for binary weights (Helwegen et al. 2019).
    Bop,
}

/// A rule and its numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerSpec {
    /// Which rule.
    pub rule: RuleName,
    /// Decay of Adam's first moment.
    pub beta1: f32,
    /// Decay of Adam's second moment.
    pub beta2: f32,
    /// Momentum of `sgd`.
    pub momentum: f32,
    /// Threshold of `bop`.
    pub threshold: f32,
    /// Weight of a new gradient in `bop`'s mean.
    pub gamma: f32,
    /// Weight decay: a stage's of the weights that are real in it, a group's of its parameters.
    pub weight_decay: f32,
    /// Adaptive gradient clipping: a row's gradient is at most this share of its weights' norm; 0 is no limit
    /// (Brock et al. 2021).
    pub clip_share: f32,
}

impl Default for OptimizerSpec {
    fn default() -> Self {
        OptimizerSpec {
            rule: RuleName::Adam,
            beta1: 0.9,
            beta2: 0.999,
            momentum: 0.9,
            threshold: 1e-8,
            gamma: 1e-4,
            weight_decay: 0.0,
            clip_share: 0.0,
        }
    }
}

/// The rule of some parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupSpec {
    /// Which parameters.
    #[serde(rename = "match")]
    pub matches: Match,
    /// The layers whose parameters these are, by name; all by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<String>,
    /// Factor on the stage's learning rate.
    #[serde(default = "one")]
    pub lr_factor: f32,
    /// A further factor, of each layer's own.
    #[serde(default, skip_serializing_if = "LrScale::is_none")]
    pub lr_scale: LrScale,
    /// Their rule; the stage's by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimizer: Option<OptimizerSpec>,
}

/// Which parameters a group holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Match {
    /// Weights that are binarised in the stage.
    BinaryWeights,
    /// Weights that are not.
    RealWeights,
    /// Gains, offsets, shifts, slopes, scales and biases.
    Vectors,
}

/// A factor on the learning rate of weights that follows from their number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LrScale {
    /// 1.
    #[default]
    None,
    /// `sqrt((fan_in + fan_out) / 1.5)` (BinaryConnect; Courbariaux et al. 2015).
    Glorot,
}

impl LrScale {
    fn is_none(&self) -> bool {
        *self == LrScale::None
    }
}

fn one() -> f32 {
    1.0
}

impl OptimizerSpec {
    /// Whether every number is the default.
    pub fn is_default(&self) -> bool {
        *self == OptimizerSpec::default()
    }

    /// The rule of `optim`.
    pub fn rule(&self) -> Rule {
        match self.rule {
            RuleName::Adam => Rule::Adam {
                beta1: self.beta1,
                beta2: self.beta2,
            },
            RuleName::Sgd => Rule::Sgd {
                momentum: self.momentum,
            },
            RuleName::Bop => Rule::Bop {
                threshold: self.threshold,
                gamma: self.gamma,
            },
        }
    }

    pub(super) fn check(&self, at: &str) -> Result<(), RecipeError> {
        for (name, value) in [
            ("beta1", self.beta1),
            ("beta2", self.beta2),
            ("momentum", self.momentum),
            ("gamma", self.gamma),
        ] {
            if !(0.0..1.0).contains(&value) {
                return bad(format!("{at}.{name}"), "must be at least 0 and below 1");
            }
        }
        let default = OptimizerSpec::default();
        let others = [
            ("beta1", self.beta1 != default.beta1, RuleName::Adam),
            ("beta2", self.beta2 != default.beta2, RuleName::Adam),
            ("momentum", self.momentum != default.momentum, RuleName::Sgd),
            (
                "threshold",
                self.threshold != default.threshold,
                RuleName::Bop,
            ),
            ("gamma", self.gamma != default.gamma, RuleName::Bop),
            (
                "clip_share",
                self.rule == RuleName::Bop && self.clip_share != 0.0,
                RuleName::Adam,
            ),
        ];
        for (name, is_given, rule) in others {
            if is_given && rule != self.rule {
                let rule = format!("{rule:?}").to_lowercase();
                return bad(format!("{at}.{name}"), format!("is for rule = \"{rule}\""));
            }
        }
        for (name, value) in [
            ("threshold", self.threshold),
            ("weight_decay", self.weight_decay),
            ("clip_share", self.clip_share),
        ] {
            if !(value.is_finite() && value >= 0.0) {
                return bad(format!("{at}.{name}"), "must be a number of at least 0");
            }
        }
        Ok(())
    }
}

impl GroupSpec {
    pub(super) fn check(&self, at: &str) -> Result<(), RecipeError> {
        if !(self.lr_factor.is_finite() && self.lr_factor >= 0.0) {
            return bad(format!("{at}.lr_factor"), "must be a number of at least 0");
        }
        if self.lr_scale != LrScale::None && self.matches == Match::Vectors {
            return bad(
                format!("{at}.lr_scale"),
                "is for weights, which match = \"vectors\" leaves out",
            );
        }
        match &self.optimizer {
            Some(optimizer)
                if optimizer.rule == RuleName::Bop && self.matches != Match::BinaryWeights =>
            {
                bad(
                    format!("{at}.optimizer.rule"),
                    "\"bop\" needs match = \"binary-weights\"",
                )
            }
            Some(optimizer) => optimizer.check(&format!("{at}.optimizer")),
            None => Ok(()),
        }
    }
}

//! Whether a recipe's numbers are in their ranges, and what follows from them: rates, precisions.

use super::optimizer::RuleName;
use super::{
    BitValues, DistillSpec, Input, Loss, MAX_LAYERS, MAX_WIDTH, Model, RecipeError, Schedule,
    Stage, bad,
};

impl Model {
    pub(super) fn check(&self) -> Result<(), RecipeError> {
        if self.hidden.len() > MAX_LAYERS {
            return bad("model.hidden", format!("has more than {MAX_LAYERS} layers"));
        }
        if self.hidden.iter().any(|&w| w == 0 || w > MAX_WIDTH) {
            return bad(
                "model.hidden",
                format!("has a layer outside 1..={MAX_WIDTH} units"),
            );
        }
        Ok(())
    }
}

impl Input {
    /// Whether the first layers read pixels scaled to `[-1, 1]`.
    pub fn normalises(&self) -> bool {
        matches!(self, Input::Levels { normalise: true })
    }

    /// Whether several bits per pixel count as 0 and 1.
    pub fn has_zero_one_planes(&self) -> bool {
        matches!(
            self,
            Input::FixedPoint {
                values: BitValues::ZeroOne,
                ..
            }
        )
    }

    /// Whether the encoded values are an image of the pixels' height and width.
    pub(crate) fn keeps_image(&self) -> bool {
        matches!(
            self,
            Input::Sign { .. }
                | Input::ZeroOne { .. }
                | Input::ChannelThermometer { .. }
                | Input::Levels { .. }
        )
    }

    pub(super) fn check(&self) -> Result<(), RecipeError> {
        match self {
            Input::FixedPoint { bits, .. } if !(1..=8).contains(bits) => {
                bad("input.bits", "must be 1 to 8")
            }
            Input::Thermometer { cuts } | Input::ChannelThermometer { cuts }
                if cuts.is_empty() || !cuts.is_sorted_by(|a, b| a < b) =>
            {
                bad("input.cuts", "must be ascending and not empty")
            }
            Input::Quantiles { levels } if !(1..=64).contains(levels) => {
                bad("input.levels", "must be 1 to 64")
            }
            _ => Ok(()),
        }
    }
}

impl Stage {
    /// Learning rate at `progress` in `[0, 1]`.
    pub fn lr_at(&self, progress: f32) -> f32 {
        let epoch = progress * self.epochs as f32;
        if epoch < self.warmup {
            return self.lr * epoch / self.warmup;
        }
        match self.schedule {
            Schedule::Constant => self.lr,
            Schedule::Linear => self.lr + (self.lr_end - self.lr) * progress,
            Schedule::Step => {
                let passed = self.steps.iter().filter(|&&at| epoch >= at as f32).count();
                self.lr * self.step_factor.powi(passed as i32)
            }
            Schedule::Cosine => {
                self.lr_end
                    + (self.lr - self.lr_end)
                        * 0.5
                        * (1.0 + (std::f32::consts::PI * progress).cos())
            }
            Schedule::Exponential => self.lr * (self.lr_end / self.lr).powf(progress),
        }
    }

    /// What only the short form `[model]` takes; its layers are the only ones that follow the stage.
    pub(super) fn check_for_layers(&self, at: &str) -> Result<(), RecipeError> {
        let only = [
            ("dropout_input", self.dropout_input),
            ("dropout_hidden", self.dropout_hidden),
            ("sparsity", self.sparsity),
        ];
        match only.iter().find(|(_, value)| *value != 0.0) {
            Some((name, _)) => bad(
                format!("{at}.{name}"),
                "is for [model]; networks of [[layer]] have no dropout, and zeros by weights = \"ternary\"",
            ),
            None => Ok(()),
        }
    }

    fn check_schedule(&self, at: &str) -> Result<(), RecipeError> {
        let key = |name: &str| format!("{at}.{name}");
        let positive = |v: f32| v.is_finite() && v > 0.0;
        if !positive(self.lr) {
            return bad(key("lr"), "must be a positive number");
        }
        if !(self.lr_end.is_finite() && self.lr_end >= 0.0) {
            return bad(key("lr_end"), "must be a number of at least 0");
        }
        if self.schedule == Schedule::Exponential && self.lr_end == 0.0 {
            return bad(
                key("lr_end"),
                "must be positive for schedule = \"exponential\"",
            );
        }
        if !(self.warmup.is_finite() && (0.0..=self.epochs as f32).contains(&self.warmup)) {
            return bad(key("warmup"), "must be 0 to `epochs`");
        }
        if self.schedule == Schedule::Step && self.steps.is_empty() {
            return bad(
                key("steps"),
                "is missing: the epochs at which schedule = \"step\" multiplies the rate",
            );
        }
        if self.schedule != Schedule::Step && !self.steps.is_empty() {
            return bad(key("steps"), "is for schedule = \"step\"");
        }
        if !positive(self.step_factor) {
            return bad(key("step_factor"), "must be a positive number");
        }
        Ok(())
    }

    pub(super) fn check(&self, at: &str) -> Result<(), RecipeError> {
        let key = |name: &str| format!("{at}.{name}");
        let unit = |v: f32| (0.0..1.0).contains(&v);
        let positive = |v: f32| v.is_finite() && v > 0.0;
        if self.epochs == 0 {
            return bad(key("epochs"), "must be at least 1");
        }
        if self.batch < 2 || self.batch > 65_536 {
            return bad(key("batch"), "must be 2 to 65536");
        }
        for (name, value) in [("temperature", self.temperature), ("clip", self.clip)] {
            if !positive(value) {
                return bad(key(name), "must be a positive number");
            }
        }
        if !(self.latent_clip.is_finite() && self.latent_clip >= 0.0) {
            return bad(key("latent_clip"), "must be a number of at least 0");
        }
        self.optimizer.check(&key("optimizer"))?;
        if self.optimizer.rule == RuleName::Bop {
            return bad(
                key("optimizer.rule"),
                "\"bop\" is for binary weights: give it in a [[stage.group]] with match = \"binary-weights\"",
            );
        }
        for (i, group) in self.groups.iter().enumerate() {
            group.check(&format!("{at}.group[{i}]"))?;
        }
        self.check_schedule(at)?;
        for (name, value) in [
            ("label_smoothing", self.label_smoothing),
            ("sparsity", self.sparsity),
            ("dropout_input", self.dropout_input),
            ("dropout_hidden", self.dropout_hidden),
        ] {
            if !unit(value) {
                return bad(
                    key(name),
                    format!("is {value}, must be at least 0 and below 1"),
                );
            }
        }
        if self.label_smoothing > 0.0 && self.loss != Loss::CrossEntropy {
            return bad(
                key("label_smoothing"),
                "is for loss = \"cross-entropy\", whose target is a share of each class",
            );
        }
        if let Some(distill) = &self.distill {
            distill.check(&key("distill"))?;
        }
        if !(0.0..=45.0).contains(&self.augment_rotate) {
            return bad(key("augment_rotate"), "must be 0 to 45 degrees");
        }
        if !(0.0..=0.5).contains(&self.augment_scale) {
            return bad(key("augment_scale"), "must be 0 to 0.5");
        }
        if self.augment_shift > 16 {
            return bad(key("augment_shift"), "must be 0 to 16");
        }
        Ok(())
    }
}

impl DistillSpec {
    fn check(&self, at: &str) -> Result<(), RecipeError> {
        for (name, value) in [
            ("labels", self.labels),
            ("weight", self.weight),
            ("attention", self.attention),
        ] {
            if !(value.is_finite() && value >= 0.0) {
                return bad(format!("{at}.{name}"), "must be a number of at least 0");
            }
        }
        if !(self.temperature.is_finite() && self.temperature > 0.0) {
            return bad(format!("{at}.temperature"), "must be a positive number");
        }
        Ok(())
    }
}

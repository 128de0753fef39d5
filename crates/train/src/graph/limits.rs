//! What a layer may ask for: options that its forms take, and sizes that fit into memory.
//!
//! In: parts of a recipe's layers, and the graph so far. Out: nothing, or an error that names the layer.

use super::build::Builder;
use super::*;
use crate::binarize::{takes_estimator, takes_scale};
use crate::recipe::layers::{ScaleName, WeightName};
use crate::recipe::{EstimatorName, MAX_WIDTH, RecipeError};

/// Layers that a recipe may make, counting repeated blocks each time.
pub(super) const MAX_BUILT: usize = 1 << 16;
/// Weights that a network may have: with what training keeps beside each, some gigabytes.
const MAX_WEIGHTS: usize = 1 << 27;
/// Elements of a value of one example.
const MAX_ELEMENTS: usize = 1 << 24;
/// Taps of a window per axis.
pub(super) const MAX_KERNEL: usize = 255;

impl Builder {
    /// Refuses a product whose weights would not fit into memory.
    pub(super) fn count_weights(&mut self, rows: usize, cols: usize) -> Result<(), RecipeError> {
        self.n_weights = self.n_weights.saturating_add(rows.saturating_mul(cols));
        if self.n_weights > MAX_WEIGHTS {
            return self.fail(format!(
                "has weights [{rows}, {cols}]; a network may have {MAX_WEIGHTS} weights in all"
            ));
        }
        Ok(())
    }

    /// Refuses a value that would not fit into memory.
    pub(super) fn check_extent(&self, to: Extent) -> Result<(), RecipeError> {
        let planes = to.height.saturating_mul(to.width);
        if to.height.max(to.width) > MAX_WIDTH || planes.saturating_mul(to.channels) > MAX_ELEMENTS
        {
            return self.fail(format!(
                "has a result of {} by {} positions and {} channels; allowed are {MAX_WIDTH} positions each way and \
                 {MAX_ELEMENTS} values in all",
                to.height, to.width, to.channels
            ));
        }
        Ok(())
    }

    /// Whether a value has no height and width: it comes from a dense layer or an average over the image.
    pub(super) fn is_flat(&self, x: usize) -> bool {
        let Some(node) = x.checked_sub(1).map(|idx| &self.graph.nodes[idx]) else {
            return false;
        };
        match &node.op {
            NodeOp::GlobalAvgPool => true,
            NodeOp::Product(product) => matches!(product.shape, ProductShape::Dense { .. }),
            _ => self.is_flat(node.inputs[0]),
        }
    }

    pub(super) fn check_weights(&self, weights: &WeightSpec) -> Result<(), RecipeError> {
        let form = weights.form;
        if weights.scale != ScaleName::None && !takes_scale(form) {
            return self.fail("has a weights.scale, which this form does not take");
        }
        let takes = [
            ("bits", weights.bits.is_some(), form == WeightName::Dorefa),
            ("bases", weights.bases.is_some(), form == WeightName::Abc),
            (
                "sparsity",
                weights.sparsity.is_some(),
                form == WeightName::Ternary,
            ),
            (
                "fan_in",
                weights.fan_in.is_some(),
                form == WeightName::Ternary,
            ),
        ];
        for (key, is_given, is_taken) in takes {
            if is_given && !is_taken {
                return self.fail(format!("has weights.{key}, which this form does not take"));
            }
        }
        if !(1..=8).contains(&weights.bits.unwrap_or(2)) {
            return self.fail("has weights.bits outside 1 to 8");
        }
        if !(1..=8).contains(&weights.bases.unwrap_or(3)) {
            return self.fail("has weights.bases outside 1 to 8");
        }
        if !weights.sparsity.is_none_or(|s| s > 0.0 && s < 1.0) {
            return self.fail("has weights.sparsity outside 0 to 1");
        }
        if weights.fan_in == Some(0) {
            return self.fail("has weights.fan_in = 0, so its outputs would be constant");
        }
        if form == WeightName::Ternary && weights.fan_in.is_none() && weights.sparsity.is_none() {
            return self.fail("has ternary weights, which need weights.sparsity or weights.fan_in");
        }
        if weights.fan_in.is_some() && weights.sparsity.is_some() {
            return self.fail("has both weights.sparsity and weights.fan_in; give one");
        }
        match weights.estimator {
            None => {}
            Some(_) if !takes_estimator(form) => {
                return self.fail("has a weights.estimator, which this form does not take");
            }
            Some(EstimatorName::Progressive) => {
                return self.fail(
                    "has weights.estimator = \"progressive\", which is for activations: its values are real in training",
                );
            }
            Some(EstimatorName::Clipped) if weights.clip == 0.0 => {
                return self.fail("has weights.estimator = \"clipped\", which needs weights.clip");
            }
            Some(name) if name != EstimatorName::Clipped && weights.clip != 0.0 => {
                return self.fail("has a weights.clip, which is for the estimator \"clipped\"");
            }
            Some(_) => {}
        }
        if !(weights.clip.is_finite() && weights.clip >= 0.0) {
            return self.fail("has a weights.clip that is no number of at least 0");
        }
        Ok(())
    }

    pub(super) fn check_activation(&self, spec: &ActivationSpec) -> Result<(), RecipeError> {
        if spec.bits.is_some() && spec.form != ActivationName::Dorefa {
            return self.fail("has input.bits, which this form does not take");
        }
        if !(1..=8).contains(&spec.bits.unwrap_or(2)) {
            return self.fail("has input.bits outside 1 to 8");
        }
        if !spec.clip.is_none_or(|clip| clip.is_finite() && clip > 0.0) {
            return self.fail("has an input.clip that is no positive number");
        }
        let is_sign = matches!(spec.form, ActivationName::Sign | ActivationName::Rsign);
        if spec.estimator.is_some() && !is_sign {
            return self.fail("has an input.estimator, which is for \"sign\" and \"rsign\"");
        }
        if spec.clip.is_some() && !is_sign && spec.form != ActivationName::Heaviside {
            return self.fail("has an input.clip, which this form does not take");
        }
        Ok(())
    }
}

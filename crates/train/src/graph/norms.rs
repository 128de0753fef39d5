//! Norms, and which sums each can follow.

use super::build::{Builder, Built};
use super::*;
use crate::binarize::takes_scale;
use crate::recipe::layers::{ScaleName, StandardiseName};

const NO_INTEGER_SUMS: &str = "has norm = \"batch-integer\", which needs integer sums: a dense layer with a binary input, \
     weights of -1, 0 and +1 without scale, and no bias";

impl Builder {
    pub(super) fn norm(
        &mut self,
        name: &str,
        x: usize,
        norm: NormName,
        groups: Option<usize>,
    ) -> Built {
        let extent = self.graph.extent(x);
        let op = match norm {
            NormName::None => return Ok(x),
            NormName::Batch => NodeOp::BatchNorm { is_integer: false },
            NormName::BatchInteger => {
                self.check_integer_sums(x)?;
                NodeOp::BatchNorm { is_integer: true }
            }
            NormName::Group => {
                let groups = groups.or(self.defaults.groups_of_norm).unwrap_or(8);
                if groups == 0 || !extent.channels.is_multiple_of(groups) {
                    return self.fail(format!(
                        "has a group norm of {groups} groups over {} channels, which they do not divide",
                        extent.channels
                    ));
                }
                NodeOp::GroupNorm { groups }
            }
        };
        Ok(self.push(name.to_string(), op, vec![x], extent, ValueKind::Real))
    }

    /// Refuses a value that is no integer sum of a dense layer.
    fn check_integer_sums(&self, x: usize) -> Result<(), RecipeError> {
        let mut node = x.checked_sub(1).map(|idx| &self.graph.nodes[idx]);
        if let Some(quantiser) = node
            && matches!(quantiser.op, NodeOp::QuantiseGradient { .. })
        {
            node = Some(&self.graph.nodes[quantiser.inputs[0] - 1]);
        }
        let Some((node, NodeOp::Product(product))) = node.map(|node| (node, &node.op)) else {
            return self.fail(NO_INTEGER_SUMS);
        };
        let weights = &product.weights;
        let is_int = matches!(product.shape, ProductShape::Dense { .. })
            && self.graph.kind(node.inputs[0]) == ValueKind::Bits
            && takes_scale(weights.form)
            && weights.scale == ScaleName::None
            && weights.standardise != StandardiseName::Scaled;
        // The scores stay below 2^24, which binary32 holds exactly.
        match is_int && product.shape.n_cols() < 1 << 17 {
            true => Ok(()),
            false => self.fail(NO_INTEGER_SUMS),
        }
    }
}

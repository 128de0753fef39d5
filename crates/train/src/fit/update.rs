//! Which rule and numbers a parameter is stepped with, and whether a stage's rules suit its weights.
//!
//! In: a stage and a parameter's place in the network. Out: the numbers of its next step.

use crate::graph::{NodeOp, ProductShape};
use crate::mode::WeightForm;
use crate::network::{Network, Role};
use crate::optim::{Form, Update};
use crate::recipe::layers::{StandardiseName, WeightName};
use crate::recipe::optimizer::{GroupSpec, LrScale, Match, RuleName};
use crate::recipe::{RecipeError, Stage, StageKind};

/// The numbers of step `step`, from 1 on, for the parameter of a node and role; `lr` is the stage's present rate.
pub(super) fn update_of(
    stage: &Stage,
    network: &Network,
    (node, role): (usize, Role),
    lr: f32,
    step: u32,
) -> Update {
    let is_weight = role.has_form();
    let is_binary = is_weight && network.is_binary(node);
    let kind = match (is_weight, is_binary) {
        (false, _) => Match::Vectors,
        (true, true) => Match::BinaryWeights,
        (true, false) => Match::RealWeights,
    };
    let group = group_of(stage, network, node, kind).map(|i| &stage.groups[i]);
    let own = group.and_then(|group| group.optimizer.as_ref());
    let spec = own.unwrap_or(&stage.optimizer);
    // A stage's decay is for real weights: the real copies of binary weights have no scale that it could act on, and
    // vectors are few. A group that gives its own rule gives its own decay.
    let decays = match kind {
        Match::RealWeights => role == Role::Weight,
        Match::BinaryWeights | Match::Vectors => own.is_some(),
    };
    let clips = is_weight && (is_binary || stage.kind == StageKind::Compress);
    let factor = group.map_or(1.0, |group| {
        group.lr_factor * scale_of(group.lr_scale, network, node)
    });
    Update {
        rule: spec.rule(),
        lr: lr * factor,
        decay: if decays { spec.weight_decay } else { 0.0 },
        step,
        latent_clip: match clips && stage.latent_clip > 0.0 {
            true => stage.latent_clip,
            false => f32::INFINITY,
        },
        clip_share: if role == Role::Weight {
            spec.clip_share
        } else {
            0.0
        },
    }
}

/// The index of the first group that holds a parameter of this kind.
fn group_of(stage: &Stage, network: &Network, node: usize, kind: Match) -> Option<usize> {
    let name = &network.graph.nodes[node].name;
    let holds = |group: &GroupSpec| {
        group.matches == kind
            && (group.layers.is_empty() || group.layers.iter().any(|layer| is_of(name, layer)))
    };
    stage.groups.iter().position(holds)
}

/// Whether the step `name` belongs to a layer: `conv2.norm` does to `conv2`.
fn is_of(name: &str, layer: &str) -> bool {
    let rest = name.strip_prefix(layer);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// BinaryConnect's factor on the rate of a product's weights, from the fan-in and fan-out of Glorot & Bengio 2010.
fn scale_of(scale: LrScale, network: &Network, node: usize) -> f32 {
    match (&network.graph.nodes[node].op, scale) {
        (NodeOp::Product(product), LrScale::Glorot) => {
            let fan_in = product.shape.n_cols();
            let taps = match &product.shape {
                ProductShape::Dense { .. } => 1,
                ProductShape::Conv { window, .. } => window.kernel[0] * window.kernel[1],
            };
            let fan_out = product.shape.n_rows() * taps;
            ((fan_in + fan_out) as f32 / 1.5).sqrt()
        }
        _ => 1.0,
    }
}

/// Refuses groups of layers that there are not, and Bop for weights that are more than their signs.
///
/// # Errors
/// [`RecipeError::Value`] naming the group and the layer.
pub(super) fn check_groups(stage: &Stage, at: &str, network: &Network) -> Result<(), RecipeError> {
    let bad = |i: usize, key: &str, problem: String| {
        let key = format!("{at}.group[{i}].{key}");
        Err(RecipeError::Value { key, problem })
    };
    let nodes = &network.graph.nodes;
    for (i, group) in stage.groups.iter().enumerate() {
        let is_known = |layer: &&String| nodes.iter().any(|node| is_of(&node.name, layer));
        if let Some(layer) = group.layers.iter().find(|layer| !is_known(layer)) {
            let products = nodes.iter().filter(|n| matches!(n.op, NodeOp::Product(_)));
            let names: Vec<&str> = products.map(|node| &*node.name).collect();
            let problem = format!("names `{layer}`; the layers are {}", names.join(", "));
            return bad(i, "layers", problem);
        }
    }
    let is_bop = |i: &usize| {
        let own = stage.groups[*i].optimizer.as_ref();
        own.is_some_and(|optimizer| optimizer.rule == RuleName::Bop)
    };
    for (idx, node) in nodes.iter().enumerate() {
        if !network.is_binary(idx) || are_signs(network, idx) {
            continue;
        }
        let group = group_of(stage, network, idx, Match::BinaryWeights);
        if let Some(i) = group.filter(is_bop) {
            let problem = format!(
                "is \"bop\", which only flips signs, but the weights of `{}` are more than signs; give it layers with \
                 weights = \"sign\" in `layers`",
                node.name
            );
            return bad(i, "optimizer.rule", problem);
        }
    }
    Ok(())
}

/// Whether a product's weights are the signs of their real copies, scaled or not.
fn are_signs(network: &Network, node: usize) -> bool {
    let NodeOp::Product(product) = &network.graph.nodes[node].op else {
        return false;
    };
    match network.mode.form(product) {
        WeightForm::Simple(form) => form == Form::Sign,
        WeightForm::Method(spec) => {
            spec.form == WeightName::Sign && spec.standardise == StandardiseName::None
        }
    }
}

#[cfg(test)]
#[path = "update_tests.rs"]
mod tests;

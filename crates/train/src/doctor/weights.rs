//! Facts about the binary weights of a network: which starve, how they are spread, how often they turn.

use serde::Serialize;

use crate::graph::{NodeOp, Product};
use crate::mode::Mode;
use crate::network::{Network, NodeState, Role};
use crate::ops::values;
use crate::outcome::EpochRecord;
use crate::recipe::layers::WeightName;
use crate::recipe::optimizer::{Match, RuleName};
use crate::recipe::{Stage, StageKind};

/// One layer whose weights are binary at the end of the run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WeightFacts {
    /// Its name.
    pub layer: String,
    /// Number of its weights.
    pub weights: usize,
    /// The magnitude from which on a real copy counts as starved: the stage's `latent_clip`, or 1 without one.
    pub limit: f32,
    /// Share of real copies that are starved; `None` where they are the bits themselves (Bop) and in stages whose
    /// weights are real.
    pub starved: Option<f64>,
    /// Share of weights that are zero.
    pub zeros: f64,
    /// Share of positive weights among those that are not zero; `None` if all are zero.
    pub positive: Option<f64>,
    /// The magnitude of real copies: 10th percentile, median, 90th percentile.
    pub magnitudes: [f32; 3],
    /// Share of weights that changed sign, per step of the last epoch; `None` if the log does not say.
    pub flips: Option<f64>,
    /// The greatest such share of any epoch of the stage.
    pub most_flips: Option<f64>,
}

/// The facts of every layer whose weights are binary in the run's `last` mode. `history` is that of `stage`.
pub fn weight_facts(
    network: &Network,
    stage: &Stage,
    last: &Mode,
    history: &[&EpochRecord],
) -> Vec<WeightFacts> {
    let nodes = network.graph.nodes.iter().zip(&network.nodes).enumerate();
    nodes
        .filter_map(|(idx, (node, state))| {
            let NodeOp::Product(product) = &node.op else {
                return None;
            };
            if !last.form(product).is_binary() {
                return None;
            }
            let clips = network.is_binary(idx) || stage.kind == StageKind::Compress;
            let moves = clips && !follows_bop(stage, network.is_binary(idx));
            Some(layer(
                &node.name,
                product,
                state,
                limit(stage),
                moves,
                history,
            ))
        })
        .collect()
}

/// As the log's starved share has it.
fn limit(stage: &Stage) -> f32 {
    if stage.latent_clip > 0.0 {
        stage.latent_clip
    } else {
        1.0
    }
}

/// Bop keeps the bit itself where other rules keep a real copy.
fn follows_bop(stage: &Stage, is_binary: bool) -> bool {
    let kind = match is_binary {
        true => Match::BinaryWeights,
        false => Match::RealWeights,
    };
    let group = stage.groups.iter().find(|group| group.matches == kind);
    let spec = group
        .and_then(|group| group.optimizer.as_ref())
        .unwrap_or(&stage.optimizer);
    spec.rule == RuleName::Bop
}

fn layer(
    name: &str,
    product: &Product,
    state: &NodeState,
    limit: f32,
    moves: bool,
    history: &[&EpochRecord],
) -> WeightFacts {
    let weight = state.param(Role::Weight);
    let n = weight.latent.len();
    let share = |count: usize, of: usize| count as f64 / of as f64;
    // AdaBin's second base is all ones: the place of its weights' mean, not a sign.
    let n_bases = match product.weights.form {
        WeightName::Adabin if !product.follows_stage => 1,
        _ => state.factors.len(),
    };
    let (mut zeros, mut positive, mut codes) = (0, 0, 0);
    for factor in &state.factors[..n_bases] {
        let factor = values(&factor.codes);
        codes += factor.len();
        zeros += factor.iter().filter(|w| **w == 0.0).count();
        positive += factor.iter().filter(|w| **w > 0.0).count();
    }
    let of_record = |record: &EpochRecord| {
        let found = record.flips.iter().find(|(layer, _)| layer == name);
        found.map(|(_, flips)| *flips)
    };
    WeightFacts {
        layer: name.to_string(),
        weights: n,
        limit,
        starved: moves.then(|| share(weight.starved(limit), n)),
        zeros: share(zeros, codes),
        positive: (codes > zeros).then(|| share(positive, codes - zeros)),
        magnitudes: magnitudes(&weight.latent),
        flips: history.last().and_then(|record| of_record(record)),
        most_flips: history
            .iter()
            .filter_map(|record| of_record(record))
            .reduce(f64::max),
    }
}

/// 10th percentile, median and 90th percentile of magnitudes, each a value that occurs.
fn magnitudes(latent: &[f32]) -> [f32; 3] {
    let mut sorted: Vec<f32> = latent.iter().map(|w| w.abs()).collect();
    sorted.sort_unstable_by(f32::total_cmp);
    let last = sorted.len().saturating_sub(1);
    [1, 5, 9].map(|tenths| sorted.get(last * tenths / 10).copied().unwrap_or(0.0))
}

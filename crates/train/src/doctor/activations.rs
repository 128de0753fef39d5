//! Facts about the codes that activations become: channels that never change, balance, blocked gradients.

use burn::backend::flex::FlexTensor;
use serde::Serialize;

use crate::graph::{Graph, NodeOp};
use crate::network::{Network, Role};
use crate::ops::{Estimator, Unit, unit_derivative, values};

/// A derivative below this share of its greatest counts as none.
const LEAST_DERIVATIVE: f32 = 0.01;

/// One quantiser of activations, over all examples looked at.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ActivationFacts {
    /// Its name.
    pub layer: String,
    /// Number of its channels.
    pub channels: usize,
    /// The channels that have one code at every position of every example.
    pub constant: Vec<usize>,
    /// Share of +1, or of codes above 0. In stages whose activations are still real, their signs count.
    pub positive: f64,
    /// Mean over the channels of their codes' entropy, in bits.
    pub entropy: f64,
    /// The greatest entropy that these codes can have, in bits.
    pub most_entropy: f64,
    /// Share of values before the quantiser at which less than a hundredth of the estimator's greatest
    /// derivative is left, so that no gradient passes.
    pub blocked: f64,
    /// Half width of the estimator's window, where it has a fixed one from the recipe.
    pub clip: Option<f32>,
}

/// The facts of every quantiser of a network, over `batches` of encoded examples `[batch][inputs]`. The
/// estimators are those at `progress` in `[0, 1]` of the stage.
///
/// # Panics
/// If a batch does not fit the network's input.
pub fn activation_facts(
    network: &Network,
    progress: f32,
    batches: impl Iterator<Item = FlexTensor>,
) -> Vec<ActivationFacts> {
    let mut counts: Vec<Counts> = network
        .graph
        .nodes
        .iter()
        .enumerate()
        .filter_map(|(idx, node)| match &node.op {
            NodeOp::Activate { spec, .. } => {
                let unit = network.mode.unit(spec, progress, 0);
                Some(Counts::new(idx, node.extent.channels, unit))
            }
            _ => None,
        })
        .collect();
    for x in batches {
        count_batch(network, x, &mut counts);
    }
    counts
        .iter()
        .map(|counts| counts.facts(&network.graph))
        .collect()
}

fn count_batch(network: &Network, x: FlexTensor, counts: &mut [Counts]) {
    let ids = counts
        .iter()
        .flat_map(|c| [network.graph.nodes[c.node].inputs[0], c.node + 1]);
    let ids: Vec<usize> = ids.collect();
    let input = values(&x).to_vec();
    let (_, mut kept) = network.evaluate_values(x, &ids);
    for (counts, kept) in counts.iter_mut().zip(kept.chunks_exact_mut(2)) {
        let (before, after) = kept.split_at_mut(1);
        let before = match network.graph.nodes[counts.node].inputs[0] {
            0 => &mut input.clone(),
            _ => &mut before[0],
        };
        if let Some(shift) = network.nodes[counts.node].find(Role::Shift) {
            for row in before.chunks_exact_mut(counts.channels) {
                row.iter_mut().zip(&shift.latent).for_each(|(x, s)| *x += s);
            }
        }
        counts.add(before, &after[0]);
    }
}

/// What is counted about one quantiser.
struct Counts {
    node: usize,
    channels: usize,
    unit: Unit,
    n_codes: usize,
    /// `[channel][code]`.
    codes: Vec<u64>,
    blocked: u64,
    total: u64,
}

impl Counts {
    fn new(node: usize, channels: usize, unit: Unit) -> Counts {
        let n_codes = match unit {
            Unit::Levels { bits } => 1 << bits.min(8),
            _ => 2,
        };
        Counts {
            node,
            channels,
            unit,
            n_codes,
            codes: vec![0; channels * n_codes],
            blocked: 0,
            total: 0,
        }
    }

    /// Counts values before and after the quantiser, both `[position][channel]`.
    fn add(&mut self, before: &[f32], after: &[f32]) {
        let (n_codes, unit) = (self.n_codes, self.unit);
        let code = |value: f32| match unit {
            // Codes are whole numbers below `n_codes`.
            Unit::Levels { .. } => (value as usize).min(n_codes - 1),
            Unit::Heaviside { .. } | Unit::Relu => usize::from(value > 0.0),
            _ => usize::from(value >= 0.0),
        };
        for row in after.chunks_exact(self.channels) {
            let counts = self.codes.chunks_exact_mut(n_codes);
            for (counts, &value) in counts.zip(row) {
                counts[code(value)] += 1;
            }
        }
        let least = LEAST_DERIVATIVE * greatest_derivative(unit);
        let derivative = unit_derivative(before, unit);
        let blocked = derivative.iter().filter(|d| **d < least).count();
        self.blocked += blocked as u64;
        self.total += derivative.len() as u64;
    }

    fn facts(&self, graph: &Graph) -> ActivationFacts {
        let channels = || self.codes.chunks_exact(self.n_codes);
        let is_constant = |counts: &[u64]| counts.iter().filter(|n| **n > 0).count() <= 1;
        let set: u64 = channels().flat_map(|counts| &counts[1..]).sum();
        let total = self.total.max(1) as f64;
        ActivationFacts {
            layer: graph.nodes[self.node].name.clone(),
            channels: self.channels,
            constant: channels()
                .enumerate()
                .filter(|(_, counts)| is_constant(counts))
                .map(|(channel, _)| channel)
                .collect(),
            positive: set as f64 / total,
            entropy: channels().map(entropy).sum::<f64>() / self.channels as f64,
            most_entropy: (self.n_codes as f64).log2(),
            blocked: self.blocked as f64 / total,
            clip: match self.unit {
                Unit::Sign(Estimator::Clipped { clip }) | Unit::Heaviside { clip } => Some(clip),
                _ => None,
            },
        }
    }
}

/// Every stand-in is greatest at 0, but those of ReLU and of codes, which begin there.
fn greatest_derivative(unit: Unit) -> f32 {
    unit_derivative(&[0.0, 0.5], unit)
        .into_iter()
        .fold(0.0, f32::max)
}

/// Entropy of a distribution given by counts, in bits.
fn entropy(counts: &[u64]) -> f64 {
    let total: u64 = counts.iter().sum();
    counts
        .iter()
        .filter(|n| **n > 0)
        .map(|&n| {
            let p = n as f64 / total as f64;
            -p * p.log2()
        })
        .sum::<f64>()
}

//! Random well-formed Nets, with the statistics that make folding hard.
//!
//! Every encoder comes up; norms have gains that are zero, negative, tiny and huge, and means and
//! offsets that put the threshold on a sum, between two, or far outside their reach.

use onebit_model::check_net;
use onebit_model::net::{Activation, BatchNorm, Encoder, Layer, Net};
use onebit_model::program::{Kind, Type};

use crate::programs::random_binary_weights;
use crate::random::Random;

/// A random Net; the same for the same seed.
pub fn random_net(seed: u64) -> Net {
    let mut random = Random::new(seed ^ 0x6e65_7473);
    let input = random_input_type(&mut random);
    let encoder = random_encoder(&mut random, &input);
    let mut n = encoder.n_outputs(input.n_elements());
    let n_layers = random.int(1, 4) as usize;
    let mut layers = Vec::with_capacity(n_layers);
    for layer_idx in 0..n_layers {
        let is_last = layer_idx + 1 == n_layers;
        let n_rows = if is_last {
            random.size(12)
        } else {
            random.size(130)
        };
        let weights = random_binary_weights(&mut random, n_rows, n);
        let bias = random
            .once_in(2)
            .then(|| (0..n_rows).map(|_| random.int(-1, 1) as i32).collect());
        let norm = (!random.once_in(4)).then(|| random_norm(&mut random, n_rows, n));
        let activation = if is_last {
            Activation::Scores
        } else {
            Activation::Sign
        };
        layers.push(Layer {
            name: format!("fc{layer_idx}"),
            weights,
            bias,
            norm,
            activation,
        });
        n = n_rows;
    }
    let notes = vec![("seed".into(), seed.to_string())];
    let net = Net {
        name: format!("random net {seed}"),
        input,
        encoder,
        layers,
        notes,
    };
    check_net(&net).expect("random Nets follow the rules that check_net checks");
    net
}

fn random_input_type(random: &mut Random) -> Type {
    if random.once_in(5) {
        return Type {
            kind: Kind::Real,
            shape: vec![random.size(40)],
        };
    }
    let shape = match random.once_in(2) {
        true => vec![random.size(9), random.size(7), random.size(3)],
        false => vec![random.size(130)],
    };
    Type {
        kind: Kind::Levels(8),
        shape,
    }
}

fn random_encoder(random: &mut Random, input: &Type) -> Encoder {
    let at = random.int(0, 255) as u8;
    let n_cuts = random.int(1, 5) as usize;
    if input.kind == Kind::Real {
        let mut cuts = vec![vec![0.0; input.n_elements()]; n_cuts];
        for feature in 0..input.n_elements() {
            let mut column: Vec<f32> = (0..n_cuts).map(|_| random.real()).collect();
            column.sort_by(|a, b| a.partial_cmp(b).expect("cuts are never NaN"));
            for (row, cut) in cuts.iter_mut().zip(column) {
                row[feature] = cut;
            }
        }
        return Encoder::RealThermometer { cuts };
    }
    match random.below(5) {
        0 => Encoder::Sign { at },
        1 => Encoder::ZeroOne { at },
        2 => Encoder::FixedPoint {
            bits: random.int(1, 8) as u8,
        },
        3 => {
            let mut cuts: Vec<u8> = (0..n_cuts).map(|_| random.int(0, 255) as u8).collect();
            cuts.sort_unstable();
            Encoder::Thermometer { cuts }
        }
        _ => Encoder::Levels,
    }
}

fn random_norm(random: &mut Random, n_rows: usize, n_cols: usize) -> BatchNorm {
    let spread = (n_cols as f32).sqrt() * 2.0 + 1.0;
    let uniform = |random: &mut Random| random.int(-1_000_000, 1_000_000) as f32 / 1e6;
    let mut list = |special: &[f32], ordinary: &dyn Fn(f32) -> f32| -> Vec<f32> {
        let mut number = || match random.once_in(6) {
            true => random.pick(special),
            false => ordinary(uniform(random)),
        };
        (0..n_rows).map(|_| number()).collect()
    };
    let gamma = list(
        &[0.0, -0.0, 1e-30, -1e-30, 1e12, -1e12, f32::MIN_POSITIVE],
        &|x| x * 2.0,
    );
    let beta = list(&[0.0, -0.0, 1e20, -1e20, 1e-40], &|x| x);
    let mean = list(&[0.0, 1.0, -2.0, 1e9, -1e9, 0.5], &|x| x * spread);
    let var = list(&[0.0, 1e-12, 1e20, 4.0], &|x| (x * spread) * (x * spread));
    BatchNorm {
        gamma,
        beta,
        mean,
        var,
        eps: 1e-5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_net() {
        for seed in 0..50 {
            assert_eq!(random_net(seed), random_net(seed));
        }
    }
}

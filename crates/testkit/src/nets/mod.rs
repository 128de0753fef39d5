//! Random well-formed Nets, with the statistics that make folding hard.
//!
//! Every encoder and every layer comes up: chains of dense layers, and graphs of convolutions over small
//! images with residual sums, products, pools and joins. Norms have gains that are zero, negative, tiny
//! and huge, and means and offsets that put the threshold on a sum, between two, or far outside their reach.

mod layers;
mod sketch;

use onebit_model::net::{BatchNorm, Encoder, LayerOp, Net};
use onebit_model::program::{Kind, Type};

use crate::programs::random_binary_weights;
use crate::random::Random;
use sketch::NetSketch;

/// A random Net; the same for the same seed. Every other one is a chain of dense layers.
pub fn random_net(seed: u64) -> Net {
    match seed % 2 {
        0 => random_dense_net(seed),
        _ => random_graph_net(seed),
    }
}

/// A random chain of dense layers `fc0`, `fc1`, ... with norms and signs between them.
pub fn random_dense_net(seed: u64) -> Net {
    let mut random = Random::new(seed ^ 0x6e65_7473);
    let input = random_input_type(&mut random);
    let encoder = random_encoder(&mut random, &input);
    let mut sketch = NetSketch::new(&format!("random net {seed}"), input, encoder, random);
    let n_layers = sketch.random.int(1, 4) as usize;
    let mut x = sketch.encoded();
    for layer_idx in 0..n_layers {
        let is_last = layer_idx + 1 == n_layers;
        let n_cols = sketch.ty(x).n_elements();
        let random = &mut sketch.random;
        let n_rows = random.size(if is_last { 12 } else { 130 });
        let weights = random_binary_weights(random, n_rows, n_cols);
        let bias = random
            .once_in(2)
            .then(|| (0..n_rows).map(|_| random.int(-1, 1) as i32).collect());
        let name = format!("fc{layer_idx}");
        x = sketch.push(&name, LayerOp::Dense { weights, bias }, &[x]);
        if !sketch.random.once_in(4) {
            let norm = random_norm(&mut sketch.random, n_rows, n_cols);
            x = sketch.push(&format!("{name}.norm"), LayerOp::Norm(norm), &[x]);
        }
        if !is_last {
            x = sketch.push(&format!("{name}.sign"), LayerOp::Sign, &[x]);
        }
    }
    sketch.finish(seed)
}

/// A random graph of any layers; the same for the same seed.
pub fn random_graph_net(seed: u64) -> Net {
    let mut random = Random::new(seed ^ 0x0067_7261_7068);
    let input = match random.once_in(4) {
        true => random_input_type(&mut random),
        false => random_image_type(&mut random),
    };
    let encoder = random_encoder(&mut random, &input);
    let mut sketch = NetSketch::new(&format!("random graph {seed}"), input, encoder, random);
    let n_steps = sketch.random.int(3, 14);
    for _ in 0..n_steps {
        let x = match sketch.random.once_in(5) {
            true => sketch.any_value(),
            false => sketch.last_value(),
        };
        layers::append(&mut sketch, x);
    }
    layers::head(&mut sketch);
    sketch.finish(seed)
}

fn random_input_type(random: &mut Random) -> Type {
    if random.once_in(5) {
        return Type {
            kind: Kind::Real,
            shape: vec![random.size(40)],
        };
    }
    if random.once_in(2) {
        return random_image_type(random);
    }
    Type {
        kind: Kind::Levels(8),
        shape: vec![random.size(130)],
    }
}

fn random_image_type(random: &mut Random) -> Type {
    Type {
        kind: Kind::Levels(8),
        shape: vec![random.size(9), random.size(7), random.size(3)],
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
    match random.below(6) {
        5 if input.shape.len() == 3 => {
            let cuts = ascending(random, n_cuts);
            Encoder::ChannelThermometer { cuts }
        }
        0 => Encoder::Sign { at },
        1 => Encoder::ZeroOne { at },
        2 => Encoder::FixedPoint {
            bits: random.int(1, 8) as u8,
        },
        3 => Encoder::Thermometer {
            cuts: ascending(random, n_cuts),
        },
        _ => Encoder::Levels,
    }
}

fn ascending(random: &mut Random, n: usize) -> Vec<u8> {
    let mut cuts: Vec<u8> = (0..n).map(|_| random.int(0, 255) as u8).collect();
    cuts.sort_unstable();
    cuts
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
    use onebit_model::{check_net, net_to_bytes};
    use std::collections::BTreeMap;

    #[test]
    fn a_seed_gives_the_same_net() {
        for seed in 0..50 {
            assert_eq!(random_net(seed), random_net(seed));
        }
    }

    #[test]
    fn every_layer_and_every_encoder_comes_up() {
        let mut found: BTreeMap<String, usize> = BTreeMap::new();
        for seed in 0..600 {
            let net = random_net(seed);
            check_net(&net).unwrap();
            let encoder = format!("{:?}", net.encoder);
            let ops = net.layers.iter().map(|layer| format!("{:?}", layer.op));
            for text in ops.chain([encoder]) {
                let end = text
                    .find(|c: char| !c.is_alphanumeric())
                    .unwrap_or(text.len());
                *found.entry(text[..end].to_string()).or_default() += 1;
            }
            assert!(net_to_bytes(&net).len() < 4 << 20);
        }
        // 18 layers, 7 encoders; a word for both sign and levels apart from the layer's.
        assert_eq!(found.len(), 18 + 7 - 1, "{found:?}");
        assert!(found.values().all(|&n| n >= 20), "{found:?}");
    }
}

//! The distillation loss and its gradients against its formula in f64, and which values are compared.

use burn::tensor::{Device, TensorData};

use super::*;
use crate::graph::{Extent, build};
use crate::mode::Mode;
use crate::ops::flex_tensor;
use crate::simd::hash32;

const TEXT: &str = r#"
name = "t"
data = "x"
[input]
encoding = "levels"
normalise = true
[defaults]
norm = "batch"
input = "sign"
[[layer]]
kind = "conv"
channels = 4
weights = "real"
[[layer]]
kind = "conv"
channels = 6
stride = 2
[[layer]]
kind = "dense"
[[stage]]
kind = "bitwise"
epochs = 1
batch = 4
lr = 0.1
[twin]
kind = "float"
epochs = 1
batch = 4
lr = 0.1
"#;
const BATCH: usize = 4;
const N_CLASSES: usize = 3;

fn uniform(seed: u32, n: usize) -> Vec<f32> {
    (0..n)
        .map(|i| hash32(seed, i as u32) as f32 / 2f32.powi(31) - 1.0)
        .collect()
}

fn graph(text: &str, kind: ValueKind) -> Graph {
    let recipe = Recipe::parse(text).unwrap();
    let input = Extent {
        height: 6,
        width: 4,
        channels: 2,
    };
    build(&recipe, input, kind, N_CLASSES).unwrap()
}

fn teacher(student: &Graph) -> Teacher {
    // Another topology: more channels, and a pool in place of the stride.
    let text = TEXT
        .replace("channels = 4", "channels = 5\npool = 1")
        .replace("channels = 6\nstride = 2", "channels = 7\npool = 2");
    let graph = graph(&text, ValueKind::Real);
    let twin = Recipe::parse(&text).unwrap().twin.unwrap();
    let pairs = pairs(student, &graph);
    let network = Network::new(graph, Mode::of(&twin), 3);
    Teacher { network, pairs }
}

fn leaf(values: &[f64], rows: usize) -> Tensor<2> {
    let values: Vec<f32> = values.iter().map(|v| *v as f32).collect();
    let cols = values.len() / rows;
    let data = TensorData::new(values, [rows, cols]);
    Tensor::<2>::from_data(data, &Device::flex().autodiff()).require_grad()
}

/// `[values][elements]`: the scores, then the student's taps.
type Values = Vec<Vec<f64>>;

/// The loss in f64; the loss over labels is the sum of the scores.
fn expected(
    spec: &DistillSpec,
    own: &Values,
    theirs: &Values,
    pairs: &[(usize, usize, usize)],
) -> f64 {
    let t = f64::from(spec.temperature);
    let log_softmax = |row: &[f64]| -> Vec<f64> {
        let sum: f64 = row.iter().map(|s| (s / t).exp()).sum();
        row.iter().map(|s| s / t - sum.ln()).collect()
    };
    let mut total = f64::from(spec.labels) * own[0].iter().sum::<f64>();
    let rows = own[0]
        .chunks_exact(N_CLASSES)
        .zip(theirs[0].chunks_exact(N_CLASSES));
    for (own, theirs) in rows {
        let (q, p) = (log_softmax(own), log_softmax(theirs));
        let divergence: f64 = p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum();
        total += f64::from(spec.weight) * t * t * divergence / BATCH as f64;
    }
    for (i, &(_, _, positions)) in pairs.iter().enumerate() {
        let map = |values: &[f64]| -> Vec<f64> {
            let channels = values.len() / positions;
            let map: Vec<f64> = values
                .chunks_exact(channels)
                .map(|px| px.iter().map(|v| v * v).sum::<f64>() / channels as f64)
                .collect();
            let norm = map.iter().map(|v| v * v).sum::<f64>().sqrt();
            map.iter().map(|v| v / norm).collect()
        };
        let n = |values: &Vec<f64>| values.len() / BATCH;
        let (a, b) = (&own[i + 1], &theirs[i + 1]);
        for (a, b) in a.chunks_exact(n(a)).zip(b.chunks_exact(n(b))) {
            let off: f64 = map(a)
                .iter()
                .zip(map(b))
                .map(|(a, b)| (a - b).powi(2))
                .sum();
            total += f64::from(spec.attention) * off / BATCH as f64;
        }
    }
    total
}

#[test]
fn real_values_of_equal_size_are_compared() {
    let student = graph(TEXT, ValueKind::Levels { bits: 8, unit: 1.0 });
    let teacher = teacher(&student);
    let names: Vec<(&str, &str)> = teacher
        .pairs
        .iter()
        .map(|&(a, b, _)| {
            let theirs = &teacher.network.graph;
            assert_eq!(student.extent(a).positions(), theirs.extent(b).positions());
            (
                &student.nodes[a - 1].name[..],
                &theirs.nodes[b - 1].name[..],
            )
        })
        .collect();
    assert_eq!(
        names,
        [("conv1.norm", "conv2"), ("conv2.norm", "conv2.norm")]
    );
}

#[test]
fn the_loss_and_its_gradients_are_those_of_the_formula() {
    let student = graph(TEXT, ValueKind::Levels { bits: 8, unit: 1.0 });
    let teacher = teacher(&student);
    let x = flex_tensor(uniform(1, BATCH * 48), BATCH, 48);
    let taps: Vec<usize> = teacher.pairs.iter().map(|pair| pair.1).collect();
    let (scores, maps) = teacher.network.evaluate_values(x.clone(), &taps);
    let wide = |values: &[f32]| -> Vec<f64> { values.iter().map(|v| f64::from(*v)).collect() };
    let theirs: Values = [wide(values(&scores))]
        .into_iter()
        .chain(maps.iter().map(|map| wide(map)))
        .collect();
    let mut own: Values = vec![wide(&uniform(2, BATCH * N_CLASSES))];
    for (i, &(tap, _, _)) in teacher.pairs.iter().enumerate() {
        let n = BATCH * student.extent(tap).elements();
        own.push(wide(&uniform(3 + i as u32, n)));
    }
    let specs = [(1.0, 1.0, 1.0, 0.0), (0.3, 2.0, 3.0, 5.0)];
    for (labels, weight, temperature, attention) in specs {
        let spec = DistillSpec {
            labels,
            weight,
            temperature,
            attention,
        };
        let mut leaves = vec![leaf(&own[0], BATCH)];
        for (values, &(_, _, positions)) in own[1..].iter().zip(&teacher.pairs) {
            leaves.push(leaf(values, BATCH * positions));
        }
        let forward = Forward {
            scores: leaves[0].clone(),
            leaves: Vec::new(),
            stats: Vec::new(),
            taps: leaves[1..].to_vec(),
        };
        let base = leaves[0].clone().sum();
        let loss = teacher.loss(&spec, base, &forward, x.clone());
        let grads = loss.backward();
        let found = f64::from(loss.into_scalar::<f32>());
        let formula = |own: &Values| expected(&spec, own, &theirs, &teacher.pairs);
        let formula_value = formula(&own);
        assert!(
            (found - formula_value).abs() < 1e-4 * (1.0 + formula_value.abs()),
            "{found} {formula_value}"
        );
        for (v, leaf) in leaves.iter().enumerate() {
            let Some(grad) = leaf.grad(&grads) else {
                assert!(v > 0 && attention == 0.0);
                continue;
            };
            let grad = grad.into_data().try_to_vec::<f32>().unwrap();
            for i in (0..grad.len()).step_by(if v == 0 { 1 } else { 5 }) {
                let moved = |by: f64| {
                    let mut own = own.clone();
                    own[v][i] += by;
                    formula(&own)
                };
                let slope = (moved(1e-4) - moved(-1e-4)) / 2e-4;
                assert!(
                    (f64::from(grad[i]) - slope).abs() < 1e-4 * (1.0 + slope.abs()),
                    "value {v}, element {i}: {} {slope}",
                    grad[i]
                );
            }
        }
    }
}

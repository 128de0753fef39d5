//! A loop of one's own: the example's Program answers as its network, and a step by hand is the library's.

mod common;
#[path = "../examples/own_loop.rs"]
#[expect(dead_code, reason = "its main function is the example's")]
mod own_loop;

use burn::backend::flex::FlexTensor;
use common::{feeder, images, network};
use onebit_train::encode::{Augment, Target};
use onebit_train::mode::Mode;
use onebit_train::network::{Network, Role, STATS_RATE, leaf_gradients};
use onebit_train::ops::{BatchStats, values};
use onebit_train::optim::{Rule, Update};
use onebit_train::recipe::Recipe;

#[test]
fn the_example_learns_and_its_file_answers_as_its_network() {
    let dir = tempfile::tempdir().unwrap();
    let mut lines = Vec::new();
    let path = dir.path().join("own-loop.bnn");
    let (n_right, n_images) =
        own_loop::train_and_deploy(path, &mut |line| lines.push(line)).unwrap();
    assert_eq!(lines.len(), 20);
    assert!(
        n_right * 100 > n_images * 90,
        "{n_right} of {n_images}:\n{lines:?}"
    );
}

const TEXT: &str = r#"name = "h"
data = "x"
seed = 4
[input]
encoding = "levels"
[defaults]
norm = "batch"
input = "sign"
[[layer]]
kind = "conv"
channels = 4
weights = { form = "sign", scale = "mean", standardise = "libra" }
[[layer]]
kind = "conv"
channels = 4
weights = { form = "sign", scale = "learned", clip = 1.0 }
[[layer]]
kind = "dense"
bias = true
[[stage]]
kind = "compress"
epochs = 1
batch = 8
lr = 0.01
[[stage]]
kind = "bitwise"
epochs = 1
batch = 8
lr = 0.01
"#;

const RATE: f32 = 0.05;

/// Gradients of the sum of squared scores over all training images, and the batch's statistics.
fn gradients(network: &Network, x: FlexTensor) -> (Vec<FlexTensor>, Vec<Option<BatchStats>>) {
    let forward = network.forward(x, 1, &[]);
    let loss = (forward.scores.clone() * forward.scores).sum();
    let grads = leaf_gradients(forward.leaves, &mut loss.backward());
    (grads, forward.stats)
}

#[test]
fn a_step_by_hand_is_the_step_of_the_library() {
    let data = images([6, 6, 1], 3);
    let recipe = Recipe::parse(TEXT).unwrap();
    let all: Vec<usize> = (0..data.train.len()).collect();
    for (stage, target) in recipe
        .stages
        .iter()
        .zip([Target::ScaledCodes, Target::Codes])
    {
        let x = feeder(&recipe, &data).batch(&data.train, &all, target, Augment::NONE);
        let mut theirs = network(&recipe, &data);
        theirs.enter(Mode::of(stage));
        let mut ours = theirs.clone();

        let (grads, stats) = gradients(&theirs, x.clone());
        let update = |_: &Network, _: usize, _: Role| Update {
            rule: Rule::Sgd { momentum: 0.0 },
            lr: RATE,
            decay: 0.0,
            step: 1,
            latent_clip: f32::INFINITY,
            clip_share: 0.0,
        };
        theirs.step(grads, &stats, update, 7);

        let (mut grads, stats) = gradients(&ours, x.clone());
        ours.latent_gradients(&mut grads, 7);
        for ((_, _, param), grad) in ours.params_mut().zip(&grads) {
            let pairs = param.latent.iter_mut().zip(values(grad));
            pairs.for_each(|(w, g)| *w -= RATE * g);
        }
        ours.refresh(8);
        ours.blend_stats(&stats, STATS_RATE);

        for ((node, role, a), (_, _, b)) in theirs.clone().params_mut().zip(ours.params_mut()) {
            assert_eq!(a.latent, b.latent, "node {node}, {role:?}");
            assert_eq!(values(&a.value), values(&b.value), "node {node}, {role:?}");
        }
        let scores = [theirs.evaluate(x.clone()), ours.evaluate(x)];
        assert_eq!(values(&scores[0]), values(&scores[1]));
    }
}

#[test]
#[should_panic(expected = "columns of an encoded batch")]
fn a_batch_of_another_size_is_refused() {
    let data = images([6, 6, 1], 3);
    let recipe = Recipe::parse(TEXT).unwrap();
    network(&recipe, &data).forward(onebit_train::ops::flex_tensor(vec![0.0; 70], 2, 35), 0, &[]);
}

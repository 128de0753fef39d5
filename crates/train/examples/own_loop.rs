//! A training loop of your own over the layers that recipes use.
//!
//! In: the embedded digits, and layers as a recipe lists them. Out: `own-loop.bnn` in the folder for temporary files, a
//! Program that answers every test image as the trained network does. Batches, loss, rates and the choice of the epoch
//! are written here, the loss in Burn's operations; encoding, layers, gradients and export are the library's.
//!
//! `cargo run --release -p onebit-train --example own_loop`

use std::error::Error;
use std::path::{Path, PathBuf};

use onebit_compile::{Options, compile};
use onebit_data::{Dataset, Features, Split, SplitMix64, digits, split_validation};
use onebit_model::program::Program;
use onebit_model::{Tensor as Value, bnn, check_net, interpret, verify};
use onebit_train::burn::backend::flex::FlexTensor;
use onebit_train::burn::tensor::activation::log_softmax;
use onebit_train::burn::tensor::{Tensor, TensorData};
use onebit_train::encode::{Augment, Feeder, Target, fit_encoder};
use onebit_train::export::export;
use onebit_train::fit::network_graph;
use onebit_train::loss::n_correct;
use onebit_train::mode::Mode;
use onebit_train::network::{Network, Role, leaf_gradients};
use onebit_train::ops::values;
use onebit_train::optim::{Rule, Update};
use onebit_train::recipe::{Recipe, Stage, StageKind};

/// The layers, and the numbers that the loop reads.
const RECIPE: &str = r#"
name = "own-loop"
data = "digits"
validation = 200
[input]
encoding = "levels"
[defaults]
weights = "sign"
input = "sign"
norm = "batch"
[[layer]]
kind = "conv"
channels = 16
[[layer]]
kind = "conv"
channels = 32
pool = 2
[[layer]]
kind = "dense"
norm = "none"
[[stage]]
kind = "bitwise"
epochs = 20
batch = 32
lr = 0.01
"#;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::temp_dir().join("own-loop.bnn");
    let (n_right, n_images) = train_and_deploy(path.clone(), &mut |line| println!("{line}"))?;
    println!(
        "{}: {n_right} of {n_images} test images right",
        path.display()
    );
    Ok(())
}

/// Trains, writes the Program to `path`, and compares what is read back with the network. Gives the test images that
/// the Program answers right, and how many there are.
///
/// # Errors
/// A recipe whose layers do not fit or cannot be lowered, a file that cannot be written, a Program that answers otherwise.
pub fn train_and_deploy(
    path: PathBuf,
    tell: &mut dyn FnMut(String),
) -> Result<(usize, usize), Box<dyn Error>> {
    let recipe = Recipe::parse(RECIPE)?;
    let data = digits();
    let feeder = Feeder::new(
        fit_encoder(&recipe.input, &data)?,
        &recipe.input,
        &data.shape,
    );
    let stage = &recipe.stages[0];
    let graph = network_graph(&recipe, &data, &feeder, StageKind::Bitwise)?;
    let network = Network::new(graph, Mode::of(stage), recipe.seed);
    // What cannot be lowered is better known before training than after it.
    check_net(&export(&network, &recipe, feeder.encoder(), &data))?;

    let network = train(network, &recipe, &feeder, &data, tell);
    let net = export(&network, &recipe, feeder.encoder(), &data);
    let program = compile(&net, &Options::default())?;
    std::fs::write(&path, bnn::write(&program))?;
    compare(&path, &network, &feeder, &data)
}

/// The network of the epoch that was best on held-out images.
fn train(
    mut network: Network,
    recipe: &Recipe,
    feeder: &Feeder,
    data: &Dataset,
    tell: &mut dyn FnMut(String),
) -> Network {
    let stage = &recipe.stages[0];
    let (train, held_out) = split_validation(&data.train, recipe.validation, recipe.seed);
    let mut order: Vec<usize> = (0..train.len()).collect();
    let mut random = SplitMix64::new(recipe.seed);
    let (mut best, mut best_right) = (network.clone(), 0);
    let mut n_steps = 0;
    for epoch in 0..stage.epochs {
        network.set_progress(epoch as f32 / stage.epochs as f32);
        network.refresh(epoch as u32);
        random.shuffle(&mut order);
        let mut sum = 0.0;
        let batches = order.chunks_exact(stage.batch);
        let n_batches = batches.len();
        for indices in batches {
            n_steps += 1;
            let moved = Augment {
                shift: 1,
                seed: n_steps,
                ..Augment::NONE
            };
            let x = feeder.batch(&train, indices, Target::Codes, moved);
            let labels: Vec<u16> = indices.iter().map(|&i| train.labels[i]).collect();
            sum += step(&mut network, x, &labels, stage, n_steps);
        }
        network.settle();
        let right = n_right(&network, feeder, &held_out, data.n_classes);
        if right > best_right {
            (best, best_right) = (network.clone(), right);
        }
        let loss = sum / n_batches as f32;
        let n = held_out.len();
        tell(format!(
            "epoch {}: loss {loss:.4}, {right} of {n} held out right",
            epoch + 1
        ));
    }
    best
}

/// One step along the gradient of the loss, which it gives.
fn step(network: &mut Network, x: FlexTensor, labels: &[u16], stage: &Stage, n_steps: u32) -> f32 {
    let forward = network.forward(x, n_steps, &[]);
    let loss = focal_loss(forward.scores, labels);
    let value = loss.clone().into_scalar::<f32>();
    let mut gradients = loss.backward();
    let grads = leaf_gradients(forward.leaves, &mut gradients);
    drop(gradients);
    // Adam for weights, whose real copies stay within 1; descent with momentum for gains and offsets.
    let update = |network: &Network, node: usize, role: Role| {
        let is_weight = role.has_form();
        Update {
            rule: match is_weight {
                true => Rule::Adam {
                    beta1: 0.9,
                    beta2: 0.999,
                },
                false => Rule::Sgd { momentum: 0.9 },
            },
            lr: stage.lr * 0.98f32.powi(n_steps as i32 / 8),
            decay: 0.0,
            step: n_steps,
            latent_clip: match network.is_binary(node) && is_weight {
                true => 1.0,
                false => f32::INFINITY,
            },
            clip_share: 0.0,
        }
    };
    network.step(grads, &forward.stats, update, n_steps);
    value
}

/// The mean of `-(1 - p)^2 log p`, `p` the probability of the right class (Lin et al. 2017). `scores: [batch, classes]`.
fn focal_loss(scores: Tensor<2>, labels: &[u16]) -> Tensor<1> {
    let [n, n_classes] = scores.dims();
    let mut own = vec![0.0f32; n * n_classes];
    for (row, &label) in own.chunks_exact_mut(n_classes).zip(labels) {
        row[usize::from(label)] = 1.0;
    }
    let own = Tensor::<2>::from_data(TensorData::new(own, [n, n_classes]), &scores.device());
    let log_p = (log_softmax(scores, 1) * own).sum_dim(1);
    let miss = log_p.clone().exp() * -1.0 + 1.0;
    (miss.clone() * miss * log_p).mean() * -1.0
}

fn n_right(network: &Network, feeder: &Feeder, split: &Split, n_classes: usize) -> usize {
    let all: Vec<usize> = (0..split.len()).collect();
    let x = feeder.batch(split, &all, Target::Codes, Augment::NONE);
    n_correct(values(&network.evaluate(x)), &split.labels, n_classes)
}

/// Runs the file's Program on the test images; every score has to be the network's own.
fn compare(
    path: &Path,
    network: &Network,
    feeder: &Feeder,
    data: &Dataset,
) -> Result<(usize, usize), Box<dyn Error>> {
    let program: Program = bnn::read(&std::fs::read(path)?)?;
    let types = verify(&program)?;
    let Features::U8(pixels) = &data.test.features else {
        return Err("the digits are pixels".into());
    };
    let all: Vec<usize> = (0..data.test.len()).collect();
    let own = network.evaluate(feeder.batch(&data.test, &all, Target::Codes, Augment::NONE));
    let mut scores = Vec::new();
    let images = pixels.chunks_exact(data.test.n_features());
    for (i, (image, own)) in images
        .zip(values(&own).chunks_exact(data.n_classes))
        .enumerate()
    {
        let found = match interpret(&program, &types, &Value::Levels(image.to_vec())) {
            Value::Int(found) => found.iter().map(|&s| s as f32).collect(),
            Value::Real(found) => found,
            other => return Err(format!("scores are numbers, not {other:?}").into()),
        };
        if found != own {
            return Err(
                format!("test image {i}: the Program has {found:?}, the network {own:?}").into(),
            );
        }
        scores.extend(found);
    }
    let n_right = n_correct(&scores, &data.test.labels, data.n_classes);
    Ok((n_right, data.test.len()))
}

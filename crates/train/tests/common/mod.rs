//! Small data sets and runs for the tests of whole trainings.
//!
//! In: a shape and a seed, or a recipe. Out: a data set whose classes can be told apart, a finished run, or the
//! network that the run's checkpoint holds.
#![allow(
    dead_code,
    reason = "each test binary uses the part that it needs of this shared file"
)]

use std::path::Path;
use std::sync::atomic::AtomicBool;

use onebit_data::{Dataset, Features, Split};
use onebit_testkit::Random;
use onebit_train::checkpoint;
use onebit_train::device::DeviceName;
use onebit_train::encode::{Feeder, fit_encoder};
use onebit_train::fit::{Event, FitError, FitOptions, Outcome, fit, network_graph};
use onebit_train::mode::Mode;
use onebit_train::network::Network;
use onebit_train::recipe::Recipe;

/// A recipe of two convolutions and a dense layer, for [`images`].
pub const GOOD: &str = r#"name = "g"
data = "x"
validation = 8
[input]
encoding = "sign"
at = 128
[defaults]
norm = "batch"
[[layer]]
kind = "conv"
channels = 4
[[layer]]
kind = "conv"
channels = 8
input = "sign"
[[layer]]
kind = "dense"
[[stage]]
kind = "bitwise"
epochs = 1
batch = 8
lr = 0.01
"#;

/// Classes of every data set here.
pub const N_CLASSES: usize = 3;

/// 8-bit images `[h][w][c]`, 40 for training and 12 for tests; a class is brighter in its own third of the rows.
pub fn images(shape: [usize; 3], seed: u64) -> Dataset {
    let mut random = Random::new(seed);
    let [height, width, channels] = shape;
    let mut split = |n: usize| {
        let labels: Vec<u16> = (0..n).map(|i| (i % N_CLASSES) as u16).collect();
        let mut pixels = Vec::new();
        for &label in &labels {
            for at in 0..height * width * channels {
                let row = at / (width * channels);
                let is_own = row * N_CLASSES / height == usize::from(label);
                let noise = random.int(0, 150);
                pixels.push((noise + if is_own { 100 } else { 0 }) as u8);
            }
        }
        let features = Features::U8(pixels);
        Split { features, labels }
    };
    Dataset {
        name: "images".into(),
        shape: shape.to_vec(),
        n_classes: N_CLASSES,
        class_names: (0..N_CLASSES).map(|c| c.to_string()).collect(),
        train: split(40),
        test: split(12),
    }
}

/// Where a run goes, on one thread.
pub fn options(dir: &Path) -> FitOptions {
    FitOptions {
        run_dir: dir.into(),
        resume: true,
        threads: 1,
        device: DeviceName::Cpu,
    }
}

/// Trains, going on from what the folder holds.
pub fn run(recipe: &Recipe, data: &Dataset, dir: &Path) -> Result<Outcome, FitError> {
    run_and_count(recipe, data, dir).0
}

/// As [`run`]; also how many optimizer steps were taken.
pub fn run_and_count(
    recipe: &Recipe,
    data: &Dataset,
    dir: &Path,
) -> (Result<Outcome, FitError>, usize) {
    let mut n_steps = 0;
    let stop = AtomicBool::new(false);
    let result = fit(recipe, data, &options(dir), &stop, &mut |event| {
        n_steps += usize::from(matches!(event, Event::Step { .. }));
    });
    (result, n_steps)
}

/// What feeds the recipe's first layer.
pub fn feeder(recipe: &Recipe, data: &Dataset) -> Feeder {
    let encoder = fit_encoder(&recipe.input, data).unwrap();
    Feeder::new(encoder, &recipe.input, &data.shape)
}

/// The recipe's network in its last stage, before training.
pub fn network(recipe: &Recipe, data: &Dataset) -> Network {
    let feeder = feeder(recipe, data);
    let stage = recipe.stages.last().unwrap();
    let graph = network_graph(recipe, data, &feeder, stage.kind).unwrap();
    Network::new(graph, Mode::of(stage), recipe.seed)
}

/// The network of a finished run as it is deployed.
pub fn trained(recipe: &Recipe, data: &Dataset, dir: &Path) -> Network {
    let mut network = network(recipe, data);
    checkpoint::restore(&dir.join("last.ckpt"), &mut network).unwrap();
    network.set_progress(1.0);
    network.settle();
    network
}

//! Training on a device without onebit's own operations against training with them: the first step's loss,
//! statistics and gradients, and whether it learns.

use std::path::Path;

use onebit_data::{Dataset, digits};

use super::*;
use crate::device::DeviceError;
use crate::loss::loss;
use crate::network::leaf_gradients;
use crate::ops::{scheduled, with_composites};

/// Examples of a step: a power of two, so that means of whole numbers are the same however they are summed.
const BATCH: usize = 64;
const STAGE: &str = "[[stage]]\nkind = \"bitwise\"\nepochs = 4\nbatch = 64\nlr = 0.01\n";

/// Shortcuts, grown channels, PReLU, batch norm.
const RESIDUAL: &str = "[input]\nencoding = \"levels\"\nnormalise = true\n\
    [defaults]\nweights = { form = \"sign\", scale = \"mean\" }\ninput = { form = \"sign\", estimator = \"approx-sign\" }\n\
    norm = \"batch\"\nunit = \"prelu\"\nshortcut = \"duplicate\"\n\
    [[layer]]\nkind = \"conv\"\nchannels = 8\n\
    [[layer]]\nkind = \"conv\"\nchannels = 16\nstride = 2\n\
    [[layer]]\nkind = \"conv\"\nchannels = 16\n\
    [[layer]]\nkind = \"dense\"\n";

/// Groups, dilation, pads, pools, a scale map, several factors, real convolutions in shortcuts, rounded gradients.
const ODD: &str = "[input]\nencoding = \"levels\"\nnormalise = true\n\
    [defaults]\nweights = { form = \"abc\", bases = 2 }\ninput = \"rsign\"\n\
    norm = \"group\"\ngroups_of_norm = 2\nunit = \"rprelu\"\n\
    [[layer]]\nkind = \"conv\"\nchannels = 6\ninput = \"none\"\n\
    [[layer]]\nkind = \"max-pool\"\nsize = 3\nstride = 2\npad = 1\n\
    [[layer]]\nkind = \"conv\"\nchannels = 12\ngroups = 2\ndilation = 2\nshortcut = \"conv\"\npad_value = -1\ngradient_bits = 8\n\
    [[layer]]\nkind = \"conv\"\nchannels = 12\nscale_map = true\nweights = { form = \"sign\", scale = \"learned\" }\n\
    [[layer]]\nkind = \"avg-pool\"\nsize = 3\nstride = 1\npad = 1\n\
    [[layer]]\nkind = \"dense\"\nnorm = \"none\"\nbias = true\n";

/// Fully connected, with dropout and biases of the weights' form.
const DENSE: &str =
    "[input]\nencoding = \"zero-one\"\nat = 120\n[model]\nhidden = [65, 33]\nnorm = \"none\"\n";

fn recipe(layers: &str, stage: &str) -> Recipe {
    let text = format!(
        "name = \"t\"\ndata = \"digits\"\nseed = 3\nvalidation = 150\n{layers}{STAGE}{stage}"
    );
    Recipe::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

fn cases() -> Vec<Recipe> {
    vec![
        recipe(RESIDUAL, ""),
        recipe(ODD, "loss = \"square-hinge\"\n"),
        recipe(DENSE, "dropout_input = 0.1\ndropout_hidden = 0.2\n"),
        recipe(DENSE, "loss = \"bitwise\"\nsparsity = 0.3\n"),
    ]
}

/// Images `8 x 8` of noise: of equal maxima in a window, which digits have, each way of pooling picks its own.
fn noise() -> Dataset {
    let split = |seed: u32, n: usize| Split {
        features: Features::U8((0..n * 64).map(|i| hash32(seed, i as u32) as u8).collect()),
        labels: (0..n).map(|i| (i % 10) as u16).collect(),
    };
    Dataset {
        train: split(1, 300),
        test: split(2, 20),
        ..digits()
    }
}

fn options(dir: &Path) -> FitOptions {
    FitOptions {
        run_dir: dir.into(),
        resume: false,
        threads: 1,
        device: DeviceName::Cpu,
    }
}

/// What one forward and backward pass gives, by name.
fn first_step(recipe: &Recipe, data: &Dataset, device: Device) -> Vec<(String, Vec<f32>)> {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    let run = Run::open(recipe, data, &options).unwrap();
    let stage = &recipe.stages[0];
    let mut network = run.enter(stage, None).unwrap();
    network.device = device;
    let indices: Vec<usize> = (0..BATCH).collect();
    let labels: Vec<u16> = indices.iter().map(|&i| run.train.labels[i]).collect();
    let x = run
        .feeder
        .batch(&run.train, &indices, target(stage.kind), Augment::NONE);
    let forward = network.forward(x, 7, &[]);
    let estimator = scheduled(stage.estimator, stage.clip, 0.0);
    let loss = loss(
        forward.scores.clone(),
        &labels,
        stage.loss,
        1.0,
        0.1,
        estimator,
    );
    let value = loss.clone().inner().into_scalar::<f32>();
    let mut found = vec![("loss".to_string(), vec![value])];
    for (node, stats) in network.graph.nodes.iter().zip(&forward.stats) {
        if let Some(stats) = stats {
            found.push((format!("{}.mean", node.name), stats.mean.clone()));
            found.push((format!("{}.var", node.name), stats.var.clone()));
        }
    }
    let mut gradients = loss.backward();
    let grads = leaf_gradients(forward.leaves, &mut gradients);
    let names: Vec<String> = network.graph.nodes.iter().map(|n| n.name.clone()).collect();
    for ((node, role, _), grad) in network.params_mut().zip(grads) {
        found.push((
            format!("{}.{}", names[node], role.name()),
            values(&grad).to_vec(),
        ));
    }
    found
}

/// Each vector is within a thousandth of the other's length.
fn assert_close(ours: &[(String, Vec<f32>)], expected: &[(String, Vec<f32>)]) {
    assert_eq!(ours.len(), expected.len());
    for ((name, ours), (expected_name, expected)) in ours.iter().zip(expected) {
        assert_eq!((name, ours.len()), (expected_name, expected.len()));
        let length = |v: &mut dyn Iterator<Item = f32>| v.map(|x| x * x).sum::<f32>().sqrt();
        let off = length(&mut ours.iter().zip(expected).map(|(a, b)| a - b));
        let whole = length(&mut expected.iter().copied());
        assert!(off <= 1e-3 * whole + 1e-6, "{name}: {off} of {whole}");
    }
}

#[test]
fn composites_give_the_first_step_of_the_custom_operations() {
    let data = noise();
    for recipe in cases() {
        let expected = first_step(&recipe, &data, Device::default());
        let moved = expected.iter().filter(|(_, v)| v.iter().any(|v| *v != 0.0));
        assert!(moved.count() > expected.len() / 2, "gradients are zero");
        let ours = with_composites(|| first_step(&recipe, &data, Device::default()));
        assert_close(&ours, &expected);
    }
}

#[test]
fn composites_learn_the_digits() {
    let data = digits();
    let recipe = recipe(RESIDUAL, "");
    let dir = tempfile::tempdir().unwrap();
    let outcome = with_composites(|| {
        let stop = AtomicBool::new(false);
        Run::open(&recipe, &data, &options(dir.path()))
            .unwrap()
            .train(&stop, &mut |_| {})
    });
    let accuracy = outcome.unwrap().test.accuracy();
    assert!(accuracy > 0.8, "{accuracy}");
}

#[test]
fn a_device_that_is_not_there_is_refused_with_the_way_to_get_it() {
    for name in [DeviceName::Wgpu, DeviceName::Cuda] {
        match Device::open(name) {
            Ok(device) => assert_eq!(device.name(), name),
            Err(error @ DeviceError::NotBuilt(_)) => {
                assert!(
                    error
                        .to_string()
                        .contains(&format!("--features {}", name.name()))
                );
            }
            Err(error) => assert!(error.to_string().contains("driver"), "{error}"),
        }
    }
}

/// Of a build with a GPU backend; skipped where the machine has no such GPU.
#[cfg(any(feature = "wgpu", feature = "cuda"))]
fn gives_the_first_step_of_the_custom_operations(name: DeviceName) {
    let device = match Device::open(name) {
        Ok(device) => device,
        Err(error) => return println!("skipped: {error}"),
    };
    let data = noise();
    for recipe in cases() {
        let expected = first_step(&recipe, &data, Device::default());
        assert_close(&first_step(&recipe, &data, device.clone()), &expected);
    }
}

#[cfg(feature = "wgpu")]
#[test]
fn wgpu_gives_the_first_step_of_the_custom_operations() {
    gives_the_first_step_of_the_custom_operations(DeviceName::Wgpu);
}

#[cfg(feature = "cuda")]
#[test]
fn cuda_gives_the_first_step_of_the_custom_operations() {
    gives_the_first_step_of_the_custom_operations(DeviceName::Cuda);
}

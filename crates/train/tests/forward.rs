//! The training forward pass as a whole: its scores are evaluation's, its gradients those of differences.

mod common;

use burn::tensor::{Tensor, TensorData};
use common::{feeder, images, network};
use onebit_data::Dataset;
use onebit_testkit::Random;
use onebit_train::encode::{Augment, Target};
use onebit_train::mode::Mode;
use onebit_train::network::{Network, Role};
use onebit_train::ops::values;
use onebit_train::recipe::Recipe;

const HEAD: &str =
    "name = \"f\"\ndata = \"x\"\nseed = 4\n[input]\nencoding = \"levels\"\nnormalise = true\n";
const STAGES: &str = "[[stage]]\nkind = \"bitwise\"\nepochs = 1\nbatch = 8\nlr = 0.01\n\
    [twin]\nkind = \"float\"\nepochs = 1\nbatch = 8\nlr = 0.01\n";

/// Each step there is, in one network or another.
const NETS: [&str; 3] = [
    "[defaults]\nweights = \"sign\"\ninput = \"rsign\"\nnorm = \"group\"\ngroups_of_norm = 2\nunit = \"rprelu\"\n\
     [[layer]]\nkind = \"conv\"\nchannels = 6\nweights = \"real\"\n\
     [[layer]]\nkind = \"conv\"\nchannels = 12\nstride = 2\nshortcut = \"conv\"\ngroups_of_norm = 3\n\
     [[layer]]\nkind = \"conv\"\nchannels = 12\nshortcut = \"duplicate\"\nscale_map = true\ngradient_bits = 4\n\
     [[layer]]\nkind = \"global-avg-pool\"\n\
     [[layer]]\nkind = \"dense\"\nweights = \"real\"\ninput = \"none\"\nnorm = \"none\"\nbias = true\n",
    "[defaults]\nweights = { form = \"sign\", scale = \"learned\" }\ninput = \"sign\"\nnorm = \"batch\"\nunit = \"prelu\"\n\
     [[layer]]\nkind = \"conv\"\nchannels = 4\nweights = \"real\"\npool = 2\n\
     [[layer]]\nkind = \"separable\"\nchannels = 8\nshortcut = \"duplicate\"\nbias = true\n\
     [[layer]]\nkind = \"avg-pool\"\nsize = 3\nstride = 1\npad = 1\n\
     [[layer]]\nkind = \"dense\"\nunits = 9\ninput = { form = \"dorefa\", bits = 2 }\nunit = \"hardtanh\"\n\
     [[layer]]\nkind = \"dense\"\n",
    "[defaults]\nweights = { form = \"sign\", scale = \"mean\", standardise = \"scaled\" }\ninput = \"heaviside\"\n\
     norm = \"none\"\nunit = \"relu\"\n\
     [[layer]]\nkind = \"conv\"\nchannels = 4\nweights = { form = \"real\", standardise = \"scaled\" }\n\
     [[layer]]\nkind = \"max-pool\"\nsize = 3\nstride = 2\npad = 1\n\
     [[layer]]\nkind = \"conv\"\nchannels = 8\nshortcut = \"conv\"\n\
     [[layer]]\nkind = \"norm\"\nnorm = \"group\"\ngroups = 4\n\
     [[layer]]\nkind = \"dense\"\nbias = true\n",
];

fn recipe(layers: &str) -> Recipe {
    let text = format!("{HEAD}{layers}{STAGES}");
    Recipe::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// The network with vectors that are not where they start, each different.
fn uneven(recipe: &Recipe, data: &Dataset) -> Network {
    let mut network = network(recipe, data);
    let mut random = Random::new(6);
    for (_, role, param) in network.params_mut() {
        if !role.has_form() {
            for value in &mut param.latent {
                *value += random.int(-300, 300) as f32 / 1000.0;
            }
        }
    }
    network.refresh(0);
    network
}

fn length(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|v| v * v).sum::<f64>().sqrt()
}

#[test]
fn training_and_evaluation_give_the_same_scores() {
    let data = images([8, 8, 2], 5);
    for layers in NETS {
        let recipe = recipe(layers);
        let mut network = uneven(&recipe, &data);
        let all: Vec<usize> = (0..40).collect();
        let x = feeder(&recipe, &data).batch(&data.train, &all, Target::Codes, Augment::NONE);
        let forward = network.forward(x.clone(), 0, &[]);
        // Evaluation normalises by the statistics that the batch has.
        network.blend_stats(&forward.stats, 1.0);
        let evaluated = network.evaluate(x);
        let trained: Vec<f32> = forward.scores.into_data().try_to_vec().unwrap();
        let n_equal = trained
            .chunks_exact(3)
            .zip(values(&evaluated).chunks_exact(3))
            .filter(|(a, b)| {
                let off = a.iter().zip(*b).map(|(a, b)| (a - b).abs());
                off.fold(0.0, f32::max)
                    <= 1e-4 * (1.0 + b.iter().fold(0.0f32, |m, v| m.max(v.abs())))
            })
            .count();
        // A sum that is rounded otherwise may fall on the other side of a threshold, but hardly ever does.
        assert!(n_equal >= 38, "{n_equal} of 40:\n{layers}");
    }
}

/// `sum(scores * factors)` of a training forward pass.
fn objective(network: &Network, x: &[f32], factors: &[f32]) -> f64 {
    let n = x.len() / 40;
    let x = onebit_train::ops::flex_tensor(x.to_vec(), 40, n);
    let scores = network.forward(x, 0, &[]).scores.into_data();
    let scores: Vec<f32> = scores.try_to_vec().unwrap();
    let terms = scores.iter().zip(factors);
    terms.map(|(s, f)| f64::from(*s) * f64::from(*f)).sum()
}

#[test]
fn gradients_of_every_parameter_are_those_of_differences() {
    let data = images([8, 8, 2], 5);
    let mut roles = Vec::new();
    for layers in NETS {
        let recipe = recipe(layers);
        let mut network = uneven(&recipe, &data);
        // Its units are ReLU, so that the loss has a slope almost everywhere.
        network.enter(Mode::of(recipe.twin.as_ref().unwrap()));
        let all: Vec<usize> = (0..40).collect();
        let x = feeder(&recipe, &data).batch(&data.train, &all, Target::Real, Augment::NONE);
        let x = values(&x).to_vec();
        let mut random = Random::new(8);
        let factors: Vec<f32> = (0..40 * 3)
            .map(|_| random.int(-50, 50) as f32 / 100.0)
            .collect();
        let forward = network.forward(
            onebit_train::ops::flex_tensor(x.clone(), 40, x.len() / 40),
            0,
            &[],
        );
        let device = forward.scores.device();
        let weights = Tensor::<2>::from_data(TensorData::new(factors.clone(), [40, 3]), &device);
        let mut grads = (forward.scores.clone() * weights).sum().backward();
        let found: Vec<Option<Vec<f32>>> = forward
            .leaves
            .into_iter()
            .map(|leaf| {
                let grad = leaf.grad_remove(&mut grads)?;
                Some(grad.into_data().try_to_vec().unwrap())
            })
            .collect();
        let kinds: Vec<(usize, Role, usize)> = network
            .params_mut()
            .map(|(node, role, param)| (node, role, param.latent.len()))
            .collect();
        for (i, ((node, role, n), found)) in kinds.into_iter().zip(found).enumerate() {
            // Standardised weights' leaf is the effective weight, whose way to the real copy has tests of its own.
            let name = network.graph.nodes[node].name.clone();
            let is_direct = role != Role::Weight || network.nodes[node].find(Role::Scale).is_none();
            let Some(found) = found.filter(|_| is_direct) else {
                continue;
            };
            roles.push(role);
            let step = 5e-4f32;
            let picked: Vec<usize> = (0..n.min(12)).map(|k| k * n / n.min(12)).collect();
            // A unit's kink may lie at the point itself: then the gradient is the slope on one of its sides.
            let here = objective(&network, &x, &factors);
            let ours: Vec<f64> = picked.iter().map(|&at| f64::from(found[at])).collect();
            let slopes: Vec<f64> = picked
                .iter()
                .zip(&ours)
                .map(|(&at, ours)| {
                    let slope = |by: f32| {
                        let mut network = network.clone();
                        let (_, _, param) = network.params_mut().nth(i).unwrap();
                        param.latent[at] += by;
                        network.refresh(0);
                        (objective(&network, &x, &factors) - here) / f64::from(by)
                    };
                    let sides = [slope(step), slope(-step)];
                    let nearest =
                        |a: &&f64, b: &&f64| (*a - ours).abs().total_cmp(&(*b - ours).abs());
                    *sides.iter().min_by(nearest).unwrap()
                })
                .collect();
            let off = length(ours.iter().zip(&slopes).map(|(a, b)| a - b));
            let whole = length(slopes.iter().copied());
            assert!(
                off <= 0.05 * whole + 5e-2,
                "{name} {role:?}: {ours:?} against {slopes:?}"
            );
        }
    }
    for role in [
        Role::Weight,
        Role::Bias,
        Role::Gamma,
        Role::Beta,
        Role::Shift,
        Role::Slope,
        Role::After,
    ] {
        assert!(roles.contains(&role), "{role:?}");
    }
}

//! Random recipes: what training evaluates is what the exported Net, its lowered Program and the optimised one
//! compute, to the bit; and what cannot be lowered is refused before the first step.

mod common;

use common::{N_CLASSES, feeder, images, network, run_and_count, trained};
use onebit_compile::{Options, compile, lower};
use onebit_data::{Dataset, Features};
use onebit_model::net::{LayerOp, Net};
use onebit_model::program::Kind;
use onebit_model::{Evaluator, Tensor, interpret, verify};
use onebit_testkit::Random;
use onebit_train::encode::{Augment, Target};
use onebit_train::export::export;
use onebit_train::network::{Network, Role};
use onebit_train::ops::values;
use onebit_train::recipe::Recipe;

const N_RANDOM: u64 = 400;
/// Images that the Programs are run on.
const N_OF_PROGRAMS: usize = 5;

/// What became of a recipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Trained,
    Refused,
}

fn bits(scores: &Tensor) -> Vec<u32> {
    match scores {
        Tensor::Int(scores) => scores.iter().map(|&s| (s as f32).to_bits()).collect(),
        Tensor::Real(scores) => scores.iter().map(|s| s.to_bits()).collect(),
        other => panic!("scores are numbers, not {other:?}"),
    }
}

/// The network's own scores against those of the Net and of both Programs.
fn assert_agrees(text: &str, network: &Network, recipe: &Recipe, data: &Dataset, net: &Net) {
    let feeder = feeder(recipe, data);
    let all: Vec<usize> = (0..data.test.len()).collect();
    let x = feeder.batch(&data.test, &all, Target::Codes, Augment::NONE);
    let scores = network.evaluate(x);
    let Features::U8(pixels) = &data.test.features else {
        panic!("images are 8-bit")
    };
    let evaluator = Evaluator::new(net).unwrap();
    let programs = [
        lower(net).unwrap_or_else(|e| panic!("{e}\n{text}")),
        compile(net, &Options::default()).unwrap_or_else(|e| panic!("{e}\n{text}")),
    ];
    let types = programs.each_ref().map(|program| verify(program).unwrap());
    let n = data.test.n_features();
    for (i, own) in values(&scores).chunks_exact(N_CLASSES).enumerate() {
        let input = Tensor::Levels(pixels[i * n..][..n].to_vec());
        let evaluation = evaluator.evaluate(&input);
        let own: Vec<u32> = own.iter().map(|s| s.to_bits()).collect();
        assert_eq!(own, bits(evaluation.scores()), "example {i}\n{text}");
        if i < N_OF_PROGRAMS {
            for (program, types) in programs.iter().zip(&types) {
                let found = interpret(program, types, &input);
                assert_eq!(own, bits(&found), "example {i} of a Program\n{text}");
            }
        }
    }
}

/// Trains a recipe's text for an epoch and compares, or checks how it is refused.
fn check(text: &str, data: &Dataset) -> Fate {
    let recipe = match Recipe::parse(text) {
        Ok(recipe) => recipe,
        Err(error) => panic!("{error}\n{text}"),
    };
    let dir = tempfile::tempdir().unwrap();
    let (result, n_steps) = run_and_count(&recipe, data, dir.path());
    match result {
        Ok(outcome) => {
            assert!(n_steps > 0);
            let network = trained(&recipe, data, dir.path());
            let again = export(&network, &recipe, feeder(&recipe, data).encoder(), data);
            assert_eq!(again, outcome.net, "another net in the checkpoint\n{text}");
            assert_agrees(text, &network, &recipe, data, &outcome.net);
            Fate::Trained
        }
        Err(error) => {
            let message = error.to_string();
            assert_eq!(n_steps, 0, "refused after training: {message}\n{text}");
            assert!(message.contains("layer"), "no layer: {message}\n{text}");
            println!("{message}");
            Fate::Refused
        }
    }
}

const INPUTS: [&str; 6] = [
    "encoding = \"sign\"\nat = 120",
    "encoding = \"zero-one\"\nat = 120",
    "encoding = \"levels\"",
    "encoding = \"levels\"\nnormalise = true",
    "encoding = \"channel-thermometer\"\ncuts = [60, 120, 180]",
    "encoding = \"thermometer\"\ncuts = [90, 150]",
];
const STAGE: &str = "[[stage]]\nkind = \"bitwise\"\nepochs = 1\nbatch = 8\nlr = 0.02\n";

fn recipe(input: &str, defaults: &str, layers: &str, stage: &str) -> String {
    format!(
        "name = \"r\"\ndata = \"x\"\nvalidation = 8\nseed = 5\n[input]\n{input}\n[defaults]\n{defaults}\n{layers}\n{STAGE}{stage}\n"
    )
}

/// Every weight form with each scale, estimator and standardisation that it takes, as an inline table.
fn every_weight() -> Vec<String> {
    let mut forms = vec!["form = \"ternary\", fan_in = 3".to_owned()];
    for form in ["sign", "stochastic", "twn", "ternary"] {
        let extra = if form == "ternary" {
            ", sparsity = 0.4"
        } else {
            ""
        };
        for scale in [
            "none",
            "mean",
            "mean-simple",
            "mean-constant",
            "layer-mean",
            "learned",
            "power-of-two",
        ] {
            forms.push(format!("form = \"{form}\", scale = \"{scale}\"{extra}"));
        }
    }
    forms.push("form = \"real\"".into());
    forms.push("form = \"adabin\"".into());
    for estimator in ESTIMATORS.into_iter().filter(|name| *name != "progressive") {
        let clip = match estimator {
            "clipped" => ", clip = 0.5",
            _ => "",
        };
        for form in ["sign", "adabin"] {
            forms.push(format!(
                "form = \"{form}\", estimator = \"{estimator}\"{clip}"
            ));
        }
    }
    forms.extend([1, 2, 4, 7, 8].map(|bits| format!("form = \"dorefa\", bits = {bits}")));
    forms.extend([1, 2, 4].map(|bases| format!("form = \"abc\", bases = {bases}")));
    let standards = ["none", "libra", "recu", "scaled"];
    forms
        .iter()
        .flat_map(|form| standards.map(|s| format!("{{ {form}, standardise = \"{s}\" }}")))
        .collect()
}

const ACTIVATIONS: [&str; 8] = [
    "\"sign\"",
    "\"rsign\"",
    "\"stochastic\"",
    "\"heaviside\"",
    "{ form = \"dorefa\", bits = 1 }",
    "{ form = \"dorefa\", bits = 3 }",
    "{ form = \"dorefa\", bits = 8 }",
    "\"none\"",
];
const ESTIMATORS: [&str; 8] = [
    "identity",
    "tanh",
    "clipped",
    "approx-sign",
    "swish-sign",
    "ede",
    "progressive",
    "reste",
];
const UNITS: [&str; 5] = ["none", "relu", "hardtanh", "prelu", "rprelu"];
const NORMS: [&str; 3] = ["batch", "none", "group"];

#[test]
fn every_weight_form_with_every_activation_form_is_exported_as_it_is_evaluated() {
    let data = images([6, 5, 3], 1);
    for (i, weights) in every_weight().iter().enumerate() {
        // 3, 5 and 8 are coprime, so that norms, units and activations meet in every way.
        let activation = ACTIVATIONS[i % 8];
        let estimator = ESTIMATORS[i / 8 % 8];
        let input = INPUTS[i / 2 % 5];
        let defaults = format!(
            "weights = {weights}\ninput = {activation}\nnorm = \"{}\"\nunit = \"{}\"\ngroups_of_norm = 2",
            NORMS[i % 3],
            UNITS[i % 5]
        );
        let layers = "[[layer]]\nkind = \"conv\"\nchannels = 6\n\
            [[layer]]\nkind = \"conv\"\nchannels = 6\ngroups = 2\nbias = true\nstride = 2\n\
            [[layer]]\nkind = \"dense\"\nnorm = \"none\"\n";
        let text = recipe(
            input,
            &defaults,
            layers,
            &format!("estimator = \"{estimator}\""),
        );
        assert_eq!(check(&text, &data), Fate::Trained, "{text}");
    }
}

fn option(random: &mut Random, rarity: usize, line: impl FnOnce(&mut Random) -> String) -> String {
    match random.once_in(rarity) {
        true => line(random) + "\n",
        false => String::new(),
    }
}

/// A convolution after others, with the options that a first one rarely takes.
fn conv_layer(random: &mut Random, weights: &[String], kind: &str) -> String {
    let mut layer = any_conv(random, weights, kind);
    layer += &option(random, 3, |r| format!("input = {}", r.pick(&ACTIVATIONS)));
    layer += &option(random, 3, |r| {
        let shortcut = r.pick(&["none", "duplicate", "conv"]);
        format!("shortcut = \"{shortcut}\"")
    });
    if kind == "conv" {
        layer += &option(random, 4, |r| format!("groups = {}", r.pick(&[2, 4])));
    }
    layer + &option(random, 8, |_| "scale_map = true".into())
}

fn any_conv(random: &mut Random, weights: &[String], kind: &str) -> String {
    let mut layer = format!(
        "[[layer]]\nkind = \"{kind}\"\nchannels = {}\nkernel = {}\n",
        random.pick(&[4, 4, 8]),
        random.pick(&[1, 2, 3, 3, 3, 5])
    );
    layer += &option(random, 3, |r| format!("stride = {}", r.int(1, 2)));
    layer += &option(random, 5, |_| "dilation = 2".into());
    layer += &option(random, 3, |r| format!("pad = {}", r.int(0, 2)));
    layer += &option(random, 3, |r| format!("pad_value = {}", r.int(-1, 1)));
    layer += &option(random, 5, |_| "pool = 2".into());
    layer += &option(random, 3, |r| {
        format!("weights = {}", weights[r.below(weights.len())])
    });
    layer += &option(random, 3, |r| format!("norm = \"{}\"", r.pick(&NORMS)));
    layer += &option(random, 3, |r| format!("unit = \"{}\"", r.pick(&UNITS)));
    layer += &option(random, 4, |_| "bias = true".into());
    layer += &option(random, 4, |r| {
        format!("gradient_bits = {}", r.pick(&[1, 2, 4, 8]))
    });
    layer + &option(random, 4, |_| "repeat = 2".into())
}

fn layer(random: &mut Random, weights: &[String]) -> String {
    match random.below(12) {
        0 => "[[layer]]\nkind = \"max-pool\"\nsize = 2\n".into(),
        1 => "[[layer]]\nkind = \"max-pool\"\nsize = 3\nstride = 2\npad = 1\n".into(),
        2 => "[[layer]]\nkind = \"avg-pool\"\nsize = 3\nstride = 1\npad = 1\n".into(),
        3 => format!(
            "[[layer]]\nkind = \"norm\"\nnorm = \"{}\"\ngroups = 2\n",
            random.pick(&NORMS)
        ),
        4 => conv_layer(random, weights, "separable"),
        5 => "[[layer]]\nkind = \"block\"\nrepeat = 2\nlayers = [{ kind = \"conv\", channels = 8 }, { kind = \"separable\", channels = 8, unit = \"prelu\" }]\n".into(),
        _ => conv_layer(random, weights, "conv"),
    }
}

/// A recipe of `seed`, and the data set it is for.
fn random_recipe(seed: u64, weights: &[String]) -> (String, Dataset) {
    let mut random = Random::new(seed);
    let channels = random.pick(&[1, 2, 4]);
    let data = images(
        [
            random.int(5, 8) as usize,
            random.int(5, 8) as usize,
            channels,
        ],
        seed,
    );
    let is_flat = random.once_in(8);
    // An encoding that flattens an image suits dense layers only.
    let input = if is_flat {
        random.pick(&INPUTS)
    } else {
        random.pick(&INPUTS[..5])
    };
    let form = &weights[random.below(weights.len())];
    let mut defaults = format!(
        "weights = {form}\ninput = {}\nnorm = \"{}\"\nunit = \"{}\"\ngroups_of_norm = 2\n",
        random.pick(&ACTIVATIONS),
        random.pick(&NORMS),
        random.pick(&UNITS)
    );
    defaults += &option(&mut random, 3, |_| "pad_value = -1".into());
    defaults += &option(&mut random, 3, |r| {
        format!("shortcut = \"{}\"", r.pick(&["duplicate", "conv"]))
    });
    let mut layers = String::new();
    if !is_flat {
        // A first layer reads codes, which most options of an input do not suit.
        layers += &match random.once_in(8) {
            true => conv_layer(&mut random, weights, "conv"),
            false => any_conv(&mut random, weights, "conv") + "shortcut = \"none\"\n",
        };
        for _ in 0..random.int(0, 3) {
            layers += &layer(&mut random, weights);
        }
        layers += &option(&mut random, 2, |_| {
            "[[layer]]\nkind = \"global-avg-pool\"".into()
        });
    }
    layers += &option(&mut random, 2, |r| {
        format!(
            "[[layer]]\nkind = \"dense\"\nunits = {}\nrepeat = {}",
            r.pick(&[4, 6, 66]),
            r.int(1, 2)
        )
    });
    layers += "[[layer]]\nkind = \"dense\"\n";
    layers += &option(&mut random, 2, |r| {
        r.pick(&[
            "norm = \"batch\"",
            "norm = \"none\"",
            "norm = \"batch-integer\"\ninput = \"sign\"\nweights = \"sign\"",
        ])
        .into()
    });
    let mut stage = format!("estimator = \"{}\"\n", random.pick(&ESTIMATORS));
    stage += &option(&mut random, 4, |_| "recalibrate = 2".into());
    stage += &option(&mut random, 4, |_| "gradients = \"bf16\"".into());
    stage += &option(&mut random, 4, |_| "label_smoothing = 0.1".into());
    stage += &option(&mut random, 4, |_| "latent_clip = 1.0".into());
    stage += &option(&mut random, 4, |_| {
        "augment_flip = true\naugment_shift = 1\naugment_cutout = 2".into()
    });
    (recipe(input, &defaults, &layers, &stage), data)
}

#[test]
fn random_recipes_are_exported_as_they_are_evaluated_or_refused_before_training() {
    let weights = every_weight();
    let mut n_trained = 0;
    for seed in 0..N_RANDOM {
        let (text, data) = random_recipe(seed, &weights);
        n_trained += u64::from(check(&text, &data) == Fate::Trained);
    }
    println!("{n_trained} of {N_RANDOM} recipes fit");
    assert!(
        n_trained * 2 > N_RANDOM,
        "only {n_trained} of {N_RANDOM} fit"
    );
}

#[test]
fn sums_of_wide_codes_that_may_round_are_taken_in_order() {
    // 255 * 127 * 1152 is beyond 2^24.
    let data = images([6, 6, 2], 3);
    for weights in ["bits = 7", "bits = 8"] {
        let defaults = format!("weights = {{ form = \"dorefa\", {weights} }}");
        let input = "input = { form = \"dorefa\", bits = 8 }\n";
        let layers = format!(
            "[[layer]]\nkind = \"conv\"\nchannels = 128\n\
             [[layer]]\nkind = \"conv\"\nchannels = 4\n{input}\
             [[layer]]\nkind = \"conv\"\nchannels = 128\n\
             [[layer]]\nkind = \"dense\"\n{input}"
        );
        let text = recipe("encoding = \"levels\"", &defaults, &layers, "");
        assert_eq!(check(&text, &data), Fate::Trained);
    }
}

#[test]
fn networks_of_the_short_form_are_exported_as_they_are_evaluated() {
    let data = images([6, 6, 2], 4);
    let inputs = [
        "encoding = \"zero-one\"\nat = 99",
        "encoding = \"fixed-point\"\nbits = 3\nvalues = \"zero-one\"",
        "encoding = \"thermometer\"\ncuts = [50, 200]",
        "encoding = \"levels\"",
    ];
    for input in inputs {
        for (norm, output) in [("none", "none"), ("none", "batch"), ("batch", "batch")] {
            if input.contains("values") && norm == "batch" {
                continue;
            }
            let text = format!(
                "name = \"m\"\ndata = \"x\"\nvalidation = 8\n[input]\n{input}\n[model]\nhidden = [9, 65]\nnorm = \"{norm}\"\noutput_norm = \"{output}\"\n{STAGE}sparsity = 0.3\ndropout_hidden = 0.2\ndropout_input = 0.1\nestimator = \"progressive\"\n"
            );
            assert_eq!(check(&text, &data), Fate::Trained, "{text}");
        }
    }
}

#[test]
fn an_integer_norm_keeps_scores_integers() {
    let data = images([3, 3, 1], 6);
    let layers = "[[layer]]\nkind = \"dense\"\nunits = 7\nnorm = \"batch\"\n\
        [[layer]]\nkind = \"dense\"\nnorm = \"batch-integer\"\n";
    let text = recipe(INPUTS[0], "input = \"sign\"", layers, "");
    let recipe = Recipe::parse(&text).unwrap();
    let mut network = network(&recipe, &data);
    let last = network.nodes.last_mut().unwrap();
    for (role, param) in &mut last.params {
        let latent = match role {
            Role::Gamma => [1.0, -2.0, 0.5],
            _ => [0.25, 0.0, -1.0],
        };
        param.latent.copy_from_slice(&latent);
    }
    let stats = last.stats.as_mut().unwrap();
    (stats.mean, stats.var) = (vec![0.0, 3.0, -1.0], vec![1.0; N_CLASSES]);
    network.settle();
    let net = export(&network, &recipe, feeder(&recipe, &data).encoder(), &data);
    assert_agrees(&text, &network, &recipe, &data, &net);
    let Some(LayerOp::Dense { weights, bias }) = net.layers.last().map(|layer| &layer.op) else {
        panic!("a product with a diagonal")
    };
    // Without gains there is nothing to scale by, and what is left is rounded all the same.
    let mut flat = network.clone();
    for (role, param) in &mut flat.nodes.last_mut().unwrap().params {
        let latent = if *role == Role::Gamma { 0.0 } else { 0.3 };
        param.latent.fill(latent);
    }
    flat.settle();
    let flat_net = export(&flat, &recipe, feeder(&recipe, &data).encoder(), &data);
    assert_agrees(&text, &flat, &recipe, &data, &flat_net);
    // 15.5 times gamma, and beta less the mean times gamma; 15.5 itself goes to the even 16.
    let gains: Vec<i32> = (0..3).map(|row| weights.get(row, row)).collect();
    assert_eq!(gains, [16, -31, 8]);
    assert_eq!(bias.as_deref(), Some(&[4, 93, -8][..]));
    let program = compile(&net, &Options::default()).unwrap();
    let types = verify(&program).unwrap();
    assert_eq!(types.of(program.output).kind, Kind::Int);
}

#[test]
fn a_relu_of_minus_zero_is_plus_zero_as_in_the_net() {
    let data = images([2, 2, 1], 5);
    let layers = "[[layer]]\nkind = \"dense\"\nnorm = \"batch\"\nunit = \"relu\"\n";
    let text = recipe("encoding = \"sign\"\nat = 120", "", layers, "");
    let recipe = Recipe::parse(&text).unwrap();
    let mut network = network(&recipe, &data);
    for (_, role, param) in network.params_mut() {
        match role {
            Role::Gamma => param.latent.fill(-1.0),
            Role::Beta => param.latent.fill(-0.0),
            _ => {}
        }
    }
    for stats in network.nodes.iter_mut().filter_map(|n| n.stats.as_mut()) {
        stats.mean.fill(-0.0);
    }
    network.settle();
    // Some sums of four signs are zero, which this norm makes -0.
    let all: Vec<usize> = (0..data.test.len()).collect();
    let x = feeder(&recipe, &data).batch(&data.test, &all, Target::Codes, Augment::NONE);
    let normed = network.evaluate_values(x, &[2]).1.remove(0);
    assert!(normed.iter().any(|v| *v == 0.0 && v.is_sign_negative()));
    let net = export(&network, &recipe, feeder(&recipe, &data).encoder(), &data);
    assert_agrees(&text, &network, &recipe, &data, &net);
}

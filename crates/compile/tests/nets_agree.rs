//! Lowering and the passes against the Net's own evaluation, bit for bit.

use onebit_compile::{Options, compile, lower, optimize_with_map};
use onebit_model::net::{Activation, BatchNorm, Encoder, Layer, Net};
use onebit_model::program::{Kind, Op, Program, ThresholdValues, Type};
use onebit_model::weights::{BitMatrix, Weights};
use onebit_model::{Evaluator, Tensor, interpret, interpret_all, verify};
use onebit_testkit::{
    Random, random_conv_program, random_input, random_net, random_program, random_tensor,
};

const N_NETS: u64 = 250;
const N_IMAGES: u64 = 6;

/// The value of the node of this name.
fn value<'a>(program: &Program, values: &'a [Tensor], name: &str) -> &'a Tensor {
    let node_idx = program
        .nodes
        .iter()
        .position(|node| node.name == name)
        .expect(name);
    &values[node_idx + 1]
}

#[test]
fn a_lowered_net_agrees_with_its_evaluation_layer_by_layer() {
    for seed in 0..N_NETS {
        let net = random_net(seed);
        let program = lower(&net).unwrap();
        let types = verify(&program).unwrap();
        let evaluator = Evaluator::new(&net).unwrap();
        for image in 0..N_IMAGES {
            let input = random_tensor(&net.input, seed * 100 + image);
            let evaluation = evaluator.evaluate(&input);
            let values = interpret_all(&program, &types, &input);
            let first = program
                .nodes
                .iter()
                .find(|node| node.name == "fc0")
                .unwrap();
            let encoded = &values[first.inputs[0].0];
            assert_eq!(
                encoded.first_difference(&evaluation.encoded),
                None,
                "seed {seed} encoder"
            );
            for (layer, expected) in net.layers.iter().zip(&evaluation.layers) {
                let acc = value(&program, &values, &layer.name);
                assert_eq!(
                    acc,
                    &Tensor::Int(expected.acc.clone()),
                    "seed {seed} {}",
                    layer.name
                );
                let output = match (layer.activation, &layer.norm) {
                    (Activation::Sign, _) => format!("{}.sign", layer.name),
                    (Activation::Scores, Some(_)) => format!("{}.norm", layer.name),
                    (Activation::Scores, None) => layer.name.clone(),
                };
                let found = value(&program, &values, &output);
                let difference = found.first_difference(&expected.output);
                assert_eq!(difference, None, "seed {seed} {output} image {image}");
            }
            let answer = &values[program.output.0];
            assert_eq!(answer.first_difference(evaluation.scores()), None);
        }
    }
}

#[test]
fn compiled_nets_agree_with_every_pass_on_and_off() {
    for seed in 0..N_NETS {
        let net = random_net(seed);
        let evaluator = Evaluator::new(&net).unwrap();
        for (direction, constant_channels) in
            [(false, false), (true, false), (false, true), (true, true)]
        {
            let program = compile(
                &net,
                &Options {
                    direction,
                    constant_channels,
                    ..Options::default()
                },
            )
            .unwrap();
            let types = verify(&program).unwrap();
            let has_flip = program.nodes.iter().any(|node| {
                matches!(&node.op, Op::Threshold(thresholds) if thresholds.flip.contains(&true))
            });
            assert!(!direction || constant_channels || !has_flip, "seed {seed}");
            for image in 0..3 {
                let input = random_tensor(&net.input, seed * 100 + image);
                let answer = interpret(&program, &types, &input);
                let evaluation = evaluator.evaluate(&input);
                assert_eq!(
                    answer.first_difference(evaluation.scores()),
                    None,
                    "seed {seed}"
                );
            }
        }
    }
}

#[test]
fn the_map_of_channels_says_what_each_was() {
    let mut n_removed = 0;
    for seed in 0..N_NETS {
        let net = random_net(seed);
        let before = lower(&net).unwrap();
        let options = Options {
            direction: true,
            constant_channels: true,
            ..Options::default()
        };
        let (after, map) = optimize_with_map(before.clone(), &options).unwrap();
        let (before_types, after_types) = (verify(&before).unwrap(), verify(&after).unwrap());
        let input = random_tensor(&net.input, seed);
        let old = interpret_all(&before, &before_types, &input);
        let new = interpret_all(&after, &after_types, &input);
        for (node, new) in after.nodes.iter().zip(&new[1..]) {
            let Tensor::Bits(new) = new else { continue };
            let Tensor::Bits(old) = value(&before, &old, &node.name) else {
                panic!("not bits")
            };
            n_removed += old.len() - new.len();
            for (channel, bit) in new.iter().enumerate() {
                let former = map.former(&node.name, channel);
                assert_eq!(*bit, old[former], "seed {seed} {} {channel}", node.name);
            }
        }
    }
    assert!(n_removed > 100, "{n_removed}");
}

/// Compares the answers before and after all passes; whether they did anything.
fn passes_change_no_answer_of(before: &Program, options: &Options, seed: u64) -> bool {
    let (after, _) = optimize_with_map(before.clone(), options).unwrap();
    let (before_types, after_types) = (verify(before).unwrap(), verify(&after).unwrap());
    for image in 0..3 {
        let input = random_input(before, seed * 10 + image);
        let expected = interpret(before, &before_types, &input);
        let found = interpret(&after, &after_types, &input);
        assert_eq!(found.first_difference(&expected), None, "seed {seed}");
    }
    *before != after
}

#[test]
fn passes_change_no_answer_of_any_program() {
    let options = Options {
        constant_channels: true,
        ..Options::default()
    };
    let changes = |seed: &u64| passes_change_no_answer_of(&random_program(*seed), &options, *seed);
    let n_changed = (0..600).filter(changes).count();
    assert!(n_changed > 60, "{n_changed}");
}

#[test]
fn passes_change_no_answer_of_any_chain() {
    let options = Options {
        constant_channels: true,
        ..Options::default()
    };
    let changes =
        |seed: &u64| passes_change_no_answer_of(&random_conv_program(*seed), &options, *seed);
    let n_changed = (0..60).filter(changes).count();
    assert!(n_changed > 20, "{n_changed}");
}

/// How many nodes compare reals, and how many there are at all.
fn n_real(program: &Program) -> (usize, usize) {
    let is_real = |op: &Op| match op {
        Op::Threshold(thresholds) => matches!(thresholds.at, ThresholdValues::Real(_)),
        _ => false,
    };
    let nodes = program.nodes.iter();
    (
        nodes.filter(|node| is_real(&node.op)).count(),
        program.nodes.len(),
    )
}

#[test]
fn plain_chains_of_pixels_lose_their_real_thresholds() {
    let mut n_plain = 0;
    for seed in 0..80 {
        let before = random_conv_program(seed);
        let has = |wanted: fn(&Op) -> bool| before.nodes.iter().any(|node| wanted(&node.op));
        let has_reals = has(|op| match op {
            Op::Conv2d(conv) => conv.weights.is_real(),
            op => matches!(
                op,
                Op::Add | Op::Rprelu { .. } | Op::Prelu { .. } | Op::Clip { .. }
            ),
        });
        if before.input.kind == Kind::Real || has_reals {
            continue;
        }
        let after = onebit_compile::optimize(before.clone(), &Options::default()).unwrap();
        let has_pool_between = after
            .nodes
            .iter()
            .any(|node| matches!(node.op, Op::MaxPool(_)));
        if !has_pool_between {
            n_plain += 1;
            assert_eq!(n_real(&after).0, 0, "seed {seed}");
        }
        assert!(n_real(&after).1 <= n_real(&before).1);
    }
    assert!(n_plain >= 3, "{n_plain}");
}

/// One layer of `n_rows` rows before a sign, then one score.
fn one_layer(n_cols: usize, n_rows: usize, encoder: Encoder, norm: BatchNorm) -> Net {
    let mut random = Random::new(9);
    let mut bits = |rows: usize, cols: usize| {
        Weights::Bits(BitMatrix::from_fn(rows, cols, |_, _| {
            random.bits() & 1 == 1
        }))
    };
    let n_inputs = n_cols / encoder.n_outputs(1);
    let hidden = Layer {
        name: "fc0".into(),
        weights: bits(n_rows, n_cols),
        bias: Some((0..n_rows).map(|row| row as i32 % 3 - 1).collect()),
        norm: Some(norm),
        activation: Activation::Sign,
    };
    let last = Layer {
        name: "fc1".into(),
        weights: bits(1, n_rows),
        bias: None,
        norm: None,
        activation: Activation::Scores,
    };
    Net {
        name: "one layer".into(),
        input: Type {
            kind: Kind::Levels(8),
            shape: vec![n_inputs],
        },
        encoder,
        layers: vec![hidden, last],
        notes: vec![],
    }
}

/// Compares thresholds with the norm for every sum that each row can have, computed here afresh.
fn check_every_sum(net: &Net, codes: Option<i32>) {
    let program = lower(net).unwrap();
    let node = program
        .nodes
        .iter()
        .find(|node| node.name == "fc0.sign")
        .unwrap();
    let Op::Threshold(thresholds) = &node.op else {
        panic!("not a threshold")
    };
    let ThresholdValues::Int(at) = &thresholds.at else {
        panic!("not integers")
    };
    let layer = &net.layers[0];
    let (n, norm) = (layer.weights.n_cols() as i32, layer.norm.as_ref().unwrap());
    assert_eq!(at.len(), layer.weights.n_rows());
    for (row, &at) in at.iter().enumerate() {
        let plus = layer.weights.sign().unwrap().count_ones(row) as i32;
        let bias = layer.bias.as_ref().unwrap()[row];
        let (low, high, step) = match codes {
            None => (-n, n, 2),
            Some(max) => (-(n - plus) * max, plus * max, 1),
        };
        let scale = norm.gamma[row] / (norm.var[row] + norm.eps).sqrt();
        let shift = norm.beta[row] - norm.mean[row] * scale;
        for sum in (low..=high).step_by(step) {
            let acc = sum + bias;
            let expected = acc as f32 * scale + shift >= 0.0;
            let found = (acc >= at) != thresholds.flip[row];
            assert_eq!(
                found, expected,
                "row {row} acc {acc} scale {scale} shift {shift}"
            );
        }
    }
}

/// A norm with ordinary numbers in most channels and all pairs of extremes in the others.
fn harsh_norm(n_rows: usize, spread: f32) -> BatchNorm {
    let mut random = Random::new(77);
    let gammas = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        1e-30,
        -1e-30,
        1e25,
        -1e25,
        f32::MIN_POSITIVE,
    ];
    let means = [0.0, 1.0, -1.0, 0.5, 1e9, -1e9, spread, -spread, 3.000_000_2];
    let betas = [0.0, -0.0, 1e-45, -1e-45, 1e30, -1e30, 0.25];
    let uniform = |random: &mut Random| random.int(-1_000_000, 1_000_000) as f32 / 1e6;
    let mut list = |special: &[f32], factor: f32| -> Vec<f32> {
        let mut number = || match random.once_in(2) {
            true => random.pick(special),
            false => uniform(&mut random) * factor,
        };
        (0..n_rows).map(|_| number()).collect()
    };
    let (gamma, beta, mean) = (list(&gammas, 2.0), list(&betas, 1.0), list(&means, spread));
    let var = list(&[0.0, 1e-20, 1e20, 1.0], 1.0)
        .iter()
        .map(|x| x.abs() * spread)
        .collect();
    BatchNorm {
        gamma,
        beta,
        mean,
        var,
        eps: 1e-5,
    }
}

#[test]
fn every_sum_of_every_channel_agrees_for_bits() {
    for n_cols in [1, 2, 63, 64, 255, 784, 1024] {
        let net = one_layer(
            n_cols,
            400,
            Encoder::Sign { at: 128 },
            harsh_norm(400, n_cols as f32),
        );
        check_every_sum(&net, None);
    }
}

#[test]
fn every_sum_of_every_channel_agrees_for_levels() {
    for n_cols in [1, 30, 784] {
        let spread = 100.0 * n_cols as f32;
        check_every_sum(
            &one_layer(n_cols, 60, Encoder::Levels, harsh_norm(60, spread)),
            Some(255),
        );
        let net = one_layer(
            n_cols,
            300,
            Encoder::ZeroOne { at: 9 },
            harsh_norm(300, n_cols as f32),
        );
        check_every_sum(&net, Some(1));
    }
}

#[test]
fn thresholds_are_the_least_and_constants_are_canonical() {
    let norm = BatchNorm {
        gamma: vec![1.0, 1.0, -1.0, 0.0, 0.0, 1.0, 1.0],
        beta: vec![0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0],
        mean: vec![0.0, 2.0, 0.0, 0.0, 0.0, 100.0, -100.0],
        var: vec![1.0; 7],
        eps: 0.0,
    };
    let mut net = one_layer(4, 7, Encoder::Sign { at: 1 }, norm);
    net.layers[0].bias = None;
    let program = lower(&net).unwrap();
    let Op::Threshold(thresholds) = &program.nodes[2].op else {
        panic!("not a threshold")
    };
    // Sums are -4, -2, 0, 2 and 4: "at least 0" is "at least -1", "at least 2" is "at least 1",
    // "at most 0" is "not at least 1".
    let never = i32::MIN;
    let at = vec![-1, 1, 1, i32::MIN, never, never, i32::MIN];
    assert_eq!(thresholds.at, ThresholdValues::Int(at));
    assert_eq!(
        thresholds.flip,
        [false, false, true, false, true, true, false]
    );
}

#[test]
fn statistics_that_are_not_finite_are_an_error_with_layer_and_channel() {
    let good = BatchNorm {
        gamma: vec![1.0; 3],
        beta: vec![0.0; 3],
        mean: vec![0.0; 3],
        var: vec![1.0; 3],
        eps: 0.0,
    };
    let spoil: [fn(&mut BatchNorm); 6] = [
        |norm| norm.gamma[1] = f32::NAN,
        |norm| norm.beta[1] = f32::INFINITY,
        |norm| norm.mean[1] = f32::NEG_INFINITY,
        |norm| norm.var[1] = -1.0,
        |norm| norm.var[1] = 0.0,
        |norm| (norm.gamma[1], norm.mean[1]) = (1e20, 1e20),
    ];
    lower(&one_layer(4, 3, Encoder::Sign { at: 1 }, good.clone())).unwrap();
    for spoil in spoil {
        let mut norm = good.clone();
        spoil(&mut norm);
        let error = lower(&one_layer(4, 3, Encoder::Sign { at: 1 }, norm))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("layer 0 (fc0)") && error.contains("channel 1"),
            "{error}"
        );
    }
}

#[test]
fn the_input_keeps_its_shape_and_the_notes_stay() {
    let mut net = random_net(3);
    net.input = Type {
        kind: Kind::Levels(8),
        shape: vec![2, 3, 3],
    };
    net.encoder = Encoder::Thermometer { cuts: vec![10, 20] };
    net.layers = one_layer(36, 5, Encoder::Sign { at: 1 }, harsh_norm(5, 6.0)).layers;
    let program = lower(&net).unwrap();
    assert_eq!(program.input, net.input);
    assert_eq!(program.notes, net.notes);
    assert_eq!(program.name, net.name);
}

#[test]
fn a_malformed_program_is_not_optimized() {
    let mut program = random_program(1);
    program.output.0 = 99;
    let error = onebit_compile::optimize(program, &Options::default())
        .unwrap_err()
        .to_string();
    assert!(error.contains("malformed"), "{error}");
}

//! Lowering and the passes against the Net's own evaluation, bit for bit.

use std::path::Path;

use onebit_compile::{Options, compile, counterparts, lower, optimize_with_map};
use onebit_model::net::{BatchNorm, Encoder, Layer, LayerOp, Net};
use onebit_model::program::{Kind, Op, Program, ThresholdValues, Type, ValueId};
use onebit_model::weights::{BitMatrix, Weights};
use onebit_model::{
    Evaluation, Evaluator, Tensor, bnn, interpret, interpret_all, net_from_bytes, verify,
};
use onebit_testkit::{
    Random, random_conv_program, random_dense_net, random_graph_net, random_input, random_net,
    random_program, random_tensor,
};

const N_NETS: u64 = 250;
const N_GRAPHS: u64 = 500;
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

/// Compares every value of the Net that has a counterpart; how many these are.
fn compare(
    net: &Net,
    evaluation: &Evaluation,
    counterparts: &[Option<ValueId>],
    values: &[Tensor],
) -> usize {
    let pairs = counterparts.iter().enumerate();
    let pairs: Vec<(ValueId, ValueId)> = pairs
        .filter_map(|(idx, id)| id.map(|id| (ValueId(idx), id)))
        .collect();
    for (of_net, of_program) in &pairs {
        let difference = values[of_program.0].first_difference(evaluation.value(*of_net));
        assert_eq!(difference, None, "{} value {of_net:?}", net.name);
    }
    assert_eq!(pairs[pairs.len() - 1].0.0, net.layers.len(), "the scores");
    pairs.len()
}

fn a_lowered_net_agrees(net: &Net, seed: u64) {
    let program = lower(net).unwrap();
    let types = verify(&program).unwrap();
    let evaluator = Evaluator::new(net).unwrap();
    let n_before = program.nodes.len() - net.layers.len();
    for image in 0..N_IMAGES {
        let input = random_tensor(&net.input, seed * 100 + image);
        let evaluation = evaluator.evaluate(&input);
        let values = interpret_all(&program, &types, &input);
        for id in (0..=net.layers.len()).map(ValueId) {
            let found = &values[n_before + id.0];
            let expected = evaluation.value(id);
            assert_eq!(types.of(ValueId(n_before + id.0)), evaluator.types().of(id));
            let difference = found.first_difference(expected);
            assert_eq!(difference, None, "{} value {id:?} image {image}", net.name);
        }
        assert_eq!(program.output.0, n_before + net.layers.len());
    }
}

#[test]
fn a_lowered_net_agrees_with_its_evaluation_layer_by_layer() {
    for seed in 0..N_NETS {
        a_lowered_net_agrees(&random_dense_net(seed), seed);
    }
    for seed in 0..N_GRAPHS {
        a_lowered_net_agrees(&random_graph_net(seed), seed);
    }
}

/// All pairs of the passes that change channels or signs.
fn option_sets() -> [Options; 5] {
    let with = |direction, constant_channels| Options {
        direction,
        constant_channels,
        ..Options::default()
    };
    let plain = Options {
        pool_after_threshold: false,
        dead_nodes: false,
        ..Options::default()
    };
    [
        with(false, false),
        with(true, false),
        with(false, true),
        with(true, true),
        plain,
    ]
}

#[test]
fn compiled_nets_agree_with_every_pass_on_and_off() {
    let mut n_compared = 0;
    for seed in 0..N_NETS + N_GRAPHS {
        let net = random_net(seed);
        let evaluator = Evaluator::new(&net).unwrap();
        for options in option_sets() {
            let program = compile(&net, &options).unwrap();
            let types = verify(&program).unwrap();
            let links = counterparts((&net, evaluator.types()), (&program, &types));
            for image in 0..3 {
                let input = random_tensor(&net.input, seed * 100 + image);
                let values = interpret_all(&program, &types, &input);
                n_compared += compare(&net, &evaluator.evaluate(&input), &links, &values);
            }
        }
    }
    assert!(n_compared > 40_000, "{n_compared}");
}

/// How many nodes of this op's kind there are.
fn n_nodes(program: &Program, is_right: impl Fn(&Op) -> bool) -> usize {
    program
        .nodes
        .iter()
        .filter(|node| is_right(&node.op))
        .count()
}

#[test]
fn compiled_chains_of_dense_layers_have_no_reals_and_no_flips_but_in_their_scores() {
    for seed in 0..N_NETS {
        let net = random_dense_net(seed);
        let program = compile(&net, &Options::default()).unwrap();
        let flips = |op: &Op| matches!(op, Op::Threshold(at) if at.flip.contains(&true));
        assert_eq!(n_nodes(&program, flips), 0, "seed {seed}");
        let affines = n_nodes(&program, |op| matches!(op, Op::Affine { .. }));
        let has_norm = net.layers.last().unwrap().name.ends_with(".norm");
        assert_eq!(affines, usize::from(has_norm), "seed {seed}");
    }
}

#[test]
fn the_nets_of_the_zoo_compile_to_the_programs_beside_them() {
    let zoo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../zoo");
    let mut n_compared = 0;
    for entry in std::fs::read_dir(&zoo).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "net") {
            continue;
        }
        let net = net_from_bytes(&std::fs::read(&path).unwrap()).unwrap();
        let program = bnn::read(&std::fs::read(path.with_extension("bnn")).unwrap()).unwrap();
        assert!(
            compile(&net, &Options::default()).unwrap() == program,
            "{} compiles to another Program",
            path.display()
        );
        n_compared += 1;
    }
    assert!(n_compared >= 6, "{n_compared}");
}

#[test]
fn the_map_of_channels_says_what_each_was() {
    let mut n_removed = 0;
    for seed in 0..N_NETS {
        let net = random_dense_net(seed);
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

/// A layer that reads the one before it, or the encoded input.
fn layer(name: &str, op: LayerOp, input: usize) -> Layer {
    Layer {
        name: name.into(),
        op,
        inputs: vec![ValueId(input)],
    }
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
    let (weights, last) = (bits(n_rows, n_cols), bits(1, n_rows));
    let bias = Some((0..n_rows).map(|row| row as i32 % 3 - 1).collect());
    let scores = LayerOp::Dense {
        weights: last,
        bias: None,
    };
    Net {
        name: "one layer".into(),
        input: Type {
            kind: Kind::Levels(8),
            shape: vec![n_inputs],
        },
        encoder,
        layers: vec![
            layer("fc0", LayerOp::Dense { weights, bias }, 0),
            layer("fc0.norm", LayerOp::Norm(norm), 1),
            layer("fc0.sign", LayerOp::Sign, 2),
            layer("fc1", scores, 3),
        ],
        notes: vec![],
    }
}

/// The weights and the bias of the first layer.
fn first(net: &Net) -> (&Weights, Option<&Vec<i32>>) {
    let LayerOp::Dense { weights, bias } = &net.layers[0].op else {
        panic!("not a dense")
    };
    (weights, bias.as_ref())
}

/// Passes that fold and keep the direction of every row.
fn folded(net: &Net) -> Program {
    let options = Options {
        direction: false,
        ..Options::default()
    };
    compile(net, &options).unwrap()
}

/// Compares thresholds with the norm for every sum that each row can have, computed here afresh.
fn check_every_sum(net: &Net, codes: Option<i32>) {
    let program = folded(net);
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
    let LayerOp::Norm(norm) = &net.layers[1].op else {
        panic!("not a norm")
    };
    let (weights, biases) = first(net);
    let n = weights.n_cols() as i32;
    assert_eq!(at.len(), weights.n_rows());
    for (row, &at) in at.iter().enumerate() {
        let plus = weights.sign().unwrap().count_ones(row) as i32;
        let bias = biases.unwrap()[row];
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
    if let LayerOp::Dense { bias, .. } = &mut net.layers[0].op {
        *bias = None;
    }
    let program = folded(&net);
    let Op::Threshold(thresholds) = &program.nodes[2].op else {
        panic!("not a threshold")
    };
    // Sums are -4, -2, 0, 2 and 4: "at least 0" is "at least -1", "at least 2" is "at least 1",
    // "at most 0" is "not at least 1".
    let never = 5;
    let at = vec![-1, 1, 1, i32::MIN, never, never, i32::MIN];
    assert_eq!(thresholds.at, ThresholdValues::Int(at));
    let flip = [false, false, true, false, false, false, false];
    assert_eq!(thresholds.flip, flip);
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
            error.contains("layer 1 (fc0.norm)") && error.contains("channel 1"),
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

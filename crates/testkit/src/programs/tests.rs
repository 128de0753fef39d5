//! Every feature of Programs comes up, and a seed gives the same thing again.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use onebit_model::program::{Conv2d, Cuts, Kind, Op, ThresholdValues, ValueId};
use onebit_model::weights::Weights;
use onebit_model::{ProgramTypes, interpret, text, verify};

fn of_weights(weights: &Weights, bias: &Option<Vec<i32>>) -> Vec<&'static str> {
    let kind = match weights {
        Weights::Bits(_) => "bits weights",
        Weights::Ternary { .. } => "ternary weights",
        Weights::Planes(_) => "planes of weights",
        Weights::Int8(_) => "int8 weights",
        Weights::Real(_) => "real weights",
    };
    let bias = if bias.is_some() { "bias" } else { "no bias" };
    let has_tail = !weights.n_cols().is_multiple_of(64);
    vec![kind, bias, if has_tail { "tail" } else { "whole words" }]
}

fn of_conv(conv: &Conv2d, n_channels: usize) -> Vec<&'static str> {
    let window = &conv.window;
    let has_pads = window.pads != [0; 4];
    let [top, left, bottom, right] = window.pads;
    let features = [
        ("stride", window.stride != [1, 1]),
        ("dilation", window.dilation != [1, 1]),
        ("pad 0", has_pads && conv.pad == 0),
        ("pad 1", has_pads && conv.pad == 1),
        ("pad -1", has_pads && conv.pad == -1),
        ("asymmetric pads", (top, left) != (bottom, right)),
        ("depthwise", conv.groups == n_channels && n_channels > 1),
        ("groups", conv.groups > 1 && conv.groups < n_channels),
    ];
    let held = features.into_iter().filter(|(_, holds)| *holds);
    held.map(|(name, _)| name).collect()
}

/// What a Program has that a test suite must not miss.
fn features(program: &Program, types: &ProgramTypes) -> Vec<&'static str> {
    let mut found = Vec::new();
    for node in &program.nodes {
        let ty = types.of(node.inputs[0]);
        match &node.op {
            Op::Dense { weights, bias } => found.extend(of_weights(weights, bias)),
            Op::Conv2d(conv) => {
                found.extend(of_weights(&conv.weights, &conv.bias));
                found.extend(of_conv(conv, ty.shape[2]));
                found.push(match ty.kind {
                    Kind::Bits => "conv of bits",
                    Kind::Levels(_) => "conv of levels",
                    Kind::Int => "conv of int",
                    Kind::Real => "conv of real",
                });
            }
            Op::Threshold(thresholds) => {
                found.push(if thresholds.flip.contains(&true) {
                    "flip"
                } else {
                    "no flip"
                });
                match &thresholds.at {
                    ThresholdValues::Int(at) if at.contains(&i32::MIN) => found.push("constant"),
                    ThresholdValues::Int(_) => found.push("int thresholds"),
                    ThresholdValues::Real(_) => found.push("real thresholds"),
                }
            }
            Op::Quantize { bits, cuts } => {
                let (name, n) = match cuts {
                    Cuts::Int(cuts) => ("int cuts", cuts.len()),
                    Cuts::Real(cuts) => ("real cuts", cuts.len()),
                };
                found.push(name);
                if n > (1 << bits) - 1 {
                    found.push("cuts per channel");
                }
            }
            _ => {}
        }
    }
    found.push(match program.input.kind {
        Kind::Bits => "bits input",
        Kind::Levels(_) => "levels input",
        Kind::Int => "int input",
        Kind::Real => "real input",
    });
    found.push(match program.input.shape.len() {
        1 => "rank 1",
        2 => "rank 2",
        3 => "rank 3",
        _ => "rank 4",
    });
    found
}

fn op_names(program: &Program) -> BTreeSet<String> {
    let text = text::print(program);
    let lines = text.lines().filter_map(|line| line.split_once(" = "));
    lines
        .map(|(_, op)| op.split(' ').next().unwrap_or(op).to_string())
        .collect()
}

#[test]
fn every_feature_and_every_op_comes_up() {
    let mut found = BTreeSet::new();
    let mut ops: BTreeMap<String, usize> = BTreeMap::new();
    for seed in 0..400 {
        let program = random_program(seed);
        found.extend(features(&program, &verify(&program).unwrap()));
        for op in op_names(&program) {
            *ops.entry(op).or_default() += 1;
        }
    }
    assert_eq!(found.len(), 37, "{found:?}");
    assert_eq!(ops.len(), 23, "{ops:?}");
    assert!(ops.values().all(|&n| n >= 8), "{ops:?}");
}

#[test]
fn chains_hold_what_engines_fuse() {
    let mut pairs: BTreeMap<(String, String), usize> = BTreeMap::new();
    for seed in 0..150 {
        let program = random_conv_program(seed);
        verify(&program).unwrap();
        let name = |id: ValueId| {
            let node = id.0.checked_sub(1).map(|idx| &program.nodes[idx]);
            node.map_or("input", |node| {
                node.name.trim_end_matches(|c: char| c.is_ascii_digit())
            })
        };
        for (idx, node) in program.nodes.iter().enumerate() {
            let pair = (name(node.inputs[0]).into(), name(ValueId(idx + 1)).into());
            *pairs.entry(pair).or_default() += 1;
        }
    }
    for (before, after) in [
        ("input", "conv"),
        ("conv", "norm"),
        ("conv", "relu"),
        ("norm", "sign"),
        ("norm", "pool"),
        ("norm", "codes"),
        ("norm", "residual"),
        ("residual", "act"),
        ("pool", "sign"),
        ("sign", "pool"),
        ("sign", "conv"),
        ("codes", "conv"),
        ("pool", "conv"),
        ("mean", "fc"),
        ("fc", "scores"),
    ] {
        let n = pairs.get(&(before.into(), after.into()));
        assert!(n.is_some_and(|&n| n >= 3), "{before} {after}: {pairs:?}");
    }
}

#[test]
fn a_seed_gives_the_same_program_and_input() {
    for seed in 0..20 {
        for generate in [random_program, random_conv_program] {
            let program = generate(seed);
            assert_eq!(program, generate(seed));
            let input = random_input(&program, seed);
            assert_eq!(input.first_difference(&random_input(&program, seed)), None);
            input.check(&program.input).unwrap();
        }
    }
}

#[test]
fn programs_are_cheap_to_interpret() {
    for seed in 0..60 {
        for program in [random_program(seed), random_conv_program(seed)] {
            let types = verify(&program).unwrap();
            let cost: usize = program
                .nodes
                .iter()
                .enumerate()
                .map(|(idx, node)| match &node.op {
                    Op::Dense { weights, .. } | Op::Conv2d(Conv2d { weights, .. }) => {
                        types.of(ValueId(idx + 1)).n_elements() * weights.n_cols()
                    }
                    _ => 0,
                })
                .sum();
            assert!(cost <= 4_000_000, "{} costs {cost}", program.name);
            interpret(&program, &types, &random_input(&program, seed));
        }
    }
}

//! Random Programs, compiled by this machine's compilers, against the interpreter.

use std::ops::Range;

use onebit_emit::loops::WordBits;
use onebit_model::program::Program;
use onebit_testkit::{random_conv_program, random_input, random_program};

use crate::host::{Case, WARNINGS, check};
use crate::tools::has_tool;

const N_INPUTS: u64 = 6;

/// Random Programs of a kind in a test: `ONEBIT_EMIT_PROGRAMS`, or this many.
fn n_programs(usual: u64) -> u64 {
    match std::env::var("ONEBIT_EMIT_PROGRAMS") {
        Ok(text) => text.parse().expect("ONEBIT_EMIT_PROGRAMS is a number"),
        Err(_) => usual,
    }
}

fn cases(seeds: Range<u64>, make: fn(u64) -> Program) -> Vec<Case> {
    println!("seeds {seeds:?}");
    seeds
        .map(|seed| {
            let program = make(seed);
            let input = |i| random_input(&program, seed * 1000 + i);
            let inputs = (0..N_INPUTS).map(input).collect();
            Case::new(format!("program seed {seed}"), program, inputs)
        })
        .collect()
}

fn flags(more: &[&'static str]) -> Vec<&'static str> {
    [&WARNINGS, more].concat()
}

/// Portable code on one width of words, an instruction that counts a word's bits on the other.
fn check_both_widths(seeds: Range<u64>, make: fn(u64) -> Program) {
    if !has_tool("gcc", "gcc") {
        return;
    }
    let count = if cfg!(target_arch = "x86_64") {
        "-mpopcnt"
    } else {
        "-O1"
    };
    let middle = seeds.start + (seeds.end - seeds.start) / 2;
    let (first, second) = (
        cases(seeds.start..middle, make),
        cases(middle..seeds.end, make),
    );
    check(&first, WordBits::W32, "gcc", &flags(&["-O1"]));
    check(&second, WordBits::W64, "gcc", &flags(&["-O1", count]));
}

#[test]
fn random_programs_agree() {
    check_both_widths(0..n_programs(120), random_program);
}

#[test]
fn random_networks_agree() {
    let first = 1_000_000;
    check_both_widths(first..first + n_programs(60), random_conv_program);
}

#[test]
fn clang_agrees() {
    if !has_tool("clang", "clang") {
        return;
    }
    let programs = cases(5000..5012, random_program);
    check(&programs, WordBits::W64, "clang", &flags(&["-O1"]));
    let networks = cases(6000..6012, random_conv_program);
    check(
        &networks,
        WordBits::W32,
        "clang",
        &flags(&["-O1", "-march=native"]),
    );
}

#[test]
fn gcc_agrees_under_sanitizers() {
    if !has_tool("gcc", "gcc") {
        return;
    }
    let sanitizers = flags(&[
        "-O1",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all",
    ]);
    let programs = cases(7000..7008, random_program);
    check(&programs, WordBits::W32, "gcc", &sanitizers);
    let networks = cases(8000..8008, random_conv_program);
    check(&networks, WordBits::W64, "gcc", &sanitizers);
}

/// Layers' names that could be those of keywords, kernels, locals, types or of one another's constants.
const NAMES: [&str; 12] = [
    "int",
    "v_b",
    "b_weights",
    "ob_v_b",
    "ob_copy_bits",
    "a.b",
    "a-b",
    "a_b",
    "1st",
    "_x",
    "input",
    "uint8_t",
];

#[test]
fn names_of_layers_do_not_collide() {
    if !has_tool("gcc", "gcc") {
        return;
    }
    let mut cases = Vec::new();
    for seed in 30_000..30_006 {
        let mut program = random_conv_program(seed);
        for (idx, node) in program.nodes.iter_mut().enumerate() {
            let name = NAMES[idx % NAMES.len()];
            node.name = match idx / NAMES.len() {
                0 => name.into(),
                n => format!("{name}_{n}"),
            };
        }
        let input = random_input(&program, seed);
        cases.push(Case::new(
            format!("program seed {seed}"),
            program,
            vec![input],
        ));
    }
    // With whatever vectors this machine has.
    check(
        &cases,
        WordBits::W64,
        "gcc",
        &flags(&["-O1", "-march=native"]),
    );
}

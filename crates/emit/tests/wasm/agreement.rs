//! Random Programs in Node.js against the interpreter.

use std::ops::Range;

use onebit_emit::lower::Values;
use onebit_model::Tensor;
use onebit_model::builder::ProgramBuilder;
use onebit_model::program::{Kind, Program};
use onebit_model::weights::{BitMatrix, Weights};
use onebit_testkit::{random_conv_program, random_input, random_program};

use crate::host::{Case, check};
use crate::tools::has_tool;

const N_INPUTS: u64 = 6;

/// Random Programs of a kind in a test: `ONEBIT_EMIT_PROGRAMS`, or this many.
fn n_programs(usual: u64) -> u64 {
    match std::env::var("ONEBIT_EMIT_PROGRAMS") {
        Ok(text) => text.parse().expect("ONEBIT_EMIT_PROGRAMS is a number"),
        Err(_) => usual,
    }
}

fn case(name: String, program: Program, seed: u64) -> Case {
    let input = |i| random_input(&program, seed * 1000 + i);
    let inputs = (0..N_INPUTS).map(input).collect();
    Case::new(name, program, inputs)
}

fn check_seeds(seeds: Range<u64>, make: fn(u64) -> Program, values: Values) {
    if !has_tool("node", "nodejs") {
        return;
    }
    println!("seeds {seeds:?}");
    let cases: Vec<Case> = seeds
        .map(|seed| case(format!("program seed {seed}"), make(seed), seed))
        .collect();
    check(&cases, values);
}

#[test]
fn random_programs_agree() {
    check_seeds(0..n_programs(300), random_program, Values::Reused);
}

#[test]
fn random_networks_agree() {
    let first = 1_000_000;
    check_seeds(
        first..first + n_programs(150),
        random_conv_program,
        Values::Reused,
    );
}

#[test]
fn every_kept_value_is_the_interpreters() {
    check_seeds(40_000..40_060, random_program, Values::Kept);
    check_seeds(50_000..50_040, random_conv_program, Values::Kept);
}

/// One row whose every bit differs from an input of ones, and one in which the last only does.
fn counting_program(n: usize, is_ternary: bool) -> Program {
    let mut builder = ProgramBuilder::new("counting", Kind::Bits, &[n]);
    let sign = BitMatrix::from_fn(2, n, |row, col| row == 1 && col + 1 < n);
    let weights = match is_ternary {
        false => Weights::Bits(sign),
        true => Weights::Ternary {
            sign,
            mask: BitMatrix::from_fn(2, n, |_, _| true),
        },
    };
    let x = builder.input();
    let sums = builder.dense("sums", x, weights, None);
    builder.finish(sums).expect("the Program is well formed")
}

#[test]
fn counts_of_long_rows_do_not_overflow() {
    if !has_tool("node", "nodejs") {
        return;
    }
    // Around words, vectors, rounds of four vectors and the 28 vectors after which counts are widened.
    let mut lengths = vec![
        1, 63, 64, 65, 127, 128, 129, 192, 511, 512, 513, 640, 100_000,
    ];
    for n_vectors in [27, 28, 29, 31, 32, 33, 56, 57, 84] {
        lengths.extend([-1, 0, 1, 63, 64, 65].map(|more| n_vectors * 128 + more));
    }
    let mut cases = Vec::new();
    for n in lengths {
        let n = usize::try_from(n).expect("lengths are positive");
        for is_ternary in [false, true] {
            let name = format!("{n} bits, ternary {is_ternary}");
            let inputs = [true, false].map(|bit| Tensor::Bits(vec![bit; n]));
            cases.push(Case::new(
                name,
                counting_program(n, is_ternary),
                inputs.into(),
            ));
        }
    }
    check(&cases, Values::Reused);
}

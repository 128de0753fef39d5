//! Random well-formed Programs and inputs for them.
//!
//! Every op, operand kind and tail width comes up: sizes from 1 to 300, bits, ternary weights, levels,
//! biases, flips, thresholds that always or never hold, branches that meet in a concat.

use onebit_model::Tensor;
use onebit_model::builder::ProgramBuilder;
use onebit_model::program::{Cuts, Kind, Program, Type, ValueId};
use onebit_model::weights::{BitMatrix, Weights};

use crate::random::Random;

/// Most elements of the values that thresholds and planes fan out.
const MAX_WIDTH: usize = 300;

/// A value under construction: where it is, what it is, and how large its integers get.
#[derive(Clone)]
struct Value {
    id: ValueId,
    ty: Type,
    spread: i64,
}

/// A random Program; the same for the same seed.
pub fn random_program(seed: u64) -> Program {
    let mut random = Random::new(seed);
    let input = random_type(&mut random);
    let name = format!("random {seed}");
    let mut builder = ProgramBuilder::new(&name, input.kind, &input.shape);
    builder.note("seed", &seed.to_string());
    let mut values = vec![Value {
        id: builder.input(),
        spread: spread(&input),
        ty: input,
    }];
    let n_steps = random.int(1, 9);
    for step in 0..n_steps {
        let operand = match random.once_in(5) {
            true => values[random.below(values.len())].clone(),
            false => values[values.len() - 1].clone(),
        };
        let is_last = step + 1 == n_steps;
        let value = append(&mut builder, &mut random, &operand, &values, is_last);
        values.push(value);
    }
    let output = values[values.len() - 1].id;
    builder
        .finish(output)
        .expect("random Programs follow the rules that verify checks")
}

/// A random input of a Program; the same for the same seed.
pub fn random_input(program: &Program, seed: u64) -> Tensor {
    random_tensor(&program.input, seed)
}

/// Random elements of a type; sometimes all equal, for reals sometimes with NaN and infinities.
pub fn random_tensor(ty: &Type, seed: u64) -> Tensor {
    let mut random = Random::new(seed ^ 0x1234_5678_9abc_def0);
    let n = ty.n_elements();
    let is_extreme = random.once_in(8);
    let extreme = random.bits();
    let mut bits = || if is_extreme { extreme } else { random.bits() };
    match ty.kind {
        Kind::Bits => Tensor::Bits((0..n).map(|_| bits() & 1 == 1).collect()),
        Kind::Levels(width) => {
            let mask = (1u64 << width) - 1;
            let mut code = || {
                if is_extreme {
                    (extreme & 1) * mask
                } else {
                    bits() & mask
                }
            };
            Tensor::Levels((0..n).map(|_| code() as u8).collect())
        }
        Kind::Int => Tensor::Int((0..n).map(|_| (bits() % 2001) as i32 - 1000).collect()),
        Kind::Real => Tensor::Real(
            (0..n)
                .map(|_| random_real(&mut random, is_extreme))
                .collect(),
        ),
    }
}

fn random_real(random: &mut Random, is_extreme: bool) -> f32 {
    let special = [
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::MAX,
        f32::MIN_POSITIVE,
        0.0,
    ];
    if is_extreme && random.once_in(3) {
        random.pick(&special)
    } else {
        random.real()
    }
}

fn random_type(random: &mut Random) -> Type {
    let width = random.int(1, 8) as u8;
    let kind = random.pick(&[
        Kind::Bits,
        Kind::Bits,
        Kind::Levels(8),
        Kind::Levels(width),
        Kind::Int,
        Kind::Real,
    ]);
    let shape = match random.once_in(4) {
        true => vec![random.size(9), random.size(7), random.size(4)],
        false => vec![random.size(MAX_WIDTH)],
    };
    Type { kind, shape }
}

/// How far a type's integers typically lie from zero.
fn spread(ty: &Type) -> i64 {
    match ty.kind {
        Kind::Bits => 1,
        Kind::Levels(bits) => 1 << bits,
        Kind::Int => 1000,
        Kind::Real => 32,
    }
}

/// Appends a random op that can read `operand`.
fn append(
    builder: &mut ProgramBuilder,
    random: &mut Random,
    operand: &Value,
    values: &[Value],
    is_last: bool,
) -> Value {
    let is_rank_one = operand.ty.shape.len() == 1;
    match operand.ty.kind {
        Kind::Bits if random.once_in(4) => concat(builder, random, operand, values),
        Kind::Bits => dense(builder, random, operand),
        Kind::Levels(_) => match random.below(6) {
            0 => quantize(builder, random, operand),
            1 => planes(builder, operand),
            2 | 3 => threshold(builder, random, operand),
            _ => dense(builder, random, operand),
        },
        Kind::Int | Kind::Real if is_last && is_rank_one && random.once_in(3) => {
            let name = name(builder, "argmax");
            let id = builder.argmax(&name, operand.id);
            Value {
                id,
                ty: Type {
                    kind: Kind::Int,
                    shape: vec![1],
                },
                spread: 300,
            }
        }
        Kind::Int if random.once_in(6) || (is_last && random.once_in(2)) => {
            affine(builder, random, operand)
        }
        Kind::Int | Kind::Real => match random.once_in(4) {
            true => quantize(builder, random, operand),
            false => threshold(builder, random, operand),
        },
    }
}

fn name(builder: &ProgramBuilder, op: &str) -> String {
    builder.unused_name(op)
}

fn dense(builder: &mut ProgramBuilder, random: &mut Random, operand: &Value) -> Value {
    let (n_rows, n_cols) = (random.size(MAX_WIDTH), operand.ty.n_elements());
    let weights = random_weights(random, n_rows, n_cols);
    let bias = random.once_in(2).then(|| {
        let reach = random.pick(&[1, 5, 70_000]);
        (0..n_rows)
            .map(|_| random.int(-reach, reach) as i32)
            .collect()
    });
    let name = name(builder, "dense");
    let id = builder.dense(&name, operand.id, weights, bias);
    let spread = operand.spread * (n_cols as f64).sqrt() as i64 + 2;
    Value {
        id,
        ty: Type {
            kind: Kind::Int,
            shape: vec![n_rows],
        },
        spread,
    }
}

/// Bits or ternary weights of any density, among them rows of nothing but zeros.
pub(crate) fn random_weights(random: &mut Random, n_rows: usize, n_cols: usize) -> Weights {
    let dense_bits =
        |random: &mut Random| BitMatrix::from_fn(n_rows, n_cols, |_, _| random.bits() >> 63 == 1);
    if !random.once_in(3) {
        return Weights::Bits(dense_bits(random));
    }
    let density = random.pick(&[1, 2, 4, 50]);
    let empty_row = random.below(n_rows * 2);
    let mask = BitMatrix::from_fn(n_rows, n_cols, |row, _| {
        random.once_in(density) && row != empty_row
    });
    let signs = dense_bits(random);
    let sign = BitMatrix::from_fn(n_rows, n_cols, |row, col| {
        signs.get(row, col) && mask.get(row, col)
    });
    Weights::Ternary { sign, mask }
}

fn threshold(builder: &mut ProgramBuilder, random: &mut Random, operand: &Value) -> Value {
    let n_channels = *operand.ty.shape.last().expect("every shape has an axis");
    let has_flip = random.once_in(2);
    let mut flip: Vec<bool> = (0..n_channels)
        .map(|_| has_flip && random.once_in(2))
        .collect();
    let name = name(builder, "threshold");
    let id = if operand.ty.kind == Kind::Real {
        let at = (0..n_channels).map(|_| random_cut_real(random)).collect();
        builder.threshold_real(&name, operand.id, at, flip)
    } else {
        let has_constant = random.once_in(3);
        let mut at = Vec::with_capacity(n_channels);
        for flip in &mut flip {
            let special = has_constant && random.once_in(6);
            if special {
                *flip = random.once_in(2);
                at.push(random.pick(&[i32::MIN, i32::MIN, i32::MAX, 128, -128]));
            } else {
                at.push(random_cut_int(random, operand));
            }
        }
        builder.threshold_flip(&name, operand.id, at, flip)
    };
    Value {
        id,
        ty: Type {
            kind: Kind::Bits,
            shape: operand.ty.shape.clone(),
        },
        spread: 1,
    }
}

fn random_cut_int(random: &mut Random, operand: &Value) -> i32 {
    let low = if matches!(operand.ty.kind, Kind::Levels(_)) {
        -1
    } else {
        -operand.spread
    };
    random.int(low, operand.spread + 1) as i32
}

fn random_cut_real(random: &mut Random) -> f32 {
    match random.once_in(16) {
        true => random.pick(&[f32::NEG_INFINITY, f32::INFINITY, 0.0, -0.0, f32::MAX]),
        false => random.real(),
    }
}

fn quantize(builder: &mut ProgramBuilder, random: &mut Random, operand: &Value) -> Value {
    let bits = random.pick(&[1, 2, 2, 3, 4, 8]);
    let n_cuts = (1usize << bits) - 1;
    let cuts = if operand.ty.kind == Kind::Real {
        let mut cuts: Vec<f32> = (0..n_cuts).map(|_| random_cut_real(random)).collect();
        cuts.sort_by(|a, b| a.partial_cmp(b).expect("cuts are never NaN"));
        Cuts::Real(cuts)
    } else {
        let mut cuts: Vec<i32> = (0..n_cuts)
            .map(|_| random_cut_int(random, operand))
            .collect();
        cuts.sort_unstable();
        Cuts::Int(cuts)
    };
    let name = name(builder, "quantize");
    let id = builder.quantize(&name, operand.id, bits, cuts);
    let ty = Type {
        kind: Kind::Levels(bits),
        shape: operand.ty.shape.clone(),
    };
    Value {
        id,
        spread: spread(&ty),
        ty,
    }
}

fn planes(builder: &mut ProgramBuilder, operand: &Value) -> Value {
    let Kind::Levels(bits) = operand.ty.kind else {
        unreachable!("planes reads levels")
    };
    let n = operand.ty.n_elements() * usize::from(bits);
    let name = name(builder, "planes");
    let id = builder.planes(&name, operand.id);
    Value {
        id,
        ty: Type {
            kind: Kind::Bits,
            shape: vec![n],
        },
        spread: 1,
    }
}

fn affine(builder: &mut ProgramBuilder, random: &mut Random, operand: &Value) -> Value {
    let n_channels = *operand.ty.shape.last().expect("every shape has an axis");
    let specials = [0.0, -0.0, 1e-30, 1e30, f32::MAX, f32::MIN_POSITIVE, 0.1];
    let mut number = || match random.once_in(10) {
        true => random.pick(&specials),
        false => random.real() * 0.3,
    };
    let scale = (0..n_channels).map(|_| number()).collect();
    let shift = (0..n_channels).map(|_| number()).collect();
    let name = name(builder, "affine");
    let id = builder.affine(&name, operand.id, scale, shift);
    Value {
        id,
        ty: Type {
            kind: Kind::Real,
            shape: operand.ty.shape.clone(),
        },
        spread: 32,
    }
}

/// Joins the operand with other bits there are, itself included.
fn concat(
    builder: &mut ProgramBuilder,
    random: &mut Random,
    operand: &Value,
    values: &[Value],
) -> Value {
    let others: Vec<&Value> = values
        .iter()
        .filter(|value| value.ty.kind == Kind::Bits && value.ty.n_elements() <= 2 * MAX_WIDTH)
        .collect();
    let mut joined = vec![operand.id];
    let mut n = operand.ty.n_elements();
    if !others.is_empty() {
        for _ in 0..random.below(4) {
            let other = others[random.below(others.len())];
            joined.push(other.id);
            n += other.ty.n_elements();
        }
    }
    let name = name(builder, "concat");
    let id = builder.concat(&name, &joined);
    Value {
        id,
        ty: Type {
            kind: Kind::Bits,
            shape: vec![n],
        },
        spread: 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use onebit_model::program::{Op, ThresholdValues};
    use std::collections::BTreeSet;

    /// What a Program has that a test suite must not miss.
    fn features(program: &Program) -> Vec<&'static str> {
        let mut found = Vec::new();
        for node in &program.nodes {
            match &node.op {
                Op::Dense { weights, bias } => {
                    let is_bits = matches!(weights, Weights::Bits(_));
                    found.push(if is_bits {
                        "bits weights"
                    } else {
                        "ternary weights"
                    });
                    found.push(if bias.is_some() { "bias" } else { "no bias" });
                    let has_tail = weights.n_cols() % 64 != 0;
                    found.push(if has_tail { "tail" } else { "whole words" });
                }
                Op::Threshold(thresholds) => {
                    found.push(if thresholds.flip.contains(&true) {
                        "flip"
                    } else {
                        "no flip"
                    });
                    match &thresholds.at {
                        ThresholdValues::Int(at) if at.contains(&i32::MIN) => {
                            found.push("constant")
                        }
                        ThresholdValues::Int(_) => found.push("int thresholds"),
                        ThresholdValues::Real(_) => found.push("real thresholds"),
                    }
                }
                Op::Quantize {
                    cuts: Cuts::Int(_), ..
                } => found.push("int cuts"),
                Op::Quantize {
                    cuts: Cuts::Real(_),
                    ..
                } => found.push("real cuts"),
                Op::Planes => found.push("planes"),
                Op::Affine { .. } => found.push("affine"),
                Op::Concat => found.push("concat"),
                Op::Argmax => found.push("argmax"),
            }
        }
        found.push(match program.input.kind {
            Kind::Bits => "bits input",
            Kind::Levels(_) => "levels input",
            Kind::Int => "int input",
            Kind::Real => "real input",
        });
        found.push(if program.input.shape.len() == 3 {
            "rank 3"
        } else {
            "rank 1"
        });
        found
    }

    #[test]
    fn every_feature_comes_up() {
        let found: BTreeSet<&str> = (0..200)
            .flat_map(|seed| features(&random_program(seed)))
            .collect();
        assert_eq!(found.len(), 23, "{found:?}");
    }

    #[test]
    fn a_seed_gives_the_same_program_and_input() {
        for seed in 0..20 {
            let program = random_program(seed);
            assert_eq!(program, random_program(seed));
            let input = random_input(&program, seed);
            assert_eq!(input.first_difference(&random_input(&program, seed)), None);
            input.check(&program.input).unwrap();
        }
    }
}

//! The interpreter: the definition of every op in code.
//!
//! A verified Program and one image come in; the value of every node goes out. The loops are naive
//! and share nothing with `run` or `bits`, so that agreement between the two means something.
//! Speed, batches and packed values are left to `run`.

use alloc::vec::Vec;

use crate::program::{Cuts, Kind, Op, Program, ThresholdValues, Thresholds};
use crate::tensor::Tensor;
use crate::verify::ProgramTypes;
use crate::weights::{BitMatrix, Weights};

/// The Program's answer for one image.
///
/// # Panics
///
/// If `input` is not a value of the Program's input type (see [`Tensor::check`]).
pub fn interpret(program: &Program, types: &ProgramTypes, input: &Tensor) -> Tensor {
    interpret_all(program, types, input).swap_remove(program.output.0)
}

/// Every value for one image, indexed by `ValueId`: the input first, then each node's value.
///
/// # Panics
///
/// If `input` is not a value of the Program's input type (see [`Tensor::check`]).
pub fn interpret_all(program: &Program, types: &ProgramTypes, input: &Tensor) -> Vec<Tensor> {
    if let Err(reason) = input.check(&program.input) {
        panic!("the input does not fit the Program: {reason}");
    }
    let mut values = Vec::with_capacity(program.nodes.len() + 1);
    values.push(input.clone());
    for node in &program.nodes {
        let x = &values[node.inputs[0].0];
        let ty = types.of(node.inputs[0]);
        let n_channels = *ty.shape.last().expect("verify: every shape has an axis");
        let value = match &node.op {
            Op::Dense { weights, bias } => Tensor::Int(dense(weights, bias.as_deref(), x)),
            Op::Threshold(thresholds) => Tensor::Bits(threshold(thresholds, n_channels, x)),
            Op::Quantize { cuts, .. } => Tensor::Levels(quantize(cuts, x)),
            Op::Planes => Tensor::Bits(planes(ty.kind, x)),
            Op::Affine { scale, shift } => Tensor::Real(affine(scale, shift, x)),
            Op::Concat => Tensor::Bits(concat(node.inputs.iter().map(|id| &values[id.0]))),
            Op::Argmax => Tensor::Int(Vec::from([argmax(x)])),
        };
        values.push(value);
    }
    values
}

/// `out[r] = bias[r] + sum over c of weights[r][c] * x[c]`.
fn dense(weights: &Weights, bias: Option<&[i32]>, x: &Tensor) -> Vec<i32> {
    let sums = match x {
        Tensor::Bits(bits) => dense_bits(weights, bits),
        Tensor::Levels(codes) => dense_levels(weights, codes),
        _ => unreachable!("verify: dense reads bits or levels"),
    };
    match bias {
        None => sums,
        Some(bias) => sums
            .iter()
            .zip(bias)
            .map(|(sum, bias)| sum + bias)
            .collect(),
    }
}

/// Each active column adds +1 where weight and input agree in sign and -1 where they differ.
fn dense_bits(weights: &Weights, bits: &[bool]) -> Vec<i32> {
    let x = BitMatrix::from_fn(1, bits.len(), |_, col| bits[col]);
    let row_sum = |row: usize| {
        let sign = weights.sign().row(row).iter().zip(x.row(0));
        let n_differ: u32 = match weights {
            Weights::Bits(_) => sign.map(|(w, x)| (w ^ x).count_ones()).sum(),
            Weights::Ternary { mask, .. } => {
                let masked = sign.zip(mask.row(row));
                masked
                    .map(|((w, x), mask)| ((w ^ x) & mask).count_ones())
                    .sum()
            }
        };
        weights.row_nonzero(row) as i32 - 2 * n_differ as i32
    };
    (0..weights.n_rows()).map(row_sum).collect()
}

/// The sum of the codes under positive weights less the sum of those under negative ones.
fn dense_levels(weights: &Weights, codes: &[u8]) -> Vec<i32> {
    let total: i64 = codes.iter().map(|&code| i64::from(code)).sum();
    let row_sum = |row: usize| {
        let plus = sum_where(weights.sign().row(row), codes);
        let active = match weights {
            Weights::Bits(_) => total,
            Weights::Ternary { mask, .. } => sum_where(mask.row(row), codes),
        };
        i32::try_from(2 * plus - active).expect("verify: no sum leaves i32")
    };
    (0..weights.n_rows()).map(row_sum).collect()
}

/// The sum of the codes whose column bit is set. Bit `i` of word `w` is column `64 w + i`.
fn sum_where(words: &[u64], codes: &[u8]) -> i64 {
    let mut sum = 0;
    for (word, codes) in words.iter().zip(codes.chunks(64)) {
        let mut left = *word;
        while left != 0 {
            sum += i64::from(codes[left.trailing_zeros() as usize]);
            left &= left - 1;
        }
    }
    sum
}

/// `(x >= at[c]) != flip[c]`, where `c` is the element's index on the last axis.
fn threshold(thresholds: &Thresholds, n_channels: usize, x: &Tensor) -> Vec<bool> {
    let decide = |idx: usize| {
        let channel = idx % n_channels;
        let at_least = match (x, &thresholds.at) {
            (Tensor::Int(x), ThresholdValues::Int(at)) => x[idx] >= at[channel],
            (Tensor::Levels(x), ThresholdValues::Int(at)) => i32::from(x[idx]) >= at[channel],
            (Tensor::Real(x), ThresholdValues::Real(at)) => x[idx] >= at[channel],
            _ => unreachable!("verify: thresholds are of the operand's kind"),
        };
        at_least != thresholds.flip[channel]
    };
    (0..x.len()).map(decide).collect()
}

/// The number of cuts that the element is at least as large as.
fn quantize(cuts: &Cuts, x: &Tensor) -> Vec<u8> {
    let count = |n: usize| u8::try_from(n).expect("verify: at most 255 cuts");
    let code_of_int = |x: i32, cuts: &[i32]| count(cuts.iter().filter(|&&cut| x >= cut).count());
    let code_of_real = |x: f32, cuts: &[f32]| count(cuts.iter().filter(|&&cut| x >= cut).count());
    match (x, cuts) {
        (Tensor::Int(x), Cuts::Int(cuts)) => x.iter().map(|&x| code_of_int(x, cuts)).collect(),
        (Tensor::Levels(x), Cuts::Int(cuts)) => {
            x.iter().map(|&x| code_of_int(i32::from(x), cuts)).collect()
        }
        (Tensor::Real(x), Cuts::Real(cuts)) => x.iter().map(|&x| code_of_real(x, cuts)).collect(),
        _ => unreachable!("verify: cuts are of the operand's kind"),
    }
}

/// Bit plane 0 of all elements, then plane 1, and so on; a set bit is +1.
fn planes(kind: Kind, x: &Tensor) -> Vec<bool> {
    let (Kind::Levels(bits), Tensor::Levels(codes)) = (kind, x) else {
        unreachable!("verify: planes reads levels");
    };
    (0..bits)
        .flat_map(|plane| codes.iter().map(move |code| (code >> plane) & 1 == 1))
        .collect()
}

/// `scale[c] * (x as f32) + shift[c]`: the conversion, the product and the sum round once each.
fn affine(scale: &[f32], shift: &[f32], x: &Tensor) -> Vec<f32> {
    let Tensor::Int(x) = x else {
        unreachable!("verify: affine reads int")
    };
    let channel = |idx: usize| idx % scale.len();
    let value = |(idx, &x): (usize, &i32)| {
        let product = scale[channel(idx)] * x as f32;
        product + shift[channel(idx)]
    };
    x.iter().enumerate().map(value).collect()
}

/// The operands' elements, in operand order.
fn concat<'a>(operands: impl Iterator<Item = &'a Tensor>) -> Vec<bool> {
    let mut joined = Vec::new();
    for operand in operands {
        let Tensor::Bits(bits) = operand else {
            unreachable!("verify: concat reads bits")
        };
        joined.extend_from_slice(bits);
    }
    joined
}

/// The index of the greatest element: a later one wins only if it is strictly greater.
fn argmax(x: &Tensor) -> i32 {
    let best = match x {
        Tensor::Int(x) => {
            (1..x.len()).fold(0, |best, idx| if x[idx] > x[best] { idx } else { best })
        }
        Tensor::Real(x) => {
            (1..x.len()).fold(0, |best, idx| if x[idx] > x[best] { idx } else { best })
        }
        _ => unreachable!("verify: argmax reads int or real"),
    };
    i32::try_from(best).expect("limits: an index is below 2^24")
}

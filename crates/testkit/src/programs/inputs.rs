//! Random types and random elements of them.

use onebit_model::Tensor;
use onebit_model::program::{Kind, Program, Type};

use crate::random::Random;

/// Most elements of a vector.
pub(super) const MAX_WIDTH: usize = 300;

/// Channels at which packing changes its course, and others.
const CHANNELS: [usize; 14] = [1, 2, 3, 4, 8, 16, 31, 33, 63, 64, 65, 127, 128, 130];

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

/// A vector, an image, or now and then something else.
pub(super) fn random_type(random: &mut Random) -> Type {
    let width = random.int(1, 8) as u8;
    let kind = random.pick(&[
        Kind::Bits,
        Kind::Bits,
        Kind::Levels(8),
        Kind::Levels(width),
        Kind::Int,
        Kind::Real,
    ]);
    let shape = match random.below(16) {
        0..=6 => vec![random.size(MAX_WIDTH)],
        7 => vec![random.size(9), random.size(33)],
        8 => vec![
            random.size(3),
            random.size(4),
            random.size(5),
            random.size(9),
        ],
        _ => vec![random.size(9), random.size(7), random_channels(random)],
    };
    Type { kind, shape }
}

/// Mostly a number at which packing changes its course.
fn random_channels(random: &mut Random) -> usize {
    match random.once_in(4) {
        true => random.int(1, 130) as usize,
        false => random.pick(&CHANNELS),
    }
}

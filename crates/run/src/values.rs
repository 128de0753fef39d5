//! Values in memory: the buffers that one tile of images passes through.
//!
//! Owns the packed layouts. Bits are `[image][n_words(n)]` words with zero tails, codes are
//! `[image][n]` bytes, integers and reals `[image][n]`. A buffer is sized once for the largest tile.

use onebit_bits::{AlignedWords, n_words};
use onebit_model::Tensor;
use onebit_model::program::{Kind, Type};

/// The value of one node for a tile of images.
#[derive(Clone, Debug)]
pub(crate) enum Values {
    /// Packed bits.
    Bits(AlignedWords),
    /// Codes of `levels`.
    Codes(Vec<u8>),
    /// Integers.
    Ints(Vec<i32>),
    /// Reals.
    Reals(Vec<f32>),
}

impl Values {
    /// A buffer for `tile` images of a type.
    pub(crate) fn new(ty: &Type, tile: usize) -> Self {
        let n = ty.n_elements();
        match ty.kind {
            Kind::Bits => Values::Bits(AlignedWords::zeros(tile * n_words(n))),
            Kind::Levels(_) => Values::Codes(vec![0; tile * n]),
            Kind::Int => Values::Ints(vec![0; tile * n]),
            Kind::Real => Values::Reals(vec![0.0; tile * n]),
        }
    }

    /// The elements of one image, unpacked.
    pub(crate) fn tensor(&self, ty: &Type, image: usize) -> Tensor {
        let n = ty.n_elements();
        let range = image * n..(image + 1) * n;
        match self {
            Values::Bits(words) => {
                let words = &words[image * n_words(n)..];
                Tensor::Bits((0..n).map(|i| words[i / 64] >> (i % 64) & 1 == 1).collect())
            }
            Values::Codes(codes) => Tensor::Levels(codes[range].to_vec()),
            Values::Ints(ints) => Tensor::Int(ints[range].to_vec()),
            Values::Reals(reals) => Tensor::Real(reals[range].to_vec()),
        }
    }

    /// The packed bits; only called where the verifier proved that the value is bits.
    pub(crate) fn bits(&self) -> &[u64] {
        match self {
            Values::Bits(words) => words,
            _ => unreachable!("verify: the operand is bits"),
        }
    }

    /// As [`Values::bits`], to write.
    pub(crate) fn bits_mut(&mut self) -> &mut [u64] {
        match self {
            Values::Bits(words) => words,
            _ => unreachable!("verify: the value is bits"),
        }
    }

    /// The codes; only called where the verifier proved that the value is levels.
    pub(crate) fn codes(&self) -> &[u8] {
        match self {
            Values::Codes(codes) => codes,
            _ => unreachable!("verify: the operand is levels"),
        }
    }

    /// As [`Values::codes`], to write.
    pub(crate) fn codes_mut(&mut self) -> &mut [u8] {
        match self {
            Values::Codes(codes) => codes,
            _ => unreachable!("verify: the value is levels"),
        }
    }

    /// The integers; only called where the verifier proved that the value is int.
    pub(crate) fn ints(&self) -> &[i32] {
        match self {
            Values::Ints(ints) => ints,
            _ => unreachable!("verify: the operand is int"),
        }
    }

    /// As [`Values::ints`], to write.
    pub(crate) fn ints_mut(&mut self) -> &mut [i32] {
        match self {
            Values::Ints(ints) => ints,
            _ => unreachable!("verify: the value is int"),
        }
    }

    /// As [`Values::reals`] would be, to write.
    pub(crate) fn reals_mut(&mut self) -> &mut [f32] {
        match self {
            Values::Reals(reals) => reals,
            _ => unreachable!("verify: the value is real"),
        }
    }
}

//! Values in memory: the buffers that one tile of images passes through.
//!
//! Owns the packed layouts. Bits are `[image][words]` with zero tails (see `layout`), codes are
//! `[image][n]` bytes, integers and reals `[image][n]`. A buffer is sized once for the largest tile
//! and the largest value it ever holds.

use onebit_bits::AlignedWords;
use onebit_bits::conv::CODE_SLACK;
use onebit_model::Tensor;
use onebit_model::program::{Kind, Type};

use crate::layout::{Layout, bit_words, unpack};

/// The value of one node for a tile of images.
#[derive(Clone, Debug)]
pub(crate) enum Values {
    /// Packed bits.
    Bits(AlignedWords),
    /// Codes of `levels`, and the bytes that kernels may read past them.
    Codes(Vec<u8>),
    /// Integers.
    Ints(Vec<i32>),
    /// Reals.
    Reals(Vec<f32>),
}

impl Default for Values {
    /// No elements.
    fn default() -> Self {
        Values::Ints(Vec::new())
    }
}

/// Elements (words, for bits) of one image.
pub(crate) fn image_len(ty: &Type, layout: Layout) -> usize {
    match ty.kind {
        Kind::Bits => bit_words(ty, layout),
        _ => ty.n_elements(),
    }
}

impl Values {
    /// A buffer of so many elements, or words for bits.
    pub(crate) fn with_len(kind: Kind, len: usize) -> Self {
        match kind {
            Kind::Bits => Values::Bits(AlignedWords::zeros(len)),
            Kind::Levels(_) => Values::Codes(vec![0; len + CODE_SLACK]),
            Kind::Int => Values::Ints(vec![0; len]),
            Kind::Real => Values::Reals(vec![0.0; len]),
        }
    }

    /// Copies what another buffer of the same kind and length holds.
    pub(crate) fn copy_from(&mut self, other: &Values) {
        match (self, other) {
            (Values::Bits(to), Values::Bits(from)) => to.copy_from_slice(from),
            (Values::Codes(to), Values::Codes(from)) => to.copy_from_slice(from),
            (Values::Ints(to), Values::Ints(from)) => to.copy_from_slice(from),
            (Values::Reals(to), Values::Reals(from)) => to.copy_from_slice(from),
            _ => unreachable!("memory: both hold the input"),
        }
    }

    /// The elements of one image, unpacked.
    pub(crate) fn tensor(&self, ty: &Type, layout: Layout, image: usize) -> Tensor {
        let n = ty.n_elements();
        let range = image * n..(image + 1) * n;
        match self {
            Values::Bits(words) => {
                let mut bytes = vec![0; n];
                unpack(
                    ty,
                    layout,
                    &words[image * bit_words(ty, layout)..],
                    &mut bytes,
                );
                Tensor::Bits(bytes.into_iter().map(|byte| byte != 0).collect())
            }
            Values::Codes(codes) => Tensor::Levels(codes[range].to_vec()),
            Values::Ints(ints) => Tensor::Int(ints[range].to_vec()),
            Values::Reals(reals) => Tensor::Real(reals[range].to_vec()),
        }
    }
}

/// Access to the elements; only called where the verifier proved the kind.
macro_rules! access {
    ($($get:ident, $get_mut:ident, $variant:ident, $element:ty;)*) => {
        impl Values {
            $(
                /// The elements.
                pub(crate) fn $get(&self) -> &[$element] {
                    match self {
                        Values::$variant(x) => x,
                        _ => unreachable!("verify: the operand's kind"),
                    }
                }

                /// The elements, to write.
                pub(crate) fn $get_mut(&mut self) -> &mut [$element] {
                    match self {
                        Values::$variant(x) => x,
                        _ => unreachable!("verify: the value's kind"),
                    }
                }
            )*
        }
    };
}

access! {
    bits, bits_mut, Bits, u64;
    codes, codes_mut, Codes, u8;
    ints, ints_mut, Ints, i32;
    reals, reals_mut, Reals, f32;
}

//! The caller's batches: checked once here, then copied into and out of a tile's buffers.

use core::ops::Range;

use onebit_bits::n_words;
use onebit_model::program::{Kind, Type};

use crate::error::RunError;
use crate::layout::{Layout, bit_words, convert, pixels, place};
use crate::plan::Stored;
use crate::values::Values;

/// Inputs, `[batch][elements]`, in the form that the Program's input type asks for.
#[derive(Clone, Copy, Debug)]
pub enum InputBatch<'a> {
    /// For `levels(k)`: one code per byte, below `2^k`.
    Levels(&'a [u8]),
    /// For `bits`: packed, `[batch][n_words(n)]`; bits past an image's last element are ignored.
    PackedBits(&'a [u64]),
    /// For `int`, or for `bits` where every element is -1 or +1.
    Int8(&'a [i8]),
    /// For `int`.
    Int(&'a [i32]),
    /// For `real`.
    Real(&'a [f32]),
}

/// Where answers go, `[batch][elements]`, in the form that the Program's output type asks for.
#[derive(Debug)]
pub enum OutputBatch<'a> {
    /// For `int`, `bits` (as -1 and +1) and `levels` (as codes).
    Int(&'a mut [i32]),
    /// For `real`.
    Real(&'a mut [f32]),
}

impl InputBatch<'_> {
    /// Checks the batch against the Program's input type and returns its number of images.
    pub(crate) fn check(&self, ty: &Type) -> Result<usize, RunError> {
        let n = ty.n_elements();
        let (len, per_image, found) = match (self, ty.kind) {
            (InputBatch::Levels(x), Kind::Levels(_)) => (x.len(), n, None),
            (InputBatch::PackedBits(x), Kind::Bits) => (x.len(), n_words(n), None),
            (InputBatch::Int8(x), Kind::Int | Kind::Bits) => (x.len(), n, None),
            (InputBatch::Int(x), Kind::Int) => (x.len(), n, None),
            (InputBatch::Real(x), Kind::Real) => (x.len(), n, None),
            (InputBatch::Levels(_), _) => (0, 1, Some("unsigned bytes")),
            (InputBatch::PackedBits(_), _) => (0, 1, Some("packed bits")),
            (InputBatch::Int8(_), _) => (0, 1, Some("signed bytes")),
            (InputBatch::Int(_), _) => (0, 1, Some("32-bit integers")),
            (InputBatch::Real(_), _) => (0, 1, Some("floats")),
        };
        if let Some(found) = found {
            return Err(RunError::InputKind {
                found,
                wanted: ty.to_string(),
            });
        }
        if !len.is_multiple_of(per_image) {
            return Err(RunError::InputLength {
                found: len,
                per_image,
            });
        }
        self.check_elements(ty, n)?;
        Ok(len / per_image)
    }

    /// Checks the elements whose Rust type allows more than the Program's type.
    fn check_elements(&self, ty: &Type, n: usize) -> Result<(), RunError> {
        let wrong = match (self, ty.kind) {
            (InputBatch::Levels(x), Kind::Levels(bits)) if bits < 8 => x
                .iter()
                .position(|&code| code >> bits != 0)
                .map(|at| (at, i64::from(x[at]))),
            (InputBatch::Int8(x), Kind::Bits) => x
                .iter()
                .position(|x| x.abs_diff(0) != 1)
                .map(|at| (at, i64::from(x[at]))),
            _ => None,
        };
        match wrong {
            None => Ok(()),
            Some((at, value)) => Err(RunError::InputValue {
                image: at / n,
                element: at % n,
                value,
                wanted: ty.to_string(),
            }),
        }
    }

    /// Copies some images of a checked batch into a tile's buffer.
    pub(crate) fn load(&self, stored: Stored<'_>, images: Range<usize>, values: &mut Values) {
        let n = stored.ty.n_elements();
        let range = images.start * n..images.end * n;
        let count = range.len();
        match (self, values) {
            (InputBatch::Levels(x), Values::Codes(to)) => to[..count].copy_from_slice(&x[range]),
            (InputBatch::Int(x), Values::Ints(to)) => to[..count].copy_from_slice(&x[range]),
            (InputBatch::Real(x), Values::Reals(to)) => to[..count].copy_from_slice(&x[range]),
            (InputBatch::Int8(x), Values::Ints(to)) => {
                for (to, &x) in to.iter_mut().zip(&x[range]) {
                    *to = i32::from(x);
                }
            }
            (InputBatch::Int8(x), Values::Bits(to)) => {
                let len = bit_words(stored.ty, stored.layout);
                let (_, channels) = pixels(stored.ty);
                for (image, to) in x[range].chunks_exact(n).zip(to.chunks_exact_mut(len)) {
                    to.fill(0);
                    for (px, image) in image.chunks_exact(channels).enumerate() {
                        for (channel, &x) in image.iter().enumerate() {
                            let (word, bit) = place(stored.layout, channels, px, channel);
                            to[word] |= u64::from(x > 0) << bit;
                        }
                    }
                }
            }
            (InputBatch::PackedBits(x), Values::Bits(to)) => {
                let words = n_words(n);
                let tail = u64::MAX >> (64 * words - n);
                let len = bit_words(stored.ty, stored.layout);
                let from = x[images.start * words..images.end * words].chunks_exact(words);
                for (from, to) in from.zip(to.chunks_exact_mut(len)) {
                    convert(stored.ty, (Layout::Flat, from), (stored.layout, to));
                    if stored.layout == Layout::Flat {
                        to[words - 1] &= tail;
                    }
                }
            }
            _ => unreachable!("check: the batch is of the input's kind"),
        }
    }
}

impl OutputBatch<'_> {
    /// Checks the batch against the Program's output type and number of images.
    pub(crate) fn check(&self, ty: &Type, images: usize) -> Result<(), RunError> {
        let (found, is_right) = match self {
            OutputBatch::Int(x) => (x.len(), ty.kind != Kind::Real),
            OutputBatch::Real(x) => (x.len(), ty.kind == Kind::Real),
        };
        if !is_right {
            let found = if ty.kind == Kind::Real {
                "32-bit integers"
            } else {
                "floats"
            };
            return Err(RunError::OutputKind {
                found,
                wanted: ty.to_string(),
            });
        }
        let wanted = images * ty.n_elements();
        if found != wanted {
            return Err(RunError::OutputLength {
                found,
                wanted,
                images,
            });
        }
        Ok(())
    }

    /// Copies a tile's answers to their images of a checked batch.
    pub(crate) fn store(&mut self, stored: Stored<'_>, images: Range<usize>, values: &Values) {
        let n = stored.ty.n_elements();
        let range = images.start * n..images.end * n;
        let count = range.len();
        match (self, values) {
            (OutputBatch::Int(to), Values::Ints(x)) => to[range].copy_from_slice(&x[..count]),
            (OutputBatch::Real(to), Values::Reals(x)) => to[range].copy_from_slice(&x[..count]),
            (OutputBatch::Int(to), Values::Codes(x)) => {
                for (to, &x) in to[range].iter_mut().zip(x) {
                    *to = i32::from(x);
                }
            }
            (OutputBatch::Int(to), Values::Bits(x)) => {
                let len = bit_words(stored.ty, stored.layout);
                let (_, channels) = pixels(stored.ty);
                for (to, words) in to[range].chunks_exact_mut(n).zip(x.chunks_exact(len)) {
                    for (i, to) in to.iter_mut().enumerate() {
                        let (word, bit) =
                            place(stored.layout, channels, i / channels, i % channels);
                        *to = if words[word] >> bit & 1 == 1 { 1 } else { -1 };
                    }
                }
            }
            _ => unreachable!("check: the batch is of the output's kind"),
        }
    }
}

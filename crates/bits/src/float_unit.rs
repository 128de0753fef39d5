//! Which instructions multiply floats in the training step, and the copies of images that they read.
//!
//! Owns [`Unit`], picked from an [`Isa`] and a precision, and [`Frame`], a copy of images with room around each.
//! Floats come in, words as `generic::train` reads them go out. Leaves shapes to `train_conv`.

use crate::aligned::{AlignedWords, halves_mut, quarters_mut};
use crate::generic::train::bfloat16;
use crate::isa::{Isa, Tier};
use crate::train_conv::Precision;

/// The instructions of one product. Made from an [`Isa`] that proves them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    kind: Kind,
    precision: Precision,
}

/// What [`dispatch_unit`] picks by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Arrays of floats.
    Plain,
    /// 256-bit registers of floats.
    Fused256,
    /// 512-bit registers of floats.
    Fused512,
    /// 512-bit registers of bfloat16 pairs.
    Pairs512,
}

/// Calls the unit's kernel. The caller has checked what `generic::train` states.
macro_rules! dispatch_unit {
    ($unit:expr, $kernel:ident($($arg:expr),*)) => {
        match $unit.kind() {
            // SAFETY: a unit of this kind is only made on a CPU with its instructions.
            #[cfg(target_arch = "x86_64")]
            Kind::Fused256 => unsafe { $crate::arch::x86_64::train::fused256::$kernel($($arg),*) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kind::Fused512 => unsafe { $crate::arch::x86_64::train::fused512::$kernel($($arg),*) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kind::Pairs512 => unsafe { $crate::arch::x86_64::train::pairs512::$kernel($($arg),*) },
            // SAFETY: as above; every machine has the instructions.
            _ => unsafe { $crate::arch::plain::train::$kernel($($arg),*) },
        }
    };
}
pub(crate) use dispatch_unit;

impl Unit {
    /// The fastest unit of a tier for a precision.
    pub(crate) fn of(isa: Isa, precision: Precision) -> Unit {
        let kind = match (isa.tier(), precision) {
            (Tier::Avx512, Precision::Bf16) if isa.has_bfloat16() && isa.has_fused() => {
                Kind::Pairs512
            }
            (Tier::Avx512, _) if isa.has_fused() => Kind::Fused512,
            (Tier::Avx2, _) if isa.has_fused() => Kind::Fused256,
            _ => Kind::Plain,
        };
        Unit { kind, precision }
    }

    pub(crate) fn kind(self) -> Kind {
        self.kind
    }

    /// Whether a word is two elements.
    pub(crate) fn has_pairs(self) -> bool {
        self.kind == Kind::Pairs512
    }

    /// Bytes of an element.
    pub(crate) fn element_bytes(self) -> usize {
        if self.has_pairs() { 2 } else { 4 }
    }

    /// Lanes of a register.
    pub(crate) fn lanes(self) -> usize {
        match self.kind {
            Kind::Plain | Kind::Fused256 => 8,
            Kind::Fused512 | Kind::Pairs512 => 16,
        }
    }

    /// Places in a kernel's block, see `generic::train::gather`.
    pub(crate) fn block(self) -> usize {
        match self.kind {
            Kind::Plain => 2,
            Kind::Fused256 => 6,
            Kind::Fused512 | Kind::Pairs512 => 12,
        }
    }

    /// A float as the word of one element.
    fn word(self, value: f32) -> u32 {
        match self.precision {
            Precision::F32 => value.to_bits(),
            Precision::Bf16 => bfloat16(value) << 16,
        }
    }

    /// Writes floats as elements, from element `at` of a buffer.
    pub(crate) fn write(self, values: &[f32], buffer: &mut [u64], at: usize) {
        if self.has_pairs() {
            let out = &mut quarters_mut(buffer)[at..][..values.len()];
            dispatch_unit!(self, narrow(values, out));
        } else {
            self.write_words(values, &[], &mut halves_mut(buffer)[at..][..values.len()]);
        }
    }

    /// Writes floats as words: the first of a pair with the second of it, or zero past its end, or `first` alone
    /// where a word is one element.
    pub(crate) fn write_words(self, first: &[f32], second: &[f32], out: &mut [u32]) {
        match (self.has_pairs(), self.precision) {
            (true, _) => dispatch_unit!(self, pair(first, second, out)),
            (false, Precision::Bf16) => dispatch_unit!(self, round(first, out)),
            (false, Precision::F32) => {
                for (out, value) in out.iter_mut().zip(first) {
                    *out = value.to_bits();
                }
            }
        }
    }

    /// Fills a buffer of elements, or of whole words of pairs, with one value.
    pub(crate) fn fill(self, value: f32, buffer: &mut [u64]) {
        let word = match self.has_pairs() {
            true => bfloat16(value) * 0x1_0001,
            false => self.word(value),
        };
        buffer.fill(u64::from(word) << 32 | u64::from(word));
    }
}

/// Images with room around each: `[images][height][width][channels]` elements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    /// Rows and columns with the room.
    pub size: [usize; 2],
    /// Rows above and columns left of the image.
    pub before: [usize; 2],
    /// Rows and columns of the image.
    pub inner: [usize; 2],
    /// Elements of a pixel.
    pub channels: usize,
    /// Elements from a pixel to the next.
    pub pixel: usize,
}

impl Frame {
    /// Elements of an image with its room.
    pub(crate) fn len(&self) -> usize {
        self.size[0] * self.size[1] * self.pixel
    }

    /// Elements of an image.
    pub(crate) fn inner_len(&self) -> usize {
        self.inner[0] * self.inner[1] * self.channels
    }

    /// Pixels that are copied at once, of `n` of them.
    fn line(&self, n: usize) -> usize {
        match (self.pixel == self.channels, self.size == self.inner) {
            (false, _) => 1,
            (true, true) => n,
            (true, false) => self.inner[1],
        }
    }

    /// The element that the first element of an image's pixel is copied to.
    fn start(&self, pixel: usize) -> usize {
        let (row, column) = (pixel / self.inner[1], pixel % self.inner[1]);
        let (image, row) = (row / self.inner[0], row % self.inner[0]);
        let row = image * self.size[0] + self.before[0] + row;
        (row * self.size[1] + self.before[1] + column) * self.pixel
    }

    /// Copies images as elements.
    pub(crate) fn copy(&self, unit: Unit, images: &[f32], buffer: &mut AlignedWords) {
        let px = self.line(images.len() / self.channels);
        for (i, line) in images.chunks_exact(px * self.channels).enumerate() {
            unit.write(line, buffer, self.start(i * px));
        }
    }

    /// Copies images as words, each with its partner where a word is a pair. Partners end early or not at all.
    pub(crate) fn copy_words(&self, unit: Unit, first: &[f32], second: &[f32], out: &mut [u32]) {
        let px = self.line(first.len() / self.channels);
        let n = px * self.channels;
        for (i, line) in first.chunks_exact(n).enumerate() {
            let partner = &second[(i * n).min(second.len())..((i + 1) * n).min(second.len())];
            unit.write_words(line, partner, &mut out[self.start(i * px)..][..n]);
        }
    }
}

//! How a value's elements lie in memory.
//!
//! Owns the two layouts of bits. *Flat* bits are an image's elements in order, `n_words(n)` words, as files
//! and callers have them. *Pixel* bits begin each pixel at a 32-bit word of its own,
//! `[pixel][ceil(channels / 32)]`, as convolutions read them. Where pixels end at a word's end the two are
//! the same, and such bits count as flat.

use onebit_bits::n_words;
use onebit_model::program::{Kind, Type};

/// Where the elements of a value are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Elements in order; codes, integers and reals are always flat.
    Flat,
    /// Bits whose pixels begin at 32-bit words.
    Pixels,
}

/// Pixels and channels of a type: all axes but the last, and the last.
pub(crate) fn pixels(ty: &Type) -> (usize, usize) {
    let channels = *ty.shape.last().expect("verify: every shape has an axis");
    (ty.n_elements() / channels, channels)
}

/// Whether both layouts of bits are the same.
pub(crate) fn is_same(ty: &Type) -> bool {
    let (px, channels) = pixels(ty);
    px == 1 || channels.is_multiple_of(32)
}

/// The layout that a convolution or pool needs or makes.
pub(crate) fn pixel_layout(ty: &Type) -> Layout {
    if ty.kind != Kind::Bits || is_same(ty) {
        Layout::Flat
    } else {
        Layout::Pixels
    }
}

/// Words of one image's bits.
pub(crate) fn bit_words(ty: &Type, layout: Layout) -> usize {
    match layout {
        Layout::Flat => n_words(ty.n_elements()),
        Layout::Pixels => {
            let (px, channels) = pixels(ty);
            (px * channels.div_ceil(32)).div_ceil(2)
        }
    }
}

/// The 64-bit word and the bit in it of a channel of a pixel.
pub(crate) fn place(layout: Layout, channels: usize, px: usize, channel: usize) -> (usize, usize) {
    let at = match layout {
        Layout::Flat => px * channels + channel,
        Layout::Pixels => 32 * px * channels.div_ceil(32) + channel,
    };
    (at / 64, at % 64)
}

/// One image's bits as bytes of 0 and 1, in element order.
pub(crate) fn unpack(ty: &Type, layout: Layout, words: &[u64], out: &mut [u8]) {
    let (_, channels) = pixels(ty);
    for (px, out) in out.chunks_exact_mut(channels).enumerate() {
        for (channel, out) in out.iter_mut().enumerate() {
            let (word, bit) = place(layout, channels, px, channel);
            *out = (words[word] >> bit & 1) as u8;
        }
    }
}

/// Packs what [`unpack`] makes; any byte but 0 is a one.
pub(crate) fn pack(ty: &Type, layout: Layout, bytes: &[u8], words: &mut [u64]) {
    let (_, channels) = pixels(ty);
    words[..bit_words(ty, layout)].fill(0);
    for (px, bytes) in bytes.chunks_exact(channels).enumerate() {
        for (channel, &byte) in bytes.iter().enumerate() {
            let (word, bit) = place(layout, channels, px, channel);
            words[word] |= u64::from(byte != 0) << bit;
        }
    }
}

/// One image's bits from one layout to another.
pub(crate) fn convert(ty: &Type, from: (Layout, &[u64]), to: (Layout, &mut [u64])) {
    let ((from, x), (to, out)) = (from, to);
    let n = bit_words(ty, to);
    if from == to {
        out[..n].copy_from_slice(&x[..n]);
        return;
    }
    let (px, channels) = pixels(ty);
    out[..n].fill(0);
    for px in 0..px {
        // A pixel is moved a word at a time.
        for channel in (0..channels).step_by(64) {
            let n = 64.min(channels - channel);
            let bits = read_bits(x, offset(from, channels, px) + channel, n);
            or_bits(out, offset(to, channels, px) + channel, bits);
        }
    }
}

/// The first bit of a pixel.
fn offset(layout: Layout, channels: usize, px: usize) -> usize {
    let (word, bit) = place(layout, channels, px, 0);
    64 * word + bit
}

/// Up to 64 bits from bit `at` on.
pub(crate) fn read_bits(x: &[u64], at: usize, n: usize) -> u64 {
    let (word, shift) = (at / 64, at % 64);
    let mut bits = x[word] >> shift;
    if shift + n > 64 {
        bits |= x[word + 1] << (64 - shift);
    }
    bits & u64::MAX >> (64 - n)
}

/// Ors bits in from bit `at` on.
pub(crate) fn or_bits(out: &mut [u64], at: usize, bits: u64) {
    let (word, shift) = (at / 64, at % 64);
    out[word] |= bits << shift;
    if shift > 0 && bits >> (64 - shift) != 0 {
        out[word + 1] |= bits >> (64 - shift);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_hold_the_same_bits() {
        for shape in [
            vec![3, 5, 33],
            vec![2, 2, 64],
            vec![4, 4, 1],
            vec![7, 95],
            vec![130],
        ] {
            let ty = Type {
                kind: Kind::Bits,
                shape,
            };
            let bytes: Vec<u8> = (0..ty.n_elements())
                .map(|i| (i * i % 7 < 3) as u8)
                .collect();
            let n = |layout| vec![u64::MAX; bit_words(&ty, layout)];
            let (mut flat, mut pixel, mut back) =
                (n(Layout::Flat), n(Layout::Pixels), n(Layout::Flat));
            pack(&ty, Layout::Flat, &bytes, &mut flat);
            convert(&ty, (Layout::Flat, &flat), (Layout::Pixels, &mut pixel));
            convert(&ty, (Layout::Pixels, &pixel), (Layout::Flat, &mut back));
            assert_eq!(flat, back, "{ty}");
            let mut unpacked = vec![9; bytes.len()];
            unpack(&ty, Layout::Pixels, &pixel, &mut unpacked);
            assert_eq!(bytes, unpacked, "{ty}");
        }
    }
}

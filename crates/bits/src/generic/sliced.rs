//! Products of packed rows by bit-sliced addition, with the first additions looked up.
//!
//! A register holds one bit of many rows (a *block* of `64 * V::WORDS` rows), so a population count
//! over columns is a sum of one-bit numbers, added in parallel for all rows of the block by full
//! adders. Two observations make this cheaper than counting words:
//!
//! 1. The lowest bit of every running sum is known without adding: the parity of `x ^ w` up to a
//!    column is the parity of `w` (known when the weights are packed) flipped by the parity of `x`
//!    (one bit for all rows).
//! 2. So the carry of "running parity + two columns" depends on the image only through three bits:
//!    the parity of `x` so far and its two columns. Its eight variants are tabulated for all rows
//!    of a block once, and serve every image of a batch.
//!
//! What is left is adding one carry for two columns: one full adder, two operations on a tier with
//! a three-input instruction, for two columns of a register of rows.
//!
//! A *chunk* is 64 pairs of columns: bits `i` of words `2c` and `2c + 1`, for `i` in `0..64`. Its
//! table fits the first-level cache; the sums of all images wait in the second-level cache.

use core::sync::atomic::{Ordering, compiler_fence};

use crate::n_words;
use crate::vector::{Convert, Vector};

/// Pairs of columns in a chunk.
pub(crate) const CHUNK_PAIRS: usize = 64;
/// Variants of a pair's carry.
pub(crate) const VARIANTS: usize = 8;
/// Planes of a sum of a chunk's carries that never leave registers.
const LOW_PLANES: usize = 6;

/// The operands, scratch and answers of a sliced product.
pub(crate) struct SlicedProduct<'a> {
    /// Images: `[m][n_words]`.
    pub x: &'a [u64],
    /// `[block][chunk][CHUNK_PAIRS][parity before, first column, second column][V::WORDS]`.
    pub pairs: &'a [u64],
    /// `[block][parity of the row, then n_planes + 2 planes of its bound][V::WORDS]`.
    pub ends: &'a [u64],
    /// Columns, at least 128.
    pub n_cols: usize,
    /// Images.
    pub m: usize,
    /// Rows.
    pub n: usize,
    /// Scratch: `[CHUNK_PAIRS][VARIANTS][V::WORDS]`.
    pub table: &'a mut [u64],
    /// Scratch: `[m][n_planes][V::WORDS]`.
    pub sums: &'a mut [u64],
    /// Scratch: `[m][n_chunks]` times 64 bytes, a variant times 8 for every pair.
    pub offsets: &'a mut [u64],
    /// Answers: `[m][n_words(n)]`; bit `row` is `total < bound[row]`.
    pub out: &'a mut [u64],
}

/// Chunks that `n_cols` columns make.
pub(crate) const fn n_chunks(n_cols: usize) -> usize {
    n_words(n_cols).div_ceil(2)
}

/// Planes that the sum of all carries needs: there are at most `n_cols / 2` of them.
pub(crate) const fn n_planes(n_cols: usize) -> usize {
    (usize::BITS - (n_cols / 2).leading_zeros()) as usize
}

/// Planes that the sum of the carries of chunks `0..=chunk` needs.
fn planes_after(chunk: usize, n_cols: usize) -> usize {
    let most = (chunk + 1) * CHUNK_PAIRS;
    n_planes(n_cols).min((usize::BITS - most.leading_zeros()) as usize)
}

/// Compares every image's totals with the bounds.
///
/// # Safety
///
/// As [`Vector`]; the slices have the lengths their fields state.
#[inline(always)]
pub(crate) unsafe fn sliced<V: Vector + Convert>(mut product: SlicedProduct<'_>) {
    let (chunks, words) = (n_chunks(product.n_cols), n_words(product.n_cols));
    // SAFETY: the caller's promise; images and blocks stay below their numbers.
    unsafe {
        for image in 0..product.m {
            let x = &product.x[image * words..(image + 1) * words];
            let offsets = product.offsets.as_mut_ptr().add(image * chunks * 8);
            write_offsets::<V>(x, chunks, offsets.cast());
        }
        for block in 0..product.n.div_ceil(64 * V::WORDS) {
            add_block::<V>(&mut product, block);
            compare_block::<V>(&mut product, block);
        }
    }
}

/// Adds every chunk of one block of rows to every image's sum.
///
/// # Safety
///
/// As [`sliced`], after the offsets were written; the block exists.
#[inline(always)]
unsafe fn add_block<V: Vector>(product: &mut SlicedProduct<'_>, block: usize) {
    let (chunks, planes) = (n_chunks(product.n_cols), n_planes(product.n_cols));
    let table = product.table.as_mut_ptr();
    for chunk in 0..chunks {
        let at = (block * chunks + chunk) * CHUNK_PAIRS * 3 * V::WORDS;
        // SAFETY: the slices have the shapes that their fields state.
        unsafe {
            write_table::<V>(product.pairs.as_ptr().add(at), table);
            let top = planes_after(chunk, product.n_cols);
            for image in 0..product.m {
                let offsets = product.offsets.as_ptr().add((image * chunks + chunk) * 8);
                let sums = product.sums.as_mut_ptr().add(image * planes * V::WORDS);
                if chunk == 0 {
                    add_chunk::<V, true>(table, offsets, sums, planes);
                } else {
                    add_chunk::<V, false>(table, offsets, sums, top);
                }
            }
        }
    }
}

/// Compares every image's sum of one block of rows with the bounds.
///
/// # Safety
///
/// As [`add_block`], after it.
#[inline(always)]
unsafe fn compare_block<V: Vector>(product: &mut SlicedProduct<'_>, block: usize) {
    let (words, out_words) = (n_words(product.n_cols), n_words(product.n));
    let planes = n_planes(product.n_cols);
    let present = V::WORDS.min(out_words - block * V::WORDS);
    for image in 0..product.m {
        let parity = parity(&product.x[image * words..(image + 1) * words]);
        // SAFETY: the slices have the shapes that their fields state; only words that an image's
        // answer has are written.
        unsafe {
            let ends = product.ends.as_ptr().add(block * (planes + 3) * V::WORDS);
            let sums = product.sums.as_ptr().add(image * planes * V::WORDS);
            let less = compare::<V>(parity, sums, ends, planes);
            let to = product
                .out
                .as_mut_ptr()
                .add(image * out_words + block * V::WORDS);
            if present == V::WORDS {
                less.store(to);
            } else {
                let mut words = [0; 8];
                less.store(words.as_mut_ptr());
                core::ptr::copy_nonoverlapping(words.as_ptr(), to, present);
            }
        }
    }
}

/// All ones when the image has an odd number of one bits, else zero.
#[inline(always)]
fn parity(x: &[u64]) -> u64 {
    let mut all = 0;
    for word in x {
        all ^= word;
    }
    0u64.wrapping_sub(u64::from(all.count_ones() & 1))
}

/// Writes the variants that one image selects: parity so far, first column, second column.
///
/// # Safety
///
/// As [`Convert`]; `out` is valid for `64 * chunks` bytes.
#[inline(always)]
unsafe fn write_offsets<V: Convert>(x: &[u64], chunks: usize, out: *mut u8) {
    // All ones when the pairs before the chunk hold an odd number of one bits.
    let mut before = 0u64;
    for chunk in 0..chunks {
        let first = x[2 * chunk];
        let second = if 2 * chunk + 1 < x.len() {
            x[2 * chunk + 1]
        } else {
            0
        };
        let mut prefix = first ^ second;
        prefix ^= prefix << 1;
        prefix ^= prefix << 2;
        prefix ^= prefix << 4;
        prefix ^= prefix << 8;
        prefix ^= prefix << 16;
        prefix ^= prefix << 32;
        // SAFETY: `chunk < chunks`.
        unsafe { V::octal64((prefix << 1) ^ before, first, second, out.add(64 * chunk)) };
        before ^= 0u64.wrapping_sub(prefix >> 63);
    }
}

/// Tabulates the carries of a chunk: the majority of each pair's three bits, each flipped or not.
///
/// # Safety
///
/// As [`Vector`]; `pairs` holds a chunk and `table` has room for one.
#[inline(always)]
unsafe fn write_table<V: Vector>(pairs: *const u64, table: *mut u64) {
    // SAFETY: offsets stay below the chunk's length.
    unsafe {
        let ones = V::splat(u64::MAX);
        for pair in 0..CHUNK_PAIRS {
            let from = pairs.add(pair * 3 * V::WORDS);
            let parity = V::load(from);
            let first = V::load(from.add(V::WORDS));
            let second = V::load(from.add(2 * V::WORDS));
            let not_first = first.xor(ones);
            // Flipping all three bits flips the majority, which gives the other four variants.
            let plain = parity.majority(first, second);
            let flip_parity = parity.xor(ones).majority(first, second);
            let flip_first = parity.majority(not_first, second);
            let flip_second = parity.majority(first, second.xor(ones));
            let variants = [
                plain,
                flip_parity,
                flip_first,
                flip_second.xor(ones),
                flip_second,
                flip_first.xor(ones),
                flip_parity.xor(ones),
                plain.xor(ones),
            ];
            for v in 0..VARIANTS {
                variants[v].store(table.add((pair * VARIANTS + v) * V::WORDS));
            }
        }
    }
}

/// The tabulated carry of one pair.
///
/// # Safety
///
/// As [`Vector`]; `pair < CHUNK_PAIRS`, and `offset` is a variant times 8.
#[inline(always)]
unsafe fn carry<V: Vector>(table: *const u64, pair: usize, offset: u64) -> V {
    // SAFETY: the table holds every variant of every pair. The address is formed in bytes so that
    // the offset needs no more than the scaling of one address computation.
    unsafe {
        let entry = table.add(pair * VARIANTS * V::WORDS).cast::<u8>();
        V::load(entry.add(offset as usize * V::WORDS).cast())
    }
}

/// Adds the carries of 8 pairs to the three lowest planes; what overflows weighs 8.
///
/// # Safety
///
/// As [`carry`] for each of the pairs from `pair` on; `offsets` has one byte for each pair.
#[inline(always)]
unsafe fn add8<V: Vector>(
    table: *const u64,
    offsets: *const u64,
    pair: usize,
    sum: &mut [V; LOW_PLANES],
) -> V {
    // SAFETY: the caller's promise.
    unsafe {
        // One load for eight offsets: byte loads would compete with the vector loads.
        let offset = u64::from_le(*offsets.add(pair / 8));
        let (ones, a) = sum[0].full_add_loaded(
            carry(table, pair, offset & 255),
            carry(table, pair + 1, offset >> 8 & 255),
        );
        let (ones, b) = ones.full_add_loaded(
            carry(table, pair + 2, offset >> 16 & 255),
            carry(table, pair + 3, offset >> 24 & 255),
        );
        let (twos, c) = sum[1].full_add(a, b);
        let (ones, a) = ones.full_add_loaded(
            carry(table, pair + 4, offset >> 32 & 255),
            carry(table, pair + 5, offset >> 40 & 255),
        );
        let (ones, b) = ones.full_add_loaded(
            carry(table, pair + 6, offset >> 48 & 255),
            carry(table, pair + 7, offset >> 56),
        );
        let (twos, d) = twos.full_add(a, b);
        let (fours, e) = sum[2].full_add(c, d);
        (sum[0], sum[1], sum[2]) = (ones, twos, fours);
        // Without this the compiler loads a whole chunk's carries first, and runs out of registers.
        compiler_fence(Ordering::SeqCst);
        e
    }
}

/// Adds a chunk's 64 carries to an image's sum of `planes` planes.
///
/// The first chunk finds no sum and writes all planes.
///
/// # Safety
///
/// As [`carry`] for the whole chunk; `sums` holds `planes` planes, at least 7.
#[inline(always)]
unsafe fn add_chunk<V: Vector, const FIRST: bool>(
    table: *const u64,
    offsets: *const u64,
    sums: *mut u64,
    planes: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sum = [V::zero(); LOW_PLANES];
        if !FIRST {
            for plane in 0..LOW_PLANES {
                sum[plane] = V::load(sums.add(plane * V::WORDS));
            }
        }
        let a = add8(table, offsets, 0, &mut sum);
        let b = add8(table, offsets, 8, &mut sum);
        let (eights, c) = sum[3].full_add(a, b);
        let a = add8(table, offsets, 16, &mut sum);
        let b = add8(table, offsets, 24, &mut sum);
        let (eights, d) = eights.full_add(a, b);
        let (sixteens, e) = sum[4].full_add(c, d);
        let a = add8(table, offsets, 32, &mut sum);
        let b = add8(table, offsets, 40, &mut sum);
        let (eights, c) = eights.full_add(a, b);
        let a = add8(table, offsets, 48, &mut sum);
        let b = add8(table, offsets, 56, &mut sum);
        let (eights, d) = eights.full_add(a, b);
        let (sixteens, f) = sixteens.full_add(c, d);
        let (thirty_twos, mut overflow) = sum[5].full_add(e, f);
        (sum[3], sum[4], sum[5]) = (eights, sixteens, thirty_twos);
        for plane in 0..LOW_PLANES {
            sum[plane].store(sums.add(plane * V::WORDS));
        }
        for plane in LOW_PLANES..planes {
            let at = sums.add(plane * V::WORDS);
            if FIRST {
                overflow.store(at);
                overflow = V::zero();
            } else {
                let held = V::load(at);
                held.xor(overflow).store(at);
                overflow = held.and(overflow);
            }
        }
    }
}

/// Where the total, the row's parity flipped by `parity` plus twice the sum, is below the bound.
///
/// # Safety
///
/// As [`Vector`]; `sums` holds `planes` planes and `ends` the row parity and `planes + 2` planes.
#[inline(always)]
unsafe fn compare<V: Vector>(parity: u64, sums: *const u64, ends: *const u64, planes: usize) -> V {
    // SAFETY: the caller's promise.
    unsafe {
        let bound = ends.add(V::WORDS);
        let ones = V::load(ends).xor(V::splat(parity));
        let mut less = ones.borrow(V::load(bound), V::zero());
        for plane in 0..planes {
            let total = V::load(sums.add(plane * V::WORDS));
            less = total.borrow(V::load(bound.add((plane + 1) * V::WORDS)), less);
        }
        V::zero().borrow(V::load(bound.add((planes + 1) * V::WORDS)), less)
    }
}

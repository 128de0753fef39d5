//! The register of 32-bit lanes that convolutions and their epilogues are written over.
//!
//! Owns one trait; `arch` implements it once per tier. A lane is an output channel, so sums never
//! leave their lane and every tier adds in the same order. Every method is `#[inline(always)]` in
//! every implementation, so that it becomes part of a `#[target_feature]` function.

/// Lanes of the widest register.
const MAX_LANES: usize = 16;

/// A register of [`Lanes::N`] lanes of 32 bits: packed words, counts, integers or floats.
///
/// Floats are IEEE binary32, one rounding for each operation, and no operation is fused with another.
///
/// # Safety
///
/// Every method may only be called where the CPU is known to have the implementation's
/// instructions, that is, from inside a function of `arch` for the same tier. Methods that take a
/// pointer need it valid for `N` elements; no alignment is needed.
#[allow(
    clippy::missing_safety_doc,
    reason = "the trait states the contract of all its methods"
)]
pub(crate) trait Lanes: Copy {
    /// Lanes in the register; divides 32.
    const N: usize;
    /// How many results of [`Lanes::count`] may be summed by [`Lanes::add_counts`].
    const MAX_COUNTS: usize;

    /// All bits zero.
    unsafe fn zero() -> Self;
    /// Reads `N` words.
    unsafe fn load(ptr: *const u32) -> Self;
    /// Writes `N` words.
    unsafe fn store(self, ptr: *mut u32);
    /// Reads the first `n` words, at most `N`, and nothing past them; the other lanes are zero.
    #[inline(always)]
    unsafe fn load_first(ptr: *const u32, n: usize) -> Self {
        let mut few = [0; MAX_LANES];
        for (i, word) in few.iter_mut().enumerate().take(n) {
            // SAFETY: the caller's promise: `n` words are there.
            *word = unsafe { ptr.add(i).read_unaligned() };
        }
        // SAFETY: the array has as many words as any register.
        unsafe { Self::load(few.as_ptr()) }
    }
    /// Writes the first `n` words, at most `N`, and nothing past them.
    #[inline(always)]
    unsafe fn store_first(self, ptr: *mut u32, n: usize) {
        let mut few = [0; MAX_LANES];
        // SAFETY: the array has as many words as any register, and `n` words may be written.
        unsafe {
            self.store(few.as_mut_ptr());
            for (i, word) in few.iter().enumerate().take(n) {
                ptr.add(i).write_unaligned(*word);
            }
        }
    }
    /// The same word in every lane.
    unsafe fn splat(word: u32) -> Self;

    /// Bitwise exclusive or.
    unsafe fn xor(self, other: Self) -> Self;
    /// `(self ^ other) & mask`.
    unsafe fn xor_and(self, other: Self, mask: Self) -> Self;
    /// Population counts, held in whatever parts of a lane the tier counts in.
    unsafe fn count(self) -> Self;
    /// Adds what [`Lanes::count`] returned.
    unsafe fn add_counts(self, other: Self) -> Self;
    /// Sums counts within each lane.
    unsafe fn widen(self) -> Self;

    /// Adds integers, modulo 2^32.
    unsafe fn add(self, other: Self) -> Self;
    /// Subtracts integers, modulo 2^32.
    unsafe fn sub(self, other: Self) -> Self;
    /// The greater of two signed integers.
    unsafe fn max(self, other: Self) -> Self;
    /// Bit `i` is 1 where lane `i` is less than `other`'s, as signed integers.
    unsafe fn less(self, other: Self) -> u32;
    /// Adds to each lane the four products of `codes`' unsigned bytes and `weights`' signed bytes.
    /// Exact for every weight; on AVX2, for weights that lie between -64 and 64.
    unsafe fn dot4(self, codes: Self, weights: Self) -> Self;

    /// Signed integers to floats, rounded to nearest even.
    unsafe fn to_float(self) -> Self;
    /// Adds floats.
    unsafe fn add_float(self, other: Self) -> Self;
    /// Multiplies floats.
    unsafe fn mul_float(self, other: Self) -> Self;
    /// Divides floats.
    unsafe fn div_float(self, other: Self) -> Self;
    /// Where `self > other`, `self`, else `other`; so `other` where either is NaN.
    unsafe fn greater_float(self, other: Self) -> Self;
    /// Where `self < other`, `self`, else `other`; so `other` where either is NaN.
    unsafe fn lesser_float(self, other: Self) -> Self;
    /// Where `self >= 0`, `self`, else `other`; so `other` where `self` is NaN.
    unsafe fn or_if_negative(self, other: Self) -> Self;
    /// Bit `i` is 1 where lane `i` is at least `other`'s, as floats; 0 where either is NaN.
    unsafe fn at_least_float(self, other: Self) -> u32;
}

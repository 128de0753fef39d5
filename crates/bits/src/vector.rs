//! The small vector that kernels are written over.
//!
//! Owns two traits; `arch` implements both once per tier, and the algorithms in `generic` use
//! nothing else. Every method is `#[inline(always)]` in every implementation, so that it becomes
//! part of a `#[target_feature]` function and is compiled with its instructions.

/// A register of [`Vector::WORDS`] 64-bit words.
///
/// # Safety
///
/// Every method may only be called where the CPU is known to have the implementation's
/// instructions, that is, from inside a function of `arch` for the same tier. Methods that take a
/// pointer need it valid for the length their documentation states; no alignment is needed.
#[allow(
    clippy::missing_safety_doc,
    reason = "the trait states the contract of all its methods"
)]
pub(crate) trait Vector: Copy {
    /// Words in the register; divides 8.
    const WORDS: usize;
    /// How many results of [`Vector::count`] may be summed by [`Vector::add_counts`].
    const MAX_COUNTS: usize;

    /// All bits zero.
    unsafe fn zero() -> Self;
    /// Reads `WORDS` words.
    unsafe fn load(ptr: *const u64) -> Self;
    /// Writes `WORDS` words.
    unsafe fn store(self, ptr: *mut u64);
    /// The same word in every lane.
    unsafe fn splat(word: u64) -> Self;
    /// Bitwise exclusive or.
    unsafe fn xor(self, other: Self) -> Self;
    /// Bitwise and.
    unsafe fn and(self, other: Self) -> Self;
    /// `(self ^ other) & mask`.
    unsafe fn xor_and(self, other: Self, mask: Self) -> Self;
    /// In every bit, the sum of three bits: its low bit, then its high bit.
    unsafe fn full_add(self, b: Self, c: Self) -> (Self, Self);
    /// As [`Vector::full_add`], in the form that is cheapest when `b` and `c` come from memory.
    unsafe fn full_add_loaded(self, b: Self, c: Self) -> (Self, Self);
    /// In every bit, the majority of three bits.
    unsafe fn majority(self, b: Self, c: Self) -> Self;
    /// In every bit, the borrow of `self - b - c`: the majority of `!self`, `b` and `c`.
    unsafe fn borrow(self, b: Self, c: Self) -> Self;

    /// Population counts, held in whatever lanes the tier counts in.
    unsafe fn count(self) -> Self;
    /// Adds what [`Vector::count`] returned.
    unsafe fn add_counts(self, other: Self) -> Self;
    /// Sums counts within each word: one 64-bit total per word.
    unsafe fn widen(self) -> Self;
    /// Adds 64-bit lanes.
    unsafe fn add(self, other: Self) -> Self;

    /// Bit `i` is 1 where total `i` of 8 is less than `bounds[i]`; both are below 2^63.
    /// `totals` points at `8 / WORDS` registers, `bounds` at 8 words.
    unsafe fn less8(totals: *const Self, bounds: *const u64) -> u8;
    /// Writes 8 totals, modulo 2^32.
    unsafe fn store_totals8(totals: *const Self, out: *mut i32);
    /// Writes `whole - 2 * total` for 16 totals below 2^30; `totals` points at `16 / WORDS` registers.
    unsafe fn store_dots16(totals: *const Self, whole: i32, out: *mut f32);
}

/// Conversions of 64 elements at a time to and from the bits of one word.
///
/// # Safety
///
/// As [`Vector`]; pointers are valid for 64 elements.
#[allow(
    clippy::missing_safety_doc,
    reason = "the trait states the contract of all its methods"
)]
pub(crate) trait Convert {
    /// 1 where `value >= 0`.
    unsafe fn signs64(values: *const f32) -> u64;
    /// `(value > 0, value != 0)`.
    unsafe fn signs_nonzero64(values: *const f32) -> (u64, u64);
    /// Writes +1 for a one bit and -1 for a zero bit.
    unsafe fn expand64(bits: u64, values: *mut f32);
    /// Writes 0 where `mask` is 0, else +1 or -1 as `sign` says.
    unsafe fn expand_ternary64(sign: u64, mask: u64, values: *mut f32);
    /// 1 where `code >= at`.
    unsafe fn at_least64(codes: *const u8, at: *const u8) -> u64;
    /// Bit `plane` of every code.
    unsafe fn plane64(codes: *const u8, plane: u32) -> u64;
    /// Writes `8 * (bit of ones + 2 * bit of twos + 4 * bit of fours)` for every bit position.
    unsafe fn octal64(ones: u64, twos: u64, fours: u64, out: *mut u8);
}

//! What becomes of totals while they are in registers: integers, packed comparisons, or a chain of
//! per-channel operations on floats.

use crate::lanes::Lanes;

/// Registers that chains run on together.
const PART: usize = 12;

/// Where a block's channels belong.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// Index of the rect, whose windows leave the image in the same way.
    pub class: usize,
    /// First output channel of the group.
    pub row: usize,
}

/// How totals become the sums that a Program means.
#[derive(Clone, Copy)]
pub(crate) enum Lift<'a> {
    /// `base[class][row] - 2 * total`, as integers.
    Differing(&'a [i32]),
    /// `base[row] + total`, as integers.
    Sum(&'a [i32]),
    /// The total itself, as floats.
    Float,
}

/// Totals on their way out. Slices with one entry per channel have 64 entries more than channels.
pub(crate) struct Finish<'a> {
    /// From totals to sums.
    pub lift: Lift<'a>,
    /// Entries of one class in `lift` and in the bounds.
    pub class_stride: usize,
    /// Channels of the output.
    pub n: usize,
    /// The group's first channel, and the channel after its last.
    pub first: usize,
    /// See `first`.
    pub end: usize,
    /// What is written.
    pub out: Out<'a>,
}

/// What is written.
pub(crate) enum Out<'a> {
    /// The sums: `[px][n]`.
    Ints(&'a mut [i32]),
    /// Bit `row` of `[px][ceil(n / 32)]` words: `(total < bound[class][row]) != flip[row]`.
    Compared {
        /// `[class][row]`.
        bounds: &'a [i32],
        /// Packed flags.
        flip: &'a [u32],
        /// Packed bits; those past the last channel are zero.
        out: &'a mut [u32],
    },
    /// Floats after a chain of operations.
    Chain(Chain<'a>),
}

/// Operations on floats, in order, and where they lead.
pub(crate) struct Chain<'a> {
    /// Whether integer sums below zero become zero first.
    pub relu: bool,
    /// The operations.
    pub stages: &'a [Stage],
    /// Operands of `Add` and `Mul`: `[px][n]`.
    pub operands: &'a [&'a [f32]],
    /// The operand that lies where the floats go.
    pub held: Option<usize>,
    /// Where the floats go, `[px][n]`.
    pub reals: Option<&'a mut [f32]>,
    /// Where comparisons go.
    pub bits: Option<RealBits<'a>>,
}

/// Comparisons of floats: bit `row` of `[px][ceil(n / 32)]` words is `(x >= at[row]) != flip[row]`.
pub(crate) struct RealBits<'a> {
    /// One per channel.
    pub at: &'a [f32],
    /// Packed flags.
    pub flip: &'a [u32],
    /// Packed bits; those past the last channel are zero.
    pub out: &'a mut [u32],
}

/// One operation of a chain. Lists have one entry per channel and 64 more.
#[derive(Clone, Debug)]
pub enum Stage {
    /// `x` where `x > 0`, else 0.
    Relu,
    /// `t = x > min ? x : min`, then `t < max ? t : max`.
    Clip(f32, f32),
    /// `scale * x + shift`.
    Affine(alloc::vec::Vec<f32>, alloc::vec::Vec<f32>),
    /// `x` where `x >= 0`, else `slope * x`.
    Prelu(alloc::vec::Vec<f32>),
    /// Adds an entry per channel.
    Shift(alloc::vec::Vec<f32>),
    /// Adds the operand of this index.
    Add(usize),
    /// Multiplies by the operand of this index.
    Mul(usize),
}

impl Finish<'_> {
    /// Takes the totals of the `M` output positions `px`, counted through all images, and `NV` registers of channels; channels past the last of the
    /// group may be among them.
    ///
    /// # Safety
    ///
    /// As [`Lanes`].
    #[inline(always)]
    pub(crate) unsafe fn put<V: Lanes, const NV: usize, const M: usize>(
        &mut self,
        totals: &[[V; NV]; M],
        place: Place,
        px: &[usize; M],
    ) {
        let row = self.first + place.row;
        let present = (NV * V::N).min(self.end - row);
        let at = place.class * self.class_stride + row;
        if let Out::Compared { bounds, flip, out } = &mut self.out {
            let bounds = &bounds[at..at + NV * V::N];
            let mut bits = [0u64; M];
            for v in 0..NV {
                // SAFETY: the bounds have a lane for each total.
                unsafe {
                    let bound = V::load(bounds.as_ptr().add(v * V::N).cast());
                    for i in 0..M {
                        bits[i] |= u64::from(totals[i][v].less(bound)) << (v * V::N);
                    }
                }
            }
            store_block(out, self.n, flip, px, row, &bits, present);
            return;
        }
        let place = Place { row, ..place };
        if NV * M > PART && M.is_multiple_of(3) {
            // A few positions at a time stay in registers through the operations.
            for i in (0..M).step_by(3) {
                let part = [totals[i], totals[i + 1], totals[i + 2]];
                let px = [px[i], px[i + 1], px[i + 2]];
                // SAFETY: the caller's promise.
                unsafe { self.put_sums(part, place, at, &px, present) };
            }
        } else {
            // SAFETY: the caller's promise.
            unsafe { self.put_sums(*totals, place, at, px, present) };
        }
    }

    /// Makes sums of totals and stores what they lead to. `place.row` counts all channels, `at` those of all
    /// classes.
    ///
    /// # Safety
    ///
    /// As [`Finish::put`].
    #[inline(always)]
    unsafe fn put_sums<V: Lanes, const NV: usize, const M: usize>(
        &mut self,
        mut sums: [[V; NV]; M],
        place: Place,
        at: usize,
        px: &[usize; M],
        present: usize,
    ) {
        let Place { row, .. } = place;
        // SAFETY: a base has a lane for each total; integers and floats have the layout of a lane.
        unsafe {
            for v in 0..NV {
                for sums in &mut sums {
                    match self.lift {
                        Lift::Differing(base) => {
                            let base = V::load(base[at + v * V::N..][..V::N].as_ptr().cast());
                            sums[v] = base.sub(sums[v].add(sums[v]));
                        }
                        Lift::Sum(base) => {
                            let base = V::load(base[row + v * V::N..][..V::N].as_ptr().cast());
                            sums[v] = base.add(sums[v]);
                        }
                        Lift::Float => {}
                    }
                }
            }
            match &mut self.out {
                Out::Ints(out) => {
                    for (i, sums) in sums.iter().enumerate() {
                        let to = &mut out[px[i] * self.n + row..][..present];
                        store(sums, to.as_mut_ptr().cast(), present);
                    }
                }
                Out::Chain(chain) => {
                    if !matches!(self.lift, Lift::Float) {
                        for sums in &mut sums {
                            for sum in sums {
                                if chain.relu {
                                    *sum = sum.max(V::zero());
                                }
                                *sum = sum.to_float();
                            }
                        }
                    }
                    chain.run(&mut sums, place, px, self.n, present);
                }
                Out::Compared { .. } => {}
            }
        }
    }
}

/// Combines every register with its place in an operand `[px][n]`.
macro_rules! with {
    ($x:ident, $operand:ident, $place:ident, $px:ident, $n:ident, $present:ident, $combine:ident) => {
        for (i, x) in $x.iter_mut().enumerate() {
            let px = $px[i];
            let from = &$operand[px * $n + $place.row..][..$present];
            // A float has the layout of a lane, and `present` of them are there.
            let operand = fetch::<V, NV>(from.as_ptr().cast(), $present);
            for v in 0..NV {
                x[v] = x[v].$combine(operand[v]);
            }
        }
    };
}

impl Chain<'_> {
    /// An operand of `Add` or `Mul`.
    #[inline(always)]
    fn operand(&self, idx: usize) -> &[f32] {
        match (&self.reals, self.held) {
            (Some(reals), Some(held)) if held == idx => reals,
            _ => self.operands[idx],
        }
    }

    /// Runs the operations on `M` positions and stores what they lead to. `place.row` counts all channels.
    ///
    /// # Safety
    ///
    /// As [`Lanes`].
    #[inline(always)]
    pub(crate) unsafe fn run<V: Lanes, const NV: usize, const M: usize>(
        &mut self,
        x: &mut [[V; NV]; M],
        place: Place,
        px: &[usize; M],
        n: usize,
        present: usize,
    ) {
        for stage in self.stages {
            // SAFETY: the caller's promise; lists hold a lane for each channel of a block.
            unsafe {
                match stage {
                    Stage::Relu => {
                        for x in x.iter_mut() {
                            for v in 0..NV {
                                x[v] = x[v].greater_float(V::zero());
                            }
                        }
                    }
                    Stage::Clip(min, max) => {
                        let (min, max) = (V::splat(min.to_bits()), V::splat(max.to_bits()));
                        for x in x.iter_mut() {
                            for v in 0..NV {
                                x[v] = x[v].greater_float(min).lesser_float(max);
                            }
                        }
                    }
                    Stage::Affine(scale, shift) => {
                        let (scale, shift) = (&scale[place.row..], &shift[place.row..]);
                        let (scale, shift) = (lanes::<V, NV>(scale), lanes::<V, NV>(shift));
                        for x in x.iter_mut() {
                            for v in 0..NV {
                                x[v] = scale[v].mul_float(x[v]).add_float(shift[v]);
                            }
                        }
                    }
                    Stage::Prelu(slope) => {
                        let slope = lanes::<V, NV>(&slope[place.row..]);
                        for x in x.iter_mut() {
                            for v in 0..NV {
                                x[v] = x[v].or_if_negative(slope[v].mul_float(x[v]));
                            }
                        }
                    }
                    Stage::Shift(shift) => {
                        let shift = lanes::<V, NV>(&shift[place.row..]);
                        for x in x.iter_mut() {
                            for v in 0..NV {
                                x[v] = x[v].add_float(shift[v]);
                            }
                        }
                    }
                    Stage::Add(idx) => {
                        let operand = self.operand(*idx);
                        with!(x, operand, place, px, n, present, add_float);
                    }
                    Stage::Mul(idx) => {
                        let operand = self.operand(*idx);
                        with!(x, operand, place, px, n, present, mul_float);
                    }
                }
            }
        }
        if let Some(out) = &mut self.reals {
            for (i, x) in x.iter().enumerate() {
                let px = px[i];
                let to = &mut out[px * n + place.row..][..present];
                // SAFETY: a float has the layout of a lane.
                unsafe { store(x, to.as_mut_ptr().cast(), present) };
            }
        }
        if let Some(RealBits { at, flip, out }) = &mut self.bits {
            // SAFETY: the list holds a lane for each channel of a block.
            unsafe {
                let at = lanes::<V, NV>(&at[place.row..]);
                let mut bits = [0u64; M];
                for v in 0..NV {
                    for i in 0..M {
                        bits[i] |= u64::from(x[i][v].at_least_float(at[v])) << (v * V::N);
                    }
                }
                store_block(out, n, flip, px, place.row, &bits, present);
            }
        }
    }
}

/// The first `NV * V::N` entries of a list.
///
/// # Safety
///
/// As [`Lanes`].
#[inline(always)]
unsafe fn lanes<V: Lanes, const NV: usize>(list: &[f32]) -> [V; NV] {
    let list = &list[..NV * V::N];
    // SAFETY: the slice has that many entries.
    unsafe { fetch::<V, NV>(list.as_ptr().cast(), NV * V::N) }
}

/// Reads `present` elements into registers; lanes past them mean nothing.
///
/// # Safety
///
/// As [`Lanes`]; `from` is valid for `present` elements.
#[inline(always)]
pub(crate) unsafe fn fetch<V: Lanes, const NV: usize>(from: *const u32, present: usize) -> [V; NV] {
    // SAFETY: the caller's promise, and the buffer's size.
    unsafe {
        let mut out = [V::zero(); NV];
        if present == NV * V::N {
            for v in 0..NV {
                out[v] = V::load(from.add(v * V::N));
            }
        } else {
            for v in 0..NV {
                let first = v * V::N;
                let n = V::N.min(present.saturating_sub(first));
                out[v] = V::load_first(from.wrapping_add(first), n);
            }
        }
        out
    }
}

/// Writes the first `present` lanes.
///
/// # Safety
///
/// As [`Lanes`]; `to` is valid for `present` elements.
#[inline(always)]
unsafe fn store<V: Lanes, const NV: usize>(x: &[V; NV], to: *mut u32, present: usize) {
    // SAFETY: the caller's promise, and the buffer's size.
    unsafe {
        if present == NV * V::N {
            for v in 0..NV {
                x[v].store(to.add(v * V::N));
            }
        } else {
            for v in 0..NV {
                let first = v * V::N;
                let n = V::N.min(present.saturating_sub(first));
                x[v].store_first(to.wrapping_add(first), n);
            }
        }
    }
}

/// Stores the bits of some positions, `present` each, at channel `row` of `n`.
#[inline(always)]
fn store_block<const M: usize>(
    out: &mut [u32],
    n: usize,
    flip: &[u32],
    px: &[usize; M],
    row: usize,
    bits: &[u64; M],
    present: usize,
) {
    let words = n.div_ceil(32);
    if present == 64 && row.is_multiple_of(32) {
        let word = row / 32;
        let flip = [flip[word], flip[word + 1]];
        for i in 0..M {
            let to = &mut out[px[i] * words + word..][..2];
            to[0] = bits[i] as u32 ^ flip[0];
            to[1] = (bits[i] >> 32) as u32 ^ flip[1];
        }
        return;
    }
    for i in 0..M {
        let to = &mut out[px[i] * words..(px[i] + 1) * words];
        store_bits(to, flip, row, bits[i], present);
    }
}

/// Stores `present` bits at bit `row` of a pixel's words, each inverted where `flip` has a one.
///
/// Bits come in ascending order, so whatever is past them in their words is cleared.
#[inline(always)]
fn store_bits(words: &mut [u32], flip: &[u32], row: usize, bits: u64, present: usize) {
    let (word, shift) = (row / 32, row % 32);
    let bits = bits & u64::MAX >> (64 - present);
    if shift == 0 {
        words[word] = bits as u32 ^ flip[word];
        if present > 32 {
            words[word + 1] = (bits >> 32) as u32 ^ flip[word + 1];
        }
        return;
    }
    if shift + present <= 32 {
        let range = (u32::MAX >> (32 - present)) << shift;
        let part = (bits as u32) << shift ^ flip[word] & range;
        words[word] = words[word] & !(u32::MAX << shift) | part;
        return;
    }
    // The flip of the bits that are stored now, and of no others.
    let mut spread = u128::from(bits) << shift;
    let range = (u128::MAX >> (128 - present)) << shift;
    for i in 0..(shift + present).div_ceil(32) {
        let at = word + i;
        let part = (spread as u32) ^ (flip[at] & (range >> (32 * i)) as u32);
        words[at] = if i == 0 {
            words[at] & !(u32::MAX << shift) | part
        } else {
            part
        };
        spread >>= 32;
    }
}

//! Products of floats for the training step: convolutions that gather their windows from a padded copy of the
//! images, and sums of outer products over output positions.
//!
//! Operands are 32-bit words: a float, or two bfloat16, the first in the lower half. The copies that hold them
//! come from [`narrow`], [`round`] and [`pair`]; lanes are output channels in [`gather`] and channels of a window in
//! [`outer`]. Leaves the shapes, the copies' memory and the packing of weights to `train_conv`.

use crate::lanes::Lanes;

/// Output channels in a panel of weights; a multiple of every register's lanes.
pub(crate) const TRAIN_PANEL: usize = 16;

/// Positions whose outer products are summed in registers before they are added to memory.
const BAND: usize = 128;

/// What a word and a weight add to a total.
///
/// # Safety
///
/// As [`Lanes`].
pub(crate) trait Multiply<V: Lanes> {
    /// `total + x * weight` in each lane.
    ///
    /// # Safety
    ///
    /// As the trait.
    unsafe fn multiply_add(total: V, x: V, weight: V) -> V;
}

/// Floats, the product rounded before it is added.
pub(crate) struct Separate;

impl<V: Lanes> Multiply<V> for Separate {
    #[inline(always)]
    unsafe fn multiply_add(total: V, x: V, weight: V) -> V {
        // SAFETY: the trait's contract.
        unsafe { total.add_float(x.mul_float(weight)) }
    }
}

/// An output position.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Bytes from the first image's copy to the first element of the window.
    pub x: u32,
    /// Floats from the first output to the position's first channel.
    pub out: u32,
}

/// Neighbouring words of a window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// Bytes from the window's first element to the first word.
    pub x: u32,
    /// Index of the first word's weights in a panel.
    pub weights: u32,
}

/// A convolution: every place's window by every row of weights.
///
/// A window is `runs.len()` runs of `words` words each. Weights are `[panel][depth][TRAIN_PANEL]`.
#[derive(Clone, Copy)]
pub(crate) struct Gather<'a> {
    /// The first image's copy. Words are read at any byte; the windows of all places are inside the copies.
    pub x: *const u8,
    /// Where windows begin and answers go.
    pub places: &'a [Place],
    /// What a window reads.
    pub runs: &'a [Run],
    /// Words of a run.
    pub words: usize,
    /// Panels of weights.
    pub weights: *const u32,
    /// Words of a panel for each of its lanes.
    pub depth: usize,
    /// Rows of weights.
    pub rows: usize,
    /// The first output; each place has `rows` floats of its own.
    pub out: *mut f32,
}

/// Overwrites the outputs of all places.
///
/// `NV` registers of channels by `MR` places is the block, and `N1` registers are a panel; `NV` is `N1` or twice it.
///
/// # Safety
///
/// As [`Lanes`]; pointers are valid as [`Gather`] states.
#[inline(always)]
pub(crate) unsafe fn gather<
    V: Lanes,
    M: Multiply<V>,
    const NV: usize,
    const N1: usize,
    const MR: usize,
>(
    product: Gather<'_>,
) {
    let n_panels = product.rows.div_ceil(TRAIN_PANEL);
    let mut panel = 0;
    while panel < n_panels {
        let is_whole = (n_panels - panel) * N1 >= NV;
        let mut places = product.places;
        while !places.is_empty() {
            let (block, rest) = places.split_at(MR.min(places.len()));
            places = rest;
            // SAFETY: the caller's promise.
            unsafe {
                if is_whole {
                    gather_block::<V, M, NV, MR>(&product, block, panel);
                } else {
                    gather_block::<V, M, N1, MR>(&product, block, panel);
                }
            }
        }
        panel += if is_whole { NV / N1 } else { 1 };
    }
}

/// The answers of at most `MR` places for the channels of `NV` registers.
///
/// # Safety
///
/// As [`gather`]; `places` is not empty.
#[inline(always)]
unsafe fn gather_block<V: Lanes, M: Multiply<V>, const NV: usize, const MR: usize>(
    product: &Gather<'_>,
    places: &[Place],
    panel: usize,
) {
    let depth = product.depth;
    // SAFETY: the caller's promise. Places past the last repeat it, and their totals are not stored.
    unsafe {
        let mut totals = [[V::zero(); NV]; MR];
        let mut starts = [product.x; MR];
        for m in 0..MR {
            starts[m] = product.x.add(places[m.min(places.len() - 1)].x as usize);
        }
        let panel_weights = product.weights.add(panel * depth * TRAIN_PANEL);
        for run in product.runs {
            let mut weights = panel_weights.add(run.weights as usize * TRAIN_PANEL);
            let mut x = starts;
            for m in 0..MR {
                x[m] = x[m].add(run.x as usize);
            }
            for word in 0..product.words {
                let mut w = [V::zero(); NV];
                for v in 0..NV {
                    let (panel, lane) = (v * V::N / TRAIN_PANEL, v * V::N % TRAIN_PANEL);
                    w[v] = V::load(weights.add(panel * depth * TRAIN_PANEL + lane));
                }
                for m in 0..MR {
                    let element = V::splat(x[m].cast::<u32>().add(word).read_unaligned());
                    for v in 0..NV {
                        totals[m][v] = M::multiply_add(totals[m][v], element, w[v]);
                    }
                }
                weights = weights.add(TRAIN_PANEL);
            }
        }
        let row = panel * TRAIN_PANEL;
        for (place, totals) in places.iter().zip(totals) {
            let out = product.out.add(place.out as usize + row).cast::<u32>();
            for v in 0..NV {
                store_some(totals[v], out, v * V::N, product.rows - row);
            }
        }
    }
}

/// Stores the lanes of a register, the first of which is `lane`, that are among the first `n`.
///
/// # Safety
///
/// As [`Lanes`]; `n` words may be written at `out`.
#[inline(always)]
unsafe fn store_some<V: Lanes>(register: V, out: *mut u32, lane: usize, n: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        if lane + V::N <= n {
            register.store(out.add(lane));
        } else if lane < n {
            register.store_first(out.add(lane), n - lane);
        }
    }
}

/// Neighbouring weights of a window, one register of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    /// Words from a window's first element to the first of them.
    pub x: u32,
    /// Index of the first of them in the window.
    pub at: u32,
    /// How many there are, at most a register.
    pub n: u32,
}

/// Sums of outer products: the windows of positions by the gradients of all rows there.
#[derive(Clone, Copy)]
pub(crate) struct Outer<'a> {
    /// The first image's copy. Whole registers are read for every slot of every place.
    pub x: *const u32,
    /// Words from the first copy to each position's window.
    pub places: &'a [u32],
    /// The window's slots.
    pub slots: &'a [Slot],
    /// Gradients of each place's rows; a block's rows may be read past the last.
    pub g: *const u32,
    /// Words from a place's gradients to the next's.
    pub g_step: usize,
    /// Rows of weights.
    pub rows: usize,
    /// Sums, `[rows][depth]`.
    pub sums: *mut f32,
    /// Whether sums are added to, rather than overwritten.
    pub adds: bool,
    /// Weights of a row.
    pub depth: usize,
}

/// Sums the outer products of all places; `MR` rows by `NV` slots is the block.
///
/// # Safety
///
/// As [`Lanes`]; pointers are valid as [`Outer`] states.
#[inline(always)]
pub(crate) unsafe fn outer<V: Lanes, M: Multiply<V>, const NV: usize, const MR: usize>(
    product: Outer<'_>,
) {
    let mut band = product;
    while !band.places.is_empty() {
        let (now, rest) = band.places.split_at(BAND.min(band.places.len()));
        band.places = now;
        let mut slots = product.slots;
        while !slots.is_empty() {
            let n = match slots.len() {
                n if n >= NV => NV,
                n if n >= 2 => 2,
                _ => 1,
            };
            let (block, rest) = slots.split_at(n);
            slots = rest;
            let mut row = 0;
            while row < product.rows {
                // SAFETY: the caller's promise.
                unsafe {
                    if n == NV {
                        outer_block::<V, M, NV, MR>(&band, block, row);
                    } else if n == 2 {
                        outer_block::<V, M, 2, MR>(&band, block, row);
                    } else {
                        outer_block::<V, M, 1, MR>(&band, block, row);
                    }
                }
                row += MR;
            }
        }
        // SAFETY: as many gradients follow as there are places left.
        band.g = unsafe { band.g.add(now.len() * product.g_step) };
        band.adds = true;
        band.places = rest;
    }
}

/// The sums of `MR` rows and `NV` slots over all places.
///
/// # Safety
///
/// As [`outer`].
#[inline(always)]
unsafe fn outer_block<V: Lanes, M: Multiply<V>, const NV: usize, const MR: usize>(
    product: &Outer<'_>,
    slots: &[Slot],
    row: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[V::zero(); NV]; MR];
        let mut bases = [product.x; NV];
        for v in 0..NV {
            bases[v] = product.x.add(slots[v].x as usize);
        }
        let mut g = product.g.add(row);
        for &place in product.places {
            let mut x = [V::zero(); NV];
            for v in 0..NV {
                x[v] = V::load(bases[v].add(place as usize));
            }
            for m in 0..MR {
                let gradient = V::splat(*g.add(m));
                for v in 0..NV {
                    sums[m][v] = M::multiply_add(sums[m][v], gradient, x[v]);
                }
            }
            g = g.add(product.g_step);
        }
        for m in 0..MR.min(product.rows - row) {
            let to = product.sums.add((row + m) * product.depth).cast::<u32>();
            for v in 0..NV {
                let (at, n) = (to.add(slots[v].at as usize), slots[v].n as usize);
                let mut sum = sums[m][v];
                if n == V::N {
                    if product.adds {
                        sum = V::load(at).add_float(sum);
                    }
                    sum.store(at);
                } else {
                    if product.adds {
                        sum = V::load_first(at, n).add_float(sum);
                    }
                    sum.store_first(at, n);
                }
            }
        }
    }
}

/// A float as bfloat16, rounded to nearest even. NaN stays NaN.
#[inline(always)]
pub(crate) fn bfloat16(value: f32) -> u32 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7FFF + (bits >> 16 & 1)) >> 16;
    if value.is_nan() {
        bits >> 16 | 0x40
    } else {
        rounded
    }
}

/// Floats as bfloat16.
///
/// # Safety
///
/// None is needed; it is a kernel like the others.
#[inline(always)]
pub(crate) unsafe fn narrow(values: &[f32], out: &mut [u16]) {
    for (out, &value) in out.iter_mut().zip(values) {
        *out = bfloat16(value) as u16;
    }
}

/// Floats rounded to bfloat16, as floats.
///
/// # Safety
///
/// None is needed; it is a kernel like the others.
#[inline(always)]
pub(crate) unsafe fn round(values: &[f32], out: &mut [u32]) {
    for (out, &value) in out.iter_mut().zip(values) {
        *out = bfloat16(value) << 16;
    }
}

/// Pairs of bfloat16; where `second` has ended, its half is zero.
///
/// # Safety
///
/// None is needed; it is a kernel like the others.
#[inline(always)]
pub(crate) unsafe fn pair(first: &[f32], second: &[f32], out: &mut [u32]) {
    let (both, rest) = out.split_at_mut(second.len().min(out.len()));
    let (first, alone) = first.split_at(both.len());
    for ((out, &first), &second) in both.iter_mut().zip(first).zip(second) {
        *out = bfloat16(first) | bfloat16(second) << 16;
    }
    for (out, &first) in rest.iter_mut().zip(alone) {
        *out = bfloat16(first);
    }
}

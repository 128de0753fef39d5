//! Loops that read channels as lanes: chains on stored values, pools, and depthwise convolutions.

use alloc::vec::Vec;

use crate::generic::conv::Rect;
use crate::generic::finish::{Chain, Place, fetch};
use crate::lanes::Lanes;

/// Registers in a block of channels.
const NV: usize = 4;

/// Values that a chain begins with.
#[derive(Clone, Copy)]
pub(crate) enum Values<'a> {
    /// Integers, which become floats.
    Ints(&'a [i32]),
    /// Floats.
    Reals(&'a [f32]),
}

/// Runs a chain on stored values: `[px][n]`.
///
/// # Safety
///
/// As [`Lanes`].
#[inline(always)]
pub(crate) unsafe fn elementwise<V: Lanes>(values: Values<'_>, n: usize, chain: &mut Chain<'_>) {
    let (from, len): (*const u32, usize) = match values {
        Values::Ints(x) => (x.as_ptr().cast(), x.len()),
        Values::Reals(x) => (x.as_ptr().cast(), x.len()),
    };
    for px in 0..len / n {
        let mut row = 0;
        // SAFETY: the channels are inside the pixel.
        unsafe {
            let from = from.add(px * n);
            while row + NV * V::N <= n {
                element::<V, NV>(values, from.add(row), n, (px, row), chain);
                row += NV * V::N;
            }
            while row < n {
                element::<V, 1>(values, from.add(row), n, (px, row), chain);
                row += V::N;
            }
        }
    }
}

/// Runs a chain on `M` registers of channels from `row` on.
///
/// # Safety
///
/// As [`elementwise`]; `from` is the first of the channels.
#[inline(always)]
unsafe fn element<V: Lanes, const M: usize>(
    values: Values<'_>,
    from: *const u32,
    n: usize,
    (px, row): (usize, usize),
    chain: &mut Chain<'_>,
) {
    let present = (M * V::N).min(n - row);
    // SAFETY: the caller's promise.
    unsafe {
        let mut x = [fetch::<V, M>(from, present)];
        if matches!(values, Values::Ints(_)) {
            for x in &mut x[0] {
                if chain.relu {
                    *x = x.max(V::zero());
                }
                *x = x.to_float();
            }
        }
        chain.run(&mut x, place(row), &[px], n, present);
    }
}

fn place(row: usize) -> Place {
    Place { class: 0, row }
}

/// A tap of a window: floats from the first one, and its index in the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tap {
    /// Floats from the window's first tap.
    pub x: usize,
    /// Index in the kernel.
    pub tap: usize,
}

/// Output positions whose windows have the same taps.
#[derive(Clone, Debug)]
pub(crate) struct Spot {
    /// The positions.
    pub rect: Rect,
    /// Floats from the image to the first tap of the first window.
    pub start: usize,
    /// The taps inside the image, row by row.
    pub taps: Vec<Tap>,
}

/// A window over images of floats, channels as lanes.
#[derive(Clone, Copy)]
pub(crate) struct Windows<'a> {
    /// Images: `[image][row][column][channel]`.
    pub x: &'a [f32],
    /// Floats of an image.
    pub image_len: usize,
    /// Channels.
    pub n: usize,
    /// Columns of the output, and positions of an output image.
    pub out_width: usize,
    /// See `out_width`.
    pub out_px: usize,
    /// Floats between the windows of neighbouring output rows.
    pub down: usize,
    /// Floats between the windows of neighbouring output columns.
    pub across: usize,
    /// Output positions by the taps they read.
    pub spots: &'a [Spot],
    /// What is made of a window.
    pub reduce: Reduce<'a>,
}

/// What is made of a window's elements.
#[derive(Clone, Copy)]
pub(crate) enum Reduce<'a> {
    /// The greatest: the first, replaced by later ones that are greater.
    Max,
    /// The sum divided by an entry per spot.
    Mean(&'a [f32]),
    /// The sum of products with `[tap][n + 64]` weights.
    Weighted(&'a [f32]),
}

/// Reduces every window and runs a chain on the results.
///
/// # Safety
///
/// As [`Lanes`]; the spots' taps lie inside an image.
#[inline(always)]
pub(crate) unsafe fn windows<V: Lanes>(windows: Windows<'_>, chain: &mut Chain<'_>) {
    for (image, x) in windows.x.chunks_exact(windows.image_len).enumerate() {
        for (class, spot) in windows.spots.iter().enumerate() {
            let Rect { y, x: columns, .. } = spot.rect;
            for row in 0..y[1] - y[0] {
                for column in 0..columns[1] - columns[0] {
                    let at = spot.start + row * windows.down + column * windows.across;
                    let px = image * windows.out_px
                        + (y[0] + row) * windows.out_width
                        + columns[0]
                        + column;
                    let mut channel = 0;
                    // SAFETY: the caller's promise.
                    unsafe {
                        // Windows without taps may lie anywhere; nothing is read there.
                        let x = x.as_ptr().wrapping_add(at);
                        while channel + NV * V::N <= windows.n {
                            window::<V, NV>(&windows, chain, x, px, (class, spot), channel);
                            channel += NV * V::N;
                        }
                        while channel < windows.n {
                            window::<V, 1>(&windows, chain, x, px, (class, spot), channel);
                            channel += V::N;
                        }
                    }
                }
            }
        }
    }
}

/// Reduces one window for `M` registers of channels from `channel` on.
///
/// # Safety
///
/// As [`windows`]; `x` is the window's first tap.
#[inline(always)]
unsafe fn window<V: Lanes, const M: usize>(
    windows: &Windows<'_>,
    chain: &mut Chain<'_>,
    x: *const f32,
    px: usize,
    (class, spot): (usize, &Spot),
    channel: usize,
) {
    let present = (M * V::N).min(windows.n - channel);
    // SAFETY: the caller's promise; lanes past `present` mean nothing.
    unsafe {
        let x = x.wrapping_add(channel);
        let mut out = [V::zero(); M];
        match windows.reduce {
            Reduce::Max => {
                if let [first, rest @ ..] = &spot.taps[..] {
                    out = fetch::<V, M>(x.wrapping_add(first.x).cast(), present);
                    for tap in rest {
                        let tap = fetch::<V, M>(x.wrapping_add(tap.x).cast(), present);
                        for v in 0..M {
                            out[v] = tap[v].greater_float(out[v]);
                        }
                    }
                }
            }
            Reduce::Mean(counts) => {
                for tap in &spot.taps {
                    let tap = fetch::<V, M>(x.wrapping_add(tap.x).cast(), present);
                    for v in 0..M {
                        out[v] = out[v].add_float(tap[v]);
                    }
                }
                let count = V::splat(counts[class].to_bits());
                for out in &mut out {
                    *out = out.div_float(count);
                }
            }
            Reduce::Weighted(weights) => {
                let stride = windows.n + 64;
                for tap in &spot.taps {
                    let weights = &weights[tap.tap * stride + channel..][..M * V::N];
                    let tap = fetch::<V, M>(x.wrapping_add(tap.x).cast(), present);
                    for v in 0..M {
                        let weight = V::load(weights.as_ptr().add(v * V::N).cast());
                        out[v] = out[v].add_float(tap[v].mul_float(weight));
                    }
                }
            }
        }
        chain.run(&mut [out], place(channel), &[px], windows.n, present);
    }
}

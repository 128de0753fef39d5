//! Depthwise convolutions, and convolutions of reals whose sums are taken in index order.
//!
//! Both are written as plain loops over channels or output rows, which the compiler vectorises without
//! reordering a sum. Images are `[images][height][width][channels]`.

use onebit_bits::train_conv::Geometry;
use onebit_model::program::Window;
use rayon::prelude::*;

use crate::graph::Extent;
use crate::simd::vectorized;

/// `[rows][cols]` to `[cols][rows]`.
pub(super) fn columns(w: &[f32], n_rows: usize) -> Vec<f32> {
    let n_cols = w.len() / n_rows;
    let mut out = vec![0.0; w.len()];
    for row in 0..n_rows {
        for col in 0..n_cols {
            out[col * n_rows + row] = w[row * n_cols + col];
        }
    }
    out
}

/// Calls `f(output position, tap, input position or none)` for every tap of every window.
#[inline(always)]
fn each_tap(
    from: Extent,
    to: Extent,
    window: &Window,
    mut f: impl FnMut(usize, usize, Option<usize>),
) {
    for y in 0..to.height {
        for x in 0..to.width {
            for ky in 0..window.kernel[0] {
                for kx in 0..window.kernel[1] {
                    let source = window
                        .source(0, y, ky, from.height)
                        .zip(window.source(1, x, kx, from.width));
                    f(
                        y * to.width + x,
                        ky * window.kernel[1] + kx,
                        source.map(|(y, x)| y * from.width + x),
                    );
                }
            }
        }
    }
}

/// Sums of a depthwise convolution: `w` is `[channels][taps]`.
pub(super) fn forward(
    x: &[f32],
    w: &[f32],
    from: Extent,
    to: Extent,
    window: Window,
    pad: f32,
) -> Vec<f32> {
    let c = from.channels;
    let taps = columns(w, c);
    let images = x.len() / from.elements();
    let mut out = vec![0.0f32; images * to.elements()];
    out.par_chunks_mut(to.elements())
        .zip(x.par_chunks(from.elements()))
        .for_each(|(out, x)| {
            vectorized(
                #[inline(always)]
                || {
                    each_tap(from, to, &window, |at, tap, source| {
                        let (out, w) = (&mut out[at * c..][..c], &taps[tap * c..][..c]);
                        match source {
                            Some(px) => {
                                for ((o, x), w) in out.iter_mut().zip(&x[px * c..][..c]).zip(w) {
                                    *o += x * w;
                                }
                            }
                            None => out.iter_mut().zip(w).for_each(|(o, w)| *o += pad * w),
                        }
                    });
                },
            );
        });
    out
}

/// Gradient of the operand of [`forward`].
pub(super) fn input_gradient(
    g: &[f32],
    w: &[f32],
    from: Extent,
    to: Extent,
    window: Window,
) -> Vec<f32> {
    let c = from.channels;
    let taps = columns(w, c);
    let images = g.len() / to.elements();
    let mut out = vec![0.0f32; images * from.elements()];
    out.par_chunks_mut(from.elements())
        .zip(g.par_chunks(to.elements()))
        .for_each(|(gx, g)| {
            vectorized(
                #[inline(always)]
                || {
                    each_tap(from, to, &window, |at, tap, source| {
                        let Some(px) = source else { return };
                        let (gx, w) = (&mut gx[px * c..][..c], &taps[tap * c..][..c]);
                        for ((o, g), w) in gx.iter_mut().zip(&g[at * c..][..c]).zip(w) {
                            *o += g * w;
                        }
                    });
                },
            );
        });
    out
}

/// Gradient of the weights of [`forward`], `[channels][taps]`.
pub(super) fn weight_gradient(
    x: &[f32],
    g: &[f32],
    from: Extent,
    to: Extent,
    window: Window,
    pad: f32,
) -> Vec<f32> {
    let c = from.channels;
    let n_taps = window.kernel[0] * window.kernel[1];
    let images = x.len() / from.elements();
    let per_group = images.div_ceil(8).max(1);
    let parts = x
        .par_chunks(per_group * from.elements())
        .zip(g.par_chunks(per_group * to.elements()))
        .map(|(x, g)| {
            let mut sums = vec![0.0f32; n_taps * c];
            for (x, g) in x
                .chunks_exact(from.elements())
                .zip(g.chunks_exact(to.elements()))
            {
                vectorized(
                    #[inline(always)]
                    || {
                        each_tap(from, to, &window, |at, tap, source| {
                            let (sum, g) = (&mut sums[tap * c..][..c], &g[at * c..][..c]);
                            match source {
                                Some(px) => {
                                    for ((s, x), g) in sum.iter_mut().zip(&x[px * c..][..c]).zip(g)
                                    {
                                        *s += x * g;
                                    }
                                }
                                None => sum.iter_mut().zip(g).for_each(|(s, g)| *s += pad * g),
                            }
                        });
                    },
                );
            }
            sums
        })
        .collect();
    columns(&super::dense::summed(parts), n_taps)
}

/// A convolution of one group whose sums are taken from zero in index order, one rounding per operation.
/// `weights` is `[taps * channels][rows]`.
pub(super) fn ordered_conv(
    x: &[f32],
    weights: &[f32],
    geometry: &Geometry,
    pad: f32,
    out: &mut [f32],
) {
    let (c, n) = (geometry.channels, geometry.rows);
    let from = Extent {
        height: geometry.size[0],
        width: geometry.size[1],
        channels: c,
    };
    let to = Extent {
        height: geometry.out[0],
        width: geometry.out[1],
        channels: n,
    };
    let window = Window {
        kernel: geometry.kernel,
        stride: geometry.stride,
        dilation: geometry.dilation,
        pads: [geometry.pads[0], geometry.pads[1], 0, 0],
    };
    for (x, out) in x
        .chunks_exact(from.elements())
        .zip(out.chunks_exact_mut(to.elements()))
    {
        vectorized(
            #[inline(always)]
            || {
                each_tap(from, to, &window, |at, tap, source| {
                    let out = &mut out[at * n..][..n];
                    let w = weights[tap * c * n..][..c * n].chunks_exact(n);
                    match source {
                        Some(px) => {
                            for (x, w) in x[px * c..][..c].iter().zip(w) {
                                out.iter_mut().zip(w).for_each(|(o, w)| *o += x * w);
                            }
                        }
                        None => {
                            for w in w {
                                out.iter_mut().zip(w).for_each(|(o, w)| *o += pad * w);
                            }
                        }
                    }
                });
            },
        );
    }
}

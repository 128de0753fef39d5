//! Ops without a kernel of their own, in plain loops over one image.
//!
//! Arithmetic is exactly the interpreter's: integers wrap nowhere (the verifier proved it), reals are
//! binary32 with one rounding per operation. Bits come as bytes of 0 and 1.

use onebit_model::limits::MAX_RANK;
use onebit_model::program::{Conv2d, Cuts, GroupNorm, Type, Window};

use crate::layout::pixels;
use crate::step::Move;

/// Rows whose weights a convolution decodes at a time, for all positions.
const LANES: usize = 32;

/// A convolution of integers or floats: `x` is one image, `out` is `[position][row]`. Every sum takes its terms in the
/// order of the weights' columns.
pub(crate) fn conv<T: Copy + Default>(
    conv: &Conv2d,
    size: [usize; 3],
    x: &[T],
    pad: T,
    weight: impl Fn(usize, usize) -> T,
    multiply_add: impl Fn(T, T, T) -> T,
    out: &mut [T],
) {
    let [height, width, channels] = size;
    let window = &conv.window;
    let rows = conv.weights.n_rows();
    let group_channels = channels / conv.groups;
    let group_rows = rows / conv.groups;
    let [out_height, out_width] = window
        .output([height, width])
        .expect("verify: the window fits");
    out[..out_height * out_width * rows].fill(T::default());
    let mut lanes = [(T::default(), 0); LANES];
    for first in (0..rows).step_by(LANES) {
        let lanes = &mut lanes[..LANES.min(rows - first)];
        for col in 0..conv.weights.n_cols() {
            let (tap, channel) = (col / group_channels, col % group_channels);
            let (ky, kx) = (tap / window.kernel[1], tap % window.kernel[1]);
            for (row, lane) in (first..).zip(&mut *lanes) {
                *lane = (
                    weight(row, col),
                    row / group_rows * group_channels + channel,
                );
            }
            for y in 0..out_height {
                let source_y = window.source(0, y, ky, height);
                for column in 0..out_width {
                    let out = &mut out[(y * out_width + column) * rows + first..];
                    let pairs = out.iter_mut().zip(&*lanes);
                    match (source_y, window.source(1, column, kx, width)) {
                        (Some(y), Some(x_at)) => {
                            let x = &x[(y * width + x_at) * channels..][..channels];
                            pairs.for_each(|(out, &(w, at))| *out = multiply_add(*out, x[at], w));
                        }
                        _ => pairs.for_each(|(out, &(w, _))| *out = multiply_add(*out, pad, w)),
                    }
                }
            }
        }
    }
}

/// The greatest element of every window.
pub(crate) fn max_pool<T: Copy + PartialOrd>(
    window: &Window,
    size: [usize; 3],
    x: &[T],
    out: &mut [T],
) {
    each_window(window, size, |position, channel, taps| {
        let mut taps = taps.map(|at| x[at]);
        let first = taps.next().expect("verify: every window meets the image");
        let best = taps.fold(first, |best, value| if value > best { value } else { best });
        out[position * size[2] + channel] = best;
    });
}

/// The average of every window of integers: the exact sum, converted, divided by a count.
pub(crate) fn avg_pool(
    window: &Window,
    size: [usize; 3],
    count_pads: bool,
    value: impl Fn(usize) -> i32,
    out: &mut [f32],
) {
    let area = window.kernel[0] * window.kernel[1];
    each_window(window, size, |position, channel, taps| {
        let (sum, n) = taps.fold((0, 0), |(sum, n), at| (sum + value(at), n + 1));
        let count = if count_pads { area } else { n };
        out[position * size[2] + channel] = sum as f32 / count as f32;
    });
}

/// The average of every window of reals: the sum from zero in order, divided by a count.
pub(crate) fn avg_pool_reals(
    window: &Window,
    size: [usize; 3],
    count_pads: bool,
    x: &[f32],
    out: &mut [f32],
) {
    let area = window.kernel[0] * window.kernel[1];
    each_window(window, size, |position, channel, taps| {
        let (sum, n) = taps.fold((0.0f32, 0), |(sum, n), at| (sum + x[at], n + 1));
        let count = if count_pads { area } else { n };
        out[position * size[2] + channel] = sum / count as f32;
    });
}

/// Calls with every output position, channel and the indices of the taps inside the image.
fn each_window(
    window: &Window,
    size: [usize; 3],
    mut visit: impl FnMut(usize, usize, &mut dyn Iterator<Item = usize>),
) {
    let [height, width, channels] = size;
    let [out_height, out_width] = window
        .output([height, width])
        .expect("verify: the window fits");
    for y in 0..out_height {
        for column in 0..out_width {
            for channel in 0..channels {
                let mut taps = (0..window.kernel[0] * window.kernel[1]).filter_map(|tap| {
                    let (ky, kx) = (tap / window.kernel[1], tap % window.kernel[1]);
                    let from_y = window.source(0, y, ky, height)?;
                    let from_x = window.source(1, column, kx, width)?;
                    Some((from_y * width + from_x) * channels + channel)
                });
                visit(y * out_width + column, channel, &mut taps);
            }
        }
    }
}

/// The number of cuts that an element of channel `c` reaches; cuts ascend, so they are searched.
pub(crate) fn quantize_ints(
    x: impl Iterator<Item = i32>,
    n: usize,
    bits: u8,
    cuts: &[i32],
    out: &mut [u8],
) {
    let per_set = (1usize << bits) - 1;
    let is_shared = cuts.len() == per_set;
    for (i, (x, out)) in x.zip(out).enumerate() {
        let set = if is_shared { 0 } else { i % n };
        *out = cuts[set * per_set..][..per_set].partition_point(|&cut| x >= cut) as u8;
    }
}

/// As [`quantize_ints`], of reals.
pub(crate) fn quantize_reals(x: &[f32], n: usize, bits: u8, cuts: &Cuts, out: &mut [u8]) {
    let Cuts::Real(cuts) = cuts else {
        unreachable!("verify: cuts are of the operand's kind");
    };
    let per_set = (1usize << bits) - 1;
    let is_shared = cuts.len() == per_set;
    for (i, (x, out)) in x.iter().zip(out).enumerate() {
        let set = if is_shared { 0 } else { i % n };
        *out = cuts[set * per_set..][..per_set].partition_point(|cut| x >= cut) as u8;
    }
}

/// Moves the elements of one operand of one image; `first` counts the channels that operands have filled.
pub(crate) fn relocate<T: Copy>(
    action: &Move,
    (ty, x): (&Type, &[T]),
    output: &Type,
    first: &mut usize,
    out: &mut [T],
) {
    match action {
        Move::Reshape => out.copy_from_slice(x),
        Move::ConcatChannels => {
            let (px, n) = pixels(output);
            let (_, channels) = pixels(ty);
            for px in 0..px {
                let to = &mut out[px * n + *first..][..channels];
                to.copy_from_slice(&x[px * channels..][..channels]);
            }
            *first += channels;
        }
        Move::Slice(start) => {
            let strides = strides(&ty.shape);
            let from = start
                .iter()
                .zip(&strides)
                .map(|(start, stride)| start * stride)
                .sum();
            gather(x, from, &output.shape, &strides, out);
        }
        Move::Transpose(perm) => {
            let strides = strides(&ty.shape);
            let mut permuted = [0; MAX_RANK];
            for (to, &axis) in permuted.iter_mut().zip(perm) {
                *to = strides[axis];
            }
            gather(x, 0, &output.shape, &permuted, out);
        }
    }
}

/// Elements between neighbours on each axis.
fn strides(shape: &[usize]) -> [usize; MAX_RANK] {
    let mut strides = [1; MAX_RANK];
    for axis in (0..shape.len().saturating_sub(1)).rev() {
        strides[axis] = strides[axis + 1] * shape[axis + 1];
    }
    strides
}

/// Copies the elements of a shape in order, each axis with its own stride.
fn gather<T: Copy>(x: &[T], from: usize, shape: &[usize], strides: &[usize], out: &mut [T]) {
    match shape {
        [] => out[0] = x[from],
        [n] if strides[0] == 1 => out.copy_from_slice(&x[from..from + n]),
        [_] => {
            for (i, out) in out.iter_mut().enumerate() {
                *out = x[from + i * strides[0]];
            }
        }
        [_, rest @ ..] => {
            let n: usize = rest.iter().product();
            for (i, out) in out.chunks_exact_mut(n).enumerate() {
                gather(x, from + i * strides[0], rest, &strides[1..], out);
            }
        }
    }
}

/// Group normalisation of one image: the groups of each pixel lie side by side.
pub(crate) fn group_norm(norm: &GroupNorm, x: &[f32], out: &mut [f32]) {
    let channels = norm.gamma.len();
    let n = channels / norm.groups;
    let count = (x.len() / norm.groups) as f32;
    for first in (0..channels).step_by(n) {
        let members = || {
            x.chunks_exact(channels)
                .flat_map(|px| &px[first..first + n])
        };
        let mean = members().fold(0.0f32, |sum, x| sum + x) / count;
        let squares = members().map(|x| (x - mean) * (x - mean));
        let var = squares.fold(0.0f32, |sum, square| sum + square) / count;
        let deviation = (var + norm.eps).sqrt();
        let pixels = x.chunks_exact(channels).zip(out.chunks_exact_mut(channels));
        for (x, out) in pixels {
            for channel in first..first + n {
                let normed = (x[channel] - mean) / deviation;
                let gained = normed * norm.gamma[channel];
                out[channel] = gained + norm.beta[channel];
            }
        }
    }
}

/// The index of the greatest element; the lowest on a tie.
pub(crate) fn argmax<T: PartialOrd>(x: &[T]) -> i32 {
    // A later element wins only if it is strictly greater, so a tie or a NaN keeps the first.
    (1..x.len()).fold(0, |best, i| if x[i] > x[best] { i } else { best }) as i32
}

/// The softmax over `n` channels; FORMAT.md has the exponential.
pub(crate) fn softmax(x: &[f32], n: usize, out: &mut [f32]) {
    for (x, out) in x.chunks_exact(n).zip(out.chunks_exact_mut(n)) {
        let max = x[1..]
            .iter()
            .fold(x[0], |max, &x| if x > max { x } else { max });
        let mut sum = 0.0f32;
        for (out, &x) in out.iter_mut().zip(x) {
            *out = exp(x - max);
            sum += *out;
        }
        for out in out {
            *out /= sum;
        }
    }
}

/// The exponential of a number up to zero, to the bit as FORMAT.md defines it.
#[expect(
    clippy::excessive_precision,
    reason = "the decimal constants of FORMAT.md, each read as the nearest binary32"
)]
fn exp(t: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    if t.is_nan() || t < -87.0 {
        return 0.0;
    }
    let n = (t * core::f32::consts::LOG2_E + ROUND) - ROUND;
    let r = (t - n * 0.693359375) - n * -2.12194440e-4;
    let coefficients = [
        1.3981999507e-3,
        8.3334519073e-3,
        4.1665795894e-2,
        1.6666665459e-1,
        5.0000001201e-1,
    ];
    let p = coefficients
        .iter()
        .fold(1.9875691500e-4, |p: f32, c| p * r + c);
    let y = (p * (r * r) + r) + 1.0;
    y * f32::from_bits(((n as i32 + 127) as u32) << 23)
}

//! Max and average pools.

use alloc::vec::Vec;

use super::integers;
use crate::program::Window;
use crate::tensor::Tensor;

/// The indices of the elements that one output sees, in row-major order of the taps.
fn taps(
    window: &Window,
    shape: &[usize],
    at: [usize; 2],
    channel: usize,
) -> impl Iterator<Item = usize> {
    let (window, [height, width, n_channels]) = (*window, [shape[0], shape[1], shape[2]]);
    let rows = (0..window.kernel[0]).filter_map(move |i| window.source(0, at[0], i, height));
    rows.flat_map(move |y| {
        let cols = (0..window.kernel[1]).filter_map(move |j| window.source(1, at[1], j, width));
        cols.map(move |x| (y * width + x) * n_channels + channel)
    })
}

/// `value` of every output, in order.
fn for_each_output<T>(result: &[usize], mut value: impl FnMut([usize; 2], usize) -> T) -> Vec<T> {
    let mut out = Vec::with_capacity(result.iter().product());
    for y in 0..result[0] {
        for x in 0..result[1] {
            out.extend((0..result[2]).map(|channel| value([y, x], channel)));
        }
    }
    out
}

/// The greatest element of each window; a later one counts only if it is greater.
pub(crate) fn max_pool(window: &Window, x: &Tensor, shape: &[usize], result: &[usize]) -> Tensor {
    match x {
        Tensor::Bits(x) => Tensor::Bits(greatest(window, x, shape, result)),
        Tensor::Levels(x) => Tensor::Levels(greatest(window, x, shape, result)),
        Tensor::Int(x) => Tensor::Int(greatest(window, x, shape, result)),
        Tensor::Real(x) => Tensor::Real(greatest(window, x, shape, result)),
    }
}

fn greatest<T: Copy + PartialOrd>(
    window: &Window,
    x: &[T],
    shape: &[usize],
    result: &[usize],
) -> Vec<T> {
    for_each_output(result, |at, channel| {
        let seen = taps(window, shape, at, channel).map(|idx| x[idx]);
        seen.reduce(|m, x| if x > m { x } else { m })
            .expect("verify: every window has a tap inside the image")
    })
}

/// The sum of each window divided by the number of its taps.
pub(crate) fn avg_pool(
    window: &Window,
    count_pads: bool,
    x: &Tensor,
    shape: &[usize],
    result: &[usize],
) -> Tensor {
    let ints = integers(x);
    Tensor::Real(for_each_output(result, |at, channel| {
        let seen = || taps(window, shape, at, channel);
        let n = match count_pads {
            true => window.kernel[0] * window.kernel[1],
            false => seen().count(),
        };
        average(x, ints.as_deref(), seen(), n)
    }))
}

/// The average of every channel over the whole image.
pub(crate) fn global_avg_pool(n_channels: usize, x: &Tensor) -> Tensor {
    let ints = integers(x);
    let n = x.len() / n_channels;
    let channel_average = |channel: usize| {
        let pixels = (channel..x.len()).step_by(n_channels);
        average(x, ints.as_deref(), pixels, n)
    };
    Tensor::Real((0..n_channels).map(channel_average).collect())
}

/// The sum of some elements of `x` divided by `n`: exact for integers, which `ints` holds, up to its
/// conversion; from +0 in order for reals.
fn average(
    x: &Tensor,
    ints: Option<&[i32]>,
    indices: impl Iterator<Item = usize>,
    n: usize,
) -> f32 {
    let sum = match (x, ints) {
        (Tensor::Real(x), _) => indices.fold(0.0, |sum, idx| sum + x[idx]),
        (_, Some(ints)) => indices.map(|idx| ints[idx]).sum::<i32>() as f32,
        _ => unreachable!("whatever is not real has integers"),
    };
    sum / n as f32
}

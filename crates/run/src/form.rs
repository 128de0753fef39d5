//! Operands brought into the form that kernels and plain loops read, one image at a time.

use onebit_model::program::{Conv2d, Cuts, Kind, Type, Window};

use crate::conv::{ConvLayer, Form};
use crate::layout::{Layout, place};
use crate::plain;
use crate::step::{Action, Step};
use crate::workspace::conv_layer;

/// One image's elements.
#[derive(Clone, Copy)]
pub(crate) enum Elements<'a> {
    /// 0 and 1, for -1 and +1.
    Bits(&'a [u8]),
    Codes(&'a [u8]),
    Ints(&'a [i32]),
    Reals(&'a [f32]),
}

/// Which scratch a step needs.
pub(crate) struct Needs {
    pub codes: bool,
    pub reals: bool,
    pub ints: bool,
}

/// Which scratch a step with a first operand of this type needs.
pub(crate) fn needs(step: &Step, ty: &Type) -> Needs {
    let layer = conv_layer(step);
    let copies = |layer: &ConvLayer, kind: Kind| layer.border.is_some() || kind != Kind::Real;
    let is_plain = matches!(step.action, Action::PlainConv(_));
    Needs {
        codes: layer.is_some_and(|layer| matches!(layer.form, Form::Codes | Form::DoubledBits)),
        reals: is_plain
            || layer.is_some_and(|layer| layer.form == Form::Reals && copies(layer, ty.kind)),
        ints: is_plain || matches!(step.action, Action::Chain(_)),
    }
}

/// The elements as integers; reals have no such form.
pub(crate) fn ints(x: Elements<'_>, out: &mut [i32]) {
    match x {
        Elements::Bits(x) => {
            for (out, &x) in out.iter_mut().zip(x) {
                *out = 2 * i32::from(x) - 1;
            }
        }
        Elements::Codes(x) => {
            for (out, &x) in out.iter_mut().zip(x) {
                *out = i32::from(x);
            }
        }
        Elements::Ints(x) => out.copy_from_slice(x),
        Elements::Reals(_) => unreachable!("lower: reals are no integers"),
    }
}

/// The codes that a convolution reads, with their border.
pub(crate) fn codes(layer: &ConvLayer, x: Elements<'_>, out: &mut [u8]) {
    let value = layer.border.map_or(0, |border| border.value) as u8;
    match x {
        Elements::Codes(x) => bordered(layer, x, value, |code| code, out),
        Elements::Bits(x) => bordered(layer, x, value, |bit| 2 * bit, out),
        _ => unreachable!("lower: codes or bits"),
    }
}

/// The floats that a convolution reads, with their border.
pub(crate) fn reals(layer: &ConvLayer, x: Elements<'_>, out: &mut [f32]) {
    let value = layer.border.map_or(0, |border| border.value) as f32;
    match x {
        Elements::Bits(x) => bordered(layer, x, value, |bit| 2.0 * f32::from(bit) - 1.0, out),
        Elements::Codes(x) => bordered(layer, x, value, f32::from, out),
        Elements::Ints(x) => bordered(layer, x, value, |int| int as f32, out),
        Elements::Reals(x) => bordered(layer, x, value, |real| real, out),
    }
}

/// Copies an image into the middle of a larger one.
fn bordered<T: Copy, U: Copy>(
    layer: &ConvLayer,
    x: &[T],
    value: U,
    convert: impl Fn(T) -> U,
    out: &mut [U],
) {
    let [height, width, channels] = layer.size;
    let [_, out_width] = layer.bordered();
    let pads = layer.border.map_or([0; 4], |border| border.pads);
    if layer.border.is_some() {
        let n = layer.bordered()[0] * out_width * channels;
        out[..n].fill(value);
    }
    for y in 0..height {
        let from = &x[y * width * channels..][..width * channels];
        let at = ((y + pads[0]) * out_width + pads[1]) * channels;
        for (out, &x) in out[at..].iter_mut().zip(from) {
            *out = convert(x);
        }
    }
}

/// Compares elements with cuts.
pub(crate) fn quantize(x: Elements<'_>, n: usize, bits: u8, cuts: &Cuts, out: &mut [u8]) {
    match (x, cuts) {
        (Elements::Bits(x), Cuts::Int(cuts)) => {
            plain::quantize_ints(x.iter().map(|&x| 2 * i32::from(x) - 1), n, bits, cuts, out);
        }
        (Elements::Codes(x), Cuts::Int(cuts)) => {
            plain::quantize_ints(x.iter().map(|&x| i32::from(x)), n, bits, cuts, out);
        }
        (Elements::Ints(x), Cuts::Int(cuts)) => {
            plain::quantize_ints(x.iter().copied(), n, bits, cuts, out);
        }
        (Elements::Reals(x), cuts) => plain::quantize_reals(x, n, bits, cuts, out),
        _ => unreachable!("verify: cuts are of the operand's kind"),
    }
}

/// Replaces codes by the entries of a table of 256 for all channels, or for each.
pub(crate) fn look_up(codes: &[u8], table: &[u8], channels: usize, out: &mut [u8]) {
    if let Ok(table) = <&[u8; 256]>::try_from(table) {
        for (out, &code) in out.iter_mut().zip(codes) {
            *out = table[usize::from(code)];
        }
        return;
    }
    let sets = (0..channels).cycle();
    for ((out, &code), set) in out.iter_mut().zip(codes).zip(sets) {
        *out = table[256 * set + usize::from(code)];
    }
}

/// Averages windows.
pub(crate) fn avg_pool(
    window: &Window,
    size: [usize; 3],
    count_pads: bool,
    x: Elements<'_>,
    out: &mut [f32],
) {
    match x {
        Elements::Bits(x) => {
            plain::avg_pool(window, size, count_pads, |at| 2 * i32::from(x[at]) - 1, out);
        }
        Elements::Codes(x) => plain::avg_pool(window, size, count_pads, |at| x[at].into(), out),
        Elements::Ints(x) => plain::avg_pool(window, size, count_pads, |at| x[at], out),
        Elements::Reals(x) => plain::avg_pool_reals(window, size, count_pads, x, out),
    }
}

/// A convolution whose sums are integers.
pub(crate) fn conv_ints(
    conv: &Conv2d,
    size: [usize; 3],
    x: Elements<'_>,
    scratch: &mut [i32],
    out: &mut [i32],
) {
    let x_ints = &mut scratch[..size.iter().product()];
    ints(x, x_ints);
    let weight = |row, col| conv.weights.get(row, col);
    let multiply_add = |sum: i32, x: i32, w: i32| sum.wrapping_add(x.wrapping_mul(w));
    plain::conv(conv, size, x_ints, conv.pad, weight, multiply_add, out);
    if let Some(bias) = &conv.bias {
        for (i, out) in out.iter_mut().enumerate() {
            *out = out.wrapping_add(bias[i % bias.len()]);
        }
    }
}

/// A convolution whose sums are floats.
pub(crate) fn conv_reals(
    conv: &Conv2d,
    size: [usize; 3],
    x: Elements<'_>,
    scratch: &mut [f32],
    out: &mut [f32],
) {
    let x_reals = &mut scratch[..size.iter().product()];
    match x {
        Elements::Bits(x) => convert_into(x, |bit| 2.0 * f32::from(bit) - 1.0, x_reals),
        Elements::Codes(x) => convert_into(x, f32::from, x_reals),
        Elements::Ints(x) => convert_into(x, |int| int as f32, x_reals),
        Elements::Reals(x) => x_reals.copy_from_slice(x),
    }
    let weight = |row, col| conv.weights.get_real(row, col);
    let multiply_add = |sum: f32, x: f32, w: f32| sum + x * w;
    plain::conv(
        conv,
        size,
        x_reals,
        conv.pad as f32,
        weight,
        multiply_add,
        out,
    );
}

fn convert_into<T: Copy>(x: &[T], convert: impl Fn(T) -> f32, out: &mut [f32]) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out = convert(x);
    }
}

/// The greatest bit of every window: whole words where pixels begin at words, else bit by bit.
pub(crate) fn or_pool(
    window: &Window,
    size: [usize; 3],
    (from, x): (Layout, &[u64]),
    (to, out): (Layout, &mut [u64]),
) {
    let [height, width, channels] = size;
    let [out_height, out_width] = window
        .output([height, width])
        .expect("verify: the window fits");
    if channels.is_multiple_of(64) {
        or_words(window, [height, width, channels / 64], x, out);
        return;
    }
    out.fill(0);
    for y in 0..out_height {
        for column in 0..out_width {
            for ky in 0..window.kernel[0] {
                let Some(from_y) = window.source(0, y, ky, height) else {
                    continue;
                };
                for kx in 0..window.kernel[1] {
                    let Some(from_x) = window.source(1, column, kx, width) else {
                        continue;
                    };
                    let (word, bit) = place(from, channels, from_y * width + from_x, 0);
                    let (out_word, out_bit) = place(to, channels, y * out_width + column, 0);
                    let (at, out_at) = (64 * word + bit, 64 * out_word + out_bit);
                    for first in (0..channels).step_by(64) {
                        let n = 64.min(channels - first);
                        let bits = crate::layout::read_bits(x, at + first, n);
                        crate::layout::or_bits(out, out_at + first, bits);
                    }
                }
            }
        }
    }
}

/// As [`or_pool`], for pixels of whole words; the last of `size` counts them.
fn or_words(window: &Window, size: [usize; 3], x: &[u64], out: &mut [u64]) {
    let [height, width, words] = size;
    let [_, out_width] = window
        .output([height, width])
        .expect("verify: the window fits");
    for (y, out) in out.chunks_exact_mut(out_width * words).enumerate() {
        out.fill(0);
        for ky in 0..window.kernel[0] {
            let Some(from_y) = window.source(0, y, ky, height) else {
                continue;
            };
            let row = &x[from_y * width * words..][..width * words];
            for kx in 0..window.kernel[1] {
                // Columns whose tap is inside the image, the first of them, and where it reads.
                let reach = kx * window.dilation[1];
                let first = window.pads[1]
                    .saturating_sub(reach)
                    .div_ceil(window.stride[1]);
                let from = first * window.stride[1] + reach - window.pads[1];
                let taps = row.chunks_exact(words).skip(from).step_by(window.stride[1]);
                for (out, tap) in out.chunks_exact_mut(words).skip(first).zip(taps) {
                    for (out, tap) in out.iter_mut().zip(tap) {
                        *out |= tap;
                    }
                }
            }
        }
    }
}

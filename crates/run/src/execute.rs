//! The execution of one step on a tile: kernels on all its images, plain loops on one after the other.

use onebit_bits::conv::Output;
use onebit_bits::dense::{code_planes, threshold_codes};
use onebit_bits::{AlignedWords, Isa, n_words};
use onebit_model::program::ThresholdValues;

use crate::conv::{Kernel, image_size};
use crate::dense::DenseLayer;
use crate::form;
use crate::kernels::{clear_last, run_chain, run_conv, with_chain};
use crate::layout::{Layout, bit_words, convert, or_bits, pack, pixels, read_bits, unpack};
use crate::operands::{Operands, input};
use crate::plain;
use crate::step::{Action, Move};
use crate::values::Values;
use crate::workspace::Scratch;

/// Executes a step on the first `m` images.
pub(crate) fn execute(
    ops: &Operands<'_>,
    scratch: &mut Scratch,
    out: &mut [Values; 2],
    m: usize,
    held: Option<usize>,
) {
    let isa = ops.plan.options.isa;
    let (x, ty) = (ops.values(0), ops.ty(0));
    let n_in = ty.n_elements();
    let (out_ty, out_layout) = ops.out();
    let n_out = out_ty.n_elements();
    let (_, channels) = pixels(ty);
    match &ops.step.action {
        Action::Scores(layer) => {
            let x = dense_operand(isa, layer, ops, m, &mut scratch.planes, &mut scratch.words);
            layer.scores(isa, x, &mut out[0].ints_mut()[..m * n_out]);
        }
        Action::Compared(layer) => {
            let x = dense_operand(isa, layer, ops, m, &mut scratch.planes, &mut scratch.words);
            let out = &mut out[0].bits_mut()[..m * n_words(n_out)];
            layer.bits(isa, x, m, &mut scratch.sliced, out);
        }
        Action::ConvInts(layer) => run_conv(ops, layer, scratch, m, |conv, x, first, images| {
            let out = &mut out[0].ints_mut()[first * n_out..(first + images) * n_out];
            conv.run(x, images, Output::Ints(out));
        }),
        Action::ConvBits(layer, thresholds) => {
            run_conv(ops, layer, scratch, m, |conv, x, first, images| {
                let words = bit_words(out_ty, out_layout);
                let out = &mut out[0].bits_mut()[first * words..(first + images) * words];
                clear_last(out);
                conv.run(x, images, Output::Bits(thresholds, out));
            })
        }
        Action::ConvChain(layer, chain) => {
            run_conv(ops, layer, scratch, m, |conv, x, first, images| {
                with_chain(ops, chain, out, (first, images), held, |out| {
                    match conv.kernel {
                        Kernel::Full(_) => conv.run(x, images, Output::Chain(out)),
                        Kernel::Window(window) => window.run(isa, x.reals(), images, out),
                    }
                });
            })
        }
        Action::Chain(chain) => run_chain(ops, chain, scratch, out, m, held),
        Action::CodeThreshold(thresholds) => {
            let out = &mut out[0].bits_mut()[..m * n_words(n_out)];
            threshold_codes(isa, &x.codes()[..m * n_in], thresholds, out);
        }
        Action::Table(table) => {
            let codes = &x.codes()[..m * n_in];
            form::look_up(codes, table, channels, out[0].codes_mut());
        }
        Action::Planes(n_planes) => {
            let planes = &mut scratch.planes[..m * n_planes * n_words(n_in)];
            code_planes(isa, &x.codes()[..m * n_in], n_in, *n_planes, planes);
            join_planes(planes, n_in, *n_planes, out[0].bits_mut());
        }
        Action::ReluInts => {
            for (out, &x) in out[0].ints_mut().iter_mut().zip(&x.ints()[..m * n_in]) {
                *out = x.max(0);
            }
        }
        Action::AddInts => {
            let pairs = x.ints()[..m * n_in].iter().zip(ops.values(1).ints());
            for (out, (a, b)) in out[0].ints_mut().iter_mut().zip(pairs) {
                *out = a + b;
            }
        }
        Action::GroupNorm(norm) => {
            let images = x.reals()[..m * n_in].chunks_exact(n_in);
            for (x, out) in images.zip(out[0].reals_mut().chunks_exact_mut(n_in)) {
                plain::group_norm(norm, x, out);
            }
        }
        Action::Softmax => plain::softmax(&x.reals()[..m * n_in], channels, out[0].reals_mut()),
        _ => {
            for image in 0..m {
                execute_image(ops, scratch, &mut out[0], image);
            }
        }
    }
}

/// Executes a step without a kernel on one image.
#[expect(clippy::too_many_lines, reason = "a flat match, one arm for each op")]
fn execute_image(ops: &Operands<'_>, scratch: &mut Scratch, out: &mut Values, image: usize) {
    let (x, ty) = (ops.values(0), ops.ty(0));
    let (out_ty, out_layout) = ops.out();
    let n_out = out_ty.n_elements();
    let range = image * n_out..(image + 1) * n_out;
    match &ops.step.action {
        Action::Concat => {
            let words = n_words(n_out);
            concat(
                ops,
                image,
                &mut scratch.words,
                &mut out.bits_mut()[image * words..][..words],
            );
        }
        Action::Argmax => {
            out.ints_mut()[image] = match x {
                Values::Ints(x) => plain::argmax(&x[ops.range(0, image)]),
                _ => plain::argmax(&x.reals()[ops.range(0, image)]),
            };
        }
        Action::Threshold { at, flip } => {
            let ThresholdValues::Int(at) = at else {
                unreachable!("lower: reals are compared by chains");
            };
            let (_, n) = pixels(ty);
            let bytes = &mut scratch.bytes[..n_out];
            for (i, (out, &x)) in bytes
                .iter_mut()
                .zip(&x.ints()[ops.range(0, image)])
                .enumerate()
            {
                *out = u8::from((x >= at[i % n]) != flip[i % n]);
            }
            let words = bit_words(out_ty, out_layout);
            pack(
                out_ty,
                out_layout,
                bytes,
                &mut out.bits_mut()[image * words..],
            );
        }
        Action::Quantize(bits, cuts) => {
            form::quantize(
                input(ops, image, &mut scratch.bytes),
                pixels(ty).1,
                *bits,
                cuts,
                &mut out.codes_mut()[range],
            );
        }
        Action::MaxPool(window) => {
            let size = image_size(ty);
            match x {
                Values::Ints(x) => plain::max_pool(
                    window,
                    size,
                    &x[ops.range(0, image)],
                    &mut out.ints_mut()[range],
                ),
                Values::Codes(x) => plain::max_pool(
                    window,
                    size,
                    &x[ops.range(0, image)],
                    &mut out.codes_mut()[range],
                ),
                Values::Reals(x) => plain::max_pool(
                    window,
                    size,
                    &x[ops.range(0, image)],
                    &mut out.reals_mut()[range],
                ),
                Values::Bits(_) => {
                    let words = bit_words(out_ty, out_layout);
                    let to = &mut out.bits_mut()[image * words..][..words];
                    form::or_pool(
                        window,
                        size,
                        (ops.layout(0), ops.bits(0, image)),
                        (out_layout, to),
                    );
                }
            }
        }
        Action::AvgPool(window, count_pads) => {
            let input = input(ops, image, &mut scratch.bytes);
            form::avg_pool(
                window,
                image_size(ty),
                *count_pads,
                input,
                &mut out.reals_mut()[range],
            );
        }
        Action::PlainConv(conv) => {
            let size = match ty.shape[..] {
                [height, width, channels]
                    if conv.weights.n_cols() != ty.n_elements() || conv.window.kernel != [1, 1] =>
                {
                    [height, width, channels]
                }
                _ if conv.window.kernel == [1, 1]
                    && conv.groups == 1
                    && conv.weights.n_cols() == ty.n_elements() =>
                {
                    [1, 1, ty.n_elements()]
                }
                _ => image_size(ty),
            };
            let input = input(ops, image, &mut scratch.bytes);
            match out {
                Values::Ints(out) => {
                    form::conv_ints(conv, size, input, &mut scratch.ints, &mut out[range])
                }
                _ => form::conv_reals(
                    conv,
                    size,
                    input,
                    &mut scratch.reals,
                    &mut out.reals_mut()[range],
                ),
            }
        }
        Action::Move(action) => relocate(ops, action, scratch, out, image),
        _ => unreachable!("execute: the step has a kernel"),
    }
}

/// Moves the elements of one image.
fn relocate(
    ops: &Operands<'_>,
    action: &Move,
    scratch: &mut Scratch,
    out: &mut Values,
    image: usize,
) {
    let (out_ty, out_layout) = ops.out();
    let n_out = out_ty.n_elements();
    let range = image * n_out..(image + 1) * n_out;
    let n = ops.step.inputs.len();
    // Operands are moved one after the other, each to its place among the channels.
    let mut first = 0;
    if let Values::Bits(words) = out {
        let len = bit_words(out_ty, out_layout);
        let n_before = scratch.bytes.len() - n_out;
        let (bytes, result) = scratch.bytes.split_at_mut(n_before);
        for idx in 0..n {
            let ty = ops.ty(idx);
            let bytes = &mut bytes[..ty.n_elements()];
            unpack(ty, ops.layout(idx), ops.bits(idx, image), bytes);
            plain::relocate(action, (ty, bytes), out_ty, &mut first, result);
        }
        pack(out_ty, out_layout, result, &mut words[image * len..]);
        return;
    }
    for idx in 0..n {
        let from = ops.range(idx, image);
        let ty = ops.ty(idx);
        match (ops.values(idx), &mut *out) {
            (Values::Codes(x), Values::Codes(out)) => plain::relocate(
                action,
                (ty, &x[from]),
                out_ty,
                &mut first,
                &mut out[range.clone()],
            ),
            (Values::Ints(x), Values::Ints(out)) => plain::relocate(
                action,
                (ty, &x[from]),
                out_ty,
                &mut first,
                &mut out[range.clone()],
            ),
            (Values::Reals(x), Values::Reals(out)) => plain::relocate(
                action,
                (ty, &x[from]),
                out_ty,
                &mut first,
                &mut out[range.clone()],
            ),
            _ => unreachable!("verify: elements keep their kind"),
        }
    }
}

/// The operand of a dense layer as flat bits: itself, or the bit planes of its codes.
fn dense_operand<'a>(
    isa: Isa,
    layer: &DenseLayer,
    ops: &Operands<'a>,
    m: usize,
    planes: &'a mut AlignedWords,
    words: &'a mut AlignedWords,
) -> &'a [u64] {
    let n = ops.ty(0).n_elements();
    match ops.values(0) {
        Values::Codes(codes) => {
            let planes = &mut planes[..m * layer.plane_words()];
            code_planes(isa, &codes[..m * n], n, layer.n_planes(), planes);
            planes
        }
        x if ops.layout(0) == Layout::Flat => &x.bits()[..m * n_words(n)],
        _ => {
            let words = &mut words[..m * n_words(n)];
            for (image, words) in words.chunks_exact_mut(n_words(n)).enumerate() {
                convert(
                    ops.ty(0),
                    (ops.layout(0), ops.bits(0, image)),
                    (Layout::Flat, words),
                );
            }
            words
        }
    }
}

/// Joins `[image][plane][n_words(n)]` to `[image]` rows of `n_planes * n` bits.
fn join_planes(planes: &[u64], n: usize, n_planes: usize, out: &mut [u64]) {
    let images = planes.chunks_exact(n_planes * n_words(n));
    for (planes, out) in images.zip(out.chunks_exact_mut(n_words(n_planes * n))) {
        out.fill(0);
        for (plane, words) in planes.chunks_exact(n_words(n)).enumerate() {
            append_bits(out, plane * n, words, n);
        }
    }
}

/// Joins the operands' bits of one image.
fn concat(ops: &Operands<'_>, image: usize, words: &mut AlignedWords, out: &mut [u64]) {
    out.fill(0);
    let mut at = 0;
    for idx in 0..ops.step.inputs.len() {
        let ty = ops.ty(idx);
        let n = ty.n_elements();
        convert(
            ty,
            (ops.layout(idx), ops.bits(idx, image)),
            (Layout::Flat, words),
        );
        append_bits(out, at, words, n);
        at += n;
    }
}

/// Ors `n` packed bits in from bit `at` on.
fn append_bits(out: &mut [u64], at: usize, from: &[u64], n: usize) {
    for first in (0..n).step_by(64) {
        let len = 64.min(n - first);
        or_bits(out, at + first, read_bits(from, first, len));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appended_bits_keep_their_order() {
        let mut joined = vec![0; 4];
        append_bits(&mut joined, 0, &[0b101], 3);
        append_bits(&mut joined, 3, &[u64::MAX, 1], 65);
        append_bits(&mut joined, 68, &[u64::MAX], 64);
        let ones = (0..256)
            .filter(|i| joined[i / 64] >> (i % 64) & 1 == 1)
            .collect::<Vec<_>>();
        assert_eq!(ones, [0].into_iter().chain(2..132).collect::<Vec<_>>());
    }
}

//! Convolutions and chains on a tile: operands in the form that kernels read, results in their places.

use onebit_bits::chain::{ChainOut, chain_ints, chain_reals};
use onebit_bits::conv::Output;
use onebit_model::program::Kind;

use crate::conv::{ConvLayer, Form, Kernel};
use crate::form;
use crate::layout::{Layout, bit_words, convert, pixel_layout, pixels};
use crate::operands::{Operands, input};
use crate::step::Chain;
use crate::values::{Values, image_len};
use crate::workspace::{MAX_OPERANDS, Scratch};

/// A kernel and its operand in the form it reads.
pub(crate) struct Ready<'a> {
    pub kernel: &'a Kernel,
}

/// An operand in the form that a kernel reads.
#[derive(Clone, Copy)]
pub(crate) enum Prepared<'a> {
    Bits(&'a [u64]),
    Codes(&'a [u8]),
    Reals(&'a [f32]),
}

impl<'a> Prepared<'a> {
    pub(crate) fn reals(self) -> &'a [f32] {
        match self {
            Prepared::Reals(x) => x,
            _ => unreachable!("lower: windows read floats"),
        }
    }
}

impl Ready<'_> {
    pub(crate) fn run(&self, x: Prepared<'_>, images: usize, out: Output<'_>) {
        match (self.kernel, x) {
            (Kernel::Full(conv), Prepared::Bits(x)) => conv.run_bits(x, images, out),
            (Kernel::Full(conv), Prepared::Codes(x)) => conv.run_codes(x, images, out),
            (Kernel::Full(conv), Prepared::Reals(x)) => conv.run_floats(x, images, out),
            (Kernel::Window(_), _) => unreachable!("lower: windows of floats end in chains"),
        }
    }
}

/// Runs a convolution on `m` images: all at once where its operand can be read as it is, else one by one.
pub(crate) fn run_conv(
    ops: &Operands<'_>,
    layer: &ConvLayer,
    scratch: &mut Scratch,
    m: usize,
    mut run: impl FnMut(&Ready<'_>, Prepared<'_>, usize, usize),
) {
    let ready = Ready {
        kernel: &layer.kernel,
    };
    // Kernels write the bits of all images back to back, in halves of words.
    let joins = ops.step.outputs.iter().all(|output| {
        let ty = ops.plan.types.of(*output);
        let (px, n) = pixels(ty);
        ty.kind != Kind::Bits || (px * n.div_ceil(32)).is_multiple_of(2)
    });
    let (x, ty) = (ops.values(0), ops.ty(0));
    let whole = match (x, layer.form) {
        (Values::Bits(x), Form::Bits) if ops.layout(0) == pixel_layout(ty) => {
            Some(Prepared::Bits(x))
        }
        (Values::Codes(x), Form::Codes) if layer.border.is_none() => Some(Prepared::Codes(x)),
        (Values::Reals(x), Form::Reals) if layer.border.is_none() => Some(Prepared::Reals(x)),
        _ => None,
    };
    if let (Some(x), true) = (whole, joins) {
        run(&ready, x, 0, m);
        return;
    }
    for image in 0..m {
        let n = image_len(ty, ops.layout(0));
        let x = match (whole, layer.form) {
            (Some(Prepared::Bits(x)), _) => Prepared::Bits(&x[image * n..]),
            (Some(Prepared::Codes(x)), _) => Prepared::Codes(&x[image * n..]),
            (Some(Prepared::Reals(x)), _) => Prepared::Reals(&x[image * n..]),
            (None, Form::Bits) => {
                let words = &mut scratch.words[..];
                convert(
                    ty,
                    (ops.layout(0), ops.bits(0, image)),
                    (Layout::Pixels, words),
                );
                Prepared::Bits(words)
            }
            (None, Form::Codes | Form::DoubledBits) => {
                let input = input(ops, image, &mut scratch.bytes);
                form::codes(layer, input, &mut scratch.codes);
                Prepared::Codes(&scratch.codes)
            }
            (None, Form::Reals) => {
                let input = input(ops, image, &mut scratch.bytes);
                form::reals(layer, input, &mut scratch.reals);
                Prepared::Reals(&scratch.reals)
            }
        };
        run(&ready, x, image, 1);
    }
}

/// Runs something with the places and operands of a chain for some images.
pub(crate) fn with_chain(
    ops: &Operands<'_>,
    chain: &Chain,
    out: &mut [Values; 2],
    (first, images): (usize, usize),
    held: Option<usize>,
    run: impl FnOnce(ChainOut<'_>),
) {
    let mut operands: [&[f32]; MAX_OPERANDS] = [&[]; MAX_OPERANDS];
    let range = |idx: usize| {
        let n = ops.ty(idx).n_elements();
        first * n..(first + images) * n
    };
    for idx in 1..ops.step.inputs.len() {
        // An operand in the place of the result is not looked at here.
        if held != Some(idx - 1) {
            operands[idx - 1] = &ops.values(idx).reals()[range(idx)];
        }
    }
    let [first_out, second_out] = out;
    let mut reals = None;
    let mut bits_at = first_out;
    if chain.stores_reals {
        let n = ops.out().0.n_elements();
        reals = Some(&mut bits_at.reals_mut()[first * n..(first + images) * n]);
        bits_at = second_out;
    }
    let bits = chain.bits.as_ref().map(|thresholds| {
        let output = ops.step.outputs[ops.step.outputs.len() - 1];
        let n = bit_words(ops.plan.types.of(output), ops.plan.layouts[output.0]);
        let out = &mut bits_at.bits_mut()[first * n..(first + images) * n];
        clear_last(out);
        (thresholds, out)
    });
    run(ChainOut {
        ops: &chain.ops,
        operands: &operands,
        held,
        reals,
        bits,
    });
}

/// Clears the last word, whose upper half belongs to no pixel where an image has an odd number of halves.
pub(crate) fn clear_last(words: &mut [u64]) {
    if let Some(last) = words.last_mut() {
        *last = 0;
    }
}

/// Runs a chain on stored values.
pub(crate) fn run_chain(
    ops: &Operands<'_>,
    chain: &Chain,
    scratch: &mut Scratch,
    out: &mut [Values; 2],
    m: usize,
    held: Option<usize>,
) {
    let isa = ops.plan.options.isa;
    let (_, channels) = pixels(ops.ty(0));
    let joins = chain.bits.is_none() || m == 1 || {
        let output = ops.step.outputs[ops.step.outputs.len() - 1];
        let (px, n) = pixels(ops.plan.types.of(output));
        (px * n.div_ceil(32)).is_multiple_of(2)
    };
    let n = ops.ty(0).n_elements();
    let is_direct = matches!(ops.values(0), Values::Ints(_) | Values::Reals(_));
    let (rounds, images) = if joins && is_direct { (1, m) } else { (m, 1) };
    for round in 0..rounds {
        let at = round * n..(round + images) * n;
        if !is_direct {
            let input = input(ops, round, &mut scratch.bytes);
            form::ints(input, &mut scratch.ints[..n]);
        }
        with_chain(ops, chain, out, (round, images), held, |out| {
            match ops.values(0) {
                Values::Ints(x) => chain_ints(isa, &x[at], channels, out),
                Values::Reals(x) => chain_reals(isa, &x[at], channels, out),
                _ => chain_ints(isa, &scratch.ints[..n], channels, out),
            }
        });
    }
}

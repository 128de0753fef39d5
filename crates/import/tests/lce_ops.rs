//! What the conformance files of Larq Compute Engine do not hold: groups, old padding numbers, borders, refusals.

mod common;

use common::tflite::{
    BOOL, Draft, FLOAT32, Field, INT8, INT32, STRING, bconv_options, conv_options,
};
use onebit_import::{Imported, import_lce_bytes};
use onebit_model::program::{Kind, Op};
use onebit_model::{Tensor, interpret, verify};

fn import(bytes: &[u8]) -> Imported {
    import_lce_bytes(bytes).unwrap_or_else(|error| panic!("{error}"))
}

fn answer(bytes: &[u8], image: Vec<f32>) -> Vec<f32> {
    let program = import(bytes).program;
    let types = verify(&program).unwrap();
    match interpret(&program, &types, &Tensor::Real(image)) {
        Tensor::Real(answer) => answer,
        other => panic!("{other:?}"),
    }
}

/// Numbers that look random, the same in every run.
fn noise(n: usize, seed: u32) -> Vec<i32> {
    let next = |state: &mut u32| {
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Some((*state >> 1 ^ *state << 13).cast_signed())
    };
    std::iter::repeat_n((), n)
        .scan(seed, |state, ()| next(state))
        .collect()
}

/// A binary convolution of two groups of 32 channels over 3 x 3 pixels, computed from the packed words.
#[test]
fn groups_are_implicit_in_the_filter() {
    let mut d = Draft::default();
    let x = d.input(&[1, 3, 3, 64], FLOAT32);
    let bits = d.tensor("sign", &[1, 3, 3, 2], INT32);
    d.custom("LceQuantize", &[x], bits, &[]);
    let words = noise(4 * 2 * 2, 1);
    let filter = d.ints(&[4, 2, 2, 1], &words);
    let (scale, shift) = (d.floats(&[4], &[1.0; 4]), d.floats(&[4], &[0.0; 4]));
    let y = d.tensor("sums", &[1, 2, 2, 4], FLOAT32);
    d.custom(
        "LceBconv2d",
        &[bits, filter, scale, shift, -1],
        y,
        &bconv_options(64, 1, 0),
    );
    let bytes = d.finish(y);
    let image: Vec<f32> = noise(9 * 64, 2).iter().map(|&x| x as f32).collect();
    let mut expected = Vec::new();
    for (row, column, channel) in (0..16).map(|i| (i / 8, i / 4 % 2, i % 4)) {
        let mut sum = 0;
        for (tap, group_channel) in (0..4 * 32).map(|i| (i / 32, i % 32)) {
            let pixel = (row + tap / 2) * 3 + column + tap % 2;
            let x = image[pixel * 64 + channel / 2 * 32 + group_channel];
            let is_minus = words[channel * 4 + tap] >> group_channel & 1 == 1;
            sum += if (x < 0.0) == is_minus { 1 } else { -1 };
        }
        expected.push(sum as f32);
    }
    assert_eq!(answer(&bytes, image), expected);
}

/// A file of 2020 binarises reals in the convolution and numbers SAME 1 and VALID 2.
#[test]
fn the_padding_numbers_of_2020_are_told_by_the_shape() {
    for (padding, size) in [(0, 4), (1, 4), (1, 2), (2, 2)] {
        let mut d = Draft::default();
        let x = d.input(&[1, 4, 4, 3], FLOAT32);
        let filter = d.ints(&[1, 3, 3, 1], &[0; 9]);
        let (scale, shift) = (d.floats(&[1], &[1.0]), d.floats(&[1], &[0.0]));
        let y = d.tensor("sums", &[1, size, size, 1], FLOAT32);
        d.custom(
            "LceBconv2d",
            &[x, filter, scale, shift, -1],
            y,
            &bconv_options(3, padding, 0),
        );
        let found = answer(&d.finish(y), vec![1.0; 48]);
        assert_eq!(
            found,
            vec![27.0; (size * size) as usize],
            "padding {padding}, size {size}"
        );
    }
}

/// The activation comes before the multiplier; RELU_N1_TO_1 and RELU6 clamp the sums.
#[test]
fn an_activation_comes_before_the_multiplier() {
    for (activation, expected) in [
        (0, [-26.0, 28.0]),
        (1, [-26.0, 1.0]),
        (2, [0.0, 2.0]),
        (3, [-5.0, 1.0]),
    ] {
        let mut d = Draft::default();
        let x = d.input(&[1, 3, 3, 3], FLOAT32);
        // The first filter is all +1, the second all -1.
        let filter = d.ints(&[2, 3, 3, 1], &[[0; 9], [7; 9]].concat());
        let (scale, shift) = (d.floats(&[2], &[-1.0; 2]), d.floats(&[2], &[1.0; 2]));
        let y = d.tensor("sums", &[1, 1, 1, 2], FLOAT32);
        d.custom(
            "LceBconv2d",
            &[x, filter, scale, shift, -1],
            y,
            &bconv_options(3, 1, activation),
        );
        assert_eq!(
            answer(&d.finish(y), vec![0.5; 27]),
            expected,
            "activation {activation}"
        );
    }
}

/// -1 where more products are -1 than the threshold; the extremes are always -1 and always +1.
#[test]
fn thresholds_count_the_products_that_are_minus_one() {
    let thresholds = [i32::MIN, -1, 0, 12, 13, 14, 26, 27, i32::MAX];
    let n = thresholds.len() as i32;
    let mut d = Draft::default();
    let x = d.input(&[1, 3, 3, 3], FLOAT32);
    let filter = d.ints(&[n, 3, 3, 1], &vec![0; 9 * thresholds.len()]);
    let threshold = d.ints(&[n], &thresholds);
    let bits = d.tensor("bits", &[1, 1, 1, 1], INT32);
    d.custom(
        "LceBconv2d",
        &[x, filter, -1, -1, threshold],
        bits,
        &bconv_options(3, 1, 0),
    );
    let y = d.tensor("signs", &[1, 1, 1, n], FLOAT32);
    d.custom("LceDequantize", &[bits], y, &[]);
    let bytes = d.finish(y);
    for n_minus in [0, 1, 13, 14, 27] {
        let image = (0..27)
            .map(|i| if i < n_minus { -1.0 } else { 1.0 })
            .collect();
        let expected: Vec<f32> = thresholds
            .iter()
            .map(|&t| if n_minus > t { -1.0 } else { 1.0 })
            .collect();
        assert_eq!(answer(&bytes, image), expected, "{n_minus} are -1");
    }
}

/// PAD becomes a part of the convolution after it, of any kind of operand.
#[test]
fn a_border_of_zeros_is_folded_into_the_convolution() {
    let mut d = Draft::default();
    let x = d.input(&[1, 2, 2, 1], FLOAT32);
    let pads = d.ints(&[4, 2], &[0, 0, 1, 1, 1, 1, 0, 0]);
    let padded = d.tensor("padded", &[1, 4, 4, 1], FLOAT32);
    d.builtin(34, &[x, pads], padded, 22, &[]);
    let weights = d.floats(
        &[1, 3, 3, 1],
        &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0],
    );
    let y = d.tensor("conv", &[1, 2, 2, 1], FLOAT32);
    d.builtin(3, &[padded, weights, -1], y, 1, &conv_options(1));
    let bytes = d.finish(y);
    let program = import(&bytes).program;
    assert_eq!(program.nodes.len(), 1);
    assert!(matches!(&program.nodes[0].op, Op::Conv2d(conv) if conv.window.pads == [1; 4]));
    // Output (r, c) sees pixel (0, 0) at tap (1 - r, 1 - c) and pixel (1, 1) at tap (2 - r, 2 - c).
    assert_eq!(
        answer(&bytes, vec![1.0, 0.0, 0.0, 1.0]),
        [14.0, 12.0, 8.0, 6.0]
    );
}

#[test]
fn an_int8_model_takes_and_gives_integers() {
    let mut d = Draft::default();
    let x = d.input(&[1, 4], INT8);
    d.quantize(x, 0.5, 3);
    let y = d.tensor("flat", &[1, 2, 2], INT8);
    d.quantize(y, 0.5, 3);
    d.builtin(22, &[x], y, 17, &[]);
    let program = import(&d.finish(y)).program;
    assert_eq!(program.input.kind, Kind::Int);
    let types = verify(&program).unwrap();
    let image = Tensor::Int(vec![-128, -1, 0, 127]);
    assert_eq!(interpret(&program, &types, &image), image);
}

/// The message of a file that is refused.
fn refusal(bytes: &[u8]) -> String {
    match import_lce_bytes(bytes) {
        Ok(imported) => panic!("imported: {:?}", imported.program),
        Err(error) => error.to_string(),
    }
}

fn assert_refused(bytes: &[u8], words: &str) {
    let message = refusal(bytes);
    assert!(message.contains(words), "{message}\n{words}");
}

const SHAPE: [i32; 4] = [1, 4, 4, 3];

/// A file of one node on reals of [`SHAPE`].
fn one_node(build: impl FnOnce(&mut Draft, i32) -> i32) -> Vec<u8> {
    let mut d = Draft::default();
    let x = d.input(&SHAPE, FLOAT32);
    let y = build(&mut d, x);
    d.finish(y)
}

/// A file of one builtin op whose operands are all the input.
fn builtin(op: i32, n_inputs: usize, kind: u8, fields: &[(u16, Field)]) -> Vec<u8> {
    one_node(|d, x| {
        let y = d.tensor("net/y", &SHAPE, FLOAT32);
        d.builtin(op, &vec![x; n_inputs], y, kind, fields);
        y
    })
}

#[test]
fn an_op_without_exact_meaning_is_refused_with_node_op_and_reason() {
    let cannot = |op: &str, why: &str| format!("node 0 `net/y` ({op}) cannot be imported: {why}");
    for (bytes, op, why) in [
        (
            builtin(28, 1, 0, &[]),
            "TANH",
            "onebit has no translation of TANH; replace the op",
        ),
        (
            builtin(120, 1, 0, &[]),
            "builtin op 120",
            "onebit has no translation",
        ),
        (
            builtin(116, 1, 0, &[]),
            "ROUND",
            "its operand is not known to stay within 256",
        ),
        (
            builtin(0, 2, 11, &[(0, Field::Byte(4))]),
            "ADD",
            "its fused activation is TANH",
        ),
        (
            builtin(42, 2, 29, &[]),
            "DIV",
            "it divides by a tensor that is computed",
        ),
        (
            builtin(55, 2, 39, &[]),
            "MAXIMUM",
            "it compares two computed tensors",
        ),
        (builtin(54, 2, 0, &[]), "PRELU", "its slope is no constant"),
        (
            builtin(6, 1, 0, &[]),
            "DEQUANTIZE",
            "its operand is FLOAT32; INT8 is supported",
        ),
        (
            builtin(0, 2, 21, &[]),
            "ADD",
            "its options are table 21 of the schema, not 11",
        ),
        (
            builtin(3, 3, 1, &conv_options(2)),
            "CONV_2D",
            "its padding 2 is neither SAME",
        ),
    ] {
        assert_refused(&bytes, &cannot(op, why));
    }
}

#[test]
fn a_custom_op_of_others_is_refused_by_name() {
    let bytes = one_node(|d, x| {
        let y = d.tensor("net/y", &SHAPE, FLOAT32);
        d.custom("MyOp", &[x], y, &[]);
        y
    });
    let words = "node 0 `net/y` (custom op `MyOp`) cannot be imported: onebit has no translation";
    assert_refused(&bytes, words);
}

/// Larq Compute Engine does not run it either: its thresholds count ones in the padding.
#[test]
fn bit_packed_outputs_over_zero_padding_are_refused() {
    let bytes = one_node(|d, x| {
        let filter = d.ints(&[1, 3, 3, 1], &[0; 9]);
        let threshold = d.ints(&[1], &[13]);
        let y = d.tensor("net/y", &[1, 4, 4, 1], INT32);
        let mut options = bconv_options(3, 0, 0);
        options[4].1 = 0;
        d.custom("LceBconv2d", &[x, filter, -1, -1, threshold], y, &options);
        y
    });
    let words =
        "node 0 `net/y` (LceBconv2d) cannot be imported: it has a bit-packed output and zero";
    assert_refused(&bytes, words);
}

#[test]
fn inputs_that_are_no_single_image_are_refused() {
    let input = |shape: &[i32], ty: u8, signature: &[i32]| {
        let mut d = Draft::default();
        let x = d.input(shape, ty);
        d.signature(x, signature);
        d.finish(x)
    };
    for (bytes, why) in [
        (
            input(&[8, 4], FLOAT32, &[]),
            "`input` has the shape [8, 4]; onebit runs one image at a time",
        ),
        (
            input(&SHAPE, FLOAT32, &[-1, -1, -1, 3]),
            "`input` has the free sizes [-1, -1, -1, 3]",
        ),
        (
            input(&[1, 4], STRING, &[]),
            "it is STRING; FLOAT32, INT8 and UINT8 inputs are supported",
        ),
        (
            input(&[1, 1 << 30, 1 << 30], FLOAT32, &[]),
            "over the limits of Programs",
        ),
    ] {
        assert_refused(&bytes, "node input `input` (input) cannot be imported: ");
        assert_refused(&bytes, why);
    }
    let free_batch = input(&SHAPE, FLOAT32, &[-1, 4, 4, 3]);
    assert_eq!(import(&free_batch).program.input.shape, [4, 4, 3]);
}

#[test]
fn outputs_that_are_no_numbers_are_refused() {
    let packed = one_node(|d, x| {
        let y = d.tensor("net/y", &[1, 4, 4, 1], INT32);
        d.custom("LceQuantize", &[x], y, &[]);
        y
    });
    let bools = one_node(|d, x| {
        let zero = d.floats(&[], &[0.0]);
        let y = d.tensor("net/y", &SHAPE, BOOL);
        d.builtin(61, &[x, zero], y, 44, &[]);
        y
    });
    for bytes in [packed, bools] {
        let words =
            "node output `net/y` (output) cannot be imported: it is packed bits or BOOL; end the";
        assert_refused(&bytes, words);
    }
}

#[test]
fn a_result_of_another_shape_than_its_tensor_is_refused() {
    let bytes = one_node(|d, x| {
        let y = d.tensor("net/y", &[1, 4, 4, 4], FLOAT32);
        d.builtin(19, &[x], y, 0, &[]);
        y
    });
    let words =
        "node 0 `net/y` (RELU) cannot be imported: it computes the shape [4, 4, 3] per image";
    assert_refused(&bytes, words);
}

#[test]
fn a_file_that_is_none_says_what_it_lacks() {
    assert_eq!(
        refusal(b"not a model"),
        "model.tflite: byte 4: the file identifier is not TFL3: this is no TFLite model of schema version 3"
    );
    let sample = common::tflite::sample();
    assert_eq!(
        refusal(&sample[..sample.len() / 2])
            .split_once(": ")
            .unwrap()
            .0,
        "model.tflite"
    );
}

//! The text form round-trips, and every way to be wrong is an error with its line.

use onebit_model::outline::{Outline, OutlineOp};
use onebit_model::text::{parse, print};
use onebit_testkit::{random_conv_program, random_program};

#[test]
fn random_programs_round_trip() {
    let chains = (0..30).map(random_conv_program);
    for (seed, mut program) in (0..300).map(random_program).chain(chains).enumerate() {
        program.name = "quotes \" and \\ and\nlines\tand\rñ".into();
        let text = print(&program);
        let outline = parse(&text).unwrap_or_else(|error| panic!("{seed} {error}\n{text}"));
        assert_eq!(outline, Outline::of(&program));
        assert_eq!(outline.to_string(), text);
    }
}

#[test]
fn an_op_bears_the_name_that_its_line_begins_with() {
    for program in (0..300)
        .map(random_program)
        .chain((0..30).map(random_conv_program))
    {
        let text = print(&program);
        let lines: Vec<&str> = text
            .lines()
            .filter_map(|line| line.split(" = ").nth(1))
            .collect();
        assert_eq!(lines.len(), program.nodes.len(), "{text}");
        for (line, node) in lines.iter().zip(&program.nodes) {
            assert_eq!(line.split(' ').next(), Some(node.op.name()), "{text}");
        }
    }
}

const GOOD: &str = "\
onebit program 1
name \"mnist\"
note \"classes\" \"0 1\"
input levels(8)[28, 28, 1]
x = threshold @input int[1]
fc1 = dense x bits[64, 784] bias
h = threshold fc1 int[64] flip
q = quantize fc1 levels(2) int
p = planes q
c = concat h p
fc2 = dense c ternary[2, 192]
y = affine fc2 real[2]
best = argmax y
output y
";

#[test]
fn the_example_parses_and_prints_as_it_is() {
    assert_eq!(parse(GOOD).unwrap().to_string(), GOOD);
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
fn every_way_to_be_wrong_names_its_line() {
    let cases = [
        (
            "onebit program 1",
            "onebit program 2",
            "line 1: this is \"onebit program 2\"",
        ),
        (
            "onebit program 1",
            "onebit net 1",
            "line 1: this is \"onebit net 1\"",
        ),
        ("name \"mnist\"", "name mnist", "line 2: expected \""),
        (
            "name \"mnist\"",
            "name \"mnist",
            "line 2: a string is not closed",
        ),
        (
            "name \"mnist\"",
            "name \"mni\\st\"",
            "line 2: a string is not closed or has an escape",
        ),
        (
            "name \"mnist\"",
            "name \"mnist\" x",
            "line 2: expected the end of the line, found \"x\"",
        ),
        (
            "note \"classes\"",
            "nota \"classes\"",
            "line 3: expected note",
        ),
        (
            "levels(8)[28, 28, 1]",
            "levels(9)[28, 28, 1]",
            "line 4: levels(9) is not one of",
        ),
        (
            "levels(8)[28, 28, 1]",
            "levels(0)[28, 28, 1]",
            "line 4: levels(0) is not one of",
        ),
        (
            "levels(8)[28, 28, 1]",
            "lebels(8)[28, 28, 1]",
            "line 4: expected bits, levels(k)",
        ),
        ("[28, 28, 1]", "[28, x, 1]", "line 4: \"x\" is not a number"),
        (
            "[28, 28, 1]",
            "[28, 99999999999999999999]",
            "line 4: \"99999999999999999999\" is not",
        ),
        (
            "[28, 28, 1]",
            "[1, 2, 3, 4, 5]",
            "line 4: a shape of more than 4",
        ),
        ("[28, 28, 1]", "[]", "line 4: expected a number"),
        (
            "x = threshold @input int[1]",
            "x threshold",
            "line 5: expected =",
        ),
        (
            "threshold @input int[1]",
            "treshold @input int[1]",
            "line 5: there is no op",
        ),
        (
            "threshold @input int[1]",
            "threshold input int[1]",
            "line 5: no earlier line",
        ),
        (
            "threshold @input int[1]",
            "threshold @input bits[1]",
            "line 5: expected int or real",
        ),
        (
            "threshold @input int[1]",
            "threshold @input int[1, 1]",
            "line 5: expected a shape of one",
        ),
        (
            "bits[64, 784] bias",
            "bits[64] bias",
            "line 6: expected a shape of two",
        ),
        (
            "bits[64, 784] bias",
            "trits[64, 784] bias",
            "line 6: expected bits, ternary, planes(k), int8 or real",
        ),
        (
            "bits[64, 784] bias",
            "bits[64, 784] bias bias",
            "line 6: expected the end of the line",
        ),
        (
            "int[64] flip",
            "int[64] flop",
            "line 7: expected the end of the line",
        ),
        (
            "h = threshold",
            "x = threshold",
            "line 7: an earlier line defines \"x\"",
        ),
        (
            "h = threshold",
            "@input = threshold",
            "line 7: an earlier line defines \"@input\"",
        ),
        (
            "quantize fc1 levels(2) int",
            "quantize fc1 int",
            "line 8: expected levels",
        ),
        ("concat h p", "concat", "line 10: expected an operand"),
        (
            "concat h p",
            "concat h best",
            "line 10: no earlier line defines \"best\"",
        ),
        (
            "affine fc2 real[2]",
            "affine fc2 int[2]",
            "line 12: expected real",
        ),
        (
            "output y\n",
            "",
            "line 14: the text ends here; the output is missing",
        ),
        (
            "output y\n",
            "output z\n",
            "line 14: no earlier line defines \"z\"",
        ),
        (
            "output y\n",
            "output y\nmore",
            "line 15: expected the end of the text",
        ),
        (
            "output y\n",
            "output y\n\n",
            "line 15: expected the end of the text",
        ),
    ];
    for (good, bad, expected) in cases {
        assert!(GOOD.contains(good), "{good}");
        let error = parse(&GOOD.replacen(good, bad, 1))
            .expect_err(bad)
            .to_string();
        assert!(error.contains(expected), "{bad:?}: {error}");
    }
}

#[test]
fn every_beginning_is_an_error_and_none_panics() {
    for end in 0..GOOD.len() - 1 {
        assert!(parse(&GOOD[..end]).is_err(), "{:?}", &GOOD[..end]);
    }
}

const IMAGES: &str = "\
onebit program 1
name \"images\"
input levels(8)[32, 32, 3]
a = conv2d @input int8[64, 27] kernel[3, 3] stride[2, 2] pads[1, 1, 1, 1] pad -5 bias
b = conv2d a real[64, 9] kernel[3, 3] dilation[2, 1] pads[0, 1, 2, 3] groups 64
c = affine b real[64]
d = relu c
e = prelu d real[64]
f = rprelu e real[64]
g = clip f -1.5 1e-7
h = clip g -inf inf
i = clip h -0.0 3.4028235e38
j = add i i
k = mul j i
l = concat_channels k i
m = slice l start[0, 0, 0] size[2, 2, 128]
n = reshape m [512]
o = transpose m perm[2, 0, 1]
p = max_pool o kernel[3, 2] stride[2, 1]
q = avg_pool p kernel[2, 2] pads[1, 0, 0, 0]
r = avg_pool q kernel[2, 2] count_pads
s = global_avg_pool r
t = dense s ternary[10, 2]
u = softmax t
v = quantize u levels(2) real[10]
w = group_norm u real[64] groups 4 eps 1e-5
output u
";

#[test]
fn the_examples_of_the_format_are_as_a_writer_prints_them() {
    let format = include_str!("../../../FORMAT.md");
    let mut n_examples = 0;
    for example in format.split("```text\n").skip(1) {
        let example = example.split("```").next().unwrap();
        if example.starts_with("onebit program") {
            assert_eq!(parse(example).unwrap().to_string(), example);
            n_examples += 1;
        }
    }
    assert_eq!(n_examples, 2);
}

#[test]
fn the_ops_on_images_parse_and_print_as_they_are() {
    assert_eq!(parse(IMAGES).unwrap().to_string(), IMAGES);
    for end in 0..IMAGES.len() - 1 {
        assert!(parse(&IMAGES[..end]).is_err(), "{:?}", &IMAGES[..end]);
    }
}

#[test]
fn attributes_of_default_value_may_be_written_and_are_not_printed() {
    let written = IMAGES
        .replace(
            "kernel[2, 2] count_pads",
            "kernel[2, 2] stride[1, 1] dilation[1, 1] pads[0, 0, 0, 0] count_pads",
        )
        .replace("groups 64", "pad 0 groups 64")
        .replace("pad -5 bias", "pad -5 groups 1 bias")
        .replace("clip g -inf inf", "clip g -infinity 1e99");
    assert_ne!(written, IMAGES);
    assert_eq!(parse(&written).unwrap().to_string(), IMAGES);
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
fn every_way_for_the_ops_on_images_to_be_wrong_names_its_line() {
    let cases = [
        (
            "int8[64, 27]",
            "int9[64, 27]",
            "line 4: expected bits, ternary, planes(k), int8 or real",
        ),
        (
            "int8[64, 27] kernel",
            "int8[64] kernel",
            "line 4: expected a shape of two axes",
        ),
        (
            "kernel[3, 3] stride",
            "kernel[3] stride",
            "line 4: expected a list of two numbers",
        ),
        (
            "kernel[3, 3] stride",
            "kornel[3, 3] stride",
            "line 4: expected kernel",
        ),
        (
            "stride[2, 2] pads",
            "stride[2, 2, 2] pads",
            "line 4: expected a list of two numbers",
        ),
        (
            "pads[1, 1, 1, 1]",
            "pads[1, 1]",
            "line 4: expected a list of four numbers",
        ),
        (
            "stride[2, 2]",
            "stride[2, -2]",
            "line 4: \"-2\" is not a number",
        ),
        ("pad -5", "pad 5.0", "line 4: \"5.0\" is not a number"),
        (
            "pad -5 bias",
            "bias pad -5",
            "line 4: expected the end of the line",
        ),
        ("dilation[2, 1]", "dilation", "line 5: expected ["),
        ("groups 64", "groups -1", "line 5: \"-1\" is not a number"),
        (
            "affine b real[64]",
            "affine b [64]",
            "line 6: expected real",
        ),
        ("relu c", "relu c d", "line 7: expected the end of the line"),
        ("-1.5 1e-7", "-1.5 nan", "line 10: \"nan\" is not a number"),
        (
            "prelu d real[64]",
            "prelu d real[8, 8]",
            "line 8: expected a shape of one axis",
        ),
        ("rprelu e real[64]", "rprelu e", "line 9: expected real"),
        ("groups 4 eps 1e-5", "groups 4", "line 26: expected eps"),
        ("groups 4 eps", "eps", "line 26: expected groups"),
        ("eps 1e-5", "eps NaN", "line 26: \"NaN\" is not a number"),
        ("-1.5 1e-7", "-1.5", "line 10: expected a number"),
        ("-1.5 1e-7", "-1.5 one", "line 10: \"one\" is not a number"),
        ("add i i", "add i", "line 13: expected an operand"),
        (
            "mul j i",
            "mul j z",
            "line 14: no earlier line defines \"z\"",
        ),
        (
            "concat_channels k i",
            "concat_channels",
            "line 15: expected an operand",
        ),
        ("start[0, 0, 0] size", "size", "line 16: expected start"),
        (
            "start[0, 0, 0] size[2, 2, 128]",
            "start[0, 0, 0]",
            "line 16: expected size",
        ),
        ("m [512]", "m 512", "line 17: expected ["),
        ("perm[2, 0, 1]", "[2, 0, 1]", "line 18: expected perm"),
        ("o kernel[3, 2]", "o", "line 19: expected kernel"),
        (
            "kernel[2, 2] count_pads",
            "kernel[2, 2] count",
            "line 21: expected the end of the line",
        ),
        (
            "global_avg_pool r",
            "global_max_pool r",
            "line 22: there is no op",
        ),
        (
            "real[10]\n",
            "real[10, 3]\n",
            "line 25: expected a shape of one axis",
        ),
    ];
    for (good, bad, expected) in cases {
        assert!(IMAGES.contains(good), "{good}");
        let error = parse(&IMAGES.replacen(good, bad, 1))
            .expect_err(bad)
            .to_string();
        assert!(error.contains(expected), "{bad:?}: {error}");
    }
}

#[test]
fn bounds_of_clips_keep_every_bit() {
    for bits in (0..=u32::MAX).step_by(65_521) {
        let bound = f32::from_bits(bits);
        if bound.is_nan() {
            continue;
        }
        let text = IMAGES.replace("-1.5 1e-7", &format!("{bound:?} {bound:?}"));
        let outline = parse(&text).unwrap();
        let OutlineOp::Clip { min, max } = outline.nodes[6].op else {
            panic!("not a clip")
        };
        assert_eq!((min.to_bits(), max.to_bits()), (bits, bits));
        assert_eq!(outline.to_string(), text);
    }
}

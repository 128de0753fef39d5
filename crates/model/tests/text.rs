//! The text form round-trips, and every way to be wrong is an error with its line.

use onebit_model::outline::Outline;
use onebit_model::text::{parse, print};
use onebit_testkit::random_program;

#[test]
fn random_programs_round_trip() {
    for seed in 0..300 {
        let mut program = random_program(seed);
        program.name = "quotes \" and \\ and\nlines\tand\rñ".into();
        let text = print(&program);
        let outline = parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(outline, Outline::of(&program));
        assert_eq!(outline.to_string(), text);
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
#[allow(clippy::too_many_lines, reason = "one table of cases")]
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
            "line 6: expected bits or ternary",
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

//! The help of every verb, word for word.

use std::path::Path;

use crate::common::{expect, fails, ok, run_in};

const VERBS: [&str; 12] = [
    "demo", "data", "train", "eval", "compile", "import", "inspect", "doctor", "run", "verify",
    "emit", "bench",
];

#[test]
fn every_verb_explains_itself() {
    let here = Path::new(".");
    let mut text = ok(here, &["--help"]);
    for verb in VERBS {
        text.push_str(&format!(
            "\n# onebit {verb} --help\n{}",
            ok(here, &[verb, "--help"])
        ));
    }
    for verb in ["get", "list", "show"] {
        text.push_str(&format!(
            "\n# onebit data {verb} --help\n{}",
            ok(here, &["data", verb, "--help"])
        ));
    }
    for target in ["c", "wasm", "verilog"] {
        text.push_str(&format!(
            "\n# onebit emit {target} --help\n{}",
            ok(here, &["emit", target, "--help"])
        ));
    }
    expect("help.txt", &text);
}

#[test]
fn misuse_exits_with_two() {
    let here = Path::new(".");
    for args in [
        &["frobnicate"][..],
        &["eval"],
        &["eval", "m", "--data"],
        &["run", "m", "--colour"],
        &["compile", "m"],
    ] {
        fails(here, 2, args);
    }
    assert_eq!(run_in(here, &[]).code, 2);
}

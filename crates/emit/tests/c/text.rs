//! What the files look like: the same every time, without reals where the Program has none, and refusals.

use onebit_emit::c::{C, COptions};
use onebit_emit::loops::WordBits;
use onebit_emit::{EmitError, Emitted, emit};
use onebit_model::program::{Program, ValueId};
use onebit_testkit::{random_conv_program, random_program};

use crate::zoo::zoo;

fn emitted(program: &Program, word: WordBits) -> Emitted {
    let options = COptions {
        name: String::new(),
        word,
    };
    emit(&C { options }, program).expect("the Program can be emitted")
}

fn text(emitted: &Emitted, extension: &str) -> String {
    let file = emitted
        .files
        .iter()
        .find(|file| file.name.ends_with(extension))
        .expect("both files are there");
    String::from_utf8(file.bytes.clone()).expect("C is ASCII")
}

#[test]
fn the_same_program_gives_the_same_files() {
    for seed in 0..20 {
        for make in [random_program, random_conv_program] {
            let (first, second) = (make(seed), make(seed));
            for word in [WordBits::W32, WordBits::W64] {
                assert_eq!(emitted(&first, word), emitted(&second, word));
            }
        }
    }
}

#[test]
fn programs_of_integers_have_no_reals() {
    let program = zoo("mnist-sfc");
    let source = text(&emitted(&program, WordBits::W32), ".c");
    assert!(!source.contains("float"));
    assert!(!source.contains("double"));
    let includes: Vec<&str> = source
        .lines()
        .filter(|line| line.starts_with("#include"))
        .collect();
    // The last three are the compiler's own, where it has these instructions.
    let expected = [
        "\"mnist_sfc.h\"",
        "<arm_neon.h>",
        "<immintrin.h>",
        "<arm_acle.h>",
    ];
    assert_eq!(includes, expected.map(|file| format!("#include {file}")));
}

#[test]
fn names_become_identifiers() {
    for (name, file) in [
        ("a b-c", "a_b_c"),
        ("8x8", "net_8x8"),
        ("ob", "net_ob"),
        ("Ünï", "net__n_"),
    ] {
        let options = COptions {
            name: name.into(),
            word: WordBits::W32,
        };
        assert_eq!(C { options }.file_name(&zoo("mnist-sfc")), file);
    }
}

#[test]
fn text_of_the_program_cannot_end_a_comment() {
    let mut program = random_program(3);
    program.name = "*/ #error \"out\" ??/ \u{e9}".into();
    for file in emitted(&program, WordBits::W32).files {
        let text = String::from_utf8(file.bytes).expect("C is ASCII");
        assert!(text.is_ascii());
        let title = text.lines().next().expect("a first line");
        assert!(title.matches("*/").count() <= 1, "{title}");
        assert!(!title.contains("??"), "{title}");
    }
}

#[test]
fn malformed_programs_are_refused() {
    let mut program = random_program(3);
    program.output = ValueId(program.nodes.len() + 1);
    let refused = emit(&C::default(), &program);
    let Err(EmitError::Malformed(errors)) = refused else {
        panic!("{refused:?}")
    };
    assert!(errors.to_string().contains("output"), "{errors}");
}

#[test]
fn sums_that_only_a_threshold_reads_take_no_memory() {
    let found = emitted(&zoo("mnist-sfc"), WordBits::W32);
    let figure = |what: &str| {
        let mut report = found.report.iter();
        let (_, figure) = report
            .find(|(name, _)| name == what)
            .expect("it is reported");
        figure.clone()
    };
    // 25 words of pixels and 8 words of each hidden layer, of which two are alive at once.
    assert_eq!(figure("arena (RAM)"), "136 bytes");
    // 256 rows of 25 words, 512 of 8, 10 of 8, and at most 2 bytes for each to compare with.
    let n_words = 256 * 25 + 512 * 8 + 10 * 8;
    let constants: usize = figure("constants (flash)")
        .trim_end_matches(" bytes")
        .parse()
        .expect("a number of bytes");
    assert!(
        constants > 4 * n_words && constants <= 4 * n_words + 2 * 778,
        "{constants}"
    );
}

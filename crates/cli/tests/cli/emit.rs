//! `onebit emit`: files, report, errors. What the files compute is tested in `onebit-emit`.

use std::fs;

use serde_json::Value;

use crate::common::{Models, fails, ok};

#[test]
fn c_files_are_written_and_reported() {
    let models = Models::new();
    let text = ok(
        models.path(),
        &["emit", "c", "small.bnn", "-o", "deep/firmware"],
    );
    let folder = models.path().join("deep/firmware");
    let header = fs::read_to_string(folder.join("small.h")).unwrap();
    assert!(header.contains("#define SMALL_ARENA_BYTES"), "{header}");
    assert!(
        fs::read_to_string(folder.join("small.c"))
            .unwrap()
            .contains("small.h")
    );
    for line in ["file", "constants (flash)", "arena (RAM)"] {
        assert!(text.contains(line), "{text}");
    }
    // Of the Net the same Program is made.
    ok(models.path(), &["emit", "c", "small.net", "-o", "again"]);
    for file in ["small.h", "small.c"] {
        let of = |dir: &str| fs::read(models.path().join(dir).join(file)).unwrap();
        assert_eq!(of("again"), of("deep/firmware"), "{file}");
    }
}

#[test]
fn wasm_modules_come_with_their_loader() {
    let models = Models::new();
    let files = |args: &[&str]| {
        let mut all = vec!["emit", "wasm", "small.bnn", "-o", "out", "--json"];
        all.extend(args);
        let found: Value = serde_json::from_str(&ok(models.path(), &all)).unwrap();
        let files = found["files"].as_array().unwrap().clone();
        let name = |file: &Value| file["path"].as_str().unwrap().to_owned();
        files.iter().map(name).collect::<Vec<_>>()
    };
    assert_eq!(
        files(&[]),
        ["out/small.wasm", "out/small.scalar.wasm", "out/small.mjs"]
    );
    let whole = fs::read(models.path().join("out/small.wasm")).unwrap();
    assert_eq!(whole[..4], *b"\0asm");
    let simd = files(&["--modules", "simd", "--keep-values"]);
    assert!(simd.contains(&"out/small.wasm".to_owned()), "{simd:?}");
    assert!(
        !simd.contains(&"out/small.scalar.wasm".to_owned()),
        "{simd:?}"
    );
    assert_ne!(
        fs::read(models.path().join("out/small.wasm")).unwrap(),
        whole
    );
}

#[test]
fn the_name_and_the_word_are_a_persons_choice() {
    let models = Models::new();
    let args = [
        "emit",
        "c",
        "small.bnn",
        "-o",
        "out",
        "--name",
        "Digit reader",
        "--word",
        "64",
        "--json",
    ];
    let found: Value = serde_json::from_str(&ok(models.path(), &args)).unwrap();
    assert_eq!(found["target"], "c");
    let files = found["files"].as_array().unwrap();
    assert_eq!(files.len(), 2);
    for file in files {
        let path = models.path().join(file["path"].as_str().unwrap());
        assert_eq!(file["bytes"], fs::metadata(path).unwrap().len());
    }
    let header = fs::read_to_string(models.path().join("out/digit_reader.h")).unwrap();
    assert!(
        header.contains("#define DIGIT_READER_WORD_BITS 64"),
        "{header}"
    );
}

#[test]
fn verilog_comes_in_two_styles_with_its_testbench() {
    let models = Models::new();
    let emit = |folder: &str, args: &[&str]| -> Value {
        let mut all = vec![
            "emit",
            "verilog",
            "small.bnn",
            "-o",
            folder,
            "--name",
            "digit",
            "--json",
        ];
        all.extend(args);
        serde_json::from_str(&ok(models.path(), &all)).unwrap()
    };
    for (folder, args) in [
        ("folded", &["--cycles", "64", "--images", "3"][..]),
        ("unrolled", &["--style", "unrolled", "--images", "3"]),
    ] {
        let found = emit(folder, args);
        assert_eq!(found["target"], "verilog");
        for file in [
            "digit.v",
            "digit_tb.v",
            "digit_inputs.hex",
            "digit_expected.hex",
        ] {
            let path = format!("{folder}/{file}");
            let files = found["files"].as_array().unwrap();
            assert!(
                files.iter().any(|file| file["path"] == path),
                "{path}: {found}"
            );
        }
        let report = found["report"].as_array().unwrap();
        let is_interval = |row: &&Value| row["name"] == "cycles between images (II)";
        assert_eq!(report.iter().filter(is_interval).count(), 1, "{found}");
        let top = fs::read_to_string(models.path().join(folder).join("digit.v")).unwrap();
        assert!(top.contains("module digit"), "{top}");
    }
    // The testbench's images are the data set's where one is named.
    let vectors =
        |folder: &str| fs::read(models.path().join(folder).join("digit_inputs.hex")).unwrap();
    emit(
        "digits",
        &["--data", "digits", "--images", "3", "--cycles", "64"],
    );
    assert_ne!(vectors("digits"), vectors("folded"));
    for wrong in [
        &["--style", "unrolled", "--cycles", "9"][..],
        &["--levels", "2"],
        &["--images", "0"],
        &["--cycles", "0"],
    ] {
        let mut all = vec!["emit", "verilog", "small.bnn", "-o", "wrong"];
        all.extend(wrong);
        fails(models.path(), 2, &all);
    }
    assert!(!models.path().join("wrong").exists());
    let into_a_file = ["emit", "verilog", "small.bnn", "-o", "small.bnn"];
    let message = fails(models.path(), 1, &into_a_file);
    assert!(
        message.contains("small.bnn: ") && message.contains("choose another name"),
        "{message}"
    );
}

#[test]
fn hardware_is_estimated_before_any_tool_runs() {
    let models = Models::new();
    let inspect = |args: &[&str]| -> Value {
        let mut all = vec!["inspect", "small.bnn", "--target", "fpga", "--json"];
        all.extend(args);
        serde_json::from_str(&ok(models.path(), &all)).unwrap()
    };
    let unrolled = inspect(&["--style", "unrolled"]);
    assert_eq!(unrolled["interval"], 1);
    let [fast, slow] = ["8", "100000"].map(|cycles| inspect(&["--cycles", cycles]));
    assert!(slow["interval"].as_u64().unwrap() <= 100_000);
    assert!(
        fast["interval"].as_u64() < slow["interval"].as_u64(),
        "{fast} {slow}"
    );
    assert!(
        fast["luts"].as_u64() > slow["luts"].as_u64(),
        "{fast} {slow}"
    );
    let text = ok(models.path(), &["inspect", "small.bnn", "--target", "fpga"]);
    for word in ["PE", "SIMD", "LUT6", "an image every"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(!text.contains("-0"), "{text}");
    fails(models.path(), 2, &["inspect", "small.bnn", "--cycles", "9"]);
}

#[test]
fn what_cannot_be_emitted_is_one_error() {
    let models = Models::new();
    fails(models.path(), 2, &["emit", "c", "small.bnn"]);
    fails(
        models.path(),
        2,
        &["emit", "cobol", "small.bnn", "-o", "out"],
    );
    fails(
        models.path(),
        2,
        &["emit", "c", "small.bnn", "-o", "out", "--word", "16"],
    );
    fails(
        models.path(),
        2,
        &["emit", "c", "small.bnn", "-o", "out", "--name", ""],
    );
    let text = fails(models.path(), 1, &["emit", "c", "none.bnn", "-o", "out"]);
    assert!(text.contains("none.bnn"), "{text}");
    // A file stands where the folder should.
    let text = fails(
        models.path(),
        1,
        &["emit", "c", "small.bnn", "-o", "small.net"],
    );
    assert!(text.contains("small.net"), "{text}");
    assert!(!models.path().join("out").exists());
}

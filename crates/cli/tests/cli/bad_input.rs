//! What is wrong with files, arrays and the command line gives one clear error each.

use std::fs::File;
use std::path::Path;

use onebit_data::{ArrayData, npy_bytes};

use crate::common::{Models, expect, fails, onebit, ran};

/// Collects errors under the command that gave them, with the version of this machine taken out.
struct Errors {
    text: String,
}

impl Errors {
    fn add(&mut self, folder: &Path, code: i32, args: &[&str]) {
        let error = fails(folder, code, args);
        self.text
            .push_str(&format!("$ onebit {}\n{error}\n", args.join(" ")));
    }
}

#[test]
fn broken_models_are_named_with_the_place() {
    let models = Models::new();
    let folder = models.path();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.join(name), bytes).unwrap();
    let good = std::fs::read(folder.join("small.bnn")).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() - 20] ^= 4;
    write("cut.bnn", &good[..good.len() / 2]);
    write("flipped.bnn", &flipped);
    write("short.bnn", &good[..5]);
    write("huge.bnn", &[0xFF; 64]);
    write("words.bnn", b"this is no model of any kind, only words");
    write("empty.bnn", b"");
    let mut errors = Errors {
        text: String::new(),
    };
    for name in [
        "missing.bnn",
        ".",
        "cut.bnn",
        "flipped.bnn",
        "short.bnn",
        "huge.bnn",
        "words.bnn",
        "empty.bnn",
    ] {
        errors.add(folder, 1, &["inspect", name]);
    }
    errors.add(
        folder,
        1,
        &[
            "verify",
            "small.bnn",
            "--data",
            "digits",
            "--net",
            "small.bnn",
        ],
    );
    errors.add(folder, 2, &["compile", "small.bnn", "-o", "x.bnn"]);
    expect("errors_models.txt", &errors.text);
}

#[test]
fn inputs_that_do_not_fit_are_named_with_the_element() {
    let models = Models::new();
    let folder = models.path();
    let write = |name: &str, shape: &[usize], data: ArrayData| {
        std::fs::write(folder.join(name), npy_bytes(shape, &data)).unwrap();
    };
    write("width.npy", &[2, 63], ArrayData::U8(vec![0; 126]));
    write("order.npy", &[1, 1, 8, 8], ArrayData::U8(vec![0; 64]));
    write("scaled.npy", &[1, 64], ArrayData::F32(vec![0.5; 64]));
    let mut nan = vec![0.0; 128];
    nan[100] = f32::NAN;
    write("nan.npy", &[2, 64], ArrayData::F32(nan));
    write("negative.npy", &[1, 64], ArrayData::I8(vec![-1; 64]));
    write("large.npy", &[1, 64], ArrayData::I32(vec![256; 64]));
    let good = npy_bytes(&[1, 64], &ArrayData::U8(vec![0; 64]));
    std::fs::write(folder.join("cut.npy"), &good[..good.len() - 1]).unwrap();
    std::fs::write(folder.join("words.npy"), b"no array at all").unwrap();
    // The header claims 2^60 elements in the same number of bytes.
    let text = String::from_utf8(good[10..128].to_vec())
        .unwrap()
        .replace("(1, 64), }", "(1152921504606846976,), }");
    let claims = [&good[..10], &text.as_bytes()[..118], &good[128..]].concat();
    std::fs::write(folder.join("claims.npy"), &claims).unwrap();
    let mut errors = Errors {
        text: String::new(),
    };
    for name in [
        "width", "order", "scaled", "nan", "negative", "large", "cut", "words", "claims", "missing",
    ] {
        errors.add(
            folder,
            1,
            &["run", "small.bnn", "--input", &format!("{name}.npy")],
        );
    }
    expect("errors_inputs.txt", &errors.text);
}

#[test]
fn unknown_names_say_what_there_is() {
    let models = Models::new();
    let folder = models.path();
    let error = fails(folder, 1, &["eval", "small.bnn", "--data", "mnits"]);
    assert!(
        error.contains("mnits") && error.contains("digits"),
        "{error}"
    );
    let error = fails(
        folder,
        2,
        &["eval", "small.bnn", "--data", "digits", "--engine", "sse9"],
    );
    assert!(
        error.contains("sse9") && error.contains("interpreter"),
        "{error}"
    );
    let error = fails(
        folder,
        2,
        &[
            "verify",
            "small.bnn",
            "--data",
            "digits",
            "--engines",
            "scalar,tpu",
        ],
    );
    assert!(error.contains("tpu"), "{error}");
    let error = fails(folder, 2, &["bench", "small.bnn", "--isa", "net"]);
    assert!(error.contains("instruction set"), "{error}");
    let error = fails(folder, 1, &["data", "get", "imagenet"]);
    assert!(
        error.contains("imagenet") && error.contains("mnist"),
        "{error}"
    );
    for (option, value) in [("--threads", "0"), ("--batch", "0"), ("--seconds", "nan")] {
        fails(folder, 2, &["bench", "small.bnn", option, value]);
    }
}

#[test]
fn an_instruction_set_this_cpu_lacks_is_refused() {
    let models = Models::new();
    let foreign = if cfg!(target_arch = "aarch64") {
        "avx2"
    } else {
        "neon"
    };
    for (isa, words) in [(foreign, foreign), ("sse9", "ONEBIT_ISA")] {
        for verb in [
            &["eval", "small.bnn", "--data", "digits"][..],
            &["bench", "small.bnn", "--json"],
        ] {
            let ran = ran(onebit()
                .current_dir(models.path())
                .env("ONEBIT_ISA", isa)
                .args(verb));
            assert_eq!(ran.code, 2, "{}", ran.stderr);
            assert!(
                ran.stderr.contains(words) && ran.stderr.contains("instruction set"),
                "{}",
                ran.stderr
            );
        }
    }
    let error = fails(
        models.path(),
        2,
        &["eval", "small.bnn", "--data", "digits", "--engine", foreign],
    );
    assert!(
        error.contains(foreign) && error.contains("instruction set"),
        "{error}"
    );
}

#[test]
fn a_data_set_of_another_shape_is_refused() {
    let models = Models::new();
    let folder = models.path();
    std::fs::write(
        folder.join("points.csv"),
        "x,y,label\n0.5,1.5,a\n0.1,0.2,b\n0.3,0.1,a\n0.7,0.9,b\n",
    )
    .unwrap();
    for verb in ["eval", "verify"] {
        let error = fails(folder, 1, &[verb, "small.bnn", "--data", "points.csv"]);
        assert!(
            error.contains("`points`") && (error.contains("[2]") || error.contains("2 classes")),
            "{error}"
        );
    }
}

#[test]
fn places_that_cannot_be_written_are_errors() {
    let models = Models::new();
    let folder = models.path();
    for target in ["no/such/folder/x.bnn", "small.net/x.bnn"] {
        let error = fails(folder, 1, &["compile", "small.net", "-o", target]);
        assert!(
            error.contains(target) && error.contains("check the path"),
            "{error}"
        );
    }
    std::fs::write(
        folder.join("x.npy"),
        npy_bytes(&[1, 64], &ArrayData::U8(vec![0; 64])),
    )
    .unwrap();
    if Path::new("/dev/full").exists() {
        let error = fails(
            folder,
            1,
            &[
                "run",
                "small.bnn",
                "--input",
                "x.npy",
                "--output",
                "/dev/full",
            ],
        );
        assert!(
            error.contains("/dev/full") && error.contains("space"),
            "{error}"
        );
        let full = File::options().write(true).open("/dev/full").unwrap();
        let status = onebit()
            .current_dir(folder)
            .args(["inspect", "small.bnn"])
            .stdout(full)
            .stderr(std::process::Stdio::null())
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(1));
        let is_device = !std::fs::metadata("/dev/full").unwrap().is_file();
        assert!(is_device, "the device was replaced by a file");
    }
}

#[test]
fn a_mirror_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = onebit();
    command
        .env("ONEBIT_MIRROR", "http://127.0.0.1:1")
        .args(["data", "get", "mnist", "--dest"])
        .arg(folder.path());
    let ran = ran(&mut command);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(
        ran.stderr
            .contains("127.0.0.1:1/mnist/train-images-idx3-ubyte.gz"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_closed_pipe_is_no_error() {
    let models = Models::new();
    for args in [
        &["inspect", "small.bnn"][..],
        &["--help"],
        &["data", "show", "digits"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = onebit()
            .current_dir(models.path())
            .args(args)
            .stdout(writer)
            .output()
            .unwrap();
        assert_eq!(
            output.status.code(),
            Some(0),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(
            output.stderr.is_empty(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

//! `onebit import`: the file is written, checked and summed up, or refused with a reason.

use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use onebit_data::{ArrayData, npy_bytes};

use crate::common::{fails, ok, onebit, ran, run_in};

const TOML: &str = "weights = \"net.safetensors\"\nclasses = [\"no\", \"yes\"]\n\n\
                    [input]\nkind = \"levels\"\nbits = 8\nshape = [2]\n\n\
                    [[layer]]\nname = \"fc\"\nop = \"dense\"\nweights = \"bits\"\n";

/// A safetensors file of one tensor of two rows and two columns.
fn safetensors(values: [f32; 4]) -> Vec<u8> {
    let header = r#"{"fc.weight":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

fn npz(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let options = zip::write::SimpleFileOptions::default();
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in members {
        writer.start_file(format!("{name}.npy"), options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// A folder with `net.toml`, whose rows are `[1, -1]` and `[-1, -1]` times `scale`, and two recorded answers.
fn folder(scale: f32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    write("net.toml", TOML.as_bytes());
    write(
        "net.safetensors",
        &safetensors([scale, -scale, -scale, -scale]),
    );
    let x = npy_bytes(&[2, 2], &ArrayData::U8(vec![7, 2, 0, 255]));
    let y = [5.0, -9.0, -255.0, -255.0].map(|y: f32| y * scale);
    let right = npy_bytes(&[2, 2], &ArrayData::F32(y.to_vec()));
    let near = npy_bytes(
        &[2, 2],
        &ArrayData::F32(vec![y[0], y[1], y[2] * 1.001, y[3]]),
    );
    write("right.npz", &npz(&[("x0", x.clone()), ("y0", right)]));
    write("near.npz", &npz(&[("pixels", x), ("answers", near)]));
    folder
}

/// The import of `net.toml` that is checked with the answers of `near.npz`.
fn near(tolerance: &str) -> [&str; 13] {
    [
        "import",
        "net.toml",
        "-o",
        "net.bnn",
        "--json",
        "--check",
        "near.npz",
        "--check-input",
        "pixels",
        "--check-output",
        "answers",
        "--tolerance",
        tolerance,
    ]
}

#[test]
fn an_imported_network_runs() {
    let folder = folder(1.0);
    let here = folder.path();
    let said = ok(
        here,
        &[
            "import",
            "net.toml",
            "-o",
            "net.bnn",
            "--check",
            "right.npz",
        ],
    );
    let bytes = fs::metadata(here.join("net.bnn")).unwrap().len();
    let wanted = format!(
        "net.bnn: net of safetensors, {bytes} bytes\n\
         types    levels(8)[2] -> int[2]\n\
         ops      1: 1 dense\n\
         weights  4; 32 bit-MACs and 0 others an image\n\
         check    all 4 answers of 2 images are equal\n"
    );
    assert_eq!(said, wanted);
    let inspected = ok(here, &["inspect", "net.bnn"]);
    assert!(inspected.contains("classes: no, yes"), "{inspected}");
    let x = npy_bytes(&[1, 2], &ArrayData::U8(vec![7, 2]));
    fs::write(here.join("x.npy"), x).unwrap();
    let answered = ok(here, &["run", "net.bnn", "--input", "x.npy"]);
    assert!(answered.contains("no         5    -9"), "{answered}");
}

#[test]
fn integers_that_differ_are_refused_and_nothing_is_written() {
    let folder = folder(1.0);
    let said = fails(folder.path(), 1, &near("1"));
    for word in [
        "near.npz: member answers",
        "1 of 4",
        "image 1, element 0 is -255",
        "nothing was written",
    ] {
        assert!(said.contains(word), "{said}");
    }
    assert!(!folder.path().join("net.bnn").exists());
}

#[test]
fn reals_have_a_tolerance() {
    let folder = folder(0.5);
    let said = ok(folder.path(), &near("0.01"));
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(json["source"], "safetensors");
    assert_eq!(json["output"], "real[2]");
    assert_eq!(json["ops"], serde_json::json!({"affine": 1, "dense": 1}));
    assert_eq!(json["check"]["agree"], true);
    assert_eq!(json["check"]["answers"], 4);
    let worst = json["check"]["worst"].as_f64().unwrap();
    assert!((worst - 0.001).abs() < 1e-5, "{worst}");
    let said = fails(folder.path(), 1, &near("1e-4"));
    assert!(said.contains("1e-4 of each image's greatest"), "{said}");
}

#[test]
fn what_cannot_be_imported_is_said() {
    let folder = folder(1.0);
    let here = folder.path();
    fs::write(here.join("picture.png"), b"\x89PNG").unwrap();
    let cases: [(i32, &[&str], &str); 8] = [
        (1, &["picture.png"], "--from lce|onnx|finn|safetensors"),
        (1, &["missing.toml"], "missing.toml"),
        (1, &["net.toml", "--from", "finn"], "net.toml"),
        (2, &["net.toml", "--from", "keras"], "keras"),
        (2, &["net.toml", "--tolerance", "nan"], "--tolerance"),
        (2, &["net.toml", "--check-input", "x"], "--check"),
        (
            1,
            &["net.toml", "--check", "right.npz", "--check-output", "z"],
            "no member `z`",
        ),
        (
            1,
            &["net.toml", "--check", "right.npz", "--check-input", "y0"],
            "member y0",
        ),
    ];
    for (code, arguments, word) in cases {
        let args = [&["import", "-o", "net.bnn"], arguments].concat();
        let said = fails(here, code, &args);
        assert!(said.contains(word), "{said}");
        assert!(!here.join("net.bnn").exists());
    }
}

#[test]
fn warnings_go_to_stderr() {
    let folder = folder(1.0);
    let toml = TOML.replace("name = \"fc\"", "name = \"fc\"\nweight = \"fc.weight\"");
    let toml = format!("{toml}\n[[layer]]\nop = \"relu\"\n").replace("fc.weight", "other");
    fs::write(folder.path().join("net.toml"), toml).unwrap();
    let two = r#"{"fc.weight":{"dtype":"I8","shape":[1],"data_offsets":[0,1]},"other":{"dtype":"I8","shape":[1,2],"data_offsets":[1,3]}}"#;
    let mut bytes = (two.len() as u64).to_le_bytes().to_vec();
    bytes.extend(two.as_bytes());
    bytes.extend([1, 1, 255]);
    fs::write(folder.path().join("net.safetensors"), bytes).unwrap();
    let ran = run_in(folder.path(), &["import", "net.toml", "-o", "net.bnn"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.starts_with("warning: "), "{}", ran.stderr);
    assert!(ran.stderr.contains("fc.weight"), "{}", ran.stderr);
}

/// A folder of other people's networks; `None`, with the way to get it, where there is none.
fn shared_models(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("ONEBIT_SHARED")
        .map(|shared| Path::new(&shared).join("models").join(name));
    let path = path.filter(|path| path.is_dir());
    if path.is_none() {
        println!("skipped: set ONEBIT_SHARED to the folder with models/{name}");
    }
    path
}

#[test]
fn a_finn_network_agrees_with_its_hardware() {
    let Some(finn) = shared_models("finn") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("cnv.bnn");
    let ran = ran(onebit()
        .arg("import")
        .arg(finn.join("cifar10_cnvW1A1.tar.gz"))
        .arg("-o")
        .arg(&out)
        .arg("--check")
        .arg(finn.join("cifar10_cnvW1A1_fpga_scores.npz"))
        .args([
            "--check-input",
            "images_hwc_u8",
            "--check-output",
            "fpga_scores",
        ]));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(
        ran.stdout.contains("all 30 answers of 3 images are equal"),
        "{}",
        ran.stdout
    );
    let inspected = ok(folder.path(), &["inspect", "cnv.bnn"]);
    assert!(inspected.contains("max_pool"), "{inspected}");
}

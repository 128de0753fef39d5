//! Larq Compute Engine files: each conformance file imports to a Program with the peer's answers.

mod common;

use std::path::{Path, PathBuf};

use common::{Npz, absolute_error, flatten, relative_error, run, shared};
use onebit_import::{Imported, Options, Source, import};
use onebit_model::Tensor;
use onebit_model::program::Op;
use onebit_model::weights::Weights;

fn import_file(path: &Path) -> Imported {
    let imported = import(path, &Options::default());
    imported.unwrap_or_else(|error| panic!("{error}"))
}

/// Every conformance file that is imported.
fn files() -> Vec<PathBuf> {
    let Some(shared) = shared() else {
        return Vec::new();
    };
    let entries = std::fs::read_dir(shared.join("fixtures/lce")).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "tflite")
    });
    files.sort();
    files
}

fn name(path: &Path) -> &str {
    path.file_stem().unwrap().to_str().unwrap()
}

/// Larq Compute Engine's kernels are wrong where a kernel is larger than a zero-padded image; Keras is right.
fn truth(name: &str) -> &'static str {
    match name.contains("_same_zero_") && name.contains("_on_") {
        true => "y0_keras",
        false => "y0",
    }
}

#[test]
fn every_file_gives_the_answers_of_its_engine() {
    for path in files() {
        let name = name(&path);
        let imported = import_file(&path);
        assert_eq!(imported.source, Source::Lce);
        let mut npz = Npz::open(&path.with_extension("npz"));
        let found = run(&imported.program, &npz.get("x0"));
        let is_8_bit = matches!(found[0], Tensor::Int(_) | Tensor::Levels(_));
        let found = flatten(&found);
        let truth = npz.get(truth(name)).to_f64();
        if is_8_bit {
            assert!(absolute_error(&found, &truth) <= 1.0, "{name}");
        } else if truth.iter().all(|x| x.abs() == 1.0) {
            assert_eq!(found, truth, "{name}: signs");
        } else {
            let error = relative_error(&found, &truth);
            assert!(error <= 1e-4, "{name}: {error:e}");
        }
    }
}

/// What TFLite rounds in fixed point and a Program in reals is said.
#[test]
fn eight_bit_arithmetic_that_may_differ_is_warned_of() {
    for path in files() {
        let warnings = import_file(&path).warnings;
        let expected: &[&str] = match name(&path) {
            "int8_qat" => &[
                "8-bit ADD nodes are computed in reals and rounded once: a code can differ by 1 from TFLite's \
                 fixed-point kernels",
            ],
            _ => &[],
        };
        assert_eq!(warnings, expected, "{}", name(&path));
    }
}

/// Binary layers that have no op of their own come as reals `+-s`; they are bits again.
#[test]
fn layers_that_fell_back_to_reals_are_binary_again() {
    let Some(shared) = shared() else { return };
    let folder = shared.join("fixtures/lce");
    for (name, expected) in [
        ("dense_binary", "bits"),
        ("depthwise_binary", "bits"),
        ("unsup_dorefa2", "bits"),
        ("unsup_ternary", "ternary"),
        ("act_only_binary", "real"),
    ] {
        let program = import_file(&folder.join(name).with_extension("tflite")).program;
        let weights = program.nodes.iter().find_map(|node| match &node.op {
            Op::Dense { weights, .. } => Some(weights),
            Op::Conv2d(conv) => Some(&conv.weights),
            _ => None,
        });
        let found = match weights.unwrap() {
            Weights::Bits(_) => "bits",
            Weights::Ternary { .. } => "ternary",
            Weights::Int8(_) => "int8",
            Weights::Planes(_) => "planes",
            Weights::Real(_) => "real",
        };
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn nodes_are_named_after_tensors() {
    let Some(shared) = shared() else { return };
    let program = import_file(&shared.join("fixtures/lce/react_block.tflite")).program;
    let names: Vec<&str> = program
        .nodes
        .iter()
        .map(|node| node.name.as_str())
        .collect();
    assert_eq!(
        names[..4],
        [
            "shift.add.affine",
            "ste_sign_1.Sign_1.sign",
            "batch_normalization.FusedBatchNormV3.conv",
            "batch_normalization.FusedBatchNormV3.affine"
        ]
    );
}

/// Little-endian binary32 numbers.
fn read_reals(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap();
    let (chunks, _) = bytes.as_chunks::<4>();
    chunks
        .iter()
        .map(|&chunk| f32::from_le_bytes(chunk))
        .collect()
}

#[test]
fn quicknet_of_both_schema_ages_sees_the_elephant() {
    let Some(shared) = shared() else { return };
    let folder = shared.join("models/quicknet");
    let image = read_reals(&folder.join("quicknet_elephant_input_1x224x224x3_f32.bin"));
    let truth = read_reals(&folder.join("quicknet_elephant_probs_1000_f32.bin"));
    let truth: Vec<f64> = truth.into_iter().map(f64::from).collect();
    for file in ["quicknet.tflite", "quicknet_modern_schema.tflite"] {
        let program = import_file(&folder.join(file)).program;
        let types = onebit_model::verify(&program).unwrap();
        let answer = onebit_model::interpret(&program, &types, &Tensor::Real(image.clone()));
        let found = flatten(&[answer]);
        assert!(absolute_error(&found, &truth) <= 1e-4, "{file}");
        assert!(relative_error(&found, &truth) <= 1e-4, "{file}");
    }
}

//! ONNX models of other people's exporters, imported and compared with what their runtime answered.

mod common;

use std::path::{Path, PathBuf};

use common::{Npz, flatten, relative_error, run, shared};
use onebit_data::Features;
use onebit_import::{Imported, Options, ZeroSign, import};
use onebit_model::program::{Kind, Op};
use onebit_model::weights::Weights;
use onebit_model::{Tensor, interpret, verify};

/// How far a real may be from the recorded answer, relative to its size.
const TOLERANCE: f64 = 1e-4;

fn fixtures() -> Vec<PathBuf> {
    let Some(shared) = shared() else {
        return Vec::new();
    };
    let folder = std::fs::read_dir(shared.join("fixtures/onnx")).unwrap();
    let files = folder.map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files
        .filter(|path| path.extension().is_some_and(|e| e == "onnx"))
        .collect();
    files.sort();
    files
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap().to_string_lossy().into_owned()
}

/// `a.clean.onnx` is `a.onnx` after a cleaning pass, with the same recorded answers.
fn npz(path: &Path) -> PathBuf {
    let name = stem(path);
    path.with_file_name(format!("{}.npz", name.trim_end_matches(".clean")))
}

fn imported(path: &Path) -> Imported {
    import(path, &Options::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// How many layers have weights of one bit, and how many have others.
fn layers(found: &Imported) -> (usize, usize) {
    let weights = found
        .program
        .nodes
        .iter()
        .filter_map(|node| match &node.op {
            Op::Dense { weights, .. } => Some(weights),
            Op::Conv2d(conv) => Some(&conv.weights),
            _ => None,
        });
    let (bits, others): (Vec<&Weights>, Vec<&Weights>) =
        weights.partition(|w| matches!(w, Weights::Bits(_)));
    (bits.len(), others.len())
}

#[test]
fn every_fixture_answers_as_recorded() {
    for path in fixtures() {
        let found = imported(&path);
        let mut arrays = Npz::open(&npz(&path));
        let (x, y) = (arrays.get("x0"), arrays.get("y0").to_f64());
        let answers = flatten(&run(&found.program, &x));
        let error = relative_error(&answers, &y);
        let (bits, others) = layers(&found);
        println!(
            "{}: worst relative error {error:.1e}, {bits} layers of bits, {others} others, {} nodes, {} warnings",
            stem(&path),
            found.program.nodes.len(),
            found.warnings.len()
        );
        assert!(
            error <= TOLERANCE,
            "{}: relative error {error:.2e}",
            path.display()
        );
    }
}

#[test]
fn binary_layers_become_bits() {
    for path in fixtures() {
        let name = stem(&path);
        let (bits, others) = layers(&imported(&path));
        // The ReAct nets have a stem, a shortcut and a classifier in floats.
        let expected = if name.starts_with("react") { 3 } else { 0 };
        assert_eq!(others, expected, "{name}");
        assert!(bits >= 2, "{name}");
    }
}

#[test]
fn plus_zero_sign_never_needs_codes() {
    for path in fixtures() {
        let options = Options {
            zero_sign: ZeroSign::Plus,
            ..Options::default()
        };
        let found = import(&path, &options).unwrap();
        let codes = found
            .program
            .nodes
            .iter()
            .filter(|node| matches!(node.op, Op::Quantize { .. }));
        assert_eq!(codes.count(), 0, "{}", path.display());
        // Only where a sign may see a zero can the answers differ, and then it says so.
        let mut arrays = Npz::open(&npz(&path));
        let (x, y) = (arrays.get("x0"), arrays.get("y0").to_f64());
        let error = relative_error(&flatten(&run(&found.program, &x)), &y);
        assert!(
            error <= TOLERANCE || !found.warnings.is_empty(),
            "{}: relative error {error:.2e}",
            path.display()
        );
    }
}

#[test]
fn tfc_of_the_model_zoo_is_as_good_as_recorded() {
    let Some(shared) = shared() else {
        return;
    };
    let Ok(mnist) = onebit_data::open("mnist") else {
        println!(
            "skipped: run `onebit data get mnist`, or set ONEBIT_DATA to the folder that holds mnist/"
        );
        return;
    };
    let found = imported(&shared.join("models/qonnx/TFC_1W1A.onnx"));
    assert_eq!(layers(&found), (4, 0));
    assert_eq!(found.program.input.kind, Kind::Real);
    let types = verify(&found.program).unwrap();
    let Features::U8(pixels) = &mnist.test.features else {
        panic!("MNIST has bytes");
    };
    let n_right = pixels
        .chunks_exact(784)
        .zip(&mnist.test.labels)
        .filter(|(image, label)| {
            // Its input is a picture of 0 and 1 that its first quantiser reads as -1 and +1.
            let image = image
                .iter()
                .map(|&pixel| if pixel >= 128 { 1.0 } else { -1.0 })
                .collect();
            let scores = match interpret(&found.program, &types, &Tensor::Real(image)) {
                Tensor::Real(scores) => scores,
                other => panic!("{other:?}"),
            };
            let best = (1..scores.len())
                .fold(0, |best, i| if scores[i] > scores[best] { i } else { best });
            best == usize::from(**label)
        });
    assert_eq!(n_right.count(), 9296);
}

//! Trained networks on whole test sets.

use std::path::Path;

use onebit_data::Features;
use onebit_emit::loops::WordBits;
use onebit_model::program::Program;
use onebit_model::{Tensor, bnn};

use crate::host::{Case, check};
use crate::tools::{has_tool, skip};

/// A Program of the zoo.
pub fn zoo(name: &str) -> Program {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../zoo");
    let bytes = std::fs::read(folder.join(format!("{name}.bnn"))).expect("the zoo has it");
    bnn::read(&bytes).expect("the zoo's files are sound")
}

/// The first images of MNIST's test split; `None`, said, where the set is not here.
pub fn mnist(n: usize) -> Option<Vec<Tensor>> {
    let Ok(set) = onebit_data::open("mnist") else {
        skip("run `onebit data get mnist`, or set ONEBIT_DATA to the folder that holds mnist/");
        return None;
    };
    let Features::U8(pixels) = &set.test.features else {
        panic!("MNIST has grey pixels")
    };
    let width = pixels.len() / set.test.len();
    let images = pixels.chunks(width).take(n);
    Some(images.map(|x| Tensor::Levels(x.to_vec())).collect())
}

/// The case of a Program of the zoo on the first images.
pub fn zoo_case(name: &str, n: usize) -> Option<Case> {
    Some(Case::new(name.into(), zoo(name), mnist(n)?))
}

#[test]
fn sfc_scores_every_test_image_as_the_interpreter() {
    if !has_tool("gcc", "gcc") {
        return;
    }
    if let Some(case) = zoo_case("mnist-sfc", 10_000) {
        assert_eq!(case.inputs.len(), 10_000);
        check(&[case], WordBits::W32, "gcc", &["-O2"]);
    }
}

#[test]
fn other_networks_of_the_zoo_agree_on_some_images() {
    if !has_tool("gcc", "gcc") {
        return;
    }
    let names = [
        "mnist-lfc",
        "mnist-ks-01",
        "mnist-ks-2bit",
        "mnist-ks-bipolar",
    ];
    let cases: Option<Vec<Case>> = names.iter().map(|name| zoo_case(name, 4)).collect();
    if let Some(cases) = cases {
        check(&cases, WordBits::W64, "gcc", &["-O2"]);
    }
}

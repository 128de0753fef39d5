//! Trained networks on whole test sets.

use std::path::Path;

use onebit_data::Features;
use onebit_emit::lower::Values;
use onebit_model::program::Program;
use onebit_model::{Tensor, bnn, interpret, verify};
use onebit_run::{InputBatch, OutputBatch, Plan, PlanOptions};

use crate::host::{Case, check};
use crate::tools::{has_tool, skip};

/// A Program of the zoo.
pub fn zoo(name: &str) -> Program {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../zoo");
    let bytes = std::fs::read(folder.join(format!("{name}.bnn"))).expect("the zoo has it");
    bnn::read(&bytes).expect("the zoo's files are sound")
}

/// The pixels of MNIST's test split; `None`, said, where the set is not here.
fn mnist() -> Option<Vec<u8>> {
    let Ok(set) = onebit_data::open("mnist") else {
        skip("run `onebit data get mnist`, or set ONEBIT_DATA to the folder that holds mnist/");
        return None;
    };
    let Features::U8(pixels) = &set.test.features else {
        panic!("MNIST has grey pixels")
    };
    Some(pixels.clone())
}

/// A Program of the zoo on all images, with the engine's scores, of which the first are the interpreter's too.
fn zoo_case(name: &str, pixels: &[u8]) -> Case {
    let program = zoo(name);
    let n = program.input.n_elements();
    let plan = Plan::new(&program, &PlanOptions::default()).expect("the engine takes it");
    let mut scores = vec![0; pixels.len() / n * 10];
    let mut session = plan.session().expect("the engine has the memory");
    session
        .run(InputBatch::Levels(pixels), OutputBatch::Int(&mut scores))
        .expect("the images fit the network");
    let inputs: Vec<Tensor> = pixels
        .chunks(n)
        .map(|image| Tensor::Levels(image.to_vec()))
        .collect();
    let answers: Vec<Tensor> = scores
        .chunks(10)
        .map(|scores| Tensor::Int(scores.to_vec()))
        .collect();
    let types = verify(&program).expect("the Program is well formed");
    for (input, answer) in inputs.iter().zip(&answers).take(20) {
        assert_eq!(&interpret(&program, &types, input), answer);
    }
    Case {
        name: name.into(),
        program,
        inputs,
        answers,
    }
}

#[test]
fn networks_score_every_test_image_as_the_interpreter() {
    if !has_tool("node", "nodejs") {
        return;
    }
    if let Some(pixels) = mnist() {
        let cases = ["mnist-sfc", "mnist-lfc"].map(|name| zoo_case(name, &pixels));
        assert!(cases.iter().all(|case| case.inputs.len() == 10_000));
        check(&cases, Values::Reused);
    }
}

#[test]
fn other_networks_of_the_zoo_agree_on_some_images() {
    if !has_tool("node", "nodejs") {
        return;
    }
    if let Some(pixels) = mnist() {
        let names = ["mnist-ks-01", "mnist-ks-2bit", "mnist-ks-bipolar"];
        let cases = names.map(|name| zoo_case(name, &pixels[..100 * 784]));
        check(&cases, Values::Reused);
    }
}

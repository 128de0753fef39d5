//! Emits Programs, runs them in one Node.js process, in both variants, and compares every answer.

use std::path::Path;
use std::process::Command;

use onebit_emit::emit;
use onebit_emit::lower::Values;
use onebit_emit::wasm::{Lanes, Wasm, WasmOptions};
use onebit_model::program::{Kind, Program, Type, ValueId};
use onebit_model::{Tensor, interpret, interpret_all, text, verify};

use crate::tools::run;

/// Runs what [`check`] emitted.
pub const RUNNER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wasm/run.mjs");

/// A Program with images and the interpreter's answers.
pub struct Case {
    /// For messages.
    pub name: String,
    pub program: Program,
    pub inputs: Vec<Tensor>,
    pub answers: Vec<Tensor>,
}

impl Case {
    pub fn new(name: String, program: Program, inputs: Vec<Tensor>) -> Self {
        let types = verify(&program).expect("the Program is well formed");
        let answers = inputs
            .iter()
            .map(|x| interpret(&program, &types, x))
            .collect();
        Case {
            name,
            program,
            inputs,
            answers,
        }
    }
}

/// The elements of a value as the loader takes them; of bits with ones past the end, which a network ignores.
pub fn to_bytes(x: &Tensor) -> Vec<u8> {
    match x {
        Tensor::Levels(x) => x.clone(),
        Tensor::Int(x) => x.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Tensor::Real(x) => x.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Tensor::Bits(x) => {
            let mut bits = x.clone();
            bits.resize(x.len().next_multiple_of(8), true);
            let byte = |bits: &[bool]| (0..8).fold(0, |byte, i| byte | u8::from(bits[i]) << i);
            bits.chunks(8).map(byte).collect()
        }
    }
}

/// The value that the loader gave; bits past the end are 0.
fn from_bytes(ty: &Type, bytes: &[u8]) -> Tensor {
    let fours = || {
        bytes
            .chunks(4)
            .map(|four| [four[0], four[1], four[2], four[3]])
    };
    match ty.kind {
        Kind::Levels(_) => Tensor::Levels(bytes.to_vec()),
        Kind::Int => Tensor::Int(fours().map(i32::from_le_bytes).collect()),
        Kind::Real => Tensor::Real(fours().map(f32::from_le_bytes).collect()),
        Kind::Bits => {
            let bit = |i: usize| (bytes[i / 8] >> (i % 8)) & 1 == 1;
            let mut spare = ty.n_elements()..bytes.len() * 8;
            assert!(!spare.any(bit), "a bit past the end is set");
            Tensor::Bits((0..ty.n_elements()).map(bit).collect())
        }
    }
}

fn n_bytes(ty: &Type) -> usize {
    match ty.kind {
        Kind::Bits => ty.n_elements().div_ceil(8),
        Kind::Levels(_) => ty.n_elements(),
        Kind::Int | Kind::Real => 4 * ty.n_elements(),
    }
}

/// Emits a Program under a name into a folder, both variants.
pub fn emit_into(folder: &Path, name: &str, program: &Program, values: Values) {
    let options = WasmOptions {
        name: name.into(),
        lanes: Lanes::Both,
        values,
    };
    let emitted = emit(&Wasm { options }, program)
        .expect("every small Program can be emitted as WebAssembly");
    for file in &emitted.files {
        std::fs::write(folder.join(&file.name), &file.bytes).expect("the folder is writable");
    }
}

/// Emits, runs and compares: answers, and every value where they are kept.
pub fn check(cases: &[Case], values: Values) {
    let folder = tempfile::tempdir().expect("a folder for a moment");
    let folder = folder.path();
    let mut list = Vec::new();
    for (idx, case) in cases.iter().enumerate() {
        let name = format!("p{idx}");
        emit_into(folder, &name, &case.program, values);
        let n = case.inputs.len();
        list.push(format!("{{\"name\":\"{name}\",\"images\":{n}}}"));
    }
    let images = cases.iter().flat_map(|case| &case.inputs);
    let inputs: Vec<u8> = images.flat_map(to_bytes).collect();
    std::fs::write(folder.join("inputs.bin"), inputs).expect("the folder is writable");
    let list = format!("[{}]", list.join(","));
    std::fs::write(folder.join("cases.json"), list).expect("the folder is writable");
    run(Command::new("node").arg(RUNNER).arg(folder));
    let outputs = std::fs::read(folder.join("outputs.bin")).expect("the runner wrote it");
    let kept = std::fs::read_to_string(folder.join("kept.json")).expect("the runner wrote it");
    let kept: Vec<Vec<String>> = serde_json::from_str(&kept).expect("a list of lists of names");
    let mut rest = outputs.as_slice();
    for (case, kept) in cases.iter().zip(&kept) {
        compare(case, kept, values, &mut rest);
    }
    assert!(rest.is_empty(), "more was written than all answers");
}

fn compare(case: &Case, kept: &[String], values: Values, rest: &mut &[u8]) {
    let types = verify(&case.program).expect("the Program is well formed");
    let id_of = |name: &String| match name.as_str() {
        "@input" => 0,
        name => {
            let mut nodes = case.program.nodes.iter();
            1 + nodes
                .position(|node| node.name == name)
                .expect("a kept value is a layer's")
        }
    };
    let ids: Vec<usize> = kept.iter().map(id_of).collect();
    match values {
        Values::Kept => assert!(ids.contains(&case.program.output.0), "{}", case.name),
        Values::Reused => assert!(ids.is_empty(), "{}", case.name),
    }
    let mut take = |id: usize, want: &Tensor, what: &str| {
        let ty = types.of(ValueId(id));
        let (bytes, after) = rest.split_at(n_bytes(ty));
        *rest = after;
        assert_eq!(
            from_bytes(ty, bytes).first_difference(want),
            None,
            "{}, {what}, value {id}:\n{}",
            case.name,
            text::print(&case.program)
        );
    };
    for variant in ["vectors", "words"] {
        for (image, (x, answer)) in case.inputs.iter().zip(&case.answers).enumerate() {
            let what = format!("{variant}, image {image}");
            take(case.program.output.0, answer, &what);
            if !ids.is_empty() {
                let all = interpret_all(&case.program, &types, x);
                for &id in &ids {
                    take(id, &all[id], &what);
                }
            }
        }
    }
}

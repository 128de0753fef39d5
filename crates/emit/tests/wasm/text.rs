//! What the files look like: the same every time, within their sizes, and refusals by emitter and loader.

use std::process::Command;

use onebit_emit::lower::Values;
use onebit_emit::wasm::{Lanes, Wasm, WasmOptions};
use onebit_emit::{EmitError, Emitted, emit};
use onebit_model::program::{Program, ValueId};
use onebit_testkit::{random_conv_program, random_program};

use crate::host::emit_into;
use crate::tools::{has_tool, run};
use crate::zoo::zoo;

fn emitted(program: &Program, lanes: Lanes) -> Emitted {
    let options = WasmOptions {
        lanes,
        ..WasmOptions::default()
    };
    emit(&Wasm { options }, program).expect("the Program can be emitted")
}

#[test]
fn the_same_program_gives_the_same_files() {
    for seed in 0..20 {
        for make in [random_program, random_conv_program] {
            let (first, second) = (make(seed), make(seed));
            let both = [&first, &second].map(|program| emitted(program, Lanes::Both));
            assert_eq!(both[0], both[1]);
        }
    }
}

#[test]
fn lfc_fits_into_400_kilobytes() {
    let emitted = emitted(&zoo("mnist-lfc"), Lanes::Both);
    let names: Vec<&str> = emitted
        .files
        .iter()
        .map(|file| file.name.as_str())
        .collect();
    let expected = ["mnist_lfc.wasm", "mnist_lfc.scalar.wasm", "mnist_lfc.mjs"];
    assert_eq!(names, expected);
    for file in &emitted.files {
        assert!(file.bytes.len() <= 400_000, "{}", file.name);
    }
}

#[test]
fn one_variant_is_the_file_that_its_loader_loads() {
    let program = random_program(3);
    let both = emitted(&program, Lanes::Both).files;
    for (lanes, variant) in [(Lanes::Simd, 0), (Lanes::Scalar, 1)] {
        let files = emitted(&program, lanes).files;
        assert_eq!(files.len(), 2);
        assert_eq!(files[0].name, both[0].name);
        assert_eq!(files[0].bytes, both[variant].bytes);
        let loader = std::str::from_utf8(&files[1].bytes).expect("the loader is ASCII");
        assert!(loader.contains(&format!("\"./{0}\" : \"./{0}\"", files[0].name)));
        assert!(!loader.contains("_FILE"), "a name was not filled in");
    }
}

#[test]
fn malformed_programs_are_refused() {
    let mut program = random_program(3);
    program.output = ValueId(program.nodes.len() + 1);
    let refused = emit(&Wasm::default(), &program);
    let Err(EmitError::Malformed(errors)) = refused else {
        panic!("{refused:?}")
    };
    assert!(errors.to_string().contains("output"), "{errors}");
}

/// Tries what a page may get wrong; prints one message a line.
const MISTAKES: &str = r#"
const { load, hasSimd } = await import(process.argv[1]);
const net = await load();
const say = (name) => (error) => console.log(name, error.name, error.message);
const attempt = async (name, action) => { try { await action(); console.log(name, "passed"); } catch (e) { say(name)(e); } };
console.log(JSON.stringify([net.name, net.input, net.output, net.values, hasSimd()]));
await attempt("short", () => net.run(new Uint8Array(783)));
await attempt("kind", () => net.run(new Float32Array(784)));
await attempt("array", () => net.run(Array(784).fill(0)));
await attempt("output", () => net.run(new Uint8Array(784), new Int32Array(9)));
await attempt("clamped", () => net.run(new Uint8ClampedArray(784)));
await attempt("value", () => net.value("hidden1"));
await attempt("empty", () => load(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0])));
await attempt("missing", () => load("./elsewhere.wasm"));
"#;

#[test]
fn the_loader_refuses_what_does_not_fit() {
    if !has_tool("node", "nodejs") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder for a moment");
    let mut program = zoo("mnist-sfc");
    program.name = "a \"name\" \\ \u{e9}\n".into();
    emit_into(folder.path(), "sfc", &program, Values::Reused);
    let said = run(Command::new("node")
        .args(["--input-type=module", "-e", MISTAKES])
        .arg(folder.path().join("sfc.mjs")));
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        lines[0],
        "[\"a \\\"name\\\" \\\\ \u{e9}\\n\",\
         {\"name\":\"@input\",\"kind\":\"levels(8)\",\"shape\":[28,28,1],\"length\":784},\
         {\"name\":\"scores\",\"kind\":\"int\",\"shape\":[10],\"length\":10},[],true]"
    );
    assert_eq!(
        &lines[1..8],
        [
            "short RangeError the input has 783 elements and must have 784",
            "kind TypeError the input must be a Uint8Array",
            "array TypeError the input must be a Uint8Array",
            "output RangeError the output has 9 elements and must have 10",
            "clamped passed",
            "value RangeError no value `hidden1` is kept; kept are: none",
            "empty Error this WebAssembly module has no section `onebit`; load one that onebit wrote",
        ]
    );
    assert!(lines[8].starts_with("missing Error ENOENT"), "{}", lines[8]);
}

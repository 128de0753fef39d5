//! What ONNX files are refused, and that damaged ones neither panic nor take memory.

mod onnx_build;

use onebit_import::{ImportError, import_onnx_bytes};
use onnx_build::{Attr, Model};

fn refusal(model: Model) -> String {
    import_onnx_bytes(&model.bytes("y"))
        .unwrap_err()
        .to_string()
}

fn image() -> Model {
    Model::new(&[0, 2, 4, 4])
        .floats("half", &[], &[0.5])
        .floats("zero", &[], &[0.0])
        .floats("w", &[3, 2, 3, 3], &[0.5; 54])
        .floats("rows", &[4], &[0.1, 0.2, 0.3, 0.4])
        .ints("pads", &[0, 0, 1, 1, 0, 0, 1, 1])
        .ints("channels", &[0, 1, 0, 0, 0, 1, 0, 0])
}

#[test]
#[expect(clippy::too_many_lines, reason = "one flat table")]
fn what_has_no_exact_form_is_refused_by_name() {
    let row = || {
        Model::new(&[0, 6])
            .floats("zero", &[], &[0.0])
            .floats("w", &[6, 2], &[0.5; 12])
    };
    let table: [(&str, Model, &str); 17] = [
        (
            "LogSoftmax",
            row().node("LogSoftmax", &["x"], "y"),
            "no logarithm",
        ),
        (
            "Sigmoid",
            row().node("Sigmoid", &["x"], "y"),
            "no such curve",
        ),
        ("Round", row().node("Round", &["x"], "y"), "without bounds"),
        (
            "Equal",
            row().node("Equal", &["x", "zero"], "y"),
            "not monotone",
        ),
        (
            "Greater",
            row()
                .node("Neg", &["x"], "n")
                .node("Greater", &["x", "n"], "y"),
            "two activations",
        ),
        (
            "Div",
            row().node("Div", &["zero", "x"], "y"),
            "divides by an activation",
        ),
        (
            "Div",
            row().node("Div", &["x", "zero"], "y"),
            "divides by zero",
        ),
        (
            "MatMul",
            row().node("MatMul", &["w", "x"], "y"),
            "constant where",
        ),
        (
            "Dropout",
            row().node("Tile", &["x", "zero"], "y"),
            "no exact form",
        ),
        (
            "Conv",
            image()
                .node("Pad", &["x", "pads", "half"], "p")
                .node("Conv", &["p", "w"], "y"),
            "whole numbers",
        ),
        (
            "Pad",
            image().node("Pad", &["x", "channels", "half"], "y"),
            "height and width",
        ),
        (
            "Pad",
            image().node_with("Pad", &["x", "pads"], "y", &[Attr::Text("mode", "reflect")]),
            "reflect",
        ),
        (
            "Conv",
            image().node("Conv", &["x", "x"], "y"),
            "depends on the network's input",
        ),
        (
            "Transpose",
            image().node_with(
                "Transpose",
                &["x"],
                "y",
                &[Attr::Ints("perm", &[1, 0, 2, 3])],
            ),
            "batch",
        ),
        (
            "ReduceMean",
            image().node_with("ReduceMean", &["x"], "y", &[Attr::Ints("axes", &[1])]),
            "height and width",
        ),
        (
            "Softmax",
            image().node_with("Softmax", &["x"], "y", &[Attr::Int("axis", 2)]),
            "second axis",
        ),
        (
            "BatchNormalization",
            image().node_with(
                "BatchNormalization",
                &["x", "zero", "zero", "zero", "zero"],
                "y",
                &[Attr::Int("training_mode", 1)],
            ),
            "eval()",
        ),
    ];
    for (op, model, reason) in table {
        let error = import_onnx_bytes(&model.bytes("y")).unwrap_err();
        let text = error.to_string();
        let ImportError::Unsupported { node, .. } = &error else {
            panic!("{op}: {text}");
        };
        assert_eq!(node, "node of y", "{op}");
        assert!(text.contains(reason), "{op}: {text}");
    }
}

#[test]
fn the_graph_as_a_whole_must_fit() {
    let table: [(Model, &str); 7] = [
        (
            Model::new(&[0, 3, 0, 0]).node("Relu", &["x"], "y"),
            "no fixed size",
        ),
        (Model::new(&[5]).node("Relu", &["x"], "y"), "batch axis"),
        (
            Model::new(&[0, 5])
                .input("z", &[0, 5])
                .node("Add", &["x", "z"], "y"),
            "2 inputs",
        ),
        (
            Model::of_type(11, &[0, 5]).node("Relu", &["x"], "y"),
            "data type 11",
        ),
        (
            Model::new(&[0, 1 << 40, 1 << 40]).node("Relu", &["x"], "y"),
            "limits",
        ),
        (
            Model::new(&[0, 5]).node_of("com.example", "Odd", &["x"], "y", &[]),
            "com.example",
        ),
        (
            Model::new(&[0, 5]).node("Relu", &["z"], "y"),
            "not computed before",
        ),
    ];
    for (model, reason) in table {
        let error = refusal(model);
        assert!(error.contains(reason), "{reason}: {error}");
    }
}

#[test]
fn constants_stay_in_proportion_to_the_file() {
    // A shape of 2^27 elements is one number in memory, but not once it is added to something else.
    let model = Model::new(&[0, 4])
        .ints("shape", &[1 << 13, 1 << 14])
        .ints("wide", &[1 << 13, 1])
        .floats("row", &[2], &[1.0, 2.0])
        .ints("index", &[0; 64])
        .node("ConstantOfShape", &["shape"], "zeros")
        .node("Gather", &["row", "index"], "row64")
        .node("ConstantOfShape", &["wide"], "column")
        .node("Add", &["zeros", "column"], "more")
        .node("ReduceMean", &["more"], "mean")
        .node("Add", &["x", "mean"], "y");
    let error = refusal(model);
    assert!(error.contains("limit"), "{error}");
}

/// A model that passes through most of the importer.
fn small() -> Vec<u8> {
    let domain = "qonnx.custom_op.general";
    Model::new(&[0, 2, 4, 4])
        .floats("zero", &[], &[0.0])
        .floats("one", &[], &[1.0])
        .floats("scale", &[2], &[0.5, 0.25])
        .floats("width", &[], &[2.0])
        .floats("w", &[2, 2, 3, 3], &[0.5; 36])
        .floats("fc", &[8, 3], &[1.0; 24])
        .ints("pads", &[0, 0, 1, 1, 0, 0, 1, 1])
        .ints("flat", &[-1, 8])
        .node("Sign", &["x"], "s")
        .node("Pad", &["s", "pads", "one"], "p")
        .node_with(
            "Conv",
            &["p", "w"],
            "c",
            &[Attr::Ints("strides", &[1, 1]), Attr::Int("group", 1)],
        )
        .node(
            "BatchNormalization",
            &["c", "scale", "scale", "scale", "scale"],
            "n",
        )
        .node_with(
            "MaxPool",
            &["n"],
            "m",
            &[
                Attr::Ints("kernel_shape", &[2, 2]),
                Attr::Ints("strides", &[2, 2]),
            ],
        )
        .node_of(
            domain,
            "Quant",
            &["m", "one", "zero", "width"],
            "q",
            &[Attr::Int("signed", 0)],
        )
        .node("Reshape", &["q", "flat"], "f")
        .node("MatMul", &["f", "fc"], "d")
        .node_with("Softmax", &["d"], "y", &[Attr::Int("axis", 1)])
        .bytes("y")
}

#[test]
fn damaged_models_do_not_panic() {
    let bytes = small();
    assert!(import_onnx_bytes(&bytes).is_ok());
    for n in 0..bytes.len() {
        let _ = import_onnx_bytes(&bytes[..n]);
    }
    for at in 0..bytes.len() {
        for flip in [0x01, 0x02, 0x04, 0x10, 0x20, 0x40, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            let _ = import_onnx_bytes(&damaged);
        }
    }
}

#[test]
fn damaged_pairs_do_not_panic() {
    let bytes = small();
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = |n: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % n as u64) as usize
    };
    for _ in 0..20_000 {
        let mut damaged = bytes.clone();
        for _ in 0..1 + next(4) {
            let at = next(damaged.len());
            match next(4) {
                0 => damaged[at] = next(256) as u8,
                1 => damaged[at] = [0x00, 0x01, 0x7f, 0xff][next(4)],
                2 => {
                    let from = next(damaged.len());
                    damaged[at] = damaged[from];
                }
                _ => {
                    damaged.remove(at);
                }
            }
        }
        let _ = import_onnx_bytes(&damaged);
    }
}

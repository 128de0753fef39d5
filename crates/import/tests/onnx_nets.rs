//! The patterns of ONNX files one by one, on small models written here.

mod onnx_build;

use onebit_import::{Imported, Options, ZeroSign, import, import_onnx_bytes};
use onebit_model::program::{Kind, Op, Program};
use onebit_model::weights::Weights;
use onebit_model::{Tensor, interpret, verify};
use onnx_build::{Attr, Model};

fn imported(model: Model) -> Imported {
    import_onnx_bytes(&model.bytes("y")).unwrap_or_else(|error| panic!("{error}"))
}

fn answer(program: &Program, x: &[f32]) -> Vec<f64> {
    let types = verify(program).unwrap();
    match interpret(program, &types, &Tensor::Real(x.to_vec())) {
        Tensor::Bits(y) => y.iter().map(|&bit| if bit { 1.0 } else { -1.0 }).collect(),
        Tensor::Levels(y) => y.iter().map(|&code| f64::from(code)).collect(),
        Tensor::Int(y) => y.iter().map(|&y| f64::from(y)).collect(),
        Tensor::Real(y) => y.iter().map(|&y| f64::from(y)).collect(),
    }
}

fn count(program: &Program, wanted: impl Fn(&Op) -> bool) -> usize {
    program.nodes.iter().filter(|node| wanted(&node.op)).count()
}

fn n_codes(program: &Program) -> usize {
    count(program, |op| matches!(op, Op::Quantize { .. }))
}

fn import_with(model: Model, zero_sign: ZeroSign) -> Imported {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.onnx");
    std::fs::write(&path, model.bytes("y")).unwrap();
    let options = Options {
        zero_sign,
        ..Options::default()
    };
    import(&path, &options).unwrap_or_else(|error| panic!("{error}"))
}

/// Values on both sides of every cut that the tests use.
const PROBES: [f32; 11] = [
    -3.0, -1.0, -0.5, -1e-38, -0.0, 0.0, 1e-45, 0.25, 0.5, 1.0, 2.0,
];

/// Scalars under the names that the forms below use, and an input of as many features as there are probes.
fn probed() -> Model {
    let numbers = [
        ("zero", 0.0),
        ("half", 0.5),
        ("one", 1.0),
        ("minus", -1.0),
        ("two", 2.0),
        ("three", 3.0),
        ("tenth", 0.1),
    ];
    let model = Model::new(&[0, PROBES.len() as i64]);
    numbers.into_iter().fold(model, |model, (name, value)| {
        model.floats(name, &[], &[value])
    })
}

/// Runs the form on the probes and compares with a function; gives the Program back.
fn check_form(name: &str, model: Model, truth: fn(f32) -> f64) -> Imported {
    let found = imported(model);
    let expected: Vec<f64> = PROBES.iter().map(|&x| truth(x)).collect();
    assert_eq!(answer(&found.program, &PROBES), expected, "{name}");
    found
}

fn sign(x: f32) -> f64 {
    if x == 0.0 { 0.0 } else { f64::from(x.signum()) }
}

fn plus(x: f32) -> f64 {
    if x >= 0.0 { 1.0 } else { -1.0 }
}

#[test]
fn comparisons_and_choices_are_thresholds() {
    type Truth = fn(f32) -> f64;
    let forms: [(&str, &[&str], Truth); 8] = [
        ("GreaterOrEqual", &["x", "zero"], plus),
        (
            "Greater",
            &["x", "zero"],
            |x| if x > 0.0 { 1.0 } else { -1.0 },
        ),
        ("Less", &["x", "half"], |x| if x < 0.5 { 1.0 } else { -1.0 }),
        ("LessOrEqual", &["x", "half"], |x| {
            if x <= 0.5 { 1.0 } else { -1.0 }
        }),
        ("GreaterOrEqual", &["half", "x"], |x| {
            if x <= 0.5 { 1.0 } else { -1.0 }
        }),
        (
            "Greater",
            &["zero", "x"],
            |x| if x < 0.0 { 1.0 } else { -1.0 },
        ),
        ("Less", &["half", "x"], |x| if x > 0.5 { 1.0 } else { -1.0 }),
        ("LessOrEqual", &["zero", "x"], plus),
    ];
    for (op, inputs, truth) in forms {
        let model = probed()
            .node(op, inputs, "c")
            .node("Where", &["c", "one", "minus"], "y");
        let found = check_form(op, model, truth);
        assert!(
            matches!(found.program.nodes.as_slice(), [node] if matches!(node.op, Op::Threshold(_))),
            "{op}"
        );
    }
}

#[test]
fn a_scaled_comparison_is_one_threshold() {
    let model = probed()
        .node("Greater", &["x", "zero"], "g")
        .node_with("Cast", &["g"], "c", &[Attr::Int("to", 1)])
        .node("Mul", &["c", "two"], "m")
        .node("Sub", &["m", "one"], "y");
    let found = check_form("scaled", model, |x| if x > 0.0 { 1.0 } else { -1.0 });
    assert_eq!(found.program.nodes.len(), 1);
}

#[test]
fn arms_filled_at_run_time_are_constants() {
    let model = probed()
        .node("GreaterOrEqual", &["x", "zero"], "c")
        .node("Shape", &["x"], "s")
        .node("Expand", &["one", "s"], "ones")
        .node("Neg", &["ones"], "neg")
        .node("Where", &["c", "ones", "neg"], "y");
    assert_eq!(check_form("expand", model, plus).program.nodes.len(), 1);
}

#[test]
fn straight_through_sums_are_the_sign() {
    let model = probed()
        .node("Clip", &["x", "minus", "one"], "h")
        .node("Sign", &["x"], "s")
        .node("Sub", &["s", "h"], "d")
        .node("Add", &["h", "d"], "y");
    check_form("detach", model, sign);
    // What only the gradient needs is not looked at, even where it has no form in a Program.
    let model = probed()
        .node("Tanh", &["x"], "h")
        .node("GreaterOrEqual", &["x", "zero"], "c")
        .node("Where", &["c", "one", "minus"], "s")
        .node("Sub", &["s", "h"], "d")
        .node("Add", &["d", "h"], "y");
    check_form("tanh", model, plus);
}

#[test]
fn mends_of_zero_are_one_comparison() {
    let model = probed()
        .node("Equal", &["x", "zero"], "e")
        .node("Sign", &["x"], "s")
        .node("Where", &["e", "minus", "s"], "y");
    let found = check_form("where", model, |x| if x > 0.0 { 1.0 } else { -1.0 });
    assert_eq!(n_codes(&found.program), 0);
    let model = probed()
        .node("Sign", &["x"], "s")
        .node("Equal", &["s", "zero"], "e")
        .node_with("Cast", &["e"], "c", &[Attr::Int("to", 1)])
        .node("Add", &["s", "c"], "y");
    assert_eq!(n_codes(&check_form("add", model, plus).program), 0);
    let model = probed()
        .node("Sign", &["x"], "s")
        .node("Add", &["s", "tenth"], "t")
        .node("Sign", &["t"], "y");
    check_form("epsilon", model, plus);
}

#[test]
fn the_positive_part_of_a_sign_is_a_bit() {
    let model = probed().node("Sign", &["x"], "s").node("Relu", &["s"], "y");
    let found = check_form("relu", model, |x| if x > 0.0 { 1.0 } else { 0.0 });
    assert_eq!(
        count(&found.program, |op| matches!(
            op,
            Op::Relu | Op::Clip { .. }
        )),
        0
    );
    let model = probed()
        .node("Tanh", &["x"], "t")
        .node("Sign", &["t"], "s")
        .node("Clip", &["s", "zero"], "y");
    check_form("clip", model, |x| if x > 0.0 { 1.0 } else { 0.0 });
}

#[test]
fn more_channels_are_zeros() {
    let model = Model::new(&[0, 1, 1, 2])
        .floats("zero", &[], &[0.0])
        .ints("pads", &[0, 1, 0, 0, 0, 2, 0, 0])
        .node("Pad", &["x", "pads", "zero"], "y");
    assert_eq!(
        answer(&imported(model).program, &[3.0, -4.0]),
        [0.0, 0.0, 3.0, -4.0, 0.0, 0.0, 0.0, 0.0]
    );
}

#[test]
fn a_clip_before_a_sign_is_dropped() {
    let model = probed()
        .node("Clip", &["x", "minus", "one"], "h")
        .node("Sign", &["h"], "y");
    assert_eq!(
        count(&check_form("hardtanh", model, sign).program, |op| matches!(
            op,
            Op::Clip { .. }
        )),
        0
    );
}

#[test]
fn rounding_of_something_clipped_is_a_code() {
    let model = probed()
        .node("Clip", &["x", "zero", "one"], "c")
        .node("Mul", &["c", "three"], "m")
        .node("Round", &["m"], "y");
    let found = check_form("dorefa", model, |x| {
        f64::from((x.clamp(0.0, 1.0) * 3.0).round_ties_even())
    });
    assert_eq!(n_codes(&found.program), 1);
}

#[test]
fn quantisers_of_every_domain_round_as_the_reference() {
    for domain in [
        "qonnx.custom_op.general",
        "finn.custom_op.general",
        "onnx.brevitas",
    ] {
        let attrs = [
            Attr::Int("signed", 1),
            Attr::Int("narrow", 1),
            Attr::Text("rounding_mode", "ROUND"),
        ];
        let model = probed()
            .node_of(
                domain,
                "Quant",
                &["x", "half", "zero", "three"],
                "q",
                &attrs,
            )
            .node("Div", &["q", "half"], "y");
        check_form(domain, model, |x| {
            f64::from((x / 0.5).clamp(-3.0, 3.0).round_ties_even())
        });
        let model = probed().node_of(domain, "BipolarQuant", &["x", "half"], "y", &[]);
        check_form(domain, model, |x| plus(x) / 2.0);
    }
}

/// Binary activations, a dense layer of `columns` inputs with all weights +1, and a sign.
fn sum_then_sign(columns: usize) -> Model {
    Model::new(&[0, columns as i64])
        .floats("zero", &[], &[0.0])
        .floats("one", &[], &[1.0])
        .floats("minus", &[], &[-1.0])
        .floats("w", &[columns as i64, 1], &vec![1.0; columns])
        .node("GreaterOrEqual", &["x", "zero"], "c")
        .node("Where", &["c", "one", "minus"], "b")
        .node("MatMul", &["b", "w"], "s")
        .node("Sign", &["s"], "y")
}

#[test]
fn sign_is_a_code_only_where_a_zero_can_occur() {
    let odd = import_with(sum_then_sign(3), ZeroSign::Exact);
    assert_eq!(
        n_codes(&odd.program),
        0,
        "three odd numbers have no sum of zero"
    );
    let even = import_with(sum_then_sign(4), ZeroSign::Exact);
    assert_eq!(n_codes(&even.program), 1);
    for (x, y) in [
        ([1.0, 1.0, -1.0, -1.0], 0.0),
        ([1.0, 1.0, 1.0, -1.0], 1.0),
        ([-1.0, -1.0, 1.0, -1.0], -1.0),
    ] {
        assert_eq!(answer(&even.program, &x), [y]);
    }
}

#[test]
fn sign_may_be_plus_at_zero_with_a_warning() {
    let found = import_with(sum_then_sign(4), ZeroSign::Plus);
    assert_eq!(n_codes(&found.program), 0);
    assert_eq!(answer(&found.program, &[1.0, 1.0, -1.0, -1.0]), [1.0]);
    assert!(
        matches!(found.warnings.as_slice(), [warning] if warning.contains("node of y")),
        "{:?}",
        found.warnings
    );
    assert!(
        import_with(sum_then_sign(3), ZeroSign::Plus)
            .warnings
            .is_empty()
    );
}

#[test]
fn batch_norm_decides_whether_a_zero_can_occur() {
    for (mean, n_expected) in [(2.0, 1), (1.0, 0), (2.5, 0), (6.0, 0)] {
        let model = Model::new(&[0, 4])
            .floats("zero", &[], &[0.0])
            .floats("one", &[], &[1.0])
            .floats("minus", &[], &[-1.0])
            .floats("w", &[4, 1], &[1.0; 4])
            .floats("gamma", &[1], &[-0.3])
            .floats("beta", &[1], &[0.0])
            .floats("mean", &[1], &[mean])
            .floats("variance", &[1], &[0.7])
            .node("GreaterOrEqual", &["x", "zero"], "c")
            .node("Where", &["c", "one", "minus"], "b")
            .node("MatMul", &["b", "w"], "s")
            .node(
                "BatchNormalization",
                &["s", "gamma", "beta", "mean", "variance"],
                "n",
            )
            .node("Sign", &["n"], "y");
        assert_eq!(n_codes(&imported(model).program), n_expected, "mean {mean}");
    }
}

#[test]
fn codes_of_a_sign_are_padded_with_zero() {
    let model = Model::new(&[0, 1, 2, 2])
        .floats(
            "w",
            &[1, 1, 3, 3],
            &[1.0, 1.0, -1.0, 1.0, -1.0, 1.0, 1.0, 1.0, 1.0],
        )
        .node("Sign", &["x"], "s")
        .node_with(
            "Conv",
            &["s", "w"],
            "y",
            &[Attr::Ints("pads", &[1, 1, 1, 1])],
        );
    let found = imported(model);
    let pads: Vec<i32> = found
        .program
        .nodes
        .iter()
        .filter_map(|node| match &node.op {
            Op::Conv2d(conv) => Some(conv.pad),
            _ => None,
        })
        .collect();
    assert_eq!(pads, [1], "code 1 is the sign 0");
    // Position (0, 0) sees the image under taps 4, 5, 7 and 8 of the kernel.
    assert_eq!(
        answer(&found.program, &[2.0, 0.0, -1.0, 5.0])[0],
        -1.0 + 0.0 - 1.0 + 1.0
    );
}

#[test]
fn a_border_of_ones_is_the_padding_of_the_convolution() {
    let model = Model::new(&[0, 1, 2, 2])
        .floats("zero", &[], &[0.0])
        .floats("one", &[], &[1.0])
        .floats("minus", &[], &[-1.0])
        .ints("pads", &[0, 0, 1, 1, 0, 0, 1, 1])
        .floats("w", &[1, 1, 3, 3], &[1.0; 9])
        .node("GreaterOrEqual", &["x", "zero"], "c")
        .node("Where", &["c", "one", "minus"], "b")
        .node("Pad", &["b", "pads", "one"], "p")
        .node("Conv", &["p", "w"], "y");
    let found = imported(model);
    assert_eq!(
        count(
            &found.program,
            |op| matches!(op, Op::Conv2d(conv) if conv.pad == 1)
        ),
        1
    );
    assert_eq!(answer(&found.program, &[-1.0, -1.0, -1.0, 1.0]), [3.0; 4]);
}

#[test]
fn flattening_an_image_permutes_columns() {
    // Two channels of 1x2; the weights pick out one element of the flattened image each.
    let model = Model::new(&[0, 2, 1, 2])
        .floats("k", &[2, 2, 1, 1], &[1.0, 0.0, 0.0, 1.0])
        .floats(
            "w",
            &[4, 4],
            &[
                1., 0., 0., 0., 0., 1., 0., 0., 0., 0., 1., 0., 0., 0., 0., 1.,
            ],
        )
        .node("Conv", &["x", "k"], "c")
        .node("Flatten", &["c"], "f")
        .node_with("Gemm", &["f", "w"], "y", &[Attr::Int("transB", 1)]);
    let found = imported(model);
    assert_eq!(
        answer(&found.program, &[1.0, 2.0, 3.0, 4.0]),
        [1.0, 2.0, 3.0, 4.0]
    );
    assert_eq!(found.program.input.shape, [2, 1, 2]);
}

#[test]
fn bytes_in_are_codes() {
    let model = Model::of_type(2, &[0, 4])
        .floats("grey", &[], &[128.0])
        .node_with("Cast", &["x"], "f", &[Attr::Int("to", 1)])
        .node("GreaterOrEqual", &["f", "grey"], "y");
    let found = imported(model);
    assert_eq!(found.program.input.kind, Kind::Levels(8));
}

#[test]
fn quantised_weights_are_eight_bit() {
    let domain = "qonnx.custom_op.general";
    let model = Model::new(&[0, 3])
        .floats("scale", &[], &[0.25])
        .floats("zero", &[], &[0.0])
        .floats("width", &[], &[4.0])
        .floats("w", &[2, 3], &[0.3, -1.0, 1.6, 0.0, 0.6, -0.2])
        .node_of(domain, "Quant", &["x", "scale", "zero", "width"], "a", &[])
        .node_of(domain, "Quant", &["w", "scale", "zero", "width"], "q", &[])
        .node_with("Gemm", &["a", "q"], "y", &[Attr::Int("transB", 1)]);
    let found = imported(model);
    let is_eight = |op: &Op| {
        matches!(
            op,
            Op::Dense {
                weights: Weights::Int8(_),
                ..
            }
        )
    };
    assert_eq!(count(&found.program, is_eight), 1);
    // Activations 4, -2 and 7 quarters, weights 1, -4, 6 and 0, 2, -1 quarters.
    assert_eq!(
        answer(&found.program, &[1.0, -0.5, 9.0]),
        [54.0 / 16.0, -11.0 / 16.0]
    );
}

#[test]
fn tensors_in_another_file_are_read_from_their_offset() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.onnx");
    let model = |entries: &[(&str, &str)]| {
        Model::new(&[0, 2])
            .external("w", &[2, 1], entries)
            .node("MatMul", &["x", "w"], "y")
            .bytes("y")
    };
    let data: Vec<u8> = [9.0f32, 2.0, -0.5]
        .iter()
        .flat_map(|w| w.to_le_bytes())
        .collect();
    std::fs::write(folder.path().join("net.data"), data).unwrap();
    std::fs::write(
        &path,
        model(&[("location", "net.data"), ("offset", "4"), ("length", "8")]),
    )
    .unwrap();
    let found = import(&path, &Options::default()).unwrap();
    assert_eq!(answer(&found.program, &[1.0, 2.0]), [1.0]);
    let wrong: [&[(&str, &str)]; 5] = [
        &[("location", "../net.data"), ("offset", "4")],
        &[("location", "net.data"), ("offset", "8")],
        &[("location", "net.data"), ("offset", "18446744073709551615")],
        &[("location", "net.data"), ("length", "4")],
        &[("location", "gone.data")],
    ];
    for entries in wrong {
        std::fs::write(&path, model(entries)).unwrap();
        let error = import(&path, &Options::default()).unwrap_err().to_string();
        assert!(error.contains("tensor \"w\""), "{error}");
    }
}

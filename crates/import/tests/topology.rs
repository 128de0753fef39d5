//! Safetensors and TOML: every op and key gives the Program it describes.

mod written;

use std::slice::from_ref;

use onebit_import::Source;
use onebit_model::builder::ProgramBuilder;
use onebit_model::program::{Conv2d, Cuts, Kind, Op, Program, ThresholdValues, Thresholds, Window};
use onebit_model::weights::{BitMatrix, Matrix, Weights};
use onebit_model::{Tensor, interpret, verify};
use safetensors::Dtype;
use written::{Given, REAL_3, assert_error, f32_bytes, import_files, with_input, write, write_f32};

fn program(input: &str, layers: &str, tensors: &[Given]) -> Program {
    let imported = import_files(&write_f32(&with_input(input, layers), tensors)).unwrap();
    assert_eq!(imported.source, Source::Safetensors);
    assert_eq!(imported.warnings, Vec::<String>::new());
    imported.program
}

fn counting(n: usize) -> Vec<f32> {
    (0..n).map(|i| i as f32).collect()
}

fn ops(program: &Program) -> Vec<&Op> {
    program.nodes.iter().map(|node| &node.op).collect()
}

#[test]
fn the_example_of_the_documentation_is_imported() {
    let document = include_str!("../../../docs/import.md");
    let example = document.split("```toml\n").nth(1).unwrap();
    let example = example.split("```").next().unwrap();
    let example = example.replace("small.safetensors", "net.safetensors");
    let filled = |n: usize| (0..n).map(|i| (i * 7 % 5) as f32 - 2.0).collect::<Vec<_>>();
    let mut tensors: Vec<Given> = vec![
        ("conv1.weight", &[4, 1, 3, 3], filled(36)),
        ("conv1.bias", &[4], filled(4)),
        ("conv2.weight", &[8, 4, 3, 3], filled(288)),
        ("fc.weight", &[10, 392], filled(3920)),
        ("fc.bias", &[10], vec![0.5; 10]),
    ];
    for (key, value) in [
        ("weight", 2.0),
        ("bias", 0.5),
        ("running_mean", 1.0),
        ("running_var", 4.0),
    ] {
        tensors.push((
            Box::leak(format!("bn1.{key}").into_boxed_str()),
            &[4],
            vec![value; 4],
        ));
        tensors.push((
            Box::leak(format!("bn2.{key}").into_boxed_str()),
            &[8],
            vec![value; 8],
        ));
    }
    tensors.push(("bn1.num_batches_tracked", &[], vec![7.0]));
    let imported = import_files(&write_f32(&example, &tensors)).unwrap();
    assert_eq!(imported.warnings, Vec::<String>::new());
    let program = imported.program;
    let types = verify(&program).unwrap();
    let classes = ("classes".into(), "0,1,2,3,4,5,6,7,8,9".into());
    assert_eq!(
        (program.name.as_str(), program.notes.as_slice()),
        ("small", &[classes][..])
    );
    let image = (0..784).map(|i| (i * 31 % 256) as u8).collect();
    let Tensor::Real(scores) = interpret(&program, &types, &Tensor::Levels(image)) else {
        panic!("a fractional bias makes scores real")
    };
    // 392 weights of -1 or +1 over bits, and a half.
    assert_eq!(scores.len(), 10);
    assert!(
        scores
            .iter()
            .all(|score| (score - 0.5).fract() == 0.0 && score.abs() < 393.0)
    );
}

#[test]
fn dense_layers_keep_integers_and_their_biases() {
    let weight: Given = ("fc.weight", &[2, 3], vec![0.1, -0.2, 0.0, -1.0, 1.0, 2.0]);
    let layers = "[[layer]]\nname = \"fc\"\nop = \"dense\"\nweights = \"sign\"";
    let sign = BitMatrix::from_fn(2, 3, |row, col| {
        (row, col) != (0, 1) && (row, col) != (1, 0)
    });
    let bits = "kind = \"bits\"\nshape = [3]";
    let plain = program(bits, layers, from_ref(&weight));
    let dense = |bias| Op::Dense {
        weights: Weights::Bits(sign.clone()),
        bias,
    };
    assert_eq!(ops(&plain), [&dense(None)]);
    let biased = program(
        bits,
        layers,
        &[weight.clone(), ("fc.bias", &[2], vec![-3.0, 4.0])],
    );
    assert_eq!(ops(&biased), [&dense(Some(vec![-3, 4]))]);
    let affine = |scale: [f32; 2], shift: [f32; 2]| Op::Affine {
        scale: scale.to_vec(),
        shift: shift.to_vec(),
    };
    let fractional = program(
        bits,
        layers,
        &[weight.clone(), ("fc.bias", &[2], vec![0.5, 4.0])],
    );
    assert_eq!(
        ops(&fractional),
        [&dense(None), &affine([1.0, 1.0], [0.5, 4.0])]
    );
    assert_eq!(fractional.nodes[1].name, "fc");
    let real = program(
        REAL_3,
        layers,
        &[weight, ("fc.bias", &[2], vec![-3.0, 4.0])],
    );
    assert_eq!(ops(&real), [&dense(None), &affine([1.0, 1.0], [-3.0, 4.0])]);
    let scaled = program(
        bits,
        "[[layer]]\nop = \"dense\"\nweights = \"bits\"\nweight = \"w\"\nbias = \"b\"",
        &[
            ("w", &[2, 3], vec![0.5, -0.5, 0.5, -2.0, 2.0, 2.0]),
            ("b", &[1], vec![3.0]),
        ],
    );
    assert_eq!(
        ops(&scaled),
        [&dense(None), &affine([0.5, 2.0], [3.0, 3.0])]
    );
    assert_eq!(scaled.nodes[1].name, "dense1");
}

#[test]
fn every_kind_of_weights_is_read() {
    let layers = |kind: &str| {
        format!(
            "[[layer]]\nname = \"fc\"\nop = \"dense\"\nweights = {kind:?}\nweight_layout = \"io\""
        )
    };
    let bits = "kind = \"bits\"\nshape = [3]";
    let values = vec![0.0, 1.0, -1.0, 1.0, 1.0, 0.0];
    let weight: Given = ("fc.weight", &[3, 2], values);
    let row = |row: usize, col: usize| [[0, -1, 1], [1, 1, 0]][row][col];
    let ternary = program(bits, &layers("ternary"), from_ref(&weight));
    let wanted = Weights::Ternary {
        sign: BitMatrix::from_fn(2, 3, |r, c| row(r, c) > 0),
        mask: BitMatrix::from_fn(2, 3, |r, c| row(r, c) != 0),
    };
    assert_eq!(
        ops(&ternary),
        [&Op::Dense {
            weights: wanted,
            bias: None
        }]
    );
    let int8 = program(bits, &layers("int8"), from_ref(&weight));
    let wanted = Weights::Int8(Matrix::from_fn(2, 3, |r, c| row(r, c) as i8));
    assert_eq!(
        ops(&int8),
        [&Op::Dense {
            weights: wanted,
            bias: None
        }]
    );
    let real = program(bits, &layers("real"), &[weight]);
    let wanted = Weights::Real(Matrix::from_fn(2, 3, |r, c| row(r, c) as f32));
    assert_eq!(
        ops(&real),
        [&Op::Dense {
            weights: wanted,
            bias: None
        }]
    );
}

#[test]
fn every_type_of_tensor_is_read() {
    let layers = "[[layer]]\nname = \"fc\"\nop = \"dense\"\nweights = \"int8\"";
    let toml = with_input("kind = \"levels\"\nbits = 8\nshape = [2]", layers);
    let types: Vec<(Dtype, Vec<u8>)> = vec![
        (Dtype::F32, f32_bytes(&[1.0, 2.0])),
        (
            Dtype::F64,
            [1f64, 2.0].iter().flat_map(|v| v.to_le_bytes()).collect(),
        ),
        (Dtype::F16, vec![0, 0x3c, 0, 0x40]),
        (Dtype::BF16, vec![0x80, 0x3f, 0, 0x40]),
        (Dtype::I8, vec![1, 2]),
        (Dtype::U8, vec![1, 2]),
        (Dtype::I16, vec![1, 0, 2, 0]),
        (Dtype::U16, vec![1, 0, 2, 0]),
        (Dtype::I32, vec![1, 0, 0, 0, 2, 0, 0, 0]),
        (
            Dtype::I64,
            [1i64, 2].iter().flat_map(|v| v.to_le_bytes()).collect(),
        ),
    ];
    for (dtype, bytes) in types {
        let files = write(&toml, &[("fc.weight", dtype, &[1, 2], bytes)]);
        let imported = import_files(&files).unwrap();
        let weights = Weights::Int8(Matrix::from_vec(1, 2, vec![1, 2]).unwrap());
        assert_eq!(
            ops(&imported.program),
            [&Op::Dense {
                weights,
                bias: None
            }],
            "{dtype:?}"
        );
    }
    let complex = write(&toml, &[("fc.weight", Dtype::C64, &[1, 2], vec![0; 16])]);
    assert_error(&complex, &["net.safetensors", "tensor fc.weight", "C64"]);
}

#[test]
fn convolutions_have_their_windows() {
    let image = "kind = \"levels\"\nbits = 2\nshape = [5, 6, 4]";
    let layers = "[[layer]]\nname = \"c\"\nop = \"conv2d\"\nweights = \"int8\"\nstride = [2, 1]\n\
                  padding = [1, 0, 2, 3]\ndilation = 2\ngroups = 2\npad_value = 3\nbias = false";
    let tensors: &[Given] = &[
        ("c.weight", &[2, 2, 3, 1], counting(12)),
        ("c.bias", &[2], vec![1.0; 2]),
    ];
    let imported = import_files(&write_f32(&with_input(image, layers), tensors)).unwrap();
    assert_eq!(imported.warnings.len(), 1);
    assert!(imported.warnings[0].contains("1 of 2 tensors are not used by any layer: c.bias"));
    let window = Window {
        kernel: [3, 1],
        stride: [2, 1],
        dilation: [2, 2],
        pads: [1, 0, 2, 3],
    };
    let rows = [[0, 3, 1, 4, 2, 5], [6, 9, 7, 10, 8, 11]];
    let conv = Conv2d {
        weights: Weights::Int8(Matrix::from_fn(2, 6, |row, col| rows[row][col])),
        bias: None,
        window,
        groups: 2,
        pad: 3,
    };
    assert_eq!(ops(&imported.program), [&Op::Conv2d(conv.clone())]);
    for (padding, stride, pads) in [
        ("\"same\"", "1", [2, 0, 2, 0]),
        ("\"same\"", "2", [2, 0, 2, 0]),
        ("\"valid\"", "1", [0; 4]),
        ("1", "1", [1; 4]),
        ("[1, 2]", "1", [1, 2, 1, 2]),
    ] {
        let layers = format!(
            "[[layer]]\nname = \"c\"\nop = \"conv2d\"\nweights = \"int8\"\nstride = {stride}\npadding = {padding}\n\
             dilation = [2, 1]\ngroups = 2"
        );
        let program = program(image, &layers, &tensors[..1]);
        let Op::Conv2d(conv) = &program.nodes[0].op else {
            panic!("a convolution")
        };
        assert_eq!(conv.window.pads, pads, "{padding} {stride}");
    }
}

#[test]
fn comparisons_keep_their_exact_meaning() {
    let tensors: &[Given] = &[
        ("t.at", &[3], vec![0.5, -1.0, 2.5]),
        ("flip", &[3], vec![0.0, 1.0, 0.0]),
    ];
    let layers = "[[layer]]\nname = \"t\"\nop = \"threshold\"\nflip = \"flip\"";
    let ints = program("kind = \"int\"\nshape = [2, 3]", layers, tensors);
    let flip = vec![false, true, false];
    let at = ThresholdValues::Int(vec![1, -1, 3]);
    assert_eq!(
        ops(&ints),
        [&Op::Threshold(Thresholds {
            at,
            flip: flip.clone()
        })]
    );
    let reals = program(REAL_3, layers, tensors);
    let at = ThresholdValues::Real(vec![0.5, -1.0, 2.5]);
    assert_eq!(ops(&reals), [&Op::Threshold(Thresholds { at, flip })]);
    let sign = program(REAL_3, "[[layer]]\nop = \"sign\"", &[]);
    let at = ThresholdValues::Real(vec![0.0; 3]);
    let flip = vec![false; 3];
    assert_eq!(ops(&sign), [&Op::Threshold(Thresholds { at, flip })]);
    let codes = program(
        REAL_3,
        "[[layer]]\nop = \"quantize\"\nbits = 2\ncuts = [-1, 0, 0.5]",
        &[],
    );
    let cuts = Cuts::Real(vec![-1.0, 0.0, 0.5]);
    assert_eq!(ops(&codes), [&Op::Quantize { bits: 2, cuts }]);
    let from_tensor = program(
        "kind = \"bits\"\nshape = [3]",
        "[[layer]]\nname = \"q\"\nop = \"quantize\"\nbits = 1",
        &[("q.cuts", &[3, 1], vec![0.0, -1.5, 2.0])],
    );
    let cuts = Cuts::Int(vec![0, -1, 2]);
    assert_eq!(ops(&from_tensor), [&Op::Quantize { bits: 1, cuts }]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "one topology with every op")]
fn every_other_op_is_what_its_name_says() {
    let layers = r#"
[[layer]]
name = "a"
op = "affine"
scale = [1, 2, 3, 4]
[[layer]]
name = "c"
op = "clip"
min = -1
max = 1
[[layer]]
name = "p"
op = "prelu"
slope = 0.25
[[layer]]
name = "r"
op = "rprelu"
before = 1
slope = "slope"
after = [0, 1, 2, 3]
[[layer]]
name = "sum"
op = "add"
inputs = ["r", "a"]
[[layer]]
name = "product"
op = "mul"
inputs = ["sum", "input"]
[[layer]]
name = "relu"
op = "relu"
[[layer]]
name = "both"
op = "concat_channels"
inputs = ["relu", "sum"]
[[layer]]
name = "cut"
op = "slice"
start = [0, 2, 1]
size = [4, 4, 3]
[[layer]]
name = "turned"
op = "transpose"
perm = [1, 0, 2]
[[layer]]
name = "max"
op = "max_pool"
kernel = 2
[[layer]]
name = "mean"
op = "avg_pool"
kernel = 2
stride = 1
padding = 1
count_pads = true
[[layer]]
name = "bits"
op = "sign"
[[layer]]
name = "joined"
op = "concat"
inputs = ["bits", "bits"]
[[layer]]
name = "flat"
op = "flatten"
inputs = ["mean"]
[[layer]]
name = "shaped"
op = "reshape"
shape = [3, 3, 3]
[[layer]]
name = "global"
op = "global_avg_pool"
[[layer]]
name = "soft"
op = "softmax"
[[layer]]
name = "best"
op = "argmax"
"#;
    let imported = program(
        "kind = \"int\"\nshape = [4, 6, 4]",
        layers,
        &[("slope", &[1], vec![0.5])],
    );
    let mut b = ProgramBuilder::new("net", Kind::Int, &[4, 6, 4]);
    let a = b.affine("a", b.input(), vec![1.0, 2.0, 3.0, 4.0], vec![0.0; 4]);
    let c = b.clip("c", a, -1.0, 1.0);
    let p = b.prelu("p", c, vec![0.25; 4]);
    let op = Op::Rprelu {
        before: vec![1.0; 4],
        slope: vec![0.5; 4],
        after: vec![0.0, 1.0, 2.0, 3.0],
    };
    let r = b.node("r", op, &[p]);
    let sum = b.add("sum", r, a);
    let real = b.affine("product.real", b.input(), vec![1.0; 4], vec![0.0; 4]);
    let product = b.mul("product", sum, real);
    let relu = b.relu("relu", product);
    let both = b.concat_channels("both", &[relu, sum]);
    let cut = b.slice("cut", both, &[0, 2, 1], &[4, 4, 3]);
    let turned = b.transpose("turned", cut, &[1, 0, 2]);
    let mut window = Window::new([2, 2]);
    window.stride = [2, 2];
    let max = b.max_pool("max", turned, window);
    window.stride = [1, 1];
    window.pads = [1; 4];
    let mean = b.avg_pool_count_pads("mean", max, window);
    let bits = b.threshold_real("bits", mean, vec![0.0; 3], vec![false; 3]);
    b.concat("joined", &[bits, bits]);
    let flat = b.reshape("flat", mean, &[27]);
    let shaped = b.reshape("shaped", flat, &[3, 3, 3]);
    let global = b.global_avg_pool("global", shaped);
    let soft = b.softmax("soft", global);
    let best = b.argmax("best", soft);
    assert_eq!(imported, b.finish(best).unwrap());
}

#[test]
fn batch_norms_become_one_affine() {
    let tensors: &[Given] = &[
        ("n.weight", &[3], vec![1.0, -2.0, 0.0]),
        ("n.bias", &[3], vec![0.0, 1.0, 5.0]),
        ("n.running_mean", &[3], vec![1.0, 2.0, 3.0]),
        ("n.running_var", &[3], vec![3.0, 0.0, 1.0]),
    ];
    let layers = "[[layer]]\nname = \"n\"\nop = \"batch_norm\"\neps = 1";
    let affine = |scale: [f32; 3], shift: [f32; 3]| Op::Affine {
        scale: scale.to_vec(),
        shift: shift.to_vec(),
    };
    let norm = program(REAL_3, layers, tensors);
    assert_eq!(ops(&norm), [&affine([0.5, -2.0, 0.0], [-0.5, 5.0, 5.0])]);
    let plain = format!("{layers}\nweight = false\nbias = false");
    let files = write_f32(&with_input(REAL_3, &plain), tensors);
    let norm = import_files(&files).unwrap().program;
    let third = (0.5f64.sqrt()) as f32;
    assert_eq!(
        ops(&norm),
        [&affine(
            [0.5, 1.0, third],
            [-0.5, -2.0, (-3.0 * 0.5f64.sqrt()) as f32]
        )]
    );
    let layers = "[[layer]]\nname = \"n\"\nop = \"batch_norm\"\neps = 0";
    assert_error(
        &write_f32(&with_input(REAL_3, layers), tensors),
        &["node n (batch_norm)", "channel 1", "not above 0"],
    );
}

#[test]
fn an_output_may_be_any_layer() {
    let layers = "[[layer]]\nname = \"a\"\nop = \"relu\"\n[[layer]]\nname = \"b\"\nop = \"relu\"";
    let toml = with_input(REAL_3, layers).replace("name = \"net\"\n", "output = \"a\"\n");
    let imported = import_files(&write_f32(&toml, &[])).unwrap();
    assert_eq!(imported.program.output.0, 1);
    assert_eq!(imported.program.name, "net");
}

//! The Net file: round trip, golden file, and damage of every kind.

use onebit_model::bnn::{self, BnnError};
use onebit_model::net::{BatchNorm, Encoder, GroupNorm, Layer, LayerOp, Net};
use onebit_model::program::{Conv2d, Kind, Type, ValueId, Window};
use onebit_model::weights::{BitMatrix, Matrix, Weights};
use onebit_model::{net_from_bytes, net_to_bytes};
use onebit_testkit::{random_net, random_program};

mod damage;

/// A layer that reads these values.
fn layer(name: &str, op: LayerOp, inputs: &[usize]) -> Layer {
    Layer {
        name: name.into(),
        op,
        inputs: inputs.iter().map(|&id| ValueId(id)).collect(),
    }
}

/// Three pixels, a hidden layer with norm, ternary scores with bias.
fn small() -> Net {
    let hidden = LayerOp::Dense {
        weights: Weights::Bits(BitMatrix::from_fn(2, 6, |row, col| (row + col) % 3 == 0)),
        bias: None,
    };
    let norm = BatchNorm {
        gamma: vec![1.0, -0.5],
        beta: vec![0.1, 0.0],
        mean: vec![0.5, -1.5],
        var: vec![4.0, 1.0],
        eps: 1e-5,
    };
    let sign = BitMatrix::from_fn(2, 2, |row, col| row == col);
    let last = LayerOp::Dense {
        weights: Weights::Ternary {
            sign: sign.clone(),
            mask: sign,
        },
        bias: Some(vec![1, -1]),
    };
    Net {
        name: "small".into(),
        input: Type {
            kind: Kind::Levels(8),
            shape: vec![1, 3, 1],
        },
        encoder: Encoder::Thermometer {
            cuts: vec![50, 150],
        },
        layers: vec![
            layer("fc1", hidden, &[0]),
            layer("fc1.norm", LayerOp::Norm(norm), &[1]),
            layer("fc1.sign", LayerOp::Sign, &[2]),
            layer("fc2", last, &[3]),
        ],
        notes: vec![("classes".into(), "no yes".into())],
    }
}

/// A graph over a small image with every layer there is.
#[expect(
    clippy::too_many_lines,
    reason = "a flat list, one line for each layer"
)]
fn graph() -> Net {
    let window = Window {
        pads: [1; 4],
        ..Window::new([3, 3])
    };
    let conv = |weights, bias, pad| {
        let groups = 1;
        LayerOp::Conv2d(Conv2d {
            weights,
            bias,
            window,
            groups,
            pad,
        })
    };
    let list = |first: f32| vec![first, -first, 0.5];
    let norm = LayerOp::Norm(BatchNorm {
        gamma: list(0.25),
        beta: list(0.1),
        mean: list(1.0),
        var: vec![1.0, 2.0, 0.0],
        eps: 0.001,
    });
    let groups = LayerOp::GroupNorm(GroupNorm {
        groups: 3,
        gamma: list(1.5),
        beta: list(-0.5),
        eps: 1e-5,
    });
    let affine = LayerOp::Affine {
        scale: list(1.0),
        shift: list(0.75),
    };
    let rprelu = LayerOp::Rprelu {
        before: list(0.125),
        slope: list(0.25),
        after: list(-1.0),
    };
    let (min, max) = (-1.0, f32::INFINITY);
    let bits = Weights::Bits(BitMatrix::from_fn(3, 54, |row, col| {
        (row * 7 + col) % 3 == 0
    }));
    let int8 = Weights::Int8(Matrix::from_fn(3, 27, |row, col| (row + col) as i8 - 14));
    let real = Weights::Real(Matrix::from_fn(2, 3, |row, col| {
        row as f32 - col as f32 / 3.0
    }));
    let (scores, count_pads) = (real, true);
    let pool = Window::new([2, 1]);
    let slope = list(0.25);
    Net {
        name: "graph".into(),
        input: Type {
            kind: Kind::Levels(8),
            shape: vec![3, 2, 2],
        },
        encoder: Encoder::ChannelThermometer {
            cuts: vec![20, 128, 200],
        },
        layers: vec![
            layer("stem", conv(bits, Some(vec![1, -300, 0]), -1), &[0]),
            layer("stem.norm", norm, &[1]),
            layer("codes", LayerOp::Quantize { bits: 2 }, &[2]),
            layer("conv", conv(int8, None, 0), &[3]),
            layer("relu", LayerOp::Relu, &[4]),
            layer("sum", LayerOp::Add, &[4, 5]),
            layer("affine", affine, &[6]),
            layer("groups", groups, &[7]),
            layer("prelu", LayerOp::Prelu { slope }, &[8]),
            layer("rprelu", rprelu, &[9]),
            layer("clip", LayerOp::Clip { min, max }, &[10]),
            layer("product", LayerOp::Mul, &[11, 2]),
            layer("step", LayerOp::Heaviside, &[12]),
            layer("sign", LayerOp::Sign, &[12]),
            layer("pool", LayerOp::MaxPool(pool), &[13]),
            layer("joined", LayerOp::ConcatChannels, &[15, 15]),
            layer(
                "mean",
                LayerOp::AvgPool {
                    window: pool,
                    count_pads,
                },
                &[14],
            ),
            layer("all", LayerOp::GlobalAvgPool, &[17]),
            layer(
                "scores",
                LayerOp::Dense {
                    weights: scores,
                    bias: None,
                },
                &[18],
            ),
        ],
        notes: vec![("classes".into(), "no,yes".into())],
    }
}

#[test]
fn random_nets_round_trip_and_are_deterministic() {
    for seed in 0..300 {
        let net = random_net(seed);
        let bytes = net_to_bytes(&net);
        assert_eq!(bytes, net_to_bytes(&net.clone()));
        assert_eq!(
            net_from_bytes(&bytes).unwrap_or_else(|e| panic!("seed {seed}: {e}")),
            net
        );
    }
}

#[test]
fn the_golden_file_is_read_and_written_the_same() {
    let bytes = damage::golden("graph.net", &net_to_bytes(&graph()));
    assert_eq!(net_from_bytes(&bytes).unwrap(), graph());
    assert_eq!(net_to_bytes(&graph()), bytes);
}

/// The golden file of version 1, which is no longer written.
fn version_1() -> Vec<u8> {
    damage::golden("small.net", &[])
}

#[test]
fn version_1_becomes_layers_of_their_own() {
    assert_eq!(net_from_bytes(&version_1()).unwrap(), small());
}

#[test]
fn damage_to_version_1_is_an_error() {
    damage::every_bit_flip_is_an_error(&version_1(), net_from_bytes);
    damage::every_other_length_is_an_error(&version_1(), net_from_bytes);
    damage::resealed_damage_never_panics(&version_1(), net_from_bytes);
}

#[test]
fn damage_of_every_kind_is_an_error() {
    let bytes = net_to_bytes(&graph());
    damage::every_bit_flip_is_an_error(&bytes, net_from_bytes);
    damage::every_other_length_is_an_error(&bytes, net_from_bytes);
    damage::resealed_damage_never_panics(&bytes, net_from_bytes);
    damage::frame_errors(&bytes, "2", net_from_bytes);
}

#[test]
fn a_program_is_no_net_and_a_net_is_no_program() {
    let error = net_from_bytes(&bnn::write(&random_program(1)))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("this is \"onebit program 1\", not \"onebit net 2\""),
        "{error}"
    );
    let error = bnn::read(&net_to_bytes(&small())).unwrap_err().to_string();
    assert!(
        error.contains("this is \"onebit net 2\", not \"onebit program 1\""),
        "{error}"
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a flat table of cases")]
fn lines_and_tensors_that_do_not_fit() {
    let bytes = net_to_bytes(&small());
    let cases = [
        (
            "encoder thermometer(50, 150)",
            "encoder barometer(50)",
            "line 5: there is no encoder",
        ),
        (
            "thermometer(50, 150)",
            "thermometer(50, 256)",
            "line 5: \"256\" is not a number",
        ),
        (
            "thermometer(50, 150)",
            "thermometer()",
            "line 5: expected a number",
        ),
        (
            "thermometer(50, 150)",
            "thermometer(150, 50)",
            "not in ascending order",
        ),
        (
            "thermometer(50, 150)",
            "real-thermometer(2)",
            "\"encoder.cuts\" is missing",
        ),
        ("real[2] eps 1e-5", "real[2]", "line 7: expected eps"),
        ("eps 1e-5", "eps x", "line 7: \"x\" is not a number"),
        ("eps 1e-5", "eps -1", "eps is -1"),
        ("norm fc1 real[2]", "norm fc1 real[3]", "[3] is needed"),
        (
            "fc1.norm = norm fc1 real[2] eps 1e-5\n",
            "",
            "no earlier line defines \"fc1.norm\"",
        ),
        (
            "sign fc1.norm",
            "threshold fc1.norm int[2]",
            "\"fc1.sign.at\" is missing",
        ),
        (
            "sign fc1.norm",
            "planes fc1.norm",
            "there is no op \"planes\"",
        ),
        ("sign fc1.norm", "sine fc1.norm", "there is no op \"sine\""),
        (
            "sign fc1.norm",
            "sign fc2",
            "no earlier line defines \"fc2\"",
        ),
        (
            "sign fc1.norm",
            "sign fc1.norm fc1",
            "expected the end of the line",
        ),
        (
            "sign fc1.norm",
            "quantize fc1.norm levels(9)",
            "levels(9) is not one of",
        ),
        (
            "sign fc1.norm",
            "heaviside fc1.norm levels(1)",
            "expected the end of the line",
        ),
        (
            "dense @encoded",
            "dense @input",
            "no earlier line defines \"@input\"",
        ),
        (
            "end\n\"",
            "\"",
            "the text ends here; a layer, or the end is missing",
        ),
        ("end\n\"", "finis\n\"", "expected ="),
        (
            "fc1 = dense",
            "fc3 = dense",
            "tensor \"fc3.sign\" is missing",
        ),
        (
            "\"fc1.norm.var\":{\"dtype\":\"F32\"",
            "\"fc1.norm.var\":{\"dtype\":\"I32\"",
            "F32 is needed",
        ),
    ];
    for (from, to, expected) in cases {
        let edited = damage::edited(&bytes, from, to);
        let error = net_from_bytes(&edited).unwrap_err().to_string();
        assert!(error.contains(expected), "{to:?}: {error}");
    }
}

#[test]
fn lines_of_version_1_that_do_not_fit() {
    let cases = [
        (
            "norm(1e-5) sign",
            "norm(1e-5)",
            "line 6: expected sign or scores",
        ),
        ("norm(1e-5)", "norm(x)", "line 6: \"x\" is not a number"),
        ("norm(1e-5)", "norm(NaN)", "eps is NaN"),
        ("norm(1e-5)", "", "belongs to nothing in the text"),
        (
            "bits[2, 6] norm(1e-5) sign",
            "bits[2, 6] norm(1e-5) scores",
            "expected end, after the scores",
        ),
        (
            "layer fc2",
            "layer fc1",
            "an earlier line defines \"fc1\" already",
        ),
        ("layer fc1", "layer fc3", "tensor \"fc3.sign\" is missing"),
    ];
    for (from, to, expected) in cases {
        let edited = damage::edited(&version_1(), from, to);
        let error = net_from_bytes(&edited).unwrap_err().to_string();
        assert!(error.contains(expected), "{to:?}: {error}");
    }
}

#[test]
fn two_layers_of_one_name_are_not_read_twice() {
    let line = "fc1.sign = sign fc1.norm\n";
    let bytes = net_to_bytes(&small());
    let twice = damage::edited(&bytes, line, &format!("{line}{line}"));
    let error = net_from_bytes(&twice).unwrap_err();
    assert!(matches!(error, BnnError::Text(_)), "{error}");
    assert!(
        error.to_string().contains("defines \"fc1.sign\" already"),
        "{error}"
    );
}

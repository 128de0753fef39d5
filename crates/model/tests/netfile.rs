//! The Net file: round trip, golden file, and damage of every kind.

use onebit_model::bnn::{self, BnnError};
use onebit_model::net::{Activation, BatchNorm, Encoder, Layer, Net};
use onebit_model::program::{Kind, Type};
use onebit_model::weights::{BitMatrix, Weights};
use onebit_model::{net_from_bytes, net_to_bytes};
use onebit_testkit::{random_net, random_program};

mod damage;

/// Three pixels, a hidden layer with norm, ternary scores with bias.
fn small() -> Net {
    let hidden = Layer {
        name: "fc1".into(),
        weights: Weights::Bits(BitMatrix::from_fn(2, 6, |row, col| (row + col) % 3 == 0)),
        bias: None,
        norm: Some(BatchNorm {
            gamma: vec![1.0, -0.5],
            beta: vec![0.1, 0.0],
            mean: vec![0.5, -1.5],
            var: vec![4.0, 1.0],
            eps: 1e-5,
        }),
        activation: Activation::Sign,
    };
    let sign = BitMatrix::from_fn(2, 2, |row, col| row == col);
    let last = Layer {
        name: "fc2".into(),
        weights: Weights::Ternary {
            sign: sign.clone(),
            mask: sign,
        },
        bias: Some(vec![1, -1]),
        norm: None,
        activation: Activation::Scores,
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
        layers: vec![hidden, last],
        notes: vec![("classes".into(), "no yes".into())],
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
    let bytes = damage::golden("small.net", &net_to_bytes(&small()));
    assert_eq!(net_from_bytes(&bytes).unwrap(), small());
    assert_eq!(net_to_bytes(&small()), bytes);
}

#[test]
fn damage_of_every_kind_is_an_error() {
    let bytes = net_to_bytes(&small());
    damage::every_bit_flip_is_an_error(&bytes, net_from_bytes);
    damage::every_other_length_is_an_error(&bytes, net_from_bytes);
    damage::resealed_damage_never_panics(&bytes, net_from_bytes);
    damage::frame_errors(&bytes, net_from_bytes);
}

#[test]
fn a_program_is_no_net_and_a_net_is_no_program() {
    let error = net_from_bytes(&bnn::write(&random_program(1)))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("this is \"onebit program 1\", not \"onebit net 1\""),
        "{error}"
    );
    let error = bnn::read(&net_to_bytes(&small())).unwrap_err().to_string();
    assert!(
        error.contains("this is \"onebit net 1\", not \"onebit program 1\""),
        "{error}"
    );
}

#[test]
fn lines_and_tensors_that_do_not_fit() {
    let bytes = net_to_bytes(&small());
    let read = |from: &str, to: &str| {
        net_from_bytes(&damage::edited(&bytes, from, to))
            .unwrap_err()
            .to_string()
    };
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
        (
            "norm(1e-5) sign",
            "norm(1e-5)",
            "line 6: expected sign or scores",
        ),
        ("norm(1e-5)", "norm(x)", "line 6: \"x\" is not a number"),
        ("norm(1e-5)", "norm(NaN)", "eps is NaN"),
        ("norm(1e-5)", "", "belongs to nothing in the text"),
        (
            "layer fc2",
            "layer fc1",
            "tensor \"fc1.sign\" has a bit set past its last column",
        ),
        (
            "end\n\"",
            "\"",
            "the text ends here; a layer, or the end is missing",
        ),
        ("layer fc1", "layer fc3", "tensor \"fc3.sign\" is missing"),
        (
            "\"fc1.var\":{\"dtype\":\"F32\"",
            "\"fc1.var\":{\"dtype\":\"I32\"",
            "F32 is needed",
        ),
    ];
    for (from, to, expected) in cases {
        let error = read(from, to);
        assert!(error.contains(expected), "{to:?}: {error}");
    }
}

#[test]
fn two_layers_of_one_name_are_not_read_twice() {
    let mut net = small();
    net.layers.remove(0);
    net.encoder = Encoder::Sign { at: 1 };
    net.input.shape = vec![2];
    let bytes = net_to_bytes(&net);
    let line = "layer fc2 dense ternary[2, 2] bias scores\n";
    let twice = damage::edited(&bytes, line, &format!("{line}{line}"));
    let error = net_from_bytes(&twice).unwrap_err();
    assert!(matches!(error, BnnError::Text(_)), "{error}");
    assert!(
        error.to_string().contains("defines \"fc2\" already"),
        "{error}"
    );
}

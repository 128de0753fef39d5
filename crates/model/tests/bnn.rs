//! The `.bnn` file: round trip, golden files, damage of every kind, and its size.

use onebit_model::bnn::{self, BnnError};
use onebit_model::builder::ProgramBuilder;
use onebit_model::program::{Conv2d, Cuts, GroupNorm, Kind, Op, Program, ThresholdValues, Window};
use onebit_model::weights::{BitMatrix, BitPlanes, Matrix, Weights};
use onebit_testkit::{Random, random_conv_program, random_program};

mod damage;

/// A small Program with every op on vectors.
fn small() -> Program {
    let mut b = ProgramBuilder::new("small", Kind::Levels(8), &[1, 3, 1]);
    b.note("classes", "no \"yes\"");
    let cut = b.threshold("cut", b.input(), vec![100]);
    let codes = b.quantize("codes", b.input(), 2, Cuts::Int(vec![64, 128, 192]));
    let planes = b.planes("planes", codes);
    let joined = b.concat("joined", &[cut, planes]);
    let weights = Weights::Bits(BitMatrix::from_fn(3, 9, |row, col| {
        (row * 5 + col) % 3 == 0
    }));
    let sums = b.dense("fc1", joined, weights, Some(vec![0, 1, -1]));
    let bits = b.threshold_flip("s1", sums, vec![i32::MIN, -2, 300], vec![true, false, true]);
    let mask = BitMatrix::from_fn(2, 3, |row, col| row != col);
    let sign = BitMatrix::from_fn(2, 3, |row, col| row != col && col == 2);
    let scores = b.dense("fc2", bits, Weights::Ternary { sign, mask }, None);
    let real = b.affine("norm", scores, vec![0.5, -1.25], vec![0.1, 0.0]);
    b.threshold_real("t", real, vec![f32::NEG_INFINITY, 0.5], vec![false, true]);
    b.quantize("r", real, 1, Cuts::Real(vec![-0.25]));
    b.argmax("best", real);
    b.finish(real).unwrap()
}

/// A small Program with every op on images and reals, every kind of weights and every attribute.
fn conv() -> Program {
    let mut b = ProgramBuilder::new("conv", Kind::Levels(8), &[5, 4, 2]);
    let entries = [-128, 127, 0, -1, 1, 64];
    let stem = Conv2d {
        weights: Weights::Int8(Matrix::from_fn(4, 9, |row, col| entries[(row + col) % 6])),
        bias: Some(vec![-128, 127, 0, 1]),
        window: Window {
            dilation: [1, 2],
            pads: [1, 2, 1, 1],
            ..Window::new([3, 3])
        },
        groups: 2,
        pad: 128,
    };
    let sums = b.conv2d("stem", b.input(), stem);
    let bits = b.threshold("sign", sums, vec![0, i32::MIN, 300, -40_000]);
    let binary = Conv2d {
        weights: Weights::Bits(BitMatrix::from_fn(4, 16, |row, col| {
            (row * 5 + col) % 3 == 0
        })),
        bias: None,
        window: Window {
            stride: [2, 1],
            ..Window::new([2, 2])
        },
        groups: 1,
        pad: -1,
    };
    let ints = b.conv2d("binary", bits, binary);
    let relu = b.relu("relu", ints);
    let sum = b.add("sum", ints, relu);
    let norm = b.affine("norm", sum, vec![0.5, -1.25, 0.0, 1e-3], vec![0.1; 4]);
    let act = b.prelu("act", norm, vec![0.25, 0.0, -0.5, 1.0]);
    let shifted = b.rprelu("shift", act, vec![-0.5; 4], vec![0.125; 4], vec![1.5; 4]);
    let clip = b.clip("clip", shifted, -0.1, f32::INFINITY);
    let product = b.mul("product", clip, norm);
    let joined = b.concat_channels("joined", &[product, act]);
    let pool = b.max_pool(
        "pool",
        joined,
        Window {
            pads: [0, 1, 0, 0],
            ..Window::new([2, 2])
        },
    );
    let mean = b.avg_pool_count_pads("mean", pool, Window::new([1, 2]));
    let turned = b.transpose("turned", mean, &[2, 0, 1]);
    let part = b.slice("part", turned, &[1, 0, 0], &[6, 1, 1]);
    let flat = b.reshape("flat", part, &[6]);
    let real = Weights::Real(Matrix::from_fn(3, 6, |row, col| {
        (row as f32 - col as f32) / 3.0
    }));
    let scores = b.dense("fc", flat, real, None);
    let soft = b.softmax("soft", scores);
    let cuts = (0..12).map(|idx| idx * 7 - 40 * (idx / 3)).collect();
    b.quantize("codes", sums, 2, Cuts::Int(cuts));
    b.global_avg_pool("all", bits);
    b.finish(soft).unwrap()
}

/// A small Program with a group normalisation.
fn grouped() -> Program {
    let mut b = ProgramBuilder::new("grouped", Kind::Real, &[2, 1, 4]);
    let norm = GroupNorm {
        groups: 2,
        gamma: vec![1.0, -0.5, 0.0, 2.0],
        beta: vec![0.25, 0.0, -1.0, 1e-3],
        eps: 1e-5,
    };
    let y = b.group_norm("norm", b.input(), norm);
    b.finish(y).unwrap()
}

/// A small Program with weights of three bits.
fn planes() -> Program {
    let mut b = ProgramBuilder::new("planes", Kind::Levels(2), &[9]);
    let value = |row: usize, col: usize| [-7, -5, -3, -1, 1, 3, 5, 7][(3 * row + col) % 8];
    let weights = Weights::Planes(BitPlanes::from_fn(3, 2, 9, value));
    let y = b.dense("fc", b.input(), weights, Some(vec![0, -300]));
    b.finish(y).unwrap()
}

#[test]
fn the_golden_file_of_planes_is_read_and_written_the_same() {
    let bytes = damage::golden("planes.bnn", &bnn::write(&planes()));
    assert_eq!(bnn::read(&bytes).unwrap(), planes());
    assert_eq!(bnn::write(&planes()), bytes);
}

#[test]
fn planes_that_are_too_many_or_missing_are_named() {
    let bytes = bnn::write(&planes());
    for (to, part) in [
        (
            "planes(1)",
            "planes(1) is not one of planes(2) to planes(7)",
        ),
        (
            "planes(8)",
            "planes(8) is not one of planes(2) to planes(7)",
        ),
        ("planes(4)", "fc.plane3"),
        ("planes(2)", "fc.plane2"),
        ("plane(3)", "bits, ternary, planes(k), int8 or real"),
    ] {
        let error = bnn::read(&damage::edited(&bytes, "planes(3)", to)).unwrap_err();
        assert!(error.to_string().contains(part), "{to}: {error}");
    }
}

#[test]
fn the_golden_file_of_groups_is_read_and_written_the_same() {
    let bytes = damage::golden("grouped.bnn", &bnn::write(&grouped()));
    assert_eq!(bnn::read(&bytes).unwrap(), grouped());
    assert_eq!(bnn::write(&grouped()), bytes);
}

#[test]
fn the_golden_file_of_images_is_read_and_written_the_same() {
    let bytes = damage::golden("conv.bnn", &bnn::write(&conv()));
    assert_eq!(bnn::read(&bytes).unwrap(), conv());
    assert_eq!(bnn::write(&conv()), bytes);
}

#[test]
fn damage_to_images_is_an_error() {
    let bytes = bnn::write(&conv());
    damage::every_bit_flip_is_an_error(&bytes, bnn::read);
    damage::every_other_length_is_an_error(&bytes, bnn::read);
    damage::resealed_damage_never_panics(&bytes, bnn::read);
}

#[test]
fn weights_of_another_type_or_shape() {
    let bytes = bnn::write(&conv());
    let read = |from: &str, to: &str| bnn::read(&damage::edited(&bytes, from, to)).unwrap_err();
    for (from, to) in [
        (
            "\"stem.weights\":{\"dtype\":\"I8\"",
            "\"stem.weights\":{\"dtype\":\"U8\"",
        ),
        (
            "\"fc.weights\":{\"dtype\":\"F32\"",
            "\"fc.weights\":{\"dtype\":\"I32\"",
        ),
    ] {
        assert!(
            matches!(read(from, to), BnnError::TensorType { .. }),
            "{to}"
        );
    }
    for (from, to) in [
        ("int8[4, 9]", "int8[9, 4]"),
        ("real[3, 6]", "real[6, 3]"),
        ("levels(2) int[4]", "levels(2) int[5]"),
        ("levels(2) int[4]", "levels(2) int"),
        ("levels(2) int[4]", "levels(2) int[18446744073709551615]"),
        ("prelu norm real[4]", "prelu norm real[5]"),
    ] {
        assert!(
            matches!(read(from, to), BnnError::TensorShape { .. }),
            "{to}"
        );
    }
    let missing = |name: &str| BnnError::MissingTensor { name: name.into() };
    assert_eq!(read("int8[4, 9]", "bits[4, 9]"), missing("stem.sign"));
    assert_eq!(
        read("bits[4, 16]", "int8[4, 16]"),
        missing("binary.weights")
    );
    assert_eq!(
        read("prelu norm real[4]", "rprelu norm real[4]"),
        missing("act.before")
    );
    let error = read("groups 2", "groups 3").to_string();
    assert!(error.contains("3 groups do not divide"), "{error}");
}

#[test]
fn random_programs_round_trip_and_are_deterministic() {
    let chains = (0..60).map(random_conv_program);
    for (seed, program) in (0..400).map(random_program).chain(chains).enumerate() {
        let bytes = bnn::write(&program);
        assert_eq!(bytes, bnn::write(&program.clone()));
        assert_eq!(
            bnn::read(&bytes).unwrap_or_else(|e| panic!("seed {seed}: {e}")),
            program
        );
    }
}

#[test]
fn the_golden_file_is_read_and_written_the_same() {
    let bytes = damage::golden("small.bnn", &bnn::write(&small()));
    assert_eq!(bnn::read(&bytes).unwrap(), small());
    assert_eq!(bnn::write(&small()), bytes);
}

#[test]
fn every_single_bit_flip_is_an_error() {
    damage::every_bit_flip_is_an_error(&bnn::write(&small()), bnn::read);
}

#[test]
fn every_truncation_and_any_longer_file_is_an_error() {
    damage::every_other_length_is_an_error(&bnn::write(&small()), bnn::read);
}

#[test]
fn resealed_damage_never_panics() {
    damage::resealed_damage_never_panics(&bnn::write(&small()), bnn::read);
}

#[test]
fn the_frame_has_one_error_for_each_way_to_be_wrong() {
    damage::frame_errors(&bnn::write(&small()), "1", bnn::read);
}

#[test]
fn a_text_without_its_tensor_and_a_tensor_without_its_text() {
    let bytes = bnn::write(&small());
    let read = |from: &str, to: &str| bnn::read(&damage::edited(&bytes, from, to)).unwrap_err();
    assert_eq!(
        read("fc1.bias\":", "fc1.bia5\":"),
        BnnError::MissingTensor {
            name: "fc1.bias".into()
        }
    );
    assert_eq!(
        read("bits[3, 9] bias", "bits[3, 9]     "),
        BnnError::UnexpectedTensor {
            name: "fc1.bias".into()
        }
    );
}

#[test]
fn tensors_of_another_type_or_shape() {
    let bytes = bnn::write(&small());
    let read = |from: &str, to: &str| bnn::read(&damage::edited(&bytes, from, to)).unwrap_err();
    let is_type = |error: &BnnError, wanted: &str| matches!(error, BnnError::TensorType { wanted: w, .. } if *w == wanted);
    let error = read(
        "\"fc1.sign\":{\"dtype\":\"U8\"",
        "\"fc1.sign\":{\"dtype\":\"I8\"",
    );
    assert!(is_type(&error, "U8"), "{error}");
    let error = read(
        "\"fc1.bias\":{\"dtype\":\"I8\"",
        "\"fc1.bias\":{\"dtype\":\"U8\"",
    );
    assert!(is_type(&error, "I8, I16 or I32"), "{error}");
    let error = read(
        "\"norm.scale\":{\"dtype\":\"F32\"",
        "\"norm.scale\":{\"dtype\":\"I32\"",
    );
    assert!(is_type(&error, "F32"), "{error}");
    for (from, to) in [("bits[3, 9]", "bits[9, 3]"), ("int[3] flip", "int[4] flip")] {
        assert!(matches!(read(from, to), BnnError::TensorShape { .. }));
    }
    let error = read("real[2]", "real[0]");
    assert!(matches!(error, BnnError::TensorShape { .. }), "{error}");
}

#[test]
fn a_pad_bit_is_an_error_with_its_byte() {
    let bytes = bnn::write(&small());
    // Row 1 of fc1.sign has 9 columns: byte 1 of its two has one column and seven pad bits.
    let good = bnn::read(&bytes).unwrap();
    let Op::Dense { weights, .. } = &good.nodes[4].op else {
        panic!("not a dense")
    };
    let row = |row: usize| weights.sign().unwrap().row(row)[0].to_le_bytes();
    let rows = [&row(0)[..2], &row(1)[..2], &row(2)[..2]].concat();
    let at = damage::find(&bytes, &rows);
    let mut bytes = bytes;
    bytes[at + 3] |= 0x80;
    let expected = BnnError::PadBits {
        name: "fc1.sign".into(),
        row: 1,
        offset: at + 3,
    };
    assert_eq!(bnn::read(&damage::resealed(bytes)), Err(expected));
}

#[test]
fn a_malformed_program_in_a_sound_file() {
    let bytes = bnn::write(&small());
    let bytes = damage::edited(&bytes, "input levels(8)", "input levels(7)");
    bnn::read(&bytes).unwrap();
    let bytes = damage::edited(&bytes, "argmax norm", "argmax cut ");
    let error = bnn::read(&bytes).unwrap_err();
    assert!(matches!(error, BnnError::InvalidProgram(_)), "{error}");
    assert!(error.to_string().contains("argmax cannot read"), "{error}");
}

#[test]
#[should_panic(expected = "a malformed Program cannot be written")]
fn a_malformed_program_is_not_written() {
    let mut program = small();
    program.output.0 = 99;
    bnn::write(&program);
}

#[test]
fn integers_take_the_narrowest_type_and_constants_cost_nothing() {
    let program_of = |at: Vec<i32>| {
        let mut b = ProgramBuilder::new("p", Kind::Int, &[at.len()]);
        let bits = b.threshold("t", b.input(), at);
        b.finish(bits).unwrap()
    };
    let cases = [
        (vec![i32::MIN, -127, 127], "\"I8\""),
        (vec![i32::MIN, -128, 0], "\"I16\""),
        (vec![i32::MIN, 128, 0], "\"I16\""),
        (vec![i32::MIN, -32_767, 32_767], "\"I16\""),
        (vec![i32::MIN, -32_768, 0], "\"I32\""),
        (vec![i32::MIN, i32::MAX, 0], "\"I32\""),
    ];
    for (at, dtype) in cases {
        let program = program_of(at);
        let bytes = bnn::write(&program);
        assert!(damage::contains(&bytes, dtype), "{dtype}");
        assert_eq!(bnn::read(&bytes).unwrap(), program);
    }
}

#[test]
fn a_784_1024_1024_1024_10_net_with_integer_scores_is_small() {
    let mut random = Random::new(5);
    let mut b = ProgramBuilder::new("mnist", Kind::Levels(8), &[784]);
    let mut x = b.threshold("encoder.sign", b.input(), vec![128; 784]);
    let mut n = 784;
    for layer in 1..=3 {
        let weights = BitMatrix::from_fn(1024, n, |_, _| random.bits() & 1 == 1);
        let sums = b.dense(&format!("fc{layer}"), x, Weights::Bits(weights), None);
        let at = (0..1024)
            .map(|_| {
                if random.once_in(50) {
                    i32::MIN
                } else {
                    random.int(-1024, 1024) as i32
                }
            })
            .collect();
        let flip = (0..1024).map(|_| random.once_in(2)).collect();
        x = b.threshold_flip(&format!("fc{layer}.sign"), sums, at, flip);
        n = 1024;
    }
    let weights = BitMatrix::from_fn(10, n, |_, _| random.bits() & 1 == 1);
    let scores = b.dense("fc4", x, Weights::Bits(weights), None);
    let program = b.finish(scores).unwrap();
    let bytes = bnn::write(&program);
    assert!(bytes.len() <= 381_964, "{} bytes", bytes.len());
    assert_eq!(bnn::read(&bytes).unwrap(), program);
}

#[test]
fn thresholds_of_every_kind_survive() {
    let program = small();
    let read = bnn::read(&bnn::write(&program)).unwrap();
    let Op::Threshold(thresholds) = &read.nodes[5].op else {
        panic!("not a threshold")
    };
    assert_eq!(thresholds.at, ThresholdValues::Int(vec![i32::MIN, -2, 300]));
    assert_eq!(thresholds.flip, [true, false, true]);
}

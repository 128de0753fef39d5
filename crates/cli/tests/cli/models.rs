//! `compile`, `inspect`, `eval`, `run`, `verify` and `bench` on a fixed model.

use onebit_data::{ArrayData, npy_bytes, parse_npy};
use onebit_model::program::{Op, ThresholdValues};
use onebit_model::{bnn, interpret, verify};
use serde_json::Value;

use crate::common::{Models, expect, fails, ok, onebit, ran};

fn json(text: &str) -> Value {
    assert_eq!(text.lines().count(), 1, "not one line: {text}");
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn compile_writes_the_same_bytes_every_time() {
    let models = Models::new();
    ok(models.path(), &["compile", "small.net", "-o", "again.bnn"]);
    let read = |name: &str| std::fs::read(models.path().join(name)).unwrap();
    assert_eq!(read("small.bnn"), read("again.bnn"));
    expect(
        "text.txt",
        &ok(models.path(), &["compile", "small.net", "--text"]),
    );
    assert_eq!(
        ok(models.path(), &["compile", "small.net", "--text"]),
        ok(models.path(), &["compile", "small.bnn", "--text"])
    );
}

#[test]
fn every_way_to_compile_agrees_with_the_net() {
    let models = Models::new();
    for (idx, options) in [
        &["--keep-flips"][..],
        &["--drop-constant"],
        &["--keep-flips", "--drop-constant"],
    ]
    .iter()
    .enumerate()
    {
        let file = format!("way{idx}.bnn");
        let mut args = vec!["compile", "small.net", "-o", &file];
        args.extend(*options);
        ok(models.path(), &args);
        let text = ok(
            models.path(),
            &["verify", &file, "--data", "digits", "--net", "small.net"],
        );
        assert!(text.contains("net, interpreter, scalar"), "{text}");
    }
}

#[test]
fn inspect_shows_layers_sizes_and_energy() {
    let models = Models::new();
    expect("inspect.txt", &ok(models.path(), &["inspect", "small.bnn"]));
    let net = ok(models.path(), &["inspect", "small.net"]);
    assert!(net.contains("The file holds a Net"));
    let found = json(&ok(models.path(), &["inspect", "small.bnn", "--json"]));
    assert_eq!(found["weights"], 64 * 24 + 24 * 16 + 16 * 10);
    assert_eq!(found["bit_macs"], found["weights"]);
    assert_eq!(found["layers"].as_array().unwrap().len(), 6);
    assert_eq!(found["layers"][1]["bits_per_weight"], 2);
    assert_eq!(found["layers"][2]["thresholds"]["constant"], 1);
}

#[test]
fn eval_counts_the_whole_test_split_on_every_engine() {
    let models = Models::new();
    let mut engines = vec!["net", "interpreter", "scalar"];
    engines.extend(
        onebit_bits::Isa::available()
            .map(|isa| isa.name())
            .filter(|name| *name != "scalar"),
    );
    let mut found = Vec::new();
    for engine in engines {
        let text = ok(
            models.path(),
            &[
                "eval",
                "small.bnn",
                "--data",
                "digits",
                "--engine",
                engine,
                "--json",
            ],
        );
        let value = json(&text);
        assert_eq!(value["total"], 450);
        assert_eq!(value["engine"], engine);
        let share = value["correct"].as_f64().unwrap() / 450.0;
        assert!((value["accuracy"].as_f64().unwrap() - share).abs() < 1e-12);
        found.push(value["correct"].as_u64().unwrap());
    }
    assert!(found.windows(2).all(|pair| pair[0] == pair[1]), "{found:?}");
    let text = ok(models.path(), &["eval", "small.net", "--data", "digits"]);
    assert!(
        text.contains(&format!("{} of 450", found[0])) && text.contains("engine net"),
        "{text}"
    );
}

#[test]
fn run_gives_the_interpreters_scores_for_every_dtype() {
    let models = Models::new();
    let pixels: Vec<u8> = (0..3 * 64).map(|i| (i * 37 % 256) as u8).collect();
    let program = bnn::read(&std::fs::read(models.path().join("small.bnn")).unwrap()).unwrap();
    let types = verify(&program).unwrap();
    let scores = pixels.chunks(64).flat_map(|image| {
        match interpret(
            &program,
            &types,
            &onebit_model::Tensor::Levels(image.to_vec()),
        ) {
            onebit_model::Tensor::Int(scores) => scores,
            other => panic!("not integers: {other:?}"),
        }
    });
    let scores: Vec<i32> = scores.collect();
    let arrays = [
        ("u8", &[3, 8, 8, 1][..], ArrayData::U8(pixels.clone())),
        (
            "i32",
            &[3, 64],
            ArrayData::I32(pixels.iter().map(|&p| i32::from(p)).collect()),
        ),
        (
            "f32",
            &[3, 8, 8],
            ArrayData::F32(pixels.iter().map(|&p| f32::from(p)).collect()),
        ),
    ];
    for (name, shape, data) in arrays {
        let file = format!("{name}.npy");
        std::fs::write(models.path().join(&file), npy_bytes(shape, &data)).unwrap();
        ok(
            models.path(),
            &["run", "small.bnn", "--input", &file, "--output", "y.npy"],
        );
        let y = onebit_data::read_npy(&models.path().join("y.npy")).unwrap();
        assert_eq!(
            (y.shape, y.data),
            (vec![3, 10], ArrayData::I32(scores.clone())),
            "{name}"
        );
    }
    let idx = [
        &[0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 8, 0, 0, 0, 8][..],
        &pixels,
    ]
    .concat();
    std::fs::write(models.path().join("images-idx3-ubyte"), idx).unwrap();
    let table = |file: &str| ok(models.path(), &["run", "small.bnn", "--input", file]);
    assert_eq!(table("images-idx3-ubyte"), table("u8.npy"));
    expect(
        "run.txt",
        &ok(models.path(), &["run", "small.bnn", "--input", "u8.npy"]),
    );
}

#[test]
fn run_reads_standard_input() {
    use std::io::Write;
    let models = Models::new();
    let mut command = onebit();
    command
        .current_dir(models.path())
        .args(["run", "small.bnn", "--input", "-"]);
    let mut child = command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let bytes = npy_bytes(&[1, 64], &ArrayData::U8(vec![0; 64]));
    child.stdin.take().unwrap().write_all(&bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 2);
    assert!(parse_npy(std::path::Path::new("x"), &bytes).is_ok());
}

#[test]
fn verify_agrees_on_all_engines() {
    let models = Models::new();
    let text = ok(models.path(), &["verify", "small.bnn", "--data", "digits"]);
    assert!(
        text.contains("net, interpreter, scalar") && text.contains("all 450 test examples"),
        "{text}"
    );
    let folder = ok(
        models.path(),
        &[
            "verify",
            ".",
            "--data",
            "digits",
            "--engines",
            "interpreter,scalar",
            "--json",
        ],
    );
    let found = json(&folder);
    assert_eq!(
        (&found["agree"], &found["examples"]),
        (&Value::Bool(true), &Value::from(450))
    );
    assert_eq!(
        found["engines"],
        serde_json::json!(["interpreter", "scalar"])
    );
}

#[test]
fn verify_names_the_first_layer_neuron_and_image_that_differ() {
    let models = Models::new();
    let path = models.path().join("small.bnn");
    let mut program = bnn::read(&std::fs::read(&path).unwrap()).unwrap();
    let node = program
        .nodes
        .iter_mut()
        .find(|node| node.name == "hidden2.sign")
        .unwrap();
    let Op::Threshold(thresholds) = &mut node.op else {
        panic!("not a threshold")
    };
    let ThresholdValues::Int(at) = &mut thresholds.at else {
        panic!("not integers")
    };
    // Always +1 and always -1: both cannot be right, so the first image with the wrong one is found.
    at[5] = i32::MIN;
    std::fs::write(&path, bnn::write(&program)).unwrap();
    let error = fails(
        models.path(),
        1,
        &["verify", "small.bnn", "--data", "digits"],
    );
    assert!(
        error.contains("interpreter and net disagree first in layer hidden2.sign, neuron 5, image"),
        "{error}"
    );
    assert!(error.contains("interpreter has +1, net has -1"), "{error}");
    let image: usize = error
        .split("image ")
        .nth(1)
        .unwrap()
        .split(':')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let data = onebit_data::digits();
    let onebit_data::Features::U8(pixels) = &data.test.features else {
        panic!("not pixels")
    };
    let bit = |idx: usize| {
        let input = onebit_model::Tensor::Levels(pixels[idx * 64..][..64].to_vec());
        match &onebit_model::evaluate(&models.net, &input).unwrap().values[4] {
            onebit_model::Tensor::Bits(bits) => bits[5],
            other => panic!("not bits: {other:?}"),
        }
    };
    assert_eq!((0..450).find(|&idx| !bit(idx)), Some(image));
    // Without the Net, the changed Program is a Program like any other.
    ok(
        models.path(),
        &[
            "verify",
            "small.bnn",
            "--data",
            "digits",
            "--engines",
            "scalar",
        ],
    );
}

#[test]
fn bench_reports_what_the_contract_names() {
    let models = Models::new();
    let args = [
        "bench",
        "small.bnn",
        "--threads",
        "2",
        "--batch",
        "64",
        "--seconds",
        "0.02",
        "--json",
    ];
    let found = json(&ok(models.path(), &args));
    for key in [
        "images_per_s",
        "median_ms",
        "p99_ms",
        "bit_macs_per_s",
        "share_of_peak",
    ] {
        assert!(
            found[key].as_f64().is_some_and(|value| value > 0.0),
            "{key} in {found}"
        );
    }
    assert_eq!(
        (&found["threads"], &found["batch"]),
        (&Value::from(2), &Value::from(64))
    );
    assert!(!found["layers"].as_array().unwrap().is_empty());
    let table = ok(models.path(), &["bench", "small.bnn", "--seconds", "0.01"]);
    for isa in onebit_bits::Isa::available() {
        assert!(table.contains(isa.name()), "{table}");
    }
    let mut forced = onebit();
    forced
        .current_dir(models.path())
        .env("ONEBIT_ISA", "scalar")
        .args(["bench", "small.bnn", "--seconds", "0.01", "--json"]);
    assert_eq!(json(&ran(&mut forced).stdout)["isa"], "scalar");
}

#[test]
fn the_embedded_data_can_be_shown_and_listed() {
    let here = std::path::Path::new(".");
    expect("data_show.txt", &ok(here, &["data", "show", "digits"]));
    let found = json(&ok(here, &["data", "show", "digits", "--json"]));
    assert_eq!(
        found["train"]
            .as_array()
            .unwrap()
            .iter()
            .map(|n| n.as_u64().unwrap())
            .sum::<u64>(),
        1347
    );
    let list = ok(here, &["data", "list"]);
    for name in ["digits", "mnist", "fashion-mnist"] {
        assert!(list.contains(name), "{list}");
    }
}

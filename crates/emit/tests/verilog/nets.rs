//! Networks of full size, folded: whole test splits in Verilator, a sample in Icarus.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use onebit_data::Features;
use onebit_emit::verilog::{Folded, Style, Unrolled, Verilog, estimate};
use onebit_model::program::{Kind, Program};
use onebit_model::{Tensor, bnn, interpret, verify};
use onebit_run::{InputBatch, OutputBatch, Plan, PlanOptions};
use onebit_testkit::random_input;
use tempfile::TempDir;

use crate::folded::{assert_passes, cycles_of, folded};
use crate::simulators;
use crate::tools::skip;
use crate::unrolled::unrolled;

/// Cycles that an image may take, as BNN-PYNQ's accelerator for the same network needs.
const CYCLES: u64 = 560;

/// The first images of MNIST's test split; `None`, said, where the set is not here.
fn test_pixels(n_images: usize) -> Option<Vec<u8>> {
    let Ok(set) = onebit_data::open("mnist") else {
        skip("run `onebit data get mnist`, or set ONEBIT_DATA to the folder that holds mnist/");
        return None;
    };
    let Features::U8(pixels) = set.test.features else {
        panic!("MNIST has grey pixels")
    };
    Some(pixels[..n_images * 784].to_vec())
}

/// The engine's scores of all images as 32-bit words, of which the first are the interpreter's too.
fn scores(program: &Program, pixels: &[u8]) -> Vec<u32> {
    let n = program.input.n_elements();
    let plan = Plan::new(program, &PlanOptions::default()).unwrap();
    let n_scores = pixels.len() / n * 10;
    let mut session = plan.session().unwrap();
    let types = verify(program).unwrap();
    let images = InputBatch::Levels(pixels);
    let words: Vec<u32> = if types.of(program.output).kind == Kind::Real {
        let mut scores = vec![0.0; n_scores];
        session.run(images, OutputBatch::Real(&mut scores)).unwrap();
        scores.iter().map(|score| score.to_bits()).collect()
    } else {
        let mut scores = vec![0; n_scores];
        session.run(images, OutputBatch::Int(&mut scores)).unwrap();
        scores.iter().map(|score| score.cast_unsigned()).collect()
    };
    for (image, wanted) in pixels.chunks(n).zip(words.chunks(10)).take(2) {
        let found: Vec<u32> = match interpret(program, &types, &Tensor::Levels(image.to_vec())) {
            Tensor::Int(scores) => scores.iter().map(|score| score.cast_unsigned()).collect(),
            Tensor::Real(scores) => scores.iter().map(|score| score.to_bits()).collect(),
            other => panic!("scores are numbers, not {other:?}"),
        };
        assert_eq!(found, wanted);
    }
    words
}

/// Writes vectors of these images in the form of the emitted ones.
fn write_vectors(folder: &Path, per_beat: usize, pixels: &[u8], scores: &[u32]) {
    let mut inputs = String::new();
    for beat in pixels.chunks(per_beat) {
        beat.iter()
            .rev()
            .for_each(|pixel| write!(inputs, "{pixel:02x}").unwrap());
        inputs.push('\n');
    }
    let mut expected = String::new();
    scores
        .iter()
        .for_each(|score| writeln!(expected, "{score:08x}").unwrap());
    fs::write(folder.join("net_inputs.hex"), inputs).unwrap();
    fs::write(folder.join("net_expected.hex"), expected).unwrap();
}

/// Runs images through a folded network: every score is the engine's, and the cycles are those of the estimate.
fn check(program: &Program, cycles: u64, pixels: &[u8], n_in_icarus: usize) {
    let n_images = pixels.len() / program.input.n_elements();
    let emitted = folded(program, cycles, Vec::new()).unwrap();
    let options = Verilog {
        style: Style::Folded(Folded { cycles }),
        ..Verilog::default()
    };
    let cost = estimate(&options, program, &verify(program).unwrap()).unwrap();
    let folder = TempDir::new().unwrap();
    simulators::write(folder.path(), &emitted);
    simulators::lint(folder.path(), &simulators::sources(&emitted));
    let per_beat = cost.layers[0].pe;
    write_vectors(folder.path(), per_beat, pixels, &scores(program, pixels));
    let words = simulators::verilator(
        folder.path(),
        &simulators::sources(&emitted),
        &[("IMAGES", n_images)],
    );
    assert_passes(&words, &program.name);
    let n_answers = 10 * n_images;
    let all = format!("PASS: {n_answers} answers of {n_images} images");
    assert!(words.contains(&all), "{words}");
    let [first, later] = cycles_of(&words);
    println!(
        "{}: first answer after {first} cycles of {}, {later} cycles for {} more images at {}",
        program.name,
        cost.latency,
        n_images - 1,
        cost.interval
    );
    assert!(cost.interval <= cycles, "{}", cost.interval);
    // The reset takes the first cycles, and the streams fill up in the first images.
    assert!(first <= cost.latency + 10);
    assert!(later <= cost.interval * n_images as u64);
    if n_in_icarus > 0 {
        let words = simulators::icarus(
            folder.path(),
            &simulators::sources(&emitted),
            &[("IMAGES", n_in_icarus)],
        );
        assert_passes(&words, &program.name);
    }
}

fn zoo(name: &str) -> Program {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../zoo");
    bnn::read(&fs::read(root.join(name)).unwrap()).unwrap()
}

/// A published network of BNN-PYNQ; `None`, said, where the archives are not here.
fn published(archive: &str) -> Option<Program> {
    let folder =
        std::env::var_os("ONEBIT_SHARED").map(|dir| PathBuf::from(dir).join("models/finn"));
    let Some(folder) = folder.filter(|folder| folder.is_dir()) else {
        println!("skipped: set ONEBIT_SHARED to the folder that holds models/finn");
        return None;
    };
    let imported = onebit_import::import(&folder.join(archive), &onebit_import::Options::default());
    Some(imported.unwrap().program)
}

/// The whole test split through a network, and some images in Icarus.
fn check_mnist(program: &Program, n_in_icarus: usize) {
    if !simulators::has_verilator() || !simulators::has_icarus() {
        return;
    }
    if let Some(pixels) = test_pixels(10_000) {
        check(program, CYCLES, &pixels, n_in_icarus);
    }
}

#[test]
fn sfc_gives_all_scores_of_the_test_split() {
    check_mnist(&zoo("mnist-sfc.bnn"), 3);
}

#[test]
fn lfc_gives_all_scores_of_the_test_split() {
    check_mnist(&zoo("mnist-lfc.bnn"), 1);
}

#[test]
fn the_published_lfc_gives_all_scores_of_the_test_split() {
    if let Some(program) = published("mnist_lfcW1A1.tar.gz") {
        check_mnist(&program, 1);
    }
}

#[test]
fn a_sparse_net_gives_all_scores_of_the_test_split_after_synthesis() {
    if !simulators::has_verilator() || !simulators::has_yosys() {
        return;
    }
    let Some(pixels) = test_pixels(10_000) else {
        return;
    };
    let program = zoo("mnist-logic.bnn");
    let options = Verilog {
        style: Style::Unrolled(Unrolled { levels: 3 }),
        ..Verilog::default()
    };
    let cost = estimate(&options, &program, &verify(&program).unwrap()).unwrap();
    // The encoder is included.
    assert!(
        cost.luts < 5_000 && cost.interval == 1,
        "{} LUTs",
        cost.luts
    );
    let emitted = unrolled(&program, 3, Vec::new()).unwrap();
    let folder = TempDir::new().unwrap();
    simulators::write(folder.path(), &emitted);
    simulators::lint(folder.path(), &simulators::sources(&emitted));
    write_vectors(folder.path(), 784, &pixels, &scores(&program, &pixels));
    simulators::synthesise(folder.path());
    let words = simulators::verilator(folder.path(), &simulators::NETLIST, &[("IMAGES", 10_000)]);
    assert_passes(&words, &program.name);
    assert!(
        words.contains("PASS: 100000 answers of 10000 images"),
        "{words}"
    );
}

#[test]
fn a_convolutional_network_gives_the_scores_of_200_images() {
    if !simulators::has_verilator() {
        return;
    }
    if let Some(pixels) = test_pixels(200) {
        check(&zoo("mnist-cnn.bnn"), 20_000, &pixels, 1);
    }
}

#[test]
fn networks_of_cnv_give_the_scores_of_noise() {
    if !simulators::has_verilator() {
        return;
    }
    // Weights of one and of two bits; both end in a norm, whose reals come from a table.
    for name in ["cifar10-cnv.bnn", "cifar10-cnv-w2a2.bnn"] {
        let program = zoo(name);
        let pixels = (0..3).flat_map(|seed| match random_input(&program, seed) {
            Tensor::Levels(pixels) => pixels,
            other => panic!("images are 8-bit, not {other:?}"),
        });
        check(&program, 50_000, &pixels.collect::<Vec<u8>>(), 0);
    }
}

#[test]
fn estimates_are_near_what_yosys_made_of_the_same_designs() {
    let records = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../bench/record");
    for (record, name, cycles) in [
        ("2026-11-23-fpga.json", "mnist-lfc", CYCLES),
        ("2026-11-23-fpga-folded.json", "mnist-sfc", CYCLES),
        ("2026-11-23-fpga-folded.json", "mnist-cnn", 20_000),
        ("2026-11-23-fpga-folded.json", "cifar10-cnv", 50_000),
    ] {
        let text = fs::read_to_string(records.join(record)).unwrap();
        let record: serde_json::Value = serde_json::from_str(&text).unwrap();
        let designs = record["designs"].as_array().unwrap();
        let design = designs.iter().find(|design| design["design"] == name);
        let found = &design.unwrap()["after_synthesis"][0];
        assert_eq!(found["target"], "xilinx");
        let program = zoo(&format!("{name}.bnn"));
        let options = Verilog {
            style: Style::Folded(Folded { cycles }),
            ..Verilog::default()
        };
        let cost = estimate(&options, &program, &verify(&program).unwrap()).unwrap();
        for (what, estimated, most_percent) in [
            ("luts", cost.luts as f64, 3.0),
            ("flip_flops", cost.flip_flops as f64, 5.0),
            ("block_rams", cost.block_rams, 10.0),
        ] {
            let made = found[what].as_f64().unwrap();
            let percent = 100.0 * (estimated / made - 1.0);
            println!("{name} {what}: {estimated} of {made}, {percent:+.1} %");
            assert!(percent.abs() <= most_percent, "{name} {what}: {percent} %");
        }
    }
}

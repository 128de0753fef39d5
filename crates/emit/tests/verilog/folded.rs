//! Folded designs give the interpreter's answers: random Programs with and without stalls.

use onebit_compile::optimize;
use onebit_emit::verilog::{Folded, Style, Verilog, estimate};
use onebit_emit::{EmitError, Emitted, emit};
use onebit_model::builder::ProgramBuilder;
use onebit_model::program::{Conv2d, Kind, Program, ValueId, Window};
use onebit_model::weights::{BitMatrix, Weights};
use onebit_model::{Tensor, verify};
use onebit_testkit::{Random, random_conv_program, random_input, random_program};
use tempfile::TempDir;

use crate::simulators;

/// The cycles of the first answer, then those of all later images together.
pub fn cycles_of(words: &str) -> [u64; 2] {
    let line = words.lines().find(|line| line.starts_with("cycles: "));
    let numbers = line
        .unwrap()
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|n| n.parse().ok());
    let numbers: Vec<u64> = numbers.collect();
    [numbers[0], numbers[1]]
}

/// A folded design named `net`.
pub fn folded(program: &Program, cycles: u64, vectors: Vec<Tensor>) -> Result<Emitted, EmitError> {
    let style = Style::Folded(Folded { cycles });
    emit(
        &Verilog {
            style,
            vectors,
            ..Verilog::default()
        },
        program,
    )
}

/// Asserts that a testbench passes, of so many answers.
#[track_caller]
pub fn assert_passes(words: &str, case: &str) {
    assert!(
        words.contains("PASS: ") && !words.contains("FAIL"),
        "{case}: {words}"
    );
}

/// Checks the Programs of a range of seeds that the emitter takes; how many those are.
fn check_seeds(seeds: std::ops::Range<u64>, make: fn(u64) -> Program, n_wanted: usize) {
    let mut n_checked = 0;
    for seed in seeds.clone() {
        if n_checked == n_wanted {
            return;
        }
        let program = make(seed);
        let inputs: Vec<Tensor> = (0..3)
            .map(|i| random_input(&program, seed * 1000 + i))
            .collect();
        let cycles = [1, 7, 64, 1000, 10_000][seed as usize % 5];
        let Ok(emitted) = folded(&program, cycles, inputs) else {
            continue;
        };
        let folder = TempDir::new().unwrap();
        simulators::write(folder.path(), &emitted);
        let case = format!("seed {seed}, {cycles} cycles");
        println!("{case}");
        if simulators::has_verilator() {
            simulators::lint(folder.path(), &simulators::sources(&emitted));
        }
        for stalls in [0, 1] {
            assert_passes(
                &simulators::icarus(
                    folder.path(),
                    &simulators::sources(&emitted),
                    &[("STALLS", stalls)],
                ),
                &case,
            );
        }
        n_checked += 1;
    }
    assert_eq!(
        n_checked, n_wanted,
        "too few Programs of seeds {seeds:?} have no reals"
    );
}

#[test]
fn random_programs_give_the_interpreters_answers() {
    if simulators::has_icarus() {
        check_seeds(0..400, random_program, 25);
    }
}

/// A random convolutional network up to the last value that depends on nothing real.
pub fn integer_network(seed: u64) -> Program {
    let whole = random_conv_program(seed);
    let mut program = optimize(whole, &onebit_compile::Options::default()).unwrap();
    let types = verify(&program).unwrap();
    let mut is_good = vec![types.of(ValueId(0)).kind != Kind::Real];
    for (node_idx, node) in program.nodes.iter().enumerate() {
        let is_real = types.of(ValueId(node_idx + 1)).kind == Kind::Real;
        is_good.push(!is_real && node.inputs.iter().all(|input| is_good[input.0]));
    }
    // Where even the input is real, the Program stays as it is, and is refused.
    let last = is_good.iter().rposition(|is_good| *is_good);
    program.output = last.map_or(program.output, ValueId);
    program
}

#[test]
fn random_networks_give_the_interpreters_answers() {
    if simulators::has_icarus() {
        check_seeds(0..60, integer_network, 6);
    }
}

/// Random weights of one bit.
fn signs(random: &mut Random, n_rows: usize, n_cols: usize) -> Weights {
    Weights::Bits(BitMatrix::from_fn(n_rows, n_cols, |_, _| random.once_in(2)))
}

/// A network whose values meet others that are three layers younger, in a sum and side by side.
fn network_of_joins() -> Program {
    let mut random = Random::new(77);
    let mut builder = ProgramBuilder::new("joins", Kind::Bits, &[6, 6, 8]);
    let mut conv = |builder: &mut ProgramBuilder, name: String, x: ValueId, n_in: usize| {
        let mut window = Window::new([3, 3]);
        window.pads = [1; 4];
        let conv = Conv2d {
            weights: signs(&mut random, 8, 9 * n_in),
            bias: None,
            window,
            groups: 1,
            pad: 1,
        };
        let sums = builder.conv2d(&name, x, conv);
        let at = (0..8).map(|_| random.int(-6, 6) as i32).collect();
        (sums, builder.threshold(&format!("{name}_sign"), sums, at))
    };
    let input = builder.input();
    let (first_sums, mut x) = conv(&mut builder, "first".to_string(), input, 8);
    let mut sums = first_sums;
    for layer in 0..3 {
        (sums, x) = conv(&mut builder, format!("long{layer}"), x, 8);
    }
    let total = builder.add("total", sums, first_sums);
    let bits = builder.threshold("bits", total, vec![0; 8]);
    let both = builder.concat_channels("both", &[bits, input]);
    let (last, _) = conv(&mut builder, "last".to_string(), both, 16);
    builder.finish(last).unwrap()
}

#[test]
fn branches_of_different_lengths_do_not_hold_images_back() {
    if !simulators::has_icarus() {
        return;
    }
    let program = network_of_joins();
    let n_images = 24;
    for cycles in [700, 1500] {
        let inputs = (0..n_images).map(|i| random_input(&program, i)).collect();
        let emitted = folded(&program, cycles, inputs).unwrap();
        let folder = TempDir::new().unwrap();
        simulators::write(folder.path(), &emitted);
        let words = simulators::icarus(folder.path(), &simulators::sources(&emitted), &[]);
        assert_passes(&words, "joins");
        let options = Verilog {
            style: Style::Folded(Folded { cycles }),
            ..Verilog::default()
        };
        let cost = estimate(&options, &program, &verify(&program).unwrap()).unwrap();
        let [first, later] = cycles_of(&words);
        println!("{first} of {}, {later} at {}", cost.latency, cost.interval);
        assert!(first <= cost.latency + 10);
        // The streams fill up in the first images.
        assert!(
            later <= cost.interval * n_images,
            "{later}: {}",
            cost.interval
        );
    }
}

#[test]
fn reals_are_refused_by_layer_with_the_way_out() {
    let mut builder = ProgramBuilder::new("reals", Kind::Bits, &[4]);
    let x = builder.affine("norm", builder.input(), vec![0.5; 4], vec![0.0; 4]);
    let program = builder.finish(x).unwrap();
    let error = folded(&program, 100, Vec::new()).unwrap_err().to_string();
    assert!(
        error.contains("`norm` (affine)") && error.contains("batch-integer"),
        "{error}"
    );
}

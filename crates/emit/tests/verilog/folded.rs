//! Folded designs give the interpreter's answers: random Programs with and without stalls.

use onebit_compile::optimize;
use onebit_emit::verilog::{Folded, Style, Verilog};
use onebit_emit::{EmitError, Emitted, emit};
use onebit_model::builder::ProgramBuilder;
use onebit_model::program::{Kind, Program, ValueId};
use onebit_model::{Tensor, verify};
use onebit_testkit::{random_conv_program, random_input, random_program};
use tempfile::TempDir;

use crate::simulators;

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

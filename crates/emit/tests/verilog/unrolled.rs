//! Unrolled designs give the interpreter's answers, before and after synthesis.

use onebit_emit::verilog::{Style, Unrolled, Verilog, estimate};
use onebit_emit::{EmitError, Emitted, emit};
use onebit_model::builder::ProgramBuilder;
use onebit_model::program::{Kind, Program, Window};
use onebit_model::weights::{BitMatrix, Weights};
use onebit_model::{Tensor, verify};
use onebit_testkit::{Random, random_input, random_program};
use tempfile::TempDir;

use crate::folded::assert_passes;
use crate::simulators;

pub fn unrolled(
    program: &Program,
    levels: usize,
    vectors: Vec<Tensor>,
) -> Result<Emitted, EmitError> {
    let style = Style::Unrolled(Unrolled { levels });
    emit(
        &Verilog {
            style,
            vectors,
            ..Verilog::default()
        },
        program,
    )
}

/// Layers of ternary weights of which one in `sparsity` is not zero, with an encoder and scores.
fn sparse_program(seed: u64, sizes: &[usize], sparsity: usize) -> Program {
    let mut random = Random::new(seed);
    let mut builder = ProgramBuilder::new("sparse", Kind::Levels(8), &[sizes[0]]);
    let at = (0..sizes[0]).map(|_| random.int(64, 192) as i32).collect();
    let mut x = builder.threshold("encoder", builder.input(), at);
    for (layer, size) in sizes.windows(2).enumerate() {
        let mask = BitMatrix::from_fn(size[1], size[0], |_, _| random.once_in(sparsity));
        let sign = BitMatrix::from_fn(size[1], size[0], |row, col| {
            mask.get(row, col) && random.once_in(2)
        });
        x = builder.dense(
            &format!("fc{layer}"),
            x,
            Weights::Ternary { sign, mask },
            None,
        );
        if layer + 2 < sizes.len() {
            let at = (0..size[1]).map(|_| random.int(-2, 2) as i32).collect();
            x = builder.threshold(&format!("sign{layer}"), x, at);
        }
    }
    builder.finish(x).unwrap()
}

fn inputs(program: &Program, n: u64) -> Vec<Tensor> {
    (0..n).map(|i| random_input(program, 77 + i)).collect()
}

#[test]
fn random_programs_give_the_interpreters_answers() {
    if !simulators::has_icarus() {
        return;
    }
    let mut n_checked = 0;
    for seed in (0..300).filter(|seed| seed % 5 == 0) {
        let program = random_program(seed);
        // Larger ones are logic of millions of gates.
        let n_terms: usize = program.nodes.len() * program.input.n_elements();
        let Ok(emitted) = unrolled(&program, 1 + seed as usize % 4, inputs(&program, 4)) else {
            continue;
        };
        let n_bytes: usize = emitted.files.iter().map(|file| file.bytes.len()).sum();
        if n_bytes > 400_000 || n_terms > 20_000 {
            continue;
        }
        let folder = TempDir::new().unwrap();
        simulators::write(folder.path(), &emitted);
        if simulators::has_verilator() {
            simulators::lint(folder.path(), &simulators::sources(&emitted));
        }
        for stalls in [0, 1] {
            let words = simulators::icarus(
                folder.path(),
                &simulators::sources(&emitted),
                &[("STALLS", stalls)],
            );
            assert_passes(&words, &format!("seed {seed}"));
        }
        n_checked += 1;
    }
    assert!(n_checked >= 5, "only {n_checked} Programs");
}

#[test]
fn a_sparse_net_is_the_same_after_synthesis() {
    if !simulators::has_yosys() || !simulators::has_icarus() {
        return;
    }
    let program = sparse_program(3, &[64, 48, 32, 10], 8);
    let emitted = unrolled(&program, 2, inputs(&program, 50)).unwrap();
    let folder = TempDir::new().unwrap();
    simulators::write(folder.path(), &emitted);
    simulators::synthesise(folder.path());
    let words = simulators::icarus(folder.path(), &simulators::NETLIST, &[]);
    assert_passes(&words, "the netlist");
}

#[test]
fn the_estimate_counts_the_tables_and_registers_of_the_text() {
    let program = sparse_program(5, &[40, 30, 20, 10], 5);
    let style = Style::Unrolled(Unrolled { levels: 2 });
    let options = Verilog {
        style,
        ..Verilog::default()
    };
    let cost = estimate(&options, &program, &verify(&program).unwrap()).unwrap();
    let emitted = emit(&options, &program).unwrap();
    let text = String::from_utf8(emitted.files[0].bytes.clone()).unwrap();
    let n_lines = |start: &str, has: &str| {
        let lines = text.lines();
        lines
            .filter(|line| line.starts_with(start) && line.contains(has))
            .count() as u64
    };
    assert_eq!(cost.luts, n_lines("  wire n", " = T"));
    // A register for each answer on its way is the shift register `valid`.
    assert_eq!(cost.flip_flops, n_lines("  reg n", ";") + cost.latency);
    assert_eq!(cost.interval, 1);
    let encoder = &cost.layers[0];
    assert_eq!(
        (encoder.name.as_str(), encoder.op),
        ("encoder", "threshold")
    );
    assert!(encoder.luts > 0 && cost.encoder_luts == encoder.luts);
    assert_eq!(
        cost.luts,
        cost.layers.iter().map(|layer| layer.luts).sum::<u64>()
    );
}

#[test]
fn a_program_that_is_too_large_is_refused_by_layer() {
    let program = sparse_program(1, &[3000, 3000, 10], 1);
    let error = unrolled(&program, 1, Vec::new()).unwrap_err().to_string();
    assert!(
        error.contains("`fc0` (dense)") && error.contains("folded"),
        "{error}"
    );
    // Logic grows with windows too, though they have no weights.
    let mut builder = ProgramBuilder::new("pool", Kind::Bits, &[64, 64, 8]);
    let input = builder.input();
    let x = builder.max_pool("pool", input, Window::new([32, 32]));
    let program = builder.finish(x).unwrap();
    let error = unrolled(&program, 1, Vec::new()).unwrap_err().to_string();
    assert!(
        error.contains("`pool` (max_pool)") && error.contains("folded"),
        "{error}"
    );
}

//! Emits, compiles and runs Programs: several in one executable, which reads images from its standard input and writes
//! answers to its standard output.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use onebit_emit::c::{C, COptions};
use onebit_emit::emit;
use onebit_emit::loops::WordBits;
use onebit_model::program::{Kind, Program, Type};
use onebit_model::{Tensor, interpret, verify};

use crate::tools::run;

/// Every warning is an error.
pub const WARNINGS: [&str; 7] = [
    "-std=c99",
    "-Wall",
    "-Wextra",
    "-Wpedantic",
    "-Wconversion",
    "-Wshadow",
    "-Werror",
];

/// A Program with images and the interpreter's answers.
pub struct Case {
    /// For messages.
    pub name: String,
    pub program: Program,
    pub inputs: Vec<Tensor>,
    pub answers: Vec<Tensor>,
}

impl Case {
    pub fn new(name: String, program: Program, inputs: Vec<Tensor>) -> Self {
        let types = verify(&program).expect("the Program is well formed");
        let answers = inputs
            .iter()
            .map(|x| interpret(&program, &types, x))
            .collect();
        Case {
            name,
            program,
            inputs,
            answers,
        }
    }

    fn output_type(&self) -> Type {
        let types = verify(&self.program).expect("the Program is well formed");
        types.of(self.program.output).clone()
    }
}

/// The elements of a value as C reads them; of bits with ones past the end, which a reader ignores.
pub fn to_bytes(x: &Tensor, word: WordBits) -> Vec<u8> {
    match x {
        Tensor::Levels(x) => x.clone(),
        Tensor::Int(x) => x.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Tensor::Real(x) => x.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Tensor::Bits(x) => {
            let mut bits = x.clone();
            bits.resize(x.len().next_multiple_of(word.bits() as usize), true);
            let byte = |bits: &[bool]| (0..8).fold(0, |byte, i| byte | u8::from(bits[i]) << i);
            bits.chunks(8).map(byte).collect()
        }
    }
}

/// The value that C wrote; bits past the end are 0.
fn from_bytes(ty: &Type, bytes: &[u8]) -> Tensor {
    let fours = || {
        bytes
            .chunks(4)
            .map(|four| [four[0], four[1], four[2], four[3]])
    };
    match ty.kind {
        Kind::Levels(_) => Tensor::Levels(bytes.to_vec()),
        Kind::Int => Tensor::Int(fours().map(i32::from_le_bytes).collect()),
        Kind::Real => Tensor::Real(fours().map(f32::from_le_bytes).collect()),
        Kind::Bits => {
            let bit = |i: usize| (bytes[i / 8] >> (i % 8)) & 1 == 1;
            let spare = ty.n_elements()..bytes.len() * 8;
            assert!(!spare.clone().any(bit), "a bit past the end is set");
            Tensor::Bits((0..ty.n_elements()).map(bit).collect())
        }
    }
}

fn n_bytes(ty: &Type, word: WordBits) -> usize {
    match ty.kind {
        Kind::Bits => ty.n_elements().div_ceil(word.bits() as usize) * word.bits() as usize / 8,
        Kind::Levels(_) => ty.n_elements(),
        Kind::Int | Kind::Real => 4 * ty.n_elements(),
    }
}

/// Emits a Program under a name into a folder; the C file.
pub fn emit_into(folder: &Path, name: &str, program: &Program, word: WordBits) -> PathBuf {
    let options = COptions {
        name: name.into(),
        word,
    };
    let emitted = emit(&C { options }, program).expect("every Program can be emitted as C");
    for file in &emitted.files {
        std::fs::write(folder.join(&file.name), &file.bytes).expect("the folder is writable");
    }
    folder.join(format!("{name}.c"))
}

/// The parts of a main function that depend on the Programs.
pub struct Table {
    /// Functions `r0`, `r1`, and so on, of one type.
    pub runs: String,
    /// For each Program its function and the bytes of input, output and arena.
    pub rows: String,
}

/// Emits Programs into a folder; the C files, and what a main function needs.
pub fn sources(folder: &Path, cases: &[Case], word: WordBits) -> (Vec<PathBuf>, Table) {
    let (mut runs, mut rows) = (String::new(), String::new());
    let mut files = Vec::new();
    for (idx, case) in cases.iter().enumerate() {
        let name = format!("p{idx}");
        files.push(emit_into(folder, &name, &case.program, word));
        let (input, output) = (&case.program.input, &case.output_type());
        let (input, output) = (n_bytes(input, word), n_bytes(output, word));
        let _ = writeln!(
            runs,
            "#include \"{name}.h\"\n\
             static void r{idx}(const void *in, void *out, void *ram) {{ {name}_run(in, out, ram); }}"
        );
        let (upper, n) = (name.to_uppercase(), case.inputs.len());
        let _ = writeln!(
            rows,
            "  {{r{idx}, {input}, {output}, {upper}_ARENA_BYTES, {n}}},"
        );
    }
    (files, Table { runs, rows })
}

/// Compiles Programs and a main function into one executable.
pub fn build(
    folder: &Path,
    cases: &[Case],
    word: WordBits,
    compiler: &str,
    flags: &[&str],
) -> PathBuf {
    let (files, table) = sources(folder, cases, word);
    let main = MAIN
        .replace("/* NETS */", &table.runs)
        .replace("/* TABLE */", &table.rows);
    let main_path = folder.join("main.c");
    std::fs::write(&main_path, main).expect("the folder is writable");
    let binary = folder.join(format!("run-{compiler}"));
    run(Command::new(compiler)
        .args(flags)
        .args(&files)
        .arg(&main_path)
        .arg("-o")
        .arg(&binary));
    binary
}

/// Buffers of exact sizes, which a sanitiser watches, and an arena full of what an earlier call may leave.
const MAIN: &str = "
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* NETS */
struct net { void (*run)(const void *, void *, void *); size_t input, output, arena, n; };
static const struct net nets[] = {
/* TABLE */
};
int main(void)
{
    for (size_t i = 0; i < sizeof nets / sizeof nets[0]; i++) {
        const struct net *net = &nets[i];
        void *x = malloc(net->input), *y = malloc(net->output), *a = malloc(net->arena);
        if (x == NULL || y == NULL || a == NULL) return 2;
        memset(a, 0xa5, net->arena);
        memset(y, 0x5a, net->output);
        for (size_t k = 0; k < net->n; k++) {
            if (fread(x, 1, net->input, stdin) != net->input) return 3;
            net->run(x, y, a);
            if (fwrite(y, 1, net->output, stdout) != net->output) return 4;
        }
        free(x); free(y); free(a);
    }
    return 0;
}
";

/// Runs an executable of [`build`] with a command before it, and compares every answer.
pub fn compare(cases: &[Case], word: WordBits, mut command: Command) {
    let images = || cases.iter().flat_map(|case| &case.inputs);
    let input: Vec<u8> = images().flat_map(|x| to_bytes(x, word)).collect();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the executable was just built");
    let mut stdin = child.stdin.take().expect("it is piped");
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("the executable ends");
    let written = writer.join().expect("the writer does not panic");
    assert!(
        output.status.success(),
        "{command:?} ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    written.expect("the executable reads all images");
    let mut rest = output.stdout.as_slice();
    for case in cases {
        let ty = case.output_type();
        for (image, answer) in case.answers.iter().enumerate() {
            let (bytes, after) = rest.split_at(n_bytes(&ty, word));
            rest = after;
            let found = from_bytes(&ty, bytes);
            assert_eq!(
                found.first_difference(answer),
                None,
                "{}, image {image}, {word:?}:\n{}",
                case.name,
                onebit_model::text::print(&case.program)
            );
        }
    }
    assert!(rest.is_empty(), "more was written than all answers");
}

/// Emits, compiles, runs and compares on this machine.
pub fn check(cases: &[Case], word: WordBits, compiler: &str, flags: &[&str]) {
    let folder = tempfile::tempdir().expect("a folder for a moment");
    let binary = build(folder.path(), cases, word, compiler, flags);
    compare(cases, word, Command::new(binary));
}

//! Every instruction set of this CPU and one or more threads, against the interpreter.
//!
//! A failure names the seed of its Program.

use onebit_model::builder::ProgramBuilder;
use onebit_model::program::{Kind, Program, ThresholdValues, Thresholds, Type};
use onebit_model::weights::{BitMatrix, Weights};
use onebit_model::{Tensor, interpret_all, verify};
use onebit_run::{InputBatch, Isa, OutputBatch, Plan, PlanOptions};
use onebit_testkit::{Random, random_conv_program, random_input, random_program};

/// The images of a batch joined, in the form that the type asks for.
enum Joined {
    Codes(Vec<u8>),
    Words(Vec<u64>),
    Ints(Vec<i32>),
    Reals(Vec<f32>),
}

impl Joined {
    fn new(inputs: &[Tensor]) -> Self {
        match inputs[0] {
            Tensor::Levels(_) => {
                Joined::Codes(inputs.iter().flat_map(|x| levels(x).to_vec()).collect())
            }
            Tensor::Bits(_) => Joined::Words(inputs.iter().flat_map(packed).collect()),
            Tensor::Int(_) => Joined::Ints(inputs.iter().flat_map(as_ints).collect()),
            Tensor::Real(_) => Joined::Reals(inputs.iter().flat_map(as_reals).collect()),
        }
    }

    fn as_batch(&self) -> InputBatch<'_> {
        match self {
            Joined::Codes(x) => InputBatch::Levels(x),
            Joined::Words(x) => InputBatch::PackedBits(x),
            Joined::Ints(x) => InputBatch::Int(x),
            Joined::Reals(x) => InputBatch::Real(x),
        }
    }
}

fn levels(x: &Tensor) -> &[u8] {
    match x {
        Tensor::Levels(x) => x,
        _ => panic!("levels"),
    }
}

/// Packs bits, with ones past the end that the engine must ignore.
fn packed(x: &Tensor) -> Vec<u64> {
    let Tensor::Bits(bits) = x else {
        panic!("bits")
    };
    let word = |chunk: &[bool]| {
        let ones = chunk
            .iter()
            .enumerate()
            .fold(0, |word, (i, &bit)| word | u64::from(bit) << i);
        if chunk.len() < 64 {
            ones | !0 << chunk.len()
        } else {
            ones
        }
    };
    bits.chunks(64).map(word).collect()
}

/// What an integer output holds for a value.
fn as_ints(x: &Tensor) -> Vec<i32> {
    match x {
        Tensor::Int(x) => x.clone(),
        Tensor::Levels(x) => x.iter().map(|&x| i32::from(x)).collect(),
        Tensor::Bits(x) => x.iter().map(|&x| if x { 1 } else { -1 }).collect(),
        Tensor::Real(_) => panic!("not integers"),
    }
}

fn as_reals(x: &Tensor) -> Vec<f32> {
    match x {
        Tensor::Real(x) => x.clone(),
        _ => panic!("not reals"),
    }
}

/// Asserts that a session answers with the interpreter's values, in a run and layer by layer.
fn check(program: &Program, inputs: &[Tensor], isa: Isa, threads: usize, case: &str) {
    check_against(
        program,
        inputs,
        &expected(program, inputs),
        isa,
        threads,
        case,
    );
}

/// The interpreter's values, for each image.
fn expected(program: &Program, inputs: &[Tensor]) -> Vec<Vec<Tensor>> {
    let types = verify(program).expect("the program is well formed");
    inputs
        .iter()
        .map(|x| interpret_all(program, &types, x))
        .collect()
}

/// As [`check`], with the interpreter's values.
fn check_against(
    program: &Program,
    inputs: &[Tensor],
    expected: &[Vec<Tensor>],
    isa: Isa,
    threads: usize,
    case: &str,
) {
    // A WebAssembly module cannot start threads, so the tests of several are more tests of one.
    let threads = if cfg!(target_family = "wasm") {
        1
    } else {
        threads
    };
    let plan = Plan::new(program, &PlanOptions { isa, threads }).expect("a plan");
    let mut session = plan.session().expect("a session");
    let joined = Joined::new(inputs);
    let n = inputs.len() * plan.output_type().n_elements();
    let answers = expected.iter().map(|values| &values[program.output.0]);
    // Twice, because the second run finds the buffers as the first left them.
    for _ in 0..2 {
        if plan.output_type().kind == Kind::Real {
            let mut out = vec![0.5; n];
            session
                .run(joined.as_batch(), OutputBatch::Real(&mut out))
                .expect("a run");
            let answers = answers.clone().flat_map(as_reals).collect();
            let difference = Tensor::Real(out).first_difference(&Tensor::Real(answers));
            assert_eq!(difference, None, "{case}");
        } else {
            let mut out = vec![77; n];
            session
                .run(joined.as_batch(), OutputBatch::Int(&mut out))
                .expect("a run");
            assert_eq!(
                out,
                answers.clone().flat_map(as_ints).collect::<Vec<_>>(),
                "{case}"
            );
        }
    }
    let found = session
        .run_layers(joined.as_batch())
        .expect("a run of layers");
    for (image, (found, expected)) in found.iter().zip(expected).enumerate() {
        for (value, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert_eq!(
                found.first_difference(expected),
                None,
                "{case}, image {image}, value {value}"
            );
        }
    }
}

/// How many random Programs every instruction set runs: `ONEBIT_AGREEMENT_PROGRAMS`, or 2,000.
fn n_programs() -> u64 {
    match std::env::var("ONEBIT_AGREEMENT_PROGRAMS") {
        Ok(text) => text.parse().expect("ONEBIT_AGREEMENT_PROGRAMS is a number"),
        Err(_) => 2000,
    }
}

/// The instruction sets that random Programs run on: all of this CPU's, or the best one alone where
/// `ONEBIT_AGREEMENT_ISAS` is `best`, for emulated machines on which each costs minutes.
fn isas() -> Vec<Isa> {
    match std::env::var("ONEBIT_AGREEMENT_ISAS").as_deref() {
        Ok("best") => vec![Isa::best()],
        Ok("all") | Err(std::env::VarError::NotPresent) => Isa::available().collect(),
        other => panic!("ONEBIT_AGREEMENT_ISAS is all or best, not {other:?}"),
    }
}

/// Checks the Programs of a range of seeds on the instruction sets asked for.
fn check_seeds(seeds: std::ops::Range<u64>, make: fn(u64) -> Program, batches: &[u64]) {
    let isas = isas();
    let names: Vec<&str> = isas.iter().map(|isa| isa.name()).collect();
    println!("seeds {seeds:?} on {}", names.join(", "));
    for seed in seeds {
        let program = make(seed);
        let n_inputs = batches[seed as usize % batches.len()];
        let inputs: Vec<Tensor> = (0..n_inputs)
            .map(|i| random_input(&program, seed * 1000 + i))
            .collect();
        let expected = expected(&program, &inputs);
        for &isa in &isas {
            let case = format!("program seed {seed}, {isa:?}");
            check_against(&program, &inputs, &expected, isa, 1, &case);
        }
    }
}

#[test]
fn random_programs_agree_on_every_isa() {
    // Batches around the sizes at which kernels change.
    check_seeds(
        0..n_programs() / 2,
        random_program,
        &[1, 2, 3, 1, 5, 2, 1, 33],
    );
}

#[test]
fn random_networks_agree_on_every_isa() {
    let first = 1_000_000;
    check_seeds(
        first..first + n_programs() / 2,
        random_conv_program,
        &[1, 2, 1, 3],
    );
}

#[test]
fn random_programs_agree_on_several_threads() {
    for seed in 1000..1040u64 {
        let program = random_program(seed);
        let inputs: Vec<Tensor> = (0..21)
            .map(|i| random_input(&program, seed * 1000 + i))
            .collect();
        for threads in [2, 3] {
            check(
                &program,
                &inputs,
                Isa::best(),
                threads,
                &format!("program seed {seed}, {threads} threads"),
            );
        }
    }
}

/// Layers wide enough for every kernel, with flips and with thresholds that never or always hold.
fn wide_program(seed: u64, sizes: &[usize]) -> Program {
    let mut random = Random::new(seed);
    let mut builder = ProgramBuilder::new("wide", Kind::Levels(8), &[sizes[0]]);
    let at = (0..sizes[0]).map(|_| random.int(-2, 258) as i32).collect();
    let mut x = builder.threshold("pixels", builder.input(), at);
    for (layer, size) in sizes.windows(2).enumerate() {
        let weights = BitMatrix::from_fn(size[1], size[0], |_, _| random.once_in(2));
        let bias = (0..size[1]).map(|_| random.int(-1, 1) as i32).collect();
        x = builder.dense(&format!("fc{layer}"), x, Weights::Bits(weights), Some(bias));
        if layer + 2 < sizes.len() {
            let at = (0..size[1]).map(|_| match random.below(20) {
                0 => random.pick(&[
                    i32::MIN,
                    i32::MAX,
                    size[0] as i32,
                    -(size[0] as i32),
                    size[0] as i32 + 2,
                ]),
                _ => random.int(-30, 30) as i32,
            });
            let at = ThresholdValues::Int(at.collect());
            let flip = (0..size[1]).map(|_| random.once_in(3)).collect();
            let thresholds = onebit_model::program::Op::Threshold(Thresholds { at, flip });
            x = builder.node(&format!("sign{layer}"), thresholds, &[x]);
        }
    }
    builder.finish(x).expect("the program is well formed")
}

#[test]
fn wide_layers_agree_in_large_batches() {
    for (seed, sizes) in [
        (1, [784, 1024, 1000, 10]),
        (2, [333, 480, 515, 7]),
        (3, [128, 511, 1536, 65]),
    ] {
        let program = wide_program(seed, &sizes);
        let input = Type {
            kind: Kind::Levels(8),
            shape: vec![sizes[0]],
        };
        let inputs: Vec<Tensor> = (0..70)
            .map(|i| onebit_testkit::random_tensor(&input, seed * 1000 + i))
            .collect();
        for isa in Isa::available() {
            check(
                &program,
                &inputs,
                isa,
                1,
                &format!("sizes {sizes:?}, {isa:?}"),
            );
            check(
                &program,
                &inputs[..9],
                isa,
                1,
                &format!("sizes {sizes:?}, {isa:?}, few images"),
            );
        }
        check(
            &program,
            &inputs,
            Isa::best(),
            2,
            &format!("sizes {sizes:?}, 2 threads"),
        );
    }
}

/// Windows that leave the image in so many ways that no kernel lists their taps.
#[test]
fn huge_windows_over_small_images_agree() {
    let window = onebit_model::program::Window {
        kernel: [90, 70],
        stride: [3, 2],
        dilation: [1, 1],
        pads: [85, 60, 85, 60],
    };
    for kind in [Kind::Bits, Kind::Real] {
        let mut builder = ProgramBuilder::new("huge", kind, &[20, 30, 2]);
        let x = builder.input();
        let weights = BitMatrix::from_fn(3, 90 * 70 * 2, |row, col| (row + col * col) % 5 < 2);
        let conv = onebit_model::program::Conv2d {
            weights: Weights::Bits(weights),
            bias: None,
            window,
            groups: 1,
            pad: 1,
        };
        let sums = builder.conv2d("conv", x, conv);
        let real = builder.affine("real", sums, vec![0.5; 3], vec![0.25; 3]);
        let padded = onebit_model::program::Window {
            kernel: [60, 50],
            pads: [20, 25, 20, 25],
            ..window
        };
        let most = builder.max_pool("most", real, padded);
        let mean = builder.avg_pool("mean", real, padded);
        let sum = builder.add("sum", most, mean);
        let program = builder.finish(sum).expect("the program is well formed");
        let inputs = [random_input(&program, 7)];
        for isa in Isa::available() {
            check(&program, &inputs, isa, 1, &format!("{kind}, {isa:?}"));
        }
    }
}

/// One kernel a channel, or two, in numbers around the rows that are decoded at a time.
#[test]
fn depthwise_convolutions_of_codes_agree() {
    for (seed, channels) in [1, 2, 31, 32, 33, 70].into_iter().enumerate() {
        let n_rows = channels * (1 + seed % 2);
        for kind in [Kind::Bits, Kind::Levels(3), Kind::Levels(8)] {
            let mut random = Random::new(seed as u64);
            let window = onebit_model::program::Window {
                kernel: [3, 2],
                stride: [random.int(1, 2) as usize, 1],
                dilation: [1, random.int(1, 2) as usize],
                pads: [1, 0, 2, 1],
            };
            let weights = BitMatrix::from_fn(n_rows, 6, |_, _| random.once_in(2));
            let conv = onebit_model::program::Conv2d {
                weights: Weights::Bits(weights),
                bias: Some((0..n_rows as i32).collect()),
                window,
                groups: channels,
                pad: 1,
            };
            let mut builder = ProgramBuilder::new("depthwise", kind, &[6, 5, channels]);
            let x = builder.input();
            let sums = builder.conv2d("conv", x, conv);
            let program = builder.finish(sums).expect("the program is well formed");
            let inputs = [1, 2, 3].map(|seed| random_input(&program, seed));
            for isa in Isa::available() {
                let case = format!("{channels} of {kind}, {isa:?}");
                check(&program, &inputs, isa, 2, &case);
            }
        }
    }
}

/// A convolution with bits of one sign over an image of one pixel.
fn over_a_pixel(
    kind: Kind,
    channels: usize,
    window: onebit_model::program::Window,
    pad: i32,
) -> Program {
    let mut builder = ProgramBuilder::new("pixel", kind, &[1, 1, channels]);
    let n_cols = window.kernel[0] * window.kernel[1] * channels;
    let conv = onebit_model::program::Conv2d {
        weights: Weights::Bits(BitMatrix::from_fn(1, n_cols, |_, col| col % 3 == 0)),
        bias: None,
        window,
        groups: 1,
        pad,
    };
    let x = builder.input();
    let sums = builder.conv2d("conv", x, conv);
    builder.finish(sums).expect("the program is well formed")
}

#[test]
fn pads_that_dwarf_the_image_agree() {
    let window = onebit_model::program::Window {
        stride: [8192, 8192],
        pads: [4096; 4],
        ..onebit_model::program::Window::new([1, 1])
    };
    for kind in [Kind::Levels(1), Kind::Bits, Kind::Real] {
        let program = over_a_pixel(kind, 128, window, 1);
        let inputs = [random_input(&program, 3)];
        for isa in Isa::available() {
            check(&program, &inputs, isa, 1, &format!("{kind}, {isa:?}"));
        }
    }
}

#[test]
fn plans_of_kernels_that_dwarf_the_image_are_made_at_once() {
    for kind in [Kind::Levels(1), Kind::Bits, Kind::Real] {
        let window = onebit_model::program::Window {
            pads: [1999; 4],
            ..onebit_model::program::Window::new([2000, 2000])
        };
        let program = over_a_pixel(kind, 1, window, 1);
        let plan = Plan::new(&program, &PlanOptions::default()).expect("a plan");
        plan.session().expect("a session");
    }
}

/// Twice a bit is what kernels multiply, and twice the sum would not fit an integer here.
#[test]
fn sums_near_the_end_of_integers_are_compared_exactly() {
    let n = 1 << 24;
    let mut builder = ProgramBuilder::new("long", Kind::Bits, &[n]);
    let weights = onebit_model::weights::Matrix::from_fn(1, n, |_, _| 127i8);
    let x = builder.input();
    let sum = builder.dense("sum", x, Weights::Int8(weights), None);
    let sign = builder.threshold("sign", sum, vec![1]);
    let program = builder.finish(sign).expect("the program is well formed");
    let inputs = [Tensor::Bits(vec![true; n])];
    check(&program, &inputs, Isa::best(), 1, "all ones");
}

#[test]
fn batches_longer_than_a_tile_keep_their_order() {
    let program = wide_program(4, &[64, 33, 5]);
    let input = Type {
        kind: Kind::Levels(8),
        shape: vec![64],
    };
    let inputs: Vec<Tensor> = (0..2000)
        .map(|i| onebit_testkit::random_tensor(&input, i))
        .collect();
    for threads in [1, 2, 4] {
        check(
            &program,
            &inputs,
            Isa::best(),
            threads,
            &format!("{threads} threads"),
        );
    }
}

//! Times every kernel in `KERNELS` on every tier this CPU has, on one thread.
//!
//! `cargo run --release -p onebit-bits --example bench_kernels -- [--json] [WORD...]`: with words, only the
//! lines that contain all of them, such as `avx512 conv_bits`. With `--json`, one object a line;
//! `cargo xtask bench` keeps those in `bench/record/`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use onebit_bits::chain::{
    ChainOps, ChainOut, FloatWindow, RealThresholds, chain_ints, chain_reals,
};
use onebit_bits::conv::{CODE_SLACK, Conv, Geometry, Output};
use onebit_bits::dense::{self, BitRows, Bounds, CodeThresholds};
use onebit_bits::sliced::{SlicedRows, SlicedScratch, dense_bits_sliced};
use onebit_bits::train_conv::{FloatConv, Precision, SignConv, weight_gradient};
use onebit_bits::{Isa, KERNELS, Kernel, n_words, peak, train};

/// Time spent on one line.
const TIME: Duration = Duration::from_millis(120);

/// Rows and columns of the dense layers and matrices, and their images.
const N: usize = 1024;
const IMAGES: usize = 64;

/// Channels and rows (or columns) of the binary layers of a ResNet-18.
const LAYERS: [[usize; 2]; 4] = [[64, 56], [128, 28], [256, 14], [512, 7]];

/// What a kernel's work is counted in.
#[derive(Clone, Copy, PartialEq)]
enum Unit {
    /// Products of single bits, which the peak counts too.
    BitMacs,
    /// Products of codes or floats.
    Macs,
    /// Elements read.
    Elements,
}

/// Times and prints.
struct Bench {
    isa: Isa,
    peak: f64,
    is_json: bool,
    words: Vec<String>,
}

impl Bench {
    fn line(&self, kernel: &str, shape: &str, (count, unit): (usize, Unit), mut run: impl FnMut()) {
        let isa = self.isa.name();
        let name = format!("{isa} {kernel} {shape}");
        if !self.words.iter().all(|word| name.contains(word.as_str())) {
            return;
        }
        run();
        let (start, mut times) = (Instant::now(), Vec::new());
        while start.elapsed() < TIME {
            let begin = Instant::now();
            run();
            times.push(begin.elapsed().as_secs_f64());
        }
        times.sort_by(f64::total_cmp);
        let (min, median) = (times[0], times[times.len() / 2]);
        let rate = count as f64 / median;
        let share = (unit == Unit::BitMacs).then_some(rate / self.peak);
        let unit = match unit {
            Unit::BitMacs => "bit_macs_per_s",
            Unit::Macs => "macs_per_s",
            Unit::Elements => "elements_per_s",
        };
        let (median, min) = (1e6 * median, 1e6 * min);
        if self.is_json {
            let share = share.map_or(String::new(), |share| {
                format!(r#", "share_of_peak": {share:.4}"#)
            });
            println!(
                r#"{{"isa": "{isa}", "kernel": "{kernel}", "shape": "{shape}", "median_us": {median:.3}, "min_us": {min:.3}, "{unit}": {rate:.4e}{share}}}"#
            );
        } else {
            let share = share.map_or(String::new(), |share| {
                format!("{:5.1} % of peak", 100.0 * share)
            });
            println!(
                "{isa:7} {kernel:17} {shape:27} {median:10.2} us  min {min:10.2}  {:9.4} G {unit} {share}",
                rate / 1e9
            );
        }
    }
}

/// Words of noise.
fn noise(n: usize) -> Vec<u64> {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..n).map(step).collect()
}

fn reals(n: usize) -> Vec<f32> {
    noise(n).iter().map(|&x| x as i32 as f32 / 1e9).collect()
}

fn codes(n: usize) -> Vec<u8> {
    noise(n).iter().map(|&x| x as u8).collect()
}

/// Times one kernel, on a shape or on several.
fn time(bench: &Bench, kernel: Kernel) {
    match kernel {
        Kernel::PackSigns
        | Kernel::PackNonzero
        | Kernel::UnpackSigns
        | Kernel::UnpackTernary
        | Kernel::XnorGemm
        | Kernel::TernaryGemm => training(bench, kernel),
        Kernel::DenseScores
        | Kernel::DenseBits
        | Kernel::DenseBitsSliced
        | Kernel::ThresholdCodes
        | Kernel::CodePlanes => dense_layers(bench, kernel),
        Kernel::ConvBits => conv_bits(bench),
        Kernel::ConvCodes => conv_codes(bench),
        Kernel::ConvFloats => conv_floats(bench),
        Kernel::Chain => chains(bench),
        Kernel::FloatWindow => windows(bench),
        Kernel::TrainProduct
        | Kernel::TrainInputGradient
        | Kernel::TrainWeightGradient
        | Kernel::TrainSigns => train_convs(bench, kernel),
    }
}

fn training(bench: &Bench, kernel: Kernel) {
    let isa = bench.isa;
    let words = IMAGES * n_words(N);
    let (x, mask) = (noise(words), noise(2 * words).split_off(words));
    let sign: Vec<u64> = x.iter().zip(&mask).map(|(x, mask)| x & mask).collect();
    let (w, w_mask) = (noise(N * n_words(N)), vec![!0; N * n_words(N)]);
    let floats = reals(IMAGES * N);
    let (mut a, mut b, mut out) = (vec![0; words], vec![0; words], vec![0.0; IMAGES * N]);
    let shape = format!("{IMAGES}x{N}");
    let elements = (IMAGES * N, Unit::Elements);
    let products = (IMAGES * N * N, Unit::BitMacs);
    match kernel {
        Kernel::PackSigns => bench.line("pack_signs", &shape, elements, || {
            train::pack_signs(isa, black_box(&floats), N, &mut a);
        }),
        Kernel::PackNonzero => bench.line("pack_nonzero", &shape, elements, || {
            train::pack_nonzero(isa, black_box(&floats), N, &mut a, &mut b);
        }),
        Kernel::UnpackSigns => bench.line("unpack_signs", &shape, elements, || {
            train::unpack_signs(isa, black_box(&x), N, &mut out);
        }),
        Kernel::UnpackTernary => bench.line("unpack_ternary", &shape, elements, || {
            train::unpack_ternary(isa, black_box(&sign), &mask, N, &mut out);
        }),
        Kernel::XnorGemm => bench.line("xnor_gemm", &format!("{shape}x{N}"), products, || {
            train::xnor_gemm_f32(isa, black_box(&x), &w, N, IMAGES, N, &mut out);
        }),
        _ => bench.line("ternary_gemm", &format!("{shape}x{N}"), products, || {
            let (sign, out) = (black_box(&sign), &mut out);
            train::ternary_gemm_f32(isa, sign, &mask, &w, &w_mask, N, IMAGES, N, out);
        }),
    }
}

fn dense_layers(bench: &Bench, kernel: Kernel) {
    let isa = bench.isa;
    let (sign, x) = (noise(N * n_words(N)), noise(IMAGES * n_words(N)));
    let rows = BitRows::bipolar(&sign, N, N);
    let bounds = Bounds::new((0..N).map(|row| (N as u64 / 2, row % 2 == 0)));
    let pixels = codes(IMAGES * N);
    let (mut ints, mut bits) = (vec![0; IMAGES * N], vec![0; 8 * IMAGES * n_words(N)]);
    let thresholds = CodeThresholds::new((0..N).map(|_| (128, false)));
    let shape = format!("{IMAGES}x{N}x{N}");
    let products = (IMAGES * N * N, Unit::BitMacs);
    let elements = (IMAGES * N, Unit::Elements);
    let one = &mut bits[..IMAGES * n_words(N)];
    match kernel {
        Kernel::DenseScores => bench.line("dense_scores", &shape, products, || {
            dense::dense_scores(isa, &rows, black_box(&x), 1, &vec![0; N], 1, &mut ints);
        }),
        Kernel::DenseBits => bench.line("dense_bits", &shape, products, || {
            dense::dense_bits(isa, &rows, black_box(&x), 1, &bounds, one);
        }),
        Kernel::DenseBitsSliced => {
            let Some(rows) = SlicedRows::new(isa, &sign, N, &bounds) else {
                return;
            };
            let mut scratch = SlicedScratch::new([&rows].into_iter(), IMAGES);
            bench.line("dense_bits_sliced", &shape, products, || {
                dense_bits_sliced(&rows, black_box(&x), &mut scratch, one);
            });
        }
        Kernel::ThresholdCodes => {
            bench.line(
                "threshold_codes",
                &format!("{IMAGES}x{N}"),
                elements,
                || {
                    dense::threshold_codes(isa, black_box(&pixels), &thresholds, one);
                },
            );
        }
        _ => bench.line("code_planes", &format!("{IMAGES}x{N}x8"), elements, || {
            dense::code_planes(isa, black_box(&pixels), N, 8, &mut bits);
        }),
    }
}

/// A 3x3 convolution that keeps the size of its square image.
fn geometry(channels: usize, size: usize) -> Geometry {
    Geometry {
        size: [size, size],
        channels,
        out: [size, size],
        rows: channels,
        groups: 1,
        kernel: [3, 3],
        stride: [1, 1],
        dilation: [1, 1],
        pads: [1, 1],
    }
}

fn products(geometry: &Geometry) -> usize {
    let taps = geometry.kernel[0] * geometry.kernel[1];
    geometry.out_px() * geometry.rows * taps * geometry.channels / geometry.groups
}

/// One image through the binary layers of a ResNet-18, with binary results.
fn conv_bits(bench: &Bench) {
    for [channels, size] in LAYERS {
        let geometry = geometry(channels, size);
        let count = (products(&geometry), Unit::BitMacs);
        let x = noise(size * size * channels / 64);
        let mut out = vec![0; x.len()];
        for (name, step) in [("conv_bits", 2), ("conv_bits_masked", 1)] {
            let weight = |row: usize, ky: usize, kx: usize, channel: usize| {
                step * ((row * 7919 + ky * 31 + kx * 17 + channel * 1013) % 7 % 2) as i32 - 1
            };
            let conv = Conv::bits(bench.isa, geometry.clone(), &weight, None, 1);
            assert_eq!(conv.kernel(), name);
            let thresholds =
                conv.thresholds((0..channels).map(|row| (row as i32 % 5 - 2, row % 3 == 0)));
            bench.line(
                name,
                &format!("{channels}@{size} 3x3 to bits"),
                count,
                || {
                    conv.run_bits(black_box(&x), 1, Output::Bits(&thresholds, &mut out));
                },
            );
        }
    }
}

fn conv_codes(bench: &Bench) {
    // Padding is part of the image.
    let geometry = Geometry {
        size: [30, 30],
        pads: [0, 0],
        ..geometry(64, 28)
    };
    let count = (products(&geometry), Unit::Macs);
    let x = codes(30 * 30 * 64 + CODE_SLACK);
    let mut out = vec![0; 28 * 28];
    for (most, kind) in [(64, "narrow"), (128, "wide")] {
        let weight = |row: usize, ky: usize, kx: usize, channel: usize| {
            let noise = row * 7919 + ky * 31 + kx * 17 + channel * 1013;
            ((noise % (2 * most)) as i32 - most as i32) as i8
        };
        let conv = Conv::codes(bench.isa, geometry.clone(), &weight, None);
        let thresholds = conv.thresholds((0..64).map(|_| (0, false)));
        bench.line(
            "conv_codes",
            &format!("64@28 3x3 {kind} to bits"),
            count,
            || {
                conv.run_codes(black_box(&x), 1, Output::Bits(&thresholds, &mut out));
            },
        );
    }
}

fn conv_floats(bench: &Bench) {
    let geometry = Geometry {
        channels: 3,
        rows: 64,
        ..geometry(3, 56)
    };
    let count = (products(&geometry), Unit::Macs);
    let (x, mut out) = (reals(56 * 56 * 3), vec![0.0; 56 * 56 * 64]);
    let weight = |row: usize, ky: usize, kx: usize, channel: usize| {
        (row + 3 * ky + 5 * kx + 7 * channel) as f32 / 100.0
    };
    let conv = Conv::floats(bench.isa, geometry, &weight);
    let ops = ChainOps::new();
    bench.line("conv_floats", "3@56 to 64 3x3", count, || {
        conv.run_floats(black_box(&x), 1, Output::Chain(to(&ops, &[], &mut out)));
    });
}

/// Floats as the only result.
fn to<'a>(ops: &'a ChainOps, operands: &'a [&'a [f32]], out: &'a mut [f32]) -> ChainOut<'a> {
    ChainOut {
        ops,
        operands,
        held: None,
        reals: Some(out),
        bits: None,
    }
}

/// Batch norm, shortcut, PReLU, and signs beside the floats: what follows a layer of a binary ResNet.
fn chains(bench: &Bench) {
    let (n, len) = (64, 64 * 56 * 56);
    let (list, shortcut) = (reals(n), reals(len));
    let mut ops = ChainOps::new();
    ops.affine(&list, &list);
    ops.add(0);
    ops.prelu(&list);
    let thresholds = RealThresholds::new(&list, &vec![false; n]);
    let (mut out, mut bits) = (vec![0.0; len], vec![0; len / 64]);
    let ints: Vec<i32> = noise(len).iter().map(|&x| x as i32 >> 24).collect();
    let floats = reals(len);
    let operands: [&[f32]; 1] = [&shortcut];
    for (name, from_ints) in [("chain_ints", true), ("chain_reals", false)] {
        bench.line(
            name,
            "64@56 affine add prelu sign",
            (len, Unit::Elements),
            || {
                let out = ChainOut {
                    bits: Some((&thresholds, &mut bits)),
                    ..to(&ops, &operands, &mut out)
                };
                match from_ints {
                    true => chain_ints(bench.isa, black_box(&ints), n, out),
                    false => chain_reals(bench.isa, black_box(&floats), n, out),
                }
            },
        );
    }
}

fn windows(bench: &Bench) {
    let geometry = geometry(128, 28);
    let count = (products(&geometry) / 128, Unit::Macs);
    let x = reals(28 * 28 * 128);
    let mut out = vec![0.0; x.len()];
    let ops = ChainOps::new();
    let weight = |tap: usize, channel: usize| (tap + channel) as f32 / 100.0;
    for window in [
        FloatWindow::max_pool(geometry.clone()),
        FloatWindow::avg_pool(geometry.clone(), false),
        FloatWindow::depthwise(geometry, weight),
    ] {
        bench.line(window.kernel(), "128@28 3x3", count, || {
            window.run(bench.isa, black_box(&x), 1, to(&ops, &[], &mut out));
        });
    }
}

/// A training step's products in layers of a small network, and in a dense layer of as many inputs as rows.
fn train_convs(bench: &Bench, kernel: Kernel) {
    let isa = bench.isa;
    let dense = Geometry {
        size: [1, 256],
        out: [1, 256],
        kernel: [1, 1],
        pads: [0, 0],
        ..geometry(N, 1)
    };
    let layers = [
        (geometry(16, 32), "16@32 3x3", 16),
        (geometry(64, 28), "64@28 3x3", 8),
        (geometry(128, 12), "128@12 3x3", 16),
        (dense, "256x1024x1024", 1),
    ];
    for (geometry, name, images) in layers {
        let count = images * products(&geometry);
        let x = reals(images * geometry.size[0] * geometry.size[1] * geometry.channels);
        let g = reals(images * geometry.out_px() * geometry.rows);
        let weights = reals(products(&geometry) / geometry.out_px());
        let (mut out, mut gx, mut gw) = (g.clone(), x.clone(), weights.clone());
        let shape = format!("{name} x{images}");
        if kernel == Kernel::TrainSigns {
            let sign = |w: &f32| if *w >= 0.0 { 1.0 } else { -1.0 };
            let weights: Vec<f32> = weights.iter().map(sign).collect();
            let conv = SignConv::new(isa, &geometry, &weights, 0);
            bench.line("train_signs", &shape, (count, Unit::BitMacs), || {
                conv.product(black_box(&x), &mut out);
            });
            continue;
        }
        for (precision, suffix) in [(Precision::F32, "f32"), (Precision::Bf16, "bf16")] {
            let line = |name: &str, run: &mut dyn FnMut()| {
                let shape = format!("{shape} {suffix}");
                bench.line(name, &shape, (count, Unit::Macs), run);
            };
            match kernel {
                Kernel::TrainProduct => {
                    let conv = FloatConv::forward(isa, precision, &geometry, &weights);
                    line("train_product", &mut || {
                        conv.product(black_box(&x), 0.0, &mut out);
                    });
                }
                Kernel::TrainInputGradient => {
                    let conv = FloatConv::backward(isa, precision, &geometry, &weights);
                    line("train_gx", &mut || {
                        conv.input_gradient(black_box(&g), &mut gx);
                    });
                }
                _ => line("train_gw", &mut || {
                    let (x, g) = (black_box(&x), &g);
                    weight_gradient(isa, precision, &geometry, x, 0.0, g, &mut gw);
                }),
            }
        }
    }
}

/// The best of many short runs of the peak's loop, in products of single bits per second.
fn measured_peak(isa: Isa) -> f64 {
    let (start, mut best) = (Instant::now(), 0.0f64);
    while start.elapsed() < TIME / 2 {
        let begin = Instant::now();
        let (bit_macs, checksum) = peak::count_bits(isa, 50);
        black_box(checksum);
        best = best.max(bit_macs as f64 / begin.elapsed().as_secs_f64());
    }
    best
}

fn main() {
    let (options, words): (Vec<String>, Vec<String>) = std::env::args()
        .skip(1)
        .partition(|word| word.starts_with("--"));
    for isa in Isa::available() {
        let bench = Bench {
            isa,
            peak: measured_peak(isa),
            is_json: options.iter().any(|option| option == "--json"),
            words: words.clone(),
        };
        for kernel in KERNELS {
            time(&bench, kernel);
        }
    }
}

//! Every kernel in `KERNELS`, on every tier this CPU has, against its scalar twin or its definition in plain
//! loops. Failures print the seed of their shape.

mod chain;
mod conv;
mod random;
mod train_conv;

use onebit_bits::dense::{self, BitRows, Bounds, CodeThresholds};
use onebit_bits::sliced::{SlicedRows, SlicedScratch, dense_bits_sliced};
use onebit_bits::{Isa, KERNELS, Kernel, n_words, train};

use crate::conv::Operand;
use crate::random::Random;

/// The shape of one case: columns 1 to 300 (rarely 2,000 to 5,000), and odd numbers of rows.
struct Shape {
    n_cols: usize,
    m: usize,
    n: usize,
}

fn shape(random: &mut Random, seed: u64) -> Shape {
    let n_cols = if seed.is_multiple_of(16) {
        2000 + random.below(3000)
    } else {
        1 + random.below(300)
    };
    let n = if seed.is_multiple_of(8) {
        500 + random.below(700)
    } else {
        1 + random.below(150)
    };
    Shape {
        n_cols,
        m: 1 + random.below(9),
        n,
    }
}

#[test]
fn every_kernel_equals_its_scalar_twin() {
    for kernel in KERNELS {
        for seed in 1..=150u64 {
            let expected = defined(kernel, seed).unwrap_or_else(|| run(kernel, Isa::SCALAR, seed));
            for isa in Isa::available() {
                let answers = run(kernel, isa, seed);
                // Whole lists are too long to print.
                let differs = (0..expected.len().max(answers.len()))
                    .find(|&at| answers.get(at) != expected.get(at));
                if let Some(at) = differs {
                    let (found, right) = (answers.get(at), expected.get(at));
                    panic!(
                        "{kernel:?} on {isa:?}, seed {seed}, word {at} of {}: {found:x?}, not {right:x?}",
                        expected.len()
                    );
                }
            }
        }
    }
}

/// The answers by plain loops; `None` where the scalar twin is all there is to compare with.
fn defined(kernel: Kernel, seed: u64) -> Option<Vec<u64>> {
    match kernel {
        Kernel::ConvBits => Some(conv::random_case(None, Operand::Bits, seed)),
        Kernel::ConvCodes => Some(conv::random_case(None, Operand::Codes, seed)),
        Kernel::ConvFloats => Some(conv::random_case(None, Operand::Floats, seed)),
        Kernel::Chain => Some(chain::stored(None, seed)),
        Kernel::FloatWindow => Some(chain::window(None, seed)),
        Kernel::TrainProduct
        | Kernel::TrainInputGradient
        | Kernel::TrainWeightGradient
        | Kernel::TrainSigns => Some(train_conv::integers(kernel, None, seed)),
        Kernel::PackSigns
        | Kernel::PackNonzero
        | Kernel::UnpackSigns
        | Kernel::UnpackTernary
        | Kernel::XnorGemm
        | Kernel::TernaryGemm
        | Kernel::DenseScores
        | Kernel::DenseBits
        | Kernel::DenseBitsSliced
        | Kernel::ThresholdCodes
        | Kernel::CodePlanes => None,
    }
}

/// The answers of one kernel on one case, as bits, so that floats compare exactly.
#[expect(clippy::too_many_lines, reason = "one flat match over all kernels")]
fn run(kernel: Kernel, isa: Isa, seed: u64) -> Vec<u64> {
    let mut random = Random::new(seed);
    let Shape { n_cols, m, n } = shape(&mut random, seed);
    let floats = |values: Vec<f32>| values.into_iter().map(|v| u64::from(v.to_bits())).collect();
    let words = n_words(n_cols);
    match kernel {
        Kernel::PackSigns => {
            let mut out = vec![!0; m * words];
            train::pack_signs(isa, &random.floats(m * n_cols), n_cols, &mut out);
            out
        }
        Kernel::PackNonzero => {
            let (mut sign, mut mask) = (vec![!0; m * words], vec![!0; m * words]);
            train::pack_nonzero(
                isa,
                &random.floats(m * n_cols),
                n_cols,
                &mut sign,
                &mut mask,
            );
            [sign, mask].concat()
        }
        Kernel::UnpackSigns => {
            let mut out = vec![0.5; m * n_cols];
            train::unpack_signs(isa, &random.rows(m, n_cols), n_cols, &mut out);
            floats(out)
        }
        Kernel::UnpackTernary => {
            let (sign, mask) = ternary(&mut random, m, n_cols);
            let mut out = vec![0.5; m * n_cols];
            train::unpack_ternary(isa, &sign, &mask, n_cols, &mut out);
            floats(out)
        }
        Kernel::XnorGemm => {
            let (x, w) = (random.rows(m, n_cols), random.rows(n, n_cols));
            let mut out = vec![0.5; m * n];
            train::xnor_gemm_f32(isa, &x, &w, n_cols, m, n, &mut out);
            floats(out)
        }
        Kernel::TernaryGemm => {
            let ((xs, xm), (ws, wm)) = (
                ternary(&mut random, m, n_cols),
                ternary(&mut random, n, n_cols),
            );
            let mut out = vec![0.5; m * n];
            train::ternary_gemm_f32(isa, &xs, &xm, &ws, &wm, n_cols, m, n, &mut out);
            floats(out)
        }
        Kernel::DenseScores => {
            let (rows, x, n_planes) = layer(&mut random, m, n, n_cols);
            let base: Vec<i32> = (0..n).map(|_| random.next() as i32 >> 8).collect();
            let mut out = vec![7; m * n];
            dense::dense_scores(isa, &rows, &x, n_planes, &base, (seed % 2) as u32, &mut out);
            out.into_iter().map(|v| v as u64).collect()
        }
        Kernel::DenseBits => {
            let (rows, x, n_planes) = layer(&mut random, m, n, n_cols);
            let most = n_cols * ((1 << n_planes) - 1);
            let bounds: Vec<(u64, bool)> = (0..n)
                .map(|_| (random.below(most + 2) as u64, random.below(2) == 1))
                .collect();
            let bounds = Bounds::new(bounds.into_iter());
            let mut out = vec![!0; m * n_words(n)];
            dense::dense_bits(isa, &rows, &x, n_planes, &bounds, &mut out);
            out
        }
        Kernel::DenseBitsSliced => sliced(
            isa,
            &mut random,
            Shape {
                n_cols: n_cols + 127,
                m,
                n,
            },
        ),
        Kernel::ThresholdCodes => {
            let choices = [i32::MIN, -1, 0, 1, 77, 128, 255, 256, i32::MAX];
            let at: Vec<_> = (0..n_cols)
                .map(|_| (choices[random.below(9)], random.below(2) == 1))
                .collect();
            let thresholds = CodeThresholds::new(at.into_iter());
            let mut out = vec![!0; m * words];
            dense::threshold_codes(isa, &random.codes(m * n_cols), &thresholds, &mut out);
            out
        }
        Kernel::CodePlanes => {
            let n_planes = 1 + random.below(8);
            let mut out = vec![!0; m * n_planes * words];
            dense::code_planes(isa, &random.codes(m * n_cols), n_cols, n_planes, &mut out);
            out
        }
        Kernel::ConvBits => conv::random_case(Some(isa), Operand::Bits, seed),
        Kernel::ConvCodes => conv::random_case(Some(isa), Operand::Codes, seed),
        Kernel::ConvFloats => conv::random_case(Some(isa), Operand::Floats, seed),
        Kernel::Chain => chain::stored(Some(isa), seed),
        Kernel::FloatWindow => chain::window(Some(isa), seed),
        Kernel::TrainProduct
        | Kernel::TrainInputGradient
        | Kernel::TrainWeightGradient
        | Kernel::TrainSigns => train_conv::integers(kernel, Some(isa), seed),
    }
}

fn ternary(random: &mut Random, n_rows: usize, n_cols: usize) -> (Vec<u64>, Vec<u64>) {
    let (sign, mask) = (random.rows(n_rows, n_cols), random.rows(n_rows, n_cols));
    (
        sign.iter()
            .zip(&mask)
            .map(|(sign, mask)| sign & mask)
            .collect(),
        mask,
    )
}

/// Weights with or without a mask, and images of one plane or several.
fn layer(random: &mut Random, m: usize, n: usize, n_cols: usize) -> (BitRows, Vec<u64>, usize) {
    let n_planes = [1, 1, 2, 8][random.below(4)];
    let rows = if random.below(2) == 0 {
        BitRows::bipolar(&random.rows(n, n_cols), n, n_cols)
    } else {
        let (sign, mask) = ternary(random, n, n_cols);
        BitRows::ternary(&sign, &mask, n, n_cols)
    };
    (rows, random.rows(m * n_planes, n_cols), n_planes)
}

/// The sliced product where the tier has one, else the counting product it must equal.
fn sliced(isa: Isa, random: &mut Random, Shape { n_cols, m, n }: Shape) -> Vec<u64> {
    let (sign, x) = (random.rows(n, n_cols), random.rows(m, n_cols));
    let near = n_cols / 2 + random.below(9);
    let bounds: Vec<(u64, bool)> = (0..n)
        .map(|_| {
            (
                match random.below(8) {
                    0 => [0, 1, n_cols as u64, n_cols as u64 + 1, u64::MAX >> 1][random.below(5)],
                    _ => (near + random.below(9)) as u64 - 8,
                },
                random.below(3) == 0,
            )
        })
        .collect();
    let mut out = vec![!0; m * n_words(n)];
    let bounds = Bounds::new(bounds.into_iter());
    match SlicedRows::new(isa, &sign, n_cols, &bounds) {
        Some(rows) => {
            let mut scratch = SlicedScratch::new([&rows].into_iter(), m);
            dense_bits_sliced(&rows, &x, &mut scratch, &mut out);
        }
        None => {
            assert_eq!(SlicedRows::block_rows(isa), None);
            let rows = BitRows::bipolar(&sign, n, n_cols);
            dense::dense_bits(isa, &rows, &x, 1, &bounds, &mut out);
        }
    }
    out
}

#[test]
fn scores_follow_their_definition() {
    for seed in 1..=60u64 {
        let mut random = Random::new(seed);
        let Shape { n_cols, m, n } = shape(&mut random, 1);
        let (sign, mask) = ternary(&mut random, n, n_cols);
        let codes: Vec<u8> = random.codes(m * n_cols);
        let weight = |row: usize, col: usize| {
            let bit =
                |words: &[u64]| (words[row * n_words(n_cols) + col / 64] >> (col % 64) & 1) as i32;
            bit(&mask) * (2 * bit(&sign) - 1)
        };
        let mut x = vec![0; m * 8 * n_words(n_cols)];
        dense::code_planes(Isa::SCALAR, &codes, n_cols, 8, &mut x);
        // The sum is 255 times the number of positive weights, less the total.
        let base: Vec<i32> = (0..n)
            .map(|row| 255 * (0..n_cols).filter(|&col| weight(row, col) == 1).count() as i32)
            .collect();
        let mut out = vec![0; m * n];
        let rows = BitRows::ternary(&sign, &mask, n, n_cols);
        dense::dense_scores(Isa::SCALAR, &rows, &x, 8, &base, 0, &mut out);
        for (at, &score) in out.iter().enumerate() {
            let (image, row) = (at / n, at % n);
            let codes = &codes[image * n_cols..(image + 1) * n_cols];
            let sum: i32 = codes
                .iter()
                .enumerate()
                .map(|(col, &code)| weight(row, col) * i32::from(code))
                .sum();
            assert_eq!(score, sum, "seed {seed}, image {image}, row {row}");
        }
    }
}

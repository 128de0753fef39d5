//! Convolutions of the training step on every tier, against sums over single elements.
//!
//! A case is a random shape with its images, weights and gradients.

use onebit_bits::train_conv::{FloatConv, Geometry, Precision, SignConv, weight_gradient};
use onebit_bits::{Isa, Kernel};

use crate::random::{Random, Specials, bits_of};

const PRECISIONS: [Precision; 2] = [Precision::F32, Precision::Bf16];

/// Integers between `-most` and `most`.
fn whole(random: &mut Random, n: usize, most: i64) -> Vec<f32> {
    (0..n).map(|_| random.from(-most, most) as f32).collect()
}

/// A shape and how many images.
#[derive(Clone, Debug)]
struct Case {
    geometry: Geometry,
    images: usize,
}

impl Case {
    /// A random shape of at most so many products.
    fn random(random: &mut Random) -> Case {
        loop {
            let channels = random.pick(&[1, 2, 3, 10, 16, 31, 32, 33, 48, 64, 70, 128]);
            let rows = random.pick(&[1, 3, 7, 8, 10, 16, 17, 32, 40, 64, 100, 128]);
            let mut geometry = Geometry {
                size: [1, 1],
                channels,
                out: [1, 1],
                rows,
                groups: 1,
                kernel: [1, 1],
                stride: [1, 1],
                dilation: [1, 1],
                pads: [0, 0],
            };
            let is_plain = random.one_in(4);
            for axis in 0..2 {
                geometry.size[axis] = 1 + random.below(9);
                if is_plain {
                    geometry.out[axis] = geometry.size[axis];
                    continue;
                }
                let (kernel, stride) = (1 + random.below(4), 1 + random.below(3));
                let dilation = 1 + usize::from(random.one_in(4));
                let span = (kernel - 1) * dilation + 1;
                // Windows may lie beside the image altogether.
                let (before, after) = (random.below(span + 1), random.below(span + 1));
                let padded = (geometry.size[axis] + before + after).max(span);
                geometry.kernel[axis] = kernel;
                geometry.stride[axis] = stride;
                geometry.dilation[axis] = dilation;
                geometry.pads[axis] = before;
                geometry.out[axis] = (padded - span) / stride + 1;
            }
            let images = random.below(6);
            let case = Case { geometry, images };
            if case.n_weights() * case.geometry.out_px() * images <= 1_000_000 {
                return case;
            }
        }
    }

    fn n_weights(&self) -> usize {
        let g = &self.geometry;
        g.rows * g.kernel[0] * g.kernel[1] * g.channels
    }

    fn n_in(&self) -> usize {
        self.images * self.geometry.size[0] * self.geometry.size[1] * self.geometry.channels
    }

    fn n_out(&self) -> usize {
        self.images * self.geometry.out_px() * self.geometry.rows
    }

    /// Calls `f(output, weight, input or none)` with the indices of every product.
    fn each(&self, mut f: impl FnMut(usize, usize, Option<usize>)) {
        let g = &self.geometry;
        for at in 0..self.images * g.out_px() {
            let (image, y, x) = (at / g.out_px(), at % g.out_px() / g.out[1], at % g.out[1]);
            for tap in 0..g.kernel[0] * g.kernel[1] {
                let (ky, kx) = (tap / g.kernel[1], tap % g.kernel[1]);
                let y = (y * g.stride[0] + ky * g.dilation[0]).checked_sub(g.pads[0]);
                let x = (x * g.stride[1] + kx * g.dilation[1]).checked_sub(g.pads[1]);
                let px = match (y, x) {
                    (Some(y), Some(x)) if y < g.size[0] && x < g.size[1] => {
                        Some((image * g.size[0] + y) * g.size[1] + x)
                    }
                    _ => None,
                };
                for row in 0..g.rows {
                    for c in 0..g.channels {
                        let weight = (row * g.kernel[0] * g.kernel[1] + tap) * g.channels + c;
                        f(at * g.rows + row, weight, px.map(|px| px * g.channels + c));
                    }
                }
            }
        }
    }
}

/// What is multiplied.
struct Operands {
    x: Vec<f32>,
    weights: Vec<f32>,
    g: Vec<f32>,
    pad: f32,
}

/// The three results by definition.
struct Answers {
    out: Vec<f64>,
    gx: Vec<f64>,
    gw: Vec<f64>,
}

impl Answers {
    fn new(case: &Case, operands: [Vec<f32>; 3], pad: f32) -> Answers {
        let [x, weights, g] = operands;
        let mut out = vec![0.0; g.len()];
        let (mut gx, mut gw) = (vec![0.0; x.len()], vec![0.0; weights.len()]);
        case.each(|o, w, i| {
            let input = f64::from(i.map_or(pad, |i| x[i]));
            out[o] += input * f64::from(weights[w]);
            gw[w] += input * f64::from(g[o]);
            if let Some(i) = i {
                gx[i] += f64::from(g[o]) * f64::from(weights[w]);
            }
        });
        Answers { out, gx, gw }
    }

    fn of(&self, kernel: Kernel) -> &[f64] {
        match kernel {
            Kernel::TrainInputGradient => &self.gx,
            Kernel::TrainWeightGradient => &self.gw,
            _ => &self.out,
        }
    }
}

/// The kernels of floats.
const FLOAT_KERNELS: [Kernel; 3] = [
    Kernel::TrainProduct,
    Kernel::TrainInputGradient,
    Kernel::TrainWeightGradient,
];

impl Operands {
    /// What a kernel of floats finds.
    fn found(&self, case: &Case, isa: Isa, precision: Precision, kernel: Kernel) -> Vec<f32> {
        let Operands { x, weights, g, pad } = self;
        let geometry = &case.geometry;
        // Outputs are overwritten, whatever was there.
        let n = match kernel {
            Kernel::TrainInputGradient => x.len(),
            Kernel::TrainWeightGradient => weights.len(),
            _ => g.len(),
        };
        let mut found = vec![f32::NAN; n];
        match kernel {
            Kernel::TrainInputGradient => {
                FloatConv::backward(isa, precision, geometry, weights).input_gradient(g, &mut found)
            }
            Kernel::TrainWeightGradient => {
                weight_gradient(isa, precision, geometry, x, *pad, g, &mut found);
            }
            _ => FloatConv::forward(isa, precision, geometry, weights).product(x, *pad, &mut found),
        }
        found
    }
}

/// The answers of one kernel on one case of integers, which have exact sums; by definition where there is no `isa`.
pub fn integers(kernel: Kernel, isa: Option<Isa>, seed: u64) -> Vec<u64> {
    let mut random = Random::new(seed);
    let case = Case::random(&mut random);
    let is_sign = kernel == Kernel::TrainSigns;
    let x = match is_sign {
        true => random.reals(case.n_in(), Specials::None),
        false => whole(&mut random, case.n_in(), 256),
    };
    let mut weights = whole(&mut random, case.n_weights(), 1);
    if random.one_in(2) {
        let sign = |weight: f32| if weight >= 0.0 { 1.0 } else { -1.0 };
        weights = weights.into_iter().map(sign).collect();
    }
    let g = whole(&mut random, case.n_out(), 16);
    let pad = random.from(-1, 1) as f32;
    let Some(isa) = isa else {
        let sign = |&x: &f32| if x >= 0.0 { 1.0 } else { -1.0 };
        let x = if is_sign {
            x.iter().map(sign).collect()
        } else {
            x
        };
        let answers = Answers::new(&case, [x, weights, g], pad);
        let right: Vec<f32> = answers.of(kernel).iter().map(|&v| v as f32 + 0.0).collect();
        let times = if is_sign { 1 } else { PRECISIONS.len() };
        return bits_of(&right.repeat(times));
    };
    let operands = Operands { x, weights, g, pad };
    let found = match kernel {
        Kernel::TrainSigns => {
            let mut out = vec![f32::NAN; case.n_out()];
            SignConv::new(isa, &case.geometry, &operands.weights, pad as i32)
                .product(&operands.x, &mut out);
            out
        }
        _ => PRECISIONS
            .map(|precision| operands.found(&case, isa, precision, kernel))
            .concat(),
    };
    // The sign of a zero is not defined.
    bits_of(&found.into_iter().map(|v| v + 0.0).collect::<Vec<f32>>())
}

/// `value` rounded to eight bits, ties to even.
fn rounded(value: f32) -> f32 {
    if value == 0.0 {
        return value;
    }
    let unit = 2.0f64.powi(f64::from(value).abs().log2().floor() as i32 - 7);
    ((f64::from(value) / unit).round_ties_even() * unit) as f32
}

#[test]
fn products_of_reals_are_close_to_the_sums_of_rounded_operands() {
    for seed in 1..=150 {
        let mut random = Random::new(seed);
        let case = Case::random(&mut random);
        let [x, weights, g] =
            [case.n_in(), case.n_weights(), case.n_out()].map(|n| random.reals(n, Specials::None));
        let pad = [0.0, random.real()][random.below(2)];
        let operands = Operands { x, weights, g, pad };
        for precision in PRECISIONS {
            let round = |&v: &f32| match precision {
                Precision::F32 => v,
                Precision::Bf16 => rounded(v),
            };
            let operand = |values: &Vec<f32>| -> Vec<f32> { values.iter().map(round).collect() };
            // Products of two binary32 numbers are exact in binary64.
            let multiplied = [&operands.x, &operands.weights, &operands.g].map(operand);
            let answers = Answers::new(&case, multiplied, round(&pad));
            for (isa, kernel) in Isa::available().flat_map(|isa| FLOAT_KERNELS.map(|k| (isa, k))) {
                let found = operands.found(&case, isa, precision, kernel);
                for (i, (&found, &right)) in found.iter().zip(answers.of(kernel)).enumerate() {
                    // A sum of some thousand products below 16 is rounded in binary32 at each step.
                    let bound = 2e-5 * right.abs().max(64.0);
                    assert!(
                        (f64::from(found) - right).abs() <= bound,
                        "{kernel:?} {i}, {isa:?}, {precision:?}, seed {seed}, {found} for {right}, {case:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn groups_of_images_do_not_mix() {
    // More images than are worked on at a time, in wide and in narrow layers.
    for (size, channels, rows, images) in [(20, 32, 16, 41), (1, 700, 5, 301), (40, 3, 2, 9)] {
        let kernel = size.min(3);
        let geometry = Geometry {
            size: [size, size],
            channels,
            out: [size, size],
            rows,
            groups: 1,
            kernel: [kernel, kernel],
            stride: [1, 1],
            dilation: [1, 1],
            pads: [kernel / 2, kernel / 2],
        };
        let case = Case { geometry, images };
        let mut random = Random::new(7);
        let [x, weights, g] =
            [case.n_in(), case.n_weights(), case.n_out()].map(|n| whole(&mut random, n, 4));
        for pad in [0.0, 1.0] {
            let multiplied = [x.clone(), weights.clone(), g.clone()];
            let answers = Answers::new(&case, multiplied.clone(), pad);
            let [x, weights, g] = multiplied;
            let operands = Operands { x, weights, g, pad };
            for (isa, kernel) in Isa::available().flat_map(|isa| FLOAT_KERNELS.map(|k| (isa, k))) {
                for precision in PRECISIONS {
                    let found = operands.found(&case, isa, precision, kernel);
                    let found: Vec<f64> = found.into_iter().map(f64::from).collect();
                    let is_same = found == answers.of(kernel);
                    assert!(is_same, "{kernel:?}, {isa:?}, {precision:?}, {case:?}");
                }
            }
        }
    }
}

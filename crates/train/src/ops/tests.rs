//! Each custom operation against the composite of Burn's own: same values, same gradients.

use burn::tensor::{Device, Tensor, TensorData};

use super::activate::composite as activate_composite;
use super::norm::composite as norm_composite;
use onebit_model::program::Window;

use super::*;
use crate::graph::{Extent, ProductShape};
use crate::simd::hash32;

fn random(seed: u32, rows: usize, cols: usize, f: impl Fn(f32) -> f32) -> Tensor<2> {
    let values: Vec<f32> = (0..rows * cols)
        .map(|i| f(hash32(seed, i as u32) as f32 / 2f32.powi(31) - 1.0))
        .collect();
    let device = Device::flex().autodiff();
    Tensor::<2>::from_data(TensorData::new(values, [rows, cols]), &device).require_grad()
}

fn host(tensor: Tensor<2>) -> Vec<f32> {
    tensor
        .into_data()
        .convert::<f32>()
        .try_into_vec()
        .expect("f32")
}

/// Gradients of `sum(out * weights)` for each of `inputs`.
fn gradients(out: Tensor<2>, inputs: &[Tensor<2>]) -> Vec<Vec<f32>> {
    let [rows, cols] = out.dims();
    let weights = random(99, rows, cols, |v| v).detach();
    let grads = (out * weights).sum().backward();
    inputs
        .iter()
        .map(|x| host(x.grad(&grads).expect("takes part")))
        .collect()
}

fn close(a: &[f32], b: &[f32], tolerance: f32) {
    assert_eq!(a.len(), b.len());
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert!(
            (a - b).abs() <= tolerance * (1.0 + b.abs()),
            "element {i}: {a} against {b}"
        );
    }
}

const SHAPES: [(usize, usize, usize); 5] = [
    (1, 1, 1),
    (3, 65, 7),
    (9, 64, 33),
    (17, 200, 10),
    (32, 129, 130),
];

/// Values an operand may hold, from a number in `[-1, 1]`.
fn quantised(operand: Operand) -> impl Fn(f32) -> f32 + Copy {
    move |v| match operand {
        Operand::Real => v,
        Operand::Bits if v >= 0.0 => 1.0,
        Operand::Bits => -1.0,
        Operand::Ternary => (v * 1.5).round(),
        Operand::Codes => (v * 3.49).round(),
    }
}

/// The product with one factor equal to the leaf, or with two scaled ones whose sum it is.
fn check_product(shape: ProductShape, x: Tensor<2>, operand: Operand, precision: Precision) {
    let (rows, cols) = (shape.n_rows(), shape.n_cols());
    for n_factors in [1, 2] {
        let factors: Vec<Factor> = (0..n_factors)
            .map(|i| Factor {
                codes: flex(random(20 + i, rows, cols, quantised(operand))),
                scale: (n_factors == 2).then(|| (0..rows).map(|r| 0.5 + 0.01 * r as f32).collect()),
            })
            .collect();
        let weights = effective_weights(&factors);
        let device = Device::flex().autodiff();
        let leaf = Tensor::<2>::from_data(TensorData::new(weights, [rows, cols]), &device);
        let inputs = [x.clone(), leaf.require_grad()];
        let [x, leaf] = inputs.clone();
        let args = Product {
            shape,
            factors,
            operand,
            unit: 0.25,
            precision,
        };
        let reference = composite_conv::product(x.clone(), leaf.clone(), &args);
        let ours = super::product(x, leaf, args);
        let is_exact = operand != Operand::Real && n_factors == 1;
        let values = [ours.clone(), reference.clone()].map(host);
        close(&values[0], &values[1], if is_exact { 0.0 } else { 1e-4 });
        // A bfloat16 gradient is off by 2^-9 of its terms, whose sum may be small.
        let tolerance = match precision {
            Precision::F32 => 2e-4,
            Precision::Bf16 => 0.25,
        };
        let pairs = gradients(ours, &inputs);
        for (a, b) in pairs.iter().zip(gradients(reference, &inputs)) {
            close(a, &b, tolerance);
            let norm = |v: &[f32]| v.iter().map(|x| f64::from(x * x)).sum::<f64>().sqrt();
            let off: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a - b).collect();
            assert!(
                norm(&off) <= 0.01 * norm(&b),
                "{} of {}",
                norm(&off),
                norm(&b)
            );
        }
    }
}

fn flex(tensor: Tensor<2>) -> FlexTensor {
    tensor
        .inner()
        .try_into_primitive::<Flex>()
        .expect("tests run on the Flex backend")
}

const OPERANDS: [Operand; 4] = [
    Operand::Real,
    Operand::Bits,
    Operand::Ternary,
    Operand::Codes,
];

#[test]
fn dense_products_equal_the_matrix_product_for_every_operand() {
    for (batch, n_in, n_out) in SHAPES {
        for operand in OPERANDS {
            let x = random(1, batch, n_in, quantised(operand));
            let shape = ProductShape::Dense { n_in, n_out };
            check_product(shape, x.clone(), operand, Precision::F32);
            check_product(shape, x, operand, Precision::Bf16);
        }
    }
}

/// Height, width, channels, rows, kernel, stride, dilation, pads, groups, pad value.
type ConvCase = ([usize; 4], [usize; 2], usize, usize, [usize; 4], usize, i32);

const CONVS: [ConvCase; 9] = [
    ([6, 5, 3, 7], [3, 3], 1, 1, [0; 4], 1, 0),
    ([8, 8, 16, 16], [3, 3], 1, 1, [1; 4], 1, 1),
    ([9, 7, 33, 10], [3, 2], 2, 1, [1, 0, 1, 1], 1, -1),
    ([8, 8, 8, 12], [1, 1], 2, 1, [0; 4], 1, 0),
    ([7, 9, 12, 8], [3, 3], 1, 2, [2; 4], 4, 1),
    ([6, 6, 10, 10], [3, 3], 1, 1, [1; 4], 10, -1),
    ([9, 6, 5, 5], [3, 3], 2, 1, [1; 4], 5, 1),
    ([7, 8, 6, 9], [3, 3], 1, 1, [1, 0, 2, 1], 1, 0),
    ([8, 6, 7, 7], [3, 3], 1, 1, [1; 4], 7, 0),
];

fn conv_shape(case: &ConvCase) -> ProductShape {
    let ([height, width, channels, rows], kernel, stride, dilation, pads, groups, pad) = *case;
    let window = Window {
        kernel,
        stride: [stride; 2],
        dilation: [dilation; 2],
        pads,
    };
    let [oh, ow] = window.output([height, width]).expect("the window fits");
    let extent = |height, width, channels| Extent {
        height,
        width,
        channels,
    };
    ProductShape::Conv {
        from: extent(height, width, channels),
        to: extent(oh, ow, rows),
        window,
        groups,
        pad,
    }
}

#[test]
fn convolutions_equal_burns_for_every_operand() {
    for case in &CONVS {
        let shape = conv_shape(case);
        let [height, width, channels, _] = case.0;
        for operand in OPERANDS {
            let x = random(1, 5 * height * width, channels, quantised(operand));
            check_product(shape, x.clone(), operand, Precision::F32);
            check_product(shape, x, operand, Precision::Bf16);
        }
    }
}

#[test]
fn sums_in_order_are_the_naive_loop() {
    for case in &CONVS {
        let shape = conv_shape(case);
        let ProductShape::Conv {
            from,
            to,
            window,
            groups,
            pad,
        } = shape
        else {
            unreachable!()
        };
        let x = flex(random(3, 2 * from.positions(), from.channels, |v| v));
        let codes = flex(random(4, shape.n_rows(), shape.n_cols(), |v| v));
        let args = Product {
            shape,
            factors: vec![Factor {
                codes: codes.clone(),
                scale: None,
            }],
            operand: Operand::Real,
            unit: 1.0,
            precision: Precision::F32,
        };
        let ours = product_values(&x, &args, true);
        let (x, w) = (values(&x), values(&codes));
        let per_group = from.channels / groups;
        for (i, ours) in values(&ours).iter().enumerate() {
            let (row, at) = (i % to.channels, i / to.channels);
            let (image, at) = (at / to.positions(), at % to.positions());
            let first = row / (to.channels / groups) * per_group;
            let mut sum = 0.0f32;
            for tap in 0..window.kernel[0] * window.kernel[1] {
                let (ky, kx) = (tap / window.kernel[1], tap % window.kernel[1]);
                let source = window
                    .source(0, at / to.width, ky, from.height)
                    .zip(window.source(1, at % to.width, kx, from.width));
                for c in 0..per_group {
                    let v = source.map_or(pad as f32, |(y, xx)| {
                        let px = image * from.positions() + y * from.width + xx;
                        x[px * from.channels + first + c]
                    });
                    sum += v * w[row * shape.n_cols() + tap * per_group + c];
                }
            }
            assert_eq!(sum.to_bits(), ours.to_bits(), "element {i} of {case:?}");
        }
    }
}

#[test]
fn pools_equal_burns() {
    for (size, stride, pads) in [
        (2, 2, [0; 4]),
        (3, 2, [1; 4]),
        (3, 1, [0; 4]),
        (2, 1, [1; 4]),
        // As a shortcut pools an odd size.
        (2, 2, [0, 0, 1, 0]),
        (3, 2, [1, 0, 0, 2]),
    ] {
        let window = Window {
            kernel: [size; 2],
            stride: [stride; 2],
            dilation: [1, 1],
            pads,
        };
        let from = Extent {
            height: 9,
            width: 6,
            channels: 5,
        };
        let [height, width] = window.output([9, 6]).expect("the window fits");
        let to = Extent {
            height,
            width,
            channels: 5,
        };
        for kind in [PoolKind::Max, PoolKind::Average] {
            let args = Pool {
                kind,
                window,
                from,
                to,
            };
            let inputs = [random(11, 3 * from.positions(), 5, |v| v)];
            let ours = pool(inputs[0].clone(), args);
            let reference = composite_conv::pool(inputs[0].clone(), &args);
            close(&host(ours.clone()), &host(reference.clone()), 1e-6);
            let ours = gradients(ours, &inputs);
            close(&ours[0], &gradients(reference, &inputs)[0], 1e-5);
        }
    }
}

#[test]
fn prelu_and_its_slope_have_their_formulas_as_gradients() {
    let inputs = [random(12, 37, 19, |v| v), random(13, 1, 19, |v| v)];
    let [x, slope] = inputs.clone();
    let ours = prelu(x.clone(), slope.clone());
    let high = x.clone().clamp_min(0.0);
    let reference = high.clone() + (x - high) * slope;
    close(&host(ours.clone()), &host(reference.clone()), 1e-6);
    let pairs = gradients(ours, &inputs);
    for (a, b) in pairs.iter().zip(gradients(reference, &inputs)) {
        close(a, &b, 1e-5);
    }
}

#[test]
fn a_gradient_of_k_bits_has_that_many_values_and_the_right_mean() {
    for bits in [1, 2, 4] {
        let n = 4096;
        let g: Vec<f32> = (0..2 * n)
            .map(|i| hash32(5, i as u32) as f32 / 2f32.powi(31) - 1.0)
            .collect();
        let mut sum = vec![0.0f64; g.len()];
        let n_draws = 400;
        for seed in 0..n_draws {
            let mut q = g.clone();
            units::round_gradient(&mut q, n, bits, seed);
            let mut seen: Vec<u32> = q[..n].iter().map(|v| v.to_bits()).collect();
            seen.sort_unstable();
            seen.dedup();
            assert!(seen.len() <= 1 << bits, "{} values", seen.len());
            sum.iter_mut()
                .zip(&q)
                .for_each(|(s, q)| *s += f64::from(*q));
        }
        // Noise makes the rounding right on average: the spread of a mean of draws is a step over their root.
        let step = 2.0 / f64::from((1u32 << bits) - 1);
        for (s, g) in sum.iter().zip(&g) {
            let off = s / f64::from(n_draws) - f64::from(*g);
            assert!(off.abs() < 6.0 * step / f64::from(n_draws).sqrt(), "{off}");
        }
    }
}

#[test]
fn rounded_gradients_go_back_and_each_example_has_its_own_range() {
    let (positions, cols) = (6, 5);
    let x = random(31, 3 * positions, cols, |v| v);
    let y = quantise_gradient(x.clone(), 2, positions, 9);
    assert_eq!(host(y.clone()), host(x.clone()));
    // Gradients of the second example are ten times, of the third a hundred times those of the first.
    let g: Vec<f32> = (0..3 * positions * cols)
        .map(|i| {
            let scale = [0.1f32, 1.0, 10.0][i / (positions * cols)];
            scale * (hash32(32, i as u32) as f32 / 2f32.powi(31) - 1.0)
        })
        .collect();
    let device = y.device();
    let factors = TensorData::new(g.clone(), [3 * positions, cols]);
    let grads = (y * Tensor::<2>::from_data(factors, &device))
        .sum()
        .backward();
    let found = host(x.grad(&grads).expect("takes part"));
    let examples = found
        .chunks_exact(positions * cols)
        .zip(g.chunks_exact(positions * cols));
    for (found, g) in examples {
        let most = g.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        // Two bits: -M, -M / 3, M / 3, M; noise of half a step either way rounds by less than a step.
        let step = 2.0 * most / 3.0;
        for (found, g) in found.iter().zip(g) {
            let code = (found + most) / step;
            assert!((code - code.round()).abs() < 1e-5 && (-0.1..3.1).contains(&code));
            assert!((found - g).abs() <= step * 1.001, "{found} for {g}");
        }
        let mut levels: Vec<i32> = found
            .iter()
            .map(|v| ((v + most) / step).round() as i32)
            .collect();
        levels.sort_unstable();
        levels.dedup();
        assert!(levels.len() >= 3, "{levels:?}");
    }
}

#[test]
fn a_scale_map_is_the_mean_magnitude_under_each_window() {
    let extent = |height, width, channels| Extent {
        height,
        width,
        channels,
    };
    let (from, to) = (extent(5, 4, 3), extent(3, 2, 7));
    let window = Window {
        kernel: [3; 2],
        stride: [2; 2],
        dilation: [1; 2],
        pads: [1; 4],
    };
    let x = host(random(41, 2 * from.positions(), from.channels, |v| v));
    let map = units::scale_map(&x, from, to, &window);
    assert_eq!(map.len(), 2 * to.positions());
    for (at, found) in map.iter().enumerate() {
        let (image, at) = (at / to.positions(), at % to.positions());
        let (top, left) = (
            2 * (at / to.width) as isize - 1,
            2 * (at % to.width) as isize - 1,
        );
        let mut sum = 0.0;
        for y in (top..top + 3).filter(|y| (0..5).contains(y)) {
            for x_at in (left..left + 3).filter(|x| (0..4).contains(x)) {
                let px = image * 20 + y as usize * 4 + x_at as usize;
                sum += x[px * 3..][..3].iter().map(|v| v.abs()).sum::<f32>();
            }
        }
        assert!((found - sum / 27.0).abs() < 1e-6, "{found} {sum}");
    }
    // Each position's sums are multiplied by its K, and so are their gradients.
    let sums = random(42, 2 * to.positions(), to.channels, |v| v);
    let y = units::multiply_rows(sums.clone(), map.clone());
    let k = |i: usize| map[i / to.channels];
    for (i, (y, sum)) in host(y.clone()).iter().zip(host(sums.clone())).enumerate() {
        assert!((y - sum * k(i)).abs() < 1e-6);
    }
    let ones = y.sum().backward();
    for (i, g) in host(sums.grad(&ones).expect("takes part"))
        .iter()
        .enumerate()
    {
        assert!((g - k(i)).abs() < 1e-6);
    }
}

#[test]
fn group_norm_centres_each_group_of_each_example() {
    let (positions, cols, groups) = (12, 6, 3);
    let x = random(14, 2 * positions, cols, |v| v * 3.0 + 1.0);
    let ones = random(15, 1, cols, |_| 1.0);
    let zeros = random(16, 1, cols, |_| 0.0);
    let y = host(group_norm(x, ones, zeros, positions, groups, 1e-6));
    for example in y.chunks_exact(positions * cols) {
        for group in 0..groups {
            let values: Vec<f32> = example
                .chunks_exact(cols)
                .flat_map(|px| px[group * 2..group * 2 + 2].to_vec())
                .collect();
            let n = values.len() as f32;
            let mean = values.iter().sum::<f32>() / n;
            let var = values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / n;
            assert!(
                mean.abs() < 1e-5 && (var - 1.0).abs() < 1e-3,
                "{mean} {var}"
            );
        }
    }
}

#[test]
fn every_unit_has_its_formula_as_derivative() {
    let units = [
        Unit::Sign(Estimator::Identity),
        Unit::Sign(Estimator::Tanh),
        Unit::Sign(Estimator::Clipped { clip: 0.4 }),
        Unit::Tanh,
        Unit::Relu,
    ];
    for unit in units {
        for dropout in [Dropout::NONE, Dropout { rate: 0.3, seed: 5 }] {
            let x = random(3, 33, 70, |v| v * 2.0);
            let ours = activate(x.clone(), unit, dropout);
            let reference = activate_composite(x.clone(), unit, dropout);
            close(&host(ours.clone()), &host(reference.clone()), 2e-6);
            let inputs = [x];
            close(
                &gradients(ours, &inputs)[0],
                &gradients(reference, &inputs)[0],
                1e-5,
            );
        }
    }
}

#[test]
fn dropout_drops_the_share_it_says() {
    let x = random(3, 200, 500, |_| 1.0);
    let kept = host(activate(
        x,
        Unit::Sign(Estimator::Identity),
        Dropout { rate: 0.2, seed: 9 },
    ));
    let share = kept.iter().filter(|v| **v == 0.0).count() as f32 / kept.len() as f32;
    assert!((share - 0.2).abs() < 0.01, "{share}");
}

#[test]
fn batch_norm_equals_its_composite() {
    for (rows, cols, _) in [(2, 1, 0), (9, 65, 0), (256, 33, 0)] {
        let inputs = [
            random(4, rows, cols, |v| v * 30.0 + 5.0),
            random(5, 1, cols, |v| v),
            random(6, 1, cols, |v| v),
        ];
        let [x, gamma, beta] = inputs.clone();
        let (ours, stats) = batch_norm(x.clone(), gamma.clone(), beta.clone(), 1e-4);
        let (reference, expected) = norm_composite(x, gamma, beta, 1e-4);
        close(&stats.mean, &expected.mean, 1e-5);
        close(&stats.var, &expected.var, 1e-4);
        close(&host(ours.clone()), &host(reference.clone()), 1e-3);
        for (a, b) in gradients(ours, &inputs)
            .iter()
            .zip(gradients(reference, &inputs))
        {
            close(a, &b, 2e-3);
        }
    }
}

#[test]
fn bias_is_added_before_the_scale() {
    let inputs = [random(7, 21, 34, |v| v), random(8, 1, 34, |v| v)];
    let [x, b] = inputs.clone();
    let ours = add_bias(x.clone(), b.clone(), 0.125);
    let reference = (x + b) * 0.125;
    close(&host(ours.clone()), &host(reference.clone()), 1e-6);
    for (a, b) in gradients(ours, &inputs)
        .iter()
        .zip(gradients(reference, &inputs))
    {
        close(a, &b, 1e-5);
    }
}

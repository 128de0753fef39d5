//! Each unit over a grid of values: its formula in f64, and the composite of Burn's own operations.

use burn::tensor::{Device, Tensor, TensorData};

use super::*;

const ESTIMATORS: [Estimator; 10] = [
    Estimator::Identity,
    Estimator::Tanh,
    Estimator::Clipped { clip: 1.25 },
    Estimator::ApproxSign,
    Estimator::SwishSign { beta: 5.0 },
    Estimator::Ede { t: 0.02 },
    Estimator::Ede { t: 3.5 },
    Estimator::Progressive { tau: 0.6 },
    Estimator::Reste { o: 1.0 },
    Estimator::Reste { o: 2.6 },
];

fn units() -> Vec<Unit> {
    let mut units: Vec<Unit> = ESTIMATORS.into_iter().map(Unit::Sign).collect();
    units.extend([
        Unit::Stochastic { seed: 3 },
        Unit::Heaviside { clip: 0.7 },
        Unit::Levels { bits: 1 },
        Unit::Levels { bits: 2 },
        Unit::Levels { bits: 8 },
        Unit::Hardtanh,
        Unit::ClippedRelu,
        Unit::Tanh,
        Unit::Relu,
    ]);
    units
}

/// Values from -4.5 to 4.5, none of them within 1e-4 of a place where a formula jumps, but zero itself.
fn grid() -> Vec<f32> {
    let mut grid: Vec<f32> = (0..9000)
        .map(|i| (i as f32 - 4500.0) * 1e-3 + 4e-4)
        .collect();
    grid.push(0.0);
    grid
}

/// Value in training and derivative by the formulas; `index` is the value's position.
fn formula(unit: Unit, x: f64, index: u32) -> (f64, f64) {
    let sign = if x >= 0.0 { 1.0 } else { -1.0 };
    let inside = |clip: f64| f64::from(u8::from(x.abs() <= clip));
    let sech2 = |x: f64| 1.0 / (x.cosh() * x.cosh());
    match unit {
        Unit::Sign(Estimator::Identity) => (sign, 1.0),
        Unit::Sign(Estimator::Tanh) => (sign, sech2(x)),
        Unit::Sign(Estimator::Clipped { clip }) => (sign, inside(f64::from(clip))),
        Unit::Sign(Estimator::ApproxSign) => (sign, (2.0 - 2.0 * x.abs()).max(0.0)),
        Unit::Sign(Estimator::SwishSign { beta }) => {
            let beta = f64::from(beta);
            let y = beta * x;
            (sign, beta * (2.0 - y * (y / 2.0).tanh()) / (1.0 + y.cosh()))
        }
        Unit::Sign(Estimator::Ede { t }) => {
            let t = f64::from(t);
            (sign, (1.0 / t).max(1.0) * t * sech2(t * x))
        }
        Unit::Sign(Estimator::Progressive { tau }) => {
            ((x / (1.0 - f64::from(tau))).clamp(-1.0, 1.0), 1.0)
        }
        Unit::Sign(Estimator::Reste { o }) => {
            let o = f64::from(o);
            let derivative = match x.abs() {
                a if a <= 0.1 => 0.1f64.powf(1.0 / o) / 0.1,
                a if a <= 1.5 => a.powf((1.0 - o) / o) / o,
                _ => 0.0,
            };
            (sign, derivative)
        }
        Unit::Stochastic { seed } => {
            let up = f64::from(drawn(seed, index)) < ((x + 1.0) / 2.0).clamp(0.0, 1.0);
            (if up { 1.0 } else { -1.0 }, inside(1.0))
        }
        Unit::Heaviside { clip } => (f64::from(u8::from(x > 0.0)), inside(f64::from(clip))),
        Unit::Levels { bits } => {
            let top = 2f64.powi(i32::from(bits)) - 1.0;
            let open = f64::from(u8::from((0.0..=1.0).contains(&x)));
            ((x.clamp(0.0, 1.0) * top).round(), open * top)
        }
        Unit::Hardtanh => (x.clamp(-1.0, 1.0), inside(1.0)),
        Unit::ClippedRelu => (
            x.clamp(0.0, 1.0),
            f64::from(u8::from((0.0..=1.0).contains(&x))),
        ),
        Unit::Tanh => (x.tanh(), sech2(x)),
        Unit::Relu => (x.max(0.0), f64::from(u8::from(x > 0.0))),
    }
}

fn close(what: &dyn std::fmt::Debug, ours: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(ours.len(), expected.len());
    for (i, (a, b)) in ours.iter().zip(expected).enumerate() {
        assert!(
            (f64::from(*a) - b).abs() <= tolerance * (1.0 + b.abs()),
            "{what:?}, element {i}: {a} against {b}"
        );
    }
}

#[test]
fn every_unit_has_the_values_and_the_derivative_of_its_formula() {
    let x = grid();
    for unit in units() {
        let (values, derivatives): (Vec<f64>, Vec<f64>) = x
            .iter()
            .enumerate()
            .map(|(i, x)| formula(unit, f64::from(*x), i as u32))
            .unzip();
        close(
            &(unit, "value"),
            &dropped_values(&x, unit, Dropout::NONE),
            &values,
            2e-6,
        );
        let mut ours = vec![1.0; x.len()];
        multiply_by_derivative(&mut ours, &x, unit, Dropout::NONE);
        close(&(unit, "derivative"), &ours, &derivatives, 4e-5);
    }
}

fn of_host(values: &[f32], cols: usize) -> Tensor<2> {
    let device = Device::flex().autodiff();
    let shape = [values.len() / cols, cols];
    Tensor::<2>::from_data(TensorData::new(values.to_vec(), shape), &device)
}

fn to_host(tensor: Tensor<2>) -> Vec<f64> {
    let values: Vec<f32> = tensor
        .into_data()
        .convert::<f32>()
        .try_into_vec()
        .expect("f32");
    values.into_iter().map(f64::from).collect()
}

#[test]
fn every_unit_equals_its_composite() {
    let mut values = grid();
    values.truncate(9000);
    // 1.2 chunks of columns that do not divide a chunk, so positions past the first chunk count too.
    let values: Vec<f32> = values.iter().cycle().take(45 * 900).copied().collect();
    let upstream: Vec<f32> = (0..values.len()).map(|i| (i % 7) as f32 - 3.0).collect();
    for unit in units() {
        for dropout in [Dropout::NONE, Dropout { rate: 0.3, seed: 3 }] {
            let run = |f: fn(Tensor<2>, Unit, Dropout) -> Tensor<2>| {
                let x = of_host(&values, 45).require_grad();
                let out = f(x.clone(), unit, dropout);
                let grads = (out.clone() * of_host(&upstream, 45)).sum().backward();
                (to_host(out), to_host(x.grad(&grads).expect("takes part")))
            };
            let ((ours, our_grad), (reference, grad)) = (run(activate), run(composite));
            let narrow = |v: &[f64]| -> Vec<f32> { v.iter().map(|v| *v as f32).collect() };
            close(&(unit, dropout), &narrow(&ours), &reference, 2e-6);
            close(
                &(unit, dropout, "gradient"),
                &narrow(&our_grad),
                &grad,
                2e-4,
            );
        }
    }
}

#[test]
fn outside_training_nothing_is_drawn_or_softened() {
    let x = [-2.0, -0.3, -0.0, 0.0, 0.3, 2.0];
    let sign = [-1.0, -1.0, 1.0, 1.0, 1.0, 1.0];
    for unit in [
        Unit::Sign(Estimator::Progressive { tau: 0.0 }),
        Unit::Stochastic { seed: 1 },
        Unit::Sign(Estimator::Tanh),
    ] {
        assert_eq!(unit_values(&x, unit), sign);
    }
    assert_eq!(
        unit_values(&x, Unit::Levels { bits: 2 }),
        [0.0, 0.0, 0.0, 0.0, 1.0, 3.0]
    );
    assert_eq!(
        unit_values(&x, Unit::Heaviside { clip: 1.0 }),
        [0.0, 0.0, 0.0, 0.0, 1.0, 1.0]
    );
}

#[test]
fn stochastic_signs_have_the_probability_of_their_value() {
    for (x, probability) in [
        (-1.0, 0.0),
        (-0.5, 0.25),
        (0.0, 0.5),
        (0.8, 0.9),
        (1.5, 1.0),
    ] {
        let drawn = dropped_values(
            &vec![x; 50_000],
            Unit::Stochastic { seed: 8 },
            Dropout::NONE,
        );
        let share = drawn.iter().filter(|v| **v > 0.0).count() as f64 / 50_000.0;
        assert!((share - probability).abs() < 0.01, "{x}: {share}");
    }
}

#[test]
fn nan_goes_through_units_that_give_real_values() {
    for unit in [
        Unit::Tanh,
        Unit::Relu,
        Unit::Hardtanh,
        Unit::Sign(Estimator::Progressive { tau: 0.5 }),
    ] {
        assert!(
            dropped_values(&[f32::NAN], unit, Dropout::NONE)[0].is_nan(),
            "{unit:?}"
        );
    }
}

#[test]
fn schedules_start_and_end_where_they_say() {
    let ends = |name| (scheduled(name, 1.5, 0.0), scheduled(name, 1.5, 1.0));
    let (Estimator::Ede { t: first }, Estimator::Ede { t: last }) = ends(EstimatorName::Ede) else {
        panic!("another estimator");
    };
    assert!((first - 1e-3).abs() < 1e-8 && (last - 10.0).abs() < 1e-4);
    let (Estimator::Progressive { tau: first }, Estimator::Progressive { tau: last }) =
        ends(EstimatorName::Progressive)
    else {
        panic!("another estimator");
    };
    assert!(first == 0.0 && (1.0 - last - 4f32.powi(-10)).abs() < 1e-7);
    assert_eq!(
        ends(EstimatorName::Reste),
        (Estimator::Reste { o: 1.0 }, Estimator::Reste { o: 3.0 })
    );
    // On the way: EDE's t grows by the same factor each step, ReSTE's o by the same addend.
    let half = |name| scheduled(name, 1.5, 0.5);
    let Estimator::Ede { t } = half(EstimatorName::Ede) else {
        panic!("another estimator");
    };
    assert!((t - 0.1).abs() < 1e-6, "{t}");
    let Estimator::Progressive { tau } = half(EstimatorName::Progressive) else {
        panic!("another estimator");
    };
    assert!((tau - (1.0 - 1.0 / 1024.0)).abs() < 1e-7, "{tau}");
    assert_eq!(half(EstimatorName::Reste), Estimator::Reste { o: 2.0 });
    for (name, estimator) in [
        (EstimatorName::Clipped, Estimator::Clipped { clip: 1.5 }),
        (EstimatorName::Identity, Estimator::Identity),
        (EstimatorName::Tanh, Estimator::Tanh),
        (EstimatorName::ApproxSign, Estimator::ApproxSign),
        (EstimatorName::SwishSign, Estimator::SwishSign { beta: 5.0 }),
    ] {
        assert_eq!(ends(name), (estimator, estimator));
    }
}

#[test]
fn power_is_within_2e_6_of_the_exact_one() {
    for i in 0..=14_000 {
        let x = 0.1 + i as f32 * 1e-4;
        for exponent in [0.0, -0.25, -2.0 / 3.0, -1.0] {
            let exact = f64::from(x.min(1.5)).powf(f64::from(exponent));
            let ours = f64::from(power(x, exponent));
            assert!(
                (ours / exact - 1.0).abs() < 2e-6,
                "{x}^{exponent}: {ours} against {exact}"
            );
        }
    }
}

//! Each custom operation against the composite of Burn's own: same values, same gradients.

use burn::tensor::{Device, Tensor, TensorData};

use super::activate::composite as activate_composite;
use super::norm::composite as norm_composite;
use super::*;
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

#[test]
fn dense_equals_the_matrix_product_for_every_operand() {
    for (batch, n_in, n_out) in SHAPES {
        for operand in [Operand::Real, Operand::Bits, Operand::Ternary] {
            let quantise = move |v: f32| match operand {
                Operand::Real => v,
                Operand::Bits => {
                    if v >= 0.0 {
                        1.0
                    } else {
                        -1.0
                    }
                }
                Operand::Ternary => (v * 1.5).round(),
            };
            let inputs = [
                random(1, batch, n_in, quantise),
                random(2, n_out, n_in, quantise),
            ];
            let [x, w] = inputs.clone();
            let ours = dense(x.clone(), w.clone(), operand, 1.25);
            let reference = x.matmul(w.transpose()) * 1.25;
            let tolerance = if operand == Operand::Real { 1e-4 } else { 0.0 };
            close(&host(ours.clone()), &host(reference.clone()), tolerance);
            for (a, b) in gradients(ours, &inputs)
                .iter()
                .zip(gradients(reference, &inputs))
            {
                close(a, &b, 1e-4);
            }
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

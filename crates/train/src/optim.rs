//! Parameters and the fused Adam step: update the real copy, clip it, re-binarise, count flips.
//!
//! One pass over memory per parameter and step. In: a gradient with respect to the value used in the
//! forward pass. Out: the new real copy (latent) and the new forward value.

use burn::backend::flex::FlexTensor;
use rayon::prelude::*;

use crate::ops::{flex_tensor, values};
use crate::simd::{CHUNK, tanh, vectorized};

/// How the forward value follows from the latent one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Form {
    /// Equal to it.
    Real,
    /// tanh of it (weight compression); the gradient is multiplied by `1 - tanh^2`.
    Tanh,
    /// Its sign, straight-through gradient; 0 counts as +1.
    Sign,
    /// +1 above `beta`, -1 below `-beta`, else 0, with `beta` such that this share of a layer is zero.
    Ternary {
        /// Share of zeros, in `(0, 1)`.
        sparsity: f32,
    },
}

/// Numbers of one Adam step (Kingma & Ba 2015).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Learning rate.
    pub lr: f32,
    /// Steps taken so far, including this one.
    pub step: u32,
    /// The latent value is kept within this; infinite for no limit.
    pub latent_clip: f32,
}

impl Adam {
    const BETA1: f32 = 0.9;
    const BETA2: f32 = 0.999;
    const EPS: f32 = 1e-8;
}

/// A parameter of shape `[n_rows, n_cols]`.
#[derive(Clone, Debug)]
pub struct Param {
    /// The real copy, row-major.
    pub latent: Vec<f32>,
    /// Adam's first moment.
    pub moment1: Vec<f32>,
    /// Adam's second moment.
    pub moment2: Vec<f32>,
    /// What the forward pass uses.
    pub value: FlexTensor,
    n_rows: usize,
    n_cols: usize,
}

impl Param {
    /// A parameter with these latent values and no history.
    pub fn new(latent: Vec<f32>, n_rows: usize, n_cols: usize, form: Form) -> Param {
        assert_eq!(latent.len(), n_rows * n_cols);
        let zeros = vec![0.0; latent.len()];
        let value = flex_tensor(zeros.clone(), n_rows, n_cols);
        let mut param = Param {
            moment1: zeros.clone(),
            moment2: zeros,
            latent,
            value,
            n_rows,
            n_cols,
        };
        param.refresh(form);
        param
    }

    /// `[n_rows, n_cols]`.
    pub fn dims(&self) -> (usize, usize) {
        (self.n_rows, self.n_cols)
    }

    /// Forgets the optimizer's history.
    pub fn reset_moments(&mut self) {
        self.moment1.fill(0.0);
        self.moment2.fill(0.0);
    }

    /// Recomputes the forward value from the latent one.
    pub fn refresh(&mut self, form: Form) {
        let beta = threshold(&self.latent, form);
        match form {
            Form::Real => self.set_values(|w| w),
            Form::Tanh => self.set_values(tanh),
            Form::Sign => self.set_values(sign),
            Form::Ternary { .. } => self.set_values(|w| ternary(w, beta)),
        }
    }

    fn set_values(&mut self, f: impl Fn(f32) -> f32 + Sync + Copy) {
        let value = self.value.storage_mut::<f32>();
        value
            .par_chunks_mut(CHUNK)
            .zip(self.latent.par_chunks(CHUNK))
            .for_each(|(value, latent)| {
                vectorized(
                    #[inline(always)]
                    || {
                        for (v, &w) in value.iter_mut().zip(latent) {
                            *v = f(w);
                        }
                    },
                );
            });
    }

    /// One step; returns how many forward values changed sign.
    pub fn step(&mut self, grad: &[f32], form: Form, adam: Adam) -> usize {
        match form {
            Form::Real => self.update(grad, adam, |w, _| w, |g, _| g),
            Form::Tanh => self.update(
                grad,
                adam,
                |w, _| tanh(w),
                |g, value| g * (1.0 - value * value),
            ),
            Form::Sign => self.update(grad, adam, |w, _| sign(w), |g, _| g),
            Form::Ternary { .. } => {
                self.update(grad, adam, |_, old| old, |g, _| g);
                let before = self.value.clone();
                self.refresh(form);
                values(&before)
                    .iter()
                    .zip(values(&self.value))
                    .filter(|(a, b)| a != b)
                    .count()
            }
        }
    }

    /// Adam on the latent values, then `value = next(latent, value)`; counts sign changes of values.
    fn update(
        &mut self,
        grad: &[f32],
        adam: Adam,
        next: impl Fn(f32, f32) -> f32 + Sync + Copy,
        chain: impl Fn(f32, f32) -> f32 + Sync + Copy,
    ) -> usize {
        let correct1 = 1.0 / (1.0 - Adam::BETA1.powi(adam.step as i32));
        let correct2 = 1.0 / (1.0 - Adam::BETA2.powi(adam.step as i32));
        let rate = adam.lr * correct1;
        self.value
            .storage_mut::<f32>()
            .par_chunks_mut(CHUNK)
            .zip(self.latent.par_chunks_mut(CHUNK))
            .zip(self.moment1.par_chunks_mut(CHUNK))
            .zip(self.moment2.par_chunks_mut(CHUNK))
            .zip(grad.par_chunks(CHUNK))
            .map(|((((value, latent), m), v), grad)| {
                vectorized(
                    #[inline(always)]
                    || {
                        let n = grad.len();
                        let (value, latent, m, v) =
                            (&mut value[..n], &mut latent[..n], &mut m[..n], &mut v[..n]);
                        let mut flips = 0u32;
                        for i in 0..n {
                            let g = chain(grad[i], value[i]);
                            m[i] = Adam::BETA1 * m[i] + (1.0 - Adam::BETA1) * g;
                            v[i] = Adam::BETA2 * v[i] + (1.0 - Adam::BETA2) * g * g;
                            let w =
                                latent[i] - rate * m[i] / ((v[i] * correct2).sqrt() + Adam::EPS);
                            let w = w.max(-adam.latent_clip).min(adam.latent_clip);
                            latent[i] = w;
                            let new = next(w, value[i]);
                            flips += u32::from((new < 0.0) != (value[i] < 0.0));
                            value[i] = new;
                        }
                        flips as usize
                    },
                )
            })
            .sum()
    }

    /// Share of latent values at or beyond `limit` in magnitude.
    pub fn starved(&self, limit: f32) -> usize {
        self.latent.iter().filter(|w| w.abs() >= limit).count()
    }
}

#[inline(always)]
fn sign(latent: f32) -> f32 {
    if latent >= 0.0 { 1.0 } else { -1.0 }
}

#[inline(always)]
fn ternary(latent: f32, beta: f32) -> f32 {
    f32::from(u8::from(latent > beta)) - f32::from(u8::from(latent < -beta))
}

/// The magnitude below or at which a ternary weight is zero: the `sparsity` quantile of the layer.
fn threshold(latent: &[f32], form: Form) -> f32 {
    let Form::Ternary { sparsity } = form else {
        return 0.0;
    };
    let n_zero = (sparsity as f64 * latent.len() as f64).round() as usize;
    if n_zero == 0 {
        return 0.0;
    }
    nth_magnitude(latent, n_zero - 1)
}

/// The `rank`-th smallest magnitude: two passes of counting, as magnitudes order like their bit patterns.
fn nth_magnitude(values: &[f32], rank: usize) -> f32 {
    const COARSE: u32 = 16;
    let bits = |v: &f32| v.abs().to_bits();
    let mut counts = vec![0usize; 1 << (31 - COARSE)];
    values
        .iter()
        .for_each(|v| counts[(bits(v) >> COARSE) as usize] += 1);
    let (bucket, rank) = find_bucket(&counts, rank);
    let mut counts = vec![0usize; 1 << COARSE];
    for v in values
        .iter()
        .map(bits)
        .filter(|b| (b >> COARSE) as usize == bucket)
    {
        counts[(v & ((1 << COARSE) - 1)) as usize] += 1;
    }
    let (low, _) = find_bucket(&counts, rank);
    f32::from_bits(((bucket as u32) << COARSE) | low as u32)
}

fn find_bucket(counts: &[usize], mut rank: usize) -> (usize, usize) {
    for (bucket, &count) in counts.iter().enumerate() {
        if rank < count {
            return (bucket, rank);
        }
        rank -= count;
    }
    unreachable!("the rank is below the number of values counted")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nth_magnitude_equals_sorting() {
        let values: Vec<f32> = (0..1000u32)
            .map(|i| (crate::simd::hash32(7, i) as f32 / 1e9) - 2.0)
            .collect();
        let mut sorted: Vec<f32> = values.iter().map(|v| v.abs()).collect();
        sorted.sort_by(f32::total_cmp);
        for rank in [0, 1, 499, 998, 999] {
            assert_eq!(nth_magnitude(&values, rank), sorted[rank]);
        }
    }

    #[test]
    fn sparsity_zeroes_the_smallest_weights() {
        let latent = vec![0.1, -0.2, 0.3, -0.4];
        let param = Param::new(latent, 1, 4, Form::Ternary { sparsity: 0.5 });
        assert_eq!(values(&param.value), [0.0, 0.0, 1.0, -1.0]);
    }

    #[test]
    fn one_adam_step_moves_each_weight_by_the_rate() {
        let mut param = Param::new(vec![0.05, -0.05], 1, 2, Form::Sign);
        let flips = param.step(
            &[3.0, 0.001],
            Form::Sign,
            Adam {
                lr: 0.1,
                step: 1,
                latent_clip: 1.0,
            },
        );
        assert_eq!(flips, 1);
        assert!((param.latent[0] + 0.05).abs() < 1e-5 && (param.latent[1] + 0.15).abs() < 1e-4);
        assert_eq!(values(&param.value), [-1.0, -1.0]);
    }

    #[test]
    fn latent_values_stay_within_the_clip() {
        let mut param = Param::new(vec![0.95], 1, 1, Form::Sign);
        param.step(
            &[-1.0],
            Form::Sign,
            Adam {
                lr: 0.5,
                step: 1,
                latent_clip: 1.0,
            },
        );
        assert_eq!((param.latent[0], param.starved(1.0)), (1.0, 1));
    }
}

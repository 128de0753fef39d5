//! Parameters and the fused Adam step: update the real copy, clip it, re-binarise, count flips.
//!
//! One pass over memory per parameter and step. In: a gradient with respect to the value used in the
//! forward pass. Out: the new real copy (latent) and the new forward value.

use burn::backend::flex::FlexTensor;
use rayon::prelude::*;

use crate::binarize::{ternary, threshold};
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

/// How a parameter follows its gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// Adam (Kingma & Ba 2015); decay, if any, is decoupled (AdamW; Loshchilov & Hutter 2019).
    Adam {
        /// Decay of the first moment.
        beta1: f32,
        /// Decay of the second moment.
        beta2: f32,
    },
    /// Gradient descent with momentum; decay is added to the gradient.
    Sgd {
        /// Share of the last step that is kept.
        momentum: f32,
    },
    /// Bop (Helwegen et al. 2019): no learning rate; a weight changes sign where the running mean of its gradient
    /// has its sign and reaches a threshold.
    Bop {
        /// The threshold.
        threshold: f32,
        /// Weight of a new gradient in the mean.
        gamma: f32,
    },
}

/// Numbers of one optimizer step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// How a parameter follows its gradient.
    pub rule: Rule,
    /// Learning rate.
    pub lr: f32,
    /// Weight decay per unit of learning rate.
    pub decay: f32,
    /// Steps taken so far, including this one.
    pub step: u32,
    /// The latent value is kept within this; infinite for no limit.
    pub latent_clip: f32,
    /// A row's gradient is at most this share of its latent values' norm; 0 is no limit.
    pub clip_share: f32,
}

const ADAM_EPS: f32 = 1e-8;

/// A parameter of shape `[n_rows, n_cols]`.
#[derive(Clone, Debug)]
pub struct Param {
    /// The real copy, row-major.
    pub latent: Vec<f32>,
    /// Adam's first moment; the momentum of other rules.
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
        let beta = match form {
            Form::Ternary { sparsity } => threshold(&self.latent, sparsity),
            _ => 0.0,
        };
        match form {
            Form::Real => self.set_values(|w| w),
            Form::Tanh => self.set_values(tanh),
            Form::Sign => self.set_values(sign),
            Form::Ternary { .. } => self.set_values(move |w| ternary(w, beta)),
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
                    move || {
                        let f = f;
                        for (v, &w) in value.iter_mut().zip(latent) {
                            *v = f(w);
                        }
                    },
                );
            });
    }

    /// Adaptive gradient clipping (Brock et al. 2021): scales each row of `grad` to at most `share` of the norm of
    /// the row's latent values, which counts as at least 0.001.
    pub fn clip_rows(&self, grad: &mut [f32], share: f32) {
        if share == 0.0 {
            return;
        }
        let norm = |row: &[f32]| row.iter().map(|v| v * v).sum::<f32>().sqrt();
        let rows = self.latent.chunks_exact(self.n_cols);
        for (grad, latent) in grad.chunks_exact_mut(self.n_cols).zip(rows) {
            let most = share * norm(latent).max(1e-3);
            let size = norm(grad);
            if size > most {
                grad.iter_mut().for_each(|g| *g *= most / size);
            }
        }
    }

    /// One step; returns how many forward values changed sign.
    pub fn step(&mut self, grad: &[f32], form: Form, update: Update) -> usize {
        match form {
            Form::Real => self.update(grad, update, |w, _| w, |g, _| g),
            Form::Tanh => self.update(
                grad,
                update,
                |w, _| tanh(w),
                |g, value| g * (1.0 - value * value),
            ),
            Form::Sign => self.update(grad, update, |w, _| sign(w), |g, _| g),
            Form::Ternary { .. } => {
                self.update(grad, update, |_, old| old, |g, _| g);
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

    /// The rule on the latent values, then `value = next(latent, value)`; counts sign changes of values.
    fn update(
        &mut self,
        grad: &[f32],
        update: Update,
        next: impl Fn(f32, f32) -> f32 + Sync + Copy,
        chain: impl Fn(f32, f32) -> f32 + Sync + Copy,
    ) -> usize {
        let Update { lr, decay, .. } = update;
        match update.rule {
            Rule::Adam { beta1, beta2 } => {
                let correct1 = 1.0 / (1.0 - beta1.powi(update.step as i32));
                let correct2 = 1.0 / (1.0 - beta2.powi(update.step as i32));
                let rate = lr * correct1;
                let keep = 1.0 - lr * decay;
                self.each(
                    grad,
                    update,
                    next,
                    chain,
                    #[inline(always)]
                    move |w, g, m, v| {
                        *m = beta1 * *m + (1.0 - beta1) * g;
                        *v = beta2 * *v + (1.0 - beta2) * g * g;
                        w * keep - rate * *m / ((*v * correct2).sqrt() + ADAM_EPS)
                    },
                )
            }
            Rule::Sgd { momentum } => self.each(
                grad,
                update,
                next,
                chain,
                #[inline(always)]
                move |w, g, m, _| {
                    *m = momentum * *m + (g + decay * w);
                    w - lr * *m
                },
            ),
            Rule::Bop { threshold, gamma } => {
                self.each(
                    grad,
                    update,
                    next,
                    chain,
                    #[inline(always)]
                    move |w, g, m, _| {
                        *m = (1.0 - gamma) * *m + gamma * g;
                        // The latent value is the bit itself.
                        let bit = sign(w);
                        if bit * *m >= threshold { -bit } else { bit }
                    },
                )
            }
        }
    }

    /// Calls `rule(latent, gradient, moment 1, moment 2)` for each element.
    fn each(
        &mut self,
        grad: &[f32],
        update: Update,
        next: impl Fn(f32, f32) -> f32 + Sync + Copy,
        chain: impl Fn(f32, f32) -> f32 + Sync + Copy,
        rule: impl Fn(f32, f32, &mut f32, &mut f32) -> f32 + Sync + Copy,
    ) -> usize {
        let clip = update.latent_clip;
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
                    move || {
                        // Of its own, so that no store below can seem to change what they captured.
                        let (next, chain, rule) = (next, chain, rule);
                        let n = grad.len();
                        let (value, latent, m, v) =
                            (&mut value[..n], &mut latent[..n], &mut m[..n], &mut v[..n]);
                        let mut flips = 0u32;
                        for i in 0..n {
                            let g = chain(grad[i], value[i]);
                            let w = rule(latent[i], g, &mut m[i], &mut v[i]);
                            let w = w.max(-clip).min(clip);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn adam(lr: f32) -> Update {
        Update {
            rule: Rule::Adam {
                beta1: 0.9,
                beta2: 0.999,
            },
            lr,
            decay: 0.0,
            step: 1,
            latent_clip: 1.0,
            clip_share: 0.0,
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
        let flips = param.step(&[3.0, 0.001], Form::Sign, adam(0.1));
        assert_eq!(flips, 1);
        assert!((param.latent[0] + 0.05).abs() < 1e-5 && (param.latent[1] + 0.15).abs() < 1e-4);
        assert_eq!(values(&param.value), [-1.0, -1.0]);
    }

    #[test]
    fn latent_values_stay_within_the_clip() {
        let mut param = Param::new(vec![0.95], 1, 1, Form::Sign);
        param.step(&[-1.0], Form::Sign, adam(0.5));
        assert_eq!((param.latent[0], param.starved(1.0)), (1.0, 1));
    }
}

//! What is done to real copies before they are binarised, and its derivative.
//!
//! In: real copies `[rows][cols]`, a row being an output channel. Out: the standardised values with what the
//! backward pass needs. Deviations are those of the population (divisor n), as in the papers' formulas.

use std::borrow::Cow;

use crate::recipe::layers::StandardiseName;

use super::rows::{edit_rows, per_row, sum, sum_pairs};

/// The standardised copies of a layer.
pub(super) struct Standard<'a> {
    /// `[rows][cols]`.
    pub values: Cow<'a, [f32]>,
    /// Mean and reciprocal deviation of each row; empty where nothing is done.
    moments: Vec<(f32, f32)>,
    /// Magnitude at which the values are clamped.
    limit: f32,
}

/// ReCU's tau at `progress` in `[0, 1]`: 0.85 to 0.99 along `a e^progress + b` (Xu et al. 2021).
pub(super) fn recu_tau(progress: f32) -> f32 {
    const FIRST: f32 = 0.85;
    const LAST: f32 = 0.99;
    FIRST + (LAST - FIRST) * (progress.exp() - 1.0) / (std::f32::consts::E - 1.0)
}

/// What is added to a variance before its root, as the authors' code has it; IR-Net's has nothing, so there
/// it only keeps a constant row finite.
fn epsilon(name: StandardiseName) -> f32 {
    match name {
        StandardiseName::None | StandardiseName::Libra => 1e-20,
        StandardiseName::Recu => 1e-5,
        // Theirs is 1e-5, added after the root.
        StandardiseName::Scaled => 1e-10,
    }
}

/// The factor on a row's `(w - mean) / std`.
fn factor(name: StandardiseName, cols: usize) -> f32 {
    match name {
        StandardiseName::None | StandardiseName::Libra => 1.0,
        // The authors divide by std / (2 sqrt 2), which makes the scale of a Laplacian 2.
        StandardiseName::Recu => 2.0 * std::f32::consts::SQRT_2,
        StandardiseName::Scaled => 1.0 / (cols as f32).sqrt(),
    }
}

/// Standardises `latent`; the gains of [`StandardiseName::Scaled`] are left to the caller.
pub(super) fn forward<'a>(
    name: StandardiseName,
    latent: &'a [f32],
    cols: usize,
    progress: f32,
) -> Standard<'a> {
    if name == StandardiseName::None {
        return Standard {
            values: Cow::Borrowed(latent),
            moments: Vec::new(),
            limit: f32::INFINITY,
        };
    }
    let n = cols as f32;
    let moments = per_row(latent, cols, |_, row| {
        let mean = sum(row, |w| w) / n;
        let var = sum(row, |w| (w - mean) * (w - mean)) / n;
        (mean, 1.0 / (var + epsilon(name)).sqrt())
    });
    let mut values = latent.to_vec();
    edit_rows(&mut values, cols, |r, row| {
        let (mean, reciprocal) = moments[r];
        let factor = factor(name, cols) * reciprocal;
        row.iter_mut().for_each(|w| *w = (*w - mean) * factor);
    });
    let mut limit = f32::INFINITY;
    if name == StandardiseName::Recu {
        let sums = per_row(&values, cols, |_, row| sum(row, f32::abs));
        let mean = sums.iter().map(|s| f64::from(*s)).sum::<f64>() / latent.len() as f64;
        limit = -mean as f32 * (2.0 - 2.0 * recu_tau(progress)).ln();
        edit_rows(&mut values, cols, |_, row| {
            row.iter_mut().for_each(|v| *v = v.min(limit).max(-limit));
        });
    }
    Standard {
        values: Cow::Owned(values),
        moments,
        limit,
    }
}

/// Rewrites `grad` from the gradient of the standardised values to that of `latent`.
///
/// Exact through mean and deviation: with `u = (w - mean) / std`, `dw = k / std (g - mean(g) - u mean(g u))`.
/// ReCU's limit is a constant, as its authors detach it, and clamped values get no gradient.
pub(super) fn backward(
    name: StandardiseName,
    latent: &[f32],
    cols: usize,
    standard: &Standard<'_>,
    grad: &mut [f32],
) {
    if name == StandardiseName::None {
        return;
    }
    if standard.limit.is_finite() {
        edit_rows(grad, cols, |r, g| {
            let values = &standard.values[r * cols..][..g.len()];
            for (g, v) in g.iter_mut().zip(values) {
                *g = if v.abs() < standard.limit { *g } else { 0.0 };
            }
        });
    }
    let n = cols as f32;
    let means = per_row(grad, cols, |r, g| {
        let (mean, reciprocal) = standard.moments[r];
        let along = sum_pairs(g, &latent[r * cols..][..cols], |g, w| {
            g * (w - mean) * reciprocal
        });
        (sum(g, |g| g) / n, along / n)
    });
    edit_rows(grad, cols, |r, g| {
        let (mean, reciprocal) = standard.moments[r];
        let (g_mean, g_along) = means[r];
        let factor = factor(name, cols) * reciprocal;
        for (g, w) in g.iter_mut().zip(&latent[r * cols..][..cols]) {
            *g = factor * (*g - g_mean - (w - mean) * reciprocal * g_along);
        }
    });
}

//! The arithmetic of each weight form: codes, factors, and the gradient of the standardised copies.
//!
//! In: standardised copies `z: [rows][cols]`. Out: [`Base`]s, or a gradient rewritten in place.

use crate::ops::{Estimator, Unit, unit_derivative};
use crate::recipe::layers::ScaleName;
use crate::simd::{hash32, tanh};

use super::Base;
use super::rows::{edit_rows, map, per_row, sum, sum_pairs, total};

/// Factors of a single base, one per row.
pub(super) fn scales(
    name: ScaleName,
    z: &[f32],
    codes: &[f32],
    cols: usize,
    aux: &[f32],
) -> Option<Vec<f32>> {
    let n_rows = z.len() / cols.max(1);
    if name == ScaleName::Learned {
        return Some(aux[..n_rows].to_vec());
    }
    if name == ScaleName::None {
        return None;
    }
    let magnitudes = per_row(z, cols, |r, row| {
        let codes = &codes[r * cols..][..cols];
        let magnitude = sum_pairs(row, codes, |w, code| w.abs() * code.abs());
        (magnitude, sum(codes, f32::abs))
    });
    let mean = |(magnitude, count): (f32, f32)| magnitude / count.max(1.0);
    Some(match name {
        ScaleName::LayerMean => {
            let (sums, counts): (Vec<f32>, Vec<f32>) = magnitudes.into_iter().unzip();
            vec![mean((total(&sums), total(&counts))); n_rows]
        }
        ScaleName::PowerOfTwo => magnitudes
            .into_iter()
            .map(|row| 2f32.powi(mean(row).log2().round() as i32))
            .collect(),
        _ => magnitudes.into_iter().map(mean).collect(),
    })
}

/// From the gradient of `factor * code` to that of `z`; returns that of a learned factor. `derivative` is what stands
/// in for that of each code.
pub(super) fn scaled_gradient(
    name: ScaleName,
    z: &[f32],
    codes: &[f32],
    factors: &[f32],
    derivative: &[f32],
    grad: &mut [f32],
) -> Vec<f32> {
    let cols = z.len() / factors.len().max(1);
    let mut along = Vec::new();
    if matches!(name, ScaleName::Mean | ScaleName::Learned) {
        along = per_row(grad, cols, |r, g| {
            let codes = &codes[r * cols..][..cols];
            let dot = sum_pairs(g, codes, |g, code| g * code);
            (dot, sum(codes, f32::abs))
        });
    }
    let simple = match name {
        ScaleName::MeanSimple => 1.0 / cols.max(1) as f32,
        _ => 0.0,
    };
    let unscaled = matches!(name, ScaleName::None | ScaleName::LayerMean);
    edit_rows(grad, cols, |r, g| {
        let factor = if unscaled { 1.0 } else { factors[r] };
        let derivative = &derivative[r * cols..][..cols];
        g.iter_mut()
            .zip(derivative)
            .for_each(|(g, d)| *g *= simple + d * factor);
    });
    if name == ScaleName::Mean {
        edit_rows(grad, cols, |r, g| {
            let (dot, count) = along[r];
            let share = dot / count.max(1.0);
            let row = r * cols..(r + 1) * cols;
            for ((g, &w), code) in g.iter_mut().zip(&z[row.clone()]).zip(&codes[row]) {
                *g += share * sign(w) * code.abs();
            }
        });
    }
    match name {
        ScaleName::Learned => along.into_iter().map(|(dot, _)| dot).collect(),
        _ => Vec::new(),
    }
}

/// AdaBin's two bases: signs around the row's mean, and ones.
pub(super) fn adabin(z: &[f32], cols: usize) -> Vec<Base> {
    let n = cols as f32;
    let beta = per_row(z, cols, |_, row| sum(row, |w| w) / n);
    let alpha = per_row(z, cols, |r, row| {
        (sum(row, |w| (w - beta[r]) * (w - beta[r])) / n).sqrt()
    });
    let mut codes = z.to_vec();
    edit_rows(&mut codes, cols, |r, row| {
        row.iter_mut().for_each(|w| *w = sign(*w - beta[r]));
    });
    let ones = vec![1.0; z.len()];
    vec![
        Base {
            codes,
            scale: Some(alpha),
        },
        Base {
            codes: ones,
            scale: Some(beta),
        },
    ]
}

/// AdaBin's gradient. With `u = (w - beta) / alpha`, `d` the stand-in for the code's derivative at `u` and `b` the code:
/// `dw = d g + mean(g) - mean(d g) + u (mean(g b) - mean(d g u))`.
pub(super) fn adabin_gradient(
    z: &[f32],
    cols: usize,
    alpha: &[f32],
    beta: &[f32],
    estimator: Estimator,
    grad: &mut [f32],
) {
    let mut u = z.to_vec();
    edit_rows(&mut u, cols, |r, u| {
        let reciprocal = if alpha[r] > 0.0 { 1.0 / alpha[r] } else { 0.0 };
        u.iter_mut().for_each(|u| *u = (*u - beta[r]) * reciprocal);
    });
    let n = cols as f32;
    let mut passed = unit_derivative(&u, Unit::Sign(estimator));
    edit_rows(&mut passed, cols, |r, d| {
        let g = &grad[r * cols..][..cols];
        d.iter_mut().zip(g).for_each(|(d, g)| *d *= g);
    });
    edit_rows(grad, cols, |r, g| {
        let row = r * cols..(r + 1) * cols;
        let (z, u, passed) = (&z[row.clone()], &u[row.clone()], &passed[row]);
        let shift = sum_pairs(g, passed, |g, p| g - p) / n;
        let towards = sum_pairs(g, z, |g, w| g * sign(w - beta[r]));
        let stretch = (towards - sum_pairs(passed, u, |p, u| p * u)) / n;
        for ((g, p), u) in g.iter_mut().zip(passed).zip(u) {
            *g = p + shift + u * stretch;
        }
    });
}

/// ABC-Net's bases with their least-squares factors.
pub(super) fn abc(z: &[f32], cols: usize, n_bases: usize) -> Vec<Base> {
    let rows = z.len() / cols.max(1);
    let n = z.len().max(1) as f32;
    let mean = total(&per_row(z, cols, |_, row| sum(row, |w| w))) / n;
    let squares = per_row(z, cols, |_, row| sum(row, |w| (w - mean) * (w - mean)));
    let std = (total(&squares) / n).sqrt();
    let mut dots = Vec::new();
    let mut surplus = Vec::new();
    let mut codes = Vec::new();
    for m in 0..n_bases {
        let u = match n_bases {
            1 => 0.0,
            _ => -1.0 + 2.0 * m as f32 / (n_bases - 1) as f32,
        };
        let base = map(z, |w, _| sign(w - mean + u * std));
        let sums = per_row(z, cols, |r, row| {
            let codes = &base[r * cols..][..cols];
            let dot = sum_pairs(row, codes, |w, code| w * code);
            (f64::from(dot), f64::from(sum(codes, |code| code)))
        });
        dots.push(sums.iter().map(|(dot, _)| dot).sum::<f64>());
        surplus.push(sums.iter().map(|(_, sum)| sum).sum::<f64>());
        codes.push(base);
    }
    let factors = least_squares(&surplus, &dots, z.len() as f64);
    codes
        .into_iter()
        .zip(factors)
        .map(|(codes, factor)| Base {
            codes,
            scale: Some(vec![factor as f32; rows]),
        })
        .collect()
}

/// Factors of nested bases with sums `surplus[m]` and inner products `dots[m]` with the `n` weights.
///
/// Nested means that each base's +1 contain the one's before, so the sums of two of them differ by twice the
/// number of places where they differ. Equal bases share their factor, by a ridge far below one weight.
fn least_squares(surplus: &[f64], dots: &[f64], n: f64) -> Vec<f64> {
    let size = dots.len();
    let mut rows: Vec<Vec<f64>> = (0..size)
        .map(|a| {
            let inner = |b: usize| n - (surplus[a] - surplus[b]).abs();
            let mut row: Vec<f64> = (0..size).map(inner).chain([dots[a]]).collect();
            row[a] += 1e-6;
            row
        })
        .collect();
    // The matrix is positive definite, so elimination needs no pivoting.
    for a in 0..size {
        let pivot = rows[a].clone();
        for (b, row) in rows.iter_mut().enumerate() {
            let factor = row[a] / pivot[a];
            if b != a {
                row.iter_mut()
                    .zip(&pivot)
                    .for_each(|(v, p)| *v -= factor * p);
            }
        }
    }
    (0..size).map(|a| rows[a][size] / rows[a][a]).collect()
}

/// The largest magnitude of tanh over the layer.
pub(super) fn largest_tanh(z: &[f32], cols: usize) -> f32 {
    let rows = per_row(z, cols, |_, row| {
        row.iter().fold(0.0f32, |max, w| max.max(w.abs()))
    });
    // tanh is monotone, and all-zero weights must not divide by zero.
    tanh(rows.into_iter().fold(0.0, f32::max)).max(1e-20)
}

#[inline(always)]
pub(super) fn sign(w: f32) -> f32 {
    if w >= 0.0 { 1.0 } else { -1.0 }
}

#[inline(always)]
pub(crate) fn ternary(w: f32, beta: f32) -> f32 {
    f32::from(u8::from(w > beta)) - f32::from(u8::from(w < -beta))
}

/// +1 with probability `clip((w + 1) / 2, 0, 1)`; 24 bits of the hash compare exactly.
#[inline(always)]
pub(super) fn draw(w: f32, seed: u32, index: u32) -> f32 {
    let probability = ((w + 1.0) * 0.5).clamp(0.0, 1.0);
    sign(probability * 16_777_216.0 - (hash32(seed, index) >> 8) as f32 - 0.5)
}

/// `factor` within the window, 0 outside.
#[inline(always)]
pub(super) fn within(w: f32, clip: f32, factor: f32) -> f32 {
    if w.abs() <= clip { factor } else { 0.0 }
}

/// The magnitude below or at which a ternary weight is zero: the `sparsity` quantile of the layer.
pub(crate) fn threshold(z: &[f32], sparsity: f32) -> f32 {
    let n_zero = (f64::from(sparsity) * z.len() as f64).round() as usize;
    if n_zero == 0 {
        return 0.0;
    }
    nth_magnitude(z, n_zero - 1)
}

/// The signs of the `fan_in` greatest magnitudes of each row, 0 elsewhere; of equal ones the first are taken, as
/// clipped copies are often equal.
pub(super) fn largest_of_rows(z: &[f32], cols: usize, fan_in: usize) -> Vec<f32> {
    let mut codes = vec![0.0; z.len()];
    edit_rows(&mut codes, cols, |r, out| {
        let row = &z[r * cols..][..cols];
        let mut order: Vec<usize> = (0..cols).collect();
        if fan_in < cols {
            let greater = |a: &usize, b: &usize| row[*b].abs().total_cmp(&row[*a].abs());
            order.select_nth_unstable_by(fan_in, |a, b| greater(a, b).then(a.cmp(b)));
            order.truncate(fan_in);
        }
        for c in order {
            out[c] = ternary(row[c], 0.0);
        }
    });
    codes
}

/// The `rank`-th smallest magnitude: two passes of counting, as magnitudes order like their bit patterns.
pub(super) fn nth_magnitude(values: &[f32], rank: usize) -> f32 {
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

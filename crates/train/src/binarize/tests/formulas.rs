//! The formulas of every weight form, written once more, naively and in binary64.

use super::super::standardise::recu_tau;
use super::super::*;
use super::CONTEXT;
use crate::recipe::layers::StandardiseName as Standardise;

pub fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

pub fn deviation(values: &[f64], add: f64) -> f64 {
    let mu = mean(values);
    (values.iter().map(|v| (v - mu) * (v - mu)).sum::<f64>() / values.len() as f64 + add).sqrt()
}

pub fn mean_magnitude(values: &[f64]) -> f64 {
    values.iter().map(|v| v.abs()).sum::<f64>() / values.len() as f64
}

pub fn signum(v: f64) -> f64 {
    if v >= 0.0 { 1.0 } else { -1.0 }
}

/// The standardised copies before ReCU's clamp, without gains.
pub fn standardised(name: Standardise, w: &[f64], cols: usize) -> Vec<f64> {
    let factor = match name {
        Standardise::None => return w.to_vec(),
        Standardise::Libra => 1.0,
        Standardise::Recu => 8f64.sqrt(),
        Standardise::Scaled => 1.0 / (cols as f64).sqrt(),
    };
    let add = if name == Standardise::Recu { 1e-5 } else { 0.0 };
    w.chunks(cols)
        .flat_map(|row| {
            let (mu, std) = (mean(row), deviation(row, add));
            row.iter().map(move |w| factor * (w - mu) / std)
        })
        .collect()
}

pub fn limit(name: Standardise, z: &[f64]) -> f64 {
    match name {
        Standardise::Recu => {
            -mean_magnitude(z) * (2.0 - 2.0 * f64::from(recu_tau(CONTEXT.progress))).ln()
        }
        _ => f64::INFINITY,
    }
}

/// What a gradient does not see: the point that the straight-through functions are taken at.
pub struct Frozen {
    /// ReCU's limit.
    pub limit: f64,
    /// Standardised copies.
    pub z: Vec<f64>,
    /// Codes of each base.
    pub codes: Vec<Vec<f64>>,
    /// Factors that are constants, `[base][row]`.
    pub factors: Vec<Vec<f64>>,
}

/// Factors of each base by the formulas, without gains, `[base][row]`.
pub fn naive_factors(
    spec: &WeightSpec,
    z: &[f64],
    codes: &[Vec<f64>],
    cols: usize,
    learned: &[f64],
) -> Vec<Vec<f64>> {
    let rows = z.len() / cols;
    let kept = |z: &[f64], codes: &[f64]| {
        let kept: Vec<f64> = z
            .iter()
            .zip(codes)
            .filter(|(_, code)| **code != 0.0)
            .map(|(z, _)| *z)
            .collect();
        if kept.is_empty() {
            0.0
        } else {
            mean_magnitude(&kept)
        }
    };
    let by_row = |f: &dyn Fn(usize, &[f64]) -> f64| {
        z.chunks(cols).enumerate().map(|(r, z)| f(r, z)).collect()
    };
    let row_mean = |r: usize, z: &[f64]| kept(z, &codes[0][r * cols..][..cols]);
    match spec.form {
        WeightName::Real => vec![vec![1.0; rows]],
        WeightName::Adabin => vec![by_row(&|_, z| deviation(z, 0.0)), by_row(&|_, z| mean(z))],
        WeightName::Abc => unreachable!("its factors are checked by their normal equations"),
        WeightName::Dorefa if dorefa_bits(spec) > 1 => {
            vec![vec![1.0 / f64::from(levels(spec)); rows]]
        }
        WeightName::Dorefa => vec![vec![mean_magnitude(z); rows]],
        _ => vec![match spec.scale {
            ScaleName::None => vec![1.0; rows],
            ScaleName::Mean | ScaleName::MeanSimple | ScaleName::MeanConstant => by_row(&row_mean),
            ScaleName::LayerMean => vec![kept(z, &codes[0]); rows],
            ScaleName::Learned => learned.to_vec(),
            ScaleName::PowerOfTwo => by_row(&|r, z| row_mean(r, z).log2().round().exp2()),
        }],
    }
}

/// The derivative that an estimator puts in the place of sign's; `ops` proves those against their formulas.
fn stand_in(name: EstimatorName, clip: f64, z: f64) -> f64 {
    let estimator = scheduled(name, clip as f32, CONTEXT.progress);
    f64::from(unit_derivative(&[z as f32], Unit::Sign(estimator))[0])
}

/// The effective weights as the function of `w` and `aux` that [`latent_gradient`] differentiates.
pub fn surrogate(
    spec: &WeightSpec,
    w: &[f64],
    aux: &[f64],
    rows: usize,
    frozen: &Frozen,
) -> Vec<f64> {
    let cols = w.len() / rows;
    let z: Vec<f64> = standardised(spec.standardise, w, cols)
        .iter()
        .map(|z| z.clamp(-frozen.limit, frozen.limit))
        .collect();
    let n_learned = if has_learned_scale(spec) { rows } else { 0 };
    let (learned, gain) = aux.split_at(n_learned);
    let clip = f64::from(window(spec));
    let moving = match spec.form {
        WeightName::Adabin => naive_factors(spec, &z, &frozen.codes, cols, learned),
        _ if spec.scale == ScaleName::Mean => {
            // The codes stay, so a magnitude is sign0(z) z.
            let signed: Vec<f64> = z
                .iter()
                .zip(&frozen.z)
                .map(|(z, z0)| signum(*z0) * z)
                .collect();
            vec![
                signed
                    .chunks(cols)
                    .zip(frozen.codes[0].chunks(cols))
                    .map(|(z, codes)| {
                        let count = codes.iter().filter(|c| **c != 0.0).count().max(1) as f64;
                        z.iter().zip(codes).map(|(z, c)| z * c.abs()).sum::<f64>() / count
                    })
                    .collect(),
            ]
        }
        _ if has_learned_scale(spec) => vec![learned.to_vec()],
        _ => frozen.factors.clone(),
    };
    let top = frozen.z.iter().fold(0.0f64, |m, z| m.max(z.tanh().abs()));
    (0..w.len())
        .map(|i| {
            let r = i / cols;
            let row = r * cols..(r + 1) * cols;
            let pass = |z: f64, z0: f64| match spec.estimator {
                Some(name) => stand_in(name, clip, z0) * (z - z0),
                None if z0.abs() <= clip => z - z0,
                None => 0.0,
            };
            let through = pass(z[i], frozen.z[i]);
            let value = match spec.form {
                WeightName::Real => z[i],
                WeightName::Adabin => {
                    let unit = |all: &[f64]| {
                        let all = &all[row.clone()];
                        (all[i - r * cols] - mean(all)) / deviation(all, 0.0)
                    };
                    let through = pass(unit(&z), unit(&frozen.z));
                    moving[0][r] * (frozen.codes[0][i] + through) + moving[1][r]
                }
                WeightName::Abc => (0..frozen.codes.len())
                    .map(|m| moving[m][r] * (frozen.codes[m][i] + through))
                    .sum(),
                WeightName::Dorefa if dorefa_bits(spec) > 1 => {
                    let t = |z: f64| z.tanh() / top;
                    let open = f64::from(u8::from(frozen.z[i].abs() <= clip));
                    moving[0][r] * frozen.codes[0][i] + open * (t(z[i]) - t(frozen.z[i]))
                }
                _ if matches!(scale_of(spec), ScaleName::None | ScaleName::LayerMean) => {
                    moving[0][r] * frozen.codes[0][i] + through
                }
                _ => moving[0][r] * (frozen.codes[0][i] + through),
            };
            value * gain.get(r).copied().unwrap_or(1.0)
        })
        .collect()
}

/// The point of [`surrogate`], from the bases under test.
pub fn freeze(
    spec: &WeightSpec,
    latent: &[f32],
    aux: &[f32],
    cols: usize,
    bases: &[Base],
) -> Frozen {
    let rows = latent.len() / cols;
    let z = standardised(spec.standardise, &wide(latent), cols);
    let limit = limit(spec.standardise, &z);
    let z: Vec<f64> = z.iter().map(|z| z.clamp(-limit, limit)).collect();
    let codes: Vec<Vec<f64>> = bases.iter().map(|base| wide(&base.codes)).collect();
    let factors = if spec.form == WeightName::Abc {
        let gain = gains(spec, rows, aux);
        let plain = |base: &Base| {
            let factors = wide(&factors(base.borrowed(), rows));
            let gain = |r: usize| f64::from(gain.get(r).copied().unwrap_or(1.0));
            factors
                .iter()
                .enumerate()
                .map(|(r, f)| f / gain(r))
                .collect()
        };
        bases.iter().map(plain).collect()
    } else {
        let n = if has_learned_scale(spec) { rows } else { 0 };
        naive_factors(spec, &z, &codes, cols, &wide(&aux[..n]))
    };
    Frozen {
        limit,
        z,
        codes,
        factors,
    }
}

pub fn effective(bases: &[Base], cols: usize) -> Vec<f64> {
    let mut sum = vec![0.0; bases[0].codes.len()];
    for base in bases {
        for (i, s) in sum.iter_mut().enumerate() {
            let factor = base.scale.as_ref().map_or(1.0, |scale| scale[i / cols]);
            *s += f64::from(factor) * f64::from(base.codes[i]);
        }
    }
    sum
}

pub fn close(what: &dyn std::fmt::Debug, ours: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(ours.len(), expected.len(), "{what:?}");
    let size = expected.iter().fold(1e-3f64, |m, v| m.max(v.abs()));
    for (i, (a, b)) in ours.iter().zip(expected).enumerate() {
        assert!(
            (a - b).abs() <= tolerance * size,
            "{what:?}, element {i}: {a} against {b}"
        );
    }
}
/// Codes by the formulas; those of `real` and `stochastic` are given back, as other tests have them.
pub fn naive_codes(
    spec: &WeightSpec,
    frozen: &Frozen,
    cols: usize,
    aux: &[f32],
    rows: usize,
) -> Vec<Vec<f64>> {
    let z = &frozen.z;
    let ternary = |beta: f64| {
        vec![
            z.iter()
                .map(|z| if z.abs() > beta { signum(*z) } else { 0.0 })
                .collect(),
        ]
    };
    match spec.form {
        WeightName::Stochastic => frozen.codes.clone(),
        WeightName::Real => {
            let gain = wide(gains(spec, rows, aux));
            let value = |(i, z): (usize, &f64)| z * gain.get(i / cols).copied().unwrap_or(1.0);
            let expected: Vec<f64> = z.iter().enumerate().map(value).collect();
            close(spec, &frozen.codes[0], &expected, 1e-5);
            frozen.codes.clone()
        }
        WeightName::Ternary if spec.fan_in.is_some() => {
            let fan_in = spec.fan_in.unwrap_or(cols);
            let is_among_greatest = |i: usize| {
                let row = &z[i / cols * cols..][..cols];
                row.iter().filter(|v| v.abs() > z[i].abs()).count() < fan_in
            };
            let code = |i: usize| f64::from(u8::from(is_among_greatest(i))) * signum(z[i]);
            vec![(0..z.len()).map(code).collect()]
        }
        WeightName::Ternary => {
            let mut sorted: Vec<f64> = z.iter().map(|z| z.abs()).collect();
            sorted.sort_by(f64::total_cmp);
            let n_zero = (0.3 * z.len() as f64).round() as usize;
            // Between two magnitudes, as z is rounded differently there and here.
            ternary((sorted[n_zero - 1] + sorted[n_zero]) / 2.0)
        }
        WeightName::Twn => ternary(0.7 * mean_magnitude(z)),
        WeightName::Dorefa if dorefa_bits(spec) > 1 => {
            let top = f64::from(levels(spec));
            let max = z.iter().fold(0.0f64, |m, z| m.max(z.tanh().abs()));
            let code = |z: &f64| 2.0 * (top * (z.tanh() / (2.0 * max) + 0.5)).round() - top;
            vec![z.iter().map(code).collect()]
        }
        WeightName::Sign | WeightName::Dorefa => vec![z.iter().map(|z| signum(*z)).collect()],
        WeightName::Adabin => vec![
            z.chunks(cols)
                .flat_map(|row| row.iter().map(|z| signum(z - mean(row))))
                .collect(),
            vec![1.0; z.len()],
        ],
        WeightName::Abc => [-1.0, 0.0, 1.0]
            .iter()
            .map(|u| {
                let at = mean(z) - u * deviation(z, 0.0);
                z.iter().map(|z| signum(z - at)).collect()
            })
            .collect(),
    }
}

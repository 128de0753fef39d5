//! Each form against its formula in f64, and each gradient against central differences of the function that
//! the formula differentiates: codes frozen, plus what passes straight through.

use super::forms::nth_magnitude;
use super::standardise::recu_tau;
use super::*;
use crate::recipe::layers::StandardiseName as Standardise;
use crate::simd::hash32;

fn refs(bases: &[Base]) -> Vec<BaseRef<'_>> {
    bases.iter().map(Base::borrowed).collect()
}

const FORMS: [WeightName; 8] = [
    WeightName::Real,
    WeightName::Sign,
    WeightName::Stochastic,
    WeightName::Ternary,
    WeightName::Twn,
    WeightName::Dorefa,
    WeightName::Adabin,
    WeightName::Abc,
];
const SCALES: [ScaleName; 6] = [
    ScaleName::None,
    ScaleName::Mean,
    ScaleName::MeanConstant,
    ScaleName::LayerMean,
    ScaleName::Learned,
    ScaleName::PowerOfTwo,
];
const STANDARDS: [Standardise; 4] = [
    Standardise::None,
    Standardise::Libra,
    Standardise::Recu,
    Standardise::Scaled,
];
const SHAPES: [(usize, usize); 3] = [(2, 67), (4, 9), (3, 32)];
const CONTEXT: WeightContext = WeightContext {
    progress: 0.3,
    seed: 11,
    training: true,
};

fn random(seed: u32, n: usize) -> Vec<f32> {
    (0..n)
        .map(|i| hash32(seed, i as u32) as f32 / 2f32.powi(31) - 1.0)
        .collect()
}

/// Every form with every scale it takes, every standardisation, with and without a window; DoReFa with one bit
/// and with three.
fn specs() -> Vec<WeightSpec> {
    let mut specs = Vec::new();
    for form in FORMS {
        for scale in SCALES {
            for standardise in STANDARDS {
                for (clip, bits) in [(0.0, 1), (0.55, 3)] {
                    let mut spec = WeightSpec::from(form);
                    (spec.scale, spec.standardise, spec.clip) = (scale, standardise, clip);
                    (spec.bits, spec.bases, spec.sparsity) = (Some(bits), Some(3), Some(0.3));
                    if takes_scale(form) || scale == ScaleName::None {
                        specs.push(spec);
                    }
                }
            }
        }
    }
    specs
}

/// Learned values that differ from row to row.
fn some_aux(spec: &WeightSpec, rows: usize) -> Vec<f32> {
    let n = n_aux(spec, rows);
    random(5, n).iter().map(|v| v * 0.5 + 1.1).collect()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn deviation(values: &[f64], add: f64) -> f64 {
    let mu = mean(values);
    (values.iter().map(|v| (v - mu) * (v - mu)).sum::<f64>() / values.len() as f64 + add).sqrt()
}

fn mean_magnitude(values: &[f64]) -> f64 {
    values.iter().map(|v| v.abs()).sum::<f64>() / values.len() as f64
}

fn signum(v: f64) -> f64 {
    if v >= 0.0 { 1.0 } else { -1.0 }
}

/// The standardised copies before ReCU's clamp, without gains.
fn standardised(name: Standardise, w: &[f64], cols: usize) -> Vec<f64> {
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

fn limit(name: Standardise, z: &[f64]) -> f64 {
    match name {
        Standardise::Recu => {
            -mean_magnitude(z) * (2.0 - 2.0 * f64::from(recu_tau(CONTEXT.progress))).ln()
        }
        _ => f64::INFINITY,
    }
}

/// What a gradient does not see: the point that the straight-through functions are taken at.
struct Frozen {
    /// ReCU's limit.
    limit: f64,
    /// Standardised copies.
    z: Vec<f64>,
    /// Codes of each base.
    codes: Vec<Vec<f64>>,
    /// Factors that are constants, `[base][row]`.
    factors: Vec<Vec<f64>>,
}

/// Factors of each base by the formulas, without gains, `[base][row]`.
fn naive_factors(
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
            ScaleName::Mean | ScaleName::MeanConstant => by_row(&row_mean),
            ScaleName::LayerMean => vec![kept(z, &codes[0]); rows],
            ScaleName::Learned => learned.to_vec(),
            ScaleName::PowerOfTwo => by_row(&|r, z| row_mean(r, z).log2().round().exp2()),
        }],
    }
}

/// The effective weights as the function of `w` and `aux` that [`latent_gradient`] differentiates.
fn surrogate(spec: &WeightSpec, w: &[f64], aux: &[f64], rows: usize, frozen: &Frozen) -> Vec<f64> {
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
            let pass = |z: f64, z0: f64| if z0.abs() <= clip { z - z0 } else { 0.0 };
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
fn freeze(spec: &WeightSpec, latent: &[f32], aux: &[f32], cols: usize, bases: &[Base]) -> Frozen {
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

fn effective(bases: &[Base], cols: usize) -> Vec<f64> {
    let mut sum = vec![0.0; bases[0].codes.len()];
    for base in bases {
        for (i, s) in sum.iter_mut().enumerate() {
            let factor = base.scale.as_ref().map_or(1.0, |scale| scale[i / cols]);
            *s += f64::from(factor) * f64::from(base.codes[i]);
        }
    }
    sum
}

fn close(what: &dyn std::fmt::Debug, ours: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(ours.len(), expected.len(), "{what:?}");
    let size = expected.iter().fold(1e-3f64, |m, v| m.max(v.abs()));
    for (i, (a, b)) in ours.iter().zip(expected).enumerate() {
        assert!(
            (a - b).abs() <= tolerance * size,
            "{what:?}, element {i}: {a} against {b}"
        );
    }
}

#[test]
fn every_form_has_the_values_of_its_formula() {
    for (rows, cols) in SHAPES {
        let latent = random(3, rows * cols);
        for spec in specs() {
            let aux = some_aux(&spec, rows);
            let bases = binarise(&spec, &latent, rows, cols, &aux, &CONTEXT);
            let frozen = freeze(&spec, &latent, &aux, cols, &bases);
            let expected = surrogate(&spec, &wide(&latent), &wide(&aux), rows, &frozen);
            close(&spec, &effective(&bases, cols), &expected, 2e-5);
            assert_eq!(
                naive_codes(&spec, &frozen, cols, &aux, rows),
                frozen.codes,
                "{spec:?}"
            );
        }
    }
}

/// Codes by the formulas; those of `real` and `stochastic` are given back, as other tests have them.
fn naive_codes(
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

#[test]
fn every_gradient_is_that_of_its_formula() {
    const STEP: f64 = 1e-5;
    for (rows, cols) in SHAPES {
        let latent = random(3, rows * cols);
        let upstream = random(8, rows * cols);
        for spec in specs() {
            let aux = some_aux(&spec, rows);
            let bases = binarise(&spec, &latent, rows, cols, &aux, &CONTEXT);
            let frozen = freeze(&spec, &latent, &aux, cols, &bases);
            let mut grad = upstream.clone();
            let aux_grad = latent_gradient(
                &spec,
                &latent,
                rows,
                cols,
                &aux,
                &refs(&bases),
                &CONTEXT,
                &mut grad,
            );
            let loss = |w: &[f64], aux: &[f64]| -> f64 {
                surrogate(&spec, w, aux, rows, &frozen)
                    .iter()
                    .zip(&upstream)
                    .map(|(w, g)| w * f64::from(*g))
                    .sum()
            };
            let slope = |values: &[f64], i: usize, f: &dyn Fn(&[f64]) -> f64| {
                let mut moved = values.to_vec();
                moved[i] = values[i] + STEP;
                let up = f(&moved);
                moved[i] = values[i] - STEP;
                (up - f(&moved)) / (2.0 * STEP)
            };
            let (w, a) = (wide(&latent), wide(&aux));
            let expected: Vec<f64> = (0..w.len())
                .map(|i| slope(&w, i, &|w| loss(w, &a)))
                .collect();
            close(&(&spec, "latent"), &wide(&grad), &expected, 1e-4);
            let expected: Vec<f64> = (0..a.len())
                .map(|i| slope(&a, i, &|a| loss(&w, a)))
                .collect();
            close(&(&spec, "aux"), &wide(&aux_grad), &expected, 1e-4);
        }
    }
}

#[test]
fn the_mean_scale_has_xnor_nets_corrected_gradient() {
    let (latent, g) = ([0.5f32, -0.25, 1.5, 0.75], [1.0f32, 2.0, -1.0, 0.5]);
    let mut spec = WeightSpec::from(WeightName::Sign);
    (spec.scale, spec.clip) = (ScaleName::Mean, 1.0);
    let bases = binarise(&spec, &latent, 1, 4, &[], &CONTEXT);
    assert_eq!(bases[0].scale, Some(vec![0.75]));
    let mut grad = g;
    latent_gradient(
        &spec,
        &latent,
        1,
        4,
        &[],
        &refs(&bases),
        &CONTEXT,
        &mut grad,
    );
    // sum(g sign(w)) / n = (1 - 2 - 1 + 0.5) / 4; alpha g passes where |w| <= 1.
    let share = -0.375;
    assert_eq!(grad, [0.75 + share, 1.5 - share, share, 0.375 + share]);
}

#[test]
fn abc_factors_leave_a_residual_orthogonal_to_each_base() {
    for (rows, cols) in SHAPES {
        for n_bases in [1, 2, 3, 5] {
            let latent = random(3, rows * cols);
            let mut spec = WeightSpec::from(WeightName::Abc);
            spec.bases = Some(n_bases);
            let bases = binarise(&spec, &latent, rows, cols, &[], &CONTEXT);
            let sum = effective(&bases, cols);
            assert_eq!(bases.len(), n_bases);
            for base in &bases {
                let dot: f64 = (0..latent.len())
                    .map(|i| f64::from(base.codes[i]) * (f64::from(latent[i]) - sum[i]))
                    .sum();
                assert!(dot.abs() < 1e-3, "{dot}");
            }
        }
    }
}

#[test]
fn stochastic_signs_have_the_probability_of_their_weight() {
    let spec = WeightSpec::from(WeightName::Stochastic);
    for (w, probability) in [
        (-1.5, 0.0),
        (-1.0, 0.0),
        (-0.4, 0.3),
        (0.0, 0.5),
        (0.5, 0.75),
        (1.0, 1.0),
    ] {
        let latent = vec![w; 40_000];
        let draw = |seed: u32, training: bool| {
            let ctx = WeightContext {
                progress: 0.0,
                seed,
                training,
            };
            binarise(&spec, &latent, 200, 200, &[], &ctx)
                .remove(0)
                .codes
        };
        let drawn = draw(7, true);
        assert!(drawn.iter().all(|c| c.abs() == 1.0));
        let share = drawn.iter().filter(|c| **c > 0.0).count() as f64 / 40_000.0;
        assert!((share - probability).abs() < 0.01, "{w}: {share}");
        assert_eq!(drawn, draw(7, true));
        assert_eq!(
            drawn != draw(8, true),
            probability > 0.0 && probability < 1.0
        );
        assert_eq!(
            draw(7, false),
            vec![if w >= 0.0 { 1.0 } else { -1.0 }; 40_000]
        );
    }
}

#[test]
fn codes_come_from_the_set_that_their_kind_names() {
    let latent = random(4, 9 * 31);
    for spec in specs() {
        let aux = initial_aux(&spec, &latent, 9, 31);
        for base in binarise(&spec, &latent, 9, 31, &aux, &CONTEXT) {
            let in_set = |c: &f32| match code_kind(&spec) {
                CodeKind::Bits => c.abs() == 1.0,
                CodeKind::Ternary => c.abs() == 1.0 || *c == 0.0,
                CodeKind::Ints => {
                    let top = (1 << dorefa_bits(&spec)) - 1;
                    let code = *c as i32;
                    code as f32 == *c && code.abs() <= top && code.rem_euclid(2) == 1
                }
                CodeKind::Real => c.is_finite(),
            };
            assert!(base.codes.iter().all(in_set), "{spec:?}");
        }
    }
}

#[test]
fn learned_scales_start_at_the_mean_and_gains_at_one() {
    let latent = [0.5f32, -1.5, 2.0, 0.0, 0.25, -0.25];
    let mut spec = WeightSpec::from(WeightName::Sign);
    spec.scale = ScaleName::Learned;
    assert_eq!(initial_aux(&spec, &latent, 3, 2), [1.0, 1.0, 0.25]);
    spec.standardise = Standardise::Scaled;
    let aux = initial_aux(&spec, &latent, 3, 2);
    assert_eq!((aux.len(), &aux[3..]), (6, &[1.0f32; 3][..]));
    spec.form = WeightName::Real;
    assert_eq!(initial_aux(&spec, &latent, 3, 2), [1.0; 3]);
}

#[test]
fn zero_and_constant_weights_stay_finite() {
    for spec in specs() {
        for latent in [[0.0f32; 6], [0.5; 6]] {
            let aux = some_aux(&spec, 2);
            let bases = binarise(&spec, &latent, 2, 3, &aux, &CONTEXT);
            assert!(
                effective(&bases, 3).iter().all(|w| w.is_finite()),
                "{spec:?}"
            );
            let mut grad = [1.0f32, 2.0, -1.0, 0.5, 0.25, 1.0];
            latent_gradient(
                &spec,
                &latent,
                2,
                3,
                &aux,
                &refs(&bases),
                &CONTEXT,
                &mut grad,
            );
            assert!(grad.iter().all(|g| g.is_finite()), "{spec:?}");
        }
    }
}

#[test]
fn sign_of_zero_is_plus_one() {
    for form in [WeightName::Sign, WeightName::Adabin] {
        let bases = binarise(&form.into(), &[0.0, -0.0], 1, 2, &[], &CONTEXT);
        assert_eq!(bases[0].codes, [1.0, 1.0]);
    }
}

#[test]
fn recu_grows_its_quantile_from_first_to_last() {
    assert!((recu_tau(0.0) - 0.85).abs() < 1e-6 && (recu_tau(1.0) - 0.99).abs() < 1e-6);
    let half = 0.85 + 0.14 * (0.5f32.exp() - 1.0) / (1f32.exp() - 1.0);
    assert!((recu_tau(0.5) - half).abs() < 1e-6);
}

#[test]
fn nth_magnitude_equals_sorting() {
    let values: Vec<f32> = random(7, 1000).iter().map(|v| v * 2.0).collect();
    let mut sorted: Vec<f32> = values.iter().map(|v| v.abs()).collect();
    sorted.sort_by(f32::total_cmp);
    for rank in [0, 1, 499, 998, 999] {
        assert_eq!(nth_magnitude(&values, rank), sorted[rank]);
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let (rows, cols) = (70, 1000);
    let (latent, upstream) = (random(3, rows * cols), random(8, rows * cols));
    let pool = |n| {
        rayon::ThreadPoolBuilder::new()
            .num_threads(n)
            .build()
            .expect("threads")
    };
    let (one, three) = (pool(1), pool(3));
    for spec in specs() {
        let aux = some_aux(&spec, rows);
        let step = || {
            let bases = binarise(&spec, &latent, rows, cols, &aux, &CONTEXT);
            let mut grad = upstream.clone();
            let aux_grad = latent_gradient(
                &spec,
                &latent,
                rows,
                cols,
                &aux,
                &refs(&bases),
                &CONTEXT,
                &mut grad,
            );
            (bases, grad, aux_grad)
        };
        assert!(one.install(step) == three.install(step), "{spec:?}");
    }
}

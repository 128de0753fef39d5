//! Each form against its formula in f64, and each gradient against central differences of the function that
//! the formula differentiates: codes frozen, plus what passes straight through.

mod formulas;

use formulas::*;

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
const ESTIMATORS: [EstimatorName; 7] = [
    EstimatorName::Identity,
    EstimatorName::Tanh,
    EstimatorName::Clipped,
    EstimatorName::ApproxSign,
    EstimatorName::SwishSign,
    EstimatorName::Ede,
    EstimatorName::Reste,
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

/// Every form with every scale and every estimator it takes, every standardisation, with and without a window; DoReFa
/// with one bit and with three.
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
    for form in FORMS.into_iter().filter(|form| takes_estimator(*form)) {
        for estimator in ESTIMATORS {
            for scale in SCALES {
                for standardise in STANDARDS {
                    let mut spec = WeightSpec::from(form);
                    (spec.scale, spec.standardise) = (scale, standardise);
                    spec.estimator = Some(estimator);
                    if estimator == EstimatorName::Clipped {
                        spec.clip = 0.55;
                    }
                    if takes_scale(form) || scale == ScaleName::None {
                        specs.push(spec);
                    }
                }
            }
        }
    }
    specs.push(WeightSpec {
        fan_in: Some(3),
        ..WeightName::Ternary.into()
    });
    specs
}

/// Learned values that differ from row to row.
fn some_aux(spec: &WeightSpec, rows: usize) -> Vec<f32> {
    let n = n_aux(spec, rows);
    random(5, n).iter().map(|v| v * 0.5 + 1.1).collect()
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
fn weights_take_ir_nets_estimator_at_the_progress_of_their_stage() {
    let (latent, g) = ([0.5f32, -0.25, 1.5, 0.75], [1.0f32, 2.0, -1.0, 0.5]);
    let mut spec = WeightSpec::from(WeightName::Sign);
    spec.estimator = Some(EstimatorName::Ede);
    for progress in [0.0f32, 0.5, 0.9, 1.0] {
        let ctx = WeightContext {
            progress,
            ..CONTEXT
        };
        let bases = binarise(&spec, &latent, 1, 4, &[], &ctx);
        let mut grad = g;
        latent_gradient(&spec, &latent, 1, 4, &[], &refs(&bases), &ctx, &mut grad);
        let t = 10f64.powf(f64::from(progress) * 4.0 - 3.0);
        let k = (1.0 / t).max(1.0);
        for ((ours, g), w) in grad.iter().zip(g).zip(latent) {
            let tanh = (t * f64::from(w)).tanh();
            let expected = f64::from(g) * k * t * (1.0 - tanh * tanh);
            assert!(
                (f64::from(*ours) - expected).abs() < 1e-4 * (1.0 + expected.abs()),
                "{progress}: {ours} against {expected}"
            );
        }
    }
}

#[test]
fn the_simple_mean_scale_has_the_gradient_of_xnor_nets_paper() {
    let (latent, g) = ([0.5f32, -0.25, 1.5, 0.75], [1.0f32, 2.0, -1.0, 0.5]);
    let mut spec = WeightSpec::from(WeightName::Sign);
    (spec.scale, spec.clip) = (ScaleName::MeanSimple, 1.0);
    let bases = binarise(&spec, &latent, 1, 4, &[], &CONTEXT);
    assert_eq!(bases[0].scale, Some(vec![0.75]));
    let mut grad = g;
    let bases = refs(&bases);
    latent_gradient(&spec, &latent, 1, 4, &[], &bases, &CONTEXT, &mut grad);
    // 1 / n + alpha, and 1 / n alone beyond the window.
    assert_eq!(grad, [1.0, 2.0, -0.25, 0.5]);
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
fn a_fan_in_keeps_the_greatest_weights_of_each_row() {
    let spec = WeightSpec {
        fan_in: Some(2),
        ..WeightName::Ternary.into()
    };
    let latent = [
        0.1f32, -0.5, 0.3, -0.2, 0.9, 0.8, -0.7, 0.0, -0.4, 0.4, 0.4, 0.1,
    ];
    let codes = |cols| {
        binarise(&spec, &latent, 12 / cols, cols, &[], &CONTEXT)[0]
            .codes
            .clone()
    };
    // The first of equal weights is kept; a weight of zero has no sign.
    let expected = [0.0, -1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, -1.0, 1.0, 0.0, 0.0];
    assert_eq!(codes(4), expected);
    let signs: Vec<f32> = latent
        .iter()
        .map(|w| if *w == 0.0 { 0.0 } else { w.signum() })
        .collect();
    assert_eq!(codes(2), signs);
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

//! Weight forms: how the weights that a product uses follow from their real copies, and how a gradient of
//! the former becomes one of the latter.
//!
//! In: a [`WeightSpec`], real copies `[rows][cols]` in row-major order, a row being an output channel, and
//! the learned values that belong to them (`aux`). Out: [`Base`]s whose scaled sum is the effective weight;
//! back, gradients for the real copies and for `aux`. sign(0) is +1. What a product does with bases, and the
//! optimizer's step, are elsewhere. No result depends on the number of threads.

mod forms;
mod rows;
mod standardise;

use crate::ops::{Estimator, Unit, scheduled, unit_derivative};
use crate::recipe::EstimatorName;
use crate::recipe::layers::{ScaleName, StandardiseName, WeightName, WeightSpec};
use crate::simd::tanh;

use forms::{draw, largest_tanh, scaled_gradient, scales, sign, within};
pub(crate) use forms::{ternary, threshold};
use rows::{edit_rows, map, multiply, per_row, sum, sum_pairs, total};
use standardise::Standard;

/// TWN's threshold in mean magnitudes (Li & Liu 2016).
const TWN_DELTA: f32 = 0.7;
const DEFAULT_DOREFA_BITS: u8 = 2;
const DEFAULT_ABC_BASES: usize = 3;

/// One matrix of the sum that makes up the effective weights: `w[r][c] = sum over bases of scale[r] * codes[r][c]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Base {
    /// `[rows][cols]`, row-major.
    pub codes: Vec<f32>,
    /// One factor per row; `None` is 1.
    pub scale: Option<Vec<f32>>,
}

/// A [`Base`] that lies elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct BaseRef<'a> {
    /// Its codes.
    pub codes: &'a [f32],
    /// Its scale.
    pub scale: Option<&'a [f32]>,
}

impl Base {
    /// The same base, borrowed.
    pub fn borrowed(&self) -> BaseRef<'_> {
        BaseRef {
            codes: &self.codes,
            scale: self.scale.as_deref(),
        }
    }
}

/// The set that the codes of a form come from; every base of a form has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeKind {
    /// -1 and +1.
    Bits,
    /// -1, 0 and +1.
    Ternary,
    /// The odd integers from `-(2^k - 1)` to `2^k - 1`, k the bits of a [`WeightSpec`]; up to 7 bits they fit into
    /// a signed byte.
    Ints,
    /// Any real number.
    Real,
}

/// What may change from step to step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WeightContext {
    /// Share of the stage that is done, in `[0, 1]`.
    pub progress: f32,
    /// Decides the draws of stochastic weights; a new one per step and layer.
    pub seed: u32,
    /// Whether stochastic weights are drawn; if not, they are signs.
    pub training: bool,
}

/// The set that the codes of `spec` come from.
pub fn code_kind(spec: &WeightSpec) -> CodeKind {
    match spec.form {
        WeightName::Real => CodeKind::Real,
        WeightName::Ternary | WeightName::Twn => CodeKind::Ternary,
        WeightName::Dorefa if dorefa_bits(spec) > 1 => CodeKind::Ints,
        WeightName::Sign
        | WeightName::Stochastic
        | WeightName::Dorefa
        | WeightName::Adabin
        | WeightName::Abc => CodeKind::Bits,
    }
}

/// The largest code of [`CodeKind::Ints`]: `2^k - 1`.
pub fn largest_code(spec: &WeightSpec) -> u32 {
    (1u32 << dorefa_bits(spec)) - 1
}

/// Whether `form` uses the `scale` of its [`WeightSpec`]; the others bring their own factors, or have none.
pub fn takes_scale(form: WeightName) -> bool {
    matches!(
        form,
        WeightName::Sign | WeightName::Stochastic | WeightName::Ternary | WeightName::Twn
    )
}

/// Whether `form` uses the `estimator` of its [`WeightSpec`].
pub fn takes_estimator(form: WeightName) -> bool {
    matches!(form, WeightName::Sign | WeightName::Adabin)
}

/// Number of learned values besides the real copies: `rows` factors for a learned scale, then `rows` gains
/// for [`StandardiseName::Scaled`].
pub fn n_aux(spec: &WeightSpec, rows: usize) -> usize {
    rows * (usize::from(has_learned_scale(spec))
        + usize::from(spec.standardise == StandardiseName::Scaled))
}

/// Where the learned values start: factors at the mean magnitude of their row's non-zero weights, gains at 1.
///
/// # Panics
/// If `latent` does not have `rows * cols` values.
pub fn initial_aux(spec: &WeightSpec, latent: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    let mut aux = vec![1.0; n_aux(spec, rows)];
    if has_learned_scale(spec) {
        let start = WeightContext {
            progress: 0.0,
            seed: 0,
            training: false,
        };
        let mut fixed = spec.clone();
        fixed.scale = ScaleName::MeanConstant;
        let standard = standardise::forward(spec.standardise, latent, cols, start.progress);
        let bases = plain_bases(&fixed, standard, cols, &[], &start);
        aux[..rows].copy_from_slice(&factors(bases[0].borrowed(), rows));
    }
    aux
}

/// The bases of the effective weights of a layer.
///
/// - `real`: the (standardised) copies, without factor.
/// - `sign`; `stochastic`, which is +1 with probability `clip((w + 1) / 2, 0, 1)` in training (BinaryConnect,
///   Courbariaux et al. 2015) and sign otherwise; `ternary`, whose smallest magnitudes of the layer, in the
///   share `sparsity`, are 0 (Kim & Smaragdis 2015), or all but the `fan_in` greatest of each row, the first of equal
///   ones; `twn`, 0 up to 0.7 of the layer's mean magnitude (Li & Liu 2016). Their factor is `scale`; means of magnitudes count the weights that are not zero.
/// - `dorefa` with k > 1 bits: codes `2 round((2^k - 1) r) - (2^k - 1)`, `r = tanh(w) / (2 max |tanh(w)|) + 1/2`
///   with the layer's maximum, factor `1 / (2^k - 1)`; with one bit, sign times the layer's mean magnitude
///   (Zhou et al. 2016).
/// - `adabin`: sign of `w - beta` times alpha, and ones times beta, with beta the mean and alpha the deviation of
///   the row (Tu et al. 2022).
/// - `abc`: M bases `sign(w - mean + u std)`, u from -1 to 1 in equal steps, mean, deviation and the least-squares
///   factors over the whole layer (ABC-Net, Lin et al. 2017).
///
/// The gains of `standardise = "scaled"` multiply the codes of `real` and the factors of all other forms, so that a
/// mean is that of `(w - mean) / (std sqrt(cols))` (BN-free binary networks, Chen et al. 2021).
///
/// # Panics
/// If `latent` does not have `rows * cols` values, or `aux` not [`n_aux`] of them.
pub fn binarise(
    spec: &WeightSpec,
    latent: &[f32],
    rows: usize,
    cols: usize,
    aux: &[f32],
    ctx: &WeightContext,
) -> Vec<Base> {
    check(spec, latent, rows, cols, aux);
    let standard = standardise::forward(spec.standardise, latent, cols, ctx.progress);
    let mut bases = plain_bases(spec, standard, cols, aux, ctx);
    if spec.standardise != StandardiseName::Scaled {
        return bases;
    }
    let gain = gains(spec, rows, aux);
    for base in &mut bases {
        if spec.form == WeightName::Real {
            edit_rows(&mut base.codes, cols, |r, row| {
                row.iter_mut().for_each(|v| *v *= gain[r]);
            });
        } else {
            let plain = factors(base.borrowed(), rows);
            base.scale = Some(plain.iter().zip(gain).map(|(s, g)| s * g).collect());
        }
    }
    bases
}

/// The bases without the gains of [`StandardiseName::Scaled`].
fn plain_bases(
    spec: &WeightSpec,
    standard: Standard<'_>,
    cols: usize,
    aux: &[f32],
    ctx: &WeightContext,
) -> Vec<Base> {
    let z: &[f32] = &standard.values;
    let n_rows = z.len() / cols.max(1);
    let codes = match spec.form {
        WeightName::Real => {
            return vec![Base {
                codes: standard.values.into_owned(),
                scale: None,
            }];
        }
        WeightName::Adabin => return forms::adabin(z, cols),
        WeightName::Abc => return forms::abc(z, cols, spec.bases.unwrap_or(DEFAULT_ABC_BASES)),
        WeightName::Dorefa if dorefa_bits(spec) > 1 => {
            let top = levels(spec);
            let reciprocal = 0.5 / largest_tanh(z, cols);
            let codes = map(z, |w, _| {
                let r = tanh(w) * reciprocal + 0.5;
                2.0 * (top * r + 0.5).floor() - top
            });
            return vec![Base {
                codes,
                scale: Some(vec![1.0 / top; n_rows]),
            }];
        }
        WeightName::Stochastic if ctx.training => map(z, |w, i| draw(w, ctx.seed, i)),
        WeightName::Sign | WeightName::Stochastic | WeightName::Dorefa => map(z, |w, _| sign(w)),
        WeightName::Ternary => match spec.fan_in {
            Some(fan_in) => forms::largest_of_rows(z, cols, fan_in),
            None => {
                let beta = threshold(z, spec.sparsity.unwrap_or(0.0));
                map(z, |w, _| ternary(w, beta))
            }
        },
        WeightName::Twn => {
            let magnitude = total(&per_row(z, cols, |_, row| sum(row, f32::abs)));
            let beta = TWN_DELTA * magnitude / z.len() as f32;
            map(z, |w, _| ternary(w, beta))
        }
    };
    let scale = scales(scale_of(spec), z, &codes, cols, aux);
    vec![Base { codes, scale }]
}

/// Rewrites `grad`, which comes in as the gradient of the effective weights `[rows][cols]`, to that of `latent`;
/// returns the gradient of `aux`. `bases` and `ctx` are those of the forward pass.
///
/// Codes pass gradients straight through, within `clip` of the standardised copy where that is not 0, or times the
/// derivative of `estimator`, as far as it has come by `ctx.progress` (for `adabin` the copy is also taken relative
/// to its own mean and deviation). Factors multiply it, and:
///
/// - `mean`: exact, with `sign(w_i) / n * sum_j g_j code_j` for the mean's own dependence (the corrected form of
///   XNOR-Net, Rastegari et al. 2016); `mean-simple` is the paper's own
///   `g (1 / n + alpha 1[|w| <= clip])`; `mean-constant` and `power-of-two` are constants (Bi-Real-Net, IR-Net);
///   `learned` has the gradient `sum_c g code` itself.
/// - `layer-mean` and `dorefa` with one bit pass `g` unscaled, as DoReFa's equation 8 does; with more bits it is
///   `g (1 - tanh^2) / max`, the maximum a constant.
/// - `adabin` goes through alpha and beta, as its authors' code does; `abc` multiplies by the sum of its factors,
///   which are constants.
/// - Standardisation is differentiated exactly, but for ReCU's limit. `real` ignores `clip`.
///
/// # Panics
/// If the lengths do not fit `rows`, `cols` and `spec`.
#[expect(
    clippy::too_many_arguments,
    reason = "the forward pass's operands, its result, and the gradient"
)]
pub fn latent_gradient(
    spec: &WeightSpec,
    latent: &[f32],
    rows: usize,
    cols: usize,
    aux: &[f32],
    bases: &[BaseRef<'_>],
    ctx: &WeightContext,
    grad: &mut [f32],
) -> Vec<f32> {
    check(spec, latent, rows, cols, aux);
    assert_eq!(grad.len(), latent.len(), "one gradient per weight");
    let standard = standardise::forward(spec.standardise, latent, cols, ctx.progress);
    let z: &[f32] = &standard.values;
    let clip = window(spec);
    let mut plain: Vec<Vec<f32>> = bases.iter().map(|&base| factors(base, rows)).collect();
    let mut gain_grad = Vec::new();
    if spec.standardise == StandardiseName::Scaled {
        gain_grad = take_gain(spec.form, gains(spec, rows, aux), bases, &mut plain, grad);
    }
    let mut aux_grad = match spec.form {
        WeightName::Real => Vec::new(),
        WeightName::Adabin => {
            let estimator = estimator_of(spec, ctx.progress);
            forms::adabin_gradient(z, cols, &plain[0], &plain[1], estimator, grad);
            Vec::new()
        }
        WeightName::Abc => {
            let factor = plain.iter().filter_map(|s| s.first()).sum::<f32>();
            multiply(grad, z, |w| within(w, clip, factor));
            Vec::new()
        }
        WeightName::Dorefa if dorefa_bits(spec) > 1 => {
            let reciprocal = 1.0 / largest_tanh(z, cols);
            multiply(grad, z, |w| {
                let t = tanh(w);
                within(w, clip, (1.0 - t * t) * reciprocal)
            });
            Vec::new()
        }
        WeightName::Sign
        | WeightName::Stochastic
        | WeightName::Ternary
        | WeightName::Twn
        | WeightName::Dorefa => {
            let codes = bases[0].codes;
            let derivative = unit_derivative(z, Unit::Sign(estimator_of(spec, ctx.progress)));
            scaled_gradient(scale_of(spec), z, codes, &plain[0], &derivative, grad)
        }
    };
    standardise::backward(spec.standardise, latent, cols, &standard, grad);
    aux_grad.extend(gain_grad);
    aux_grad
}

/// Takes the gains out of the factors and into the gradient; returns the gradient of the gains.
///
/// A gain of exactly 0 has no gradient.
fn take_gain(
    form: WeightName,
    gain: &[f32],
    bases: &[BaseRef<'_>],
    factors: &mut [Vec<f32>],
    grad: &mut [f32],
) -> Vec<f32> {
    let cols = grad.len() / gain.len().max(1);
    let reciprocal = |r: usize| if gain[r] == 0.0 { 0.0 } else { 1.0 / gain[r] };
    let sums = per_row(grad, cols, |r, g| {
        let along = |(base, factor): (&BaseRef<'_>, &Vec<f32>)| {
            let codes = &base.codes[r * cols..][..cols];
            factor[r] * sum_pairs(g, codes, |g, code| g * code)
        };
        reciprocal(r) * bases.iter().zip(factors.iter()).map(along).sum::<f32>()
    });
    if form != WeightName::Real {
        for factors in factors {
            for (r, factor) in factors.iter_mut().enumerate() {
                *factor *= reciprocal(r);
            }
        }
    }
    edit_rows(grad, cols, |r, g| {
        g.iter_mut().for_each(|g| *g *= gain[r]);
    });
    sums
}

/// A base's factors, one per row.
fn factors(base: BaseRef<'_>, rows: usize) -> Vec<f32> {
    base.scale.map_or_else(|| vec![1.0; rows], <[f32]>::to_vec)
}

fn check(spec: &WeightSpec, latent: &[f32], rows: usize, cols: usize, aux: &[f32]) {
    assert_eq!(latent.len(), rows * cols, "weights of {rows} x {cols}");
    assert_eq!(aux.len(), n_aux(spec, rows), "learned values of the layer");
}

fn has_learned_scale(spec: &WeightSpec) -> bool {
    takes_scale(spec.form) && spec.scale == ScaleName::Learned
}

fn gains<'a>(spec: &WeightSpec, rows: usize, aux: &'a [f32]) -> &'a [f32] {
    &aux[rows * usize::from(has_learned_scale(spec))..]
}

fn dorefa_bits(spec: &WeightSpec) -> u8 {
    spec.bits.unwrap_or(DEFAULT_DOREFA_BITS).clamp(1, 8)
}

/// [`largest_code`] as a float.
fn levels(spec: &WeightSpec) -> f32 {
    largest_code(spec) as f32
}

fn scale_of(spec: &WeightSpec) -> ScaleName {
    if takes_scale(spec.form) {
        spec.scale
    } else {
        ScaleName::LayerMean
    }
}

/// Half width of the interval that lets gradients pass.
fn window(spec: &WeightSpec) -> f32 {
    if spec.clip == 0.0 {
        f32::INFINITY
    } else {
        spec.clip
    }
}

/// What stands in for the derivative of codes that are signs.
fn estimator_of(spec: &WeightSpec, progress: f32) -> Estimator {
    let name = spec.estimator.unwrap_or(EstimatorName::Clipped);
    scheduled(name, window(spec), progress)
}

#[cfg(test)]
mod tests;

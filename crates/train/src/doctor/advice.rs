//! From facts to findings: what is out of bounds, and the key of the recipe that changes it.
//!
//! The bounds are constants here and a table in `docs/doctor.md`.

use serde::Serialize;

use super::{ActivationFacts, CurveFacts, Place, WeightFacts};
use crate::recipe::layers::NormName;
use crate::recipe::{EstimatorName, Loss, Norm, Recipe, Stage, StageKind};

/// More starved weights in a layer than this share are a finding.
pub const STARVED: f64 = 0.5;
/// A share of +1 among a layer's weights below this, or above its complement, is a finding.
pub const ONE_SIDED: f64 = 0.3;
/// More zeros in a layer than this share are a finding.
pub const ZEROS: f64 = 0.9;
/// A layer none of whose epochs turned more than this share of weights per step does not learn.
pub const FROZEN: f64 = 1e-6;
/// More constant channels in a layer than this share are a finding.
pub const CONSTANT: f64 = 0.05;
/// A mean entropy below this share of the greatest is a finding.
pub const ENTROPY: f64 = 0.5;
/// More values without gradient in a layer than this share are a finding.
pub const BLOCKED: f64 = 0.6;
/// A gap of more than this between training and validation accuracy is a finding.
pub const GAP: f64 = 0.1;
/// A loss that has fallen by more than this share in the last tenth of the epochs has not arrived.
pub const LOSS_FALL: f64 = 0.03;
/// Signs whose flip ratio at the end is above this share of its greatest have not settled.
pub const UNSETTLED: f64 = 0.1;
/// Flip ratios below this are settled, whatever they were before.
pub const SETTLED: f64 = 1e-5;
/// A best epoch before this share of the epochs is early...
pub const EARLY: f64 = 0.5;
/// ...if the last epoch's accuracy is below it by more than this...
pub const EARLY_LOSS: f64 = 0.01;
/// ...and there were at least so many epochs.
pub const EARLY_EPOCHS: usize = 6;

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Problem {
    /// Many real copies at the clip, or far from 0.
    Starved,
    /// Weights of mostly one sign.
    OneSided,
    /// Weights that are mostly zero.
    Zeros,
    /// Weights that never change sign.
    Frozen,
    /// Channels that are the same for every example.
    ConstantChannels,
    /// Activations of mostly one code.
    LowEntropy,
    /// Values whose gradient is not passed on.
    Blocked,
    /// Training accuracy far above validation accuracy.
    Overfitting,
    /// A loss that was still falling when the stage ended.
    StillFalling,
    /// Signs that were still changing when the stage ended.
    Unsettled,
    /// A best epoch long before the end.
    BestEarly,
    /// Products of reals that hold most of the cost.
    RealLayers,
}

/// One thing that deserves attention.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// What.
    pub problem: Problem,
    /// The layers it was found in, the worst first; empty if it is about the run.
    pub layers: Vec<String>,
    /// What was seen, as a sentence.
    pub seen: String,
    /// What to do, as a sentence that names the keys of the recipe.
    pub advice: String,
}

/// Every finding, those about weights first, then activations, then the curve. Findings that need the end of
/// the stage are left out before it.
pub fn findings(
    recipe: &Recipe,
    place: &Place,
    weights: &[WeightFacts],
    activations: &[ActivationFacts],
    curve: Option<&CurveFacts>,
) -> Vec<Finding> {
    let stage = &recipe.stages[place.stage];
    let at = format!("stage[{}]", place.stage);
    let mut found: Vec<Finding> = Vec::new();
    found.extend(starved(weights, stage, &at));
    found.extend(one_sided(weights, recipe));
    found.extend(zeros(weights, recipe, &at));
    found.extend(frozen(weights, &at));
    found.extend(constant(activations, recipe, stage, &at));
    found.extend(low_entropy(activations, recipe));
    found.extend(blocked(activations, recipe, &at));
    if let Some(curve) = curve {
        found.extend(overfitting(curve, recipe, stage, &at));
        if place.is_finished() {
            found.extend(still_falling(curve, &at));
            found.extend(unsettled(curve, stage, &at));
            found.extend(best_early(curve, recipe, stage, &at));
        }
    }
    found
}

/// The layers whose `badness` is above `bound`, the worst first, with the worst value.
fn worst<'a, T>(
    facts: &'a [T],
    name: impl Fn(&'a T) -> &'a str,
    badness: impl Fn(&T) -> Option<f64>,
    bound: f64,
) -> Option<(Vec<String>, f64)> {
    let mut bad: Vec<(&str, f64)> = facts
        .iter()
        .filter_map(|fact| Some((name(fact), badness(fact).filter(|b| *b > bound)?)))
        .collect();
    bad.sort_by(|a, b| b.1.total_cmp(&a.1));
    let most = bad.first()?.1;
    Some((
        bad.iter().map(|(name, _)| (*name).to_string()).collect(),
        most,
    ))
}

fn of_weights(
    facts: &[WeightFacts],
    badness: impl Fn(&WeightFacts) -> Option<f64>,
    bound: f64,
) -> Option<(Vec<String>, f64)> {
    worst(facts, |fact| &fact.layer, badness, bound)
}

fn of_activations(
    facts: &[ActivationFacts],
    badness: impl Fn(&ActivationFacts) -> Option<f64>,
    bound: f64,
) -> Option<(Vec<String>, f64)> {
    worst(facts, |fact| &fact.layer, badness, bound)
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// "up to " where several layers share a figure.
fn up_to(layers: &[String]) -> &'static str {
    match layers.len() {
        1 => "",
        _ => "up to ",
    }
}

fn starved(weights: &[WeightFacts], stage: &Stage, at: &str) -> Option<Finding> {
    let (layers, most) = of_weights(weights, |fact| fact.starved, STARVED)?;
    let (where_to, advice) = match stage.latent_clip > 0.0 {
        true => (
            format!("at the clip {}", stage.latent_clip),
            format!(
                "Lower `{at}.lr` (now {}) or raise `{at}.latent_clip`.",
                stage.lr
            ),
        ),
        false => (
            "beyond 1".into(),
            format!(
                "Set `{at}.latent_clip = 1`, or lower `{at}.lr` (now {}).",
                stage.lr
            ),
        ),
    };
    let seen = format!(
        "{}{} of the real copies of weights are {where_to}, where few of them change sign again.",
        up_to(&layers),
        percent(most)
    );
    Some(Finding {
        problem: Problem::Starved,
        layers,
        seen: capital(seen),
        advice,
    })
}

fn one_sided(weights: &[WeightFacts], recipe: &Recipe) -> Option<Finding> {
    let side = |fact: &WeightFacts| fact.positive.map(|share| share.max(1.0 - share));
    let (layers, most) = of_weights(weights, side, 1.0 - ONE_SIDED)?;
    let seen = format!(
        "{}{} of the weights have the same sign, so they carry less than a bit each.",
        up_to(&layers),
        percent(most)
    );
    let advice = format!(
        "Centre the real copies: {}`standardise = \"libra\"` in the layer's `weights`.",
        long_form(recipe)
    );
    Some(Finding {
        problem: Problem::OneSided,
        layers,
        seen: capital(seen),
        advice,
    })
}

/// What stands before a key that only `[[layer]]` tables have.
fn long_form(recipe: &Recipe) -> &'static str {
    match recipe.model {
        Some(_) => "write `[model]` as `[[layer]]` tables, with ",
        None => "set ",
    }
}

fn zeros(weights: &[WeightFacts], recipe: &Recipe, at: &str) -> Option<Finding> {
    let (layers, most) = of_weights(weights, |fact| Some(fact.zeros), ZEROS)?;
    let advice = match recipe.model {
        Some(_) => format!("Lower `{at}.sparsity`."),
        None => {
            "Lower `sparsity` (or raise `fan_in`) in the layer's `weights`, or use another `form`."
                .into()
        }
    };
    let seen = format!(
        "{}{} of the weights are zero.",
        up_to(&layers),
        percent(most)
    );
    Some(Finding {
        problem: Problem::Zeros,
        layers,
        seen: capital(seen),
        advice,
    })
}

fn frozen(weights: &[WeightFacts], at: &str) -> Option<Finding> {
    let stillness = |fact: &WeightFacts| fact.most_flips.map(|flips| -flips);
    let (layers, _) = of_weights(weights, stillness, -FROZEN)?;
    Some(Finding {
        problem: Problem::Frozen,
        layers,
        seen: "Hardly any weight has changed sign in this stage.".into(),
        advice: format!(
            "Raise `{at}.lr`, or with `rule = \"bop\"` lower `threshold`; see also blocked gradients of the layers after."
        ),
    })
}

fn constant(
    activations: &[ActivationFacts],
    recipe: &Recipe,
    stage: &Stage,
    at: &str,
) -> Option<Finding> {
    let share = |fact: &ActivationFacts| Some(fact.constant.len() as f64 / fact.channels as f64);
    let (layers, most) = of_activations(activations, share, CONSTANT)?;
    let seen = format!(
        "{}{} of the channels give the same code for every example; what reads them learns nothing from them.",
        up_to(&layers),
        percent(most)
    );
    let window = match stage.estimator {
        EstimatorName::Clipped => format!(
            "raise `{at}.clip` (now {}), so that their gradient comes back",
            stage.clip
        ),
        _ => format!("lower `{at}.lr` (now {})", stage.lr),
    };
    let advice = match has_norm(recipe) {
        true => format!(
            "Let gains and offsets of norms move more slowly, with a `[[stage.group]]` of `match = \"vectors\"` and a small `lr_factor`; or {window}."
        ),
        false => format!("Set `norm = \"batch\"`; or {window}."),
    };
    Some(Finding {
        problem: Problem::ConstantChannels,
        layers,
        seen: capital(seen),
        advice,
    })
}

/// Whether any layer is normalised.
fn has_norm(recipe: &Recipe) -> bool {
    match &recipe.model {
        Some(model) => model.norm != Norm::None,
        None => recipe
            .defaults
            .norm
            .is_none_or(|norm| norm != NormName::None),
    }
}

fn low_entropy(activations: &[ActivationFacts], recipe: &Recipe) -> Option<Finding> {
    let missing = |fact: &ActivationFacts| Some(1.0 - fact.entropy / fact.most_entropy);
    let (layers, most) = of_activations(activations, missing, 1.0 - ENTROPY)?;
    let seen = format!(
        "channels carry {} of the information that their codes could{}.",
        percent(1.0 - most),
        if layers.len() > 1 {
            ", or a little more"
        } else {
            ""
        }
    );
    let shift = format!(
        "{}`form = \"rsign\"` in the layer's `input`, whose shift is learned",
        long_form(recipe)
    );
    let advice = match has_norm(recipe) {
        true => format!("{}.", capital(shift)),
        false => format!("Set `norm = \"batch\"`; or {shift}."),
    };
    Some(Finding {
        problem: Problem::LowEntropy,
        layers,
        seen: capital(seen),
        advice,
    })
}

fn blocked(activations: &[ActivationFacts], recipe: &Recipe, at: &str) -> Option<Finding> {
    let (layers, most) = of_activations(activations, |fact| Some(fact.blocked), BLOCKED)?;
    let seen = format!(
        "{}{} of the values before the quantiser are outside the estimator's window and pass no gradient.",
        up_to(&layers),
        percent(most)
    );
    let first = activations.iter().find(|fact| layers.contains(&fact.layer));
    let norm = match has_norm(recipe) {
        true => "",
        false => "; or set `norm = \"batch\"`",
    };
    let advice = match first.and_then(|fact| fact.clip) {
        Some(clip) => {
            format!("Raise `{at}.clip`, or `clip` in the layer's `input` (now {clip}){norm}.")
        }
        None => {
            format!("Use a wider `{at}.estimator`, such as \"clipped\" with a larger `clip`{norm}.")
        }
    };
    Some(Finding {
        problem: Problem::Blocked,
        layers,
        seen: capital(seen),
        advice,
    })
}

fn of_run(problem: Problem, seen: String, advice: String) -> Option<Finding> {
    Some(Finding {
        problem,
        layers: Vec::new(),
        seen,
        advice,
    })
}

/// What holds a network back from learning its examples by heart, of the keys that its recipe takes.
fn regularisers(recipe: &Recipe, stage: &Stage, at: &str) -> String {
    let mut ways = vec![format!(
        "set `{at}.augment_shift` or `{at}.augment_flip` for images"
    )];
    if recipe.model.is_some() {
        ways.push(format!("raise `{at}.dropout_hidden`"));
    }
    if stage.loss == Loss::CrossEntropy {
        ways.push(format!("raise `{at}.label_smoothing`"));
    }
    ways.join(", ")
}

fn overfitting(curve: &CurveFacts, recipe: &Recipe, stage: &Stage, at: &str) -> Option<Finding> {
    let gap = curve.gap.filter(|gap| *gap > GAP)?;
    let points = 100.0 * gap;
    of_run(
        Problem::Overfitting,
        format!("Training accuracy is {points:.1} points above validation accuracy."),
        format!(
            "{}, or make layers narrower.",
            capital(regularisers(recipe, stage, at))
        ),
    )
}

fn still_falling(curve: &CurveFacts, at: &str) -> Option<Finding> {
    let fall = curve.loss_fall.filter(|fall| *fall > LOSS_FALL)?;
    of_run(
        Problem::StillFalling,
        format!(
            "The loss still fell by {} in the last tenth of the epochs.",
            percent(fall)
        ),
        format!(
            "Raise `{at}.epochs` (now {}), or `{at}.lr_end` if the rate fell too soon.",
            curve.epochs
        ),
    )
}

fn unsettled(curve: &CurveFacts, stage: &Stage, at: &str) -> Option<Finding> {
    let flips = curve.flip_ratio;
    // Signs of weights that are real in the stage are free to change.
    if stage.kind != StageKind::Bitwise {
        return None;
    }
    if flips <= SETTLED || flips <= UNSETTLED * curve.most_flips {
        return None;
    }
    of_run(
        Problem::Unsettled,
        format!(
            "In the last epoch {:.4} % of the weights changed sign each step, {} of the most there was: signs have not settled.",
            100.0 * flips,
            percent(flips / curve.most_flips)
        ),
        match stage.lr_end > 0.0 {
            true => format!(
                "Lower `{at}.lr_end` (now {}), or raise `{at}.epochs`.",
                stage.lr_end
            ),
            false => format!(
                "Lower `{at}.lr` (now {}), or raise `{at}.epochs`.",
                stage.lr
            ),
        },
    )
}

fn best_early(curve: &CurveFacts, recipe: &Recipe, stage: &Stage, at: &str) -> Option<Finding> {
    let (best, accuracy) = (curve.best_epoch?, curve.best_accuracy?);
    let loss = accuracy - curve.val_accuracy?;
    let is_early = (best as f64) < EARLY * curve.epochs as f64;
    if curve.epochs < EARLY_EPOCHS || !is_early || loss <= EARLY_LOSS {
        return None;
    }
    of_run(
        Problem::BestEarly,
        format!(
            "Epoch {best} of {} was the best; validation accuracy has lost {:.1} points since.",
            curve.epochs,
            100.0 * loss
        ),
        format!(
            "Lower `{at}.lr` (now {}) or `{at}.epochs`, or train against overfitting: {}.",
            stage.lr,
            regularisers(recipe, stage, at)
        ),
    )
}

/// With a capital letter first.
fn capital(sentence: String) -> String {
    let mut chars = sentence.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => sentence,
    }
}

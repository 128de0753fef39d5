//! Facts of networks made by hand, and the findings they lead to.

use super::*;
use crate::network::Role;
use crate::ops::{Estimator, Unit};
use crate::ops::{flex_tensor, unit_derivative};

const RECIPE: &str = r#"
name = "t"
data = "digits"
validation = 10
[input]
encoding = "sign"
at = 128
[model]
hidden = [4]
norm = "batch"
[[stage]]
kind = "bitwise"
epochs = 10
batch = 16
lr = 0.01
latent_clip = 0.5
clip = 1.25
"#;

fn recipe() -> Recipe {
    Recipe::parse(RECIPE).unwrap()
}

/// Six inputs, four hidden units with batch norm, three classes.
fn network(recipe: &Recipe) -> Network {
    let graph = crate::graph::build(
        recipe,
        crate::graph::Extent::flat(6),
        crate::graph::ValueKind::Bits,
        3,
    )
    .unwrap();
    Network::new(graph, Mode::of(&recipe.stages[0]), 1)
}

fn param<'a>(network: &'a mut Network, layer: &str, role: Role) -> &'a mut Vec<f32> {
    let idx = network.graph.nodes.iter().position(|n| n.name == layer);
    let node = &mut network.nodes[idx.unwrap()];
    let found = node.params.iter_mut().find(|(r, _)| *r == role);
    &mut found.unwrap().1.latent
}

fn record(epoch: usize, loss: f64, flips: f64) -> EpochRecord {
    EpochRecord {
        kind: StageKind::Bitwise,
        phase: 0,
        epoch,
        lr: 0.01,
        loss,
        train_accuracy: 0.9,
        val_accuracy: 0.9,
        flip_ratio: flips,
        starved: 0.0,
        seconds: 1.0,
        flips: vec![("hidden1".into(), flips), ("scores".into(), 0.0)],
    }
}

fn place(epoch: usize) -> Place {
    Place {
        stage: 0,
        stages: 1,
        kind: StageKind::Bitwise,
        epoch,
        epochs: 10,
    }
}

fn problems(found: &[Finding]) -> Vec<Problem> {
    found.iter().map(|finding| finding.problem).collect()
}

#[test]
fn weights_are_counted() {
    let recipe = recipe();
    let mut network = network(&recipe);
    let latent = param(&mut network, "hidden1", Role::Weight);
    // 18 of 24 at or beyond the clip of 0.5, 3 of them negative; the rest 0.1.
    for (i, w) in latent.iter_mut().enumerate() {
        *w = match i {
            0..3 => -0.5,
            3..18 => 0.5,
            _ => 0.1,
        };
    }
    network.settle();
    let history = [record(1, 1.0, 0.25), record(2, 0.9, 0.125)];
    let history: Vec<&EpochRecord> = history.iter().collect();
    let stage = &recipe.stages[0];
    let facts = weight_facts(&network, stage, &network.mode, &history);
    let names: Vec<&str> = facts.iter().map(|fact| fact.layer.as_str()).collect();
    assert_eq!(names, ["hidden1", "scores"]);
    let expected = WeightFacts {
        layer: "hidden1".into(),
        weights: 24,
        limit: 0.5,
        starved: Some(0.75),
        zeros: 0.0,
        positive: Some(21.0 / 24.0),
        magnitudes: [0.1, 0.5, 0.5],
        flips: Some(0.125),
        most_flips: Some(0.25),
    };
    assert_eq!(facts[0], expected);
    let found = findings(&recipe, &place(5), &facts[..1], &[], None);
    assert_eq!(problems(&found), [Problem::Starved, Problem::OneSided]);
    assert!(found[0].seen.starts_with("75.0 % of"), "{}", found[0].seen);
    assert!(found[0].advice.contains("`stage[0].latent_clip`"));
    assert!(found[1].seen.starts_with("87.5 % of"), "{}", found[1].seen);
    let found = findings(&recipe, &place(5), &facts[1..], &[], None);
    assert!(problems(&found).contains(&Problem::Frozen), "{found:?}");
}

#[test]
fn zeros_and_signs_are_those_of_the_codes() {
    let mut recipe = recipe();
    recipe.stages[0].sparsity = 0.5;
    let mut network = network(&recipe);
    let latent = param(&mut network, "hidden1", Role::Weight);
    for (i, w) in latent.iter_mut().enumerate() {
        *w = if i < 3 { -0.3 } else { 0.01 * i as f32 };
    }
    // The 12 least are zero: 0.03 to 0.14; three of the rest are negative.
    network.settle();
    let facts = weight_facts(&network, &recipe.stages[0], &network.mode, &[]);
    assert_eq!((facts[0].zeros, facts[0].positive), (0.5, Some(0.75)));
    assert_eq!((facts[0].flips, facts[0].most_flips), (None, None));
}

#[test]
fn bop_has_no_starved_weights() {
    let text = RECIPE.to_string()
        + "[[stage.group]]\nmatch = \"binary-weights\"\n[stage.group.optimizer]\nrule = \"bop\"\n";
    let recipe = Recipe::parse(&text).unwrap();
    let network = network(&recipe);
    let facts = weight_facts(&network, &recipe.stages[0], &network.mode, &[]);
    assert!(facts.iter().all(|fact| fact.starved.is_none()));
}

#[test]
fn constant_channels_and_blocked_gradients_are_counted() {
    let recipe = recipe();
    let mut network = network(&recipe);
    // Unit 0 adds all six inputs, the others read one input each.
    let latent = param(&mut network, "hidden1", Role::Weight);
    latent.fill(0.25);
    // Norms turn sums s into gain * s + offset: unit 1 is always +1, unit 2 always -1, unit 3 turned round.
    *param(&mut network, "hidden1.norm", Role::Gamma) = vec![1.0, 1.0, 1.0, -0.25];
    *param(&mut network, "hidden1.norm", Role::Beta) = vec![0.0, 7.0, -7.0, 0.0];
    network.settle();
    // Sums 6, 2, -2, -6 in two batches.
    let with_negatives = |n: usize| (0..6).map(move |i| if i < n { -1.0 } else { 1.0 });
    let batch = |a: usize, b: usize| {
        flex_tensor(with_negatives(a).chain(with_negatives(b)).collect(), 2, 6)
    };
    let facts = activation_facts(&network, 0.0, [batch(0, 2), batch(4, 6)].into_iter());
    let [fact] = &facts[..] else {
        panic!("one quantiser: {facts:?}")
    };
    assert_eq!(fact.layer, "hidden1.sign");
    assert_eq!((fact.channels, &fact.constant[..]), (4, &[1usize, 2][..]));
    assert_eq!(fact.positive, (2 + 4 + 2) as f64 / 16.0);
    // Units 0 and 3 are +1 half of the time: a bit each.
    assert_eq!((fact.entropy, fact.most_entropy), (0.5, 1.0));
    // Within 1.25 are only unit 1 at 1, unit 2 at -1, and unit 3 at 0.5 and -0.5.
    assert_eq!(fact.blocked, 12.0 / 16.0);
    assert_eq!(fact.clip, Some(1.25));
    let found = findings(&recipe, &place(5), &[], &facts, None);
    assert_eq!(
        problems(&found),
        [Problem::ConstantChannels, Problem::Blocked]
    );
    assert!(found[0].seen.starts_with("50.0 % of"), "{}", found[0].seen);
    assert!(found[1].advice.contains("`stage[0].clip`") && found[1].advice.contains("1.25"));
}

#[test]
fn a_gradient_is_blocked_below_a_hundredth_of_the_greatest() {
    // tanh leaves 1 - tanh^2(x) = 0.01 at |x| = artanh(sqrt(0.99)) = 2.993.
    let derivative = unit_derivative(&[2.98, 3.01], Unit::Sign(Estimator::Tanh));
    assert!(
        derivative[0] > 0.01 && derivative[1] < 0.01,
        "{derivative:?}"
    );
    let mut recipe = recipe();
    recipe.stages[0].estimator = crate::recipe::EstimatorName::Tanh;
    let mut network = network(&recipe);
    param(&mut network, "hidden1", Role::Weight).fill(0.25);
    *param(&mut network, "hidden1.norm", Role::Gamma) = vec![0.0; 4];
    *param(&mut network, "hidden1.norm", Role::Beta) = vec![0.0, 2.98, 3.01, -3.01];
    network.settle();
    let x = flex_tensor(vec![1.0; 6], 1, 6);
    let facts = activation_facts(&network, 0.0, std::iter::once(x));
    assert_eq!((facts[0].blocked, facts[0].clip), (0.5, None));
    assert_eq!(facts[0].constant, [0, 1, 2, 3]);
}

#[test]
fn curves_are_read_from_their_end() {
    let mut history: Vec<EpochRecord> = (1..=10)
        .map(|epoch| record(epoch, 1.0 / epoch as f64, 0.01))
        .collect();
    history[2].val_accuracy = 0.95;
    history[4].val_accuracy = 0.95;
    history[9].val_accuracy = 0.75;
    let records: Vec<&EpochRecord> = history.iter().collect();
    let curve = curve_facts(&records, true).unwrap();
    assert_eq!(
        (curve.best_epoch, curve.best_accuracy),
        (Some(3), Some(0.95))
    );
    assert!((curve.gap.unwrap() - 0.15).abs() < 1e-12);
    // 1/10 after 1/9.
    assert!((curve.loss_fall.unwrap() - 0.1).abs() < 1e-12);
    let found = findings(&recipe(), &place(10), &[], &[], Some(&curve));
    assert_eq!(
        problems(&found),
        [
            Problem::Overfitting,
            Problem::StillFalling,
            Problem::Unsettled,
            Problem::BestEarly
        ]
    );
    // Before its end only the gap says anything.
    let found = findings(&recipe(), &place(9), &[], &[], Some(&curve));
    assert_eq!(problems(&found), [Problem::Overfitting]);
    let unvalidated = curve_facts(&records, false).unwrap();
    assert_eq!((unvalidated.gap, unvalidated.best_epoch), (None, None));
    assert_eq!(curve_facts(&[], true), None);
    assert_eq!(curve_facts(&records[..3], true).unwrap().loss_fall, None);
}

#[test]
fn a_curve_that_has_arrived_has_no_findings() {
    let history: Vec<EpochRecord> = (1..=10)
        .map(|epoch| record(epoch, 0.5, 0.01 / (epoch * epoch) as f64))
        .collect();
    let records: Vec<&EpochRecord> = history.iter().collect();
    let curve = curve_facts(&records, true);
    assert_eq!(
        findings(&recipe(), &place(10), &[], &[], curve.as_ref()),
        []
    );
}

#[test]
fn examples_are_spread_over_the_whole_set() {
    assert_eq!(spread(10, 4), [0, 2, 5, 7]);
    assert_eq!(spread(3, 9), [0, 1, 2]);
    assert_eq!(spread(3, 0), [] as [usize; 0]);
}

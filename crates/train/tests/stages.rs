//! Stages, one after the other: what is handed over, what a resumed run repeats, and when a run stops.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};

use common::{feeder, images, network, options, run, run_and_count, trained};
use onebit_data::{Dataset, split_validation};
use onebit_train::checkpoint;
use onebit_train::encode::{Augment, Target};
use onebit_train::fit::{EpochRecord, Event, FitError, Outcome, fit};
use onebit_train::graph::NodeOp;
use onebit_train::mode::Mode;
use onebit_train::network::{Network, Role};
use onebit_train::ops::{Estimator, Unit};
use onebit_train::recipe::{EstimatorName, Recipe, StageKind};

const HEAD: &str = "name = \"s\"\ndata = \"x\"\nvalidation = 8\nseed = 9\n[input]\nencoding = \"levels\"\nnormalise = true\n";
const LAYERS: &str = "[[layer]]\nkind = \"conv\"\nchannels = 4\nweights = \"real\"\n\
    [[layer]]\nkind = \"conv\"\nchannels = 4\nstride = 2\n\
    [[layer]]\nkind = \"conv\"\nchannels = 4\n\
    [[layer]]\nkind = \"dense\"\nnorm = \"none\"\n";
const REAL: &str = "[[stage]]\nkind = \"real\"\nepochs = 2\nbatch = 8\nlr = 0.01\n";
const MIDDLE: &str = "[[stage]]\nkind = \"binary-activations\"\nepochs = 2\nbatch = 8\nlr = 0.01\n";
const BITWISE: &str = "[[stage]]\nkind = \"bitwise\"\nepochs = 3\nbatch = 8\nlr = 0.01\n";

fn recipe(defaults: &str, stages: &str) -> Recipe {
    let text = format!("{HEAD}[defaults]\nnorm = \"batch\"\n{defaults}\n{LAYERS}{stages}");
    Recipe::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

fn history(outcome: &Outcome) -> Vec<EpochRecord> {
    let timeless = |record: &EpochRecord| EpochRecord {
        seconds: 0.0,
        ..record.clone()
    };
    outcome.history.iter().map(timeless).collect()
}

/// The network of a recipe, in its first stage.
fn entered(recipe: &Recipe) -> Network {
    let mut network = network(recipe, &images([6, 6, 2], 7));
    network.enter(Mode::of(&recipe.stages[0]));
    network
}

/// Stops a run once in the first and once in the second epoch of every phase, its teacher's included, and goes on.
fn stopped_and_resumed(recipe: &Recipe, data: &Dataset) -> (Outcome, usize) {
    let dir = tempfile::tempdir().unwrap();
    let mut stops = Vec::new();
    loop {
        let stop = AtomicBool::new(false);
        let mut at = (StageKind::Real, 0);
        let result = fit(
            recipe,
            data,
            &options(dir.path()),
            &stop,
            &mut |event| match event {
                Event::Phase { kind, phase, .. } => at = (kind, phase),
                Event::Step { epoch, step, .. } => {
                    let here = (at, epoch);
                    if step == 2 && epoch <= 2 && !stops.contains(&here) {
                        stops.push(here);
                        stop.store(true, Ordering::Relaxed);
                    }
                }
                _ => {}
            },
        );
        match result {
            Err(FitError::Stopped { .. }) => {}
            other => return (other.unwrap(), stops.len()),
        }
    }
}

fn assert_resumes(recipe: &Recipe, n_phases: usize) {
    let data = images([6, 6, 2], 7);
    let whole = tempfile::tempdir().unwrap();
    let expected = run(recipe, &data, whole.path()).unwrap();
    let (found, n_stops) = stopped_and_resumed(recipe, &data);
    assert_eq!(n_stops, 2 * n_phases);
    assert_eq!(found.net, expected.net);
    assert_eq!((&found.test, &found.twin), (&expected.test, &expected.twin));
    assert_eq!(history(&found), history(&expected));
    // A run that is resumed when it is finished gives its result again.
    let (again, n_steps) = run_and_count(recipe, &data, whole.path());
    assert_eq!((again.unwrap().net, n_steps), (expected.net, 0));
}

#[test]
fn three_stages_resume_to_the_same_net() {
    let bitwise =
        format!("{BITWISE}label_smoothing = 0.1\nrecalibrate = 2\nestimator = \"reste\"\n");
    let twin = "[twin]\nkind = \"float\"\nepochs = 2\nbatch = 8\nlr = 0.01\n";
    let recipe = recipe(
        "weights = { form = \"sign\", scale = \"learned\" }\ninput = \"rsign\"\nunit = \"rprelu\"",
        &format!("{REAL}{MIDDLE}{bitwise}{twin}"),
    );
    assert_resumes(&recipe, 4);
}

#[test]
fn drawn_and_scheduled_weights_resume_to_the_same_net() {
    for (weights, input) in [
        ("{ form = \"stochastic\", scale = \"mean\" }", "stochastic"),
        (
            "{ form = \"sign\", scale = \"mean\", standardise = \"recu\" }",
            "sign",
        ),
        (
            "{ form = \"twn\", scale = \"learned\", standardise = \"scaled\" }",
            "heaviside",
        ),
    ] {
        let defaults = format!("weights = {weights}\ninput = \"{input}\"");
        let stage =
            format!("{BITWISE}estimator = \"ede\"\naugment_shift = 1\naugment_flip = true\n");
        assert_resumes(&recipe(&defaults, &stage), 1);
        let without = recipe(&defaults, &format!("{MIDDLE}{stage}"));
        let without = Recipe {
            validation: 0,
            ..without
        };
        assert_resumes(&without, 2);
    }
}

#[test]
fn rules_of_groups_resume_to_the_same_net() {
    let groups = "[[stage.group]]\nmatch = \"binary-weights\"\noptimizer = { rule = \"bop\", threshold = 1e-6, gamma = 0.1 }\n\
        [[stage.group]]\nmatch = \"vectors\"\nlr_factor = 0.5\noptimizer = { rule = \"sgd\", momentum = 0.8 }\n";
    let stage = format!(
        "{BITWISE}warmup = 1.0\nschedule = \"linear\"\noptimizer = {{ clip_share = 0.1, weight_decay = 0.01 }}\n{groups}"
    );
    let recipe = recipe("weights = \"sign\"\ninput = \"sign\"", &stage);
    assert_resumes(&recipe, 1);
}

const TEACHER: &str = "[teacher]\n[teacher.stage]\nkind = \"float\"\nepochs = 2\nbatch = 8\nlr = 0.01\n\
    [[teacher.layer]]\nkind = \"conv\"\nchannels = 5\nnorm = \"batch\"\nunit = \"relu\"\n\
    [[teacher.layer]]\nkind = \"max-pool\"\nsize = 2\n\
    [[teacher.layer]]\nkind = \"conv\"\nchannels = 7\nnorm = \"batch\"\n\
    [[teacher.layer]]\nkind = \"dense\"\nweights = \"real\"\n";

fn distilling(spec: &str) -> Recipe {
    recipe(
        "weights = \"sign\"\ninput = \"sign\"",
        &format!("{BITWISE}distill = {spec}\n{TEACHER}"),
    )
}

#[test]
fn a_student_of_another_topology_resumes_to_the_same_net() {
    let recipe = distilling("{ labels = 0.5, temperature = 2.0, attention = 10.0 }");
    assert_resumes(&recipe, 2);
}

#[test]
fn what_a_student_takes_from_its_teacher_changes_it_and_no_weight_at_all_does_not() {
    let data = images([6, 6, 2], 7);
    let nets = [
        recipe("weights = \"sign\"\ninput = \"sign\"", BITWISE),
        distilling("{ labels = 1.0, weight = 0.0 }"),
        distilling("{ labels = 1.0, weight = 1.0 }"),
        distilling("{ labels = 1.0, weight = 0.0, attention = 100.0 }"),
    ]
    .map(|recipe| {
        let dir = tempfile::tempdir().unwrap();
        let outcome = run(&recipe, &data, dir.path()).unwrap();
        let teacher = dir.path().join("teacher");
        assert_eq!(teacher.exists(), recipe.teacher.is_some());
        assert!(!teacher.join("best.net").exists(), "a teacher has no bits");
        outcome.net
    });
    assert_eq!(nets[0], nets[1]);
    assert_ne!(nets[0], nets[2]);
    assert_ne!(nets[0], nets[3]);
}

#[test]
fn a_teacher_sees_the_image_where_its_student_reads_a_row_of_bits() {
    let text = format!(
        "name = \"s\"\ndata = \"x\"\nvalidation = 8\n[input]\nencoding = \"thermometer\"\ncuts = [60, 120, 180]\n\
         [model]\nhidden = [5]\nnorm = \"batch\"\n{BITWISE}distill = {{}}\n{TEACHER}"
    );
    let data = images([6, 6, 2], 7);
    let dir = tempfile::tempdir().unwrap();
    run(&Recipe::parse(&text).unwrap(), &data, dir.path()).unwrap();
    // What is wrong with the teacher's layers has the teacher's key.
    let rows = Dataset {
        shape: vec![72],
        ..data
    };
    let dir = tempfile::tempdir().unwrap();
    let result = run(&Recipe::parse(&text).unwrap(), &rows, dir.path());
    let error = result.map(|o| o.test).unwrap_err().to_string();
    assert!(
        error.contains("teacher.layer[0]") && error.contains("image"),
        "{error}"
    );
}

#[test]
fn every_epoch_is_recalibrated_before_it_is_judged() {
    let data = images([6, 6, 2], 7);
    let first_accuracy = |epochs: usize| {
        // A rate that does not change: the first epoch is the same, however many follow.
        let stage = BITWISE.replace("epochs = 3", &format!("epochs = {epochs}"));
        let stage = format!("{stage}lr_end = 0.01\nrecalibrate = 3\n");
        let recipe = recipe("weights = \"sign\"\ninput = \"sign\"", &stage);
        let dir = tempfile::tempdir().unwrap();
        let outcome = run(&recipe, &data, dir.path()).unwrap();
        outcome.history[0].val_accuracy
    };
    assert_eq!(first_accuracy(1), first_accuracy(2));
}

/// What runs without and with an option of the second convolution log.
fn without_and_with(option: &str, stages: &str) -> [Vec<EpochRecord>; 2] {
    let plain = recipe("input = \"sign\"", stages);
    let text = plain
        .to_toml()
        .replacen("stride = 2", &format!("stride = 2\n{option}"), 1);
    let changed = Recipe::parse(&text).unwrap();
    assert_ne!(plain, changed);
    let data = images([8, 8, 3], 5);
    [plain, changed].map(|recipe| {
        let dir = tempfile::tempdir().unwrap();
        history(&run(&recipe, &data, dir.path()).unwrap())
    })
}

#[test]
fn a_map_of_magnitudes_scales_sums_of_signs_alone() {
    let [plain, mapped] = without_and_with("scale_map = true", &format!("{REAL}{BITWISE}"));
    assert_eq!(plain[..2], mapped[..2]);
    assert_ne!(plain[2].loss, mapped[2].loss);
}

#[test]
fn gradients_are_rounded_in_quantised_stages_alone() {
    let stages = format!("{REAL}{MIDDLE}{BITWISE}");
    let [plain, rounded] = without_and_with("gradient_bits = 1", &stages);
    assert_eq!(plain[..2], rounded[..2]);
    // The first loss of the next stage is before any step of it; its mean over an epoch is not.
    assert_ne!(plain[2].loss, rounded[2].loss);
}

#[test]
fn a_stage_starts_with_the_weights_that_the_stage_before_ends_with() {
    let data = images([6, 6, 2], 7);
    // Steps too small to move a weight: what comes out is what went in.
    let still = BITWISE.replace("lr = 0.01", "lr = 1e-30");
    let latent = |stages: &str| {
        let recipe = recipe("weights = \"sign\"\ninput = \"sign\"", stages);
        let dir = tempfile::tempdir().unwrap();
        run(&recipe, &data, dir.path()).unwrap();
        let mut network = trained(&recipe, &data, dir.path());
        let all: Vec<(Role, Vec<f32>)> = network
            .params_mut()
            .map(|(_, role, param)| (role, param.latent.clone()))
            .collect();
        all
    };
    let one = latent(BITWISE);
    assert_ne!(one, latent(&still), "training moves weights");
    assert_eq!(one, latent(&format!("{BITWISE}{still}")));
    assert_eq!(
        one,
        latent(&format!(
            "{BITWISE}{}{still}",
            MIDDLE.replace("lr = 0.01", "lr = 1e-30")
        ))
    );
}

#[test]
fn schedules_go_on_with_the_steps_of_a_stage() {
    let data = images([6, 6, 2], 7);
    let losses = |estimator: &str| {
        let still = BITWISE.replace("lr = 0.01", "lr = 1e-30");
        let stage = format!("{still}estimator = \"{estimator}\"\n");
        let recipe = recipe("weights = \"sign\"\ninput = \"sign\"", &stage);
        let dir = tempfile::tempdir().unwrap();
        let outcome = run(&recipe, &data, dir.path()).unwrap();
        outcome
            .history
            .iter()
            .map(|epoch| epoch.loss)
            .collect::<Vec<f64>>()
    };
    // A progressive sign is a clip at first and nearly a sign in the last of three epochs.
    let (progressive, sign) = (losses("progressive"), losses("clipped"));
    let off = |epoch: usize| (progressive[epoch] - sign[epoch]).abs();
    assert!(off(0) > 20.0 * off(2), "{progressive:?} {sign:?}");
    assert!(off(2) < 0.05 * sign[2], "{progressive:?} {sign:?}");
}

#[test]
fn a_layers_own_estimator_goes_before_the_stages() {
    let recipe = recipe(
        "weights = \"sign\"\ninput = { form = \"sign\", estimator = \"ede\", clip = 0.5 }",
        &format!("{BITWISE}estimator = \"tanh\"\nclip = 2.0\n"),
    );
    let network = entered(&recipe);
    let specs = network
        .graph
        .nodes
        .iter()
        .filter_map(|node| match &node.op {
            NodeOp::Activate { spec, .. } => Some(spec),
            _ => None,
        });
    let mut n = 0;
    for spec in specs {
        let own = network.mode.unit(spec, 0.5, 0);
        let Unit::Sign(Estimator::Ede { t }) = own else {
            panic!("{own:?}")
        };
        assert!((t - 0.1).abs() < 1e-6);
        let mut other = spec.clone();
        other.estimator = None;
        let stage = network.mode.unit(&other, 0.5, 0);
        assert_eq!(stage, Unit::Sign(Estimator::Tanh));
        other.estimator = Some(EstimatorName::Clipped);
        let window = network.mode.unit(&other, 0.5, 0);
        assert_eq!(window, Unit::Sign(Estimator::Clipped { clip: 0.5 }));
        other.clip = None;
        let window = network.mode.unit(&other, 0.5, 0);
        assert_eq!(window, Unit::Sign(Estimator::Clipped { clip: 2.0 }));
        n += 1;
    }
    assert_eq!(n, 3);
}

#[test]
fn a_shortcuts_convolution_has_the_layers_norm() {
    for (norm, n_batch, n_group) in [("batch", 2, 0), ("group", 0, 2), ("none", 0, 0)] {
        let defaults = "weights = { form = \"sign\", scale = \"mean\", standardise = \"scaled\" }\ninput = \"sign\"\ngroups_of_norm = 2";
        let text = format!(
            "{HEAD}[defaults]\nnorm = \"{norm}\"\n{defaults}\n\
            [[layer]]\nkind = \"conv\"\nchannels = 4\nweights = \"real\"\nnorm = \"none\"\n\
            [[layer]]\nkind = \"conv\"\nchannels = 8\nstride = 2\nshortcut = \"conv\"\n\
            [[layer]]\nkind = \"dense\"\nnorm = \"none\"\n{BITWISE}"
        );
        let recipe = Recipe::parse(&text).unwrap();
        let network = entered(&recipe);
        let count =
            |is: fn(&NodeOp) -> bool| network.graph.nodes.iter().filter(|n| is(&n.op)).count();
        assert_eq!(
            count(|op| matches!(op, NodeOp::BatchNorm { .. })),
            n_batch,
            "{norm}"
        );
        assert_eq!(
            count(|op| matches!(op, NodeOp::GroupNorm { groups: 2 })),
            n_group,
            "{norm}"
        );
        // Without a norm its weights are standardised, as the layer's are.
        let short = network
            .graph
            .nodes
            .iter()
            .position(|node| node.name == "conv2.short")
            .unwrap();
        let gains = network.nodes[short].find(Role::Scale);
        assert_eq!(gains.is_some(), norm == "none");
        let dir = tempfile::tempdir().unwrap();
        run(&recipe, &images([6, 6, 2], 7), dir.path()).unwrap();
    }
}

#[test]
fn recalibration_is_the_mean_over_the_first_batches() {
    let data = images([6, 6, 2], 7);
    let recipe = recipe(
        "weights = { form = \"stochastic\", scale = \"mean\" }\ninput = \"sign\"",
        &format!("{BITWISE}recalibrate = 3\n"),
    );
    let dir = tempfile::tempdir().unwrap();
    run(&recipe, &data, dir.path()).unwrap();
    let network = trained(&recipe, &data, dir.path());
    let (train, _) = split_validation(&data.train, recipe.validation, recipe.seed);
    let batches = [0, 8, 16].map(|first| {
        let indices: Vec<usize> = (first..first + 8).collect();
        let x = feeder(&recipe, &data).batch(&train, &indices, Target::Codes, Augment::NONE);
        network.forward(x, 0, &[]).stats
    });
    let mut n_norms = 0;
    for (idx, node) in network.nodes.iter().enumerate() {
        let Some(running) = &node.stats else { continue };
        n_norms += 1;
        let of = |i: usize| batches[i][idx].as_ref().unwrap();
        for c in 0..running.mean.len() {
            for (found, three) in [
                (running.mean[c], [0, 1, 2].map(|i| of(i).mean[c])),
                (running.var[c], [0, 1, 2].map(|i| of(i).var[c])),
            ] {
                let mean = three.iter().sum::<f32>() / 3.0;
                assert!(
                    (found - mean).abs() <= 1e-5 * (1.0 + mean.abs()),
                    "{found} {mean}"
                );
            }
        }
    }
    assert_eq!(n_norms, 3);
}

#[test]
fn bop_flips_binary_weights_and_leaves_the_others_to_the_stage() {
    let data = images([6, 6, 2], 7);
    let group = "[[stage.group]]\nmatch = \"binary-weights\"\noptimizer = { rule = \"bop\", threshold = 1e-7, gamma = 0.1 }\n";
    let recipe = recipe(
        "weights = \"sign\"\ninput = \"sign\"",
        &format!("{BITWISE}{group}"),
    );
    let dir = tempfile::tempdir().unwrap();
    let outcome = run(&recipe, &data, dir.path()).unwrap();
    assert!(outcome.history.iter().any(|record| record.flip_ratio > 0.0));
    let mut network = trained(&recipe, &data, dir.path());
    let binary: Vec<bool> = (0..network.nodes.len())
        .map(|idx| network.is_binary(idx))
        .collect();
    for (idx, role, param) in network.params_mut() {
        let are_bits = param.latent.iter().all(|w| w.abs() == 1.0);
        assert_eq!(
            are_bits,
            role == Role::Weight && binary[idx],
            "{idx} {role:?}"
        );
    }
}

#[test]
fn learned_scales_start_at_the_weights_that_the_stage_before_leaves() {
    let recipe = recipe(
        "weights = { form = \"sign\", scale = \"learned\" }\ninput = \"sign\"",
        &format!("{MIDDLE}{BITWISE}"),
    );
    let mut network = entered(&recipe);
    for (_, role, param) in network.params_mut() {
        if role == Role::Weight {
            param.latent.iter_mut().for_each(|w| *w *= 3.0);
        }
    }
    network.enter(Mode::of(&recipe.stages[1]));
    let mut n_scales = 0;
    for node in &network.nodes {
        let Some(scale) = node.find(Role::Scale) else {
            continue;
        };
        let weight = node.param(Role::Weight);
        let rows = weight.latent.chunks_exact(weight.dims().1);
        for (row, scale) in rows.zip(&scale.latent) {
            let mean = row.iter().map(|w| w.abs()).sum::<f32>() / row.len() as f32;
            assert!((mean - scale).abs() < 1e-5, "{mean} {scale}");
            n_scales += 1;
        }
    }
    assert_eq!(n_scales, 4 + 4 + 3);
    // A second bitwise stage goes on with what was learned.
    let learned: Vec<f32> = network
        .params_mut()
        .filter(|(_, role, _)| *role == Role::Scale)
        .flat_map(|(_, _, param)| {
            param.latent.iter_mut().for_each(|s| *s += 1.0);
            param.latent.clone()
        })
        .collect();
    network.enter(Mode::of(&recipe.stages[1]));
    let kept: Vec<f32> = network
        .params_mut()
        .filter(|(_, role, _)| *role == Role::Scale)
        .flat_map(|(_, _, param)| param.latent.clone())
        .collect();
    assert_eq!(kept, learned);
}

#[test]
fn weights_that_stand_in_for_norms_are_standardised_in_every_stage() {
    let recipe = recipe(
        "weights = { form = \"sign\", standardise = \"scaled\" }\ninput = \"sign\"",
        &format!("{REAL}{BITWISE}"),
    );
    let mut network = entered(&recipe);
    let mut n_rows = 0;
    for node in &mut network.nodes {
        if let Some(at) = node
            .params
            .iter()
            .position(|(role, _)| *role == Role::Scale)
        {
            node.params[at]
                .1
                .latent
                .iter_mut()
                .for_each(|gain| *gain = 2.0);
        }
    }
    network.refresh(0);
    for node in network
        .nodes
        .iter()
        .filter(|node| node.find(Role::Scale).is_some())
    {
        let weight = node.param(Role::Weight);
        let cols = weight.dims().1;
        let effective = node.factors[0].codes.storage::<f32>();
        for (row, latent) in effective
            .chunks_exact(cols)
            .zip(weight.latent.chunks_exact(cols))
        {
            // A gain of 2 over the root of the fan-in, whatever the real copies are.
            let (mean, power) = row.iter().fold((0.0, 0.0), |(m, p), w| (m + w, p + w * w));
            assert!(
                mean.abs() < 1e-4 && (power - 4.0).abs() < 1e-3,
                "{mean} {power}"
            );
            assert!(row.iter().zip(latent).any(|(w, copy)| w != copy));
            n_rows += 1;
        }
    }
    assert_eq!(n_rows, 4 + 4 + 3);
}

#[test]
fn a_run_that_diverges_keeps_the_checkpoint_of_the_stage_before() {
    let data = images([6, 6, 2], 7);
    // The second loss is no number; or weights overflow in the only step of an epoch, behind a loss that is one.
    for (batch, lr) in [(8, "1e38"), (32, "3e38")] {
        let bad = format!(
            "[[stage]]\nkind = \"bitwise\"\nepochs = 2\nbatch = {batch}\nlr = {lr}\nwarmup = 0.0\n"
        );
        let recipe = recipe(
            "weights = { form = \"sign\", scale = \"mean\" }\ninput = \"sign\"",
            &format!("{REAL}{bad}"),
        );
        let dir = tempfile::tempdir().unwrap();
        let error = run(&recipe, &data, dir.path()).map(|o| o.test).unwrap_err();
        assert!(
            matches!(error, FitError::Diverged { epoch: 1, .. }),
            "{error}"
        );
        assert!(error.to_string().contains("lower `lr`"), "{error}");
        let position = checkpoint::position(&dir.path().join("last.ckpt")).unwrap();
        assert_eq!((position.phase, position.epoch), (0, 2));
        let mut network = network(&recipe, &data);
        checkpoint::restore(&dir.path().join("last.ckpt"), &mut network).unwrap();
        assert!(network.is_finite());
    }
}

#[test]
fn validation_is_that_of_the_net_though_training_draws_its_weights() {
    let data = images([6, 6, 2], 7);
    let recipe = recipe("weights = \"stochastic\"\ninput = \"stochastic\"", BITWISE);
    let dir = tempfile::tempdir().unwrap();
    let outcome = run(&recipe, &data, dir.path()).unwrap();
    let network = trained(&recipe, &data, dir.path());
    let (_, validation) = split_validation(&data.train, recipe.validation, recipe.seed);
    let all: Vec<usize> = (0..validation.len()).collect();
    let x = feeder(&recipe, &data).batch(&validation, &all, Target::Codes, Augment::NONE);
    let scores = network.evaluate(x);
    let correct = onebit_train::loss::n_correct(
        onebit_train::ops::values(&scores),
        &validation.labels,
        data.n_classes,
    );
    let last = outcome.history.last().unwrap();
    assert_eq!(last.val_accuracy, correct as f64 / validation.len() as f64);
}

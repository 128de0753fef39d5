//! Run folders: what a resumed run may change, what one that starts afresh takes away, and what a run that cannot go on
//! leaves.

mod common;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{images, options, run, trained};
use onebit_data::Dataset;
use onebit_train::checkpoint;
use onebit_train::fit::{Event, FitError, FitOptions, Outcome, fit};
use onebit_train::recipe::Recipe;

const NET: &str = "name = \"r\"\ndata = \"x\"\nvalidation = 8\nseed = 9\n[input]\nencoding = \"levels\"\nnormalise = true\n\
    [defaults]\nweights = \"sign\"\ninput = \"sign\"\nnorm = \"batch\"\n\
    [[layer]]\nkind = \"conv\"\nchannels = 4\nweights = \"real\"\n\
    [[layer]]\nkind = \"conv\"\nchannels = 4\nstride = 2\n\
    [[layer]]\nkind = \"dense\"\nnorm = \"none\"\n";
const STAGES: &str = "[[stage]]\nkind = \"real\"\nepochs = 2\nbatch = 8\nlr = 0.02\n\
    [[stage]]\nkind = \"bitwise\"\nepochs = 3\nbatch = 8\nlr = 0.01\n\
    [twin]\nkind = \"float\"\nepochs = 2\nbatch = 8\nlr = 0.03\n";

fn recipe(change: impl Fn(String) -> String) -> Recipe {
    let text = change(format!("{NET}{STAGES}"));
    Recipe::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

fn data() -> Dataset {
    images([6, 6, 2], 7)
}

/// Stops in epoch `epoch` of phase `phase`.
fn stopped(recipe: &Recipe, dir: &Path, phase: usize, epoch: usize) {
    let stop = AtomicBool::new(false);
    let mut now = 0;
    let result = fit(
        recipe,
        &data(),
        &options(dir),
        &stop,
        &mut |event| match event {
            Event::Phase { phase, .. } => now = phase,
            Event::Step { epoch: at, .. } if (now, at) == (phase, epoch) => {
                stop.store(true, Ordering::Relaxed);
            }
            _ => {}
        },
    );
    assert!(matches!(result, Err(FitError::Stopped { .. })));
}

fn message(result: Result<Outcome, FitError>) -> String {
    result.map(|outcome| outcome.test).unwrap_err().to_string()
}

#[test]
fn what_is_still_to_come_may_change_on_resuming_and_is_told() {
    let dir = tempfile::tempdir().unwrap();
    stopped(&recipe(|text| text), dir.path(), 1, 2);
    let changed = recipe(|text| {
        text.replace("lr = 0.01", "lr = 0.005")
            .replace("epochs = 3", "epochs = 4")
    });
    let outcome = run(&changed, &data(), dir.path()).unwrap();
    let from = "(from epoch 2 of stage 2 on)";
    assert_eq!(
        outcome.changes,
        [
            format!("`stage.1.epochs` was 3 and is 4 {from}"),
            format!("`stage.1.lr` was 0.01 and is 0.005 {from}"),
        ]
    );
    assert_eq!(
        outcome
            .history
            .iter()
            .filter(|epoch| epoch.phase == 1)
            .count(),
        4
    );
    let kept = fs::read_to_string(dir.path().join("recipe.toml")).unwrap();
    assert_eq!(kept, changed.to_toml());
    // The changes stay with the run.
    let again = run(&changed, &data(), dir.path()).unwrap();
    assert_eq!(again.changes, outcome.changes);
}

#[test]
fn a_stage_may_end_with_the_epochs_that_are_done() {
    for validation in [0, 8] {
        let recipe = |epochs: usize| {
            recipe(|text| {
                text.replace("validation = 8", &format!("validation = {validation}"))
                    .replace("epochs = 3", &format!("epochs = {epochs}"))
            })
        };
        let dir = tempfile::tempdir().unwrap();
        stopped(&recipe(3), dir.path(), 1, 3);
        let outcome = run(&recipe(2), &data(), dir.path()).unwrap();
        let epochs = outcome.history.iter().filter(|epoch| epoch.phase == 1);
        assert_eq!(epochs.count(), 2);
        assert_eq!(outcome.best.is_some(), validation > 0);
    }
}

#[test]
fn what_was_done_cannot_change_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    stopped(&recipe(|text| text), dir.path(), 1, 3);
    let before = fs::read(dir.path().join("last.ckpt")).unwrap();
    let cases: [(&str, &str, &[&str]); 6] = [
        (
            "channels = 4",
            "channels = 5",
            &["`layer.0.channels` was 4 and is 5"],
        ),
        ("lr = 0.02", "lr = 0.03", &["`stage.0.lr` was 0.02"]),
        ("seed = 9", "seed = 8", &["`seed`"]),
        (
            "kind = \"bitwise\"",
            "kind = \"bitwise\"\nloss = \"square-hinge\"\nepochs = 1",
            &["2 epochs", "the 1"],
        ),
        (
            "norm = \"batch\"",
            "norm = \"batch\"\nunit = \"relu\"",
            &["`defaults.unit` was not given and is \"relu\""],
        ),
        ("validation = 8", "validation = 9", &["`validation` was 8"]),
    ];
    for (from, to, words) in cases {
        let changed = recipe(|text| match to.contains("epochs") {
            true => text.replace("epochs = 3\n", "").replace(from, to),
            false => text.replacen(from, to, 1),
        });
        let error = message(run(&changed, &data(), dir.path()));
        for word in words {
            assert!(error.contains(word), "`{word}` is not in {error}");
        }
        assert!(error.contains("without --resume"), "{error}");
    }
    let error = message(run(&recipe(|text| text), &images([6, 6, 2], 8), dir.path()));
    assert!(error.contains("other data"), "{error}");
    assert_eq!(fs::read(dir.path().join("last.ckpt")).unwrap(), before);
    // Where the data lies is not what it holds.
    let moved = recipe(|text| text.replace("data = \"x\"", "data = \"y\""));
    assert_eq!(run(&moved, &data(), dir.path()).unwrap().changes, [""; 0]);
}

#[test]
fn a_damaged_tensor_is_found_by_its_checksum() {
    let dir = tempfile::tempdir().unwrap();
    stopped(&recipe(|text| text), dir.path(), 1, 2);
    let path = dir.path().join("last.ckpt");
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 3;
    bytes[last] ^= 0x10;
    fs::write(&path, bytes).unwrap();
    let error = message(run(&recipe(|text| text), &data(), dir.path()));
    assert!(
        error.contains("last.ckpt") && error.contains("checksum"),
        "{error}"
    );
}

#[test]
fn a_run_that_starts_afresh_takes_away_the_old_one_once_it_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let old = run(&recipe(|text| text), &data(), dir.path()).unwrap();
    assert!(old.twin.is_some());
    let listing = || {
        let mut files: Vec<(String, Vec<u8>)> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.display().to_string(), fs::read(&path).unwrap()))
            .collect();
        files.sort();
        files
    };
    let before = listing();
    let afresh = FitOptions {
        resume: false,
        ..options(dir.path())
    };
    let go = AtomicBool::new(false);
    // A refused recipe leaves everything as it was, and makes no folder; its teacher counts too.
    let bad_layer = recipe(|text| text.replace("stride = 2", "stride = 2\nweights = \"ternary\""));
    let bad_teacher = recipe(|text| {
        let text = text.replace("lr = 0.01\n", "lr = 0.01\ndistill = {}\n");
        text + "[teacher.stage]\nkind = \"float\"\nepochs = 1\nbatch = 8\nlr = 0.1\n\
            [[teacher.layer]]\nkind = \"dense\"\nunits = 2\n"
    });
    let nowhere = dir.path().join("none");
    let elsewhere = FitOptions {
        run_dir: nowhere.clone(),
        ..afresh.clone()
    };
    for bad in [bad_layer, bad_teacher] {
        assert!(fit(&bad, &data(), &afresh, &go, &mut |_| {}).is_err());
        assert_eq!(listing(), before);
        assert!(fit(&bad, &data(), &elsewhere, &go, &mut |_| {}).is_err());
        assert!(!nowhere.exists());
    }
    // One that is stopped in its first epoch has no checkpoint to be mistaken for its own.
    let other = recipe(|text| text.replace("seed = 9", "seed = 10"));
    let stop = AtomicBool::new(true);
    let error = message(fit(&other, &data(), &afresh, &stop, &mut |_| {}));
    assert!(error.contains("no checkpoint yet"), "{error}");
    let names: Vec<String> = listing().into_iter().map(|(path, _)| path).collect();
    assert_eq!(
        names,
        [dir.path().join("recipe.toml").display().to_string()]
    );
}

#[test]
fn weights_that_no_longer_make_a_net_stop_the_run_with_the_last_good_checkpoint() {
    // Running statistics that are finite and whose quotient is not: with and without a validation split.
    for validation in [0, 8] {
        let diverging = recipe(|text| {
            text.replace("validation = 8", &format!("validation = {validation}"))
                .replace(
                    "weights = \"sign\"",
                    "weights = { form = \"sign\", standardise = \"recu\" }",
                )
                .replace("lr = 0.01", "lr = 1e21")
        });
        let dir = tempfile::tempdir().unwrap();
        let result = run(&diverging, &data(), dir.path());
        let Err(error @ FitError::Diverged { .. }) = result else {
            panic!("{:?}", result.map(|outcome| outcome.test));
        };
        let error = error.to_string();
        assert!(
            error.contains("last.ckpt") && error.contains("lower `lr`"),
            "{error}"
        );
        let position = checkpoint::position(&dir.path().join("last.ckpt")).unwrap();
        assert_eq!(position.phase, 0);
        // As the message says: with a lower rate the run goes on from there.
        let lower = Recipe {
            validation,
            ..recipe(|text| {
                text.replace(
                    "weights = \"sign\"",
                    "weights = { form = \"sign\", standardise = \"recu\" }",
                )
            })
        };
        let outcome = run(&lower, &data(), dir.path()).unwrap();
        assert_eq!(outcome.changes.len(), 1);
        assert!(trained_is_finite(&lower, dir.path()));
    }
}

fn trained_is_finite(recipe: &Recipe, dir: &Path) -> bool {
    let stages = Recipe {
        twin: None,
        ..recipe.clone()
    };
    fs::copy(dir.join("stages.ckpt"), dir.join("last.ckpt")).unwrap();
    trained(&stages, &data(), dir).is_finite()
}

#[test]
fn a_first_epoch_that_diverges_names_no_checkpoint() {
    let diverging = recipe(|text| text.replace("lr = 0.02", "lr = 1e38"));
    let dir = tempfile::tempdir().unwrap();
    let error = message(run(&diverging, &data(), dir.path()));
    assert!(
        error.contains("no checkpoint yet") && error.contains("lower `lr`"),
        "{error}"
    );
    assert!(!error.contains("last.ckpt"), "{error}");
}

#[test]
fn sums_are_bounded_for_the_weights_that_training_may_come_to() {
    // Ternary weights may all become other than zero; at first half of them are zeros.
    let text = |width: usize| {
        format!(
            "name = \"r\"\ndata = \"x\"\nvalidation = 8\n[input]\nencoding = \"levels\"\n\
             [[layer]]\nkind = \"dense\"\nunits = {width}\nweights = \"twn\"\n[[layer]]\nkind = \"dense\"\nweights = \"twn\"\n\
             [[stage]]\nkind = \"bitwise\"\nepochs = 1\nbatch = 8\nlr = 0.01\n"
        )
    };
    // 72 pixels of 8 bits, then `width` sums: 72 * 255 * 913 is below 2^24, 914 is not.
    for (width, fits) in [(913, true), (914, false), (1500, false)] {
        let recipe = Recipe::parse(&text(width)).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let result = run(&recipe, &data(), dir.path());
        match fits {
            true => assert!(result.is_ok(), "{width}"),
            false => {
                let error = message(result);
                assert!(error.contains("2^24") && error.contains("norm"), "{error}");
                assert!(!dir.path().join("recipe.toml").exists());
            }
        }
    }
}

#[test]
fn what_is_allowed_and_worth_knowing_is_noted_before_training() {
    let notes = |change: &dyn Fn(String) -> String| {
        let dir = tempfile::tempdir().unwrap();
        let (go, mut notes) = (AtomicBool::new(false), Vec::new());
        let recipe = recipe(change);
        fit(&recipe, &data(), &options(dir.path()), &go, &mut |event| {
            if let Event::Note(text) = event {
                notes.push(text.to_string());
            }
        })
        .unwrap();
        notes
    };
    assert_eq!(notes(&|text| text), [""; 0]);
    let real = notes(&|text| text.replace("input = \"sign\"\n", ""));
    assert!(
        real.len() == 1 && real[0].contains("conv2, dense1"),
        "{real:?}"
    );
    let stochastic = |text: String| text.replace("weights = \"sign\"", "weights = \"stochastic\"");
    let drawn = notes(&stochastic);
    assert!(
        drawn.len() == 2 && drawn[0].contains("recalibrate") && drawn[1].contains("lr_scale"),
        "{drawn:?}"
    );
    let settled = |text: String| {
        let rates = "[[stage.group]]\nmatch = \"binary-weights\"\nlr_scale = \"glorot\"";
        let last = format!("lr = 0.01\nrecalibrate = 2\n{rates}");
        stochastic(text).replace("lr = 0.01", &last)
    };
    assert_eq!(notes(&settled), [""; 0]);
}

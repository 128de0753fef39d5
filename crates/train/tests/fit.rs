//! Whole training runs on the embedded digits: accuracy bands, repeatability, resuming, and equality of the
//! trained network with the Net it exports.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use onebit_data::{Dataset, Features, digits, split_validation};
use onebit_model::evaluate::Evaluator;
use onebit_model::tensor::Tensor;
use onebit_train::device::DeviceName;
use onebit_train::fit::{Event, FitError, FitOptions, Outcome, fit};
use onebit_train::recipe::Recipe;

/// A recipe with `stages` after the common part.
fn recipe(encoding: &str, norm: &str, stages: &str) -> Recipe {
    let text = format!(
        "name = \"t\"\ndata = \"digits\"\nseed = 3\nvalidation = 150\n[input]\n{encoding}\n[model]\nhidden = [96, 65]\nnorm = \"{norm}\"\n{stages}"
    );
    Recipe::parse(&text).unwrap()
}

const SIGN: &str = "encoding = \"sign\"\nat = 128";
const BITWISE: &str =
    "[[stage]]\nkind = \"bitwise\"\nepochs = 12\nbatch = 32\nlr = 0.01\nlatent_clip = 1.0\n";
const COMPRESS: &str = "[[stage]]\nkind = \"compress\"\nepochs = 6\nbatch = 32\nlr = 0.003\n";
const TWIN: &str = "[twin]\nkind = \"float\"\nepochs = 10\nbatch = 32\nlr = 0.003\n";

fn run(recipe: &Recipe, data: &Dataset, dir: &Path, threads: usize) -> Result<Outcome, FitError> {
    let options = FitOptions {
        run_dir: dir.into(),
        resume: true,
        threads,
        device: DeviceName::Cpu,
    };
    fit(recipe, data, &options, &AtomicBool::new(false), &mut |_| {})
}

/// The exported Net, evaluated by `onebit-model`, is right exactly as often on the validation examples as
/// training's own forward pass said.
fn assert_net_agrees(outcome: &Outcome, recipe: &Recipe, data: &Dataset) {
    let (_, validation) = split_validation(&data.train, recipe.validation, recipe.seed);
    let evaluator = Evaluator::new(&outcome.net).unwrap();
    let Features::U8(pixels) = &validation.features else {
        panic!("digits are 8-bit")
    };
    let n = validation.n_features();
    let correct = (0..validation.len())
        .filter(|&i| {
            let evaluation = evaluator.evaluate(&Tensor::Levels(pixels[i * n..][..n].to_vec()));
            let scores: Vec<f64> = match evaluation.scores() {
                Tensor::Real(scores) => scores.iter().map(|&s| f64::from(s)).collect(),
                Tensor::Int(scores) => scores.iter().map(|&s| f64::from(s)).collect(),
                other => panic!("scores are numbers, not {other:?}"),
            };
            let answer = (0..scores.len())
                .fold(0, |best, c| if scores[c] > scores[best] { c } else { best });
            answer == usize::from(validation.labels[i])
        })
        .count();
    let (best, _) = outcome.best.expect("there is a validation split");
    assert_eq!(correct as f64 / validation.len() as f64, best);
}

#[test]
fn every_family_and_input_learns_and_exports_what_it_evaluates() {
    let data = digits();
    let sparse = BITWISE.replace(
        "lr = 0.01",
        "lr = 0.01\nsparsity = 0.3\nestimator = \"tanh\"\ndropout_hidden = 0.1",
    );
    let cases = [
        (
            "batch norm",
            recipe(SIGN, "batch", &format!("{BITWISE}{TWIN}")),
            0.85,
        ),
        (
            "two stages",
            recipe(SIGN, "batch", &format!("{COMPRESS}{BITWISE}")),
            0.80,
        ),
        (
            "Kim & Smaragdis",
            recipe(SIGN, "none", &format!("{COMPRESS}{BITWISE}")),
            0.82,
        ),
        (
            "sparse",
            recipe(SIGN, "none", &format!("{COMPRESS}{sparse}")),
            0.80,
        ),
        (
            "zero-one",
            recipe("encoding = \"zero-one\"\nat = 128", "none", BITWISE),
            0.80,
        ),
        (
            "fixed point",
            recipe("encoding = \"fixed-point\"\nbits = 2", "batch", BITWISE),
            0.88,
        ),
        (
            "fixed point of zeros and ones",
            recipe(
                "encoding = \"fixed-point\"\nbits = 2\nvalues = \"zero-one\"",
                "none",
                &format!("{COMPRESS}{sparse}"),
            ),
            0.80,
        ),
        (
            "thermometer",
            recipe(
                "encoding = \"thermometer\"\ncuts = [64, 128, 192]",
                "batch",
                BITWISE,
            ),
            0.87,
        ),
        (
            "levels",
            recipe("encoding = \"levels\"", "batch", BITWISE),
            0.87,
        ),
    ];
    for (name, recipe, band) in cases {
        let dir = tempfile::tempdir().unwrap();
        let outcome = run(&recipe, &data, dir.path(), 1).unwrap();
        println!(
            "{name}: test {:.3}, twin {:?}",
            outcome.test.accuracy(),
            outcome.twin.as_ref().map(|t| t.accuracy())
        );
        assert!(
            outcome.test.accuracy() >= band,
            "{name}: {:.3} is below {band}",
            outcome.test.accuracy()
        );
        assert!(
            outcome.twin.is_none_or(|t| t.accuracy() > 0.90),
            "the float twin learns"
        );
        assert_net_agrees(&run(&recipe, &data, dir.path(), 1).unwrap(), &recipe, &data);
    }
}

#[test]
fn the_last_score_layer_may_be_normalised_and_losses_differ() {
    let data = digits();
    for loss in ["square-hinge", "bitwise", "cross-entropy"] {
        let text = recipe(
            SIGN,
            "batch",
            &BITWISE.replace("lr = 0.01", &format!("lr = 0.01\nloss = \"{loss}\"")),
        )
        .to_toml();
        let recipe =
            Recipe::parse(&text.replace("output_norm = \"none\"", "output_norm = \"batch\""))
                .unwrap();
        let dir = tempfile::tempdir().unwrap();
        let outcome = run(&recipe, &data, dir.path(), 1).unwrap();
        assert!(
            outcome.test.accuracy() > 0.80,
            "{loss}: {:.3}",
            outcome.test.accuracy()
        );
        assert_net_agrees(&outcome, &recipe, &data);
    }
}

#[test]
fn a_seed_repeats_a_run_whatever_the_number_of_threads() {
    let data = digits();
    let recipe = recipe(SIGN, "batch", &BITWISE.replace("epochs = 12", "epochs = 2"));
    let outcomes = [1, 2, 3].map(|threads| {
        let dir = tempfile::tempdir().unwrap();
        run(&recipe, &data, dir.path(), threads).unwrap()
    });
    assert_eq!(outcomes[0].net, outcomes[1].net);
    assert_eq!(outcomes[0].net, outcomes[2].net);
}

#[test]
fn a_stopped_run_resumes_to_the_same_net() {
    let data = digits();
    let recipe = recipe(SIGN, "batch", &format!("{COMPRESS}{BITWISE}{TWIN}"));
    let whole = tempfile::tempdir().unwrap();
    let expected = run(&recipe, &data, whole.path(), 1).unwrap();
    // One stop in each phase, in the middle of an epoch.
    let dir = tempfile::tempdir().unwrap();
    for phase_to_stop in 0..3 {
        let options = FitOptions {
            run_dir: dir.path().into(),
            resume: true,
            threads: 1,
            device: DeviceName::Cpu,
        };
        let stop = AtomicBool::new(false);
        let mut phase_now = 0;
        let result = fit(&recipe, &data, &options, &stop, &mut |event| match event {
            Event::Phase { phase, .. } => phase_now = phase,
            Event::Step { epoch, step, .. }
                if phase_now == phase_to_stop && epoch == 3 && step == 5 =>
            {
                stop.store(true, Ordering::Relaxed);
            }
            _ => {}
        });
        assert!(
            matches!(result, Err(FitError::Stopped { epoch: 3, .. })),
            "{result:?}"
        );
    }
    let resumed = run(&recipe, &data, dir.path(), 1).unwrap();
    assert_eq!(resumed.net, expected.net);
    assert_eq!((resumed.test, resumed.twin), (expected.test, expected.twin));
    let strip = |o: &[onebit_train::fit::EpochRecord]| {
        o.iter()
            .map(|r| (r.phase, r.epoch, r.loss, r.val_accuracy, r.flip_ratio))
            .collect::<Vec<_>>()
    };
    assert_eq!(strip(&resumed.history), strip(&expected.history));
}

#[test]
fn a_loss_that_is_not_a_number_stops_with_the_last_good_checkpoint() {
    let data = digits();
    // The first stage is fine; the twin's rate makes its sums overflow at once.
    let stages = format!(
        "{}{}",
        BITWISE.replace("epochs = 12", "epochs = 1"),
        TWIN.replace("0.003", "1e38")
    );
    let recipe = recipe(SIGN, "none", &stages);
    let dir = tempfile::tempdir().unwrap();
    let error = run(&recipe, &data, dir.path(), 1)
        .map(|o| o.test)
        .unwrap_err();
    assert!(
        matches!(error, FitError::Diverged { epoch: 1, .. }),
        "{error}"
    );
    let position = onebit_train::checkpoint::position(&dir.path().join("last.ckpt")).unwrap();
    assert_eq!((position.phase, position.epoch), (0, 1));
}

#[test]
fn a_recipe_that_does_not_fit_the_data_says_so() {
    let data = digits();
    let dir = tempfile::tempdir().unwrap();
    let too_many = Recipe {
        validation: 100_000,
        ..recipe(SIGN, "batch", BITWISE)
    };
    let error = run(&too_many, &data, dir.path(), 1)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("validation") && error.contains("training examples"),
        "{error}"
    );
    let quantiles = recipe("encoding = \"quantiles\"\nlevels = 3", "batch", BITWISE);
    let error = run(&quantiles, &data, dir.path(), 1)
        .unwrap_err()
        .to_string();
    assert!(error.contains("thermometer"), "{error}");
}

#[test]
fn a_broken_or_foreign_checkpoint_is_refused_and_a_full_disk_is_named() {
    let data = digits();
    let recipe_a = recipe(SIGN, "batch", &BITWISE.replace("epochs = 12", "epochs = 1"));
    let dir = tempfile::tempdir().unwrap();
    run(&recipe_a, &data, dir.path(), 1).unwrap();
    let other = Recipe {
        seed: 4,
        ..recipe_a.clone()
    };
    let error = run(&other, &data, dir.path(), 1).unwrap_err().to_string();
    assert!(error.contains("another recipe"), "{error}");
    let path = dir.path().join("last.ckpt");
    let bytes = std::fs::read(&path).unwrap();
    for cut in [0, 7, 8, 100, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..cut]).unwrap();
        let error = run(&recipe_a, &data, dir.path(), 1)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("last.ckpt") && error.contains("--resume"),
            "cut at {cut}: {error}"
        );
    }
    let error =
        onebit_train::checkpoint::write_whole(Path::new("/proc/onebit-test"), b"x").unwrap_err();
    assert!(error.to_string().contains("/proc/onebit-test"), "{error}");
}

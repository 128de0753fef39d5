//! What a recipe's numbers do: schedules, optimizer steps, losses, cutout, first weights.

mod common;

use burn::tensor::{Device, Tensor, TensorData};
use common::{GOOD, images, network};
use onebit_data::{Features, Split};
use onebit_model::net::Encoder;
use onebit_train::encode::{Augment, Feeder, Target};
use onebit_train::loss::loss;
use onebit_train::mode::Mode;
use onebit_train::network::{Network, Role};
use onebit_train::ops::{Estimator, flex_tensor, values};
use onebit_train::optim::{Form, Param, Rule, Update};
use onebit_train::recipe::{Input, Loss, Recipe, Stage, StageKind};

fn stage(lines: &str) -> Stage {
    let text = GOOD
        .replace("epochs = 1", "epochs = 10")
        .replace("lr = 0.01", &format!("lr = 0.1\nlr_end = 0.02\n{lines}"));
    Recipe::parse(&text).unwrap().stages.remove(0)
}

#[test]
fn schedules_pass_through_known_points() {
    let cases: [(&str, &[(f32, f32)]); 6] = [
        ("schedule = \"constant\"", &[(0.0, 0.1), (0.7, 0.1)]),
        (
            "schedule = \"linear\"",
            &[(0.0, 0.1), (0.25, 0.08), (0.5, 0.06), (1.0, 0.02)],
        ),
        (
            "schedule = \"cosine\"",
            &[(0.0, 0.1), (0.5, 0.06), (1.0 / 3.0, 0.08)],
        ),
        (
            "schedule = \"exponential\"",
            &[(0.0, 0.1), (0.5, 0.044_721_36), (1.0, 0.02)],
        ),
        (
            "schedule = \"step\"\nsteps = [3, 8]\nstep_factor = 0.5",
            &[
                (0.0, 0.1),
                (0.29, 0.1),
                (0.3, 0.05),
                (0.79, 0.05),
                (0.8, 0.025),
                (1.0, 0.025),
            ],
        ),
        (
            "schedule = \"linear\"\nwarmup = 2.0",
            &[
                (0.0, 0.0),
                (0.05, 0.025),
                (0.1, 0.05),
                (0.2, 0.084),
                (0.5, 0.06),
            ],
        ),
    ];
    for (lines, points) in cases {
        let stage = stage(lines);
        for &(progress, lr) in points {
            let found = stage.lr_at(progress);
            assert!((found - lr).abs() < 1e-6, "{lines} at {progress}: {found}");
        }
    }
}

const ADAM: Update = Update {
    rule: Rule::Adam {
        beta1: 0.9,
        beta2: 0.999,
    },
    lr: 0.1,
    decay: 0.0,
    step: 1,
    latent_clip: f32::INFINITY,
    clip_share: 0.0,
};

#[test]
fn optimizers_take_the_steps_of_their_papers() {
    let start = [0.5f32, -0.25, 0.0, 2.0];
    let grads = [
        [0.3f32, -0.2, 0.0, 4.0],
        [0.1, 0.2, -0.5, -1.0],
        [-0.7, 0.4, 0.2, 0.0],
    ];
    let adam_decay = Update { decay: 0.2, ..ADAM };
    let sgd = Update {
        rule: Rule::Sgd { momentum: 0.9 },
        decay: 0.2,
        ..ADAM
    };
    for update in [ADAM, adam_decay, sgd] {
        let mut param = Param::new(start.to_vec(), 2, 2, Form::Real);
        let mut expected = start.map(f64::from);
        let (mut m, mut v) = ([0.0f64; 4], [0.0f64; 4]);
        for (t, grad) in grads.iter().enumerate() {
            let step = t as u32 + 1;
            param.step(grad, Form::Real, Update { step, ..update });
            let (lr, decay) = (f64::from(update.lr), f64::from(update.decay));
            for (i, w) in expected.iter_mut().enumerate() {
                let g = f64::from(grad[i]);
                if let Rule::Sgd { momentum } = update.rule {
                    m[i] = f64::from(momentum) * m[i] + g + decay * *w;
                    *w -= lr * m[i];
                } else {
                    m[i] = 0.9 * m[i] + 0.1 * g;
                    v[i] = 0.999 * v[i] + 0.001 * g * g;
                    let m_hat = m[i] / (1.0 - 0.9f64.powi(step as i32));
                    let v_hat = v[i] / (1.0 - 0.999f64.powi(step as i32));
                    *w -= lr * decay * *w;
                    *w -= lr * m_hat / (v_hat.sqrt() + 1e-8);
                }
            }
            for (found, expected) in param.latent.iter().zip(expected) {
                assert!(
                    (f64::from(*found) - expected).abs() < 1e-5,
                    "{update:?} step {step}: {found} {expected}"
                );
            }
            assert_eq!(values(&param.value), param.latent);
        }
    }
}

#[test]
fn bop_flips_a_weight_whose_mean_gradient_has_its_sign_and_reaches_the_threshold() {
    let bop = Update {
        rule: Rule::Bop {
            threshold: 0.25,
            gamma: 0.5,
        },
        ..ADAM
    };
    let mut param = Param::new(vec![0.3, 0.3, -0.3, -0.3, -0.3], 1, 5, Form::Sign);
    // Means 0.5, 0.2, -0.25, 0.5, -0.2.
    let flips = param.step(&[1.0, 0.4, -0.5, 1.0, -0.4], Form::Sign, bop);
    assert_eq!(
        (flips, &param.latent[..]),
        (2, &[-1.0, 1.0, 1.0, -1.0, -1.0][..])
    );
    // Means 0.25, 0.3, -0.125, -0.25, -0.3.
    let flips = param.step(&[0.0, 0.4, 0.0, -1.0, -0.4], Form::Sign, bop);
    assert_eq!(
        (flips, &param.latent[..]),
        (3, &[-1.0, -1.0, 1.0, 1.0, 1.0][..])
    );
    assert_eq!(values(&param.value), param.latent);
}

#[test]
fn compressed_and_ternary_weights_step_their_real_copies() {
    let sgd = Update {
        rule: Rule::Sgd { momentum: 0.0 },
        ..ADAM
    };
    let start = [0.5f32, -0.25, 0.0, 2.0, -1.0];
    let grad = [1.0f32, -2.0, 3.0, 0.5, 1.0];
    // Kim & Smaragdis' first round: the effective weight is tanh, whose derivative the gradient takes.
    let mut param = Param::new(start.to_vec(), 1, 5, Form::Tanh);
    param.step(&grad, Form::Tanh, sgd);
    for (i, w) in param.latent.iter().enumerate() {
        let expected = start[i] - 0.1 * grad[i] * (1.0 - start[i].tanh().powi(2));
        assert!((w - expected).abs() < 1e-5, "{w} {expected}");
        assert!((values(&param.value)[i] - w.tanh()).abs() < 1e-5);
    }
    // Their second round with zeros: the gradient goes to the real copies as it is; then the two smallest are zeros.
    let ternary = Form::Ternary { sparsity: 0.4 };
    let mut param = Param::new(start.to_vec(), 1, 5, ternary);
    assert_eq!(values(&param.value), [1.0, 0.0, 0.0, 1.0, -1.0]);
    let changed = param.step(&grad, ternary, sgd);
    for (i, w) in param.latent.iter().enumerate() {
        assert!((w - (start[i] - 0.1 * grad[i])).abs() < 1e-6);
    }
    // Now 0.4, -0.05, -0.3, 1.95, -1.1.
    assert_eq!(values(&param.value), [1.0, 0.0, 0.0, 1.0, -1.0]);
    assert_eq!(changed, 0);
    let changed = param.step(&[5.0, 0.0, 0.0, 0.0, 0.0], ternary, sgd);
    // Now -0.1 in front: the smallest are the first two.
    assert_eq!(values(&param.value), [0.0, 0.0, -1.0, 1.0, -1.0]);
    assert_eq!(changed, 2);
}

#[test]
fn a_row_of_a_gradient_is_at_most_its_share_of_the_row_of_weights() {
    let param = Param::new(vec![3.0, 4.0, 0.0, 0.0, 0.0, 1.0], 3, 2, Form::Real);
    let mut grad = [6.0, 8.0, 0.3, 0.4, 0.0, 0.05];
    param.clip_rows(&mut grad, 0.1);
    // Norms 5, 0 (which counts as 0.001) and 1.
    let expected = [0.3, 0.4, 0.000_06, 0.000_08, 0.0, 0.05];
    for (found, expected) in grad.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-6, "{grad:?}");
    }
    let unlimited = [6.0, 8.0, 0.3, 0.4, 0.0, 0.05];
    let mut grad = unlimited;
    param.clip_rows(&mut grad, 0.0);
    assert_eq!(grad, unlimited);
}

#[test]
fn what_is_clipped_is_the_gradient_of_the_real_copies() {
    // Standardised weights have gradients larger than the effective weights' by 1 / deviation.
    let weights = "norm = \"batch\"\nweights = { form = \"sign\", standardise = \"libra\" }";
    let recipe = Recipe::parse(&GOOD.replace("norm = \"batch\"", weights)).unwrap();
    let data = images([8, 8, 3], 4);
    let mut network = network(&recipe, &data);
    let before = network.nodes.clone();
    let share = 0.1;
    let grads = before
        .iter()
        .flat_map(|node| &node.params)
        .map(|(_, param)| {
            let (rows, cols) = param.dims();
            let uneven = (0..rows * cols).map(|i| ((i * 7) % 11) as f32 - 4.0);
            flex_tensor(uneven.collect(), rows, cols)
        })
        .collect();
    let stats = vec![None; before.len()];
    let update = |_: &Network, _: usize, role: Role| Update {
        rule: Rule::Sgd { momentum: 0.0 },
        lr: 1.0,
        clip_share: if role == Role::Weight { share } else { 0.0 },
        ..ADAM
    };
    network.step(grads, &stats, update, 1);
    let norm = |row: &[f32]| row.iter().map(|v| v * v).sum::<f32>().sqrt();
    for (old, new) in before.iter().zip(&network.nodes) {
        let (Some(old), Some(new)) = (old.find(Role::Weight), new.find(Role::Weight)) else {
            continue;
        };
        let cols = old.dims().1;
        let rows = old
            .latent
            .chunks_exact(cols)
            .zip(new.latent.chunks_exact(cols));
        for (old, new) in rows {
            let moved: Vec<f32> = old.iter().zip(new).map(|(a, b)| a - b).collect();
            let most = share * norm(old);
            assert!(
                (norm(&moved) - most).abs() < 1e-4 * most,
                "{} of {most}",
                norm(&moved)
            );
        }
    }
}

/// Losses in f64, straight from their formulas.
fn expected_loss(kind: Loss, scores: &[f64], labels: &[u16], smoothing: f64) -> f64 {
    let n = 3;
    let per_row = scores.chunks_exact(n).zip(labels).map(|(row, &label)| {
        let label = usize::from(label);
        let sign_of = |c: usize| if c == label { 1.0 } else { -1.0 };
        match kind {
            Loss::CrossEntropy => {
                let sum: f64 = row.iter().map(|s| s.exp()).sum();
                let log = |c: usize| row[c] - sum.ln();
                let even: f64 = (0..n).map(log).sum::<f64>() / n as f64;
                -((1.0 - smoothing) * log(label) + smoothing * even)
            }
            Loss::SquareHinge => (0..n)
                .map(|c| (1.0 - sign_of(c) * row[c]).max(0.0).powi(2))
                .sum(),
            Loss::Bitwise => (0..n)
                .map(|c| (1.0 - sign_of(c) * if row[c] >= 0.0 { 1.0 } else { -1.0 }) / 2.0)
                .sum(),
        }
    });
    per_row.sum::<f64>() / labels.len() as f64
}

#[test]
fn losses_and_their_gradients_are_those_of_their_formulas() {
    let scores = [0.5f32, -1.5, 2.0, 0.25, 0.75, -0.5, -2.0, 1.0, 3.0];
    let labels = [2u16, 0, 1];
    let wide = |t: f32| scores.map(|s| f64::from(s / t));
    for (kind, smoothing, t) in [
        (Loss::CrossEntropy, 0.0f32, 1.0f32),
        (Loss::CrossEntropy, 0.3, 2.0),
        (Loss::SquareHinge, 0.0, 2.0),
        (Loss::Bitwise, 0.0, 1.0),
    ] {
        let x = Tensor::<2>::from_data(
            TensorData::new(scores.to_vec(), [3, 3]),
            &Device::flex().autodiff(),
        )
        .require_grad();
        let found = loss(x.clone(), &labels, kind, t, smoothing, Estimator::Identity);
        let grads = found.clone().backward();
        let found = f64::from(found.into_scalar::<f32>());
        let expected = expected_loss(kind, &wide(t), &labels, f64::from(smoothing));
        assert!(
            (found - expected).abs() < 1e-5,
            "{kind:?}: {found} {expected}"
        );
        let grad = x.grad(&grads).unwrap().into_data();
        if kind == Loss::Bitwise {
            // The sign has the derivative of its estimator, here 1.
            for (i, g) in grad.try_to_vec::<f32>().unwrap().iter().enumerate() {
                let is_label = i % 3 == usize::from(labels[i / 3]);
                let slope = if is_label { -0.5 / 3.0 } else { 0.5 / 3.0 };
                assert!((g - slope).abs() < 1e-6, "{i}: {g} {slope}");
            }
            continue;
        }
        for (i, g) in grad.try_to_vec::<f32>().unwrap().iter().enumerate() {
            let moved = |by: f64| {
                let mut wide = wide(t);
                wide[i] += by / f64::from(t);
                expected_loss(kind, &wide, &labels, f64::from(smoothing))
            };
            let slope = (moved(1e-4) - moved(-1e-4)) / 2e-4;
            assert!(
                (f64::from(*g) - slope).abs() < 1e-4,
                "{kind:?} {i}: {g} {slope}"
            );
        }
    }
}

#[test]
fn cutout_zeroes_exactly_a_square_and_every_place_comes_up() {
    let (height, width, channels) = (6, 5, 2);
    let feeder = Feeder::new(
        Encoder::Levels,
        &Input::Levels { normalise: false },
        &[height, width, channels],
    );
    let split = Split {
        features: Features::U8(vec![200; height * width * channels]),
        labels: vec![0],
    };
    for side in [1, 2, 3] {
        let mut centres = std::collections::BTreeSet::new();
        for seed in 0..600 {
            let augment = Augment {
                cutout: side,
                seed,
                ..Augment::NONE
            };
            let batch = feeder.batch(&split, &[0], Target::Codes, augment);
            let zeroed: Vec<(usize, usize)> = values(&batch)
                .chunks_exact(channels)
                .enumerate()
                .filter(|(_, px)| {
                    assert!(px.iter().all(|v| *v == px[0]) && [0.0, 200.0].contains(&px[0]));
                    px[0] == 0.0
                })
                .map(|(at, _)| (at / width, at % width))
                .collect();
            // The square of this side around some centre in the image, as far as it lies in the image.
            let half = side / 2;
            let fits = (0..height * width)
                .map(|at| (at / width, at % width))
                .find(|&(cy, cx)| {
                    let from = |c: usize| c.saturating_sub(half);
                    let to = |c: usize, n: usize| (c + side - half).min(n);
                    let ys = from(cy)..to(cy, height);
                    let square: Vec<(usize, usize)> = ys
                        .flat_map(|y| (from(cx)..to(cx, width)).map(move |x| (y, x)))
                        .collect();
                    square == zeroed
                });
            let centre = fits.unwrap_or_else(|| panic!("no square of {side}: {zeroed:?}"));
            centres.insert(centre);
        }
        assert_eq!(centres.len(), height * width, "side {side}");
    }
}

#[test]
fn weights_that_are_drawn_start_with_a_mean_magnitude_of_a_half() {
    let text = GOOD.replace("channels = 8", "channels = 8\nweights = \"stochastic\"");
    let drawing = Recipe::parse(&text).unwrap();
    let bitwise = drawing.stages[0].clone();
    let real = Stage {
        kind: StageKind::Real,
        ..bitwise.clone()
    };
    let copies = |network: &Network, layer: &str| {
        let idx = network.graph.nodes.iter().position(|n| n.name == layer);
        network.nodes[idx.unwrap()]
            .param(Role::Weight)
            .latent
            .clone()
    };
    let magnitude = |w: &[f32]| w.iter().map(|w| w.abs()).sum::<f32>() / w.len() as f32;
    let data = images([8, 8, 3], 2);
    let handing_over = Recipe {
        stages: vec![real],
        ..drawing.clone()
    };
    let mut network = common::network(&handing_over, &data);
    let [first, other] = ["conv2", "conv1"].map(|layer| copies(&network, layer));
    assert!(magnitude(&first) < 0.2, "Glorot & Bengio's limit");
    network.enter(Mode::of(&bitwise));
    let drawn = copies(&network, "conv2");
    assert!((magnitude(&drawn) - 0.5).abs() < 1e-6);
    let factor = drawn[0] / first[0];
    let mut pairs = drawn.iter().zip(&first);
    assert!(pairs.all(|(drawn, first)| (drawn - factor * first).abs() < 1e-6));
    assert_eq!(copies(&network, "conv1"), other);
    // Not again in the next stage, and the same where the first stage draws.
    network.enter(Mode::of(&bitwise));
    assert_eq!(copies(&network, "conv2"), drawn);
    assert_eq!(copies(&common::network(&drawing, &data), "conv2"), drawn);
}

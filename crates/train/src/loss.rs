//! Losses over scores `[batch, classes]`, from Burn's own operations, and the count of right answers.

use burn::tensor::Tensor;
use burn::tensor::activation::log_softmax;

use crate::device::constant_beside;
use crate::ops::{Dropout, Estimator, Unit, activate};
use crate::recipe::Loss;

/// The mean loss of a batch. `labels` are class indices; `smoothing` of a cross-entropy's target is spread evenly
/// over all classes (Szegedy et al. 2016).
pub fn loss(
    scores: Tensor<2>,
    labels: &[u16],
    loss: Loss,
    temperature: f32,
    smoothing: f32,
    estimator: Estimator,
) -> Tensor<1> {
    let [batch, n_classes] = scores.dims();
    let scores = if temperature == 1.0 {
        scores
    } else {
        scores / temperature
    };
    let (off, on) = if loss == Loss::CrossEntropy {
        let share = smoothing / n_classes as f32;
        (share, 1.0 - smoothing + share)
    } else {
        (-1.0, 1.0)
    };
    let mut target = vec![off; batch * n_classes];
    for (row, &label) in target.chunks_exact_mut(n_classes).zip(labels) {
        row[usize::from(label)] = on;
    }
    let target = constant_beside(&scores, target, batch, n_classes);
    let per_batch = 1.0 / batch as f32;
    match loss {
        Loss::CrossEntropy => (log_softmax(scores, 1) * target).sum() * -per_batch,
        Loss::SquareHinge => {
            let miss = (target * scores * -1.0 + 1.0).clamp_min(0.0);
            (miss.clone() * miss).sum() * per_batch
        }
        Loss::Bitwise => {
            let z = activate(scores, Unit::Sign(estimator), Dropout::NONE);
            (target * z * -1.0 + 1.0).sum() * (0.5 * per_batch)
        }
    }
}

/// Index of the greatest score of each row, the lowest on a tie.
pub fn predictions(scores: &[f32], n_classes: usize) -> Vec<usize> {
    scores
        .chunks_exact(n_classes)
        .map(|row| {
            row.iter()
                .enumerate()
                .fold(0, |best, (i, v)| if *v > row[best] { i } else { best })
        })
        .collect()
}

/// How many rows have their greatest score at their label.
pub fn n_correct(scores: &[f32], labels: &[u16], n_classes: usize) -> usize {
    predictions(scores, n_classes)
        .iter()
        .zip(labels)
        .filter(|(p, l)| **p == usize::from(**l))
        .count()
}

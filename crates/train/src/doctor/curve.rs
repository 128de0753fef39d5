//! Facts about a stage's log: the gap to validation, whether the loss still falls, whether signs have settled.

use serde::Serialize;

use crate::outcome::EpochRecord;

/// The course of one stage.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CurveFacts {
    /// Epochs in the log.
    pub epochs: usize,
    /// Training loss of the last epoch.
    pub loss: f64,
    /// Accuracy on the last epoch's training batches, as they were trained on.
    pub train_accuracy: f64,
    /// Accuracy on the validation examples after the last epoch; `None` without any.
    pub val_accuracy: Option<f64>,
    /// Training accuracy less validation accuracy at the end.
    pub gap: Option<f64>,
    /// The first epoch with the best validation accuracy, from 1.
    pub best_epoch: Option<usize>,
    /// That accuracy.
    pub best_accuracy: Option<f64>,
    /// By which share the mean loss of the last tenth of the epochs is below that of the tenth before; `None`
    /// below four epochs.
    pub loss_fall: Option<f64>,
    /// Share of weights that changed sign, per step of the last epoch.
    pub flip_ratio: f64,
    /// The greatest such share of any epoch.
    pub most_flips: f64,
    /// Share of starved weights after the last epoch.
    pub starved: f64,
}

/// The facts of a stage's log; `None` if it is empty. `validated` says whether there are validation examples.
pub fn curve_facts(history: &[&EpochRecord], validated: bool) -> Option<CurveFacts> {
    let last = history.last()?;
    let best =
        history
            .iter()
            .filter(|_| validated)
            .fold(None, |best: Option<&EpochRecord>, record| match best {
                Some(best) if best.val_accuracy >= record.val_accuracy => Some(best),
                _ => Some(record),
            });
    let val_accuracy = validated.then_some(last.val_accuracy);
    Some(CurveFacts {
        epochs: history.len(),
        loss: last.loss,
        train_accuracy: last.train_accuracy,
        val_accuracy,
        gap: val_accuracy.map(|val| last.train_accuracy - val),
        best_epoch: best.map(|record| record.epoch),
        best_accuracy: best.map(|record| record.val_accuracy),
        loss_fall: loss_fall(history),
        flip_ratio: last.flip_ratio,
        most_flips: history
            .iter()
            .fold(0.0, |most, record| record.flip_ratio.max(most)),
        starved: last.starved,
    })
}

fn loss_fall(history: &[&EpochRecord]) -> Option<f64> {
    const LEAST_EPOCHS: usize = 4;
    let n = history.len();
    if n < LEAST_EPOCHS {
        return None;
    }
    let tenth = n.div_ceil(10);
    let sum = |records: &[&EpochRecord]| records.iter().map(|record| record.loss).sum::<f64>();
    let before = sum(&history[n - 2 * tenth..n - tenth]);
    let after = sum(&history[n - tenth..]);
    (before > 0.0).then(|| 1.0 - after / before)
}

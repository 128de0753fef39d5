//! Progress of long work: bars on a terminal, plain lines off it, both on stderr.
//!
//! In: what training, comparing and downloading report. Out: what a person who waits wants to know.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use onebit_train::fit::{EpochRecord, Event};
use onebit_train::recipe::{Recipe, StageKind};

use crate::output::note;
use crate::table::percent;

/// A bar over `n` examples; nothing off a terminal.
pub fn examples_bar(n: usize, what: &'static str) -> ProgressBar {
    bar(n as u64, "{prefix} [{bar:30}] {pos}/{len} ETA {eta}", what)
}

/// A bar over bytes; nothing off a terminal.
pub fn bytes_bar(n: u64, what: &str) -> ProgressBar {
    bar(
        n,
        "{prefix} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} ETA {eta}",
        what,
    )
}

fn bar(n: u64, template: &str, prefix: &str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template(template).expect("a template of this file is well formed");
    let bar = ProgressBar::new(n)
        .with_style(style.progress_chars("=> "))
        .with_prefix(prefix.to_string());
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

/// Whether each epoch is worth a line off a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// A line for each epoch.
    Epochs,
    /// A line for each stage.
    Stages,
}

/// Shows a training run.
pub struct Training {
    n_stages: usize,
    has_validation: bool,
    detail: Detail,
    is_terminal: bool,
    bar: ProgressBar,
    title: String,
    epochs: usize,
    steps: usize,
    began: bool,
    last: String,
}

impl Training {
    /// For a recipe.
    pub fn new(recipe: &Recipe, detail: Detail) -> Training {
        Training {
            n_stages: recipe.stages.len(),
            has_validation: recipe.validation > 0,
            detail,
            is_terminal: io::stderr().is_terminal(),
            bar: ProgressBar::hidden(),
            title: String::new(),
            epochs: 0,
            steps: 0,
            began: false,
            last: String::new(),
        }
    }

    /// Takes one event of training.
    pub fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Phase {
                kind,
                phase,
                epochs,
                steps,
            } => self.phase(*kind, *phase, *epochs, *steps),
            Event::Step { epoch, step, loss } => self.step(*epoch, *step, *loss),
            Event::Epoch(record) => self.epoch(record),
            Event::Note(text) => note(text),
            Event::Testing => {}
        }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn phase(&mut self, kind: StageKind, phase: usize, epochs: usize, steps: usize) {
        self.bar.finish_and_clear();
        self.title = title(kind, phase, self.n_stages);
        (self.epochs, self.steps, self.began) = (epochs, steps, false);
        self.last.clear();
        let template = "{prefix} [{bar:20}] {percent:>3} % ETA {eta}  {msg}";
        self.bar = bar((epochs * steps) as u64, template, &self.title);
    }

    fn step(&mut self, epoch: usize, step: usize, loss: f32) {
        if !self.is_terminal {
            return;
        }
        self.bar
            .set_position(((epoch - 1) * self.steps + step) as u64);
        if !std::mem::replace(&mut self.began, true) {
            // A resumed stage begins in the middle.
            self.bar.reset_eta();
        }
        let message = format!("epoch {epoch}/{}  loss {loss:.4}{}", self.epochs, self.last);
        self.bar.set_message(message);
    }

    fn epoch(&mut self, record: &EpochRecord) {
        self.last = format!("  train {}", percent(record.train_accuracy));
        if self.has_validation {
            self.last
                .push_str(&format!("  validation {}", percent(record.val_accuracy)));
        }
        if record.kind != StageKind::Float {
            let (flips, starved) = (100.0 * record.flip_ratio, 100.0 * record.starved);
            self.last
                .push_str(&format!("  flips {flips:.3} %  starved {starved:.1} %"));
        }
        let is_last = record.epoch == self.epochs;
        let is_due = is_last || self.detail == Detail::Epochs;
        if is_last && self.is_terminal {
            self.bar.finish_and_clear();
        }
        if is_due && (is_last || !self.is_terminal) {
            note(format!(
                "{}  epoch {}/{}  loss {:.4}{}  {:.2} s",
                self.title, record.epoch, self.epochs, record.loss, self.last, record.seconds
            ));
        }
    }
}

/// What a phase is called: `stage 1/2 compress`, `float twin`.
pub fn title(kind: StageKind, phase: usize, n_stages: usize) -> String {
    match kind {
        StageKind::Float => "float twin".into(),
        _ => format!("stage {}/{n_stages} {}", phase + 1, kind_name(kind)),
    }
}

/// A kind as recipes write it.
pub fn kind_name(kind: StageKind) -> &'static str {
    match kind {
        StageKind::Compress => "compress",
        StageKind::Real => "real",
        StageKind::BinaryActivations => "binary activations",
        StageKind::Bitwise => "bitwise",
        StageKind::Float => "float",
    }
}

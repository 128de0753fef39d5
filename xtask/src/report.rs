//! What ran, what was skipped, what failed: one [`Tally`] a step, one [`Report`] a run.
//!
//! The report ends with the line `N passed, N failed, N skipped`, alone, for programs that read
//! it. Under [`Scope::All`] a skip is a failure.

use std::fmt;
use std::time::Duration;

use crate::Scope;

/// The counts of one step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Tests, or checks, that held.
    pub n_passed: usize,
    /// Tests, or checks, that did not.
    pub n_failed: usize,
    /// One line for each failure.
    pub failures: Vec<String>,
    /// One line for each thing that did not run: why, and how to get it.
    pub skips: Vec<String>,
}

impl Tally {
    /// One check that held.
    pub fn pass() -> Tally {
        Tally {
            n_passed: 1,
            ..Tally::default()
        }
    }

    /// One check that failed.
    pub fn failure(message: impl Into<String>) -> Tally {
        Tally {
            n_failed: 1,
            failures: vec![message.into()],
            ..Tally::default()
        }
    }

    /// One thing that did not run.
    pub fn skip(reason: impl Into<String>) -> Tally {
        Tally {
            skips: vec![reason.into()],
            ..Tally::default()
        }
    }

    /// Adds another step's counts to this one's.
    pub fn add(&mut self, other: Tally) {
        self.n_passed += other.n_passed;
        self.n_failed += other.n_failed;
        self.failures.extend(other.failures);
        self.skips.extend(other.skips);
    }
}

/// The counts of a run, step by step.
#[derive(Debug)]
pub struct Report {
    scope: Scope,
    steps: Vec<(&'static str, Tally, Duration)>,
}

impl Report {
    /// An empty report for a run of this scope.
    pub fn new(scope: Scope) -> Report {
        Report {
            scope,
            steps: Vec::new(),
        }
    }

    /// Takes a finished step.
    pub fn add(&mut self, name: &'static str, tally: Tally, took: Duration) {
        self.steps.push((name, tally, took));
    }

    /// Whether the run is good: no failure and, when everything has to run, no skip.
    pub fn is_good(&self) -> bool {
        let total = self.total();
        total.n_failed == 0 && (self.scope == Scope::Hermetic || total.skips.is_empty())
    }

    fn total(&self) -> Tally {
        let mut total = Tally::default();
        self.steps
            .iter()
            .for_each(|(_, tally, _)| total.add(tally.clone()));
        total
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.total();
        writeln!(
            f,
            "\n{:<10} {:>7} {:>7} {:>8} {:>9}",
            "step", "passed", "failed", "skipped", "time"
        )?;
        for (name, tally, took) in &self.steps {
            let (n_passed, n_failed, n_skipped) =
                (tally.n_passed, tally.n_failed, tally.skips.len());
            let seconds = took.as_secs_f64();
            writeln!(
                f,
                "{name:<10} {n_passed:>7} {n_failed:>7} {n_skipped:>8} {seconds:>7.1} s"
            )?;
        }
        for reason in &total.skips {
            writeln!(f, "skipped: {reason}")?;
        }
        for failure in &total.failures {
            writeln!(f, "FAILED: {failure}")?;
        }
        if self.scope == Scope::All && !total.skips.is_empty() {
            writeln!(f, "--all skips nothing, so each skip above is a failure")?;
        }
        let n_skipped = total.skips.len();
        writeln!(
            f,
            "{} passed, {} failed, {n_skipped} skipped",
            total.n_passed, total.n_failed
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report_of(scope: Scope, tallies: Vec<Tally>) -> Report {
        let mut report = Report::new(scope);
        tallies
            .into_iter()
            .for_each(|tally| report.add("step", tally, Duration::ZERO));
        report
    }

    #[test]
    fn the_last_line_is_the_sum() {
        let tallies = vec![
            Tally::pass(),
            Tally::pass(),
            Tally::failure("x"),
            Tally::skip("y"),
        ];
        let text = report_of(Scope::Hermetic, tallies).to_string();
        assert_eq!(text.lines().last(), Some("2 passed, 1 failed, 1 skipped"));
        assert!(text.contains("skipped: y\n") && text.contains("FAILED: x\n"));
    }

    #[test]
    fn a_skip_is_a_failure_only_when_everything_has_to_run() {
        let tallies = || vec![Tally::pass(), Tally::skip("no tool")];
        assert!(report_of(Scope::Hermetic, tallies()).is_good());
        assert!(!report_of(Scope::All, tallies()).is_good());
        assert!(!report_of(Scope::Hermetic, vec![Tally::failure("x")]).is_good());
    }
}

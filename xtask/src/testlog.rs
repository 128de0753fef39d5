//! What `cargo test -- --show-output` prints, read line by line.
//!
//! In: the lines of standard output. Out: a [`Tally`] over all test binaries, and for each line
//! whether a person needs to see it. A test that cannot run prints a line that starts with
//! `skipped: ` and returns; the harness counts it as passed, this module counts it as skipped.

use crate::report::Tally;

const SKIP_MARK: &str = "skipped: ";

/// The start of a line of the agreement tests that says which random Programs they compared.
const SEEDS_MARK: &str = "seeds ";

/// The end of a line about a test that must panic, on a machine where a panic ends the program.
const NO_UNWINDING_MARK: &str = " - should panic ... ignored";

/// Whether a line goes on to the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// Part of the run's story.
    Yes,
    /// Output of a test that passed.
    No,
}

/// The reader's state between two lines.
#[derive(Debug, Default)]
pub struct TestLog {
    tally: Tally,
    in_output_of_passed: bool,
    test_name: String,
    n_skipped_in_binary: usize,
    n_without_unwinding: usize,
}

impl TestLog {
    /// Takes the next line.
    pub fn read(&mut self, line: &str) -> Show {
        if line == "successes:" {
            self.in_output_of_passed = true;
        } else if line == "failures:" {
            self.in_output_of_passed = false;
        } else if let Some(counts) = line.strip_prefix("test result: ") {
            self.in_output_of_passed = false;
            self.add_counts(counts);
        } else if self.in_output_of_passed {
            self.read_output_of_passed(line);
        } else if let Some(name) = failed_test(line) {
            self.tally.failures.push(name.to_owned());
        } else if line.starts_with("test ") && line.ends_with(NO_UNWINDING_MARK) {
            self.n_without_unwinding += 1;
        }
        if self.in_output_of_passed && !line.starts_with(SEEDS_MARK) {
            Show::No
        } else {
            Show::Yes
        }
    }

    /// The sum over all lines read.
    pub fn into_tally(self) -> Tally {
        self.tally
    }

    fn read_output_of_passed(&mut self, line: &str) {
        if let Some(name) = output_header(line) {
            name.clone_into(&mut self.test_name);
        } else if let Some(reason) = line.strip_prefix(SKIP_MARK) {
            self.tally
                .skips
                .push(format!("{}: {reason}", self.test_name));
            self.n_skipped_in_binary += 1;
        }
    }

    /// `counts` reads `ok. 3 passed; 1 failed; 0 ignored; ...`.
    fn add_counts(&mut self, counts: &str) {
        let n_skipped = std::mem::take(&mut self.n_skipped_in_binary);
        self.tally.n_passed += count_of(counts, "passed").saturating_sub(n_skipped);
        let n_named = self.tally.failures.len();
        self.tally.n_failed += count_of(counts, "failed");
        for _ in n_named..self.tally.n_failed {
            self.tally
                .failures
                .push("a test whose name was not printed".to_owned());
        }
        // The harness itself leaves these out, and nothing that could be installed changes it.
        let n_without_unwinding = std::mem::take(&mut self.n_without_unwinding);
        for _ in n_without_unwinding..count_of(counts, "ignored") {
            self.tally
                .skips
                .push("a test marked #[ignore], or a doc example so".to_owned());
        }
    }
}

/// The number before `word`.
fn count_of(counts: &str, word: &str) -> usize {
    let words: Vec<&str> = counts
        .split([' ', ';'])
        .filter(|part| !part.is_empty())
        .collect();
    let number = words
        .windows(2)
        .find(|pair| pair[1] == word)
        .map(|pair| pair[0]);
    number.and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn failed_test(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?.strip_suffix(" ... FAILED")
}

fn output_header(line: &str) -> Option<&str> {
    line.strip_prefix("---- ")?.strip_suffix(" stdout ----")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_BINARIES: &str = "\
running 2 tests
test packs ... ok
test needs_data ... ok

successes:

---- needs_data stdout ----
skipped: set ONEBIT_SHARED to the shared folder
test packs ... FAILED

---- packs stdout ----
seeds 0..1000 on neon

successes:
    needs_data
    packs

test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 1 filtered out; finished in 0.01s

running 3 tests
test one ... ok
test two ... FAILED
test three ... ignored

failures:

---- two stdout ----
boom

failures:
    two

test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    fn read_all(text: &str) -> (Tally, Vec<&str>) {
        let mut log = TestLog::default();
        let shown = text
            .lines()
            .filter(|line| log.read(line) == Show::Yes)
            .collect();
        (log.into_tally(), shown)
    }

    #[test]
    fn counts_are_summed_over_binaries() {
        let (tally, _) = read_all(TWO_BINARIES);
        assert_eq!(
            (tally.n_passed, tally.n_failed, tally.skips.len()),
            (2, 1, 2)
        );
        assert_eq!(tally.failures, ["two"]);
    }

    #[test]
    fn a_skip_carries_its_test_and_reason() {
        let (tally, _) = read_all(TWO_BINARIES);
        assert_eq!(
            tally.skips[0],
            "needs_data: set ONEBIT_SHARED to the shared folder"
        );
    }

    #[test]
    fn output_of_passed_tests_is_hidden_and_of_failed_ones_shown() {
        let (_, shown) = read_all(TWO_BINARIES);
        assert!(shown.contains(&"boom") && shown.contains(&"test needs_data ... ok"));
        assert!(!shown.iter().any(|line| line.starts_with("skipped: ")));
    }

    #[test]
    fn the_seeds_of_a_passed_test_are_shown() {
        let (_, shown) = read_all(TWO_BINARIES);
        assert!(shown.contains(&"seeds 0..1000 on neon"));
    }

    #[test]
    fn a_test_that_cannot_panic_is_no_skip() {
        let (tally, _) = read_all(
            "test refuses - should panic ... ignored\ntest slow ... ignored\n\
             test result: ok. 0 passed; 0 failed; 2 ignored; 0 measured\n",
        );
        assert_eq!(tally.skips.len(), 1);
    }

    #[test]
    fn a_line_cut_short_counts_nothing() {
        let (tally, _) = read_all("test result: ok. many passed; failed\ntest result: \n");
        assert_eq!(tally, Tally::default());
    }
}

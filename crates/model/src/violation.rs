//! The list of violated invariants that `verify` and `check_net` hand back.
//!
//! Each entry says where and what; a check collects all of them, so that a person mends a
//! Program once and not one error at a time.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// One violated invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The node or layer by name and index, or the part of the whole, such as `input`.
    pub location: String,
    /// What is wrong and what would be right.
    pub message: String,
}

/// Every invariant that a Program or Net violates; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyErrors {
    /// In the order of the structure.
    pub violations: Vec<Violation>,
}

impl fmt::Display for VerifyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.violations.len();
        write!(f, "{n} invariant{} violated", if n == 1 { "" } else { "s" })?;
        for Violation { location, message } in &self.violations {
            write!(f, "\n  {location}: {message}")?;
        }
        Ok(())
    }
}

impl core::error::Error for VerifyErrors {}

/// Collects violations while a check walks its subject.
#[derive(Default)]
pub(crate) struct Findings {
    violations: Vec<Violation>,
}

impl Findings {
    pub(crate) fn add(&mut self, location: &str, message: impl Into<String>) {
        let (location, message) = (String::from(location), message.into());
        self.violations.push(Violation { location, message });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.violations.is_empty()
    }

    /// `Ok(value)` if nothing was found.
    pub(crate) fn finish<T>(self, value: T) -> Result<T, VerifyErrors> {
        if self.violations.is_empty() {
            Ok(value)
        } else {
            Err(VerifyErrors {
                violations: self.violations,
            })
        }
    }
}

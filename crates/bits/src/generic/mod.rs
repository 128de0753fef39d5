//! The algorithms, each written once over the traits of [`crate::vector`] and [`crate::lanes`].
//!
//! Everything here is `unsafe` and `#[inline(always)]`: it is only compiled as a part of the
//! `#[target_feature]` wrappers in `arch`. No closures are used, because a closure does not
//! inherit the wrapper's instructions.

// Blocks of registers are indexed by constants, which iterators would hide from the reader.
#![allow(clippy::needless_range_loop)]

pub(crate) mod codes;
pub(crate) mod conv;
pub(crate) mod count;
pub(crate) mod finish;
pub(crate) mod peak;
pub(crate) mod pixels;
pub(crate) mod signs;
pub(crate) mod sinks;
pub(crate) mod sliced;
pub(crate) mod ternary;
pub(crate) mod train;

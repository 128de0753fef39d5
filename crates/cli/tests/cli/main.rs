//! Tests of whole invocations: the real binary, temporary folders, the embedded digits.
//!
//! Expected texts lie in `tests/expected`; `BLESS=1` rewrites them. One test binary, so that it is linked once.

mod bad_input;
mod bench;
mod common;
mod demo;
mod doctor;
mod emit;
mod help;
mod import;
mod models;
mod path;
mod shared;
mod stop;
mod train_errors;

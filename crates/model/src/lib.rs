//! Net, Program, verifier, text form, interpreter and the `.bnn` file.
//!
//! Owns what a network *is*: the [`net`] that training writes, the [`program`] that everything
//! else reads, what both mean to the bit, and their files as bytes in memory. It does no input or
//! output, holds no `unsafe`, and without its `std` feature needs only `alloc` (the Net's
//! evaluation and file need `std`). Speed is the business of `run`, lowering that of `compile`.
#![forbid(unsafe_code)]
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

pub mod bnn;
pub mod builder;
#[cfg(feature = "std")]
pub mod check_net;
mod checks;
mod container;
#[cfg(feature = "std")]
pub mod evaluate;
pub mod interpreter;
pub mod limits;
pub mod net;
#[cfg(feature = "std")]
pub mod netfile;
pub mod outline;
mod packed;
pub mod program;
pub mod scalar;
mod scan;
pub mod tensor;
pub mod text;
pub mod verify;
mod violation;
pub mod weights;

#[cfg(feature = "std")]
pub use check_net::check_net;
pub use checks::is_name;
#[cfg(feature = "std")]
pub use evaluate::{Evaluation, Evaluator, evaluate};
pub use interpreter::{interpret, interpret_all};
#[cfg(feature = "std")]
pub use netfile::{net_from_bytes, net_to_bytes};
pub use tensor::Tensor;
pub use verify::{IntRange, ProgramTypes, verify};
pub use violation::{VerifyErrors, Violation};

//! Net, Program, verifier, text form, interpreter and the `.bnn` file.
#![forbid(unsafe_code)]
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

pub mod net;
pub mod program;
pub mod weights;

//! WebAssembly tiers.
//!
//! A module is valid or not as a whole, so the tier is chosen when the module is built.

pub(crate) mod lanes128;
pub(crate) mod simd128;

//! Kernels on packed bits: the only room of the project with `unsafe` code.
//!
//! Owns the SIMD kernels that training and the engine share, and [`Isa`], which picks among them.
//! Slices of words and numbers come in, slices of words and numbers go out; every kernel checks the
//! lengths it relies on. Leaves networks, layers, threads and memory plans to the crates above.
//!
//! A packed row of `n` bits is `n_words(n)` words of 64 bits: bit `i` of word `w` is element
//! `64 * w + i`, least significant first, and bits past the end are zero. A bit of 1 means +1 and
//! a bit of 0 means -1.

#![no_std]

extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

mod aligned;
mod arch;
pub mod chain;
pub mod conv;
pub mod dense;
mod dispatch;
mod float_taps;
mod float_unit;
// Other machines have only the scalar twins, and leave most of the algorithms unused.
#[cfg_attr(
    not(any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        all(target_arch = "wasm32", target_feature = "simd128")
    )),
    allow(dead_code)
)]
mod generic;
mod geometry;
mod isa;
mod kernels;
mod lanes;
pub mod memory;
mod panels;
pub mod peak;
pub mod sliced;
pub mod train;
pub mod train_conv;
#[cfg_attr(
    not(any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        all(target_arch = "wasm32", target_feature = "simd128")
    )),
    allow(dead_code)
)]
mod vector;

pub use aligned::AlignedWords;
pub use isa::{Isa, IsaError, Tier};
pub use kernels::{KERNELS, Kernel};

/// Words in a packed row of `n_bits` bits.
pub const fn n_words(n_bits: usize) -> usize {
    n_bits.div_ceil(64)
}

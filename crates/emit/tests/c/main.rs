//! The emitter for C: what its files compute is the interpreter's answer, bit for bit.
//!
//! Random Programs, the zoo, this machine's compilers with and without sanitisers, and emulated machines.

mod agreement;
mod host;
mod targets;
mod text;
#[path = "../tools/mod.rs"]
mod tools;
mod zoo;

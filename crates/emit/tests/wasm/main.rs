//! The emitter for WebAssembly: what its modules compute is the interpreter's answer, bit for bit.
//!
//! Random Programs and the zoo in Node.js, with and without vectors, through the loader that is written beside them;
//! and the playground in Chromium.

mod agreement;
mod host;
mod playground;
mod text;
#[path = "../tools/mod.rs"]
mod tools;
mod zoo;

//! Emitted Verilog in simulators and through synthesis, against the interpreter.

mod folded;
mod nets;
mod simulators;
#[path = "../tools/mod.rs"]
mod tools;
mod unrolled;

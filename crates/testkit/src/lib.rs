//! Random valid Programs and inputs, and the agreement oracle over all engines.
//!
//! Seeds come in and well-formed Programs, Nets, inputs or the first disagreement between engines
//! go out. The same seed gives the same thing on every machine. Used by tests only.
#![forbid(unsafe_code)]

mod agreement;
mod nets;
mod programs;
mod random;

pub use agreement::{
    Disagreement, Engine, Interpreter, agreement, conv_agreement, first_disagreement,
};
pub use nets::{random_dense_net, random_graph_net, random_net};
pub use programs::{random_conv_program, random_input, random_program, random_tensor};
pub use random::Random;

//! The only room with Burn: recipes, layers, estimators, optimizers, fit, export.
//!
//! In: a [`recipe::Recipe`] and a data set. Out: a trained `Net`, its history, and a run folder that
//! a stopped run resumes from. Lowering is `onebit-compile`'s, drawing is the command line's.
//!
//! [`fit::fit`] is the whole training. Who writes a loop of their own takes [`fit::network_graph`], [`encode::Feeder`],
//! [`network::Network`] and [`export::export`] instead; `examples/own_loop.rs` does.
#![forbid(unsafe_code)]

pub mod binarize;
pub mod checkpoint;
pub mod device;
pub mod doctor;
pub mod encode;
mod evaluate;
pub mod export;
pub mod fit;
pub mod graph;
pub mod loss;
pub mod mode;
pub mod network;
pub mod ops;
pub mod optim;
mod outcome;
pub mod recipe;
pub mod simd;

/// The Burn whose tensors this crate takes and gives. A loop of your own uses this one: tensors of another version are
/// other types.
pub use burn;

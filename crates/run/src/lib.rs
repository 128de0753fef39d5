//! From a Program to answers on this machine.
//!
//! Owns the [`Plan`], a verified Program with its weights repacked and a kernel chosen for every
//! layer, and the [`Session`], a Plan with the memory and threads to run it. A Program and
//! [`PlanOptions`] come in; batches of inputs come in and batches of scores go out. Leaves the
//! meaning of ops to `onebit_model`, whose interpreter every Plan equals to the bit, and the
//! kernels to `onebit_bits`.
//!
//! ```
//! # fn demo(program: &onebit_model::program::Program, pixels: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
//! use onebit_run::{InputBatch, OutputBatch, Plan, PlanOptions};
//!
//! let plan = Plan::new(program, &PlanOptions::default())?;
//! let mut session = plan.session()?;
//! let mut scores = vec![0; pixels.len() / 784 * 10];
//! session.run(InputBatch::Levels(pixels), OutputBatch::Int(&mut scores))?;
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod batch;
pub mod bench;
mod chains;
mod conv;
mod dense;
mod error;
mod execute;
mod form;
mod kernels;
mod layout;
mod lower;
mod memory;
mod operands;
pub mod peak;
mod plain;
mod plan;
mod pool;
mod session;
mod step;
mod values;
mod workspace;

pub use batch::{InputBatch, OutputBatch};
pub use error::{PlanError, RunError};
pub use onebit_bits::{Isa, IsaError, Tier};
pub use plan::{LayerInfo, MAX_THREADS, Plan, PlanOptions};
pub use session::Session;

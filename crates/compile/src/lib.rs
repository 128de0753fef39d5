//! Net to Program, and the passes over Programs.
//!
//! A trained [`Net`] comes in and a verified [`Program`] that computes the same, bit for bit, goes
//! out. [`lower`](lower::lower) does the translation; each pass then makes the Program smaller or
//! simpler without changing one output. Files and machines are left to others.
//!
//! The passes, in the order in which they run:
//!
//! | pass | what it does | by default |
//! |---|---|---|
//! | [`pool_after_threshold`](passes::pool_after_threshold) | pools bits or codes instead of the numbers before their comparison | on |
//! | [`fold_thresholds`](passes::fold_thresholds) | compares integers where real ops stood before a threshold | on |
//! | [`dead_nodes`](passes::dead_nodes) | removes nodes that do not reach the answer | on |
//! | [`direction`](passes::direction) | negates weight rows so that no threshold is flipped | on |
//! | [`constant_channels`](passes::constant_channels) | folds hidden channels that never change into the next bias | off |
//!
//! `pool_after_threshold` runs again after `fold_thresholds`, which can bring a threshold next to a pool.
#![forbid(unsafe_code)]

mod bounds;
mod counterparts;
mod fold;
mod lower;
pub mod passes;
mod reach;

use onebit_model::net::Net;
use onebit_model::program::Program;
use onebit_model::{VerifyErrors, verify};
use thiserror::Error;

pub use counterparts::counterparts;
pub use fold::{Folded, canonical, fold_monotone};
pub use lower::{LowerError, lower};
pub use passes::ChannelMap;
pub use reach::{Elements, Reach};

/// Which passes run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Pool bits instead of the numbers before their threshold.
    pub pool_after_threshold: bool,
    /// Compare integers where real ops stood before a threshold.
    pub fold_thresholds: bool,
    /// Remove nodes that do not reach the answer.
    pub dead_nodes: bool,
    /// Negate weight rows so that no threshold is flipped.
    pub direction: bool,
    /// Remove hidden channels that never change. Layers then have fewer channels than in the Net;
    /// [`optimize_with_map`] says which are left.
    pub constant_channels: bool,
}

impl Default for Options {
    /// The passes that keep every layer's channels as they are in the Net.
    fn default() -> Self {
        Options {
            pool_after_threshold: true,
            fold_thresholds: true,
            dead_nodes: true,
            direction: true,
            constant_channels: false,
        }
    }
}

/// Why there is no Program.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CompileError {
    /// The Net cannot be lowered.
    #[error(transparent)]
    Lower(#[from] LowerError),
    /// The Program handed to `optimize` is malformed.
    #[error("the Program cannot be optimized because it is malformed: {0}")]
    Malformed(VerifyErrors),
    /// A pass has spoiled the Program, which is a fault of onebit.
    #[error("pass {pass} has made a malformed Program, please report it: {errors}")]
    Pass {
        /// The pass.
        pass: &'static str,
        /// What is wrong with the result.
        errors: VerifyErrors,
    },
}

/// Lowers a Net and runs the passes.
pub fn compile(net: &Net, options: &Options) -> Result<Program, CompileError> {
    optimize(lower(net)?, options)
}

/// Runs the passes over a Program, verifying it before the first and after each.
pub fn optimize(program: Program, options: &Options) -> Result<Program, CompileError> {
    Ok(optimize_with_map(program, options)?.0)
}

/// As [`optimize`]; also says which channels of which nodes are left.
pub fn optimize_with_map(
    program: Program,
    options: &Options,
) -> Result<(Program, ChannelMap), CompileError> {
    verify(&program).map_err(CompileError::Malformed)?;
    let mut program = program;
    let mut map = ChannelMap::default();
    if options.pool_after_threshold {
        program = passes::pool_after_threshold(program);
        verify_after("pool_after_threshold", &program)?;
    }
    if options.fold_thresholds {
        program = passes::fold_thresholds(program);
        verify_after("fold_thresholds", &program)?;
        if options.pool_after_threshold {
            program = passes::pool_after_threshold(program);
            verify_after("pool_after_threshold", &program)?;
        }
    }
    if options.dead_nodes {
        program = passes::dead_nodes(program);
        verify_after("dead_nodes", &program)?;
    }
    if options.direction {
        program = passes::direction(program);
        verify_after("direction", &program)?;
    }
    if options.constant_channels {
        (program, map) = passes::constant_channels_with_map(program);
        verify_after("constant_channels", &program)?;
    }
    Ok((program, map))
}

fn verify_after(pass: &'static str, program: &Program) -> Result<(), CompileError> {
    match verify(program) {
        Ok(_) => Ok(()),
        Err(errors) => Err(CompileError::Pass { pass, errors }),
    }
}

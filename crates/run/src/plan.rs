//! The Plan: a verified Program lowered to steps for one instruction set.

use std::sync::Arc;

use onebit_bits::Isa;
use onebit_model::program::{Program, Type, ValueId};
use onebit_model::{ProgramTypes, verify};

use crate::error::PlanError;
use crate::session::Session;
use crate::step::{Action, Step, When, lower};

/// Images that pass through the steps together. Larger batches are cut into tiles, so that the
/// values between layers stay in the second-level cache and the memory of a session is fixed.
pub(crate) const TILE: usize = 256;

/// Most threads of a session.
pub(crate) const MAX_THREADS: usize = 1024;

/// How a Plan is made.
#[derive(Clone, Copy, Debug)]
pub struct PlanOptions {
    /// The instruction set of every kernel.
    pub isa: Isa,
    /// Threads of a session, the caller's included.
    pub threads: usize,
}

impl Default for PlanOptions {
    /// The best instruction set of this CPU, and the caller's thread only.
    fn default() -> Self {
        PlanOptions {
            isa: Isa::best(),
            threads: 1,
        }
    }
}

/// A Program made ready for this machine; cheap to clone and to share between threads.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) shared: Arc<PlanParts>,
}

/// What a Plan holds.
#[derive(Debug)]
pub(crate) struct PlanParts {
    pub options: PlanOptions,
    pub types: ProgramTypes,
    pub output: ValueId,
    pub steps: Vec<Step>,
}

/// What a Plan does for one layer.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LayerInfo {
    /// Name of the node; of both nodes, joined by `+`, when two are fused.
    pub name: String,
    /// Name of the kernel or loop.
    pub kernel: &'static str,
    /// Products of single bits for one image.
    pub bit_macs: u64,
    /// Bytes of repacked weights that a batch reads.
    pub weight_bytes: usize,
}

impl Plan {
    /// Verifies a Program, repacks its weights and chooses its kernels.
    pub fn new(program: &Program, options: &PlanOptions) -> Result<Plan, PlanError> {
        if options.threads == 0 || options.threads > MAX_THREADS {
            return Err(PlanError::Threads {
                threads: options.threads,
                max: MAX_THREADS,
            });
        }
        let types = verify(program)?;
        let steps = lower(program, &types, options.isa);
        let parts = PlanParts {
            options: *options,
            types,
            output: program.output,
            steps,
        };
        Ok(Plan {
            shared: Arc::new(parts),
        })
    }

    /// Memory and threads to run the Plan.
    pub fn session(&self) -> Result<Session, PlanError> {
        Session::new(self.clone())
    }

    /// The options it was made with.
    pub fn options(&self) -> &PlanOptions {
        &self.shared.options
    }

    /// The type of an input image.
    pub fn input_type(&self) -> &Type {
        self.shared.types.of(ValueId(0))
    }

    /// The type of an answer.
    pub fn output_type(&self) -> &Type {
        self.shared.types.of(self.shared.output)
    }

    /// What is done for every layer when `batch` images are run at once, in order.
    pub fn layers(&self, batch: usize) -> Vec<LayerInfo> {
        let tile = tile_size(batch, self.shared.options.threads);
        self.shared
            .always_steps()
            .map(|step| step.info(tile))
            .collect()
    }
}

impl PlanParts {
    /// The steps of an ordinary run.
    pub(crate) fn always_steps(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|step| step.when == When::Always)
    }
}

impl Step {
    /// What the step does for a tile of `m` images.
    fn info(&self, m: usize) -> LayerInfo {
        let (kernel, bit_macs, weight_bytes) = match &self.action {
            Action::Scores(layer) | Action::Compared(layer) => {
                (layer.kernel(m), layer.bit_macs(), layer.n_bytes(m))
            }
            Action::CodeThreshold(_) => ("threshold_codes", 0, 0),
            Action::Threshold { .. } => ("threshold", 0, 0),
            Action::Quantize(_) => ("quantize", 0, 0),
            Action::Planes(_) => ("code_planes", 0, 0),
            Action::Affine { .. } => ("affine", 0, 0),
            Action::Concat => ("concat", 0, 0),
            Action::Argmax => ("argmax", 0, 0),
        };
        LayerInfo {
            name: self.name.clone(),
            kernel,
            bit_macs,
            weight_bytes,
        }
    }
}

/// Images in a tile: as few tiles as give every thread the same number of nearly equal ones.
pub(crate) fn tile_size(batch: usize, threads: usize) -> usize {
    let rounds = batch.div_ceil(threads * TILE).max(1);
    batch.div_ceil(threads * rounds).max(1)
}

#[cfg(test)]
mod tests {
    use super::tile_size;

    #[test]
    fn tiles_are_even_and_bounded() {
        assert_eq!(tile_size(1, 2), 1);
        assert_eq!(tile_size(256, 2), 128);
        assert_eq!(tile_size(1024, 2), 256);
        assert_eq!(tile_size(10_000, 1), 250);
        assert_eq!(tile_size(0, 1), 1);
    }
}

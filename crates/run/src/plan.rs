//! The Plan: a verified Program lowered to steps for one instruction set.

use std::sync::Arc;

use onebit_bits::Isa;
use onebit_model::program::{Kind, Program, Type, ValueId};
use onebit_model::{ProgramTypes, verify};

use crate::error::PlanError;
use crate::layout::Layout;
use crate::lower::lower;
use crate::memory::{MemoryPlan, layouts};
use crate::session::Session;
use crate::step::{Action, Move, Step, When};
use crate::workspace::conv_layer;

/// Most threads of a session.
pub const MAX_THREADS: usize = 1024;

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
    // How each value is stored.
    pub layouts: Vec<Layout>,
    // Where values are in an ordinary run.
    pub memory: MemoryPlan,
    // Images that pass through the steps together. Larger batches are cut into tiles, so that the
    // values between layers stay near the core and the memory of a session is fixed.
    pub tile: usize,
}

/// What a Plan does for one layer.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LayerInfo {
    /// Name of the node; of all nodes, joined by `+`, where several are fused.
    pub name: String,
    /// Name of the kernel or loop.
    pub kernel: &'static str,
    /// Products of single bits for one image.
    pub bit_macs: u64,
    /// Other products, of codes or floats, for one image.
    pub macs: u64,
    /// Bytes of repacked weights that a batch reads.
    pub weight_bytes: usize,
    /// Bytes of operands and results that one image reads and writes.
    pub value_bytes: usize,
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
        let all_types: Vec<Type> = (0..types.n_values())
            .map(|id| types.of(ValueId(id)).clone())
            .collect();
        let mut parts = PlanParts {
            options: *options,
            layouts: layouts(&all_types, &steps),
            types,
            output: program.output,
            steps,
            memory: MemoryPlan::default(),
            tile: 1,
        };
        parts.memory = MemoryPlan::new(&parts, When::Always);
        parts.tile = parts.memory.tile();
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
        let tile = tile_size(batch, self.shared.options.threads, self.shared.tile);
        self.shared
            .always_steps()
            .map(|step| step.info(&self.shared, tile))
            .collect()
    }
}

/// A value's type and layout.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored<'a> {
    pub ty: &'a Type,
    pub layout: Layout,
}

impl PlanParts {
    /// How a value is stored.
    pub(crate) fn stored(&self, id: ValueId) -> Stored<'_> {
        Stored {
            ty: self.types.of(id),
            layout: self.layouts[id.0],
        }
    }

    /// The steps of an ordinary run.
    pub(crate) fn always_steps(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|step| step.when == When::Always)
    }
}

impl Step {
    /// What the step does for a tile of `m` images.
    fn info(&self, plan: &PlanParts, m: usize) -> LayerInfo {
        let (bit_macs, macs, weight_bytes) = match (&self.action, conv_layer(self)) {
            (Action::Scores(layer) | Action::Compared(layer), _) => {
                (layer.bit_macs(), 0, layer.n_bytes(m))
            }
            (_, Some(layer)) if layer.is_binary => (layer.macs, 0, layer.n_bytes()),
            (_, Some(layer)) => (0, layer.macs, layer.n_bytes()),
            (Action::PlainConv(conv), None) => {
                let n = plan.types.of(self.outputs[0]).n_elements();
                (0, (n * conv.weights.n_cols()) as u64, 0)
            }
            _ => (0, 0, 0),
        };
        let bytes = |id: &ValueId| value_bytes(plan.types.of(*id));
        LayerInfo {
            name: self.name.clone(),
            kernel: self.kernel(plan, m),
            bit_macs,
            macs,
            weight_bytes,
            value_bytes: self.inputs.iter().chain(&self.outputs).map(bytes).sum(),
        }
    }

    /// The name of the kernel or loop.
    fn kernel(&self, plan: &PlanParts, m: usize) -> &'static str {
        match &self.action {
            Action::Scores(layer) | Action::Compared(layer) => layer.kernel(m),
            Action::ConvInts(layer) | Action::ConvBits(layer, _) | Action::ConvChain(layer, _) => {
                layer.kernel_name()
            }
            Action::Chain(_) => "chain",
            Action::PlainConv(_) => "conv_plain",
            Action::CodeThreshold(_) => "threshold_codes",
            Action::Threshold { .. } => "threshold",
            Action::Quantize(..) => "quantize",
            Action::Table(_) => "table",
            Action::Planes(_) => "code_planes",
            Action::Concat => "concat",
            Action::Move(Move::ConcatChannels) => "concat_channels",
            Action::Move(Move::Slice(_)) => "slice",
            Action::Move(Move::Reshape) => "reshape",
            Action::Move(Move::Transpose(_)) => "transpose",
            Action::MaxPool(_) if plan.types.of(self.inputs[0]).kind == Kind::Bits => {
                "max_pool_bits"
            }
            Action::MaxPool(_) => "max_pool_plain",
            Action::AvgPool(..) => "avg_pool_plain",
            Action::ReluInts => "relu_ints",
            Action::AddInts => "add_ints",
            Action::GroupNorm(_) => "group_norm",
            Action::Softmax => "softmax",
            Action::Argmax => "argmax",
        }
    }
}

/// Bytes of one image's value, bits packed.
fn value_bytes(ty: &Type) -> usize {
    match ty.kind {
        Kind::Bits => ty.n_elements().div_ceil(8),
        Kind::Levels(_) => ty.n_elements(),
        Kind::Int | Kind::Real => 4 * ty.n_elements(),
    }
}

/// Images in a tile: as few tiles as give every thread the same number of nearly equal ones.
pub(crate) fn tile_size(batch: usize, threads: usize, max: usize) -> usize {
    let rounds = batch.div_ceil(threads * max).max(1);
    batch.div_ceil(threads * rounds).max(1)
}

#[cfg(test)]
mod tests {
    use super::tile_size;

    #[test]
    fn tiles_are_even_and_bounded() {
        assert_eq!(tile_size(1, 2, 256), 1);
        assert_eq!(tile_size(256, 2, 256), 128);
        assert_eq!(tile_size(1024, 2, 256), 256);
        assert_eq!(tile_size(10_000, 1, 256), 250);
        assert_eq!(tile_size(0, 1, 256), 1);
    }
}

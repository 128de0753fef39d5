//! The Session: a Plan with its memory and threads, ready for batches.

use onebit_model::Tensor;
use onebit_model::program::ValueId;

use crate::batch::{InputBatch, OutputBatch};
use crate::error::{PlanError, RunError};
use crate::memory::MemoryPlan;
use crate::plan::{Plan, tile_size};
use crate::pool::Pool;
use crate::step::When;
use crate::workspace::Workspace;

/// A Plan with memory and threads.
///
/// All memory is allocated when the session is made, for tiles of as many images as stay near the core; a batch of
/// any size runs in it without allocating.
#[derive(Debug)]
pub struct Session {
    plan: Plan,
    workspace: Workspace,
    // One worker per thread beyond the caller's.
    pool: Pool,
}

impl Session {
    pub(crate) fn new(plan: Plan) -> Result<Self, PlanError> {
        let parts = &plan.shared;
        let workspace = Workspace::new(parts, &parts.memory, parts.tile, When::Always);
        let pool = Pool::new(&plan, plan.options().threads - 1)?;
        Ok(Session {
            plan,
            workspace,
            pool,
        })
    }

    /// The Plan that the session runs.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Computes the answers of a batch.
    pub fn run(
        &mut self,
        input: InputBatch<'_>,
        mut output: OutputBatch<'_>,
    ) -> Result<(), RunError> {
        let n_images = input.check(self.plan.input_type())?;
        output.check(self.plan.output_type(), n_images)?;
        let tile = tile_size(n_images, self.plan.options().threads, self.plan.shared.tile);
        if n_images <= tile {
            if n_images > 0 {
                self.run_tile(&input, 0..n_images, &mut output);
            }
            return Ok(());
        }
        let parts = self.plan.clone().shared;
        let (n_in, n_out) = (parts.stored(ValueId(0)), parts.stored(parts.output));
        let mut next = 0;
        let mut take = || {
            let images = next..n_images.min(next + tile);
            next = images.end;
            (!images.is_empty()).then_some(images)
        };
        loop {
            // The workers are fed before this thread takes a tile, so that they compute beside it,
            // and once more after, so that they find another when they are done.
            self.pool
                .feed(&input, n_in, n_out, &mut take, &mut output)?;
            let own = take().or_else(|| self.pool.reclaim());
            self.pool
                .feed(&input, n_in, n_out, &mut take, &mut output)?;
            match own {
                Some(images) => self.run_tile(&input, images, &mut output),
                None => return self.pool.finish(n_out, &mut output),
            }
        }
    }

    /// Runs at most a tile of images on this thread.
    fn run_tile(
        &mut self,
        input: &InputBatch<'_>,
        images: std::ops::Range<usize>,
        output: &mut OutputBatch<'_>,
    ) {
        let parts = &self.plan.shared;
        let m = images.len();
        input.load(
            parts.stored(ValueId(0)),
            images.clone(),
            self.workspace.input_mut(),
        );
        self.workspace.execute(parts, m, When::Always);
        output.store(
            parts.stored(parts.output),
            images,
            self.workspace.value(parts.output),
        );
    }

    /// Every value of every image, `[image][value]`: the input, then one value per node.
    ///
    /// For checking layers against the interpreter: it runs the same steps and kernels as
    /// [`Session::run`] on one thread, and besides them the sums that `run` fuses away and the nodes
    /// that the answer does not need. It allocates as it goes.
    pub fn run_layers(&mut self, input: InputBatch<'_>) -> Result<Vec<Vec<Tensor>>, RunError> {
        let n_images = input.check(self.plan.input_type())?;
        let parts = &self.plan.shared;
        let memory = MemoryPlan::new(parts, When::Layers);
        let tile = memory.tile().min(n_images.max(1));
        let mut workspace = Workspace::new(parts, &memory, tile, When::Layers);
        let mut layers = Vec::with_capacity(n_images);
        for first in (0..n_images).step_by(tile) {
            let images = first..n_images.min(first + tile);
            let m = images.len();
            input.load(parts.stored(ValueId(0)), images, workspace.input_mut());
            workspace.execute(parts, m, When::Layers);
            for image in 0..m {
                let value = |id: ValueId| {
                    let layout = parts.layouts[id.0];
                    workspace
                        .value(id)
                        .tensor(parts.types.of(id), layout, image)
                };
                layers.push(
                    (0..parts.types.n_values())
                        .map(|id| value(ValueId(id)))
                        .collect(),
                );
            }
        }
        Ok(layers)
    }
}

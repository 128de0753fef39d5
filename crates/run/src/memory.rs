//! The memory plan: which buffer holds which value, and when it is free again.
//!
//! Owns the lifetimes of values over the steps of a run. Buffers are shared by values of one kind that are
//! never needed at the same time, and a sum may lie where its operand was.

use onebit_model::program::{Kind, Type, ValueId};

use crate::layout::Layout;
use crate::plan::PlanParts;
use crate::step::{Action, Step, When};
use crate::values::{Values, image_len};

/// Bytes that the values of a tile should stay under, so that they are near the core: half a second-level cache.
const TILE_BYTES: usize = 512 << 10;

/// Images that pass through the steps together, at most.
pub(crate) const TILE: usize = 256;

/// Where values are.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryPlan {
    /// The buffer of each value; `None` where no step of the run makes it.
    pub slot_of: Vec<Option<usize>>,
    /// Kind of each buffer, and elements (words, for bits) of one image.
    pub slots: Vec<(Kind, usize)>,
    /// The operand of each step's chain that lies where the result goes.
    pub held: Vec<Option<usize>>,
}

/// Bytes of an element, or a word.
fn element_bytes(kind: Kind) -> usize {
    match kind {
        Kind::Bits => 8,
        Kind::Levels(_) => 1,
        Kind::Int | Kind::Real => 4,
    }
}

impl MemoryPlan {
    /// Plans the memory of the steps due at `when`. For layers, every value keeps a buffer of its own.
    pub(crate) fn new(plan: &PlanParts, when: When) -> Self {
        let n_values = plan.types.n_values();
        let steps = &plan.steps;
        let is_due = |step: &Step| when == When::Layers || step.when == When::Always;
        // The last step that reads each value; what the caller reads is never free.
        let mut last_read = vec![None; n_values];
        for (idx, step) in steps.iter().enumerate().filter(|(_, step)| is_due(step)) {
            for input in &step.inputs {
                last_read[input.0] = Some(idx);
            }
        }
        let is_kept = |value: usize| when == When::Layers || value == 0 || value == plan.output.0;
        let mut planned = MemoryPlan {
            slot_of: vec![None; n_values],
            slots: Vec::new(),
            held: vec![None; steps.len()],
        };
        let mut free: Vec<usize> = Vec::new();
        planned.slot_of[0] = Some(planned.open(plan, ValueId(0), &mut free));
        for (idx, step) in steps.iter().enumerate().filter(|(_, step)| is_due(step)) {
            let dies = |value: ValueId| last_read[value.0] == Some(idx) && !is_kept(value.0);
            let mut outputs = step.outputs.iter().copied();
            let mut taken = None;
            if let Action::Chain(chain) | Action::ConvChain(_, chain) = &step.action
                && chain.stores_reals
                && let Some((source, operands)) = step.inputs.split_first()
                && let Some(held) = operands.iter().position(|x| x != source && dies(*x))
                && let Some(output) = outputs.next()
            {
                planned.slot_of[output.0] = planned.slot_of[operands[held].0];
                planned.held[idx] = Some(held);
                taken = Some(operands[held]);
            }
            for output in outputs {
                planned.slot_of[output.0] = Some(planned.open(plan, output, &mut free));
            }
            let mut dead: Vec<ValueId> = step
                .inputs
                .iter()
                .copied()
                .filter(|&value| dies(value))
                .collect();
            dead.sort();
            dead.dedup();
            free.extend(
                dead.into_iter()
                    .filter(|&value| Some(value) != taken)
                    .filter_map(|value| planned.slot_of[value.0]),
            );
            // A value that nobody reads is free at once.
            let unread = step
                .outputs
                .iter()
                .filter(|output| last_read[output.0].is_none() && !is_kept(output.0));
            free.extend(unread.filter_map(|output| planned.slot_of[output.0]));
        }
        planned
    }

    /// A buffer for a value: the free one of its kind whose size is nearest, or a new one.
    fn open(&mut self, plan: &PlanParts, value: ValueId, free: &mut Vec<usize>) -> usize {
        let ty = plan.types.of(value);
        let len = image_len(ty, plan.layouts[value.0]);
        let fits = |&&slot: &&usize| same_store(self.slots[slot].0, ty.kind);
        let best = free
            .iter()
            .filter(fits)
            .min_by_key(|&&slot| self.slots[slot].1.abs_diff(len));
        match best.copied() {
            Some(slot) => {
                free.retain(|&other| other != slot);
                self.slots[slot].1 = self.slots[slot].1.max(len);
                slot
            }
            None => {
                self.slots.push((ty.kind, len));
                self.slots.len() - 1
            }
        }
    }

    /// Bytes of one image's values.
    pub(crate) fn image_bytes(&self) -> usize {
        self.slots
            .iter()
            .map(|&(kind, len)| len * element_bytes(kind))
            .sum()
    }

    /// Images that pass through the steps together: as many as stay near the core.
    pub(crate) fn tile(&self) -> usize {
        (TILE_BYTES / self.image_bytes().max(1)).clamp(1, TILE)
    }

    /// A buffer like that of a value.
    pub(crate) fn buffer_of(&self, value: ValueId, tile: usize) -> Values {
        let slot = self.slot_of[value.0].expect("memory: the input and the answer have buffers");
        let (kind, len) = self.slots[slot];
        Values::with_len(kind, len * tile)
    }

    /// Buffers for `tile` images.
    pub(crate) fn buffers(&self, tile: usize) -> Vec<Values> {
        self.slots
            .iter()
            .map(|&(kind, len)| Values::with_len(kind, len * tile))
            .collect()
    }
}

/// Whether values of two kinds can share a buffer.
fn same_store(a: Kind, b: Kind) -> bool {
    matches!((a, b), (Kind::Levels(_), Kind::Levels(_))) || a == b
}

/// The layout that each value is stored in.
pub(crate) fn layouts(types: &[Type], steps: &[Step]) -> Vec<Layout> {
    use crate::conv::Form;
    use crate::layout::pixel_layout;
    let mut layouts: Vec<Layout> = types.iter().map(pixel_layout).collect();
    layouts[0] = Layout::Flat;
    for step in steps {
        match &step.action {
            Action::CodeThreshold(_) | Action::Compared(_) | Action::Planes(_) | Action::Concat => {
                layouts[step.outputs[0].0] = Layout::Flat;
            }
            Action::ConvInts(layer) | Action::ConvBits(layer, _) | Action::ConvChain(layer, _)
                if layer.form == Form::Bits && step.inputs[0] == ValueId(0) =>
            {
                layouts[0] = pixel_layout(&types[0]);
            }
            _ => {}
        }
    }
    layouts
}

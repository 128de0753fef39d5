//! A step's operands in memory.

use onebit_model::program::Type;

use crate::form::Elements;
use crate::layout::{Layout, bit_words, unpack};
use crate::memory::MemoryPlan;
use crate::plan::PlanParts;
use crate::step::Step;
use crate::values::Values;

/// A step with its operands.
#[derive(Clone, Copy)]
pub(crate) struct Operands<'a> {
    pub plan: &'a PlanParts,
    pub step: &'a Step,
    pub memory: &'a MemoryPlan,
    pub buffers: &'a [Values],
}

impl<'a> Operands<'a> {
    pub(crate) fn ty(&self, idx: usize) -> &'a Type {
        self.plan.types.of(self.step.inputs[idx])
    }

    pub(crate) fn layout(&self, idx: usize) -> Layout {
        self.plan.layouts[self.step.inputs[idx].0]
    }

    pub(crate) fn values(&self, idx: usize) -> &'a Values {
        let value = self.step.inputs[idx];
        &self.buffers[self.memory.slot_of[value.0].expect("memory: operands have buffers")]
    }

    /// The first output's type and layout.
    pub(crate) fn out(&self) -> (&'a Type, Layout) {
        let output = self.step.outputs[0];
        (self.plan.types.of(output), self.plan.layouts[output.0])
    }

    /// One image's bits of an operand.
    pub(crate) fn bits(&self, idx: usize, image: usize) -> &'a [u64] {
        let n = bit_words(self.ty(idx), self.layout(idx));
        &self.values(idx).bits()[image * n..(image + 1) * n]
    }

    /// One image of an operand that is no bits.
    pub(crate) fn range(&self, idx: usize, image: usize) -> std::ops::Range<usize> {
        let n = self.ty(idx).n_elements();
        image * n..(image + 1) * n
    }
}

/// One image of the first operand, whatever its kind; bits are unpacked into `bytes`.
pub(crate) fn input<'a>(ops: &Operands<'a>, image: usize, bytes: &'a mut [u8]) -> Elements<'a> {
    match ops.values(0) {
        Values::Bits(_) => {
            let n = ops.ty(0).n_elements();
            unpack(
                ops.ty(0),
                ops.layout(0),
                ops.bits(0, image),
                &mut bytes[..n],
            );
            Elements::Bits(&bytes[..n])
        }
        Values::Codes(x) => Elements::Codes(&x[ops.range(0, image)]),
        Values::Ints(x) => Elements::Ints(&x[ops.range(0, image)]),
        Values::Reals(x) => Elements::Reals(&x[ops.range(0, image)]),
    }
}

//! The memory of one thread and the execution of steps in it.
//!
//! Everything is allocated once for the largest tile; executing allocates nothing.

use onebit_bits::conv::CODE_SLACK;
use onebit_bits::sliced::SlicedScratch;
use onebit_bits::{AlignedWords, n_words};
use onebit_model::program::{Kind, ValueId};

use crate::conv::ConvLayer;
use crate::execute::execute;
use crate::form;
use crate::layout::{Layout, bit_words};
use crate::memory::MemoryPlan;
use crate::operands::Operands;
use crate::plan::PlanParts;
use crate::step::{Action, Step, When};
use crate::values::Values;

/// Operands of one chain, at most, and the value it begins with.
pub(crate) const MAX_OPERANDS: usize = 4;

/// One thread's buffers.
#[derive(Debug)]
pub(crate) struct Workspace {
    memory: MemoryPlan,
    buffers: Vec<Values>,
    scratch: Scratch,
}

/// Copies of operands in the form that kernels read.
#[derive(Debug)]
pub(crate) struct Scratch {
    // `[image][plane][word]` of the dense layer being computed, where its operand is codes.
    pub planes: AlignedWords,
    pub sliced: SlicedScratch,
    // One image's bits in another layout, or a tile's for dense layers.
    pub words: AlignedWords,
    pub codes: Vec<u8>,
    pub reals: Vec<f32>,
    pub ints: Vec<i32>,
    // Elements of one image's bits as bytes: operands, then the result.
    pub bytes: Vec<u8>,
}

impl Workspace {
    /// Buffers for tiles of up to `tile` images and the steps executed at `when`.
    pub(crate) fn new(plan: &PlanParts, memory: &MemoryPlan, tile: usize, when: When) -> Self {
        let due = || plan.steps.iter().filter(move |step| is_due(step, when));
        let layers = due().filter_map(|step| match &step.action {
            Action::Compared(layer) => layer.sliced(),
            _ => None,
        });
        let mut scratch = Scratch {
            planes: AlignedWords::zeros(0),
            sliced: SlicedScratch::new(layers, tile),
            words: AlignedWords::zeros(0),
            codes: Vec::new(),
            reals: Vec::new(),
            ints: Vec::new(),
            bytes: Vec::new(),
        };
        let (mut planes, mut words) = (0, 0);
        for step in due() {
            let ty = plan.types.of(step.inputs[0]);
            let n = ty.n_elements();
            if let Action::Scores(layer) | Action::Compared(layer) = &step.action {
                planes = planes.max(layer.plane_words() * tile);
                words = words.max(n_words(n) * tile);
            }
            if let Action::Planes(n_planes) = &step.action {
                planes = planes.max(n_planes * n_words(n) * tile);
            }
            let (mut elements, mut bytes) = (n, 0);
            if let Some(layer) = conv_layer(step) {
                elements = layer.bordered().iter().product::<usize>() * layer.size[2];
                words = words.max(bit_words(ty, Layout::Pixels));
            }
            for value in step.inputs.iter().chain(&step.outputs) {
                let ty = plan.types.of(*value);
                bytes += if ty.kind == Kind::Bits {
                    ty.n_elements()
                } else {
                    0
                };
                words = words.max(if ty.kind == Kind::Bits {
                    bit_words(ty, Layout::Pixels).max(n_words(ty.n_elements()))
                } else {
                    0
                });
            }
            grow(&mut scratch.bytes, bytes);
            let needs = form::needs(step, ty);
            grow(
                &mut scratch.codes,
                if needs.codes {
                    elements + CODE_SLACK
                } else {
                    0
                },
            );
            grow(&mut scratch.reals, if needs.reals { elements } else { 0 });
            grow(&mut scratch.ints, if needs.ints { n } else { 0 });
        }
        scratch.planes = AlignedWords::zeros(planes);
        scratch.words = AlignedWords::zeros(words);
        Workspace {
            memory: memory.clone(),
            buffers: memory.buffers(tile),
            scratch,
        }
    }

    /// The input's buffer.
    pub(crate) fn input_mut(&mut self) -> &mut Values {
        &mut self.buffers[0]
    }

    /// The buffer of a value that was computed.
    pub(crate) fn value(&self, id: ValueId) -> &Values {
        &self.buffers[self.slot(id)]
    }

    /// As [`Workspace::value`], to exchange it.
    pub(crate) fn value_mut(&mut self, id: ValueId) -> &mut Values {
        let slot = self.slot(id);
        &mut self.buffers[slot]
    }

    fn slot(&self, id: ValueId) -> usize {
        self.memory.slot_of[id.0].expect("memory: every value of a run has a buffer")
    }

    /// Executes the steps due at `when` on the first `m` images of the input's buffer.
    pub(crate) fn execute(&mut self, plan: &PlanParts, m: usize, when: When) {
        for (idx, step) in plan.steps.iter().enumerate() {
            if is_due(step, when) {
                self.execute_step(plan, idx, step, m);
            }
        }
    }

    /// Executes one step on the first `m` images.
    pub(crate) fn execute_step(&mut self, plan: &PlanParts, idx: usize, step: &Step, m: usize) {
        let held = self.memory.held[idx];
        let mut outputs: [Values; 2] = [Values::default(), Values::default()];
        for (output, taken) in step.outputs.iter().zip(&mut outputs) {
            let slot = self.slot(*output);
            *taken = std::mem::take(&mut self.buffers[slot]);
        }
        let operands = Operands {
            plan,
            step,
            memory: &self.memory,
            buffers: &self.buffers,
        };
        execute(&operands, &mut self.scratch, &mut outputs, m, held);
        for (output, taken) in step.outputs.iter().zip(&mut outputs) {
            let slot = self.slot(*output);
            self.buffers[slot] = std::mem::take(taken);
        }
    }
}

/// Lengthens a buffer to at least `len`.
fn grow<T: Clone + Default>(buffer: &mut Vec<T>, len: usize) {
    if buffer.len() < len {
        buffer.resize(len, T::default());
    }
}

/// The convolution that a step is.
pub(crate) fn conv_layer(step: &Step) -> Option<&ConvLayer> {
    match &step.action {
        Action::ConvInts(layer) | Action::ConvBits(layer, _) | Action::ConvChain(layer, _) => {
            Some(layer)
        }
        _ => None,
    }
}

/// Whether a step belongs to a run.
pub(crate) fn is_due(step: &Step, when: When) -> bool {
    when == When::Layers || step.when == When::Always
}

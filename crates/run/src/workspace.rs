//! The memory of one thread and the execution of steps in it.
//!
//! Everything is allocated once for the largest tile; executing allocates nothing.

use onebit_bits::dense::{code_planes, threshold_codes};
use onebit_bits::sliced::SlicedScratch;
use onebit_bits::{AlignedWords, Isa, n_words};
use onebit_model::program::ValueId;

use crate::dense::DenseLayer;
use crate::ops;
use crate::plan::PlanParts;
use crate::step::{Action, Step, When};
use crate::values::Values;

/// One thread's buffers.
#[derive(Debug)]
pub(crate) struct Workspace {
    // Indexed by value; values that no executed step writes are empty.
    values: Vec<Values>,
    // `[image][plane][word]` of the dense layer being computed, where its operand is codes.
    planes: AlignedWords,
    sliced: SlicedScratch,
}

impl Workspace {
    /// Buffers for tiles of up to `tile` images and the steps executed at `when`.
    pub(crate) fn new(plan: &PlanParts, tile: usize, when: When) -> Self {
        let mut values: Vec<Values> = (0..plan.types.n_values())
            .map(|_| Values::Ints(Vec::new()))
            .collect();
        values[0] = Values::new(plan.types.of(ValueId(0)), tile);
        let mut plane_words = 0;
        for step in plan.steps.iter().filter(|step| is_due(step, when)) {
            values[step.output.0] = Values::new(plan.types.of(step.output), tile);
            if let Action::Scores(layer) | Action::Compared(layer) = &step.action {
                plane_words = plane_words.max(layer.plane_words());
            } else if let Action::Planes(n_planes) = &step.action {
                let n = plan.types.of(step.inputs[0]).n_elements();
                plane_words = plane_words.max(n_planes * n_words(n));
            }
        }
        let layers = plan.steps.iter().filter_map(|step| match &step.action {
            Action::Compared(layer) => layer.sliced(),
            _ => None,
        });
        Workspace {
            values,
            planes: AlignedWords::zeros(plane_words * tile),
            sliced: SlicedScratch::new(layers, tile),
        }
    }

    /// The input's buffer.
    pub(crate) fn input_mut(&mut self) -> &mut Values {
        &mut self.values[0]
    }

    /// The buffer of a value that was computed.
    pub(crate) fn value(&self, id: ValueId) -> &Values {
        &self.values[id.0]
    }

    /// As [`Workspace::value`], to exchange it.
    pub(crate) fn value_mut(&mut self, id: ValueId) -> &mut Values {
        &mut self.values[id.0]
    }

    /// Executes the steps due at `when` on the first `m` images of the input's buffer.
    pub(crate) fn execute(&mut self, plan: &PlanParts, m: usize, when: When) {
        for step in plan.steps.iter().filter(|step| is_due(step, when)) {
            self.execute_step(plan, step, m);
        }
    }

    /// Executes one step on the first `m` images.
    pub(crate) fn execute_step(&mut self, plan: &PlanParts, step: &Step, m: usize) {
        let isa = plan.options.isa;
        let n_in = plan.types.of(step.inputs[0]).n_elements();
        let n_out = plan.types.of(step.output).n_elements();
        let (before, after) = self.values.split_at_mut(step.output.0);
        let (x, out) = (&before[step.inputs[0].0], &mut after[0]);
        match &step.action {
            Action::Scores(layer) => {
                let x = operand(isa, layer, x, n_in, m, &mut self.planes);
                layer.scores(isa, x, &mut out.ints_mut()[..m * n_out]);
            }
            Action::Compared(layer) => {
                let x = operand(isa, layer, x, n_in, m, &mut self.planes);
                let out = &mut out.bits_mut()[..m * n_words(n_out)];
                layer.bits(isa, x, m, &mut self.sliced, out);
            }
            Action::CodeThreshold(thresholds) => {
                let out = &mut out.bits_mut()[..m * n_words(n_out)];
                threshold_codes(isa, &x.codes()[..m * n_in], thresholds, out);
            }
            Action::Threshold { at, flip } => ops::threshold(x, at, flip, n_in, m, out.bits_mut()),
            Action::Quantize(cuts) => ops::quantize(x, cuts, m * n_in, out.codes_mut()),
            Action::Planes(n_planes) => {
                let planes = &mut self.planes[..m * n_planes * n_words(n_in)];
                code_planes(isa, &x.codes()[..m * n_in], n_in, *n_planes, planes);
                join_planes(planes, n_in, *n_planes, out.bits_mut());
            }
            Action::Affine { scale, shift } => {
                ops::affine(x.ints(), scale, shift, m * n_in, out.reals_mut());
            }
            Action::Concat => {
                let sizes = step.inputs.iter().map(|&id| plan.types.of(id).n_elements());
                concat(
                    before,
                    step.inputs.iter().copied().zip(sizes),
                    n_out,
                    m,
                    out.bits_mut(),
                );
            }
            Action::Argmax => ops::argmax(x, n_in, m, out.ints_mut()),
        }
    }
}

/// Whether a step belongs to a run.
fn is_due(step: &Step, when: When) -> bool {
    when == When::Layers || step.when == When::Always
}

/// The operand of a dense layer as bits: itself, or the bit planes of its codes.
fn operand<'a>(
    isa: Isa,
    layer: &DenseLayer,
    x: &'a Values,
    n: usize,
    m: usize,
    planes: &'a mut AlignedWords,
) -> &'a [u64] {
    match x {
        Values::Codes(codes) => {
            let planes = &mut planes[..m * layer.plane_words()];
            code_planes(isa, &codes[..m * n], n, layer.n_planes(), planes);
            planes
        }
        _ => &x.bits()[..m * n_words(n)],
    }
}

/// Joins `[image][plane][n_words(n)]` to `[image]` rows of `n_planes * n` bits.
fn join_planes(planes: &[u64], n: usize, n_planes: usize, out: &mut [u64]) {
    let images = planes.chunks_exact(n_planes * n_words(n));
    for (planes, out) in images.zip(out.chunks_exact_mut(n_words(n_planes * n))) {
        out.fill(0);
        for (plane, words) in planes.chunks_exact(n_words(n)).enumerate() {
            ops::append_bits(out, plane * n, words, n);
        }
    }
}

/// Joins the operands' bits, image by image.
fn concat(
    values: &[Values],
    operands: impl Iterator<Item = (ValueId, usize)>,
    n_out: usize,
    m: usize,
    out: &mut [u64],
) {
    let words = n_words(n_out);
    out[..m * words].fill(0);
    let mut at = 0;
    for (id, n) in operands {
        let from = values[id.0].bits().chunks_exact(n_words(n));
        for (from, out) in from.zip(out[..m * words].chunks_exact_mut(words)) {
            ops::append_bits(out, at, from, n);
        }
        at += n;
    }
}

//! The memory plan: which nodes are computed, what is fused, and where every value lies.
//!
//! A value is in the caller's input, in the caller's output or in one arena. Arena slots are given from the largest
//! buffer to the smallest, each at the lowest offset that no buffer alive at the same time has.

use onebit_model::ProgramTypes;
use onebit_model::program::{Conv2d, Kind, Op, Program, ValueId};

use super::kernels::Form;
use super::{Values, products};
use crate::loops::{Location, WordBits};

/// Where a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nowhere: nobody reads it, or it is fused into its reader.
    Nowhere,
    /// What the caller hands in.
    Input,
    /// What the caller gets.
    Output,
    /// This byte offset of the arena, a multiple of 8.
    Arena(usize),
}

/// What is computed where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// By node: whether the answer needs it.
    pub(super) is_needed: Vec<bool>,
    /// By node: for a product, the threshold computed with it.
    pub(super) threshold_of: Vec<Option<usize>>,
    /// By value.
    pub(super) places: Vec<Place>,
    /// By node: the window's patch of a convolution.
    pub(super) patches: Vec<Option<usize>>,
    /// Whether value 0 is a copy whose bits past the last are 0.
    pub(super) cleans_input: bool,
    /// Bytes of the arena.
    pub(super) arena_bytes: usize,
}

/// A buffer of the arena and the steps at which it is alive, both included.
struct Buffer {
    bytes: usize,
    from: usize,
    to: usize,
    goes_to: Goes,
}

impl Plan {
    /// By value: where it can be read after a run; nowhere unless values are kept.
    pub(super) fn locations(&self, values: Values) -> Vec<Option<Location>> {
        let location = |place: &Place| match place {
            _ if values == Values::Reused => None,
            Place::Nowhere => None,
            Place::Input => Some(Location::Input),
            Place::Output => Some(Location::Output),
            Place::Arena(offset) => Some(Location::Arena(*offset)),
        };
        self.places.iter().map(location).collect()
    }
}

enum Goes {
    Value(usize),
    Patch(usize),
}

/// Plans a verified Program. Step `i + 1` is node `i`, step 0 the input's.
pub(super) fn plan(
    program: &Program,
    types: &ProgramTypes,
    word: WordBits,
    values: Values,
) -> Plan {
    let n_values = types.n_values();
    let is_needed = needed(program);
    let readers = readers(program, &is_needed);
    let threshold_of = match values {
        Values::Reused => fuse(program, &is_needed, &readers),
        Values::Kept => vec![None; program.nodes.len()],
    };
    let root = roots(program);
    let mut defined: Vec<usize> = (0..n_values).collect();
    for (product, threshold) in threshold_of.iter().enumerate() {
        if let Some(threshold) = threshold {
            defined[threshold + 1] = product + 1;
        }
    }
    let mut last_read = defined.clone();
    for value in 0..n_values {
        for reader in &readers[value] {
            let step = defined[reader + 1].min(reader + 1);
            last_read[root[value]] = last_read[root[value]].max(step);
        }
    }
    let output = root[program.output.0];
    let input = types.of(ValueId(0));
    let n_input = input.n_elements();
    let cleans_input = input.kind == Kind::Bits && !n_input.is_multiple_of(word.bits() as usize);
    let mut places = vec![Place::Nowhere; n_values];
    let mut buffers = Vec::new();
    for value in 0..n_values {
        let is_fused = value > 0 && threshold_of[value - 1].is_some();
        let is_computed = value == 0 || is_needed[value - 1];
        if root[value] != value || is_fused || !is_computed {
            continue;
        }
        if value == 0 && !cleans_input {
            places[0] = Place::Input;
        } else if value == output && value > 0 {
            places[value] = Place::Output;
        } else {
            let ty = types.of(ValueId(value));
            buffers.push(Buffer {
                bytes: Form::of(ty.kind).n_bytes(ty.n_elements(), word),
                from: defined[value],
                to: if value == output || values == Values::Kept {
                    n_values
                } else {
                    last_read[value]
                },
                goes_to: Goes::Value(value),
            });
        }
    }
    for (idx, node) in program.nodes.iter().enumerate() {
        if let (Op::Conv2d(conv), true) = (&node.op, is_needed[idx])
            && let Some(bytes) = patch_bytes(conv, types.of(node.inputs[0]).kind, word)
        {
            buffers.push(Buffer {
                bytes,
                from: idx + 1,
                to: idx + 1,
                goes_to: Goes::Patch(idx),
            });
        }
    }
    let mut patches = vec![None; program.nodes.len()];
    let arena_bytes = allocate(buffers, |goes_to, offset| match goes_to {
        Goes::Value(value) => places[value] = Place::Arena(offset),
        Goes::Patch(node) => patches[node] = Some(offset),
    });
    for value in 0..n_values {
        places[value] = places[root[value]];
    }
    Plan {
        is_needed,
        threshold_of,
        places,
        patches,
        cleans_input,
        arena_bytes,
    }
}

/// By value: the value whose elements it has, unless itself.
fn roots(program: &Program) -> Vec<usize> {
    let mut root: Vec<usize> = (0..=program.nodes.len()).collect();
    for (idx, node) in program.nodes.iter().enumerate() {
        if matches!(node.op, Op::Reshape { .. }) {
            root[idx + 1] = root[node.inputs[0].0];
        }
    }
    root
}

fn needed(program: &Program) -> Vec<bool> {
    let mut is_needed = vec![false; program.nodes.len()];
    if program.output.0 > 0 {
        is_needed[program.output.0 - 1] = true;
    }
    for (idx, node) in program.nodes.iter().enumerate().rev() {
        if is_needed[idx] {
            for id in node.inputs.iter().filter(|id| id.0 > 0) {
                is_needed[id.0 - 1] = true;
            }
        }
    }
    is_needed
}

/// By value: the needed nodes that read it.
fn readers(program: &Program, is_needed: &[bool]) -> Vec<Vec<usize>> {
    let mut readers = vec![Vec::new(); program.nodes.len() + 1];
    for (idx, node) in program.nodes.iter().enumerate() {
        if is_needed[idx] {
            for id in &node.inputs {
                readers[id.0].push(idx);
            }
        }
    }
    readers
}

/// A product whose only reader is a threshold needs no sums in memory.
fn fuse(program: &Program, is_needed: &[bool], readers: &[Vec<usize>]) -> Vec<Option<usize>> {
    let fused = |(idx, node): (usize, &onebit_model::program::Node)| {
        let is_product = matches!(node.op, Op::Dense { .. } | Op::Conv2d(_));
        let [reader] = readers[idx + 1].as_slice() else {
            return None;
        };
        let is_threshold = matches!(program.nodes[*reader].op, Op::Threshold(_));
        let is_answer = program.output.0 == idx + 1;
        (is_product && is_needed[idx] && is_threshold && !is_answer).then_some(*reader)
    };
    program.nodes.iter().enumerate().map(fused).collect()
}

fn patch_bytes(conv: &Conv2d, kind: Kind, word: WordBits) -> Option<usize> {
    let form = products::patch_form(conv, kind);
    let is_read_in_place = products::reads_in_place(conv, kind, word);
    (!is_read_in_place).then(|| form.n_bytes(conv.weights.n_cols(), word))
}

/// Gives every buffer its offset; the bytes of all together.
fn allocate(mut buffers: Vec<Buffer>, mut give: impl FnMut(Goes, usize)) -> usize {
    buffers.sort_by_key(|buffer| std::cmp::Reverse(buffer.bytes));
    let mut given: Vec<(usize, usize, usize, usize)> = Vec::new();
    let mut arena_bytes = 0;
    for buffer in buffers {
        let bytes = buffer.bytes.next_multiple_of(8);
        let mut alive: Vec<(usize, usize)> = given
            .iter()
            .filter(|(_, _, from, to)| *from <= buffer.to && buffer.from <= *to)
            .map(|(start, end, _, _)| (*start, *end))
            .collect();
        alive.sort_unstable();
        let mut offset = 0;
        for (start, end) in alive {
            if offset + bytes <= start {
                break;
            }
            offset = offset.max(end);
        }
        given.push((offset, offset + bytes, buffer.from, buffer.to));
        arena_bytes = arena_bytes.max(offset + bytes);
        give(buffer.goes_to, offset);
    }
    arena_bytes
}

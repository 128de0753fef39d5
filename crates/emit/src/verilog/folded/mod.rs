//! The folded style: one machine per layer, joined by streams, with the weights in ROM.
//!
//! A Program and a number of cycles come in; modules, a top module with AXI streams and a report go out. Every layer
//! holds the rows it still needs in a ring whose size follows from its window, so there is nothing to tune and
//! nothing that can fill up: a value that is joined with a later one is kept whole for as many images as the other one
//! takes to arrive.

mod cost;
mod count;
mod design;
mod joins;
mod layers;
mod lookup;
mod pointwise;
mod product;
mod stream;
mod top;
mod whole;
mod window;

use onebit_model::Tensor;

pub(super) use design::{Memory, Stage};

use super::Folded;
use super::graph::Graph;
use crate::Emitted;

/// The files and the report.
pub(super) fn emit(
    graph: &Graph<'_>,
    module: &str,
    options: &Folded,
    vectors: &[Tensor],
) -> Emitted {
    let built = layers::build(graph, module, options.cycles);
    top::finish(graph, built, vectors)
}

/// What each layer costs.
pub(super) fn stages(graph: &Graph<'_>, options: &Folded) -> Vec<Stage> {
    layers::build(graph, "net", options.cycles).design.stages
}

//! Random well-formed Programs and inputs for them.
//!
//! Every op, operand kind and tail width comes up: vectors of 1 to 300 elements, images of up to 9 by 7
//! with 1 to 130 channels, every kind of weights, biases, flips, thresholds that always or never hold,
//! branches that meet again. One image costs the interpreter some milliseconds at most.

mod chains;
mod inputs;
mod ops;
mod sketch;

use onebit_model::program::Program;

pub use chains::random_conv_program;
pub use inputs::{random_input, random_tensor};
pub(crate) use ops::{factors, group_norm, random_binary_weights, random_weights, window};

use crate::random::Random;
use sketch::Sketch;

/// A random Program of any ops; the same for the same seed.
pub fn random_program(seed: u64) -> Program {
    let mut random = Random::new(seed);
    let input = inputs::random_type(&mut random);
    let mut sketch = Sketch::new(&format!("random {seed}"), &input, random);
    sketch.note_seed(seed);
    let n_steps = sketch.random.int(1, 9);
    for step in 0..n_steps {
        let operand = match sketch.random.once_in(5) {
            true => sketch.any_value(),
            false => sketch.last_value(),
        };
        ops::append(&mut sketch, operand, step + 1 == n_steps);
    }
    sketch.finish()
}

#[cfg(test)]
mod tests;

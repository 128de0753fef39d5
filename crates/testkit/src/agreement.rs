//! The agreement oracle: do all engines give the interpreter's answer, bit for bit?
//!
//! Engines and a seed come in; the first disagreement goes out, narrowed down to the first node
//! whose value differs. Engines are wrapped by whoever tests them.

use std::fmt;

use onebit_model::program::{Program, ValueId};
use onebit_model::{Tensor, interpret, verify};

use crate::programs::{random_conv_program, random_input, random_program};

/// Something that runs Programs.
pub trait Engine {
    /// For messages.
    fn name(&self) -> &str;

    /// Whether the engine can run this Program at all.
    fn supports(&self, _program: &Program) -> bool {
        true
    }

    /// The answer for each input, in order. The Program is well formed and fits the inputs.
    fn run(&self, program: &Program, inputs: &[Tensor]) -> Vec<Tensor>;
}

/// The interpreter as an engine.
pub struct Interpreter;

impl Engine for Interpreter {
    fn name(&self) -> &str {
        "interpreter"
    }

    fn run(&self, program: &Program, inputs: &[Tensor]) -> Vec<Tensor> {
        let types = verify(program).expect("an engine is given a well-formed Program");
        inputs
            .iter()
            .map(|input| interpret(program, &types, input))
            .collect()
    }
}

/// Where an engine's answer is not the interpreter's.
#[derive(Clone, Debug, PartialEq)]
pub struct Disagreement {
    /// The engine.
    pub engine: String,
    /// The seed of the random Program and of the inputs; 0 for a given Program.
    pub program_seed: u64,
    /// The first node whose value differs, by name.
    pub layer: String,
    /// The first element of that value that differs.
    pub neuron: usize,
    /// The first input for which it does.
    pub image: usize,
    /// The engine's value of that node for that input.
    pub found: Tensor,
    /// The interpreter's.
    pub expected: Tensor,
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Disagreement {
            engine,
            program_seed,
            layer,
            neuron,
            image,
            ..
        } = self;
        write!(
            f,
            "{engine} disagrees with the interpreter: program seed {program_seed}, layer {layer}, \
             neuron {neuron}, image {image}"
        )
    }
}

/// Runs `n_programs` random Programs through every engine that supports them; the first
/// disagreement with the interpreter, if there is one.
///
/// Program `i` is `random_program(seed + i)`; batches have 1 to 20 inputs.
pub fn agreement(engines: &[&dyn Engine], n_programs: u64, seed: u64) -> Option<Disagreement> {
    agreement_on(random_program, engines, n_programs, seed)
}

/// As [`agreement`], where Program `i` is `random_conv_program(seed + i)`.
pub fn conv_agreement(engines: &[&dyn Engine], n_programs: u64, seed: u64) -> Option<Disagreement> {
    agreement_on(random_conv_program, engines, n_programs, seed)
}

fn agreement_on(
    generate: fn(u64) -> Program,
    engines: &[&dyn Engine],
    n_programs: u64,
    seed: u64,
) -> Option<Disagreement> {
    for program_seed in (0..n_programs).map(|i| seed.wrapping_add(i)) {
        let program = generate(program_seed);
        let n_inputs = 1 + program_seed % 20;
        let input =
            |i: u64| random_input(&program, program_seed.wrapping_mul(1000).wrapping_add(i));
        let inputs: Vec<Tensor> = (0..n_inputs).map(input).collect();
        for engine in engines {
            if let Some(found) = first_disagreement(*engine, &program, &inputs) {
                return Some(Disagreement {
                    program_seed,
                    ..found
                });
            }
        }
    }
    None
}

/// Compares one engine with the interpreter on one Program; on a difference, runs ever longer
/// beginnings of the Program to find the first node that differs.
pub fn first_disagreement(
    engine: &dyn Engine,
    program: &Program,
    inputs: &[Tensor],
) -> Option<Disagreement> {
    if !engine.supports(program) {
        return None;
    }
    let whole = compare(engine, program, inputs)?;
    let mut beginnings = (1..=program.nodes.len()).map(|n_nodes| Program {
        nodes: program.nodes[..n_nodes].to_vec(),
        output: ValueId(n_nodes),
        ..program.clone()
    });
    let narrowed = beginnings.find_map(|part| {
        engine
            .supports(&part)
            .then(|| compare(engine, &part, inputs))
            .flatten()
    });
    // A fault may show only in the whole Program.
    Some(narrowed.unwrap_or(whole))
}

/// The first difference in the Program's answer.
fn compare(engine: &dyn Engine, program: &Program, inputs: &[Tensor]) -> Option<Disagreement> {
    let expected = Interpreter.run(program, inputs);
    let found = engine.run(program, inputs);
    let layer = match program.output.0.checked_sub(1) {
        None => "@input".to_string(),
        Some(node_idx) => program.nodes[node_idx].name.clone(),
    };
    let engine = engine.name().to_string();
    for (image, expected) in expected.into_iter().enumerate() {
        // An answer that is missing differs in its first element.
        let found = found
            .get(image)
            .cloned()
            .unwrap_or(Tensor::Bits(Vec::new()));
        if let Some(neuron) = found.first_difference(&expected) {
            let program_seed = 0;
            return Some(Disagreement {
                engine,
                program_seed,
                layer,
                neuron,
                image,
                found,
                expected,
            });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use onebit_model::program::Op;

    /// Right in everything but a bias of the last row, which it forgets.
    struct Forgetful;

    impl Engine for Forgetful {
        fn name(&self) -> &str {
            "forgetful"
        }

        fn run(&self, program: &Program, inputs: &[Tensor]) -> Vec<Tensor> {
            let mut program = program.clone();
            for node in &mut program.nodes {
                if let Op::Dense {
                    bias: Some(bias), ..
                } = &mut node.op
                    && let Some(last) = bias.last_mut()
                {
                    *last = 0;
                }
            }
            Interpreter.run(&program, inputs)
        }
    }

    #[test]
    fn the_interpreter_agrees_with_itself() {
        assert_eq!(agreement(&[&Interpreter], 50, 7), None);
        assert_eq!(conv_agreement(&[&Interpreter], 5, 7), None);
    }

    #[test]
    fn a_fault_is_narrowed_down_to_its_node_and_neuron() {
        let found = agreement(&[&Interpreter, &Forgetful], 100, 1).expect("the fault shows");
        let program = random_program(found.program_seed);
        let node = program
            .nodes
            .iter()
            .find(|node| node.name == found.layer)
            .unwrap();
        let Op::Dense {
            bias: Some(bias),
            weights,
        } = &node.op
        else {
            panic!("{found}")
        };
        assert_eq!(found.neuron, weights.n_rows() - 1);
        assert_ne!(*bias.last().unwrap(), 0);
        assert_eq!(found.engine, "forgetful");
    }
}

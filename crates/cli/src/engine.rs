//! The engines a person can name, and answers for many examples.
//!
//! In: a [`Model`], [`Examples`], an [`Engine`]. Out: [`Answers`] in the order of the examples. Owns the names
//! (`net`, `interpreter`, and one per instruction set) and the sharing of examples between threads.

use std::num::NonZero;
use std::ops::Range;
use std::thread;

use onebit_bits::Isa;
use onebit_model::net::Net;
use onebit_model::program::{Kind, Program};
use onebit_model::{Evaluator, Tensor, interpret};
use onebit_run::{MAX_THREADS, OutputBatch, Plan, PlanOptions};

use crate::error::{Failure, misuse};
use crate::examples::Examples;
use crate::modelfile::Model;

/// Something that gives a model's answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// The Net's evaluation in binary32, as training evaluates it.
    Net,
    /// The interpreter of Programs.
    Interpreter,
    /// The fast engine on one instruction set.
    Isa(Isa),
}

impl Engine {
    /// The engine of this name.
    pub fn parse(name: &str) -> Result<Engine, Failure> {
        match name {
            "net" => Ok(Engine::Net),
            "interpreter" => Ok(Engine::Interpreter),
            "scalar" | "avx2" | "avx512" | "neon" => Ok(Engine::Isa(Isa::from_name(name)?)),
            _ => misuse(format!(
                "there is no engine `{name}`; use net, interpreter, scalar, avx2, avx512 or neon"
            )),
        }
    }

    /// The name, as [`Engine::parse`] takes it.
    pub fn name(self) -> &'static str {
        match self {
            Engine::Net => "net",
            Engine::Interpreter => "interpreter",
            Engine::Isa(isa) => isa.name(),
        }
    }

    /// The fastest one, or the one that `ONEBIT_ISA` names.
    pub fn fastest() -> Result<Engine, Failure> {
        Ok(Engine::Isa(Isa::from_env()?))
    }
}

/// The answers of a model, one for each example.
#[derive(Clone, Debug, PartialEq)]
pub enum Answers {
    /// `[n][width]` of `int`; of `bits` as -1 and +1; of `levels` as codes.
    Int(Vec<i32>),
    /// `[n][width]` of `real`.
    Real(Vec<f32>),
}

impl Answers {
    /// The class that each example is given: the greatest score's index (the lowest on a tie), or the answer
    /// itself where the Program ends with an argmax.
    pub fn classes(&self, width: usize) -> Vec<usize> {
        match self {
            Answers::Int(x) if width == 1 => x
                .iter()
                .map(|&class| usize::try_from(class).unwrap_or(usize::MAX))
                .collect(),
            Answers::Int(x) => x.chunks_exact(width).map(greatest).collect(),
            Answers::Real(x) => x.chunks_exact(width).map(greatest).collect(),
        }
    }
}

fn greatest<T: PartialOrd>(scores: &[T]) -> usize {
    (1..scores.len()).fold(0, |best, idx| {
        if scores[idx] > scores[best] {
            idx
        } else {
            best
        }
    })
}

/// How many classes are the labels.
pub fn n_correct(classes: &[usize], labels: &[u16]) -> usize {
    classes
        .iter()
        .zip(labels)
        .filter(|(class, label)| **class == usize::from(**label))
        .count()
}

/// Threads to use when asked for `n`, where 0 is all cores.
pub fn n_threads(n: usize) -> usize {
    if n > 0 {
        n
    } else {
        thread::available_parallelism().map_or(1, NonZero::get)
    }
}

/// Reads `--threads`: as many as a session may have, or 0.
pub fn parse_threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if n <= MAX_THREADS => Ok(n),
        _ => Err(format!("give a number from 0 to {MAX_THREADS}")),
    }
}

/// The answers of a model for all examples.
///
/// The Net engine needs `net`.
pub fn answers(
    engine: Engine,
    model: &Model,
    net: Option<&Net>,
    examples: &Examples,
    threads: usize,
) -> Result<Answers, Failure> {
    match engine {
        Engine::Isa(isa) => fast(&model.program, isa, examples, 0..examples.n, threads),
        Engine::Interpreter => {
            let one = |idx| interpret(&model.program, &model.types, &examples.tensor(idx));
            Ok(join(in_parallel(examples.n, threads, |range| {
                range.map(one).collect()
            })))
        }
        Engine::Net => {
            let Some(net) = net else {
                return misuse(
                    "engine `net` needs the Net; give the .net file that training wrote",
                );
            };
            let evaluator =
                Evaluator::new(net).map_err(|error| Failure::Failed(error.to_string()))?;
            let one = |idx| evaluator.evaluate(&examples.tensor(idx)).scores().clone();
            Ok(join(in_parallel(examples.n, threads, |range| {
                range.map(one).collect()
            })))
        }
    }
}

/// The answers of the fast engine for a range of examples.
pub fn fast(
    program: &Program,
    isa: Isa,
    examples: &Examples,
    range: Range<usize>,
    threads: usize,
) -> Result<Answers, Failure> {
    let fail =
        |error: &dyn std::fmt::Display| Failure::Failed(format!("engine {}: {error}", isa.name()));
    let options = PlanOptions { isa, threads };
    let plan = Plan::new(program, &options).map_err(|error| fail(&error))?;
    let mut session = plan.session().map_err(|error| fail(&error))?;
    let ty = plan.output_type();
    let len = range.len() * ty.n_elements();
    let batch = examples.batch(range);
    if ty.kind == Kind::Real {
        let mut out = vec![0.0; len];
        session
            .run(batch, OutputBatch::Real(&mut out))
            .map_err(|error| fail(&error))?;
        Ok(Answers::Real(out))
    } else {
        let mut out = vec![0; len];
        session
            .run(batch, OutputBatch::Int(&mut out))
            .map_err(|error| fail(&error))?;
        Ok(Answers::Int(out))
    }
}

/// `f` of consecutive ranges that cover `0..n`, one per thread at a time, joined in order.
pub fn in_parallel<T: Send>(
    n: usize,
    threads: usize,
    f: impl Fn(Range<usize>) -> Vec<T> + Sync,
) -> Vec<T> {
    let share = n.div_ceil(threads.max(1)).max(1);
    thread::scope(|scope| {
        let f = &f;
        let starts = (0..n).step_by(share);
        let handles: Vec<_> = starts
            .map(|start| scope.spawn(move || f(start..(start + share).min(n))))
            .collect();
        handles
            .into_iter()
            .flat_map(|handle| {
                handle
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    })
}

/// Tensors of one type as flat answers.
pub fn join(tensors: Vec<Tensor>) -> Answers {
    if matches!(tensors.first(), Some(Tensor::Real(_))) {
        let reals = tensors.into_iter().flat_map(|tensor| match tensor {
            Tensor::Real(x) => x,
            _ => unreachable!("all answers are of the output's type"),
        });
        return Answers::Real(reals.collect());
    }
    Answers::Int(tensors.iter().flat_map(integers).collect())
}

/// The elements of a tensor that is not real, as an engine writes them.
fn integers(tensor: &Tensor) -> Vec<i32> {
    match tensor {
        Tensor::Bits(x) => x.iter().map(|&bit| if bit { 1 } else { -1 }).collect(),
        Tensor::Levels(x) => x.iter().map(|&code| i32::from(code)).collect(),
        Tensor::Int(x) => x.clone(),
        Tensor::Real(_) => unreachable!("real answers are kept apart"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_the_lowest_class() {
        assert_eq!(Answers::Int(vec![1, 3, 3, -1, -2, -1]).classes(3), [1, 0]);
        assert_eq!(Answers::Int(vec![7, 2]).classes(1), [7, 2]);
        assert_eq!(Answers::Real(vec![0.5, 0.25]).classes(2), [0]);
    }

    #[test]
    fn parallel_answers_keep_their_order() {
        for threads in [1, 2, 3, 7, 20] {
            let found = in_parallel(10, threads, |range| range.collect());
            assert_eq!(found, (0..10).collect::<Vec<_>>());
        }
        assert!(in_parallel(0, 2, |range| range.collect::<Vec<_>>()).is_empty());
    }
}

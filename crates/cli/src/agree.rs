//! Agreement: do the Net, the interpreter and every engine give the same values, bit for bit?
//!
//! In: a Program, perhaps its Net, examples, engines. Out: an [`Agreement`], or the first [`Disagreement`] by
//! image and layer. The interpreter is the definition: the Net's layers are compared with it, and every node
//! of every engine is. Owns the sharing of examples between threads.

use std::fmt;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use onebit_bits::Isa;
use onebit_compile::counterparts;
use onebit_model::check_net::NetTypes;
use onebit_model::net::Net;
use onebit_model::program::{Kind, Program, ValueId};
use onebit_model::{Evaluation, Evaluator, ProgramTypes, Tensor, interpret_all};
use onebit_run::{Plan, PlanOptions, Session};

use crate::engine::{Answers, Engine, fast, join};
use crate::error::{Failure, failed};
use crate::examples::Examples;

/// Examples that a thread takes at a time.
const CHUNK: usize = 32;

/// What is compared.
pub struct Subject<'a> {
    /// The Program.
    pub program: &'a Program,
    /// Its types.
    pub types: &'a ProgramTypes,
    /// The Net it was lowered from.
    pub net: Option<&'a Net>,
    /// The inputs.
    pub examples: &'a Examples,
}

/// What agreed.
#[derive(Clone, Debug)]
pub struct Agreement {
    /// How many examples were compared.
    pub n_examples: usize,
    /// Layers of bits or codes of the Net without a counterpart in the Program (removed channels, pools that
    /// moved), by name.
    pub not_compared: Vec<String>,
    /// The interpreter's answers, which are everyone's.
    pub answers: Answers,
}

/// The first difference.
#[derive(Clone, Debug, PartialEq)]
pub struct Disagreement {
    /// Who differs, and from whom.
    pub between: (String, String),
    /// Index of the example in the test split.
    pub image: usize,
    /// Node of the Program.
    pub layer: String,
    /// Element of its value.
    pub neuron: usize,
    /// What the two have.
    pub values: (String, String),
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Disagreement {
            between,
            image,
            layer,
            neuron,
            values,
        } = self;
        write!(
            f,
            "{} and {} disagree first in layer {layer}, neuron {neuron}, image {image}: {} has {}, {} has {}",
            between.0, between.1, between.0, values.0, between.1, values.1
        )
    }
}

/// The engines that `verify` uses unless told otherwise: the interpreter and every instruction set of this CPU.
pub fn all_engines() -> Vec<Engine> {
    std::iter::once(Engine::Interpreter)
        .chain(Isa::available().map(Engine::Isa))
        .collect()
}

/// The names of who was compared.
pub fn names(has_net: bool, engines: &[Engine]) -> Vec<&'static str> {
    let mut names = Vec::new();
    if has_net {
        names.push("net");
    }
    // The interpreter is what all others are compared with.
    names.push("interpreter");
    names.extend(
        engines
            .iter()
            .map(|engine| engine.name())
            .filter(|name| !["net", "interpreter"].contains(name)),
    );
    names
}

/// Compares everything; the outer error is a failure to compare at all.
pub fn compare(
    subject: &Subject<'_>,
    engines: &[Engine],
    threads: usize,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Result<Agreement, Box<Disagreement>>, Failure> {
    let fail = |error: &dyn fmt::Display| Failure::Failed(error.to_string());
    let evaluator = subject
        .net
        .map(Evaluator::new)
        .transpose()
        .map_err(|error| fail(&error))?;
    let links = match subject.net.zip(evaluator.as_ref()) {
        Some((net, evaluator)) => Some(Links::new(net, evaluator.types(), subject)?),
        None => None,
    };
    let isas: Vec<Isa> = engines
        .iter()
        .filter_map(|engine| {
            if let Engine::Isa(isa) = engine {
                Some(*isa)
            } else {
                None
            }
        })
        .collect();
    let plan = |isa: &Isa| {
        Plan::new(
            subject.program,
            &PlanOptions {
                isa: *isa,
                threads: 1,
            },
        )
    };
    let plans: Vec<Plan> = isas
        .iter()
        .map(plan)
        .collect::<Result<_, _>>()
        .map_err(|error| fail(&error))?;
    let shared = Shared {
        subject,
        net: evaluator.as_ref().zip(links.as_ref()),
        plans: &plans,
        next: AtomicUsize::new(0),
        first_bad: AtomicUsize::new(usize::MAX),
        results: Mutex::new(Vec::new()),
        progress,
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1))
            .map(|_| scope.spawn(|| shared.work()))
            .collect();
        workers.into_iter().try_for_each(|worker| {
            worker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })?;
    let mut results = shared
        .results
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    results.sort_by_key(|(chunk, _)| *chunk);
    let mut tensors = Vec::with_capacity(subject.examples.n);
    for (_, result) in results {
        match result {
            Ok(found) => tensors.extend(found),
            Err(disagreement) => return Ok(Err(disagreement)),
        }
    }
    let not_compared = links.map_or(Vec::new(), |links| links.not_compared);
    let answers = join(tensors);
    if let Some(disagreement) = two_threads(subject, &isas, &answers)? {
        return Ok(Err(disagreement));
    }
    Ok(Ok(Agreement {
        n_examples: subject.examples.n,
        not_compared,
        answers,
    }))
}

/// Whole batches on two threads take another way through an engine than single layers do.
fn two_threads(
    subject: &Subject<'_>,
    isas: &[Isa],
    expected: &Answers,
) -> Result<Option<Box<Disagreement>>, Failure> {
    let width = subject.types.of(subject.program.output).n_elements();
    for isa in isas {
        let found = fast(
            subject.program,
            *isa,
            subject.examples,
            0..subject.examples.n,
            2,
        )?;
        if let Some((at, found, expected)) = first_difference(&found, expected) {
            return Ok(Some(Box::new(Disagreement {
                between: (
                    format!("{} on two threads", isa.name()),
                    "interpreter".into(),
                ),
                image: at / width,
                layer: name_of(subject.program, subject.program.output),
                neuron: at % width,
                values: (found, expected),
            })));
        }
    }
    Ok(None)
}

fn first_difference(a: &Answers, b: &Answers) -> Option<(usize, String, String)> {
    let tensors = match (a, b) {
        (Answers::Int(a), Answers::Int(b)) => (Tensor::Int(a.clone()), Tensor::Int(b.clone())),
        (Answers::Real(a), Answers::Real(b)) => (Tensor::Real(a.clone()), Tensor::Real(b.clone())),
        _ => return Some((0, "one kind of number".into(), "another".into())),
    };
    let at = tensors.0.first_difference(&tensors.1)?;
    Some((at, element(&tensors.0, at), element(&tensors.1, at)))
}

/// The interpreter's answers for a chunk, or its first difference.
type Compared = Result<Vec<Tensor>, Box<Disagreement>>;

/// What the worker threads share.
struct Shared<'a> {
    subject: &'a Subject<'a>,
    net: Option<(&'a Evaluator<'a>, &'a Links)>,
    plans: &'a [Plan],
    next: AtomicUsize,
    // The first chunk with a difference; later ones need no look.
    first_bad: AtomicUsize,
    results: Mutex<Vec<(usize, Compared)>>,
    progress: &'a (dyn Fn(usize) + Sync),
}

impl Shared<'_> {
    fn work(&self) -> Result<(), Failure> {
        let mut sessions = Vec::new();
        for plan in self.plans {
            sessions.push(
                plan.session()
                    .map_err(|error| Failure::Failed(error.to_string()))?,
            );
        }
        loop {
            let chunk = self.next.fetch_add(1, Ordering::Relaxed);
            let n = self.subject.examples.n;
            if chunk * CHUNK >= n || chunk > self.first_bad.load(Ordering::Relaxed) {
                return Ok(());
            }
            let range = chunk * CHUNK..((chunk + 1) * CHUNK).min(n);
            let len = range.len();
            let result = self.chunk(range, &mut sessions)?;
            if result.is_err() {
                self.first_bad.fetch_min(chunk, Ordering::Relaxed);
            }
            self.results
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .push((chunk, result));
            (self.progress)(len);
        }
    }

    /// Compares some examples; the interpreter's answers when all agree.
    fn chunk(&self, range: Range<usize>, sessions: &mut [Session]) -> Result<Compared, Failure> {
        let Subject {
            program,
            types,
            examples,
            ..
        } = self.subject;
        let mut layers = Vec::with_capacity(sessions.len());
        for session in sessions.iter_mut() {
            let found = session.run_layers(examples.batch(range.clone()));
            layers.push(found.map_err(|error| Failure::Failed(error.to_string()))?);
        }
        let mut answers = Vec::with_capacity(range.len());
        for (idx, image) in range.enumerate() {
            let input = examples.tensor(image);
            let expected = interpret_all(program, types, &input);
            if let Some((evaluator, links)) = self.net
                && let Err(found) =
                    links.compare(program, image, &evaluator.evaluate(&input), &expected)
            {
                return Ok(Err(found));
            }
            for (session, layers) in sessions.iter().zip(&layers) {
                let name = session.plan().options().isa.name();
                if let Err(found) = compare_values(program, name, image, &layers[idx], &expected) {
                    return Ok(Err(found));
                }
            }
            answers.push(expected[program.output.0].clone());
        }
        Ok(Ok(answers))
    }
}

fn compare_values(
    program: &Program,
    engine: &str,
    image: usize,
    found: &[Tensor],
    expected: &[Tensor],
) -> Result<(), Box<Disagreement>> {
    for (idx, (found, expected)) in found.iter().zip(expected).enumerate() {
        if let Some(neuron) = found.first_difference(expected) {
            return Err(Box::new(Disagreement {
                between: (engine.into(), "interpreter".into()),
                image,
                layer: name_of(program, ValueId(idx)),
                neuron,
                values: (element(found, neuron), element(expected, neuron)),
            }));
        }
    }
    Ok(())
}

/// Which value of the Program is which value of the Net.
struct Links {
    // Indexed by the Net's value numbers.
    counterparts: Vec<Option<ValueId>>,
    not_compared: Vec<String>,
}

impl Links {
    fn new(net: &Net, net_types: &NetTypes, subject: &Subject<'_>) -> Result<Links, Failure> {
        let Subject { program, types, .. } = subject;
        if net.input.kind != program.input.kind
            || net.input.n_elements() != program.input.n_elements()
        {
            return failed(format!(
                "the Net reads {} and the Program {}: they do not belong together; name the right one with --net",
                net.input, program.input
            ));
        }
        let counterparts = counterparts((net, net_types), (program, types));
        // Sums and what is folded into thresholds are compared by their effect; bits and codes should stay.
        let is_missing = |layer_idx: &usize| {
            let id = ValueId(layer_idx + 1);
            let is_answer = matches!(net_types.of(id).kind, Kind::Bits | Kind::Levels(_));
            is_answer && counterparts[id.0].is_none()
        };
        let not_compared = (0..net.layers.len())
            .filter(is_missing)
            .map(|layer_idx| net.layers[layer_idx].name.clone())
            .collect();
        Ok(Links {
            counterparts,
            not_compared,
        })
    }

    fn compare(
        &self,
        program: &Program,
        image: usize,
        net: &Evaluation,
        values: &[Tensor],
    ) -> Result<(), Box<Disagreement>> {
        for (net_id, id) in self.counterparts.iter().enumerate() {
            let Some(id) = *id else { continue };
            let (found, expected) = (&values[id.0], net.value(ValueId(net_id)));
            if let Some(neuron) = found.first_difference(expected) {
                return Err(Box::new(Disagreement {
                    between: ("interpreter".into(), "net".into()),
                    image,
                    layer: name_of(program, id),
                    neuron,
                    values: (element(found, neuron), element(expected, neuron)),
                }));
            }
        }
        Ok(())
    }
}

/// The name of a value for people.
fn name_of(program: &Program, id: ValueId) -> String {
    id.0.checked_sub(1)
        .map_or_else(|| "@input".into(), |idx| program.nodes[idx].name.clone())
}

fn element(tensor: &Tensor, idx: usize) -> String {
    let text = match tensor {
        Tensor::Bits(x) => x.get(idx).map(|&bit| {
            if bit {
                "+1".to_string()
            } else {
                "-1".to_string()
            }
        }),
        Tensor::Levels(x) => x.get(idx).map(u8::to_string),
        Tensor::Int(x) => x.get(idx).map(i32::to_string),
        Tensor::Real(x) => x
            .get(idx)
            .map(|x| format!("{x:e} (bits {:08x})", x.to_bits())),
    };
    text.unwrap_or_else(|| "nothing".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_differs_is_named_with_layer_and_neuron() {
        let program = onebit_testkit::random_program(3);
        let types = onebit_model::verify(&program).unwrap();
        let input = onebit_testkit::random_input(&program, 5);
        let expected = interpret_all(&program, &types, &input);
        assert_eq!(
            compare_values(&program, "e", 9, &expected, &expected),
            Ok(())
        );
        let mut found = expected.clone();
        let last = found.len() - 1;
        match &mut found[last] {
            Tensor::Bits(x) => x[0] = !x[0],
            Tensor::Levels(x) => x[0] ^= 1,
            Tensor::Int(x) => x[0] += 1,
            // Adding would leave an infinity or a NaN as it is.
            Tensor::Real(x) => x[0] = if x[0] == 1.0 { 2.0 } else { 1.0 },
        }
        let error = compare_values(&program, "e", 9, &found, &expected).unwrap_err();
        assert_eq!(
            (error.layer.as_str(), error.neuron, error.image),
            (program.nodes[last - 1].name.as_str(), 0, 9)
        );
        assert!(
            error
                .to_string()
                .starts_with("e and interpreter disagree first in layer ")
        );
    }
}

//! BOOL tensors, as bits: comparisons, logic, and what selects by them.
//!
//! In: comparisons of reals, logical ops, SELECT and CAST. Out: thresholds, and affines of signs; true is +1.
//! Leaves broadcasting to `elementwise`.

use onebit_model::program::{Op, ThresholdValues, Thresholds};

use super::elementwise::{Arithmetic, of_tensors, one_shape, spread, with_constant};
use super::graph::{Constant, Graph, Meaning, Outcome, Step, Value};
use super::schema::ElementType;

/// A comparison that gives a BOOL tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

/// LESS, LESS_EQUAL, GREATER and GREATER_EQUAL.
pub(super) fn comparison(graph: &mut Graph, step: &Step, what: Comparison) -> Outcome<Value> {
    let (value, constant, what) = match (graph.floats(step, 0)?, graph.floats(step, 1)?) {
        (None, Some(right)) => (graph.real_operand(step, 0)?, right, what),
        (Some(left), None) => {
            let mirrored = match what {
                Comparison::Less => Comparison::Greater,
                Comparison::LessEqual => Comparison::GreaterEqual,
                Comparison::Greater => Comparison::Less,
                Comparison::GreaterEqual => Comparison::LessEqual,
            };
            (graph.real_operand(step, 1)?, left, mirrored)
        }
        _ => {
            // x and y compare as x - y and 0 do.
            let left = graph.real_operand(step, 0)?;
            let right = graph.real_operand(step, 1)?;
            let difference = of_tensors(graph, left, right, Arithmetic::Sub)?;
            let zero = Constant {
                values: vec![0.0],
                shape: Vec::new(),
            };
            (difference, zero, what)
        }
    };
    let (above, flip) = match what {
        Comparison::GreaterEqual => (false, false),
        Comparison::Less => (false, true),
        Comparison::Greater => (true, false),
        Comparison::LessEqual => (true, true),
    };
    let spread = spread(&constant, &value)?;
    let id = with_constant(graph, &value, spread, |constant| {
        let flip = vec![flip; constant.len()];
        let at = constant
            .into_iter()
            .map(|c| if above { c.next_up() } else { c });
        let at = ThresholdValues::Real(at.collect());
        Op::Threshold(Thresholds { at, flip })
    })?;
    Ok(Value::new(id, &value.shape, Meaning::Bool))
}

fn bool_operand(graph: &mut Graph, step: &Step, i: usize) -> Outcome<Value> {
    let value = graph.operand(step, i)?;
    match value.meaning {
        Meaning::Bool => Ok(value),
        _ => Err(format!(
            "operand {i} is {} and not BOOL",
            graph.type_of(step, i)
        )),
    }
}

/// LOGICAL_AND (`is_and`) or LOGICAL_OR: the sum of two signs is 2 where both are +1, 0 where they differ.
pub(super) fn logical(graph: &mut Graph, step: &Step, is_and: bool) -> Outcome<Value> {
    let left = bool_operand(graph, step, 0)?;
    let right = bool_operand(graph, step, 1)?;
    one_shape(&left, &right)?;
    let (a, b) = (graph.real(left.id)?, graph.real(right.id)?);
    let sum = graph.push(Op::Add, &[a, b])?;
    let id = graph.compare(sum, if is_and { 1.0 } else { 0.0 }, false)?;
    Ok(Value::new(id, &left.shape, Meaning::Bool))
}

/// LOGICAL_NOT.
pub(super) fn logical_not(graph: &mut Graph, step: &Step) -> Outcome<Value> {
    let value = bool_operand(graph, step, 0)?;
    let real = graph.real(value.id)?;
    let id = graph.compare(real, 0.0, true)?;
    Ok(Value::new(id, &value.shape, Meaning::Bool))
}

/// SELECT and SELECT_V2 between two constants.
pub(super) fn select(graph: &mut Graph, step: &Step) -> Outcome<Value> {
    let condition = bool_operand(graph, step, 0)?;
    let constants = graph.floats(step, 1)?.zip(graph.floats(step, 2)?);
    let constants = constants.map(|(yes, no)| (yes.values, no.values));
    match constants {
        Some((yes, no)) if yes.len() == 1 && no.len() == 1 => {
            let value = two_reals(graph, &condition, yes[0], no[0])?;
            graph.deliver(step, value)
        }
        _ => Err("it selects between tensors; two constants are supported".into()),
    }
}

/// CAST of BOOL to FLOAT32.
pub(super) fn cast(graph: &mut Graph, step: &Step) -> Outcome<Value> {
    let value = graph.operand(step, 0)?;
    let value = match value.meaning {
        Meaning::Bool => two_reals(graph, &value, 1.0, 0.0)?,
        Meaning::Float => value,
        _ => {
            let from = graph.type_of(step, 0);
            return Err(format!(
                "it casts from {from}; BOOL and FLOAT32 are supported"
            ));
        }
    };
    match graph.output(step)?.ty {
        ElementType::Float32 => Ok(value),
        other => Err(format!(
            "it casts to {}; FLOAT32 is supported",
            other.name()
        )),
    }
}

/// `yes` where a bit is +1 and `no` where it is -1.
fn two_reals(graph: &mut Graph, bits: &Value, yes: f32, no: f32) -> Outcome<Value> {
    let id = match (yes, no) {
        (1.0, -1.0) => bits.id,
        _ => {
            let (scale, shift) = (yes / 2.0 - no / 2.0, yes / 2.0 + no / 2.0);
            if shift + scale != yes || shift - scale != no {
                return Err(format!(
                    "it selects between {yes} and {no}, which no affine of a sign gives exactly"
                ));
            }
            graph.affine(bits.id, scale, shift)?
        }
    };
    Ok(Value::float(id, &bits.shape))
}

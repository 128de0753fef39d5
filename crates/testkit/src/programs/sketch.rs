//! A Program under construction: its builder, its values, its randomness and what it may still cost.

use onebit_model::IntRange;
use onebit_model::builder::ProgramBuilder;
use onebit_model::program::{Kind, Op, Program, Type, ValueId};

use crate::random::Random;

/// Most multiplications of one image.
const MAX_COST: usize = 2_000_000;

/// A Program under construction.
pub(super) struct Sketch {
    pub(super) random: Random,
    builder: ProgramBuilder,
    values: Vec<ValueId>,
    /// Multiplications that one image may still take.
    cost_left: usize,
}

impl Sketch {
    pub(super) fn new(name: &str, input: &Type, random: Random) -> Self {
        let builder = ProgramBuilder::new(name, input.kind, &input.shape);
        Sketch {
            random,
            values: vec![builder.input()],
            builder,
            cost_left: MAX_COST,
        }
    }

    pub(super) fn note_seed(&mut self, seed: u64) {
        self.builder.note("seed", &seed.to_string());
    }

    /// Appends an op if it is well formed.
    pub(super) fn try_push(&mut self, name: &str, op: Op, inputs: &[ValueId]) -> Option<ValueId> {
        let name = self.builder.unused_name(name);
        let id = self.builder.try_node(&name, op, inputs).ok()?;
        self.values.push(id);
        Some(id)
    }

    /// Appends an op that is known to be well formed.
    pub(super) fn push(&mut self, name: &str, op: Op, inputs: &[ValueId]) -> ValueId {
        let name = self.builder.unused_name(name);
        let id = match self.builder.try_node(&name, op, inputs) {
            Ok(id) => id,
            Err(errors) => panic!("the generator of Programs has made a malformed node: {errors}"),
        };
        self.values.push(id);
        id
    }

    pub(super) fn ty(&self, id: ValueId) -> &Type {
        let ty = self.builder.ty(id);
        ty.expect("every value was checked when it was appended")
    }

    pub(super) fn range(&self, id: ValueId) -> Option<IntRange> {
        self.builder.range(id)
    }

    pub(super) fn last_value(&self) -> ValueId {
        self.values[self.values.len() - 1]
    }

    pub(super) fn any_value(&mut self) -> ValueId {
        self.values[self.random.below(self.values.len())]
    }

    /// The values whose type suits.
    pub(super) fn values_where(&self, is_right: impl Fn(&Type) -> bool) -> Vec<ValueId> {
        let values = self.values.iter().copied();
        values.filter(|id| is_right(self.ty(*id))).collect()
    }

    /// Multiplications that one more op may take.
    pub(super) fn cost_of_one(&self) -> usize {
        self.cost_left / 3
    }

    pub(super) fn spend(&mut self, cost: usize) {
        self.cost_left = self.cost_left.saturating_sub(cost);
    }

    /// Where most of a value's integers lie: a middle and how far they typically are from it.
    pub(super) fn spread(&self, id: ValueId) -> (i64, i64) {
        let Some(range) = self.range(id) else {
            return (0, 32);
        };
        let (min, max) = (i64::from(range.min), i64::from(range.max));
        let half = (max - min) / 2;
        match self.ty(id).kind {
            // An input may be anything, and random ones are not large.
            Kind::Int if half >= i64::from(i32::MAX) => (0, 1000),
            Kind::Int => ((min + max) / 2, half.min(4 * half.isqrt() + 1) + 1),
            _ => ((min + max) / 2, half + 2),
        }
    }

    /// The Program whose answer is the last value.
    pub(super) fn finish(self) -> Program {
        let output = self.last_value();
        self.builder
            .finish(output)
            .expect("every node was checked when it was appended")
    }
}

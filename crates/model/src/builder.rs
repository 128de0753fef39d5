//! A builder that appends nodes and hands back their values, for tests, importers and examples.
//!
//! It names nodes, keeps track of value numbers and ends in `verify`, so a finished Program is a
//! well-formed one. What an op means is in FORMAT.md, not here.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::program::{Cuts, Kind, Node, Op, Program, ThresholdValues, Thresholds, Type, ValueId};
use crate::verify::verify;
use crate::violation::VerifyErrors;
use crate::weights::Weights;

/// Builds a Program node by node.
///
/// ```
/// use onebit_model::builder::ProgramBuilder;
/// use onebit_model::program::Kind;
/// use onebit_model::weights::{BitMatrix, Weights};
///
/// let mut b = ProgramBuilder::new("tiny", Kind::Bits, &[3]);
/// let weights = Weights::Bits(BitMatrix::from_fn(2, 3, |row, col| row == col));
/// let sums = b.dense("fc", b.input(), weights, None);
/// let best = b.argmax("best", sums);
/// let program = b.finish(best)?;
/// assert_eq!(program.nodes.len(), 2);
/// # Ok::<(), onebit_model::VerifyErrors>(())
/// ```
#[derive(Clone, Debug)]
pub struct ProgramBuilder {
    program: Program,
}

impl ProgramBuilder {
    /// Starts a Program with one input of this kind and shape.
    pub fn new(name: &str, kind: Kind, shape: &[usize]) -> Self {
        let input = Type {
            kind,
            shape: shape.into(),
        };
        let (nodes, notes) = (Vec::new(), Vec::new());
        ProgramBuilder {
            program: Program {
                name: name.into(),
                input,
                nodes,
                output: ValueId(0),
                notes,
            },
        }
    }

    /// The input's value.
    pub fn input(&self) -> ValueId {
        ValueId(0)
    }

    /// Adds a note, kept in key order; a note of the same key is replaced.
    pub fn note(&mut self, key: &str, text: &str) {
        let notes = &mut self.program.notes;
        match notes.binary_search_by(|(other, _)| other.as_str().cmp(key)) {
            Ok(idx) => notes[idx].1 = text.into(),
            Err(idx) => notes.insert(idx, (key.into(), text.into())),
        }
    }

    /// Appends any op.
    pub fn node(&mut self, name: &str, op: Op, inputs: &[ValueId]) -> ValueId {
        self.program.nodes.push(Node {
            name: name.into(),
            op,
            inputs: inputs.into(),
        });
        ValueId(self.program.nodes.len())
    }

    /// Appends a `dense`; `bias` has one entry per row of `weights`.
    pub fn dense(
        &mut self,
        name: &str,
        x: ValueId,
        weights: Weights,
        bias: Option<Vec<i32>>,
    ) -> ValueId {
        self.node(name, Op::Dense { weights, bias }, &[x])
    }

    /// Appends a `threshold` on `int` or `levels` without flips.
    pub fn threshold(&mut self, name: &str, x: ValueId, at: Vec<i32>) -> ValueId {
        let flip = at.iter().map(|_| false).collect();
        self.threshold_flip(name, x, at, flip)
    }

    /// Appends a `threshold` on `int` or `levels`.
    pub fn threshold_flip(
        &mut self,
        name: &str,
        x: ValueId,
        at: Vec<i32>,
        flip: Vec<bool>,
    ) -> ValueId {
        let at = ThresholdValues::Int(at);
        self.node(name, Op::Threshold(Thresholds { at, flip }), &[x])
    }

    /// Appends a `threshold` on `real`.
    pub fn threshold_real(
        &mut self,
        name: &str,
        x: ValueId,
        at: Vec<f32>,
        flip: Vec<bool>,
    ) -> ValueId {
        let at = ThresholdValues::Real(at);
        self.node(name, Op::Threshold(Thresholds { at, flip }), &[x])
    }

    /// Appends a `quantize` to codes of `bits` bits.
    pub fn quantize(&mut self, name: &str, x: ValueId, bits: u8, cuts: Cuts) -> ValueId {
        self.node(name, Op::Quantize { bits, cuts }, &[x])
    }

    /// Appends a `planes`.
    pub fn planes(&mut self, name: &str, x: ValueId) -> ValueId {
        self.node(name, Op::Planes, &[x])
    }

    /// Appends an `affine`.
    pub fn affine(&mut self, name: &str, x: ValueId, scale: Vec<f32>, shift: Vec<f32>) -> ValueId {
        self.node(name, Op::Affine { scale, shift }, &[x])
    }

    /// Appends a `concat`.
    pub fn concat(&mut self, name: &str, operands: &[ValueId]) -> ValueId {
        self.node(name, Op::Concat, operands)
    }

    /// Appends an `argmax`.
    pub fn argmax(&mut self, name: &str, x: ValueId) -> ValueId {
        self.node(name, Op::Argmax, &[x])
    }

    /// A name that no node has yet: `wanted`, or `wanted` followed by a number.
    pub fn unused_name(&self, wanted: &str) -> String {
        let is_used = |name: &str| self.program.nodes.iter().any(|node| node.name == name);
        let mut name = String::from(wanted);
        let mut n = 2;
        while is_used(&name) {
            name = format!("{wanted}{n}");
            n += 1;
        }
        name
    }

    /// The Program whose answer is `output`, if it is well formed.
    pub fn finish(mut self, output: ValueId) -> Result<Program, VerifyErrors> {
        self.program.output = output;
        verify(&self.program)?;
        Ok(self.program)
    }
}

//! A builder that appends nodes and hands back their values, for tests, importers and examples.
//!
//! It names nodes, keeps track of value numbers and ends in `verify`, so a finished Program is a
//! well-formed one. What an op means is in FORMAT.md, not here.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use crate::limits::{MAX_NAME_LEN, MAX_NODES};
use crate::program::{
    Conv2d, Cuts, GroupNorm, Kind, Node, Op, Program, ThresholdValues, Thresholds, Type, ValueId,
    Window,
};
use crate::verify::{IntRange, Known, NAME_IS_TAKEN, check_input, check_name, check_node, verify};
use crate::violation::{Findings, VerifyErrors};
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
///
/// [`ProgramBuilder::node`] and the methods named for ops append what they are given and leave the check
/// to [`ProgramBuilder::finish`]; [`ProgramBuilder::try_node`] checks at once and appends nothing that is
/// wrong, for callers that cannot know in advance.
#[derive(Clone, Debug)]
pub struct ProgramBuilder {
    program: Program,
    // Indexed by `ValueId`: what is known of each value so far.
    known: Vec<Known>,
    names: BTreeSet<String>,
}

impl ProgramBuilder {
    /// Starts a Program with one input of this kind and shape.
    pub fn new(name: &str, kind: Kind, shape: &[usize]) -> Self {
        let input = Type {
            kind,
            shape: shape.into(),
        };
        let known = vec![check_input(&input, &mut Findings::default())];
        let (nodes, notes) = (Vec::new(), Vec::new());
        ProgramBuilder {
            program: Program {
                name: name.into(),
                input,
                nodes,
                output: ValueId(0),
                notes,
            },
            known,
            names: BTreeSet::new(),
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
        let node = Node {
            name: name.into(),
            op,
            inputs: inputs.into(),
        };
        let value = check_node(&node, &self.known, name, &mut Findings::default());
        self.append(node, value)
    }

    /// Appends any op if it is well formed: its name, itself and its operands. The limits on the
    /// Program as a whole, other than the number of nodes, are left to [`ProgramBuilder::finish`].
    pub fn try_node(
        &mut self,
        name: &str,
        op: Op,
        inputs: &[ValueId],
    ) -> Result<ValueId, VerifyErrors> {
        let node = Node {
            name: name.into(),
            op,
            inputs: inputs.into(),
        };
        let location = format!("node {} ({name})", self.program.nodes.len());
        let mut findings = Findings::default();
        check_name(name, &location, &mut findings);
        if self.names.contains(name) {
            findings.add(&location, NAME_IS_TAKEN);
        }
        if self.program.nodes.len() == MAX_NODES {
            findings.add(
                &location,
                format!("there are {MAX_NODES} nodes already, the limit"),
            );
        }
        let value = check_node(&node, &self.known, &location, &mut findings);
        if value.is_none() && findings.is_empty() {
            findings.add(&location, "an operand is itself malformed");
        }
        findings.finish(())?;
        Ok(self.append(node, value))
    }

    fn append(&mut self, node: Node, value: Known) -> ValueId {
        self.names.insert(node.name.clone());
        self.program.nodes.push(node);
        self.known.push(value);
        ValueId(self.program.nodes.len())
    }

    /// The type of a value; `None` if there is no such value or it is malformed.
    pub fn ty(&self, id: ValueId) -> Option<&Type> {
        let (ty, _) = self.known.get(id.0)?.as_ref()?;
        Some(ty)
    }

    /// The range of a value that is not real; `None` for reals and where [`ProgramBuilder::ty`] has none.
    pub fn range(&self, id: ValueId) -> Option<IntRange> {
        let (_, range) = self.known.get(id.0)?.as_ref()?;
        *range
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

    /// Appends a `conv2d`.
    pub fn conv2d(&mut self, name: &str, x: ValueId, conv: Conv2d) -> ValueId {
        self.node(name, Op::Conv2d(conv), &[x])
    }

    /// Appends a `relu`.
    pub fn relu(&mut self, name: &str, x: ValueId) -> ValueId {
        self.node(name, Op::Relu, &[x])
    }

    /// Appends a `clip`.
    pub fn clip(&mut self, name: &str, x: ValueId, min: f32, max: f32) -> ValueId {
        self.node(name, Op::Clip { min, max }, &[x])
    }

    /// Appends a `prelu`.
    pub fn prelu(&mut self, name: &str, x: ValueId, slope: Vec<f32>) -> ValueId {
        self.node(name, Op::Prelu { slope }, &[x])
    }

    /// Appends an `rprelu`.
    pub fn rprelu(
        &mut self,
        name: &str,
        x: ValueId,
        before: Vec<f32>,
        slope: Vec<f32>,
        after: Vec<f32>,
    ) -> ValueId {
        let op = Op::Rprelu {
            before,
            slope,
            after,
        };
        self.node(name, op, &[x])
    }

    /// Appends a `group_norm`.
    pub fn group_norm(&mut self, name: &str, x: ValueId, norm: GroupNorm) -> ValueId {
        self.node(name, Op::GroupNorm(norm), &[x])
    }

    /// Appends an `add`.
    pub fn add(&mut self, name: &str, a: ValueId, b: ValueId) -> ValueId {
        self.node(name, Op::Add, &[a, b])
    }

    /// Appends a `mul`.
    pub fn mul(&mut self, name: &str, a: ValueId, b: ValueId) -> ValueId {
        self.node(name, Op::Mul, &[a, b])
    }

    /// Appends a `concat_channels`.
    pub fn concat_channels(&mut self, name: &str, operands: &[ValueId]) -> ValueId {
        self.node(name, Op::ConcatChannels, operands)
    }

    /// Appends a `slice`.
    pub fn slice(&mut self, name: &str, x: ValueId, start: &[usize], size: &[usize]) -> ValueId {
        let (start, size) = (start.into(), size.into());
        self.node(name, Op::Slice { start, size }, &[x])
    }

    /// Appends a `reshape`.
    pub fn reshape(&mut self, name: &str, x: ValueId, shape: &[usize]) -> ValueId {
        let shape = shape.into();
        self.node(name, Op::Reshape { shape }, &[x])
    }

    /// Appends a `transpose`.
    pub fn transpose(&mut self, name: &str, x: ValueId, perm: &[usize]) -> ValueId {
        let perm = perm.into();
        self.node(name, Op::Transpose { perm }, &[x])
    }

    /// Appends a `max_pool`.
    pub fn max_pool(&mut self, name: &str, x: ValueId, window: Window) -> ValueId {
        self.node(name, Op::MaxPool(window), &[x])
    }

    /// Appends an `avg_pool` that divides by the number of taps inside the image.
    pub fn avg_pool(&mut self, name: &str, x: ValueId, window: Window) -> ValueId {
        let count_pads = false;
        self.node(name, Op::AvgPool { window, count_pads }, &[x])
    }

    /// Appends an `avg_pool` that divides by the area of the kernel.
    pub fn avg_pool_count_pads(&mut self, name: &str, x: ValueId, window: Window) -> ValueId {
        let count_pads = true;
        self.node(name, Op::AvgPool { window, count_pads }, &[x])
    }

    /// Appends a `global_avg_pool`.
    pub fn global_avg_pool(&mut self, name: &str, x: ValueId) -> ValueId {
        self.node(name, Op::GlobalAvgPool, &[x])
    }

    /// Appends a `softmax`.
    pub fn softmax(&mut self, name: &str, x: ValueId) -> ValueId {
        self.node(name, Op::Softmax, &[x])
    }

    /// A legal name that no node has yet, from any text: `wanted` with every character that no name may
    /// have replaced by `_`, cut to the limit, and followed by a number where needed.
    pub fn unused_name(&self, wanted: &str) -> String {
        let is_legal = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        let legal = |c: char| if is_legal(c) { c } else { '_' };
        let mut base: String = wanted.chars().map(legal).take(MAX_NAME_LEN).collect();
        if base.is_empty() {
            base.push('_');
        }
        let mut name = base.clone();
        let mut n = 2;
        while self.names.contains(&name) {
            let number = format!("{n}");
            // Legal characters have one byte each.
            base.truncate(MAX_NAME_LEN - number.len());
            name = format!("{base}{number}");
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

//! Chains: the per-element ops that follow a convolution, a pool or a stored value.

use onebit_bits::chain::{ChainOps, RealThresholds};
use onebit_model::program::{Kind, Node, Op, ThresholdValues, Thresholds, ValueId};

use crate::lower::{Graph, Head};
use crate::step::{Action, Chain, Step, When};
use crate::workspace::MAX_OPERANDS;

impl Graph<'_> {
    /// The chain that begins at a node.
    pub(crate) fn fuse_chain(
        &self,
        idx: usize,
        head: Head,
        source: ValueId,
        is_inside: &[bool],
    ) -> Option<(Step, Vec<usize>)> {
        let mut ops = ChainOps::new();
        let mut operands: Vec<ValueId> = Vec::new();
        let mut members = Vec::new();
        let mut value = source;
        let mut next = Some(idx);
        if let Head::Conv(_) = head {
            members.push(idx);
            value = ValueId(idx + 1);
            next = self.next_in_chain(value);
        }
        while let Some(idx) = next {
            if is_inside[idx] || !self.append(idx, value, &mut ops, &mut operands) {
                break;
            }
            members.push(idx);
            value = ValueId(idx + 1);
            next = self.next_in_chain(value);
        }
        let is_real = self.kind(value) == Kind::Real;
        let bits = is_real.then(|| self.comparison(value, is_inside)).flatten();
        let stores_reals = value != source && (bits.is_none() || self.readers[value.0].len() > 1);
        if !is_real
            && members.iter().any(|&member| {
                !matches!(
                    self.program.nodes[member].op,
                    Op::Conv2d(_) | Op::Dense { .. }
                )
            })
        {
            return None;
        }
        let outputs = stores_reals.then_some(value).into_iter();
        let outputs: Vec<ValueId> = outputs
            .chain(bits.as_ref().map(|(idx, _)| ValueId(idx + 1)))
            .collect();
        members.extend(bits.as_ref().map(|(idx, _)| *idx));
        if members.is_empty() || outputs.is_empty() {
            return None;
        }
        let names: Vec<&str> = members
            .iter()
            .map(|&idx| self.program.nodes[idx].name.as_str())
            .collect();
        let action = match head {
            Head::Conv(layer) if !is_real => Action::ConvInts(layer),
            head => {
                let chain = Chain {
                    ops,
                    stores_reals,
                    bits: bits.map(|(_, bits)| bits),
                };
                match head {
                    Head::Conv(layer) => Action::ConvChain(layer, chain),
                    Head::Stored => Action::Chain(chain),
                }
            }
        };
        let step = Step {
            name: names.join("+"),
            inputs: [source].into_iter().chain(operands).collect(),
            outputs,
            action,
            when: When::Always,
        };
        Some((step, members))
    }

    /// The thresholds that compare a value: the first reader that is not part of another step.
    fn comparison(&self, value: ValueId, is_inside: &[bool]) -> Option<(usize, RealThresholds)> {
        let mut readers = self.readers[value.0].iter().copied();
        readers.find_map(|reader| {
            let node = self.program.nodes.get(reader)?;
            match &node.op {
                Op::Threshold(Thresholds {
                    at: ThresholdValues::Real(at),
                    flip,
                }) if !is_inside[reader] => Some((reader, RealThresholds::new(at, flip))),
                _ => None,
            }
        })
    }

    /// The only per-element op that reads a value.
    fn next_in_chain(&self, value: ValueId) -> Option<usize> {
        match self.readers[value.0][..] {
            [idx] if idx != usize::MAX => Some(idx),
            _ => None,
        }
    }

    /// Appends the operation of node `idx` on `value` to a chain; false where it has none.
    pub(crate) fn append(
        &self,
        idx: usize,
        value: ValueId,
        ops: &mut ChainOps,
        operands: &mut Vec<ValueId>,
    ) -> bool {
        let node = &self.program.nodes[idx];
        match (&node.op, self.kind(value)) {
            (Op::Relu, Kind::Int) if ops.is_empty() => {
                let is_affine = |next: &Node| matches!(next.op, Op::Affine { .. });
                if !self.only_reader(ValueId(idx + 1)).is_some_and(is_affine) {
                    return false;
                }
                ops.relu_of_ints();
            }
            (Op::Affine { scale, shift }, _) => ops.affine(scale, shift),
            (Op::Relu, Kind::Real) => ops.relu(),
            (Op::Clip { min, max }, _) => ops.clip(*min, *max),
            (Op::Prelu { slope }, _) => ops.prelu(slope),
            (
                Op::Rprelu {
                    before,
                    slope,
                    after,
                },
                _,
            ) => {
                ops.shift(before);
                ops.prelu(slope);
                ops.shift(after);
            }
            (Op::Add | Op::Mul, Kind::Real) => {
                let other = match node.inputs[..] {
                    [a, b] if a == value => b,
                    [a, _] => a,
                    _ => return false,
                };
                let known = operands.iter().position(|&operand| operand == other);
                let operand = known.unwrap_or(operands.len());
                if operand == MAX_OPERANDS {
                    return false;
                }
                if known.is_none() {
                    operands.push(other);
                }
                match node.op {
                    Op::Add => ops.add(operand),
                    _ => ops.mul(operand),
                }
            }
            _ => return false,
        }
        true
    }
}

//! Comparisons with constants and the choice between two numbers: the binariser `where(x >= 0, 1, -1)`.
//!
//! A comparison is a bit that reads 0 or 1; a choice, a cast, and any scale and offset after it only change the
//! reading. The numbers of a choice may be constants or filled at run time from the shape of the data, which
//! constant folding has resolved by then.

use super::live::Live;
use super::lower::{Lower, Value};
use super::proto::NodeProto;
use super::steps::Relation;

impl Lower<'_> {
    /// `Greater` and its relatives between a live value and a constant.
    pub(super) fn comparison(&mut self, node: &NodeProto) -> Result<Live, String> {
        let is_live_first = matches!(self.value(node, 0), Some(Value::Live(_)));
        let (live, constant) = if is_live_first { (0, 1) } else { (1, 0) };
        if let (Some(Value::Live(_)), Some(Value::Live(_))) =
            (self.value(node, 0), self.value(node, 1))
        {
            return Err("it compares two activations; onebit needs a constant on one side".into());
        }
        let is_strict = matches!(node.op_type.as_str(), "Greater" | "Less");
        let is_less = matches!(node.op_type.as_str(), "Less" | "LessOrEqual");
        // `t < x` is `x > t`, and `x < t` is the opposite of `x >= t`.
        let is_flipped = is_less == is_live_first;
        let relation = Relation {
            is_strict: is_strict != is_flipped,
            is_flipped,
        };
        let x = self.live(node, live)?;
        let constant = self.constant(node, constant)?;
        let (x, numbers) = self.along(x, &constant)?;
        let bits = self.compared(x, relation, &numbers)?;
        self.scaled(bits, &[0.5], &[0.5])
    }

    /// `Where` with a live condition and two constants.
    pub(super) fn choice(&mut self, node: &NodeProto) -> Result<Live, String> {
        let condition = self.live(node, 0)?;
        let arm = |state: &Self, idx: usize| match state.value(node, idx) {
            Some(Value::Const(x)) => Ok(x.clone()),
            _ => Err(
                "it chooses between activations; onebit needs two constants, as in a binariser"
                    .to_owned(),
            ),
        };
        let (yes, no) = (arm(self, 1)?, arm(self, 2)?);
        let (condition, yes) = self.along(condition, &yes)?;
        let (condition, no) = self.along(condition, &no)?;
        let at = |list: &[f64], i: usize| list[if list.len() == 1 { 0 } else { i }];
        let n = yes.len().max(no.len());
        if [&yes, &no]
            .iter()
            .any(|list| list.len() != 1 && list.len() != condition.n_channels())
        {
            return Err(
                "its two constants go along different axes; onebit needs them along one".into(),
            );
        }
        // The condition reads 0 or 1.
        let gain: Vec<f64> = (0..n).map(|i| at(&yes, i) - at(&no, i)).collect();
        let shift: Vec<f64> = (0..n).map(|i| at(&no, i)).collect();
        self.scaled(condition, &gain, &shift)
    }
}

//! The quantisers of QONNX on activations: `BipolarQuant`, `Quant` and `MultiThreshold`.
//!
//! A live value and constant parameters come in; bits or codes go out whose reading is the quantised value. The
//! cuts between two codes are the exact binary32 numbers at which the reference rounds to the next one.

use super::constant::{Const, check_grown};
use super::fold::Operands;
use super::live::{Live, Map};
use super::lower::{Lower, Value};
use super::proto::NodeProto;
use super::quant_ops::{self, Rule};
use super::steps::Relation;
use crate::search::least_real;
use onebit_model::program::Kind;

impl Lower<'_> {
    /// A node of the QONNX domains on a live value.
    pub(super) fn quantiser(&mut self, node: &NodeProto) -> Result<Value, String> {
        let live =
            match node.op_type.as_str() {
                "BipolarQuant" | "Quant" | "IntQuant" => self.quant(node)?,
                "MultiThreshold" => self.multi_threshold(node)?,
                "Trunc" => {
                    return Err(
                        "truncated averages are not part of Programs; export with an AveragePool"
                            .into(),
                    );
                }
                _ => return Err(
                    "this op of QONNX has no exact form in a Program; streamline the model first"
                        .into(),
                ),
            };
        Ok(Value::Live(live))
    }

    fn quant(&mut self, node: &NodeProto) -> Result<Live, String> {
        let constants = self.constants(node);
        let inputs: Vec<Option<&Const>> = constants.iter().map(Option::as_deref).collect();
        let operands = Operands { inputs: &inputs };
        let rule = Rule::read(node, &operands)?;
        let (scale, zero) = quant_ops::parameters(node, &operands)?;
        let x = self.live(node, 0)?;
        let (x, scale) = self.along(x, &scale)?;
        let (x, zero) = self.along(x, &zero)?;
        let n = scale.len().max(zero.len());
        if [&scale, &zero]
            .iter()
            .any(|list| list.len() != 1 && list.len() != x.n_channels())
        {
            return Err(
                "its scale and zero point go along different axes; export them along one".into(),
            );
        }
        let at = |list: &[f64], i: usize| list[if list.len() == 1 { 0 } else { i }];
        let lists = |f: &dyn Fn(f64, f64) -> f64| -> Vec<f64> {
            (0..n).map(|i| f(at(&scale, i), at(&zero, i))).collect()
        };
        if rule.is_sign {
            if zero.iter().any(|&zero| zero != 0.0) {
                return Err("it is a sign with a zero point; export it without one".into());
            }
            let bits = self.compared(x, Relation::AT_LEAST, &[0.0])?;
            return self.scaled(bits, &scale, &[0.0]);
        }
        let x = self.real(x)?;
        let mut cuts = Vec::with_capacity(n);
        for i in 0..n {
            let (scale, zero) = (at(&scale, i) as f32, at(&zero, i) as f32);
            let cut = |code: i32| least_real(|x| rule.code(x, scale, zero) >= code);
            cuts.push((rule.min + 1..=rule.max).map(cut).collect::<Vec<f32>>());
        }
        let codes = self.staircase(x, &cuts, f64::from(rule.min), 1.0)?;
        let shift = lists(&|scale, zero| -scale * zero);
        self.scaled(codes, &scale, &shift)
    }

    /// FINN's staircase with its own thresholds.
    fn multi_threshold(&mut self, node: &NodeProto) -> Result<Live, String> {
        let thresholds = self.constant(node, 1)?;
        let &[channels, n_cuts] = thresholds.shape.as_slice() else {
            return Err("its thresholds are not one list per channel".into());
        };
        if n_cuts == 0 || channels == 0 {
            return Err("it has no thresholds".into());
        }
        if node
            .text("data_layout")
            .is_some_and(|layout| layout == "NHWC")
        {
            return Err(
                "its data is channels last; export the model before that conversion".into(),
            );
        }
        let mut x = self.live(node, 0)?;
        if channels > 1 {
            if x.dims.first() != Some(&channels) {
                return Err(format!(
                    "it has {channels} lists of thresholds for a value of shape {:?}",
                    x.dims
                ));
            }
            x = if x.dims.len() > 1 {
                self.channels_last(x)?
            } else {
                self.plain(x)?
            };
            let shape = if x.dims.len() > 1 {
                x.shape.clone()
            } else {
                x.dims.clone()
            };
            x = self.reshaped(x, &shape)?;
        }
        let x = self.settled(x)?;
        let x = if matches!(x.kind, Kind::Real | Kind::Int) {
            x
        } else {
            self.real(x)?
        };
        check_grown(thresholds.n_elements(), thresholds.n_held())?;
        let numbers = thresholds.floats();
        let cuts: Vec<Vec<f32>> = numbers.chunks(n_cuts).map(<[f32]>::to_vec).collect();
        if cuts.iter().any(|cuts| !cuts.is_sorted()) {
            return Err("a list of its thresholds is not ascending".into());
        }
        let scale = node.float("out_scale").unwrap_or(1.0);
        let bias = node.float("out_bias").unwrap_or(0.0);
        self.staircase(x, &cuts, f64::from(bias), f64::from(scale))
    }

    /// `Round`, `Floor` and `Ceil` of something that is clipped, as in a hand-written quantiser.
    pub(super) fn round(&mut self, node: &NodeProto) -> Result<Live, String> {
        let round: fn(f32) -> f32 = match node.op_type.as_str() {
            "Floor" => f32::floor,
            "Ceil" => f32::ceil,
            _ => f32::round_ties_even,
        };
        let x = self.live(node, 0)?;
        let mut x = self.without_rim(x)?;
        if is_whole(&x) {
            return Ok(x);
        }
        let Some((min, max)) = x.clip.take() else {
            return Err(
                "it rounds something without bounds; clip it first, as quantisers do".into(),
            );
        };
        let (low, high) = (round(min), round(max));
        let rise = high - low;
        if rise.is_nan() || rise > 255.0 {
            return Err(format!(
                "it rounds to the whole numbers from {low} to {high}; at most 256 are possible"
            ));
        }
        let x = self.real(x)?;
        let cut = |k: i32| least_real(|x| round(x.max(min).min(max)) >= low + k as f32);
        let cuts: Vec<f32> = (1..=(high - low) as i32).map(cut).collect();
        if cuts.is_empty() {
            return Err("it rounds everything to one number".into());
        }
        self.staircase(x, &[cuts], f64::from(low), 1.0)
    }
}

/// Whether every value is a whole number.
pub(super) fn is_whole(x: &Live) -> bool {
    let Map { scale, offset } = &x.map;
    let is_whole = |list: &[f64]| list.iter().all(|number| number.fract() == 0.0);
    match x.kind {
        Kind::Real => false,
        _ if x.clip.is_some() => false,
        // Of -1 and +1 the sum and the difference count.
        Kind::Bits => {
            let mut pairs = scale.iter().zip(offset);
            pairs.all(|(s, o)| (o + s).fract() == 0.0 && (o - s).fract() == 0.0)
        }
        Kind::Levels(_) | Kind::Int => is_whole(scale) && is_whole(offset),
    }
}

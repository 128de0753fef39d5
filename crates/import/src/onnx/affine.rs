//! Arithmetic: scales and offsets by constants, sums and products of two activations, and casts.
//!
//! A constant operand changes a value's reading and makes no node. Two live operands are brought into one order
//! and one kind, and then added or multiplied element by element.

use onebit_model::program::{Kind, Op};

use super::constant::Data;
use super::live::{Live, Map};
use super::lower::{Lower, Value};
use super::proto::NodeProto;
use super::quant::is_whole;

impl Lower<'_> {
    /// `Add`, `Sub`, `Mul`, `Div` and `Sum` of two or more operands.
    pub(super) fn arithmetic(&mut self, node: &NodeProto) -> Result<Live, String> {
        if node.input.len() < 2 {
            return self.live(node, 0);
        }
        let op = if node.op_type == "Sum" {
            "Add"
        } else {
            node.op_type.as_str()
        };
        let operand = |state: &Self, idx: usize| {
            state
                .value(node, idx)
                .cloned()
                .ok_or_else(|| format!("its input {idx} is missing"))
        };
        let mut sum = operand(self, 0)?;
        for idx in 1..node.input.len() {
            let next = operand(self, idx)?;
            sum = match (sum, next) {
                (Value::Live(a), Value::Live(b)) => Value::Live(self.of_two(op, a, b)?),
                (Value::Live(x), Value::Const(k)) => {
                    let (x, k) = self.along(x, &k)?;
                    Value::Live(self.by_constant(op, x, &k)?)
                }
                (Value::Const(k), Value::Live(x)) => {
                    let (x, k) = self.along(x, &k)?;
                    Value::Live(match op {
                        "Sub" => self.scaled(x, &[-1.0], &k)?,
                        "Div" => {
                            return Err("it divides by an activation, which Programs cannot".into());
                        }
                        _ => self.by_constant(op, x, &k)?,
                    })
                }
                (Value::Const(_), Value::Const(_)) => return Err("put its constants last".into()),
            };
        }
        match sum {
            Value::Live(x) => Ok(x),
            Value::Const(_) => Err("its operands are constants".into()),
        }
    }

    fn by_constant(&mut self, op: &str, x: Live, k: &[f64]) -> Result<Live, String> {
        let each = |f: fn(f64) -> f64| -> Vec<f64> { k.iter().map(|&k| f(k)).collect() };
        match op {
            "Add" => self.scaled(x, &[1.0], k),
            "Sub" => self.scaled(x, &[1.0], &each(|k| -k)),
            "Mul" => self.scaled(x, k, &[0.0]),
            _ if k.contains(&0.0) => Err("it divides by zero".into()),
            _ => self.scaled(x, &each(|k| 1.0 / k), &[0.0]),
        }
    }

    fn of_two(&mut self, op: &str, a: Live, b: Live) -> Result<Live, String> {
        if a.dims != b.dims {
            return Err(format!(
                "it joins values of shapes {:?} and {:?} per image; Programs join equal shapes only",
                a.dims, b.dims
            ));
        }
        let (mut a, mut b) = (self.without_rim(a)?, self.without_rim(b)?);
        if op == "Sub" {
            b = self.scaled(b, &[-1.0], &[0.0])?;
        }
        if a.order != b.order || a.shape != b.shape {
            if matches!(a.dims.len(), 2 | 3) {
                (a, b) = (self.channels_last(a)?, self.channels_last(b)?);
            } else {
                (a, b) = (self.plain(a)?, self.plain(b)?);
                let shape = a.dims.clone();
                (a, b) = (self.reshaped(a, &shape)?, self.reshaped(b, &shape)?);
            }
        }
        let node = match op {
            "Add" | "Sub" => Op::Add,
            "Mul" => Op::Mul,
            _ => return Err("it divides by an activation, which Programs cannot".into()),
        };
        (a, b) = (self.settled(a)?, self.settled(b)?);
        let is_int_sum = node == Op::Add && a.kind == Kind::Int && b.kind == Kind::Int;
        if !is_int_sum {
            (a, b) = (self.real(a)?, self.real(b)?);
        }
        let id = self.emit(node, &[a.id, b.id])?;
        Ok(a.with(id, a.kind, Map::identity()))
    }

    /// `Pow` with a constant exponent of 1 or 2.
    pub(super) fn power(&mut self, node: &NodeProto) -> Result<Live, String> {
        let x = self.live(node, 0)?;
        match self.constant(node, 1)?.uniform() {
            Some(1.0) => Ok(x),
            Some(2.0) => self.of_two("Mul", x.clone(), x),
            _ => Err("powers other than 1 and 2 are not part of Programs".into()),
        }
    }

    /// `Cast` and `CastLike` where they change no value.
    pub(super) fn cast(&mut self, node: &NodeProto) -> Result<Live, String> {
        let x = self.live(node, 0)?;
        let to = match node.op_type.as_str() {
            "Cast" => node.int("to").unwrap_or(0),
            _ => match self.constant(node, 1)?.data() {
                Data::F32(_) => 1,
                Data::I64(_) => 7,
                Data::Bool(_) => 9,
            },
        };
        match to {
            1 => Ok(x),
            2..=7 | 12 | 13 if is_whole(&x) => Ok(x),
            9 if is_truth(&x) => Ok(x),
            2..=7 | 12 | 13 => {
                Err("it cuts off fractions; write the rounding as Clip and Round".into())
            }
            9 => Err("it tests for zero; write the binariser as a comparison".into()),
            _ => Err(format!(
                "it casts to ONNX data type {to}; export the network in 32-bit floats"
            )),
        }
    }

    /// `Dropout` as it is at inference.
    pub(super) fn dropout(&mut self, node: &NodeProto) -> Result<Live, String> {
        let training = self.optional(node, 2)?.and_then(|mode| mode.uniform());
        if training.is_some_and(|mode| mode != 0.0) {
            return Err("it is in training mode; call eval() before the export".into());
        }
        self.live(node, 0)
    }
}

/// Whether the values are 0 and 1.
fn is_truth(x: &Live) -> bool {
    x.kind == Kind::Bits
        && x.clip.is_none()
        && x.map
            .pair()
            .is_some_and(|(s, o)| s.abs() == 0.5 && o == 0.5)
}

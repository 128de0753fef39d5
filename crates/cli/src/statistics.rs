//! What a Program consists of, layer by layer.
//!
//! In: a verified Program. Out: counts of weights, bytes, operations and thresholds, and their totals against
//! the same layers in float32. Shown by `inspect`, cards and reports.

use onebit_compile::Reach;
use onebit_model::program::{Cuts, Kind, Node, Op, Program, ThresholdValues, Thresholds, ValueId};
use onebit_model::weights::Weights;
use onebit_model::{IntRange, ProgramTypes};
use serde_json::{Value, json};

use crate::energy::Work;
use crate::table::{Align, Table, grouped};

/// One node.
#[derive(Clone, Debug)]
pub struct LayerStatistics {
    /// Its name.
    pub name: String,
    /// Its op.
    pub op: &'static str,
    /// Type of its first operand.
    pub input: String,
    /// Type of its value.
    pub output: String,
    /// Number of weights.
    pub n_weights: u64,
    /// Bits that one weight is stored in: 1, or 2 for ternary ones.
    pub weight_bits: u32,
    /// Weights that are zero.
    pub n_zeros: u64,
    /// Bytes of weights and constants, as `.bnn` stores them.
    pub bytes: u64,
    /// Products of single bits for one image.
    pub bit_macs: u64,
    /// Bytes of the same layer in float32, with one bias an output.
    pub f32_bytes: u64,
    /// What a threshold compares with.
    pub thresholds: Option<ThresholdStatistics>,
    /// For the energy.
    pub work: Work,
}

/// The thresholds of one node.
#[derive(Clone, Debug, PartialEq)]
pub struct ThresholdStatistics {
    /// How many.
    pub count: usize,
    /// The least and greatest that is not constant.
    pub range: Option<(f64, f64)>,
    /// Channels that give the same bit for every input.
    pub n_constant: usize,
    /// Channels whose answer is inverted.
    pub n_flipped: usize,
}

/// The whole Program.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Number of weights.
    pub n_weights: u64,
    /// Bytes of weights and constants.
    pub bytes: u64,
    /// Products of single bits for one image.
    pub bit_macs: u64,
    /// Bytes in float32.
    pub f32_bytes: u64,
    /// For the energy.
    pub work: Work,
    /// For the energy of float32.
    pub f32_work: Work,
}

/// Looks at every node of a verified Program.
pub fn layers(program: &Program, types: &ProgramTypes) -> Vec<LayerStatistics> {
    (0..program.nodes.len())
        .map(|idx| layer(program, idx, types))
        .collect()
}

fn layer(program: &Program, idx: usize, types: &ProgramTypes) -> LayerStatistics {
    let node = &program.nodes[idx];
    let operand = node.inputs[0];
    let (input, output) = (types.of(operand), types.of(ValueId(idx + 1)));
    let mut found = LayerStatistics {
        name: node.name.clone(),
        op: "",
        input: input.to_string(),
        output: output.to_string(),
        n_weights: 0,
        weight_bits: 0,
        n_zeros: 0,
        bytes: 0,
        bit_macs: 0,
        f32_bytes: 0,
        thresholds: None,
        work: Work::default(),
    };
    let n_out = output.n_elements() as u64;
    match &node.op {
        Op::Dense { weights, bias } => {
            found.op = "dense";
            dense(&mut found, weights, bias.as_deref(), input.kind);
        }
        Op::Threshold(thresholds) => {
            found.op = "threshold";
            found.bytes = match &thresholds.at {
                ThresholdValues::Int(at) => int_bytes(at),
                ThresholdValues::Real(at) => 4 * at.len() as u64,
            };
            if thresholds.flip.contains(&true) {
                found.bytes += thresholds.flip.len().div_ceil(8) as u64;
            }
            found.thresholds = Some(threshold(thresholds, &|channel| {
                reach(program, types, operand, channel)
            }));
            found.work.int_ops = n_out;
        }
        Op::Quantize { cuts, .. } => {
            found.op = "quantize";
            let n_cuts;
            (n_cuts, found.bytes) = match cuts {
                Cuts::Int(cuts) => (cuts.len(), int_bytes(cuts)),
                Cuts::Real(cuts) => (cuts.len(), 4 * cuts.len() as u64),
            };
            found.work.int_ops = n_out * n_cuts as u64;
        }
        Op::Affine { scale, .. } => {
            found.op = "affine";
            found.bytes = 8 * scale.len() as u64;
            found.work.float_macs = n_out;
        }
        Op::Planes => found.op = "planes",
        Op::Concat => found.op = "concat",
        Op::Argmax => {
            found.op = "argmax";
            found.work.int_ops = input.n_elements() as u64;
        }
    }
    found.work.bytes = found.bytes;
    found
}

fn dense(found: &mut LayerStatistics, weights: &Weights, bias: Option<&[i32]>, input: Kind) {
    let (rows, cols) = (weights.n_rows() as u64, weights.n_cols() as u64);
    let planes = if let Kind::Levels(bits) = input {
        u64::from(bits)
    } else {
        1
    };
    let bias_bytes = bias.map_or(0, int_bytes);
    found.n_weights = rows * cols;
    found.bit_macs = rows * cols * planes;
    found.f32_bytes = 4 * (rows * cols + rows);
    found.work.int_ops = if bias.is_some() { rows } else { 0 };
    let plane_bytes = rows * cols.div_ceil(8);
    match weights {
        Weights::Bits(_) => {
            found.weight_bits = 1;
            found.bytes = plane_bytes + bias_bytes;
            found.work.bit_macs = found.bit_macs;
        }
        Weights::Ternary { .. } => {
            found.weight_bits = 2;
            found.bytes = 2 * plane_bytes + bias_bytes;
            let nonzero: u64 = (0..weights.n_rows())
                .map(|row| u64::from(weights.row_nonzero(row)))
                .sum();
            found.n_zeros = rows * cols - nonzero;
            found.work.ternary_macs = found.bit_macs;
        }
    }
}

/// The least and greatest value of one channel: exact for the sums of a dense op, else those of all channels.
fn reach(program: &Program, types: &ProgramTypes, id: ValueId, channel: usize) -> Option<IntRange> {
    let producer = id.0.checked_sub(1).map(|idx| &program.nodes[idx]);
    if let Some(Node {
        op: Op::Dense { weights, bias },
        inputs,
        ..
    }) = producer
    {
        let bias = bias.as_ref().map_or(0, |bias| bias[channel]);
        let reach = Reach::of_row(weights, channel, bias, types.of(inputs[0]).kind);
        return reach
            .map(|reach| IntRange {
                min: reach.min,
                max: reach.max,
            })
            .or(types.range(id));
    }
    types.range(id)
}

fn threshold(
    thresholds: &Thresholds,
    reach: &dyn Fn(usize) -> Option<IntRange>,
) -> ThresholdStatistics {
    let count = thresholds.flip.len();
    let n_flipped = thresholds.flip.iter().filter(|flip| **flip).count();
    let varying: Vec<f64> = match &thresholds.at {
        ThresholdValues::Int(at) => {
            let is_open = |(channel, at): &(usize, &i32)| {
                reach(*channel).is_none_or(|range| **at > range.min && **at <= range.max)
            };
            at.iter()
                .enumerate()
                .filter(is_open)
                .map(|(_, &at)| f64::from(at))
                .collect()
        }
        ThresholdValues::Real(at) => at
            .iter()
            .filter(|at| at.is_finite())
            .map(|&at| f64::from(at))
            .collect(),
    };
    let range = varying.iter().fold(None, |found: Option<(f64, f64)>, &at| {
        Some(found.map_or((at, at), |(low, high)| (low.min(at), high.max(at))))
    });
    ThresholdStatistics {
        count,
        range,
        n_constant: count - varying.len(),
        n_flipped,
    }
}

/// Bytes of integers in a file: the narrowest of 1, 2 and 4 that holds them all, where the least value of a
/// narrow type stands for `i32::MIN`.
fn int_bytes(ints: &[i32]) -> u64 {
    let fits = |max: i32| {
        ints.iter()
            .all(|&x| x == i32::MIN || (-max..=max).contains(&x))
    };
    let width = if fits(i8::MAX.into()) {
        1
    } else if fits(i16::MAX.into()) {
        2
    } else {
        4
    };
    width * ints.len() as u64
}

/// Sums over all layers.
pub fn totals(layers: &[LayerStatistics]) -> Totals {
    let mut totals = Totals::default();
    for layer in layers {
        totals.n_weights += layer.n_weights;
        totals.bytes += layer.bytes;
        totals.bit_macs += layer.bit_macs;
        totals.f32_bytes += layer.f32_bytes;
        let (sum, work) = (&mut totals.work, layer.work);
        sum.bit_macs += work.bit_macs;
        sum.ternary_macs += work.ternary_macs;
        sum.int_ops += work.int_ops;
        sum.float_macs += work.float_macs;
        sum.bytes += work.bytes;
    }
    totals.f32_work = Work {
        float_macs: totals.n_weights,
        bytes: totals.f32_bytes,
        ..Work::default()
    };
    totals
}

/// The layers as a table.
pub fn table(layers: &[LayerStatistics]) -> Table {
    let mut table = Table::new(&[
        ("layer", Align::Left),
        ("op", Align::Left),
        ("input", Align::Left),
        ("output", Align::Left),
        ("weights", Align::Right),
        ("bits each", Align::Right),
        ("zero", Align::Right),
        ("bytes", Align::Right),
        ("bit-MACs", Align::Right),
        ("thresholds", Align::Left),
    ]);
    let count = |n: u64| if n == 0 { String::new() } else { grouped(n) };
    for layer in layers {
        let zero = match layer.n_zeros {
            0 => String::new(),
            n => format!("{:.1} %", 100.0 * n as f64 / layer.n_weights as f64),
        };
        table.row(vec![
            layer.name.clone(),
            layer.op.into(),
            layer.input.clone(),
            layer.output.clone(),
            count(layer.n_weights),
            count(u64::from(layer.weight_bits)),
            zero,
            count(layer.bytes),
            count(layer.bit_macs),
            layer
                .thresholds
                .as_ref()
                .map_or(String::new(), ThresholdStatistics::text),
        ]);
    }
    table
}

impl ThresholdStatistics {
    fn text(&self) -> String {
        let mut text = self.count.to_string();
        if let Some((low, high)) = self.range {
            match low == high {
                true => text.push_str(&format!(" at {low}")),
                false => text.push_str(&format!(" in {low}..={high}")),
            }
        }
        if self.n_constant > 0 {
            text.push_str(&format!(", {} constant", self.n_constant));
        }
        if self.n_flipped > 0 {
            text.push_str(&format!(", {} flipped", self.n_flipped));
        }
        text
    }
}

impl LayerStatistics {
    /// For `--json`.
    pub fn json(&self) -> Value {
        json!({
            "name": self.name,
            "op": self.op,
            "input": self.input,
            "output": self.output,
            "weights": self.n_weights,
            "bits_per_weight": self.weight_bits,
            "zero_weights": self.n_zeros,
            "bytes": self.bytes,
            "bit_macs": self.bit_macs,
            "f32_bytes": self.f32_bytes,
            "thresholds": self.thresholds.as_ref().map(|t| json!({
                "count": t.count,
                "min": t.range.map(|range| range.0),
                "max": t.range.map(|range| range.1),
                "constant": t.n_constant,
                "flipped": t.n_flipped,
            })),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use onebit_model::{bnn, verify};

    #[test]
    fn bytes_are_those_of_the_file() {
        for seed in 0..100 {
            let program = onebit_testkit::random_program(seed);
            let types = verify(&program).unwrap();
            let file = bnn::write(&program);
            let header = u64::from_le_bytes(file[..8].try_into().unwrap());
            let counted = totals(&layers(&program, &types)).bytes;
            assert_eq!(counted, file.len() as u64 - 8 - header, "seed {seed}");
        }
    }
}

//! What a Program consists of, layer by layer.
//!
//! In: a verified Program. Out: counts of weights, bytes, operations and thresholds, and their totals against
//! the same layers in float32. Shown by `inspect`, cards and reports.

use onebit_compile::{Elements, Reach};
use onebit_model::program::{
    Cuts, Kind, Node, Op, Program, ThresholdValues, Thresholds, Type, ValueId, Window,
};
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
    /// Bits that one weight is stored in: 1, or 2 for ternary ones, 2 to 7 for planes, 8 and 32 for integers and reals.
    pub weight_bits: u32,
    /// Weights that are zero.
    pub n_zeros: u64,
    /// Bytes of weights and constants, as `.bnn` stores them.
    pub bytes: u64,
    /// Products of single bits for one image.
    pub bit_macs: u64,
    /// Other products for one image: those of integers and reals.
    pub macs: u64,
    /// Bytes of the same layer in float32, with one bias an output.
    pub f32_bytes: u64,
    /// Products of the same layer in float32.
    pub f32_macs: u64,
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
    /// Other products for one image.
    pub macs: u64,
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
        op: node.op.name(),
        input: input.to_string(),
        output: output.to_string(),
        n_weights: 0,
        weight_bits: 0,
        n_zeros: 0,
        bytes: constant_bytes(&node.op),
        bit_macs: 0,
        macs: 0,
        f32_bytes: 0,
        f32_macs: 0,
        thresholds: None,
        work: element_work(&node.op, input, output),
    };
    match &node.op {
        Op::Dense { weights, bias } => product(&mut found, weights, bias.is_some(), input.kind, 1),
        Op::Conv2d(conv) => {
            let positions: usize = output.shape[..2].iter().product();
            let has_bias = conv.bias.is_some();
            product(
                &mut found,
                &conv.weights,
                has_bias,
                input.kind,
                positions as u64,
            );
        }
        Op::Threshold(thresholds) => {
            found.thresholds = Some(threshold(thresholds, &|channel| {
                reach(program, types, operand, channel)
            }));
        }
        Op::Prelu { .. } | Op::Rprelu { .. } | Op::GroupNorm(_) => {
            found.f32_bytes = found.bytes;
        }
        _ => {}
    }
    found.work.bytes = found.bytes;
    found
}

/// Bytes of weights and constants, as `.bnn` stores them.
fn constant_bytes(op: &Op) -> u64 {
    match op {
        Op::Dense { weights, bias } => weight_bytes(weights) + bias.as_deref().map_or(0, int_bytes),
        Op::Conv2d(conv) => weight_bytes(&conv.weights) + conv.bias.as_deref().map_or(0, int_bytes),
        Op::Threshold(thresholds) => {
            let at = match &thresholds.at {
                ThresholdValues::Int(at) => int_bytes(at),
                ThresholdValues::Real(at) => 4 * at.len() as u64,
            };
            let is_flipped = thresholds.flip.contains(&true);
            let flags = thresholds.flip.len().div_ceil(8) as u64;
            at + if is_flipped { flags } else { 0 }
        }
        Op::Quantize { cuts, .. } => match cuts {
            Cuts::Int(cuts) => int_bytes(cuts),
            Cuts::Real(cuts) => 4 * cuts.len() as u64,
        },
        Op::Affine { scale, .. } => 8 * scale.len() as u64,
        Op::Prelu { slope } => 4 * slope.len() as u64,
        Op::Rprelu { slope, .. } => 12 * slope.len() as u64,
        Op::GroupNorm(norm) => 8 * norm.gamma.len() as u64,
        _ => 0,
    }
}

fn weight_bytes(weights: &Weights) -> u64 {
    let (rows, cols) = (weights.n_rows() as u64, weights.n_cols() as u64);
    let plane = rows * cols.div_ceil(8);
    match weights {
        Weights::Bits(_) => plane,
        Weights::Ternary { .. } => 2 * plane,
        Weights::Planes(planes) => planes.planes().len() as u64 * plane,
        Weights::Int8(_) => rows * cols,
        Weights::Real(_) => 4 * rows * cols,
    }
}

/// The work of an op that treats its elements one by one; products are counted by [`product`].
fn element_work(op: &Op, input: &Type, output: &Type) -> Work {
    let (n_in, n_out) = (input.n_elements() as u64, output.n_elements() as u64);
    let taps = |window: &Window| n_out * (window.kernel[0] * window.kernel[1]) as u64;
    let ints = |int_ops| Work {
        int_ops,
        ..Work::default()
    };
    let floats = |float_adds, float_macs| Work {
        float_adds,
        float_macs,
        ..Work::default()
    };
    let sums = |n: u64| {
        if input.kind == Kind::Real {
            floats(n, n_out)
        } else {
            let float_macs = n_out;
            Work {
                float_macs,
                ..ints(n)
            }
        }
    };
    match op {
        Op::Threshold(_) | Op::Relu | Op::Clip { .. } => ints(n_out),
        Op::Quantize { bits, .. } => ints(n_out * ((1 << bits) - 1)),
        Op::Affine { .. } | Op::Prelu { .. } | Op::Mul => floats(0, n_out),
        Op::Rprelu { .. } => floats(2 * n_out, n_out),
        Op::Add if input.kind == Kind::Real => floats(n_out, 0),
        Op::Add => ints(n_out),
        // An OR of single bits is a gate or two, which is nothing beside the rest.
        Op::MaxPool(_) if input.kind == Kind::Bits => Work::default(),
        Op::MaxPool(window) => ints(taps(window)),
        Op::AvgPool { window, .. } => sums(taps(window)),
        Op::GlobalAvgPool => sums(n_in),
        // Mean and variance, then the deviation, its quotient, gain and offset.
        Op::GroupNorm(_) => floats(3 * n_in, 3 * n_in),
        // The polynomial of the exponential and the division.
        Op::Softmax => floats(2 * n_in, 9 * n_in),
        Op::Argmax => ints(n_in),
        Op::Dense { .. }
        | Op::Conv2d(_)
        | Op::Planes
        | Op::Concat
        | Op::ConcatChannels
        | Op::Slice { .. }
        | Op::Reshape { .. }
        | Op::Transpose { .. } => Work::default(),
    }
}

/// Counts a product that is taken at a number of positions.
fn product(
    found: &mut LayerStatistics,
    weights: &Weights,
    has_bias: bool,
    input: Kind,
    positions: u64,
) {
    let (rows, cols) = (weights.n_rows() as u64, weights.n_cols() as u64);
    let macs = rows * cols * positions;
    let nonzero: u64 = (0..weights.n_rows())
        .map(|row| u64::from(weights.row_nonzero(row)))
        .sum();
    found.n_weights = rows * cols;
    found.n_zeros = rows * cols - nonzero;
    found.f32_bytes = 4 * (rows * cols + rows);
    found.f32_macs = macs;
    found.work.int_ops = if has_bias { rows * positions } else { 0 };
    found.weight_bits = match weights {
        Weights::Bits(_) => 1,
        Weights::Ternary { .. } => 2,
        Weights::Planes(planes) => planes.planes().len() as u32,
        Weights::Int8(_) => 8,
        Weights::Real(_) => 32,
    };
    let planes = match input {
        Kind::Bits => Some(1),
        Kind::Levels(bits) => Some(u64::from(bits)),
        Kind::Int | Kind::Real => None,
    };
    let weight_planes = match weights {
        Weights::Bits(_) | Weights::Ternary { .. } => Some(1),
        Weights::Planes(planes) => Some(planes.planes().len() as u64),
        Weights::Int8(_) | Weights::Real(_) => None,
    };
    match planes.zip(weight_planes) {
        Some((planes, weight_planes)) => found.bit_macs = macs * planes * weight_planes,
        None => found.macs = macs,
    }
    let work = &mut found.work;
    match (weights, input) {
        (Weights::Bits(_) | Weights::Planes(_), Kind::Bits | Kind::Levels(_)) => {
            work.bit_macs = found.bit_macs;
        }
        (Weights::Ternary { .. }, Kind::Bits | Kind::Levels(_)) => {
            work.ternary_macs = found.bit_macs;
        }
        // A weight of -1, 0 or +1 makes a sum of a product, and so does a single bit.
        (Weights::Bits(_) | Weights::Ternary { .. }, Kind::Int)
        | (Weights::Int8(_), Kind::Bits) => {
            work.int_ops += macs;
        }
        (Weights::Bits(_) | Weights::Ternary { .. }, Kind::Real)
        | (Weights::Real(_), Kind::Bits) => {
            work.float_adds += macs;
        }
        (Weights::Int8(_), Kind::Levels(_)) => work.int8_macs = macs,
        (Weights::Planes(_) | Weights::Int8(_), Kind::Int) => work.int32_macs = macs,
        (Weights::Planes(_) | Weights::Int8(_), Kind::Real) | (Weights::Real(_), _) => {
            work.float_macs += macs;
        }
    }
}

/// The least and greatest value of one channel: exact for the sums of a product, else those of all channels.
fn reach(program: &Program, types: &ProgramTypes, id: ValueId, channel: usize) -> Option<IntRange> {
    let producer = id.0.checked_sub(1).map(|idx| &program.nodes[idx]);
    let elements = |node: &Node| {
        let operand = node.inputs[0];
        Elements::of_value(types.of(operand).kind, types.range(operand))
    };
    let of_row = |weights: &Weights, bias: &Option<Vec<i32>>, elements: Option<Elements>| {
        let bias = bias.as_ref().map_or(0, |bias| bias[channel]);
        Reach::of_sum(weights, channel, bias, elements?)
    };
    let reach = match producer {
        Some(node) => match &node.op {
            Op::Dense { weights, bias } => of_row(weights, bias, elements(node)),
            Op::Conv2d(conv) => {
                let elements = elements(node).map(|elements| elements.with_padding(conv));
                of_row(&conv.weights, &conv.bias, elements)
            }
            _ => None,
        },
        None => None,
    };
    let range = |reach: Reach| IntRange {
        min: reach.min,
        max: reach.max,
    };
    reach.map(range).or(types.range(id))
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
        totals.macs += layer.macs;
        totals.f32_bytes += layer.f32_bytes;
        let (sum, work) = (&mut totals.work, layer.work);
        sum.bit_macs += work.bit_macs;
        sum.ternary_macs += work.ternary_macs;
        sum.int8_macs += work.int8_macs;
        sum.int32_macs += work.int32_macs;
        sum.int_ops += work.int_ops;
        sum.float_adds += work.float_adds;
        sum.float_macs += work.float_macs;
        sum.bytes += work.bytes;
    }
    totals.f32_work = Work {
        float_macs: layers.iter().map(|layer| layer.f32_macs).sum(),
        bytes: totals.f32_bytes,
        ..Work::default()
    };
    totals
}

/// The layers as a table.
pub fn table(layers: &[LayerStatistics]) -> Table {
    // Most Programs have products of bits only, and then there is nothing to say about others.
    let has_macs = layers.iter().any(|layer| layer.macs > 0);
    let mut headings = vec![
        ("layer", Align::Left),
        ("op", Align::Left),
        ("input", Align::Left),
        ("output", Align::Left),
        ("weights", Align::Right),
        ("bits each", Align::Right),
        ("zero", Align::Right),
        ("bytes", Align::Right),
        ("bit-MACs", Align::Right),
        ("MACs", Align::Right),
        ("thresholds", Align::Left),
    ];
    headings.retain(|(heading, _)| has_macs || *heading != "MACs");
    let mut table = Table::new(&headings);
    let count = |n: u64| if n == 0 { String::new() } else { grouped(n) };
    for layer in layers {
        let zero = match layer.n_zeros {
            0 => String::new(),
            n => format!("{:.1} %", 100.0 * n as f64 / layer.n_weights as f64),
        };
        let mut row = vec![
            layer.name.clone(),
            layer.op.into(),
            layer.input.clone(),
            layer.output.clone(),
            count(layer.n_weights),
            count(u64::from(layer.weight_bits)),
            zero,
            count(layer.bytes),
            count(layer.bit_macs),
        ];
        row.extend(has_macs.then(|| count(layer.macs)));
        let thresholds = layer.thresholds.as_ref();
        row.push(thresholds.map_or(String::new(), ThresholdStatistics::text));
        table.row(row);
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
            "macs": self.macs,
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

    #[test]
    fn a_convolution_works_at_every_position() {
        use onebit_model::builder::ProgramBuilder;
        use onebit_model::program::{Conv2d, Window};
        use onebit_model::weights::{BitMatrix, Matrix};

        let mut b = ProgramBuilder::new("net", Kind::Levels(2), &[5, 6, 4]);
        let conv = |weights| Conv2d {
            weights,
            bias: None,
            window: Window::new([3, 3]),
            groups: 2,
            pad: 0,
        };
        let bits = Weights::Bits(BitMatrix::zeros(8, 18));
        let x = b.conv2d("bits", b.input(), conv(bits));
        let int8 = Weights::Int8(Matrix::from_fn(2, 36, |_, col| (col % 2) as i8));
        let y = b.conv2d("int8", x, conv(int8));
        let program = b.finish(y).unwrap();
        let layers = layers(&program, &verify(&program).unwrap());
        let [first, second] = &layers[..] else {
            panic!("two layers")
        };
        assert_eq!(
            (first.n_weights, first.bit_macs, first.macs),
            (144, 144 * 12 * 2, 0)
        );
        assert_eq!((first.f32_macs, first.f32_bytes), (144 * 12, 4 * (144 + 8)));
        assert_eq!(
            (second.bit_macs, second.macs, second.n_zeros),
            (0, 72 * 2, 36)
        );
        assert_eq!(second.work.int32_macs, 72 * 2);
        assert_eq!((second.weight_bits, second.bytes), (8, 72));
    }

    #[test]
    fn weights_of_two_bits_on_codes_of_three_take_six_bit_products_each() {
        use onebit_model::builder::ProgramBuilder;
        use onebit_model::weights::BitPlanes;

        let mut b = ProgramBuilder::new("net", Kind::Levels(3), &[20]);
        let planes = BitPlanes::from_fn(2, 5, 20, |row, col| [-3, -1, 1, 3][(row + col) % 4]);
        let x = b.dense("fc", b.input(), Weights::Planes(planes), None);
        let program = b.finish(x).unwrap();
        let layer = &layers(&program, &verify(&program).unwrap())[0];
        assert_eq!((layer.n_weights, layer.n_zeros), (100, 0));
        assert_eq!((layer.bit_macs, layer.macs), (100 * 6, 0));
        assert_eq!(layer.work.bit_macs, layer.bit_macs);
        assert_eq!((layer.weight_bits, layer.bytes), (2, 2 * 5 * 3));
    }
}

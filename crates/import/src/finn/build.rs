//! The Program of a BNN-PYNQ network.
//!
//! In: a row of the tables and the unfolded numbers of its layers. Out: the Program, every threshold
//! translated exactly. Owns the arithmetic of the original hardware as it is in Programs.

use onebit_model::VerifyErrors;
use onebit_model::builder::ProgramBuilder;
use onebit_model::program::{Conv2d, Cuts, Kind, Op, Program, ValueId, Window};
use onebit_model::weights::{BitMatrix, Matrix, Weights};

use crate::Head;
use crate::finn::folds::Unfolded;
use crate::finn::nets::{Input, LayerKind, Net};

/// What the operand of a layer is, and so how its codes become numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operand {
    /// -1 and +1.
    Bits,
    /// Codes 0, 1, 2 for -1, 0, +1.
    Signed2,
    /// Codes 0 to 255 for -128 to 127, in units of 1/128.
    Fixed8,
}

impl Operand {
    /// The code of the number 0, which the bias takes off every element.
    fn zero_code(self) -> i32 {
        match self {
            Operand::Bits => 0,
            Operand::Signed2 => 1,
            Operand::Fixed8 => 128,
        }
    }
}

/// Builds the Program; `layers` are those of `net`, the last one with as many rows as there are classes.
pub(super) fn build(
    net: &Net,
    layers: &[Unfolded],
    classes: &[String],
    head: Head,
) -> Result<Program, VerifyErrors> {
    let mut b = match net.input {
        Input::Binary => ProgramBuilder::new(net.name, Kind::Levels(8), &[28, 28, 1]),
        Input::FixedPoint => ProgramBuilder::new(net.name, Kind::Levels(8), &[32, 32, 3]),
    };
    // The note joins names with commas.
    if !classes.is_empty() && classes.iter().all(|name| !name.contains(',')) {
        b.note("classes", &classes.join(","));
    }
    let (mut x, mut operand) = match net.input {
        Input::Binary => (b.threshold("binarize", b.input(), vec![128]), Operand::Bits),
        Input::FixedPoint => {
            let cuts = Cuts::Int(fixed_point_cuts());
            (
                b.quantize("fixed-point", b.input(), 8, cuts),
                Operand::Fixed8,
            )
        }
    };
    let mut window_n = 0;
    let mut dense_n = 0;
    let (last, hidden) = layers.split_last().expect("every table has layers");
    for (layer_idx, numbers) in hidden.iter().enumerate() {
        let kind = net.layers[layer_idx].kind;
        let name = match kind {
            LayerKind::Dense => {
                dense_n += 1;
                format!("fc{dense_n}")
            }
            LayerKind::Conv | LayerKind::ConvPool => {
                window_n += 1;
                format!("conv{window_n}")
            }
        };
        x = product(
            &mut b,
            &name,
            x,
            operand,
            net.weights(layer_idx, numbers),
            kind,
        );
        let cuts = cuts(net, layer_idx, numbers, operand);
        (x, operand) = activation(&mut b, &name, x, cuts);
        if kind == LayerKind::ConvPool {
            let stride = [2, 2];
            let window = Window {
                stride,
                ..Window::new([2, 2])
            };
            x = b.node(&format!("pool{window_n}"), Op::MaxPool(window), &[x]);
        }
    }
    let output = finish(&mut b, net, last, x, operand, head);
    b.finish(output)
}

impl Net {
    /// The weights of a layer, without the columns that have no input.
    fn weights(&self, layer_idx: usize, numbers: &Unfolded) -> Weights {
        let (n_rows, n_cols) = (numbers.weights.n_rows(), self.layers[layer_idx].used_cols);
        let plane = |of: fn(i8) -> bool| {
            BitMatrix::from_fn(n_rows, n_cols, |row, col| of(numbers.weights.row(row)[col]))
        };
        let sign = plane(|weight| weight > 0);
        if self.weight_bits == 1 {
            Weights::Bits(sign)
        } else {
            let mask = plane(|weight| weight != 0);
            Weights::Ternary { sign, mask }
        }
    }
}

/// The codes of 8-bit fixed point: pixel `p` becomes `min((512 p + 255) / 510, 255)`, 128 above its value.
fn fixed_point_cuts() -> Vec<i32> {
    let code = |pixel: i32| ((512 * pixel + 255) / 510).min(255);
    let first = |wanted: i32| (0..=255).find(|&pixel| code(pixel) >= wanted);
    (1..=255)
        .map(|wanted| first(wanted).expect("pixel 255 has code 255"))
        .collect()
}

/// The sum of a layer over the numbers that its operand stands for.
fn product(
    b: &mut ProgramBuilder,
    name: &str,
    x: ValueId,
    operand: Operand,
    weights: Weights,
    kind: LayerKind,
) -> ValueId {
    let zero_code = operand.zero_code();
    let bias = (zero_code != 0).then(|| {
        let sum = |row| {
            let (plus, minus) = weights.row_sums(row);
            i32::try_from(plus + minus).expect("no row has 2^24 weights")
        };
        (0..weights.n_rows())
            .map(|row| -zero_code * sum(row))
            .collect()
    });
    if kind == LayerKind::Dense {
        return b.dense(name, x, weights, bias);
    }
    let conv = Conv2d {
        weights,
        bias,
        window: Window::new([3, 3]),
        groups: 1,
        pad: 0,
    };
    b.node(name, Op::Conv2d(conv), &[x])
}

/// Per row the least sums that pass each threshold, ascending: `sum >= cut` is what the hardware compares.
fn cuts(net: &Net, layer_idx: usize, numbers: &Unfolded, operand: Operand) -> Vec<Vec<i32>> {
    let layer = &net.layers[layer_idx];
    let rows = numbers.thresholds.iter().enumerate();
    rows.map(|(row, thresholds)| {
        // A column without an input reads the bit 0, which is -1.
        let padding = &numbers.weights.row(row)[layer.used_cols..];
        let padding_sum: i64 = padding.iter().map(|&weight| -i64::from(weight)).sum();
        let cut = |&threshold: &i64| {
            let least = match operand {
                // 2 sum > T; the stored number has 8 fractional bits, the sum 7.
                Operand::Fixed8 => i128::from(threshold.div_euclid(2)) + 1,
                // popcount > T, and sum = 2 popcount - columns.
                Operand::Bits if net.counts_ones(operand) => {
                    2 * (i128::from(threshold) + 1) - layer.cols as i128
                }
                Operand::Bits | Operand::Signed2 => i128::from(threshold) + 1,
            };
            let least = least - i128::from(padding_sum);
            // Beyond these no sum of so few weights reaches, so the comparison stays the same.
            least.clamp(i128::from(i32::MIN), i128::from(i32::MAX)) as i32
        };
        thresholds.iter().map(cut).collect()
    })
    .collect()
}

impl Net {
    /// Whether sums over this operand are kept as the popcount of an XNOR, and thresholds are for that.
    fn counts_ones(&self, operand: Operand) -> bool {
        operand == Operand::Bits && self.weight_bits == 1 && self.activation_bits == 1
    }
}

fn activation(
    b: &mut ProgramBuilder,
    name: &str,
    x: ValueId,
    cuts: Vec<Vec<i32>>,
) -> (ValueId, Operand) {
    let n_cuts = cuts.first().map_or(0, Vec::len);
    if n_cuts == 1 {
        let at = cuts.into_iter().flatten().collect();
        return (b.threshold(&format!("{name}.sign"), x, at), Operand::Bits);
    }
    // Code 3 is not used: no sum reaches its cut.
    let cuts = cuts
        .into_iter()
        .flat_map(|row| row.into_iter().chain([i32::MAX]))
        .collect();
    let codes = b.quantize(&format!("{name}.codes"), x, 2, Cuts::Int(cuts));
    (codes, Operand::Signed2)
}

/// The last layer and what is answered.
fn finish(
    b: &mut ProgramBuilder,
    net: &Net,
    numbers: &Unfolded,
    x: ValueId,
    operand: Operand,
    head: Head,
) -> ValueId {
    let layer_idx = net.layers.len() - 1;
    let weights = net.weights(layer_idx, numbers);
    let n_classes = weights.n_rows();
    if net.has_last_threshold && head == Head::Scores {
        let sums = product(b, "scores", x, operand, weights, LayerKind::Dense);
        let cuts = cuts(net, layer_idx, numbers, operand);
        let (bits, _) = activation(b, "scores", sums, cuts);
        // The host takes the highest bit that is set, or 0: class c answers +(c + 1) where its bit is set and
        // -(c + 1) where it is not, so the greatest is the highest set bit, or class 0 with -1.
        let class_weight =
            |row: usize| i8::try_from(row + 1).expect("there are at most 64 classes");
        let diagonal = Matrix::from_fn(n_classes, n_classes, |row, col| {
            if row == col { class_weight(row) } else { 0 }
        });
        return b.dense("highest", bits, Weights::Int8(diagonal), None);
    }
    if !net.counts_ones(operand) {
        return product(b, "scores", x, operand, weights, LayerKind::Dense);
    }
    // popcount(XNOR(x, w)) over bits x as 0 and 1: a weight +1 counts x, a weight -1 counts 1 - x.
    let codes = b.quantize("zero-one", x, 1, Cuts::Int(vec![0]));
    let bias = (0..n_classes)
        .map(|row| i32::try_from(-weights.row_sums(row).1).expect("no row has 2^31 weights"))
        .collect();
    b.dense("scores", codes, weights, Some(bias))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_point_codes_are_those_of_the_host() {
        let cuts = fixed_point_cuts();
        assert_eq!(cuts.len(), 255);
        for pixel in 0..=255i32 {
            let value = ((pixel * 512 + 255) / 510 - 128).min(127);
            let code = cuts.iter().filter(|&&cut| pixel >= cut).count() as i32;
            assert_eq!(code - 128, value, "pixel {pixel}");
        }
    }
}

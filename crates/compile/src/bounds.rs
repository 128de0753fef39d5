//! Bounds: between which finite numbers the elements of real values lie.
//!
//! A verified Program comes in; for each value its bounds go out where it is certain that no element is
//! NaN or infinite. Rounding keeps order, so the bounds of most ops are the op's results at the bounds of
//! their operands. Where sums round many times the bounds are wide, but they hold.

use onebit_model::ProgramTypes;
use onebit_model::program::{GroupNorm, Kind, Node, Op, Program, ValueId};
use onebit_model::scalar;
use onebit_model::weights::Weights;

/// The least and the greatest element; both finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// No element is less.
    pub low: f32,
    /// No element is greater.
    pub high: f32,
}

/// A sum of 2^24 rounded terms of one sign, each rounded itself, is at most this many times the exact one:
/// `(1 + 2^-24)^(2^24 + 1)` is below 3.
const MAX_GROWTH: f64 = 4.0;

/// The bounds of every value, as binary32; `None` where an element may be NaN or infinite.
pub fn bounds(program: &Program, types: &ProgramTypes) -> Vec<Option<Bounds>> {
    let mut found: Vec<Option<Bounds>> = vec![of_integers(types, ValueId(0))];
    for (node_idx, node) in program.nodes.iter().enumerate() {
        let id = ValueId(node_idx + 1);
        let bounds = match types.of(id).kind {
            Kind::Real => of_node(node, &found),
            _ => of_integers(types, id),
        };
        found.push(bounds);
    }
    found
}

/// The bounds of a value that is not real, converted.
fn of_integers(types: &ProgramTypes, id: ValueId) -> Option<Bounds> {
    let range = types.range(id)?;
    Some(Bounds {
        low: range.min as f32,
        high: range.max as f32,
    })
}

/// The bounds of a real node.
fn of_node(node: &Node, found: &[Option<Bounds>]) -> Option<Bounds> {
    if let &Op::Clip { min, max } = &node.op
        && min.is_finite()
        && max.is_finite()
    {
        return around([min, max]);
    }
    let operand = |idx: usize| found[node.inputs[idx].0];
    let x = operand(0)?;
    match &node.op {
        Op::Affine { scale, shift } => {
            let channels = scale.iter().zip(shift);
            around(channels.flat_map(|(&scale, &shift)| {
                [x.low, x.high].map(|x| scalar::affine(x, scale, shift))
            }))
        }
        Op::Relu => around([x.low, x.high].map(scalar::relu)),
        &Op::Clip { min, max } => around([x.low, x.high].map(|x| scalar::clip(x, min, max))),
        Op::Prelu { slope } => around(slope.iter().flat_map(|&slope| of_prelu(x, slope))),
        Op::Rprelu {
            before,
            slope,
            after,
        } => {
            let of_channel = |channel: usize| {
                let shifted = Bounds {
                    low: x.low + before[channel],
                    high: x.high + before[channel],
                };
                of_prelu(shifted, slope[channel]).map(|y| y + after[channel])
            };
            around((0..slope.len()).flat_map(of_channel))
        }
        Op::GroupNorm(norm) => of_group_norm(norm, magnitude(x)),
        Op::Add => {
            let y = operand(1)?;
            around([x.low + y.low, x.high + y.high])
        }
        Op::Mul => {
            let y = operand(1)?;
            let products = |x: f32| [x * y.low, x * y.high];
            around([x.low, x.high].into_iter().flat_map(products))
        }
        Op::ConcatChannels => {
            let all: Option<Vec<Bounds>> = (0..node.inputs.len()).map(operand).collect();
            around(all?.into_iter().flat_map(|x| [x.low, x.high]))
        }
        Op::Slice { .. } | Op::Reshape { .. } | Op::Transpose { .. } | Op::MaxPool(_) => Some(x),
        // The divisor is at least the number of terms.
        Op::AvgPool { .. } | Op::GlobalAvgPool => within(magnitude(x)),
        Op::Dense { weights, .. } => of_product(weights, magnitude(x)),
        Op::Conv2d(conv) => {
            let pad = f64::from(conv.pad.unsigned_abs());
            of_product(&conv.weights, magnitude(x).max(pad))
        }
        Op::Softmax => around([0.0, 1.0]),
        Op::Threshold(_) | Op::Quantize { .. } | Op::Planes | Op::Concat | Op::Argmax => None,
    }
}

/// The ends of a prelu: its corner is at zero.
fn of_prelu(x: Bounds, slope: f32) -> [f32; 3] {
    let (low, high) = (scalar::prelu(x.low, slope), scalar::prelu(x.high, slope));
    let has_corner = x.low <= 0.0 && x.high >= 0.0;
    [low, high, if has_corner { 0.0 } else { low }]
}

/// The bounds of sums of weights times elements of at most this magnitude.
fn of_product(weights: &Weights, magnitude: f64) -> Option<Bounds> {
    let row_sum = |row: usize| {
        let columns = 0..weights.n_cols();
        let sizes = columns.map(|col| f64::from(weights.get_real(row, col).abs()));
        sizes.sum::<f64>()
    };
    let greatest = (0..weights.n_rows()).map(row_sum).fold(0.0, f64::max);
    within(greatest * magnitude)
}

/// The bounds of group-normalised elements of at most this magnitude.
fn of_group_norm(norm: &GroupNorm, magnitude: f64) -> Option<Bounds> {
    // A mean is at most `MAX_GROWTH` times its elements; the variance is not below zero.
    let deviation = (1.0 + MAX_GROWTH) * magnitude;
    within(deviation * deviation)?;
    let least_root = f64::from(norm.eps).sqrt();
    if least_root == 0.0 {
        return None;
    }
    let greatest = |list: &[f32]| list.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    let gained = deviation / least_root * f64::from(greatest(&norm.gamma));
    within(gained + f64::from(greatest(&norm.beta)))
}

fn magnitude(x: Bounds) -> f64 {
    f64::from(x.low.abs().max(x.high.abs()))
}

/// The bounds of a rounded sum whose exact terms together have at most this magnitude.
fn within(magnitude: f64) -> Option<Bounds> {
    // A thousandth of the greatest binary32 leaves room for partial sums and for averages before division.
    let is_safe = magnitude * f64::from(1u32 << 24) < f64::from(f32::MAX) / 1000.0;
    let high = (magnitude * MAX_GROWTH) as f32;
    is_safe.then_some(Bounds { low: -high, high })
}

/// The least and the greatest of some numbers; `None` if one is not finite.
fn around(ends: impl IntoIterator<Item = f32>) -> Option<Bounds> {
    let mut bounds: Option<Bounds> = None;
    for end in ends {
        if !end.is_finite() {
            return None;
        }
        let so_far = bounds.unwrap_or(Bounds {
            low: end,
            high: end,
        });
        bounds = Some(Bounds {
            low: so_far.low.min(end),
            high: so_far.high.max(end),
        });
    }
    bounds
}

#[cfg(test)]
mod tests {
    use super::*;
    use onebit_model::{Tensor, interpret_all, verify};
    use onebit_testkit::{random_conv_program, random_input, random_program};

    #[test]
    fn every_element_lies_within_the_bounds() {
        let mut n_known = 0;
        for seed in 0..300 {
            for program in [random_program(seed), random_conv_program(seed % 40)] {
                let types = verify(&program).unwrap();
                let found = bounds(&program, &types);
                let input = random_input(&program, seed);
                let values = interpret_all(&program, &types, &input);
                for (value, bounds) in values.iter().zip(found) {
                    let (Tensor::Real(x), Some(bounds)) = (value, bounds) else {
                        continue;
                    };
                    n_known += 1;
                    let is_inside = |x: &f32| (bounds.low..=bounds.high).contains(x);
                    assert!(x.iter().all(is_inside), "seed {seed} {bounds:?}");
                }
            }
        }
        assert!(n_known > 500, "{n_known}");
    }

    #[test]
    fn pixels_keep_chains_finite() {
        let known = |seed| {
            let program = random_conv_program(seed);
            let found = bounds(&program, &verify(&program).unwrap());
            program.input.kind != Kind::Levels(8) || found.iter().all(Option::is_some)
        };
        assert!((0..40).all(known));
    }
}

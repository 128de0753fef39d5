//! The interpreter against a second reading of the definition, written per element.

use onebit_model::program::{
    Conv2d, Cuts, Kind, Op, Program, ThresholdValues, Type, ValueId, Window,
};
use onebit_model::weights::Weights;
use onebit_model::{Tensor, interpret, interpret_all, verify};
use onebit_testkit::{random_conv_program, random_input, random_program};

/// An element as the exact number it stands for.
fn number(x: &Tensor, idx: usize) -> f64 {
    match x {
        Tensor::Bits(x) => {
            if x[idx] {
                1.0
            } else {
                -1.0
            }
        }
        Tensor::Levels(x) => x[idx].into(),
        Tensor::Int(x) => x[idx].into(),
        Tensor::Real(x) => x[idx].into(),
    }
}

/// A multi-index of a shape, row-major.
fn unravel(mut idx: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for axis in (0..shape.len()).rev() {
        index[axis] = idx % shape[axis];
        idx /= shape[axis];
    }
    index
}

fn ravel(index: &[usize], shape: &[usize]) -> usize {
    let mut idx = 0;
    for (i, size) in index.iter().zip(shape) {
        idx = idx * size + i;
    }
    idx
}

/// An operand: its elements and its type.
#[derive(Clone, Copy)]
struct Operand<'a> {
    x: &'a Tensor,
    ty: &'a Type,
}

impl Operand<'_> {
    /// Each tap of a window at an output: `None` in the padding, else the element's index for channel 0.
    fn taps(self, window: &Window, y: usize, x: usize) -> Vec<Option<usize>> {
        let [height, width, n_channels] = self.ty.shape[..].try_into().unwrap();
        let mut taps = Vec::new();
        for i in 0..window.kernel[0] {
            for j in 0..window.kernel[1] {
                let at = |out: usize, tap: usize, axis: usize| {
                    (out * window.stride[axis] + tap * window.dilation[axis]) as i64
                        - window.pads[axis] as i64
                };
                let (row, col) = (at(y, i, 0), at(x, j, 1));
                let is_inside =
                    (0..height as i64).contains(&row) && (0..width as i64).contains(&col);
                taps.push(is_inside.then(|| (row as usize * width + col as usize) * n_channels));
            }
        }
        taps
    }
}

/// The terms `(weight, element)` of one row, added up as the definition says.
fn sum_of(weights: &Weights, row: usize, bias: &Option<Vec<i32>>, x: &[f64], is_real: bool) -> f64 {
    if is_real || weights.is_real() {
        let mut sum = 0.0f32;
        for (col, x) in x.iter().enumerate() {
            let product = weights.get_real(row, col) * *x as f32;
            sum += product;
        }
        return sum.into();
    }
    let terms = x.iter().enumerate();
    let sum: i64 = terms
        .map(|(col, &x)| i64::from(weights.get(row, col)) * x as i64)
        .sum();
    (sum + bias.as_ref().map_or(0, |bias| i64::from(bias[row]))) as f64
}

fn conv_element(conv: &Conv2d, operand: Operand<'_>, index: &[usize]) -> f64 {
    let n_channels = operand.ty.shape[2];
    let (n_rows, row) = (conv.weights.n_rows(), index[2]);
    let n_group = n_channels / conv.groups;
    let group = row / (n_rows / conv.groups);
    let mut x = Vec::new();
    for tap in operand.taps(&conv.window, index[0], index[1]) {
        for channel in group * n_group..(group + 1) * n_group {
            x.push(tap.map_or(conv.pad.into(), |at| number(operand.x, at + channel)));
        }
    }
    let is_real = operand.ty.kind == Kind::Real;
    sum_of(&conv.weights, row, &conv.bias, &x, is_real)
}

fn average(x: &[f64], is_real: bool, count: usize) -> f64 {
    let sum = match is_real {
        true => x.iter().fold(0.0f32, |sum, &x| sum + x as f32),
        false => x.iter().map(|&x| x as i64).sum::<i64>() as f32,
    };
    (sum / count as f32).into()
}

fn prelu(x: f32, slope: f32) -> f32 {
    if x >= 0.0 { x } else { slope * x }
}

/// The exponential of FORMAT.md, written out.
#[allow(
    clippy::excessive_precision,
    clippy::approx_constant,
    reason = "the constants as written"
)]
fn exp(t: f32) -> f32 {
    if t.is_nan() || t < -87.0 {
        return 0.0;
    }
    let n = (t * 1.44269504 + 12582912.0) - 12582912.0;
    let r = (t - n * 0.693359375) - n * (-2.12194440e-4);
    let p = 1.9875691500e-4;
    let p = p * r + 1.3981999507e-3;
    let p = p * r + 8.3334519073e-3;
    let p = p * r + 4.1665795894e-2;
    let p = p * r + 1.6666665459e-1;
    let p = p * r + 5.0000001201e-1;
    let y = ((p * (r * r)) + r) + 1.0;
    y * 2f32.powi(n as i32)
}

/// One element of the value of an op that looks at one element of each operand.
fn elementwise(op: &Op, operands: &[Operand<'_>], idx: usize) -> f64 {
    let n_channels = *operands[0].ty.shape.last().unwrap();
    let x = number(operands[0].x, idx);
    let (real, channel) = (x as f32, idx % n_channels);
    match op {
        Op::Threshold(thresholds) => {
            let at = match &thresholds.at {
                ThresholdValues::Int(at) => at[channel].into(),
                ThresholdValues::Real(at) => at[channel].into(),
            };
            let answer = (x >= at) ^ thresholds.flip[channel];
            if answer { 1.0 } else { -1.0 }
        }
        Op::Quantize { bits, cuts } => {
            let cuts: Vec<f64> = match cuts {
                Cuts::Int(cuts) => cuts.iter().map(|&cut| cut.into()).collect(),
                Cuts::Real(cuts) => cuts.iter().map(|&cut| cut.into()).collect(),
            };
            let n = (1 << bits) - 1;
            let first = if cuts.len() == n { 0 } else { channel * n };
            let reached = cuts[first..first + n].iter().filter(|&&cut| x >= cut);
            reached.count() as f64
        }
        Op::Affine { scale, shift } => {
            // The product of two binary32 is exact in binary64; so one rounding follows it.
            let product = (f64::from(scale[channel]) * f64::from(real)) as f32;
            (product + shift[channel]).into()
        }
        Op::Relu => match x > 0.0 {
            true => x,
            false => 0.0,
        },
        Op::Clip { min, max } => {
            let t = if real > *min { real } else { *min };
            (if t < *max { t } else { *max }).into()
        }
        Op::Prelu { slope } => prelu(real, slope[channel]).into(),
        Op::Rprelu {
            before,
            slope,
            after,
        } => (prelu(real + before[channel], slope[channel]) + after[channel]).into(),
        Op::Add if operands[0].ty.kind == Kind::Int => x + number(operands[1].x, idx),
        Op::Add => (real + number(operands[1].x, idx) as f32).into(),
        Op::Mul => (real * number(operands[1].x, idx) as f32).into(),
        Op::GroupNorm(norm) => {
            let n = n_channels / norm.groups;
            let is_member = |other: &usize| other % n_channels / n == channel / n;
            let group: Vec<f32> = (0..operands[0].x.len())
                .filter(is_member)
                .map(|idx| number(operands[0].x, idx) as f32)
                .collect();
            let mut sum = 0.0f32;
            for x in &group {
                sum += x;
            }
            let mean = sum / group.len() as f32;
            let mut squares = 0.0f32;
            for x in &group {
                squares += (x - mean) * (x - mean);
            }
            let var = squares / group.len() as f32;
            let normed = (real - mean) / (var + norm.eps).sqrt();
            (normed * norm.gamma[channel] + norm.beta[channel]).into()
        }
        Op::Softmax => {
            let first = idx - channel;
            let run: Vec<f32> = (first..first + n_channels)
                .map(|idx| number(operands[0].x, idx) as f32)
                .collect();
            let mut greatest = run[0];
            for &x in &run {
                greatest = if x > greatest { x } else { greatest };
            }
            let sum = run.iter().fold(0.0, |sum, x| sum + exp(x - greatest));
            (exp(run[channel] - greatest) / sum).into()
        }
        _ => unreachable!("not an op on single elements"),
    }
}

/// One element of an op's value, whose shape is `result`.
#[expect(clippy::too_many_lines, reason = "one match over all ops")]
fn element(op: &Op, operands: &[Operand<'_>], result: &[usize], idx: usize) -> f64 {
    let operand = operands[0];
    let (x, shape) = (operand.x, &operand.ty.shape);
    let is_real = operand.ty.kind == Kind::Real;
    let index = unravel(idx, result);
    let window_elements = |window: &Window| {
        let taps = operand.taps(window, index[0], index[1]).into_iter();
        let seen = taps.flatten().map(|at| number(x, at + index[2]));
        seen.collect::<Vec<f64>>()
    };
    match op {
        Op::Dense { weights, bias } => {
            let elements: Vec<f64> = (0..x.len()).map(|col| number(x, col)).collect();
            sum_of(weights, idx, bias, &elements, is_real)
        }
        Op::Conv2d(conv) => conv_element(conv, operand, &index),
        Op::Planes => {
            let code = number(x, idx % x.len()) as u32;
            if (code >> (idx / x.len())) & 1 == 1 {
                1.0
            } else {
                -1.0
            }
        }
        Op::Concat => {
            let mut left = idx;
            for operand in operands {
                if left < operand.x.len() {
                    return number(operand.x, left);
                }
                left -= operand.x.len();
            }
            unreachable!("the index lies in the result")
        }
        Op::ConcatChannels => {
            let mut index = index;
            for operand in operands {
                let n = *operand.ty.shape.last().unwrap();
                let channel = index.last_mut().unwrap();
                if *channel < n {
                    return number(operand.x, ravel(&index, &operand.ty.shape));
                }
                *channel -= n;
            }
            unreachable!("the index lies in the result")
        }
        Op::Slice { start, .. } => {
            let from: Vec<usize> = index
                .iter()
                .zip(start)
                .map(|(i, start)| i + start)
                .collect();
            number(x, ravel(&from, shape))
        }
        Op::Reshape { .. } => number(x, idx),
        Op::Transpose { perm } => {
            let mut from = vec![0; perm.len()];
            for (axis, &of) in perm.iter().enumerate() {
                from[of] = index[axis];
            }
            number(x, ravel(&from, shape))
        }
        Op::MaxPool(window) => {
            let seen = window_elements(window);
            seen[1..]
                .iter()
                .fold(seen[0], |m, &x| if x > m { x } else { m })
        }
        Op::AvgPool { window, count_pads } => {
            let seen = window_elements(window);
            let count = match count_pads {
                true => window.kernel[0] * window.kernel[1],
                false => seen.len(),
            };
            average(&seen, is_real, count)
        }
        Op::GlobalAvgPool => {
            let pixels = (0..x.len()).filter(|at| at % shape[2] == idx);
            let seen: Vec<f64> = pixels.map(|at| number(x, at)).collect();
            average(&seen, is_real, seen.len())
        }
        Op::Argmax => {
            let mut best = 0;
            for other in 0..x.len() {
                if number(x, other) > number(x, best) {
                    best = other;
                }
            }
            best as f64
        }
        _ => elementwise(op, operands, idx),
    }
}

fn follows_the_definition(program: &Program, seed: u64) {
    let types = verify(program).unwrap();
    for image in 0..2 {
        let input = random_input(program, seed + 1000 * image);
        let values = interpret_all(program, &types, &input);
        assert_eq!(values[0].first_difference(&input), None);
        for (node_idx, node) in program.nodes.iter().enumerate() {
            let operands: Vec<Operand> = node
                .inputs
                .iter()
                .map(|id| Operand {
                    x: &values[id.0],
                    ty: types.of(*id),
                })
                .collect();
            let value = &values[node_idx + 1];
            let result = &types.of(ValueId(node_idx + 1)).shape;
            let stride = if matches!(node.op, Op::Conv2d(_)) {
                11
            } else {
                1
            };
            for idx in (0..value.len()).step_by(stride) {
                let expected = element(&node.op, &operands, result, idx);
                let found = number(value, idx);
                let is_same = found.to_bits() == expected.to_bits();
                let is_nan = found.is_nan() && expected.is_nan();
                let name = &node.name;
                assert!(
                    is_same || is_nan,
                    "seed {seed} {name} {idx}: {found} {expected}"
                );
            }
        }
        let answer = interpret(program, &types, &input);
        assert_eq!(answer.first_difference(&values[program.output.0]), None);
    }
}

#[test]
fn random_programs_follow_the_definition_element_by_element() {
    for seed in 0..300 {
        follows_the_definition(&random_program(seed), seed);
    }
}

#[test]
fn random_chains_follow_the_definition_element_by_element() {
    for seed in 0..30 {
        follows_the_definition(&random_conv_program(seed), seed);
    }
}

#[test]
fn every_value_has_its_type_and_lies_in_its_range() {
    for seed in 0..150 {
        let program = random_program(seed);
        let types = verify(&program).unwrap();
        let input = random_input(&program, seed);
        let values = interpret_all(&program, &types, &input);
        for (idx, value) in values.iter().enumerate() {
            let id = ValueId(idx);
            value.check(types.of(id)).unwrap();
            let (Some(range), Tensor::Int(x)) = (types.range(id), value) else {
                continue;
            };
            assert!(
                x.iter().all(|&x| (range.min..=range.max).contains(&x)),
                "seed {seed}"
            );
        }
    }
}

#[test]
fn ties_and_nan_of_argmax() {
    use onebit_model::builder::ProgramBuilder;
    let argmax = |x: Tensor, kind: Kind| {
        let mut b = ProgramBuilder::new("p", kind, &[x.len()]);
        let best = b.argmax("best", b.input());
        let program = b.finish(best).unwrap();
        interpret(&program, &verify(&program).unwrap(), &x)
    };
    let index = |n: i32| Tensor::Int(vec![n]);
    assert_eq!(argmax(Tensor::Int(vec![3, 5, 5, 1]), Kind::Int), index(1));
    assert_eq!(argmax(Tensor::Int(vec![i32::MIN; 3]), Kind::Int), index(0));
    assert_eq!(argmax(Tensor::Real(vec![-0.0, 0.0]), Kind::Real), index(0));
    assert_eq!(
        argmax(Tensor::Real(vec![f32::NAN, 9.0]), Kind::Real),
        index(0)
    );
    assert_eq!(
        argmax(Tensor::Real(vec![1.0, f32::NAN, 2.0]), Kind::Real),
        index(2)
    );
}

#[test]
#[should_panic(expected = "the input does not fit the Program")]
fn an_input_of_another_type_is_refused() {
    let program = random_program(3);
    let input = match program.input.kind {
        Kind::Bits => Tensor::Int(vec![0]),
        _ => Tensor::Bits(vec![true]),
    };
    interpret(&program, &verify(&program).unwrap(), &input);
}

#[test]
fn ternary_weights_equal_to_bipolar_ones_give_the_same() {
    use onebit_model::weights::BitMatrix;
    let mut checked = 0;
    for seed in 0..150 {
        let mut program = random_program(seed);
        let before = program.clone();
        for node in &mut program.nodes {
            if let Op::Dense { weights, .. } | Op::Conv2d(Conv2d { weights, .. }) = &mut node.op
                && let Weights::Bits(sign) = weights
            {
                let mask = BitMatrix::from_fn(sign.n_rows(), sign.n_cols(), |_, _| true);
                *weights = Weights::Ternary {
                    sign: sign.clone(),
                    mask,
                };
                checked += 1;
            }
        }
        let input = random_input(&program, seed);
        let answer = |program| interpret(program, &verify(program).unwrap(), &input);
        assert_eq!(answer(&program).first_difference(&answer(&before)), None);
    }
    assert!(checked > 50);
}

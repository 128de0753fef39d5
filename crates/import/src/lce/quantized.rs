//! 8-bit tensors: `levels(8)` codes with a scale.
//!
//! In: INT8 and UINT8 tensors and the layers between them. Out: exact integer sums, and for each channel the 255
//! cuts at which TFLite's fixed-point formula changes its answer. Leaves the formula to `fixed` and the layers'
//! shapes to `linear`, `pools` and `shapes`.

use onebit_model::program::{Conv2d, Cuts, Kind, Op, ValueId, Window};
use onebit_model::weights::{BitMatrix, Weights};

use super::constant::{self, elements};
use super::elementwise::Activation;
use super::fixed::{Multiplier, Ties, least_int};
use super::graph::{Graph, Meaning, Outcome, Scale, Step, Value};
use super::linear::Filter;
use super::schema::{ElementType, Tensor};
use crate::search::least_real;

/// Cuts of a node: channels times 255.
const MAX_CUTS: usize = onebit_model::limits::MAX_ELEMENTS;

/// The weights of a layer on 8-bit codes.
pub(super) fn weights(tensor: &Tensor) -> Outcome<Vec<i8>> {
    if tensor.ty != ElementType::Int8 {
        return Err(format!(
            "its operand is 8-bit and its weights are {}; INT8 weights are supported, convert with INT8 quantisation",
            tensor.ty.name()
        ));
    }
    Ok(elements::<1>(tensor)?
        .iter()
        .map(|&[byte]| byte.cast_signed())
        .collect())
}

/// What a layer on codes needs besides its weights.
pub(super) struct Layer {
    /// Added to the sum of weights times codes, it gives TFLite's accumulator.
    pub bias: Vec<i32>,
    /// One for each row.
    pub multipliers: Vec<Multiplier>,
}

/// How accumulators become codes.
pub(super) struct Rescale<'a> {
    /// One for each channel.
    pub multipliers: &'a [Multiplier],
    pub ties: Ties,
    pub activation: Activation,
}

impl Layer {
    /// How the sums of the layer become codes.
    pub fn rescale(&self, ties: Ties, activation: Activation) -> Rescale<'_> {
        Rescale {
            multipliers: &self.multipliers,
            ties,
            activation,
        }
    }
}

/// The bias and the multipliers of a layer whose operand has the scale `from`.
pub(super) fn layer(
    graph: &Graph,
    step: &Step,
    filter: &Filter<i8>,
    axis: i32,
    from: Scale,
) -> Outcome<Layer> {
    let rows = filter.rows;
    let bias = match graph.ints(step, 2)? {
        Some(bias) if bias.values.len() == rows => bias.values,
        None if graph.tensor(step, 2).is_none() => vec![0; rows],
        _ => return Err(format!("its bias is not a constant of {rows} integers")),
    };
    let shifted = |(bias, weights): (i64, &[i8])| {
        let sum: i64 = weights.iter().map(|&w| i64::from(w)).sum();
        let bias = bias.checked_sub(i64::from(from.zero) * sum);
        bias.and_then(|bias| i32::try_from(bias).ok())
    };
    let rows_of_weights = filter.weights.chunks_exact(filter.n_cols());
    let biases: Option<Vec<i32>> = bias.into_iter().zip(rows_of_weights).map(shifted).collect();
    let to = constant::scale(graph.output(step)?)?;
    let Some(tensor) = graph.tensor(step, 1) else {
        return Err("its weights are missing".into());
    };
    let scales = constant::weight_scales(tensor, axis, rows)?;
    let factor = |scale: f32| f64::from(from.scale) * f64::from(scale) / f64::from(to.scale);
    Ok(Layer {
        bias: biases.ok_or("its bias is outside i32")?,
        multipliers: scales
            .into_iter()
            .map(|s| Multiplier::new(factor(s)))
            .collect(),
    })
}

/// The least and greatest code that an activation lets through.
fn code_range(activation: Activation, scale: Scale) -> (i32, i32) {
    let code = |real: f32| {
        (scale.zero + (real / scale.scale).round().clamp(-512.0, 512.0) as i32).clamp(0, 255)
    };
    match activation {
        Activation::None => (0, 255),
        Activation::Relu => (code(0.0), 255),
        Activation::ReluN1To1 => (code(-1.0), code(1.0)),
        Activation::Relu6 => (code(0.0), code(6.0)),
    }
}

/// The codes of TFLite's accumulators, by the exact formula.
pub(super) fn requantize(
    graph: &mut Graph,
    step: &Step,
    sums: &Value,
    rescale: &Rescale,
) -> Outcome<Value> {
    let multipliers = rescale.multipliers;
    if multipliers.len() > MAX_CUTS / 255 {
        let limit = MAX_CUTS / 255;
        return Err(format!(
            "it has {} channels; up to {limit} can be requantised",
            multipliers.len()
        ));
    }
    let to = constant::scale(graph.output(step)?)?;
    let is_shared = multipliers.windows(2).all(|pair| pair[0] == pair[1]);
    let n_lists = if is_shared { 1 } else { multipliers.len() };
    let range = code_range(rescale.activation, to);
    let mut cuts = Vec::with_capacity(255 * n_lists);
    for multiplier in multipliers.iter().take(n_lists) {
        let formula = |sum: i32| multiplier.apply(sum, rescale.ties).saturating_add(to.zero);
        cuts.extend(int_cuts(range, formula));
    }
    let cuts = Cuts::Int(cuts);
    let id = graph.push(Op::Quantize { bits: 8, cuts }, &[sums.id])?;
    Ok(Value::new(id, &sums.shape, Meaning::Codes(to)))
}

/// The 255 cuts of an ascending formula, clamped to a range of codes.
fn int_cuts((min, max): (i32, i32), formula: impl Fn(i32) -> i32) -> Vec<i32> {
    let mut low = i32::MIN;
    let cut = |k: i32| {
        if k <= min {
            return i32::MIN;
        }
        if k > max {
            return i32::MAX;
        }
        low = least_int(low, |x| formula(x) >= k);
        low
    };
    (1..=255).map(cut).collect()
}

/// The cuts at which reals are rounded to codes, half to even as TFLite's kernels for today's processors do.
pub(super) fn rounding_cuts(scale: Scale) -> Cuts {
    let holds =
        |k: i32| move |x: f32| (x / scale.scale).round_ties_even() >= (k - scale.zero) as f32;
    Cuts::Real((1..=255).map(|k| least_real(holds(k))).collect())
}

/// The codes of a FLOAT32 tensor.
pub(super) fn quantize(graph: &mut Graph, value: &Value, scale: Scale) -> Outcome<Value> {
    let real = graph.real(value.id)?;
    let cuts = rounding_cuts(scale);
    let id = graph.push(Op::Quantize { bits: 8, cuts }, &[real])?;
    Ok(Value::new(id, &value.shape, Meaning::Codes(scale)))
}

/// The reals of codes: the difference to the zero point first, which is exact, then one product.
pub(super) fn dequantize(graph: &mut Graph, value: &Value, scale: Scale) -> Outcome<Value> {
    if let Some(&real) = graph.dequantized.get(&value.id) {
        return Ok(Value::float(real, &value.shape));
    }
    let centred = graph.affine(value.id, 1.0, -(scale.zero as f32))?;
    let real = graph.affine(centred, scale.scale, 0.0)?;
    graph.dequantized.insert(value.id, real);
    Ok(Value::float(real, &value.shape))
}

/// The same codes under another scale, after an activation.
pub(super) fn rescale(
    graph: &mut Graph,
    value: &Value,
    (from, to): (Scale, Scale),
    activation: Activation,
) -> Outcome<Value> {
    if (from.scale, from.zero) == (to.scale, to.zero) && activation == Activation::None {
        return Ok(Value {
            meaning: Meaning::Codes(to),
            ..value.clone()
        });
    }
    let multiplier = Multiplier::new(f64::from(from.scale) / f64::from(to.scale));
    let (min, max) = code_range(activation, to);
    let formula = |code: i32| {
        let moved = multiplier.apply(code - from.zero, Ties::Away);
        moved.saturating_add(to.zero).clamp(min, max)
    };
    // A cut above every code is never reached.
    let cuts = (1..=255).map(|k| (0..=255).find(|&code| formula(code) >= k).unwrap_or(256));
    let cuts = Cuts::Int(cuts.collect());
    let id = graph.push(Op::Quantize { bits: 8, cuts }, &[value.id])?;
    Ok(Value::new(id, &value.shape, Meaning::Codes(to)))
}

/// QUANTIZE: FLOAT32 or 8-bit codes to 8-bit codes.
pub(super) fn quantize_op(graph: &mut Graph, step: &Step) -> Outcome<Value> {
    let value = graph.operand(step, 0)?;
    let to = constant::scale(graph.output(step)?)?;
    match value.meaning {
        Meaning::Float => quantize(graph, &value, to),
        Meaning::Codes(from) => rescale(graph, &value, (from, to), Activation::None),
        _ => Err(format!(
            "its operand is {}; FLOAT32 and INT8 are supported",
            graph.type_of(step, 0)
        )),
    }
}

/// DEQUANTIZE: 8-bit codes to FLOAT32.
pub(super) fn dequantize_op(graph: &mut Graph, step: &Step) -> Outcome<Value> {
    let value = graph.operand(step, 0)?;
    match value.meaning {
        Meaning::Codes(scale) => dequantize(graph, &value, scale),
        _ => Err(format!(
            "its operand is {}; INT8 is supported",
            graph.type_of(step, 0)
        )),
    }
}

/// The codes of an input tensor: `q` as `int` for INT8, the codes themselves for UINT8.
pub(super) fn input(
    graph: &mut Graph,
    id: ValueId,
    shape: &[usize],
    scale: Scale,
) -> Outcome<Value> {
    let mut codes = id;
    if graph.kind(id) == Kind::Int {
        let cuts = Cuts::Int((-127..=127).collect());
        codes = graph.push(Op::Quantize { bits: 8, cuts }, &[id])?;
    }
    Ok(Value::new(codes, shape, Meaning::Codes(scale)))
}

/// The elements of an output tensor: `q` as `int` for INT8, the codes themselves for UINT8.
pub(super) fn output(graph: &mut Graph, value: &Value, scale: Scale) -> Outcome<ValueId> {
    if !scale.is_signed {
        return Ok(value.id);
    }
    let channels = value.channels();
    let image = [1, value.n_elements() / channels, channels];
    let codes = graph.reshape(value.id, &image)?;
    let conv = Op::Conv2d(Conv2d {
        weights: Weights::Bits(BitMatrix::from_fn(channels, 1, |_, _| true)),
        bias: Some(vec![-128; channels]),
        window: Window::new([1, 1]),
        groups: channels,
        pad: 0,
    });
    let ints = graph.push(conv, &[codes])?;
    graph.reshape(ints, &value.shape)
}

/// The mean of codes over all pixels of `[h, w, c]`.
pub(super) fn mean(graph: &mut Graph, step: &Step, value: &Value, from: Scale) -> Outcome<Value> {
    let [height, width, channels] = value.image()?;
    let n = height * width;
    let bias = i32::try_from(n as i64 * -i64::from(from.zero));
    let bias = bias.map_err(|_| String::from("the sum over its image is outside i32"))?;
    let conv = Op::Conv2d(Conv2d {
        weights: Weights::Bits(BitMatrix::from_fn(channels, n, |_, _| true)),
        bias: Some(vec![bias; channels]),
        window: Window::new([height, width]),
        groups: channels,
        pad: 0,
    });
    let sums = graph.push(conv, &[value.id])?;
    let to = constant::scale(graph.output(step)?)?;
    let factor = Multiplier::new(f64::from(from.scale) / f64::from(to.scale));
    let multiplier = factor.divided_by(u32::try_from(n).unwrap_or(u32::MAX));
    let sums = Value::float(graph.reshape(sums, &[channels])?, &[channels]);
    let rescale = Rescale {
        multipliers: &vec![multiplier; channels],
        ties: Ties::Away,
        activation: Activation::None,
    };
    requantize(graph, step, &sums, &rescale)
}

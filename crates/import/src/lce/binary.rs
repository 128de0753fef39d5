//! The custom ops of Larq Compute Engine.
//!
//! In: `LceQuantize`, `LceDequantize`, `LceBconv2d` and `LceBMaxPool2d` nodes, with the options of both ages of
//! the format. Out: bits, integer sums and what the node makes of them. In a file a set bit is -1, in a Program
//! it is +1. Leaves reals to `linear`.

use onebit_model::program::{Conv2d, Cuts, Kind, Op, ThresholdValues, Thresholds, ValueId, Window};
use onebit_model::weights::{BitMatrix, Weights};

use super::constant::{self, elements};
use super::elementwise::{Activation, activate};
use super::flex::IntMap;
use super::graph::{Graph, Meaning, Outcome, Scale, Step, Value};
use super::quantized::rounding_cuts;
use super::schema::{ElementType, Tensor};
use super::window::{Frame, Padding, pair};

/// Signs in one element of a packed tensor.
const WORD: usize = 32;

/// The least real that becomes +1. TFLite runs with subnormal numbers flushed to zero, so `x < 0` is false for
/// the negative ones; this is the greatest of them in magnitude.
const SIGN_AT: f32 = f32::from_bits(0x807f_ffff);

/// The signs of a value, as bits.
fn signs(graph: &mut Graph, value: &Value) -> Outcome<ValueId> {
    match value.meaning {
        Meaning::Packed | Meaning::Bool => Ok(value.id),
        Meaning::Codes(scale) => {
            let n = value.channels();
            let at = ThresholdValues::Int(vec![scale.zero; n]);
            let flip = vec![false; n];
            graph.push(Op::Threshold(Thresholds { at, flip }), &[value.id])
        }
        Meaning::Float if graph.kind(value.id) == Kind::Bits => Ok(value.id),
        Meaning::Float => {
            if let Some(&signs) = graph.signs.get(&value.id) {
                return Ok(signs);
            }
            let real = graph.real(value.id)?;
            let signs = graph.compare(real, SIGN_AT, false)?;
            graph.signs.insert(value.id, signs);
            Ok(signs)
        }
        Meaning::Index => Err("its operand holds positions, which have no sign".into()),
    }
}

/// `LceQuantize`.
pub(super) fn quantize(graph: &mut Graph, step: &Step) -> Outcome<Value> {
    let value = graph.operand(step, 0)?;
    let id = signs(graph, &value)?;
    Ok(Value::new(id, &value.shape, Meaning::Packed))
}

/// `LceDequantize`.
pub(super) fn dequantize(graph: &mut Graph, step: &Step) -> Outcome<Value> {
    let value = packed(graph, step)?;
    let tensor = graph.output(step)?;
    match tensor.ty {
        ElementType::Float32 => Ok(Value::float(value.id, &value.shape)),
        ElementType::Bool => Ok(Value::new(value.id, &value.shape, Meaning::Bool)),
        ElementType::Int8 => {
            let scale = constant::scale(tensor)?;
            let one = (1.0 / scale.scale).round().min(255.0) as i32;
            let code = |sign: i32| (scale.zero + sign * one).clamp(0, 255);
            let cut = |k: i32| match k {
                _ if k <= code(-1) => -1,
                _ if k <= code(1) => 1,
                _ => i32::MAX,
            };
            let cuts = Cuts::Int((1..=255).map(cut).collect());
            let id = graph.push(Op::Quantize { bits: 8, cuts }, &[value.id])?;
            Ok(Value::new(id, &value.shape, Meaning::Codes(scale)))
        }
        other => Err(format!(
            "its output is {}; FLOAT32, INT8 and BOOL exist",
            other.name()
        )),
    }
}

/// The operand of an op on packed bits.
fn packed(graph: &mut Graph, step: &Step) -> Outcome<Value> {
    let value = graph.operand(step, 0)?;
    match value.meaning {
        Meaning::Packed => Ok(value),
        _ => Err(format!(
            "its operand is {} and not the packed bits of an LCE op",
            graph.type_of(step, 0)
        )),
    }
}

/// An integer option that must be there.
fn option(options: &IntMap, key: &str) -> Outcome<i64> {
    options.get(key).ok_or_else(|| {
        format!(
            "its custom options have no integer `{key}`: it is not the op of Larq Compute Engine"
        )
    })
}

/// The window of an op whose result has the height and width that `expected` gives.
///
/// The files of 2020 number SAME 1 and VALID 2, later ones 0 and 1. SAME and VALID only differ where the size of
/// the result does, so the shape in the file decides.
fn window(
    code: i64,
    frame: &Frame,
    size: [usize; 2],
    expected: Option<[usize; 2]>,
) -> Outcome<Window> {
    let candidates = match code {
        0 => [Padding::Same, Padding::Valid],
        1 | 2 => [Padding::Valid, Padding::Same],
        _ => return Err(format!("its padding {code} is neither SAME nor VALID")),
    };
    let windows = candidates.map(|padding| frame.window(padding, size));
    let Some(expected) = expected else {
        return Ok(windows[0]);
    };
    let fits = |window: &&Window| window.output(size) == Some(expected);
    windows.iter().find(fits).copied().ok_or_else(|| {
        format!(
            "neither SAME nor VALID padding of an image of {size:?} with the kernel {:?} gives the {expected:?} \
             of its output tensor",
            frame.kernel
        )
    })
}

/// The height and width of the output tensor, if its shape says.
fn output_size(tensor: &Tensor) -> Option<[usize; 2]> {
    let [_, height, width, _] = tensor.shape[..] else {
        return None;
    };
    Some([usize::try_from(height).ok()?, usize::try_from(width).ok()?])
}

/// `LceBMaxPool2d`. The greatest of packed signs is +1 if any is.
pub(super) fn max_pool(graph: &mut Graph, step: &Step) -> Outcome<Value> {
    let value = packed(graph, step)?;
    let options = IntMap::parse(step.operator.custom_options)?;
    let get = |key: &str| option(&options, key);
    let frame = Frame {
        kernel: pair("filter", get("filter_height")?, get("filter_width")?)?,
        stride: pair("stride", get("stride_height")?, get("stride_width")?)?,
        dilation: [1, 1],
    };
    let [height, width, channels] = value.image()?;
    let expected = output_size(graph.output(step)?);
    let window = window(get("padding")?, &frame, [height, width], expected)?;
    let id = graph.push(Op::MaxPool(window), &[value.id])?;
    let size = window.output([height, width]).unwrap_or_default();
    Ok(Value::new(
        id,
        &[size[0], size[1], channels],
        Meaning::Packed,
    ))
}

/// The packed filter of an `LceBconv2d`.
struct Filter {
    weights: BitMatrix,
    kernel: [usize; 2],
    groups: usize,
}

fn filter(tensor: &Tensor, channels: usize) -> Outcome<Filter> {
    let shape = constant::sizes(tensor)?;
    let [rows, height, width, n_words] = shape[..] else {
        return Err(format!(
            "its filter has the shape {shape:?}; four axes are needed"
        ));
    };
    if tensor.ty != ElementType::Int32 {
        return Err(format!(
            "its filter is {}, not packed INT32",
            tensor.ty.name()
        ));
    }
    let words = elements::<4>(tensor)?;
    let all_words = channels.div_ceil(WORD);
    let groups = all_words.checked_div(n_words).unwrap_or(0);
    let is_whole = groups == 1 || groups > 1 && channels.is_multiple_of(groups * WORD);
    if !is_whole || groups * n_words != all_words || rows % groups != 0 || words.is_empty() {
        return Err(format!(
            "its filter of shape {shape:?} does not fit {channels} input channels: {all_words} words in whole \
             groups are needed"
        ));
    }
    let group_channels = channels / groups;
    let n_cols = height * width * group_channels;
    let weights = BitMatrix::from_fn(rows, n_cols, |row, col| {
        let (tap, channel) = (col / group_channels, col % group_channels);
        let word = words[(row * height * width + tap) * n_words + channel / WORD];
        u32::from_le_bytes(word) >> (channel % WORD) & 1 == 0
    });
    Ok(Filter {
        weights,
        kernel: [height, width],
        groups,
    })
}

/// `LceBconv2d`.
pub(super) fn conv_2d(graph: &mut Graph, step: &Step) -> Outcome<Value> {
    let value = graph.operand(step, 0)?;
    let [height, width, channels] = value.image()?;
    let options = IntMap::parse(step.operator.custom_options)?;
    let get = |key: &str| option(&options, key);
    if let Some(found) = options.get("channels_in").filter(|&n| n != channels as i64) {
        return Err(format!(
            "its channels_in is {found}, its operand has {channels} channels"
        ));
    }
    let Some(tensor) = graph.tensor(step, 1) else {
        return Err("its filter is missing".into());
    };
    let Filter {
        weights,
        kernel,
        groups,
    } = filter(tensor, channels)?;
    let frame = Frame {
        kernel: pair("filter", kernel[0] as i64, kernel[1] as i64)?,
        stride: pair("stride", get("stride_height")?, get("stride_width")?)?,
        dilation: pair(
            "dilation",
            get("dilation_height_factor")?,
            get("dilation_width_factor")?,
        )?,
    };
    let output = graph.output(step)?;
    let window = window(
        get("padding")?,
        &frame,
        [height, width],
        output_size(output),
    )?;
    let pad = match options.get("pad_values").unwrap_or(0) {
        pad @ (0 | 1) => pad as i32,
        pad => return Err(format!("its pad_values is {pad}; 0 and 1 exist")),
    };
    let (rows, n_taps) = (weights.n_rows(), weights.n_cols());
    // In the files of 2020 the op takes reals and binarises them itself.
    let bits = signs(graph, &value)?;
    let conv = Op::Conv2d(Conv2d {
        weights: Weights::Bits(weights),
        bias: None,
        window,
        groups,
        pad,
    });
    let sums = graph.push(conv, &[bits])?;
    let size = window.output([height, width]).unwrap_or_default();
    let shape = [size[0], size[1], rows];
    if output.ty == ElementType::Int32 {
        if pad == 0 && window.pads != [0; 4] {
            return Err(
                "it has a bit-packed output and zero padding, which Larq Compute Engine does not run; give its \
                 output as FLOAT32 or pad with ones"
                    .into(),
            );
        }
        let id = bit_packed(graph, step, sums, rows, n_taps)?;
        return Ok(Value::new(id, &shape, Meaning::Packed));
    }
    let activation = options.get("fused_activation_function").unwrap_or(0);
    let activation = u8::try_from(activation).unwrap_or(u8::MAX);
    let sums = activate(
        graph,
        Value::float(sums, &shape),
        Activation::from_code(activation)?,
    )?;
    transformed(graph, step, &sums, rows)
}

/// The reals or INT8 codes that `LceBconv2d` makes of its sums.
fn transformed(graph: &mut Graph, step: &Step, sums: &Value, rows: usize) -> Outcome<Value> {
    let per_row = |i: usize, default: f32| match graph.floats(step, i)? {
        Some(constant) if constant.values.len() == rows => Ok(constant.values),
        None if graph.tensor(step, i).is_none() => Ok(vec![default; rows]),
        _ => Err(format!("its operand {i} is not a constant of {rows} reals")),
    };
    let (mut scale, mut shift) = (per_row(2, 1.0)?, per_row(3, 0.0)?);
    let output = graph.output(step)?;
    if output.ty != ElementType::Int8 {
        let id = graph.push(Op::Affine { scale, shift }, &[sums.id])?;
        return graph.deliver(step, Value::float(id, &sums.shape));
    }
    // The scale of the output and its zero point are folded in, then one rounding follows.
    let to = constant::scale(output)?;
    let zero_point = (to.zero - 128) as f32;
    scale.iter_mut().for_each(|scale| *scale /= to.scale);
    shift
        .iter_mut()
        .for_each(|shift| *shift = *shift / to.scale + zero_point);
    let id = graph.push(Op::Affine { scale, shift }, &[sums.id])?;
    // The codes of these reals are those of a tensor of scale 1 and zero point 0.
    let unit = Scale {
        scale: 1.0,
        zero: 128,
        is_signed: true,
    };
    let cuts = rounding_cuts(unit);
    let id = graph.push(Op::Quantize { bits: 8, cuts }, &[id])?;
    Ok(Value::new(id, &sums.shape, Meaning::Codes(to)))
}

/// The signs that `LceBconv2d` makes of its sums. The file counts the products that are -1 and gives -1 where
/// they are more than a threshold; of `n_taps` products with the sum `s` there are `(n_taps - s) / 2`.
fn bit_packed(
    graph: &mut Graph,
    step: &Step,
    sums: ValueId,
    rows: usize,
    n_taps: usize,
) -> Outcome<ValueId> {
    let thresholds = graph.ints(step, 4)?.map(|constant| constant.values);
    let Some(thresholds) = thresholds.filter(|thresholds| thresholds.len() == rows) else {
        return Err(format!(
            "its operand 4 is not a constant of {rows} thresholds"
        ));
    };
    let limits = n_taps as i64;
    let least_sum = |threshold: i64| limits.saturating_sub(threshold.saturating_mul(2));
    let always = |sum: i64| sum <= -limits;
    let never = |sum: i64| sum > limits;
    let least_sums: Vec<i64> = thresholds.into_iter().map(least_sum).collect();
    let at = least_sums.iter().map(|&sum| match sum {
        sum if always(sum) || never(sum) => i32::MIN,
        sum => i32::try_from(sum).expect("a sum within the taps of a filter fits i32"),
    });
    let at = ThresholdValues::Int(at.collect());
    let flip = least_sums.iter().map(|&sum| never(sum)).collect();
    graph.push(Op::Threshold(Thresholds { at, flip }), &[sums])
}

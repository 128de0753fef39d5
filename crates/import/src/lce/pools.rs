//! Pools, means, and the ops of a network's end.
//!
//! In: MAX_POOL_2D, AVERAGE_POOL_2D, MEAN, SOFTMAX and ARG_MAX. Out: the same on Programs. TFLite's average
//! counts the taps inside the image; over a border that PAD added it counts all of them.

use onebit_model::program::{Cuts, Op};

use super::elementwise::{Activation, activate};
use super::graph::{Graph, Meaning, Outcome, Step, Value};
use super::quantized;
use super::schema::{ElementType, Options};
use super::shapes::image_axis;
use super::window::{Frame, Padding, over, pair};

fn frame(options: &Options) -> Outcome<(Frame, Padding, Activation)> {
    let int = |id: usize| i64::from(options.int(id, 0));
    let frame = Frame {
        kernel: pair("filter", int(4), int(3))?,
        stride: pair("stride", int(2), int(1))?,
        dilation: [1, 1],
    };
    let padding = Padding::from_code(options.byte(0))?;
    Ok((frame, padding, Activation::from_code(options.byte(5))?))
}

/// MAX_POOL_2D.
pub(super) fn max_pool(graph: &mut Graph, step: &Step) -> Outcome<Value> {
    let (frame, padding, activation) = frame(step.options(5)?)?;
    let value = graph.operand(step, 0)?;
    let (channels, meaning) = (value.channels(), value.meaning);
    if !matches!(meaning, Meaning::Float | Meaning::Codes(_)) {
        let found = graph.type_of(step, 0);
        return Err(format!(
            "its operand is {found}; FLOAT32 and INT8 are supported"
        ));
    }
    let range = value.range;
    let placed = over(graph, value, &frame, padding, 0)?;
    let id = graph.push(Op::MaxPool(placed.window), &[placed.id])?;
    let [height, width] = placed.size;
    let mut value = Value::new(id, &[height, width, channels], meaning);
    value.range = range;
    finish(graph, value, activation)
}

/// AVERAGE_POOL_2D.
pub(super) fn average_pool(graph: &mut Graph, step: &Step) -> Outcome<Value> {
    let (frame, padding, activation) = frame(step.options(5)?)?;
    let mut value = graph.bordered(step, 0)?;
    let (channels, meaning) = (value.channels(), value.meaning);
    // A border of zeros is counted, the padding of the pool itself is not: only one of them can be a window's.
    let is_border = value.border.is_some_and(|border| border.value == 0);
    let count_pads = is_border && meaning == Meaning::Float && padding == Padding::Valid;
    if !count_pads {
        value = graph.settle(value)?;
    }
    let placed = over(graph, value, &frame, padding, 0)?;
    let window = placed.window;
    let id = graph.push(Op::AvgPool { window, count_pads }, &[placed.id])?;
    let [height, width] = placed.size;
    let mut value = Value::float(id, &[height, width, channels]);
    match meaning {
        Meaning::Float => {}
        Meaning::Codes(_) => {
            // The mean of the codes, rounded to a code: half of a negative INT8 element goes down.
            let offset = if matches!(meaning, Meaning::Codes(scale) if scale.is_signed) {
                128
            } else {
                0
            };
            let cut = |k: i32| {
                let half = k as f32 - 0.5;
                if k <= offset { half.next_up() } else { half }
            };
            let cuts = Cuts::Real((1..=255).map(cut).collect());
            let id = graph.push(Op::Quantize { bits: 8, cuts }, &[value.id])?;
            value = Value {
                id,
                meaning,
                ..value
            };
        }
        _ => {
            let found = graph.type_of(step, 0);
            return Err(format!(
                "its operand is {found}; FLOAT32 and INT8 are supported"
            ));
        }
    }
    finish(graph, value, activation)
}

/// The fused activation of a pool, on reals or on codes.
fn finish(graph: &mut Graph, value: Value, activation: Activation) -> Outcome<Value> {
    match value.meaning {
        Meaning::Codes(scale) => quantized::rescale(graph, &value, (scale, scale), activation),
        _ => activate(graph, value, activation),
    }
}

/// MEAN over all axes but the batch and the channels.
pub(super) fn mean(graph: &mut Graph, step: &Step) -> Outcome<Value> {
    let keep_dims = step.options(27)?.byte(0) != 0;
    let value = graph.operand(step, 0)?;
    let rank = value.shape.len();
    let Some(axes) = graph.ints(step, 1)? else {
        return Err("its axes are no constant".into());
    };
    let axes = axes.values.iter().map(|&axis| image_axis(axis, rank));
    let mut axes = axes.collect::<Outcome<Vec<usize>>>()?;
    axes.sort_unstable();
    axes.dedup();
    if rank < 2 || !axes.iter().copied().eq(0..rank - 1) {
        return Err(
            "it averages over other axes than all those between the batch and the channels, which is supported"
                .into(),
        );
    }
    let channels = value.channels();
    let image = match value.shape[..] {
        [height, width, _] => [height, width, channels],
        _ => [1, value.n_elements() / channels, channels],
    };
    let id = graph.reshape(value.id, &image)?;
    let image = Value {
        id,
        shape: image.into(),
        ..value
    };
    let mut mean = match image.meaning {
        Meaning::Float => {
            let id = graph.push(Op::GlobalAvgPool, &[image.id])?;
            Value::float(id, &[channels])
        }
        Meaning::Codes(scale) => quantized::mean(graph, step, &image, scale)?,
        _ => {
            let found = graph.type_of(step, 0);
            return Err(format!(
                "its operand is {found}; FLOAT32 and INT8 are supported"
            ));
        }
    };
    if keep_dims {
        let mut shape = vec![1; rank - 1];
        shape.push(channels);
        mean.id = graph.reshape(mean.id, &shape)?;
        mean.shape = shape;
    }
    Ok(mean)
}

/// SOFTMAX over the last axis.
pub(super) fn softmax(graph: &mut Graph, step: &Step) -> Outcome<Value> {
    let beta = step.options(9)?.float(0);
    let mut value = graph.real_operand(step, 0)?;
    if beta != 1.0 {
        value.id = graph.affine(value.id, beta, 0.0)?;
    }
    let id = graph.push(Op::Softmax, &[value.id])?;
    graph.deliver(step, Value::float(id, &value.shape))
}

/// ARG_MAX over the only axis of each image.
pub(super) fn arg_max(graph: &mut Graph, step: &Step) -> Outcome<Value> {
    let value = graph.real_operand(step, 0)?;
    let axis = graph.ints(step, 1)?.map(|constant| constant.values);
    let is_last = matches!(axis.as_deref(), Some([1 | -1]));
    let is_index = matches!(
        graph.output(step)?.ty,
        ElementType::Int32 | ElementType::Int64
    );
    if value.shape.len() != 1 || !is_last || !is_index {
        return Err(
            "the position of the greatest of a list of scores is supported, as INT32 or INT64"
                .into(),
        );
    }
    let id = graph.push(Op::Argmax, &[value.id])?;
    Ok(Value::new(id, &[1], Meaning::Index))
}

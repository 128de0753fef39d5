//! CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED.
//!
//! In: the builtin ops, on FLOAT32 and on 8-bit tensors. Out: a product with the cheapest weights that are exactly
//! those of the file: Larq's binary layers that have no op of their own come as reals `+-s`, one `s` for each
//! output, and become bits and a scale. Leaves the 8-bit arithmetic to `quantized`.

use onebit_model::program::{Conv2d, Kind, Op, Window};
use onebit_model::weights::{BitMatrix, Matrix, Weights};

use super::constant;
use super::elementwise::{Activation, activate};
use super::fixed::Ties;
use super::graph::{Graph, Meaning, Outcome, Step, Value};
use super::quantized::{self, Layer};
use super::schema::{ElementType, Options, Tensor};
use super::window::{Frame, Padding, Placed, over, pair};

/// What every convolution says of itself.
struct Attributes {
    padding: Padding,
    stride: [usize; 2],
    dilation: [usize; 2],
    activation: Activation,
}

/// A filter as rows of weights, one for each output channel: kernel row, kernel column, channel of the group.
pub(super) struct Filter<T> {
    pub rows: usize,
    pub weights: Vec<T>,
}

impl<T> Filter<T> {
    pub fn n_cols(&self) -> usize {
        self.weights.len() / self.rows
    }
}

/// CONV_2D.
pub(super) fn conv_2d(graph: &mut Graph, step: &Step) -> Outcome<Value> {
    let options = step.options(1)?;
    let attributes = attributes(options, 3, 4)?;
    let channels = graph.bordered(step, 0)?.image()?[2];
    let shape = filter_shape(graph, step)?;
    let [rows, height, width, depth] = shape;
    if channels % depth != 0 || rows % (channels / depth) != 0 {
        return Err(format!(
            "its filter of shape {shape:?} does not fit {channels} input channels"
        ));
    }
    let layout = Layout {
        rows,
        kernel: [height, width],
        groups: channels / depth,
        is_depthwise: false,
    };
    convolve(graph, step, &attributes, &layout)
}

/// DEPTHWISE_CONV_2D: output channel `c * m + j` reads input channel `c`.
pub(super) fn depthwise_conv_2d(graph: &mut Graph, step: &Step) -> Outcome<Value> {
    let options = step.options(2)?;
    let attributes = attributes(options, 4, 5)?;
    let channels = graph.bordered(step, 0)?.image()?[2];
    let shape = filter_shape(graph, step)?;
    let [one, height, width, rows] = shape;
    if one != 1 || rows % channels != 0 {
        return Err(format!(
            "its filter of shape {shape:?} does not fit {channels} input channels"
        ));
    }
    let layout = Layout {
        rows,
        kernel: [height, width],
        groups: channels,
        is_depthwise: true,
    };
    convolve(graph, step, &attributes, &layout)
}

/// The options of a convolution; the depthwise one has its activation and dilation one field later.
fn attributes(options: &Options, activation: usize, dilation: usize) -> Outcome<Attributes> {
    let int = |id: usize, default: i32| i64::from(options.int(id, default));
    Ok(Attributes {
        padding: Padding::from_code(options.byte(0))?,
        stride: pair("stride", int(2, 0), int(1, 0))?,
        dilation: pair("dilation", int(dilation + 1, 1), int(dilation, 1))?,
        activation: Activation::from_code(options.byte(activation))?,
    })
}

/// The shape of a filter, no axis of which is 0.
fn filter_shape(graph: &Graph, step: &Step) -> Outcome<[usize; 4]> {
    let Some(tensor) = graph.tensor(step, 1) else {
        return Err("its filter is missing".into());
    };
    let sizes = constant::sizes(tensor)?;
    match <[usize; 4]>::try_from(sizes) {
        Ok(shape) if !shape.contains(&0) => Ok(shape),
        _ => Err(format!(
            "its filter has the shape {:?}; four axes are needed",
            tensor.shape
        )),
    }
}

/// How the elements of a filter tensor make up rows.
struct Layout {
    rows: usize,
    kernel: [usize; 2],
    groups: usize,
    /// The elements are ordered tap by tap and not row by row.
    is_depthwise: bool,
}

impl Layout {
    fn filter<T: Copy>(&self, elements: Vec<T>) -> Filter<T> {
        let weights = if self.is_depthwise {
            let n_taps = elements.len() / self.rows;
            let of_row = |row: usize| (0..n_taps).map(move |tap| tap * self.rows + row);
            let order = (0..self.rows).flat_map(of_row);
            order.map(|at| elements[at]).collect()
        } else {
            elements
        };
        Filter {
            rows: self.rows,
            weights,
        }
    }
}

fn convolve(
    graph: &mut Graph,
    step: &Step,
    attributes: &Attributes,
    layout: &Layout,
) -> Outcome<Value> {
    let value = graph.bordered(step, 0)?;
    let frame = Frame {
        kernel: layout.kernel,
        stride: attributes.stride,
        dilation: attributes.dilation,
    };
    if let Meaning::Codes(scale) = value.meaning {
        let filter = layout.filter(quantized::weights(filter_tensor(graph, step)?)?);
        let (axis, ties) = match layout.is_depthwise {
            true => (3, Ties::Away),
            false => (0, Ties::Up),
        };
        let layer = quantized::layer(graph, step, &filter, axis, scale)?;
        let placed = over(graph, value, &frame, attributes.padding, scale.zero)?;
        let weights = int8_matrix(filter)?;
        let sums = push_conv(
            graph,
            weights,
            Some(layer.bias.clone()),
            layout.groups,
            &placed,
        )?;
        let rescale = layer.rescale(ties, attributes.activation);
        return quantized::requantize(graph, step, &sums, &rescale);
    }
    let filter = layout.filter(float_weights(graph, step, &value)?);
    let placed = over(graph, value, &frame, attributes.padding, 0)?;
    let (weights, scale) = cheapest(graph.kind(placed.id), &filter)?;
    let sums = push_conv(graph, weights, None, layout.groups, &placed)?;
    finish(graph, step, sums, scale, attributes.activation)
}

fn push_conv(
    graph: &mut Graph,
    weights: Weights,
    bias: Option<Vec<i32>>,
    groups: usize,
    placed: &Placed,
) -> Outcome<Value> {
    let rows = weights.n_rows();
    let conv = Op::Conv2d(Conv2d {
        weights,
        bias,
        window: placed.window,
        groups,
        pad: placed.pad,
    });
    let id = graph.push(conv, &[placed.id])?;
    let [height, width] = placed.size;
    Ok(Value::float(id, &[height, width, rows]))
}

/// FULLY_CONNECTED.
pub(super) fn fully_connected(graph: &mut Graph, step: &Step) -> Outcome<Value> {
    let options = step.options(8)?;
    let activation = Activation::from_code(options.byte(0))?;
    if options.byte(1) != 0 {
        return Err(
            "its weights are shuffled (SHUFFLED4x16INT8); convert with the default format".into(),
        );
    }
    let value = graph.operand(step, 0)?;
    let shape = constant::sizes(filter_tensor(graph, step)?)?;
    let [rows, n_inputs] = shape[..] else {
        return Err(format!(
            "its weights have the shape {shape:?}; two axes are needed"
        ));
    };
    if rows == 0 || n_inputs == 0 || value.n_elements() % n_inputs != 0 {
        return Err(format!(
            "its weights of shape {shape:?} do not fit an operand of shape {:?} per image",
            value.shape
        ));
    }
    let layout = Layout {
        rows,
        kernel: [1, 1],
        groups: 1,
        is_depthwise: false,
    };
    let scale = match value.meaning {
        Meaning::Codes(scale) => Some(scale),
        _ => None,
    };
    let (mut sums, ending) = if let Some(scale) = scale {
        let filter = layout.filter(quantized::weights(filter_tensor(graph, step)?)?);
        let layer = quantized::layer(graph, step, &filter, 0, scale)?;
        let weights = int8_matrix(filter)?;
        let sums = push_dense(graph, &value, weights, Some(layer.bias.clone()))?;
        (sums, Ending::Requantize(layer))
    } else {
        let filter = layout.filter(float_weights(graph, step, &value)?);
        let (weights, scale) = cheapest(graph.kind(value.id), &filter)?;
        (
            push_dense(graph, &value, weights, None)?,
            Ending::Scale(scale),
        )
    };
    if options.byte(2) != 0 {
        // keep_num_dims: the axes before the last stay.
        let mut shape = value.shape.clone();
        if let Some(last) = shape.last_mut() {
            *last = rows;
        }
        sums.id = graph.reshape(sums.id, &shape)?;
        sums.shape = shape;
    }
    match ending {
        Ending::Requantize(layer) => {
            quantized::requantize(graph, step, &sums, &layer.rescale(Ties::Up, activation))
        }
        Ending::Scale(scale) => finish(graph, step, sums, scale, activation),
    }
}

/// What follows the sums of a dense layer.
enum Ending {
    Requantize(Layer),
    Scale(Option<Vec<f32>>),
}

/// The product with every run of as many elements as the weights have columns.
fn push_dense(
    graph: &mut Graph,
    value: &Value,
    weights: Weights,
    bias: Option<Vec<i32>>,
) -> Outcome<Value> {
    let (rows, n_inputs) = (weights.n_rows(), weights.n_cols());
    let n_products = value.n_elements() / n_inputs;
    if n_products == 1 {
        let id = graph.push(Op::Dense { weights, bias }, &[value.id])?;
        return Ok(Value::float(id, &[rows]));
    }
    let id = graph.reshape(value.id, &[1, n_products, n_inputs])?;
    let placed = Placed {
        id,
        window: Window::new([1, 1]),
        pad: 0,
        size: [1, n_products],
    };
    let sums = push_conv(graph, weights, bias, 1, &placed)?;
    let id = graph.reshape(sums.id, &[n_products, rows])?;
    Ok(Value::float(id, &[n_products, rows]))
}

fn filter_tensor<'a>(graph: &Graph<'a>, step: &Step) -> Outcome<&'a Tensor<'a>> {
    let tensor = graph.tensor(step, 1);
    tensor.ok_or_else(|| String::from("its weights are missing"))
}

/// The weights of a layer on reals.
fn float_weights(graph: &Graph, step: &Step, value: &Value) -> Outcome<Vec<f32>> {
    if value.meaning != Meaning::Float {
        return Err(format!(
            "its operand is {}; FLOAT32 and INT8 are supported",
            graph.type_of(step, 0)
        ));
    }
    let tensor = filter_tensor(graph, step)?;
    if matches!(tensor.ty, ElementType::Int8 | ElementType::Uint8) {
        return Err(
            "it has FLOAT32 activations and INT8 weights (dynamic range quantisation), which TFLite computes with \
             scales measured at run time; convert without optimisations, or with a representative data set"
                .into(),
        );
    }
    let constant = graph.floats(step, 1)?;
    let constant = constant.ok_or_else(|| {
        String::from("its weights are computed in the graph; convert with constant folding on")
    })?;
    Ok(constant.values)
}

fn int8_matrix(filter: Filter<i8>) -> Outcome<Weights> {
    let (rows, n_cols) = (filter.rows, filter.n_cols());
    let matrix = Matrix::from_vec(rows, n_cols, filter.weights);
    Ok(Weights::Int8(
        matrix.ok_or("its weights do not make up rows")?,
    ))
}

/// The weights in the form that takes the least arithmetic, and the scale of each row where they need one.
///
/// Rows of `+-s` become bits and `s`. On bits and codes rows of `+-s` and 0 become ternary weights and `s`.
fn cheapest(operand: Kind, filter: &Filter<f32>) -> Outcome<(Weights, Option<Vec<f32>>)> {
    let (rows, n_cols) = (filter.rows, filter.n_cols());
    let row = |row: usize| &filter.weights[row * n_cols..(row + 1) * n_cols];
    let scales: Vec<f32> = (0..rows)
        .map(|r| {
            row(r)
                .iter()
                .fold(0.0, |scale: f32, weight| scale.max(weight.abs()))
        })
        .collect();
    let is_scaled = |r: usize, zero: bool| {
        let mut weights = row(r).iter();
        weights.all(|weight| weight.abs() == scales[r] || zero && *weight == 0.0)
    };
    let sign = BitMatrix::from_fn(rows, n_cols, |r, c| row(r)[c] > 0.0);
    if (0..rows).all(|r| is_scaled(r, false)) {
        return Ok((Weights::Bits(sign), Some(scales)));
    }
    if operand != Kind::Real && (0..rows).all(|r| is_scaled(r, true)) {
        let mask = BitMatrix::from_fn(rows, n_cols, |r, c| row(r)[c] != 0.0);
        return Ok((Weights::Ternary { sign, mask }, Some(scales)));
    }
    let matrix = Matrix::from_vec(rows, n_cols, filter.weights.clone());
    let matrix = matrix.ok_or("its weights do not make up rows")?;
    Ok((Weights::Real(matrix), None))
}

/// Scales the sums, adds the bias and applies the activation.
fn finish(
    graph: &mut Graph,
    step: &Step,
    sums: Value,
    scale: Option<Vec<f32>>,
    activation: Activation,
) -> Outcome<Value> {
    let rows = sums.channels();
    let bias = match graph.floats(step, 2)? {
        Some(bias) if bias.values.len() == rows => Some(bias.values),
        None if graph.tensor(step, 2).is_none() => None,
        _ => return Err(format!("its bias is not a constant of {rows} reals")),
    };
    let is_needed = graph.kind(sums.id) != Kind::Real
        || scale.iter().flatten().any(|&scale| scale != 1.0)
        || bias.iter().flatten().any(|&bias| bias != 0.0);
    let id = if is_needed {
        let scale = scale.unwrap_or_else(|| vec![1.0; rows]);
        let shift = bias.unwrap_or_else(|| vec![0.0; rows]);
        graph.push(Op::Affine { scale, shift }, &[sums.id])?
    } else {
        sums.id
    };
    let value = activate(graph, Value { id, ..sums }, activation)?;
    graph.deliver(step, value)
}

//! Larq Compute Engine `.tflite` files as Programs.
//!
//! In: a TFLite file of schema version 3 with the custom ops of Larq Compute Engine, of 2020 or later. Out: a
//! verified Program that computes what TFLite's reference kernels do, node by node and channels last, or an error
//! that names the node, its op and the reason. What a node means is in the modules; this one walks the graph.
//!
//! Larq's documentation says what a file holds: bit 1 of a packed word is -1, `LceBconv2d` applies its activation
//! before its multiplier, and 8-bit tensors follow TFLite's quantisation.

mod binary;
mod constant;
mod elementwise;
mod fixed;
mod flat;
mod flex;
mod graph;
mod linear;
mod logic;
mod pools;
mod quantized;
mod schema;
mod shapes;
mod window;

use std::io::Read;
use std::path::Path;

use onebit_model::builder::ProgramBuilder;
use onebit_model::limits::MAX_ELEMENTS;
use onebit_model::program::{Kind, ValueId};

use crate::Imported;
use crate::error::ImportError;
use crate::source::{Source, title};
use elementwise::{Activation, Arithmetic, Rounding};
use graph::{Graph, Meaning, Outcome, Step, Value, display_name};
use logic::Comparison;
use schema::{ElementType, Model, Operator, Tensor};

/// Longest file that is read: the greatest offset of a FlatBuffer.
const MAX_FILE_BYTES: u64 = i32::MAX as u64;

/// The schema's number of custom ops.
const CUSTOM: i32 = 32;

pub(crate) fn import(path: &Path) -> Result<Imported, ImportError> {
    let io = |error| ImportError::io(path, error);
    let file = std::fs::File::open(path).map_err(io)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let reason =
            format!("the file has more than {MAX_FILE_BYTES} bytes, the limit of a FlatBuffer");
        return Err(ImportError::malformed(path, "the file", reason));
    }
    import_bytes(path, &bytes)
}

/// Imports the bytes of a file; `path` names it in errors and gives the Program its name.
pub(crate) fn import_bytes(path: &Path, bytes: &[u8]) -> Result<Imported, ImportError> {
    let model = schema::parse(bytes)
        .map_err(|damage| ImportError::malformed(path, damage.place, damage.reason))?;
    let (input, output) = ends(path, &model)?;
    let at_input = |reason| node_error(path, &model.tensors[input], "input", "input", reason);
    let (kind, shape) = input_type(&model.tensors[input]).map_err(at_input)?;
    let mut builder = ProgramBuilder::new(&title(path), kind, &shape);
    if !model.description.is_empty() {
        builder.note("source.description", &display_name(&model.description));
    }
    let mut graph = Graph::new(&model, builder, bytes.len());
    if graph.builder.ty(ValueId(0)).is_none() {
        return Err(at_input(format!(
            "its shape {shape:?} is over the limits of Programs"
        )));
    }
    graph.name_after(&model.tensors[input].name);
    let value = input_value(&mut graph, &model.tensors[input], &shape).map_err(at_input)?;
    graph.values[input] = Some(value);
    for (idx, operator) in model.operators.iter().enumerate() {
        let op = op_name(&model, operator);
        let tensor = operator
            .outputs
            .first()
            .map(|&output| &model.tensors[output as usize]);
        let step = Step { operator, op };
        if let Some(tensor) = tensor {
            graph.name_after(&tensor.name);
        }
        walk(&mut graph, &step).map_err(|reason| {
            let name = tensor.map_or(String::new(), |tensor| {
                format!(" `{}`", display_name(&tensor.name))
            });
            ImportError::unsupported(path, format!("{idx}{name}"), &step.op, reason)
        })?;
    }
    let at_output = |reason| node_error(path, &model.tensors[output], "output", "output", reason);
    graph.name_after(&model.tensors[output].name);
    let answer = answer(&mut graph, output).map_err(at_output)?;
    let warnings = std::mem::take(&mut graph.warnings);
    let program = graph
        .builder
        .finish(answer)
        .map_err(|errors| ImportError::invalid(path, errors))?;
    Ok(Imported {
        program,
        source: Source::Lce,
        warnings,
    })
}

fn node_error(path: &Path, tensor: &Tensor, node: &str, op: &str, reason: String) -> ImportError {
    let name = display_name(&tensor.name);
    ImportError::unsupported(path, format!("{node} `{name}`"), op, reason)
}

/// The tensors that are the input and the output.
fn ends(path: &Path, model: &Model) -> Result<(usize, usize), ImportError> {
    match (&model.inputs[..], &model.outputs[..]) {
        // The reader has checked that they are tensors.
        ([input], [output]) => Ok((*input as usize, *output as usize)),
        (inputs, outputs) => {
            let (n_inputs, n_outputs) = (inputs.len(), outputs.len());
            let reason = format!(
                "it has {n_inputs} inputs and {n_outputs} outputs; a Program has one of each, export the part \
                 between two tensors"
            );
            Err(ImportError::unsupported(path, "main", "subgraph", reason))
        }
    }
}

/// The shape of a tensor without its batch axis, which must be 1 or free.
fn image_shape(tensor: &Tensor) -> Outcome<Vec<usize>> {
    let shape = constant::sizes(tensor)?;
    let name = display_name(&tensor.name);
    let is_free = |size: &i32| *size == -1;
    if tensor.signature.iter().skip(1).any(is_free) {
        let signature = &tensor.signature;
        return Err(format!(
            "`{name}` has the free sizes {signature:?}; export the model with fixed height, width and channels"
        ));
    }
    let n = shape
        .iter()
        .try_fold(1usize, |n, &size| n.checked_mul(size));
    if n.is_none_or(|n| n > MAX_ELEMENTS) {
        return Err(format!(
            "`{name}` has the shape {shape:?}, over the limits of Programs: {MAX_ELEMENTS} elements"
        ));
    }
    match shape[..] {
        [1] => Ok(vec![1]),
        [1, ref image @ ..] if !image.contains(&0) => Ok(image.into()),
        _ => Err(format!(
            "`{name}` has the shape {shape:?}; onebit runs one image at a time, export the model with a batch \
             axis of size 1 in front"
        )),
    }
}

/// The type of the Program's input.
fn input_type(tensor: &Tensor) -> Outcome<(Kind, Vec<usize>)> {
    let kind = match tensor.ty {
        ElementType::Float32 => Kind::Real,
        ElementType::Int8 => Kind::Int,
        ElementType::Uint8 => Kind::Levels(8),
        other => {
            let name = other.name();
            return Err(format!(
                "it is {name}; FLOAT32, INT8 and UINT8 inputs are supported"
            ));
        }
    };
    Ok((kind, image_shape(tensor)?))
}

fn input_value(graph: &mut Graph, tensor: &Tensor, shape: &[usize]) -> Outcome<Value> {
    match tensor.ty {
        ElementType::Float32 => Ok(Value::float(ValueId(0), shape)),
        _ => {
            let scale = constant::scale(tensor)?;
            quantized::input(graph, ValueId(0), shape, scale)
        }
    }
}

/// The value that answers: `real` for FLOAT32, the element as `int` for INT8, codes for UINT8, `int` for positions.
fn answer(graph: &mut Graph, output: usize) -> Outcome<ValueId> {
    let Some(value) = graph.values[output].clone() else {
        return Err("no node computes it".into());
    };
    let value = graph.settle(value)?;
    match value.meaning {
        Meaning::Float => graph.real(value.id),
        Meaning::Codes(scale) => quantized::output(graph, &value, scale),
        Meaning::Index => Ok(value.id),
        Meaning::Packed | Meaning::Bool => Err(
            "it is packed bits or BOOL; end the model in LceDequantize to FLOAT32 or in the reals before".into(),
        ),
    }
}

/// Translates a node and keeps its results.
fn walk(graph: &mut Graph, step: &Step) -> Outcome<()> {
    let outputs: Vec<usize> = step.operator.outputs.iter().map(|&i| i as usize).collect();
    if let Some(source) = constant_source(graph, step) {
        for &output in &outputs {
            graph.aliases.insert(output, source);
        }
        return Ok(());
    }
    let values = translate(graph, step)?;
    if values.len() != outputs.len() {
        return Err(format!(
            "it has {} outputs, {} are expected",
            outputs.len(),
            values.len()
        ));
    }
    for (output, value) in outputs.into_iter().zip(values) {
        let tensor = &graph.model.tensors[output];
        if tensor.is_variable || graph.values[output].is_some() || tensor.data.is_some() {
            let name = display_name(&tensor.name);
            return Err(format!(
                "its output `{name}` is a variable, a constant or computed twice"
            ));
        }
        check_shape(tensor, &value)?;
        graph.values[output] = Some(value);
    }
    Ok(())
}

/// The constant that a node only hands on: FLOAT16 or INT8 weights that are dequantised, or another shape of it.
fn constant_source(graph: &Graph, step: &Step) -> Option<usize> {
    const HANDS_ON: [&str; 4] = ["DEQUANTIZE", "RESHAPE", "SQUEEZE", "EXPAND_DIMS"];
    let input = usize::try_from(*step.operator.inputs.first()?).ok()?;
    let source = graph.aliases.get(&input).copied().unwrap_or(input);
    let is_constant = graph.model.tensors[source].data.is_some() && graph.values[input].is_none();
    (is_constant && HANDS_ON.contains(&step.op.as_str())).then_some(source)
}

/// Checks a result against the shape that the file gives its tensor.
fn check_shape(tensor: &Tensor, value: &Value) -> Outcome<()> {
    if tensor.shape.is_empty() || tensor.signature.iter().skip(1).any(|&size| size == -1) {
        return Ok(());
    }
    let mut expected = value.shape.clone();
    if let (Meaning::Packed, Some(last)) = (value.meaning, expected.last_mut()) {
        *last = last.div_ceil(32);
    }
    let found = image_shape(tensor)?;
    if found == expected || value.meaning == Meaning::Index {
        return Ok(());
    }
    Err(format!(
        "it computes the shape {expected:?} per image, its output tensor has {found:?}: the file is damaged or the \
         op is of another version"
    ))
}

fn one(value: Outcome<Value>) -> Outcome<Vec<Value>> {
    value.map(|value| vec![value])
}

fn translate(graph: &mut Graph, step: &Step) -> Outcome<Vec<Value>> {
    match step.op.as_str() {
        "LceQuantize" => one(binary::quantize(graph, step)),
        "LceDequantize" => one(binary::dequantize(graph, step)),
        "LceBconv2d" => one(binary::conv_2d(graph, step)),
        "LceBMaxPool2d" => one(binary::max_pool(graph, step)),
        "CONV_2D" => one(linear::conv_2d(graph, step)),
        "DEPTHWISE_CONV_2D" => one(linear::depthwise_conv_2d(graph, step)),
        "FULLY_CONNECTED" => one(linear::fully_connected(graph, step)),
        "ADD" => one(elementwise::arithmetic(graph, step, Arithmetic::Add)),
        "SUB" => one(elementwise::arithmetic(graph, step, Arithmetic::Sub)),
        "MUL" => one(elementwise::arithmetic(graph, step, Arithmetic::Mul)),
        "DIV" => one(elementwise::arithmetic(graph, step, Arithmetic::Div)),
        "RELU" => one(elementwise::unary_activation(graph, step, Activation::Relu)),
        "RELU6" => one(elementwise::unary_activation(
            graph,
            step,
            Activation::Relu6,
        )),
        "RELU_N1_TO_1" => one(elementwise::unary_activation(
            graph,
            step,
            Activation::ReluN1To1,
        )),
        "RELU_0_TO_1" => one(elementwise::relu_0_to_1(graph, step)),
        "PRELU" => one(elementwise::prelu(graph, step)),
        "LEAKY_RELU" => one(elementwise::leaky_relu(graph, step)),
        "LOGISTIC" => one(elementwise::logistic(graph, step)),
        "HARD_SWISH" => one(elementwise::hard_swish(graph, step)),
        "NEG" => one(elementwise::negate(graph, step)),
        "SQUARE" => one(elementwise::square(graph, step)),
        "MAXIMUM" => one(elementwise::extremum(graph, step, true)),
        "MINIMUM" => one(elementwise::extremum(graph, step, false)),
        "ROUND" => one(elementwise::round(graph, step, Rounding::HalfToEven)),
        "FLOOR" => one(elementwise::round(graph, step, Rounding::Down)),
        "SIGN" => one(elementwise::sign(graph, step)),
        "LESS" => one(logic::comparison(graph, step, Comparison::Less)),
        "LESS_EQUAL" => one(logic::comparison(graph, step, Comparison::LessEqual)),
        "GREATER" => one(logic::comparison(graph, step, Comparison::Greater)),
        "GREATER_EQUAL" => one(logic::comparison(graph, step, Comparison::GreaterEqual)),
        "LOGICAL_AND" => one(logic::logical(graph, step, true)),
        "LOGICAL_OR" => one(logic::logical(graph, step, false)),
        "LOGICAL_NOT" => one(logic::logical_not(graph, step)),
        "SELECT" | "SELECT_V2" => one(logic::select(graph, step)),
        "CAST" => one(logic::cast(graph, step)),
        "QUANTIZE" => one(quantized::quantize_op(graph, step)),
        "DEQUANTIZE" => one(quantized::dequantize_op(graph, step)),
        "RESHAPE" | "SQUEEZE" | "EXPAND_DIMS" => one(shapes::reshape(graph, step)),
        "TRANSPOSE" => one(shapes::transpose(graph, step)),
        "CONCATENATION" => one(shapes::concatenation(graph, step)),
        "PAD" => one(shapes::pad(graph, step, false)),
        "PADV2" => one(shapes::pad(graph, step, true)),
        "SLICE" => one(shapes::slice(graph, step)),
        "STRIDED_SLICE" => one(shapes::strided_slice(graph, step)),
        "SPLIT" => shapes::split(graph, step),
        "MAX_POOL_2D" => one(pools::max_pool(graph, step)),
        "AVERAGE_POOL_2D" => one(pools::average_pool(graph, step)),
        "MEAN" => one(pools::mean(graph, step)),
        "SOFTMAX" => one(pools::softmax(graph, step)),
        "ARG_MAX" => one(pools::arg_max(graph, step)),
        _ => Err(format!(
            "onebit has no translation of {}; {REMEDY}",
            step.op
        )),
    }
}

const REMEDY: &str = "replace the op in the model, or export the part before it";

/// The name of an operator: the schema's, or that of a custom op.
fn op_name(model: &Model, operator: &Operator) -> String {
    let code = &model.codes[operator.code];
    if code.builtin == CUSTOM {
        return match code.custom.as_str() {
            name @ ("LceQuantize" | "LceDequantize" | "LceBconv2d" | "LceBMaxPool2d") => {
                name.into()
            }
            name => format!("custom op `{}`", display_name(name)),
        };
    }
    let known = BUILTIN_NAMES
        .iter()
        .find(|(number, _)| *number == code.builtin);
    known.map_or_else(
        || format!("builtin op {}", code.builtin),
        |(_, name)| (*name).into(),
    )
}

/// The schema's numbers and names of ops: those that are translated, and those that networks use besides.
const BUILTIN_NAMES: [(i32, &str); 91] = [
    (0, "ADD"),
    (1, "AVERAGE_POOL_2D"),
    (2, "CONCATENATION"),
    (3, "CONV_2D"),
    (4, "DEPTHWISE_CONV_2D"),
    (5, "DEPTH_TO_SPACE"),
    (6, "DEQUANTIZE"),
    (8, "FLOOR"),
    (9, "FULLY_CONNECTED"),
    (11, "L2_NORMALIZATION"),
    (13, "LOCAL_RESPONSE_NORMALIZATION"),
    (14, "LOGISTIC"),
    (16, "LSTM"),
    (17, "MAX_POOL_2D"),
    (18, "MUL"),
    (19, "RELU"),
    (20, "RELU_N1_TO_1"),
    (21, "RELU6"),
    (22, "RESHAPE"),
    (23, "RESIZE_BILINEAR"),
    (25, "SOFTMAX"),
    (26, "SPACE_TO_DEPTH"),
    (28, "TANH"),
    (34, "PAD"),
    (36, "GATHER"),
    (37, "BATCH_TO_SPACE_ND"),
    (38, "SPACE_TO_BATCH_ND"),
    (39, "TRANSPOSE"),
    (40, "MEAN"),
    (41, "SUB"),
    (42, "DIV"),
    (43, "SQUEEZE"),
    (44, "UNIDIRECTIONAL_SEQUENCE_LSTM"),
    (45, "STRIDED_SLICE"),
    (47, "EXP"),
    (48, "TOPK_V2"),
    (49, "SPLIT"),
    (50, "LOG_SOFTMAX"),
    (53, "CAST"),
    (54, "PRELU"),
    (55, "MAXIMUM"),
    (56, "ARG_MAX"),
    (57, "MINIMUM"),
    (58, "LESS"),
    (59, "NEG"),
    (60, "PADV2"),
    (61, "GREATER"),
    (62, "GREATER_EQUAL"),
    (63, "LESS_EQUAL"),
    (64, "SELECT"),
    (65, "SLICE"),
    (67, "TRANSPOSE_CONV"),
    (69, "TILE"),
    (70, "EXPAND_DIMS"),
    (71, "EQUAL"),
    (72, "NOT_EQUAL"),
    (73, "LOG"),
    (74, "SUM"),
    (75, "SQRT"),
    (76, "RSQRT"),
    (77, "SHAPE"),
    (78, "POW"),
    (80, "FAKE_QUANT"),
    (82, "REDUCE_MAX"),
    (83, "PACK"),
    (84, "LOGICAL_OR"),
    (86, "LOGICAL_AND"),
    (87, "LOGICAL_NOT"),
    (88, "UNPACK"),
    (92, "SQUARE"),
    (97, "RESIZE_NEAREST_NEIGHBOR"),
    (98, "LEAKY_RELU"),
    (99, "SQUARED_DIFFERENCE"),
    (100, "MIRROR_PAD"),
    (101, "ABS"),
    (102, "SPLIT_V"),
    (109, "WHERE"),
    (111, "ELU"),
    (114, "QUANTIZE"),
    (116, "ROUND"),
    (117, "HARD_SWISH"),
    (118, "IF"),
    (119, "WHILE"),
    (123, "SELECT_V2"),
    (126, "BATCH_MATMUL"),
    (129, "CALL_ONCE"),
    (130, "BROADCAST_TO"),
    (132, "CONV_3D"),
    (150, "GELU"),
    (152, "RELU_0_TO_1"),
    (158, "SIGN"),
];

//! The walk over the graph: each node becomes constants, nodes of the Program, or a new reading of a value.
//!
//! A loaded graph comes in, a verified Program and warnings go out. Owns the values by name, the nodes made so
//! far and their names. What each op means is in the files of its family.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use onebit_model::limits::{MAX_ELEMENTS, MAX_NAME_LEN, MAX_NODES};
use onebit_model::program::{Cuts, Kind, Node, Op, Program, Type, ValueId};
use onebit_model::weights::Weights;

use super::constant::Const;
use super::fold::{self, Operands};
use super::graph::{Graph, fits_a_value, is_standard};
use super::live::{Live, Map, Order, Reach};
use super::proto::NodeProto;
use super::{fold_shape, quant_ops};
use crate::Options;

/// A value of the graph.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Known now.
    Const(Rc<Const>),
    /// Computed by the Program.
    Live(Live),
}

/// Why a node cannot be imported.
pub(super) struct Refusal {
    pub node: String,
    pub op: String,
    pub reason: String,
}

/// The state of the walk.
pub(super) struct Lower<'a> {
    pub options: &'a Options,
    pub opset: i64,
    /// Images per run, as far as the graph computes with it.
    pub batch: usize,
    values: HashMap<String, Value>,
    input: Type,
    nodes: Vec<Node>,
    names: HashSet<String>,
    /// What the nodes made now are called.
    title: String,
    /// Each with the value that it is about.
    warnings: Vec<(ValueId, String)>,
    /// Elements that folded constants may still hold.
    budget: usize,
    /// Parameters that the nodes of the Program may still have.
    parameters: usize,
}

/// A Program and what a person should know about it.
pub(super) struct Lowered {
    pub program: Program,
    pub warnings: Vec<String>,
}

/// Translates a graph.
pub(super) fn lower(graph: Graph, name: &str, options: &Options) -> Result<Lowered, Refusal> {
    let refuse = |node: &str, op: &str, reason: String| Refusal {
        node: node.into(),
        op: op.into(),
        reason,
    };
    let kind = input_kind(graph.input.elem_type)
        .map_err(|reason| refuse(&graph.input.name, "input", reason))?;
    let n_held: usize = graph.constants.values().map(Const::n_held).sum();
    let values = graph
        .constants
        .into_iter()
        .map(|(name, value)| (name, Value::Const(Rc::new(value))));
    let mut state = Lower {
        options,
        opset: graph.opset,
        batch: graph.input.batch,
        values: values.collect(),
        input: Type {
            kind,
            shape: graph.input.dims.clone(),
        },
        nodes: Vec::new(),
        names: HashSet::new(),
        title: String::new(),
        warnings: Vec::new(),
        budget: n_held.saturating_mul(16).saturating_add(1 << 24),
        parameters: n_held.saturating_mul(16).saturating_add(1 << 26),
    };
    let input = Live {
        id: ValueId(0),
        kind,
        shape: graph.input.dims.clone(),
        dims: graph.input.dims,
        order: Order::Plain,
        map: Map::identity(),
        clip: None,
        rim: None,
        reach: None::<Rc<Vec<Reach>>>,
    };
    state.values.insert(graph.input.name, Value::Live(input));
    for node in &graph.nodes {
        state
            .node(node)
            .map_err(|reason| refuse(node.title(), &op_name(node), reason))?;
    }
    let refuse_output = |reason| refuse(&graph.output, "output", reason);
    let output = match state.values.get(&graph.output) {
        Some(Value::Live(output)) => output.clone(),
        Some(Value::Const(_)) => {
            return Err(refuse_output("it does not depend on the input".into()));
        }
        None => return Err(refuse_output("no node computes it".into())),
    };
    state.title.clone_from(&graph.output);
    let output = state.settled(output).and_then(|x| state.plain(x));
    let output = output.map_err(refuse_output)?;
    let dims = output.dims.clone();
    let output = if dims.len() > 1 {
        state.reshaped(output, &dims).map_err(refuse_output)?
    } else {
        output
    };
    Ok(state.finish(name, output.id))
}

fn op_name(node: &NodeProto) -> String {
    if is_standard(&node.domain) {
        node.op_type.clone()
    } else {
        format!("{}::{}", node.domain, node.op_type)
    }
}

/// The kind of a Program's input for an ONNX data type.
fn input_kind(elem_type: i32) -> Result<Kind, String> {
    match elem_type {
        1 => Ok(Kind::Real),
        2 => Ok(Kind::Levels(8)),
        _ => Err(format!(
            "inputs of ONNX data type {elem_type} are not read; export the network with 32-bit floats or, for \
             pixels, unsigned bytes"
        )),
    }
}

impl Lower<'_> {
    /// Translates one node.
    fn node(&mut self, node: &NodeProto) -> Result<(), String> {
        if self.fold_node(node)? {
            return Ok(());
        }
        self.title = node.output.first().cloned().unwrap_or_default();
        let outputs = if is_standard(&node.domain) {
            self.standard(node)?
        } else if quant_ops::is_quant_domain(&node.domain) {
            vec![self.quantiser(node)?]
        } else {
            return Err(format!(
                "ops of domain {:?} are not known; export the network with standard ops",
                node.domain
            ));
        };
        for (name, value) in node.output.iter().zip(outputs) {
            if let Value::Live(x) = &value
                && !(fits_a_value(&x.dims) && fits_a_value(&x.shape))
            {
                return Err(format!(
                    "its result has shape {:?}, over the limit of {MAX_ELEMENTS} elements",
                    x.dims
                ));
            }
            self.values.insert(name.clone(), value);
        }
        Ok(())
    }

    /// Computes a node of constants; `false` where an input is live.
    fn fold_node(&mut self, node: &NodeProto) -> Result<bool, String> {
        let mut inputs = Vec::with_capacity(node.input.len());
        for name in &node.input {
            inputs.push(match self.values.get(name) {
                Some(Value::Const(value)) => Some(value.clone()),
                Some(Value::Live(_)) => return Ok(false),
                None if name.is_empty() => None,
                None => return Err(format!("its input {name:?} is not computed before it")),
            });
        }
        let inputs: Vec<Option<&Const>> = inputs.iter().map(Option::as_deref).collect();
        let outputs = fold::fold(node, &Operands { inputs: &inputs })?;
        for (name, value) in node.output.iter().zip(outputs) {
            self.budget = self.budget.checked_sub(value.n_held()).ok_or(
                "the constants that follow from those in the file take too much memory; export the network with \
                 constant folding",
            )?;
            self.values
                .insert(name.clone(), Value::Const(Rc::new(value)));
        }
        Ok(true)
    }

    /// A node of the standard set with a live input.
    fn standard(&mut self, node: &NodeProto) -> Result<Vec<Value>, String> {
        let live = match node.op_type.as_str() {
            "Shape" => {
                let shape = self.live(node, 0)?.onnx_shape(self.batch);
                return Ok(vec![Value::Const(Rc::new(fold_shape::shape_of(
                    node, &shape,
                )?))]);
            }
            "Split" => return self.split(node),
            "Size" => {
                let n = self.live(node, 0)?.n_elements() * self.batch;
                return Ok(vec![Value::Const(Rc::new(
                    Const::list(vec![n as i64]).reshape(vec![])?,
                ))]);
            }
            "Identity" => self.live(node, 0)?,
            "Dropout" => self.dropout(node)?,
            "Cast" | "CastLike" => self.cast(node)?,
            "Sign" => self.sign(node)?,
            "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" => self.comparison(node)?,
            "Where" => self.choice(node)?,
            "Not" => {
                let x = self.live(node, 0)?;
                self.scaled(x, &[-1.0], &[1.0])?
            }
            "Add" | "Sub" | "Mul" | "Div" | "Sum" => self.arithmetic(node)?,
            "Neg" => {
                let x = self.live(node, 0)?;
                self.scaled(x, &[-1.0], &[0.0])?
            }
            "Pow" => self.power(node)?,
            "BatchNormalization" => self.batch_norm(node)?,
            "Relu" => self.relu(node)?,
            "LeakyRelu" => self.leaky_relu(node)?,
            "PRelu" => self.prelu(node)?,
            "Clip" | "Max" | "Min" | "HardSigmoid" => self.clip(node)?,
            "Round" | "Floor" | "Ceil" => self.round(node)?,
            "Conv" => self.conv(node)?,
            "Gemm" | "MatMul" => self.dense(node)?,
            "MaxPool" | "AveragePool" => self.pool(node)?,
            "GlobalAveragePool" | "GlobalMaxPool" | "ReduceMean" => self.global_pool(node)?,
            "Flatten" | "Reshape" | "Squeeze" | "Unsqueeze" => self.reshape(node)?,
            "Expand" => self.expand(node)?,
            "Transpose" => self.transpose(node)?,
            "Concat" => self.concat(node)?,
            "Slice" => self.slice(node)?,
            "Pad" => self.pad(node)?,
            "Softmax" => self.softmax(node)?,
            "ArgMax" => self.argmax(node)?,
            other => return Err(why_not(other).into()),
        };
        Ok(vec![Value::Live(live)])
    }

    /// The value at a position, if the node has one there.
    pub(super) fn value(&self, node: &NodeProto, idx: usize) -> Option<&Value> {
        self.values
            .get(node.input.get(idx).filter(|name| !name.is_empty())?)
    }

    /// The live value at a position.
    pub(super) fn live(&self, node: &NodeProto, idx: usize) -> Result<Live, String> {
        match self.value(node, idx) {
            Some(Value::Live(x)) => Ok(x.clone()),
            Some(Value::Const(_)) => Err(format!(
                "its input {idx} is a constant where the network's data is expected; swap the operands"
            )),
            None => Err(format!("its input {idx} is missing")),
        }
    }

    /// The constant at a position, if there is an input; a live value there is an error.
    pub(super) fn optional(
        &self,
        node: &NodeProto,
        idx: usize,
    ) -> Result<Option<Rc<Const>>, String> {
        match self.value(node, idx) {
            Some(Value::Const(x)) => Ok(Some(x.clone())),
            Some(Value::Live(_)) => Err(format!(
                "its input {idx} depends on the network's input; onebit needs a constant there"
            )),
            None => Ok(None),
        }
    }

    /// The constant at a position.
    pub(super) fn constant(&self, node: &NodeProto, idx: usize) -> Result<Rc<Const>, String> {
        self.optional(node, idx)?
            .ok_or_else(|| format!("its input {idx} is missing"))
    }

    /// The constants of a node by position, `None` where an input is live or left out.
    pub(super) fn constants(&self, node: &NodeProto) -> Vec<Option<Rc<Const>>> {
        let one = |idx| match self.value(node, idx) {
            Some(Value::Const(x)) => Some(x.clone()),
            _ => None,
        };
        (0..node.input.len()).map(one).collect()
    }

    /// Appends a node, or finds one that computes the same.
    pub(super) fn emit(&mut self, op: Op, inputs: &[ValueId]) -> Result<ValueId, String> {
        let is_cheap = matches!(
            op,
            Op::Affine { .. }
                | Op::Clip { .. }
                | Op::Reshape { .. }
                | Op::Transpose { .. }
                | Op::Threshold(_)
                | Op::Quantize { .. }
        );
        if is_cheap {
            let same = |node: &Node| node.inputs == inputs && node.op == op;
            if let Some(idx) = self.nodes.iter().position(same) {
                return Ok(ValueId(idx + 1));
            }
        }
        if self.nodes.len() >= MAX_NODES {
            return Err(format!(
                "the Program would have more than {MAX_NODES} nodes, the limit"
            ));
        }
        self.parameters = self.parameters.checked_sub(n_parameters(&op)).ok_or(
            "the Program would have many more parameters than the file; onebit expects weights to be used once",
        )?;
        let name = self.unused_name();
        self.nodes.push(Node {
            name,
            op,
            inputs: inputs.to_vec(),
        });
        Ok(ValueId(self.nodes.len()))
    }

    /// A name for the next node that is legal and new, made from the output's name in the graph.
    fn unused_name(&mut self) -> String {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        let tail: Vec<char> = self.title.trim_start_matches('/').chars().collect();
        let kept = &tail[tail.len().saturating_sub(MAX_NAME_LEN - 8)..];
        let base: String = kept
            .iter()
            .map(|&c| if legal(c) { c } else { '.' })
            .collect();
        let base = if base.is_empty() {
            "value".to_owned()
        } else {
            base
        };
        let mut name = base.clone();
        let mut n = 2;
        while !self.names.insert(name.clone()) {
            name = format!("{base}-{n}");
            n += 1;
        }
        name
    }

    /// Notes something that a person should know if the Program computes `about`.
    pub(super) fn warn(&mut self, about: ValueId, sentence: String) {
        self.warnings.push((about, sentence));
    }

    /// The Program of the nodes that `output` depends on.
    fn finish(self, name: &str, output: ValueId) -> Lowered {
        let mut is_needed = vec![false; self.nodes.len() + 1];
        is_needed[output.0] = true;
        for (idx, node) in self.nodes.iter().enumerate().rev() {
            if is_needed[idx + 1] {
                node.inputs
                    .iter()
                    .for_each(|input| is_needed[input.0] = true);
            }
        }
        let mut new_ids = vec![ValueId(0)];
        let mut nodes = Vec::new();
        for (idx, mut node) in self.nodes.into_iter().enumerate() {
            if is_needed[idx + 1] {
                node.inputs
                    .iter_mut()
                    .for_each(|input| *input = new_ids[input.0]);
                nodes.push(node);
            }
            new_ids.push(ValueId(nodes.len()));
        }
        let warnings = self
            .warnings
            .into_iter()
            .filter(|(about, _)| is_needed[about.0]);
        let warnings = warnings.map(|(_, sentence)| sentence).collect();
        let (output, notes) = (new_ids[output.0], Vec::new());
        let program = Program {
            name: name.into(),
            input: self.input,
            nodes,
            output,
            notes,
        };
        Lowered { program, warnings }
    }
}

/// How many numbers an op carries with it.
fn n_parameters(op: &Op) -> usize {
    let n_weights = |weights: &Weights| weights.n_rows().saturating_mul(weights.n_cols());
    match op {
        Op::Dense { weights, .. } => n_weights(weights),
        Op::Conv2d(conv) => n_weights(&conv.weights),
        Op::Threshold(thresholds) => thresholds.flip.len(),
        Op::Affine { scale, .. } => 2 * scale.len(),
        Op::Prelu { slope } => slope.len(),
        Op::Quantize { cuts, .. } => match cuts {
            Cuts::Int(cuts) => cuts.len(),
            Cuts::Real(cuts) => cuts.len(),
        },
        _ => 0,
    }
}

/// Why an op has no place in a Program, and what to do.
fn why_not(op: &str) -> &'static str {
    match op {
        "LogSoftmax" => {
            "a Program has no logarithm; export the network without it, or with Softmax: the order of the scores is \
             the same"
        }
        "Sigmoid" | "Tanh" | "Gelu" | "Erf" | "Exp" | "HardSwish" | "Selu" | "Elu" | "Softplus" => {
            "a Program has no such curve; train with Relu, PRelu, Clip or a sign instead"
        }
        "ConvTranspose" => {
            "transposed convolutions are not part of Programs; use a convolution of an upsampled image"
        }
        "Resize" | "Upsample" => "resampling is not part of Programs; do it before the network",
        "LSTM" | "GRU" | "RNN" | "Loop" | "Scan" | "If" => {
            "a Program has no loops and no branches; export the network unrolled, by tracing"
        }
        "InstanceNormalization" | "LayerNormalization" | "GroupNormalization" => {
            "statistics that are taken at run time are not part of Programs; use batch normalisation"
        }
        "Equal" => "a test for equality is not monotone; write the binariser as one comparison",
        "QuantizeLinear" | "DequantizeLinear" | "QLinearConv" | "ConvInteger" => {
            "8-bit networks of this form are not read; export the float network or QONNX"
        }
        "Abs" => "an absolute value of an activation is not part of Programs",
        _ => "onebit has no exact form of this op; export the network without it",
    }
}

//! A model file as a small graph: nodes in order, constants by name, one input and one output.
//!
//! The decoded message comes in, with the folder that external tensors lie in. Local functions are replaced by
//! their nodes, tensors are read, and only the nodes that the output depends on go out. What a node means is
//! left to `lower`.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path};

use onebit_model::limits::{MAX_ELEMENTS, MAX_RANK};
use prost::Message;

use super::constant::{self, Const};
use super::proto::{
    AttributeProto, FunctionProto, ModelProto, NodeProto, TensorProto, ValueInfoProto,
};

/// Most nodes after local functions are replaced.
const MAX_GRAPH_NODES: usize = 65_536;

/// Most bytes of nodes that are copied out of local functions.
const MAX_COPIED: usize = 1 << 28;

/// Most images that a file may say it runs at once.
const MAX_BATCH: usize = 1 << 20;

/// How deep local functions may call one another.
const MAX_CALL_DEPTH: usize = 16;

/// A model in memory.
pub(super) struct Graph {
    /// Nodes that the output depends on, each after those that it reads.
    pub nodes: Vec<NodeProto>,
    /// The file's tensors.
    pub constants: HashMap<String, Const>,
    /// The one input.
    pub input: Input,
    /// The name of the one output.
    pub output: String,
    /// Version of the standard ops.
    pub opset: i64,
}

/// The input as the file declares it.
pub(super) struct Input {
    pub name: String,
    /// ONNX data type.
    pub elem_type: i32,
    /// Images per run: the declared number, or 1.
    pub batch: usize,
    /// Sizes of the other axes.
    pub dims: Vec<usize>,
}

/// What is wrong with a graph as a whole: where, and the sentence.
pub(super) struct Damage {
    pub place: String,
    pub reason: String,
}

fn damage(place: impl Into<String>, reason: impl Into<String>) -> Damage {
    let (place, reason) = (place.into(), reason.into());
    Damage { place, reason }
}

/// Reads the parts of a model. `folder` holds its external data; without one such tensors are refused.
pub(super) fn load(model: ModelProto, folder: Option<&Path>) -> Result<Graph, Damage> {
    let standard = model
        .opset_import
        .iter()
        .find(|set| is_standard(&set.domain));
    let opset = standard.map_or(1, |set| set.version);
    let Some(graph) = model.graph else {
        return Err(damage("file", "it holds no graph; is it an ONNX model?"));
    };
    if !graph.sparse_initializer.is_empty() {
        return Err(damage(
            "graph",
            "sparse tensors are not read; export dense ones",
        ));
    }
    let mut constants = HashMap::new();
    for tensor in &graph.initializer {
        let value = read_tensor(tensor, folder)
            .map_err(|reason| damage(format!("tensor {:?}", tensor.name), reason))?;
        constants.insert(tensor.name.clone(), value);
    }
    let input = the_input(&graph.input, &constants)?;
    let output = match graph.output.as_slice() {
        [output] => output.name.clone(),
        outputs => {
            let n = outputs.len();
            return Err(damage(
                "graph",
                format!("it has {n} outputs; export the network with one"),
            ));
        }
    };
    let mut nodes = Vec::new();
    let functions: HashMap<(&str, &str), &FunctionProto> = model
        .functions
        .iter()
        .map(|f| ((f.domain.as_str(), f.name.as_str()), f))
        .collect();
    let mut left = Left {
        nodes: MAX_GRAPH_NODES,
        bytes: MAX_COPIED,
    };
    inline(&graph.node, &functions, 0, &mut left, &mut nodes)?;
    let nodes = needed(nodes, &output);
    Ok(Graph {
        nodes,
        constants,
        input,
        output,
        opset,
    })
}

/// Whether a domain is that of the standard ops.
pub(super) fn is_standard(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}

/// Reads a tensor from the message or from the file beside the model that it names.
pub(super) fn read_tensor(tensor: &TensorProto, folder: Option<&Path>) -> Result<Const, String> {
    if tensor.data_location != 1 {
        return constant::from_proto(tensor, None);
    }
    let Some(folder) = folder else {
        return Err("its data is in another file, and only the model's bytes were given".into());
    };
    let entry = |key: &str| tensor.external_data.iter().find(|entry| entry.key == key);
    let number = |key: &str| match entry(key) {
        None => Ok(None),
        Some(entry) => entry
            .value
            .parse::<u64>()
            .map(Some)
            .map_err(|_| format!("its external {key} is {:?}, not a number", entry.value)),
    };
    let location = entry("location").map_or("", |entry| entry.value.as_str());
    let is_plain = !location.is_empty()
        && !location.contains(['\\', ':'])
        && Path::new(location)
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
    if !is_plain {
        return Err(format!(
            "its data is said to be in {location:?}, which is not a plain file name beside the model"
        ));
    }
    let wanted = constant::n_bytes(tensor)?;
    if number("length")?.is_some_and(|length| length != wanted) {
        return Err(format!(
            "its external length is not the {wanted} bytes of its shape"
        ));
    }
    let offset = number("offset")?.unwrap_or(0);
    let bytes = read_range(&folder.join(location), offset, wanted)
        .map_err(|reason| format!("{location}, which holds its data: {reason}"))?;
    constant::from_proto(tensor, Some(&bytes))
}

fn read_range(path: &Path, offset: u64, wanted: u64) -> Result<Vec<u8>, String> {
    let says = |error: std::io::Error| error.to_string();
    let mut file = File::open(path).map_err(says)?;
    let len = file.metadata().map_err(says)?.len();
    if offset.checked_add(wanted).is_none_or(|end| end > len) {
        return Err(format!(
            "{wanted} bytes from {offset} are needed, the file has {len}; copy it again"
        ));
    }
    file.seek(SeekFrom::Start(offset)).map_err(says)?;
    let mut bytes = Vec::new();
    file.take(wanted).read_to_end(&mut bytes).map_err(says)?;
    Ok(bytes)
}

/// The one input that is no constant, with fixed sizes on every axis but the first.
fn the_input(
    inputs: &[ValueInfoProto],
    constants: &HashMap<String, Const>,
) -> Result<Input, Damage> {
    let open: Vec<_> = inputs
        .iter()
        .filter(|input| !constants.contains_key(&input.name))
        .collect();
    let [input] = open.as_slice() else {
        let n = open.len();
        return Err(damage(
            "graph",
            format!("it has {n} inputs; export the network with one"),
        ));
    };
    let place = format!("input {:?}", input.name);
    let tensor = input.r#type.as_ref().and_then(|ty| ty.tensor_type.as_ref());
    let Some((tensor, shape)) = tensor.and_then(|tensor| Some((tensor, tensor.shape.as_ref()?)))
    else {
        return Err(damage(
            place,
            "it has no shape; export the network with an example input",
        ));
    };
    let mut dims = Vec::new();
    for (axis, dim) in shape.dim.iter().enumerate() {
        let size = dim
            .dim_value
            .and_then(|size| usize::try_from(size).ok())
            .filter(|&size| size > 0);
        match size {
            Some(size) => dims.push(size),
            None if axis == 0 => dims.push(1),
            None => {
                let reason = format!(
                    "axis {axis} has no fixed size ({}); export the network with fixed sizes on every axis but the \
                     first",
                    dim.dim_param.as_deref().unwrap_or("not stated")
                );
                return Err(damage(place, reason));
            }
        }
    }
    if dims.len() < 2 {
        return Err(damage(
            place,
            "it needs a batch axis and at least one other; export with both",
        ));
    }
    if dims.len() > MAX_RANK + 1 || dims[0] > MAX_BATCH || !fits_a_value(&dims[1..]) {
        let reason = format!(
            "a shape of {dims:?} is over the limits of {MAX_RANK} axes and {MAX_ELEMENTS} elements"
        );
        return Err(damage(place, reason));
    }
    let batch = dims.remove(0);
    Ok(Input {
        name: input.name.clone(),
        elem_type: tensor.elem_type,
        batch,
        dims,
    })
}

/// Whether a value of this shape stays under the limit of elements.
pub(super) fn fits_a_value(dims: &[usize]) -> bool {
    let n = dims.iter().try_fold(1usize, |n, &size| n.checked_mul(size));
    n.is_some_and(|n| n <= MAX_ELEMENTS)
}

/// What inlining may still take.
struct Left {
    nodes: usize,
    bytes: usize,
}

/// Appends the nodes, each call of a local function replaced by the function's nodes.
fn inline(
    nodes: &[NodeProto],
    functions: &HashMap<(&str, &str), &FunctionProto>,
    depth: usize,
    left: &mut Left,
    out: &mut Vec<NodeProto>,
) -> Result<(), Damage> {
    for node in nodes {
        let n_bytes = if depth > 0 { node.encoded_len() } else { 0 };
        if left.nodes == 0 || left.bytes < n_bytes || depth > MAX_CALL_DEPTH {
            let reason = format!(
                "it has more than {MAX_GRAPH_NODES} nodes, or functions that call one another too often; export the \
                 network with its functions inlined"
            );
            return Err(damage("graph", reason));
        }
        left.nodes -= 1;
        left.bytes -= n_bytes;
        match functions.get(&(node.domain.as_str(), node.op_type.as_str())) {
            None => out.push(node.clone()),
            Some(function) => {
                let nodes = called(node, function, left.nodes);
                inline(&nodes, functions, depth + 1, left, out)?;
            }
        }
    }
    Ok(())
}

/// The nodes of one call: inner names made unique, parameters and attributes put in.
fn called(call: &NodeProto, function: &FunctionProto, unique: usize) -> Vec<NodeProto> {
    let mut names: HashMap<&str, String> = HashMap::new();
    for (idx, name) in function.input.iter().enumerate() {
        names.insert(name, call.input.get(idx).cloned().unwrap_or_default());
    }
    for (name, outer) in function.output.iter().zip(&call.output) {
        names.insert(name, outer.clone());
    }
    let rename = |name: &String| match names.get(name.as_str()) {
        Some(outer) => outer.clone(),
        None if name.is_empty() => String::new(),
        None => format!("{}/{unique}/{name}", call.title()),
    };
    let attribute = |attr: &AttributeProto| {
        if attr.ref_attr_name.is_empty() {
            return Some(attr.clone());
        }
        let default = || {
            function
                .attribute_proto
                .iter()
                .find(|known| known.name == attr.ref_attr_name)
        };
        let mut given = call.attr(&attr.ref_attr_name).or_else(default)?.clone();
        given.name.clone_from(&attr.name);
        Some(given)
    };
    let one = |node: &NodeProto| NodeProto {
        input: node.input.iter().map(rename).collect(),
        output: node.output.iter().map(rename).collect(),
        name: format!("{}/{}", call.title(), node.title()),
        op_type: node.op_type.clone(),
        attribute: node.attribute.iter().filter_map(attribute).collect(),
        domain: node.domain.clone(),
    };
    function.node.iter().map(one).collect()
}

/// The nodes that the output depends on.
pub(super) fn needed(nodes: Vec<NodeProto>, output: &str) -> Vec<NodeProto> {
    let mut wanted = HashSet::from([output.to_owned()]);
    let mut kept = Vec::new();
    for node in nodes.into_iter().rev() {
        if node
            .output
            .iter()
            .any(|name| !name.is_empty() && wanted.contains(name))
        {
            wanted.extend(node.input.iter().cloned());
            kept.push(node);
        }
    }
    kept.reverse();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(op: &str, input: &[&str], output: &str) -> NodeProto {
        NodeProto {
            input: input.iter().map(|&name| name.into()).collect(),
            output: vec![output.into()],
            op_type: op.into(),
            ..Default::default()
        }
    }

    fn plenty() -> Left {
        Left {
            nodes: 1000,
            bytes: 1 << 20,
        }
    }

    #[test]
    fn a_call_becomes_the_nodes_of_the_function() {
        let function = FunctionProto {
            name: "Twice".into(),
            input: vec!["a".into()],
            output: vec!["b".into()],
            node: vec![node("Neg", &["a"], "t"), node("Neg", &["t"], "b")],
            ..Default::default()
        };
        let functions = HashMap::from([(("", "Twice"), &function)]);
        let mut out = Vec::new();
        assert!(
            inline(
                &[node("Twice", &["x"], "y")],
                &functions,
                0,
                &mut plenty(),
                &mut out
            )
            .is_ok()
        );
        assert_eq!(out[0].input, ["x"]);
        assert_eq!(out[0].output, out[1].input);
        assert_eq!(out[1].output, ["y"]);
    }

    #[test]
    fn functions_in_a_ring_are_refused() {
        let function = FunctionProto {
            name: "Ring".into(),
            input: vec!["a".into()],
            output: vec!["b".into()],
            node: vec![node("Ring", &["a"], "b")],
            ..Default::default()
        };
        let functions = HashMap::from([(("", "Ring"), &function)]);
        assert!(
            inline(
                &[node("Ring", &["x"], "y")],
                &functions,
                0,
                &mut plenty(),
                &mut Vec::new()
            )
            .is_err()
        );
    }

    #[test]
    fn external_data_stays_in_the_folder() {
        for location in ["", "/etc/hosts", "../x", "a\\b", "c:x"] {
            let entry = |key: &str, value: &str| super::super::proto::StringStringEntryProto {
                key: key.into(),
                value: value.into(),
            };
            let tensor = TensorProto {
                dims: vec![1],
                data_type: 1,
                data_location: 1,
                external_data: vec![entry("location", location)],
                ..Default::default()
            };
            let error = read_tensor(&tensor, Some(Path::new("."))).unwrap_err();
            assert!(error.contains("plain file name"), "{location}: {error}");
        }
    }
}

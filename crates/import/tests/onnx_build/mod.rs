//! Small ONNX models written by hand: the few fields of the container that the tests need, encoded here.
#![allow(dead_code, reason = "each test file uses a part of it")]

/// A named constant of a node.
#[derive(Clone, Debug)]
pub enum Attr<'a> {
    Int(&'a str, i64),
    Ints(&'a str, &'a [i64]),
    Float(&'a str, f32),
    Text(&'a str, &'a str),
}

/// A model that grows node by node; its input is `x`.
#[derive(Clone, Debug)]
pub struct Model {
    graph: Vec<u8>,
    opset: i64,
    domains: Vec<&'static str>,
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 128 {
        out.push((value as u8 & 127) | 128);
        value >>= 7;
    }
    out.push(value as u8);
}

fn int_field(out: &mut Vec<u8>, field: u64, value: i64) {
    varint(out, field << 3);
    varint(out, value.cast_unsigned());
}

fn bytes_field(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    varint(out, (field << 3) | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn tensor_head(name: &str, data_type: i64, dims: &[i64]) -> Vec<u8> {
    let mut tensor = Vec::new();
    dims.iter().for_each(|&dim| int_field(&mut tensor, 1, dim));
    int_field(&mut tensor, 2, data_type);
    bytes_field(&mut tensor, 8, name.as_bytes());
    tensor
}

/// A value's name and type; a size of 0 is one that is known at run time only.
fn value_info(name: &str, data_type: i64, dims: &[i64]) -> Vec<u8> {
    let mut shape = Vec::new();
    for &dim in dims {
        let mut size = Vec::new();
        if dim == 0 {
            bytes_field(&mut size, 2, b"n");
        } else {
            int_field(&mut size, 1, dim);
        }
        bytes_field(&mut shape, 1, &size);
    }
    let mut tensor = Vec::new();
    int_field(&mut tensor, 1, data_type);
    bytes_field(&mut tensor, 2, &shape);
    let (mut ty, mut info) = (Vec::new(), Vec::new());
    bytes_field(&mut ty, 1, &tensor);
    bytes_field(&mut info, 1, name.as_bytes());
    bytes_field(&mut info, 2, &ty);
    info
}

fn attribute(attr: &Attr<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let (Attr::Int(name, _) | Attr::Ints(name, _) | Attr::Float(name, _) | Attr::Text(name, _)) =
        attr;
    bytes_field(&mut out, 1, name.as_bytes());
    match attr {
        Attr::Int(_, value) => int_field(&mut out, 3, *value),
        Attr::Ints(_, values) => values
            .iter()
            .for_each(|&value| int_field(&mut out, 8, value)),
        Attr::Text(_, text) => bytes_field(&mut out, 4, text.as_bytes()),
        Attr::Float(_, value) => {
            varint(&mut out, (2 << 3) | 5);
            out.extend(value.to_le_bytes());
        }
    }
    out
}

impl Model {
    /// A model of floats; the first size is the batch, 0 where it is left open.
    pub fn new(dims: &[i64]) -> Model {
        Model::of_type(1, dims)
    }

    /// A model whose input has this ONNX data type.
    pub fn of_type(data_type: i64, dims: &[i64]) -> Model {
        let mut graph = Vec::new();
        bytes_field(&mut graph, 11, &value_info("x", data_type, dims));
        Model {
            graph,
            opset: 17,
            domains: Vec::new(),
        }
    }

    /// The version of the standard ops.
    pub fn opset(mut self, version: i64) -> Model {
        self.opset = version;
        self
    }

    /// A further input.
    pub fn input(mut self, name: &str, dims: &[i64]) -> Model {
        bytes_field(&mut self.graph, 11, &value_info(name, 1, dims));
        self
    }

    /// A tensor of floats.
    pub fn floats(mut self, name: &str, dims: &[i64], values: &[f32]) -> Model {
        let mut tensor = tensor_head(name, 1, dims);
        let raw: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        bytes_field(&mut tensor, 9, &raw);
        bytes_field(&mut self.graph, 5, &tensor);
        self
    }

    /// A list of integers.
    pub fn ints(mut self, name: &str, values: &[i64]) -> Model {
        let mut tensor = tensor_head(name, 7, &[values.len() as i64]);
        values
            .iter()
            .for_each(|&value| int_field(&mut tensor, 7, value));
        bytes_field(&mut self.graph, 5, &tensor);
        self
    }

    /// A tensor of floats in another file.
    pub fn external(mut self, name: &str, dims: &[i64], entries: &[(&str, &str)]) -> Model {
        let mut tensor = tensor_head(name, 1, dims);
        for (key, value) in entries {
            let mut entry = Vec::new();
            bytes_field(&mut entry, 1, key.as_bytes());
            bytes_field(&mut entry, 2, value.as_bytes());
            bytes_field(&mut tensor, 13, &entry);
        }
        int_field(&mut tensor, 14, 1);
        bytes_field(&mut self.graph, 5, &tensor);
        self
    }

    /// A node of the standard ops, named after its output.
    pub fn node(self, op: &str, inputs: &[&str], output: &str) -> Model {
        self.node_with(op, inputs, output, &[])
    }

    /// A node with attributes.
    pub fn node_with(self, op: &str, inputs: &[&str], output: &str, attrs: &[Attr<'_>]) -> Model {
        self.node_of("", op, inputs, output, attrs)
    }

    /// A node of any domain.
    pub fn node_of(
        mut self,
        domain: &'static str,
        op: &str,
        inputs: &[&str],
        output: &str,
        attrs: &[Attr<'_>],
    ) -> Model {
        let mut node = Vec::new();
        inputs
            .iter()
            .for_each(|input| bytes_field(&mut node, 1, input.as_bytes()));
        bytes_field(&mut node, 2, output.as_bytes());
        bytes_field(&mut node, 3, format!("node of {output}").as_bytes());
        bytes_field(&mut node, 4, op.as_bytes());
        attrs
            .iter()
            .for_each(|attr| bytes_field(&mut node, 5, &attribute(attr)));
        bytes_field(&mut node, 7, domain.as_bytes());
        bytes_field(&mut self.graph, 1, &node);
        if !domain.is_empty() {
            self.domains.push(domain);
        }
        self
    }

    /// The bytes of the file, whose answer is `output`.
    pub fn bytes(mut self, output: &str) -> Vec<u8> {
        bytes_field(&mut self.graph, 12, &value_info(output, 1, &[]));
        let mut model = Vec::new();
        int_field(&mut model, 1, 8);
        bytes_field(&mut model, 7, &self.graph);
        for domain in &self.domains {
            let mut set = Vec::new();
            bytes_field(&mut set, 1, domain.as_bytes());
            int_field(&mut set, 2, 2);
            bytes_field(&mut model, 8, &set);
        }
        let mut set = Vec::new();
        int_field(&mut set, 2, self.opset);
        bytes_field(&mut model, 8, &set);
        model
    }
}

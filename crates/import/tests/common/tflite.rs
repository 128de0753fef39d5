//! A writer of small TFLite files, for what the conformance files do not hold.

use flatbuffers::{FlatBufferBuilder, TableUnfinishedWIPOffset, UnionWIPOffset, WIPOffset};

/// The element types that are written, by the schema's numbers.
pub const FLOAT32: u8 = 0;
pub const INT32: u8 = 2;
pub const STRING: u8 = 5;
pub const BOOL: u8 = 6;
pub const INT8: u8 = 9;

/// A field of an options table.
#[derive(Clone, Copy)]
pub enum Field {
    Byte(u8),
    Int(i32),
    Float(f32),
}

struct Tensor {
    name: String,
    shape: Vec<i32>,
    signature: Vec<i32>,
    ty: u8,
    data: Option<Vec<u8>>,
    scale: Option<(f32, i64)>,
}

struct Operator {
    builtin: i32,
    custom: &'static str,
    inputs: Vec<i32>,
    outputs: Vec<i32>,
    options: Option<(u8, Vec<(u16, Field)>)>,
    custom_options: Vec<u8>,
}

/// A file that is being made.
#[derive(Default)]
pub struct Draft {
    tensors: Vec<Tensor>,
    operators: Vec<Operator>,
    inputs: Vec<i32>,
    outputs: Vec<i32>,
}

impl Draft {
    fn push(&mut self, name: &str, shape: &[i32], ty: u8, data: Option<Vec<u8>>) -> i32 {
        self.tensors.push(Tensor {
            name: name.into(),
            shape: shape.into(),
            signature: Vec::new(),
            ty,
            data,
            scale: None,
        });
        self.tensors.len() as i32 - 1
    }

    /// A tensor that a node computes.
    pub fn tensor(&mut self, name: &str, shape: &[i32], ty: u8) -> i32 {
        self.push(name, shape, ty, None)
    }

    /// The input.
    pub fn input(&mut self, shape: &[i32], ty: u8) -> i32 {
        let input = self.push("input", shape, ty, None);
        self.inputs.push(input);
        input
    }

    /// Gives a tensor a scale and a zero point.
    pub fn quantize(&mut self, tensor: i32, scale: f32, zero_point: i64) {
        self.tensors[tensor as usize].scale = Some((scale, zero_point));
    }

    /// Gives a tensor a signature of sizes, -1 for free ones.
    pub fn signature(&mut self, tensor: i32, sizes: &[i32]) {
        self.tensors[tensor as usize].signature = sizes.into();
    }

    /// A constant of reals.
    pub fn floats(&mut self, shape: &[i32], values: &[f32]) -> i32 {
        let data = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.push("constant", shape, FLOAT32, Some(data))
    }

    /// A constant of integers.
    pub fn ints(&mut self, shape: &[i32], values: &[i32]) -> i32 {
        let data = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.push("constant", shape, INT32, Some(data))
    }

    /// A builtin op with the options table `kind`.
    pub fn builtin(
        &mut self,
        op: i32,
        inputs: &[i32],
        output: i32,
        kind: u8,
        fields: &[(u16, Field)],
    ) {
        self.operators.push(Operator {
            builtin: op,
            custom: "",
            inputs: inputs.into(),
            outputs: vec![output],
            options: Some((kind, fields.into())),
            custom_options: Vec::new(),
        });
    }

    /// A custom op.
    pub fn custom(
        &mut self,
        op: &'static str,
        inputs: &[i32],
        output: i32,
        options: &[(&str, i32)],
    ) {
        let custom_options = if options.is_empty() {
            Vec::new()
        } else {
            let mut builder = flexbuffers::Builder::default();
            let mut map = builder.start_map();
            for &(key, value) in options {
                map.push(key, value);
            }
            map.end_map();
            builder.take_buffer()
        };
        self.operators.push(Operator {
            builtin: 32,
            custom: op,
            inputs: inputs.into(),
            outputs: vec![output],
            options: None,
            custom_options,
        });
    }

    /// The file, with this output.
    pub fn finish(mut self, output: i32) -> Vec<u8> {
        self.outputs.push(output);
        let f = &mut FlatBufferBuilder::new();
        let mut buffers = vec![table(f, |_, _| {})];
        let mut tensors = Vec::new();
        for tensor in &self.tensors {
            let mut buffer = 0u32;
            if let Some(data) = &tensor.data {
                let data = f.create_vector(data);
                buffers.push(table(f, |f, _| f.push_slot_always(slot(0), data)));
                buffer = buffers.len() as u32 - 1;
            }
            tensors.push(write_tensor(f, tensor, buffer));
        }
        let mut codes = Vec::new();
        let mut operators = Vec::new();
        for (idx, operator) in self.operators.iter().enumerate() {
            let custom = f.create_string(operator.custom);
            codes.push(table(f, |f, _| {
                f.push_slot::<i8>(slot(0), operator.builtin.min(127) as i8, 0);
                f.push_slot_always(slot(1), custom);
                f.push_slot::<i32>(slot(3), operator.builtin, 0);
            }));
            operators.push(write_operator(f, operator, idx as u32));
        }
        let tensors = f.create_vector(&tensors);
        let inputs = f.create_vector(&self.inputs);
        let outputs = f.create_vector(&self.outputs);
        let operators = f.create_vector(&operators);
        let subgraph = table(f, |f, _| {
            f.push_slot_always(slot(0), tensors);
            f.push_slot_always(slot(1), inputs);
            f.push_slot_always(slot(2), outputs);
            f.push_slot_always(slot(3), operators);
        });
        let codes = f.create_vector(&codes);
        let subgraphs = f.create_vector(&[subgraph]);
        let buffers = f.create_vector(&buffers);
        let model = table(f, |f, _| {
            f.push_slot::<u32>(slot(0), 3, 0);
            f.push_slot_always(slot(1), codes);
            f.push_slot_always(slot(2), subgraphs);
            f.push_slot_always(slot(4), buffers);
        });
        f.finish(model, Some("TFL3"));
        f.finished_data().to_vec()
    }
}

type Table = WIPOffset<UnionWIPOffset>;

/// Where the field of an id is in a vtable.
fn slot(id: u16) -> u16 {
    4 + 2 * id
}

fn table<'a>(
    f: &mut FlatBufferBuilder<'a>,
    fill: impl FnOnce(&mut FlatBufferBuilder<'a>, &WIPOffset<TableUnfinishedWIPOffset>),
) -> Table {
    let start = f.start_table();
    fill(f, &start);
    WIPOffset::new(f.end_table(start).value())
}

fn write_tensor(f: &mut FlatBufferBuilder, tensor: &Tensor, buffer: u32) -> Table {
    let name = f.create_string(&tensor.name);
    let shape = f.create_vector(&tensor.shape);
    let signature = f.create_vector(&tensor.signature);
    let quantization = tensor.scale.map(|(scale, zero_point)| {
        let scale = f.create_vector(&[scale]);
        let zero_point = f.create_vector(&[zero_point]);
        table(f, |f, _| {
            f.push_slot_always(slot(2), scale);
            f.push_slot_always(slot(3), zero_point);
        })
    });
    table(f, |f, _| {
        f.push_slot_always(slot(0), shape);
        f.push_slot::<u8>(slot(1), tensor.ty, 0);
        f.push_slot::<u32>(slot(2), buffer, 0);
        f.push_slot_always(slot(3), name);
        if let Some(quantization) = quantization {
            f.push_slot_always(slot(4), quantization);
        }
        if !tensor.signature.is_empty() {
            f.push_slot_always(slot(7), signature);
        }
    })
}

fn write_operator(f: &mut FlatBufferBuilder, operator: &Operator, code: u32) -> Table {
    let inputs = f.create_vector(&operator.inputs);
    let outputs = f.create_vector(&operator.outputs);
    let custom_options = f.create_vector(&operator.custom_options);
    let options = operator.options.as_ref().map(|(kind, fields)| {
        let options = table(f, |f, _| {
            for &(id, field) in fields {
                match field {
                    Field::Byte(x) => f.push_slot_always(slot(id), x),
                    Field::Int(x) => f.push_slot_always(slot(id), x),
                    Field::Float(x) => f.push_slot_always(slot(id), x),
                }
            }
        });
        (*kind, options)
    });
    table(f, |f, _| {
        f.push_slot::<u32>(slot(0), code, 0);
        f.push_slot_always(slot(1), inputs);
        f.push_slot_always(slot(2), outputs);
        if let Some((kind, options)) = options {
            f.push_slot::<u8>(slot(3), kind, 0);
            f.push_slot_always(slot(4), options);
        }
        f.push_slot_always(slot(5), custom_options);
    })
}

/// Fields of the options of a convolution with stride 1.
pub fn conv_options(padding: u8) -> Vec<(u16, Field)> {
    vec![
        (0, Field::Byte(padding)),
        (1, Field::Int(1)),
        (2, Field::Int(1)),
    ]
}

/// Options of an `LceBconv2d` with stride 1.
pub fn bconv_options(channels: i32, padding: i32, activation: i32) -> Vec<(&'static str, i32)> {
    vec![
        ("channels_in", channels),
        ("dilation_height_factor", 1),
        ("dilation_width_factor", 1),
        ("fused_activation_function", activation),
        ("pad_values", 1),
        ("padding", padding),
        ("stride_height", 1),
        ("stride_width", 1),
    ]
}

/// A file with most kinds of tables: signs, a binary convolution, a reshape, a dense layer, a softmax.
pub fn sample() -> Vec<u8> {
    let mut d = Draft::default();
    let x = d.input(&[1, 4, 4, 3], FLOAT32);
    let bits = d.tensor("net/sign", &[1, 4, 4, 1], INT32);
    d.custom("LceQuantize", &[x], bits, &[]);
    let filter = d.ints(&[2, 3, 3, 1], &[5; 18]);
    let scale = d.floats(&[2], &[0.5, -0.25]);
    let shift = d.floats(&[2], &[1.0, 2.0]);
    let sums = d.tensor("net/conv", &[1, 2, 2, 2], FLOAT32);
    d.custom(
        "LceBconv2d",
        &[bits, filter, scale, shift, -1],
        sums,
        &bconv_options(3, 1, 1),
    );
    let flat = d.tensor("net/flat", &[1, 8], FLOAT32);
    d.builtin(22, &[sums], flat, 17, &[]);
    let weights = d.floats(&[3, 8], &[0.5; 24]);
    let scores = d.tensor("net/dense", &[1, 3], FLOAT32);
    d.builtin(9, &[flat, weights, -1], scores, 8, &[]);
    let answer = d.tensor("net/softmax", &[1, 3], FLOAT32);
    d.builtin(25, &[scores], answer, 9, &[(0, Field::Float(1.0))]);
    d.finish(answer)
}

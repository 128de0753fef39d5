//! The parts of a TFLite file (schema version 3) that an importer needs, as plain structs.
//!
//! In: the bytes of a file. Out: a [`Model`] that borrows the constants, or a [`Damage`]. Fields are found by the
//! ids of the public schema. Leaves the meaning of ops to the modules that translate them.

use super::flat::{Damage, Flat, limits};

/// Most tensors, and most buffers, of a file.
const MAX_TENSORS: usize = 1 << 16;

/// Most operators of a file, and most kinds of them.
const MAX_OPERATORS: usize = onebit_model::limits::MAX_NODES;

/// Fields of an options table that are kept.
const OPTION_FIELDS: usize = 8;

/// The element types of TFLite that are told apart; the numbers are the schema's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ElementType {
    Float32,
    Float16,
    Int32,
    Uint8,
    Int64,
    Bool,
    Int8,
    Other(u8),
}

impl ElementType {
    fn from_code(code: u8) -> Self {
        match code {
            0 => ElementType::Float32,
            1 => ElementType::Float16,
            2 => ElementType::Int32,
            3 => ElementType::Uint8,
            4 => ElementType::Int64,
            6 => ElementType::Bool,
            9 => ElementType::Int8,
            other => ElementType::Other(other),
        }
    }

    /// The schema's name.
    pub fn name(self) -> &'static str {
        match self {
            ElementType::Float32 => "FLOAT32",
            ElementType::Float16 => "FLOAT16",
            ElementType::Int32 => "INT32",
            ElementType::Uint8 => "UINT8",
            ElementType::Int64 => "INT64",
            ElementType::Bool => "BOOL",
            ElementType::Int8 => "INT8",
            ElementType::Other(5) => "STRING",
            ElementType::Other(7) => "INT16",
            ElementType::Other(10) => "FLOAT64",
            ElementType::Other(17) => "INT4",
            ElementType::Other(_) => "an element type onebit does not know",
        }
    }
}

/// How the integers of a tensor stand for reals: `scale * (q - zero_point)`, one pair or one per index of `axis`.
pub(super) struct Quantization {
    pub scale: Vec<f32>,
    pub zero_point: Vec<i64>,
    pub axis: i32,
}

pub(super) struct Tensor<'a> {
    pub name: String,
    pub shape: Vec<i32>,
    /// Like `shape`, with -1 for sizes that are set when the file is run; may be empty.
    pub signature: Vec<i32>,
    pub ty: ElementType,
    /// The bytes of a constant.
    pub data: Option<&'a [u8]>,
    pub quantization: Quantization,
    pub is_variable: bool,
    pub is_sparse: bool,
}

/// The scalars of an options table, by field id.
pub(super) struct Options<'a> {
    /// Which table of the schema's union it is; 0 is none.
    pub kind: u8,
    fields: [Option<&'a [u8]>; OPTION_FIELDS],
}

impl Options<'_> {
    fn scalar<const N: usize>(&self, id: usize) -> Option<[u8; N]> {
        let bytes: &[u8] = (*self.fields.get(id)?)?;
        bytes.get(..N)?.try_into().ok()
    }

    /// An enum or flag; 0 where it is absent.
    pub fn byte(&self, id: usize) -> u8 {
        self.scalar::<1>(id).map_or(0, |[byte]| byte)
    }

    /// An integer, `default` where it is absent.
    pub fn int(&self, id: usize, default: i32) -> i32 {
        self.scalar(id).map_or(default, i32::from_le_bytes)
    }

    /// A binary32 number; 0 where it is absent.
    pub fn float(&self, id: usize) -> f32 {
        self.scalar(id).map_or(0.0, f32::from_le_bytes)
    }
}

pub(super) struct Operator<'a> {
    /// Index of its [`OpCode`].
    pub code: usize,
    /// Tensor indices; -1 stands for an optional input that is left out.
    pub inputs: Vec<i32>,
    pub outputs: Vec<i32>,
    pub options: Options<'a>,
    pub custom_options: &'a [u8],
}

/// What an operator does.
pub(super) struct OpCode {
    /// The schema's number; 32 is a custom op.
    pub builtin: i32,
    /// Name of a custom op.
    pub custom: String,
}

/// The main subgraph of a file with what it refers to.
pub(super) struct Model<'a> {
    pub description: String,
    pub codes: Vec<OpCode>,
    pub tensors: Vec<Tensor<'a>>,
    pub inputs: Vec<i32>,
    pub outputs: Vec<i32>,
    pub operators: Vec<Operator<'a>>,
}

/// Reads a file.
pub(super) fn parse(bytes: &[u8]) -> Result<Model<'_>, Damage> {
    if bytes.get(4..8) != Some(b"TFL3") {
        let reason = "the file identifier is not TFL3: this is no TFLite model of schema version 3";
        return Err(Damage::new("byte 4", reason));
    }
    let limits = limits(bytes.len());
    let flat = &mut Flat::new(&limits, bytes);
    let root = flat.root()?;
    let [version, codes, subgraphs, description, buffers] = flat.fields(root)?;
    let version = flat.int(version, 0)?;
    if version != 3 {
        let reason = format!("schema version {version}; convert the model to version 3");
        return Err(Damage::new("the model", reason));
    }
    let mut data = Vec::new();
    for table in flat.tables(buffers, "the buffers", MAX_TENSORS)? {
        data.push(buffer(flat, table)?);
    }
    let mut op_codes = Vec::new();
    for table in flat.tables(codes, "the operator codes", MAX_OPERATORS)? {
        op_codes.push(op_code(flat, table)?);
    }
    let subgraphs = flat.tables(subgraphs, "the subgraphs", MAX_OPERATORS)?;
    let Some(&main) = subgraphs.first() else {
        return Err(Damage::new("the model", "it has no subgraph"));
    };
    let [tensors, inputs, outputs, operators] = flat.fields(main)?;
    let mut model = Model {
        description: flat.text(description)?,
        codes: op_codes,
        tensors: Vec::new(),
        inputs: flat.ints(inputs)?,
        outputs: flat.ints(outputs)?,
        operators: Vec::new(),
    };
    for table in flat.tables(tensors, "the tensors", MAX_TENSORS)? {
        model.tensors.push(tensor(flat, table, &data)?);
    }
    for table in flat.tables(operators, "the operators", MAX_OPERATORS)? {
        model.operators.push(operator(flat, table)?);
    }
    check_indices(&model)?;
    Ok(model)
}

/// Checks that every tensor and operator code that is referred to exists.
fn check_indices(model: &Model) -> Result<(), Damage> {
    let is_tensor = |&idx: &i32| usize::try_from(idx).is_ok_and(|idx| idx < model.tensors.len());
    let ends = model.inputs.iter().chain(&model.outputs);
    if !ends.clone().all(is_tensor) {
        let reason = "an input or output is not the index of a tensor";
        return Err(Damage::new("the main subgraph", reason));
    }
    for (idx, operator) in model.operators.iter().enumerate() {
        let place = format!("operator {idx}");
        if operator.code >= model.codes.len() {
            return Err(Damage::new(place, "its operator code does not exist"));
        }
        let inputs_exist = operator.inputs.iter().all(|i| *i == -1 || is_tensor(i));
        if !inputs_exist || !operator.outputs.iter().all(is_tensor) {
            return Err(Damage::new(
                place,
                "an operand is not the index of a tensor",
            ));
        }
    }
    Ok(())
}

fn buffer<'a>(flat: &mut Flat<'_, 'a>, table: usize) -> Result<&'a [u8], Damage> {
    let [data, offset, size] = flat.fields(table)?;
    let data = flat.bytes(data)?;
    let (offset, size) = (flat.long(offset)?, flat.long(size)?);
    if !data.is_empty() || offset <= 1 || size == 0 {
        return Ok(data);
    }
    flat.outside(offset, size).ok_or_else(|| {
        let reason =
            format!("its {size} bytes at {offset} lie outside the file, which is cut short");
        Damage::new("a buffer", reason)
    })
}

fn op_code(flat: &mut Flat, table: usize) -> Result<OpCode, Damage> {
    let [old_builtin, custom, _, builtin] = flat.fields(table)?;
    // Files older than August 2020 have only the first; later ones keep it at 127 for greater numbers.
    let old_builtin = i32::from(flat.byte(old_builtin, 0)?.cast_signed());
    Ok(OpCode {
        builtin: old_builtin.max(flat.int(builtin, 0)?),
        custom: flat.text(custom)?,
    })
}

fn tensor<'a>(
    flat: &mut Flat<'_, 'a>,
    table: usize,
    buffers: &[&'a [u8]],
) -> Result<Tensor<'a>, Damage> {
    let [
        shape,
        ty,
        buffer,
        name,
        quantization,
        is_variable,
        sparsity,
        signature,
    ] = flat.fields(table)?;
    let buffer = flat.int(buffer, 0)?;
    let name = flat.text(name)?;
    let data = usize::try_from(buffer)
        .ok()
        .and_then(|idx| buffers.get(idx));
    if data.is_none() && buffer != 0 {
        let reason = format!("its buffer {buffer} does not exist");
        return Err(Damage::new(format!("tensor `{name}`"), reason));
    }
    let quantization = match quantization {
        Some(at) => {
            let table = flat.follow(at)?;
            let [_, _, scale, zero_point, _, _, axis] = flat.fields(table)?;
            Quantization {
                scale: flat.floats(scale)?,
                zero_point: flat.longs(zero_point)?,
                axis: flat.int(axis, 0)?,
            }
        }
        None => Quantization {
            scale: Vec::new(),
            zero_point: Vec::new(),
            axis: 0,
        },
    };
    Ok(Tensor {
        name,
        shape: flat.ints(shape)?,
        signature: flat.ints(signature)?,
        ty: ElementType::from_code(flat.byte(ty, 0)?),
        data: data.copied().filter(|data| !data.is_empty()),
        quantization,
        is_variable: flat.byte(is_variable, 0)? != 0,
        is_sparse: sparsity.is_some(),
    })
}

fn operator<'a>(flat: &mut Flat<'_, 'a>, table: usize) -> Result<Operator<'a>, Damage> {
    let [code, inputs, outputs, kind, options, custom_options, ..] = flat.fields::<7>(table)?;
    let mut fields = [None; OPTION_FIELDS];
    if let Some(at) = options {
        let table = flat.follow(at)?;
        let places: [Option<usize>; OPTION_FIELDS] = flat.fields(table)?;
        fields = places.map(|place| flat.scalar(place));
    }
    Ok(Operator {
        code: usize::try_from(flat.int(code, 0)?).unwrap_or(usize::MAX),
        inputs: flat.ints(inputs)?,
        outputs: flat.ints(outputs)?,
        options: Options {
            kind: flat.byte(kind, 0)?,
            fields,
        },
        custom_options: flat.bytes(custom_options)?,
    })
}

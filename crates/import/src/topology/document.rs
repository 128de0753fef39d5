//! The notation of a topology: what the TOML file may say.
//!
//! In: text. Out: a [`Document`] with a [`Spec`] for each layer, every key known. Leaves what the keys mean to
//! `layers`.

use std::path::Path;

use onebit_model::program::Kind;
use serde::Deserialize;

use crate::error::ImportError;

/// A topology.
#[derive(Debug)]
pub(super) struct Document {
    pub name: Option<String>,
    /// Path of the safetensors file, relative to the topology.
    pub weights: String,
    pub classes: Vec<String>,
    pub input: Input,
    pub output: Option<String>,
    pub layers: Vec<LayerText>,
}

/// The file's own keys; layers are read one by one, so that errors name the layer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    name: Option<String>,
    weights: String,
    #[serde(default)]
    classes: Vec<String>,
    input: Input,
    output: Option<String>,
    #[serde(default)]
    layer: Vec<toml::Table>,
}

/// The type of the input.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    kind: KindName,
    bits: Option<u8>,
    /// Without the batch axis, channels last.
    pub shape: Vec<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KindName {
    Bits,
    Levels,
    Int,
    Real,
}

impl Input {
    /// The kind of the input; `bits` belongs to levels only.
    pub fn kind(&self, path: &Path) -> Result<Kind, ImportError> {
        match (self.kind, self.bits) {
            (KindName::Levels, Some(bits)) => Ok(Kind::Levels(bits)),
            (KindName::Levels, None) => {
                let reason =
                    "kind = \"levels\" needs bits = 1 to 8; grey and colour pixels have bits = 8";
                Err(ImportError::malformed(path, "input", reason))
            }
            (_, Some(_)) => {
                let reason = "bits belongs to kind = \"levels\" only; remove it";
                Err(ImportError::malformed(path, "input", reason))
            }
            (KindName::Bits, None) => Ok(Kind::Bits),
            (KindName::Int, None) => Ok(Kind::Int),
            (KindName::Real, None) => Ok(Kind::Real),
        }
    }
}

/// A layer.
#[derive(Debug)]
pub(super) struct LayerText {
    /// Its own name, or its op and index.
    pub name: String,
    /// The op as it is written.
    pub op: String,
    /// Names of layers, or `input`; `None` is the layer before.
    pub inputs: Option<Vec<String>>,
    pub spec: Spec,
}

/// Numbers in a topology: one for all channels, one per channel, or the name of a tensor.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Numbers {
    One(f64),
    Many(Vec<f64>),
    Tensor(String),
}

/// A tensor that may be switched off: a name, or `false`.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Optional {
    Tensor(String),
    Switch(bool),
}

/// How numbers become weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum WeightKind {
    Sign,
    Bits,
    Ternary,
    Int8,
    Real,
}

impl WeightKind {
    pub fn name(self) -> &'static str {
        match self {
            WeightKind::Sign => "sign",
            WeightKind::Bits => "bits",
            WeightKind::Ternary => "ternary",
            WeightKind::Int8 => "int8",
            WeightKind::Real => "real",
        }
    }
}

/// The order of the axes of a dense layer's tensor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum DenseLayout {
    #[default]
    Oi,
    Io,
}

/// The order in which a dense layer's inputs were flattened where its weights were trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Flattened {
    #[default]
    Hwc,
    Chw,
}

/// The order of the axes of a convolution's tensor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ConvLayout {
    #[default]
    Oihw,
    Ohwi,
    Hwio,
}

/// Height and width: one number for both, or two.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Pair {
    Both(usize),
    Each([usize; 2]),
}

impl Pair {
    pub fn get(&self) -> [usize; 2] {
        match *self {
            Pair::Both(size) => [size, size],
            Pair::Each(sizes) => sizes,
        }
    }
}

/// What is added around an image.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Padding {
    /// On all sides.
    All(usize),
    /// Top and bottom, left and right.
    Pair([usize; 2]),
    /// Top, left, bottom, right.
    Each([usize; 4]),
    Named(PaddingName),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum PaddingName {
    Same,
    Valid,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dense {
    pub weights: WeightKind,
    pub weight: Option<String>,
    pub bias: Option<Optional>,
    #[serde(default)]
    pub weight_layout: DenseLayout,
    #[serde(default)]
    pub flattened: Flattened,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Conv {
    pub weights: WeightKind,
    pub weight: Option<String>,
    pub bias: Option<Optional>,
    #[serde(default)]
    pub weight_layout: ConvLayout,
    pub stride: Option<Pair>,
    pub padding: Option<Padding>,
    #[serde(default)]
    pub pad_value: i32,
    pub dilation: Option<Pair>,
    pub groups: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Threshold {
    pub at: Option<Numbers>,
    pub flip: Option<Flip>,
}

/// Channels whose comparison is inverted.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Flip {
    All(bool),
    Each(Vec<bool>),
    Tensor(String),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Quantize {
    pub bits: u8,
    pub cuts: Option<Numbers>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Affine {
    pub scale: Option<Numbers>,
    pub shift: Option<Numbers>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchNorm {
    pub weight: Option<Optional>,
    pub bias: Option<Optional>,
    pub mean: Option<String>,
    pub var: Option<String>,
    #[serde(default = "default_eps")]
    pub eps: f64,
}

fn default_eps() -> f64 {
    1e-5
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Clip {
    pub min: Option<f64>,
    pub max: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Prelu {
    pub slope: Option<Numbers>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rprelu {
    pub before: Option<Numbers>,
    pub slope: Option<Numbers>,
    pub after: Option<Numbers>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Slice {
    pub start: Vec<usize>,
    pub size: Vec<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reshape {
    pub shape: Vec<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Transpose {
    pub perm: Vec<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pool {
    pub kernel: Pair,
    /// The kernel, where it is not given.
    pub stride: Option<Pair>,
    pub padding: Option<Padding>,
    pub dilation: Option<Pair>,
    /// Average pools only.
    pub count_pads: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// The keys of a layer besides `name`, `op` and `inputs`.
#[derive(Debug)]
pub(super) enum Spec {
    Dense(Dense),
    Conv(Conv),
    Sign,
    Threshold(Threshold),
    Quantize(Quantize),
    Planes,
    Affine(Affine),
    BatchNorm(BatchNorm),
    Relu,
    Clip(Clip),
    Prelu(Prelu),
    Rprelu(Rprelu),
    Add,
    Mul,
    Concat,
    ConcatChannels,
    Slice(Slice),
    Reshape(Reshape),
    Flatten,
    Transpose(Transpose),
    MaxPool(Pool),
    AvgPool(Pool),
    GlobalAvgPool,
    Softmax,
    Argmax,
}

const OPS: &str = "dense, conv2d, sign, threshold, quantize, planes, affine, batch_norm, relu, clip, prelu, \
                   rprelu, add, mul, concat, concat_channels, slice, reshape, flatten, transpose, max_pool, \
                   avg_pool, global_avg_pool, softmax, argmax";

/// Reads the notation.
pub(super) fn parse(path: &Path, text: &str) -> Result<Document, ImportError> {
    let raw: Raw = toml::from_str(text).map_err(|error| {
        let line = error
            .span()
            .and_then(|span| text.get(..span.start))
            .map(|before| before.matches('\n').count() + 1);
        let place = line.map_or_else(|| "the topology".into(), |line| format!("line {line}"));
        let reason = format!(
            "{}; docs/import.md lists the keys",
            one_line(error.message())
        );
        ImportError::malformed(path, place, reason)
    })?;
    let layers = raw
        .layer
        .into_iter()
        .enumerate()
        .map(|(idx, table)| layer(path, idx, table))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Document {
        name: raw.name,
        weights: raw.weights,
        classes: raw.classes,
        input: raw.input,
        output: raw.output,
        layers,
    })
}

fn layer(path: &Path, idx: usize, mut table: toml::Table) -> Result<LayerText, ImportError> {
    let place = match table.get("name").and_then(toml::Value::as_str) {
        Some(name) => format!("layer {name}"),
        None => format!("layer number {}", idx + 1),
    };
    let malformed = |reason: String| ImportError::malformed(path, place.as_str(), reason);
    let mut text = |key: &str| match table.remove(key) {
        None => Ok(None),
        Some(toml::Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(malformed(format!("{key} is not text in quotes"))),
    };
    let name = text("name")?;
    let op = text("op")?.ok_or_else(|| malformed(format!("has no op; it is one of {OPS}")))?;
    let inputs = match table.remove("inputs") {
        None => None,
        Some(value) => Some(value.try_into::<Vec<String>>().map_err(|_| {
            malformed(
                "inputs is not a list of names of layers, such as [\"conv1\", \"input\"]".into(),
            )
        })?),
    };
    let spec = spec(&op, table).map_err(&malformed)?;
    Ok(LayerText {
        name: name.unwrap_or_else(|| format!("{op}{}", idx + 1)),
        op,
        inputs,
        spec,
    })
}

fn spec(op: &str, table: toml::Table) -> Result<Spec, String> {
    Ok(match op {
        "dense" => Spec::Dense(keys(table)?),
        "conv2d" => Spec::Conv(keys(table)?),
        "sign" => nothing(table, Spec::Sign)?,
        "threshold" => Spec::Threshold(keys(table)?),
        "quantize" => Spec::Quantize(keys(table)?),
        "planes" => nothing(table, Spec::Planes)?,
        "affine" => Spec::Affine(keys(table)?),
        "batch_norm" => Spec::BatchNorm(keys(table)?),
        "relu" => nothing(table, Spec::Relu)?,
        "clip" => Spec::Clip(keys(table)?),
        "prelu" => Spec::Prelu(keys(table)?),
        "rprelu" => Spec::Rprelu(keys(table)?),
        "add" => nothing(table, Spec::Add)?,
        "mul" => nothing(table, Spec::Mul)?,
        "concat" => nothing(table, Spec::Concat)?,
        "concat_channels" => nothing(table, Spec::ConcatChannels)?,
        "slice" => Spec::Slice(keys(table)?),
        "reshape" => Spec::Reshape(keys(table)?),
        "flatten" => nothing(table, Spec::Flatten)?,
        "transpose" => Spec::Transpose(keys(table)?),
        "max_pool" => Spec::MaxPool(keys(table)?),
        "avg_pool" => Spec::AvgPool(keys(table)?),
        "global_avg_pool" => nothing(table, Spec::GlobalAvgPool)?,
        "softmax" => nothing(table, Spec::Softmax)?,
        "argmax" => nothing(table, Spec::Argmax)?,
        _ => return Err(format!("there is no op {op:?}; it is one of {OPS}")),
    })
}

fn keys<T: for<'de> Deserialize<'de>>(table: toml::Table) -> Result<T, String> {
    table.try_into().map_err(|error: toml::de::Error| {
        let problem = one_line(error.message());
        format!("{problem}; docs/import.md lists the keys of each op")
    })
}

fn nothing(table: toml::Table, spec: Spec) -> Result<Spec, String> {
    keys::<Nothing>(table).map(|_| spec)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

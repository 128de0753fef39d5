//! The layers of a recipe: what each one is, which methods it uses, and the short forms people write.
//!
//! In: the `[[layer]]` and `[defaults]` tables. Out: [`LayerSpec`]s, still without shapes; `graph` fits
//! them to an input and refuses what does not fit.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::EstimatorName;

/// One layer, or a block of layers that repeats.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum LayerSpec {
    /// A convolution with what belongs to it, in this order: input quantiser, convolution, pool, norm,
    /// shortcut, unit.
    Conv(ConvSpec),
    /// A fully connected layer: input quantiser, product, norm, unit.
    Dense(DenseSpec),
    /// A depthwise convolution followed by a 1x1 convolution, each with norm and shortcut (MobileNet).
    Separable(ConvSpec),
    /// Maximum over windows.
    MaxPool(PoolSpec),
    /// Average over windows; positions outside the image do not count.
    AvgPool(PoolSpec),
    /// Average over the image.
    GlobalAvgPool(NoOptions),
    /// A norm of its own.
    Norm(NormSpec),
    /// Layers that repeat as a whole.
    Block(BlockSpec),
}

impl LayerSpec {
    /// Whether the layer itself reads an image; of a block, ask its layers.
    pub(crate) fn needs_image(&self) -> bool {
        !matches!(
            self,
            LayerSpec::Dense(_) | LayerSpec::Norm(_) | LayerSpec::Block(_)
        )
    }
}

/// A layer without options.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoOptions {}

/// A norm of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NormSpec {
    /// Which.
    pub norm: NormName,
    /// Groups of a group norm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<usize>,
}

/// Layers that repeat as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockSpec {
    /// How many times.
    pub repeat: usize,
    /// The layers.
    pub layers: Vec<LayerSpec>,
}

/// Options that a layer takes from `[defaults]` where it does not give them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Defaults {
    /// How weights are binarised.
    #[serde(
        default,
        deserialize_with = "short",
        skip_serializing_if = "Option::is_none"
    )]
    pub weights: Option<WeightSpec>,
    /// How a layer's input is binarised.
    #[serde(
        default,
        deserialize_with = "short",
        skip_serializing_if = "Option::is_none"
    )]
    pub input: Option<ActivationSpec>,
    /// Norm after each product.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub norm: Option<NormName>,
    /// Groups of a group norm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups_of_norm: Option<usize>,
    /// Unit after each norm or shortcut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<UnitName>,
    /// Shortcut around each convolution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shortcut: Option<ShortcutName>,
    /// Value of elements outside the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pad_value: Option<i32>,
}

impl Defaults {
    /// Whether nothing is given.
    pub fn is_empty(&self) -> bool {
        *self == Defaults::default()
    }
}

/// A convolution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConvSpec {
    /// Output channels.
    pub channels: usize,
    /// Taps per axis.
    #[serde(default = "three")]
    pub kernel: usize,
    /// Step between output positions.
    #[serde(default = "one")]
    pub stride: usize,
    /// Step between taps.
    #[serde(default = "one")]
    pub dilation: usize,
    /// Rows and columns added on each side; by default so many that stride 1 keeps the size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pad: Option<usize>,
    /// Value of elements outside the image: -1, 0 or 1; by default 1 for a binary input, 0 for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pad_value: Option<i32>,
    /// Groups; as many as input channels is a depthwise convolution.
    #[serde(default = "one")]
    pub groups: usize,
    /// A max pool of this size and step between the convolution and its norm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<usize>,
    /// How weights are binarised.
    #[serde(
        default,
        deserialize_with = "short",
        skip_serializing_if = "Option::is_none"
    )]
    pub weights: Option<WeightSpec>,
    /// How the input is binarised.
    #[serde(
        default,
        deserialize_with = "short",
        skip_serializing_if = "Option::is_none"
    )]
    pub input: Option<ActivationSpec>,
    /// Norm after the product.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub norm: Option<NormName>,
    /// Groups of a group norm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups_of_norm: Option<usize>,
    /// Unit at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<UnitName>,
    /// What is added to the normed sums.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shortcut: Option<ShortcutName>,
    /// XNOR-Net's map K: sums are multiplied by the mean magnitude of the input under each window.
    #[serde(default, skip_serializing_if = "is_false")]
    pub scale_map: bool,
    /// A real bias, one per channel.
    #[serde(default, skip_serializing_if = "is_false")]
    pub bias: bool,
    /// DoReFa's gradient quantiser: gradients of the product's result have this many bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gradient_bits: Option<u8>,
    /// How many of these follow one another; stride and pool belong to the first.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub repeat: usize,
}

/// A fully connected layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DenseSpec {
    /// Outputs; the last layer of a recipe has one per class and needs none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub units: Option<usize>,
    /// How weights are binarised.
    #[serde(
        default,
        deserialize_with = "short",
        skip_serializing_if = "Option::is_none"
    )]
    pub weights: Option<WeightSpec>,
    /// How the input is binarised.
    #[serde(
        default,
        deserialize_with = "short",
        skip_serializing_if = "Option::is_none"
    )]
    pub input: Option<ActivationSpec>,
    /// Norm after the product.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub norm: Option<NormName>,
    /// Groups of a group norm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups_of_norm: Option<usize>,
    /// Unit at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<UnitName>,
    /// A real bias, one per output.
    #[serde(default, skip_serializing_if = "is_false")]
    pub bias: bool,
    /// DoReFa's gradient quantiser: gradients of the product's result have this many bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gradient_bits: Option<u8>,
    /// How many of these follow one another.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub repeat: usize,
}

/// A pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolSpec {
    /// Taps per axis.
    pub size: usize,
    /// Step between windows; the size by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stride: Option<usize>,
    /// Rows and columns added on each side.
    #[serde(default)]
    pub pad: usize,
}

/// Which norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NormName {
    /// No norm.
    None,
    /// Batch normalisation (Ioffe & Szegedy 2015).
    Batch,
    /// The same, deployed with factors and addends rounded to integers.
    BatchInteger,
    /// Group normalisation (Wu & He 2018).
    Group,
}

/// Real-valued units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnitName {
    /// No unit.
    None,
    /// `max(0, x)`.
    Relu,
    /// `clip(x, -1, 1)`.
    Hardtanh,
    /// PReLU with a slope per channel (He et al. 2015).
    Prelu,
    /// RPReLU (ReActNet, Liu et al. 2020).
    Rprelu,
}

/// What goes around a convolution (Bi-Real-Net, Liu et al. 2018: one around every convolution).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ShortcutName {
    /// Nothing.
    None,
    /// The layer's real input; average pooled where the stride asks for it and, where the channels grow,
    /// repeated (ReActNet's duplicate and concatenate).
    Duplicate,
    /// The layer's real input; where stride or channels change, average pooled and through a real 1x1
    /// convolution with the layer's norm (Bi-Real-Net); without one its weights are standardised as the layer's are.
    Conv,
}

/// How a layer's weights follow from their real copies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightSpec {
    /// The set of values.
    pub form: WeightName,
    /// Factor per output channel.
    #[serde(default)]
    pub scale: ScaleName,
    /// What is done to the real copies first.
    #[serde(default)]
    pub standardise: StandardiseName,
    /// Gradient passes where the real copy is within this; 0 is everywhere.
    #[serde(default)]
    pub clip: f32,
    /// Stand-in for the derivative of the `sign` and `adabin` forms, instead of `clip`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimator: Option<EstimatorName>,
    /// Bits of the `dorefa` form, 1 to 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits: Option<u8>,
    /// Binary bases of the `abc` form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bases: Option<usize>,
    /// Share of zeros of the `ternary` form, in `(0, 1)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sparsity: Option<f32>,
    /// Weights of an output that are not zero in the `ternary` form, instead of `sparsity`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fan_in: Option<usize>,
}

/// The set of values of a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WeightName {
    /// Real numbers.
    Real,
    /// -1 and +1.
    Sign,
    /// -1 and +1, drawn with probability `clip((w + 1) / 2, 0, 1)` of +1 in training (BinaryConnect).
    Stochastic,
    /// -1, 0, +1 with a share of zeros (Kim & Smaragdis' lambda), or with so many others for each output.
    Ternary,
    /// -1, 0, +1 with zeros below 0.7 of the mean magnitude (TWN; Li & Liu 2016).
    Twn,
    /// k bits (DoReFa; Zhou et al. 2016).
    Dorefa,
    /// Two values per channel that are not opposite (AdaBin; Tu et al. 2022).
    Adabin,
    /// A sum of scaled binary bases (ABC-Net; Lin et al. 2017).
    Abc,
}

/// Factor on a channel's binary weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScaleName {
    /// None.
    #[default]
    None,
    /// The mean magnitude of the channel, with the exact gradient (BWN, XNOR-Net; Rastegari et al. 2016).
    Mean,
    /// The mean magnitude, with the gradient that XNOR-Net's paper gives, `1 / n` more than of a constant.
    MeanSimple,
    /// The mean magnitude, taken as a constant in the gradient (Bi-Real-Net).
    MeanConstant,
    /// The mean magnitude of the whole layer (DoReFa with one bit).
    LayerMean,
    /// A parameter that is learned.
    Learned,
    /// The power of two nearest to the mean magnitude (IR-Net; Qin et al. 2020).
    PowerOfTwo,
}

/// What is done to real copies before they are binarised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StandardiseName {
    /// Nothing.
    #[default]
    None,
    /// `(w - mean) / std` per output channel (Libra; IR-Net, Qin et al. 2020).
    Libra,
    /// Libra, then clamped at a quantile that grows from 0.85 to 0.99 (ReCU; Xu et al. 2021).
    Recu,
    /// `gain * (w - mean) / (std * sqrt(fan in))` with a learned gain (BN-free; Brock et al. 2021, Chen et al. 2021).
    Scaled,
}

/// How values become codes before a product.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActivationSpec {
    /// The set of values.
    pub form: ActivationName,
    /// Stand-in for the derivative; the stage's by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimator: Option<EstimatorName>,
    /// Half width of the estimator's window; the stage's by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip: Option<f32>,
    /// Bits of the `dorefa` form, 1 to 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits: Option<u8>,
}

/// The set of values of an activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActivationName {
    /// As it comes.
    None,
    /// -1 and +1.
    Sign,
    /// -1 and +1 after a learned shift per channel (RSign; ReActNet, Liu et al. 2020).
    Rsign,
    /// -1 and +1, drawn in training with probability `clip((x + 1) / 2, 0, 1)` of +1 (BinaryNet).
    Stochastic,
    /// 0 and 1.
    Heaviside,
    /// k-bit codes of `clip(x, 0, 1)` (DoReFa; Zhou et al. 2016).
    Dorefa,
}

impl From<WeightName> for WeightSpec {
    fn from(form: WeightName) -> Self {
        WeightSpec {
            form,
            scale: ScaleName::None,
            standardise: StandardiseName::None,
            clip: 0.0,
            estimator: None,
            bits: None,
            bases: None,
            sparsity: None,
            fan_in: None,
        }
    }
}

impl From<ActivationName> for ActivationSpec {
    fn from(form: ActivationName) -> Self {
        ActivationSpec {
            form,
            estimator: None,
            clip: None,
            bits: None,
        }
    }
}

/// What a type's short form, a bare string, is read as.
pub trait Short: for<'de> Deserialize<'de> {
    /// The name that stands for the whole.
    type Name: for<'de> Deserialize<'de> + Into<Self>;
}

impl Short for WeightSpec {
    type Name = WeightName;
}

impl Short for ActivationSpec {
    type Name = ActivationName;
}

/// Reads a table, or a string that names its `form`.
fn short<'de, D: Deserializer<'de>, T: Short>(from: D) -> Result<Option<T>, D::Error> {
    struct Either<T>(PhantomData<T>);
    impl<'de, T: Short> Visitor<'de> for Either<T> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a name, or a table with `form`")
        }
        fn visit_str<E: de::Error>(self, name: &str) -> Result<T, E> {
            T::Name::deserialize(name.into_deserializer()).map(Into::into)
        }
        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map))
        }
    }
    from.deserialize_any(Either(PhantomData)).map(Some)
}

fn one() -> usize {
    1
}
fn three() -> usize {
    3
}
fn is_one(value: &usize) -> bool {
    *value == 1
}
fn is_false(value: &bool) -> bool {
    !value
}

//! Lowering: a Net becomes the Program that computes the same bit for bit.
//!
//! The encoder becomes thresholds, codes and planes; a layer becomes a `dense` of the layer's name,
//! followed by `NAME.sign`, the threshold into which bias, norm and sign fold, or by `NAME.norm`,
//! the affine of normed scores. Making the Program smaller is left to the passes.
//!
//! The Program keeps the shape of the Net's input; `dense`, `planes` and `concat` read their
//! operands flattened in row-major, channels-last order, so no op is needed for flattening.

use onebit_model::builder::ProgramBuilder;
use onebit_model::net::{Activation, BatchNorm, Encoder, Layer, Net};
use onebit_model::program::{Cuts, Kind, Program, ValueId};
use onebit_model::{VerifyErrors, check_net};
use thiserror::Error;

use crate::fold::{Folded, fold_monotone};
use crate::reach::Reach;

/// Why a Net cannot be lowered.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LowerError {
    /// The Net is malformed.
    #[error("the Net cannot be lowered because it is malformed: {0}")]
    Net(VerifyErrors),
    /// The Program would be over the limits.
    #[error("the Program of this Net is over the limits: {0}")]
    Program(VerifyErrors),
}

/// Lowers a Net.
pub fn lower(net: &Net) -> Result<Program, LowerError> {
    check_net(net).map_err(LowerError::Net)?;
    let mut builder = ProgramBuilder::new(&net.name, net.input.kind, &net.input.shape);
    for (key, text) in &net.notes {
        builder.note(key, text);
    }
    let (mut x, mut kind) = lower_encoder(net, &mut builder);
    for layer in &net.layers {
        x = lower_layer(layer, x, kind, &mut builder);
        kind = Kind::Bits;
    }
    builder.finish(x).map_err(LowerError::Program)
}

/// Appends the encoder; gives the first layer's operand and its kind.
fn lower_encoder(net: &Net, builder: &mut ProgramBuilder) -> (ValueId, Kind) {
    let x = builder.input();
    let n_channels = *net
        .input
        .shape
        .last()
        .expect("check_net: a shape has an axis");
    let same_for_all = |at: u8| vec![i32::from(at); n_channels];
    match &net.encoder {
        Encoder::Sign { at } => (
            builder.threshold("encoder.sign", x, same_for_all(*at)),
            Kind::Bits,
        ),
        Encoder::ZeroOne { at } => {
            let cuts = Cuts::Int(vec![i32::from(*at)]);
            (
                builder.quantize("encoder.levels", x, 1, cuts),
                Kind::Levels(1),
            )
        }
        Encoder::FixedPoint { bits: 8 } => (builder.planes("encoder.planes", x), Kind::Bits),
        Encoder::FixedPoint { bits } => {
            // Dropping the low bits of a pixel counts how many multiples of 2^(8 - bits) it has reached.
            let cuts = (1..1i32 << bits).map(|code| code << (8 - bits)).collect();
            let codes = builder.quantize("encoder.levels", x, *bits, Cuts::Int(cuts));
            (builder.planes("encoder.planes", codes), Kind::Bits)
        }
        Encoder::Thermometer { cuts } => {
            let node = |(idx, cut): (usize, &u8)| {
                builder.threshold(&format!("encoder.cut{idx}"), x, same_for_all(*cut))
            };
            let planes: Vec<ValueId> = cuts.iter().enumerate().map(node).collect();
            (join(&planes, builder), Kind::Bits)
        }
        Encoder::RealThermometer { cuts } => {
            let node = |(idx, row): (usize, &Vec<f32>)| {
                let flip = vec![false; row.len()];
                builder.threshold_real(&format!("encoder.cut{idx}"), x, row.clone(), flip)
            };
            let planes: Vec<ValueId> = cuts.iter().enumerate().map(node).collect();
            (join(&planes, builder), Kind::Bits)
        }
        Encoder::Levels => (x, net.input.kind),
    }
}

fn join(planes: &[ValueId], builder: &mut ProgramBuilder) -> ValueId {
    match planes {
        [only] => *only,
        _ => builder.concat("encoder.planes", planes),
    }
}

/// Appends a layer; gives its output.
fn lower_layer(layer: &Layer, x: ValueId, kind: Kind, builder: &mut ProgramBuilder) -> ValueId {
    let acc = builder.dense(&layer.name, x, layer.weights.clone(), layer.bias.clone());
    match (layer.activation, &layer.norm) {
        (Activation::Sign, norm) => {
            let fold = |row| fold_channel(layer, norm.as_ref(), row, kind);
            let folded: Vec<Folded> = (0..layer.weights.n_rows()).map(fold).collect();
            let at = folded.iter().map(|folded| folded.at).collect();
            let flip = folded.iter().map(|folded| folded.flip).collect();
            builder.threshold_flip(&format!("{}.sign", layer.name), acc, at, flip)
        }
        (Activation::Scores, Some(norm)) => {
            let factors = |row| norm.scale_shift(row, f32::sqrt);
            let (scale, shift) = (0..layer.weights.n_rows()).map(factors).unzip();
            builder.affine(&format!("{}.norm", layer.name), acc, scale, shift)
        }
        (Activation::Scores, None) => acc,
    }
}

/// The threshold of one output with norm and sign.
fn fold_channel(layer: &Layer, norm: Option<&BatchNorm>, row: usize, operand: Kind) -> Folded {
    let bias = layer.bias.as_ref().map_or(0, |bias| bias[row]);
    let reach = Reach::of_row(&layer.weights, row, bias, operand)
        .expect("check_net: layers read bits or levels and sums stay below 2^24");
    match norm {
        None => fold_monotone(reach, |acc| acc >= 0),
        Some(norm) => {
            let (scale, shift) = norm.scale_shift(row, f32::sqrt);
            fold_monotone(reach, |acc| acc as f32 * scale + shift >= 0.0)
        }
    }
}

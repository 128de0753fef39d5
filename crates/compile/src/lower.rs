//! Lowering: a Net becomes the Program that computes the same bit for bit, one node for each layer.
//!
//! The encoder becomes thresholds, codes and planes under names of its own. A layer becomes a node of its
//! name: a norm the affine of its factors, a sign a threshold at zero, heaviside and quantize the cuts at which
//! their answer changes, and everything else the op of its name. Folding these into integer comparisons and
//! making the Program smaller is left to the passes.

use onebit_model::builder::ProgramBuilder;
use onebit_model::check_net::NetTypes;
use onebit_model::net::{Encoder, LayerOp, Net};
use onebit_model::program::{Cuts, Kind, Op, Program, ThresholdValues, Thresholds, Type, ValueId};
use onebit_model::{VerifyErrors, check_net, scalar};
use thiserror::Error;

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
    let types = check_net(net).map_err(LowerError::Net)?;
    let mut builder = ProgramBuilder::new(&net.name, net.input.kind, &net.input.shape);
    for (key, text) in &net.notes {
        builder.note(key, text);
    }
    // Indexed by the Net's value numbers.
    let mut values = vec![lower_encoder(net, &mut builder)];
    for layer in &net.layers {
        let inputs: Vec<ValueId> = layer.inputs.iter().map(|id| values[id.0]).collect();
        let op = lower_op(&layer.op, &types, layer.inputs[0]);
        values.push(builder.node(&layer.name, op, &inputs));
    }
    builder
        .finish(values[net.layers.len()])
        .map_err(LowerError::Program)
}

/// The op of a layer whose first operand is this value of the Net.
fn lower_op(op: &LayerOp, types: &NetTypes, x: ValueId) -> Op {
    let Type { kind, shape } = types.of(x);
    match op {
        LayerOp::Norm(norm) => {
            let factors = |channel| norm.scale_shift(channel, f32::sqrt);
            let (scale, shift) = (0..norm.gamma.len()).map(factors).unzip();
            Op::Affine { scale, shift }
        }
        LayerOp::Sign => {
            let n_channels = shape[shape.len() - 1];
            let at = match kind {
                Kind::Real => ThresholdValues::Real(vec![0.0; n_channels]),
                _ => ThresholdValues::Int(vec![0; n_channels]),
            };
            let flip = vec![false; n_channels];
            Op::Threshold(Thresholds { at, flip })
        }
        LayerOp::Heaviside => {
            let cuts = match kind {
                // The least number above zero.
                Kind::Real => Cuts::Real(vec![f32::from_bits(1)]),
                _ => Cuts::Int(vec![1]),
            };
            Op::Quantize { bits: 1, cuts }
        }
        &LayerOp::Quantize { bits } => Op::Quantize {
            bits,
            cuts: Cuts::Real(code_cuts(bits)),
        },
        _ => op
            .program_op()
            .expect("the layers without an op of their name are above"),
    }
}

/// The least number of each code above 0. Codes never fall as numbers rise, and between 0 and 1 the bits of
/// numbers have the order of the numbers, so each cut is searched among those.
fn code_cuts(bits: u8) -> Vec<f32> {
    let cut = |code: u8| {
        let (mut below, mut reached) = (0.0f32.to_bits(), 1.0f32.to_bits());
        while reached - below > 1 {
            let middle = below + (reached - below) / 2;
            match scalar::dorefa_code(f32::from_bits(middle), bits) >= code {
                true => reached = middle,
                false => below = middle,
            }
        }
        f32::from_bits(reached)
    };
    (1..=u8::MAX >> (8 - bits)).map(cut).collect()
}

/// Appends the encoder; gives the first layers' operand.
fn lower_encoder(net: &Net, builder: &mut ProgramBuilder) -> ValueId {
    let x = builder.input();
    let n_channels = *net
        .input
        .shape
        .last()
        .expect("check_net: a shape has an axis");
    let same_for_all = |at: u8| vec![i32::from(at); n_channels];
    match &net.encoder {
        Encoder::Sign { at } => builder.threshold("encoder.sign", x, same_for_all(*at)),
        Encoder::ZeroOne { at } => {
            let cuts = Cuts::Int(vec![i32::from(*at)]);
            builder.quantize("encoder.levels", x, 1, cuts)
        }
        Encoder::FixedPoint { bits: 8 } => builder.planes("encoder.planes", x),
        Encoder::FixedPoint { bits } => {
            // Dropping the low bits of a pixel counts how many multiples of 2^(8 - bits) it has reached.
            let cuts = (1..1i32 << bits).map(|code| code << (8 - bits)).collect();
            let codes = builder.quantize("encoder.levels", x, *bits, Cuts::Int(cuts));
            builder.planes("encoder.planes", codes)
        }
        Encoder::Thermometer { cuts } | Encoder::ChannelThermometer { cuts } => {
            let node = |(idx, cut): (usize, &u8)| {
                builder.threshold(&format!("encoder.cut{idx}"), x, same_for_all(*cut))
            };
            let planes: Vec<ValueId> = cuts.iter().enumerate().map(node).collect();
            match net.encoder {
                Encoder::Thermometer { .. } => join(&planes, net.input.shape.len(), builder),
                _ if planes.len() == 1 => planes[0],
                _ => builder.concat_channels("encoder.planes", &planes),
            }
        }
        Encoder::RealThermometer { cuts } => {
            let node = |(idx, row): (usize, &Vec<f32>)| {
                let flip = vec![false; row.len()];
                builder.threshold_real(&format!("encoder.cut{idx}"), x, row.clone(), flip)
            };
            let planes: Vec<ValueId> = cuts.iter().enumerate().map(node).collect();
            join(&planes, net.input.shape.len(), builder)
        }
        Encoder::Levels => x,
    }
}

/// All planes flattened, one after the other.
fn join(planes: &[ValueId], rank: usize, builder: &mut ProgramBuilder) -> ValueId {
    match planes {
        [only] if rank == 1 => *only,
        _ => builder.concat("encoder.planes", planes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The neighbours of a positive number.
    fn around(x: f32) -> [f32; 3] {
        [x.to_bits() - 1, x.to_bits(), x.to_bits() + 1].map(f32::from_bits)
    }

    #[test]
    fn cuts_are_where_the_code_changes() {
        for bits in 1..=8u8 {
            let cuts = code_cuts(bits);
            assert_eq!(cuts.len(), (1 << bits) - 1);
            let code = |x: f32| cuts.iter().filter(|&&cut| x >= cut).count();
            let mut numbers: Vec<f32> = cuts.iter().flat_map(|&cut| around(cut)).collect();
            numbers.extend((0..=4096).map(|step| step as f32 / 2048.0 - 0.5));
            numbers.extend([f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -0.0, f32::MAX]);
            for x in numbers {
                // The formula of `LayerOp::Quantize`, written out.
                let t = if x > 0.0 { x } else { 0.0 };
                let t = if t < 1.0 { t } else { 1.0 };
                let expected = (t * ((1 << bits) - 1) as f32 + 0.5).trunc();
                assert_eq!(code(x) as f32, expected, "{bits} bits, {x}");
            }
        }
    }
}

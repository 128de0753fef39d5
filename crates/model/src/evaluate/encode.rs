//! The encoders: an image becomes the first operand.

use crate::net::Encoder;
use crate::tensor::Tensor;

/// The first layers' operand for an input of this shape: bits for the bipolar encoders, levels for the others.
///
/// # Panics
///
/// If the encoder cannot read the input's kind; those of a checked Net can.
pub fn encode(encoder: &Encoder, input: &Tensor, shape: &[usize]) -> Tensor {
    match (encoder, input) {
        (Encoder::Sign { at }, Tensor::Levels(pixels)) => {
            Tensor::Bits(pixels.iter().map(|pixel| pixel >= at).collect())
        }
        (Encoder::ZeroOne { at }, Tensor::Levels(pixels)) => {
            Tensor::Levels(pixels.iter().map(|pixel| u8::from(pixel >= at)).collect())
        }
        (Encoder::FixedPoint { bits }, Tensor::Levels(pixels)) => {
            let plane = |plane: u8| pixels.iter().map(move |pixel| (pixel >> plane) & 1 == 1);
            Tensor::Bits((8 - bits..8).flat_map(plane).collect())
        }
        (Encoder::Thermometer { cuts }, Tensor::Levels(pixels)) => {
            Tensor::Bits(compared(cuts, pixels).collect())
        }
        (Encoder::ChannelThermometer { cuts }, Tensor::Levels(pixels)) => {
            let n_channels = shape.last().map_or(1, |&n| n);
            let positions = pixels.chunks_exact(n_channels);
            Tensor::Bits(
                positions
                    .flat_map(|position| compared(cuts, position))
                    .collect(),
            )
        }
        (Encoder::RealThermometer { cuts }, Tensor::Real(x)) => {
            let compare = |row: &Vec<f32>| x.iter().zip(row).map(|(x, cut)| x >= cut).collect();
            Tensor::Bits(
                cuts.iter()
                    .flat_map(|row| -> Vec<bool> { compare(row) })
                    .collect(),
            )
        }
        (Encoder::Levels, Tensor::Levels(_)) => input.clone(),
        _ => panic!("the encoder {encoder:?} cannot read this kind of input"),
    }
}

/// For each cut in order, all pixels compared with it.
fn compared<'a>(cuts: &'a [u8], pixels: &'a [u8]) -> impl Iterator<Item = bool> + 'a {
    cuts.iter()
        .flat_map(move |cut| pixels.iter().map(move |pixel| pixel >= cut))
}

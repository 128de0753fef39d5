//! The evaluation of a Net in binary32, exactly as training evaluates it.
//!
//! A Net and one image come in; per layer the sum, the normed value and the output go out. This is
//! what lowering must reproduce, so it uses the floats of the Net as they stand: no thresholds, no
//! packed bits. Every sum is an integer below 2^24 and therefore exact; what follows it is one
//! rounded binary32 operation after another, as `net` writes down.

use crate::check_net::check_net;
use crate::net::{Activation, Encoder, Layer, Net};
use crate::tensor::Tensor;
use crate::violation::VerifyErrors;

/// Everything a Net computes for one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// The encoded input: what the first layer reads.
    pub encoded: Tensor,
    /// One entry per layer.
    pub layers: Vec<LayerValues>,
}

/// What one layer computes for one image, each list with one entry per output.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerValues {
    /// `weights . x + bias`, exact.
    pub acc: Vec<i32>,
    /// After the norm; `acc` as binary32 where there is none.
    pub value: Vec<f32>,
    /// After the activation: bits for [`Activation::Sign`]; for [`Activation::Scores`] the values
    /// as real if the layer has a norm, else `acc` as int.
    pub output: Tensor,
}

impl Evaluation {
    /// The network's answer: the last layer's output.
    pub fn scores(&self) -> &Tensor {
        &self
            .layers
            .last()
            .expect("check_net: a Net has a layer")
            .output
    }
}

/// Evaluates a Net for one image. For many images, prepare an [`Evaluator`] once.
pub fn evaluate(net: &Net, input: &Tensor) -> Result<Evaluation, VerifyErrors> {
    Ok(Evaluator::new(net)?.evaluate(input))
}

/// A checked Net made ready for evaluating many images.
pub struct Evaluator<'net> {
    net: &'net Net,
    layers: Vec<PreparedLayer>,
}

/// Outputs are summed this many at a time, one accumulator each.
const N_LANES: usize = 32;

/// The floats of one layer, laid out so that the sums of many outputs advance together.
struct PreparedLayer {
    // [ceil(outputs / N_LANES)][inputs][N_LANES], zero past the last output.
    columns: Vec<f32>,
    n_inputs: usize,
    n_outputs: usize,
    // One entry per output.
    bias: Option<Vec<i32>>,
    scale_shift: Option<Vec<(f32, f32)>>,
    activation: Activation,
}

impl<'net> Evaluator<'net> {
    /// Checks the Net and prepares it.
    pub fn new(net: &'net Net) -> Result<Self, VerifyErrors> {
        check_net(net)?;
        let layers = net.layers.iter().map(PreparedLayer::new).collect();
        Ok(Evaluator { net, layers })
    }

    /// Everything the Net computes for one image.
    ///
    /// # Panics
    ///
    /// If `input` is not a value of the Net's input type (see [`Tensor::check`]).
    pub fn evaluate(&self, input: &Tensor) -> Evaluation {
        if let Err(reason) = input.check(&self.net.input) {
            panic!("the input does not fit the Net: {reason}");
        }
        let encoded = encode(&self.net.encoder, input);
        let mut layers: Vec<LayerValues> = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let operand = layers.last().map_or(&encoded, |before| &before.output);
            layers.push(layer.evaluate(operand));
        }
        Evaluation { encoded, layers }
    }
}

impl PreparedLayer {
    fn new(layer: &Layer) -> Self {
        let (n_outputs, n_inputs) = (layer.weights.n_rows(), layer.weights.n_cols());
        let mut columns = vec![0.0; n_outputs.div_ceil(N_LANES) * n_inputs * N_LANES];
        for row in 0..n_outputs {
            let (block, lane) = (row / N_LANES, row % N_LANES);
            for col in 0..n_inputs {
                let idx = (block * n_inputs + col) * N_LANES + lane;
                columns[idx] = layer.weights.get(row, col) as f32;
            }
        }
        let factors = |norm: &crate::net::BatchNorm| {
            (0..n_outputs)
                .map(|row| norm.scale_shift(row, f32::sqrt))
                .collect()
        };
        PreparedLayer {
            columns,
            n_inputs,
            n_outputs,
            bias: layer.bias.clone(),
            scale_shift: layer.norm.as_ref().map(factors),
            activation: layer.activation,
        }
    }

    fn evaluate(&self, operand: &Tensor) -> LayerValues {
        let sums = self.sums(&as_floats(operand));
        let with_bias = |(row, sum): (usize, f32)| match &self.bias {
            Some(bias) => sum + bias[row] as f32,
            None => sum,
        };
        let sums: Vec<f32> = sums.into_iter().enumerate().map(with_bias).collect();
        let value: Vec<f32> = match &self.scale_shift {
            Some(factors) => sums
                .iter()
                .zip(factors)
                .map(|(acc, f)| acc * f.0 + f.1)
                .collect(),
            None => sums.clone(),
        };
        let acc: Vec<i32> = sums.iter().map(|&sum| sum as i32).collect();
        let output = match (self.activation, &self.scale_shift) {
            (Activation::Sign, _) => Tensor::Bits(value.iter().map(|&y| y >= 0.0).collect()),
            (Activation::Scores, Some(_)) => Tensor::Real(value.clone()),
            (Activation::Scores, None) => Tensor::Int(acc.clone()),
        };
        LayerValues { acc, value, output }
    }

    /// `weights . x`, each output's terms added in column order.
    fn sums(&self, x: &[f32]) -> Vec<f32> {
        let mut sums = Vec::with_capacity(self.n_outputs + N_LANES);
        for block in self.columns.chunks_exact(self.n_inputs * N_LANES) {
            let mut lanes = [0.0f32; N_LANES];
            for (weights, x) in block.chunks_exact(N_LANES).zip(x) {
                for (lane, weight) in lanes.iter_mut().zip(weights) {
                    *lane += weight * x;
                }
            }
            sums.extend_from_slice(&lanes);
        }
        sums.truncate(self.n_outputs);
        sums
    }
}

/// The first layer's operand: bits for the bipolar encoders, levels for the others.
pub fn encode(encoder: &Encoder, input: &Tensor) -> Tensor {
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
            let compare = |cut: &u8| pixels.iter().map(move |pixel| pixel >= cut).collect();
            Tensor::Bits(
                cuts.iter()
                    .flat_map(|cut| -> Vec<bool> { compare(cut) })
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
        _ => unreachable!("check_net: the encoder reads the input's kind"),
    }
}

/// -1 and +1 for bits, the code for levels.
fn as_floats(operand: &Tensor) -> Vec<f32> {
    match operand {
        Tensor::Bits(bits) => bits
            .iter()
            .map(|&bit| if bit { 1.0 } else { -1.0 })
            .collect(),
        Tensor::Levels(codes) => codes.iter().map(|&code| f32::from(code)).collect(),
        _ => unreachable!("check_net: a layer reads bits or levels"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::net::BatchNorm;
    use crate::program::{Kind, Type};
    use crate::weights::{BitMatrix, Weights};

    /// Six pixels, a hidden layer of four with a norm, two scores without one.
    pub(crate) fn small_net() -> Net {
        let hidden = Layer {
            name: "fc1".into(),
            weights: Weights::Bits(BitMatrix::from_fn(4, 6, |row, col| (row + col) % 3 == 0)),
            bias: Some(vec![1, 0, -1, 0]),
            norm: Some(BatchNorm {
                gamma: vec![1.0, -0.5, 0.0, 2.0],
                beta: vec![0.1, 0.0, -0.25, 0.5],
                mean: vec![0.5, -1.5, 0.0, 3.0],
                var: vec![4.0, 1.0, 0.25, 9.0],
                eps: 1e-5,
            }),
            activation: Activation::Sign,
        };
        let mask = BitMatrix::from_fn(2, 4, |row, col| row != col);
        let sign = BitMatrix::from_fn(2, 4, |row, col| row != col && col == 2);
        let last = Layer {
            name: "fc2".into(),
            weights: Weights::Ternary { sign, mask },
            bias: None,
            norm: None,
            activation: Activation::Scores,
        };
        Net {
            name: "small".into(),
            input: Type {
                kind: Kind::Levels(8),
                shape: vec![6],
            },
            encoder: Encoder::Sign { at: 128 },
            layers: vec![hidden, last],
            notes: vec![("classes".into(), "no yes".into())],
        }
    }

    #[test]
    fn a_small_net_by_hand() {
        let net = small_net();
        let image = Tensor::Levels(vec![0, 127, 128, 255, 200, 3]);
        let evaluation = evaluate(&net, &image).unwrap();
        let x = [-1, -1, 1, 1, 1, -1];
        assert_eq!(
            evaluation.encoded,
            Tensor::Bits(x.iter().map(|&x| x > 0).collect())
        );
        let layer = &net.layers[0];
        for row in 0..4 {
            let sum: i32 = (0..6).map(|col| layer.weights.get(row, col) * x[col]).sum();
            let acc = sum + layer.bias.as_ref().unwrap()[row];
            let (scale, shift) = layer.norm.as_ref().unwrap().scale_shift(row, f32::sqrt);
            assert_eq!(evaluation.layers[0].acc[row], acc);
            assert_eq!(evaluation.layers[0].value[row], acc as f32 * scale + shift);
        }
        let Tensor::Bits(hidden) = &evaluation.layers[0].output else {
            panic!("not bits")
        };
        let sign = |idx: usize| 2 * i32::from(hidden[idx]) - 1;
        let scores = vec![-sign(1) + sign(2) - sign(3), -sign(0) + sign(2) - sign(3)];
        assert_eq!(evaluation.scores(), &Tensor::Int(scores));
    }

    #[test]
    fn minus_zero_is_plus_one() {
        let mut net = small_net();
        let norm = net.layers[0].norm.as_mut().unwrap();
        (norm.gamma[0], norm.beta[0], norm.mean[0]) = (-0.0, -0.0, 0.0);
        let evaluation = evaluate(&net, &Tensor::Levels(vec![255; 6])).unwrap();
        assert_eq!(evaluation.layers[0].value[0], 0.0);
        let Tensor::Bits(hidden) = &evaluation.layers[0].output else {
            panic!("not bits")
        };
        assert!(hidden[0]);
    }

    #[test]
    fn encoders_follow_their_formula_on_every_pixel() {
        let pixels: Vec<u8> = (0..=255).collect();
        let image = Tensor::Levels(pixels.clone());
        for bits in 1..=8u8 {
            let encoded = encode(&Encoder::FixedPoint { bits }, &image);
            let Tensor::Bits(planes) = encoded else {
                panic!("not bits")
            };
            for (idx, pixel) in pixels.iter().enumerate() {
                let code: u32 = (0..usize::from(bits))
                    .map(|p| u32::from(planes[p * 256 + idx]) << p)
                    .sum();
                assert_eq!(code, u32::from(*pixel) >> (8 - bits));
            }
        }
        let cuts = vec![0, 3, 3, 255];
        let Tensor::Bits(bits) = encode(&Encoder::Thermometer { cuts: cuts.clone() }, &image)
        else {
            panic!("not bits")
        };
        for (cut_idx, cut) in cuts.iter().enumerate() {
            for (idx, pixel) in pixels.iter().enumerate() {
                assert_eq!(bits[cut_idx * 256 + idx], pixel >= cut);
            }
        }
    }
}

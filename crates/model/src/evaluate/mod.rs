//! The evaluation of a Net in binary32, exactly as training evaluates it.
//!
//! A Net and one image come in; the value of every layer goes out. This is what lowering must reproduce, so it
//! uses the floats of the Net as they stand: no thresholds, no cuts, no packed bits. Sums of integers stay
//! below 2^24 and are therefore exact; everything else is one rounded binary32 operation after another, as
//! `net` writes down. What has no parameter of its own is computed by the interpreter's functions.

mod encode;
mod product;
#[cfg(test)]
pub(crate) mod tests;

use crate::check_net::{NetTypes, check_net};
use crate::interpreter::{elementwise, pools, shapes};
use crate::net::{Layer, LayerOp, Net};
use crate::program::ValueId;
use crate::scalar;
use crate::tensor::Tensor;
use crate::violation::VerifyErrors;

pub use encode::encode;
use product::Product;

/// Everything a Net computes for one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// The encoded input: what the first layers read.
    pub encoded: Tensor,
    /// The value of each layer.
    pub values: Vec<Tensor>,
}

impl Evaluation {
    /// The network's answer: the last layer's value.
    pub fn scores(&self) -> &Tensor {
        self.values.last().expect("check_net: a Net has a layer")
    }

    /// A value by its number: 0 is the encoded input, `i + 1` what layer `i` computes.
    pub fn value(&self, id: ValueId) -> &Tensor {
        match id.0.checked_sub(1) {
            None => &self.encoded,
            Some(layer_idx) => &self.values[layer_idx],
        }
    }
}

/// Evaluates a Net for one image. For many images, prepare an [`Evaluator`] once.
pub fn evaluate(net: &Net, input: &Tensor) -> Result<Evaluation, VerifyErrors> {
    Ok(Evaluator::new(net)?.evaluate(input))
}

/// A checked Net made ready for evaluating many images.
pub struct Evaluator<'net> {
    net: &'net Net,
    types: NetTypes,
    layers: Vec<Prepared>,
}

/// What of a layer is computed once for all images.
enum Prepared {
    Product(Product),
    /// One factor and one addend per channel.
    Norm(Vec<(f32, f32)>),
    Nothing,
}

impl<'net> Evaluator<'net> {
    /// Checks the Net and prepares it.
    pub fn new(net: &'net Net) -> Result<Self, VerifyErrors> {
        let types = check_net(net)?;
        let prepare = |layer: &Layer| match &layer.op {
            LayerOp::Dense { weights, bias } => {
                let ty = types.of(layer.inputs[0]);
                Prepared::Product(Product::dense(weights, bias.as_deref(), ty))
            }
            LayerOp::Conv2d(conv) => {
                Prepared::Product(Product::conv2d(conv, types.of(layer.inputs[0])))
            }
            LayerOp::Norm(norm) => {
                let factors = |channel| norm.scale_shift(channel, f32::sqrt);
                Prepared::Norm((0..norm.gamma.len()).map(factors).collect())
            }
            _ => Prepared::Nothing,
        };
        let layers = net.layers.iter().map(prepare).collect();
        Ok(Evaluator { net, types, layers })
    }

    /// The types of the Net's values.
    pub fn types(&self) -> &NetTypes {
        &self.types
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
        let mut evaluation = Evaluation {
            encoded: encode(&self.net.encoder, input, &self.net.input.shape),
            values: Vec::with_capacity(self.layers.len()),
        };
        for layer_idx in 0..self.layers.len() {
            let value = self.layer(layer_idx, &evaluation);
            evaluation.values.push(value);
        }
        evaluation
    }

    /// The value of one layer from those before it.
    fn layer(&self, layer_idx: usize, before: &Evaluation) -> Tensor {
        let layer = &self.net.layers[layer_idx];
        let x = before.value(layer.inputs[0]);
        match &self.layers[layer_idx] {
            Prepared::Product(product) => return product.evaluate(x),
            Prepared::Norm(factors) => return norm(factors, x),
            Prepared::Nothing => {}
        }
        let shape = self.types.of(layer.inputs[0]).shape.as_slice();
        let result = self.types.of(ValueId(layer_idx + 1)).shape.as_slice();
        match &layer.op {
            LayerOp::Affine { scale, shift } => elementwise::affine(scale, shift, x),
            LayerOp::GroupNorm(norm) => elementwise::group_norm(norm, x),
            LayerOp::Sign => sign(x),
            LayerOp::Heaviside => heaviside(x),
            LayerOp::Quantize { bits } => quantize(*bits, x),
            LayerOp::Relu => elementwise::relu(x),
            LayerOp::Clip { min, max } => elementwise::clip(*min, *max, x),
            LayerOp::Prelu { slope } => elementwise::prelu(slope, x),
            LayerOp::Rprelu {
                before,
                slope,
                after,
            } => elementwise::rprelu(before, slope, after, x),
            LayerOp::Add => elementwise::add(x, before.value(layer.inputs[1])),
            LayerOp::Mul => elementwise::mul(x, before.value(layer.inputs[1])),
            LayerOp::ConcatChannels => {
                let n_channels = |id: &ValueId| self.types.of(*id).shape[shape.len() - 1];
                let operands: Vec<(&Tensor, usize)> = layer
                    .inputs
                    .iter()
                    .map(|id| (before.value(*id), n_channels(id)))
                    .collect();
                shapes::concat_channels(&operands, result)
            }
            LayerOp::MaxPool(window) => pools::max_pool(window, x, shape, result),
            LayerOp::AvgPool { window, count_pads } => {
                pools::avg_pool(window, *count_pads, x, shape, result)
            }
            LayerOp::GlobalAvgPool => pools::global_avg_pool(shape[2], x),
            LayerOp::Dense { .. } | LayerOp::Conv2d(_) | LayerOp::Norm(_) => {
                unreachable!("prepared by `new`")
            }
        }
    }
}

/// `x * scale + shift`, element by element.
fn norm(factors: &[(f32, f32)], x: &Tensor) -> Tensor {
    let mut y = as_floats(x);
    for run in y.chunks_exact_mut(factors.len()) {
        for (y, &(scale, shift)) in run.iter_mut().zip(factors) {
            *y = scalar::affine(*y, scale, shift);
        }
    }
    Tensor::Real(y)
}

/// +1 where the value is at least zero.
fn sign(x: &Tensor) -> Tensor {
    Tensor::Bits(match x {
        Tensor::Real(x) => x.iter().map(|&x| x >= 0.0).collect(),
        Tensor::Int(x) => x.iter().map(|&x| x >= 0).collect(),
        Tensor::Levels(x) => vec![true; x.len()],
        Tensor::Bits(_) => unreachable!("check_net: sign reads no bits"),
    })
}

/// 1 where the value is above zero.
fn heaviside(x: &Tensor) -> Tensor {
    Tensor::Levels(match x {
        Tensor::Real(x) => x.iter().map(|&x| u8::from(x > 0.0)).collect(),
        Tensor::Int(x) => x.iter().map(|&x| u8::from(x > 0)).collect(),
        Tensor::Levels(x) => x.iter().map(|&x| u8::from(x > 0)).collect(),
        Tensor::Bits(_) => unreachable!("check_net: heaviside reads no bits"),
    })
}

/// DoReFa's codes.
fn quantize(bits: u8, x: &Tensor) -> Tensor {
    let Tensor::Real(x) = x else {
        unreachable!("check_net: quantize reads reals")
    };
    Tensor::Levels(x.iter().map(|&x| scalar::dorefa_code(x, bits)).collect())
}

/// -1 and +1 for bits, the numbers themselves for the others; integers stay below 2^24.
fn as_floats(operand: &Tensor) -> Vec<f32> {
    match operand {
        Tensor::Bits(bits) => {
            let float = |&bit: &bool| if bit { 1.0 } else { -1.0 };
            bits.iter().map(float).collect()
        }
        Tensor::Levels(codes) => codes.iter().map(|&code| f32::from(code)).collect(),
        Tensor::Int(x) => x.iter().map(|&x| x as f32).collect(),
        Tensor::Real(x) => x.clone(),
    }
}

//! From a trained network to a plain `Net`.
//!
//! In: a [`Network`] in a bitwise stage. Out: the Net whose evaluation equals the network's own, bit for bit.

use onebit_data::{Dataset, Features};
use onebit_model::net::{Activation, Encoder, Layer, Net};
use onebit_model::program::{Kind, Type};
use onebit_model::weights::{BitMatrix, Weights};

use crate::network::{LayerState, Network};
use crate::ops::values;
use crate::optim::{Form, Param};
use crate::recipe::Recipe;

/// The Net of a network whose stage is bitwise, trained by `recipe`.
pub fn export(network: &Network, recipe: &Recipe, encoder: &Encoder, data: &Dataset) -> Net {
    let last = network.layers.len() - 1;
    let layers = network
        .layers
        .iter()
        .enumerate()
        .map(|(i, layer)| Layer {
            name: if i == last {
                "scores".into()
            } else {
                format!("hidden{}", i + 1)
            },
            weights: weights(&layer.weight, network.mode.form),
            bias: bias(layer, i == 0 && recipe.input.has_zero_one_planes()),
            norm: layer.norm.as_ref().map(|n| n.frozen()),
            activation: if i == last {
                Activation::Scores
            } else {
                Activation::Sign
            },
        })
        .collect();
    // Quantile cuts are per feature, so real examples go in flat.
    let input = match data.train.features {
        Features::U8(_) => Type {
            kind: Kind::Levels(8),
            shape: data.shape.clone(),
        },
        Features::F32(_) => Type {
            kind: Kind::Real,
            shape: vec![data.shape.iter().product()],
        },
    };
    Net {
        name: recipe.name.clone(),
        input,
        encoder: encoder.clone(),
        layers,
        notes: vec![
            ("classes".into(), data.class_names.join(",")),
            ("data".into(), data.name.clone()),
        ],
    }
}

/// The integer bias. Bits that trained as 0/1 and deploy as -1/+1 double the sums, less the row's own sum.
fn bias(layer: &LayerState, zero_one_planes: bool) -> Option<Vec<i32>> {
    let bias = values(&layer.bias.as_ref()?.value)
        .iter()
        .map(|&v| v as i32);
    if !zero_one_planes {
        return Some(bias.collect());
    }
    let rows = values(&layer.weight.value).chunks_exact(layer.weight.dims().1);
    Some(
        bias.zip(rows)
            .map(|(b, row)| 2 * b + row.iter().sum::<f32>() as i32)
            .collect(),
    )
}

fn weights(param: &Param, form: Form) -> Weights {
    let (rows, cols) = param.dims();
    let value = values(&param.value);
    let sign = BitMatrix::from_fn(rows, cols, |r, c| value[r * cols + c] > 0.0);
    match form {
        Form::Ternary { .. } => {
            let mask = BitMatrix::from_fn(rows, cols, |r, c| value[r * cols + c] != 0.0);
            Weights::Ternary { sign, mask }
        }
        _ => Weights::Bits(sign),
    }
}

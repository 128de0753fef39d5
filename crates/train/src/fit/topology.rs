//! The graph of a recipe's network over a data set.
//!
//! In: a recipe, a data set and what encodes it. Out: a [`Graph`] whose input has the shape of an example, or the layer
//! that does not fit it.

use onebit_data::{Dataset, Features};

use crate::encode::{Feeder, Target};
use crate::graph::{self, Extent, Graph, ValueKind};
use crate::recipe::layers::LayerSpec;
use crate::recipe::{Norm, Recipe, RecipeError, StageKind};

/// The graph of a recipe's network over a data set in a stage of this kind: the float twin sees the pixels themselves,
/// all other kinds what `feeder` encodes.
///
/// Its input is `[h, w, channels]` where the recipe lists layers and the examples have the shape `[h, w, c]`, else
/// `[1, 1, n]`.
///
/// # Errors
/// [`RecipeError::Value`] naming the layer, with both shapes where they do not fit.
pub fn network_graph(
    recipe: &Recipe,
    data: &Dataset,
    feeder: &Feeder,
    kind: StageKind,
) -> Result<Graph, RecipeError> {
    let is_float = kind == StageKind::Float;
    let keeps_image = is_float || recipe.input.keeps_image();
    if let Some(key) = image_layer(&recipe.layers, "layer") {
        check_image(data, keeps_image).map_err(|problem| RecipeError::Value { key, problem })?;
    }
    let mut shaped = recipe.clone();
    if let Some(model) = &mut shaped.model
        && is_float
        && model.norm == Norm::Batch
    {
        model.output_norm = Norm::None;
    }
    let n_inputs = feeder.n_inputs(target(kind));
    let input = match (&recipe.model, &data.shape[..]) {
        (None, &[height, width, channels])
            if n_inputs.is_multiple_of(height * width * channels) =>
        {
            Extent {
                height,
                width,
                channels: n_inputs / (height * width),
            }
        }
        _ => Extent::flat(n_inputs),
    };
    let input_kind = match is_float {
        true => ValueKind::Real,
        false => feeder.kind(),
    };
    graph::build(&shaped, input, input_kind, data.n_classes)
}

/// What [`Feeder::batch`] gives the first layer of a stage of this kind.
pub fn target(kind: StageKind) -> Target {
    match kind {
        StageKind::Compress | StageKind::Real => Target::ScaledCodes,
        StageKind::Bitwise | StageKind::BinaryActivations => Target::Codes,
        StageKind::Float => Target::Real,
    }
}

/// The key of the first layer that reads an image.
fn image_layer(layers: &[LayerSpec], at: &str) -> Option<String> {
    layers.iter().enumerate().find_map(|(i, layer)| {
        let key = format!("{at}[{i}]");
        match layer {
            LayerSpec::Block(block) => image_layer(&block.layers, &format!("{key}.layers")),
            layer => layer.needs_image().then_some(key),
        }
    })
}

/// Whether examples are images that a convolution can read.
fn check_image(data: &Dataset, keeps_image: bool) -> Result<(), String> {
    if matches!(data.train.features, Features::F32(_)) {
        return Err(
            "needs an image of 8-bit pixels, but the examples are real numbers, which dense layers alone read; \
             store images as bytes"
                .into(),
        );
    }
    if data.shape.len() != 3 {
        return Err(format!(
            "needs an image [height, width, channels], but the examples are {:?}",
            data.shape
        ));
    }
    if !keeps_image {
        return Err(
            "needs an image, but this input.encoding makes a row of bits; use \"channel-thermometer\", \"levels\", \
             \"sign\" or \"zero-one\""
                .into(),
        );
    }
    Ok(())
}

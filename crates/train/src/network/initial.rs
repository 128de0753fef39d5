//! What a node holds before training: Glorot-uniform weights, neutral norms, shifts and slopes; and what of it starts
//! anew when weights take another form.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::recipe::layers::WeightName;

pub(super) fn node_state(graph: &Graph, node: &GraphNode, rng: &mut ChaCha8Rng) -> NodeState {
    let channels = node.extent.channels;
    let vector = |role: Role, value: f32| {
        (
            role,
            Param::new(vec![value; channels], 1, channels, Form::Real),
        )
    };
    let mut state = NodeState::default();
    match &node.op {
        NodeOp::Product(product) => state.params = product_params(product, rng),
        NodeOp::Bias => state.params = vec![vector(Role::Bias, 0.0)],
        NodeOp::BatchNorm { .. } => {
            state.params = vec![vector(Role::Gamma, 1.0), vector(Role::Beta, 0.0)];
            state.stats = Some(Running {
                mean: vec![0.0; channels],
                var: vec![1.0; channels],
            });
        }
        NodeOp::GroupNorm { .. } => {
            state.params = vec![vector(Role::Gamma, 1.0), vector(Role::Beta, 0.0)];
        }
        NodeOp::Activate { spec, .. } if spec.form == ActivationName::Rsign => {
            state.params = vec![vector(Role::Shift, 0.0)];
        }
        NodeOp::Unit(UnitName::Prelu) => state.params = vec![vector(Role::Slope, FIRST_SLOPE)],
        NodeOp::Unit(UnitName::Rprelu) => {
            state.params = vec![
                vector(Role::Shift, 0.0),
                vector(Role::Slope, FIRST_SLOPE),
                vector(Role::After, 0.0),
            ];
        }
        _ => {}
    }
    debug_assert!(node.inputs.iter().all(|&id| id <= graph.nodes.len()));
    state
}

fn product_params(product: &Product, rng: &mut ChaCha8Rng) -> Vec<(Role, Param)> {
    let (rows, cols) = (product.shape.n_rows(), product.shape.n_cols());
    // Glorot & Bengio 2010; a convolution's fans are taken over its window.
    let fan_out = match product.shape {
        crate::graph::ProductShape::Dense { n_out, .. } => n_out,
        crate::graph::ProductShape::Conv { window, groups, .. } => {
            rows * window.kernel[0] * window.kernel[1] / groups
        }
    };
    let limit = (6.0 / (cols + fan_out) as f32).sqrt();
    let mut draw =
        |n: usize| -> Vec<f32> { (0..n).map(|_| rng.random_range(-limit..limit)).collect() };
    let mut params = vec![(
        Role::Weight,
        Param::new(draw(rows * cols), rows, cols, Form::Real),
    )];
    if product.bias {
        params.push((Role::FormBias, Param::new(draw(rows), 1, rows, Form::Real)));
    }
    let n_aux = binarize::n_aux(&product.weights, rows);
    if n_aux > 0 && !product.follows_stage {
        let aux = binarize::initial_aux(&product.weights, &params[0].1.latent, rows, cols);
        params.push((Role::Scale, Param::new(aux, 1, n_aux, Form::Real)));
    }
    params
}

/// Puts what a form needs where it starts, for weights that had another form `before` or none: learned scales where
/// they begin for the weights as they are, and weights that are drawn where draws tell them apart.
pub(super) fn begin(
    state: &mut NodeState,
    product: &Product,
    before: Option<WeightForm<'_>>,
    now: WeightForm<'_>,
) {
    let is_drawn = |form: &WeightForm<'_>| matches!(form, WeightForm::Method(spec) if spec.form == WeightName::Stochastic);
    if is_drawn(&now) && !before.as_ref().is_some_and(is_drawn) {
        let weight = state.params.iter_mut().find(|(r, _)| *r == Role::Weight);
        weight.into_iter().for_each(|(_, p)| spread(&mut p.latent));
    }
    if matches!(now, WeightForm::Method(_)) && !matches!(before, Some(WeightForm::Method(_))) {
        let weight = state.param(Role::Weight);
        let (rows, cols) = weight.dims();
        let aux = binarize::initial_aux(&product.weights, &weight.latent, rows, cols);
        if let Some((_, scale)) = state.params.iter_mut().find(|(r, _)| *r == Role::Scale) {
            scale.latent = aux;
        }
    }
}

/// Scales weights to a mean magnitude of 1/2. That of BinaryConnect's first weights, uniform between -1 and 1: far
/// smaller ones would be drawn as noise.
fn spread(latent: &mut [f32]) {
    let mean = latent.iter().map(|w| f64::from(w.abs())).sum::<f64>() / latent.len() as f64;
    if mean > 0.0 {
        let factor = (0.5 / mean) as f32;
        latent.iter_mut().for_each(|w| *w *= factor);
    }
}

//! What a node holds before training: Glorot-uniform weights, neutral norms, shifts and slopes.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::*;

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

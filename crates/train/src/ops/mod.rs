//! Operations that training adds to Burn, each with a true backward pass on the Flex CPU backend and a
//! composite of Burn's own tensor operations for every other backend.
//!
//! In and out: `Tensor<2>` of shape `[batch, features]`, or `[batch * positions, channels]` for images. Forward
//! passes of whole numbers go through the kernels of `onebit-bits` and are exact; gradients are products of floats.

mod activate;
mod bias;
mod composite_conv;
mod dense;
mod depthwise;
mod norm;
mod pool;
mod product;
mod units;

pub use activate::{
    Dropout, Estimator, Unit, activate, drop_in_place, scheduled, unit_derivative, unit_values,
};
pub use bias::add_bias;
pub use dense::Operand;
pub use norm::{BatchStats, batch_norm, group_norm};
pub use pool::{Pool, PoolKind, pool, pool_values};
pub use product::{
    Factor, Precision, Product, column_factors, effective_weights, product, product_values,
};
pub use units::{map_weight, multiply_rows, prelu, prelu_values, quantise_gradient, scale_map};

use burn::backend::Flex;
use burn::backend::autodiff::Autodiff;
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::tensor::{Tensor, TensorData};

/// The autodiff handle of a tensor on the Flex backend, or `None` on another backend.
fn flex_handle<const D: usize>(tensor: &Tensor<D>) -> Option<FloatTensor<Autodiff<Flex>>> {
    if !are_fused() {
        return None;
    }
    tensor.clone().try_into_primitive::<Autodiff<Flex>>().ok()
}

/// Whether Flex tensors are computed with by the custom operations: always, but for tests of the composites.
pub(crate) fn are_fused() -> bool {
    #[cfg(test)]
    return !COMPOSITES_ONLY.get();
    #[cfg(not(test))]
    true
}

#[cfg(test)]
thread_local! {
    static COMPOSITES_ONLY: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Runs `f` with the composites of Burn's operations, as on a GPU, for graphs built on this thread.
#[cfg(test)]
pub(crate) fn with_composites<T>(f: impl FnOnce() -> T) -> T {
    COMPOSITES_ONLY.set(true);
    let out = f();
    COMPOSITES_ONLY.set(false);
    out
}

/// The values of a contiguous Flex tensor.
pub fn values(tensor: &FlexTensor) -> &[f32] {
    tensor
        .as_slice::<f32>()
        .expect("operands of onebit's operations are contiguous f32")
}

/// A Flex tensor of shape `[n_rows, n_cols]` that owns `values`.
pub fn flex_tensor(values: Vec<f32>, n_rows: usize, n_cols: usize) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, [n_rows, n_cols]))
}

/// Contiguous copy if the tensor is a view, the tensor itself if not.
pub(crate) fn contiguous(tensor: FlexTensor) -> FlexTensor {
    if tensor.as_slice::<f32>().is_some() {
        tensor
    } else {
        tensor.to_contiguous()
    }
}

/// Rows and columns of a rank-2 Flex tensor.
pub fn dims(tensor: &FlexTensor) -> (usize, usize) {
    let shape = tensor.layout().shape();
    (shape[0], shape[1])
}

#[cfg(test)]
mod tests;

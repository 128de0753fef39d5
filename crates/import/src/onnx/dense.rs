//! `Gemm` and `MatMul` with constant weights.
//!
//! A value that was flattened from an image keeps the Program's order of elements; the columns of the weights
//! are put in that order instead.

use onebit_model::program::Op;

use super::constant::{Const, Data};
use super::fold_shape::transpose;
use super::live::{Live, Order};
use super::lower::Lower;
use super::product::Product;
use super::proto::NodeProto;

impl Lower<'_> {
    /// A dense layer.
    pub(super) fn dense(&mut self, node: &NodeProto) -> Result<Live, String> {
        let is_gemm = node.op_type == "Gemm";
        let flag = |name: &str| node.int(name).unwrap_or(0) != 0;
        let mut x = self.live(node, 0)?;
        let weights = self.constant(node, 1)?;
        if is_gemm && flag("transA") {
            return Err("it transposes the activations; onebit needs one row per image".into());
        }
        if weights.shape.len() != 2 {
            return Err(format!(
                "its weights have shape {:?}; a matrix is needed",
                weights.shape
            ));
        }
        let (features, leading) = row_of(&x)?;
        if !leading.is_empty() {
            x = self.plain(x)?;
        }
        x = self.without_rim(x)?;
        // One row per output.
        let rows = if is_gemm && flag("transB") {
            (*weights).clone()
        } else {
            transpose(&weights, &[1, 0])?
        };
        let &[n_rows, n_cols] = rows.shape.as_slice() else {
            return Err("its weights have another rank".into());
        };
        if n_cols != features || n_rows == 0 {
            return Err(format!(
                "weights of shape {:?} do not fit {features} features",
                weights.shape
            ));
        }
        let alpha = if is_gemm {
            node.float("alpha").unwrap_or(1.0)
        } else {
            1.0
        };
        let beta = if is_gemm {
            node.float("beta").unwrap_or(1.0)
        } else {
            1.0
        };
        let rows = in_order(&rows, &x)?;
        let bias = match self.optional(node, 2)? {
            Some(bias) if is_gemm => bias_of(&bias, n_rows, beta)?,
            _ => vec![0.0; n_rows],
        };
        let bias: Vec<f64> = if alpha == 1.0 {
            bias
        } else {
            bias.iter().map(|b| b / f64::from(alpha)).collect()
        };
        if alpha == 0.0 {
            return Err("its alpha is 0, so that it multiplies nothing".into());
        }
        let product = Product {
            matrix: &rows,
            bias,
            padding: None,
            title: node.title(),
        };
        let out = self.product(x, product, |weights, bias, _| Op::Dense { weights, bias })?;
        let dims = leading.into_iter().chain([n_rows]).collect();
        let out = Live {
            shape: vec![n_rows],
            dims,
            order: Order::Plain,
            ..out
        };
        if alpha == 1.0 {
            Ok(out)
        } else {
            self.scaled(out, &[f64::from(alpha)], &[0.0])
        }
    }
}

/// The features of a value that is one row per image, and its other axes, all of size 1.
fn row_of(x: &Live) -> Result<(usize, Vec<usize>), String> {
    match x.dims.split_last() {
        Some((&features, leading)) if leading.iter().all(|&size| size == 1) => {
            Ok((features, leading.to_vec()))
        }
        _ => Err(format!(
            "it multiplies the last axis of a value of shape {:?} per image; flatten it first",
            x.dims
        )),
    }
}

/// The columns in the order of the operand's elements.
fn in_order(rows: &Const, x: &Live) -> Result<Const, String> {
    if x.order == Order::Plain {
        return Ok(rows.clone());
    }
    let order = x.onnx_index();
    let n_cols = order.len();
    rows.pick(rows.shape.clone(), || {
        (0..rows.shape[0])
            .flat_map(|row| order.iter().map(move |&col| row * n_cols + col))
            .collect()
    })
}

/// `beta * C`, one number per row.
fn bias_of(bias: &Const, n_rows: usize, beta: f32) -> Result<Vec<f64>, String> {
    let is_row = bias.shape.last().is_none_or(|&n| n == n_rows || n == 1);
    let n = bias.n_elements();
    if !is_row || (n != n_rows && n != 1) || !matches!(bias.data(), Data::F32(_)) {
        return Err(format!(
            "its bias has shape {:?} for {n_rows} outputs",
            bias.shape
        ));
    }
    let number = |row: usize| f64::from(beta) * bias.number(if n == 1 { 0 } else { row });
    Ok((0..n_rows).map(number).collect())
}

//! The constants of a file: weights, biases, shapes and quantisation parameters.
//!
//! In: a tensor with data. Out: its numbers, after a check that there are as many as its shape says. Leaves what
//! they are used for to the ops.

use super::graph::{Outcome, Scale};
use super::schema::{ElementType, Tensor};

/// The sizes of a tensor on each axis.
pub(super) fn sizes(tensor: &Tensor) -> Outcome<Vec<usize>> {
    let size = |&size: &i32| usize::try_from(size).ok();
    let sizes: Option<Vec<usize>> = tensor.shape.iter().map(size).collect();
    sizes.ok_or_else(|| {
        format!(
            "the tensor `{}` has the shape {:?}; export the model with fixed sizes",
            tensor.name, tensor.shape
        )
    })
}

/// The elements of a constant, `N` bytes each.
pub(super) fn elements<'a, const N: usize>(tensor: &Tensor<'a>) -> Outcome<&'a [[u8; N]]> {
    let name = &tensor.name;
    if tensor.is_sparse {
        return Err(format!(
            "the constant `{name}` is stored as a sparse tensor; convert the model without sparsity"
        ));
    }
    let data = tensor.data.unwrap_or_default();
    let n = sizes(tensor)?
        .iter()
        .try_fold(1usize, |n, &size| n.checked_mul(size));
    let (chunks, rest) = data.as_chunks::<N>();
    if !rest.is_empty() || n != Some(chunks.len()) {
        return Err(format!(
            "the constant `{name}` has {} bytes, its shape {:?} does not: the file is damaged",
            data.len(),
            tensor.shape
        ));
    }
    Ok(chunks)
}

/// The reals that a constant stands for.
pub(super) fn floats(tensor: &Tensor) -> Outcome<Vec<f32>> {
    match tensor.ty {
        ElementType::Float32 => Ok(elements(tensor)?
            .iter()
            .map(|&b| f32::from_le_bytes(b))
            .collect()),
        ElementType::Float16 => {
            let half = |&b: &[u8; 2]| f32_from_half(u16::from_le_bytes(b));
            Ok(elements(tensor)?.iter().map(half).collect())
        }
        ElementType::Int8 | ElementType::Uint8 => {
            let scale = scale(tensor)?;
            let offset = if scale.is_signed { 128 } else { 0 };
            let real = |q: i32| scale.scale * (q + offset - scale.zero) as f32;
            let bytes = elements::<1>(tensor)?.iter();
            Ok(if scale.is_signed {
                bytes.map(|&[b]| real(i32::from(b.cast_signed()))).collect()
            } else {
                bytes.map(|&[b]| real(i32::from(b))).collect()
            })
        }
        other => Err(format!(
            "the constant `{}` is {} where reals are needed",
            tensor.name,
            other.name()
        )),
    }
}

/// The integers of a constant.
pub(super) fn ints(tensor: &Tensor) -> Outcome<Vec<i64>> {
    match tensor.ty {
        ElementType::Int32 => {
            let int = |&b: &[u8; 4]| i64::from(i32::from_le_bytes(b));
            Ok(elements(tensor)?.iter().map(int).collect())
        }
        ElementType::Int64 => Ok(elements(tensor)?
            .iter()
            .map(|&b| i64::from_le_bytes(b))
            .collect()),
        ElementType::Int8 => {
            let int = |&[b]: &[u8; 1]| i64::from(b.cast_signed());
            Ok(elements(tensor)?.iter().map(int).collect())
        }
        other => Err(format!(
            "the constant `{}` is {} where integers are needed",
            tensor.name,
            other.name()
        )),
    }
}

/// How the codes of an 8-bit tensor stand for reals.
pub(super) fn scale(tensor: &Tensor) -> Outcome<Scale> {
    let name = &tensor.name;
    let (is_signed, offset) = match tensor.ty {
        ElementType::Int8 => (true, 128),
        ElementType::Uint8 => (false, 0),
        other => return Err(format!("`{name}` is {}, not INT8", other.name())),
    };
    let quantization = &tensor.quantization;
    let [scale] = quantization.scale[..] else {
        return Err(format!(
            "`{name}` has {} quantisation scales where one is needed; convert it with per-tensor quantisation",
            quantization.scale.len()
        ));
    };
    let zero_point = quantization.zero_point.first().copied().unwrap_or(0);
    let zero = zero_point
        .checked_add(offset)
        .and_then(|zero| i32::try_from(zero).ok());
    let zero = zero.filter(|zero| (0..=255).contains(zero));
    match zero {
        Some(zero) if scale.is_normal() && scale > 0.0 => Ok(Scale {
            scale,
            zero,
            is_signed,
        }),
        _ => Err(format!(
            "`{name}` has the scale {scale} and the zero point {zero_point}: the file is damaged"
        )),
    }
}

/// The scales of weights: one, or one for each of `n` rows, all with zero point 0.
pub(super) fn weight_scales(tensor: &Tensor, axis: i32, n: usize) -> Outcome<Vec<f32>> {
    let name = &tensor.name;
    let quantization = &tensor.quantization;
    if quantization.zero_point.iter().any(|&zero| zero != 0) {
        return Err(format!(
            "the weights `{name}` have a zero point that is not 0; convert with symmetric INT8 weights"
        ));
    }
    let scales = match quantization.scale[..] {
        [scale] => vec![scale; n],
        _ if quantization.scale.len() == n && quantization.axis == axis => {
            quantization.scale.clone()
        }
        _ => {
            return Err(format!(
                "the weights `{name}` have {} scales on axis {}, {n} on axis {axis} are needed",
                quantization.scale.len(),
                quantization.axis
            ));
        }
    };
    if scales
        .iter()
        .any(|scale| !scale.is_finite() || *scale < 0.0)
    {
        return Err(format!(
            "a scale of the weights `{name}` is not a positive number"
        ));
    }
    Ok(scales)
}

/// An IEEE binary16 number.
fn f32_from_half(half: u16) -> f32 {
    let sign = if half >> 15 == 1 { -1.0 } else { 1.0 };
    let fraction = f32::from(half & 0x3ff);
    sign * match half >> 10 & 0x1f {
        0 => fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        exponent => (1024.0 + fraction) * 2f32.powi(i32::from(exponent) - 25),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_read_exactly() {
        for (half, real) in [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x3555, 0.333_251_95),
            (0x0001, 5.960_464_5e-8),
            (0x7bff, 65504.0),
            (0xfc00, f32::NEG_INFINITY),
        ] {
            assert_eq!(f32_from_half(half), real, "{half:#x}");
        }
    }
}

//! Products of an activation with constant weights, the middle of every dense layer and convolution.
//!
//! A live value, a matrix of floats in the Program's order of columns and a bias come in. Scales and offsets of
//! both sides are kept out of the product: what remains in it are bits, codes or whole numbers wherever the
//! values allow, and the rest becomes the reading of the result.

use std::rc::Rc;

use onebit_model::program::{Kind, Op};
use onebit_model::weights::Weights;

use super::constant::Const;
use super::live::{Live, Map, Reach};
use super::lower::Lower;
use super::weights::{Recovered, recover};

/// What an operand's zero point may be to be folded into an integer bias.
const MAX_ZERO_POINT: f64 = 65_536.0;

/// The parts of a product that do not depend on whether it slides.
pub(super) struct Product<'a> {
    /// One row per output, columns in the Program's order.
    pub matrix: &'a Const,
    /// Added to the result, one per row.
    pub bias: Vec<f64>,
    /// The value around the image, where the product is padded.
    pub padding: Option<f64>,
    /// What to call the node in a warning.
    pub title: &'a str,
}

impl Lower<'_> {
    /// Emits the op that `make` builds from weights, integer bias and the element that pads; the result has
    /// this shape and order.
    pub(super) fn product(
        &mut self,
        x: Live,
        product: Product<'_>,
        make: impl FnOnce(Weights, Option<Vec<i32>>, i32) -> Op,
    ) -> Result<Live, String> {
        let recovered = recover(product.matrix)?;
        let x = self.multiplicand(x, &recovered, product.padding)?;
        let pad = match product.padding {
            None => 0,
            Some(value) => self.pad_code(&x, value).ok_or_else(|| {
                format!("it is padded with {value}; whole numbers of at most 2^24 are possible")
            })?,
        };
        let (scale, offset) = x.map.pair().unwrap_or((1.0, 0.0));
        let Recovered {
            weights,
            scale: rows,
            is_snapped,
        } = recovered;
        let is_real = x.kind == Kind::Real || weights.is_real();
        let n_rows = weights.n_rows();
        let zero_point = offset / scale;
        let mut int_bias = None;
        let mut map = Map {
            scale: rows.iter().map(|row| row * scale).collect(),
            offset: product.bias.clone(),
        };
        if offset != 0.0 {
            let sums: Vec<i64> = (0..n_rows)
                .map(|row| weights.row_sums(row))
                .map(|(a, b)| a + b)
                .collect();
            let is_foldable = zero_point.fract() == 0.0 && zero_point.abs() <= MAX_ZERO_POINT;
            let folded: Option<Vec<i32>> = sums
                .iter()
                .map(|sum| i32::try_from(sum.checked_mul(zero_point as i64)?).ok())
                .collect();
            match folded.filter(|_| is_foldable) {
                Some(bias) => int_bias = Some(bias),
                None => {
                    for (row, sum) in sums.iter().enumerate() {
                        map.offset[row] += offset * rows[row] * *sum as f64;
                    }
                }
            }
        }
        let reach = reach(
            &x,
            &weights,
            int_bias.as_deref(),
            pad,
            product.padding.is_some(),
        );
        let id = self.emit(make(weights, int_bias, pad), &[x.id])?;
        if is_snapped {
            let title = product.title;
            self.warn(
                id,
                format!(
                    "The weights of {title:?} differ from one magnitude per output by rounding errors; they were read \
                     as exactly one."
                ),
            );
        }
        let map = match map.pair() {
            Some((scale, offset)) => Map::uniform(scale, offset),
            None => map,
        };
        let kind = if is_real { Kind::Real } else { Kind::Int };
        let reach = reach.filter(|_| !is_real);
        Ok(Live {
            id,
            kind,
            map,
            clip: None,
            rim: None,
            reach,
            ..x
        })
    }

    /// The operand with nothing in its reading that the product cannot keep out of itself.
    fn multiplicand(
        &mut self,
        x: Live,
        recovered: &Recovered,
        padding: Option<f64>,
    ) -> Result<Live, String> {
        let is_padded_right = padding.is_none_or(|value| self.pad_code(&x, value).is_some());
        let keeps = match x.map.pair() {
            _ if x.clip.is_some() || !is_padded_right => false,
            Some((scale, _)) if scale == 0.0 || !scale.is_finite() => false,
            Some((_, offset)) if x.kind != Kind::Real => {
                offset == 0.0 || !recovered.weights.is_real()
            }
            _ => x.map.is_identity(),
        };
        if keeps { Ok(x) } else { self.real(x) }
    }
}

/// What the sums of each row can be, where the operand's elements are few.
fn reach(
    x: &Live,
    weights: &Weights,
    bias: Option<&[i32]>,
    pad: i32,
    is_padded: bool,
) -> Option<Rc<Vec<Reach>>> {
    if weights.is_real() {
        return None;
    }
    let (low, high) = match x.kind {
        Kind::Bits => (-1, 1),
        Kind::Levels(bits) => (0, (1i64 << bits) - 1),
        Kind::Int | Kind::Real => return None,
    };
    let odd_only = matches!(weights, Weights::Bits(_) | Weights::Ternary { .. });
    // Each +-1 is odd, so a sum of n of them changes in steps of two; a padded zero breaks that.
    let is_even_step = x.kind == Kind::Bits && odd_only && (!is_padded || pad != 0);
    let one = |row: usize| {
        let (plus, minus) = weights.row_sums(row);
        let bias = bias.map_or(0, |bias| i64::from(bias[row]));
        Reach {
            min: plus * low + minus * high + bias,
            max: plus * high + minus * low + bias,
            step: if is_even_step { 2 } else { 1 },
        }
    };
    Some(Rc::new((0..weights.n_rows()).map(one).collect()))
}

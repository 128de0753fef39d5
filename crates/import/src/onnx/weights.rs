//! What the weights of a layer are: bits, ternary or 8-bit numbers times a scale per row, or reals.
//!
//! Exporters write binary weights as floats `+-s` with one `s` per output, as whatever folding made of them. A
//! matrix of floats comes in; [`Weights`] and the scales of its rows go out. Nothing is rounded but magnitudes
//! that differ in their last bits, of which the caller learns.

use onebit_model::weights::{BitMatrix, Matrix, Weights};

use super::constant::{Const, Data, check_grown};

/// How far the magnitudes of a row may be apart, relative to the greatest, to count as one.
const SNAP: f64 = 2e-6;

/// Weights, and what their rows are multiplied by.
pub(super) struct Recovered {
    pub weights: Weights,
    /// One per row; all 1 for reals.
    pub scale: Vec<f64>,
    /// Whether magnitudes of a row were not equal to the last bit.
    pub is_snapped: bool,
}

/// Reads a matrix with one row per output.
pub(super) fn recover(matrix: &Const) -> Result<Recovered, String> {
    let &[n_rows, n_cols] = matrix.shape.as_slice() else {
        return Err("its weights are no matrix".into());
    };
    let Data::F32(_) = matrix.data() else {
        return Err("its weights are no floats; onebit reads layers of floats".into());
    };
    check_grown(matrix.n_elements(), matrix.n_held())?;
    let values = matrix.floats();
    if n_rows == 0 || n_cols == 0 {
        return Err("it has no weights".into());
    }
    if values.iter().any(|w| !w.is_finite()) {
        return Err("a weight is not a finite number".into());
    }
    if let Some(found) = signs(&values, n_rows, n_cols) {
        return Ok(found);
    }
    if let Some(found) = integers(matrix, n_rows, n_cols) {
        return Ok(found);
    }
    let weights = Matrix::from_vec(n_rows, n_cols, values).map(Weights::Real);
    let weights = weights.ok_or("its weights do not fill a matrix")?;
    Ok(Recovered {
        weights,
        scale: vec![1.0; n_rows],
        is_snapped: false,
    })
}

/// Bits or ternary weights, if every row has one magnitude besides zero.
fn signs(values: &[f32], n_rows: usize, n_cols: usize) -> Option<Recovered> {
    let mut scale = Vec::with_capacity(n_rows);
    let (mut is_snapped, mut has_zeros) = (false, false);
    for row in values.chunks_exact(n_cols) {
        let magnitudes = || {
            row.iter()
                .filter(|&&w| w != 0.0)
                .map(|w| f64::from(w.abs()))
        };
        let least = magnitudes().fold(f64::INFINITY, f64::min);
        let greatest = magnitudes().fold(0.0, f64::max);
        if greatest == 0.0 {
            // A row of zeros is a row of any bits with scale 0.
            scale.push(0.0);
            continue;
        }
        if greatest - least > SNAP * greatest {
            return None;
        }
        has_zeros |= row.contains(&0.0);
        is_snapped |= least != greatest;
        let is_around_one = least <= 1.0 && 1.0 <= greatest;
        scale.push(if is_around_one {
            1.0
        } else {
            f64::midpoint(least, greatest)
        });
    }
    let value = |row: usize, col: usize| values[row * n_cols + col];
    let sign = BitMatrix::from_fn(n_rows, n_cols, |row, col| value(row, col) > 0.0);
    let weights = if has_zeros {
        let mask = BitMatrix::from_fn(n_rows, n_cols, |row, col| value(row, col) != 0.0);
        Weights::Ternary { sign, mask }
    } else {
        Weights::Bits(sign)
    };
    Some(Recovered {
        weights,
        scale,
        is_snapped,
    })
}

/// 8-bit weights, if a quantiser of the file made them with one scale per row.
fn integers(matrix: &Const, n_rows: usize, n_cols: usize) -> Option<Recovered> {
    let quanta = matrix.quanta()?;
    let codes: Option<Vec<i8>> = quanta
        .codes
        .iter()
        .map(|&code| i8::try_from(code).ok())
        .collect();
    let is_alike = |row: &[f32]| row.iter().all(|scale| scale == &row[0]);
    let mut rows = quanta.scales.chunks_exact(n_cols);
    if !rows.all(is_alike) {
        return None;
    }
    let scale = quanta
        .scales
        .chunks_exact(n_cols)
        .map(|row| f64::from(row[0]))
        .collect();
    let weights = Matrix::from_vec(n_rows, n_cols, codes?).map(Weights::Int8)?;
    Some(Recovered {
        weights,
        scale,
        is_snapped: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(shape: [usize; 2], values: &[f32]) -> Recovered {
        let matrix = Const::new(shape.to_vec(), Data::F32(values.to_vec())).unwrap();
        recover(&matrix).unwrap()
    }

    #[test]
    fn one_magnitude_per_row_is_bits() {
        let found = of([2, 3], &[0.5, -0.5, 0.5, -2.0, -2.0, 2.0]);
        assert!(matches!(found.weights, Weights::Bits(_)));
        assert_eq!(found.scale, [0.5, 2.0]);
    }

    #[test]
    fn zeros_make_ternary_but_a_row_of_zeros_does_not() {
        assert!(matches!(
            of([1, 3], &[0.0, -1.0, 1.0]).weights,
            Weights::Ternary { .. }
        ));
        let found = of([2, 2], &[0.0, 0.0, 1.0, -1.0]);
        assert!(matches!(found.weights, Weights::Bits(_)));
        assert_eq!(found.scale, [0.0, 1.0]);
    }

    #[test]
    fn other_weights_stay_real() {
        let found = of([1, 3], &[0.25, -0.5, 1.0]);
        assert!(matches!(found.weights, Weights::Real(_)));
    }

    #[test]
    fn last_bits_are_snapped_and_told() {
        let found = of([1, 2], &[0.999_999_94, -1.0]);
        assert!(found.is_snapped);
        assert_eq!(found.scale, [1.0]);
    }
}

//! The numbers of a layer, unfolded from the files of its processing elements.
//!
//! In: a [`Folder`] and a row of the tables. Out: weights in -1, 0 and +1 and thresholds, row after row in
//! their natural order. Leaves what thresholds are compared with to `build`.

use std::path::Path;

use onebit_model::weights::Matrix;

use crate::error::ImportError;
use crate::finn::files::{Folder, Part};
use crate::finn::nets::{Layer, Net};

/// A layer's numbers.
pub(super) struct Unfolded {
    /// The rows that are used, with all columns, padding included.
    pub weights: Matrix<i8>,
    /// `[row][k]`, ascending in `k`; empty where the layer has no thresholds.
    pub thresholds: Vec<Vec<i64>>,
}

/// Unfolds layer `layer_idx`, of which the first `n_rows` rows are used.
pub(super) fn unfold(
    path: &Path,
    folder: &Folder,
    net: &Net,
    layer_idx: usize,
    n_rows: usize,
) -> Result<Unfolded, ImportError> {
    let layer = &net.layers[layer_idx];
    let reader = Reader {
        path,
        folder,
        layer,
        layer_idx,
        n_rows,
    };
    let per_row = net.thresholds_per_row(layer_idx);
    let mut weights = vec![0i8; n_rows * layer.cols];
    let mut thresholds = vec![Vec::new(); if per_row > 0 { n_rows } else { 0 }];
    for pe in 0..layer.pe {
        let words = reader.words(pe, Part::Weights, layer.synapse_folds())?;
        for (row, words) in reader
            .rows_of(pe)
            .zip(words.chunks_exact(layer.synapse_folds()))
        {
            let row_weights = &mut weights[row * layer.cols..(row + 1) * layer.cols];
            let synapses = row_weights.chunks_exact_mut(layer.simd);
            for (sf, (synapses, &word)) in synapses.zip(words).enumerate() {
                decode(word, net.weight_bits, synapses).map_err(|problem| {
                    let word_idx = row / layer.pe * layer.synapse_folds() + sf;
                    let reason = format!("word {word_idx} {problem}; get the folder again");
                    let place = folder.place(layer_idx, pe, Part::Weights);
                    ImportError::malformed(path, place, reason)
                })?;
            }
        }
        if per_row > 0 {
            let words = reader.words(pe, Part::Thresholds, per_row)?;
            for (row, words) in reader.rows_of(pe).zip(words.chunks_exact(per_row)) {
                let mut row_thresholds: Vec<i64> =
                    words.iter().map(|&word| word.cast_signed()).collect();
                row_thresholds.sort_unstable();
                thresholds[row] = row_thresholds;
            }
        }
    }
    let weights = Matrix::from_vec(n_rows, layer.cols, weights)
        .expect("the values were allocated for this many rows and columns");
    Ok(Unfolded {
        weights,
        thresholds,
    })
}

struct Reader<'a> {
    path: &'a Path,
    folder: &'a Folder,
    layer: &'a Layer,
    layer_idx: usize,
    n_rows: usize,
}

impl Reader<'_> {
    /// The rows of a processing element that are used, in the order of its words.
    fn rows_of(&self, pe: usize) -> impl Iterator<Item = usize> + use<> {
        (pe..self.n_rows).step_by(self.layer.pe)
    }

    /// The words of a file with `per_row` words for each row of its processing element.
    ///
    /// Folders differ in whether rows that nobody uses are written, so a file may end after the used ones.
    fn words(&self, pe: usize, part: Part, per_row: usize) -> Result<Vec<u64>, ImportError> {
        let place = || self.folder.place(self.layer_idx, pe, part);
        let Some(bytes) = self.folder.file(self.layer_idx, pe, part) else {
            let reason = "is missing; get the folder again";
            return Err(ImportError::malformed(self.path, place(), reason));
        };
        let folds = self.layer.neuron_folds();
        let used_folds = self.n_rows.div_ceil(self.layer.pe);
        let row_bytes = 8 * per_row;
        let is_whole = bytes.len().is_multiple_of(row_bytes);
        if !is_whole || !(used_folds..=folds).contains(&(bytes.len() / row_bytes)) {
            let expected = if used_folds == folds {
                format!("{}", folds * row_bytes)
            } else {
                format!("{} to {}", used_folds * row_bytes, folds * row_bytes)
            };
            let reason = format!(
                "has {} bytes instead of {expected} ({folds} rows of {per_row} words); get the folder again",
                bytes.len()
            );
            return Err(ImportError::malformed(self.path, place(), reason));
        }
        let (words, _) = bytes.as_chunks::<8>();
        Ok(words.iter().map(|&word| u64::from_le_bytes(word)).collect())
    }
}

/// The weights of one word, first synapse in the lowest bits.
fn decode(word: u64, bits: usize, synapses: &mut [i8]) -> Result<(), String> {
    let used = bits * synapses.len();
    if used < 64 && word >> used != 0 {
        return Err(format!(
            "has bits above the {used} of {} weights",
            synapses.len()
        ));
    }
    for (i, synapse) in synapses.iter_mut().enumerate() {
        *synapse = match (bits, (word >> (bits * i)) & ((1 << bits) - 1)) {
            (1, 0) | (2, 3) => -1,
            (2, 0) => 0,
            (_, 1) => 1,
            (_, code) => {
                return Err(format!(
                    "has the weight code {code}, which is not -1, 0 or +1"
                ));
            }
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_decoded_from_the_lowest_bits() {
        let mut one = [0; 3];
        decode(0b101, 1, &mut one).unwrap();
        assert_eq!(one, [1, -1, 1]);
        assert!(
            decode(0b1000, 1, &mut one)
                .unwrap_err()
                .contains("above the 3")
        );
        let mut two = [9; 3];
        decode(0b01_00_11, 2, &mut two).unwrap();
        assert_eq!(two, [-1, 0, 1]);
        assert!(decode(0b10, 2, &mut two).unwrap_err().contains("code 2"));
        let mut full = [0; 64];
        decode(u64::MAX, 1, &mut full).unwrap();
        assert_eq!(full, [1; 64]);
    }
}

//! Weight rows interleaved for the kernels that count.
//!
//! Owns the layout and the repacking. Rows are taken 64 at a time, a *panel*; a panel is
//! `[word][row of the panel]`, so that one vector load reads the same word of neighbouring rows and
//! no horizontal sum is ever needed. The last panel has its rows rounded up to a multiple of 8,
//! filled with zeros.

use crate::aligned::AlignedWords;
use crate::n_words;

/// Rows in a full panel.
pub(crate) const PANEL_ROWS: usize = 64;

/// Rows rounded up to what the layout stores.
pub(crate) const fn padded_rows(n_rows: usize) -> usize {
    n_rows.div_ceil(8) * 8
}

/// Interleaves row-major packed rows into panels.
pub(crate) fn interleave(rows: &[u64], n_rows: usize, n_cols: usize) -> AlignedWords {
    let words = n_words(n_cols);
    assert_eq!(
        rows.len(),
        n_rows * words,
        "words of {n_rows} packed rows of {n_cols} bits"
    );
    let mut panels = AlignedWords::zeros(padded_rows(n_rows) * words);
    for first in (0..n_rows).step_by(PANEL_ROWS) {
        let stored = PANEL_ROWS.min(padded_rows(n_rows) - first);
        let panel = &mut panels[first * words..(first + stored) * words];
        for row in first..n_rows.min(first + PANEL_ROWS) {
            let source = &rows[row * words..(row + 1) * words];
            for (word, line) in source.iter().zip(panel.chunks_exact_mut(stored)) {
                line[row - first] = *word;
            }
        }
    }
    panels
}

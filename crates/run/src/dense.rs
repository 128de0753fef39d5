//! A dense layer made ready: repacked weights, folded thresholds, and the choice of kernel.
//!
//! Owns the algebra from a Program's `dense` and `threshold` to what kernels compute: the number of
//! bits that differ. Leaves the counting to `onebit_bits`.

use std::sync::Arc;

use onebit_bits::dense::{BitRows, Bounds, dense_bits, dense_scores};
use onebit_bits::sliced::{SlicedRows, SlicedScratch, dense_bits_sliced};
use onebit_bits::{Isa, Tier, n_words};
use onebit_model::program::{Kind, ThresholdValues, Thresholds};
use onebit_model::weights::{BitMatrix, Weights};

/// A dense layer, with the thresholds that follow it where they are fused.
#[derive(Clone, Debug)]
pub(crate) struct DenseLayer {
    // Shared by a layer whose sums are compared and the same layer on its own.
    rows: Arc<BitRows>,
    // The answer when no bit differs: the bias plus the greatest sum.
    base: Vec<i32>,
    // 1 for an operand of bits, where each differing bit costs 2, and 0 for one of codes.
    shift: u32,
    n_planes: usize,
    bounds: Option<Bounds>,
    sliced: Option<SlicedRows>,
    // Images from which on the sliced form is used.
    min_sliced: usize,
}

/// Row-major words of a matrix.
fn words_of(matrix: &BitMatrix) -> Vec<u64> {
    (0..matrix.n_rows())
        .flat_map(|row| matrix.row(row).iter().copied())
        .collect()
}

impl DenseLayer {
    /// A layer whose sums are wanted as they are.
    pub(crate) fn new(weights: &Weights, bias: Option<&[i32]>, operand: Kind) -> Self {
        let (n_rows, n_cols) = (weights.n_rows(), weights.n_cols());
        let sign_plane = weights.sign().expect("lower: weights of bits");
        let sign = words_of(sign_plane);
        let rows = match weights {
            Weights::Ternary { mask, .. } => {
                BitRows::ternary(&sign, &words_of(mask), n_rows, n_cols)
            }
            _ => BitRows::bipolar(&sign, n_rows, n_cols),
        };
        let (n_planes, shift) = match operand {
            Kind::Levels(bits) => (usize::from(bits), 0),
            _ => (1, 1),
        };
        let base = (0..n_rows).map(|row| {
            // The sum is greatest when no weighted bit differs from its row: every weight then adds
            // one, or of codes every positive weight adds the greatest code.
            let greatest = match operand {
                Kind::Levels(bits) => sign_plane.count_ones(row) * ((1 << bits) - 1),
                _ => weights.row_nonzero(row),
            };
            greatest as i32 + bias.map_or(0, |bias| bias[row])
        });
        let base = base.collect();
        DenseLayer {
            rows: Arc::new(rows),
            base,
            shift,
            n_planes,
            bounds: None,
            sliced: None,
            min_sliced: usize::MAX,
        }
    }

    /// This layer when its sums are only compared with integer thresholds.
    ///
    /// `weights` are the ones it was made of. `None` when the thresholds are not integers.
    pub(crate) fn compared(
        &self,
        isa: Isa,
        weights: &Weights,
        thresholds: &Thresholds,
    ) -> Option<Self> {
        let ThresholdValues::Int(at) = &thresholds.at else {
            return None;
        };
        let mut layer = self.clone();
        let shift = layer.shift;
        let rows = layer
            .base
            .iter()
            .zip(at)
            .zip(&thresholds.flip)
            .map(|((&base, &at), &flip)| {
                // `base - (total << shift) >= at` holds for every total below this bound.
                let slack = i64::from(base) - i64::from(at);
                let bound = if slack < 0 {
                    0
                } else {
                    (slack as u64 >> shift) + 1
                };
                (bound, flip)
            });
        let bounds = Bounds::new(rows);
        if layer.n_planes == 1 && shift == 1 && pays_sliced(isa, weights) {
            layer.min_sliced = min_sliced_images(isa);
            layer.sliced = weights
                .sign()
                .and_then(|sign| SlicedRows::new(isa, &words_of(sign), weights.n_cols(), &bounds));
        }
        layer.bounds = Some(bounds);
        Some(layer)
    }

    /// The sliced form, where the layer has one.
    pub(crate) fn sliced(&self) -> Option<&SlicedRows> {
        self.sliced.as_ref()
    }

    /// Words that the bit planes of one image of codes take; none for an operand of bits.
    pub(crate) fn plane_words(&self) -> usize {
        if self.shift == 1 {
            0
        } else {
            self.n_planes * n_words(self.rows.n_cols())
        }
    }

    /// Bit planes of the operand.
    pub(crate) fn n_planes(&self) -> usize {
        self.n_planes
    }

    /// Products of single bits for one image.
    pub(crate) fn bit_macs(&self) -> u64 {
        (self.n_planes * self.rows.n_rows() * self.rows.n_cols()) as u64
    }

    /// Bytes of weights that a batch of `m` images reads.
    pub(crate) fn n_bytes(&self, m: usize) -> usize {
        match self.sliced_for(m) {
            Some(sliced) => sliced.n_bytes(),
            None => self.rows.n_bytes(),
        }
    }

    /// The kernel that a batch of `m` images uses.
    pub(crate) fn kernel(&self, m: usize) -> &'static str {
        match (&self.bounds, self.sliced_for(m)) {
            (Some(_), Some(_)) => "dense_bits_sliced",
            (Some(_), None) => "dense_bits",
            (None, _) => "dense_scores",
        }
    }

    fn sliced_for(&self, m: usize) -> Option<&SlicedRows> {
        self.sliced.as_ref().filter(|_| m >= self.min_sliced)
    }

    /// The sums of `m` images: `x` is `[m][n_planes][n_words]`, `out` is `[m][n_rows]`.
    pub(crate) fn scores(&self, isa: Isa, x: &[u64], out: &mut [i32]) {
        dense_scores(
            isa,
            &self.rows,
            x,
            self.n_planes,
            &self.base,
            self.shift,
            out,
        );
    }

    /// The compared sums of `m` images as packed bits; only called on a layer with thresholds.
    pub(crate) fn bits(
        &self,
        isa: Isa,
        x: &[u64],
        m: usize,
        scratch: &mut SlicedScratch,
        out: &mut [u64],
    ) {
        match (self.sliced_for(m), &self.bounds) {
            (Some(sliced), _) => dense_bits_sliced(sliced, x, scratch, out),
            (None, Some(bounds)) => dense_bits(isa, &self.rows, x, self.n_planes, bounds, out),
            (None, None) => unreachable!("plan: a layer without thresholds gives sums"),
        }
    }
}

/// Images from which on tabulating a layer's carries pays.
fn min_sliced_images(isa: Isa) -> usize {
    match isa.tier() {
        Tier::Avx512 => 32,
        _ => 4,
    }
}

/// Whether a large batch of this layer is faster sliced than counted.
fn pays_sliced(isa: Isa, weights: &Weights) -> bool {
    let (Weights::Bits(_), Some(block)) = (weights, SlicedRows::block_rows(isa)) else {
        return false;
    };
    // A block costs the same however few of its rows exist. Without a counting instruction the
    // sliced form has more to win, so it may waste more.
    let computed = weights.n_rows().div_ceil(block) * block;
    match isa.tier() {
        Tier::Avx512 => weights.n_rows() * 8 >= computed * 7,
        _ => weights.n_rows() * 2 >= computed,
    }
}

//! Dense and convolution in binary32, many outputs at a time.
//!
//! Each output's terms are added in column order from +0.0, so reals round as `net` says and integers, which
//! stay below 2^24, are exact. Outputs of neighbouring rows and positions advance together, each with an
//! accumulator of its own. A term of an element 0 outside the image is left out: such a term is +0 or -0, and
//! a sum that began at +0 is never -0, so it would change nothing.

use super::as_floats;
use crate::program::{Conv2d, Kind, Type, Window};
use crate::tensor::Tensor;
use crate::weights::Weights;

/// Rows that are summed together.
const N_LANES: usize = 16;

/// Positions that are summed together where there is more than one.
const N_POSITIONS: usize = 2;

/// The weights of one dense or convolution, laid out so that the sums of many outputs advance together.
pub(super) struct Product {
    // [group][ceil(rows of a group / N_LANES)][columns], each with N_LANES rows; zero past the last row.
    columns: Vec<[f32; N_LANES]>,
    n_rows: usize,
    n_cols: usize,
    // One entry per row.
    bias: Option<Vec<i32>>,
    is_int: bool,
    window: Window,
    groups: usize,
    pad: f32,
    // Height, width and channels of the operand; a dense sees one position.
    size: [usize; 3],
}

impl Product {
    /// A dense over an operand of this type.
    pub(super) fn dense(weights: &Weights, bias: Option<&[i32]>, ty: &Type) -> Self {
        let size = [1, 1, ty.n_elements()];
        Product::new(weights, bias, ty.kind, (Window::new([1, 1]), 1, 0), size)
    }

    /// A convolution over an operand of this type, which is an image.
    pub(super) fn conv2d(conv: &Conv2d, ty: &Type) -> Self {
        let size = [ty.shape[0], ty.shape[1], ty.shape[2]];
        let geometry = (conv.window, conv.groups, conv.pad);
        Product::new(&conv.weights, conv.bias.as_deref(), ty.kind, geometry, size)
    }

    fn new(
        weights: &Weights,
        bias: Option<&[i32]>,
        kind: Kind,
        (window, groups, pad): (Window, usize, i32),
        size: [usize; 3],
    ) -> Self {
        let (n_rows, n_cols) = (weights.n_rows(), weights.n_cols());
        let group_rows = n_rows / groups;
        let n_blocks = group_rows.div_ceil(N_LANES);
        let mut columns = vec![[0.0; N_LANES]; groups * n_blocks * n_cols];
        for row in 0..n_rows {
            let (group, row_of_group) = (row / group_rows, row % group_rows);
            let (block, lane) = (row_of_group / N_LANES, row_of_group % N_LANES);
            let first = (group * n_blocks + block) * n_cols;
            for (col, column) in columns[first..first + n_cols].iter_mut().enumerate() {
                column[lane] = weights.get_real(row, col);
            }
        }
        Product {
            columns,
            n_rows,
            n_cols,
            bias: bias.map(<[i32]>::to_vec),
            is_int: kind != Kind::Real && !weights.is_real(),
            window,
            groups,
            pad: pad as f32,
            size,
        }
    }

    /// The value for one operand: int, or real where it or the weights are.
    pub(super) fn evaluate(&self, operand: &Tensor) -> Tensor {
        let x = as_floats(operand);
        let [height, width, _] = self.size;
        let [out_height, out_width] = self
            .window
            .output([height, width])
            .expect("check_net: the window fits");
        let mut sums = vec![0.0f32; out_height * out_width * self.n_rows];
        for (y, row) in sums.chunks_exact_mut(out_width * self.n_rows).enumerate() {
            for group in 0..self.groups {
                match out_width {
                    1 => self.row_sums::<1>(&x, group, y, row),
                    _ => self.row_sums::<N_POSITIONS>(&x, group, y, row),
                }
            }
        }
        if !self.is_int {
            return Tensor::Real(sums);
        }
        let mut ints: Vec<i32> = sums.into_iter().map(|sum| sum as i32).collect();
        if let Some(bias) = &self.bias {
            for position in ints.chunks_exact_mut(self.n_rows) {
                for (sum, bias) in position.iter_mut().zip(bias) {
                    *sum += bias;
                }
            }
        }
        Tensor::Int(ints)
    }

    /// The sums of one group at all positions of output row `y`; `out` is `[position][row]`.
    fn row_sums<const N: usize>(&self, x: &[f32], group: usize, y: usize, out: &mut [f32]) {
        let [height, _, channels] = self.size;
        let n_taps_row = self.window.kernel[1] * (channels / self.groups);
        let is_seen =
            |tap: &usize| self.pad != 0.0 || self.window.source(0, y, *tap, height).is_some();
        // The kernel rows inside the image are neighbours.
        let first_tap = (0..self.window.kernel[0]).find(is_seen).unwrap_or(0);
        let n_seen = (0..self.window.kernel[0]).filter(is_seen).count();
        let cols = first_tap * n_taps_row..(first_tap + n_seen) * n_taps_row;
        let n_positions = out.len() / self.n_rows;
        let patches = self.patches::<N>(x, group, (y, n_positions), first_tap..first_tap + n_seen);

        let group_rows = self.n_rows / self.groups;
        let n_blocks = group_rows.div_ceil(N_LANES);
        for block in 0..n_blocks {
            let first_col = (group * n_blocks + block) * self.n_cols;
            let weights = &self.columns[first_col + cols.start..first_col + cols.end];
            let first_row = group * group_rows + block * N_LANES;
            let n_rows = N_LANES.min(group_rows - block * N_LANES);
            for position in (0..n_positions).step_by(N) {
                let patch = &patches[position / N * cols.len()..][..cols.len()];
                let sums = block_sums(weights, patch);
                for (position, sums) in (position..n_positions).zip(&sums) {
                    let at = position * self.n_rows + first_row;
                    out[at..at + n_rows].copy_from_slice(&sums[..n_rows]);
                }
            }
        }
    }

    /// What each position of output row `y` sees of a group through these kernel rows:
    /// `[position / N][column]`, each with `N` positions.
    fn patches<const N: usize>(
        &self,
        x: &[f32],
        group: usize,
        (y, n_positions): (usize, usize),
        taps: std::ops::Range<usize>,
    ) -> Vec<[f32; N]> {
        let [height, width, channels] = self.size;
        let group_channels = channels / self.groups;
        let n_cols = taps.len() * self.window.kernel[1] * group_channels;
        let mut patches = vec![[self.pad; N]; n_positions.div_ceil(N) * n_cols];
        for position in 0..n_positions {
            let patch = &mut patches[position / N * n_cols..][..n_cols];
            let mut runs = patch.chunks_exact_mut(group_channels);
            for i in taps.clone() {
                let source_y = self.window.source(0, y, i, height);
                for j in 0..self.window.kernel[1] {
                    let source_x = self.window.source(1, position, j, width);
                    let run = runs.next().expect("one run of channels for each tap");
                    let (Some(source_y), Some(source_x)) = (source_y, source_x) else {
                        continue;
                    };
                    let first = (source_y * width + source_x) * channels + group * group_channels;
                    for (to, &from) in run.iter_mut().zip(&x[first..]) {
                        to[position % N] = from;
                    }
                }
            }
        }
        patches
    }
}

/// The sums of `N_LANES` rows at `N` positions.
fn block_sums<const N: usize>(
    weights: &[[f32; N_LANES]],
    patch: &[[f32; N]],
) -> [[f32; N_LANES]; N] {
    let mut sums = [[0.0f32; N_LANES]; N];
    for (weights, x) in weights.iter().zip(patch) {
        for (sums, x) in sums.iter_mut().zip(x) {
            for (sum, weight) in sums.iter_mut().zip(weights) {
                *sum += weight * x;
            }
        }
    }
    sums
}

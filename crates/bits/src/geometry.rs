//! The shape of a convolution or pool, and the output positions that read the same taps.

use alloc::vec::Vec;

use crate::generic::conv::Rect;
use crate::generic::pixels::{Spot, Tap};

/// The shape of a convolution; pairs are `[height, width]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Rows and columns of an image.
    pub size: [usize; 2],
    /// Channels of an image.
    pub channels: usize,
    /// Rows and columns of an output image.
    pub out: [usize; 2],
    /// Output channels.
    pub rows: usize,
    /// Groups; each reads `channels / groups` channels and makes `rows / groups`.
    pub groups: usize,
    /// Taps.
    pub kernel: [usize; 2],
    /// Step between output positions.
    pub stride: [usize; 2],
    /// Step between taps.
    pub dilation: [usize; 2],
    /// Rows above and columns left of the image.
    pub pads: [usize; 2],
}

/// A run of output coordinates whose taps inside the image are the same.
struct AxisRun {
    at: [usize; 2],
    taps: [usize; 2],
}

impl Geometry {
    /// Positions of an output image.
    pub fn out_px(&self) -> usize {
        self.out[0] * self.out[1]
    }

    /// Coordinates of one axis by the taps they have inside the image.
    fn axis_runs(&self, axis: usize) -> Vec<AxisRun> {
        let mut runs: Vec<AxisRun> = Vec::new();
        for at in 0..self.out[axis] {
            // Taps from the first that is not before the image to the last that is not behind it.
            let (from, step) = (at * self.stride[axis], self.dilation[axis]);
            let first = self.pads[axis].saturating_sub(from).div_ceil(step);
            let reach = (self.size[axis] + self.pads[axis]).saturating_sub(from);
            let end = reach.div_ceil(step).min(self.kernel[axis]);
            let taps = if first < end { [first, end] } else { [0, 0] };
            match runs.last_mut() {
                Some(run) if run.taps == taps => run.at[1] = at + 1,
                _ => runs.push(AxisRun {
                    at: [at, at + 1],
                    taps,
                }),
            }
        }
        runs
    }

    /// Taps that kernels list for all output positions whose windows differ, one list for each way of leaving
    /// the image. A plan refuses geometries with too many: large kernels over small images.
    pub fn n_listed_taps(&self) -> u64 {
        let axis = |axis: usize| {
            let taps = self
                .axis_runs(axis)
                .into_iter()
                .map(|run| run.taps[1] - run.taps[0]);
            taps.map(|n| n as u64).sum::<u64>().max(1)
        };
        axis(0).saturating_mul(axis(1))
    }

    /// Ways of leaving the image: groups of output positions that read the same taps.
    pub fn n_regions(&self) -> u64 {
        self.axis_runs(0).len() as u64 * self.axis_runs(1).len() as u64
    }

    /// Output positions by the taps they read. Positions without any tap are among them.
    pub(crate) fn rects(&self) -> Vec<Rect> {
        let columns = self.axis_runs(1);
        let rows = self.axis_runs(0);
        let rect = |y: &AxisRun, x: &AxisRun| {
            let is_empty = y.taps[0] == y.taps[1] || x.taps[0] == x.taps[1];
            let (ky, kx) = if is_empty {
                ([0, 0], [0, 0])
            } else {
                (y.taps, x.taps)
            };
            Rect {
                y: y.at,
                x: x.at,
                ky,
                kx,
            }
        };
        rows.iter()
            .flat_map(|y| columns.iter().map(move |x| rect(y, x)))
            .collect()
    }

    /// The taps of a rect's windows.
    pub(crate) fn spot(&self, rect: Rect) -> Spot {
        let n = self.channels;
        let (down, across) = (self.dilation[0] * self.size[1] * n, self.dilation[1] * n);
        let mut taps = Vec::new();
        for ky in rect.ky[0]..rect.ky[1] {
            for kx in rect.kx[0]..rect.kx[1] {
                taps.push(Tap {
                    x: (ky - rect.ky[0]) * down + (kx - rect.kx[0]) * across,
                    tap: ky * self.kernel[1] + kx,
                });
            }
        }
        let start = match taps.is_empty() {
            true => 0,
            false => {
                let y = rect.y[0] * self.stride[0] + rect.ky[0] * self.dilation[0] - self.pads[0];
                let x = rect.x[0] * self.stride[1] + rect.kx[0] * self.dilation[1] - self.pads[1];
                (y * self.size[1] + x) * n
            }
        };
        Spot { rect, start, taps }
    }
}

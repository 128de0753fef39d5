//! Loops over the weights of a layer: by element, by row, and sums of a row.
//!
//! In: values `[rows][cols]`. Out: new values, or one result per row, the same on any number of threads.

use rayon::prelude::*;

use crate::simd::{CHUNK, for_row_groups, vectorized};

/// `f(value, index)` of each value.
pub(super) fn map(values: &[f32], f: impl Fn(f32, u32) -> f32 + Sync + Copy) -> Vec<f32> {
    let mut out = vec![0.0f32; values.len()];
    out.par_chunks_mut(CHUNK)
        .zip(values.par_chunks(CHUNK))
        .enumerate()
        .for_each(|(chunk, (out, values))| {
            let first = (chunk * CHUNK) as u32;
            vectorized(
                #[inline(always)]
                || {
                    for (i, (o, &v)) in out.iter_mut().zip(values).enumerate() {
                        *o = f(v, first.wrapping_add(i as u32));
                    }
                },
            );
        });
    out
}

/// Multiplies each gradient by `f` of its weight.
pub(super) fn multiply(grad: &mut [f32], z: &[f32], f: impl Fn(f32) -> f32 + Sync + Copy) {
    grad.par_chunks_mut(CHUNK)
        .zip(z.par_chunks(CHUNK))
        .for_each(|(grad, z)| {
            vectorized(
                #[inline(always)]
                || {
                    for (g, &w) in grad.iter_mut().zip(z) {
                        *g *= f(w);
                    }
                },
            );
        });
}

/// `f(row index, row)` of each row.
pub(super) fn per_row<T: Send + Copy + Default>(
    values: &[f32],
    cols: usize,
    f: impl Fn(usize, &[f32]) -> T + Sync + Send,
) -> Vec<T> {
    let mut out = vec![T::default(); values.len() / cols.max(1)];
    for_row_groups(&mut out, 1, |first, out| {
        vectorized(
            #[inline(always)]
            || {
                for (i, o) in out.iter_mut().enumerate() {
                    let r = first + i;
                    *o = f(r, &values[r * cols..][..cols]);
                }
            },
        );
    });
    out
}

/// `f(row index, row)` on each row.
pub(super) fn edit_rows(
    values: &mut [f32],
    cols: usize,
    f: impl Fn(usize, &mut [f32]) + Sync + Send,
) {
    for_row_groups(values, cols, |first, rows| {
        vectorized(
            #[inline(always)]
            || {
                for (i, row) in rows.chunks_exact_mut(cols.max(1)).enumerate() {
                    f(first + i, row);
                }
            },
        );
    });
}

/// Sum of `f`, in lanes so that it vectorises; the order depends on the length alone.
#[inline(always)]
pub(super) fn sum(values: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    sum_pairs(values, values, |v, _| f(v))
}

/// Sum of `f(a, b)`, as [`sum`].
#[inline(always)]
pub(super) fn sum_pairs(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    const LANES: usize = 32;
    let mut lanes = [0.0f32; LANES];
    let (a_blocks, b_blocks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let tail = a_blocks.remainder().iter().zip(b_blocks.remainder());
    let tail: f32 = tail.map(|(&a, &b)| f(a, b)).sum();
    for (a, b) in a_blocks.zip(b_blocks) {
        for i in 0..LANES {
            lanes[i] += f(a[i], b[i]);
        }
    }
    lanes.iter().sum::<f32>() + tail
}

pub(super) fn total(sums: &[f32]) -> f32 {
    sums.iter().map(|s| f64::from(*s)).sum::<f64>() as f32
}

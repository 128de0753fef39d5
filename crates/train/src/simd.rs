//! Elementwise loops compiled once per instruction set, and split over threads.
//!
//! In: slices and closures over rows or chunks. Out: the slices, filled. Work is cut into chunks whose
//! borders do not depend on the number of threads, so a result never does either.

use rayon::prelude::*;

/// Elements per chunk of a flat elementwise loop.
pub const CHUNK: usize = 32 * 1024;

/// Row groups that a column-wise reduction is cut into.
pub const ROW_GROUPS: usize = 8;

/// Long enough that the checks before an inner loop cost little.
const LEAST_RUN: usize = 256;

/// Runs `f` compiled for the best instruction set of this CPU.
#[inline(always)]
pub fn vectorized<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}

/// Calls `f(first_row, rows)` for groups of whole rows of `out`, in parallel.
pub fn for_row_groups<T: Send>(
    out: &mut [T],
    n_cols: usize,
    f: impl Fn(usize, &mut [T]) + Sync + Send,
) {
    let rows = rows_per_group(out.len() / n_cols.max(1));
    out.par_chunks_mut(rows * n_cols.max(1))
        .enumerate()
        .for_each(|(group, chunk)| f(group * rows, chunk));
}

/// Rows in each of the [`ROW_GROUPS`] groups.
pub fn rows_per_group(n_rows: usize) -> usize {
    n_rows.div_ceil(ROW_GROUPS).max(1)
}

/// Sums `per_group(first_row, end_row)` over the row groups, always in the same order.
pub fn sum_row_groups(
    n_rows: usize,
    n_sums: usize,
    per_group: impl Fn(usize, usize, &mut [f32]) + Sync + Send,
) -> Vec<f32> {
    let rows = rows_per_group(n_rows);
    let partial: Vec<Vec<f32>> = (0..n_rows.div_ceil(rows))
        .into_par_iter()
        .map(|group| {
            let mut sums = vec![0.0; n_sums];
            per_group(group * rows, ((group + 1) * rows).min(n_rows), &mut sums);
            sums
        })
        .collect();
    let mut total = vec![0.0; n_sums];
    for sums in &partial {
        for (t, s) in total.iter_mut().zip(sums) {
            *t += s;
        }
    }
    total
}

/// Elements of whole rows that a loop over columns takes at once: one row, or several of few columns, as an inner loop
/// shorter than the registers it is compiled for falls back to single elements.
pub fn run_of_rows(n_cols: usize) -> usize {
    n_cols * (LEAST_RUN / n_cols.max(1)).max(1)
}

/// The numbers of each column for every row of a run.
pub fn for_run(per_column: &[f32]) -> Vec<f32> {
    let run = run_of_rows(per_column.len());
    per_column.iter().copied().cycle().take(run).collect()
}

/// Adds up the rows of each run: `[n][run]` to `[n][n_cols]`.
pub fn fold_runs(sums: &[f32], n_cols: usize) -> Vec<f32> {
    let mut folded = Vec::with_capacity(sums.len());
    for run in sums.chunks_exact(run_of_rows(n_cols)) {
        folded.extend((0..n_cols).map(|c| run.iter().skip(c).step_by(n_cols).sum::<f32>()));
    }
    folded
}

/// A number in `0..2^32` that depends on `seed` and `index` alone (a 32-bit finaliser by multiplication
/// and shifts, cheap enough to vectorise).
#[inline(always)]
pub fn hash32(seed: u32, index: u32) -> u32 {
    let mut x = index.wrapping_mul(0x9E37_79B9) ^ seed;
    x ^= x >> 16;
    x = x.wrapping_mul(0x21F0_AAAD);
    x ^= x >> 15;
    x = x.wrapping_mul(0x735A_2D97);
    x ^ (x >> 15)
}

/// tanh by a rational function of degree 13 over 6, within 1e-6 of the exact value.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let x = x.clamp(-7.905_311, 7.905_311);
    let x2 = x * x;
    let mut p = -2.760_768_5e-16f32;
    for c in [
        2.000_188e-13,
        -8.604_672e-11,
        5.122_297e-8,
        1.485_722_4e-5,
        6.372_619e-4,
        4.893_525e-3f32,
    ] {
        p = p * x2 + c;
    }
    let mut q = 1.198_258_4e-6f32;
    for c in [1.185_347_1e-4, 2.268_434_6e-3, 4.893_525_3e-3f32] {
        q = q * x2 + c;
    }
    x * p / q
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tanh_is_within_1e_6_everywhere() {
        for i in -120_000..=120_000 {
            let x = i as f32 * 1e-4;
            assert!(
                (tanh(x) - x.tanh()).abs() < 1e-6,
                "x = {x}: {} against {}",
                tanh(x),
                x.tanh()
            );
        }
        assert!((tanh(f32::MAX) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn runs_hold_whole_rows_and_fold_to_columns() {
        for n_cols in [1, 3, 16, 33, 63, 64, 65, 200] {
            let run = run_of_rows(n_cols);
            assert!(
                run.is_multiple_of(n_cols) && run > LEAST_RUN - n_cols,
                "{n_cols}"
            );
            let per_column: Vec<f32> = (0..n_cols).map(|c| c as f32).collect();
            let repeated = for_run(&per_column);
            assert!((0..run).all(|i| repeated[i] == (i % n_cols) as f32));
            let both = [repeated.clone(), vec![1.0; run]].concat();
            let n_rows = (run / n_cols) as f32;
            let expected = per_column.iter().map(|c| c * n_rows);
            let expected: Vec<f32> = expected.chain(vec![n_rows; n_cols]).collect();
            assert_eq!(fold_runs(&both, n_cols), expected);
        }
    }

    #[test]
    fn row_group_sums_cover_each_row_once() {
        for n_rows in [1, 7, 8, 9, 64, 65] {
            let sums = sum_row_groups(n_rows, 1, |start, end, sums| {
                sums[0] += (start..end).map(|r| r as f32).sum::<f32>();
            });
            assert_eq!(sums[0], (0..n_rows).map(|r| r as f32).sum::<f32>());
        }
    }
}

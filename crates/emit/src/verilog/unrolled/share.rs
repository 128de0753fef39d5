//! Partial sums that several rows have in common.
//!
//! The sums of a layer's rows come in. Six literals that two rows add with the same signs, or with opposite ones, are
//! counted once: their terms become the three bits of the count. Rows that have most columns share blocks of six
//! neighbours, of which there are only 32 patterns; sparse rows share what pairs of them have in common.

use std::cmp::Ordering;

use super::linear::{Sum, bits_of};
use super::netlist::{MAX_INPUTS, Netlist};

/// Most terms that the pairs of a layer's rows may have together for all of them to be compared.
const MAX_COMPARED: usize = 30_000_000;

/// Replaces what rows have in common by counts.
pub(super) fn share(netlist: &mut Netlist, rows: &mut [Sum]) {
    let mut columns: Vec<u32> = rows
        .iter()
        .flat_map(|row| row.terms.keys().copied())
        .collect();
    columns.sort_unstable();
    columns.dedup();
    let n_terms: usize = rows.iter().map(|row| row.terms.len()).sum();
    if 2 * n_terms > rows.len() * columns.len() {
        for block in columns.chunks_exact(MAX_INPUTS) {
            share_block(netlist, rows, block);
        }
    } else if n_terms * rows.len() <= MAX_COMPARED {
        share_pairs(netlist, rows);
    }
}

/// The coefficients of a row at some nodes, if all are there and of one magnitude; the first made positive.
fn pattern(row: &Sum, nodes: &[u32]) -> Option<(Vec<bool>, i64)> {
    let coefficients: Option<Vec<i64>> = nodes
        .iter()
        .map(|node| row.terms.get(node).copied())
        .collect();
    let coefficients = coefficients?;
    let first = coefficients[0];
    let is_even = coefficients.iter().all(|c| c.abs() == first.abs());
    is_even.then(|| (coefficients.iter().map(|c| *c != first).collect(), first))
}

/// Counts the block in every row that has all of it.
fn share_block(netlist: &mut Netlist, rows: &mut [Sum], nodes: &[u32]) {
    for row in rows.iter_mut() {
        if let Some((differs, first)) = pattern(row, nodes) {
            replace(netlist, row, nodes, &differs, first);
        }
    }
}

/// Replaces the terms of `nodes` by the bits of their count; equal patterns give equal nodes.
fn replace(netlist: &mut Netlist, row: &mut Sum, nodes: &[u32], differs: &[bool], first: i64) {
    let mut count = Sum::default();
    for (&node, &is_inverted) in nodes.iter().zip(differs) {
        row.terms.remove(&node);
        count.add_lit(super::netlist::Lit { node, is_inverted }, 1);
        if is_inverted {
            // `-first * x` is `first * (1 - x) - first`.
            row.constant -= first;
        }
    }
    for (place, bit) in bits_of(netlist, &count, 3).into_iter().enumerate() {
        row.add_lit(bit, first << place);
    }
}

/// The nodes that two rows add with equal (or, if `opposite`, with opposite) coefficients.
fn common(a: &Sum, b: &Sum, opposite: bool) -> Vec<u32> {
    let wanted = |c: i64| if opposite { -c } else { c };
    let (small, large) = if a.terms.len() <= b.terms.len() {
        (a, b)
    } else {
        (b, a)
    };
    let shared = small
        .terms
        .iter()
        .filter(|(node, c)| large.terms.get(node) == Some(&wanted(**c)));
    shared.map(|(node, _)| *node).collect()
}

/// How many nodes two rows add with equal and with opposite coefficients; terms ascend by node.
fn n_common(a: &[(u32, i64)], b: &[(u32, i64)]) -> [usize; 2] {
    let (mut i, mut j, mut n) = (0, 0, [0, 0]);
    while i < a.len() && j < b.len() {
        match a[i].0.cmp(&b[j].0) {
            Ordering::Less => i += 1,
            Ordering::Greater => j += 1,
            Ordering::Equal => {
                n[0] += usize::from(a[i].1 == b[j].1);
                n[1] += usize::from(a[i].1 == -b[j].1);
                i += 1;
                j += 1;
            }
        }
    }
    n
}

/// Goes through the pairs of rows, those with most in common first.
fn share_pairs(netlist: &mut Netlist, rows: &mut [Sum]) {
    let terms =
        |row: &Sum| -> Vec<(u32, i64)> { row.terms.iter().map(|(&node, &c)| (node, c)).collect() };
    let lists: Vec<Vec<(u32, i64)>> = rows.iter().map(terms).collect();
    let mut pairs = Vec::new();
    for i in 0..rows.len() {
        for j in 0..i {
            for (n, opposite) in n_common(&lists[i], &lists[j])
                .into_iter()
                .zip([false, true])
            {
                if n >= MAX_INPUTS {
                    pairs.push((n, i, j, opposite));
                }
            }
        }
    }
    pairs.sort_unstable_by(|a, b| b.cmp(a));
    for (_, i, j, opposite) in pairs {
        if rows[i].terms.len().min(rows[j].terms.len()) < MAX_INPUTS {
            continue;
        }
        let nodes = common(&rows[i], &rows[j], opposite);
        for block in nodes.chunks_exact(MAX_INPUTS) {
            let Some((differs, _)) = pattern(&rows[i], block) else {
                continue;
            };
            for row in rows.iter_mut() {
                if let Some((others, first)) = pattern(row, block)
                    && others == differs
                {
                    replace(netlist, row, block, &differs, first);
                }
            }
        }
    }
}

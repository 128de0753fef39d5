//! Seeded, stratified splits.
//!
//! In: a [`Split`], a count and a seed. Out: two disjoint splits that hold every example once. The generator
//! is SplitMix64, written here in ten lines, because a recipe's split must stay the same for as long as its
//! recorded accuracy is quoted, and the `rand` crates do not promise equal draws across their versions.

use crate::set::Split;

/// Steele, Lea and Flood's SplitMix64: small, seedable by any number, never changed.
#[derive(Clone, Debug)]
pub struct SplitMix64 {
    state: u64,
}

impl SplitMix64 {
    /// A generator that repeats its sequence for an equal `seed`.
    pub fn new(seed: u64) -> Self {
        SplitMix64 { state: seed }
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = self.state;
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..n`, from the high half of a 64 by 64 bit product; its bias is below `n / 2^64`.
    /// Gives 0 for `n = 0`.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next_u64()) * n as u128) >> 64) as usize
    }

    /// Fisher and Yates' shuffle, last element first.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// Takes `n_val` examples out for validation: `(rest, validation)`, both in the order of `split`.
///
/// The choice is stratified: a class gives in proportion to its size, by largest remainder, and keeps one
/// example as long as others can give. An `n_val` above the number of examples takes them all.
pub fn split_validation(split: &Split, n_val: usize, seed: u64) -> (Split, Split) {
    let taken = choose(&split.labels, n_val.min(split.len()), seed);
    let rest: Vec<usize> = (0..split.len()).filter(|&i| !taken[i]).collect();
    let val: Vec<usize> = (0..split.len()).filter(|&i| taken[i]).collect();
    (split.select(&rest), split.select(&val))
}

/// For each example, whether it is among the `n_taken` chosen.
fn choose(labels: &[u16], n_taken: usize, seed: u64) -> Vec<bool> {
    let n_classes = labels
        .iter()
        .max()
        .map_or(0, |&label| usize::from(label) + 1);
    let mut members: Vec<Vec<usize>> = vec![Vec::new(); n_classes];
    for (i, &label) in labels.iter().enumerate() {
        members[usize::from(label)].push(i);
    }
    let sizes: Vec<usize> = members.iter().map(Vec::len).collect();
    let quotas = quotas(&sizes, n_taken);
    let mut rng = SplitMix64::new(seed);
    let mut taken = vec![false; labels.len()];
    for (class, quota) in members.iter_mut().zip(quotas) {
        rng.shuffle(class);
        for &i in &class[..quota] {
            taken[i] = true;
        }
    }
    taken
}

/// How many each class gives; the sum is `n_taken`, which is at most the sum of `sizes`.
fn quotas(sizes: &[usize], n_taken: usize) -> Vec<usize> {
    let total: u128 = sizes.iter().map(|&size| size as u128).sum();
    let exact = |size: usize| n_taken as u128 * size as u128;
    let mut quotas: Vec<usize> = sizes
        .iter()
        .map(|&size| (exact(size).checked_div(total).unwrap_or(0) as usize).min(size))
        .collect();
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|&c| core::cmp::Reverse(exact(sizes[c]).checked_rem(total).unwrap_or(0)));
    let mut missing = n_taken - quotas.iter().sum::<usize>();
    for kept in [1, 0] {
        while missing > 0 {
            let before = missing;
            for &c in &order {
                if missing > 0 && quotas[c] + kept < sizes[c] {
                    quotas[c] += 1;
                    missing -= 1;
                }
            }
            if missing == before {
                break;
            }
        }
    }
    quotas
}

//! The search that makes cuts exact: where a rule on reals begins to hold.
//!
//! A rule comes in that stays true once it is; the least binary32 number that satisfies it goes out. Rules, and what
//! is cut with the number, are left to the importers.

/// The least binary32 number for which `holds` holds, which then holds for every greater one; infinity where
/// it holds for none.
pub(crate) fn least_real(holds: impl Fn(f32) -> bool) -> f32 {
    // Binary32 numbers in ascending order are these integers in ascending order.
    let number = |key: i32| {
        f32::from_bits(if key < 0 {
            (key ^ i32::MAX) as u32
        } else {
            key as u32
        })
    };
    let key = |x: f32| {
        let bits = x.to_bits() as i32;
        if bits < 0 { bits ^ i32::MAX } else { bits }
    };
    let (mut low, mut high) = (
        i64::from(key(f32::NEG_INFINITY)),
        i64::from(key(f32::INFINITY)),
    );
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(number(middle as i32)) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    number(low as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_real_is_exact() {
        for cut in [
            -1.5f32,
            0.1,
            3.0e-39,
            -2.0e-41,
            1.0e30,
            f32::NEG_INFINITY,
            f32::INFINITY,
        ] {
            assert_eq!(least_real(|x| x >= cut), cut);
        }
        let half_even = least_real(|x: f32| (x / 0.3).round_ties_even() >= 2.0);
        assert!((half_even / 0.3).round_ties_even() >= 2.0);
        assert!((half_even.next_down() / 0.3).round_ties_even() < 2.0);
    }
}

//! Every training kernel of every tier this CPU has, against the scalar twin and the definition.

use onebit_bits::{Isa, n_words, train};

/// A small generator (xorshift), so that a failing shape can be run again from its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
    /// A float from a set that holds every edge of the sign rules.
    fn float(&mut self) -> f32 {
        [
            0.0,
            -0.0,
            1.0,
            -1.0,
            f32::MIN_POSITIVE,
            -1e-40,
            1e-40,
            f32::INFINITY,
            f32::NEG_INFINITY,
            -2.5,
            f32::NAN,
        ][self.below(11)]
    }
    fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.float()).collect()
    }
    fn ternary(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| [0.0, 1.0, -1.0][self.below(3)]).collect()
    }
}

fn packed(values: &[f32], n_cols: usize) -> Vec<u64> {
    let mut words = vec![0; values.len() / n_cols * n_words(n_cols)];
    train::pack_signs(Isa::SCALAR, values, n_cols, &mut words);
    words
}

fn packed_ternary(values: &[f32], n_cols: usize) -> (Vec<u64>, Vec<u64>) {
    let n = values.len() / n_cols * n_words(n_cols);
    let (mut sign, mut mask) = (vec![0; n], vec![0; n]);
    train::pack_nonzero(Isa::SCALAR, values, n_cols, &mut sign, &mut mask);
    (sign, mask)
}

#[test]
fn packing_follows_the_sign_rules() {
    for seed in 1..=300u64 {
        let mut random = Random(seed * 0x9E37_79B9);
        let (rows, n_cols) = (1 + random.below(4), 1 + random.below(300));
        let values = random.floats(rows * n_cols);
        for isa in Isa::available() {
            let n = rows * n_words(n_cols);
            let (mut signs, mut sign, mut mask) = (vec![!0; n], vec![!0; n], vec![!0; n]);
            train::pack_signs(isa, &values, n_cols, &mut signs);
            train::pack_nonzero(isa, &values, n_cols, &mut sign, &mut mask);
            for bit in 0..n * 64 {
                let (row, col) = (bit / 64 / n_words(n_cols), bit % (64 * n_words(n_cols)));
                let value = if col < n_cols {
                    Some(values[row * n_cols + col])
                } else {
                    None
                };
                let get = |words: &[u64]| words[bit / 64] >> (bit % 64) & 1 == 1;
                assert_eq!(
                    get(&signs),
                    value.is_some_and(|v| v >= 0.0),
                    "{isa:?} seed {seed} bit {bit} {value:?}"
                );
                assert_eq!(
                    get(&sign),
                    value.is_some_and(|v| v > 0.0),
                    "{isa:?} seed {seed} bit {bit} {value:?}"
                );
                assert_eq!(
                    get(&mask),
                    value.is_some_and(|v| v != 0.0),
                    "{isa:?} seed {seed} bit {bit} {value:?}"
                );
            }
        }
    }
}

#[test]
fn unpacking_returns_what_was_packed() {
    for seed in 1..=300u64 {
        let mut random = Random(seed * 0x9E37_79B9);
        let (rows, n_cols) = (1 + random.below(4), 1 + random.below(300));
        let values = random.ternary(rows * n_cols);
        let bipolar: Vec<f32> = values
            .iter()
            .map(|&v| if v >= 0.0 { 1.0 } else { -1.0 })
            .collect();
        let words = packed(&values, n_cols);
        let (sign, mask) = packed_ternary(&values, n_cols);
        for isa in Isa::available() {
            let mut back = vec![9.0; values.len()];
            train::unpack_signs(isa, &words, n_cols, &mut back);
            assert_eq!(back, bipolar, "{isa:?} seed {seed}");
            train::unpack_ternary(isa, &sign, &mask, n_cols, &mut back);
            assert_eq!(back, values, "{isa:?} seed {seed}");
        }
    }
}

#[test]
fn products_equal_the_float_definition() {
    for seed in 1..=200u64 {
        let mut random = Random(seed * 0x9E37_79B9);
        let n_cols = if seed % 10 == 0 {
            2000 + random.below(2200)
        } else {
            1 + random.below(300)
        };
        let (m, n) = (1 + random.below(9), 1 + random.below(150));
        let (x, w) = (random.ternary(m * n_cols), random.ternary(n * n_cols));
        let sign = |v: f32| if v >= 0.0 { 1.0f32 } else { -1.0 };
        let dot = |f: &dyn Fn(f32) -> f32| -> Vec<f32> {
            let entry = |i: usize, j: usize| {
                (0..n_cols)
                    .map(|c| f(x[i * n_cols + c]) * f(w[j * n_cols + c]))
                    .sum()
            };
            (0..m * n).map(|at| entry(at / n, at % n)).collect()
        };
        let (bipolar, ternary) = (dot(&sign), dot(&|v| v));
        let (xb, wb) = (packed(&x, n_cols), packed(&w, n_cols));
        let ((xs, xm), (ws, wm)) = (packed_ternary(&x, n_cols), packed_ternary(&w, n_cols));
        for isa in Isa::available() {
            let mut out = vec![0.5; m * n];
            train::xnor_gemm_f32(isa, &xb, &wb, n_cols, m, n, &mut out);
            assert_eq!(
                out, bipolar,
                "{isa:?} seed {seed} m {m} n {n} cols {n_cols}"
            );
            train::ternary_gemm_f32(isa, &xs, &xm, &ws, &wm, n_cols, m, n, &mut out);
            assert_eq!(
                out, ternary,
                "{isa:?} seed {seed} m {m} n {n} cols {n_cols}"
            );
        }
    }
}

//! The constants of a module: unique names and the narrowest integers.

use std::collections::BTreeSet;

use onebit_model::weights::BitMatrix;

use crate::loops::{Constant, Data, Elem, Expr, WordBits};

/// The constants so far.
pub(super) struct Constants {
    word: WordBits,
    names: BTreeSet<String>,
    pub(super) list: Vec<Constant>,
}

impl Constants {
    pub(super) fn new(word: WordBits) -> Self {
        Constants {
            word,
            names: BTreeSet::new(),
            list: Vec::new(),
        }
    }

    fn push(&mut self, layer: &str, part: &str, elem: Elem, data: Data) -> Expr {
        let about = format!("{layer}: {part}");
        let plain = format!("{}_{part}", identifier(layer));
        let mut name = plain.clone();
        for n in 2.. {
            if self.names.insert(name.clone()) {
                break;
            }
            name = format!("{plain}_{n}");
        }
        self.list.push(Constant {
            name,
            about,
            elem,
            data,
        });
        Expr::Constant(self.list.len() - 1, elem)
    }

    /// Integers in the narrowest type that holds them all.
    pub(super) fn ints(&mut self, layer: &str, part: &str, ints: Vec<i32>) -> (Expr, Elem) {
        let elem = narrowest(&ints);
        (self.push(layer, part, elem, Data::Ints(ints)), elem)
    }

    /// Integers of 32 bits.
    pub(super) fn sizes(&mut self, layer: &str, part: &str, sizes: &[usize]) -> Expr {
        let size = |&size: &usize| i32::try_from(size).expect("limits: sizes are at most 2^24");
        let ints = sizes.iter().map(size).collect();
        self.push(layer, part, Elem::I32, Data::Ints(ints))
    }

    /// Integers of one byte.
    pub(super) fn bytes(&mut self, layer: &str, part: &str, elem: Elem, ints: Vec<i32>) -> Expr {
        self.push(layer, part, elem, Data::Ints(ints))
    }

    pub(super) fn reals(&mut self, layer: &str, part: &str, reals: &[f32]) -> Expr {
        self.push(layer, part, Elem::F32, Data::Reals(reals.to_vec()))
    }

    /// Rows of bits, each from a word of its own on.
    pub(super) fn bits(&mut self, layer: &str, part: &str, matrix: &BitMatrix) -> Expr {
        let words = (0..matrix.n_rows())
            .flat_map(|row| words_of(matrix.row(row), matrix.n_cols(), self.word))
            .collect();
        self.push(layer, part, Elem::Word, Data::Words(words))
    }
}

/// The words of a row of this many bits.
fn words_of(row: &[u64], n_cols: usize, word: WordBits) -> Vec<u64> {
    match word {
        WordBits::W64 => row.to_vec(),
        WordBits::W32 => {
            let halves = row.iter().flat_map(|word| [word & 0xffff_ffff, word >> 32]);
            halves.take(n_cols.div_ceil(32)).collect()
        }
    }
}

fn narrowest(ints: &[i32]) -> Elem {
    let fits = |low: i32, high: i32| ints.iter().all(|x| (low..=high).contains(x));
    if fits(0, 255) {
        Elem::U8
    } else if fits(-128, 127) {
        Elem::I8
    } else if fits(0, 65_535) {
        Elem::U16
    } else if fits(-32_768, 32_767) {
        Elem::I16
    } else {
        Elem::I32
    }
}

/// A layer's name as an identifier; `ob_` is the beginning of kernels (`ob_v_` and `ob_p_` of locals).
pub(super) fn identifier(name: &str) -> String {
    let plain: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    let is_taken =
        plain.starts_with(|c: char| c.is_ascii_digit() || c == '_') || plain.starts_with("ob_");
    if is_taken {
        format!("layer_{plain}")
    } else {
        plain
    }
}

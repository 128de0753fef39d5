//! The kernels: one function per form of an op, shared by all layers of that form.
//!
//! Owns the list of those in use, and how elements of each [`Form`] are read. Sizes and channel counts are
//! parameters; kinds and integer widths are part of a kernel's name.

pub(super) mod bits;
pub(super) mod elementwise;
pub(super) mod moves;
pub(super) mod pools;
pub(super) mod products;

use onebit_model::program::Kind;

use crate::loops::build::{Build, Value};
use crate::loops::{Elem, Expr, Function, Ty, Var, WordBits};

/// How a value's elements lie in memory, row-major and channels last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Packed: element `i` is bit `i % W` of word `i / W`, the bits past the last are 0.
    Bits,
    /// -1, 0 or +1 in a byte: bits of a window with pads of 0.
    Signs,
    /// A code in a byte.
    Codes,
    /// A 32-bit integer.
    Ints,
    /// A binary32 number.
    Reals,
}

impl Form {
    pub(super) fn of(kind: Kind) -> Self {
        match kind {
            Kind::Bits => Form::Bits,
            Kind::Levels(_) => Form::Codes,
            Kind::Int => Form::Ints,
            Kind::Real => Form::Reals,
        }
    }

    pub(super) fn elem(self) -> Elem {
        match self {
            Form::Bits => Elem::Word,
            Form::Signs => Elem::I8,
            Form::Codes => Elem::U8,
            Form::Ints => Elem::I32,
            Form::Reals => Elem::F32,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Form::Bits => "bits",
            Form::Signs => "signs",
            Form::Codes => "codes",
            Form::Ints => "ints",
            Form::Reals => "reals",
        }
    }

    /// Bytes of `n` elements.
    pub(super) fn n_bytes(self, n: usize, word: WordBits) -> usize {
        let n = match self {
            Form::Bits => n.div_ceil(word.bits() as usize),
            _ => n,
        };
        n * self.elem().n_bytes(word)
    }
}

/// The kernels in use, callees before callers.
pub(super) struct Kernels {
    pub(super) word: WordBits,
    pub(super) functions: Vec<Function>,
}

impl Kernels {
    pub(super) fn new(word: WordBits) -> Self {
        Kernels {
            word,
            functions: Vec::new(),
        }
    }

    /// The kernel of this name, made if it is not there yet.
    fn get(
        &mut self,
        name: String,
        about: &[&str],
        make: impl FnOnce(&mut Kernels, Build) -> Function,
    ) -> String {
        if !self.functions.iter().any(|kernel| kernel.name == name) {
            let function = make(self, Build::new(&name, about));
            self.functions.push(function);
        }
        name
    }

    /// log2 of the bits of a word.
    fn log(&self) -> i32 {
        self.word.bits().ilog2() as i32
    }

    fn bits(&self) -> i32 {
        self.word.bits().cast_signed()
    }

    /// Bit `i` of packed bits as a word that is 0 or 1.
    fn bit_at(&self, x: Var, i: Expr) -> Expr {
        let word = x.at(i.clone() >> self.log());
        (word >> (i & (self.bits() - 1))) & 1
    }

    /// Element `i` as the integer it stands for; a real as it is.
    fn int_at(&self, form: Form, x: Var, i: Expr) -> Expr {
        match form {
            Form::Bits => self.bit_at(x, i).to(Ty::I32) * 2 - 1,
            _ => x.at(i),
        }
    }

    /// Element `i` as binary32.
    fn real_at(&self, form: Form, x: Var, i: Expr) -> Expr {
        self.int_at(form, x, i).to(Ty::F32)
    }
}

//! Runs of packed bits: written one by one, copied and filled at any bit offset.
//!
//! Everything appends: what lies in the word before the first bit stays, what lies after the last is 0.

use super::{Form, Kernels};
use crate::loops::build::{Build, Value};
use crate::loops::{Elem, Expr, Ty, Var};

/// Where bits are written one after the other.
pub(super) struct BitWriter {
    out: Var,
    word: Var,
    n_written: Var,
    word_idx: Var,
    bits: i32,
}

impl BitWriter {
    /// Writes from bit 0 of `out` on.
    pub(super) fn start(kernels: &Kernels, f: &mut Build, out: Var) -> Self {
        BitWriter {
            out,
            word: f.local("word", Expr::Word(0)),
            n_written: f.local("n_written", 0u32),
            word_idx: f.local("word_idx", 0u32),
            bits: kernels.bits(),
        }
    }

    /// Writes from bit `first` of `out` on, after those before it.
    pub(super) fn resume(kernels: &Kernels, f: &mut Build, out: Var, first: Var) -> Self {
        let word_idx = f.local("word_idx", first >> kernels.log());
        let n_written = f.local("n_written", first & (kernels.bits() - 1));
        let word = f.local("word", Expr::Word(0));
        f.when(n_written.gt(0), |f| {
            f.set(word, out.at(word_idx) & low_bits(n_written.into()));
        });
        BitWriter {
            out,
            word,
            n_written,
            word_idx,
            bits: kernels.bits(),
        }
    }

    /// The next bit, a number that is 0 or 1.
    pub(super) fn push(&self, f: &mut Build, bit: Expr) {
        f.set(self.word, self.word | (bit.to(Ty::Word) << self.n_written));
        f.set(self.n_written, self.n_written + 1);
        f.when(self.n_written.equals(self.bits), |f| {
            f.store(self.out, self.word_idx, self.word);
            f.set(self.word_idx, self.word_idx + 1);
            f.set(self.word, 0);
            f.set(self.n_written, 0);
        });
    }

    /// Writes the last word if it is not full.
    pub(super) fn finish(&self, f: &mut Build) {
        f.when(self.n_written.gt(0), |f| {
            f.store(self.out, self.word_idx, self.word);
        });
    }
}

/// Where the elements of a value are written one after the other, whatever their form.
pub(super) enum Writer {
    /// Packed.
    Bits(BitWriter),
    /// An array, and the index of the next element.
    Elements(Var, Var),
}

impl Writer {
    /// Writes from element 0 of `out` on.
    pub(super) fn start(kernels: &Kernels, f: &mut Build, form: Form, out: Var) -> Self {
        match form {
            Form::Bits => Writer::Bits(BitWriter::start(kernels, f, out)),
            _ => Writer::Elements(out, f.local("at", 0u32)),
        }
    }

    /// The next element; of bits a number that is 0 or 1.
    pub(super) fn push(&self, f: &mut Build, value: Expr) {
        match self {
            Writer::Bits(writer) => writer.push(f, value),
            Writer::Elements(out, at) => {
                f.store(*out, *at, value);
                f.set(*at, *at + 1);
            }
        }
    }

    /// Writes what is left.
    pub(super) fn finish(&self, f: &mut Build) {
        if let Writer::Bits(writer) = self {
            writer.finish(f);
        }
    }
}

/// Ones in the `n` lowest bits; `n` is below the width of a word.
fn low_bits(n: Expr) -> Expr {
    (Expr::Word(1) << n) - 1
}

impl Kernels {
    /// `(out, word, at, n)`: appends the `n` lowest bits of a word at bit `at`; the rest of the word is 0.
    fn append(&mut self) -> String {
        let about =
            ["Writes the low n bits of a word at bit `at`; bits before stay, bits after are 0."];
        self.get("ob_append".into(), &about, |kernels, mut f| {
            let out = f.output("out", Elem::Word);
            let at = f.size("at");
            let word = f.param("word", Ty::Word);
            let n = f.size("n");
            let idx = f.local("idx", at >> kernels.log());
            let shift = f.local("shift", at & (kernels.bits() - 1));
            let first = f.local("first", word << shift);
            f.when(shift.gt(0), |f| {
                f.set(first, first | (out.at(idx) & low_bits(shift.into())));
            });
            f.store(out, idx, first);
            f.when((shift + n).gt(kernels.bits()), |f| {
                let rest = word >> (Expr::U32(kernels.word.bits()) - shift);
                f.store(out, idx + 1, rest);
            });
            f.finish()
        })
    }

    /// `(out, out_at, x, x_at, n)`: appends `n` bits of `x` from bit `x_at` on at bit `out_at`.
    pub(in crate::lower) fn copy_bits(&mut self) -> String {
        let about = ["Copies n bits; bits before out_at stay, bits after the last are 0."];
        self.get("ob_copy_bits".into(), &about, |kernels, mut f| {
            let append = kernels.append();
            let (out, out_at) = (f.output("out", Elem::Word), f.size("out_at"));
            let (x, x_at) = (f.input("x", Elem::Word), f.size("x_at"));
            let n = f.size("n");
            let bits = kernels.bits();
            let done = f.local("done", 0u32);
            f.repeat_while(done.lt(n), |f| {
                let m = f.local("m", n - done);
                f.when(m.gt(bits), |f| f.set(m, bits));
                let idx = f.local("idx", (x_at + done) >> kernels.log());
                let shift = f.local("shift", (x_at + done) & (bits - 1));
                let word = f.local("word", x.at(idx) >> shift);
                f.when((shift + m).gt(bits), |f| {
                    let rest = x.at(idx + 1) << (Expr::U32(kernels.word.bits()) - shift);
                    f.set(word, word | rest);
                });
                f.when(m.lt(bits), |f| f.set(word, word & low_bits(m.into())));
                f.call(&append, [out.into(), out_at + done, word.into(), m.into()]);
                f.set(done, done + m);
            });
            f.finish()
        })
    }

    /// `(out, at, ones, n)`: appends `n` equal bits; `ones` is 0 or all ones.
    pub(super) fn fill_bits(&mut self) -> String {
        let about = ["Writes n equal bits; bits before `at` stay, bits after the last are 0."];
        self.get("ob_fill_bits".into(), &about, |kernels, mut f| {
            let append = kernels.append();
            let (out, at) = (f.output("out", Elem::Word), f.size("at"));
            let ones = f.param("ones", Ty::Word);
            let n = f.size("n");
            let bits = kernels.bits();
            let done = f.local("done", 0u32);
            f.repeat_while(done.lt(n), |f| {
                let m = f.local("m", n - done);
                let word = f.local("word", ones);
                f.when(m.gt(bits), |f| f.set(m, bits));
                f.when(m.lt(bits), |f| f.set(word, word & low_bits(m.into())));
                f.call(&append, [out.into(), at + done, word.into(), m.into()]);
                f.set(done, done + m);
            });
            f.finish()
        })
    }
}

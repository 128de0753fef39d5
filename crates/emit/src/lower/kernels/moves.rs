//! Ops that move elements.

use super::bits::{BitWriter, Writer};
use super::{Form, Kernels};
use crate::loops::build::{Build, Value};
use crate::loops::{Elem, Expr, Ty, Var};

impl Kernels {
    /// `(x, n, n_bits, out)`: bit plane 0 of all codes, then plane 1, and so on.
    pub(in crate::lower) fn planes(&mut self) -> String {
        let about = "Bits: the least significant bit of every code, then the next, and so on.";
        self.get("ob_planes".into(), &[about], |kernels, mut f| {
            let x = f.input("x", Elem::U8);
            let (n, n_bits) = (f.size("n"), f.size("n_bits"));
            let out = f.output("out", Elem::Word);
            let writer = BitWriter::start(kernels, &mut f, out);
            f.repeat("p", 0u32, n_bits, |f, p| {
                f.repeat("i", 0u32, n, |f, i| {
                    let bit = (x.at(i).to(Ty::U32) >> p) & 1;
                    writer.push(f, bit);
                });
            });
            writer.finish(&mut f);
            f.finish()
        })
    }

    /// `(x, n, out)`: the elements as they are; of bits, what the words hold past the last is dropped.
    pub(in crate::lower) fn copy(&mut self, form: Form) -> String {
        let name = format!("ob_copy_{}", form.elem().name());
        self.get(name, &["Copies n elements."], |_, mut f| {
            let x = f.input("x", form.elem());
            let n = f.size("n");
            let out = f.output("out", form.elem());
            f.repeat("i", 0u32, n, |f, i| f.store(out, i, x.at(i)));
            f.finish()
        })
    }

    /// `(x, base, sizes, strides, out)`: a block of four axes, whose element `(i, j, k, l)` is element
    /// `base + i * strides[0] + ..` of `x`.
    pub(in crate::lower) fn block(&mut self, form: Form) -> String {
        let name = format!("ob_block_{}", form.name());
        let about = [
            "A block of four axes in order: geometry has its sizes, then the steps in x",
            "along each axis; its first element is x[base].",
        ];
        self.get(name, &about, |kernels, mut f| {
            let x = f.input("x", form.elem());
            let base = f.size("base");
            let geometry = f.input("geometry", Elem::I32);
            let out = f.output("out", form.elem());
            let writer = Writer::start(kernels, &mut f, form, out);
            let size = |axis: i32| geometry.at(axis).to(Ty::U32);
            let step = |axis: i32, idx: Var| idx * geometry.at(4 + axis).to(Ty::U32);
            nest(&mut f, &size, |f, [i, j, k, l]| {
                let idx = base + step(0, i) + step(1, j) + step(2, k) + step(3, l);
                let idx = f.local("idx", idx);
                let value = match form {
                    Form::Bits => kernels.bit_at(x, idx.into()),
                    _ => x.at(idx),
                };
                writer.push(f, value);
            });
            writer.finish(&mut f);
            f.finish()
        })
    }

    /// `(x, first, n, out, at)`: appends `n` elements of `x` from `first` on at element `at`.
    pub(in crate::lower) fn copy_run(&mut self, form: Form) -> String {
        if form == Form::Bits {
            return self.copy_bits();
        }
        let name = format!("ob_copy_run_{}", form.elem().name());
        self.get(name, &["Copies n elements."], |_, mut f| {
            let (out, out_at) = (f.output("out", form.elem()), f.size("out_at"));
            let (x, x_at) = (f.input("x", form.elem()), f.size("x_at"));
            let n = f.size("n");
            f.repeat("i", 0u32, n, |f, i| {
                f.store(out, out_at + i, x.at(x_at + i));
            });
            f.finish()
        })
    }
}

fn nest(f: &mut Build, size: &dyn Fn(i32) -> Expr, body: impl FnOnce(&mut Build, [Var; 4])) {
    f.repeat("i", 0u32, size(0), |f, i| {
        f.repeat("j", 0u32, size(1), |f, j| {
            f.repeat("k", 0u32, size(2), |f, k| {
                f.repeat("l", 0u32, size(3), |f, l| body(f, [i, j, k, l]));
            });
        });
    });
}

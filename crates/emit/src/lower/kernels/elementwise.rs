//! Ops on single elements, group norm, softmax and argmax.
//!
//! A channel's numbers are read by the element's index on the last axis, which a counter follows.

use super::bits::BitWriter;
use super::{Form, Kernels};
use crate::loops::build::{Build, Value, intrinsic};
use crate::loops::{Elem, Expr, Intrinsic, Ty, Var};

/// Real ops with numbers per channel, or with two numbers for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::lower) enum RealOp {
    /// Scale and shift.
    Affine,
    /// No numbers.
    Relu,
    /// The bounds, as parameters.
    Clip,
    /// Slope.
    Prelu,
    /// Before, slope and after.
    Rprelu,
}

impl RealOp {
    fn names(self) -> (&'static str, &'static [&'static str]) {
        match self {
            RealOp::Affine => ("affine", &["scale", "shift"]),
            RealOp::Relu => ("relu", &[]),
            RealOp::Clip => ("clip", &[]),
            RealOp::Prelu => ("prelu", &["slope"]),
            RealOp::Rprelu => ("rprelu", &["before", "slope", "after"]),
        }
    }
}

/// Visits `n` elements with their indices and channels.
fn for_each(f: &mut Build, n: Var, n_channels: Var, body: impl FnOnce(&mut Build, Var, Var)) {
    let c = f.local("c", 0u32);
    f.repeat("i", 0u32, n, |f, i| {
        body(f, i, c);
        f.set(c, c + 1);
        f.when(c.equals(n_channels), |f| f.set(c, 0));
    });
}

/// `x >= 0 ? x : slope * x`.
fn prelu(x: Var, slope: Expr) -> Expr {
    x.ge(0.0).select(x, slope * x)
}

impl Kernels {
    /// `(x, n, n_channels, at, [flips], out)`.
    pub(in crate::lower) fn threshold(&mut self, x: Form, at: Elem, has_flips: bool) -> String {
        let flips = if has_flips { "_flips" } else { "" };
        let name = format!("ob_threshold_{}_{}{flips}", x.name(), at.name());
        let about = "Bits: an element reaches its channel's threshold.";
        self.get(name, &[about], |kernels, mut f| {
            let x = f.input("x", x.elem());
            let (n, n_channels) = (f.size("n"), f.size("n_channels"));
            let at = f.input("at", at);
            let flips = has_flips.then(|| f.input("flips", Elem::U8));
            let out = f.output("out", Elem::Word);
            let writer = BitWriter::start(kernels, &mut f, out);
            for_each(&mut f, n, n_channels, |f, i, c| {
                let bit = x.at(i).ge(at.at(c));
                let bit = match flips {
                    Some(flips) => bit ^ flips.at(c),
                    None => bit,
                };
                writer.push(f, bit);
            });
            writer.finish(&mut f);
            f.finish()
        })
    }

    /// `(x, n, at, flip, out)`: one threshold for all elements.
    pub(in crate::lower) fn threshold_all(&mut self, x: Form) -> String {
        let name = format!("ob_threshold_{}_all", x.name());
        let about = "Bits: an element reaches the threshold, or does not where flip is 1.";
        self.get(name, &[about], |kernels, mut f| {
            let elem = x.elem();
            let x = f.input("x", elem);
            let n = f.size("n");
            let at = f.param("at", elem.loaded());
            let flip = f.param("flip", Ty::I32);
            let out = f.output("out", Elem::Word);
            let bits = kernels.bits();
            let n_words = f.local("n_words", (n + (bits - 1)) >> kernels.log());
            f.repeat("k", 0u32, n_words, |f, k| {
                let word = f.local("word", Expr::Word(0));
                let first = f.local("first", x.offset(k << kernels.log()));
                let m = f.local("m", n - (k << kernels.log()));
                f.when(m.gt(bits), |f| f.set(m, bits));
                f.repeat("b", 0u32, m, |f, b| {
                    let bit = first.at(b).ge(at) ^ flip;
                    f.set(word, word | (bit.to(Ty::Word) << b));
                });
                f.store(out, k, word);
            });
            f.finish()
        })
    }

    /// `(x, n, n_channels, cuts, n_bits, stride, out)`: channel `c` has the cuts from `c * stride` on.
    pub(in crate::lower) fn quantize(&mut self, x: Form, cuts: Elem) -> String {
        let name = format!("ob_quantize_{}_{}", x.name(), cuts.name());
        let about = "Codes: how many of its ascending cuts an element reaches, by bisection.";
        self.get(name, &[about], |kernels, mut f| {
            let form = x;
            let x = f.input("x", form.elem());
            let (n, n_channels) = (f.size("n"), f.size("n_channels"));
            let cuts = f.input("cuts", cuts);
            let (n_bits, stride) = (f.size("n_bits"), f.size("stride"));
            let out = f.output("out", Elem::U8);
            for_each(&mut f, n, n_channels, |f, i, c| {
                let value = f.local("value", kernels.int_at(form, x, i.into()));
                let list = f.local("list", cuts.offset(c * stride));
                let code = f.local("code", 0u32);
                let step = f.local("step", Expr::U32(1) << n_bits);
                f.repeat("b", 0u32, n_bits, |f, _| {
                    f.set(step, step >> 1);
                    let reaches = value.ge(list.at(code + step - 1));
                    f.when(reaches, |f| f.set(code, code + step));
                });
                f.store(out, i, code.to(Ty::I32));
            });
            f.finish()
        })
    }

    /// `(x, n, n_channels, numbers.., out)`, of a clip `(x, n, min, max, out)` and of a relu `(x, n, out)`.
    pub(in crate::lower) fn real_op(&mut self, op: RealOp, x: Form) -> String {
        let (op_name, arrays) = op.names();
        let name = format!("ob_{op_name}_{}", x.name());
        let about = format!("{op_name}, element by element.");
        self.get(name, &[&about], |kernels, mut f| {
            let form = x;
            let x = f.input("x", form.elem());
            let n = f.size("n");
            let n_channels = (!arrays.is_empty()).then(|| f.size("n_channels"));
            let arrays: Vec<Var> = arrays.iter().map(|name| f.input(name, Elem::F32)).collect();
            let bounds =
                (op == RealOp::Clip).then(|| (f.param("min", Ty::F32), f.param("max", Ty::F32)));
            let is_int = op == RealOp::Relu && form == Form::Ints;
            let out = f.output("out", if is_int { Elem::I32 } else { Elem::F32 });
            let body = |f: &mut Build, i: Var, c: Option<Var>| {
                let value = match is_int {
                    true => x.at(i),
                    false => kernels.real_at(form, x, i.into()),
                };
                let value = f.local("value", value);
                let number = |idx: usize| match c {
                    Some(c) => arrays[idx].at(c),
                    None => arrays[idx].at(0),
                };
                let result = match op {
                    RealOp::Affine => {
                        let product = f.local("product", number(0) * value);
                        product + number(1)
                    }
                    RealOp::Relu => value.gt(0).select(value, 0),
                    RealOp::Clip => {
                        let (min, max) = bounds.expect("a clip has its bounds");
                        let raised = f.local("raised", value.gt(min).select(value, min));
                        raised.lt(max).select(raised, max)
                    }
                    RealOp::Prelu => prelu(value, number(0)),
                    RealOp::Rprelu => {
                        let moved = f.local("moved", value + number(0));
                        let bent = f.local("bent", prelu(moved, number(1)));
                        bent + number(2)
                    }
                };
                f.store(out, i, result);
            };
            match n_channels {
                Some(n_channels) => for_each(&mut f, n, n_channels, |f, i, c| body(f, i, Some(c))),
                None => f.repeat("i", 0u32, n, |f, i| body(f, i, None)),
            }
            f.finish()
        })
    }

    /// `(a, b, n, out)`.
    pub(in crate::lower) fn add(&mut self, x: Form) -> String {
        let name = format!("ob_add_{}", x.name());
        self.get(name, &["Sums, element by element."], |_, f| {
            pairs(f, x, |a, b| a + b)
        })
    }

    /// `(a, b, n, out)`, of reals.
    pub(in crate::lower) fn mul(&mut self) -> String {
        self.get(
            "ob_mul".into(),
            &["Products, element by element."],
            |_, f| pairs(f, Form::Reals, |a, b| a * b),
        )
    }

    /// `(x, n_positions, n_channels, n_group, gamma, beta, eps, out)`.
    pub(in crate::lower) fn group_norm(&mut self) -> String {
        let about = "Group normalisation: runs of n_group channels over all positions.";
        self.get("ob_group_norm".into(), &[about], |_, mut f| {
            let x = f.input("x", Elem::F32);
            let (n_positions, n_channels) = (f.size("n_positions"), f.size("n_channels"));
            let n_group = f.size("n_group");
            let (gamma, beta) = (f.input("gamma", Elem::F32), f.input("beta", Elem::F32));
            let eps = f.param("eps", Ty::F32);
            let out = f.output("out", Elem::F32);
            let count = (n_positions * n_group).to(Ty::I32);
            let n = f.local("n", count.to(Ty::F32));
            let start = f.local("start", 0u32);
            f.repeat_while(start.lt(n_channels), |f| {
                let members = |f: &mut Build, body: &dyn Fn(&mut Build, Expr, Expr)| {
                    f.repeat("p", 0u32, n_positions, |f, p| {
                        f.repeat("k", 0u32, n_group, |f, k| {
                            let channel = f.local("channel", start + k);
                            body(f, p * n_channels + channel, channel.into());
                        });
                    });
                };
                let sum = f.local("sum", 0.0);
                members(f, &|f, i, _| f.set(sum, sum + x.at(i)));
                let mean = f.local("mean", sum / n);
                let squares = f.local("squares", 0.0);
                members(f, &|f, i, _| {
                    let away = f.local("away", x.at(i) - mean);
                    let square = f.local("square", away * away);
                    f.set(squares, squares + square);
                });
                let var = f.local("variance", squares / n);
                let root = intrinsic(Intrinsic::Sqrt, [var + eps]);
                let deviation = f.local("deviation", root);
                members(f, &|f, i, channel| {
                    let normed = (x.at(i.clone()) - mean) / deviation;
                    let scaled = f.local("scaled", normed * gamma.at(channel.clone()));
                    f.store(out, i, scaled + beta.at(channel));
                });
                f.set(start, start + n_group);
            });
            f.finish()
        })
    }

    /// `(t) -> exp(t)`, as FORMAT.md defines it.
    fn exp(&mut self) -> String {
        let about = "The exponential of softmax, for t <= 0 (Moshier 1989: Cephes' expf).";
        self.get("ob_exp".into(), &[about], |_, mut f| {
            let t = f.param("t", Ty::F32);
            let y = f.local("y", 0.0);
            f.when(t.ge(-87.0), |f| {
                let scaled = f.local("scaled", t * std::f32::consts::LOG2_E);
                let n = f.local("n", (scaled + 12_582_912.0) - 12_582_912.0);
                let high = f.local("high", n * 0.693_359_4);
                let low = f.local("low", n * -2.121_944_4e-4);
                let r = f.local("r", (t - high) - low);
                let p = f.local("p", 1.987_569_1e-4);
                let rest = [
                    1.398_199_9e-3,
                    8.333_452e-3,
                    4.166_579_6e-2,
                    1.666_666_5e-1,
                    5e-1,
                ];
                for coefficient in rest {
                    f.set(p, p * r);
                    f.set(p, p + coefficient);
                }
                let square = f.local("square", r * r);
                let tail = f.local("tail", p * square);
                let exponent = (n.to(Ty::I32) + 127).to(Ty::U32) << 23;
                let power = f.local("power", intrinsic(Intrinsic::FromBits, [exponent]));
                f.set(y, ((tail + r) + 1.0) * power);
            });
            f.finish_with(y)
        })
    }

    /// `(x, n_runs, n, out)`: runs of `n` elements.
    pub(in crate::lower) fn softmax(&mut self) -> String {
        let about = "The softmax of every run of n elements.";
        self.get("ob_softmax".into(), &[about], |kernels, mut f| {
            let exp = kernels.exp();
            let x = f.input("x", Elem::F32);
            let (n_runs, n) = (f.size("n_runs"), f.size("n"));
            let out = f.output("out", Elem::F32);
            f.repeat("r", 0u32, n_runs, |f, r| {
                let run = f.local("run", x.offset(r * n));
                let to = f.local("to", out.offset(r * n));
                let greatest = f.local("greatest", run.at(0));
                f.repeat("i", 1u32, n, |f, i| {
                    f.when(run.at(i).gt(greatest), |f| f.set(greatest, run.at(i)));
                });
                let sum = f.local("sum", 0.0);
                f.repeat("i", 0u32, n, |f, i| {
                    let power = Expr::Call(exp.clone(), vec![run.at(i) - greatest], Ty::F32);
                    let power = f.local("power", power);
                    f.store(to, i, power);
                    f.set(sum, sum + power);
                });
                f.repeat("i", 0u32, n, |f, i| f.store(to, i, to.at(i) / sum));
            });
            f.finish()
        })
    }

    /// `(x, n, out)`.
    pub(in crate::lower) fn argmax(&mut self, x: Form) -> String {
        let name = format!("ob_argmax_{}", x.name());
        let about = "The index of the greatest element, the lowest on a tie.";
        self.get(name, &[about], |_, mut f| {
            let x = f.input("x", x.elem());
            let n = f.size("n");
            let out = f.output("out", Elem::I32);
            let best = f.local("best", 0u32);
            f.repeat("i", 1u32, n, |f, i| {
                f.when(x.at(i).gt(x.at(best)), |f| f.set(best, i));
            });
            f.store(out, 0, best.to(Ty::I32));
            f.finish()
        })
    }
}

fn pairs(mut f: Build, x: Form, op: fn(Expr, Expr) -> Expr) -> crate::loops::Function {
    let (a, b) = (f.input("a", x.elem()), f.input("b", x.elem()));
    let n = f.size("n");
    let out = f.output("out", x.elem());
    f.repeat("i", 0u32, n, |f, i| f.store(out, i, op(a.at(i), b.at(i))));
    f.finish()
}

#[cfg(test)]
mod tests {
    #[test]
    #[expect(
        clippy::excessive_precision,
        reason = "the decimal constants of FORMAT.md"
    )]
    fn short_constants_are_the_numbers_of_the_format() {
        let pairs: [(f32, f32); 8] = [
            (0.693_359_4, 0.693359375),
            (-2.121_944_4e-4, -2.12194440e-4),
            (1.987_569_1e-4, 1.9875691500e-4),
            (1.398_199_9e-3, 1.3981999507e-3),
            (8.333_452e-3, 8.3334519073e-3),
            (4.166_579_6e-2, 4.1665795894e-2),
            (1.666_666_5e-1, 1.6666665459e-1),
            (5e-1, 5.0000001201e-1),
        ];
        for (short, long) in pairs {
            assert_eq!(short.to_bits(), long.to_bits());
        }
    }
}

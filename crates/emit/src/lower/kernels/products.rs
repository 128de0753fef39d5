//! Dense rows and the windows of convolutions.
//!
//! A convolution gathers what its window sees into a patch, in the order of the weights' columns, and hands it to
//! the same rows that a dense layer runs. Rows end in sums or, where a threshold follows, in bits.

use super::bits::BitWriter;
use super::{Form, Kernels};
use crate::loops::build::{Build, Value, intrinsic};
use crate::loops::{Elem, Expr, Intrinsic, Ty, Var};

/// What weights are in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::lower) enum RowsOf {
    /// A sign plane, each row at a word of its own.
    Bits,
    /// A sign plane, then a mask plane of the same layout.
    Ternary,
    /// This many planes of bits, those of a row after one another, each at a word of its own.
    Planes(u8),
    /// Bytes.
    Int8,
    /// binary32 numbers.
    Reals,
}

/// What becomes of a row's sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::lower) enum Finish {
    /// It is stored, as it is.
    Sum,
    /// A number per row is added and it is stored.
    Biased(Elem),
    /// Its threshold decides a bit; some are flipped.
    Threshold {
        /// The thresholds.
        at: Elem,
        /// Whether there are flips.
        flips: bool,
    },
    /// +1 where fewer bits differ than the row's limit; for products of bits.
    Limit(Elem),
}

impl Finish {
    fn name(self) -> String {
        match self {
            Finish::Sum => "sum".into(),
            Finish::Biased(elem) => format!("biased_{}", elem.name()),
            Finish::Threshold { at, flips: false } => format!("threshold_{}", at.name()),
            Finish::Threshold { at, flips: true } => format!("threshold_{}_flips", at.name()),
            Finish::Limit(elem) => format!("limit_{}", elem.name()),
        }
    }
}

/// The form of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::lower) struct Rows {
    /// Of the operand.
    pub(in crate::lower) x: Form,
    /// Of the weights.
    pub(in crate::lower) weights: RowsOf,
    /// What follows.
    pub(in crate::lower) finish: Finish,
}

impl Rows {
    /// Whether bits are counted instead of numbers multiplied.
    pub(in crate::lower) fn is_counted(self) -> bool {
        self.x == Form::Bits && matches!(self.weights, RowsOf::Bits | RowsOf::Ternary)
    }

    fn is_real(self) -> bool {
        self.x == Form::Reals || self.weights == RowsOf::Reals
    }

    fn weights_name(self) -> String {
        match self.weights {
            RowsOf::Bits => "bits".into(),
            RowsOf::Ternary => "ternary".into(),
            RowsOf::Planes(n) => format!("planes{n}"),
            RowsOf::Int8 => "int8".into(),
            RowsOf::Reals => "reals".into(),
        }
    }
}

/// The parameters of a rows kernel.
struct Params {
    x: Var,
    weights: Var,
    mask: Option<Var>,
    n_cols: Var,
    numbers: Option<Var>,
    flips: Option<Var>,
}

/// How a kernel writes its results.
enum Writer {
    Sums { out: Var, first: Var },
    Bits(BitWriter),
}

impl Kernels {
    /// `(x, weights, [mask], n_cols, n_rows, [numbers], [flips], out, first)`: the rows from the weights' first on,
    /// written from element `first` of `out` on.
    pub(in crate::lower) fn rows(&mut self, rows: Rows) -> String {
        let (x, weights) = (rows.x.name(), rows.weights_name());
        let name = format!("ob_{x}_by_{weights}_{}", rows.finish.name());
        let about = match rows.finish {
            Finish::Sum => "Stores the sums of n_rows rows of weights times x.",
            Finish::Biased(_) => {
                "Stores the sums of n_rows rows of weights times x, each plus its number."
            }
            Finish::Threshold { .. } => {
                "Bits: the sum of weights times x reaches the row's number."
            }
            Finish::Limit(_) => "Bits: weights and x differ in fewer bits than the row's number.",
        };
        self.get(name, &[about], |kernels, mut f| {
            let elem = match rows.weights {
                RowsOf::Bits | RowsOf::Ternary | RowsOf::Planes(_) => Elem::Word,
                RowsOf::Int8 => Elem::I8,
                RowsOf::Reals => Elem::F32,
            };
            let (x, weights) = (f.input("x", rows.x.elem()), f.input("weights", elem));
            let is_ternary = rows.weights == RowsOf::Ternary;
            let mask = is_ternary.then(|| f.input("mask", Elem::Word));
            let (n_cols, n_rows) = (f.size("n_cols"), f.size("n_rows"));
            let numbers = match rows.finish {
                Finish::Sum => None,
                Finish::Biased(elem) | Finish::Limit(elem) => Some(f.input("numbers", elem)),
                Finish::Threshold { at, .. } => Some(f.input("numbers", at)),
            };
            let has_flips = matches!(rows.finish, Finish::Threshold { flips: true, .. });
            let flips = has_flips.then(|| f.input("flips", Elem::U8));
            let gives_sums = matches!(rows.finish, Finish::Sum | Finish::Biased(_));
            let out = match (gives_sums, rows.is_real()) {
                (false, _) => f.output("out", Elem::Word),
                (true, false) => f.output("out", Elem::I32),
                (true, true) => f.output("out", Elem::F32),
            };
            let first = f.size("first");
            let writer = match gives_sums {
                true => Writer::Sums { out, first },
                false => Writer::Bits(BitWriter::resume(kernels, &mut f, out, first)),
            };
            let params = Params {
                x,
                weights,
                mask,
                n_cols,
                numbers,
                flips,
            };
            kernels.rows_body(rows, &params, n_rows, &writer, &mut f);
            f.finish()
        })
    }

    fn rows_body(&self, rows: Rows, params: &Params, n_rows: Var, writer: &Writer, f: &mut Build) {
        let stride = match rows.weights {
            RowsOf::Bits | RowsOf::Ternary | RowsOf::Planes(_) => {
                f.local("n_words", (params.n_cols + (self.bits() - 1)) >> self.log())
            }
            RowsOf::Int8 | RowsOf::Reals => params.n_cols,
        };
        f.repeat("r", 0u32, n_rows, |f, r| {
            let start = match rows.weights {
                RowsOf::Planes(n) => r * stride * u32::from(n),
                _ => r * stride,
            };
            let row = f.local("row", params.weights.offset(start));
            let mask = params
                .mask
                .map(|mask| f.local("mask_row", mask.offset(r * stride)));
            let value = match rows.is_counted() {
                true => counted(rows, params, row, mask, stride, r),
                false => self.summed(rows, params, (row, mask), stride, f).into(),
            };
            let number = |numbers: Option<Var>| numbers.map(|numbers| numbers.at(r));
            let value = match (rows.finish, number(params.numbers)) {
                (Finish::Biased(_), Some(number)) if !rows.is_counted() => value + number,
                (Finish::Threshold { .. }, Some(number)) => value.ge(number),
                (_, _) => value,
            };
            let value = match number(params.flips) {
                Some(flip) => value ^ flip,
                None => value,
            };
            match writer {
                Writer::Sums { out, first } => f.store(*out, *first + r, value),
                Writer::Bits(bits) => bits.push(f, value),
            }
        });
        if let Writer::Bits(bits) = writer {
            bits.finish(f);
        }
    }

    /// The sum over the columns in order.
    fn summed(
        &self,
        rows: Rows,
        params: &Params,
        (row, mask): (Var, Option<Var>),
        stride: Var,
        f: &mut Build,
    ) -> Var {
        let is_real = rows.is_real();
        let x_at = |i: Expr| match is_real {
            true => self.real_at(rows.x, params.x, i),
            false => self.int_at(rows.x, params.x, i),
        };
        let ty = if is_real { Ty::F32 } else { Ty::I32 };
        let zero = if is_real {
            Expr::F32(0.0)
        } else {
            Expr::I32(0)
        };
        let sum = f.local("sum", zero);
        if matches!(rows.weights, RowsOf::Int8 | RowsOf::Reals) {
            f.repeat("i", 0u32, params.n_cols, |f, i| {
                f.set(sum, sum + row.at(i).to(ty) * x_at(i.into()));
            });
            return sum;
        }
        f.repeat("k", 0u32, stride, |f, k| {
            let signs = f.local("signs", row.at(k));
            let upper = match rows.weights {
                RowsOf::Planes(n) => 1..u32::from(n),
                _ => 1..1,
            };
            let upper: Vec<Var> = upper
                .map(|i| f.local(&format!("plane{i}"), row.at(stride * i + k)))
                .collect();
            let used = mask.map(|mask| f.local("used", mask.at(k)));
            let first = f.local("first_col", k << self.log());
            let n = f.local("n", params.n_cols - first);
            f.when(n.gt(self.bits()), |f| f.set(n, self.bits()));
            f.repeat("b", 0u32, n, |f, b| {
                let is_plus = ((signs >> b) & 1).to(Ty::I32);
                let x = x_at(first + b);
                if !upper.is_empty() {
                    let bits = upper.iter().zip(1..);
                    let code = bits.fold(is_plus, |code, (plane, i)| {
                        code + ((*plane >> b) & 1).to(Ty::I32) * (1 << i)
                    });
                    let weight = code * 2 - ((2 << upper.len()) - 1);
                    f.set(sum, sum + weight.to(ty) * x);
                    return;
                }
                if used.is_none() && !is_real {
                    let x = f.local("x_i", x);
                    f.set(sum, sum + is_plus.select(x, Expr::I32(0) - x));
                    return;
                }
                let weight = match used {
                    None => is_plus * 2 - 1,
                    Some(used) => is_plus * 2 - ((used >> b) & 1).to(Ty::I32),
                };
                f.set(sum, sum + weight.to(ty) * x);
            });
        });
        sum
    }

    /// `(x, geometry, y, x, first, [pad], patch)`: what the window at `(y, x)` sees of one group's channels, from
    /// channel `first` on, in the order of the weights' columns. `signs` unpacks bits to bytes.
    pub(in crate::lower) fn gather(&mut self, x: Form, to: Form) -> String {
        let name = format!("ob_gather_{}", to.name());
        let about = [
            "What the window at (y, x) sees of the channels from `first` on, into a patch.",
            "geometry: height, width, channels, channels of a group, then rows and columns of",
            "the kernel, the stride, the dilation and the pads at the top and left.",
        ];
        self.get(name, &about, |kernels, mut f| {
            let source = f.input("image", x.elem());
            let geometry = f.input("geometry", Elem::I32);
            let (y, x_pos, first) = (
                f.param("y", Ty::U32),
                f.param("x", Ty::U32),
                f.size("first"),
            );
            let pad_ty = match to {
                Form::Bits => Ty::Word,
                Form::Reals => Ty::F32,
                _ => Ty::I32,
            };
            let pad = f.param("pad", pad_ty);
            let patch = f.output("patch", to.elem());
            let copy_bits = (to == Form::Bits).then(|| (kernels.copy_bits(), kernels.fill_bits()));
            let at = f.local("at", 0u32);
            let size = |idx: i32| geometry.at(idx).to(Ty::U32);
            let n = f.local("n", size(3));
            // A row of taps without gaps is one run of the image.
            let is_dense = f.local("is_dense", n.equals(size(2)) & size(9).equals(1));
            let n_run = f.local("n_run", size(5) * n);
            let copy = |f: &mut Build, position: Expr, n: Var| {
                let start = position * size(2) + first;
                match &copy_bits {
                    Some((copy, _)) => {
                        let args = [patch.into(), at.into(), source.into(), start, n.into()];
                        f.call(copy, args);
                    }
                    None => {
                        let start = f.local("start", start);
                        f.repeat("k", 0u32, n, |f, k| {
                            let value = kernels.int_at(x, source, start + k);
                            f.store(patch, at + k, value);
                        });
                    }
                }
                f.set(at, at + n);
            };
            let fill = |f: &mut Build| {
                match &copy_bits {
                    Some((_, fill)) => {
                        f.call(fill, [patch.into(), at.into(), pad.into(), n.into()]);
                    }
                    None => f.repeat("k", 0u32, n, |f, k| f.store(patch, at + k, pad)),
                }
                f.set(at, at + n);
            };
            let window = Window::start(&mut f, geometry);
            window.rows(&mut f, y, |f, row| {
                let first_col = f.local("first_col", x_pos * size(7) - size(11));
                let is_run = is_dense
                    & row.lt(window.height)
                    & first_col.lt(window.width)
                    & window.width.ge(first_col + size(5));
                f.either(
                    is_run,
                    |f| copy(f, row * window.width + first_col, n_run),
                    |f| {
                        window.cols(f, x_pos, row, |f, position, is_inside| {
                            f.either(is_inside, |f| copy(f, position, n), fill);
                        });
                    },
                );
            });
            f.finish()
        })
    }
}

/// `n - 2 * bits that differ`, or for a limit whether fewer differ.
fn counted(rows: Rows, params: &Params, row: Var, mask: Option<Var>, n_words: Var, r: Var) -> Expr {
    let n_differ = match mask {
        None => intrinsic(
            Intrinsic::Differ,
            [row.into(), params.x.into(), n_words.into()],
        ),
        Some(mask) => intrinsic(
            Intrinsic::DifferMasked,
            [row.into(), mask.into(), params.x.into(), n_words.into()],
        ),
    };
    match (rows.finish, params.numbers) {
        (Finish::Limit(_), Some(limits)) => n_differ.lt(limits.at(r)),
        (_, Some(numbers)) => numbers.at(r) - n_differ * 2,
        (_, None) => params.n_cols.to(Ty::I32) - n_differ * 2,
    }
}

/// The taps of a window, from what a geometry says.
pub(super) struct Window {
    geometry: Var,
    height: Var,
    width: Var,
}

impl Window {
    /// Reads the image's size.
    pub(super) fn start(f: &mut Build, geometry: Var) -> Self {
        Window {
            geometry,
            height: f.local("height", geometry.at(0).to(Ty::U32)),
            width: f.local("width", geometry.at(1).to(Ty::U32)),
        }
    }

    fn size(&self, idx: i32) -> Expr {
        self.geometry.at(idx).to(Ty::U32)
    }

    /// The image's rows that output row `y` sees. One before the image wraps to a number beyond every size.
    fn rows(&self, f: &mut Build, y: Var, body: impl FnOnce(&mut Build, Var)) {
        f.repeat("i", 0u32, self.size(4), |f, i| {
            let row = y * self.size(6) + i * self.size(8) - self.size(10);
            let row = f.local("row", row);
            body(f, row);
        });
    }

    /// The pixels of a row that output column `x` sees, and whether they are inside the image.
    fn cols(&self, f: &mut Build, x: Var, row: Var, body: impl FnOnce(&mut Build, Expr, Expr)) {
        f.repeat("j", 0u32, self.size(5), |f, j| {
            let col = x * self.size(7) + j * self.size(9) - self.size(11);
            let col = f.local("col", col);
            let is_inside = row.lt(self.height) & col.lt(self.width);
            body(f, row * self.width + col, is_inside);
        });
    }

    /// Every tap of output `(y, x)`: the index of its pixel, and whether that is inside the image.
    pub(super) fn taps(
        &self,
        f: &mut Build,
        (y, x): (Var, Var),
        body: impl FnOnce(&mut Build, Expr, Expr),
    ) {
        self.rows(f, y, |f, row| self.cols(f, x, row, body));
    }
}

//! Dense and convolution, with the threshold that follows if only it reads them.
//!
//! A threshold on counted bits becomes a limit on the bits that differ, and a flip becomes a row of inverted
//! weights: `n - 2 d >= at` where `d < floor((n - at) / 2) + 1`, and `d >= limit` where `n - d < n - limit + 1`.

use onebit_model::program::{Conv2d, Kind, Op, ThresholdValues, Thresholds};
use onebit_model::weights::{BitMatrix, Weights};

use super::kernels::Form;
use super::kernels::products::{Finish, Rows, RowsOf};
use super::{Lower, u32_of};
use crate::loops::build::Value;
use crate::loops::{Elem, Expr, WordBits};

/// How the patch of a convolution lies in memory.
pub(super) fn patch_form(conv: &Conv2d, kind: Kind) -> Form {
    let is_packed = matches!(conv.weights, Weights::Bits(_) | Weights::Ternary { .. });
    let has_zero_pads = conv.pad == 0 && conv.window.pads != [0; 4];
    match Form::of(kind) {
        Form::Bits if !is_packed || has_zero_pads => Form::Signs,
        form => form,
    }
}

/// Whether what a window sees lies in the image as the weights' columns do.
pub(super) fn reads_in_place(conv: &Conv2d, kind: Kind, word: WordBits) -> bool {
    let is_plain = conv.window.kernel == [1, 1] && conv.window.pads == [0; 4] && conv.groups == 1;
    let is_aligned = match (Form::of(kind), patch_form(conv, kind)) {
        (Form::Bits, Form::Bits) => conv.weights.n_cols().is_multiple_of(word.bits() as usize),
        (form, patch) => form == patch,
    };
    is_plain && is_aligned
}

/// The constants of a product's rows.
struct Arrays {
    rows: Rows,
    weights: Expr,
    mask: Option<Expr>,
    /// Elements of `weights` and `mask` from one row to the next.
    stride: usize,
    n_cols: usize,
    numbers: Option<Expr>,
    flips: Option<Expr>,
}

/// What gathers a convolution's window.
struct Patch {
    gather: String,
    geometry: Expr,
    pad: Expr,
    place: Expr,
}

impl Arrays {
    /// The arguments of a rows kernel for `n_rows` rows from `first_row` on.
    fn args(
        &self,
        x: Expr,
        first_row: Option<&Expr>,
        n_rows: usize,
        out: Expr,
        first: Expr,
    ) -> Vec<Expr> {
        let moved = |array: &Expr, step: usize| match first_row {
            None => array.clone(),
            Some(row) => array.clone().offset(row.clone() * u32_of(step)),
        };
        let mut args = vec![x, moved(&self.weights, self.stride)];
        args.extend(self.mask.iter().map(|mask| moved(mask, self.stride)));
        args.extend([Expr::U32(u32_of(self.n_cols)), Expr::U32(u32_of(n_rows))]);
        args.extend(self.numbers.iter().map(|numbers| moved(numbers, 1)));
        args.extend(self.flips.iter().map(|flips| moved(flips, 1)));
        args.extend([out, first]);
        args
    }
}

impl Lower<'_> {
    /// Lowers a dense node.
    pub(super) fn dense(&mut self, idx: usize, weights: &Weights, bias: Option<&[i32]>) {
        let x = self.operand(idx, 0);
        let form = self.form_of(idx, 0);
        let arrays = self.arrays(idx, form, weights, bias);
        let out = self.product_out(idx);
        let kernel = self.kernels.rows(arrays.rows);
        let args = arrays.args(x, None, weights.n_rows(), out, Expr::U32(0));
        self.run.call(&kernel, args);
    }

    /// Lowers a convolution.
    pub(super) fn conv2d(&mut self, idx: usize, conv: &Conv2d) {
        let x = self.operand(idx, 0);
        let ty = self.operand_type(idx, 0).clone();
        let (form, patch_form) = (Form::of(ty.kind), patch_form(conv, ty.kind));
        let arrays = self.arrays(idx, patch_form, &conv.weights, conv.bias.as_deref());
        let out = self.product_out(idx);
        let result = self
            .types
            .of(onebit_model::program::ValueId(idx + 1))
            .shape
            .clone();
        let (n_rows, groups) = (conv.weights.n_rows(), conv.groups);
        let rows_per_group = n_rows / groups;
        let n_group = ty.shape[2] / groups;
        let kernel = self.kernels.rows(arrays.rows);
        let patch = self.patch(idx, conv, &ty.shape, form, patch_form);
        let step = match patch_form {
            Form::Bits => ty.shape[2] / self.kernels.word.bits() as usize,
            _ => ty.shape[2],
        };
        let (stride, width) = (conv.window.stride, ty.shape[1]);
        self.run.repeat("y", 0u32, u32_of(result[0]), |f, y| {
            f.repeat("x", 0u32, u32_of(result[1]), |f, x_pos| {
                let position = y * u32_of(result[1]) + x_pos;
                let first = position * u32_of(n_rows);
                let one_group = |f: &mut crate::loops::build::Build, group: Option<Expr>| {
                    let first_row = group.clone().map(|g| g * u32_of(rows_per_group));
                    let seen = match &patch {
                        None => {
                            let pixel = y * u32_of(stride[0] * width) + x_pos * u32_of(stride[1]);
                            x.clone().offset(pixel * u32_of(step))
                        }
                        Some(patch) => {
                            let channel = match group {
                                None => Expr::U32(0),
                                Some(group) => group * u32_of(n_group),
                            };
                            f.call(
                                &patch.gather,
                                [
                                    x.clone(),
                                    patch.geometry.clone(),
                                    y.into(),
                                    x_pos.into(),
                                    channel,
                                    patch.pad.clone(),
                                    patch.place.clone(),
                                ],
                            );
                            patch.place.clone()
                        }
                    };
                    let first = match &first_row {
                        None => first.clone(),
                        Some(row) => first.clone() + row.clone(),
                    };
                    let args =
                        arrays.args(seen, first_row.as_ref(), rows_per_group, out.clone(), first);
                    f.call(&kernel, args);
                };
                match groups {
                    1 => one_group(f, None),
                    _ => f.repeat("g", 0u32, u32_of(groups), |f, g| {
                        one_group(f, Some(g.into()))
                    }),
                }
            });
        });
    }

    /// How a convolution's window is gathered, unless it lies in the image as it is.
    fn patch(
        &mut self,
        idx: usize,
        conv: &Conv2d,
        shape: &[usize],
        form: Form,
        patch_form: Form,
    ) -> Option<Patch> {
        let offset = self.plan.patches[idx]?;
        let layer = self.program.nodes[idx].name.clone();
        let gather = self.kernels.gather(form, patch_form);
        let geometry = self.geometry(&layer, shape, shape[2] / conv.groups, &conv.window);
        let pad = match (patch_form, conv.pad) {
            (Form::Bits, 1) => Expr::Word(u64::MAX),
            (Form::Bits, _) => Expr::Word(0),
            (Form::Reals, pad) => Expr::F32(pad as f32),
            (_, pad) => Expr::I32(pad),
        };
        let place = Expr::Arena(offset, patch_form.elem());
        let name = format!("ob_p_{}", super::constants::identifier(&layer));
        Some(Patch {
            gather,
            geometry,
            pad,
            place: self.run.local(&name, place).into(),
        })
    }

    /// Where a product's result goes: its own buffer or that of its threshold.
    fn product_out(&mut self, idx: usize) -> Expr {
        let node = self.plan.threshold_of[idx].unwrap_or(idx);
        self.result(node)
    }

    fn arrays(&mut self, idx: usize, x: Form, weights: &Weights, bias: Option<&[i32]>) -> Arrays {
        let program = self.program;
        let thresholds = self.plan.threshold_of[idx].map(|node| match &program.nodes[node].op {
            Op::Threshold(thresholds) => thresholds,
            _ => unreachable!("the plan fuses thresholds only"),
        });
        let rows_of = match weights {
            Weights::Bits(_) => RowsOf::Bits,
            Weights::Ternary { .. } => RowsOf::Ternary,
            Weights::Planes(planes) => RowsOf::Planes(planes.planes().len() as u8),
            Weights::Int8(_) => RowsOf::Int8,
            Weights::Real(_) => RowsOf::Reals,
        };
        let mut rows = Rows {
            x,
            weights: rows_of,
            finish: Finish::Sum,
        };
        let name = &program.nodes[idx].name;
        let mut flipped_rows = None;
        let mut flips = None;
        let numbers = match (thresholds, rows.is_counted()) {
            (Some(thresholds), true) => {
                let (limits, inverted) = limits(weights, bias, thresholds);
                flipped_rows = Some(inverted);
                let (array, elem) = self.constants.ints(name, "limits", limits);
                rows.finish = Finish::Limit(elem);
                Some(array)
            }
            (Some(thresholds), false) => {
                let (array, at, flip) = self.thresholds(idx, bias, thresholds);
                rows.finish = Finish::Threshold {
                    at,
                    flips: flip.is_some(),
                };
                flips = flip;
                Some(array)
            }
            (None, is_counted) => {
                self.biases(name, weights, bias, is_counted)
                    .map(|(array, elem)| {
                        rows.finish = Finish::Biased(elem);
                        array
                    })
            }
        };
        let (weights_array, mask, stride) = self.matrix(name, weights, flipped_rows.as_deref());
        Arrays {
            rows,
            weights: weights_array,
            mask,
            stride,
            n_cols: weights.n_cols(),
            numbers,
            flips,
        }
    }

    /// What is added to a row's sum: its bias, and for counted ternary rows their weights that are not 0.
    fn biases(
        &mut self,
        name: &str,
        weights: &Weights,
        bias: Option<&[i32]>,
        is_counted: bool,
    ) -> Option<(Expr, Elem)> {
        let is_plain = !is_counted || matches!(weights, Weights::Bits(_));
        if bias.is_none() && is_plain {
            return None;
        }
        let number = |row: usize| {
            let base = if is_counted {
                weights.row_nonzero(row)
            } else {
                0
            };
            bias.map_or(0, |bias| bias[row]) + base.cast_signed()
        };
        let numbers = (0..weights.n_rows()).map(number).collect();
        Some(self.constants.ints(name, "bias", numbers))
    }

    /// Thresholds of sums without their bias, and flips if there are any.
    fn thresholds(
        &mut self,
        idx: usize,
        bias: Option<&[i32]>,
        thresholds: &Thresholds,
    ) -> (Expr, Elem, Option<Expr>) {
        let name = &self.program.nodes[idx].name;
        let mut flips = thresholds.flip.clone();
        let (array, elem) = match &thresholds.at {
            ThresholdValues::Real(at) => (self.constants.reals(name, "thresholds", at), Elem::F32),
            ThresholdValues::Int(at) => {
                let range = self.types.range(onebit_model::program::ValueId(idx + 1));
                let range = range.expect("a sum with integer thresholds has a range");
                let mut numbers = Vec::with_capacity(at.len());
                for (row, (&at, flip)) in at.iter().zip(&mut flips).enumerate() {
                    let (low, high) = (i64::from(range.min), i64::from(range.max));
                    let bias = i64::from(bias.map_or(0, |bias| bias[row]));
                    let at = i64::from(at).clamp(low, high + 1) - bias;
                    numbers.push(i32::try_from(at).unwrap_or_else(|_| {
                        // Beyond every sum on one side: always +1, or with the other answer always -1.
                        *flip ^= at > 0;
                        i32::MIN
                    }));
                }
                self.constants.ints(name, "thresholds", numbers)
            }
        };
        let flips = self.flips(name, &flips);
        (array, elem, flips)
    }

    /// The weights, with some rows inverted; the mask; elements from one row to the next.
    fn matrix(
        &mut self,
        name: &str,
        weights: &Weights,
        inverted: Option<&[bool]>,
    ) -> (Expr, Option<Expr>, usize) {
        let n_words =
            |matrix: &BitMatrix| matrix.n_cols().div_ceil(self.kernels.word.bits() as usize);
        let is_inverted = |row: usize| inverted.is_some_and(|rows| rows[row]);
        match weights {
            Weights::Bits(sign) => {
                let (n_rows, n_cols) = (sign.n_rows(), sign.n_cols());
                let bit = |row, col| sign.get(row, col) != is_inverted(row);
                let matrix = BitMatrix::from_fn(n_rows, n_cols, bit);
                (
                    self.constants.bits(name, "weights", &matrix),
                    None,
                    n_words(sign),
                )
            }
            Weights::Ternary { sign, mask } => {
                let (n_rows, n_cols) = (sign.n_rows(), sign.n_cols());
                let bit = |row, col| mask.get(row, col) && sign.get(row, col) != is_inverted(row);
                let matrix = BitMatrix::from_fn(n_rows, n_cols, bit);
                let array = self.constants.bits(name, "weights", &matrix);
                (
                    array,
                    Some(self.constants.bits(name, "mask", mask)),
                    n_words(sign),
                )
            }
            Weights::Planes(planes) => {
                // A row's planes follow one another, as rows of a taller matrix.
                let (n_cols, n_planes) = (planes.n_cols(), planes.planes().len());
                let bit =
                    |row: usize, col| planes.planes()[row % n_planes].get(row / n_planes, col);
                let matrix = BitMatrix::from_fn(planes.n_rows() * n_planes, n_cols, bit);
                let array = self.constants.bits(name, "weights", &matrix);
                (array, None, n_planes * n_words(&matrix))
            }
            Weights::Int8(values) => {
                let ints = values.values().iter().map(|&x| i32::from(x)).collect();
                let array = self.constants.bytes(name, "weights", Elem::I8, ints);
                (array, None, values.n_cols())
            }
            Weights::Real(values) => {
                let array = self.constants.reals(name, "weights", values.values());
                (array, None, values.n_cols())
            }
        }
    }
}

/// For counted rows: below how many differing bits the answer is +1, and which rows are inverted for it.
fn limits(
    weights: &Weights,
    bias: Option<&[i32]>,
    thresholds: &Thresholds,
) -> (Vec<i32>, Vec<bool>) {
    let ThresholdValues::Int(at) = &thresholds.at else {
        unreachable!("verify: sums of bits have integer thresholds")
    };
    let limit = |(row, &at): (usize, &i32)| {
        let n = i64::from(weights.row_nonzero(row));
        let at = i64::from(at) - i64::from(bias.map_or(0, |bias| bias[row]));
        let limit = ((n - at).div_euclid(2) + 1).clamp(0, n + 1);
        let limit = if thresholds.flip[row] {
            n + 1 - limit
        } else {
            limit
        };
        i32::try_from(limit).expect("limits: at most 2^24 columns")
    };
    (
        at.iter().enumerate().map(limit).collect(),
        thresholds.flip.clone(),
    )
}

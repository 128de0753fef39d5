//! Layers of a topology as nodes of a Program.
//!
//! In: a document and its tensors. Out: nodes, appended to a builder that checks each of them, so that what is
//! wrong is said with the name of the layer. Leaves the notation to `document` and matrices to `weights`.

use std::path::Path;

use onebit_model::VerifyErrors;
use onebit_model::builder::ProgramBuilder;
use onebit_model::program::{Conv2d, Kind, Op, Thresholds, Type, ValueId};
use onebit_model::weights::Weights;

use crate::error::ImportError;
use crate::topology::Translated;
use crate::topology::document::{
    Affine, BatchNorm, Clip, Conv, Dense, Document, Flip, LayerText, Numbers, Optional, Pair, Pool,
    Prelu, Quantize, Rprelu, Spec, Threshold,
};
use crate::topology::numbers::{compared, integers, reals};
use crate::topology::tensors::{Numbers64, Tensors};
use crate::topology::weights::{Weighted, conv_rows, dense_rows, weighted};
use crate::topology::windows::window;

/// Appends the nodes of every layer; gives each layer's value by its name.
pub(super) fn translate(
    path: &Path,
    builder: &mut ProgramBuilder,
    document: &Document,
    tensors: &Tensors,
) -> Result<Translated, ImportError> {
    let mut values = Translated::new();
    for text in &document.layers {
        let mut layer = Layer {
            path,
            b: builder,
            tensors,
            text,
        };
        if text.name == "input" || values.iter().any(|(name, _)| *name == text.name) {
            return Err(layer.wrong("its name is taken; give every layer a name of its own"));
        }
        let operands = layer.operands(&values)?;
        let value = layer.translate(&operands)?;
        values.push((text.name.clone(), value));
    }
    Ok(values)
}

struct Layer<'a> {
    path: &'a Path,
    b: &'a mut ProgramBuilder,
    tensors: &'a Tensors<'a>,
    text: &'a LayerText,
}

impl Layer<'_> {
    fn wrong(&self, reason: impl Into<String>) -> ImportError {
        ImportError::unsupported(
            self.path,
            self.text.name.as_str(),
            self.text.op.as_str(),
            reason,
        )
    }

    fn operands(&self, values: &Translated) -> Result<Vec<ValueId>, ImportError> {
        let Some(names) = &self.text.inputs else {
            let last = values.last().map_or(self.b.input(), |(_, id)| *id);
            return Ok(vec![last]);
        };
        let operand = |wanted: &String| {
            if wanted == "input" {
                return Ok(self.b.input());
            }
            let found = values.iter().find(|(name, _)| name == wanted);
            found.map(|(_, id)| *id).ok_or_else(|| {
                self.wrong(format!(
                    "its input {wanted:?} is no layer before it; name an earlier layer or \"input\""
                ))
            })
        };
        names.iter().map(operand).collect()
    }

    fn translate(&mut self, operands: &[ValueId]) -> Result<ValueId, ImportError> {
        let wanted = match &self.text.spec {
            Spec::Add | Spec::Mul => 2..=2,
            Spec::Concat | Spec::ConcatChannels => 1..=usize::MAX,
            _ => 1..=1,
        };
        if !wanted.contains(&operands.len()) {
            let n = operands.len();
            let least = wanted.start();
            return Err(self.wrong(format!(
                "has {n} inputs; it takes {least}, named by inputs = [...]"
            )));
        }
        let x = operands[0];
        match &self.text.spec {
            Spec::Dense(dense) => self.dense(x, dense),
            Spec::Conv(conv) => self.conv(x, conv),
            Spec::Sign => self.sign(x),
            Spec::Threshold(threshold) => self.threshold(x, threshold),
            Spec::Quantize(quantize) => self.quantize(x, quantize),
            Spec::Planes => self.last(Op::Planes, &[x]),
            Spec::Affine(affine) => self.affine(x, affine),
            Spec::BatchNorm(norm) => self.batch_norm(x, norm),
            Spec::Relu => self.last(Op::Relu, &[x]),
            Spec::Clip(clip) => self.clip(x, clip),
            Spec::Prelu(prelu) => self.prelu(x, prelu),
            Spec::Rprelu(rprelu) => self.rprelu(x, rprelu),
            Spec::Add => {
                let both_int = operands.iter().all(|&x| self.ty(x).kind == Kind::Int);
                if both_int {
                    return self.last(Op::Add, operands);
                }
                let operands = self.as_reals(operands)?;
                self.last(Op::Add, &operands)
            }
            Spec::Mul => {
                let operands = self.as_reals(operands)?;
                self.last(Op::Mul, &operands)
            }
            Spec::Concat => self.last(Op::Concat, operands),
            Spec::ConcatChannels => self.last(Op::ConcatChannels, operands),
            Spec::Slice(slice) => {
                let (start, size) = (slice.start.clone(), slice.size.clone());
                self.last(Op::Slice { start, size }, &[x])
            }
            Spec::Reshape(reshape) => {
                let shape = reshape.shape.clone();
                self.last(Op::Reshape { shape }, &[x])
            }
            Spec::Flatten => {
                let shape = vec![self.ty(x).n_elements()];
                self.last(Op::Reshape { shape }, &[x])
            }
            Spec::Transpose(transpose) => {
                let perm = transpose.perm.clone();
                self.last(Op::Transpose { perm }, &[x])
            }
            Spec::MaxPool(pool) => self.max_pool(x, pool),
            Spec::AvgPool(pool) => self.avg_pool(x, pool),
            Spec::GlobalAvgPool => self.last(Op::GlobalAvgPool, &[x]),
            Spec::Softmax => {
                let operands = self.as_reals(operands)?;
                self.last(Op::Softmax, &operands)
            }
            Spec::Argmax => self.last(Op::Argmax, &[x]),
        }
    }

    fn ty(&self, id: ValueId) -> Type {
        let ty = self
            .b
            .ty(id)
            .expect("every value was checked as it was appended");
        ty.clone()
    }

    fn channels(&self, id: ValueId) -> usize {
        let ty = self.ty(id);
        *ty.shape.last().expect("no shape is empty")
    }

    /// Height, width and channels of an image.
    fn image(&self, id: ValueId) -> Result<[usize; 3], ImportError> {
        let ty = self.ty(id);
        <[usize; 3]>::try_from(ty.shape).map_err(|shape| {
            self.wrong(format!(
                "its input has the shape {shape:?}, not [height, width, channels]; reshape it"
            ))
        })
    }

    /// Appends the node that bears the layer's name.
    fn last(&mut self, op: Op, operands: &[ValueId]) -> Result<ValueId, ImportError> {
        self.append("", op, operands)
    }

    /// Appends a node named for the layer and a part of it.
    fn append(
        &mut self,
        suffix: &str,
        op: Op,
        operands: &[ValueId],
    ) -> Result<ValueId, ImportError> {
        let name = self.b.unused_name(&format!("{}{suffix}", self.text.name));
        let appended = self.b.try_node(&name, op, operands);
        appended.map_err(|errors: VerifyErrors| {
            let messages = errors
                .violations
                .into_iter()
                .map(|violation| violation.message);
            self.wrong(messages.collect::<Vec<_>>().join("; "))
        })
    }

    /// The operands as reals; what is not real yet is converted, which is exact up to 2^24.
    fn as_reals(&mut self, operands: &[ValueId]) -> Result<Vec<ValueId>, ImportError> {
        let mut reals = Vec::with_capacity(operands.len());
        for &x in operands {
            if self.ty(x).kind == Kind::Real {
                reals.push(x);
                continue;
            }
            let channels = self.channels(x);
            let (scale, shift) = (vec![1.0; channels], vec![0.0; channels]);
            reals.push(self.append(".real", Op::Affine { scale, shift }, &[x])?);
        }
        Ok(reals)
    }

    fn as_real(&mut self, x: ValueId) -> Result<ValueId, ImportError> {
        let reals = self.as_reals(&[x])?;
        Ok(reals[0])
    }

    /// The tensor `NAME.key`, or the one that the layer names.
    fn tensor(&self, key: &str, named: Option<&String>) -> Result<Numbers64, ImportError> {
        match named {
            Some(name) => self.tensors.get(name),
            None => self.tensors.get(&self.own(key)),
        }
    }

    fn own(&self, key: &str) -> String {
        format!("{}.{key}", self.text.name)
    }

    /// A tensor that may be named, switched off, or there under its usual name.
    fn optional(
        &self,
        key: &str,
        named: Option<&Optional>,
        channels: usize,
    ) -> Result<Option<Vec<f64>>, ImportError> {
        let name = match named {
            Some(Optional::Tensor(name)) => name.clone(),
            Some(Optional::Switch(true)) => self.own(key),
            Some(Optional::Switch(false)) => return Ok(None),
            None if self.tensors.has(&self.own(key)) => self.own(key),
            None => return Ok(None),
        };
        let numbers = self.tensors.get(&name)?;
        self.one_per_channel(numbers, channels).map(Some)
    }

    fn one_per_channel(
        &self,
        numbers: Numbers64,
        channels: usize,
    ) -> Result<Vec<f64>, ImportError> {
        match numbers.values.len() {
            1 => Ok(vec![numbers.values[0]; channels]),
            n if n == channels => Ok(numbers.values),
            _ => {
                let reason = format!(
                    "has the shape {:?}; layer {} takes one number for each of its {channels} channels, or one for all",
                    numbers.shape, self.text.name
                );
                Err(self.tensors.wrong(&numbers.name, reason))
            }
        }
    }

    /// One number per channel: as written, or from the tensor `NAME.key` where there is one.
    fn per_channel(
        &self,
        key: &str,
        numbers: Option<&Numbers>,
        channels: usize,
    ) -> Result<Option<Vec<f64>>, ImportError> {
        match numbers {
            Some(Numbers::One(number)) => Ok(Some(vec![*number; channels])),
            Some(Numbers::Many(numbers)) if numbers.len() == channels => Ok(Some(numbers.clone())),
            Some(Numbers::Many(numbers)) => {
                let n = numbers.len();
                Err(self.wrong(format!(
                    "{key} has {n} numbers for {channels} channels; give one each, or one for all"
                )))
            }
            Some(Numbers::Tensor(name)) => {
                let numbers = self.tensors.get(name)?;
                self.one_per_channel(numbers, channels).map(Some)
            }
            None => self.optional(key, None, channels),
        }
    }

    fn reals(&self, key: &str, values: &[f64]) -> Result<Vec<f32>, ImportError> {
        reals(values).map_err(|problem| self.wrong(format!("{key}: {problem}")))
    }

    fn dense(&mut self, x: ValueId, dense: &Dense) -> Result<ValueId, ImportError> {
        let numbers = self.tensor("weight", dense.weight.as_ref())?;
        let operand = self.ty(x).shape;
        let weighted = dense_rows(&numbers, dense.weight_layout, dense.flattened, &operand)
            .and_then(|rows| weighted(&rows, dense.weights))
            .map_err(|reason| self.tensors.wrong(&numbers.name, reason))?;
        let bias = self.optional("bias", dense.bias.as_ref(), weighted.weights.n_rows())?;
        self.product(x, weighted, bias, |weights, bias| Op::Dense {
            weights,
            bias,
        })
    }

    fn conv(&mut self, x: ValueId, conv: &Conv) -> Result<ValueId, ImportError> {
        let [height, width, channels] = self.image(x)?;
        let groups = conv.groups.unwrap_or(1);
        if groups == 0 || channels % groups != 0 {
            let reason =
                format!("groups = {groups} does not divide the {channels} channels of its input");
            return Err(self.wrong(reason));
        }
        let numbers = self.tensor("weight", conv.weight.as_ref())?;
        let tensor_is_wrong = |reason| self.tensors.wrong(&numbers.name, reason);
        let (rows, kernel) =
            conv_rows(&numbers, conv.weight_layout, channels / groups).map_err(tensor_is_wrong)?;
        let weighted = weighted(&rows, conv.weights).map_err(tensor_is_wrong)?;
        let stride = conv.stride.as_ref().map_or([1, 1], Pair::get);
        let (dilation, padding) = (conv.dilation.as_ref(), conv.padding.as_ref());
        let window = window(kernel, stride, dilation, padding, [height, width])
            .map_err(|reason| self.wrong(reason))?;
        let bias = self.optional("bias", conv.bias.as_ref(), weighted.weights.n_rows())?;
        let pad = conv.pad_value;
        self.product(x, weighted, bias, |weights, bias| {
            Op::Conv2d(Conv2d {
                weights,
                bias,
                window,
                groups,
                pad,
            })
        })
    }

    /// A product, then its rows' scales and the bias: inside the product where all is integer, else as an affine.
    fn product(
        &mut self,
        x: ValueId,
        weighted: Weighted,
        bias: Option<Vec<f64>>,
        op: impl FnOnce(Weights, Option<Vec<i32>>) -> Op,
    ) -> Result<ValueId, ImportError> {
        let Weighted { weights, scale } = weighted;
        let is_real = weights.is_real() || self.ty(x).kind == Kind::Real;
        let n_rows = weights.n_rows();
        let whole = bias.as_ref().map(|bias| integers(bias));
        match (is_real, &scale, whole) {
            (_, None, None) => self.last(op(weights, None), &[x]),
            (false, None, Some(Some(bias))) => self.last(op(weights, Some(bias)), &[x]),
            _ => {
                let sums = self.append(".sum", op(weights, None), &[x])?;
                let scale = scale.unwrap_or_else(|| vec![1.0; n_rows]);
                let shift = match bias {
                    Some(bias) => self.reals("bias", &bias)?,
                    None => vec![0.0; n_rows],
                };
                self.last(Op::Affine { scale, shift }, &[sums])
            }
        }
    }

    fn sign(&mut self, x: ValueId) -> Result<ValueId, ImportError> {
        let ty = self.ty(x);
        if let Kind::Levels(_) = ty.kind {
            let reason = "its input is never negative; use op = \"threshold\" with at";
            return Err(self.wrong(reason));
        }
        let channels = self.channels(x);
        self.compare(x, &vec![0.0; channels], vec![false; channels])
    }

    fn threshold(&mut self, x: ValueId, threshold: &Threshold) -> Result<ValueId, ImportError> {
        let channels = self.channels(x);
        let Some(at) = self.per_channel("at", threshold.at.as_ref(), channels)? else {
            return Err(self.wrong("has no at: give a number, a list, or the name of a tensor"));
        };
        let flip = match &threshold.flip {
            None => vec![false; channels],
            Some(Flip::All(flip)) => vec![*flip; channels],
            Some(Flip::Each(flip)) => flip.clone(),
            Some(Flip::Tensor(name)) => {
                let numbers = self.tensors.get(name)?;
                let numbers = self.one_per_channel(numbers, channels)?;
                numbers.iter().map(|&flip| flip != 0.0).collect()
            }
        };
        self.compare(x, &at, flip)
    }

    fn compare(&mut self, x: ValueId, at: &[f64], flip: Vec<bool>) -> Result<ValueId, ImportError> {
        let at = compared(at, self.ty(x).kind)
            .map_err(|problem| self.wrong(format!("at: {problem}")))?;
        let at = at.into();
        self.last(Op::Threshold(Thresholds { at, flip }), &[x])
    }

    fn quantize(&mut self, x: ValueId, quantize: &Quantize) -> Result<ValueId, ImportError> {
        let values = match &quantize.cuts {
            Some(Numbers::One(cut)) => vec![*cut],
            Some(Numbers::Many(cuts)) => cuts.clone(),
            Some(Numbers::Tensor(name)) => self.tensors.get(name)?.values,
            None => self.tensor("cuts", None)?.values,
        };
        let cuts = compared(&values, self.ty(x).kind)
            .map_err(|problem| self.wrong(format!("cuts: {problem}")))?
            .into();
        let bits = quantize.bits;
        self.last(Op::Quantize { bits, cuts }, &[x])
    }

    fn affine(&mut self, x: ValueId, affine: &Affine) -> Result<ValueId, ImportError> {
        let channels = self.channels(x);
        let scale = self.per_channel("scale", affine.scale.as_ref(), channels)?;
        let shift = self.per_channel("shift", affine.shift.as_ref(), channels)?;
        if scale.is_none() && shift.is_none() {
            return Err(self.wrong("has neither scale nor shift; give one of them"));
        }
        let scale = self.reals("scale", &scale.unwrap_or_else(|| vec![1.0; channels]))?;
        let shift = self.reals("shift", &shift.unwrap_or_else(|| vec![0.0; channels]))?;
        self.last(Op::Affine { scale, shift }, &[x])
    }

    /// `weight * (x - mean) / sqrt(var + eps) + bias` as one affine, whose constants are rounded once.
    fn batch_norm(&mut self, x: ValueId, norm: &BatchNorm) -> Result<ValueId, ImportError> {
        let channels = self.channels(x);
        let gamma = self.optional("weight", norm.weight.as_ref(), channels)?;
        let beta = self.optional("bias", norm.bias.as_ref(), channels)?;
        let mean = self.tensor("running_mean", norm.mean.as_ref())?;
        let mean = self.one_per_channel(mean, channels)?;
        let var = self.tensor("running_var", norm.var.as_ref())?;
        let var = self.one_per_channel(var, channels)?;
        let mut scale = Vec::with_capacity(channels);
        let mut shift = Vec::with_capacity(channels);
        for c in 0..channels {
            let spread = var[c] + norm.eps;
            if spread.is_nan() || spread <= 0.0 {
                let reason =
                    format!("the variance of channel {c} plus eps is {spread}, not above 0");
                return Err(self.wrong(reason));
            }
            let factor = gamma.as_ref().map_or(1.0, |gamma| gamma[c]) / spread.sqrt();
            scale.push(factor);
            shift.push(beta.as_ref().map_or(0.0, |beta| beta[c]) - mean[c] * factor);
        }
        let (scale, shift) = (self.reals("scale", &scale)?, self.reals("shift", &shift)?);
        self.last(Op::Affine { scale, shift }, &[x])
    }

    fn clip(&mut self, x: ValueId, clip: &Clip) -> Result<ValueId, ImportError> {
        let x = self.as_real(x)?;
        let min = clip.min.unwrap_or(f64::NEG_INFINITY) as f32;
        let max = clip.max.unwrap_or(f64::INFINITY) as f32;
        self.last(Op::Clip { min, max }, &[x])
    }

    fn prelu(&mut self, x: ValueId, prelu: &Prelu) -> Result<ValueId, ImportError> {
        let x = self.as_real(x)?;
        let channels = self.channels(x);
        // PyTorch calls the slopes weights.
        let slope = match self.per_channel("slope", prelu.slope.as_ref(), channels)? {
            Some(slope) => slope,
            None => {
                let numbers = self.tensor("weight", None)?;
                self.one_per_channel(numbers, channels)?
            }
        };
        let slope = self.reals("slope", &slope)?;
        self.last(Op::Prelu { slope }, &[x])
    }

    fn rprelu(&mut self, x: ValueId, rprelu: &Rprelu) -> Result<ValueId, ImportError> {
        let x = self.as_real(x)?;
        let channels = self.channels(x);
        let part = |key: &str, numbers: Option<&Numbers>| {
            let values = self.per_channel(key, numbers, channels)?;
            let missing = || {
                self.wrong(format!(
                    "has no {key}; give a number, a list, or the name of a tensor"
                ))
            };
            self.reals(key, &values.ok_or_else(missing)?)
        };
        let before = part("before", rprelu.before.as_ref())?;
        let slope = part("slope", rprelu.slope.as_ref())?;
        let after = part("after", rprelu.after.as_ref())?;
        let op = Op::Rprelu {
            before,
            slope,
            after,
        };
        self.last(op, &[x])
    }

    fn max_pool(&mut self, x: ValueId, pool: &Pool) -> Result<ValueId, ImportError> {
        if pool.count_pads.is_some() {
            return Err(self.wrong("count_pads belongs to avg_pool; remove it"));
        }
        let window = self.pool_window(x, pool)?;
        self.last(Op::MaxPool(window), &[x])
    }

    fn avg_pool(&mut self, x: ValueId, pool: &Pool) -> Result<ValueId, ImportError> {
        let window = self.pool_window(x, pool)?;
        let count_pads = match pool.count_pads {
            Some(count_pads) => count_pads,
            None if window.pads == [0; 4] => false,
            None => {
                let reason = "has padding and no count_pads; say true where padded zeros are counted in the average \
                              (PyTorch's default) and false where they are not (TensorFlow)";
                return Err(self.wrong(reason));
            }
        };
        self.last(Op::AvgPool { window, count_pads }, &[x])
    }

    fn pool_window(
        &self,
        x: ValueId,
        pool: &Pool,
    ) -> Result<onebit_model::program::Window, ImportError> {
        let [height, width, _] = self.image(x)?;
        let kernel = pool.kernel.get();
        let stride = pool.stride.as_ref().map_or(kernel, Pair::get);
        let (dilation, padding) = (pool.dilation.as_ref(), pool.padding.as_ref());
        window(kernel, stride, dilation, padding, [height, width])
            .map_err(|reason| self.wrong(reason))
    }
}

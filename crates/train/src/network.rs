//! The network being trained: parameters, the training forward pass and the evaluation forward pass.
//!
//! In: a recipe's model and stage. Out: scores as a Burn tensor with its graph (training), or as plain
//! numbers equal bit for bit to `onebit_model`'s evaluation of the exported Net (evaluation).

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;
use onebit_model::net::BatchNorm;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::ops::{
    self, BatchStats, Dropout, Operand, Unit, activate, add_bias, batch_norm, dense, product,
    values,
};
use crate::optim::{Adam, Form, Param};
use crate::recipe::{Input, Model, Norm, Stage, StageKind};
use crate::simd::{for_row_groups, vectorized};

/// Added to a variance before its root.
pub const EPS: f32 = 1e-4;
/// How much of the running statistics one step replaces.
const STATS_RATE: f32 = 0.1;

/// Parameters of one batch normalisation.
#[derive(Clone, Debug)]
pub struct NormState {
    /// Gain, `[1, n]`.
    pub gamma: Param,
    /// Offset, `[1, n]`.
    pub beta: Param,
    /// Running mean.
    pub mean: Vec<f32>,
    /// Running variance.
    pub var: Vec<f32>,
}

/// Parameters of one layer.
#[derive(Clone, Debug)]
pub struct LayerState {
    /// `[n_out, n_in]`.
    pub weight: Param,
    /// `[1, n_out]`, where there is no normalisation and the stage has a bias.
    pub bias: Option<Param>,
    /// Where the layer is normalised.
    pub norm: Option<NormState>,
}

/// All layers, and how they are computed in the present stage.
#[derive(Clone, Debug)]
pub struct Network {
    /// First to last; the last one gives the scores.
    pub layers: Vec<LayerState>,
    /// How the present stage computes them.
    pub mode: Mode,
}

/// How a stage computes the layers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mode {
    /// Forward form of weights and biases.
    pub form: Form,
    /// Hidden units.
    pub unit: Unit,
    /// What the first layer's input holds.
    pub input: Operand,
    /// Probability of dropping an input.
    pub dropout_input: f32,
    /// Probability of dropping a hidden unit.
    pub dropout_hidden: f32,
    /// Whether sums without normalisation are divided by the root of the number of inputs. This changes
    /// no sign and no order of scores; it puts them where the derivative stand-ins and softmax expect them.
    pub scaled_sums: bool,
}

impl Mode {
    /// The mode of a stage.
    pub fn of(stage: &Stage, input: &Input) -> Mode {
        let (form, unit) = match stage.kind {
            StageKind::Compress => (Form::Tanh, Unit::Tanh),
            StageKind::Float => (Form::Real, Unit::Relu),
            StageKind::Bitwise if stage.sparsity > 0.0 => (
                Form::Ternary {
                    sparsity: stage.sparsity,
                },
                Unit::Sign(stage.estimator()),
            ),
            StageKind::Bitwise => (Form::Sign, Unit::Sign(stage.estimator())),
        };
        let input = match (stage.kind, input) {
            (StageKind::Bitwise, Input::Levels) => Operand::Real,
            (StageKind::Bitwise, Input::ZeroOne { .. }) => Operand::Ternary,
            (StageKind::Bitwise, input) if input.has_zero_one_planes() => Operand::Ternary,
            (StageKind::Bitwise, _) => Operand::Bits,
            _ => Operand::Real,
        };
        Mode {
            form,
            unit,
            input,
            dropout_input: stage.dropout_input,
            dropout_hidden: stage.dropout_hidden,
            scaled_sums: stage.kind == StageKind::Bitwise,
        }
    }

    /// What both operands of layer `layer`'s product hold.
    fn operand(&self, layer: usize, dropped: bool) -> Operand {
        let x = match (layer, self.unit) {
            (0, _) => self.input,
            (_, Unit::Sign(_)) => Operand::Bits,
            _ => Operand::Real,
        };
        match (x, self.form) {
            (Operand::Real, _) | (_, Form::Real | Form::Tanh) => Operand::Real,
            (Operand::Bits, Form::Sign) if !dropped => Operand::Bits,
            _ => Operand::Ternary,
        }
    }

    /// Factor on a sum of `n_in` terms without normalisation.
    fn sum_scale(&self, n_in: usize) -> f32 {
        if self.scaled_sums {
            1.0 / (n_in as f32).sqrt()
        } else {
            1.0
        }
    }
}

/// One training forward pass: the scores, and what the step after it needs.
pub struct Forward {
    /// `[batch, n_classes]`.
    pub scores: Tensor<2>,
    /// One tracked tensor per parameter, in the order of [`Network::params_mut`].
    pub leaves: Vec<Tensor<2>>,
    /// Batch statistics per layer.
    pub stats: Vec<Option<BatchStats>>,
}

impl Network {
    /// A network with Glorot-uniform weights; `n_inputs` is what the first layer sees.
    pub fn new(
        model: &Model,
        n_inputs: usize,
        n_classes: usize,
        mode: Mode,
        bias: bool,
        seed: u64,
    ) -> Network {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut sizes = vec![n_inputs];
        sizes.extend(&model.hidden);
        sizes.push(n_classes);
        let n_layers = sizes.len() - 1;
        let layers = (0..n_layers)
            .map(|i| {
                let norm = if i + 1 == n_layers {
                    model.output_norm
                } else {
                    model.norm
                };
                LayerState::new(sizes[i], sizes[i + 1], norm, bias, mode.form, &mut rng)
            })
            .collect();
        Network { layers, mode }
    }

    /// Takes over the weights for another stage: forward values follow the new form, moments restart.
    pub fn enter(&mut self, mode: Mode) {
        self.mode = mode;
        for (param, _) in self.params_mut() {
            param.reset_moments();
        }
        self.refresh();
    }

    /// Recomputes every forward value from its latent one.
    pub fn refresh(&mut self) {
        let form = self.mode.form;
        for (param, is_weight) in self.params_mut() {
            param.refresh(if is_weight { form } else { Form::Real });
        }
    }

    /// Every parameter, with whether it takes the stage's form (weights and biases do, batch norm does not).
    pub fn params_mut(&mut self) -> Vec<(&mut Param, bool)> {
        let mut params = Vec::new();
        for layer in &mut self.layers {
            params.push((&mut layer.weight, true));
            if let Some(bias) = &mut layer.bias {
                params.push((bias, true));
            }
            if let Some(norm) = &mut layer.norm {
                params.push((&mut norm.gamma, false));
                params.push((&mut norm.beta, false));
            }
        }
        params
    }

    /// Scores with the graph that leads to them. `seed` decides what dropout drops.
    pub fn forward(&self, x: FlexTensor, seed: u32) -> Forward {
        let mut leaves = Vec::new();
        let mut leaf = |param: &Param| {
            let leaf = Tensor::<2>::from_primitive::<Flex>(param.value.clone())
                .autodiff()
                .require_grad();
            leaves.push(leaf.clone());
            leaf
        };
        let mut stats = Vec::new();
        let mut x = self.dropped_input(x, seed);
        let last = self.layers.len() - 1;
        for (i, layer) in self.layers.iter().enumerate() {
            let rate = if i == 0 {
                self.mode.dropout_input
            } else {
                self.mode.dropout_hidden
            };
            let weight = leaf(&layer.weight);
            x = dense(
                x,
                weight,
                self.mode.operand(i, rate > 0.0),
                1.0 / (1.0 - rate),
            );
            let sum_scale = self.mode.sum_scale(layer.weight.dims().1);
            if let Some(bias) = &layer.bias {
                x = add_bias(x, leaf(bias), sum_scale);
            }
            if let Some(norm) = &layer.norm {
                let (y, s) = batch_norm(x, leaf(&norm.gamma), leaf(&norm.beta), EPS);
                stats.push(Some(s));
                x = y;
            } else {
                stats.push(None);
                if layer.bias.is_none() && sum_scale != 1.0 {
                    x = x * sum_scale;
                }
            }
            if i != last {
                x = activate(x, self.mode.unit, self.hidden_dropout(i, seed));
            }
        }
        Forward {
            scores: x,
            leaves,
            stats,
        }
    }

    fn hidden_dropout(&self, layer: usize, seed: u32) -> Dropout {
        Dropout {
            rate: self.mode.dropout_hidden,
            seed: seed
                .wrapping_add(layer as u32 + 1)
                .wrapping_mul(0x85EB_CA6B),
        }
    }

    fn dropped_input(&self, mut x: FlexTensor, seed: u32) -> Tensor<2> {
        let dropout = Dropout {
            rate: self.mode.dropout_input,
            seed: seed.wrapping_mul(0xC2B2_AE35),
        };
        ops::drop_in_place(&mut x, dropout);
        Tensor::<2>::from_primitive::<Flex>(x).autodiff()
    }

    /// Applies one optimizer step; returns (sign flips, binary weights).
    pub fn step(
        &mut self,
        grads: &[FlexTensor],
        stats: &[Option<BatchStats>],
        adam: Adam,
    ) -> (usize, usize) {
        let form = self.mode.form;
        let (mut flips, mut total) = (0, 0);
        for ((param, is_weight), grad) in self.params_mut().into_iter().zip(grads) {
            if is_weight {
                flips += param.step(values(grad), form, adam);
                total += param.latent.len();
            } else {
                param.step(
                    values(grad),
                    Form::Real,
                    Adam {
                        latent_clip: f32::INFINITY,
                        ..adam
                    },
                );
            }
        }
        for (layer, stats) in self.layers.iter_mut().zip(stats) {
            if let (Some(norm), Some(stats)) = (&mut layer.norm, stats) {
                blend(&mut norm.mean, &stats.mean);
                blend(&mut norm.var, &stats.var);
            }
        }
        (flips, total)
    }

    /// Scores in evaluation mode: running statistics, no dropout.
    ///
    /// In a bitwise stage these are the numbers that `onebit_model::evaluate` gives for the exported Net.
    pub fn evaluate(&self, x: FlexTensor) -> FlexTensor {
        let mut x = x;
        let last = self.layers.len() - 1;
        for (i, layer) in self.layers.iter().enumerate() {
            let mut y = product(&x, &layer.weight.value, self.mode.operand(i, false));
            layer.epilogue(&mut y);
            if i != last {
                let (rows, cols) = ops::shape(&y);
                y = ops::flex_tensor(ops::unit_values(values(&y), self.mode.unit), rows, cols);
            }
            x = y;
        }
        x
    }
}

impl LayerState {
    fn new(
        n_in: usize,
        n_out: usize,
        norm: Norm,
        bias: bool,
        form: Form,
        rng: &mut ChaCha8Rng,
    ) -> LayerState {
        let limit = (6.0 / (n_in + n_out) as f32).sqrt();
        let latent = (0..n_in * n_out)
            .map(|_| rng.random_range(-limit..limit))
            .collect();
        let vector = |value: f32| Param::new(vec![value; n_out], 1, n_out, Form::Real);
        LayerState {
            weight: Param::new(latent, n_out, n_in, form),
            bias: (norm == Norm::None && bias).then(|| {
                let latent = (0..n_out)
                    .map(|_| rng.random_range(-limit..limit))
                    .collect();
                Param::new(latent, 1, n_out, form)
            }),
            norm: (norm == Norm::Batch).then(|| NormState {
                gamma: vector(1.0),
                beta: vector(0.0),
                mean: vec![0.0; n_out],
                var: vec![1.0; n_out],
            }),
        }
    }

    /// Bias and normalisation of evaluation mode, rounded as `onebit_model::net` says.
    fn epilogue(&self, y: &mut FlexTensor) {
        let (_, cols) = ops::shape(y);
        if let Some(bias) = &self.bias {
            let bias = &values(&bias.value)[..cols];
            for_row_groups(y.storage_mut::<f32>(), cols, |_, rows| {
                vectorized(
                    #[inline(always)]
                    || {
                        for row in rows.chunks_exact_mut(cols) {
                            for (y, b) in row.iter_mut().zip(bias) {
                                *y += b;
                            }
                        }
                    },
                );
            });
        }
        if let Some(norm) = &self.norm {
            let norm = norm.frozen();
            let (scale, shift): (Vec<f32>, Vec<f32>) =
                (0..cols).map(|c| norm.scale_shift(c, f32::sqrt)).unzip();
            for_row_groups(y.storage_mut::<f32>(), cols, |_, rows| {
                vectorized(
                    #[inline(always)]
                    || {
                        for row in rows.chunks_exact_mut(cols) {
                            for ((y, a), b) in row.iter_mut().zip(&scale).zip(&shift) {
                                *y = *y * a + b;
                            }
                        }
                    },
                );
            });
        }
    }
}

impl NormState {
    /// The normalisation with its running statistics.
    pub fn frozen(&self) -> BatchNorm {
        BatchNorm {
            gamma: self.gamma.latent.clone(),
            beta: self.beta.latent.clone(),
            mean: self.mean.clone(),
            var: self.var.clone(),
            eps: EPS,
        }
    }
}

fn blend(running: &mut [f32], batch: &[f32]) {
    for (r, b) in running.iter_mut().zip(batch) {
        *r += STATS_RATE * (b - *r);
    }
}

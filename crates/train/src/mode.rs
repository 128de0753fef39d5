//! How a stage computes the network: the form of weights, the kind of activations, precision and dropout.

use crate::binarize::{self, CodeKind};
use crate::graph::{Dropped, Product};
use crate::ops::{Estimator, Precision, Unit, scheduled};
use crate::optim::Form;
use crate::recipe::layers::{
    ActivationName, ActivationSpec, ScaleName, StandardiseName, WeightName, WeightSpec,
};
use crate::recipe::{EstimatorName, Stage, StageKind};

/// How a stage computes the network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mode {
    /// What is binary.
    pub kind: StageKind,
    /// Form of the weights that follow the stage.
    pub form: Form,
    /// The estimator of activations that name none.
    pub estimator: EstimatorName,
    /// Its window.
    pub clip: f32,
    /// How gradients are multiplied.
    pub precision: Precision,
    /// Probability of dropping an input.
    pub dropout_input: f32,
    /// Probability of dropping a hidden unit.
    pub dropout_hidden: f32,
}

/// How a product's weights follow from their real copies in a stage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum WeightForm<'a> {
    /// A form with a fused optimizer step.
    Simple(Form),
    /// A method of `binarize`.
    Method(&'a WeightSpec),
}

/// Real weights of a layer without a norm.
static REAL_SCALED: WeightSpec = WeightSpec {
    form: WeightName::Real,
    scale: ScaleName::None,
    standardise: StandardiseName::Scaled,
    clip: 0.0,
    estimator: None,
    bits: None,
    bases: None,
    sparsity: None,
    fan_in: None,
};

impl WeightForm<'_> {
    /// The form of the parameter itself: methods keep their real copy there.
    pub fn simple(self) -> Form {
        match self {
            WeightForm::Simple(form) => form,
            WeightForm::Method(_) => Form::Real,
        }
    }

    /// Whether the weights are codes.
    pub fn is_binary(self) -> bool {
        self.code_kind() != CodeKind::Real
    }

    /// What the codes are.
    pub fn code_kind(self) -> CodeKind {
        match self {
            WeightForm::Simple(Form::Real | Form::Tanh) => CodeKind::Real,
            WeightForm::Simple(Form::Sign) => CodeKind::Bits,
            WeightForm::Simple(Form::Ternary { .. }) => CodeKind::Ternary,
            WeightForm::Method(spec) => binarize::code_kind(spec),
        }
    }
}

impl Mode {
    /// The mode of a stage.
    pub fn of(stage: &Stage) -> Mode {
        let form = match stage.kind {
            StageKind::Compress => Form::Tanh,
            StageKind::Float | StageKind::Real | StageKind::BinaryActivations => Form::Real,
            StageKind::Bitwise if stage.sparsity > 0.0 => Form::Ternary {
                sparsity: stage.sparsity,
            },
            StageKind::Bitwise => Form::Sign,
        };
        Mode {
            kind: stage.kind,
            form,
            estimator: stage.estimator,
            clip: stage.clip,
            precision: stage.gradients.precision(),
            dropout_input: stage.dropout_input,
            dropout_hidden: stage.dropout_hidden,
        }
    }

    /// How a product's weights follow from their real copies.
    pub fn form<'a>(&self, product: &'a Product) -> WeightForm<'a> {
        let spec = &product.weights;
        if product.follows_stage {
            return WeightForm::Simple(self.form);
        }
        let keeps_real = spec.form == WeightName::Real && spec.standardise == StandardiseName::None;
        match self.kind {
            _ if keeps_real => WeightForm::Simple(Form::Real),
            _ if spec.form == WeightName::Real => WeightForm::Method(spec),
            StageKind::Compress => WeightForm::Simple(Form::Tanh),
            // Standardised weights are what a network has instead of norms, whatever its weights are. A learned scale has
            // its values before the gains, and is only there in bits.
            StageKind::Float | StageKind::Real | StageKind::BinaryActivations
                if spec.standardise == StandardiseName::Scaled
                    && spec.scale != ScaleName::Learned =>
            {
                WeightForm::Method(&REAL_SCALED)
            }
            StageKind::Float | StageKind::Real | StageKind::BinaryActivations => {
                WeightForm::Simple(Form::Real)
            }
            StageKind::Bitwise if is_plain_sign(spec) => WeightForm::Simple(Form::Sign),
            StageKind::Bitwise => WeightForm::Method(spec),
        }
    }

    /// Whether the input is encoded and activations are codes; else real pixels in `[-1, 1]` or codes scaled to them come in.
    pub fn encodes(&self) -> bool {
        matches!(self.kind, StageKind::Bitwise | StageKind::BinaryActivations)
    }

    /// The function of an activation in training; `seed` draws stochastic ones.
    pub fn unit(&self, spec: &ActivationSpec, progress: f32, seed: u32) -> Unit {
        match self.kind {
            StageKind::Compress => return Unit::Tanh,
            StageKind::Real => {
                return match spec.form {
                    ActivationName::Heaviside | ActivationName::Dorefa => Unit::ClippedRelu,
                    _ => Unit::Hardtanh,
                };
            }
            StageKind::Float => return Unit::Relu,
            StageKind::Bitwise | StageKind::BinaryActivations => {}
        }
        let clip = spec.clip.unwrap_or(self.clip);
        let estimator: Estimator =
            scheduled(spec.estimator.unwrap_or(self.estimator), clip, progress);
        match spec.form {
            ActivationName::None => unreachable!("the graph has no such activation"),
            ActivationName::Sign | ActivationName::Rsign => Unit::Sign(estimator),
            ActivationName::Stochastic => Unit::Stochastic { seed },
            ActivationName::Heaviside => Unit::Heaviside { clip },
            ActivationName::Dorefa => Unit::Levels {
                bits: spec.bits.unwrap_or(2),
            },
        }
    }

    /// Probability of dropping an operand.
    pub fn dropout(&self, dropped: Dropped) -> f32 {
        match dropped {
            Dropped::Never => 0.0,
            Dropped::Input => self.dropout_input,
            Dropped::Hidden => self.dropout_hidden,
        }
    }

    /// Factor on a sum of `n_in` terms with a bias of the weights' form. It changes no sign and no order of
    /// scores; it puts them where the derivative stand-ins and softmax expect them.
    pub fn sum_scale(&self, n_in: usize) -> f32 {
        match self.kind {
            StageKind::Bitwise => 1.0 / (n_in as f32).sqrt(),
            _ => 1.0,
        }
    }
}

/// Whether a weight spec is the plain sign, which has a fused step of its own.
fn is_plain_sign(spec: &WeightSpec) -> bool {
    spec.form == WeightName::Sign
        && spec.scale == ScaleName::None
        && spec.standardise == StandardiseName::None
        && spec.clip == 0.0
        && matches!(spec.estimator, None | Some(EstimatorName::Identity))
}

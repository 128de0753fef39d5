//! The beginning of a run: what is checked before anything is trained or written, and the run folder.
//!
//! In: a recipe, a data set, a run folder. Out: a [`Run`] at its first step or where its checkpoint left it.

use onebit_data::{Dataset, Features, split_validation};
use onebit_model::net::{LayerOp, Net};
use onebit_model::weights::{BitMatrix, BitPlanes, Weights};

use super::resume::{changes, checksum};
use super::update::check_groups;
use super::{
    BEST_NET, FitError, FitOptions, LAST_CHECKPOINT, LOG, RESULT, Run, STAGES_CHECKPOINT, epoch,
};
use crate::checkpoint::{self, CheckpointError, Position, write_whole};
use crate::device::Device;
use crate::encode::{Feeder, fit_encoder};
use crate::export::export;
use crate::graph::{GraphNode, NodeOp, ValueKind};
use crate::mode::Mode;
use crate::network::Network;
use crate::recipe::layers::WeightName;
use crate::recipe::optimizer::{GroupSpec, LrScale, Match};
use crate::recipe::{Recipe, Stage};

impl<'a> Run<'a> {
    /// A run whose recipe and data fit one another; nothing is written yet.
    pub(super) fn open(
        recipe: &'a Recipe,
        data: &'a Dataset,
        options: &FitOptions,
    ) -> Result<Run<'a>, FitError> {
        check_data(recipe, data)?;
        let encoder =
            fit_encoder(&recipe.input, data).map_err(|problem| mismatch(data, problem))?;
        let (mut train, validation) = split_validation(&data.train, recipe.validation, recipe.seed);
        if recipe.examples > 0 {
            (_, train) = split_validation(&train, recipe.examples, recipe.seed.wrapping_add(1));
        }
        let mut run = Run {
            recipe,
            data,
            dir: options.run_dir.clone(),
            train,
            validation,
            feeder: Feeder::new(encoder, &recipe.input, &data.shape),
            position: Position {
                recipe: recipe.to_toml(),
                data: checksum(data),
                ..Position::default()
            },
            resumed: false,
            resumes: options.resume,
            device: Device::open(options.device)?,
        };
        if options.resume && run.checkpoint_path().exists() {
            run.take_up(checkpoint::position(&run.checkpoint_path())?)?;
        }
        Ok(run)
    }

    /// Goes on from a position, with a recipe that may have changed in what is still to come.
    fn take_up(&mut self, mut position: Position) -> Result<(), FitError> {
        let broken = |problem: String| CheckpointError::Broken {
            path: self.checkpoint_path(),
            problem,
        };
        if position.data != 0 && position.data != self.position.data {
            let name = &self.data.name;
            return Err(broken(format!("began with other data than `{name}` holds now")).into());
        }
        if position.recipe != self.position.recipe {
            let changes = changes(&position, self.recipe).map_err(broken)?;
            position.changes.extend(changes);
            position.recipe.clone_from(&self.position.recipe);
        }
        position.data = self.position.data;
        self.position = position;
        self.resumed = true;
        Ok(())
    }

    /// Makes the run folder; a run that starts afresh takes away what another has left there.
    pub(super) fn begin(&self) -> Result<(), FitError> {
        let io = |source| CheckpointError::Io {
            path: self.dir.clone(),
            source,
        };
        std::fs::create_dir_all(&self.dir).map_err(io)?;
        if !self.resumed {
            for name in [LAST_CHECKPOINT, STAGES_CHECKPOINT, BEST_NET, LOG, RESULT] {
                match std::fs::remove_file(self.dir.join(name)) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        return Err(io(error).into());
                    }
                    _ => {}
                }
            }
        }
        let recipe = self.position.recipe.as_bytes();
        Ok(write_whole(&self.dir.join("recipe.toml"), recipe)?)
    }

    /// Whether the recipe's network fits the data and every value of its Net, whatever the weights become: before any
    /// training. Gives what is allowed and worth knowing.
    pub(super) fn fits(&self) -> Result<Vec<String>, FitError> {
        let Some(stage) = self.recipe.stages.last() else {
            return Ok(Vec::new());
        };
        self.check_augmentation()?;
        if let Some(twin) = &self.recipe.twin {
            check_groups(twin, "twin", &self.enter(twin, None)?)?;
        }
        let mut network = self.enter(stage, None)?;
        for (i, stage) in self.recipe.stages.iter().enumerate() {
            network.enter(Mode::of(stage));
            check_groups(stage, &format!("stage[{i}]"), &network)?;
        }
        let mut net = export(&network, self.recipe, self.feeder.encoder(), self.data);
        for layer in &mut net.layers {
            fill(&mut layer.op);
        }
        self.check_net(&net)?;
        Ok(self.notes(&network, stage))
    }

    /// What the recipe asks for that is allowed and worth knowing.
    fn notes(&self, network: &Network, last: &Stage) -> Vec<String> {
        let mut notes = Vec::new();
        let real = real_products(network);
        if !real.is_empty() {
            notes.push(format!(
                "{}: binary weights times real numbers, no XNOR; `input = \"sign\"` makes bits of what a layer reads",
                real.join(", ")
            ));
        }
        let is_drawn = |node: &GraphNode| matches!(&node.op, NodeOp::Product(product) if product.weights.form == WeightName::Stochastic);
        if network.graph.nodes.iter().any(is_drawn) {
            if last.recalibrate == 0 {
                notes.push(
                    "stochastic weights are deployed as their signs, whose batch statistics differ; `recalibrate = 50` in \
                     the last stage averages them anew"
                        .to_string(),
                );
            }
            let is_far = |group: &GroupSpec| {
                group.matches == Match::BinaryWeights && group.lr_scale == LrScale::Glorot
            };
            if !last.groups.iter().any(is_far) {
                notes.push(
                    "stochastic weights are noise until they are far from 0; a group of \"binary-weights\" with \
                     `lr_scale = \"glorot\"` has BinaryConnect's rates, which take them there"
                        .to_string(),
                );
            }
        }
        let available = self.data.train.len() - self.recipe.validation;
        if self.recipe.examples > available {
            notes.push(format!(
                "`examples` is {}, but there are {available}",
                self.recipe.examples
            ));
        }
        notes
    }

    fn check_net(&self, net: &Net) -> Result<(), FitError> {
        let Err(errors) = onebit_model::check_net(net) else {
            return Ok(());
        };
        let mut problem = format!("the recipe's network cannot be lowered: {errors}");
        if problem.contains("2^24") {
            problem += "\n  sums stay small behind a `norm` and with `input = \"sign\"` in the layers that read them";
        }
        Err(mismatch(self.data, problem))
    }

    fn check_augmentation(&self) -> Result<(), FitError> {
        let is_image = matches!(self.data.train.features, Features::U8(_))
            && matches!(self.data.shape.len(), 2 | 3);
        let teacher = self.recipe.teacher.as_ref().map(|teacher| &teacher.stage);
        let stages = self.recipe.stages.iter().chain(&self.recipe.twin);
        let changes = |stage: &Stage| !epoch::augment_of(stage, 0).is_none();
        if !is_image && stages.chain(teacher).any(changes) {
            let problem = "its examples are no images, which the recipe's augment_ keys are for; leave them out";
            return Err(mismatch(self.data, problem.into()));
        }
        Ok(())
    }
}

fn mismatch(data: &Dataset, problem: String) -> FitError {
    FitError::Mismatch {
        data: data.name.clone(),
        problem,
    }
}

/// Whether there is enough to train and test on.
fn check_data(recipe: &Recipe, data: &Dataset) -> Result<(), FitError> {
    let n = data.train.len();
    if recipe.validation + 2 > n {
        let problem = format!(
            "`validation` is {}, but there are {n} training examples; hold out fewer",
            recipe.validation
        );
        return Err(mismatch(data, problem));
    }
    if data.test.is_empty() {
        return Err(mismatch(data, "it has no test examples".into()));
    }
    if data.n_classes < 2 {
        return Err(mismatch(
            data,
            "it has one class; there is nothing to tell apart".into(),
        ));
    }
    Ok(())
}

/// The greatest weights that training may come to: sums reach furthest with them.
fn fill(op: &mut LayerOp) {
    let weights = match op {
        LayerOp::Dense { weights, .. } => weights,
        LayerOp::Conv2d(conv) => &mut conv.weights,
        _ => return,
    };
    let (rows, cols) = (weights.n_rows(), weights.n_cols());
    let ones = || BitMatrix::from_fn(rows, cols, |_, _| true);
    match weights {
        Weights::Bits(bits) => *bits = ones(),
        Weights::Ternary { sign, mask } => (*sign, *mask) = (ones(), ones()),
        Weights::Planes(planes) => {
            let n = planes.planes().len();
            *planes = BitPlanes::new(vec![ones(); n]).expect("planes of one shape");
        }
        Weights::Int8(_) | Weights::Real(_) => {}
    }
}

/// The products of binary weights with real numbers.
fn real_products(network: &Network) -> Vec<&str> {
    let nodes = network.graph.nodes.iter().enumerate();
    let reads_reals = |node: &GraphNode| network.kind(node.inputs[0]) == ValueKind::Real;
    nodes
        .filter(|(idx, node)| {
            matches!(node.op, NodeOp::Product(_)) && network.is_binary(*idx) && reads_reals(node)
        })
        .map(|(_, node)| &*node.name)
        .collect()
}

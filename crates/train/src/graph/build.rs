//! From a recipe's layers to a graph, with every shape checked.

use super::joins::Around;
use super::limits::{MAX_BUILT, MAX_KERNEL};
use super::*;
use crate::recipe::layers::{ConvSpec, Defaults, DenseSpec, LayerSpec, ShortcutName, WeightName};
use crate::recipe::{MAX_NODES, MAX_WIDTH, Model, Recipe};

/// The graph of a recipe over an encoded input of this shape and kind.
///
/// # Errors
/// [`RecipeError::Value`] naming the layer, with both shapes where they do not fit.
pub fn build(
    recipe: &Recipe,
    input: Extent,
    input_kind: ValueKind,
    n_classes: usize,
) -> Result<Graph, RecipeError> {
    let mut builder = Builder {
        graph: Graph {
            input,
            input_kind,
            nodes: Vec::new(),
        },
        defaults: recipe.defaults.clone(),
        at: String::new(),
        n_conv: 0,
        n_dense: 0,
        n_other: 0,
        n_layers: 0,
        n_weights: 0,
        n_classes,
    };
    match &recipe.model {
        Some(model) => builder.dense_model(model)?,
        None => {
            let mut x = 0;
            if recipe.input.normalises() {
                let op = NodeOp::Rescale {
                    scale: 1.0 / 127.5,
                    shift: -1.0,
                };
                x = builder.push("input.scaled".into(), op, vec![0], input, ValueKind::Real);
            }
            let x = builder.layers(&recipe.layers, x, "layer")?;
            builder.check_scores(x)?;
        }
    }
    Ok(builder.graph)
}

pub(super) struct Builder {
    pub(super) graph: Graph,
    pub(super) defaults: Defaults,
    /// The key of the layer being built, for errors.
    at: String,
    n_conv: usize,
    n_dense: usize,
    n_other: usize,
    /// Layers built, those of repeated blocks each time.
    n_layers: usize,
    /// Weights of all products.
    pub(super) n_weights: usize,
    n_classes: usize,
}

pub(super) type Built = Result<usize, RecipeError>;

impl Builder {
    pub(super) fn push(
        &mut self,
        name: String,
        op: NodeOp,
        inputs: Vec<usize>,
        extent: Extent,
        kind: ValueKind,
    ) -> usize {
        self.graph.nodes.push(GraphNode {
            name,
            op,
            inputs,
            extent,
            kind,
        });
        self.graph.nodes.len()
    }

    pub(super) fn fail<T>(&self, problem: impl Into<String>) -> Result<T, RecipeError> {
        Err(RecipeError::Value {
            key: self.at.clone(),
            problem: problem.into(),
        })
    }

    /// The short form: fully connected layers of these widths.
    fn dense_model(&mut self, model: &Model) -> Result<(), RecipeError> {
        let mut widths = model.hidden.clone();
        widths.push(self.n_classes);
        let last = widths.len() - 1;
        let mut x = 0;
        for (i, &n_out) in widths.iter().enumerate() {
            let (name, norm) = match i == last {
                true => ("scores".to_string(), model.output_norm),
                false => (format!("hidden{}", i + 1), model.norm),
            };
            self.at = match i == last {
                true => "model".into(),
                false => format!("model.hidden[{i}]"),
            };
            let n_in = self.graph.extent(x).elements();
            self.count_weights(n_out, n_in)?;
            let product = Product {
                shape: ProductShape::Dense { n_in, n_out },
                weights: WeightName::Sign.into(),
                follows_stage: true,
                bias: norm == Norm::None,
                dropped: if i == 0 {
                    Dropped::Input
                } else {
                    Dropped::Hidden
                },
            };
            let to = Extent::flat(n_out);
            x = self.push(
                name.clone(),
                NodeOp::Product(product),
                vec![x],
                to,
                ValueKind::Real,
            );
            if norm == Norm::Batch {
                x = self.push(
                    format!("{name}.norm"),
                    NodeOp::BatchNorm { is_integer: false },
                    vec![x],
                    to,
                    ValueKind::Real,
                );
            }
            if i != last {
                let op = NodeOp::Activate {
                    spec: ActivationName::Sign.into(),
                    drops: true,
                };
                x = self.push(format!("{name}.sign"), op, vec![x], to, ValueKind::Bits);
            }
        }
        Ok(())
    }

    fn layers(&mut self, specs: &[LayerSpec], mut x: usize, at: &str) -> Built {
        for (i, spec) in specs.iter().enumerate() {
            self.at = format!("{at}[{i}]");
            self.n_layers += 1;
            if self.n_layers > MAX_BUILT {
                return self.fail(format!("comes after {MAX_BUILT} layers of repeated blocks"));
            }
            if spec.needs_image() && self.is_flat(x) {
                let from = self.graph.extent(x);
                return self.fail(format!(
                    "needs an image, but its input {from} is a row: it follows a dense layer or an average over the image"
                ));
            }
            let repeat = match spec {
                LayerSpec::Conv(conv) | LayerSpec::Separable(conv) => conv.repeat,
                LayerSpec::Dense(dense) => dense.repeat,
                LayerSpec::Block(block) => block.repeat,
                _ => 1,
            };
            if !(1..=MAX_NODES).contains(&repeat) {
                return self.fail(format!(
                    "has repeat = {repeat}; allowed are 1 to {MAX_NODES}"
                ));
            }
            self.check_size()?;
            x = match spec {
                LayerSpec::Conv(conv) => {
                    let mut conv = conv.clone();
                    for _ in 0..conv.repeat {
                        self.check_size()?;
                        x = self.conv(&conv, x)?;
                        conv.stride = 1;
                        conv.pool = None;
                    }
                    x
                }
                LayerSpec::Separable(conv) => {
                    let mut conv = conv.clone();
                    for _ in 0..conv.repeat {
                        self.check_size()?;
                        x = self.separable(&conv, x)?;
                        conv.stride = 1;
                        conv.pool = None;
                    }
                    x
                }
                LayerSpec::Dense(dense) => {
                    for _ in 0..dense.repeat {
                        self.check_size()?;
                        x = self.dense(dense, x)?;
                    }
                    x
                }
                LayerSpec::MaxPool(pool) => self.pool(pool, x, true)?,
                LayerSpec::AvgPool(pool) => self.pool(pool, x, false)?,
                LayerSpec::GlobalAvgPool(_) => {
                    let to = Extent::flat(self.graph.extent(x).channels);
                    let name = self.other("average");
                    self.push(name, NodeOp::GlobalAvgPool, vec![x], to, ValueKind::Real)
                }
                LayerSpec::Norm(spec) => {
                    let name = self.other("norm");
                    self.norm(&name, x, spec.norm, spec.groups)?
                }
                LayerSpec::Block(block) => {
                    let inner = format!("{at}[{i}].layers");
                    for _ in 0..block.repeat {
                        x = self.layers(&block.layers, x, &inner)?;
                    }
                    x
                }
            };
        }
        Ok(x)
    }

    fn check_size(&self) -> Result<(), RecipeError> {
        if self.graph.nodes.len() > MAX_NODES {
            return self.fail(format!("makes a network of more than {MAX_NODES} steps"));
        }
        Ok(())
    }

    pub(super) fn other(&mut self, what: &str) -> String {
        self.n_other += 1;
        format!("{what}{}", self.n_other)
    }

    fn check_scores(&mut self, x: usize) -> Result<(), RecipeError> {
        self.at = "layer".into();
        let (extent, kind) = (self.graph.extent(x), self.graph.kind(x));
        if extent.elements() != self.n_classes {
            let n = self.n_classes;
            return self.fail(format!(
                "ends with {extent}, but the data has {n} classes: end with a dense layer of {n} units"
            ));
        }
        let is_integer =
            |node: &&GraphNode| matches!(node.op, NodeOp::BatchNorm { is_integer: true });
        if let Some(node) = self.graph.nodes[..x.max(1) - 1].iter().find(is_integer) {
            let name = node.name.clone();
            return self.fail(format!(
                "`{name}` is a \"batch-integer\" norm, which is for the scores: give it to the last layer alone"
            ));
        }
        if kind != ValueKind::Real || x == 0 {
            return self.fail("must end with a product or a norm, whose values are the scores");
        }
        Ok(())
    }

    /// The quantised operand of a product, and what stood before it.
    fn quantised(&mut self, name: &str, x: usize, spec: Option<&ActivationSpec>) -> Built {
        let is_first = matches!(self.graph.kind(x), ValueKind::Levels { .. })
            || x == 0
            || self.graph.nodes[x - 1].name == "input.scaled";
        let spec = match spec.or(self.defaults.input.as_ref().filter(|_| !is_first)) {
            Some(spec) if spec.form != ActivationName::None => spec.clone(),
            _ => return Ok(x),
        };
        self.check_activation(&spec)?;
        if self.graph.kind(x) != ValueKind::Real {
            return match spec.form {
                ActivationName::Sign if self.graph.kind(x) == ValueKind::Bits => Ok(x),
                _ => self.fail(
                    "binarises an input that is already codes; give input = \"none\" for this layer",
                ),
            };
        }
        let kind = match spec.form {
            ActivationName::Sign | ActivationName::Rsign | ActivationName::Stochastic => {
                ValueKind::Bits
            }
            ActivationName::Heaviside => ValueKind::Levels { bits: 1, unit: 1.0 },
            ActivationName::Dorefa => {
                let bits = spec.bits.unwrap_or(2);
                ValueKind::Levels {
                    bits,
                    unit: 1.0 / ((1u32 << bits) - 1) as f32,
                }
            }
            ActivationName::None => unreachable!("handled above"),
        };
        let extent = self.graph.extent(x);
        let op = NodeOp::Activate { spec, drops: false };
        Ok(self.push(format!("{name}.input"), op, vec![x], extent, kind))
    }

    fn weights(&self, spec: &Option<WeightSpec>) -> WeightSpec {
        let given = spec.clone().or_else(|| self.defaults.weights.clone());
        given.unwrap_or_else(|| WeightName::Sign.into())
    }

    fn unit(&mut self, name: &str, x: usize, unit: Option<UnitName>) -> usize {
        let unit = unit.or(self.defaults.unit).unwrap_or(UnitName::None);
        if unit == UnitName::None {
            return x;
        }
        let extent = self.graph.extent(x);
        self.push(
            format!("{name}.unit"),
            NodeOp::Unit(unit),
            vec![x],
            extent,
            ValueKind::Real,
        )
    }

    fn after_product(&mut self, name: &str, mut x: usize, bias: bool, bits: Option<u8>) -> Built {
        let extent = self.graph.extent(x);
        if let Some(bits) = bits {
            if !(1..=8).contains(&bits) {
                return self.fail("has gradient_bits outside 1 to 8");
            }
            let op = NodeOp::QuantiseGradient { bits };
            x = self.push(
                format!("{name}.gradient"),
                op,
                vec![x],
                extent,
                ValueKind::Real,
            );
        }
        if bias {
            let op = NodeOp::Bias;
            x = self.push(format!("{name}.bias"), op, vec![x], extent, ValueKind::Real);
        }
        Ok(x)
    }

    fn dense(&mut self, spec: &DenseSpec, before: usize) -> Built {
        self.n_dense += 1;
        let name = format!("dense{}", self.n_dense);
        let n_out = spec.units.unwrap_or(self.n_classes);
        if n_out == 0 || n_out > MAX_WIDTH {
            return self.fail(format!("has {n_out} units; allowed are 1 to {MAX_WIDTH}"));
        }
        let x = self.quantised(&name, before, spec.input.as_ref())?;
        let weights = self.weights(&spec.weights);
        self.check_weights(&weights)?;
        let n_in = self.graph.extent(x).elements();
        self.count_weights(n_out, n_in)?;
        let product = Product {
            shape: ProductShape::Dense { n_in, n_out },
            weights,
            follows_stage: false,
            bias: false,
            dropped: Dropped::Never,
        };
        let to = Extent::flat(n_out);
        let mut x = self.push(
            name.clone(),
            NodeOp::Product(product),
            vec![x],
            to,
            ValueKind::Real,
        );
        x = self.after_product(&name, x, spec.bias, spec.gradient_bits)?;
        let norm = spec.norm.or(self.defaults.norm).unwrap_or(NormName::None);
        x = self.norm(&format!("{name}.norm"), x, norm, spec.groups_of_norm)?;
        let unit = if spec.units.is_none() && spec.unit.is_none() {
            Some(UnitName::None)
        } else {
            spec.unit
        };
        Ok(self.unit(&name, x, unit))
    }

    fn window(&self, spec: &ConvSpec) -> Window {
        let reach = spec.dilation.saturating_mul(spec.kernel.saturating_sub(1));
        let pad = spec.pad.unwrap_or(reach / 2);
        Window {
            kernel: [spec.kernel; 2],
            stride: [spec.stride; 2],
            dilation: [spec.dilation; 2],
            pads: [pad; 4],
        }
    }

    fn conv_shape(&self, spec: &ConvSpec, x: usize) -> Result<ProductShape, RecipeError> {
        let from = self.graph.extent(x);
        if [spec.kernel, spec.stride, spec.dilation, spec.groups].contains(&0)
            || spec.channels == 0
            || spec.channels > MAX_WIDTH
        {
            return self.fail(format!(
                "needs channels of 1 to {MAX_WIDTH} and a kernel, stride, dilation and groups of at least 1"
            ));
        }
        if spec.kernel > MAX_KERNEL {
            return self.fail(format!(
                "has a window of {k} by {k} taps over its input of {from}; allowed are {MAX_KERNEL} each way",
                k = spec.kernel
            ));
        }
        if spec.pool == Some(0) {
            return self.fail("has pool = 0; leave it out, or give a size of at least 1");
        }
        let window = self.window(spec);
        let Some([height, width]) = window.output([from.height, from.width]) else {
            return self.fail(format!(
                "has a window of {k} by {k} taps with padding {}, which does not fit its input of {from}",
                window.pads[0],
                k = spec.kernel
            ));
        };
        let to = Extent {
            height,
            width,
            channels: spec.channels,
        };
        self.check_extent(to)?;
        if !from.channels.is_multiple_of(spec.groups) || !spec.channels.is_multiple_of(spec.groups)
        {
            return self.fail(format!(
                "has {} groups, which do not divide both its input of {from} and its {} channels",
                spec.groups, spec.channels
            ));
        }
        let kind = self.graph.kind(x);
        let default_pad = i32::from(kind == ValueKind::Bits);
        let pad = spec
            .pad_value
            .or(self.defaults.pad_value.filter(|_| kind == ValueKind::Bits))
            .unwrap_or(default_pad);
        let allowed = match kind {
            ValueKind::Bits => -1..=1,
            ValueKind::Levels { .. } => 0..=1,
            ValueKind::Real => -1..=1,
        };
        if !allowed.contains(&pad) {
            return self.fail(format!(
                "has pad_value = {pad}; its input allows {} to {}",
                allowed.start(),
                allowed.end()
            ));
        }
        Ok(ProductShape::Conv {
            from,
            to,
            window,
            groups: spec.groups,
            pad,
        })
    }

    fn conv(&mut self, spec: &ConvSpec, before: usize) -> Built {
        self.n_conv += 1;
        let name = format!("conv{}", self.n_conv);
        let quantised = self.quantised(&name, before, spec.input.as_ref())?;
        let shape = self.conv_shape(spec, quantised)?;
        let ProductShape::Conv { to, window, .. } = shape else {
            unreachable!("conv_shape makes convolutions")
        };
        self.count_weights(shape.n_rows(), shape.n_cols())?;
        let weights = self.weights(&spec.weights);
        self.check_weights(&weights)?;
        let standardise = weights.standardise;
        let product = Product {
            shape,
            weights,
            follows_stage: false,
            bias: false,
            dropped: Dropped::Never,
        };
        let mut x = self.push(
            name.clone(),
            NodeOp::Product(product),
            vec![quantised],
            to,
            ValueKind::Real,
        );
        x = self.after_product(&name, x, spec.bias, spec.gradient_bits)?;
        if spec.scale_map {
            if quantised == before || spec.groups != 1 {
                return self.fail(
                    "has scale_map, which needs a real input that this layer binarises, and one group",
                );
            }
            let op = NodeOp::ScaleMap { window };
            x = self.push(
                format!("{name}.map"),
                op,
                vec![x, before],
                to,
                ValueKind::Real,
            );
        }
        if let Some(size) = spec.pool.filter(|&size| size > 1) {
            x = self.window_pool(&format!("{name}.pool"), x, square(size, size, 0), true)?;
        }
        let norm = spec.norm.or(self.defaults.norm).unwrap_or(NormName::None);
        x = self.norm(&format!("{name}.norm"), x, norm, spec.groups_of_norm)?;
        let from_kind = self.graph.kind(before);
        let is_code = matches!(from_kind, ValueKind::Levels { .. });
        // A first layer reads codes: there is nothing real to add, so the default shortcut leaves it out.
        let default = self.defaults.shortcut.filter(|_| !is_code);
        let shortcut = spec.shortcut.or(default).unwrap_or(ShortcutName::None);
        if shortcut != ShortcutName::None {
            let around = Around {
                shortcut,
                norm,
                groups: spec.groups_of_norm,
                standardise,
            };
            x = self.add_shortcut(&name, x, before, around)?;
        }
        Ok(self.unit(&name, x, spec.unit))
    }

    fn separable(&mut self, spec: &ConvSpec, before: usize) -> Built {
        let channels = self.graph.extent(before).channels;
        let depthwise = ConvSpec {
            channels,
            groups: channels,
            repeat: 1,
            ..spec.clone()
        };
        let x = self.conv(&depthwise, before)?;
        let pointwise = ConvSpec {
            kernel: 1,
            stride: 1,
            dilation: 1,
            pad: Some(0),
            pool: None,
            ..spec.clone()
        };
        self.conv(&pointwise, x)
    }
}

pub(super) fn square(size: usize, stride: usize, pad: usize) -> Window {
    Window {
        kernel: [size; 2],
        stride: [stride; 2],
        dilation: [1, 1],
        pads: [pad; 4],
    }
}

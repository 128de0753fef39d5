//! From a trained network to a plain `Net`.
//!
//! In: a [`Network`] in a bitwise stage. Out: the Net whose evaluation equals the network's own, bit for bit.

use onebit_data::{Dataset, Features};
use onebit_model::net::{Encoder, GroupNorm, Layer, LayerOp, Net};
use onebit_model::program::{Conv2d, Kind, Type, ValueId, Window};
use onebit_model::weights::{BitMatrix, BitPlanes, Matrix, Weights};

use crate::binarize::CodeKind;
use crate::graph::{Extent, GraphNode, NodeOp, Product, ProductShape, ValueKind};
use crate::network::{EPS, Network, NodeState, Role};
use crate::ops::{Factor, column_factors, map_weight, values};
use crate::recipe::Recipe;
use crate::recipe::layers::{ActivationName, UnitName};

/// The Net of a network whose stage is bitwise. `recipe` gives its name and what its input bits count as, `encoder` is
/// the one that fed it, `data` the set whose examples go in: `[h, w, c]` codes of 8 bits, or `[n]` reals.
///
/// A graph may have steps that no Program has; `onebit_model::check_net` of the result says so, before training too.
pub fn export(network: &Network, recipe: &Recipe, encoder: &Encoder, data: &Dataset) -> Net {
    let mut settled = network.clone();
    settled.settle();
    let mut exporter = Exporter {
        network: &settled,
        zero_one_planes: recipe.input.has_zero_one_planes(),
        layers: Vec::new(),
        values: vec![ValueId(0)],
        ints: vec![false],
    };
    for (idx, node) in settled.graph.nodes.iter().enumerate() {
        let is_int = exporter.is_int(idx, node);
        let value = exporter.node(idx, node);
        exporter.values.push(value);
        exporter.ints.push(is_int);
    }
    // Quantile cuts are per feature, so real examples go in flat.
    let input = match data.train.features {
        Features::U8(_) => Type {
            kind: Kind::Levels(8),
            shape: data.shape.clone(),
        },
        Features::F32(_) => Type {
            kind: Kind::Real,
            shape: vec![data.shape.iter().product()],
        },
    };
    Net {
        name: recipe.name.clone(),
        input,
        encoder: encoder.clone(),
        layers: exporter.layers,
        notes: vec![
            ("classes".into(), data.class_names.join(",")),
            ("data".into(), data.name.clone()),
        ],
    }
}

struct Exporter<'a> {
    network: &'a Network,
    zero_one_planes: bool,
    layers: Vec<Layer>,
    /// What each value of the graph is in the Net.
    values: Vec<ValueId>,
    /// Whether it is int there; what the graph calls real may be either.
    ints: Vec<bool>,
}

impl Exporter<'_> {
    fn push(&mut self, name: &str, op: LayerOp, inputs: Vec<ValueId>) -> ValueId {
        self.layers.push(Layer {
            name: name.to_string(),
            op,
            inputs,
        });
        ValueId(self.layers.len())
    }

    fn node(&mut self, idx: usize, node: &GraphNode) -> ValueId {
        let network = self.network;
        let state = &network.nodes[idx];
        let channels = node.extent.channels;
        let x = self.operands(node);
        let op = match &node.op {
            NodeOp::Rescale { scale, shift } => LayerOp::Affine {
                scale: vec![*scale; channels],
                shift: vec![*shift; channels],
            },
            NodeOp::Product(product) => return self.product(idx, node, product),
            NodeOp::Bias => LayerOp::Affine {
                scale: vec![1.0; channels],
                shift: state.param(Role::Bias).latent.clone(),
            },
            NodeOp::BatchNorm { is_integer: false } => LayerOp::Norm(state.frozen()),
            NodeOp::BatchNorm { is_integer: true } => {
                let (scale, shift) = network.deployed_norm(idx);
                integer_norm(&scale, &shift)
            }
            NodeOp::GroupNorm { groups } => LayerOp::GroupNorm(GroupNorm {
                groups: *groups,
                gamma: state.param(Role::Gamma).latent.clone(),
                beta: state.param(Role::Beta).latent.clone(),
                eps: EPS,
            }),
            NodeOp::Activate { spec, .. } => {
                let mut x = x[0];
                if let Some(shift) = state.find(Role::Shift) {
                    let op = LayerOp::Affine {
                        scale: vec![1.0; channels],
                        shift: shift.latent.clone(),
                    };
                    x = self.push(&format!("{}.shift", node.name), op, vec![x]);
                }
                let op = match spec.form {
                    ActivationName::Heaviside => LayerOp::Heaviside,
                    ActivationName::Dorefa => LayerOp::Quantize {
                        bits: spec.bits.unwrap_or(2),
                    },
                    _ => LayerOp::Sign,
                };
                return self.push(&node.name, op, vec![x]);
            }
            NodeOp::Unit(unit) => match unit_op(*unit, state) {
                Some(op) => op,
                None => return x[0],
            },
            NodeOp::Add => LayerOp::Add,
            NodeOp::Repeat { times } => {
                return self.push(&node.name, LayerOp::ConcatChannels, vec![x[0]; *times]);
            }
            NodeOp::MaxPool(window) => LayerOp::MaxPool(*window),
            NodeOp::AvgPool(window) => LayerOp::AvgPool {
                window: *window,
                count_pads: false,
            },
            NodeOp::GlobalAvgPool => LayerOp::GlobalAvgPool,
            NodeOp::ScaleMap { window } => {
                let from = network.graph.extent(node.inputs[1]);
                return self.scale_map(&node.name, x[0], x[1], from, channels, *window);
            }
            NodeOp::QuantiseGradient { .. } => return x[0],
        };
        self.push(&node.name, op, x)
    }

    /// Whether the Net computes integers where the graph has this node.
    fn is_int(&self, idx: usize, node: &GraphNode) -> bool {
        match &node.op {
            NodeOp::Product(product) => {
                let factors = &self.network.nodes[idx].factors;
                self.network.kind(node.inputs[0]) != ValueKind::Real
                    && self.code_kind(idx, product) != CodeKind::Real
                    && factors.iter().all(|factor| factor.scale.is_none())
                    && self.network.unit_of_input(idx) == 1.0
            }
            NodeOp::MaxPool(_)
            | NodeOp::Repeat { .. }
            | NodeOp::QuantiseGradient { .. }
            | NodeOp::BatchNorm { is_integer: true }
            | NodeOp::Unit(UnitName::Relu)
            | NodeOp::Add => node.inputs.iter().all(|&id| self.ints[id]),
            _ => false,
        }
    }

    /// A node's operands, integers made real where its layer reads no integers.
    fn operands(&mut self, node: &GraphNode) -> Vec<ValueId> {
        let needs_real = match &node.op {
            NodeOp::GroupNorm { .. } | NodeOp::ScaleMap { .. } => true,
            NodeOp::Unit(unit) => *unit != UnitName::Relu,
            NodeOp::Activate { spec, .. } => spec.form == ActivationName::Dorefa,
            NodeOp::Add => !node.inputs.iter().all(|&id| self.ints[id]),
            _ => false,
        };
        let mut operands = Vec::new();
        for (i, &id) in node.inputs.iter().enumerate() {
            let mut x = self.values[id];
            if needs_real && self.ints[id] {
                let n = self.network.graph.extent(id).channels;
                let op = LayerOp::Affine {
                    scale: vec![1.0; n],
                    shift: vec![0.0; n],
                };
                x = self.push(&format!("{}.real{i}", node.name), op, vec![x]);
            }
            operands.push(x);
        }
        operands
    }

    /// What the Net's weights of a product are.
    fn code_kind(&self, idx: usize, product: &Product) -> CodeKind {
        match self.network.mode.form(product).code_kind() {
            // Sums that may round have an order, which only a Net's real weights have.
            CodeKind::Ints if !self.network.sums_are_exact(idx, product) => CodeKind::Real,
            kind => kind,
        }
    }

    /// Weights times operand, then the scales: one product per factor, added in their order.
    fn product(&mut self, idx: usize, node: &GraphNode, product: &Product) -> ValueId {
        let network = self.network;
        let state = &network.nodes[idx];
        let x = self.values[node.inputs[0]];
        let unit = network.unit_of_input(idx);
        let code_kind = self.code_kind(idx, product);
        let bias = state.find(Role::FormBias).map(|bias| {
            let is_first = node.inputs[0] == 0;
            form_bias(state, values(&bias.value), is_first && self.zero_one_planes)
        });
        let mut total = None;
        for (i, factor) in state.factors.iter().enumerate() {
            let part = |what: &str| match state.factors.len() {
                1 => format!("{}{what}", node.name),
                _ => format!("{}.base{i}{what}", node.name),
            };
            let op = product_op(product, factor, code_kind, bias.clone());
            let mut y = self.push(&part(""), op, vec![x]);
            if factor.scale.is_some() || unit != 1.0 {
                let n = product.shape.n_rows();
                let scale = column_factors(factor.scale.as_deref(), unit, n);
                let shift = vec![0.0; n];
                y = self.push(&part(".scale"), LayerOp::Affine { scale, shift }, vec![y]);
            }
            total = Some(match total {
                None => y,
                Some(before) => self.push(&part(".sum"), LayerOp::Add, vec![before, y]),
            });
        }
        total.expect("a product has at least one factor")
    }

    /// `y * K`, where K is the convolution of `|x|` with equal weights, spread over the channels of `y`.
    fn scale_map(
        &mut self,
        name: &str,
        y: ValueId,
        x: ValueId,
        from: Extent,
        channels: usize,
        window: Window,
    ) -> ValueId {
        let minus = LayerOp::Affine {
            scale: vec![-1.0; from.channels],
            shift: vec![0.0; from.channels],
        };
        let minus = self.push(&format!("{name}.minus"), minus, vec![x]);
        let low = self.push(&format!("{name}.low"), LayerOp::Relu, vec![minus]);
        let high = self.push(&format!("{name}.high"), LayerOp::Relu, vec![x]);
        let size = self.push(&format!("{name}.size"), LayerOp::Add, vec![high, low]);
        let n = window.kernel[0] * window.kernel[1] * from.channels;
        let weight = map_weight(from, &window);
        let mean = real_conv(Matrix::from_fn(1, n, |_, _| weight), window);
        let mean = self.push(&format!("{name}.mean"), mean, vec![size]);
        let spread = real_conv(
            Matrix::from_fn(channels, 1, |_, _| 1.0),
            Window::new([1, 1]),
        );
        let spread = self.push(&format!("{name}.spread"), spread, vec![mean]);
        self.push(name, LayerOp::Mul, vec![y, spread])
    }
}

fn real_conv(weights: Matrix<f32>, window: Window) -> LayerOp {
    LayerOp::Conv2d(Conv2d {
        weights: Weights::Real(weights),
        bias: None,
        window,
        groups: 1,
        pad: 0,
    })
}

fn unit_op(unit: UnitName, state: &NodeState) -> Option<LayerOp> {
    let latent = |role| state.param(role).latent.clone();
    Some(match unit {
        UnitName::None => return None,
        UnitName::Relu => LayerOp::Relu,
        UnitName::Hardtanh => LayerOp::Clip {
            min: -1.0,
            max: 1.0,
        },
        UnitName::Prelu => LayerOp::Prelu {
            slope: latent(Role::Slope),
        },
        UnitName::Rprelu => LayerOp::Rprelu {
            before: latent(Role::Shift),
            slope: latent(Role::Slope),
            after: latent(Role::After),
        },
    })
}

fn product_op(
    product: &Product,
    factor: &Factor,
    kind: CodeKind,
    bias: Option<Vec<i32>>,
) -> LayerOp {
    let weights = weights(factor, kind, product.shape.n_rows(), product.shape.n_cols());
    match product.shape {
        ProductShape::Dense { .. } => LayerOp::Dense { weights, bias },
        ProductShape::Conv {
            window,
            groups,
            pad,
            ..
        } => LayerOp::Conv2d(Conv2d {
            weights,
            bias,
            window,
            groups,
            pad,
        }),
    }
}

/// A batch norm of integers as a product with a diagonal of weights.
fn integer_norm(scale: &[f32], shift: &[f32]) -> LayerOp {
    let n = scale.len();
    let gain = |row: usize, col| if row == col { scale[row] as i8 } else { 0 };
    LayerOp::Dense {
        weights: Weights::Int8(Matrix::from_fn(n, n, gain)),
        bias: Some(shift.iter().map(|&b| b as i32).collect()),
    }
}

/// The integer bias. Bits that trained as 0/1 and deploy as -1/+1 double the sums, less the row's own sum.
fn form_bias(state: &NodeState, bias: &[f32], zero_one_planes: bool) -> Vec<i32> {
    let bias = bias.iter().map(|&v| v as i32);
    if !zero_one_planes {
        return bias.collect();
    }
    let weight = state.param(Role::Weight);
    let rows = values(&weight.value).chunks_exact(weight.dims().1);
    bias.zip(rows)
        .map(|(b, row)| 2 * b + row.iter().sum::<f32>() as i32)
        .collect()
}

/// The bits of weights that are odd numbers, where 2 to 7 hold them.
fn n_planes(values: &[f32]) -> Option<usize> {
    let largest = values.iter().map(|v| v.abs()).reduce(f32::max)?;
    let planes = BitPlanes::N_PLANES.map(usize::from);
    let is_odd = values.iter().all(|v| v.abs() % 2.0 == 1.0);
    let mut fitting = planes.filter(|&n| is_odd && largest < (1 << n) as f32);
    fitting.next()
}

fn weights(factor: &Factor, kind: CodeKind, rows: usize, cols: usize) -> Weights {
    let value = values(&factor.codes);
    let is_within = |most: f32| value.iter().all(|v| v.abs() <= most);
    let sign = || BitMatrix::from_fn(rows, cols, |r, c| value[r * cols + c] > 0.0);
    let real = || Weights::Real(Matrix::from_fn(rows, cols, |r, c| value[r * cols + c]));
    match kind {
        CodeKind::Bits => Weights::Bits(sign()),
        CodeKind::Ternary => Weights::Ternary {
            sign: sign(),
            mask: BitMatrix::from_fn(rows, cols, |r, c| value[r * cols + c] != 0.0),
        },
        CodeKind::Ints if let Some(n_planes) = n_planes(value) => {
            let value = |r, c| value[r * cols + c] as i32;
            Weights::Planes(BitPlanes::from_fn(n_planes, rows, cols, value))
        }
        CodeKind::Ints if is_within(127.0) => Weights::Int8(Matrix::from_fn(rows, cols, |r, c| {
            value[r * cols + c] as i8
        })),
        CodeKind::Ints | CodeKind::Real => real(),
    }
}

//! The `.bnn` file: a Program as bytes.
//!
//! A well-formed Program comes in and bytes go out, the same bytes for the same Program on every
//! machine; or bytes come in and a verified Program or an error that says where goes out. Reading
//! and writing of files is left to the caller. FORMAT.md has the layout.

use alloc::format;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use crate::container::{self, Contents};
use crate::outline::{
    Conv2dOutline, NumberKind, Outline, OutlineNode, OutlineOp, WeightKind, WeightsOutline, n_cuts,
};
use crate::packed::{
    PackedTensor, pack_bits, pack_flags, pack_int8_matrix, pack_ints, pack_real_matrix, pack_reals,
    unpack_bits, unpack_flags, unpack_int8_matrix, unpack_ints, unpack_real_matrix, unpack_reals,
};
use crate::program::{Conv2d, Cuts, GroupNorm, Node, Op, Program, ThresholdValues, Thresholds};
use crate::text;
use crate::verify::verify;
use crate::weights::{BitPlanes, Weights};

pub use crate::container::BnnError;

/// The bytes of a Program's file.
///
/// # Panics
///
/// If the Program is malformed; what `verify` accepts can always be written.
pub fn write(program: &Program) -> Vec<u8> {
    if let Err(errors) = verify(program) {
        panic!("a malformed Program cannot be written: {errors}");
    }
    let tensors: Vec<PackedTensor> = program.nodes.iter().flat_map(pack_node).collect();
    container::pack(&text::print(program), &tensors)
}

/// The Program in a file's bytes.
pub fn read(bytes: &[u8]) -> Result<Program, BnnError> {
    let mut contents = container::unpack(bytes)?;
    let outline = text::parse(&contents.text)?;
    let mut nodes = Vec::with_capacity(outline.nodes.len());
    for node in outline.nodes {
        nodes.push(read_node(node, &mut contents)?);
    }
    contents.finish()?;
    let Outline {
        name,
        notes,
        input,
        output,
        ..
    } = Outline {
        nodes: Vec::new(),
        ..outline
    };
    let program = Program {
        name,
        input,
        nodes,
        output,
        notes,
    };
    verify(&program).map_err(BnnError::InvalidProgram)?;
    Ok(program)
}

/// The tensors of one node.
pub(crate) fn pack_node(node: &Node) -> Vec<PackedTensor> {
    let name = |part: &str| format!("{}.{part}", node.name);
    match &node.op {
        Op::Dense { weights, bias } | Op::Conv2d(Conv2d { weights, bias, .. }) => {
            let mut tensors = pack_weights(&node.name, weights);
            tensors.extend(bias.iter().map(|bias| pack_ints(name("bias"), bias)));
            tensors
        }
        Op::Threshold(Thresholds { at, flip }) => {
            let mut tensors = vec![match at {
                ThresholdValues::Int(at) => pack_ints(name("at"), at),
                ThresholdValues::Real(at) => pack_reals(name("at"), at),
            }];
            if flip.contains(&true) {
                tensors.push(pack_flags(name("flip"), flip));
            }
            tensors
        }
        Op::Quantize { cuts, .. } => vec![match cuts {
            Cuts::Int(cuts) => pack_ints(name("cuts"), cuts),
            Cuts::Real(cuts) => pack_reals(name("cuts"), cuts),
        }],
        Op::Affine { scale, shift } => {
            vec![
                pack_reals(name("scale"), scale),
                pack_reals(name("shift"), shift),
            ]
        }
        Op::Prelu { slope } => vec![pack_reals(name("slope"), slope)],
        Op::Rprelu {
            before,
            slope,
            after,
        } => vec![
            pack_reals(name("before"), before),
            pack_reals(name("slope"), slope),
            pack_reals(name("after"), after),
        ],
        Op::GroupNorm(norm) => vec![
            pack_reals(name("gamma"), &norm.gamma),
            pack_reals(name("beta"), &norm.beta),
        ],
        Op::Planes
        | Op::Relu
        | Op::Clip { .. }
        | Op::Add
        | Op::Mul
        | Op::Concat
        | Op::ConcatChannels
        | Op::Slice { .. }
        | Op::Reshape { .. }
        | Op::Transpose { .. }
        | Op::MaxPool(_)
        | Op::AvgPool { .. }
        | Op::GlobalAvgPool
        | Op::Softmax
        | Op::Argmax => Vec::new(),
    }
}

/// The tensors of a weight matrix: `OWNER.sign` and, for ternary weights, `OWNER.mask`, or `OWNER.plane0` and
/// on, or `OWNER.weights`.
pub(crate) fn pack_weights(owner: &str, weights: &Weights) -> Vec<PackedTensor> {
    let name = |part: &str| format!("{owner}.{part}");
    match weights {
        Weights::Bits(sign) => vec![pack_bits(name("sign"), sign)],
        Weights::Ternary { sign, mask } => {
            vec![pack_bits(name("sign"), sign), pack_bits(name("mask"), mask)]
        }
        Weights::Planes(planes) => {
            let planes = planes.planes().iter().enumerate();
            planes
                .map(|(i, plane)| pack_bits(name(&format!("plane{i}")), plane))
                .collect()
        }
        Weights::Int8(values) => vec![pack_int8_matrix(name("weights"), values)],
        Weights::Real(values) => vec![pack_real_matrix(name("weights"), values)],
    }
}

/// Reads what [`pack_weights`] wrote.
pub(crate) fn read_weights(
    owner: &str,
    outline: WeightsOutline,
    contents: &mut Contents<'_>,
) -> Result<Weights, BnnError> {
    let WeightsOutline {
        kind,
        n_rows,
        n_cols,
    } = outline;
    let name = |part: &str| format!("{owner}.{part}");
    let plane = |part: &str, contents: &mut Contents<'_>| {
        unpack_bits(&contents.tensor(&name(part))?, n_rows, n_cols)
    };
    Ok(match kind {
        WeightKind::Bits => Weights::Bits(plane("sign", contents)?),
        WeightKind::Ternary => Weights::Ternary {
            sign: plane("sign", contents)?,
            mask: plane("mask", contents)?,
        },
        WeightKind::Planes(n) => {
            let planes = (0..n).map(|i| plane(&format!("plane{i}"), contents));
            let planes = planes.collect::<Result<Vec<_>, _>>()?;
            Weights::Planes(BitPlanes::new(planes).expect("the text has 2 to 7 planes of one size"))
        }
        WeightKind::Int8 => Weights::Int8(unpack_int8_matrix(
            &contents.tensor(&name("weights"))?,
            n_rows,
            n_cols,
        )?),
        WeightKind::Real => Weights::Real(unpack_real_matrix(
            &contents.tensor(&name("weights"))?,
            n_rows,
            n_cols,
        )?),
    })
}

/// Reads the bias of a product if there is one.
fn read_bias(
    name: &str,
    has_bias: bool,
    n_rows: usize,
    contents: &mut Contents<'_>,
) -> Result<Option<Vec<i32>>, BnnError> {
    if !has_bias {
        return Ok(None);
    }
    unpack_ints(&contents.tensor(&format!("{name}.bias"))?, n_rows).map(Some)
}

/// Joins one node of the outline with its tensors.
#[expect(clippy::too_many_lines, reason = "a flat match, one arm for each op")]
pub(crate) fn read_node(node: OutlineNode, contents: &mut Contents<'_>) -> Result<Node, BnnError> {
    let OutlineNode { name, op, inputs } = node;
    let part = |part: &str| format!("{name}.{part}");
    let reals = |what: &str, n: usize, contents: &mut Contents<'_>| {
        unpack_reals(&contents.tensor(&part(what))?, n)
    };
    let op = match op {
        OutlineOp::Dense { weights, has_bias } => Op::Dense {
            weights: read_weights(&name, weights, contents)?,
            bias: read_bias(&name, has_bias, weights.n_rows, contents)?,
        },
        OutlineOp::Conv2d(outline) => Op::Conv2d(read_conv2d(&name, outline, contents)?),
        OutlineOp::Threshold {
            number,
            n_channels,
            has_flip,
        } => {
            let stored = part("at");
            let stored = contents.tensor(&stored)?;
            let at = match number {
                NumberKind::Int => ThresholdValues::Int(unpack_ints(&stored, n_channels)?),
                NumberKind::Real => ThresholdValues::Real(unpack_reals(&stored, n_channels)?),
            };
            let flip = match has_flip {
                false => vec![false; n_channels],
                true => unpack_flags(&contents.tensor(&part("flip"))?, n_channels)?,
            };
            Op::Threshold(Thresholds { at, flip })
        }
        OutlineOp::Quantize {
            bits,
            number,
            n_channels,
        } => {
            // What overflows is no tensor's length.
            let n = n_channels.unwrap_or(1).saturating_mul(n_cuts(bits));
            let stored = part("cuts");
            let stored = contents.tensor(&stored)?;
            let cuts = match number {
                NumberKind::Int => Cuts::Int(unpack_ints(&stored, n)?),
                NumberKind::Real => Cuts::Real(unpack_reals(&stored, n)?),
            };
            Op::Quantize { bits, cuts }
        }
        OutlineOp::Affine { n_channels } => Op::Affine {
            scale: reals("scale", n_channels, contents)?,
            shift: reals("shift", n_channels, contents)?,
        },
        OutlineOp::Prelu { n_channels } => Op::Prelu {
            slope: reals("slope", n_channels, contents)?,
        },
        OutlineOp::Rprelu { n_channels } => Op::Rprelu {
            before: reals("before", n_channels, contents)?,
            slope: reals("slope", n_channels, contents)?,
            after: reals("after", n_channels, contents)?,
        },
        OutlineOp::GroupNorm {
            n_channels,
            groups,
            eps,
        } => Op::GroupNorm(GroupNorm {
            groups,
            gamma: reals("gamma", n_channels, contents)?,
            beta: reals("beta", n_channels, contents)?,
            eps,
        }),
        OutlineOp::Planes => Op::Planes,
        OutlineOp::Relu => Op::Relu,
        OutlineOp::Clip { min, max } => Op::Clip { min, max },
        OutlineOp::Add => Op::Add,
        OutlineOp::Mul => Op::Mul,
        OutlineOp::Concat => Op::Concat,
        OutlineOp::ConcatChannels => Op::ConcatChannels,
        OutlineOp::Slice { start, size } => Op::Slice { start, size },
        OutlineOp::Reshape { shape } => Op::Reshape { shape },
        OutlineOp::Transpose { perm } => Op::Transpose { perm },
        OutlineOp::MaxPool(window) => Op::MaxPool(window),
        OutlineOp::AvgPool { window, count_pads } => Op::AvgPool { window, count_pads },
        OutlineOp::GlobalAvgPool => Op::GlobalAvgPool,
        OutlineOp::Softmax => Op::Softmax,
        OutlineOp::Argmax => Op::Argmax,
    };
    Ok(Node {
        name: name.to_string(),
        op,
        inputs,
    })
}

fn read_conv2d(
    name: &str,
    outline: Conv2dOutline,
    contents: &mut Contents<'_>,
) -> Result<Conv2d, BnnError> {
    let n_rows = outline.weights.n_rows;
    Ok(Conv2d {
        weights: read_weights(name, outline.weights, contents)?,
        bias: read_bias(name, outline.has_bias, n_rows, contents)?,
        window: outline.window,
        groups: outline.groups,
        pad: outline.pad,
    })
}

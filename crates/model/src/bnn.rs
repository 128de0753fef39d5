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
use crate::outline::{NumberKind, Outline, OutlineNode, OutlineOp, WeightsOutline};
use crate::packed::{
    PackedTensor, pack_bits, pack_flags, pack_ints, pack_reals, unpack_bits, unpack_flags,
    unpack_ints, unpack_reals,
};
use crate::program::{Cuts, Node, Op, Program, ThresholdValues, Thresholds};
use crate::text;
use crate::verify::verify;
use crate::weights::Weights;

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
fn pack_node(node: &Node) -> Vec<PackedTensor> {
    let name = |part: &str| format!("{}.{part}", node.name);
    match &node.op {
        Op::Dense { weights, bias } => {
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
        Op::Planes | Op::Concat | Op::Argmax => Vec::new(),
    }
}

/// The planes of a weight matrix: `OWNER.sign` and, for ternary weights, `OWNER.mask`.
pub(crate) fn pack_weights(owner: &str, weights: &Weights) -> Vec<PackedTensor> {
    let mut tensors = vec![pack_bits(format!("{owner}.sign"), weights.sign())];
    if let Weights::Ternary { mask, .. } = weights {
        tensors.push(pack_bits(format!("{owner}.mask"), mask));
    }
    tensors
}

/// Reads what [`pack_weights`] wrote.
pub(crate) fn read_weights(
    owner: &str,
    outline: WeightsOutline,
    contents: &mut Contents<'_>,
) -> Result<Weights, BnnError> {
    let WeightsOutline {
        is_ternary,
        n_rows,
        n_cols,
    } = outline;
    let mut plane = |part: &str| {
        unpack_bits(
            &contents.tensor(&format!("{owner}.{part}"))?,
            n_rows,
            n_cols,
        )
    };
    let sign = plane("sign")?;
    Ok(match is_ternary {
        false => Weights::Bits(sign),
        true => Weights::Ternary {
            sign,
            mask: plane("mask")?,
        },
    })
}

/// Joins one node of the outline with its tensors.
fn read_node(node: OutlineNode, contents: &mut Contents<'_>) -> Result<Node, BnnError> {
    let OutlineNode { name, op, inputs } = node;
    let part = |part: &str| format!("{name}.{part}");
    let op = match op {
        OutlineOp::Dense { weights, has_bias } => {
            let n_rows = weights.n_rows;
            let weights = read_weights(&name, weights, contents)?;
            let bias = match has_bias {
                false => None,
                true => Some(unpack_ints(&contents.tensor(&part("bias"))?, n_rows)?),
            };
            Op::Dense { weights, bias }
        }
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
        OutlineOp::Quantize { bits, number } => {
            let n_cuts = (1usize << bits) - 1;
            let stored = part("cuts");
            let stored = contents.tensor(&stored)?;
            let cuts = match number {
                NumberKind::Int => Cuts::Int(unpack_ints(&stored, n_cuts)?),
                NumberKind::Real => Cuts::Real(unpack_reals(&stored, n_cuts)?),
            };
            Op::Quantize { bits, cuts }
        }
        OutlineOp::Affine { n_channels } => Op::Affine {
            scale: unpack_reals(&contents.tensor(&part("scale"))?, n_channels)?,
            shift: unpack_reals(&contents.tensor(&part("shift"))?, n_channels)?,
        },
        OutlineOp::Planes => Op::Planes,
        OutlineOp::Concat => Op::Concat,
        OutlineOp::Argmax => Op::Argmax,
    };
    Ok(Node {
        name: name.to_string(),
        op,
        inputs,
    })
}

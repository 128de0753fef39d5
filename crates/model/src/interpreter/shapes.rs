//! Ops that move elements.

use alloc::vec;
use alloc::vec::Vec;

use crate::program::Kind;
use crate::tensor::Tensor;

/// Bit plane 0 of all elements, then plane 1, and so on; a set bit is +1.
pub(super) fn planes(kind: Kind, x: &Tensor) -> Tensor {
    let (Kind::Levels(bits), Tensor::Levels(codes)) = (kind, x) else {
        unreachable!("verify: planes reads levels");
    };
    let plane = |plane: u8| codes.iter().map(move |code| (code >> plane) & 1 == 1);
    Tensor::Bits((0..bits).flat_map(plane).collect())
}

/// The operands' elements, in operand order.
pub(super) fn concat<'a>(operands: impl Iterator<Item = &'a Tensor>) -> Tensor {
    let mut joined = Vec::new();
    for operand in operands {
        let Tensor::Bits(bits) = operand else {
            unreachable!("verify: concat reads bits")
        };
        joined.extend_from_slice(bits);
    }
    Tensor::Bits(joined)
}

/// For every position the channels of each operand in turn; operands come with their channels.
pub(crate) fn concat_channels(operands: &[(&Tensor, usize)], result: &[usize]) -> Tensor {
    let n_channels = result[result.len() - 1];
    let n_positions = result.iter().product::<usize>() / n_channels;
    // Which element of which operand each element of the result is.
    let mut sources = Vec::with_capacity(n_positions * n_channels);
    for position in 0..n_positions {
        for (operand_idx, (_, n)) in operands.iter().enumerate() {
            sources.extend((0..*n).map(|channel| (operand_idx, position * n + channel)));
        }
    }
    match operands[0].0 {
        Tensor::Bits(_) => Tensor::Bits(picked(operands, &sources, |x| match x {
            Tensor::Bits(x) => Some(x),
            _ => None,
        })),
        Tensor::Levels(_) => Tensor::Levels(picked(operands, &sources, |x| match x {
            Tensor::Levels(x) => Some(x),
            _ => None,
        })),
        Tensor::Int(_) => Tensor::Int(picked(operands, &sources, |x| match x {
            Tensor::Int(x) => Some(x),
            _ => None,
        })),
        Tensor::Real(_) => Tensor::Real(picked(operands, &sources, |x| match x {
            Tensor::Real(x) => Some(x),
            _ => None,
        })),
    }
}

fn picked<'a, T: Copy + 'a>(
    operands: &[(&'a Tensor, usize)],
    sources: &[(usize, usize)],
    elements: fn(&'a Tensor) -> Option<&'a Vec<T>>,
) -> Vec<T> {
    let lists: Vec<&[T]> = operands
        .iter()
        .map(|(x, _)| elements(x).expect("verify: the operands are of one kind"))
        .map(Vec::as_slice)
        .collect();
    sources
        .iter()
        .map(|&(operand, idx)| lists[operand][idx])
        .collect()
}

/// The elements of `x` at these indices.
fn gather(x: &Tensor, indices: &[usize]) -> Tensor {
    fn at<T: Copy>(x: &[T], indices: &[usize]) -> Vec<T> {
        indices.iter().map(|&idx| x[idx]).collect()
    }
    match x {
        Tensor::Bits(x) => Tensor::Bits(at(x, indices)),
        Tensor::Levels(x) => Tensor::Levels(at(x, indices)),
        Tensor::Int(x) => Tensor::Int(at(x, indices)),
        Tensor::Real(x) => Tensor::Real(at(x, indices)),
    }
}

/// For every multi-index of `result` in row-major order, the row-major index that `source` gives as a
/// multi-index of `shape`.
fn indices(
    result: &[usize],
    shape: &[usize],
    source: impl Fn(&[usize]) -> Vec<usize>,
) -> Vec<usize> {
    let n: usize = result.iter().product();
    let mut index = vec![0; result.len()];
    let mut found = Vec::with_capacity(n);
    for _ in 0..n {
        let from = source(&index);
        found.push(
            from.iter()
                .zip(shape)
                .fold(0, |at, (i, size)| at * size + i),
        );
        for axis in (0..result.len()).rev() {
            index[axis] += 1;
            if index[axis] < result[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    found
}

/// The block that begins at `start`.
pub(super) fn slice(start: &[usize], x: &Tensor, shape: &[usize], result: &[usize]) -> Tensor {
    let source = |index: &[usize]| {
        index
            .iter()
            .zip(start)
            .map(|(i, start)| i + start)
            .collect()
    };
    gather(x, &indices(result, shape, source))
}

/// Axis `i` of the result is axis `perm[i]` of `x`.
pub(super) fn transpose(perm: &[usize], x: &Tensor, shape: &[usize], result: &[usize]) -> Tensor {
    let source = |index: &[usize]| {
        let mut from = vec![0; perm.len()];
        for (i, &axis) in perm.iter().enumerate() {
            from[axis] = index[i];
        }
        from
    };
    gather(x, &indices(result, shape, source))
}

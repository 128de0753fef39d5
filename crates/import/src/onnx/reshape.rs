//! Ops that move elements: new shapes, other orders of axes, parts and joins.
//!
//! Inside the Program images stay channels last; flattening one makes no node and is remembered in the order of
//! the value.

use std::rc::Rc;

use onebit_model::program::{Kind, Op, Window};

use super::constant::Const;
use super::fold::{Operands, broadcast};
use super::fold_shape::{axis, new_shape, permutation, slices, split_sizes};
use super::live::{Live, Map, Order, Reach};
use super::lower::{Lower, Value};
use super::proto::NodeProto;

impl Lower<'_> {
    /// `Flatten`, `Reshape`, `Squeeze` and `Unsqueeze`.
    pub(super) fn reshape(&mut self, node: &NodeProto) -> Result<Live, String> {
        let x = self.live(node, 0)?;
        let second = self.optional(node, 1)?;
        let old = x.onnx_shape(self.batch);
        let drops_all =
            node.op_type == "Squeeze" && second.is_none() && node.ints("axes").is_none();
        let new = if drops_all {
            // The batch axis may be 1 here, but is no axis to drop.
            let kept = x.dims.iter().copied().filter(|&size| size != 1);
            [self.batch].into_iter().chain(kept).collect()
        } else {
            new_shape(node, &old, second.as_deref())?
        };
        match new.split_first() {
            Some((&batch, dims)) if batch == self.batch && !new.contains(&0) => {
                self.with_dims(x, dims.to_vec())
            }
            _ => Err(format!(
                "it makes {new:?} of {old:?}; onebit keeps the first axis, the batch, as it is"
            )),
        }
    }

    /// The same elements under other ONNX axes.
    fn with_dims(&mut self, x: Live, dims: Vec<usize>) -> Result<Live, String> {
        if dims == x.dims {
            return Ok(x);
        }
        let x = self.without_rim(x)?;
        let n = x.n_elements();
        let channels = x.dims.first().copied().unwrap_or(1);
        match (x.order, dims.as_slice()) {
            (Order::ChannelsLast, &[all]) if all == n => {
                let pixels = n / channels.max(1);
                let is_plain = pixels == 1 || channels == 1;
                let order = if is_plain {
                    Order::Plain
                } else {
                    Order::Flat { pixels, channels }
                };
                Ok(Live { order, dims, ..x })
            }
            (Order::Flat { pixels, channels }, &[c, h, w]) if c == channels && h * w == pixels => {
                Ok(Live {
                    order: Order::ChannelsLast,
                    dims,
                    ..x
                })
            }
            (Order::ChannelsLast, _)
                if dims.first() == Some(&channels) && matches!(dims.len(), 2 | 3) =>
            {
                Ok(Live { dims, ..x })
            }
            _ => {
                let x = self.plain(x)?;
                Ok(Live { dims, ..x })
            }
        }
    }

    /// `Expand` to the shape that the value has.
    pub(super) fn expand(&mut self, node: &NodeProto) -> Result<Live, String> {
        let x = self.live(node, 0)?;
        let wanted = self.constant(node, 1)?.ints()?;
        let wanted: Option<Vec<usize>> = wanted
            .iter()
            .map(|&size| usize::try_from(size).ok())
            .collect();
        let shape = x.onnx_shape(self.batch);
        match wanted.and_then(|wanted| broadcast(&shape, &wanted).ok()) {
            Some(grown) if grown == shape => Ok(x),
            _ => Err("it repeats an activation, which Programs cannot".into()),
        }
    }

    /// `Transpose` of the axes besides the batch.
    pub(super) fn transpose(&mut self, node: &NodeProto) -> Result<Live, String> {
        let x = self.live(node, 0)?;
        let x = self.without_rim(x)?;
        let perm = permutation(node, x.dims.len() + 1)?;
        if perm[0] != 0 {
            return Err("it moves the batch axis; onebit keeps it first".into());
        }
        let perm: Vec<usize> = perm[1..].iter().map(|axis| axis - 1).collect();
        if perm.is_sorted() {
            return Ok(x);
        }
        let dims: Vec<usize> = perm.iter().map(|&axis| x.dims[axis]).collect();
        match (x.order, perm.as_slice()) {
            // Channels first of a channels-last value is what the Program has.
            (Order::Plain, [2, 0, 1]) => {
                let shape = x.dims.clone();
                let x = self.reshaped(x, &shape)?;
                Ok(Live {
                    order: Order::ChannelsLast,
                    dims,
                    ..x
                })
            }
            (Order::ChannelsLast, [1, 2, 0]) => {
                let x = self.reshaped(x, &dims)?;
                Ok(Live {
                    order: Order::Plain,
                    dims,
                    ..x
                })
            }
            _ => {
                let x = self.plain(x)?;
                let x = self.with_uniform_map(x)?;
                let shape = x.dims.clone();
                let x = self.reshaped(x, &shape)?;
                let x = self.moved(x, &perm)?;
                Ok(Live {
                    order: Order::Plain,
                    dims,
                    ..x
                })
            }
        }
    }

    /// `Concat` along channels or features.
    pub(super) fn concat(&mut self, node: &NodeProto) -> Result<Live, String> {
        let mut parts = Vec::new();
        for idx in 0..node.input.len() {
            parts.push(self.live(node, idx)?);
        }
        let rank = parts.first().map_or(0, |part| part.dims.len() + 1);
        let axis = axis(node.int("axis").unwrap_or(1), rank)?;
        let is_image = rank >= 3 && axis == 1;
        let fits = |part: &Live| {
            let same = |at: usize| at + 1 == axis || part.dims[at] == parts[0].dims[at];
            part.dims.len() + 1 == rank && (0..rank - 1).all(same)
        };
        if axis == 0 || !(is_image || axis == rank - 1) || !parts.iter().all(fits) {
            return Err(
                "it joins values along an axis that is neither channels nor features".into(),
            );
        }
        let mut ready = Vec::new();
        for part in parts {
            ready.push(if is_image {
                self.channels_last(part)?
            } else {
                let part = self.plain(part)?;
                let shape = part.dims.clone();
                self.reshaped(part, &shape)?
            });
        }
        let first = &ready[0];
        if !ready
            .iter()
            .all(|part| part.kind == first.kind && part.clip.is_none())
        {
            for part in &mut ready {
                *part = self.real(part.clone())?;
            }
        }
        let ids: Vec<_> = ready.iter().map(|part| part.id).collect();
        let id = self.emit(Op::ConcatChannels, &ids)?;
        let mut out = ready[0].with(id, ready[0].kind, joined_map(&ready));
        out.reach = joined_reach(&ready);
        let total = ready.iter().map(|part| part.dims[axis - 1]).sum();
        out.dims[axis - 1] = total;
        if let Some(last) = out.shape.last_mut() {
            *last = total;
        }
        Ok(out)
    }

    /// `Slice`: a block, and of height and width every n-th element.
    pub(super) fn slice(&mut self, node: &NodeProto) -> Result<Live, String> {
        let x = self.live(node, 0)?;
        for idx in 1..node.input.len() {
            self.optional(node, idx)?;
        }
        let constants = self.constants(node);
        let inputs: Vec<Option<&Const>> = constants.iter().map(Option::as_deref).collect();
        let operands = Operands { inputs: &inputs };
        let parts = slices(node, &operands, &x.onnx_shape(self.batch))?;
        if parts[0] != (0, self.batch, 1) {
            return Err("it takes some images of the batch; onebit keeps all".into());
        }
        self.block(x, &parts[1..])
    }

    /// `Split`: several blocks.
    pub(super) fn split(&mut self, node: &NodeProto) -> Result<Vec<Value>, String> {
        let x = self.live(node, 0)?;
        let second = self.optional(node, 1)?;
        let at = axis(node.int("axis").unwrap_or(0), x.dims.len() + 1)?;
        if at == 0 {
            return Err("it splits the batch".into());
        }
        let mut start = 0;
        let mut out = Vec::new();
        for size in split_sizes(node, second.as_deref(), x.dims[at - 1])? {
            let mut parts: Vec<(usize, usize, i64)> =
                x.dims.iter().map(|&size| (0, size, 1)).collect();
            parts[at - 1] = (start, size, 1);
            out.push(Value::Live(self.block(x.clone(), &parts)?));
            start += size;
        }
        Ok(out)
    }

    /// Start, number and step on each ONNX axis besides the batch.
    fn block(&mut self, x: Live, parts: &[(usize, usize, i64)]) -> Result<Live, String> {
        let x = self.without_rim(x)?;
        let whole = |(part, &size): (&(usize, usize, i64), &usize)| *part == (0, size, 1);
        if parts.iter().zip(&x.dims).all(whole) {
            return Ok(x);
        }
        if parts.iter().any(|&(_, n, step)| n == 0 || step < 1) {
            return Err("it takes nothing, or takes it backwards".into());
        }
        let is_image = matches!(x.dims.len(), 2 | 3);
        let mut x = if is_image {
            self.channels_last(x)?
        } else {
            self.plain(x)?
        };
        if !is_image {
            let shape = x.dims.clone();
            x = self.reshaped(x, &shape)?;
        }
        let ordered: Vec<(usize, usize, i64)> = match (is_image, parts) {
            (true, &[c, h, w]) => vec![h, w, c],
            (true, &[c, l]) => vec![(0, 1, 1), l, c],
            _ => parts.to_vec(),
        };
        let last = ordered.len() - 1;
        let mut stride = [1, 1];
        for (at, &(_, _, step)) in ordered.iter().enumerate().filter(|(_, part)| part.2 > 1) {
            if !is_image || at == last {
                return Err("it takes every n-th channel; onebit takes blocks of them".into());
            }
            stride[at] = usize::try_from(step).map_err(|_| "its step is too large")?;
        }
        let span = |&(_, n, step): &(usize, usize, i64)| (n - 1).saturating_mul(step as usize) + 1;
        let start: Vec<usize> = ordered.iter().map(|part| part.0).collect();
        let size: Vec<usize> = ordered.iter().map(span).collect();
        if x.map.scale.len() > 1 {
            let kept = start[last]..start[last] + size[last];
            x.map = Map {
                scale: x.map.scale[kept.clone()].to_vec(),
                offset: x.map.offset[kept].to_vec(),
            };
        }
        if size != x.shape {
            x.id = self.emit(
                Op::Slice {
                    start,
                    size: size.clone(),
                },
                &[x.id],
            )?;
        }
        x.shape = size;
        x.reach = None;
        if stride != [1, 1] {
            x.id = self.emit(
                Op::MaxPool(Window {
                    stride,
                    ..Window::new([1, 1])
                }),
                &[x.id],
            )?;
            x.shape = ordered.iter().map(|part| part.1).collect();
        }
        x.dims = parts.iter().map(|part| part.1).collect();
        Ok(x)
    }
}

/// The maps of all parts, channel after channel.
fn joined_map(parts: &[Live]) -> Map {
    let first = parts[0].map.pair();
    if let Some((scale, offset)) =
        first.filter(|_| parts.iter().all(|part| part.map.pair() == first))
    {
        return Map::uniform(scale, offset);
    }
    let mut map = Map {
        scale: Vec::new(),
        offset: Vec::new(),
    };
    for part in parts {
        let Map { scale, offset } = &part.map;
        let at = |list: &[f64], c: usize| list[if list.len() == 1 { 0 } else { c }];
        map.scale
            .extend((0..part.n_channels()).map(|c| at(scale, c)));
        map.offset
            .extend((0..part.n_channels()).map(|c| at(offset, c)));
    }
    map
}

fn joined_reach(parts: &[Live]) -> Option<Rc<Vec<Reach>>> {
    let mut all = Vec::new();
    for part in parts {
        let reach = part.reach.as_ref().filter(|_| part.kind == Kind::Int)?;
        all.extend_from_slice(reach);
    }
    Some(Rc::new(all))
}

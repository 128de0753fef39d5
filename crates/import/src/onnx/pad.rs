//! `Pad`: a border of a constant, as the one-padding of binary convolutions.
//!
//! The border is noted and taken in by the convolution or pool that follows, whose own padding it becomes. Any
//! other consumer makes it elements.

use onebit_model::program::{Conv2d, Kind, Op, Window};
use onebit_model::weights::{BitMatrix, Weights};

use super::fold_shape::axis;
use super::live::{Live, Rim};
use super::lower::Lower;
use super::proto::NodeProto;

/// Widest border on one side.
const MAX_PAD: i64 = 1 << 16;

impl Lower<'_> {
    /// A border around height and width.
    pub(super) fn pad(&mut self, node: &NodeProto) -> Result<Live, String> {
        let x = self.live(node, 0)?;
        let mode = node.text("mode").unwrap_or("constant");
        if mode != "constant" {
            return Err(format!("it pads by {mode:?}; onebit pads with a constant"));
        }
        let rank = x.dims.len() + 1;
        let list = match self.optional(node, 1)? {
            Some(pads) => pads.ints()?,
            None => node
                .ints("pads")
                .or(node.ints("paddings"))
                .ok_or("its pads are missing")?
                .to_vec(),
        };
        let value = match self.optional(node, 2)? {
            Some(value) => value.uniform().ok_or("its value is not one number")?,
            None => f64::from(node.float("value").unwrap_or(0.0)),
        };
        let padded = match self.optional(node, 3)? {
            Some(axes) => axes
                .ints()?
                .iter()
                .map(|&at| axis(at, rank))
                .collect::<Result<Vec<_>, _>>()?,
            None => (0..rank).collect(),
        };
        if list.len() != 2 * padded.len() {
            return Err(format!(
                "it has {} pads for {} axes",
                list.len(),
                padded.len()
            ));
        }
        let mut before = vec![0; rank];
        let mut after = vec![0; rank];
        for (idx, &at) in padded.iter().enumerate() {
            let size = |stated: i64| {
                let pad = usize::try_from(stated).ok().filter(|_| stated <= MAX_PAD);
                pad.ok_or_else(|| format!("it pads by {stated}; to cut off, use Slice"))
            };
            before[at] = size(list[idx])?;
            after[at] = size(list[idx + padded.len()])?;
        }
        if before.iter().chain(&after).all(|&pad| pad == 0) {
            return Ok(x);
        }
        let is_deep = rank >= 3 && (0..rank).all(|at| at == 1 || before[at] + after[at] == 0);
        if is_deep && value == 0.0 {
            return self.with_more_channels(x, before[1], after[1]);
        }
        let is_spatial = rank >= 3 && (0..2).all(|at| before[at] == 0 && after[at] == 0);
        if !is_spatial {
            return Err("onebit pads height and width, or channels with zeros".into());
        }
        let mut x = self.without_rim(x)?;
        let pads = match rank {
            4 => [before[2], before[3], after[2], after[3]],
            3 => [0, before[2], 0, after[2]],
            _ => return Err("its input is no image".into()),
        };
        for at in 2..rank {
            x.dims[at - 1] += before[at] + after[at];
        }
        x.rim = Some(Rim { pads, value });
        Ok(x)
    }

    /// Channels of zeros before and after, by a convolution that copies the others: the shortcut of residual
    /// networks that grow without weights.
    fn with_more_channels(&mut self, x: Live, before: usize, after: usize) -> Result<Live, String> {
        let mut x = self.channels_last(x)?;
        if x.clip.is_some() || x.map.pair().is_none_or(|(_, offset)| offset != 0.0) {
            x = self.settled(x)?;
        }
        let x = self.with_uniform_map(x)?;
        let [channels, h, w] = x.image()?;
        let rows = before + channels + after;
        let copy = BitMatrix::from_fn(rows, channels, |row, col| row == before + col);
        let weights = Weights::Ternary {
            sign: copy.clone(),
            mask: copy,
        };
        let window = Window::new([1, 1]);
        let id = self.emit(
            Op::Conv2d(Conv2d {
                weights,
                bias: None,
                window,
                groups: 1,
                pad: 0,
            }),
            &[x.id],
        )?;
        let kind = if x.kind == Kind::Real {
            Kind::Real
        } else {
            Kind::Int
        };
        let map = x.map.clone();
        let mut out = x.with(id, kind, map);
        out.shape = vec![h, w, rows];
        out.dims[0] = rows;
        Ok(out)
    }
}

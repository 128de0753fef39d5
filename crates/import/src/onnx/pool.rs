//! Pools: greatest and average of a window, and of a whole image.
//!
//! A pool of codes or bits whose reading rises with them is the pool of the elements under the same reading.

use onebit_model::program::{Kind, Op, Window};

use super::fold::axes;
use super::live::{Live, Map, Order};
use super::lower::Lower;
use super::proto::NodeProto;
use super::window::{kernel, positions, round_up, window};

impl Lower<'_> {
    /// `MaxPool` and `AveragePool`.
    pub(super) fn pool(&mut self, node: &NodeProto) -> Result<Live, String> {
        let x = self.live(node, 0)?;
        let is_max = node.op_type == "MaxPool";
        let (x, rim) = self.rim_for_pool(node, x)?;
        let x = self.channels_last(x)?;
        let [channels, h, w] = x.image()?;
        let mut window = window(node, kernel(node)?, [h, w])?;
        let counts = node.int("count_include_pad").unwrap_or(0) != 0;
        if let Some(pads) = rim {
            window.pads = pads;
        }
        let stated = window.pads;
        if node.int("ceil_mode").unwrap_or(0) != 0 {
            round_up(&mut window, [h, w])?;
        }
        let [oh, ow] = positions(&window, [h, w])?;
        let out = if is_max {
            self.max_pool(x, window)?
        } else {
            if window.pads != stated && counts && stated != [0; 4] {
                return Err(
                    "it counts padding and rounds its size up, which runtimes do in different ways; export with \
                     ceil_mode=False or count_include_pad=False"
                        .into(),
                );
            }
            let counts = (counts || rim.is_some()) && window.pads == stated;
            self.average_pool(x, window, counts)?
        };
        let dims = if out.dims.len() == 2 {
            vec![channels, ow]
        } else {
            vec![channels, oh, ow]
        };
        if out.dims.len() == 2 && oh != 1 {
            return Err("it slides over a sequence in a second direction".into());
        }
        Ok(Live {
            shape: vec![oh, ow, channels],
            dims,
            order: Order::ChannelsLast,
            ..out
        })
    }

    /// The value without its rim, and the pads that take the rim's place, where that changes nothing.
    fn rim_for_pool(
        &mut self,
        node: &NodeProto,
        x: Live,
    ) -> Result<(Live, Option<[usize; 4]>), String> {
        let Some(rim) = x.rim else {
            return Ok((x, None));
        };
        let kernel = kernel(node)?;
        let [_, h, w] = x.image()?;
        let own = window(node, kernel, [h, w])?;
        let is_small =
            (0..4).all(|side| rim.pads[side] < kernel[side % 2]) && own.dilation == [1, 1];
        let is_plain = own.pads == [0; 4] && node.int("ceil_mode").unwrap_or(0) == 0 && is_small;
        let least = x
            .map
            .pair()
            .filter(|&(scale, _)| scale > 0.0 && x.clip.is_none());
        let is_least = match (x.kind, least) {
            (Kind::Bits, Some((scale, offset))) => rim.value <= offset - scale,
            (Kind::Levels(_), Some((_, offset))) => rim.value <= offset,
            _ => rim.value == f64::NEG_INFINITY,
        };
        let is_max = node.op_type == "MaxPool";
        let fits = is_plain && if is_max { is_least } else { rim.value == 0.0 };
        if !fits {
            return Ok((self.without_rim(x)?, None));
        }
        let [top, left, bottom, right] = rim.pads;
        let dims = match *x.dims.as_slice() {
            [c, h, w] => vec![c, h - top - bottom, w - left - right],
            [c, l] => vec![c, l - left - right],
            _ => return Err("its input is no image".into()),
        };
        Ok((
            Live {
                dims,
                rim: None,
                ..x
            },
            Some(rim.pads),
        ))
    }

    /// The greatest element; a reading that falls anywhere is applied first.
    fn max_pool(&mut self, x: Live, window: Window) -> Result<Live, String> {
        let rises = x.map.scale.iter().all(|&scale| scale > 0.0);
        let x = if rises { x } else { self.settled(x)? };
        let id = self.emit(Op::MaxPool(window), &[x.id])?;
        Ok(Live { id, ..x })
    }

    /// The average; zeros around the image that count are zeros of the value.
    fn average_pool(&mut self, x: Live, window: Window, count_pads: bool) -> Result<Live, String> {
        let counts_zeros = count_pads && window.pads != [0; 4];
        let has_offset = x.map.offset.iter().any(|&offset| offset != 0.0);
        let x = if x.clip.is_some() || (counts_zeros && has_offset) {
            self.settled(x)?
        } else {
            x
        };
        let id = self.emit(Op::AvgPool { window, count_pads }, &[x.id])?;
        let map = x.map.clone();
        Ok(x.with(id, Kind::Real, map))
    }

    /// `GlobalAveragePool`, `GlobalMaxPool`, and a mean over the axes of the image.
    pub(super) fn global_pool(&mut self, node: &NodeProto) -> Result<Live, String> {
        let x = self.live(node, 0)?;
        let rank = x.dims.len() + 1;
        let mut keeps = true;
        if node.op_type == "ReduceMean" {
            let second = self.optional(node, 1)?;
            let mut reduced = axes(node, second.as_deref(), rank)?;
            reduced.sort_unstable();
            let spatial: Vec<usize> = (2..rank).collect();
            if reduced != spatial || spatial.is_empty() {
                return Err(format!(
                    "it averages axes {reduced:?}; onebit averages height and width of an image"
                ));
            }
            keeps = node.int("keepdims").unwrap_or(1) != 0;
        }
        let x = self.channels_last(x)?;
        let [channels, h, w] = x.image()?;
        let dims = match (keeps, rank) {
            (false, _) => vec![channels],
            (true, 3) => vec![channels, 1],
            (true, _) => vec![channels, 1, 1],
        };
        if node.op_type == "GlobalMaxPool" {
            let out = self.max_pool(x, Window::new([h, w]))?;
            return Ok(Live {
                shape: vec![1, 1, channels],
                dims,
                order: Order::ChannelsLast,
                ..out
            });
        }
        let x = if x.clip.is_some() {
            self.settled(x)?
        } else {
            x
        };
        let id = self.emit(Op::GlobalAvgPool, &[x.id])?;
        let order = if keeps {
            Order::ChannelsLast
        } else {
            Order::Plain
        };
        let map: Map = x.map.clone();
        Ok(Live {
            shape: vec![channels],
            dims,
            order,
            ..x.with(id, Kind::Real, map)
        })
    }
}

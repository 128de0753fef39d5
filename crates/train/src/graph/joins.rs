//! Shortcuts and pools of a graph under construction.

use super::build::{Builder, Built, square};
use super::*;
use crate::recipe::layers::{PoolSpec, ShortcutName, StandardiseName, WeightName, WeightSpec};

/// What goes around a layer, and what a convolution in it takes from the layer.
#[derive(Clone, Copy)]
pub(super) struct Around {
    pub shortcut: ShortcutName,
    pub norm: NormName,
    /// Groups of a group norm.
    pub groups: Option<usize>,
    pub standardise: StandardiseName,
}

impl Builder {
    /// `x` plus what the layer read, brought to the same shape.
    pub(super) fn add_shortcut(
        &mut self,
        name: &str,
        x: usize,
        before: usize,
        around: Around,
    ) -> Built {
        let (from, to) = (self.graph.extent(before), self.graph.extent(x));
        if self.graph.kind(before) != ValueKind::Real {
            return self.fail("has a shortcut, but its input is codes, not real numbers");
        }
        let mut short = before;
        if from.positions() != to.positions() {
            let step = from.height / to.height.max(1);
            let fits = step > 0
                && from.height.div_ceil(step) == to.height
                && from.width.div_ceil(step) == to.width;
            if !fits {
                return self.fail(format!(
                    "has a shortcut from {from} to {to}, which no average pool brings together"
                ));
            }
            let extra = [to.height * step - from.height, to.width * step - from.width];
            let mut window = square(step, step, 0);
            window.pads = [0, 0, extra[0], extra[1]];
            short = self.window_pool(&format!("{name}.short.pool"), short, window, false)?;
        }
        if from.channels != to.channels {
            short = match around.shortcut {
                ShortcutName::Duplicate if to.channels % from.channels == 0 => {
                    let op = NodeOp::Repeat {
                        times: to.channels / from.channels,
                    };
                    self.push(
                        format!("{name}.short"),
                        op,
                        vec![short],
                        to,
                        ValueKind::Real,
                    )
                }
                ShortcutName::Conv => self.short_conv(name, short, to, around)?,
                _ => {
                    return self.fail(format!(
                        "has a shortcut from {from} to {to}: the channels are no multiple; use shortcut = \"conv\""
                    ));
                }
            };
        }
        Ok(self.push(
            format!("{name}.add"),
            NodeOp::Add,
            vec![x, short],
            to,
            ValueKind::Real,
        ))
    }

    fn short_conv(&mut self, name: &str, short: usize, to: Extent, around: Around) -> Built {
        let from = self.graph.extent(short);
        let standardise = match (around.norm, around.standardise) {
            (NormName::None, StandardiseName::Scaled) => StandardiseName::Scaled,
            _ => StandardiseName::None,
        };
        let product = Product {
            shape: ProductShape::Conv {
                from,
                to,
                window: Window::new([1, 1]),
                groups: 1,
                pad: 0,
            },
            weights: WeightSpec {
                standardise,
                ..WeightName::Real.into()
            },
            follows_stage: false,
            bias: false,
            dropped: Dropped::Never,
        };
        let name = format!("{name}.short");
        let op = NodeOp::Product(product);
        let x = self.push(name.clone(), op, vec![short], to, ValueKind::Real);
        self.norm(&format!("{name}.norm"), x, around.norm, around.groups)
    }

    pub(super) fn pool(&mut self, spec: &PoolSpec, x: usize, is_max: bool) -> Built {
        let stride = spec.stride.unwrap_or(spec.size);
        if spec.size == 0 || stride == 0 || spec.pad >= spec.size {
            return self
                .fail("needs a size and a stride of at least 1 and a pad smaller than the size");
        }
        let name = self.other("pool");
        self.window_pool(&name, x, square(spec.size, stride, spec.pad), is_max)
    }

    pub(super) fn window_pool(
        &mut self,
        name: &str,
        x: usize,
        window: Window,
        is_max: bool,
    ) -> Built {
        let from = self.graph.extent(x);
        let Some([height, width]) = window.output([from.height, from.width]) else {
            return self.fail(format!(
                "has a pool of {} by {}, which does not fit its input of {from}",
                window.kernel[0], window.kernel[1]
            ));
        };
        let to = Extent {
            height,
            width,
            channels: from.channels,
        };
        self.check_extent(to)?;
        let (op, kind) = match is_max {
            true => (NodeOp::MaxPool(window), self.graph.kind(x)),
            false => (NodeOp::AvgPool(window), ValueKind::Real),
        };
        Ok(self.push(name.to_string(), op, vec![x], to, kind))
    }
}

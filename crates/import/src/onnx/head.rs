//! Heads: `Softmax` and `ArgMax` over the classes.

use onebit_model::program::{Kind, Op};

use super::fold_shape::axis;
use super::live::{Live, Map, Order};
use super::lower::Lower;
use super::proto::NodeProto;

impl Lower<'_> {
    /// The softmax over features, or over the channels of each pixel.
    pub(super) fn softmax(&mut self, node: &NodeProto) -> Result<Live, String> {
        let x = self.live(node, 0)?;
        let x = self.over_classes(node, x, if self.opset < 13 { 1 } else { -1 })?;
        let is_row = x.dims.iter().filter(|&&size| size > 1).count() <= 1;
        if self.opset < 13 && !is_row {
            return Err(
                "before version 13 of the ops it flattens an image; export with a newer version"
                    .into(),
            );
        }
        let x = self.real(x)?;
        let id = self.emit(Op::Softmax, &[x.id])?;
        Ok(x.with(id, Kind::Real, Map::identity()))
    }

    /// The index of the greatest class.
    pub(super) fn argmax(&mut self, node: &NodeProto) -> Result<Live, String> {
        let x = self.live(node, 0)?;
        let keeps = node.int("keepdims").unwrap_or(1) != 0;
        if node.int("select_last_index").unwrap_or(0) != 0 {
            return Err("it takes the last of equal scores; onebit takes the first".into());
        }
        if x.dims.len() != 1 {
            return Err(
                "it looks at more than one axis; onebit has the greatest of a row of scores".into(),
            );
        }
        let x = self.over_classes(node, x, 0)?;
        let x = self.settled(x)?;
        let x = if matches!(x.kind, Kind::Int | Kind::Real) {
            x
        } else {
            self.real(x)?
        };
        let id = self.emit(Op::Argmax, &[x.id])?;
        let dims = if keeps { vec![1] } else { vec![] };
        let out = x.with(id, Kind::Int, Map::identity());
        Ok(Live {
            shape: vec![1],
            dims,
            order: Order::Plain,
            ..out
        })
    }

    /// The value with the node's axis as the last axis in the Program.
    fn over_classes(&mut self, node: &NodeProto, x: Live, default: i64) -> Result<Live, String> {
        let rank = x.dims.len() + 1;
        let at = axis(node.int("axis").unwrap_or(default), rank)?;
        if at == 1 && rank > 2 {
            return self.channels_last(x);
        }
        if at + 1 != rank || at == 0 {
            return Err(format!(
                "it goes along axis {at}; onebit goes along the classes, the second axis"
            ));
        }
        let x = self.plain(x)?;
        let shape = x.dims.clone();
        self.reshaped(x, &shape)
    }
}

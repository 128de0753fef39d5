//! Values that the Program computes at run time, and how they stand for the values of the ONNX graph.
//!
//! A [`Live`] is a Program value with a reading: in which order its elements are, and which affine map and clip
//! are still to be applied to them. Ops that commute with the reading change nothing but it, so that a
//! binarised value stays bits through scales and offsets. The methods of [`Lower`] here turn a reading into
//! nodes when an op needs the numbers themselves.

use std::rc::Rc;

use onebit_model::program::{Conv2d, Kind, Op, ValueId, Window};
use onebit_model::weights::{BitMatrix, Weights};

use super::constant::Const;
use super::fold::{broadcast, broadcast_index, strided};
use super::lower::Lower;

/// In which order the Program holds the elements of an ONNX value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Row-major over the ONNX axes.
    Plain,
    /// The ONNX axes are `[c, h, w]` or `[c, l]`, the Program's are `[h, w, c]` or `[1, l, c]`.
    ChannelsLast,
    /// One ONNX axis, which was `[c, h, w]` before; the Program still has `[h, w, c]`.
    Flat {
        /// Pixels.
        pixels: usize,
        /// Channels.
        channels: usize,
    },
}

/// `value = scale * element + offset`, one pair for all elements or one per channel of the Program's value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Map {
    pub scale: Vec<f64>,
    pub offset: Vec<f64>,
}

/// What the elements of one channel can be: from `min` to `max`, and only every `step`-th of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reach {
    pub min: i64,
    pub max: i64,
    pub step: i64,
}

/// A border that a `Pad` put around an image and that no op has taken in yet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rim {
    /// Top, left, bottom, right.
    pub pads: [usize; 4],
    /// The value of its elements.
    pub value: f64,
}

/// A value of the Program and its reading.
#[derive(Clone, Debug)]
pub(super) struct Live {
    /// The Program's value.
    pub id: ValueId,
    /// Its kind.
    pub kind: Kind,
    /// Its shape in the Program.
    pub shape: Vec<usize>,
    /// The ONNX shape without the batch axis, with the rim if there is one.
    pub dims: Vec<usize>,
    pub order: Order,
    pub map: Map,
    /// Applied after the map.
    pub clip: Option<(f32, f32)>,
    /// Applied after the clip.
    pub rim: Option<Rim>,
    /// Per channel, where it is known.
    pub reach: Option<Rc<Vec<Reach>>>,
}

impl Map {
    /// The map that changes nothing.
    pub(super) fn identity() -> Map {
        Map {
            scale: vec![1.0],
            offset: vec![0.0],
        }
    }

    /// One pair for all.
    pub(super) fn uniform(scale: f64, offset: f64) -> Map {
        Map {
            scale: vec![scale],
            offset: vec![offset],
        }
    }

    /// Whether elements are values.
    pub(super) fn is_identity(&self) -> bool {
        self.scale.iter().all(|&s| s == 1.0) && self.offset.iter().all(|&o| o == 0.0)
    }

    /// The one pair, if all channels have the same.
    pub(super) fn pair(&self) -> Option<(f64, f64)> {
        let alike = |list: &[f64]| list.iter().all(|x| x == &list[0]);
        (alike(&self.scale) && alike(&self.offset)).then(|| (self.scale[0], self.offset[0]))
    }

    /// This map, then `gain * value + shift`.
    pub(super) fn then(&self, gain: &[f64], shift: &[f64]) -> Map {
        let n = [&self.scale[..], &self.offset, gain, shift]
            .iter()
            .map(|list| list.len())
            .max()
            .unwrap_or(1);
        let at = |list: &[f64], i: usize| list[if list.len() == 1 { 0 } else { i }];
        Map {
            scale: (0..n).map(|i| at(gain, i) * at(&self.scale, i)).collect(),
            offset: (0..n)
                .map(|i| at(gain, i) * at(&self.offset, i) + at(shift, i))
                .collect(),
        }
    }

    /// Scale and offset of channel `c` in the precision in which a Program applies them.
    pub(super) fn at(&self, c: usize) -> (f32, f32) {
        let at = |list: &[f64]| list[if list.len() == 1 { 0 } else { c }] as f32;
        (at(&self.scale), at(&self.offset))
    }
}

impl Live {
    /// Channels of the Program's value: the size of its last axis.
    pub(super) fn n_channels(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Number of elements.
    pub(super) fn n_elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// The value's shape as ONNX sees it.
    pub(super) fn onnx_shape(&self, batch: usize) -> Vec<usize> {
        let mut shape = vec![batch];
        shape.extend(&self.dims);
        shape
    }

    /// Channels, height and width of an image; a sequence is an image of height 1.
    pub(super) fn image(&self) -> Result<[usize; 3], String> {
        match *self.dims.as_slice() {
            [c, h, w] => Ok([c, h, w]),
            [c, l] => Ok([c, 1, l]),
            _ => Err(format!(
                "its input has {} axes besides the batch; an image has channels, height and width",
                self.dims.len()
            )),
        }
    }

    /// Another Program value of the same shape and order, with a reading of its own.
    pub(super) fn with(&self, id: ValueId, kind: Kind, map: Map) -> Live {
        Live {
            id,
            kind,
            map,
            clip: None,
            reach: None,
            ..self.clone()
        }
    }

    /// For each element in the Program's order, its row-major index in ONNX's.
    pub(super) fn onnx_index(&self) -> Vec<usize> {
        let n = self.n_elements();
        match self.order {
            Order::Plain => (0..n).collect(),
            Order::Flat { pixels, channels } => strided(&[pixels, channels], &[1, pixels], 0),
            Order::ChannelsLast => {
                let channels = self.dims[0];
                let pixels = n / channels.max(1);
                strided(&[pixels, channels], &[1, pixels], 0)
            }
        }
    }
}

impl Lower<'_> {
    /// The value with its rim as elements of its own: a depthwise convolution by +1 that pads.
    pub(super) fn without_rim(&mut self, mut x: Live) -> Result<Live, String> {
        let Some(rim) = x.rim.take() else {
            return Ok(x);
        };
        let (pads, value) = (rim.pads, rim.value);
        let (padded, channels) = (x.dims.clone(), x.dims[0]);
        shrink(&mut x.dims, pads);
        let mut x = self.channels_last(x)?;
        if self.pad_code(&x, value).is_none() {
            x = self.settled(x)?;
        }
        let pad = self.pad_code(&x, value).ok_or_else(|| {
            format!("it pads with {value}; a whole number of at most 2^24 is possible, in units of the value's scale")
        })?;
        let [_, h, w] = x.image()?;
        let window = Window {
            pads,
            ..Window::new([1, 1])
        };
        let weights = Weights::Bits(BitMatrix::from_fn(channels, 1, |_, _| true));
        let op = Op::Conv2d(Conv2d {
            weights,
            bias: None,
            window,
            groups: channels,
            pad,
        });
        let kind = if x.kind == Kind::Real {
            Kind::Real
        } else {
            Kind::Int
        };
        let id = self.emit(op, &[x.id])?;
        let shape = vec![h + pads[0] + pads[2], w + pads[1] + pads[3], channels];
        Ok(Live {
            id,
            kind,
            shape,
            dims: padded,
            reach: None,
            ..x
        })
    }

    /// The element that stands for a padded value, if there is one that convolutions can pad with.
    pub(super) fn pad_code(&self, x: &Live, value: f64) -> Option<i32> {
        let (scale, offset) = x.map.pair()?;
        let code = (value - offset) / scale;
        if x.clip.is_some() || code.fract() != 0.0 || code.abs() > f64::from(1 << 24) {
            return None;
        }
        let code = code as i32;
        let fits = match x.kind {
            Kind::Bits => (-1..=1).contains(&code),
            Kind::Levels(bits) => (0..1 << bits).contains(&code),
            Kind::Int => true,
            // A real is padded as it is; a map in between would have to round to the same.
            Kind::Real => x.map.is_identity(),
        };
        fits.then_some(code)
    }

    /// The value with its elements in channels-last order and, for images, three Program axes.
    pub(super) fn channels_last(&mut self, x: Live) -> Result<Live, String> {
        let x = self.without_rim(x)?;
        let [c, h, w] = x.image()?;
        let shape = vec![h, w, c];
        match x.order {
            Order::ChannelsLast => self.reshaped(x, &shape),
            Order::Plain | Order::Flat { .. } => {
                let x = self.plain(x)?;
                let x = self.with_uniform_map(x)?;
                let x = self.reshaped(x, &[c, h, w])?;
                let mut x = self.moved(x, &[1, 2, 0])?;
                x.order = Order::ChannelsLast;
                Ok(x)
            }
        }
    }

    /// The value with its elements in ONNX's order.
    pub(super) fn plain(&mut self, x: Live) -> Result<Live, String> {
        let x = self.without_rim(x)?;
        let (pixels, channels) = match x.order {
            Order::Plain => return Ok(x),
            Order::Flat { pixels, channels } => (pixels, channels),
            Order::ChannelsLast => (x.n_elements() / x.dims[0].max(1), x.dims[0]),
        };
        if pixels == 1 || channels == 1 {
            return Ok(Live {
                order: Order::Plain,
                ..x
            });
        }
        let x = self.with_uniform_map(x)?;
        let mut x = if x.shape.len() == 3 && x.n_channels() == channels {
            self.moved(x, &[2, 0, 1])?
        } else {
            let x = self.reshaped(x, &[pixels, channels])?;
            self.moved(x, &[1, 0])?
        };
        x.order = Order::Plain;
        let dims = x.dims.clone();
        self.reshaped(x, &dims)
    }

    /// The value under another Program shape of as many elements; a map per channel is carried along.
    pub(super) fn reshaped(&mut self, x: Live, shape: &[usize]) -> Result<Live, String> {
        let shape = if shape.is_empty() { &[1] } else { shape };
        if x.shape == shape {
            return Ok(x);
        }
        let (old, new) = (x.n_channels(), shape.last().copied().unwrap_or(1));
        let mut x = if x.map.scale.len() > 1 && old != new && new % old != 0 {
            self.settled(x)?
        } else {
            x
        };
        if old != new {
            x.reach = None;
            if x.map.scale.len() > 1 {
                x.map.scale = (0..new).map(|i| x.map.scale[i % old]).collect();
                x.map.offset = (0..new).map(|i| x.map.offset[i % old]).collect();
            }
        }
        let shape = shape.to_vec();
        x.id = self.emit(
            Op::Reshape {
                shape: shape.clone(),
            },
            &[x.id],
        )?;
        x.shape = shape;
        Ok(x)
    }

    /// Program axes in another order: a transposition, or a new shape where no element moves.
    pub(super) fn moved(&mut self, mut x: Live, perm: &[usize]) -> Result<Live, String> {
        let shape: Vec<usize> = perm.iter().map(|&axis| x.shape[axis]).collect();
        let long = |axis: &&usize| x.shape[**axis] > 1;
        let is_same_order = perm.iter().filter(long).is_sorted();
        x.id = if shape == x.shape && is_same_order {
            x.id
        } else if is_same_order {
            self.emit(
                Op::Reshape {
                    shape: shape.clone(),
                },
                &[x.id],
            )?
        } else {
            self.emit(
                Op::Transpose {
                    perm: perm.to_vec(),
                },
                &[x.id],
            )?
        };
        x.shape = shape;
        x.reach = None;
        Ok(x)
    }

    /// The value with one map for all channels.
    pub(super) fn with_uniform_map(&mut self, x: Live) -> Result<Live, String> {
        match x.map.pair() {
            Some((scale, offset)) => Ok(Live {
                map: Map::uniform(scale, offset),
                ..x
            }),
            None => self.settled(x),
        }
    }

    /// The value with nothing left to apply: as it is, or as reals.
    pub(super) fn settled(&mut self, x: Live) -> Result<Live, String> {
        let mut x = self.without_rim(x)?;
        if !x.map.is_identity() || (x.clip.is_some() && x.kind != Kind::Real) {
            x = self.mapped(x)?;
        }
        if let Some((min, max)) = x.clip.take() {
            x.id = self.emit(Op::Clip { min, max }, &[x.id])?;
            x.reach = None;
        }
        Ok(x)
    }

    /// The value with its map applied as an `Affine`.
    fn mapped(&mut self, mut x: Live) -> Result<Live, String> {
        let n = x.n_channels();
        let (scale, shift): (Vec<f32>, Vec<f32>) = (0..n).map(|c| x.map.at(c)).unzip();
        if !scale.iter().chain(&shift).all(|number| number.is_finite()) {
            return Err("a scale or offset is not a finite number; look for zero variances or zero divisors".into());
        }
        x.id = self.emit(Op::Affine { scale, shift }, &[x.id])?;
        x.kind = Kind::Real;
        x.map = Map::identity();
        x.reach = None;
        Ok(x)
    }

    /// The value as reals.
    pub(super) fn real(&mut self, x: Live) -> Result<Live, String> {
        let x = self.settled(x)?;
        if x.kind == Kind::Real {
            Ok(x)
        } else {
            self.mapped(x)
        }
    }

    /// A constant that is broadcast to the value: one number, or one per channel of the Program's value, which
    /// may get another shape for it.
    pub(super) fn along(&mut self, x: Live, constant: &Const) -> Result<(Live, Vec<f64>), String> {
        let fits =
            |full: &[usize]| broadcast(&constant.shape, full).is_ok_and(|shape| shape == full);
        let full = x.onnx_shape(1);
        // What was filled at run time has the batch axis too.
        let is_filled = constant.uniform().is_some() && fits(&x.onnx_shape(self.batch));
        if !is_filled && !fits(&full) {
            return Err(format!(
                "a constant of shape {:?} does not go with a value of shape {:?} per image",
                constant.shape, x.dims
            ));
        }
        if let Some(number) = constant.uniform() {
            return Ok((x, vec![number]));
        }
        let x = self.without_rim(x)?;
        let rank = full.len();
        let wide = |axis: usize| {
            let at = (axis + constant.shape.len()).checked_sub(rank);
            at.is_some_and(|at| constant.shape[at] > 1)
        };
        let per_channel = wide(1) && (2..rank).all(|axis| !wide(axis));
        if per_channel && rank > 2 {
            let x = self.channels_last(x)?;
            let list = (0..constant.n_elements())
                .map(|i| constant.number(i))
                .collect();
            return Ok((x, list));
        }
        let n = x.n_elements();
        let x = self.reshaped(x, &[n])?;
        let spread = broadcast_index(&constant.shape, &full);
        let list = x
            .onnx_index()
            .into_iter()
            .map(|at| constant.number(spread[at]))
            .collect();
        Ok((x, list))
    }

    /// `gain * value + shift`, as part of the value's reading.
    pub(super) fn scaled(&mut self, x: Live, gain: &[f64], shift: &[f64]) -> Result<Live, String> {
        let mut x = self.without_rim(x)?;
        let n = x.n_channels();
        if [gain, shift]
            .iter()
            .any(|list| list.len() != 1 && list.len() != n)
        {
            return Err(
                "its constants go along different axes; onebit needs them along one".into(),
            );
        }
        if let Some((min, max)) = x.clip {
            let (&[g], &[t]) = (gain, shift) else {
                let x = self.settled(x)?;
                return self.scaled(x, gain, shift);
            };
            if g == 0.0 {
                let x = self.settled(x)?;
                return self.scaled(x, gain, shift);
            }
            let bound = |bound: f32| (g * f64::from(bound) + t) as f32;
            x.clip = Some(if g > 0.0 {
                (bound(min), bound(max))
            } else {
                (bound(max), bound(min))
            });
        }
        x.map = x.map.then(gain, shift);
        Ok(x)
    }
}

/// Takes a rim off the sizes of an image.
pub(super) fn shrink(dims: &mut [usize], pads: [usize; 4]) {
    match dims {
        [_, h, w] => {
            *h -= pads[0] + pads[2];
            *w -= pads[1] + pads[3];
        }
        [_, l] => *l -= pads[1] + pads[3],
        _ => {}
    }
}

//! `Conv`: weights into the Program's order, pads, groups, and a border that a `Pad` left.

use onebit_model::program::{Conv2d, Op};

use super::constant::Const;
use super::fold_shape::transpose;
use super::live::{Live, Order, Rim, shrink};
use super::lower::Lower;
use super::product::Product;
use super::proto::NodeProto;
use super::window::{positions, window};

/// The weights of a convolution, `[out][in / groups][kernel height][kernel width]`, and what they say.
struct Kernels {
    weights: Const,
    groups: usize,
    is_sequence: bool,
}

impl Lower<'_> {
    /// A convolution of an image, or of a sequence as an image of height 1.
    pub(super) fn conv(&mut self, node: &NodeProto) -> Result<Live, String> {
        let x = self.live(node, 0)?;
        let Kernels {
            weights,
            groups,
            is_sequence,
        } = kernels(node, &x, &*self.constant(node, 1)?)?;
        let &[rows, inner, height, width] = weights.shape.as_slice() else {
            return Err("its weights have another rank".into());
        };
        let bias = match self.optional(node, 2)? {
            None => vec![0.0; rows],
            Some(bias) if bias.n_elements() == rows => {
                (0..rows).map(|row| bias.number(row)).collect()
            }
            Some(bias) => {
                return Err(format!(
                    "its bias has {} numbers for {rows} rows",
                    bias.n_elements()
                ));
            }
        };
        let (x, rim) = self.with_rim_for(node, x)?;
        let x = self.channels_last(x)?;
        let [_, h, w] = x.image()?;
        let border = rim.map_or([0; 4], |rim| rim.pads);
        let rimmed = [h + border[0] + border[2], w + border[1] + border[3]];
        let mut window = window(node, [height, width], rimmed)?;
        let own = window.pads.iter().any(|&pad| pad > 0).then_some(0.0);
        (0..4).for_each(|side| window.pads[side] += border[side]);
        let padding = rim.map(|rim| rim.value).or(own);
        let [oh, ow] = positions(&window, [h, w])?;
        if is_sequence && oh != 1 {
            return Err("it slides over a sequence in a second direction".into());
        }
        let matrix =
            transpose(&weights, &[0, 2, 3, 1])?.reshape(vec![rows, height * width * inner])?;
        let product = Product {
            matrix: &matrix,
            bias,
            padding,
            title: node.title(),
        };
        let make = |weights, bias, pad| {
            Op::Conv2d(Conv2d {
                weights,
                bias,
                window,
                groups,
                pad,
            })
        };
        let out = self.product(x, product, make)?;
        let dims = if is_sequence {
            vec![rows, ow]
        } else {
            vec![rows, oh, ow]
        };
        Ok(Live {
            shape: vec![oh, ow, rows],
            dims,
            order: Order::ChannelsLast,
            ..out
        })
    }

    /// The value without its rim, and the rim, where a convolution without zeros of its own can take it in.
    fn with_rim_for(
        &mut self,
        node: &NodeProto,
        mut x: Live,
    ) -> Result<(Live, Option<Rim>), String> {
        let Some(rim) = x.rim else {
            return Ok((x, None));
        };
        let [_, h, w] = x.image()?;
        let own = window(node, [1, 1], [h, w])?.pads;
        let is_auto = node
            .text("auto_pad")
            .is_some_and(|mode| mode.starts_with("SAME"));
        if is_auto || (own != [0; 4] && rim.value != 0.0) {
            return Ok((self.without_rim(x)?, None));
        }
        x.rim = None;
        shrink(&mut x.dims, rim.pads);
        Ok((x, Some(rim)))
    }
}

/// Checks the weights against the value and brings those of a sequence into the form of an image's.
fn kernels(node: &NodeProto, x: &Live, weights: &Const) -> Result<Kernels, String> {
    let (weights, is_sequence) = match (weights.shape.as_slice(), x.dims.len()) {
        ([_, _, _, _], 3) => (weights.clone(), false),
        (&[out, inner, width], 2) => (weights.reshape(vec![out, inner, 1, width])?, true),
        _ => {
            return Err(format!(
                "its weights have shape {:?} for a value of shape {:?} per image; convolutions of images and \
                 sequences are read",
                weights.shape, x.dims
            ));
        }
    };
    let groups = usize::try_from(node.int("group").unwrap_or(1))
        .ok()
        .filter(|&groups| groups > 0);
    let groups = groups.ok_or("its group is no positive number")?;
    let (rows, inner) = (weights.shape[0], weights.shape[1]);
    if inner.checked_mul(groups) != Some(x.dims[0]) || rows % groups != 0 {
        return Err(format!(
            "weights of shape {:?} in {groups} groups do not fit {} channels",
            weights.shape, x.dims[0]
        ));
    }
    if weights.n_elements() == 0 {
        return Err("it has no weights".into());
    }
    Ok(Kernels {
        weights,
        groups,
        is_sequence,
    })
}

//! Where a convolution or pool looks: TFLite's SAME and VALID padding as explicit rows and columns.
//!
//! In: the attributes of an op and the size of its operand. Out: a [`Window`]. Leaves what lies in the padding to
//! the ops.

use onebit_model::program::{ValueId, Window};

use super::graph::{Graph, Outcome, Value};
use crate::same::same;

/// How TFLite pads an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Padding {
    /// As many outputs as strides begin inside the image; the missing rows are split, the odd one at the end.
    Same,
    /// Only windows inside the image.
    Valid,
}

impl Padding {
    /// By the number of the schema's enum.
    pub fn from_code(code: u8) -> Outcome<Self> {
        match code {
            0 => Ok(Padding::Same),
            1 => Ok(Padding::Valid),
            _ => Err(format!(
                "its padding {code} is neither SAME (0) nor VALID (1)"
            )),
        }
    }
}

/// Kernel, stride and dilation of an op, each height and width, all at least 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub dilation: [usize; 2],
}

/// A pair of positive attributes.
pub(super) fn pair(what: &str, height: i64, width: i64) -> Outcome<[usize; 2]> {
    let limit = onebit_model::limits::MAX_ELEMENTS;
    let positive = |n: i64| usize::try_from(n).ok().filter(|n| (1..=limit).contains(n));
    match (positive(height), positive(width)) {
        (Some(height), Some(width)) => Ok([height, width]),
        _ => Err(format!(
            "its {what} is {height} by {width}; both must be from 1 to {limit}"
        )),
    }
}

impl Frame {
    /// The window over an image of `size`.
    pub fn window(&self, padding: Padding, size: [usize; 2]) -> Window {
        let mut pads = [0; 4];
        if padding == Padding::Same {
            for axis in 0..2 {
                let (kernel, stride) = (self.kernel[axis], self.stride[axis]);
                [pads[axis], pads[axis + 2]] =
                    same(size[axis], kernel, stride, self.dilation[axis]);
            }
        }
        Window {
            kernel: self.kernel,
            stride: self.stride,
            dilation: self.dilation,
            pads,
        }
    }
}

/// A window over a value.
pub(super) struct Placed {
    pub id: ValueId,
    pub window: Window,
    /// Value of the elements outside the image.
    pub pad: i32,
    /// Height and width of the result.
    pub size: [usize; 2],
}

/// The window over a value with a border: the border becomes a part of the window's padding where both have the
/// same value, or else a node of its own.
pub(super) fn over(
    graph: &mut Graph,
    value: Value,
    frame: &Frame,
    padding: Padding,
    pad: i32,
) -> Outcome<Placed> {
    let [height, width, _] = value.image()?;
    let mut window = frame.window(padding, [height, width]);
    let size = window.output([height, width]).ok_or_else(|| {
        let kernel = frame.kernel;
        format!("its kernel of {kernel:?} does not fit into the image of {height} by {width}")
    })?;
    let (value, pad) = match value.border {
        Some(border) if border.value == pad || window.pads == [0; 4] => {
            for (own, more) in window.pads.iter_mut().zip(border.pads) {
                *own += more;
            }
            (value, border.value)
        }
        _ => (graph.settle(value)?, pad),
    };
    Ok(Placed {
        id: value.id,
        window,
        pad,
        size,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_padding_puts_the_odd_row_last() {
        let frame = |kernel, stride, dilation| Frame {
            kernel: [kernel; 2],
            stride: [stride; 2],
            dilation: [dilation; 2],
        };
        for (kernel, stride, dilation, size, pads) in [
            (3, 1, 1, 8, [1, 1]),
            (2, 1, 1, 8, [0, 1]),
            (3, 2, 1, 8, [0, 1]),
            (3, 2, 1, 7, [1, 1]),
            (3, 1, 2, 9, [2, 2]),
            (1, 2, 1, 8, [0, 0]),
            (5, 1, 1, 4, [2, 2]),
            (3, 1, 1, 1, [1, 1]),
        ] {
            let window = frame(kernel, stride, dilation).window(Padding::Same, [size; 2]);
            assert_eq!(
                [window.pads[0], window.pads[2]],
                pads,
                "{kernel} {stride} {size}"
            );
            let n_outputs = size.div_ceil(stride);
            assert_eq!(window.output([size; 2]), Some([n_outputs; 2]));
        }
    }
}

//! Kernels, strides and padding of a layer as a [`Window`].

use onebit_model::program::Window;

use crate::same::same;
use crate::topology::document::{Padding, PaddingName, Pair};

/// A layer's window over an image of `size`; `Err` says what cannot be.
pub(super) fn window(
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: Option<&Pair>,
    padding: Option<&Padding>,
    size: [usize; 2],
) -> Result<Window, String> {
    let dilation = dilation.map_or([1, 1], Pair::get);
    for (what, pair) in [
        ("the kernel", kernel),
        ("stride", stride),
        ("dilation", dilation),
    ] {
        if pair.contains(&0) {
            return Err(format!("{what} {pair:?} has a 0; each is at least 1"));
        }
    }
    let pads = match padding {
        None | Some(Padding::Named(PaddingName::Valid)) => [0; 4],
        Some(&Padding::All(pad)) => [pad; 4],
        Some(&Padding::Pair([height, width])) => [height, width, height, width],
        Some(&Padding::Each(pads)) => pads,
        Some(Padding::Named(PaddingName::Same)) => {
            let [top, bottom] = same(size[0], kernel[0], stride[0], dilation[0]);
            let [left, right] = same(size[1], kernel[1], stride[1], dilation[1]);
            [top, left, bottom, right]
        }
    };
    Ok(Window {
        kernel,
        stride,
        dilation,
        pads,
    })
}

//! Kernels, strides and padding of a layer as a [`Window`].

use onebit_model::program::Window;

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

/// The padding before and after an axis that makes `size / stride` positions, rounded up; an odd one is after.
fn same(size: usize, kernel: usize, stride: usize, dilation: usize) -> [usize; 2] {
    let steps = size.div_ceil(stride) - 1;
    let reach = (kernel - 1).saturating_mul(dilation).saturating_add(1);
    let total = steps
        .saturating_mul(stride)
        .saturating_add(reach)
        .saturating_sub(size);
    [total / 2, total - total / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_keeps_the_size_divided_by_the_stride() {
        for size in 1..12 {
            for kernel in 1..6 {
                for stride in 1..4 {
                    for dilation in 1..3 {
                        let [before, after] = same(size, kernel, stride, dilation);
                        let window = Window {
                            kernel: [kernel; 2],
                            stride: [stride; 2],
                            dilation: [dilation; 2],
                            pads: [before, before, after, after],
                        };
                        let wanted = size.div_ceil(stride);
                        assert_eq!(window.output([size; 2]), Some([wanted; 2]));
                        assert!(after == before || after == before + 1);
                    }
                }
            }
        }
        assert_eq!(same(5, 3, 1, 1), [1, 1]);
        assert_eq!(same(4, 3, 2, 1), [0, 1]);
    }
}

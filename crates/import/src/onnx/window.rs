//! Windows: the attributes that convolutions and pools share.
//!
//! A node, its kernel and the size of the image come in, a [`Window`] goes out. A sequence is an image of
//! height 1.

use onebit_model::program::Window;

use super::proto::NodeProto;
use crate::same::same;

/// Largest stride, dilation, kernel or pad that is read.
const MAX_STEP: i64 = 1 << 20;

/// Two numbers of an attribute, or of one axis of a sequence; 1 where the attribute is absent.
fn pair(node: &NodeProto, name: &str) -> Result<[usize; 2], String> {
    let size = |stated: i64| {
        let size = usize::try_from(stated)
            .ok()
            .filter(|&size| size > 0 && stated <= MAX_STEP);
        size.ok_or_else(|| format!("{name} {stated} is out of range"))
    };
    match node.ints(name) {
        None | Some([]) => Ok([1, 1]),
        Some(&[w]) => Ok([1, size(w)?]),
        Some(&[h, w]) => Ok([size(h)?, size(w)?]),
        Some(list) => Err(format!("{name} {list:?} is not of an image or a sequence")),
    }
}

/// The kernel of a pool.
pub(super) fn kernel(node: &NodeProto) -> Result<[usize; 2], String> {
    match node.ints("kernel_shape") {
        None | Some([]) => Err("its kernel_shape is missing".into()),
        Some(_) => pair(node, "kernel_shape"),
    }
}

/// The window of a node with this kernel over an image of height and width `size`.
pub(super) fn window(
    node: &NodeProto,
    kernel: [usize; 2],
    size: [usize; 2],
) -> Result<Window, String> {
    let stride = pair(node, "strides")?;
    let dilation = pair(node, "dilations")?;
    let mut window = Window {
        kernel,
        stride,
        dilation,
        pads: [0; 4],
    };
    match node.text("auto_pad").unwrap_or("NOTSET") {
        "VALID" => {}
        "NOTSET" | "" => window.pads = stated_pads(node)?,
        name @ ("SAME_UPPER" | "SAME_LOWER") => {
            for axis in 0..2 {
                let mut sides = same(size[axis], kernel[axis], stride[axis], dilation[axis]);
                if name == "SAME_LOWER" {
                    sides.reverse();
                }
                [window.pads[axis], window.pads[axis + 2]] = sides;
            }
        }
        other => return Err(format!("auto_pad {other:?} is not known")),
    }
    Ok(window)
}

fn stated_pads(node: &NodeProto) -> Result<[usize; 4], String> {
    let pads = node.ints("pads").unwrap_or(&[]);
    let one = |stated: i64| {
        let pad = usize::try_from(stated).ok().filter(|_| stated <= MAX_STEP);
        pad.ok_or_else(|| {
            format!("pads {pads:?} are out of range; cutting off is not part of a window")
        })
    };
    match *pads {
        [] => Ok([0; 4]),
        [before, after] => Ok([0, one(before)?, 0, one(after)?]),
        [top, left, bottom, right] => Ok([one(top)?, one(left)?, one(bottom)?, one(right)?]),
        _ => Err(format!("pads {pads:?} are not of an image or a sequence")),
    }
}

/// Output positions of a window, or why there are none.
pub(super) fn positions(window: &Window, size: [usize; 2]) -> Result<[usize; 2], String> {
    window.output(size).ok_or_else(|| {
        format!(
            "its window of {:?} does not fit an image of {size:?} with pads {:?}",
            window.kernel, window.pads
        )
    })
}

/// Adds the rows and columns that a last, partial window needs where the node rounds up.
pub(super) fn round_up(window: &mut Window, size: [usize; 2]) -> Result<(), String> {
    let floor = positions(window, size)?;
    for axis in 0..2 {
        let padded = size[axis] + window.pads[axis] + window.pads[axis + 2];
        let reach = (window.kernel[axis] - 1) * window.dilation[axis] + 1;
        let stride = window.stride[axis];
        let mut n_out = (padded - reach).div_ceil(stride) + 1;
        // A window that would begin in the padding after the image is left out.
        if (n_out - 1) * stride >= size[axis] + window.pads[axis] {
            n_out -= 1;
        }
        if n_out > floor[axis] {
            window.pads[axis + 2] += (n_out - 1) * stride + reach - padded;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_up_pads_after_the_image() {
        let mut window = Window {
            stride: [2, 2],
            ..Window::new([2, 3])
        };
        assert!(round_up(&mut window, [5, 6]).is_ok());
        assert_eq!(window.pads, [0, 0, 1, 1]);
        assert_eq!(window.output([5, 6]), Some([3, 3]));
    }
}

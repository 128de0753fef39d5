//! SAME padding, which TFLite, ONNX and topologies share.
//!
//! An axis of an image and of a window comes in, the padding on its two sides goes out. What lies in the padding is
//! left to the importers.

/// The padding before and after an axis that makes `size / stride` positions, rounded up; an odd one is after.
pub(crate) fn same(size: usize, kernel: usize, stride: usize, dilation: usize) -> [usize; 2] {
    let steps = size.div_ceil(stride).saturating_sub(1);
    let reach = kernel
        .saturating_sub(1)
        .saturating_mul(dilation)
        .saturating_add(1);
    let total = steps
        .saturating_mul(stride)
        .saturating_add(reach)
        .saturating_sub(size);
    [total / 2, total - total / 2]
}

#[cfg(test)]
mod tests {
    use super::*;
    use onebit_model::program::Window;

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

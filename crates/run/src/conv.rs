//! A convolution or a product of reals made ready: the form of its operand, packed weights, and what its sums become.
//!
//! Owns the choice among the kernels of `onebit_bits` and the algebra that brings an operand into the form a
//! kernel reads. Leaves memory to `workspace`.

use onebit_bits::Isa;
use onebit_bits::chain::FloatWindow;
use onebit_bits::conv::{Conv, ConvThresholds, Geometry};
use onebit_model::program::{Conv2d, Kind, ThresholdValues, Thresholds, Type, Window};
use onebit_model::weights::Weights;

/// The form in which a kernel reads its operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Bits in pixel layout.
    Bits,
    /// Codes, with the padding as part of the image.
    Codes,
    /// Twice the bit, 0 or 2, as a code, so that a padded 0 is 1; with the padding as part of the image.
    DoubledBits,
    /// Floats, with the padding as part of the image where it is not zero.
    Reals,
}

/// Padding that is written into a copy of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Border {
    /// Top, left, bottom, right.
    pub pads: [usize; 4],
    /// The value, in the form's own terms.
    pub value: i32,
}

/// The kernel of a convolution.
#[derive(Clone, Debug)]
pub(crate) enum Kernel {
    /// Channels of the output as lanes, each from every channel of a group.
    Full(Conv),
    /// Channels as lanes, each from itself: depthwise convolutions and pools of floats.
    Window(FloatWindow),
}

/// A convolution made ready.
#[derive(Clone, Debug)]
pub(crate) struct ConvLayer {
    pub kernel: Kernel,
    pub form: Form,
    /// None where the kernel reads the operand as it is.
    pub border: Option<Border>,
    /// Rows, columns and channels of the operand.
    pub size: [usize; 3],
    /// Products of single bits, or of numbers, for one image.
    pub macs: u64,
    /// Whether a product is one of bits.
    pub is_binary: bool,
}

/// The convolution that a dense layer is: over an image of one pixel.
pub(crate) fn dense_as_conv(weights: &Weights, bias: Option<&[i32]>) -> Conv2d {
    Conv2d {
        weights: weights.clone(),
        bias: bias.map(<[i32]>::to_vec),
        window: Window::new([1, 1]),
        groups: 1,
        pad: 0,
    }
}

/// Rows, columns and channels of an image.
pub(crate) fn image_size(ty: &Type) -> [usize; 3] {
    match ty.shape[..] {
        [height, width, channels] => [height, width, channels],
        _ => unreachable!("verify: an image has three axes"),
    }
}

impl ConvLayer {
    /// The layer of a convolution over images of `size`; `None` where no kernel computes it and the plain loops must.
    pub(crate) fn new(isa: Isa, conv: &Conv2d, kind: Kind, size: [usize; 3]) -> Option<Self> {
        let is_real = kind == Kind::Real || conv.weights.is_real();
        let form = match kind {
            _ if is_real => Form::Reals,
            Kind::Bits if conv.weights.sign().is_some() && takes_bits(conv, size) => Form::Bits,
            Kind::Bits if pays_groups(conv, size) => Form::DoubledBits,
            Kind::Levels(_) if pays_groups(conv, size) => Form::Codes,
            _ => return None,
        };
        let is_padded = conv.window.pads != [0; 4];
        let border = match form {
            Form::Bits => None,
            Form::Reals if conv.pad == 0 => None,
            _ if !is_padded => None,
            Form::DoubledBits => Some(conv.pad + 1),
            _ => Some(conv.pad),
        };
        let border = border.map(|value| Border {
            pads: conv.window.pads,
            value,
        });
        let geometry = geometry(
            &conv.window,
            size,
            conv.weights.n_rows(),
            conv.groups,
            border,
        );
        let is_window =
            form == Form::Reals && conv.groups == size[2] && conv.weights.n_rows() == size[2];
        if !is_listable(&geometry) || !is_packable(conv, &geometry, is_window) {
            return None;
        }
        let macs = (geometry.out_px() * conv.weights.n_rows() * conv.weights.n_cols()) as u64;
        let kernel = match form {
            Form::Reals if is_window => {
                let weight = |tap: usize, channel: usize| conv.weights.get_real(channel, tap);
                Kernel::Window(FloatWindow::depthwise(geometry, weight))
            }
            _ => Kernel::Full(pack(isa, conv, form, geometry)),
        };
        Some(ConvLayer {
            kernel,
            form,
            border,
            size,
            macs,
            is_binary: form == Form::Bits,
        })
    }

    /// A pool of floats.
    pub(crate) fn pool(window: FloatWindow, size: [usize; 3]) -> Self {
        ConvLayer {
            kernel: Kernel::Window(window),
            form: Form::Reals,
            border: None,
            size,
            macs: 0,
            is_binary: false,
        }
    }

    /// Integer thresholds in the kernel's form; `None` where its sums are no integers.
    pub(crate) fn thresholds(&self, thresholds: &Thresholds) -> Option<ConvThresholds> {
        let (Kernel::Full(conv), ThresholdValues::Int(at)) = (&self.kernel, &thresholds.at) else {
            return None;
        };
        let pairs = at.iter().copied().zip(thresholds.flip.iter().copied());
        Some(conv.thresholds(pairs))
    }

    /// The name of the kernel.
    pub(crate) fn kernel_name(&self) -> &'static str {
        match &self.kernel {
            Kernel::Full(conv) => conv.kernel(),
            Kernel::Window(window) => window.kernel(),
        }
    }

    /// Bytes of packed weights.
    pub(crate) fn n_bytes(&self) -> usize {
        match &self.kernel {
            Kernel::Full(conv) => conv.n_bytes(),
            Kernel::Window(window) => window.n_bytes(),
        }
    }

    /// Rows and columns of the copy with its border.
    pub(crate) fn bordered(&self) -> [usize; 2] {
        let [height, width, _] = self.size;
        let pads = self.border.map_or([0; 4], |border| border.pads);
        [height + pads[0] + pads[2], width + pads[1] + pads[3]]
    }
}

/// Whether groups are wide enough to be multiplied four codes at a time.
fn pays_groups(conv: &Conv2d, size: [usize; 3]) -> bool {
    conv.groups == 1 || size[2] / conv.groups >= 4
}

/// Elements that kernels list for one layer, at most: tens of megabytes. Sums of doubled bits rely on it: they
/// stay inside 32 bits, because no more columns than this are multiplied by a kernel.
const MAX_LISTED: u64 = 1 << 22;

/// Ways of leaving the image that a kernel tells apart, at most.
const MAX_REGIONS: u64 = 1 << 16;

/// Entries of per-region lists, steps to make them, and elements of a copy with its border, at most.
const MAX_ENTRIES: u64 = 1 << 26;

/// Whether a geometry's windows are few enough to be listed tap by tap.
pub(crate) fn is_listable(geometry: &Geometry) -> bool {
    let elements = (geometry.channels / geometry.groups) as u64;
    let n_listed = geometry.n_listed_taps().saturating_mul(elements);
    n_listed <= MAX_LISTED && geometry.n_regions() <= MAX_REGIONS
}

/// Whether the packed form is not much larger than the weights and the image, as it is for every layer but those
/// whose kernels, pads or groups dwarf the image.
fn is_packable(conv: &Conv2d, geometry: &Geometry, is_window: bool) -> bool {
    let product = |factors: &[usize]| {
        let all = factors.iter().map(|&factor| factor as u64);
        all.fold(1u64, u64::saturating_mul)
    };
    let area = product(&geometry.kernel);
    let (rows, channels) = (geometry.rows, geometry.channels);
    let image = product(&geometry.size).saturating_mul(channels as u64);
    let regions = geometry.n_regions();
    let bases = regions.saturating_mul(rows as u64 + 64);
    let steps = regions.saturating_mul(area).saturating_mul(rows as u64);
    let group_rows = (rows / geometry.groups).div_ceil(32) * 32;
    let packed = match is_window {
        true => area.saturating_mul(channels as u64 + 64),
        false => area.saturating_mul(product(&[channels, group_rows])),
    };
    let weights = product(&[conv.weights.n_rows(), conv.weights.n_cols()]);
    [image, bases, steps].iter().all(|&n| n <= MAX_ENTRIES)
        && packed <= MAX_LISTED.saturating_add(weights.saturating_mul(4))
}

fn takes_bits(conv: &Conv2d, size: [usize; 3]) -> bool {
    conv.groups == 1 || (size[2] / conv.groups).is_multiple_of(32)
}

/// The shape of a window over images, which have their border already where there is one.
pub(crate) fn geometry(
    window: &Window,
    size: [usize; 3],
    rows: usize,
    groups: usize,
    border: Option<Border>,
) -> Geometry {
    let out = window
        .output([size[0], size[1]])
        .expect("verify: the window fits");
    let pads = border.map_or([0; 4], |border| border.pads);
    Geometry {
        size: [size[0] + pads[0] + pads[2], size[1] + pads[1] + pads[3]],
        channels: size[2],
        out,
        rows,
        groups,
        kernel: window.kernel,
        stride: window.stride,
        dilation: window.dilation,
        pads: match border {
            Some(_) => [0, 0],
            None => [window.pads[0], window.pads[1]],
        },
    }
}

/// Packs weights for the form.
fn pack(isa: Isa, conv: &Conv2d, form: Form, geometry: Geometry) -> Conv {
    let channels = geometry.channels / geometry.groups;
    let width = geometry.kernel[1];
    let col = |ky: usize, kx: usize, channel: usize| (ky * width + kx) * channels + channel;
    let weights = &conv.weights;
    let bias = conv.bias.as_deref();
    match form {
        Form::Bits => {
            let weight = |row, ky, kx, channel| weights.get(row, col(ky, kx, channel));
            Conv::bits(isa, geometry, &weight, bias, conv.pad)
        }
        Form::Codes => {
            let weight = |row, ky, kx, channel| weights.get(row, col(ky, kx, channel)) as i8;
            Conv::codes(isa, geometry, &weight, bias)
        }
        Form::DoubledBits => {
            // A bit is its code less 1, so every weight takes itself from the sum.
            let bias: Vec<i32> = (0..weights.n_rows())
                .map(|row| {
                    let (plus, minus) = weights.row_sums(row);
                    let bias = bias.map_or(0, |bias| bias[row]);
                    bias.wrapping_sub((plus + minus) as i32)
                })
                .collect();
            let weight = |row, ky, kx, channel| weights.get(row, col(ky, kx, channel)) as i8;
            Conv::codes(isa, geometry, &weight, Some(&bias))
        }
        Form::Reals => {
            let weight = |row, ky, kx, channel| weights.get_real(row, col(ky, kx, channel));
            Conv::floats(isa, geometry, &weight)
        }
    }
}

//! Convolutions of the training step: products, gradients of the input and gradients of the weights.
//!
//! Owns [`FloatConv`] and [`weight_gradient`] for floats, and [`SignConv`] for signs. Images come in as floats,
//! `[images][height][width][channels]`, and weights as `[rows][kernel height][kernel width][channels]`; floats of
//! the same layouts go out. Leaves threads, layers and optimisers to the trainer. Every function panics when a
//! slice's length does not fit the stated shape, or when there are groups: shapes here come from the trainer's own
//! layers, never from a file.
//!
//! No image-to-column matrix is made. Images are copied into frames that hold their padding, a few at a time so
//! that the copies stay in the second-level cache, and kernels read windows from there; where a window's rows are
//! contiguous, so are the products. Operands are finite: an infinity may make neighbouring sums NaN.

use alloc::vec;
use alloc::vec::Vec;

use crate::aligned::{AlignedWords, halves, halves_mut};
use crate::chain::{ChainOps, ChainOut};
use crate::conv::{Conv, Output};
use crate::dispatch::{dispatch, dispatch_lanes};
use crate::float_taps::{
    Layout, Packed, Reader, Region, Segment, Weights, before, gradient_segments, grid, join,
    product_segments, reach, trimmed,
};
#[cfg(target_arch = "x86_64")]
use crate::float_unit::Kind;
use crate::float_unit::{Frame, Unit, dispatch_unit};
use crate::generic::train::{Gather, Outer, Place, Slot};
pub use crate::geometry::Geometry;
use crate::isa::{Isa, Tier};
use crate::n_words;

/// Bytes of copied images that kernels work on at a time.
const GROUP_BYTES: usize = 256 << 10;

/// Positions that kernels work on at a time, unless an image has more.
const GROUP_PLACES: usize = 4096;

/// Words that may be read past the last of a copy.
const FRAME_SLACK: usize = 64;

/// How products of floats are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// Operands and sums in binary32; a multiplication and an addition may be fused.
    F32,
    /// Both operands rounded to bfloat16, to nearest even; sums in binary32. Exact when operands are integers of
    /// magnitude 256 at most and sums stay below 2^24. Subnormal numbers may count as zero.
    Bf16,
}

/// Panics unless lengths can be told from the shape.
fn check(geometry: &Geometry) {
    assert_eq!(geometry.groups, 1, "training convolves without groups");
    let sizes = [geometry.size, geometry.out, geometry.kernel];
    let steps = [geometry.stride, geometry.dilation];
    let numbers = sizes.iter().chain(&steps).flatten();
    assert!(
        numbers
            .chain([&geometry.channels, &geometry.rows])
            .all(|&n| n > 0),
        "a convolution's sizes are at least one"
    );
}

/// Images in `x` of `image` floats each; `out` holds as many of `out_image`.
fn n_images(x: &[f32], image: usize, out: &[f32], out_image: usize) -> usize {
    assert!(
        x.len().is_multiple_of(image),
        "{} floats are not images of {image}",
        x.len()
    );
    let images = x.len() / image;
    assert_eq!(out.len(), images * out_image, "floats of {images} images");
    images
}

/// How many of `images` to work on at a time: about equally many each time.
fn group_size(images: usize, image_bytes: usize, image_places: usize) -> usize {
    let most = (GROUP_BYTES / image_bytes).min(GROUP_PLACES / image_places);
    images.div_ceil(images.div_ceil(most.max(1)))
}

/// A convolution's weights as floats, packed for one instruction set and one direction.
#[derive(Clone, Debug)]
pub struct FloatConv {
    unit: Unit,
    direction: Direction,
    // Floats of a position of what is written, and of an image of it.
    rows: usize,
    out_len: usize,
    packed: Packed,
    // All positions read all taps, in frames that hold the padding.
    padded: Layout,
    // No position reads a tap that is outside the image; `None` where taps do not begin at words.
    trimmed: Option<Layout>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Forward,
    Backward,
}

impl FloatConv {
    /// Packs `[rows][kh][kw][channels]` weights for [`FloatConv::product`].
    pub fn forward(
        isa: Isa,
        precision: Precision,
        geometry: &Geometry,
        weights: &[f32],
    ) -> FloatConv {
        check(geometry);
        let axes = [product_segments(geometry, 0), product_segments(geometry, 1)];
        let unit = Unit::of(isa, precision);
        Self::new(unit, geometry, weights, axes, Direction::Forward)
    }

    /// Packs `[rows][kh][kw][channels]` weights for [`FloatConv::input_gradient`].
    pub fn backward(
        isa: Isa,
        precision: Precision,
        geometry: &Geometry,
        weights: &[f32],
    ) -> FloatConv {
        check(geometry);
        let axes = [
            gradient_segments(geometry, 0),
            gradient_segments(geometry, 1),
        ];
        let unit = Unit::of(isa, precision);
        Self::new(unit, geometry, weights, axes, Direction::Backward)
    }

    fn new(
        unit: Unit,
        geometry: &Geometry,
        weights: &[f32],
        axes: [Vec<Segment>; 2],
        direction: Direction,
    ) -> FloatConv {
        let Geometry {
            size,
            channels,
            out,
            rows,
            kernel,
            ..
        } = *geometry;
        let n = rows * kernel[0] * kernel[1] * channels;
        assert_eq!(weights.len(), n, "weights of {rows} rows");
        let (weights, read, lanes, written) = match direction {
            Direction::Forward => (Weights::Rows(weights), (size, channels), rows, out),
            Direction::Backward => (Weights::Elements(weights), (out, rows), channels, size),
        };
        let (inner, channels) = read;
        let before = [before(&axes[0]), before(&axes[1])];
        let inner_frame = Frame {
            size: inner,
            before: [0, 0],
            inner,
            channels,
            pixel: channels,
        };
        let frame = Frame {
            size: [
                before[0] + reach(&axes[0], inner[0]),
                before[1] + reach(&axes[1], inner[1]),
            ],
            before,
            ..inner_frame
        };
        let out_len = written[0] * written[1] * lanes;
        assert!(
            4 * frame.len() < 1 << 31 && out_len < 1 << 31,
            "an image and its padding are smaller than two gigabytes"
        );
        let reader = |frame| Reader {
            unit,
            frame,
            kernel_width: kernel[1],
        };
        let packed = reader(frame).pack([&axes[0], &axes[1]], weights, lanes);
        let layout = |frame, axes: [&[Segment]; 2]| Layout {
            frame,
            regions: reader(frame).regions(axes, &packed, written[1], lanes),
        };
        let padded = layout(frame, [&axes[0], &axes[1]]);
        let trimmed = reader(frame).has_whole_words().then(|| {
            let axes = [trimmed(&axes[0], inner[0]), trimmed(&axes[1], inner[1])];
            layout(inner_frame, [&axes[0], &axes[1]])
        });
        FloatConv {
            unit,
            direction,
            rows: lanes,
            out_len,
            packed,
            padded,
            trimmed,
        }
    }

    /// Convolves `x`, `[images][h][w][channels]`, into `out`, `[images][oh][ow][rows]`, which is overwritten.
    /// Elements outside the image are `pad`.
    pub fn product(&self, x: &[f32], pad: f32, out: &mut [f32]) {
        assert_eq!(
            self.direction,
            Direction::Forward,
            "weights packed for products"
        );
        self.run(x, pad, out);
    }

    /// The gradient of the input, `[images][h][w][channels]`, which is overwritten, from that of the output, `g`,
    /// `[images][oh][ow][rows]`.
    pub fn input_gradient(&self, g: &[f32], gx: &mut [f32]) {
        assert_eq!(
            self.direction,
            Direction::Backward,
            "weights packed for gradients"
        );
        self.run(g, 0.0, gx);
    }

    /// The layout that takes fewer steps, and how many images to work on at a time.
    fn layout(&self, images: usize, pad: f32) -> (&Layout, usize) {
        let group = |layout: &Layout| {
            let image_bytes = layout.frame.len() * self.unit.element_bytes();
            group_size(images, image_bytes, self.out_len / self.rows)
        };
        let steps = |layout: &Layout| layout.steps(group(layout), self.unit.block());
        let layout = match &self.trimmed {
            Some(trimmed) if pad == 0.0 && steps(trimmed) < steps(&self.padded) => trimmed,
            _ => &self.padded,
        };
        (layout, group(layout))
    }

    /// Copies a group of images into frames and convolves them, group after group.
    fn run(&self, x: &[f32], pad: f32, out: &mut [f32]) {
        let image = self.padded.frame.inner_len();
        let images = n_images(x, image, out, self.out_len);
        if images == 0 {
            return;
        }
        let (unit, (layout, group)) = (self.unit, self.layout(images, pad));
        let (frame, regions) = (&layout.frame, &layout.regions);
        let image_bytes = frame.len() * unit.element_bytes();
        let mut copies = AlignedWords::zeros((group * image_bytes).div_ceil(8) + FRAME_SLACK);
        unit.fill(pad, &mut copies);
        let repeat = |region: &Region| region.repeat(group, image_bytes, self.out_len);
        let places: Vec<Vec<Place>> = regions.iter().map(repeat).collect();
        let groups = x.chunks(group * image);
        for (x, out) in groups.zip(out.chunks_mut(group * self.out_len)) {
            frame.copy(unit, x, &mut copies);
            let images = x.len() / image;
            for (region, places) in regions.iter().zip(&places) {
                let product = Gather {
                    x: copies.as_ptr().cast(),
                    places: &places[..images * region.places.len()],
                    runs: &region.runs,
                    words: region.words,
                    weights: halves(&self.packed.weights).as_ptr(),
                    depth: self.packed.depth,
                    rows: self.rows,
                    out: out.as_mut_ptr(),
                };
                dispatch_unit!(unit, gather(product));
            }
        }
    }
}

/// The gradient of the weights, `gw`, `[rows][kh][kw][channels]`, which is overwritten: sums of `g * x` over images
/// and positions, where `x` is `[images][h][w][channels]` with `pad` outside the image and `g` is
/// `[images][oh][ow][rows]`.
pub fn weight_gradient(
    isa: Isa,
    precision: Precision,
    geometry: &Geometry,
    x: &[f32],
    pad: f32,
    g: &[f32],
    gw: &mut [f32],
) {
    check(geometry);
    let unit = Unit::of(isa, precision);
    let n_taps = geometry.kernel[0] * geometry.kernel[1];
    let rows = geometry.rows;
    let depth = n_taps * geometry.channels;
    assert_eq!(gw.len(), rows * depth, "weights of {rows} rows");
    let [mut frame, mut g_frame] = gradient_frames(geometry);
    let mut images = n_images(x, frame.inner_len(), g, g_frame.inner_len());
    if images == 0 {
        gw.fill(0.0);
        return;
    }
    let slots = slots(geometry, &frame, unit.lanes());
    let has_no_pads = frame.size == frame.inner && frame.size == g_frame.size;
    if n_taps == 1 && geometry.stride == [1, 1] && has_no_pads {
        // Every pixel is an image of its own, so that there are partners for all.
        images *= geometry.out_px();
        for frame in [&mut frame, &mut g_frame] {
            (frame.size, frame.inner) = ([1, 1], [1, 1]);
        }
    }
    // Words are pairs of an image of the first half and one of the second.
    let n_words = match unit.has_pairs() {
        true => images.div_ceil(2),
        false => images,
    };
    let out_px = g_frame.size[0] * g_frame.size[1];
    let group = group_size(n_words, 4 * (frame.len() + g_frame.len()), out_px);
    let places: Vec<u32> = (0..group)
        .flat_map(|image| grid(g_frame.size).map(move |at| (image, at)))
        .map(|(image, (y, x))| {
            let row = image * frame.size[0] + y * geometry.stride[0];
            ((row * frame.size[1] + x * geometry.stride[1]) * frame.pixel) as u32
        })
        .collect();
    let mut copies = AlignedWords::zeros((group * frame.len()).div_ceil(2) + FRAME_SLACK);
    unit.fill(pad, &mut copies);
    let mut gradients = AlignedWords::zeros((group * g_frame.len()).div_ceil(2) + FRAME_SLACK);
    for first in (0..n_words).step_by(group) {
        let end = (first + group).min(n_words);
        let (partner, last) = ((n_words + first).min(images), (n_words + end).min(images));
        for (frame, values, words) in [(&frame, x, &mut copies), (&g_frame, g, &mut gradients)] {
            let n = frame.inner_len();
            let (first, second) = (&values[first * n..end * n], &values[partner * n..last * n]);
            frame.copy_words(unit, first, second, halves_mut(words));
        }
        let product = Outer {
            x: halves(&copies).as_ptr(),
            places: &places[..(end - first) * out_px],
            slots: &slots,
            g: halves(&gradients).as_ptr(),
            g_step: g_frame.pixel,
            rows,
            sums: gw.as_mut_ptr(),
            depth,
            adds: first > 0,
        };
        dispatch_unit!(unit, outer(product));
    }
}

/// Frames of the input and of the output's gradient.
fn gradient_frames(geometry: &Geometry) -> [Frame; 2] {
    let size = |axis: usize| {
        let segments = product_segments(geometry, axis);
        geometry.pads[axis] + reach(&segments, geometry.size[axis])
    };
    // Pixels a multiple of the first-level cache's sets apart would share a few of its lines. Where windows are
    // single pixels, and among gradients, these need not be neighbours.
    let apart = |n: usize| if n.is_multiple_of(128) { n + 16 } else { n };
    let (channels, rows) = (geometry.channels, geometry.rows);
    let frame = Frame {
        size: [size(0), size(1)],
        before: geometry.pads,
        inner: geometry.size,
        channels,
        pixel: match geometry.kernel {
            [1, 1] => apart(channels),
            _ => channels,
        },
    };
    let g_frame = Frame {
        size: geometry.out,
        before: [0, 0],
        inner: geometry.out,
        channels: rows,
        pixel: apart(rows),
    };
    [frame, g_frame]
}

/// The registers of a window: neighbours in memory that are neighbours among the weights.
fn slots(geometry: &Geometry, frame: &Frame, lanes: usize) -> Vec<Slot> {
    let Geometry {
        channels,
        kernel,
        dilation,
        ..
    } = *geometry;
    let taps = grid(kernel)
        .map(|(ky, kx)| {
            let start = (ky * dilation[0] * frame.size[1] + kx * dilation[1]) * channels;
            (start, ky * kernel[1] + kx)
        })
        .collect();
    let mut slots = Vec::new();
    for run in join(taps, channels, kernel[1]) {
        let n = run.taps.len() * channels;
        for lane in (0..n).step_by(lanes) {
            slots.push(Slot {
                x: (run.start + lane) as u32,
                at: (run.taps[0] * channels + lane) as u32,
                n: lanes.min(n - lane) as u32,
            });
        }
    }
    slots
}

/// A convolution of signs with weights -1, 0 and +1.
#[derive(Clone, Debug)]
pub struct SignConv {
    isa: Isa,
    conv: Conv,
    ops: ChainOps,
}

impl SignConv {
    /// Packs `[rows][kh][kw][channels]` weights, each -1, 0 or +1; elements outside the image are `pad`, which is
    /// -1, 0 or 1.
    pub fn new(isa: Isa, geometry: &Geometry, weights: &[f32], pad: i32) -> SignConv {
        check(geometry);
        let Geometry {
            kernel,
            channels,
            rows,
            ..
        } = *geometry;
        let n = rows * kernel[0] * kernel[1] * channels;
        assert_eq!(weights.len(), n, "weights of {rows} rows");
        let words = n / channels * channels.div_ceil(32);
        let (mut signs, mut masks) = (vec![0; words], vec![0; words]);
        dispatch_lanes!(
            isa,
            pack_pixels(weights, channels, f32::MIN_POSITIVE, &mut signs)
        );
        dispatch_lanes!(isa, pack_pixels(weights, channels, 0.0, &mut masks));
        let last = u32::MAX >> (channels.wrapping_neg() % 32);
        for (at, (sign, mask)) in signs.iter().zip(&mut masks).enumerate() {
            // A weight is zero where it is neither positive nor less than zero.
            let is_last = (at + 1).is_multiple_of(channels.div_ceil(32));
            *mask = (!*mask | sign) & if is_last { last } else { u32::MAX };
        }
        SignConv {
            isa,
            conv: Conv::packed_bits(isa, geometry.clone(), [&signs, &masks], None, pad),
            ops: ChainOps::new(),
        }
    }

    /// Convolves the signs of `x`, `[images][h][w][channels]`, into `out`, `[images][oh][ow][rows]`, which is
    /// overwritten. An element is +1 where `x >= 0`, else -1.
    pub fn product(&self, x: &[f32], out: &mut [f32]) {
        let (geometry, isa) = (self.conv.geometry(), self.isa);
        let px = geometry.size[0] * geometry.size[1];
        let image = px * geometry.channels;
        let images = n_images(x, image, out, geometry.out_px() * geometry.rows);
        if images == 0 {
            return;
        }
        let words = n_words(32 * px * geometry.channels.div_ceil(32));
        let mut bits = AlignedWords::zeros(images * words);
        if geometry.channels.is_multiple_of(32) {
            dispatch!(isa, pack_signs(x, image, &mut bits));
        } else {
            for (x, bits) in x.chunks_exact(image).zip(bits.chunks_exact_mut(words)) {
                dispatch_lanes!(
                    isa,
                    pack_pixels(x, geometry.channels, 0.0, halves_mut(bits))
                );
            }
        }
        let chain = ChainOut {
            ops: &self.ops,
            operands: &[],
            held: None,
            reals: Some(out),
            bits: None,
        };
        self.conv.run_bits(&bits, images, Output::Chain(chain));
    }
}

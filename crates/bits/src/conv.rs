//! Convolutions of packed bits, of unsigned codes and of floats.
//!
//! Owns [`Conv`], a convolution's weights packed for one instruction set, and [`Output`], what becomes
//! of its sums while they are in registers. Images come in, channels last; integers, packed bits or
//! floats go out. Leaves padding with other values than zero (for codes and floats), the choice of
//! kernel, memory and threads to the engine. Every function panics when a slice's length does not fit
//! the stated shape: shapes come from a verified plan.
//!
//! Packed bits of an image are `[row][column][ceil(channels / 32)]` words of 32 bits, two to a `u64`, the
//! lower half first; an image begins at a `u64` of its own.

use alloc::vec;
use alloc::vec::Vec;

use crate::aligned::{AlignedWords, halves, halves_mut};
use crate::chain::ChainOut;
use crate::dispatch::dispatch_lanes;
use crate::generic::conv::{Element, PANEL, Rect, Region, Walk};
use crate::generic::finish::{Finish, Lift, Out};
pub use crate::geometry::Geometry;
use crate::isa::{Isa, Tier};

/// Entries that per-channel lists have past their last channel, so that whole registers can be read.
pub(crate) const SLACK: usize = 64;

/// Bytes that must follow the codes of a [`Conv::codes`].
pub const CODE_SLACK: usize = 64;

/// What weights are multiplied with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operand {
    Bits,
    Codes,
    Floats,
}

/// A convolution's weights, packed for one instruction set.
#[derive(Clone, Debug)]
pub struct Conv {
    isa: Isa,
    geometry: Geometry,
    operand: Operand,
    rects: Vec<Rect>,
    // What the kernel reads, see `Walk`.
    regions: Vec<Region>,
    elements: Vec<Element>,
    // Panels of 32-bit elements; the mask is empty when no weight is masked.
    weights: AlignedWords,
    mask: AlignedWords,
    // `[class][rows + SLACK]` for bits, `[rows + SLACK]` for codes, empty for floats.
    base: Vec<i32>,
    // Elements of a tap and of a window of one group, channels a group stores.
    run: usize,
    depth: usize,
    stored: usize,
    // Columns of the packed kernel, and how many of them read the same column of the image.
    kernel_width: usize,
    passes: usize,
}

/// Integer thresholds of a [`Conv`], see [`Conv::thresholds`].
#[derive(Clone, Debug)]
pub struct ConvThresholds {
    bounds: Vec<i32>,
    flip: Vec<u32>,
}

/// What becomes of a convolution's sums.
#[derive(Debug)]
pub enum Output<'a> {
    /// The sums, `[images][positions][rows]`; not for floats.
    Ints(&'a mut [i32]),
    /// Packed comparisons, images back to back; not for floats.
    Bits(&'a ConvThresholds, &'a mut [u64]),
    /// Floats after a chain of operations.
    Chain(ChainOut<'a>),
}

/// A weight by group row, kernel row, kernel column and channel of the group.
pub type WeightAt<'a, T> = &'a dyn Fn(usize, usize, usize, usize) -> T;

impl Conv {
    /// Whether packed bits can be convolved with these groups: each begins at a word.
    pub fn takes_bits(geometry: &Geometry) -> bool {
        geometry.groups == 1 || (geometry.channels / geometry.groups).is_multiple_of(32)
    }

    /// A convolution of packed bits with weights -1, 0 and +1, given as integers.
    ///
    /// Elements outside the image have the value `pad`; `bias` has an entry per row.
    pub fn bits(
        isa: Isa,
        geometry: Geometry,
        weight: WeightAt<'_, i32>,
        bias: Option<&[i32]>,
        pad: i32,
    ) -> Self {
        let channels = geometry.channels / geometry.groups;
        let run = channels.div_ceil(32);
        let depth = geometry.kernel[0] * geometry.kernel[1] * run;
        let (mut signs, mut masks) = (Vec::new(), Vec::new());
        for at in 0..geometry.rows * depth {
            let (ky, kx, word) = conv_element(&geometry, run, at % depth);
            let (mut sign, mut mask) = (0, 0);
            for bit in 0..32.min(channels - 32 * word) {
                let weight = weight(at / depth, ky, kx, 32 * word + bit);
                sign |= u32::from(weight > 0) << bit;
                mask |= u32::from(weight != 0) << bit;
            }
            signs.push(sign);
            masks.push(mask);
        }
        Self::packed_bits(isa, geometry, [&signs, &masks], bias, pad)
    }

    /// As [`Conv::bits`], of packed weights, `[rows][kh][kw][ceil(group's channels / 32)]` words: in the first plane
    /// bits of +1, in the second bits of weights that are not zero.
    pub(crate) fn packed_bits(
        isa: Isa,
        geometry: Geometry,
        planes: [&[u32]; 2],
        bias: Option<&[i32]>,
        pad: i32,
    ) -> Self {
        assert!(Self::takes_bits(&geometry), "groups of whole words");
        let channels = geometry.channels / geometry.groups;
        let run = channels.div_ceil(32);
        let mut conv = Conv::empty(isa, geometry, Operand::Bits, run);
        let [signs, masks] = planes;
        let n = conv.geometry.rows * conv.depth;
        assert_eq!([signs.len(), masks.len()], [n, n], "words of the weights");
        let last = u32::MAX >> (32 * run - channels);
        let is_masked = masks.chunks_exact(run).any(|tap| {
            let (end, whole) = tap.split_last().expect("a tap has at least one word");
            *end != last || whole.iter().any(|&mask| mask != u32::MAX)
        });
        if is_masked {
            conv.mask = AlignedWords::zeros(conv.weights.len());
        }
        let depth = conv.depth;
        conv.fill(|row, element| (signs[row * depth + element], masks[row * depth + element]))
            .store(&mut conv);
        conv.base = conv.bit_bases(planes, bias, pad);
        conv.list_elements();
        conv
    }

    /// A convolution of unsigned 8-bit codes with signed 8-bit weights. Padding must be part of the image
    /// (`pads` are zero), and [`CODE_SLACK`] bytes must follow the codes.
    pub fn codes(
        isa: Isa,
        geometry: Geometry,
        weight: WeightAt<'_, i8>,
        bias: Option<&[i32]>,
    ) -> Self {
        assert_eq!(geometry.pads, [0, 0], "padding is part of the image");
        for axis in 0..2 {
            let reach = geometry.out[axis].saturating_sub(1) * geometry.stride[axis]
                + geometry.kernel[axis].saturating_sub(1) * geometry.dilation[axis];
            assert!(reach < geometry.size[axis], "windows inside the image");
        }
        let channels = geometry.channels / geometry.groups;
        let is_row = geometry.dilation[1] == 1 && geometry.groups == 1;
        let taps = if is_row { geometry.kernel[1] } else { 1 };
        let run = (taps * channels).div_ceil(4);
        let (n_rows, width) = (geometry.rows, geometry.kernel[1]);
        let mut conv = Conv::empty(isa, geometry, Operand::Codes, run);
        // Weights out of the range in which a product of four is exact are the sum of two within it, and
        // a second tap reads the same codes for the second of them.
        let is_split = isa.tier() == Tier::Avx2
            && (0..n_rows).any(|row| {
                let taps =
                    (0..conv.geometry.kernel[0]).flat_map(|ky| (0..width).map(move |kx| (ky, kx)));
                let mut weights =
                    taps.flat_map(|(ky, kx)| (0..channels).map(move |c| weight(row, ky, kx, c)));
                weights.any(|weight| !(-64..=64).contains(&weight))
            });
        let passes = 1 + usize::from(is_split);
        conv.passes = passes;
        conv.kernel_width = if is_row { passes } else { passes * width };
        conv.depth = conv.geometry.kernel[0] * conv.kernel_width * run;
        conv.allocate();
        let kernel_width = conv.kernel_width;
        conv.fill(|row, element| {
            let (ky, rest) = (
                element / (kernel_width * run),
                element % (kernel_width * run),
            );
            let (column, quad) = (rest / run, rest % run);
            let mut bytes = [0u8; 4];
            for (i, byte) in bytes.iter_mut().enumerate() {
                let at = 4 * quad + i;
                if at >= taps * channels {
                    continue;
                }
                let kx = if is_row {
                    at / channels
                } else {
                    column / passes
                };
                let weight = weight(row, ky, kx, at % channels);
                let first = weight / 2;
                *byte = match (passes, column % 2) {
                    (1, _) => weight,
                    (_, 0) => first,
                    _ => weight - first,
                } as u8;
            }
            (u32::from_le_bytes(bytes), 0)
        })
        .store(&mut conv);
        // The walk reads whole kernel rows, so a rect is every position.
        conv.rects = vec![Rect {
            y: [0, conv.geometry.out[0]],
            x: [0, conv.geometry.out[1]],
            ky: [0, conv.geometry.kernel[0]],
            kx: [0, conv.kernel_width],
        }];
        conv.base = vec![0; conv.geometry.rows + SLACK];
        if let Some(bias) = bias {
            conv.base[..bias.len()].copy_from_slice(bias);
        }
        conv.list_elements();
        conv
    }

    /// A convolution of floats; elements outside the image are zero.
    pub fn floats(isa: Isa, geometry: Geometry, weight: WeightAt<'_, f32>) -> Self {
        let run = geometry.channels / geometry.groups;
        let mut conv = Conv::empty(isa, geometry, Operand::Floats, run);
        conv.fill(|row, element| {
            let (ky, kx, channel) = conv_element(&conv.geometry, run, element);
            (weight(row, ky, kx, channel).to_bits(), 0)
        })
        .store(&mut conv);
        conv.list_elements();
        conv
    }

    /// A convolution without weights yet.
    fn empty(isa: Isa, geometry: Geometry, operand: Operand, run: usize) -> Self {
        let mut conv = Conv {
            isa,
            operand,
            rects: geometry.rects(),
            regions: Vec::new(),
            elements: Vec::new(),
            weights: AlignedWords::zeros(0),
            mask: AlignedWords::zeros(0),
            base: Vec::new(),
            run,
            depth: geometry.kernel[0] * geometry.kernel[1] * run,
            stored: (geometry.rows / geometry.groups).div_ceil(32) * 32,
            kernel_width: geometry.kernel[1],
            passes: 1,
            geometry,
        };
        conv.allocate();
        conv
    }

    /// Bytes between images, rows and pixels of the operand.
    fn strides(&self) -> [usize; 3] {
        let Geometry { size, channels, .. } = self.geometry;
        let px = match self.operand {
            Operand::Bits => 4 * channels.div_ceil(32),
            Operand::Codes => channels,
            Operand::Floats => 4 * channels,
        };
        let image = size[0] * size[1] * px;
        match self.operand {
            Operand::Bits => [image.next_multiple_of(8), size[1] * px, px],
            _ => [image, size[1] * px, px],
        }
    }

    /// Lists the elements of every rect's windows, kernel row by kernel row.
    fn list_elements(&mut self) {
        let [_, row_bytes, px_bytes] = self.strides();
        let Geometry {
            stride,
            dilation,
            pads,
            ..
        } = self.geometry;
        for rect in &self.rects {
            let first = self.elements.len();
            for ky in rect.ky[0]..rect.ky[1] {
                for kx in rect.kx[0]..rect.kx[1] {
                    let down = (ky - rect.ky[0]) * dilation[0] * row_bytes;
                    let across = (kx - rect.kx[0]) / self.passes * dilation[1] * px_bytes;
                    let tap = (ky * self.kernel_width + kx) * self.run;
                    self.elements.extend((0..self.run).map(|element| Element {
                        x: (down + across + 4 * element) as u32,
                        w: (tap + element) as u32,
                    }));
                }
            }
            // Positions that read no tap keep zero totals.
            let start = match self.elements.len() == first {
                true => 0,
                false => {
                    let y = rect.y[0] * stride[0] + rect.ky[0] * dilation[0] - pads[0];
                    let x = rect.x[0] * stride[1] + rect.kx[0] * dilation[1] - pads[1];
                    y * row_bytes + x * px_bytes
                }
            };
            self.regions.push(Region {
                y: rect.y,
                x: rect.x,
                start,
                elements: first..self.elements.len(),
            });
        }
    }

    fn allocate(&mut self) {
        let elements = self.geometry.groups * self.depth * self.stored;
        self.weights = AlignedWords::zeros(elements.div_ceil(2));
    }

    /// Every element of every row: `(weights, mask)`, to be stored in panels.
    fn fill(&self, mut element_of: impl FnMut(usize, usize) -> (u32, u32)) -> Panels {
        let rows = self.geometry.rows / self.geometry.groups;
        let mut panels = Panels {
            weights: AlignedWords::zeros(self.weights.len()),
            mask: AlignedWords::zeros(self.mask.len()),
        };
        for group in 0..self.geometry.groups {
            for row in 0..rows {
                let first = row / PANEL * PANEL;
                let stored = PANEL.min(self.stored - first);
                for element in 0..self.depth {
                    let at = group * self.depth * self.stored
                        + first * self.depth
                        + element * stored
                        + row
                        - first;
                    let (weights, mask) = element_of(group * rows + row, element);
                    halves_mut(&mut panels.weights)[at] = weights;
                    if !self.mask.is_empty() {
                        halves_mut(&mut panels.mask)[at] = mask;
                    }
                }
            }
        }
        panels
    }

    /// `[class][row]`: the sum when no bit differs, with what padding and bias add.
    fn bit_bases(&self, planes: [&[u32]; 2], bias: Option<&[i32]>, pad: i32) -> Vec<i32> {
        let Geometry { kernel, rows, .. } = self.geometry;
        let count = |words: &[u32]| {
            words
                .iter()
                .map(|word| word.count_ones() as i32)
                .sum::<i32>()
        };
        let stride = rows + SLACK;
        let mut base = vec![0; self.rects.len() * stride];
        for row in 0..rows {
            let [signs, masks] = planes.map(|words| &words[row * self.depth..][..self.depth]);
            let taps = signs
                .chunks_exact(self.run)
                .zip(masks.chunks_exact(self.run));
            let taps = taps.map(|(sign, mask)| {
                let (positive, active) = (count(sign), count(mask));
                (2 * positive - active, active)
            });
            let taps: Vec<(i32, i32)> = taps.collect();
            for (class, rect) in self.rects.iter().enumerate() {
                let mut sum = bias.map_or(0, |bias| bias[row]);
                for ky in 0..kernel[0] {
                    for kx in 0..kernel[1] {
                        let (weights, active) = taps[ky * kernel[1] + kx];
                        let is_inside = (rect.ky[0]..rect.ky[1]).contains(&ky)
                            && (rect.kx[0]..rect.kx[1]).contains(&kx);
                        sum += if is_inside { active } else { pad * weights };
                    }
                }
                base[class * stride + row] = sum;
            }
        }
        base
    }

    /// The shape.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Bytes of the packed weights.
    pub fn n_bytes(&self) -> usize {
        8 * (self.weights.len() + self.mask.len())
    }

    /// The name of the kernel.
    pub fn kernel(&self) -> &'static str {
        match (self.operand, self.mask.is_empty()) {
            (Operand::Bits, true) => "conv_bits",
            (Operand::Bits, false) => "conv_bits_masked",
            (Operand::Codes, _) => "conv_codes",
            (Operand::Floats, _) => "conv_floats",
        }
    }

    /// Thresholds in the form that the convolution compares its totals with: row `r` answers
    /// `(sum >= at) != flip`, where `thresholds` yields `(at, flip)` for each row.
    pub fn thresholds(&self, thresholds: impl Iterator<Item = (i32, bool)>) -> ConvThresholds {
        let rows = self.geometry.rows;
        let stride = rows + SLACK;
        let n_classes = self.base.len() / stride;
        let mut packed = ConvThresholds {
            bounds: vec![i32::MIN; self.base.len()],
            flip: vec![0; rows.div_ceil(32) + 2],
        };
        let clamp = |x: i64| x.clamp(i32::MIN.into(), i32::MAX.into()) as i32;
        for (row, (at, flip)) in thresholds.enumerate() {
            for class in 0..n_classes {
                let base = i64::from(self.base[class * stride + row]);
                packed.bounds[class * stride + row] = match self.operand {
                    // base - 2 t >= at
                    Operand::Bits => clamp((base - i64::from(at)).div_euclid(2) + 1),
                    // not: base + t < at
                    _ => clamp(i64::from(at) - base),
                };
            }
            let flip = flip != (self.operand == Operand::Codes);
            packed.flip[row / 32] |= u32::from(flip) << (row % 32);
        }
        packed
    }

    /// Convolves images of packed bits.
    pub fn run_bits(&self, x: &[u64], images: usize, out: Output<'_>) {
        assert_eq!(self.operand, Operand::Bits, "a convolution of bits");
        assert!(
            8 * x.len() >= images * self.strides()[0],
            "words of {images} images"
        );
        self.run(x.as_ptr().cast(), images, out);
    }

    /// Convolves images of codes, `[image][row][column][channel]` and [`CODE_SLACK`] bytes more.
    pub fn run_codes(&self, x: &[u8], images: usize, out: Output<'_>) {
        assert_eq!(self.operand, Operand::Codes, "a convolution of codes");
        let needed = images * self.strides()[0] + CODE_SLACK;
        assert!(x.len() >= needed, "bytes of {images} images, and slack");
        self.run(x.as_ptr(), images, out);
    }

    /// Convolves images of floats, `[image][row][column][channel]`.
    pub fn run_floats(&self, x: &[f32], images: usize, out: Output<'_>) {
        assert_eq!(self.operand, Operand::Floats, "a convolution of floats");
        assert!(
            4 * x.len() >= images * self.strides()[0],
            "floats of {images} images"
        );
        self.run(x.as_ptr().cast(), images, out);
    }

    /// Runs group after group.
    fn run(&self, x: *const u8, images: usize, mut out: Output<'_>) {
        let [image_bytes, row_bytes, px_bytes] = self.strides();
        let Geometry {
            groups,
            rows,
            channels,
            ..
        } = self.geometry;
        let rows = rows / groups;
        let group_bytes = match self.operand {
            Operand::Bits => channels / groups / 8,
            Operand::Codes => channels / groups,
            Operand::Floats => 4 * (channels / groups),
        };
        for group in 0..groups {
            let at = group * self.depth * self.stored;
            let weights = halves(&self.weights)[at..].as_ptr();
            let mask = match self.mask.is_empty() {
                true => weights,
                false => halves(&self.mask)[at..].as_ptr(),
            };
            let walk = Walk {
                // SAFETY: a group's channels are inside a pixel.
                x: unsafe { x.add(group * group_bytes) },
                image_bytes,
                down: self.geometry.stride[0] * row_bytes,
                across: self.geometry.stride[1] * px_bytes,
                weights,
                mask,
                depth: self.depth,
                rows,
                stored_rows: self.stored,
                out_width: self.geometry.out[1],
                out_px: self.geometry.out_px(),
                images,
                regions: &self.regions,
                elements: &self.elements,
            };
            let mut finish = self.finish(group * rows, rows, &mut out);
            let isa = self.isa;
            match (self.operand, self.mask.is_empty()) {
                (Operand::Bits, true) => dispatch_lanes!(isa, conv_bits(walk, &mut finish)),
                (Operand::Bits, false) => dispatch_lanes!(isa, conv_bits_masked(walk, &mut finish)),
                (Operand::Codes, _) => dispatch_lanes!(isa, conv_codes(walk, &mut finish)),
                (Operand::Floats, _) => dispatch_lanes!(isa, conv_floats(walk, &mut finish)),
            }
        }
    }

    /// What kernels finish totals with.
    fn finish<'a>(&'a self, first: usize, rows: usize, out: &'a mut Output<'_>) -> Finish<'a> {
        let n = self.geometry.rows;
        let lift = match self.operand {
            Operand::Bits => Lift::Differing(&self.base),
            Operand::Codes => Lift::Sum(&self.base),
            Operand::Floats => Lift::Float,
        };
        let out = match out {
            Output::Ints(out) => {
                assert!(
                    self.operand != Operand::Floats,
                    "floats have no integer sums"
                );
                Out::Ints(out)
            }
            Output::Bits(thresholds, out) => {
                assert_eq!(
                    thresholds.bounds.len(),
                    self.base.len(),
                    "thresholds of this convolution"
                );
                assert!(
                    self.operand != Operand::Floats,
                    "floats have no integer sums"
                );
                Out::Compared {
                    bounds: &thresholds.bounds,
                    flip: &thresholds.flip,
                    out: halves_mut(out),
                }
            }
            Output::Chain(out) => Out::Chain(out.chain(n)),
        };
        Finish {
            lift,
            class_stride: n + SLACK,
            n,
            first,
            end: first + rows,
            out,
        }
    }
}

/// Packed weights before they are part of a [`Conv`].
struct Panels {
    weights: AlignedWords,
    mask: AlignedWords,
}

impl Panels {
    fn store(self, conv: &mut Conv) {
        conv.weights = self.weights;
        conv.mask = self.mask;
    }
}

/// Kernel row, kernel column and index in the tap of an element of a window.
fn conv_element(geometry: &Geometry, run: usize, element: usize) -> (usize, usize, usize) {
    let (tap, within) = (element / run, element % run);
    (tap / geometry.kernel[1], tap % geometry.kernel[1], within)
}

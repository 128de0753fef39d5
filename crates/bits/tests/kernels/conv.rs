//! Convolutions on every tier, against sums over single elements.
//!
//! A case is a random shape with its image, weights and bias; its integer sums end as integers, as packed
//! comparisons, or in a chain of floats.

use onebit_bits::Isa;
use onebit_bits::conv::{CODE_SLACK, Conv, Geometry, Output};

use crate::chain::{Case, geometry_at};
use crate::random::{Random, Specials, bits_of, packed, paired};

/// Most products of a random case; the loops that define the answers are slow.
const MOST_PRODUCTS: usize = 600_000;

/// What is multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// Bits by -1 and +1, or by -1, 0 and +1.
    Bits,
    /// Codes by weights of 8 bits.
    Codes,
    /// Floats.
    Floats,
}

/// An image and weights as single elements.
struct Layer<T> {
    geometry: Geometry,
    images: usize,
    // [image][row][column][channel]
    x: Vec<T>,
    // [row][kernel row][kernel column][channel of the group]
    weights: Vec<T>,
    pad: T,
}

impl<T: Copy> Layer<T> {
    /// `[image][position][row]`: `sum` over the products of a window, in the order of the weights.
    fn sums<S>(&self, sum: impl Fn(usize, &mut dyn Iterator<Item = (T, T)>) -> S) -> Vec<S> {
        let Geometry {
            size,
            channels,
            out,
            rows,
            groups,
            kernel,
            ..
        } = self.geometry;
        let (group_channels, group_rows) = (channels / groups, rows / groups);
        let depth = kernel[0] * kernel[1] * group_channels;
        let mut sums = Vec::with_capacity(self.images * out[0] * out[1] * rows);
        for at in 0..self.images * out[0] * out[1] {
            let (image, at) = (at / (out[0] * out[1]), at % (out[0] * out[1]));
            let image = &self.x[image * size[0] * size[1] * channels..];
            let taps: Vec<Option<usize>> = (0..kernel[0] * kernel[1])
                .map(|tap| {
                    let tap = [tap / kernel[1], tap % kernel[1]];
                    let place = geometry_at(&self.geometry, [at / out[1], at % out[1]], tap);
                    place.map(|[y, x]| (y * size[1] + x) * channels)
                })
                .collect();
            for row in 0..rows {
                let group = row / group_rows * group_channels;
                let weights = &self.weights[row * depth..(row + 1) * depth];
                let mut products = weights.iter().enumerate().map(|(i, &weight)| {
                    let (tap, channel) = (i / group_channels, i % group_channels);
                    let x = taps[tap].map_or(self.pad, |at| image[at + group + channel]);
                    (x, weight)
                });
                sums.push(sum(row, &mut products));
            }
        }
        sums
    }

    fn weight(&self, row: usize, ky: usize, kx: usize, channel: usize) -> T {
        let Geometry {
            channels,
            groups,
            kernel,
            ..
        } = self.geometry;
        self.weights[((row * kernel[0] + ky) * kernel[1] + kx) * (channels / groups) + channel]
    }
}

/// A random shape. Codes have no padding, and groups of bits are whole words.
fn geometry(random: &mut Random, operand: Operand) -> (Geometry, usize) {
    loop {
        let groups = match random.below(3) {
            0 => 1 + random.below(4),
            _ => 1,
        };
        let channels = match (operand, groups) {
            (Operand::Bits, 2..) => 32 * (1 + random.below(3)),
            _ => 1 + random.below(130 / groups),
        };
        let mut geometry = Geometry {
            size: [1, 1],
            channels: groups * channels,
            out: [1, 1],
            rows: groups * (1 + random.below(130 / groups)),
            groups,
            kernel: [1, 1],
            stride: [1, 1],
            dilation: [1, 1],
            pads: [0, 0],
        };
        for axis in 0..2 {
            let (kernel, dilation) = (1 + random.below(5), 1 + random.below(2));
            let stride = 1 + random.below(3);
            let span = (kernel - 1) * dilation + 1;
            // Windows may lie beside the image altogether.
            let most = if operand == Operand::Codes {
                1
            } else {
                span + 2
            };
            let (before, after) = (random.below(most), random.below(most));
            let size = match operand {
                Operand::Codes => span + random.below(9),
                _ => 1 + random.below(9),
            };
            let size = size + 20 * usize::from(random.one_in(8));
            let padded = (size + before + after).max(span);
            geometry.kernel[axis] = kernel;
            geometry.dilation[axis] = dilation;
            geometry.stride[axis] = stride;
            geometry.pads[axis] = before;
            geometry.size[axis] = size;
            geometry.out[axis] = (padded - span) / stride + 1;
        }
        let images = 1 + random.below(4);
        let taps = geometry.kernel[0] * geometry.kernel[1];
        let products = geometry.out_px() * taps * channels * geometry.rows * images;
        if products <= MOST_PRODUCTS {
            return (geometry, images);
        }
    }
}

/// A layer whose elements and weights these functions make.
fn layer<T: Copy>(
    random: &mut Random,
    (geometry, images): (Geometry, usize),
    pad: T,
    mut element: impl FnMut(&mut Random) -> T,
    mut weight: impl FnMut(&mut Random) -> T,
) -> Layer<T> {
    let n = images * geometry.size[0] * geometry.size[1] * geometry.channels;
    let n_weights = geometry.rows * geometry.kernel[0] * geometry.kernel[1] * geometry.channels
        / geometry.groups;
    Layer {
        geometry,
        images,
        x: (0..n).map(|_| element(random)).collect(),
        weights: (0..n_weights).map(|_| weight(random)).collect(),
        pad,
    }
}

/// A random case of this operand: what every tier must answer, or what one does.
pub fn random_case(isa: Option<Isa>, operand: Operand, seed: u64) -> Vec<u64> {
    let mut random = Random::new(seed);
    let shape = geometry(&mut random, operand);
    case(isa, operand, &mut random, shape)
}

fn case(
    isa: Option<Isa>,
    operand: Operand,
    random: &mut Random,
    shape: (Geometry, usize),
) -> Vec<u64> {
    if operand == Operand::Floats {
        return floats(isa, random, shape);
    }
    let layer = match operand {
        Operand::Bits => {
            let weights: &[i32] = random.pick(&[&[-1, 1], &[-1, 0, 1], &[-1, 0, 0, 0, 1]]);
            let pad = random.from(-1, 1) as i32;
            layer(
                random,
                shape,
                pad,
                |r| r.pick(&[-1, 1]),
                |r| r.pick(weights),
            )
        }
        _ => {
            let most = random.pick(&[1, 64, 65, 127, 128]);
            let bits = 1 + random.below(8);
            let weight = |r: &mut Random| match r.below(4) {
                0 => r.pick(&[-most, most.min(127)]) as i32,
                _ => r.from(-most, most.min(127)) as i32,
            };
            let largest = (1 << bits) - 1;
            let element = |r: &mut Random| match r.below(2) {
                0 => largest,
                _ => r.from(0, largest.into()) as i32,
            };
            layer(random, shape, 0, element, weight)
        }
    };
    let bias: Option<Vec<i32>> = random.one_in(2).then(|| {
        let bias = (0..layer.geometry.rows).map(|_| random.next() as i32 >> 9);
        bias.collect()
    });
    let sums = layer.sums(|row, products| {
        let sum: i32 = products.map(|(x, weight)| x * weight).sum();
        bias.as_ref().map_or(0, |bias| bias[row]) + sum
    });
    let rows = layer.geometry.rows;
    let thresholds = random.thresholds(rows, &sums);
    let reals: Vec<f32> = sums.iter().map(|&sum| sum as f32).collect();
    let chain = Case::new(random, sums.len(), rows, &reals);
    let Some(isa) = isa else {
        let mut answers: Vec<u64> = sums.iter().map(|&sum| sum as u64).collect();
        let bits = sums.iter().enumerate().map(|(i, &sum)| {
            let (at, flip) = thresholds[i % rows];
            (sum >= at) != flip
        });
        answers.extend(paired(&packed(&bits.collect::<Vec<_>>(), rows)));
        answers.extend(chain.expected_of_ints(&sums));
        return answers;
    };
    let prepared = Prepared::new(isa, operand, &layer, bias.as_deref());
    let mut ints = vec![7; sums.len()];
    prepared.run(Output::Ints(&mut ints));
    let mut answers: Vec<u64> = ints.iter().map(|&sum| sum as u64).collect();
    let mut bits = vec![!0; (sums.len() / rows * rows.div_ceil(32)).div_ceil(2)];
    let thresholds = prepared.conv.thresholds(thresholds.into_iter());
    prepared.run(Output::Bits(&thresholds, &mut bits));
    answers.extend(bits);
    answers.extend(chain.answers(|out| prepared.run(Output::Chain(out))));
    answers
}

/// Packed weights with the image as they read it.
struct Prepared {
    conv: Conv,
    images: usize,
    bits: Vec<u64>,
    codes: Vec<u8>,
}

impl Prepared {
    fn new(isa: Isa, operand: Operand, layer: &Layer<i32>, bias: Option<&[i32]>) -> Self {
        let geometry = layer.geometry.clone();
        let (mut bits, mut codes) = (Vec::new(), Vec::new());
        let conv = if operand == Operand::Bits {
            let channels = geometry.channels;
            for image in layer
                .x
                .chunks(geometry.size[0] * geometry.size[1] * channels)
            {
                let image: Vec<bool> = image.iter().map(|&x| x == 1).collect();
                bits.extend(paired(&packed(&image, channels)));
            }
            let weight = |row, ky, kx, channel| layer.weight(row, ky, kx, channel);
            Conv::bits(isa, geometry, &weight, bias, layer.pad)
        } else {
            codes = layer.x.iter().map(|&x| x as u8).collect();
            // What follows the image must not matter.
            codes.extend([0xFF; CODE_SLACK]);
            let weight = |row, ky, kx, channel| layer.weight(row, ky, kx, channel) as i8;
            Conv::codes(isa, geometry, &weight, bias)
        };
        Prepared {
            conv,
            images: layer.images,
            bits,
            codes,
        }
    }

    fn run(&self, out: Output<'_>) {
        match self.codes.is_empty() {
            true => self.conv.run_bits(&self.bits, self.images, out),
            false => self.conv.run_codes(&self.codes, self.images, out),
        }
    }
}

fn floats(isa: Option<Isa>, random: &mut Random, shape: (Geometry, usize)) -> Vec<u64> {
    let specials = random.pick(&[Specials::None, Specials::None, Specials::Some]);
    let element = |r: &mut Random| r.reals(1, specials)[0];
    let layer = layer(random, shape, 0.0, element, Random::real);
    let sums = layer.sums(|_, products| products.fold(0.0, |sum, (x, weight)| sum + x * weight));
    let chain = Case::new(random, sums.len(), layer.geometry.rows, &sums).without_int_relu();
    let Some(isa) = isa else {
        return chain.expected_of_reals(&sums);
    };
    let weight = |row, ky, kx, channel| layer.weight(row, ky, kx, channel);
    let conv = Conv::floats(isa, layer.geometry.clone(), &weight);
    chain.answers(|out| conv.run_floats(&layer.x, layer.images, Output::Chain(out)))
}

#[test]
fn layers_of_common_networks_equal_their_definition() {
    // [channels, rows, size, kernel, stride, pad, groups]
    let shapes = [
        [64, 64, 6, 3, 1, 1, 1],
        [128, 128, 4, 3, 1, 1, 1],
        [64, 128, 7, 3, 2, 1, 1],
        [256, 96, 3, 1, 1, 0, 1],
        [1000, 40, 1, 1, 1, 0, 1],
        [3, 64, 15, 5, 2, 2, 1],
        [128, 130, 5, 3, 1, 1, 2],
        [65, 129, 4, 3, 1, 1, 1],
        [96, 33, 5, 3, 1, 2, 3],
    ];
    for operand in [Operand::Bits, Operand::Codes, Operand::Floats] {
        for (seed, [channels, rows, size, kernel, stride, pad, groups]) in (1..).zip(shapes) {
            if operand == Operand::Bits && groups > 1 && channels / groups % 32 != 0 {
                continue;
            }
            let pad = if operand == Operand::Codes { 0 } else { pad };
            let geometry = Geometry {
                size: [size, size],
                channels,
                out: [(size + 2 * pad - kernel) / stride + 1; 2],
                rows: rows / groups * groups,
                groups,
                kernel: [kernel, kernel],
                stride: [stride, stride],
                dilation: [1, 1],
                pads: [pad, pad],
            };
            let run = |isa| case(isa, operand, &mut Random::new(seed), (geometry.clone(), 2));
            let expected = run(None);
            for isa in Isa::available() {
                assert!(
                    run(Some(isa)) == expected,
                    "{operand:?} on {isa:?}, {geometry:?}"
                );
            }
        }
    }
}

#[test]
fn the_largest_products_of_codes_are_exact() {
    // [dilation, groups]: kernel rows that are one run, and those that are not.
    for [dilation, groups] in [[1, 1], [2, 1], [1, 2], [2, 2]] {
        for (code, weight) in [(255, -128), (255, 127), (255, 65), (255, -65), (1, -128)] {
            for isa in Isa::available() {
                let geometry = Geometry {
                    size: [5, 5],
                    channels: 8,
                    out: [5 - 2 * dilation; 2],
                    rows: 6,
                    groups,
                    kernel: [3, 3],
                    stride: [1, 1],
                    dilation: [dilation, dilation],
                    pads: [0, 0],
                };
                let px = geometry.out_px();
                let conv = Conv::codes(isa, geometry, &|_, _, _, _| weight, None);
                let mut out = vec![0; 6 * px];
                conv.run_codes(&[code; 5 * 5 * 8 + CODE_SLACK], 1, Output::Ints(&mut out));
                let sum = i32::from(code) * i32::from(weight) * (9 * 8 / groups as i32);
                assert_eq!(
                    out,
                    vec![sum; 6 * px],
                    "{isa:?}, {code} by {weight}, dilation {dilation}, {groups} groups"
                );
            }
        }
    }
}

#[test]
fn sums_of_floats_begin_at_plus_zero() {
    let geometry = Geometry {
        size: [1, 1],
        channels: 1,
        out: [1, 1],
        rows: 1,
        groups: 1,
        kernel: [1, 1],
        stride: [1, 1],
        dilation: [1, 1],
        pads: [0, 0],
    };
    for isa in Isa::available() {
        let conv = Conv::floats(isa, geometry.clone(), &|_, _, _, _| 1.0);
        let ops = onebit_bits::chain::ChainOps::new();
        let mut out = [5.0];
        let to = onebit_bits::chain::ChainOut {
            ops: &ops,
            operands: &[],
            held: None,
            reals: Some(&mut out),
            bits: None,
        };
        conv.run_floats(&[-0.0], 1, Output::Chain(to));
        assert_eq!(bits_of(&out), [0], "{isa:?}");
    }
}

#[test]
#[should_panic(expected = "windows inside the image")]
fn codes_outside_the_image_are_refused() {
    let geometry = Geometry {
        size: [4, 4],
        channels: 8,
        out: [3, 4],
        rows: 1,
        groups: 1,
        kernel: [2, 2],
        stride: [1, 1],
        dilation: [1, 1],
        pads: [0, 0],
    };
    Conv::codes(Isa::SCALAR, geometry, &|_, _, _, _| 1, None);
}

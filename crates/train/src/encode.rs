//! From examples to the first layer's operand, in batches, with augmentation.
//!
//! In: a [`Split`] and indices. Out: a Flex tensor `[batch, n_inputs]` whose values are exactly those that
//! `onebit_model::net::Encoder` defines, or scaled reals for stages with real weights.

use burn::backend::flex::FlexTensor;
use onebit_data::{Dataset, Features, Split};
use onebit_model::net::Encoder;
use rayon::prelude::*;

use crate::graph::ValueKind;
use crate::ops::flex_tensor;
use crate::recipe::Input;
use crate::simd::hash32;

/// Random changes to training images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Augment {
    /// Largest shift in pixels each way.
    pub shift: usize,
    /// Largest turn in degrees either way.
    pub rotate: f32,
    /// Largest change of size either way.
    pub scale: f32,
    /// Whether to mirror half of the images.
    pub flip: bool,
    /// Side of a square that is zeroed somewhere in each image; 0 is none.
    pub cutout: usize,
    /// Changes from step to step.
    pub seed: u32,
}

impl Augment {
    /// Images as they are.
    pub const NONE: Augment = Augment {
        shift: 0,
        rotate: 0.0,
        scale: 0.0,
        flip: false,
        cutout: 0,
        seed: 0,
    };

    /// Whether images stay as they are.
    pub fn is_none(&self) -> bool {
        self.shift == 0 && !self.warps() && !self.flip && self.cutout == 0
    }

    fn warps(&self) -> bool {
        self.rotate > 0.0 || self.scale > 0.0
    }

    /// Number `which` of example `index`, uniform in `[-1, 1)`.
    fn uniform(&self, index: usize, which: u32) -> f32 {
        let random = hash32(self.seed ^ which.wrapping_mul(0x6C8E_9CF5), index as u32);
        random as f32 / 2f32.powi(31) - 1.0
    }
}

/// Chooses the encoder a recipe asks for, fitting quantiles on the training split where it needs them.
///
/// # Errors
/// A sentence, when the encoding does not fit the kind of features.
pub fn fit_encoder(input: &Input, data: &Dataset) -> Result<Encoder, String> {
    match (input, &data.train.features) {
        (Input::Quantiles { levels }, Features::F32(values)) => Ok(Encoder::RealThermometer {
            cuts: quantiles(values, data.train.n_features(), *levels),
        }),
        (Input::Quantiles { .. }, Features::U8(_)) => Err(
            "encoding \"quantiles\" is for real features; use \"thermometer\" for 8-bit ones"
                .into(),
        ),
        (_, Features::F32(_)) => {
            Err("this data set has real features; use encoding = \"quantiles\"".into())
        }
        (Input::Sign { at }, _) => Ok(Encoder::Sign { at: *at }),
        (Input::ZeroOne { at }, _) => Ok(Encoder::ZeroOne { at: *at }),
        (Input::FixedPoint { bits, .. }, _) => Ok(Encoder::FixedPoint { bits: *bits }),
        (Input::Thermometer { cuts }, _) => Ok(Encoder::Thermometer { cuts: cuts.clone() }),
        (Input::ChannelThermometer { cuts }, _) => {
            Ok(Encoder::ChannelThermometer { cuts: cuts.clone() })
        }
        (Input::Levels { .. }, _) => Ok(Encoder::Levels),
    }
}

/// Cuts `[levels][n]` at the quantiles `(j + 1) / (levels + 1)` of each feature.
fn quantiles(values: &[f32], n: usize, levels: usize) -> Vec<Vec<f32>> {
    let mut cuts = vec![vec![0.0; n]; levels];
    for feature in 0..n {
        let mut column: Vec<f32> = values[feature..].iter().step_by(n).copied().collect();
        column.sort_by(f32::total_cmp);
        for (j, row) in cuts.iter_mut().enumerate() {
            row[feature] = column[(j + 1) * (column.len() - 1) / (levels + 1)];
        }
    }
    cuts
}

/// What the first layer needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The encoder's own values: -1/+1, 0/1 or 0..=255.
    Codes,
    /// The encoder's values, with `Levels` scaled to `[-1, 1]`.
    ScaledCodes,
    /// The raw features scaled to `[-1, 1]` (8-bit) or as they are (real).
    Real,
}

/// Turns examples of one data set into operands.
#[derive(Clone, Debug)]
pub struct Feeder {
    encoder: Encoder,
    /// What an unset bit of several per pixel is fed as: -1, or 0 where recipes say zero-one.
    unset: f32,
    shape: Vec<usize>,
}

impl Feeder {
    /// A feeder for examples of `shape`.
    pub fn new(encoder: Encoder, input: &Input, shape: &[usize]) -> Feeder {
        Feeder {
            encoder,
            unset: if input.has_zero_one_planes() {
                0.0
            } else {
                -1.0
            },
            shape: shape.to_vec(),
        }
    }

    /// The encoder.
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// What the encoder's values are.
    pub fn kind(&self) -> ValueKind {
        match &self.encoder {
            Encoder::Levels => ValueKind::Levels { bits: 8, unit: 1.0 },
            Encoder::ZeroOne { .. } => ValueKind::Levels { bits: 1, unit: 1.0 },
            // Unset bits of several per pixel may be fed as 0.
            Encoder::FixedPoint { .. } if self.unset == 0.0 => {
                ValueKind::Levels { bits: 1, unit: 1.0 }
            }
            _ => ValueKind::Bits,
        }
    }

    /// Inputs of the first layer.
    pub fn n_inputs(&self, target: Target) -> usize {
        let n = self.shape.iter().product();
        if target == Target::Real {
            n
        } else {
            self.encoder.n_outputs(n)
        }
    }

    /// Encodes the examples at `indices`: `[indices.len(), n_inputs(target)]`. The pixels of an image lie in the order
    /// `[h][w][c]`, changed by `augment` first.
    ///
    /// # Panics
    /// If an index is none of the split's.
    pub fn batch(
        &self,
        split: &Split,
        indices: &[usize],
        target: Target,
        augment: Augment,
    ) -> FlexTensor {
        let n = split.n_features();
        let n_inputs = self.n_inputs(target);
        let mut out = vec![0.0f32; indices.len() * n_inputs];
        match &split.features {
            Features::U8(pixels) => {
                out.par_chunks_mut(n_inputs)
                    .zip(indices)
                    .for_each(|(out, &index)| {
                        let image = &pixels[index * n..][..n];
                        if augment.is_none() {
                            self.pixels(image, target, out);
                        } else {
                            self.pixels(&self.augmented(image, index, augment), target, out);
                        }
                    });
            }
            Features::F32(values) => {
                out.par_chunks_mut(n_inputs)
                    .zip(indices)
                    .for_each(|(out, &index)| {
                        self.reals(&values[index * n..][..n], target, out);
                    });
            }
        }
        flex_tensor(out, indices.len(), n_inputs)
    }

    fn pixels(&self, image: &[u8], target: Target, out: &mut [f32]) {
        let n = image.len();
        let bipolar = |bit: bool| if bit { 1.0 } else { -1.0 };
        if target == Target::Real {
            return fill(out, image, |p| f32::from(p) / 127.5 - 1.0);
        }
        match &self.encoder {
            Encoder::Sign { at } => fill(out, image, |p| bipolar(p >= *at)),
            Encoder::ZeroOne { at } => fill(out, image, |p| f32::from(u8::from(p >= *at))),
            Encoder::FixedPoint { bits } => {
                for (plane, out) in out.chunks_exact_mut(n).enumerate() {
                    let bit = 8 - u32::from(*bits) + plane as u32;
                    fill(out, image, |p| {
                        if (p >> bit) & 1 == 1 { 1.0 } else { self.unset }
                    });
                }
            }
            Encoder::Thermometer { cuts } => {
                for (cut, out) in cuts.iter().zip(out.chunks_exact_mut(n)) {
                    fill(out, image, |p| bipolar(p >= *cut));
                }
            }
            Encoder::ChannelThermometer { cuts } => {
                let channels = self.shape.last().copied().unwrap_or(1);
                let pixels = image.chunks_exact(channels);
                for (px, out) in pixels.zip(out.chunks_exact_mut(channels * cuts.len())) {
                    for (cut, out) in cuts.iter().zip(out.chunks_exact_mut(channels)) {
                        fill(out, px, |p| bipolar(p >= *cut));
                    }
                }
            }
            Encoder::Levels if target == Target::ScaledCodes => {
                fill(out, image, |p| f32::from(p) / 127.5 - 1.0)
            }
            Encoder::Levels => fill(out, image, f32::from),
            Encoder::RealThermometer { .. } => {
                unreachable!("fit_encoder pairs quantiles with real features")
            }
        }
    }

    fn reals(&self, features: &[f32], target: Target, out: &mut [f32]) {
        match &self.encoder {
            Encoder::RealThermometer { cuts } if target != Target::Real => {
                for (cuts, out) in cuts.iter().zip(out.chunks_exact_mut(features.len())) {
                    for ((o, x), cut) in out.iter_mut().zip(features).zip(cuts) {
                        *o = if x >= cut { 1.0 } else { -1.0 };
                    }
                }
            }
            _ => out.copy_from_slice(features),
        }
    }

    /// The image moved by a random offset (zeros move in) and perhaps mirrored.
    fn augmented(&self, image: &[u8], index: usize, augment: Augment) -> Vec<u8> {
        let [h, w, c] = match self.shape[..] {
            [h, w, c] => [h, w, c],
            [h, w] => [h, w, 1],
            _ => return image.to_vec(),
        };
        let mut out = if augment.warps() {
            warped(image, [h, w, c], index, augment)
        } else {
            shifted(image, [h, w, c], index, augment)
        };
        cut_out(&mut out, [h, w, c], index, augment);
        out
    }
}

/// The image moved by a whole number of pixels, zeros moving in, and perhaps mirrored.
fn shifted(image: &[u8], [h, w, c]: [usize; 3], index: usize, augment: Augment) -> Vec<u8> {
    let random = hash32(augment.seed, index as u32);
    let span = 2 * augment.shift as u32 + 1;
    let dy = ((random >> 16) % span) as isize - augment.shift as isize;
    let dx = ((random >> 4) % span) as isize - augment.shift as isize;
    let mirror = augment.flip && random & 1 == 1;
    let mut out = vec![0u8; image.len()];
    for y in 0..h {
        let Some(from_y) = y.checked_add_signed(dy).filter(|&y| y < h) else {
            continue;
        };
        for x in 0..w {
            let from_x = if mirror { w - 1 - x } else { x };
            let Some(from_x) = from_x.checked_add_signed(dx).filter(|&x| x < w) else {
                continue;
            };
            out[(y * w + x) * c..][..c].copy_from_slice(&image[(from_y * w + from_x) * c..][..c]);
        }
    }
    out
}

/// Zeroes a square whose centre is anywhere in the image (DeVries & Taylor 2017).
fn cut_out(image: &mut [u8], [h, w, c]: [usize; 3], index: usize, augment: Augment) {
    if augment.cutout == 0 {
        return;
    }
    let half = augment.cutout as isize / 2;
    let centre = |which: u32, n: usize| {
        let share = (augment.uniform(index, which) + 1.0) / 2.0;
        ((share * n as f32) as usize).min(n - 1)
    };
    let (cy, cx) = (centre(6, h), centre(7, w));
    let within = |at: usize, centre: usize| {
        let from = at as isize - centre as isize + half;
        (0..augment.cutout as isize).contains(&from)
    };
    for y in (0..h).filter(|&y| within(y, cy)) {
        for x in (0..w).filter(|&x| within(x, cx)) {
            image[(y * w + x) * c..][..c].fill(0);
        }
    }
}

/// The image turned, scaled and moved by random amounts about its centre, sampled bilinearly; zeros outside.
fn warped(image: &[u8], [h, w, c]: [usize; 3], index: usize, augment: Augment) -> Vec<u8> {
    let angle = (augment.rotate * augment.uniform(index, 1)).to_radians();
    let size = 1.0 + augment.scale * augment.uniform(index, 2);
    let shift = augment.shift as f32;
    let (dx, dy) = (
        shift * augment.uniform(index, 3),
        shift * augment.uniform(index, 4),
    );
    let mirror = augment.flip && augment.uniform(index, 5) < 0.0;
    let (sin, cos) = (angle.sin() / size, angle.cos() / size);
    let (cx, cy) = ((w as f32 - 1.0) / 2.0, (h as f32 - 1.0) / 2.0);
    let pixel = |x: i32, y: i32, channel: usize| {
        if x < 0 || y < 0 || x >= w as i32 || y >= h as i32 {
            return 0.0;
        }
        f32::from(image[(y as usize * w + x as usize) * c + channel])
    };
    let mut out = vec![0u8; image.len()];
    for y in 0..h {
        for x in 0..w {
            let (tx, ty) = (x as f32 - cx - dx, y as f32 - cy - dy);
            let from_x = cx + (cos * tx + sin * ty) * if mirror { -1.0 } else { 1.0 };
            let from_y = cy - sin * tx + cos * ty;
            let (x0, y0) = (from_x.floor(), from_y.floor());
            let (fx, fy) = (from_x - x0, from_y - y0);
            let (x0, y0) = (x0 as i32, y0 as i32);
            for channel in 0..c {
                let top = pixel(x0, y0, channel) * (1.0 - fx) + pixel(x0 + 1, y0, channel) * fx;
                let low =
                    pixel(x0, y0 + 1, channel) * (1.0 - fx) + pixel(x0 + 1, y0 + 1, channel) * fx;
                out[(y * w + x) * c + channel] = (top * (1.0 - fy) + low * fy).round() as u8;
            }
        }
    }
    out
}

fn fill(out: &mut [f32], image: &[u8], f: impl Fn(u8) -> f32) {
    for (o, &p) in out.iter_mut().zip(image) {
        *o = f(p);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::values;

    fn split(pixels: Vec<u8>) -> Split {
        Split {
            labels: vec![0; pixels.len() / 4],
            features: Features::U8(pixels),
        }
    }

    #[test]
    fn fixed_point_planes_come_least_significant_first() {
        let feeder = Feeder::new(
            Encoder::FixedPoint { bits: 2 },
            &Input::Levels { normalise: false },
            &[2, 2, 1],
        );
        let batch = feeder.batch(
            &split(vec![0, 64, 128, 255]),
            &[0],
            Target::Codes,
            Augment::NONE,
        );
        assert_eq!(values(&batch), [-1.0, 1.0, -1.0, 1.0, -1.0, -1.0, 1.0, 1.0]);
    }

    #[test]
    fn a_shift_moves_pixels_and_fills_with_zeros() {
        let feeder = Feeder::new(
            Encoder::Levels,
            &Input::Levels { normalise: false },
            &[2, 2, 1],
        );
        let data = split(vec![1, 2, 3, 4]);
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let augment = Augment {
                shift: 1,
                seed,
                ..Augment::NONE
            };
            let batch = feeder.batch(&data, &[0], Target::Codes, augment);
            seen.insert(values(&batch).iter().map(|&v| v as u8).collect::<Vec<_>>());
        }
        assert_eq!(seen.len(), 9, "nine offsets of one pixel: {seen:?}");
        assert!(seen.contains(&vec![1, 2, 3, 4]) && seen.contains(&vec![4, 0, 0, 0]));
    }

    #[test]
    fn a_flip_mirrors_half_of_the_images_and_leaves_the_others() {
        let image: Vec<u8> = (0..24).map(|i| i * 10).collect();
        let shape = [3, 4, 2];
        let mirrored: Vec<u8> = (0..24)
            .map(|i| {
                let (y, x, c) = (i / 8, i / 2 % 4, i % 2);
                image[y * 8 + (3 - x) * 2 + c]
            })
            .collect();
        for rotate in [0.0, 1e-6] {
            let n_mirrored = (0..2000)
                .filter(|&index| {
                    let augment = Augment {
                        flip: true,
                        rotate,
                        seed: 5,
                        ..Augment::NONE
                    };
                    let out = match augment.warps() {
                        true => warped(&image, shape, index, augment),
                        false => shifted(&image, shape, index, augment),
                    };
                    assert!(out == image || out == mirrored, "{out:?}");
                    out == mirrored
                })
                .count();
            assert!((900..1100).contains(&n_mirrored), "{n_mirrored} of 2000");
        }
    }

    #[test]
    fn a_warp_without_amounts_changes_nothing_and_a_quarter_turn_turns() {
        let image: Vec<u8> = (0..25).map(|i| i * 10).collect();
        let still = Augment {
            seed: 3,
            rotate: 1e-6,
            ..Augment::NONE
        };
        assert_eq!(warped(&image, [5, 5, 1], 0, still), image);
        // A turn by a known angle: the seed for which the random share of 45 degrees is nearest to 1.
        let near = |seed: u32| Augment {
            seed,
            rotate: 90.0,
            ..Augment::NONE
        };
        let seed = (0..20_000)
            .max_by(|&a, &b| near(a).uniform(0, 1).total_cmp(&near(b).uniform(0, 1)))
            .unwrap();
        let turned = warped(&image, [5, 5, 1], 0, near(seed));
        // Clockwise by 90 degrees or the other way: the corner moves to a neighbouring corner, the centre stays.
        assert_eq!(turned[12], image[12]);
        assert!(
            turned[0].abs_diff(image[20]) <= 2 || turned[0].abs_diff(image[4]) <= 2,
            "{turned:?}"
        );
    }

    #[test]
    fn quantile_cuts_split_a_feature_evenly() {
        let values: Vec<f32> = (0..101).map(|i| i as f32).collect();
        let cuts = quantiles(&values, 1, 3);
        assert_eq!(cuts, vec![vec![25.0], vec![50.0], vec![75.0]]);
    }
}

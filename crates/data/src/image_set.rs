//! Folders of images become a data set.
//!
//! In: a folder with `train/CLASS/` and `test/CLASS/`, and perhaps `onebit.toml`. Out: an [`Opened`] set of
//! shape `[h, w, c]`, channels last, 8-bit pixels. Owns the settings, the one size and the one number of channels
//! of a set. Leaves the layout to `image_list` and formats to `image`.

use std::path::{Path, PathBuf};

use ::image::imageops::{self, FilterType};
use ::image::{GrayImage, RgbImage};
use serde::Deserialize;

use crate::array::{Array, ArrayData};
use crate::error::{DataError, Place};
use crate::files;
use crate::image::{MAX_IMAGE_SIDE, parse_image};
use crate::image_list::{self, Labelled};
use crate::open::{OpenOptions, Opened};
use crate::part::{self, Common, Part, PartValues};

/// The file beside `train` with the settings.
const SETTINGS: &str = "onebit.toml";

/// The most bytes of [`SETTINGS`].
const MAX_SETTINGS_BYTES: u64 = 1 << 16;

/// The most bytes of pixels in all images of a set, as the network takes them.
const MAX_SET_BYTES: u64 = 8 << 30;

/// The most bytes that scaling one image may take between its two directions.
const MAX_SCALING_BYTES: u64 = 1 << 30;

/// Bytes of a pixel between the two directions of scaling: four f32.
const SCALING_BYTES: u64 = 16;

/// What a person may ask for in `onebit.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Height and width to scale every image to.
    size: Option<[u32; 2]>,
    /// 1 or 3.
    channels: Option<usize>,
}

/// Opens the set of a folder of which `image_list::is_here` holds.
pub(crate) fn open(dir: &Path, options: &OpenOptions) -> Result<Opened, DataError> {
    let settings = read_settings(dir)?;
    let listing = image_list::list(dir)?;
    let n_test = listing.test.as_ref().map_or(0, Vec::len);
    let mut canvas = Canvas {
        dir,
        size: settings.size.map(|size| size.map(|side| side as usize)),
        first: None,
        channels: settings.channels,
        n_channels: settings.channels.unwrap_or(1),
        n_images: listing.train.len() + n_test,
        pixels: Vec::new(),
    };
    for Labelled { file, .. } in listing.train.iter().chain(listing.test.iter().flatten()) {
        canvas.add(file, parse_image(file, &files::read_file(file)?)?)?;
    }
    let shape = canvas.shape();
    let mut train_pixels = canvas.pixels;
    let test_pixels = train_pixels.split_off(listing.train.len() * shape.iter().product::<usize>());
    let part = |folder: &str, images: Vec<Labelled>, pixels| Part {
        file: dir.join(folder),
        shape: shape.clone(),
        values: PartValues::Bytes(pixels),
        labels: images.into_iter().map(|image| image.label).collect(),
    };
    let train = part("train", listing.train, train_pixels);
    let test = listing.test.map(|images| part("test", images, test_pixels));
    let common = Common {
        name: part::name_of(dir),
        class_names: listing.class_names,
    };
    let mut opened = part::assemble(common, train, test, options)?;
    opened.notes.extend(listing.notes);
    Ok(opened)
}

/// Images of one shape, one after the other.
struct Canvas<'a> {
    dir: &'a Path,
    /// `[h, w]` of every image: from the settings, or that of the first image.
    size: Option<[usize; 2]>,
    /// The image that decided `size`; `None` where the settings did, and images are scaled.
    first: Option<PathBuf>,
    /// From the settings.
    channels: Option<usize>,
    /// The channels of `pixels`: 1 until the first image of colour, unless the settings say otherwise.
    n_channels: usize,
    /// The images to come and those that are there.
    n_images: usize,
    /// `[image][h][w][n_channels]`.
    pixels: Vec<u8>,
}

impl Canvas<'_> {
    fn shape(&self) -> Vec<usize> {
        let [h, w] = self.size.unwrap_or_default();
        vec![h, w, self.n_channels]
    }

    fn add(&mut self, file: &Path, image: Array) -> Result<(), DataError> {
        let (&[h, w, c], ArrayData::U8(pixels)) = (&image.shape[..], image.data) else {
            unreachable!("an image is [h, w, c] bytes");
        };
        let size = self.decide_size(file, [h, w])?;
        if self.channels.is_none() && c > self.n_channels {
            let grey = std::mem::take(&mut self.pixels);
            self.n_channels = c;
            self.reserve(size)?;
            self.pixels.extend(grey.iter().flat_map(|&grey| [grey; 3]));
        } else if self.pixels.is_empty() {
            self.reserve(size)?;
        }
        let image = Pixels {
            size: [h, w],
            n_channels: c,
            values: pixels,
        };
        let image = image.with_channels(self.n_channels);
        self.pixels.extend(image.scaled(file, size)?);
        Ok(())
    }

    /// The size of every image, which an image of size `found` must have where it is not scaled.
    fn decide_size(&mut self, file: &Path, found: [usize; 2]) -> Result<[usize; 2], DataError> {
        let Some(size) = self.size else {
            self.first = Some(file.into());
            self.size = Some(found);
            return Ok(found);
        };
        let Some(first) = &self.first else {
            return Ok(size);
        };
        if size == found {
            return Ok(size);
        }
        let problem = format!(
            "the image is {found:?} (height, width), {} is {size:?}",
            first.display()
        );
        let remedy = format!(
            "scale the images to one size, or write `size = {size:?}` into {}",
            self.dir.join(SETTINGS).display()
        );
        Err(DataError::malformed(file, Place::Whole, problem, remedy))
    }

    /// Takes memory for the pixels of all images, if the limit allows it.
    fn reserve(&mut self, [h, w]: [usize; 2]) -> Result<(), DataError> {
        let n_bytes = [h, w, self.n_channels, self.n_images]
            .iter()
            .fold(1_u64, |product, &axis| product.saturating_mul(axis as u64));
        let reserved = usize::try_from(n_bytes)
            .ok()
            .filter(|_| n_bytes <= MAX_SET_BYTES)
            .is_some_and(|n_bytes| self.pixels.try_reserve_exact(n_bytes).is_ok());
        if reserved {
            return Ok(());
        }
        let problem = format!(
            "{} images of {:?} need {n_bytes} bytes, more than the limit of {MAX_SET_BYTES} or than there is",
            self.n_images,
            [h, w, self.n_channels]
        );
        let remedy = format!(
            "write a smaller `size = [h, w]` into {}",
            self.dir.join(SETTINGS).display()
        );
        Err(DataError::too_large(
            self.dir,
            Place::Whole,
            problem,
            remedy,
        ))
    }
}

/// One image.
struct Pixels {
    /// `[h, w]`, neither 0.
    size: [usize; 2],
    /// 1 or 3.
    n_channels: usize,
    /// `[h][w][n_channels]`.
    values: Vec<u8>,
}

impl Pixels {
    /// Grey becomes three equal channels; colour becomes its luma, `(2126 r + 7152 g + 722 b) / 10000`, rounded
    /// down (the weights of ITU-R BT.709).
    fn with_channels(self, n_channels: usize) -> Pixels {
        let values = match (self.n_channels, n_channels) {
            (1, 3) => self.values.iter().flat_map(|&grey| [grey; 3]).collect(),
            (3, 1) => self.values.chunks_exact(3).map(luma).collect(),
            _ => self.values,
        };
        Pixels {
            size: self.size,
            n_channels,
            values,
        }
    }

    /// Scaled to `[h, w]` with a triangle filter whose half is as wide as a pixel of the smaller image; the pixels
    /// as they are where the size is right.
    fn scaled(self, file: &Path, [h, w]: [usize; 2]) -> Result<Vec<u8>, DataError> {
        const FULL: &str = "an image has h * w * c values";
        let [old_h, old_w] = self.size;
        if [old_h, old_w] == [h, w] {
            return Ok(self.values);
        }
        let between = (old_w as u64)
            .saturating_mul(h as u64)
            .saturating_mul(SCALING_BYTES);
        let sides = [old_h, old_w, h, w].map(u32::try_from);
        let ([Ok(old_h), Ok(old_w), Ok(h), Ok(w)], true) = (sides, between <= MAX_SCALING_BYTES)
        else {
            let problem = format!(
                "scaling [{old_h}, {old_w}] to [{h}, {w}] needs more than {MAX_SCALING_BYTES} bytes"
            );
            let remedy = "scale the image yourself, or write a smaller `size` into onebit.toml";
            return Err(DataError::too_large(file, Place::Whole, problem, remedy));
        };
        Ok(if self.n_channels == 1 {
            let image = GrayImage::from_raw(old_w, old_h, self.values).expect(FULL);
            imageops::resize(&image, w, h, FilterType::Triangle).into_raw()
        } else {
            let image = RgbImage::from_raw(old_w, old_h, self.values).expect(FULL);
            imageops::resize(&image, w, h, FilterType::Triangle).into_raw()
        })
    }
}

fn luma(rgb: &[u8]) -> u8 {
    let weighted = rgb.iter().zip([2126, 7152, 722]);
    let sum: u32 = weighted
        .map(|(&value, weight)| u32::from(value) * weight)
        .sum();
    (sum / 10_000) as u8
}

fn read_settings(dir: &Path) -> Result<Settings, DataError> {
    let file = dir.join(SETTINGS);
    if !file.exists() {
        return Ok(Settings::default());
    }
    let bytes = files::read_file_up_to(&file, MAX_SETTINGS_BYTES)?;
    parse_settings(&file, &bytes)
}

fn parse_settings(file: &Path, bytes: &[u8]) -> Result<Settings, DataError> {
    const REMEDY: &str =
        "it may hold `size = [h, w]` and `channels = 1` or `channels = 3`, nothing else";
    let wrong = |place, problem| DataError::malformed(file, place, problem, REMEDY);
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let place = Place::Byte(e.valid_up_to() as u64);
        wrong(place, "the file is not UTF-8".into())
    })?;
    let settings: Settings = toml::from_str(text).map_err(|e| {
        let start = e.span().map_or(0, |span| span.start);
        let before = text.get(..start).unwrap_or_default();
        let place = Place::Line(1 + before.matches('\n').count() as u64);
        wrong(place, e.message().replace(char::is_control, " "))
    })?;
    if let Some(size) = settings.size
        && !size.iter().all(|side| (1..=MAX_IMAGE_SIDE).contains(side))
    {
        let problem = format!("the size {size:?} is not within 1..={MAX_IMAGE_SIDE}");
        return Err(wrong(Place::Whole, problem));
    }
    if let Some(channels) = settings.channels
        && !matches!(channels, 1 | 3)
    {
        let problem = format!("{channels} channels are not 1 or 3");
        return Err(wrong(Place::Whole, problem));
    }
    Ok(settings)
}

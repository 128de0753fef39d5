//! Single images of an image folder.
//!
//! In: the bytes of a PNG, JPEG, BMP or PNM file. Out: its pixels, 8 bits, `[h][w][c]` with one channel for grey
//! and three for colour, as the file stores them: a JPEG's rotation mark and colour profiles are not applied. PNG
//! goes to `png`, so that a network sees the same pixels in training and in `onebit run`. Owns the limits of the
//! other formats. Leaves sizes and channels of a whole set to `image_set`.

use std::io::Cursor;
use std::path::Path;

use ::image::{ColorType, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

use crate::array::{Array, ArrayData};
use crate::error::{DataError, Place};
use crate::png;

/// The most bytes of pixels in one image.
pub const MAX_IMAGE_BYTES: usize = png::MAX_PNG_BYTES;

/// The most pixels along one side of a JPEG, BMP or PNM image.
pub const MAX_IMAGE_SIDE: u32 = 65_535;

/// The most bytes of pixels that one byte of a file can stand for. A blank JPEG comes nearest: one bit a block of
/// 64 values, and chroma planes that hold a value for eight pixels.
const MAX_EXPANSION: u64 = 4096;

/// The most characters that are kept of a decoder's message, which may quote the file.
const MAX_MESSAGE_CHARS: usize = 200;

const AGAIN: &str = "the file is damaged or incomplete: get or save the image again";
const SMALLER: &str = "scale the image to the size the network takes";

/// Reads the bytes of a PNG, JPEG, BMP or PNM file into `[h, w, c]` u8 pixels, `c` 1 for grey and 3 for colour;
/// `file` only names it in errors.
///
/// The format is recognised by content. Transparency and 16-bit channels are refused, and so is an image of more
/// than [`MAX_IMAGE_BYTES`] or one that its file is too short to hold, before memory is taken for it.
pub fn parse_image(file: &Path, bytes: &[u8]) -> Result<Array, DataError> {
    if bytes.starts_with(png::MAGIC) {
        return png::parse_png(file, bytes);
    }
    let Some(format) = recognise(bytes) else {
        let problem = match bytes {
            [] => "the file is empty",
            _ => "the content is none of PNG, JPEG, BMP and PNM",
        };
        let remedy = "save the image as PNG, or remove the file";
        return Err(DataError::malformed(file, Place::Byte(0), problem, remedy));
    };
    if format == ImageFormat::Jpeg {
        check_end(file, bytes)?;
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_IMAGE_SIDE);
    limits.max_image_height = Some(MAX_IMAGE_SIDE);
    limits.max_alloc = Some(MAX_IMAGE_BYTES as u64);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(|e| broken(file, &e))?;
    let n_channels = n_channels(file, decoder.color_type())?;
    let (width, height) = decoder.dimensions();
    let shape = vec![height as usize, width as usize, n_channels];
    let mut pixels = vec![0; checked_size(file, bytes.len(), decoder.total_bytes())?];
    decoder
        .read_image(&mut pixels)
        .map_err(|e| broken(file, &e))?;
    Ok(Array {
        shape,
        data: ArrayData::U8(pixels),
    })
}

fn recognise(bytes: &[u8]) -> Option<ImageFormat> {
    match bytes {
        [0xff, 0xd8, 0xff, ..] => Some(ImageFormat::Jpeg),
        [b'B', b'M', ..] => Some(ImageFormat::Bmp),
        [b'P', b'1'..=b'7', ..] => Some(ImageFormat::Pnm),
        _ => None,
    }
}

/// Refuses a JPEG that ends within its pixels, which the decoder fills up with grey.
fn check_end(file: &Path, bytes: &[u8]) -> Result<(), DataError> {
    // Within the pixels of a scan a byte 0xff is followed by 0x00 or a restart mark, so that neither mark below
    // can be a part of them.
    let last = |mark: [u8; 2]| bytes.windows(2).rposition(|pair| pair == mark);
    let (scan, end) = (last([0xff, 0xda]), last([0xff, 0xd9]));
    if scan.is_some() && end > scan {
        return Ok(());
    }
    let place = Place::Byte(bytes.len() as u64);
    let problem = "the file ends here, before the end of its image";
    Err(DataError::malformed(file, place, problem, AGAIN))
}

fn n_channels(file: &Path, color: ColorType) -> Result<usize, DataError> {
    match color {
        ColorType::L8 => Ok(1),
        ColorType::Rgb8 => Ok(3),
        other => {
            let problem = format!("the pixels are {other:?}, onebit reads 8-bit grey and RGB");
            let remedy = "save the image without transparency and with 8 bits a channel";
            Err(DataError::unsupported(file, Place::Whole, problem, remedy))
        }
    }
}

/// The bytes of the pixels, if they fit the limits and the file.
fn checked_size(file: &Path, n_bytes: usize, claimed: u64) -> Result<usize, DataError> {
    if claimed == 0 {
        let problem = "the image has no pixels";
        return Err(DataError::malformed(file, Place::Whole, problem, AGAIN));
    }
    if claimed > (n_bytes as u64).saturating_mul(MAX_EXPANSION) {
        let problem = format!(
            "the header announces {claimed} bytes of pixels, {n_bytes} bytes cannot hold them"
        );
        return Err(DataError::malformed(file, Place::Whole, problem, AGAIN));
    }
    usize::try_from(claimed)
        .ok()
        .filter(|&size| size <= MAX_IMAGE_BYTES)
        .ok_or_else(|| {
            let problem = format!("the image needs more than {MAX_IMAGE_BYTES} bytes");
            DataError::too_large(file, Place::Whole, problem, SMALLER)
        })
}

fn broken(file: &Path, source: &ImageError) -> DataError {
    let message: String = source
        .to_string()
        .chars()
        .take(MAX_MESSAGE_CHARS)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    match source {
        ImageError::Limits(_) => {
            let problem = format!("the image is larger than onebit reads ({message})");
            DataError::too_large(file, Place::Whole, problem, SMALLER)
        }
        _ => {
            let problem = format!("the image cannot be decoded ({message})");
            DataError::malformed(file, Place::Whole, problem, AGAIN)
        }
    }
}

//! Single PNG images.
//!
//! In: the bytes of a PNG file. Out: its pixels, 8 bits, `[h][w][c]` with one channel for grey and three for
//! colour. Palettes and grey below 8 bits are expanded; transparency and 16 bits are refused.

use std::io::Cursor;
use std::path::Path;

use ::png::{BitDepth, ColorType, Decoder, DecodingError, Info, Limits, Transformations};

use crate::array::{Array, ArrayData};
use crate::error::{DataError, Place};
use crate::gz::MAX_EXPANSION;

/// The most bytes of pixels in one image.
pub const MAX_PNG_BYTES: usize = 256 << 20;

/// The first bytes of every PNG file.
pub const MAGIC: &[u8; 8] = b"\x89PNG\r\n\x1a\n";

const AGAIN: &str = "get or save the image again";

/// Reads the bytes of a PNG file into `[h, w, c]` u8 pixels; `file` only names it in errors.
pub fn parse_png(file: &Path, bytes: &[u8]) -> Result<Array, DataError> {
    let limits = Limits {
        bytes: MAX_PNG_BYTES,
    };
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), limits);
    decoder.set_transformations(Transformations::EXPAND);
    let mut reader = decoder.read_info().map_err(|e| broken(file, &e))?;
    let n_channels = n_channels(file, reader.output_color_type())?;
    check_claim(file, bytes.len(), reader.info())?;
    let size = reader
        .output_buffer_size()
        .filter(|&size| size <= MAX_PNG_BYTES);
    let mut pixels = vec![0; size.ok_or_else(|| large(file))?];
    let frame = reader
        .next_frame(&mut pixels)
        .map_err(|e| broken(file, &e))?;
    reader.finish().map_err(|e| broken(file, &e))?;
    let shape = vec![frame.height as usize, frame.width as usize, n_channels];
    if shape.iter().product::<usize>() != pixels.len() {
        let problem = format!(
            "the shape {shape:?} does not match {} bytes of pixels",
            pixels.len()
        );
        return Err(DataError::malformed(file, Place::Whole, problem, AGAIN));
    }
    Ok(Array {
        shape,
        data: ArrayData::U8(pixels),
    })
}

fn n_channels(file: &Path, format: (ColorType, BitDepth)) -> Result<usize, DataError> {
    match format {
        (ColorType::Grayscale, BitDepth::Eight) => Ok(1),
        (ColorType::Rgb, BitDepth::Eight) => Ok(3),
        (color, depth) => {
            let problem = format!(
                "the pixels are {color:?} of {depth:?} bits, onebit reads 8-bit grey and RGB"
            );
            let remedy = "save the image without transparency and with 8 bits a channel";
            Err(DataError::unsupported(
                file,
                Place::Byte(24),
                problem,
                remedy,
            ))
        }
    }
}

/// Refuses a size that so few compressed bytes cannot hold, before memory is asked for.
fn check_claim(file: &Path, n_bytes: usize, info: &Info) -> Result<(), DataError> {
    // Palettes and few bits expand after inflating, so the size before expanding is the one to compare.
    let claimed = u64::from(info.height).saturating_mul(info.raw_row_length() as u64);
    if claimed <= (n_bytes as u64).saturating_mul(MAX_EXPANSION) {
        return Ok(());
    }
    let problem =
        format!("the header announces {claimed} bytes of pixels, {n_bytes} bytes cannot hold them");
    Err(DataError::malformed(file, Place::Byte(16), problem, AGAIN))
}

fn large(file: &Path) -> DataError {
    let problem = format!("the image needs more than {MAX_PNG_BYTES} bytes");
    DataError::too_large(
        file,
        Place::Byte(16),
        problem,
        "scale the image to the size the network takes",
    )
}

fn broken(file: &Path, source: &DecodingError) -> DataError {
    match source {
        DecodingError::LimitsExceeded => large(file),
        other => DataError::malformed(
            file,
            Place::Whole,
            format!("the image cannot be decoded ({other})"),
            "the file is damaged or incomplete: get or save the image again",
        ),
    }
}

//! Single PNG images.
//!
//! In: the bytes of a PNG file. Out: its pixels, 8 bits, `[h][w][c]` with one channel for grey and three for
//! colour. Palettes and grey below 8 bits are expanded; transparency and 16 bits are refused.

use std::io::Cursor;
use std::path::Path;

use ::png::{BitDepth, ColorType, Decoder, DecodingError, Limits, Transformations};

use crate::array::{Array, ArrayData};
use crate::error::{DataError, Place};
use crate::gz::MAX_EXPANSION;

/// The most bytes of pixels in one image.
pub const MAX_PNG_BYTES: usize = 256 << 20;

/// The first bytes of every PNG file.
pub const MAGIC: &[u8; 8] = b"\x89PNG\r\n\x1a\n";

/// Reads the bytes of a PNG file into `[h, w, c]` u8 pixels; `file` only names it in errors.
pub fn parse_png(file: &Path, bytes: &[u8]) -> Result<Array, DataError> {
    let mut decoder = Decoder::new_with_limits(
        Cursor::new(bytes),
        Limits {
            bytes: MAX_PNG_BYTES,
        },
    );
    decoder.set_transformations(Transformations::EXPAND);
    let mut reader = decoder.read_info().map_err(|e| broken(file, &e))?;
    let (color, depth) = reader.output_color_type();
    let channels = match (color, depth) {
        (ColorType::Grayscale, BitDepth::Eight) => 1,
        (ColorType::Rgb, BitDepth::Eight) => 3,
        _ => {
            let problem = format!(
                "the pixels are {color:?} of {depth:?} bits, onebit reads 8-bit grey and RGB"
            );
            let remedy = "save the image without transparency and with 8 bits a channel";
            return Err(DataError::unsupported(
                file,
                Place::Byte(24),
                problem,
                remedy,
            ));
        }
    };
    let size = reader
        .output_buffer_size()
        .filter(|&size| size <= MAX_PNG_BYTES)
        .ok_or_else(|| large(file))?;
    if size as u64 > (bytes.len() as u64).saturating_mul(MAX_EXPANSION) {
        let problem = format!(
            "the header announces {size} bytes of pixels, {} bytes cannot hold them",
            bytes.len()
        );
        return Err(DataError::malformed(
            file,
            Place::Byte(16),
            problem,
            "get or save the image again",
        ));
    }
    let mut pixels = vec![0; size];
    let frame = reader
        .next_frame(&mut pixels)
        .map_err(|e| broken(file, &e))?;
    reader.finish().map_err(|e| broken(file, &e))?;
    let shape = vec![frame.height as usize, frame.width as usize, channels];
    if shape.iter().product::<usize>() != pixels.len() {
        let problem = format!(
            "the shape {shape:?} does not match {} bytes of pixels",
            pixels.len()
        );
        return Err(DataError::malformed(
            file,
            Place::Whole,
            problem,
            "get or save the image again",
        ));
    }
    Ok(Array {
        shape,
        data: ArrayData::U8(pixels),
    })
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

//! Builders of small files, shared by the tests of this crate.
#![allow(dead_code, reason = "each test file uses its own part of this module")]

use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use onebit_data::{ArrayData, DataError, Place, npy_bytes};

/// The bytes of an idx file.
pub fn idx(shape: &[u32], values: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, shape.len() as u8];
    bytes.extend(shape.iter().flat_map(|axis| axis.to_be_bytes()));
    bytes.extend_from_slice(values);
    bytes
}

pub fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The bytes of a .npy file with this dictionary.
pub fn npy(dictionary: &str, values: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend_from_slice(&(dictionary.len() as u16).to_le_bytes());
    bytes.extend_from_slice(dictionary.as_bytes());
    bytes.extend_from_slice(values);
    bytes
}

pub fn npz(members: &[(&str, Vec<u8>)], compressed: bool) -> Vec<u8> {
    let method = if compressed {
        zip::CompressionMethod::Deflated
    } else {
        zip::CompressionMethod::Stored
    };
    let options = zip::write::SimpleFileOptions::default().compression_method(method);
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in members {
        writer.start_file(*name, options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

pub fn png(
    width: u32,
    height: u32,
    color: png::ColorType,
    depth: png::BitDepth,
    pixels: &[u8],
) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(color);
    encoder.set_depth(depth);
    if color == png::ColorType::Indexed {
        encoder.set_palette(vec![10, 20, 30, 40, 50, 60]);
    }
    encoder
        .write_header()
        .unwrap()
        .write_image_data(pixels)
        .unwrap();
    bytes
}

/// The bytes of an image file.
pub fn coded_image(image: &image::DynamicImage, format: image::ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A folder with the arrays of a set: three 2x2 images for training, one for test.
pub fn npy_members() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        (
            "x_train.npy",
            npy_bytes(&[3, 2, 2], &ArrayData::U8((0..12).collect())),
        ),
        (
            "y_train.npy",
            npy_bytes(&[3], &ArrayData::I64(vec![0, 1, 2])),
        ),
        (
            "x_test.npy",
            npy_bytes(&[1, 2, 2], &ArrayData::U8(vec![9; 4])),
        ),
        ("y_test.npy", npy_bytes(&[1], &ArrayData::I64(vec![2]))),
    ]
}

pub fn write_all(folder: &Path, files: &[(&str, Vec<u8>)]) {
    for (name, bytes) in files {
        fs::write(folder.join(name), bytes).unwrap();
    }
}

/// Asserts that an error names the file, points at the place and says each of the `words`.
#[track_caller]
pub fn assert_error<T: std::fmt::Debug>(
    result: Result<T, DataError>,
    file: &str,
    place: Place,
    words: &[&str],
) {
    let error = result.expect_err("an error");
    let text = error.to_string();
    assert_eq!(error.place(), Some(&place), "{text}");
    for word in words.iter().chain([&file, &"; "]) {
        assert!(text.contains(word), "`{word}` is not in: {text}");
    }
    assert!(!text.contains('\n'), "one line: {text}");
}

//! Every reader on every truncation and every bit flip of small files: an error or a value, never a panic.

mod common;

use std::path::Path;

use common::{coded_image, gz, idx, npy_members, npz, png};
use image::{DynamicImage, ImageFormat, RgbImage};
use onebit_data::csv::parse_csv;
use onebit_data::image::parse_image;
use onebit_data::{ArrayData, DataError, OpenOptions, npy_bytes, parse_input};

/// Reads a file and checks what it gives.
type Reader = fn(&[u8]) -> Result<(), DataError>;

/// One small file of each kind, with its reader.
fn files() -> Vec<(&'static str, Vec<u8>, Reader)> {
    let idx = idx(&[2, 2, 2], &[1, 2, 3, 4, 5, 6, 7, 8]);
    let grey = png(
        3,
        2,
        png::ColorType::Grayscale,
        png::BitDepth::Eight,
        &[1, 2, 3, 4, 5, 6],
    );
    let members = &npy_members()[..1];
    let csv = b"label,a,b\nx,1.5,2\n\"y\",3,4e1\nx,5,6\n".to_vec();
    vec![
        ("idx.gz", gz(&idx), read_input),
        ("idx", idx, read_input),
        (
            "npy",
            npy_bytes(&[2, 2], &ArrayData::F32(vec![1.0, 2.0, 3.0, 4.0])),
            read_input,
        ),
        ("npz stored", npz(members, false), read_input),
        ("npz deflated", npz(members, true), read_input),
        ("png", grey, read_input),
        ("csv", csv, read_csv),
        ("image png", coded(ImageFormat::Png), read_image),
        ("image jpeg", coded(ImageFormat::Jpeg), read_image),
        ("image bmp", coded(ImageFormat::Bmp), read_image),
        ("image pnm", coded(ImageFormat::Pnm), read_image),
    ]
}

/// Four pixels of colour.
fn coded(format: ImageFormat) -> Vec<u8> {
    let pixels = (0..12).map(|i| i * 20).collect();
    let image = RgbImage::from_raw(2, 2, pixels).unwrap();
    coded_image(&DynamicImage::ImageRgb8(image), format)
}

fn read_input(bytes: &[u8]) -> Result<(), DataError> {
    parse_input(Path::new("in"), bytes).map(|array| {
        assert_eq!(array.shape.iter().product::<usize>(), array.data.len());
        assert!(!array.data.is_empty());
    })
}

fn read_image(bytes: &[u8]) -> Result<(), DataError> {
    parse_image(Path::new("in"), bytes).map(|array| {
        assert!(matches!(array.shape[..], [_, _, 1 | 3]));
        assert_eq!(array.shape.iter().product::<usize>(), array.data.len());
        assert!(!array.data.is_empty());
    })
}

fn read_csv(bytes: &[u8]) -> Result<(), DataError> {
    parse_csv(Path::new("in"), bytes, None, &OpenOptions::default()).map(|opened| {
        let set = opened.dataset;
        assert_eq!(
            set.train.features.n_values(),
            set.train.len() * set.shape[0]
        );
        assert!(
            set.train
                .labels
                .iter()
                .all(|&label| usize::from(label) < set.n_classes)
        );
    })
}

fn check(name: &str, what: &str, result: Result<(), DataError>) {
    if let Err(error) = result {
        let text = error.to_string();
        assert!(
            text.starts_with("in") && text.contains("; "),
            "{name}, {what}: {text}"
        );
        assert!(!text.contains('\n'), "{name}, {what}: {text:?}");
    }
}

#[test]
fn every_file_is_read() {
    for (name, bytes, read) in files() {
        read(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

#[test]
fn every_truncation_of_a_binary_file_is_an_error() {
    for (name, bytes, read) in files() {
        for len in 0..bytes.len() {
            let result = read(&bytes[..len]);
            assert!(
                result.is_err() || name == "csv",
                "{name}: the first {len} of {} bytes are accepted",
                bytes.len()
            );
            check(name, &format!("{len} bytes"), result);
        }
    }
}

#[test]
fn no_bit_flip_panics() {
    for (name, bytes, read) in files() {
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            check(name, &format!("bit {bit}"), read(&flipped));
        }
    }
}

#[test]
fn no_changed_byte_panics() {
    for (name, bytes, read) in files() {
        for at in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] = value;
                check(name, &format!("byte {at} = {value}"), read(&changed));
            }
        }
    }
}

#[test]
fn no_doubled_or_missing_byte_panics() {
    for (name, bytes, read) in files() {
        for at in 0..bytes.len() {
            check(
                name,
                "a missing byte",
                read(&[&bytes[..at], &bytes[at + 1..]].concat()),
            );
            check(
                name,
                "a doubled byte",
                read(&[&bytes[..=at], &bytes[at..]].concat()),
            );
        }
    }
}

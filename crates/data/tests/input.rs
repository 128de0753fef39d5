//! Single files of inputs, recognised by content, and PNG images.

mod common;

use std::fs;
use std::path::Path;

use common::{assert_error, gz, idx, npy, npz, png};
use onebit_data::png::parse_png;
use onebit_data::{
    Array, ArrayData, DataError, Place, npy_bytes, parse_input, read_input, read_npz,
};
use png::{BitDepth, ColorType};

fn read(bytes: &[u8]) -> Result<Array, DataError> {
    parse_input(Path::new("in"), bytes)
}

fn array(shape: &[usize], values: &[u8]) -> Array {
    Array {
        shape: shape.to_vec(),
        data: ArrayData::U8(values.to_vec()),
    }
}

#[test]
fn each_kind_is_recognised_by_its_content() {
    let wanted = array(&[2, 3], &[1, 2, 3, 4, 5, 6]);
    let npy = npy_bytes(&wanted.shape, &wanted.data);
    let idx = idx(&[2, 3], &[1, 2, 3, 4, 5, 6]);
    let other = npy_bytes(&[1], &ArrayData::F32(vec![0.0]));
    for bytes in [
        npy.clone(),
        gz(&idx),
        idx,
        npz(&[("whatever.npy", npy.clone())], true),
        npz(&[("y.npy", other.clone()), ("x.npy", npy.clone())], false),
    ] {
        assert_eq!(read(&bytes).unwrap(), wanted);
    }
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("name-says-nothing.txt");
    fs::write(&path, &npy).unwrap();
    assert_eq!(read_input(&path).unwrap(), wanted);
    let text = read(&npz(&[("a.npy", npy), ("b.npy", other)], true))
        .unwrap_err()
        .to_string();
    assert!(text.contains("2 arrays") && text.contains("`x`"), "{text}");
}

#[test]
fn unknown_content_is_refused() {
    assert_error(read(b""), "in", Place::Byte(0), &["the file is empty"]);
    for bytes in [&b"label,a\n"[..], b"\x00\x00\x07\x01", b"GIF89a", b"\x89PN"] {
        assert_error(
            read(bytes),
            "in",
            Place::Byte(0),
            &["none of .npy, .npz, idx, idx.gz and PNG"],
        );
    }
    let scalar = npy_bytes(&[], &ArrayData::F32(vec![1.0]));
    assert_error(read(&scalar), "in", Place::Whole, &["x[None]"]);
}

#[test]
fn archives_that_are_broken_are_located() {
    assert_error(
        read(b"PK\x03\x04 and nothing"),
        "in",
        Place::Whole,
        &["the archive is broken"],
    );
    assert_error(read(&npz(&[], true)), "in", Place::Byte(0), &["0 arrays"]);
    let member = |byte| Place::Member {
        name: "x".into(),
        byte,
    };
    let text = npz(&[("x.npy", b"just text".to_vec())], true);
    assert_error(read(&text), "in", member(0), &["not a .npy file"]);
    let mut long = npy_bytes(&[2], &ArrayData::U8(vec![1, 2]));
    long.extend([0; 50]);
    assert_error(
        read(&npz(&[("x.npy", long)], true)),
        "in",
        member(130),
        &["follow the last value"],
    );
    let mut flipped = npz(
        &[("x.npy", npy_bytes(&[4], &ArrayData::U8(vec![5; 4])))],
        false,
    );
    let at = flipped
        .windows(4)
        .position(|window| window == [5; 4])
        .unwrap();
    flipped[at] = 6;
    let error = read(&flipped).unwrap_err();
    assert!(
        error.to_string().contains("member `x`")
            && error.to_string().contains("cannot be inflated"),
        "{error}"
    );
}

#[test]
fn images_become_batches_of_one() {
    let grey = png(
        3,
        2,
        ColorType::Grayscale,
        BitDepth::Eight,
        &[1, 2, 3, 4, 5, 6],
    );
    assert_eq!(
        read(&grey).unwrap(),
        array(&[1, 2, 3, 1], &[1, 2, 3, 4, 5, 6])
    );
    let rgb = png(1, 2, ColorType::Rgb, BitDepth::Eight, &[1, 2, 3, 4, 5, 6]);
    assert_eq!(
        read(&rgb).unwrap(),
        array(&[1, 2, 1, 3], &[1, 2, 3, 4, 5, 6])
    );
    assert_eq!(parse_png(Path::new("in"), &rgb).unwrap().shape, [2, 1, 3]);
}

#[test]
fn palettes_and_few_bits_are_expanded() {
    let palette = png(2, 1, ColorType::Indexed, BitDepth::Eight, &[1, 0]);
    assert_eq!(
        read(&palette).unwrap(),
        array(&[1, 1, 2, 3], &[40, 50, 60, 10, 20, 30])
    );
    let bits = png(8, 1, ColorType::Grayscale, BitDepth::One, &[0b1010_0001]);
    assert_eq!(
        read(&bits).unwrap(),
        array(&[1, 1, 8, 1], &[255, 0, 255, 0, 0, 0, 0, 255])
    );
}

#[test]
fn an_even_image_of_one_bit_pixels_may_expand_far() {
    let even = png(
        2000,
        2000,
        ColorType::Grayscale,
        BitDepth::One,
        &[0; 2000 * 250],
    );
    assert!(even.len() * 1032 < 2000 * 2000, "{} bytes", even.len());
    assert_eq!(
        read(&even).unwrap(),
        array(&[1, 2000, 2000, 1], &[0; 2000 * 2000])
    );
}

#[test]
fn an_image_that_expands_beyond_the_limit_is_refused() {
    let wide = png(
        20_000,
        20_000,
        ColorType::Grayscale,
        BitDepth::One,
        &vec![0; 20_000 * 2500],
    );
    assert_error(
        read(&wide),
        "in",
        Place::Byte(16),
        &["needs more than", "scale the image"],
    );
}

#[test]
fn transparency_and_16_bits_are_refused() {
    for (color, depth, bytes) in [
        (ColorType::Rgba, BitDepth::Eight, 4),
        (ColorType::GrayscaleAlpha, BitDepth::Eight, 2),
        (ColorType::Grayscale, BitDepth::Sixteen, 2),
        (ColorType::Rgb, BitDepth::Sixteen, 6),
    ] {
        let image = png(1, 1, color, depth, &vec![0; bytes]);
        assert_error(
            read(&image),
            "in",
            Place::Byte(24),
            &["8-bit grey and RGB", "without transparency"],
        );
    }
}

#[test]
fn an_image_that_claims_too_much_is_refused_before_it_is_decoded() {
    let mut image = png(1, 1, ColorType::Grayscale, BitDepth::Eight, &[0]);
    let claim = |image: &mut Vec<u8>, width: u32, height: u32| {
        image[16..20].copy_from_slice(&width.to_be_bytes());
        image[20..24].copy_from_slice(&height.to_be_bytes());
        let mut crc = flate2::Crc::new();
        crc.update(&image[12..29]);
        image[29..33].copy_from_slice(&crc.sum().to_be_bytes());
    };
    claim(&mut image, 10_000, 10_000);
    assert_error(
        read(&image),
        "in",
        Place::Byte(16),
        &["100010000 bytes", "cannot hold them"],
    );
    claim(&mut image, u32::MAX >> 1, u32::MAX >> 1);
    assert!(read(&image).is_err());
    claim(&mut image, 2, 1);
    assert!(matches!(read(&image), Err(DataError::Malformed(_))));
}

#[test]
fn members_of_an_archive_are_read_by_name() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("a.npz");
    let members = [
        ("x.npy", npy_bytes(&[2], &ArrayData::U8(vec![1, 2]))),
        ("names.npy", npy("not a dictionary", &[])),
        ("y.npy", npy_bytes(&[1], &ArrayData::I32(vec![-3]))),
    ];
    fs::write(&path, npz(&members, true)).unwrap();
    let [y, x] = read_npz(&path, ["y", "x"]).unwrap();
    assert_eq!(x.data, ArrayData::U8(vec![1, 2]));
    assert_eq!((y.shape, y.data), (vec![1], ArrayData::I32(vec![-3])));
    let words = ["no member `z`", "x, names, y"];
    assert_error(read_npz(&path, ["x", "z"]), "a.npz", Place::Whole, &words);
}

//! The idx reader: what it reads, what it refuses, and where it points.

mod common;

use std::path::Path;

use common::{assert_error, gz, idx};
use onebit_data::idx::{Idx, parse};
use onebit_data::{DataError, Place};

fn read(bytes: &[u8]) -> Result<Idx, DataError> {
    parse(Path::new("some/images"), bytes)
}

#[test]
fn plain_and_compressed_give_the_array() {
    for shape in [vec![6], vec![2, 3], vec![1, 2, 3], vec![3, 1, 2, 1]] {
        let bytes = idx(&shape, &[1, 2, 3, 4, 5, 6]);
        let wanted = Idx {
            shape: shape.iter().map(|&axis| axis as usize).collect(),
            values: vec![1, 2, 3, 4, 5, 6],
        };
        assert_eq!(read(&bytes).unwrap(), wanted);
        assert_eq!(read(&gz(&bytes)).unwrap(), wanted);
    }
}

#[test]
fn a_stream_of_two_gzip_members_is_one_file() {
    let bytes = idx(&[4], &[1, 2, 3, 4]);
    let both = [gz(&bytes[..5]), gz(&bytes[5..])].concat();
    assert_eq!(read(&both).unwrap().values, [1, 2, 3, 4]);
}

#[test]
fn other_types_are_refused_by_name() {
    for (code, name) in [
        (0x09, "i8"),
        (0x0b, "i16"),
        (0x0c, "i32"),
        (0x0d, "f32"),
        (0x0e, "f64"),
    ] {
        let bytes = [0, 0, code, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_error(
            read(&bytes),
            "some/images",
            Place::Byte(2),
            &[&format!("the values are {name},"), ".npy"],
        );
    }
    assert_error(
        read(&[0, 0, 7, 1, 0, 0, 0, 1, 0]),
        "some/images",
        Place::Byte(2),
        &["0x07 is no idx type"],
    );
}

#[test]
fn broken_headers_are_located() {
    let file = "some/images";
    assert_error(read(&[]), file, Place::Byte(0), &["ends inside its header"]);
    assert_error(
        read(&[0, 0, 8]),
        file,
        Place::Byte(3),
        &["ends inside its header"],
    );
    assert_error(read(&[0, 1, 8, 1]), file, Place::Byte(0), &["0x00 0x01"]);
    assert_error(
        read(&[0, 0, 8, 0]),
        file,
        Place::Byte(3),
        &["the rank is 0"],
    );
    assert_error(
        read(&[0, 0, 8, 5]),
        file,
        Place::Byte(3),
        &["the rank is 5"],
    );
    assert_error(
        read(&idx(&[2, 0, 3], &[])),
        file,
        Place::Byte(8),
        &["axis 1", "is empty"],
    );
    assert_error(
        read(&idx(&[u32::MAX; 4], &[])),
        file,
        Place::Byte(4),
        &["needs more than"],
    );
}

#[test]
fn sizes_and_file_length_must_agree() {
    let bytes = idx(&[2, 3], &[0; 6]);
    assert_error(
        read(&bytes[..17]),
        "some/images",
        Place::Byte(17),
        &["announces 18 bytes"],
    );
    let longer = [&bytes[..], &[0, 0]].concat();
    assert_error(
        read(&longer),
        "some/images",
        Place::Byte(18),
        &["2 bytes follow"],
    );
    assert_error(
        read(&gz(&bytes[..17])),
        "some/images",
        Place::InflatedByte(17),
        &["announces 18 bytes"],
    );
    assert_error(
        read(&gz(&longer)),
        "some/images",
        Place::InflatedByte(18),
        &["goes on after"],
    );
}

#[test]
fn a_size_that_the_compressed_bytes_cannot_hold_is_refused() {
    let small = gz(&idx(&[30_000, 30_000], &[0; 10]));
    assert_error(
        read(&small),
        "some/images",
        Place::InflatedByte(4),
        &["cannot hold them"],
    );
}

#[test]
fn bytes_after_the_gzip_stream_are_refused() {
    let bytes = [gz(&idx(&[2], &[1, 2])), vec![1, 2, 3]].concat();
    assert_error(
        read(&bytes),
        "some/images",
        Place::InflatedByte(10),
        &["gzip stream is broken"],
    );
}

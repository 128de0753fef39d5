//! The .npy reader and writer: types, orders, strictness, and a round trip.

mod common;

use std::fs;
use std::path::Path;

use common::{assert_error, npy};
use onebit_data::{Array, ArrayData, DataError, Place, npy_bytes, parse_npy, read_npy, write_npy};
use proptest::prelude::*;

fn read(bytes: &[u8]) -> Result<Array, DataError> {
    parse_npy(Path::new("x.npy"), bytes)
}

fn dictionary(descr: &str, shape: &str) -> String {
    format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n")
}

/// Length of the bytes before a value: magic, version, length, then this dictionary.
fn start(dictionary: &str) -> u64 {
    10 + dictionary.len() as u64
}

#[test]
fn every_type_and_order_is_read() {
    let cases: [(&str, &[u8], ArrayData); 16] = [
        ("|u1", &[7, 200], ArrayData::U8(vec![7, 200])),
        ("u1", &[7, 200], ArrayData::U8(vec![7, 200])),
        ("<u1", &[7, 200], ArrayData::U8(vec![7, 200])),
        ("|i1", &[7, 0xff], ArrayData::I8(vec![7, -1])),
        (
            "<i4",
            &[1, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff],
            ArrayData::I32(vec![1, -2]),
        ),
        (
            ">i4",
            &[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xfe],
            ArrayData::I32(vec![1, -2]),
        ),
        (
            "<i8",
            &[1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0],
            ArrayData::I64(vec![1, 256]),
        ),
        (
            ">i8",
            &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0],
            ArrayData::I64(vec![1, 256]),
        ),
        (
            "<f4",
            &[0, 0, 0xc0, 0x3f, 0, 0, 0, 0x80],
            ArrayData::F32(vec![1.5, -0.0]),
        ),
        (
            ">f4",
            &[0x3f, 0xc0, 0, 0, 0x80, 0, 0, 0],
            ArrayData::F32(vec![1.5, -0.0]),
        ),
        ("<i2", &[0xff, 0xff, 0, 1], ArrayData::I32(vec![-1, 256])),
        (">i2", &[0xff, 0xfe, 1, 0], ArrayData::I32(vec![-2, 256])),
        (
            "<u2",
            &[0xff, 0xff, 0, 1],
            ArrayData::I32(vec![65_535, 256]),
        ),
        (
            "=f4",
            &[0, 0, 0xc0, 0x3f, 0, 0, 0, 0x80],
            ArrayData::F32(vec![1.5, -0.0]),
        ),
        (
            "<f8",
            &[0, 0, 0, 0, 0, 0, 0xf8, 0x3f, 0, 0, 0, 0, 0, 0, 0, 0x80],
            ArrayData::F32(vec![1.5, -0.0]),
        ),
        (
            ">f8",
            &[0x3f, 0xf8, 0, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0],
            ArrayData::F32(vec![1.5, -0.0]),
        ),
    ];
    for (descr, values, wanted) in cases {
        let array = read(&npy(&dictionary(descr, "(2,)"), values)).unwrap();
        assert_eq!(
            array,
            Array {
                shape: vec![2],
                data: wanted
            },
            "{descr}"
        );
    }
}

#[test]
fn f64_is_rounded_to_the_nearest_f32() {
    let array = read(&npy(&dictionary("<f8", "(1,)"), &0.1f64.to_le_bytes())).unwrap();
    assert_eq!(array.data, ArrayData::F32(vec![0.1]));
}

#[test]
fn notation_may_vary_as_python_does() {
    for text in [
        "{\"shape\":(2,3),\"fortran_order\":False,\"descr\":\"|u1\"}",
        "{ 'descr' : '|u1' , 'fortran_order' : False , 'shape' : ( 2 , 3 , ) , }   \n",
    ] {
        assert_eq!(read(&npy(text, &[0; 6])).unwrap().shape, [2, 3], "{text}");
    }
    assert_eq!(
        read(&npy(&dictionary("|u1", "()"), &[5])).unwrap().shape,
        [0usize; 0]
    );
}

#[test]
fn versions_2_and_3_have_a_longer_length_field() {
    let text = dictionary("|u1", "(1,)");
    for version in [2, 3] {
        let mut bytes = b"\x93NUMPY".to_vec();
        bytes.extend([version, 0]);
        bytes.extend((text.len() as u32).to_le_bytes());
        bytes.extend(text.as_bytes());
        bytes.push(9);
        assert_eq!(read(&bytes).unwrap().data, ArrayData::U8(vec![9]));
        bytes[6] = 4;
        assert_error(read(&bytes), "x.npy", Place::Byte(6), &["version 4"]);
    }
}

#[test]
fn fortran_order_is_refused_with_its_remedy() {
    let text = "{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3), }";
    assert_error(
        read(&npy(text, &[0; 6])),
        "x.npy",
        Place::Byte(44),
        &["Fortran", "ascontiguousarray"],
    );
}

#[test]
fn other_types_are_refused_with_their_remedy() {
    for descr in [
        "|b1", "<u4", "<u8", "<f2", "<f16", "<c8", "|S3", "<U3", "|O", "", "<", "é",
    ] {
        let words = ["are not read", "astype"];
        assert_error(
            read(&npy(&dictionary(descr, "(1,)"), &[0; 16])),
            "x.npy",
            Place::Byte(20),
            &words,
        );
    }
    assert_error(
        read(&npy(&dictionary("|f4", "(1,)"), &[0; 4])),
        "x.npy",
        Place::Byte(20),
        &["byte order"],
    );
    let fields = "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }";
    assert_error(
        read(&npy(fields, &[0; 4])),
        "x.npy",
        Place::Byte(20),
        &["structured"],
    );
}

#[test]
fn values_that_are_not_finite_are_located() {
    let text = dictionary("<f4", "(2, 3)");
    for (bad, name) in [
        (f32::NAN, "NaN"),
        (f32::INFINITY, "inf"),
        (f32::NEG_INFINITY, "-inf"),
    ] {
        let values: Vec<u8> = [0.0, 1.0, 2.0, 3.0, bad, 5.0]
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        let place = Place::Byte(start(&text) + 16);
        assert_error(
            read(&npy(&text, &values)),
            "x.npy",
            place,
            &["[1, 1]", name, "nan_to_num"],
        );
    }
    let text = dictionary(">f8", "(2,)");
    let values = [0.0f64.to_be_bytes(), 1e300f64.to_be_bytes()].concat();
    let place = Place::Byte(start(&text) + 8);
    assert_error(
        read(&npy(&text, &values)),
        "x.npy",
        place,
        &["1e300", "[1]", "does not fit"],
    );
}

#[test]
fn hostile_headers_are_located() {
    let file = "x.npy";
    assert_error(read(b""), file, Place::Byte(0), &["not a .npy file"]);
    assert_error(
        read(b"\x93NUMPY"),
        file,
        Place::Byte(6),
        &["ends inside its header"],
    );
    assert_error(
        read(b"\x93NUMPY\x02\x00\xff\xff\xff\xff{"),
        file,
        Place::Byte(8),
        &["claims 4294967295 bytes"],
    );
    assert_error(
        read(b"\x93NUMPY\x01\x00\xff\xff{"),
        file,
        Place::Byte(8),
        &["claims 65535 bytes"],
    );
    for (shape, inside, word) in [
        ("(18446744073709551616,)", 21, "no size that fits"),
        ("(18446744073709551615, 2)", 0, "needs more than"),
        ("(4294967296, 4294967296, 0)", 0, "axis 2"),
        ("(-1,)", 1, "no size that fits"),
        ("(3L,)", 2, "no `)`"),
        ("3", 0, "no `(`"),
    ] {
        let text = dictionary("|u1", shape);
        let at = 10 + text.find(shape).unwrap() + inside;
        assert_error(
            read(&npy(&text, &[])),
            file,
            Place::Byte(at as u64),
            &[word],
        );
    }
    for text in [
        "{'descr': '|u1', 'fortran_order': False, }",
        "{'descr': '|u1', 'descr': '|u1', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (1,), 'extra': 1}",
        "{'descr': '|u1', 'fortran_order': Maybe, 'shape': (1,), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (1,), } + 1",
        "{'descr': '|u1, 'fortran_order': False, 'shape': (1,), }",
        "{{{{{{{{{{{{{{{{",
        "((((((((((((((((",
        "",
        "\u{fffd}\u{0}",
    ] {
        assert!(
            matches!(read(&npy(text, &[0])), Err(DataError::Malformed(_))),
            "{text}"
        );
    }
}

#[test]
fn too_many_axes_are_refused() {
    let shape = format!("({})", "1, ".repeat(9));
    assert!(matches!(
        read(&npy(&dictionary("|u1", &shape), &[0])),
        Err(DataError::Unsupported(_))
    ));
}

#[test]
fn sizes_and_file_length_must_agree() {
    let text = dictionary("<i4", "(2,)");
    let end = start(&text) + 8;
    assert_error(
        read(&npy(&text, &[0; 7])),
        "x.npy",
        Place::Byte(end - 1),
        &[&format!("announces {end} bytes")],
    );
    assert_error(
        read(&npy(&text, &[0; 9])),
        "x.npy",
        Place::Byte(end),
        &["1 bytes follow"],
    );
}

#[test]
fn written_bytes_are_what_numpy_writes() {
    let bytes = npy_bytes(&[2, 2], &ArrayData::F32(vec![0.0; 4]));
    let text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }";
    assert_eq!(bytes[..10], *b"\x93NUMPY\x01\x00\x76\x00");
    assert_eq!(bytes[10..10 + text.len()], *text);
    assert!(bytes[10 + text.len()..127].iter().all(|&byte| byte == b' '));
    assert_eq!((bytes[127], bytes.len()), (b'\n', 128 + 16));
    assert!(npy_bytes(&[4], &ArrayData::I32(vec![0; 4])).starts_with(
        b"\x93NUMPY\x01\x00\x76\x00{'descr': '<i4', 'fortran_order': False, 'shape': (4,), }"
    ));
}

#[test]
fn a_file_is_written_beside_and_renamed() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("y.npy");
    fs::write(&path, b"old").unwrap();
    let data = ArrayData::F32(vec![1.0, -2.5, 3.25]);
    write_npy(&path, &[3, 1], &data).unwrap();
    assert_eq!(
        read_npy(&path).unwrap(),
        Array {
            shape: vec![3, 1],
            data: data.clone()
        }
    );
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "nothing stays beside it"
    );
    let nowhere = folder.path().join("no/such/y.npy");
    let text = write_npy(&nowhere, &[3], &data).unwrap_err().to_string();
    assert!(
        text.contains("cannot write") && text.contains("check the path"),
        "{text}"
    );
    // The destination is a folder, so the rename fails: nothing is left behind.
    let taken = folder.path().join("taken");
    fs::create_dir_all(taken.join("inside")).unwrap();
    write_npy(&taken, &[3], &data).unwrap_err();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn folders_and_missing_files_are_refused() {
    let folder = tempfile::TempDir::new().unwrap();
    let text = read_npy(folder.path()).unwrap_err().to_string();
    assert!(text.contains("not a regular file"), "{text}");
    let text = read_npy(&folder.path().join("no.npy"))
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("no.npy: cannot read") && text.contains("check the path"),
        "{text}"
    );
}

fn arrays() -> impl Strategy<Value = Array> {
    prop::collection::vec(1usize..4, 0..5).prop_flat_map(|shape| {
        let n: usize = shape.iter().product();
        let data = prop_oneof![
            prop::collection::vec(any::<u8>(), n).prop_map(ArrayData::U8),
            prop::collection::vec(any::<i8>(), n).prop_map(ArrayData::I8),
            prop::collection::vec(any::<i32>(), n).prop_map(ArrayData::I32),
            prop::collection::vec(any::<i64>(), n).prop_map(ArrayData::I64),
            prop::collection::vec(prop::num::f32::NORMAL | prop::num::f32::SUBNORMAL, n)
                .prop_map(ArrayData::F32),
        ];
        data.prop_map(move |data| Array {
            shape: shape.clone(),
            data,
        })
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(array in arrays()) {
        prop_assert_eq!(read(&npy_bytes(&array.shape, &array.data)).unwrap(), array);
    }
}

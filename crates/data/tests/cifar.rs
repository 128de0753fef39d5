//! CIFAR-10 in its binary version: the layout, and what is said of broken files.

mod common;

use std::env;
use std::fs::{self, OpenOptions as FileOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use common::{assert_error, write_all};
use onebit_data::{Features, Place, open};
use tempfile::TempDir;

const RECORD: u64 = 3073;
const BATCH: u64 = 10_000 * RECORD;

const FILES: [&str; 6] = [
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
    "test_batch.bin",
];

/// Six files of zeros that take no space on the disk.
fn zeros() -> TempDir {
    let folder = TempDir::new().unwrap();
    for name in FILES {
        resize(folder.path(), name, BATCH);
    }
    folder
}

fn resize(folder: &Path, name: &str, n_bytes: u64) {
    let file = FileOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.join(name))
        .unwrap();
    file.set_len(n_bytes).unwrap();
}

fn write_at(folder: &Path, name: &str, at: u64, bytes: &[u8]) {
    let mut file = FileOptions::new()
        .write(true)
        .open(folder.join(name))
        .unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(bytes).unwrap();
}

fn open_dir(dir: &Path) -> Result<onebit_data::Dataset, onebit_data::DataError> {
    open(dir.to_str().unwrap())
}

#[test]
fn batches_are_read_in_order_and_planes_become_channels() {
    let folder = zeros();
    // Image 1 of the second batch: label 7, red of pixel 0, green of pixel 1, blue of the last pixel.
    let image = RECORD;
    for (at, value) in [(0, 7), (1, 10), (1 + 1024 + 1, 20), (3072, 30)] {
        write_at(folder.path(), "data_batch_2.bin", image + at, &[value]);
    }
    write_at(folder.path(), "test_batch.bin", BATCH - 3073, &[9]);
    let set = open_dir(folder.path()).unwrap();
    assert_eq!((set.name.as_str(), set.n_classes), ("cifar10", 10));
    assert_eq!(set.shape, [32, 32, 3]);
    assert_eq!((set.train.len(), set.test.len()), (50_000, 10_000));
    assert_eq!(
        (set.class_names[0].as_str(), set.class_names[9].as_str()),
        ("airplane", "truck")
    );
    assert_eq!(set.train.labels[10_001], 7);
    assert_eq!(set.test.labels[9_999], 9);
    let Features::U8(pixels) = &set.train.features else {
        panic!("pixels are bytes")
    };
    let image = &pixels[10_001 * 3072..10_002 * 3072];
    let set_values: Vec<(usize, u8)> = image
        .iter()
        .enumerate()
        .filter(|&(_, &value)| value != 0)
        .map(|(i, &value)| (i, value))
        .collect();
    assert_eq!(set_values, [(0, 10), (3 + 1, 20), (3071, 30)]);
}

#[test]
fn broken_batches_are_located() {
    let folder = zeros();
    let name = "data_batch_3.bin";
    resize(folder.path(), name, BATCH - 1);
    let result = open_dir(folder.path());
    assert_error(result, name, Place::Byte(BATCH - 1), &["30729999 bytes"]);
    resize(folder.path(), name, BATCH + RECORD);
    let result = open_dir(folder.path());
    assert_error(result, name, Place::Byte(BATCH), &["30733073 bytes"]);
    resize(folder.path(), name, BATCH);
    write_at(folder.path(), name, 5 * RECORD, &[10]);
    let result = open_dir(folder.path());
    let place = Place::Byte(5 * RECORD);
    assert_error(result, name, place, &["label 10 of image 5", "0..=9"]);
}

#[test]
fn a_missing_batch_is_named() {
    let folder = zeros();
    for name in [FILES[0], FILES[4], FILES[5]] {
        fs::rename(folder.path().join(name), folder.path().join("away")).unwrap();
        let words = [&format!("there is no {name} here"), "side by side"];
        assert_error(open_dir(folder.path()), "", Place::Whole, &words);
        fs::rename(folder.path().join("away"), folder.path().join(name)).unwrap();
    }
}

#[test]
fn an_archive_that_is_not_unpacked_says_what_to_run() {
    let folder = TempDir::new().unwrap();
    write_all(
        folder.path(),
        &[("cifar10.med.zst", vec![1]), ("unpack", vec![b'#'])],
    );
    let script = folder.path().join("unpack");
    let words = [script.to_str().unwrap(), "ONEBIT_CIFAR10"];
    assert_error(open_dir(folder.path()), "", Place::Whole, &words);
}

#[test]
fn the_published_images_are_read() {
    let Some(dir) = env::var_os("ONEBIT_CIFAR10") else {
        println!("skipped: set ONEBIT_CIFAR10 to a folder with the binary version of CIFAR-10");
        return;
    };
    let set = open("cifar10").unwrap();
    let by_path = open_dir(Path::new(&dir)).unwrap();
    assert_eq!(set, by_path);
    // The first five labels of training and test, as everyone's first look at the set shows them.
    assert_eq!(set.train.labels[..5], [6, 9, 9, 4, 1]);
    assert_eq!(set.test.labels[..5], [3, 8, 8, 0, 6]);
    for split in [&set.train, &set.test] {
        let per_class = split.len() / 10;
        for class in 0..10 {
            let n = split.labels.iter().filter(|&&label| label == class).count();
            assert_eq!(n, per_class, "class {class}");
        }
    }
}

//! The binary batches of CIFAR-10 become a data set.
//!
//! In: a folder with the six files of the binary version. Out: an [`Opened`] set of 50,000 and 10,000 images,
//! channels last. Owns the layout of a record. Leaves what parts have in common to `part`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{DataError, Place};
use crate::files;
use crate::open::{OpenOptions, Opened};
use crate::part::{self, Common, Part, PartValues};

const TRAIN: [&str; 5] = [
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
];

const TEST: [&str; 1] = ["test_batch.bin"];

const CLASSES: [&str; 10] = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
];

/// Pixels of one channel.
const PLANE: usize = 32 * 32;

/// A record: its label, then the red, the green and the blue plane, each row-major.
const RECORD: usize = 1 + 3 * PLANE;

/// A file: 10,000 records.
const BATCH: usize = 10_000 * RECORD;

const AGAIN: &str = "get the binary version of CIFAR-10 again";

/// Whether a folder holds CIFAR-10 batches.
pub(crate) fn is_here(dir: &Path) -> bool {
    dir.join(TRAIN[0]).is_file() || dir.join(TEST[0]).is_file()
}

/// The script of a folder that holds the images in an archive of its own, to be unpacked first.
pub(crate) fn unpack_script(dir: &Path) -> Option<PathBuf> {
    let script = dir.join("unpack");
    (dir.join("cifar10.med.zst").is_file() && script.is_file()).then_some(script)
}

/// Opens the set of a folder.
pub(crate) fn open(dir: &Path, options: &OpenOptions) -> Result<Opened, DataError> {
    let common = Common {
        name: "cifar10".into(),
        class_names: CLASSES.map(String::from).to_vec(),
    };
    let (train, test) = (read_part(dir, &TRAIN)?, read_part(dir, &TEST)?);
    part::assemble(common, train, Some(test), options)
}

fn read_part(dir: &Path, names: &[&str]) -> Result<Part, DataError> {
    let n_images = names.len() * (BATCH / RECORD);
    let mut pixels = Vec::with_capacity(n_images * 3 * PLANE);
    let mut labels = Vec::with_capacity(n_images);
    for name in names {
        let file = dir.join(name);
        let bytes = read_batch(&file)?;
        for (record_idx, record) in bytes.chunks_exact(RECORD).enumerate() {
            let (&label, planes) = record
                .split_first()
                .expect("a record begins with its label");
            if usize::from(label) >= CLASSES.len() {
                let place = Place::Byte((record_idx * RECORD) as u64);
                let problem = format!("label {label} of image {record_idx} is not in 0..=9");
                return Err(DataError::malformed(&file, place, problem, AGAIN));
            }
            labels.push(u16::from(label));
            let (red, rest) = planes.split_at(PLANE);
            let (green, blue) = rest.split_at(PLANE);
            for ((&r, &g), &b) in red.iter().zip(green).zip(blue) {
                pixels.extend([r, g, b]);
            }
        }
    }
    Ok(Part {
        file: dir.join(names[0]),
        shape: vec![32, 32, 3],
        values: PartValues::Bytes(pixels),
        labels,
    })
}

fn read_batch(file: &Path) -> Result<Vec<u8>, DataError> {
    if !file.is_file() {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let dir = file.parent().unwrap_or(file);
        let problem = format!("there is no {name} here");
        let remedy = "put data_batch_1.bin to data_batch_5.bin and test_batch.bin side by side";
        return Err(DataError::malformed(dir, Place::Whole, problem, remedy));
    }
    let wrong_size = |size: u64| {
        let problem = format!("the file has {size} bytes, a batch of 10,000 images has {BATCH}");
        let place = Place::Byte(size.min(BATCH as u64));
        DataError::malformed(file, place, problem, AGAIN)
    };
    let size = fs::metadata(file)
        .map_err(|e| DataError::io(file, "read", e))?
        .len();
    if size != BATCH as u64 {
        return Err(wrong_size(size));
    }
    let bytes = files::read_file(file)?;
    if bytes.len() != BATCH {
        return Err(wrong_size(bytes.len() as u64));
    }
    Ok(bytes)
}

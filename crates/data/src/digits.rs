//! The data set inside the library: 8x8 handwritten digits.
//!
//! In: two files of `assets/`, whose README holds source, citation and licence. Out: [`digits`]. Needs no
//! disk and no network, so that a first network can be trained anywhere.

use std::path::Path;

use crate::idx;
use crate::set::{Dataset, Features, Split};

const IMAGES: &[u8] = include_bytes!("../assets/digits-images-idx3-ubyte.gz");
const LABELS: &[u8] = include_bytes!("../assets/digits-labels-idx1-ubyte.gz");

/// The first so many examples are for training, the other 450 for testing. The examples are stored in the
/// order of their writers, so hardly any writer is in both parts.
const N_TRAIN: usize = 1347;

/// The embedded data set `digits`: 1,797 images of 8x8 pixels in 10 classes, 1,347 of them for training.
///
/// The source counts the dark pixels of 4x4 blocks, 0..=16. A pixel here is `min(255, 16 * count)`, so that
/// the 0..=255 convention of pixels holds and black paper is 0.
pub fn digits() -> Dataset {
    let embedded = "the embedded files are read by a test";
    let images = idx::parse(Path::new("digits images"), IMAGES).expect(embedded);
    let labels = idx::parse(Path::new("digits labels"), LABELS).expect(embedded);
    let pixels: Vec<u8> = images
        .values
        .iter()
        .map(|&count| count.saturating_mul(16))
        .collect();
    let labels: Vec<u16> = labels
        .values
        .iter()
        .map(|&label| u16::from(label))
        .collect();
    let (train_pixels, test_pixels) = pixels.split_at(N_TRAIN * 64);
    let (train_labels, test_labels) = labels.split_at(N_TRAIN);
    Dataset {
        name: "digits".into(),
        shape: vec![8, 8, 1],
        n_classes: 10,
        class_names: (0..10).map(|class| class.to_string()).collect(),
        train: Split {
            features: Features::U8(train_pixels.to_vec()),
            labels: train_labels.to_vec(),
        },
        test: Split {
            features: Features::U8(test_pixels.to_vec()),
            labels: test_labels.to_vec(),
        },
    }
}

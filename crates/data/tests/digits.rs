//! The embedded data set is the published one, split as documented.

use onebit_data::{Dataset, Features, Split, digits, open};
use ring::digest::{SHA256, digest};

fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, bytes)
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn pixels(split: &Split) -> &[u8] {
    match &split.features {
        Features::U8(pixels) => pixels,
        Features::F32(_) => panic!("digits are bytes"),
    }
}

fn counts(split: &Split) -> Vec<usize> {
    let mut counts = vec![0; 10];
    split
        .labels
        .iter()
        .for_each(|&label| counts[usize::from(label)] += 1);
    counts
}

#[test]
fn shapes_and_counts() {
    let Dataset {
        name,
        shape,
        n_classes,
        class_names,
        train,
        test,
    } = digits();
    assert_eq!(
        (name.as_str(), shape, n_classes),
        ("digits", vec![8, 8, 1], 10)
    );
    assert_eq!(
        class_names,
        ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
    );
    assert_eq!((train.len(), train.n_features()), (1347, 64));
    assert_eq!((test.len(), test.n_features()), (450, 64));
    assert_eq!(
        counts(&train),
        [135, 136, 134, 136, 133, 137, 134, 134, 133, 135]
    );
    assert_eq!(counts(&test), [43, 46, 43, 47, 48, 45, 47, 45, 41, 45]);
}

#[test]
fn the_bytes_are_the_published_ones() {
    let set = digits();
    let restored: Vec<u8> = [pixels(&set.train), pixels(&set.test)]
        .concat()
        .into_iter()
        .map(|pixel| if pixel == 255 { 16 } else { pixel / 16 })
        .collect();
    let mut images = vec![0, 0, 8, 3, 0, 0, 7, 5, 0, 0, 0, 8, 0, 0, 0, 8];
    images.extend(restored);
    assert_eq!(
        sha256(&images),
        "359cd13f0f514122884198b78a131df597421cbf5e93a76678fa96fc548f0d96"
    );
    let mut labels = vec![0, 0, 8, 1, 0, 0, 7, 5];
    labels.extend(
        set.train
            .labels
            .iter()
            .chain(&set.test.labels)
            .map(|&label| label as u8),
    );
    assert_eq!(
        sha256(&labels),
        "ce71631c1f31ce56fa54f31d1d498fafacff59b001e6c30c4a5e29508aa277ad"
    );
}

#[test]
fn pixels_are_scaled_to_the_whole_range() {
    let set = digits();
    // The first image, a zero: counts 0 0 5 13 9 1 0 0 in its first row.
    assert_eq!(pixels(&set.train)[..8], [0, 0, 80, 208, 144, 16, 0, 0]);
    assert_eq!(pixels(&set.train).iter().max(), Some(&255));
    assert!(
        pixels(&set.train)
            .iter()
            .all(|&pixel| pixel == 255 || pixel % 16 == 0)
    );
}

#[test]
fn the_asset_stays_small() {
    let images = include_bytes!("../assets/digits-images-idx3-ubyte.gz");
    let labels = include_bytes!("../assets/digits-labels-idx1-ubyte.gz");
    assert_eq!(
        (images.len(), labels.len()),
        (44_098, 145),
        "as the README of the assets says"
    );
}

#[test]
fn open_gives_the_same_set() {
    assert_eq!(open("digits").unwrap(), digits());
}

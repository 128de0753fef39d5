//! Whole data sets: folders and files of every kind, and what is said of broken ones.

mod common;

use std::fs;
use std::path::Path;

use common::{assert_error, gz, idx, npy_members, npz, write_all};
use onebit_data::{
    ArrayData, DataError, Dataset, Features, OpenOptions, Opened, Place, npy_bytes, open, open_with,
};
use tempfile::TempDir;

fn folder(files: &[(&str, Vec<u8>)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    write_all(folder.path(), files);
    folder
}

fn open_dir(dir: &Path) -> Result<Dataset, DataError> {
    let Opened { dataset, notes } = open_with(dir.to_str().unwrap(), &OpenOptions::default())?;
    assert!(notes.is_empty(), "{notes:?}");
    Ok(dataset)
}

/// Three images of 2x2 for training, two for test.
fn idx_files() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        (
            "train-images-idx3-ubyte",
            idx(&[3, 2, 2], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
        ),
        ("train-labels-idx1-ubyte", idx(&[3], &[2, 0, 1])),
        ("t10k-images-idx3-ubyte", idx(&[2, 2, 2], &[9; 8])),
        ("t10k-labels-idx1-ubyte", idx(&[2], &[1, 2])),
    ]
}

#[test]
fn idx_folders_are_read_plain_compressed_and_by_every_usual_name() {
    let plain = folder(&idx_files());
    let set = open_dir(plain.path()).unwrap();
    assert_eq!(
        (set.shape.as_slice(), set.n_classes),
        (&[2usize, 2, 1][..], 3)
    );
    assert_eq!(set.class_names, ["0", "1", "2"]);
    assert_eq!(set.train.features, Features::U8((0..12).collect()));
    assert_eq!(
        (set.train.labels.as_slice(), set.test.labels.as_slice()),
        (&[2u16, 0, 1][..], &[1u16, 2][..])
    );
    let files = idx_files();
    let compressed = TempDir::new().unwrap();
    let dotted = TempDir::new().unwrap();
    for (name, bytes) in files {
        fs::write(compressed.path().join(format!("{name}.gz")), gz(&bytes)).unwrap();
        fs::write(
            dotted
                .path()
                .join(name.replace("-idx", ".idx").replace("t10k", "test")),
            bytes,
        )
        .unwrap();
    }
    for other in [compressed, dotted] {
        let other = open_dir(other.path()).unwrap();
        assert_eq!((&other.train, &other.test), (&set.train, &set.test));
    }
}

#[test]
fn idx_sets_that_contradict_themselves_are_located() {
    let with = |name: &str, bytes: Vec<u8>| {
        let folder = folder(&idx_files());
        fs::write(folder.path().join(name), bytes).unwrap();
        open_dir(folder.path())
    };
    let labels = "train-labels-idx1-ubyte";
    assert_error(
        with(labels, idx(&[2], &[0, 1])),
        labels,
        Place::Byte(4),
        &["2 labels for 3 images in ", "train-images"],
    );
    assert_error(
        with(labels, idx(&[3, 1], &[0, 1, 2])),
        labels,
        Place::Byte(3),
        &["shape [3, 1]"],
    );
    let test_labels = "t10k-labels-idx1-ubyte";
    assert_error(
        with(test_labels, idx(&[2], &[1, 3])),
        test_labels,
        Place::Byte(9),
        &["label 3 of image 1", "0..=2"],
    );
    assert_error(
        with(test_labels, vec![]),
        test_labels,
        Place::Byte(0),
        &["ends inside its header"],
    );
    let images = "t10k-images-idx3-ubyte";
    let result = with(images, idx(&[2, 2, 3], &[0; 12]));
    assert_error(result, images, Place::Whole, &["[2, 3, 1]", "[2, 2, 1]"]);
}

#[test]
fn known_names_have_ten_classes_whatever_their_labels() {
    let data = TempDir::new().unwrap();
    for (name, first) in [("mnist", "0"), ("fashion-mnist", "T-shirt/top")] {
        let dir = data.path().join(name);
        fs::create_dir(&dir).unwrap();
        write_all(&dir, &idx_files());
        let set = open_dir(&dir).unwrap();
        assert_eq!(
            (
                set.n_classes,
                set.class_names.len(),
                set.class_names[0].as_str()
            ),
            (10, 10, first)
        );
        assert_eq!(set.name, name);
        fs::write(
            dir.join("train-labels-idx1-ubyte.gz"),
            gz(&idx(&[3], &[0, 10, 1])),
        )
        .unwrap();
        fs::remove_file(dir.join("train-labels-idx1-ubyte")).unwrap();
        let file = "train-labels-idx1-ubyte.gz";
        assert_error(
            open_dir(&dir),
            file,
            Place::InflatedByte(9),
            &["label 10 of image 1", "0..=9"],
        );
    }
}

#[test]
fn missing_files_are_named() {
    for (removed, word) in [
        ("train-images-idx3-ubyte", "train-images"),
        ("train-labels-idx1-ubyte", "train-labels"),
        ("t10k-images-idx3-ubyte", "t10k-images"),
        ("t10k-labels-idx1-ubyte", "t10k-labels"),
    ] {
        let folder = folder(&idx_files());
        fs::remove_file(folder.path().join(removed)).unwrap();
        let words = [&format!("there is no {word} file here"), "side by side"];
        assert_error(
            open_dir(folder.path()),
            folder.path().to_str().unwrap(),
            Place::Whole,
            &words,
        );
    }
}

#[test]
fn without_test_files_a_fifth_is_held_out() {
    let labels: Vec<u8> = (0..50).map(|i| i % 5).collect();
    let folder = folder(&[
        ("train-images-idx3-ubyte", idx(&[50, 1, 2], &[7; 100])),
        ("train-labels-idx1-ubyte", idx(&[50], &labels)),
    ]);
    let opened = open_with(folder.path().to_str().unwrap(), &OpenOptions::default()).unwrap();
    assert_eq!(
        (opened.dataset.train.len(), opened.dataset.test.len()),
        (40, 10)
    );
    assert_eq!(opened.notes.len(), 1);
    assert!(
        opened.notes[0].contains("10 of 50 examples (20 %, seed 0)"),
        "{:?}",
        opened.notes
    );
}

#[test]
fn arrays_are_read_from_folders_and_archives_alike() {
    let members = npy_members();
    let renamed: Vec<(&str, Vec<u8>)> = members
        .iter()
        .zip(["train_x.npy", "train_y.npy", "test_x.npy", "test_y.npy"])
        .map(|((_, bytes), name)| (name, bytes.clone()))
        .collect();
    let folders = [
        folder(&members),
        folder(&renamed),
        folder(&[("set.npz", npz(&members, false))]),
        folder(&[("set.npz", npz(&renamed, true))]),
    ];
    for folder in &folders {
        let set = open_dir(folder.path()).unwrap();
        assert_eq!(
            (set.shape.as_slice(), set.n_classes),
            (&[2usize, 2, 1][..], 3)
        );
        assert_eq!(set.train.features, Features::U8((0..12).collect()));
        assert_eq!(
            (set.train.labels.as_slice(), set.test.labels.as_slice()),
            (&[0u16, 1, 2][..], &[2u16][..])
        );
    }
    let archive = folders[2].path().join("set.npz");
    assert_eq!(open_dir(&archive).unwrap().name, "set");
}

#[test]
fn integer_arrays_of_bytes_become_pixels_and_others_measurements() {
    let set = |train: ArrayData, test: ArrayData| {
        let mut members = npy_members();
        members[0].1 = npy_bytes(&[3, 2], &train);
        members[2].1 = npy_bytes(&[1, 2], &test);
        open_dir(folder(&members).path())
    };
    let bytes = || ArrayData::U8(vec![0, 1, 2, 3, 4, 255]);
    let small = || ArrayData::I64(vec![0, 1, 2, 3, 4, 255]);
    let both = set(small(), ArrayData::I32(vec![0, 9])).unwrap();
    assert_eq!(both.train.features, Features::U8(vec![0, 1, 2, 3, 4, 255]));
    assert_eq!(both.test.features, Features::U8(vec![0, 9]));
    let mixed = set(bytes(), ArrayData::I8(vec![-1, 9])).unwrap();
    assert_eq!(
        mixed.train.features,
        Features::F32(vec![0.0, 1.0, 2.0, 3.0, 4.0, 255.0])
    );
    assert_eq!(mixed.test.features, Features::F32(vec![-1.0, 9.0]));
    let floats = set(ArrayData::F32(vec![1.0; 6]), ArrayData::F32(vec![2.0; 2])).unwrap();
    assert_eq!(
        floats.train.features,
        Features::F32(vec![1.0; 6]),
        "floats stay floats"
    );
    let words = ["the values are floats", "they are bytes"];
    assert_error(
        set(bytes(), ArrayData::F32(vec![2.0; 2])),
        "x_test.npy",
        Place::Whole,
        &words,
    );
    let words = ["16777217 at [1, 0]", "not exact"];
    let inexact = ArrayData::I64(vec![0, 0, 1 << 24, 0, 0, 0]);
    set(inexact, small_test()).unwrap();
    let inexact = ArrayData::I64(vec![0, 0, (1 << 24) + 1, 0, 0, 0]);
    assert_error(
        set(inexact, small_test()),
        "x_train.npy",
        Place::Byte(128 + 16),
        &words,
    );
}

fn small_test() -> ArrayData {
    ArrayData::I64(vec![0, 9])
}

#[test]
fn array_labels_are_checked() {
    let set = |labels: Vec<u8>| {
        let mut members = npy_members();
        members[1].1 = labels;
        open_dir(folder(&members).path())
    };
    let file = "y_train.npy";
    for data in [
        ArrayData::U8(vec![2, 0, 1]),
        ArrayData::I8(vec![2, 0, 1]),
        ArrayData::I32(vec![2, 0, 1]),
    ] {
        assert_eq!(
            set(npy_bytes(&[3, 1], &data)).unwrap().train.labels,
            [2, 0, 1]
        );
    }
    let negative = npy_bytes(&[3], &ArrayData::I64(vec![0, -1, 1]));
    assert_error(
        set(negative),
        file,
        Place::Byte(128 + 8),
        &["label -1 of example 1"],
    );
    let large = npy_bytes(&[3], &ArrayData::I32(vec![0, 1, 65_536]));
    assert_error(
        set(large),
        file,
        Place::Byte(128 + 8),
        &["label 65536 of example 2"],
    );
    let floats = npy_bytes(&[3], &ArrayData::F32(vec![0.0; 3]));
    assert_error(set(floats), file, Place::Byte(128), &["floats", "astype"]);
    let one_hot = npy_bytes(&[3, 3], &ArrayData::I64(vec![0; 9]));
    assert_error(set(one_hot), file, Place::Byte(128), &["[3, 3]", "argmax"]);
    let short = npy_bytes(&[2], &ArrayData::I64(vec![0; 2]));
    assert_error(
        set(short),
        file,
        Place::Byte(128),
        &["2 labels for 3 examples in ", "x_train.npy"],
    );
    let mut members = npy_members();
    members[3].1 = npy_bytes(&[1], &ArrayData::I64(vec![3]));
    let words = ["label 3 of example 0 is not in 0..=2"];
    assert_error(
        open_dir(folder(&members).path()),
        "y_test.npy",
        Place::Byte(128),
        &words,
    );
    let archive = folder(&[("set.npz", npz(&members, true))]);
    let place = Place::Member {
        name: "y_test".into(),
        byte: 128,
    };
    assert_error(open_dir(archive.path()), "set.npz", place, &words);
}

#[test]
fn array_pairs_must_be_complete_and_flat_enough() {
    for removed in 0..4 {
        let mut members = npy_members();
        let (name, _) = members.remove(removed);
        let folder = folder(&members);
        let text = match open_dir(folder.path()) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("{name} is missing"),
        };
        let partner = name.replace(".npy", "").replace(['x', 'y'], "");
        assert!(
            text.contains(&partner) || text.contains("no data set"),
            "{name}: {text}"
        );
    }
    let mut members = npy_members();
    members[0].1 = npy_bytes(&[3, 1, 1, 2, 2], &ArrayData::U8(vec![0; 12]));
    let words = ["[1, 1, 2, 2]", "reshape"];
    assert_error(
        open_dir(folder(&members).path()),
        "x_train.npy",
        Place::Byte(128),
        &words,
    );
    let archive = folder(&[("a.npz", npz(&[("z.npy", members[1].1.clone())], true))]);
    assert_error(
        open_dir(archive.path()),
        "a.npz",
        Place::Whole,
        &["x_train and y_train"],
    );
}

#[test]
fn one_pair_in_an_archive_is_shared_out() {
    let members = [
        ("x.npy", npy_bytes(&[10, 2], &ArrayData::F32(vec![0.5; 20]))),
        (
            "y.npy",
            npy_bytes(&[10], &ArrayData::U8(vec![0, 1, 0, 1, 0, 1, 0, 1, 0, 1])),
        ),
    ];
    let folder = folder(&[("set.npz", npz(&members, true))]);
    let opened = open_with(folder.path().to_str().unwrap(), &OpenOptions::default()).unwrap();
    assert_eq!(
        (opened.dataset.train.len(), opened.dataset.test.len()),
        (8, 2)
    );
    assert!(
        opened.notes[0].contains("2 of 10 examples"),
        "{:?}",
        opened.notes
    );
}

#[test]
fn arrays_that_seem_to_have_their_channels_first_are_noted() {
    let notes = |shape: [usize; 3]| {
        let [h, w, c] = shape;
        let values = |n: usize| ArrayData::U8(vec![7; n * h * w * c]);
        let members = [
            ("x_train.npy", npy_bytes(&[2, h, w, c], &values(2))),
            ("y_train.npy", npy_bytes(&[2], &ArrayData::U8(vec![0, 1]))),
            ("x_test.npy", npy_bytes(&[1, h, w, c], &values(1))),
            ("y_test.npy", npy_bytes(&[1], &ArrayData::U8(vec![1]))),
        ];
        let folder = folder(&members);
        let at = folder.path().to_str().unwrap().to_owned();
        let opened = open_with(&at, &OpenOptions::default()).unwrap();
        assert_eq!(opened.dataset.shape, shape);
        opened.notes
    };
    for shape in [[1, 28, 28], [3, 32, 24], [4, 8, 8]] {
        let notes = notes(shape);
        assert!(
            matches!(&notes[..], [note] if note.contains("transpose(0, 2, 3, 1)")),
            "{shape:?}: {notes:?}"
        );
    }
    for shape in [
        [28, 28, 1],
        [32, 32, 3],
        [1, 100, 6],
        [2, 28, 28],
        [3, 3, 64],
    ] {
        assert!(notes(shape).is_empty(), "{shape:?}");
    }
}

#[test]
fn tables_are_found_in_folders_and_as_files() {
    let table = || b"label,a\nx,1.5\ny,2.5\n".to_vec();
    let both = folder(&[("train.csv", table()), ("test.csv", table())]);
    let set = open_dir(both.path()).unwrap();
    assert_eq!(
        (set.train.len(), set.test.len(), set.shape.as_slice()),
        (2, 2, &[1usize][..])
    );
    assert_eq!(
        set.name,
        both.path().file_stem().unwrap().to_str().unwrap(),
        "named for its folder"
    );
    let one = folder(&[("flowers.csv", table())]);
    for path in [one.path().to_path_buf(), one.path().join("flowers.csv")] {
        let opened = open_with(path.to_str().unwrap(), &OpenOptions::default()).unwrap();
        assert_eq!(
            (opened.dataset.name.as_str(), opened.notes.len()),
            ("flowers", 1)
        );
    }
}

#[test]
fn folders_of_no_kind_or_two_are_refused() {
    let empty = folder(&[]);
    let at = empty.path().to_str().unwrap();
    assert_error(
        open_dir(empty.path()),
        at,
        Place::Whole,
        &["holds no data set", "docs/data.md"],
    );
    let mut files = npy_members();
    files.push(("train.csv", b"label,a\nx,1\n".to_vec()));
    let both = folder(&files);
    assert_error(
        open_dir(both.path()),
        "",
        Place::Whole,
        &["more than one kind of data set: .npy, .csv"],
    );
    let image = folder(&[("picture.png", vec![1])]);
    assert_error(
        open_dir(&image.path().join("picture.png")),
        "picture.png",
        Place::Whole,
        &["onebit run"],
    );
}

#[test]
fn a_name_that_is_nowhere_says_where_it_was_looked_for() {
    let Err(DataError::NotFound {
        name,
        looked,
        remedy,
    }) = open("no-such-set")
    else {
        panic!("there is no such set")
    };
    assert_eq!(name, "no-such-set");
    assert!(
        looked.iter().all(|place| place.ends_with("no-such-set")),
        "{looked:?}"
    );
    assert!(remedy.contains("onebit data get mnist"), "{remedy}");
    let text = open("some/where/else").unwrap_err().to_string();
    assert_eq!(
        text,
        "no data set `some/where/else`; looked at some/where/else; check the path"
    );
}

#[test]
fn the_public_sets_open_by_name() {
    if std::env::var("ONEBIT_SHARED").is_err() {
        assert!(std::env::var("CI").is_err(), "CI must set ONEBIT_SHARED");
        return println!("skipped: the_public_sets_open_by_name; set ONEBIT_SHARED");
    }
    for (name, ninth) in [("mnist", "9"), ("fashion-mnist", "Ankle boot")] {
        let set = open(name).unwrap();
        assert_eq!(
            (
                set.name.as_str(),
                set.n_classes,
                set.class_names[9].as_str()
            ),
            (name, 10, ninth)
        );
        assert_eq!(
            (set.train.len(), set.test.len(), set.shape.as_slice()),
            (60_000, 10_000, &[28usize, 28, 1][..])
        );
        assert_eq!((set.train.n_features(), set.test.n_features()), (784, 784));
        assert!(matches!(set.train.features, Features::U8(_)));
        let mut counts = [0; 10];
        set.test
            .labels
            .iter()
            .for_each(|&label| counts[usize::from(label)] += 1);
        let wanted = if name == "mnist" {
            [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
        } else {
            [1000; 10]
        };
        assert_eq!(counts, wanted, "{name}");
    }
}

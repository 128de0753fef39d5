//! Folders of images: the layout, the one size and number of channels, and what is said of broken ones.

mod common;

use std::fs;
use std::path::Path;

use common::{assert_error, coded_image, png};
use image::{DynamicImage, GrayImage, ImageFormat, RgbImage};
use onebit_data::image::parse_image;
use onebit_data::{ArrayData, DataError, Dataset, Features, OpenOptions, Place, open, open_with};
use tempfile::TempDir;

fn grey(height: u32, width: u32, pixels: &[u8]) -> DynamicImage {
    GrayImage::from_raw(width, height, pixels.to_vec())
        .unwrap()
        .into()
}

fn colour(height: u32, width: u32, pixels: &[u8]) -> DynamicImage {
    RgbImage::from_raw(width, height, pixels.to_vec())
        .unwrap()
        .into()
}

/// One grey pixel as a PNG file.
fn dot(value: u8) -> Vec<u8> {
    coded_image(&grey(1, 1, &[value]), ImageFormat::Png)
}

/// A folder with these files, and the folders they lie in.
fn tree(files: &[(&str, Vec<u8>)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    files
        .iter()
        .for_each(|(path, bytes)| put(&folder, path, bytes));
    folder
}

fn put(folder: &TempDir, path: &str, bytes: &[u8]) {
    let path = folder.path().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Classes `cat` and `dog` with one grey pixel each, in both parts.
fn cats_and_dogs() -> TempDir {
    tree(&[
        ("train/cat/a.png", dot(1)),
        ("train/dog/a.png", dot(2)),
        ("test/cat/a.png", dot(3)),
        ("test/dog/a.png", dot(4)),
    ])
}

fn open_dir(folder: &TempDir) -> Result<Dataset, DataError> {
    open(folder.path().to_str().unwrap())
}

fn bytes(features: &Features) -> &[u8] {
    match features {
        Features::U8(values) => values,
        Features::F32(_) => panic!("images are bytes"),
    }
}

#[test]
fn classes_and_images_come_in_the_order_of_their_names() {
    let folder = tree(&[
        ("train/dog/2.png", dot(6)),
        ("train/dog/10.PNG", dot(5)),
        ("train/cat/b.png", dot(2)),
        (
            "train/cat/a.bmp",
            coded_image(&grey(1, 1, &[1]), ImageFormat::Pnm),
        ),
        ("train/Zebra/z.png", dot(9)),
        ("train/dog/.hidden.txt", vec![1]),
        ("train/.DS_Store", vec![1]),
        ("test/Zebra/z.png", dot(10)),
        ("test/cat/z.png", dot(11)),
        ("test/dog/z.png", dot(12)),
        ("README.txt", vec![1]),
    ]);
    let set = open_dir(&folder).unwrap();
    assert_eq!(set.class_names, ["Zebra", "cat", "dog"]);
    assert_eq!((set.n_classes, &set.shape[..]), (3, &[1, 1, 1][..]));
    assert_eq!(bytes(&set.train.features), [9, 1, 2, 5, 6]);
    assert_eq!(set.train.labels, [0, 1, 1, 2, 2]);
    assert_eq!(bytes(&set.test.features), [10, 11, 12]);
    assert_eq!(set.test.labels, [0, 1, 2]);
    let name = folder.path().file_name().unwrap().to_str().unwrap();
    assert_eq!(set.name, name);
}

#[test]
fn every_lossless_format_gives_the_same_pixels() {
    let pixels: Vec<u8> = (0..2 * 3 * 3).map(|i| i * 14).collect();
    for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::Pnm] {
        let file = coded_image(&colour(2, 3, &pixels), format);
        let image = parse_image(Path::new("in"), &file).unwrap();
        assert_eq!(image.shape, [2, 3, 3], "{format:?}");
        assert_eq!(image.data, ArrayData::U8(pixels.clone()), "{format:?}");
    }
    for format in [ImageFormat::Png, ImageFormat::Pnm] {
        let file = coded_image(&grey(3, 2, &pixels[..6]), format);
        let image = parse_image(Path::new("in"), &file).unwrap();
        assert_eq!(image.shape, [3, 2, 1], "{format:?}");
        assert_eq!(
            image.data,
            ArrayData::U8(pixels[..6].to_vec()),
            "{format:?}"
        );
    }
    let image = parse_image(Path::new("in"), b"P1 3 1 0 1 0").unwrap();
    assert_eq!(image.data, ArrayData::U8(vec![255, 0, 255]));
    let image = parse_image(Path::new("in"), b"P2 2 1 5 0 5").unwrap();
    assert_eq!(image.data, ArrayData::U8(vec![0, 255]));
}

#[test]
fn a_jpeg_of_one_colour_keeps_it() {
    let flat = coded_image(&grey(16, 8, &[77; 128]), ImageFormat::Jpeg);
    let image = parse_image(Path::new("in"), &flat).unwrap();
    assert_eq!(image.shape, [16, 8, 1]);
    let ArrayData::U8(pixels) = image.data else {
        panic!("bytes")
    };
    assert!(
        pixels.iter().all(|pixel| pixel.abs_diff(77) <= 2),
        "{pixels:?}"
    );
}

#[test]
fn one_image_of_colour_makes_the_set_colour() {
    let red = coded_image(&colour(1, 1, &[200, 10, 20]), ImageFormat::Png);
    let folder = cats_and_dogs();
    put(&folder, "test/cat/b.png", &red);
    let set = open_dir(&folder).unwrap();
    assert_eq!(set.shape, [1, 1, 3]);
    assert_eq!(bytes(&set.train.features), [1, 1, 1, 2, 2, 2]);
    assert_eq!(bytes(&set.test.features), [3, 3, 3, 200, 10, 20, 4, 4, 4]);
    put(&folder, "train/cat/a.png", &red);
    let set = open_dir(&folder).unwrap();
    assert_eq!(bytes(&set.train.features), [200, 10, 20, 2, 2, 2]);
}

#[test]
fn channels_are_as_the_settings_say() {
    let folder = cats_and_dogs();
    put(&folder, "onebit.toml", b"channels = 3\n");
    let set = open_dir(&folder).unwrap();
    assert_eq!(set.shape, [1, 1, 3]);
    assert_eq!(bytes(&set.train.features), [1, 1, 1, 2, 2, 2]);
    // 2126 * 10 + 7152 * 20 + 722 * 30 = 185960.
    for (rgb, wanted) in [([10, 20, 30], 18), ([255; 3], 255), ([0, 255, 0], 182)] {
        let image = coded_image(&colour(1, 1, &rgb), ImageFormat::Png);
        put(&folder, "train/cat/a.png", &image);
        put(&folder, "onebit.toml", b"channels = 1\n");
        let set = open_dir(&folder).unwrap();
        assert_eq!(set.shape, [1, 1, 1]);
        assert_eq!(bytes(&set.train.features), [wanted, 2]);
    }
}

#[test]
fn images_are_scaled_to_the_size_of_the_settings() {
    let folder = cats_and_dogs();
    let square = [[10, 20], [30, 40]].concat();
    put(
        &folder,
        "train/cat/a.png",
        &coded_image(&grey(2, 2, &square), ImageFormat::Png),
    );
    put(&folder, "onebit.toml", b"size = [1, 1]\n");
    let set = open_dir(&folder).unwrap();
    // The mean of 10, 20, 30 and 40 is 25; images of the right size stay as they are.
    assert_eq!(bytes(&set.train.features), [25, 2]);
    let rgb: Vec<u8> = square.iter().flat_map(|&v| [v, 2 * v, 100]).collect();
    put(
        &folder,
        "train/cat/a.png",
        &coded_image(&colour(2, 2, &rgb), ImageFormat::Png),
    );
    let set = open_dir(&folder).unwrap();
    assert_eq!(bytes(&set.train.features), [25, 50, 100, 2, 2, 2]);
    // Height before width: one row of two equal columns.
    put(&folder, "onebit.toml", b"size = [1, 2]\nchannels = 1");
    let set = open_dir(&folder).unwrap();
    assert_eq!(set.shape, [1, 2, 1]);
    assert_eq!(bytes(&set.train.features)[2..], [2, 2]);
    assert_eq!(bytes(&set.test.features), [3, 3, 4, 4]);
}

#[test]
fn scaling_down_by_two_weights_neighbours_as_a_triangle() {
    let folder = tree(&[(
        "train/only/a.png",
        coded_image(&grey(1, 4, &[0, 0, 0, 255]), ImageFormat::Png),
    )]);
    put(&folder, "train/only/b.png", &dot(7));
    put(&folder, "onebit.toml", b"size = [1, 2]");
    let set = open_dir(&folder).unwrap();
    let (train, test) = (bytes(&set.train.features), bytes(&set.test.features));
    let scaled = if train == [7, 7] { test } else { train };
    // Centres at 1 and 3 in units of old pixels, which lie at 0.5, 1.5, 2.5 and 3.5; weights fall to 0 two pixels
    // away. Left: 0.75, 0.75, 0.25 and none. Right: 0.25, 0.75 and 0.75 of 1.75, so 255 * 3 / 7 = 109.3.
    assert_eq!(scaled, [0, 109]);
}

#[test]
fn images_of_two_sizes_are_refused_with_a_way_out() {
    let folder = cats_and_dogs();
    let wide = coded_image(&grey(1, 2, &[1, 2]), ImageFormat::Png);
    put(&folder, "test/dog/a.png", &wide);
    let words = [
        "[1, 2] (height, width)",
        "cat/a.png is [1, 1]",
        "size = [1, 1]",
        "onebit.toml",
    ];
    assert_error(open_dir(&folder), "test/dog/a.png", Place::Whole, &words);
}

#[test]
fn settings_are_checked() {
    let folder = cats_and_dogs();
    for (text, place, word) in [
        ("sizes = [1, 1]", Place::Line(1), "sizes"),
        ("size = [1, 1]\nchannels = true", Place::Line(2), "boolean"),
        ("size = [1]", Place::Line(1), "length 1"),
        ("size = [0, 1]", Place::Whole, "[0, 1]"),
        ("size = [1, 65536]", Place::Whole, "65536"),
        ("size = [-1, 1]", Place::Line(1), "-1"),
        ("channels = 2", Place::Whole, "2 channels"),
        ("\n\nsize = ", Place::Line(3), ""),
    ] {
        put(&folder, "onebit.toml", text.as_bytes());
        let words = [word, "`size = [h, w]`"];
        assert_error(open_dir(&folder), "onebit.toml", place, &words);
    }
    put(&folder, "onebit.toml", b"# \xff");
    let words = ["UTF-8"];
    assert_error(open_dir(&folder), "onebit.toml", Place::Byte(2), &words);
}

#[test]
fn a_set_above_the_limit_is_refused_before_memory_is_taken() {
    let folder = cats_and_dogs();
    put(&folder, "onebit.toml", b"size = [65535, 65535]");
    let words = [
        "4 images of [65535, 65535, 1] need 17179344900 bytes",
        "smaller",
    ];
    assert_error(open_dir(&folder), "", Place::Whole, &words);
    let folder = tree(&[(
        "train/only/a.png",
        coded_image(&grey(1, 2000, &[0; 2000]), ImageFormat::Png),
    )]);
    put(&folder, "train/only/b.png", &dot(7));
    put(&folder, "onebit.toml", b"size = [40000, 1]");
    let words = ["scaling [1, 2000] to [40000, 1]"];
    assert_error(open_dir(&folder), "a.png", Place::Whole, &words);
}

#[test]
fn files_that_are_no_images_are_named() {
    let folder = cats_and_dogs();
    let whole = dot(1);
    for (bytes, place, word) in [
        (b"a cat".to_vec(), Place::Byte(0), "none of PNG"),
        (Vec::new(), Place::Byte(0), "empty"),
        (whole[..whole.len() - 20].to_vec(), Place::Whole, "decoded"),
    ] {
        put(&folder, "train/dog/b.png", &bytes);
        assert_error(open_dir(&folder), "train/dog/b.png", place, &[word]);
    }
    fs::remove_file(folder.path().join("train/dog/b.png")).unwrap();
    put(&folder, "test/cat/notes.txt", b"a cat");
    let words = ["not an image file", "remove it"];
    assert_error(
        open_dir(&folder),
        "test/cat/notes.txt",
        Place::Whole,
        &words,
    );
    fs::remove_file(folder.path().join("test/cat/notes.txt")).unwrap();
    put(&folder, "train/cat/more/b.png", &whole);
    assert_error(open_dir(&folder), "train/cat/more", Place::Whole, &words);
    fs::remove_dir_all(folder.path().join("train/cat/more")).unwrap();
    put(&folder, "train/b.png", &whole);
    let words = ["not a class folder"];
    assert_error(open_dir(&folder), "train/b.png", Place::Whole, &words);
}

#[test]
fn pixels_that_are_not_bytes_or_not_opaque_are_refused() {
    let clear: DynamicImage = image::RgbaImage::new(1, 1).into();
    let deep: DynamicImage = image::ImageBuffer::<image::Luma<u16>, _>::new(1, 1).into();
    for (image, format) in [
        (&clear, ImageFormat::Png),
        (&clear, ImageFormat::Bmp),
        (&deep, ImageFormat::Png),
        (&deep, ImageFormat::Pnm),
    ] {
        let file = coded_image(image, format);
        let error = parse_image(Path::new("in"), &file).unwrap_err().to_string();
        let words = [
            "in",
            "onebit reads 8-bit grey and RGB",
            "without transparency",
        ];
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
}

#[test]
fn headers_of_huge_images_are_refused() {
    let huge_png = {
        let mut bytes = png(1, 1, png::ColorType::Grayscale, png::BitDepth::Eight, &[0]);
        bytes[16..24].copy_from_slice(&[0, 0, 0x7f, 0xff, 0, 0, 0x7f, 0xff]);
        let mut crc = flate2::Crc::new();
        crc.update(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&crc.sum().to_be_bytes());
        bytes
    };
    let huge_bmp = {
        let mut bytes = coded_image(&colour(1, 1, &[0; 3]), ImageFormat::Bmp);
        bytes[18..26].copy_from_slice(&[0xff, 0xff, 0, 0, 0xff, 0xff, 0, 0]);
        bytes
    };
    let huge_jpeg = {
        let mut bytes = coded_image(&grey(1, 1, &[0]), ImageFormat::Jpeg);
        let frame = bytes
            .windows(2)
            .position(|mark| mark == [0xff, 0xc0])
            .unwrap();
        bytes[frame + 5..frame + 9].copy_from_slice(&[0xff; 4]);
        bytes
    };
    for bytes in [
        huge_png,
        huge_bmp,
        huge_jpeg,
        b"P5 65535 65535 255\n".to_vec(),
        b"P5 4294967295 4294967295 255\n".to_vec(),
    ] {
        let error = parse_image(Path::new("in"), &bytes).unwrap_err();
        let text = error.to_string();
        let is_refused = text.contains("cannot hold them") || text.contains("larger than");
        assert!(is_refused && text.contains("; "), "{text}");
    }
}

#[test]
fn a_jpeg_that_ends_early_is_refused() {
    let pixels: Vec<u8> = (0..32 * 32).map(|i| (i * 37 % 251) as u8).collect();
    let whole = coded_image(&grey(32, 32, &pixels), ImageFormat::Jpeg);
    parse_image(Path::new("in"), &whole).unwrap();
    let cut = &whole[..whole.len() * 3 / 4];
    let place = Place::Byte(cut.len() as u64);
    assert_error(
        parse_image(Path::new("in"), cut),
        "in",
        place,
        &["ends here"],
    );
}

#[test]
fn classes_must_be_in_both_parts_and_hold_images() {
    let folder = cats_and_dogs();
    fs::remove_dir_all(folder.path().join("test/dog")).unwrap();
    let words = ["`dog` of train is missing", "same class folders"];
    assert_error(open_dir(&folder), "test", Place::Whole, &words);
    fs::create_dir(folder.path().join("test/dog")).unwrap();
    let words = ["holds no images"];
    assert_error(open_dir(&folder), "test/dog", Place::Whole, &words);
    put(&folder, "test/dog/a.png", &dot(4));
    put(&folder, "test/emu/a.png", &dot(4));
    let words = ["`emu` that train has not"];
    assert_error(open_dir(&folder), "test", Place::Whole, &words);
    fs::remove_dir_all(folder.path().join("test/emu")).unwrap();
    fs::create_dir(folder.path().join("train/ant")).unwrap();
    fs::create_dir(folder.path().join("test/ant")).unwrap();
    let words = ["holds no images"];
    assert_error(open_dir(&folder), "train/ant", Place::Whole, &words);
}

#[test]
fn other_layouts_say_where_the_images_go() {
    let classes_only = tree(&[("cat/a.png", dot(1)), ("dog/a.png", dot(2))]);
    let words = [
        "in `cat`",
        "neither `train` nor `test`",
        "into a folder train",
    ];
    assert_error(open_dir(&classes_only), "", Place::Whole, &words);
    let flat = tree(&[("a.png", dot(1))]);
    let words = ["without a class", "train/CLASS/"];
    assert_error(open_dir(&flat), "", Place::Whole, &words);
    let no_classes = tree(&[("train/a.png", dot(1)), ("test/a.png", dot(1))]);
    assert_error(open_dir(&no_classes), "test", Place::Whole, &words);
    let no_train = tree(&[("test/cat/a.png", dot(1))]);
    let words = ["no folder `train`", "train/CLASS/"];
    assert_error(open_dir(&no_train), "", Place::Whole, &words);
    let no_test_classes = cats_and_dogs();
    fs::remove_dir_all(no_test_classes.path().join("test")).unwrap();
    fs::create_dir(no_test_classes.path().join("test")).unwrap();
    let words = ["no class folders"];
    assert_error(open_dir(&no_test_classes), "test", Place::Whole, &words);
    let two_kinds = cats_and_dogs();
    put(&two_kinds, "train.csv", b"label,a\n0,1\n1,2\n");
    let words = [".csv, image folders", "keep one set"];
    assert_error(open_dir(&two_kinds), "", Place::Whole, &words);
}

#[test]
fn without_a_test_folder_images_are_held_out() {
    let files: Vec<(String, Vec<u8>)> = (0..10)
        .map(|i| (format!("train/{}/{i}.png", i % 2), dot(i)))
        .collect();
    let files: Vec<(&str, Vec<u8>)> = files
        .iter()
        .map(|(path, bytes)| (path.as_str(), bytes.clone()))
        .collect();
    let folder = tree(&files);
    put(&folder, "val/0/0.png", &dot(0));
    let opened = open_with(folder.path().to_str().unwrap(), &OpenOptions::default()).unwrap();
    let set = opened.dataset;
    assert_eq!((set.train.len(), set.test.len()), (8, 2));
    let mut all = [bytes(&set.train.features), bytes(&set.test.features)].concat();
    all.sort_unstable();
    assert_eq!(all, (0..10).collect::<Vec<u8>>());
    assert!(opened.notes[0].contains("held out"), "{:?}", opened.notes);
    assert!(
        opened.notes[1].contains("val: not read"),
        "{:?}",
        opened.notes
    );
}

#[cfg(unix)]
#[test]
fn linked_folders_are_followed_only_within_the_set() {
    use std::os::unix::fs::symlink;
    let elsewhere = tree(&[("cat/a.png", dot(9))]);
    let folder = cats_and_dogs();
    let (train, link) = (folder.path().join("train"), folder.path().join("train/cat"));
    fs::remove_dir_all(&link).unwrap();
    symlink(elsewhere.path().join("cat"), &link).unwrap();
    let words = ["leads out of the data set", "copy"];
    assert_error(open_dir(&folder), "train/cat", Place::Whole, &words);
    fs::remove_file(&link).unwrap();
    symlink(train.join("dog"), &link).unwrap();
    let set = open_dir(&folder).unwrap();
    assert_eq!(bytes(&set.train.features), [2, 2]);
    // A linked file is read.
    let image = train.join("dog/a.png");
    fs::remove_file(&image).unwrap();
    symlink(elsewhere.path().join("cat/a.png"), &image).unwrap();
    let set = open_dir(&folder).unwrap();
    assert_eq!(bytes(&set.train.features), [9, 9]);
}

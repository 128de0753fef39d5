//! Which images an image folder holds.
//!
//! In: a folder with `train/CLASS/` and perhaps `test/CLASS/`. Out: the classes, and the files of both parts in a
//! fixed order, each with its class. Owns the layout and what is said where it is broken. Leaves pixels to `image`.
//!
//! Folders are followed only as far as they lie in the folder of the set: a linked folder that leads out of it is
//! an error. Linked files are read. Names that begin with a dot are passed over.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{DataError, Place};

/// The endings of image files, in any case.
const ENDINGS: [&str; 8] = ["png", "jpg", "jpeg", "bmp", "pnm", "pbm", "pgm", "ppm"];

/// The most classes, because labels are u16.
const MAX_CLASSES: usize = 1 << 16;

/// The most images of a set.
const MAX_IMAGES: usize = 1 << 24;

/// What a folder holds.
pub(crate) struct Listing {
    /// Names of the class folders of `train`, sorted by their bytes.
    pub class_names: Vec<String>,
    /// Sorted by class, then by name.
    pub train: Vec<Labelled>,
    /// In the same order; `None` without a folder `test`.
    pub test: Option<Vec<Labelled>>,
    /// Whole sentences to print.
    pub notes: Vec<String>,
}

/// An image file and the index of its class.
pub(crate) struct Labelled {
    pub file: PathBuf,
    pub label: u16,
}

/// Whether a folder holds `train` or `test` with folders inside.
pub(crate) fn is_here(dir: &Path) -> Result<bool, DataError> {
    for part in ["train", "test"] {
        let part = dir.join(part);
        if part.is_dir() && entries(&part)?.iter().any(|entry| entry.path.is_dir()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What to say of a folder that holds images in another layout. What cannot be listed is passed over.
pub(crate) fn misplaced(dir: &Path) -> Option<DataError> {
    let without_class = "the folder holds images without a class";
    let entries = entries(dir).unwrap_or_default();
    if entries.iter().any(Entry::is_image_file) {
        let remedy = "put them into train/CLASS/ and test/CLASS/, one folder a class";
        return Some(malformed(dir, without_class, remedy));
    }
    let holds_images = |entry: &&Entry| {
        let inside = self::entries(&entry.path).unwrap_or_default();
        inside.iter().any(Entry::is_image_file)
    };
    let Entry { path, name } = entries.iter().find(holds_images)?;
    if matches!(name.as_str(), "train" | "test") {
        let remedy = "put them into one folder a class, such as train/CLASS/";
        return Some(malformed(path, without_class, remedy));
    }
    let problem = format!("the folder holds images in `{name}`, and neither `train` nor `test`");
    let remedy =
        "move the class folders into a folder train, and images to test with into test/CLASS/";
    Some(malformed(dir, problem, remedy))
}

/// Lists the images of a folder of which [`is_here`] holds.
pub(crate) fn list(dir: &Path) -> Result<Listing, DataError> {
    let root = canonical(dir)?;
    let (train_dir, test_dir) = (dir.join("train"), dir.join("test"));
    if !train_dir.is_dir() {
        let problem = "there is a folder `test` and no folder `train`";
        let remedy = "put the images to learn from into train/CLASS/";
        return Err(malformed(dir, problem, remedy));
    }
    let class_names = class_names(&root, &train_dir)?;
    let train = images(&train_dir, &class_names)?;
    let test = if test_dir.is_dir() {
        let found = self::class_names(&root, &test_dir)?;
        agree(&test_dir, &class_names, &found)?;
        Some(images(&test_dir, &class_names)?)
    } else {
        None
    };
    let mut notes = Vec::new();
    for entry in entries(dir)? {
        if entry.path.is_dir() && !matches!(entry.name.as_str(), "train" | "test") {
            let path = entry.path.display();
            notes.push(format!(
                "{path}: not read, images are taken from train and test"
            ));
        }
    }
    Ok(Listing {
        class_names,
        train,
        test,
        notes,
    })
}

/// The names of the class folders of a part.
fn class_names(root: &Path, part: &Path) -> Result<Vec<String>, DataError> {
    check_inside(root, part)?;
    let mut names = Vec::new();
    for entry in entries(part)? {
        if !entry.path.is_dir() {
            let problem = "this is not a class folder";
            let remedy = "move an image into the folder of its class, and remove anything else";
            return Err(malformed(&entry.path, problem, remedy));
        }
        check_inside(root, &entry.path)?;
        names.push(entry.name);
    }
    if names.is_empty() {
        let remedy = "put the images into one folder a class";
        return Err(malformed(part, "the folder holds no class folders", remedy));
    }
    if names.len() > MAX_CLASSES {
        let problem = format!(
            "there are {} classes, the limit is {MAX_CLASSES}",
            names.len()
        );
        let remedy = "put the images into fewer class folders";
        return Err(DataError::too_large(part, Place::Whole, problem, remedy));
    }
    Ok(names)
}

/// The images of a part, class by class; no class is empty.
fn images(part: &Path, class_names: &[String]) -> Result<Vec<Labelled>, DataError> {
    let mut found = Vec::new();
    for (label, name) in class_names.iter().enumerate() {
        let folder = part.join(name);
        let label = u16::try_from(label).expect("there are at most MAX_CLASSES names");
        let n_before = found.len();
        for entry in entries(&folder)? {
            if !entry.is_image_file() {
                let problem = "this is not an image file (.png, .jpg, .jpeg, .bmp, .pnm)";
                let remedy = "remove it from the class folder, or save it as PNG";
                let error = DataError::unsupported(&entry.path, Place::Whole, problem, remedy);
                return Err(error);
            }
            found.push(Labelled {
                file: entry.path,
                label,
            });
        }
        if found.len() == n_before {
            let problem = "the class folder holds no images";
            let remedy = "put images of the class here, or remove the class from train and test";
            return Err(malformed(&folder, problem, remedy));
        }
        if found.len() > MAX_IMAGES {
            let problem = format!("there are more than {MAX_IMAGES} images");
            let remedy = "use fewer images";
            return Err(DataError::too_large(part, Place::Whole, problem, remedy));
        }
    }
    Ok(found)
}

/// Both lists are sorted.
fn agree(test_dir: &Path, train: &[String], test: &[String]) -> Result<(), DataError> {
    if let Some(name) = train.iter().find(|name| test.binary_search(name).is_err()) {
        let problem = format!("the class folder `{name}` of train is missing here");
        let remedy = "give train and test the same class folders";
        return Err(malformed(test_dir, problem, remedy));
    }
    if let Some(name) = test.iter().find(|name| train.binary_search(name).is_err()) {
        let problem = format!("there is a class folder `{name}` that train has not");
        let remedy = "give train and test the same class folders";
        return Err(malformed(test_dir, problem, remedy));
    }
    Ok(())
}

/// A file or folder whose name does not begin with a dot.
struct Entry {
    path: PathBuf,
    name: String,
}

impl Entry {
    fn is_image_file(&self) -> bool {
        let ending = self.path.extension().and_then(|ending| ending.to_str());
        ending.is_some_and(|ending| {
            ENDINGS
                .iter()
                .any(|known| ending.eq_ignore_ascii_case(known))
        }) && !self.path.is_dir()
    }
}

/// What a folder holds, sorted by the bytes of the names.
fn entries(dir: &Path) -> Result<Vec<Entry>, DataError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(|e| DataError::io(dir, "list", e))? {
        let path = entry.map_err(|e| DataError::io(dir, "list", e))?.path();
        let name = path.file_name().unwrap_or_default();
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let Some(name) = name.to_str().map(String::from) else {
            let problem = "the name is not UTF-8";
            return Err(malformed(&path, problem, "rename it"));
        };
        found.push(Entry { path, name });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn check_inside(root: &Path, folder: &Path) -> Result<(), DataError> {
    if canonical(folder)?.starts_with(root) {
        return Ok(());
    }
    let problem = "the folder is a link that leads out of the data set";
    let remedy = "copy the folder here, links out of the set are not followed";
    Err(DataError::unsupported(
        folder,
        Place::Whole,
        problem,
        remedy,
    ))
}

fn canonical(folder: &Path) -> Result<PathBuf, DataError> {
    folder
        .canonicalize()
        .map_err(|e| DataError::io(folder, "follow", e))
}

fn malformed(path: &Path, problem: impl Into<String>, remedy: &'static str) -> DataError {
    DataError::malformed(path, Place::Whole, problem, remedy)
}

//! A name, a folder or a file becomes a [`Dataset`].
//!
//! In: what a person wrote after `--data`. Out: the set. Owns where names are looked up and how the kind of a
//! folder is recognised. Leaves each format to its reader and downloading to `get`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::csv;
use crate::digits::digits;
use crate::error::{DataError, Place};
use crate::set::Dataset;
use crate::{cifar, idx_set, image_list, image_set, npy_set};

/// Choices for a set without a test file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenOptions {
    /// Share of the examples held out as the test split, in percent, 1 to 99.
    pub test_percent: u8,
    /// Seed of that choice.
    pub seed: u64,
}

impl Default for OpenOptions {
    /// 20 % with seed 0.
    fn default() -> Self {
        OpenOptions {
            test_percent: 20,
            seed: 0,
        }
    }
}

/// A data set and what a person should know about how it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Opened {
    /// The set.
    pub dataset: Dataset,
    /// Whole sentences to print, such as that the test split was held out.
    pub notes: Vec<String>,
}

/// Opens `digits` (embedded), a NAME under the data folders, or a folder or file of one set.
pub fn open(name_or_dir: &str) -> Result<Dataset, DataError> {
    open_with(name_or_dir, &OpenOptions::default()).map(|opened| opened.dataset)
}

/// [`open`] with options, and with the notes that a person should see.
///
/// `$ONEBIT_CIFAR10` is the folder of `cifar10` where it is set: the batches are often unpacked from an archive
/// that lies in a data folder itself.
pub fn open_with(name_or_dir: &str, options: &OpenOptions) -> Result<Opened, DataError> {
    if name_or_dir == "cifar10"
        && let Some(dir) = env::var_os("ONEBIT_CIFAR10").filter(|value| !value.is_empty())
    {
        return open_path(Path::new(&dir), options);
    }
    open_among(name_or_dir, &data_folders(), options)
}

/// The folders in which names are looked up, first to last: `$ONEBIT_DATA`, `$ONEBIT_SHARED/data`, and a
/// folder of the user's own, `$XDG_DATA_HOME/onebit/data` or `~/.local/share/onebit/data`.
pub fn data_folders() -> Vec<PathBuf> {
    let folder = |variable| {
        env::var_os(variable)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let own =
        folder("XDG_DATA_HOME").or_else(|| folder("HOME").map(|home| home.join(".local/share")));
    let shared = folder("ONEBIT_SHARED").map(|shared| shared.join("data"));
    folder("ONEBIT_DATA")
        .into_iter()
        .chain(shared)
        .chain(own.map(|own| own.join("onebit/data")))
        .collect()
}

/// Where `onebit data get` puts sets unless told otherwise: `$ONEBIT_DATA`, or the user's own data folder.
pub fn download_folder() -> Option<PathBuf> {
    let has_variable = env::var_os("ONEBIT_DATA").is_some_and(|value| !value.is_empty());
    let folders = data_folders();
    if has_variable {
        folders.into_iter().next()
    } else {
        folders.into_iter().next_back()
    }
}

/// A bare word is a NAME first and a path second; anything with a separator is a path.
pub(crate) fn open_among(
    name_or_dir: &str,
    folders: &[PathBuf],
    options: &OpenOptions,
) -> Result<Opened, DataError> {
    if name_or_dir == "digits" {
        return Ok(Opened {
            dataset: digits(),
            notes: Vec::new(),
        });
    }
    let given = PathBuf::from(name_or_dir);
    let is_name = given.components().count() == 1
        && given.file_name().is_some_and(|name| name == name_or_dir);
    let mut looked: Vec<PathBuf> = if is_name {
        folders.iter().map(|folder| folder.join(&given)).collect()
    } else {
        Vec::new()
    };
    looked.push(given);
    match looked.iter().find(|place| place.exists()) {
        Some(place) => open_path(place, options),
        None => Err(not_found(name_or_dir, is_name, looked)),
    }
}

fn not_found(name: &str, is_name: bool, looked: Vec<PathBuf>) -> DataError {
    let remedy = match name {
        "mnist" | "fashion-mnist" => {
            format!("run `onebit data get {name}`, or set ONEBIT_DATA to the folder that holds {name}/")
        }
        "cifar10" => "set ONEBIT_CIFAR10 to the folder that holds data_batch_1.bin to test_batch.bin".into(),
        _ if is_name => "`digits` is built in, `onebit data get mnist` and `onebit data get fashion-mnist` fetch \
                         those, and a folder of your own is given by its path"
            .into(),
        _ => "check the path".into(),
    };
    DataError::NotFound {
        name: name.into(),
        looked,
        remedy,
    }
}

fn open_path(path: &Path, options: &OpenOptions) -> Result<Opened, DataError> {
    if path.is_dir() {
        return open_dir(path, options);
    }
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("csv") => csv::open(path, None, options),
        Some("npz") => npy_set::open_npz(path, options),
        _ => {
            let problem = "a data set is a folder, a .csv file or a .npz file";
            let remedy = "give the folder that holds the files; `onebit run` takes single inputs";
            Err(DataError::unsupported(path, Place::Whole, problem, remedy))
        }
    }
}

/// What a folder can hold.
enum Found {
    Cifar,
    Idx,
    Npy,
    Npz(PathBuf),
    Csv {
        train: PathBuf,
        test: Option<PathBuf>,
    },
    Images,
}

impl Found {
    fn name(&self) -> &'static str {
        match self {
            Found::Cifar => "CIFAR-10 batches",
            Found::Idx => "idx",
            Found::Npy => ".npy",
            Found::Npz(_) => ".npz",
            Found::Csv { .. } => ".csv",
            Found::Images => "image folders",
        }
    }
}

fn open_dir(dir: &Path, options: &OpenOptions) -> Result<Opened, DataError> {
    let mut found = recognise(dir)?;
    if found.len() > 1 {
        let kinds: Vec<&str> = found.iter().map(Found::name).collect();
        let problem = format!(
            "the folder holds more than one kind of data set: {}",
            kinds.join(", ")
        );
        return Err(DataError::malformed(
            dir,
            Place::Whole,
            problem,
            "keep one set in a folder, or name the file",
        ));
    }
    match found.pop() {
        Some(Found::Cifar) => cifar::open(dir, options),
        Some(Found::Idx) => idx_set::open(dir, options),
        Some(Found::Npy) => npy_set::open_folder(dir, options),
        Some(Found::Npz(file)) => npy_set::open_npz(&file, options),
        Some(Found::Csv { train, test }) => csv::open(&train, test.as_deref(), options),
        Some(Found::Images) => image_set::open(dir, options),
        None if let Some(script) = cifar::unpack_script(dir) => {
            let problem = "the folder holds CIFAR-10 in an archive that is not read";
            let remedy = format!(
                "run `{} OUT`, then give OUT as the data, or set ONEBIT_CIFAR10 to it and give cifar10",
                script.display()
            );
            Err(DataError::unsupported(dir, Place::Whole, problem, remedy))
        }
        None => Err(match image_list::misplaced(dir) {
            Some(error) => error,
            None => {
                let problem = "the folder holds no data set that onebit knows";
                let remedy = "put idx files, CIFAR-10 batches, x_train.npy and y_train.npy, one .npz, train.csv, or \
                              images in train/CLASS/ here; see docs/data.md";
                DataError::malformed(dir, Place::Whole, problem, remedy)
            }
        }),
    }
}

fn recognise(dir: &Path) -> Result<Vec<Found>, DataError> {
    let mut found = Vec::new();
    if cifar::is_here(dir) {
        found.push(Found::Cifar);
    }
    if idx_set::is_here(dir) {
        found.push(Found::Idx);
    }
    if npy_set::is_here(dir) {
        found.push(Found::Npy);
    }
    if let Some(file) = only_file(dir, "npz")? {
        found.push(Found::Npz(file));
    }
    let (train, test) = (dir.join("train.csv"), dir.join("test.csv"));
    if train.is_file() {
        found.push(Found::Csv {
            train,
            test: test.is_file().then_some(test),
        });
    } else if let Some(train) = only_file(dir, "csv")? {
        found.push(Found::Csv { train, test: None });
    }
    if image_list::is_here(dir)? {
        found.push(Found::Images);
    }
    Ok(found)
}

/// The file with this extension, if there is exactly one.
fn only_file(dir: &Path, extension: &str) -> Result<Option<PathBuf>, DataError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(|e| DataError::io(dir, "list", e))? {
        let path = entry.map_err(|e| DataError::io(dir, "list", e))?.path();
        if path.extension().is_some_and(|found| found == extension) && path.is_file() {
            files.push(path);
        }
    }
    Ok(if files.len() == 1 { files.pop() } else { None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn names_find_batches_and_images_in_the_data_folders() {
        let folder = tempfile::TempDir::new().unwrap();
        let cifar = folder.path().join("cifar10");
        fs::create_dir(&cifar).unwrap();
        for name in (1..=5).map(|i| format!("data_batch_{i}.bin")) {
            let file = File::create(cifar.join(name)).unwrap();
            file.set_len(10_000 * 3073).unwrap();
        }
        let file = File::create(cifar.join("test_batch.bin")).unwrap();
        file.set_len(10_000 * 3073).unwrap();
        let class = folder.path().join("pets/train/cat");
        fs::create_dir_all(&class).unwrap();
        for name in ["a.pgm", "b.pgm"] {
            fs::write(class.join(name), b"P5 1 1 255\n\x07").unwrap();
        }
        let folders = [folder.path().join("nowhere"), folder.path().into()];
        let open = |name| open_among(name, &folders, &OpenOptions::default()).unwrap();
        let set = open("cifar10").dataset;
        assert_eq!((set.train.len(), set.test.len()), (50_000, 10_000));
        assert_eq!(set.shape, [32, 32, 3]);
        let set = open("pets").dataset;
        assert_eq!((set.name.as_str(), set.train.len()), ("pets", 1));
        assert_eq!(set.class_names, ["cat"]);
    }
}

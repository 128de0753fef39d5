//! The idx files of an MNIST-like set become a data set.
//!
//! In: a folder with images and labels for training and perhaps for test. Out: an [`Opened`] set, counts and
//! labels checked against each other. Leaves the bytes to `idx` and what parts have in common to `part`.

use std::path::{Path, PathBuf};

use crate::error::{DataError, Place};
use crate::idx::{self, Idx};
use crate::open::{OpenOptions, Opened};
use crate::part::{self, Common, Part, PartValues};

const FASHION: [&str; 10] = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
];

const SIDE_BY_SIDE: &str = "put images and labels side by side";

/// Whether a folder holds idx training files.
pub(crate) fn is_here(dir: &Path) -> bool {
    find(dir, "train-images")
        .or_else(|| find(dir, "train-labels"))
        .is_some()
}

/// The file `STEM-idxN-ubyte` or `STEM.idxN-ubyte` of a folder, plain before `.gz`.
fn find(dir: &Path, stem: &str) -> Option<PathBuf> {
    let ranks = ["", ".gz"]
        .into_iter()
        .flat_map(|gz| (1..=idx::MAX_RANK).map(move |rank| (rank, gz)));
    let names = ranks
        .flat_map(|(rank, gz)| ["-", "."].map(|dot| format!("{stem}{dot}idx{rank}-ubyte{gz}")));
    names.map(|name| dir.join(name)).find(|path| path.is_file())
}

/// Opens the set of a folder.
pub(crate) fn open(dir: &Path, options: &OpenOptions) -> Result<Opened, DataError> {
    let name = part::name_of(dir);
    let Some((train, train_labels)) = read_pair(dir, "train")? else {
        let problem = "there is no train-images file here";
        return Err(DataError::malformed(
            dir,
            Place::Whole,
            problem,
            SIDE_BY_SIDE,
        ));
    };
    let test = match read_pair(dir, "t10k")? {
        Some(test) => Some(test),
        None => read_pair(dir, "test")?,
    };
    let n_classes = match name.as_str() {
        "mnist" | "fashion-mnist" => 10,
        _ => {
            1 + train_labels
                .idx
                .values
                .iter()
                .max()
                .map_or(0, |&label| usize::from(label))
        }
    };
    let class_names = match name.as_str() {
        "fashion-mnist" => FASHION.map(String::from).to_vec(),
        _ => part::numbered_classes(n_classes),
    };
    let train = to_part(train, train_labels, n_classes)?;
    let test = test
        .map(|(images, labels)| to_part(images, labels, n_classes))
        .transpose()?;
    part::assemble(Common { name, class_names }, train, test, options)
}

struct Named {
    path: PathBuf,
    idx: Idx,
}

impl Named {
    fn read(path: PathBuf) -> Result<Self, DataError> {
        let idx = idx::read(&path)?;
        Ok(Named { path, idx })
    }

    /// The place of a byte of the idx format, which may lie in a compressed file.
    fn place(&self, byte: u64) -> Place {
        match self.path.extension() {
            Some(extension) if extension == "gz" => Place::InflatedByte(byte),
            _ => Place::Byte(byte),
        }
    }
}

/// Images and labels of a part; None where neither is there.
fn read_pair(dir: &Path, stem: &str) -> Result<Option<(Named, Named)>, DataError> {
    let (images, labels) = (format!("{stem}-images"), format!("{stem}-labels"));
    match (find(dir, &images), find(dir, &labels)) {
        (None, None) => Ok(None),
        (Some(images), Some(labels)) => Ok(Some((Named::read(images)?, Named::read(labels)?))),
        (found, _) => {
            let missing = if found.is_some() { labels } else { images };
            let problem = format!("there is no {missing} file here");
            Err(DataError::malformed(
                dir,
                Place::Whole,
                problem,
                SIDE_BY_SIDE,
            ))
        }
    }
}

fn to_part(images: Named, labels: Named, n_classes: usize) -> Result<Part, DataError> {
    let labels = to_labels(&labels, &images, n_classes)?;
    let shape =
        part::example_shape(&images.idx.shape[1..]).expect("an idx file has at most four axes");
    let values = PartValues::Bytes(images.idx.values);
    Ok(Part {
        file: images.path,
        shape,
        values,
        labels,
    })
}

fn to_labels(labels: &Named, images: &Named, n_classes: usize) -> Result<Vec<u16>, DataError> {
    let malformed = |byte: usize, problem: String, remedy: &'static str| {
        DataError::malformed(&labels.path, labels.place(byte as u64), problem, remedy)
    };
    if labels.idx.shape.len() != 1 {
        let problem = format!("labels have the shape {:?}, not [n]", labels.idx.shape);
        return Err(malformed(
            3,
            problem,
            "check that this is the file of labels",
        ));
    }
    let values = &labels.idx.values;
    let (n_images, n_labels) = (images.idx.shape[0], values.len());
    if n_images != n_labels {
        let problem = format!(
            "{n_labels} labels for {n_images} images in {}",
            images.path.display()
        );
        return Err(malformed(
            4,
            problem,
            "get both files again, from one source",
        ));
    }
    if let Some(bad) = values
        .iter()
        .position(|&label| usize::from(label) >= n_classes)
    {
        let problem = format!(
            "label {} of image {bad} is not in 0..={}",
            values[bad],
            n_classes - 1
        );
        return Err(malformed(
            8 + bad,
            problem,
            "number the classes from 0, as in training",
        ));
    }
    Ok(values.iter().map(|&label| u16::from(label)).collect())
}

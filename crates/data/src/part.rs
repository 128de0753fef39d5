//! From parts to a data set.
//!
//! In: a training part and perhaps a test part, as a reader found them. Out: an [`Opened`] set whose parts
//! agree. Owns what is the same for every kind of file: equal shapes, pixels or measurements, and the test
//! split held out where there is no test file. Leaves labels to the readers, who know their places.

use std::path::{Path, PathBuf};

use crate::error::{DataError, Place};
use crate::open::{OpenOptions, Opened};
use crate::set::{Dataset, Features, Split};
use crate::split::split_validation;

/// One of the two parts of a set.
pub(crate) struct Part {
    /// The file that holds the inputs, for errors.
    pub file: PathBuf,
    /// Shape of one example.
    pub shape: Vec<usize>,
    /// `[n][features]`, row-major.
    pub values: PartValues,
    /// `[n]`, each below the number of classes.
    pub labels: Vec<u16>,
}

/// Values by how the file wrote them, which decides whether they are pixels.
pub(crate) enum PartValues {
    /// Stored as bytes: pixels.
    Bytes(Vec<u8>),
    /// Written as integers, exact in f32: pixels if all are in 0..=255 in both parts.
    Integers(Vec<f32>),
    /// Written as floats: measurements.
    Floats(Vec<f32>),
}

/// What the parts have in common.
pub(crate) struct Common {
    pub name: String,
    pub class_names: Vec<String>,
}

pub(crate) fn assemble(
    common: Common,
    train: Part,
    test: Option<Part>,
    options: &OpenOptions,
) -> Result<Opened, DataError> {
    let Common { name, class_names } = common;
    let shape = train.shape.clone();
    let mut notes: Vec<String> = channels_first(&shape).into_iter().collect();
    let (train, test) = match test {
        Some(test) => {
            agree(&train, &test)?;
            let pixels = train.values.are_pixels() && test.values.are_pixels();
            (train.into_split(pixels), test.into_split(pixels))
        }
        None => {
            let (file, pixels) = (train.file.clone(), train.values.are_pixels());
            let (train, test, note) = hold_out(&file, &train.into_split(pixels), options)?;
            notes.push(note);
            (train, test)
        }
    };
    let dataset = Dataset {
        name,
        shape,
        n_classes: class_names.len(),
        class_names,
        train,
        test,
    };
    Ok(Opened { dataset, notes })
}

/// The name of a folder or file, for people.
pub(crate) fn name_of(path: &Path) -> String {
    let absolute = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    absolute
        .file_stem()
        .map_or_else(|| "data".into(), |name| name.to_string_lossy().into_owned())
}

/// The names of classes that have numbers only.
pub(crate) fn numbered_classes(n_classes: usize) -> Vec<String> {
    (0..n_classes).map(|class| class.to_string()).collect()
}

/// The shape of one example in the layout of [`Dataset::shape`], from an array's axes after the first.
pub(crate) fn example_shape(axes: &[usize]) -> Option<Vec<usize>> {
    match *axes {
        [] => Some(vec![1]),
        [n] => Some(vec![n]),
        [h, w] => Some(vec![h, w, 1]),
        [h, w, c] => Some(vec![h, w, c]),
        _ => None,
    }
}

/// A note where images seem to have their channels first, as PyTorch keeps them: the axes say nothing of it.
fn channels_first(shape: &[usize]) -> Option<String> {
    match *shape {
        [h @ (1 | 3 | 4), w, c] if w >= 8 && c >= 8 => Some(format!(
            "one example is {h} by {w} pixels of {c} channels; if it is meant to be {w} by {c} pixels of {h}, save \
             x.transpose(0, 2, 3, 1): the channels come last"
        )),
        _ => None,
    }
}

impl PartValues {
    fn are_pixels(&self) -> bool {
        match self {
            PartValues::Bytes(_) => true,
            PartValues::Integers(values) => {
                values.iter().all(|value| (0.0..=255.0).contains(value))
            }
            PartValues::Floats(_) => false,
        }
    }
}

impl Part {
    fn into_split(self, pixels: bool) -> Split {
        let features = match (self.values, pixels) {
            (PartValues::Bytes(values), true) => Features::U8(values),
            (PartValues::Bytes(values), false) => {
                Features::F32(values.into_iter().map(f32::from).collect())
            }
            (PartValues::Integers(values) | PartValues::Floats(values), true) => {
                Features::U8(values.into_iter().map(|value| value as u8).collect())
            }
            (PartValues::Integers(values) | PartValues::Floats(values), false) => {
                Features::F32(values)
            }
        };
        Split {
            features,
            labels: self.labels,
        }
    }
}

fn agree(train: &Part, test: &Part) -> Result<(), DataError> {
    let disagree = |problem: String, remedy: &'static str| {
        Err(DataError::malformed(
            &test.file,
            Place::Whole,
            problem,
            remedy,
        ))
    };
    let other = train.file.display();
    if train.shape != test.shape {
        let (this, that) = (&test.shape, &train.shape);
        let problem = format!("one example has the shape {this:?}, in {other} it has {that:?}");
        return disagree(problem, "give both parts the same shape");
    }
    let remedy = "save both parts with the same type";
    match (&train.values, &test.values) {
        (PartValues::Bytes(_), PartValues::Floats(_)) => disagree(
            format!("the values are floats, in {other} they are bytes"),
            remedy,
        ),
        (PartValues::Floats(_), PartValues::Bytes(_)) => disagree(
            format!("the values are bytes, in {other} they are floats"),
            remedy,
        ),
        _ => Ok(()),
    }
}

/// Without a test file, a seeded, stratified share of the examples becomes the test split.
fn hold_out(
    file: &Path,
    all: &Split,
    options: &OpenOptions,
) -> Result<(Split, Split, String), DataError> {
    let n = all.len();
    if n < 2 {
        let problem = format!(
            "there is no test file and {n} example cannot be shared between training and test"
        );
        return Err(DataError::malformed(
            file,
            Place::Whole,
            problem,
            "add examples or a test file",
        ));
    }
    let percent = usize::from(options.test_percent.clamp(1, 99));
    let n_test = (n * percent / 100).clamp(1, n - 1);
    let (train, test) = split_validation(all, n_test, options.seed);
    let note = format!(
        "{}: no test file, so {n_test} of {n} examples ({percent} %, seed {}) are held out as the test split",
        file.display(),
        options.seed
    );
    Ok((train, test, note))
}

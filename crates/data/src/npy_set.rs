//! A person's own data as numpy arrays become a data set.
//!
//! In: a folder of .npy files, or one .npz archive, with inputs `x` and labels `y`. Out: an [`Opened`] set.
//! Leaves arrays to `npy` and `npz`, and what parts have in common to `part`.

use std::path::{Path, PathBuf};

use crate::array::{ArrayData, index_of};
use crate::error::{DataError, Place, Source};
use crate::files;
use crate::npy::{self, Parsed};
use crate::npz::Npz;
use crate::open::{OpenOptions, Opened};
use crate::part::{self, Common, Part, PartValues};

/// The largest integer up to which every integer is exact in f32.
const MAX_EXACT: i64 = 1 << 24;

/// Names of (inputs, labels), for training and for test, in the order they are looked for.
const TRAIN: [(&str, &str); 4] = [
    ("x_train", "y_train"),
    ("train_x", "train_y"),
    ("X_train", "y_train"),
    ("x", "y"),
];
const TEST: [(&str, &str); 3] = [
    ("x_test", "y_test"),
    ("test_x", "test_y"),
    ("X_test", "y_test"),
];

/// Whether a folder holds training arrays.
pub(crate) fn is_here(dir: &Path) -> bool {
    TRAIN.iter().any(|(x, _)| npy_path(dir, x).is_file())
}

fn npy_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.npy"))
}

/// Opens `x_train.npy`, `y_train.npy` and, where there, `x_test.npy`, `y_test.npy` (or the other names).
pub(crate) fn open_folder(dir: &Path, options: &OpenOptions) -> Result<Opened, DataError> {
    let mut read = |name: &str| {
        let path = npy_path(dir, name);
        if !path.is_file() {
            return Ok(None);
        }
        let parsed = npy::parse(Source::plain(&path), &files::read_file(&path)?)?;
        Ok(Some(Named {
            parsed,
            file: path,
            member: None,
        }))
    };
    open_named(dir, &mut read, options)
}

/// Opens an archive whose members have the names of [`open_folder`]'s files.
pub(crate) fn open_npz(path: &Path, options: &OpenOptions) -> Result<Opened, DataError> {
    let bytes = files::read_file(path)?;
    let mut npz = Npz::open(path, &bytes)?;
    let mut read = |name: &str| {
        let parsed = npz.read(name)?;
        Ok(parsed.map(|parsed| Named {
            parsed,
            file: path.into(),
            member: Some(name.into()),
        }))
    };
    open_named(path, &mut read, options)
}

/// An array and where it came from.
struct Named {
    parsed: Parsed,
    file: PathBuf,
    member: Option<String>,
}

impl Named {
    fn place(&self, flat: usize) -> Place {
        let byte = self.parsed.offset(flat) as u64;
        match &self.member {
            None => Place::Byte(byte),
            Some(name) => Place::Member {
                name: name.clone(),
                byte,
            },
        }
    }

    fn malformed(&self, flat: usize, problem: String, remedy: &'static str) -> DataError {
        DataError::malformed(&self.file, self.place(flat), problem, remedy)
    }
}

type Read<'a> = &'a mut dyn FnMut(&str) -> Result<Option<Named>, DataError>;

fn open_named(at: &Path, read: Read, options: &OpenOptions) -> Result<Opened, DataError> {
    let Some((x, y)) = find_pair(at, read, &TRAIN)? else {
        let problem = "there are no training arrays here";
        return Err(DataError::malformed(
            at,
            Place::Whole,
            problem,
            "name them x_train and y_train",
        ));
    };
    let test = find_pair(at, read, &TEST)?;
    let labels = read_labels(&y, None)?;
    let n_classes = 1 + labels.iter().max().map_or(0, |&label| usize::from(label));
    let train = part(x, &y, labels)?;
    let test = match test {
        Some((x, y)) => {
            let labels = read_labels(&y, Some(n_classes))?;
            Some(part(x, &y, labels)?)
        }
        None => None,
    };
    let common = Common {
        name: part::name_of(at),
        class_names: part::numbered_classes(n_classes),
    };
    part::assemble(common, train, test, options)
}

/// The first pair of which either is there; one without the other is an error.
fn find_pair(
    at: &Path,
    read: Read,
    names: &[(&str, &str)],
) -> Result<Option<(Named, Named)>, DataError> {
    for (x_name, y_name) in names {
        let Some(x) = read(x_name)? else { continue };
        let Some(y) = read(y_name)? else {
            let problem = format!("there is `{x_name}` and no `{y_name}`");
            return Err(DataError::malformed(
                at,
                Place::Whole,
                problem,
                "put inputs and labels side by side",
            ));
        };
        return Ok(Some((x, y)));
    }
    for (_, y_name) in names {
        if read(y_name)?.is_some() {
            let problem = format!("there is `{y_name}` and no inputs for it");
            return Err(DataError::malformed(
                at,
                Place::Whole,
                problem,
                "put inputs and labels side by side",
            ));
        }
    }
    Ok(None)
}

fn part(mut x: Named, y: &Named, labels: Vec<u16>) -> Result<Part, DataError> {
    let shape = &x.parsed.array.shape;
    let n = shape.first().copied().unwrap_or(0);
    if n != labels.len() {
        let problem = format!(
            "{} labels for {n} examples in {}",
            labels.len(),
            describe(&x)
        );
        return Err(y.malformed(0, problem, "save one label for each example"));
    }
    let axes = shape.get(1..).unwrap_or_default();
    let Some(example) = part::example_shape(axes) else {
        let problem = format!("one example has the shape {axes:?}, onebit reads at most [h, w, c]");
        return Err(x.malformed(0, problem, "save x.reshape(len(x), -1)"));
    };
    let values = values(&mut x)?;
    Ok(Part {
        file: x.file,
        shape: example,
        values,
        labels,
    })
}

fn describe(named: &Named) -> String {
    match &named.member {
        None => named.file.display().to_string(),
        Some(name) => format!("`{name}`"),
    }
}

fn values(x: &mut Named) -> Result<PartValues, DataError> {
    let data = std::mem::replace(&mut x.parsed.array.data, ArrayData::U8(Vec::new()));
    Ok(match data {
        ArrayData::U8(values) => PartValues::Bytes(values),
        ArrayData::I8(values) => PartValues::Integers(values.into_iter().map(f32::from).collect()),
        ArrayData::I32(values) => {
            PartValues::Integers(exact(x, values.into_iter().map(i64::from))?)
        }
        ArrayData::I64(values) => PartValues::Integers(exact(x, values.into_iter())?),
        ArrayData::F32(values) => PartValues::Floats(values),
    })
}

fn exact(x: &Named, values: impl Iterator<Item = i64>) -> Result<Vec<f32>, DataError> {
    let narrow = |(i, value): (usize, i64)| {
        if (-MAX_EXACT..=MAX_EXACT).contains(&value) {
            return Ok(value as f32);
        }
        let index = index_of(&x.parsed.array.shape, i);
        let problem = format!("{value} at {index} is not exact in a 32-bit float");
        Err(x.malformed(
            i,
            problem,
            "scale the values, or save x.astype(numpy.float32)",
        ))
    };
    values.enumerate().map(narrow).collect()
}

/// Labels `[n]` or `[n, 1]` of an integer type, below `n_classes` where that is known.
fn read_labels(y: &Named, n_classes: Option<usize>) -> Result<Vec<u16>, DataError> {
    let array = &y.parsed.array;
    if !matches!(array.shape[..], [_] | [_, 1]) {
        let problem = format!("labels have the shape {:?}, not [n]", array.shape);
        return Err(y.malformed(
            0,
            problem,
            "save one class number an example (y.argmax(1) for one-hot labels)",
        ));
    }
    let labels: Vec<i64> = match &array.data {
        ArrayData::U8(values) => values.iter().map(|&value| i64::from(value)).collect(),
        ArrayData::I8(values) => values.iter().map(|&value| i64::from(value)).collect(),
        ArrayData::I32(values) => values.iter().map(|&value| i64::from(value)).collect(),
        ArrayData::I64(values) => values.clone(),
        ArrayData::F32(_) => {
            let problem = "labels are floats, not class numbers".to_owned();
            return Err(y.malformed(0, problem, "save y.astype(numpy.int64)"));
        }
    };
    let n_classes = n_classes.unwrap_or(1 + usize::from(u16::MAX));
    let checked = |(i, &label): (usize, &i64)| match u16::try_from(label) {
        Ok(class) if usize::from(class) < n_classes => Ok(class),
        _ => {
            let problem = format!(
                "label {label} of example {i} is not in 0..={}",
                n_classes - 1
            );
            Err(y.malformed(i, problem, "number the classes from 0, as in training"))
        }
    };
    labels.iter().enumerate().map(checked).collect()
}

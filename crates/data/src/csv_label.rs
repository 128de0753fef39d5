//! Which row of a CSV file is a header and which column holds the labels.
//!
//! In: the bytes of a table. Out: its [`Layout`], or an error that asks for a header rather than a guess.
//! Leaves reading the numbers to `csv`.

use std::collections::BTreeSet;
use std::path::Path;

use ::csv::ByteRecord;

use crate::csv::{broken, cell, check_width, rows, shortened};
use crate::error::{DataError, Place};

/// Names that mark the label column in a header, in any case.
const LABEL_NAMES: [&str; 3] = ["label", "class", "target"];

const NAME_IT: &str = "add a header line that names the label column `label`";

/// How a table is laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// At least 2.
    pub n_columns: usize,
    /// Counted from 0.
    pub label_column: usize,
    /// The header, where the first row is one.
    pub names: Option<Vec<String>>,
}

/// The layout of a training file.
///
/// The first row is a header if one of its cells is `label`, `class` or `target`, or if none is a number.
/// Such a name marks the label column. Without it the label is the first or the last column: the one that
/// holds text, or integers without a gap from 0 or 1. Where both or neither qualify, the file is refused.
pub(crate) fn find(file: &Path, bytes: &[u8]) -> Result<Layout, DataError> {
    let first = first_row(file, bytes)?;
    let n_columns = first.len();
    if n_columns < 2 {
        let problem = "the first row has one column, a label and a value are the least";
        return Err(DataError::malformed(
            file,
            Place::Line(1),
            problem,
            "separate the columns by commas",
        ));
    }
    let names = header(&first);
    let label_column = match label_name(&first) {
        Some(column) => column,
        None => guess(file, bytes, n_columns, names.is_some())?,
    };
    Ok(Layout {
        n_columns,
        label_column,
        names,
    })
}

/// The layout of a test file, which must have the columns of the training file.
pub(crate) fn find_like(
    file: &Path,
    bytes: &[u8],
    train: &Path,
    like: &Layout,
) -> Result<Layout, DataError> {
    let remedy = "give both files the same columns";
    let first = first_row(file, bytes)?;
    if first.len() != like.n_columns {
        let (these, those) = (first.len(), like.n_columns);
        let problem = format!(
            "the first row has {these} columns, {} has {those}",
            train.display()
        );
        return Err(DataError::malformed(file, Place::Line(1), problem, remedy));
    }
    let names = header(&first);
    let pairs = names.iter().flatten().zip(like.names.iter().flatten());
    if let Some((column, (this, that))) = pairs.enumerate().find(|(_, (this, that))| this != that) {
        let place = Place::Cell {
            line: 1,
            column: column as u64 + 1,
        };
        let (this, that) = (shortened(this), shortened(that));
        let problem = format!(
            "the column is `{this}`, in {} it is `{that}`",
            train.display()
        );
        return Err(DataError::malformed(file, place, problem, remedy));
    }
    Ok(Layout {
        names,
        ..like.clone()
    })
}

/// The names of the columns, if this first row is a header.
fn header(first: &ByteRecord) -> Option<Vec<String>> {
    let is_header = label_name(first).is_some() || !first.iter().any(is_number);
    let text = |cell: &[u8]| String::from_utf8_lossy(cell.trim_ascii()).into_owned();
    is_header.then(|| first.iter().map(text).collect())
}

/// The value of a text that is an integer, also when written `1.0`.
pub(crate) fn integer(text: &str) -> Option<i64> {
    if let Ok(value) = text.parse::<i64>() {
        return Some(value);
    }
    let value = text.parse::<f64>().ok()?;
    (value.fract() == 0.0 && value.abs() < 1e15).then_some(value as i64)
}

/// Whether a text is a usual way to write that there is no value.
pub(crate) fn means_missing(text: &str) -> bool {
    ["?", "na", "n/a", "nan", "null", "none"].contains(&text.to_ascii_lowercase().as_str())
}

fn first_row(file: &Path, bytes: &[u8]) -> Result<ByteRecord, DataError> {
    let mut record = ByteRecord::new();
    if rows(bytes)
        .read_byte_record(&mut record)
        .map_err(|e| broken(file, &e))?
    {
        return Ok(record);
    }
    Err(DataError::malformed(
        file,
        Place::Byte(0),
        "the file is empty",
        "add at least one row",
    ))
}

fn is_number(cell: &[u8]) -> bool {
    std::str::from_utf8(cell.trim_ascii()).is_ok_and(|text| text.parse::<f64>().is_ok())
}

fn label_name(first: &ByteRecord) -> Option<usize> {
    let is_name = |cell: &[u8]| {
        LABEL_NAMES
            .iter()
            .any(|name| cell.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
    };
    first.iter().position(is_name)
}

/// What the first and last column hold, as far as it tells labels from values.
#[derive(Default)]
struct Column {
    has_text: bool,
    has_fraction: bool,
    /// At most one more than there may be classes.
    integers: BTreeSet<i64>,
}

impl Column {
    fn add(&mut self, cell: &[u8]) {
        let text = String::from_utf8_lossy(cell);
        match integer(&text) {
            Some(value) if self.integers.len() <= usize::from(u16::MAX) + 1 => {
                self.integers.insert(value);
            }
            Some(_) => {}
            None if text.parse::<f64>().is_ok() || text.is_empty() || means_missing(&text) => {
                self.has_fraction = true
            }
            None => self.has_text = true,
        }
    }

    fn may_be_labels(&self) -> bool {
        let gapless = match (self.integers.first(), self.integers.last()) {
            (Some(&first @ (0 | 1)), Some(&last)) => {
                (last - first + 1) as usize == self.integers.len() && last > first
            }
            _ => false,
        };
        self.has_text || (gapless && !self.has_fraction)
    }
}

fn guess(
    file: &Path,
    bytes: &[u8],
    n_columns: usize,
    has_header: bool,
) -> Result<usize, DataError> {
    let (mut first, mut last) = (Column::default(), Column::default());
    let mut reader = rows(bytes);
    let mut record = ByteRecord::new();
    let mut skip = has_header;
    while reader
        .read_byte_record(&mut record)
        .map_err(|e| broken(file, &e))?
    {
        if !std::mem::take(&mut skip) {
            check_width(file, &record, n_columns)?;
            first.add(cell(&record, 0));
            last.add(cell(&record, n_columns - 1));
        }
    }
    match (first.may_be_labels(), last.may_be_labels()) {
        (true, false) => Ok(0),
        (false, true) => Ok(n_columns - 1),
        (true, true) => {
            let problem = "both the first and the last column could be the labels";
            Err(DataError::malformed(file, Place::Whole, problem, NAME_IT))
        }
        (false, false) => {
            let problem =
                "neither the first nor the last column looks like labels (text, or 0, 1, 2, ...)";
            Err(DataError::malformed(file, Place::Whole, problem, NAME_IT))
        }
    }
}

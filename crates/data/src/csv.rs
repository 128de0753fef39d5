//! Tables of numbers with one column of labels, as CSV.
//!
//! In: `train.csv` and perhaps `test.csv`, or one file. Out: an [`Opened`] set. Leaves quoting and line ends
//! to the crate `csv`, which column holds the labels to `csv_label`, and the parts to `part`.

use std::collections::BTreeMap;
use std::path::Path;

use ::csv::{ByteRecord, Reader, ReaderBuilder};

use crate::csv_label::{self, Layout};
use crate::error::{DataError, Place};
use crate::files;
use crate::open::{OpenOptions, Opened};
use crate::part::{self, Common, Part, PartValues};

/// The most bytes of one CSV file. A table in memory is a few times its file, so the limit is below that of
/// binary files.
pub const MAX_CSV_BYTES: u64 = 1 << 30;

/// Opens a training file and, where there, a test file.
pub(crate) fn open(
    train: &Path,
    test: Option<&Path>,
    options: &OpenOptions,
) -> Result<Opened, DataError> {
    let train_bytes = files::read_file_up_to(train, MAX_CSV_BYTES)?;
    let test_bytes = test
        .map(|path| files::read_file_up_to(path, MAX_CSV_BYTES))
        .transpose()?;
    let test = test.zip(test_bytes.as_deref());
    parse_csv(train, &train_bytes, test, options)
}

/// Reads a training table and, where there is one, a test table; the paths only name them in errors.
pub fn parse_csv(
    train: &Path,
    train_bytes: &[u8],
    test: Option<(&Path, &[u8])>,
    options: &OpenOptions,
) -> Result<Opened, DataError> {
    let layout = csv_label::find(train, train_bytes)?;
    let (values, cells) = read_rows(train, train_bytes, &layout)?;
    let classes = Classes::of(train, &layout, &cells)?;
    let labels = classes.labels(train, &layout, &cells)?;
    let shape = vec![layout.n_columns - 1];
    let train_part = Part {
        file: train.into(),
        shape: shape.clone(),
        values,
        labels,
    };
    let test_part = match test {
        Some((file, bytes)) => {
            let layout = csv_label::find_like(file, bytes, train, &layout)?;
            let (values, cells) = read_rows(file, bytes, &layout)?;
            let labels = classes.labels(file, &layout, &cells)?;
            Some(Part {
                file: file.into(),
                shape,
                values,
                labels,
            })
        }
        None => None,
    };
    let common = Common {
        name: name_of(train),
        class_names: classes.names,
    };
    part::assemble(common, train_part, test_part, options)
}

/// `flowers.csv` is named for itself, `flowers/train.csv` for its folder.
fn name_of(train: &Path) -> String {
    match (train.file_stem(), train.parent()) {
        (Some(stem), Some(folder)) if stem == "train" && !folder.as_os_str().is_empty() => {
            part::name_of(folder)
        }
        _ => part::name_of(train),
    }
}

/// A reader of rows, the header among them where there is one.
pub(crate) fn rows(bytes: &[u8]) -> Reader<&[u8]> {
    ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(bytes)
}

/// The text of a cell without spaces around it.
pub(crate) fn cell(record: &ByteRecord, column: usize) -> &[u8] {
    record.get(column).unwrap_or_default().trim_ascii()
}

/// The line of a record, counted from 1.
pub(crate) fn line_of(record: &ByteRecord) -> u64 {
    record.position().map_or(0, ::csv::Position::line)
}

/// The label of one row as text, with its line.
struct LabelCell {
    text: String,
    line: u64,
}

fn read_rows(
    file: &Path,
    bytes: &[u8],
    layout: &Layout,
) -> Result<(PartValues, Vec<LabelCell>), DataError> {
    let mut reader = rows(bytes);
    let mut record = ByteRecord::new();
    let (mut values, mut labels, mut integers) = (Vec::new(), Vec::new(), true);
    let mut is_header = layout.names.is_some();
    while reader
        .read_byte_record(&mut record)
        .map_err(|e| broken(file, &e))?
    {
        if std::mem::take(&mut is_header) {
            continue;
        }
        let line = line_of(&record);
        check_width(file, &record, layout.n_columns)?;
        for column in (0..layout.n_columns).filter(|&column| column != layout.label_column) {
            let value = number(file, &record, column)?;
            integers &= value.fract() == 0.0;
            values.push(value);
        }
        let text = label_text(file, &record, layout.label_column)?;
        labels.push(LabelCell { text, line });
    }
    if labels.is_empty() {
        return Err(DataError::malformed(
            file,
            Place::Whole,
            "there are no examples",
            "add at least one row",
        ));
    }
    let values = if integers {
        PartValues::Integers(values)
    } else {
        PartValues::Floats(values)
    };
    Ok((values, labels))
}

pub(crate) fn check_width(
    file: &Path,
    record: &ByteRecord,
    n_columns: usize,
) -> Result<(), DataError> {
    if record.len() == n_columns {
        return Ok(());
    }
    let problem = format!(
        "the row has {} columns, the first row has {n_columns}",
        record.len()
    );
    Err(DataError::malformed(
        file,
        Place::Line(line_of(record)),
        problem,
        "give every row the same columns",
    ))
}

fn number(file: &Path, record: &ByteRecord, column: usize) -> Result<f32, DataError> {
    let text = String::from_utf8_lossy(cell(record, column));
    let place = Place::Cell {
        line: line_of(record),
        column: column as u64 + 1,
    };
    let problem = match text.parse::<f32>() {
        Ok(value) if value.is_finite() => return Ok(value),
        Ok(_) if text.bytes().any(|byte| byte.is_ascii_digit()) => {
            format!("`{text}` does not fit a 32-bit float")
        }
        _ if text.is_empty() || csv_label::means_missing(&text) => {
            "the value is missing".to_owned()
        }
        _ => format!("`{}` is not a number", shortened(&text)),
    };
    let remedy = "fill in a number or remove the row; a header names its label column `label`";
    Err(DataError::malformed(file, place, problem, remedy))
}

fn label_text(file: &Path, record: &ByteRecord, column: usize) -> Result<String, DataError> {
    let place = Place::Cell {
        line: line_of(record),
        column: column as u64 + 1,
    };
    match std::str::from_utf8(cell(record, column)) {
        Ok("") => Err(DataError::malformed(
            file,
            place,
            "the label is missing",
            "fill it in or remove the row",
        )),
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(DataError::malformed(
            file,
            place,
            "the label is not UTF-8 text",
            "save the file as UTF-8",
        )),
    }
}

/// At most 40 characters, without control characters.
pub(crate) fn shortened(text: &str) -> String {
    text.chars().take(40).flat_map(char::escape_debug).collect()
}

pub(crate) fn broken(file: &Path, source: &::csv::Error) -> DataError {
    let place = source
        .position()
        .map_or(Place::Whole, |position| Place::Line(position.line()));
    DataError::malformed(
        file,
        place,
        format!("the table cannot be read ({source})"),
        "save it as plain CSV",
    )
}

/// The classes of the training file, in the order of their numbers.
struct Classes {
    names: Vec<String>,
    /// Whether all names are integers, so that `1`, `01` and `1.0` are one class.
    numeric: bool,
    numbers: BTreeMap<String, u16>,
}

impl Classes {
    /// Sorted by value where all are integers, else by their bytes.
    fn of(file: &Path, layout: &Layout, cells: &[LabelCell]) -> Result<Self, DataError> {
        let numeric = cells
            .iter()
            .all(|cell| csv_label::integer(&cell.text).is_some());
        let place = |line| Place::Cell {
            line,
            column: layout.label_column as u64 + 1,
        };
        if let (false, Some(first)) = (numeric, fractions(cells)) {
            let problem = format!(
                "the label `{}` is neither an integer nor text",
                shortened(&first.text)
            );
            return Err(DataError::unsupported(
                file,
                place(first.line),
                problem,
                "onebit learns classes: round them",
            ));
        }
        let mut lines: BTreeMap<(i64, String), u64> = BTreeMap::new();
        for cell in cells {
            let key = (
                csv_label::integer(&cell.text)
                    .filter(|_| numeric)
                    .unwrap_or(0),
                name(&cell.text, numeric),
            );
            lines.entry(key).or_insert(cell.line);
            if lines.len() > 1 + usize::from(u16::MAX) {
                let problem = format!("there are more than {} classes", 1 + usize::from(u16::MAX));
                return Err(DataError::too_large(
                    file,
                    place(cell.line),
                    problem,
                    "check which column is the label",
                ));
            }
        }
        let names: Vec<String> = lines.into_keys().map(|(_, name)| name).collect();
        let numbers = names.iter().cloned().zip(0..=u16::MAX).collect();
        Ok(Classes {
            names,
            numeric,
            numbers,
        })
    }

    fn labels(
        &self,
        file: &Path,
        layout: &Layout,
        cells: &[LabelCell],
    ) -> Result<Vec<u16>, DataError> {
        let number = |cell: &LabelCell| {
            self.numbers
                .get(&name(&cell.text, self.numeric))
                .copied()
                .ok_or_else(|| {
                    let place = Place::Cell {
                        line: cell.line,
                        column: layout.label_column as u64 + 1,
                    };
                    let problem = format!(
                        "the label `{}` does not occur in the training file",
                        shortened(&cell.text)
                    );
                    DataError::malformed(
                        file,
                        place,
                        problem,
                        "remove the row, or add such examples to training",
                    )
                })
        };
        cells.iter().map(number).collect()
    }
}

/// Where all labels are numbers, the first that is no integer.
fn fractions(cells: &[LabelCell]) -> Option<&LabelCell> {
    let all_numbers = cells
        .iter()
        .all(|cell| cell.text.parse::<f64>().is_ok_and(f64::is_finite));
    cells
        .iter()
        .find(|cell| all_numbers && csv_label::integer(&cell.text).is_none())
}

fn name(text: &str, numeric: bool) -> String {
    match csv_label::integer(text) {
        Some(value) if numeric => value.to_string(),
        _ => text.to_owned(),
    }
}

//! The one error of this crate.
//!
//! Owns [`DataError`], the words for a place inside a file, and [`Source`], which a reader of bytes carries to
//! name its place. In: what a reader found. Out: one line that
//! names the file, the place and the remedy. Leaves the decision what is wrong to the readers.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why data could not be read, written or fetched. Displayed, each variant is one line that names the file,
/// the place in it and what to do.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// No data set of this name was found.
    #[error("no data set `{name}`; looked at {}; {remedy}", list(looked))]
    NotFound {
        /// The name that was asked for.
        name: String,
        /// Every place that was looked at, in order.
        looked: Vec<PathBuf>,
        /// What to do.
        remedy: String,
    },
    /// The file breaks its own format, or contradicts another file of the set.
    #[error("{0}")]
    Malformed(Box<Located>),
    /// The file is well formed and holds something onebit does not read.
    #[error("{0}")]
    Unsupported(Box<Located>),
    /// The file asks for more memory than the limits allow.
    #[error("{0}")]
    TooLarge(Box<Located>),
    /// There is no public data set of this name to fetch.
    #[error(
        "there is no `{name}` to get; `onebit data get` knows {known}, and `digits` is built in"
    )]
    UnknownDownload {
        /// The name that was asked for.
        name: String,
        /// The names that can be fetched, separated by commas.
        known: String,
    },
    /// Every mirror failed.
    #[error("could not get {}: {}; {remedy}", file.display(), tried.join("; "))]
    Download {
        /// The file that was to be written.
        file: PathBuf,
        /// One `url: problem` for each attempt.
        tried: Vec<String>,
        /// What to do.
        remedy: Cow<'static, str>,
    },
    /// The operating system refused.
    #[error("{}: cannot {doing}: {source}; {}", file.display(), io_remedy(source))]
    Io {
        /// The file or folder.
        file: PathBuf,
        /// What was being done, as a verb: `read`, `create`.
        doing: &'static str,
        /// The refusal.
        source: io::Error,
    },
}

/// What is wrong, where, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The file.
    pub file: PathBuf,
    /// The place in the file.
    pub place: Place,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub remedy: Cow<'static, str>,
}

/// Where a reader's bytes come from: the file, and what lies between the file and the bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub file: &'a Path,
    pub layer: SourceLayer<'a>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum SourceLayer<'a> {
    Plain,
    Inflated,
    Member(&'a str),
}

impl<'a> Source<'a> {
    pub fn plain(file: &'a Path) -> Self {
        Source {
            file,
            layer: SourceLayer::Plain,
        }
    }

    pub fn inflated(file: &'a Path) -> Self {
        Source {
            file,
            layer: SourceLayer::Inflated,
        }
    }

    pub fn byte(&self, at: u64) -> Place {
        match self.layer {
            SourceLayer::Plain => Place::Byte(at),
            SourceLayer::Inflated => Place::InflatedByte(at),
            SourceLayer::Member(name) => Place::Member {
                name: name.into(),
                byte: at,
            },
        }
    }

    pub fn malformed(
        &self,
        at: usize,
        problem: impl Into<String>,
        remedy: impl Into<Cow<'static, str>>,
    ) -> DataError {
        DataError::malformed(self.file, self.byte(at as u64), problem, remedy)
    }

    pub fn unsupported(
        &self,
        at: usize,
        problem: impl Into<String>,
        remedy: impl Into<Cow<'static, str>>,
    ) -> DataError {
        DataError::unsupported(self.file, self.byte(at as u64), problem, remedy)
    }

    pub fn too_large(
        &self,
        at: usize,
        problem: impl Into<String>,
        remedy: impl Into<Cow<'static, str>>,
    ) -> DataError {
        DataError::too_large(self.file, self.byte(at as u64), problem, remedy)
    }
}

/// A place inside a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The file as a whole.
    Whole,
    /// An offset in the file, in bytes from its start.
    Byte(u64),
    /// An offset in what a compressed file inflates to, in bytes from its start.
    InflatedByte(u64),
    /// A cell of a table; both count from 1.
    Cell {
        /// Line of the file.
        line: u64,
        /// Column of the table.
        column: u64,
    },
    /// A line of a table, counted from 1.
    Line(u64),
    /// A member of an archive, and an offset in bytes in what it inflates to.
    Member {
        /// Name inside the archive.
        name: String,
        /// Offset in bytes.
        byte: u64,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Whole => Ok(()),
            Place::Byte(at) => write!(f, ", byte {at}"),
            Place::InflatedByte(at) => write!(f, ", byte {at} after inflating"),
            Place::Cell { line, column } => write!(f, ", line {line}, column {column}"),
            Place::Line(line) => write!(f, ", line {line}"),
            Place::Member { name, byte } => write!(f, ", member `{name}`, byte {byte}"),
        }
    }
}

impl fmt::Display for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Located {
            file,
            place,
            problem,
            remedy,
        } = self;
        write!(f, "{}{place}: {problem}; {remedy}", file.display())
    }
}

impl DataError {
    pub(crate) fn malformed(
        file: &Path,
        place: Place,
        problem: impl Into<String>,
        remedy: impl Into<Cow<'static, str>>,
    ) -> Self {
        DataError::Malformed(located(file, place, problem, remedy))
    }

    pub(crate) fn unsupported(
        file: &Path,
        place: Place,
        problem: impl Into<String>,
        remedy: impl Into<Cow<'static, str>>,
    ) -> Self {
        DataError::Unsupported(located(file, place, problem, remedy))
    }

    pub(crate) fn too_large(
        file: &Path,
        place: Place,
        problem: impl Into<String>,
        remedy: impl Into<Cow<'static, str>>,
    ) -> Self {
        DataError::TooLarge(located(file, place, problem, remedy))
    }

    pub(crate) fn io(file: &Path, doing: &'static str, source: io::Error) -> Self {
        DataError::Io {
            file: file.to_path_buf(),
            doing,
            source,
        }
    }

    /// The place the error points at, where it points into a file.
    pub fn place(&self) -> Option<&Place> {
        match self {
            DataError::Malformed(l) | DataError::Unsupported(l) | DataError::TooLarge(l) => {
                Some(&l.place)
            }
            _ => None,
        }
    }
}

fn located(
    file: &Path,
    place: Place,
    problem: impl Into<String>,
    remedy: impl Into<Cow<'static, str>>,
) -> Box<Located> {
    Box::new(Located {
        file: file.to_path_buf(),
        place,
        problem: problem.into(),
        remedy: remedy.into(),
    })
}

fn list(paths: &[PathBuf]) -> String {
    let shown: Vec<String> = paths.iter().map(|p| p.display().to_string()).collect();
    if shown.is_empty() {
        "no place at all (neither ONEBIT_DATA nor HOME is set)".into()
    } else {
        shown.join(", ")
    }
}

/// What to do about an error of the file system, as a clause.
pub fn io_remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => "check the path",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "choose a place that you may write to and read from"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            "free some space or choose another disk"
        }
        io::ErrorKind::IsADirectory => "name a file, not a folder",
        io::ErrorKind::AlreadyExists => {
            "something else has this name: remove it or choose another name"
        }
        io::ErrorKind::ResourceBusy => "wait until it ends, then try again",
        _ => "check the disk, then try again",
    }
}

//! The .npz format of numpy: a zip archive of .npy members.
//!
//! In: the bytes of an archive. Out: the names of its members, and the array of one of them, inflated under
//! the same limits as a file. Leaves the arrays to `npy` and what the names mean to `npy_set` and `input`.

use std::io::{Cursor, Read};
use std::path::Path;

use zip::ZipArchive;
use zip::result::ZipError;

use crate::array::Array;
use crate::error::{DataError, Place, Source, SourceLayer};
use crate::files;
use crate::npy::{self, Numbers, Parsed};
use crate::npy_header;

/// The most members an archive may have.
const MAX_MEMBERS: usize = 10_000;

const DAMAGED: &str = "the archive is damaged or incomplete: write it again with numpy.savez";

/// Reads the named members of a .npz file, in the order of `names`; names go without `.npy`. Other members are not
/// looked at, whatever they hold. Numbers are as they were recorded, NaN and infinities among them.
pub fn read_npz<const N: usize>(path: &Path, names: [&str; N]) -> Result<[Array; N], DataError> {
    let bytes = files::read_file(path)?;
    let mut npz = Npz::open(path, &bytes)?;
    let mut arrays = Vec::with_capacity(N);
    for name in names {
        let Some(parsed) = npz.read_numbers(name, Numbers::AsRecorded)? else {
            let problem = format!("there is no member `{name}`");
            let remedy = format!(
                "the archive holds {}: name one of these",
                npz.names().join(", ")
            );
            return Err(DataError::malformed(path, Place::Whole, problem, remedy));
        };
        arrays.push(parsed.array);
    }
    Ok(arrays.try_into().expect("there is an array for each name"))
}

/// An archive that was opened; members are still compressed.
pub(crate) struct Npz<'a> {
    file: &'a Path,
    archive: ZipArchive<Cursor<&'a [u8]>>,
    /// Names without `.npy`, in the archive's order; the index is the member's.
    names: Vec<String>,
}

impl<'a> Npz<'a> {
    pub fn open(file: &'a Path, bytes: &'a [u8]) -> Result<Self, DataError> {
        let archive = ZipArchive::new(Cursor::new(bytes)).map_err(|e| broken(file, "", &e))?;
        if archive.len() > MAX_MEMBERS {
            let problem = format!(
                "the archive has {} members, the limit is {MAX_MEMBERS}",
                archive.len()
            );
            return Err(DataError::too_large(
                file,
                Place::Whole,
                problem,
                "save fewer arrays in one archive",
            ));
        }
        let mut names = Vec::with_capacity(archive.len());
        for name in archive.file_names() {
            let name = name.map_err(|e| broken(file, "", &e))?;
            names.push(name.strip_suffix(".npy").unwrap_or(&name).to_owned());
        }
        Ok(Npz {
            file,
            archive,
            names,
        })
    }

    /// Names of the members, without `.npy`.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The array of a member; None where there is no such member. Its header is inflated alone first: the
    /// size it announces is the limit for the rest.
    pub fn read(&mut self, name: &str) -> Result<Option<Parsed>, DataError> {
        self.read_numbers(name, Numbers::Finite)
    }

    /// As [`Npz::read`], with a choice of numbers.
    fn read_numbers(&mut self, name: &str, numbers: Numbers) -> Result<Option<Parsed>, DataError> {
        let Some(index) = self.names.iter().position(|known| known == name) else {
            return Ok(None);
        };
        let prefix = self.inflate(index, npy_header::MAX_BYTES as u64)?;
        let end = npy_header::parse(self.source(name), &prefix)?.end() as u64;
        let bytes = self.inflate(index, end + 1)?;
        npy::parse_numbers(self.source(name), &bytes, numbers).map(Some)
    }

    /// At most the first `limit` bytes that a member inflates to.
    fn inflate(&mut self, index: usize, limit: u64) -> Result<Vec<u8>, DataError> {
        let (file, name) = (self.file, self.names[index].as_str());
        let member = self
            .archive
            .by_index(index)
            .map_err(|e| broken(file, name, &e))?;
        let mut bytes = Vec::new();
        let inflated = member.take(limit).read_to_end(&mut bytes);
        inflated.map_err(|e| {
            let problem = format!("the member cannot be inflated ({e})");
            member_source(file, name).malformed(bytes.len(), problem, DAMAGED)
        })?;
        Ok(bytes)
    }

    /// How errors name a member.
    pub fn source<'s>(&'s self, name: &'s str) -> Source<'s> {
        member_source(self.file, name)
    }
}

fn member_source<'a>(file: &'a Path, name: &'a str) -> Source<'a> {
    Source {
        file,
        layer: SourceLayer::Member(name),
    }
}

fn broken(file: &Path, name: &str, source: &ZipError) -> DataError {
    let place = match name {
        "" => Place::Whole,
        name => Place::Member {
            name: name.into(),
            byte: 0,
        },
    };
    match source {
        ZipError::UnsupportedArchive(_) => {
            let problem = format!("the archive uses something onebit does not read ({source})");
            DataError::unsupported(
                file,
                place,
                problem,
                "write it with numpy.savez or numpy.savez_compressed",
            )
        }
        _ => DataError::malformed(
            file,
            place,
            format!("the archive is broken ({source})"),
            DAMAGED,
        ),
    }
}

//! The files of a parameter folder, from a folder or a tar archive.
//!
//! In: a path. Out: one [`Folder`] with the bytes of its parameter files. Owns finding them at any depth and
//! the limits on what is read. Leaves what the bytes mean to `nets` and `folds`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use crate::error::ImportError;

/// The most bytes of parameters that are read, and the most that an archive may unpack to. The largest
/// published network has 3 MB.
const MAX_BYTES: u64 = 64 << 20;

/// The most entries that are looked at below a folder or in an archive.
const MAX_ENTRIES: usize = 100_000;

/// The deepest nesting of folders that is looked at.
const MAX_DEPTH: usize = 16;

/// Which numbers of a layer a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Weights,
    Thresholds,
}

/// The parameter files of one network.
#[derive(Debug, Default)]
pub(super) struct Folder {
    /// Path inside the given folder or archive; empty where it is the given folder itself.
    name: String,
    /// By layer, processing element and part.
    files: BTreeMap<(usize, usize, Part), Vec<u8>>,
    /// The lines of `classes.txt` that are not empty.
    pub classes: Option<Vec<String>>,
}

impl Folder {
    /// What errors call the folder.
    pub fn name(&self) -> &str {
        if self.name.is_empty() {
            "the folder"
        } else {
            &self.name
        }
    }

    /// The bytes of a file.
    pub fn file(&self, layer: usize, pe: usize, part: Part) -> Option<&[u8]> {
        self.files.get(&(layer, pe, part)).map(Vec::as_slice)
    }

    /// What errors call a file, whether it is there or not.
    pub fn place(&self, layer: usize, pe: usize, part: Part) -> String {
        let suffix = match part {
            Part::Weights => "weights",
            Part::Thresholds => "thres",
        };
        let slash = if self.name.is_empty() { "" } else { "/" };
        format!("{}{slash}{layer}-{pe}-{suffix}.bin", self.name)
    }

    /// Number of weight files of every layer from 0 to the last one that has any.
    pub fn pe_counts(&self) -> Vec<usize> {
        let weights = || self.files.keys().filter(|key| key.2 == Part::Weights);
        let n_layers = weights().map(|key| key.0 + 1).max().unwrap_or(0);
        let mut counts = vec![0; n_layers];
        for key in weights() {
            counts[key.0] += 1;
        }
        counts
    }
}

/// Reads the one parameter folder at or below a path, or in a tar archive.
pub(super) fn read(path: &Path) -> Result<Folder, ImportError> {
    let mut found = Found::new(path);
    let metadata = fs::metadata(path).map_err(|error| ImportError::io(path, error))?;
    if metadata.is_dir() {
        found.add_folder(path, "", MAX_DEPTH)?;
    } else {
        found.add_archive()?;
    }
    found.only()
}

/// A file of a parameter folder.
enum Member {
    Parameters(usize, usize, Part),
    Classes,
}

impl Member {
    /// What a file name says: `LAYER-PE-weights.bin`, `LAYER-PE-thres.bin` or `classes.txt`.
    fn of(name: &str) -> Option<Member> {
        if name == "classes.txt" {
            return Some(Member::Classes);
        }
        let mut parts = name.strip_suffix(".bin")?.splitn(3, '-');
        let mut number = || {
            let text = parts.next()?;
            let is_number =
                (1..=3).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
            is_number.then(|| text.parse::<usize>().ok()).flatten()
        };
        let (layer, pe) = (number()?, number()?);
        match parts.next()? {
            "weights" => Some(Member::Parameters(layer, pe, Part::Weights)),
            "thres" => Some(Member::Parameters(layer, pe, Part::Thresholds)),
            _ => None,
        }
    }
}

/// What has been found so far.
struct Found<'a> {
    path: &'a Path,
    /// By path inside the given folder or archive.
    folders: BTreeMap<String, Folder>,
    n_bytes: u64,
    n_entries: usize,
}

impl<'a> Found<'a> {
    fn new(path: &'a Path) -> Self {
        Found {
            path,
            folders: BTreeMap::new(),
            n_bytes: 0,
            n_entries: 0,
        }
    }

    fn count_entry(&mut self) -> Result<(), ImportError> {
        self.n_entries += 1;
        if self.n_entries <= MAX_ENTRIES {
            return Ok(());
        }
        let reason = format!(
            "there are more than {MAX_ENTRIES} files; give the folder with the parameters of one network"
        );
        Err(ImportError::malformed(self.path, "the content", reason))
    }

    fn add_folder(&mut self, dir: &Path, name: &str, depth: usize) -> Result<(), ImportError> {
        for entry in fs::read_dir(dir).map_err(|error| ImportError::io(dir, error))? {
            let entry = entry.map_err(|error| ImportError::io(dir, error))?;
            self.count_entry()?;
            let file_name = entry.file_name();
            let file_name = file_name.to_string_lossy();
            let place = join(name, &file_name);
            // The type of the entry itself: a link to a folder could lead round in a circle.
            let file_type = entry
                .file_type()
                .map_err(|error| ImportError::io(&entry.path(), error))?;
            if file_type.is_dir() && depth > 0 {
                self.add_folder(&entry.path(), &place, depth - 1)?;
            } else if let Some(member) = Member::of(&file_name)
                && entry.path().is_file()
            {
                let file = File::open(entry.path())
                    .map_err(|error| ImportError::io(&entry.path(), error))?;
                self.add_file(name, &place, member, file)?;
            }
        }
        Ok(())
    }

    fn add_archive(&mut self) -> Result<(), ImportError> {
        let path = self.path;
        let broken = |error: io::Error| {
            let reason = format!("the archive cannot be read ({error}); get it again");
            ImportError::malformed(path, "the archive", reason)
        };
        let mut file = BufReader::new(File::open(path).map_err(|e| ImportError::io(path, e))?);
        let mut head = Vec::new();
        file.by_ref()
            .take(2)
            .read_to_end(&mut head)
            .map_err(|error| ImportError::io(path, error))?;
        let file = io::Cursor::new(head.clone()).chain(file);
        let content: Box<dyn Read> = if head == [0x1f, 0x8b] {
            Box::new(MultiGzDecoder::new(file))
        } else {
            Box::new(file)
        };
        let content = Limited {
            inner: content,
            left: MAX_BYTES,
        };
        let mut archive = tar::Archive::new(content);
        for entry in archive.entries().map_err(broken)? {
            let entry = entry.map_err(broken)?;
            self.count_entry()?;
            let place = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let place = place.trim_start_matches("./");
            let (name, file_name) = place.rsplit_once('/').unwrap_or(("", place));
            if entry.header().entry_type().is_file()
                && let Some(member) = Member::of(file_name)
            {
                self.add_file(name, place, member, entry)?;
            }
        }
        Ok(())
    }

    fn add_file(
        &mut self,
        name: &str,
        place: &str,
        member: Member,
        content: impl Read,
    ) -> Result<(), ImportError> {
        let mut bytes = Vec::new();
        content
            .take(MAX_BYTES - self.n_bytes + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| {
                let reason = format!("cannot be read ({error}); get it again");
                ImportError::malformed(self.path, place, reason)
            })?;
        self.n_bytes += bytes.len() as u64;
        if self.n_bytes > MAX_BYTES {
            let reason = format!(
                "with this file there are more than {} MiB of parameters; give the folder of one network",
                MAX_BYTES >> 20
            );
            return Err(ImportError::malformed(self.path, place, reason));
        }
        let folder = self.folders.entry(name.into()).or_default();
        match member {
            Member::Parameters(layer, pe, part) => {
                folder.files.insert((layer, pe, part), bytes);
            }
            Member::Classes => {
                let text = String::from_utf8_lossy(&bytes);
                let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
                folder.classes = Some(lines.map(String::from).collect());
            }
        }
        Ok(())
    }

    /// The only folder with parameters.
    fn only(self) -> Result<Folder, ImportError> {
        let mut nets: Vec<(String, Folder)> = self
            .folders
            .into_iter()
            .filter(|(_, folder)| !folder.files.is_empty())
            .collect();
        if nets.len() > 1 {
            let names: Vec<&str> = nets.iter().map(|(name, _)| name.as_str()).collect();
            let reason = format!(
                "there are {} networks: {}; give the path of one of these folders, unpacked",
                nets.len(),
                names.join(", ")
            );
            return Err(ImportError::malformed(self.path, "the content", reason));
        }
        let Some((name, folder)) = nets.pop() else {
            let reason = "there are no files like 0-0-weights.bin and 0-0-thres.bin; give a FINN (BNN-PYNQ) \
                          parameter folder or a .tar.gz of one";
            return Err(ImportError::malformed(self.path, "the content", reason));
        };
        Ok(Folder { name, ..folder })
    }
}

fn join(folder: &str, file: &str) -> String {
    if folder.is_empty() {
        file.into()
    } else {
        format!("{folder}/{file}")
    }
}

/// A reader that fails where more is read than is allowed.
struct Limited<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(n as u64).ok_or_else(|| {
            let limit = MAX_BYTES >> 20;
            io::Error::other(format!("it unpacks to more than {limit} MiB"))
        })?;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_names_of_parameter_files_are_taken() {
        let parse = |name: &str| match Member::of(name) {
            Some(Member::Parameters(layer, pe, part)) => Some((layer, pe, part)),
            _ => None,
        };
        assert_eq!(parse("0-15-weights.bin"), Some((0, 15, Part::Weights)));
        assert_eq!(parse("12-0-thres.bin"), Some((12, 0, Part::Thresholds)));
        for other in [
            "0-weights.bin",
            "-1-0-thres.bin",
            "1-2-3.bin",
            "1-2-weights",
            "1234-0-thres.bin",
            "+1-0-thres.bin",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}

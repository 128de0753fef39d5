//! One file from the first mirror that has it.
//!
//! In: a destination, its pinned size and SHA-256, and URLs. Out: the file, verified, or an error. Owns the
//! `.part` file: locked, continued where an earlier attempt stopped, deleted where it is corrupt, renamed
//! where its checksum agrees. Leaves requests to `http`.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256};
use ureq::Agent;

use crate::error::DataError;
use crate::get::http::{self, Problem, Request};
use crate::get::{GetOptions, Progress};

/// Attempts at one mirror, each continuing the last.
const ATTEMPTS: usize = 3;

/// A file to fetch.
pub(super) struct Wanted<'a> {
    pub path: PathBuf,
    /// The file's name, for progress.
    pub name: &'a str,
    pub n_bytes: u64,
    /// 64 lower-case hexadecimal digits.
    pub sha256: &'a str,
    /// In the order to try.
    pub urls: Vec<String>,
}

/// Why an attempt ended.
enum Failure {
    /// The mirror's fault.
    Remote(Problem),
    /// Ours: the disk.
    Local(DataError),
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Failure::Remote(problem)
    }
}

pub(super) fn fetch(
    wanted: &Wanted<'_>,
    options: &GetOptions,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(), DataError> {
    if is_there(wanted)? {
        progress(Progress::Kept { file: wanted.name });
        return Ok(());
    }
    let mut part = Part::open(&wanted.path)?;
    // Whoever held the lock until now may have finished the file.
    if is_there(wanted)? {
        progress(Progress::Kept { file: wanted.name });
        return part.close();
    }
    let fetched = from_mirrors(wanted, options, &mut part, progress);
    if fetched.is_err() {
        part.close()?;
    }
    fetched
}

fn from_mirrors(
    wanted: &Wanted<'_>,
    options: &GetOptions,
    part: &mut Part,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(), DataError> {
    let mut tried = Vec::new();
    for url in &wanted.urls {
        if from_mirror(wanted, url, options, part, &mut tried, progress)? {
            progress(Progress::Done { file: wanted.name });
            return Ok(());
        }
    }
    Err(DataError::Download {
        file: wanted.path.clone(),
        tried,
        remedy: "check the network and try again (what arrived is kept), or set ONEBIT_MIRROR to a mirror of yours"
            .into(),
    })
}

/// Whether one mirror gave the whole file; what it did wrong goes to `tried`.
fn from_mirror(
    wanted: &Wanted<'_>,
    url: &str,
    options: &GetOptions,
    part: &mut Part,
    tried: &mut Vec<String>,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<bool, DataError> {
    let agent = http::agent(url, options);
    let mut etag = None;
    for _ in 0..ATTEMPTS {
        let problem = match attempt(wanted, &agent, url, part, &mut etag, progress) {
            Ok(()) => {
                part.finish(&wanted.path)?;
                return Ok(true);
            }
            Err(Failure::Local(error)) => return Err(error),
            Err(Failure::Remote(problem)) => problem,
        };
        if problem.start_over {
            part.reset()?;
            etag = None;
        }
        let text = format!("{url}: {}", problem.text);
        progress(Progress::Failed {
            file: wanted.name,
            problem: &text,
        });
        tried.push(text);
        if !problem.retry {
            break;
        }
    }
    Ok(false)
}

/// Completes the part and verifies it.
fn attempt(
    wanted: &Wanted<'_>,
    agent: &Agent,
    url: &str,
    part: &mut Part,
    etag: &mut Option<String>,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(), Failure> {
    let resumed = part.len > 0;
    if part.len < wanted.n_bytes {
        let request = Request {
            url,
            have: part.len,
            total: wanted.n_bytes,
            etag: etag.as_deref(),
        };
        let reply = http::send(agent, &request)?;
        if reply.begins_at == 0 && part.len > 0 {
            part.reset().map_err(Failure::Local)?;
        }
        *etag = reply.etag;
        progress(Progress::Started {
            file: wanted.name,
            url,
            resumed_at: part.len,
        });
        receive(wanted, reply.body, part, progress)?;
    }
    let found = part.sha256().map_err(Failure::Local)?;
    if found == wanted.sha256 {
        return Ok(());
    }
    let text = format!(
        "the file is corrupt (SHA-256 {found}, published {}), {} is deleted",
        wanted.sha256,
        part.path.display()
    );
    // Bytes of an earlier attempt may be at fault; a fresh and corrupt file is the mirror's own.
    Err(Failure::Remote(Problem {
        text,
        retry: resumed,
        start_over: true,
    }))
}

fn receive(
    wanted: &Wanted<'_>,
    mut body: impl Read,
    part: &mut Part,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(), Failure> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let n = match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(Problem::passing(format!("{e} after {} bytes", part.len)).into()),
        };
        if part.len + n as u64 > wanted.n_bytes {
            let text = format!(
                "the mirror sends more than the {} bytes of the published file",
                wanted.n_bytes
            );
            return Err(Problem {
                text,
                retry: false,
                start_over: true,
            }
            .into());
        }
        part.append(&buffer[..n]).map_err(Failure::Local)?;
        progress(Progress::Received {
            file: wanted.name,
            n_bytes: part.len,
            total: wanted.n_bytes,
        });
    }
    if part.len < wanted.n_bytes {
        let text = format!(
            "the mirror stopped after {} of {} bytes",
            part.len, wanted.n_bytes
        );
        return Err(Problem::passing(text).into());
    }
    Ok(())
}

/// Whether the destination holds the published bytes.
fn is_there(wanted: &Wanted<'_>) -> Result<bool, DataError> {
    let mut file = match File::open(&wanted.path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(DataError::io(&wanted.path, "read", e)),
    };
    let size = file
        .metadata()
        .map_err(|e| DataError::io(&wanted.path, "read", e))?
        .len();
    Ok(size == wanted.n_bytes && sha256(&mut file, &wanted.path)? == wanted.sha256)
}

fn sha256(file: &mut File, path: &Path) -> Result<String, DataError> {
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => context.update(&buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(DataError::io(path, "read", e)),
        }
    }
    Ok(context
        .finish()
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

/// The growing file beside its destination, locked against a second download.
struct Part {
    path: PathBuf,
    file: File,
    /// Bytes on the disk.
    len: u64,
}

impl Part {
    fn open(destination: &Path) -> Result<Self, DataError> {
        let mut name = destination.file_name().unwrap_or_default().to_os_string();
        name.push(".part");
        let path = destination.with_file_name(name);
        let open = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path);
        let file = open.map_err(|e| DataError::io(&path, "create", e))?;
        file.try_lock().map_err(|e| match e {
            TryLockError::WouldBlock => {
                let held = io::Error::new(io::ErrorKind::ResourceBusy, "another download holds it");
                DataError::io(&path, "lock", held)
            }
            TryLockError::Error(e) => DataError::io(&path, "lock", e),
        })?;
        let len = file
            .metadata()
            .map_err(|e| DataError::io(&path, "read", e))?
            .len();
        Ok(Part { path, file, len })
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), DataError> {
        let seek = self.file.seek(SeekFrom::Start(self.len));
        seek.and_then(|_| self.file.write_all(bytes))
            .map_err(|e| DataError::io(&self.path, "write", e))?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn reset(&mut self) -> Result<(), DataError> {
        self.len = 0;
        self.file
            .set_len(0)
            .map_err(|e| DataError::io(&self.path, "empty", e))
    }

    fn sha256(&mut self) -> Result<String, DataError> {
        self.file
            .seek(SeekFrom::Start(0))
            .map_err(|e| DataError::io(&self.path, "read", e))?;
        sha256(&mut self.file, &self.path)
    }

    fn finish(&mut self, destination: &Path) -> Result<(), DataError> {
        self.file
            .sync_all()
            .map_err(|e| DataError::io(&self.path, "write", e))?;
        fs::rename(&self.path, destination).map_err(|e| DataError::io(destination, "replace", e))
    }

    /// Removes the file where nothing in it could be continued.
    fn close(&mut self) -> Result<(), DataError> {
        if self.len > 0 {
            return Ok(());
        }
        fs::remove_file(&self.path).map_err(|e| DataError::io(&self.path, "delete", e))
    }
}

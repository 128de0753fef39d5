//! `onebit data get`: public data sets from the network to a folder.
//!
//! In: a name, a data folder, options. Out: a complete, verified set in `FOLDER/NAME`, or an error that names
//! what every mirror answered. Each file is pinned by size and SHA-256, written beside its destination as
//! `FILE.part`, resumed if that exists, and renamed when its checksum agrees. Leaves single files to `fetch`,
//! requests to `http`, and showing progress to the caller.

mod fetch;
mod http;
mod known;

#[cfg(test)]
mod server;
#[cfg(test)]
mod tests;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::DataError;
use fetch::Wanted;
use known::KNOWN;

/// How sets are fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetOptions {
    /// Base URLs to use instead of the public mirrors, in order; a file is at `BASE/NAME/FILE`.
    pub mirrors: Vec<String>,
    /// The longest time for a name lookup, and again for a connection.
    pub connect_timeout: Duration,
    /// The longest time without a byte.
    pub stall_timeout: Duration,
    /// The longest time for one request.
    pub total_timeout: Duration,
}

impl Default for GetOptions {
    /// The public mirrors; 10 s to connect, 30 s without a byte, half an hour a request.
    fn default() -> Self {
        GetOptions {
            mirrors: Vec::new(),
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(30),
            total_timeout: Duration::from_secs(30 * 60),
        }
    }
}

impl GetOptions {
    /// The defaults, with the base URLs of `$ONEBIT_MIRROR` (separated by spaces) where it is set.
    pub fn from_env() -> Self {
        let mirrors = env::var("ONEBIT_MIRROR").unwrap_or_default();
        GetOptions {
            mirrors: mirrors.split_whitespace().map(String::from).collect(),
            ..GetOptions::default()
        }
    }
}

/// What happens during [`get`], for people who wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress<'a> {
    /// The file is there already and verified.
    Kept {
        /// Its name.
        file: &'a str,
    },
    /// A mirror began to send.
    Started {
        /// Name of the file.
        file: &'a str,
        /// Where it comes from.
        url: &'a str,
        /// Bytes that an earlier attempt left and that are not sent again.
        resumed_at: u64,
    },
    /// Bytes arrived.
    Received {
        /// Name of the file.
        file: &'a str,
        /// Bytes on the disk by now.
        n_bytes: u64,
        /// Bytes in the end.
        total: u64,
    },
    /// An attempt failed; another follows where one is left.
    Failed {
        /// Name of the file.
        file: &'a str,
        /// `url: what went wrong`.
        problem: &'a str,
    },
    /// The file is complete and verified.
    Done {
        /// Name of the file.
        file: &'a str,
    },
}

/// The names that [`get`] knows.
pub fn known_names() -> Vec<&'static str> {
    KNOWN.iter().map(|set| set.name).collect()
}

/// Fetches the set `name` into `data_folder/name` and returns that folder. Files that are there and verified
/// are kept, so calling it again repairs a folder.
pub fn get(
    name: &str,
    data_folder: &Path,
    options: &GetOptions,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<PathBuf, DataError> {
    let Some(set) = KNOWN.iter().find(|set| set.name == name) else {
        return Err(DataError::UnknownDownload {
            name: name.into(),
            known: known_names().join(", "),
        });
    };
    let folder = data_folder.join(name);
    fs::create_dir_all(&folder).map_err(|e| DataError::io(&folder, "create", e))?;
    for file in set.files {
        let urls = match &options.mirrors[..] {
            [] => set
                .bases
                .iter()
                .map(|base| format!("{base}{}", file.name))
                .collect(),
            own => own
                .iter()
                .map(|base| format!("{}/{name}/{}", base.trim_end_matches('/'), file.name))
                .collect(),
        };
        let wanted = Wanted {
            path: folder.join(file.name),
            name: file.name,
            n_bytes: file.n_bytes,
            sha256: file.sha256,
            urls,
        };
        fetch::fetch(&wanted, options, progress)?;
    }
    Ok(folder)
}

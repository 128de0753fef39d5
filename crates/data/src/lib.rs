//! Data sets and input encoders: the first stop on onebit's path.
//!
//! In: a name, a folder or a file of the outside world. Out: a [`Dataset`] that training can trust, or one
//! [`DataError`] that says what is wrong, where, and what to do. Nothing here panics on what a file holds, and
//! no file makes it allocate more than the limits in `docs/data.md`.
//!
//! [`open`] reads a data set, [`read_input`] one file of inputs, [`write_npy`] writes answers, and
//! `get` fetches public sets. The readers are public for bytes in memory too.

mod array;
mod cifar;
pub mod csv;
mod csv_label;
mod digits;
mod error;
mod files;
#[cfg(feature = "download")]
pub mod get;
pub mod gz;
pub mod idx;
mod idx_set;
pub mod image;
mod image_list;
mod image_set;
mod input;
pub mod npy;
mod npy_header;
mod npy_set;
mod npz;
mod open;
mod part;
pub mod png;
mod set;
mod split;

pub use array::{Array, ArrayData};
pub use digits::digits;
pub use error::{DataError, Located, Place, io_remedy};
pub use files::{MAX_EXPANDED_BYTES, MAX_FILE_BYTES, write_whole};
#[cfg(feature = "download")]
pub use get::{GetOptions, Progress, get};
pub use input::{parse_input, read_input};
pub use npy::{npy_bytes, parse_npy, read_npy, write_npy};
pub use npz::read_npz;
pub use open::{OpenOptions, Opened, data_folders, download_folder, open, open_with};
pub use set::{Dataset, Features, Split};
pub use split::{SplitMix64, split_validation};

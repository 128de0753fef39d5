//! The container that `.bnn` and Net files share: safetensors with a checksum and a text.
//!
//! A text and named tensors come in and bytes go out, or the reverse. The text is the only metadata
//! entry, so the bytes depend on nothing but their content; the checksum covers every byte but its
//! own digits. What text and tensors mean is left to `bnn` and `netfile`.

use alloc::borrow::Cow;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use safetensors::tensor::{Metadata, SafeTensorError, SafeTensors};
use safetensors::{Dtype, View};
use thiserror::Error;

use crate::limits::MAX_HEADER_LEN;
use crate::packed::PackedTensor;
use crate::scan::TextError;
use crate::violation::VerifyErrors;

/// Why bytes are not the file they should be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BnnError {
    /// There is not even a header length.
    #[error("the file has {len} bytes, fewer than the 8 of the header length: it is cut off")]
    TooShort {
        /// Length of the file.
        len: usize,
    },
    /// The header length at byte 0 is absurd.
    #[error(
        "byte 0: a header of {len} bytes is over the limit of {MAX_HEADER_LEN}: not a onebit file"
    )]
    HeaderTooLong {
        /// The length that the file declares.
        len: u64,
    },
    /// The header goes on past the end of the file.
    #[error(
        "the header ends at byte {needed}, the file at byte {len}: it is cut off; copy it again"
    )]
    HeaderCutOff {
        /// Bytes up to the end of the header.
        needed: u64,
        /// Length of the file.
        len: usize,
    },
    /// The header does not begin as one of ours does.
    #[error("byte {offset}: the header does not begin as that of a onebit file")]
    NotOnebit {
        /// The first byte that differs.
        offset: usize,
    },
    /// The checksum is not eight lowercase hexadecimal digits.
    #[error(
        "byte {offset}: the checksum is not 8 lowercase hexadecimal digits; copy the file again"
    )]
    ChecksumDigits {
        /// Where the digits begin.
        offset: usize,
    },
    /// The tensors end elsewhere than the file does.
    #[error("the file has {len} bytes, more or fewer than its header describes; copy it again")]
    WrongLength {
        /// Length of the file.
        len: usize,
    },
    /// Some byte is not what was written.
    #[error("checksum {computed:08x} instead of {stored:08x}: the file is damaged; copy it again")]
    Checksum {
        /// As the file has it.
        stored: u32,
        /// As the bytes have it.
        computed: u32,
    },
    /// The header is not that of a safetensors file.
    #[error("byte 8: the safetensors header is malformed: {reason}")]
    Header {
        /// What the safetensors reader says.
        reason: String,
    },
    /// The text form is malformed; lines are counted from `onebit`.
    #[error("the text in the header is malformed: {0}")]
    Text(#[from] TextError),
    /// The text names a tensor that is not there.
    #[error("tensor {name:?} is missing")]
    MissingTensor {
        /// The tensor.
        name: String,
    },
    /// A tensor that the text does not name.
    #[error("tensor {name:?} belongs to nothing in the text; remove it")]
    UnexpectedTensor {
        /// The tensor.
        name: String,
    },
    /// A tensor with elements of another type.
    #[error("tensor {name:?} has elements of type {found}; {wanted} is needed")]
    TensorType {
        /// The tensor.
        name: String,
        /// Its element type.
        found: String,
        /// The element types it may have.
        wanted: &'static str,
    },
    /// A tensor of another shape.
    #[error("tensor {name:?} has shape {found}; {wanted} is needed")]
    TensorShape {
        /// The tensor.
        name: String,
        /// Its shape.
        found: String,
        /// The shape it must have.
        wanted: String,
    },
    /// A bit past the last column is set.
    #[error("byte {offset}: row {row} of tensor {name:?} has a bit set past its last column")]
    PadBits {
        /// The tensor.
        name: String,
        /// The row.
        row: usize,
        /// The byte in the file.
        offset: usize,
    },
    /// Everything could be read, but is no well-formed Program.
    #[error("the file holds a malformed Program: {0}")]
    InvalidProgram(VerifyErrors),
    /// Everything could be read, but is no well-formed Net.
    #[error("the file holds a malformed Net: {0}")]
    InvalidNet(VerifyErrors),
}

/// What every file has from byte 8 on, up to the checksum's digits.
const PREFIX: &[u8] = br#"{"__metadata__":{"onebit":"crc32 "#;

/// Where the checksum's digits begin.
const DIGITS_AT: usize = 8 + PREFIX.len();

/// Number of digits.
const N_DIGITS: usize = 8;

/// The key of the only metadata entry.
const KEY: &str = "onebit";

/// Joins text and tensors into the bytes of a file.
pub(crate) fn pack(text: &str, tensors: &[PackedTensor]) -> Vec<u8> {
    let entry = (KEY.to_string(), format!("crc32 00000000\n{text}"));
    let metadata = Some(core::iter::once(entry).collect());
    let views = tensors.iter().map(|tensor| (tensor.name.as_str(), tensor));
    let mut bytes = safetensors::serialize(views, metadata)
        .expect("names and numbers always serialize, and the limits keep the header short");
    let digits = format!("{:08x}", checksum(&bytes));
    bytes[DIGITS_AT..DIGITS_AT + N_DIGITS].copy_from_slice(digits.as_bytes());
    bytes
}

impl View for &PackedTensor {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// CRC-32 (IEEE 802.3) of all bytes but the checksum's own digits.
fn checksum(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..DIGITS_AT]);
    hasher.update(&bytes[DIGITS_AT + N_DIGITS..]);
    hasher.finalize()
}

/// The whole and undamaged content of a file.
pub(crate) struct Contents<'file> {
    /// The text, from its first line on.
    pub(crate) text: String,
    metadata: Metadata,
    /// The tensors' bytes, and where they begin in the file.
    data: &'file [u8],
    data_at: usize,
    taken: BTreeSet<String>,
}

/// One tensor as it lies in a file.
pub(crate) struct Stored<'file> {
    pub(crate) name: &'file str,
    pub(crate) dtype: Dtype,
    pub(crate) shape: &'file [usize],
    pub(crate) bytes: &'file [u8],
    /// Where the bytes begin in the file.
    pub(crate) offset: usize,
}

/// Checks a file's frame and checksum and splits it into text and tensors.
pub(crate) fn unpack(bytes: &[u8]) -> Result<Contents<'_>, BnnError> {
    check_frame(bytes)?;
    check_checksum(bytes)?;
    let (header_len, metadata) = SafeTensors::read_metadata(bytes).map_err(header_error)?;
    let text = metadata
        .metadata()
        .as_ref()
        .and_then(|entries| entries.get(KEY));
    // Duplicate keys can hide the entry that the prefix shows.
    let text = text.and_then(|text| text.get("crc32 00000000\n".len()..));
    let text = text.ok_or(BnnError::NotOnebit { offset: 8 })?.to_string();
    let data_at = 8 + header_len;
    let data = &bytes[data_at..];
    Ok(Contents {
        text,
        metadata,
        data,
        data_at,
        taken: BTreeSet::new(),
    })
}

/// Checks the header's length and beginning.
fn check_frame(bytes: &[u8]) -> Result<(), BnnError> {
    let too_short = BnnError::TooShort { len: bytes.len() };
    let (len_bytes, rest) = bytes.split_first_chunk::<8>().ok_or(too_short)?;
    let header_len = u64::from_le_bytes(*len_bytes);
    if header_len > MAX_HEADER_LEN {
        return Err(BnnError::HeaderTooLong { len: header_len });
    }
    if rest.len() < header_len as usize {
        let needed = 8 + header_len;
        return Err(BnnError::HeaderCutOff {
            needed,
            len: bytes.len(),
        });
    }
    let header = &rest[..header_len as usize];
    let same = header
        .iter()
        .zip(PREFIX)
        .take_while(|(a, b)| a == b)
        .count();
    if same < PREFIX.len() || header.len() < PREFIX.len() + N_DIGITS {
        return Err(BnnError::NotOnebit { offset: 8 + same });
    }
    Ok(())
}

fn check_checksum(bytes: &[u8]) -> Result<(), BnnError> {
    let digits = &bytes[DIGITS_AT..DIGITS_AT + N_DIGITS];
    let is_digit = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    if !digits.iter().all(is_digit) {
        return Err(BnnError::ChecksumDigits { offset: DIGITS_AT });
    }
    let value = |byte: &u8| {
        u32::from(if *byte > b'9' {
            byte - b'a' + 10
        } else {
            byte - b'0'
        })
    };
    let stored = digits.iter().fold(0, |sum, byte| sum << 4 | value(byte));
    let computed = checksum(bytes);
    if stored == computed {
        return Ok(());
    }
    match SafeTensors::read_metadata(bytes) {
        Err(SafeTensorError::MetadataIncompleteBuffer) => {
            Err(BnnError::WrongLength { len: bytes.len() })
        }
        _ => Err(BnnError::Checksum { stored, computed }),
    }
}

fn header_error(error: SafeTensorError) -> BnnError {
    BnnError::Header {
        reason: error.to_string(),
    }
}

impl Contents<'_> {
    /// The tensor of this name.
    pub(crate) fn tensor<'a>(&'a mut self, name: &'a str) -> Result<Stored<'a>, BnnError> {
        self.taken.insert(name.to_string());
        let missing = || BnnError::MissingTensor {
            name: name.to_string(),
        };
        let info = self.metadata.info(name).ok_or_else(missing)?;
        let (start, end) = info.data_offsets;
        let bytes = self.data.get(start..end).ok_or_else(missing)?;
        let offset = self.data_at + start;
        Ok(Stored {
            name,
            dtype: info.dtype,
            shape: &info.shape,
            bytes,
            offset,
        })
    }

    /// Demands that every tensor was asked for.
    pub(crate) fn finish(self) -> Result<(), BnnError> {
        let mut names = self.metadata.offset_keys().into_iter();
        match names.find(|name| !self.taken.contains(name)) {
            None => Ok(()),
            Some(name) => Err(BnnError::UnexpectedTensor { name }),
        }
    }
}

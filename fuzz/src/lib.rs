//! What several fuzz targets share: making the checksum of a fuzzed file fit, so that fuzzing gets past it, and
//! what every imported Program has to be.

use onebit_model::program::Program;
use onebit_model::{bnn, verify};

/// What every file has from byte 8 on, up to the checksum's digits.
const PREFIX: &[u8] = br#"{"__metadata__":{"onebit":"crc32 "#;

/// The bytes with the beginning and the checksum of a sound file; `None` if they are too few.
pub fn sealed(data: &[u8]) -> Option<Vec<u8>> {
    let digits_at = 8 + PREFIX.len();
    let mut bytes = data.to_vec();
    bytes.get_mut(8..digits_at)?.copy_from_slice(PREFIX);
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..digits_at]);
    hasher.update(bytes.get(digits_at + 8..)?);
    let digits = format!("{:08x}", hasher.finalize());
    bytes[digits_at..digits_at + 8].copy_from_slice(digits.as_bytes());
    Some(bytes)
}

/// An imported Program verifies, and reading what is written of it gives it back.
pub fn assert_sound(program: &Program) {
    assert_eq!(verify(program).err(), None, "an imported Program verifies");
    let written = bnn::write(program);
    let again = bnn::read(&written).expect("what is written can be read");
    // NaNs are equal to nothing, so files are compared.
    assert!(bnn::write(&again) == written, "another Program is read");
}

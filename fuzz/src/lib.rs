//! What several fuzz targets share: making the checksum of a fuzzed file fit, so that fuzzing gets past it.

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

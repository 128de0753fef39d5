//! Damage done to files, shared by the tests of `.bnn` and Net files.
#![allow(dead_code, reason = "each test binary uses its part")]

use onebit_model::bnn::BnnError;
use onebit_testkit::Random;

/// Where the checksum's digits are: after 8 bytes of length and this beginning.
const PREFIX: &[u8] = br#"{"__metadata__":{"onebit":"crc32 "#;
const DIGITS_AT: usize = 8 + PREFIX.len();

/// CRC-32 (IEEE 802.3), bit by bit.
fn crc32(bytes: impl Iterator<Item = u8>) -> u32 {
    let step = |crc: u32| {
        if crc & 1 == 1 {
            (crc >> 1) ^ 0xedb8_8320
        } else {
            crc >> 1
        }
    };
    !bytes.fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| step(crc))
    })
}

/// The bytes with a checksum that fits them.
pub fn resealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let rest = bytes[..DIGITS_AT].iter().chain(&bytes[DIGITS_AT + 8..]);
    let digits = format!("{:08x}", crc32(rest.copied()));
    bytes[DIGITS_AT..DIGITS_AT + 8].copy_from_slice(digits.as_bytes());
    bytes
}

/// The bytes of a golden file; with `BLESS=1`, a file that is not there yet is written first. One that
/// is there is never changed.
pub fn golden(name: &str, bytes: &[u8]) -> Vec<u8> {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("BLESS").is_some() && !std::path::Path::new(&path).exists() {
        std::fs::write(&path, bytes).unwrap();
    }
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}; BLESS=1 writes it"))
}

pub fn find(bytes: &[u8], wanted: &[u8]) -> usize {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
        .expect("it is there")
}

pub fn contains(bytes: &[u8], wanted: &str) -> bool {
    bytes
        .windows(wanted.len())
        .any(|window| window == wanted.as_bytes())
}

/// The header with `from` replaced by `to`, with its length and checksum made to fit again.
pub fn edited(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let (from, to) = (from.replace('\n', "\\n"), to.replace('\n', "\\n"));
    let at = find(bytes, from.as_bytes());
    let mut edited = [&bytes[..at], to.as_bytes(), &bytes[at + from.len()..]].concat();
    let old = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    let new = old + to.len() as u64 - from.len() as u64;
    edited[..8].copy_from_slice(&new.to_le_bytes());
    resealed(edited)
}

pub fn every_bit_flip_is_an_error<T>(bytes: &[u8], read: fn(&[u8]) -> Result<T, BnnError>) {
    assert!(read(bytes).is_ok());
    let mut bytes = bytes.to_vec();
    for idx in 0..bytes.len() {
        for bit in 0..8 {
            bytes[idx] ^= 1 << bit;
            let result = read(&bytes);
            // Only the frame and the checksum speak; nothing behind them is even looked at.
            let is_clear = matches!(
                result,
                Err(BnnError::HeaderTooLong { .. }
                    | BnnError::HeaderCutOff { .. }
                    | BnnError::NotOnebit { .. }
                    | BnnError::ChecksumDigits { .. }
                    | BnnError::Checksum { .. }
                    | BnnError::WrongLength { .. })
            );
            assert!(is_clear, "byte {idx} bit {bit}");
            bytes[idx] ^= 1 << bit;
        }
    }
}

pub fn every_other_length_is_an_error<T>(bytes: &[u8], read: fn(&[u8]) -> Result<T, BnnError>) {
    let header_len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    for len in 0..bytes.len() {
        let error = read(&bytes[..len]).err().expect("a truncated file");
        let is_expected = match error {
            BnnError::TooShort { .. } => len < 8,
            BnnError::HeaderCutOff { .. } => (8..8 + header_len).contains(&len),
            BnnError::WrongLength { .. } => len >= 8 + header_len,
            _ => false,
        };
        assert!(is_expected, "{len} bytes: {error}");
    }
    let longer = [bytes, &[0]].concat();
    assert_eq!(
        read(&longer).err(),
        Some(BnnError::WrongLength { len: longer.len() })
    );
}

/// Changes bytes anywhere, makes the checksum fit, and reads; most are errors, none may panic.
pub fn resealed_damage_never_panics<T>(bytes: &[u8], read: fn(&[u8]) -> Result<T, BnnError>) {
    let mut random = Random::new(1);
    let mut n_errors = 0;
    for _ in 0..20_000 {
        let mut damaged = bytes.to_vec();
        for _ in 0..random.int(1, 3) {
            let idx = random.int(DIGITS_AT as i64 + 8, bytes.len() as i64 - 1) as usize;
            damaged[idx] = match random.once_in(2) {
                true => random.bits() as u8,
                false => bytes[random.below(bytes.len())],
            };
        }
        n_errors += usize::from(read(&resealed(damaged)).is_err());
    }
    assert!(n_errors > 10_000, "{n_errors}");
}

/// `version` is the document's, as a word.
pub fn frame_errors<T>(bytes: &[u8], version: &str, read: fn(&[u8]) -> Result<T, BnnError>) {
    let error = |bytes: &[u8]| read(bytes).err().expect("a damaged file");
    let with = |at: usize, new: &[u8]| {
        let mut bytes = bytes.to_vec();
        bytes[at..at + new.len()].copy_from_slice(new);
        bytes
    };
    let len = bytes.len();
    assert_eq!(error(&bytes[..7]), BnnError::TooShort { len: 7 });
    let absurd = u64::MAX;
    assert_eq!(
        error(&with(0, &absurd.to_le_bytes())),
        BnnError::HeaderTooLong { len: absurd }
    );
    let over = len as u64;
    let cut_off = BnnError::HeaderCutOff {
        needed: over + 8,
        len,
    };
    assert_eq!(error(&with(0, &over.to_le_bytes())), cut_off);
    assert_eq!(error(&with(10, b"x")), BnnError::NotOnebit { offset: 10 });
    assert_eq!(
        error(&with(0, &20u64.to_le_bytes())),
        BnnError::NotOnebit { offset: 28 }
    );
    let digits = BnnError::ChecksumDigits { offset: DIGITS_AT };
    assert_eq!(error(&with(DIGITS_AT, b"ABCDEF00")), digits);
    let mut damaged = bytes.to_vec();
    damaged[len - 1] ^= 1;
    assert!(matches!(error(&damaged), BnnError::Checksum { .. }));
    assert_eq!(
        error(&bytes[..len - 1]),
        BnnError::WrongLength { len: len - 1 }
    );
    let header = error(&edited(bytes, "\"dtype\":", "\"dtypo\":"));
    assert!(matches!(header, BnnError::Header { .. }), "{header}");
    let text = error(&edited(bytes, "input levels", "input rebels"));
    assert!(matches!(text, BnnError::Text(_)), "{text}");
    let newer = error(&edited(bytes, &format!(" {version}\nname"), " 9\nname"));
    assert!(
        newer.to_string().contains("needs a newer onebit"),
        "{newer}"
    );
    // A second entry of the same key replaces the text that the frame showed.
    let hidden = error(&edited(bytes, "\"},\"", "\",\"onebit\":\"\"},\""));
    assert_eq!(hidden, BnnError::NotOnebit { offset: 8 });
}

//! Any bytes as a gzip stream: an error, or no more than the limit, and a prefix that is one.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use onebit_data::gz::{inflate, inflate_prefix};

const LIMIT: u64 = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    let file = Path::new("fuzz");
    if let Ok(whole) = inflate(file, bytes, LIMIT) {
        assert!(whole.len() as u64 <= LIMIT);
        let prefix = inflate_prefix(file, bytes, 16).expect("the whole stream was fine");
        assert_eq!(prefix, whole[..whole.len().min(16)]);
    }
});

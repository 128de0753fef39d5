//! Any bytes as an idx file, plain or gzip: an error, or an array that fills its shape.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(idx) = onebit_data::idx::parse(Path::new("fuzz"), bytes) {
        assert_eq!(idx.shape.iter().product::<usize>(), idx.values.len());
        assert!(!idx.values.is_empty());
    }
});

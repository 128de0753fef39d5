//! Any bytes as a Larq Compute Engine model: an error, or a Program that is sound and can be kept.
#![no_main]

use libfuzzer_sys::fuzz_target;
use onebit_import::import_lce_bytes;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(imported) = import_lce_bytes(bytes) {
        onebit_fuzz::assert_sound(&imported.program);
    }
});

//! Any bytes as an ONNX model: an error, or a Program that is sound and can be kept.
#![no_main]

use libfuzzer_sys::fuzz_target;
use onebit_import::import_onnx_bytes;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(imported) = import_onnx_bytes(bytes) {
        onebit_fuzz::assert_sound(&imported.program);
    }
});

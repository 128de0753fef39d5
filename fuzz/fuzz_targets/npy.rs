//! Any bytes as an input file (.npy, .npz, PNG): an error, or an array that fills its shape, holds finite
//! values only, and survives being written and read again.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use onebit_data::{ArrayData, npy_bytes, parse_input, parse_npy};

fuzz_target!(|bytes: &[u8]| {
    let file = Path::new("fuzz");
    if let Ok(array) = parse_input(file, bytes) {
        assert_eq!(array.shape.iter().product::<usize>(), array.data.len());
        assert!(!array.data.is_empty());
        if let ArrayData::F32(values) = &array.data {
            assert!(values.iter().all(|value| value.is_finite()));
        }
        let again = npy_bytes(&array.shape, &array.data);
        assert_eq!(parse_npy(file, &again).expect("own bytes are read"), array);
    }
});

//! Any bytes as a file of an image folder (PNG, JPEG, BMP, PNM): an error of one line, or 8-bit pixels that fill
//! their shape, grey or colour.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use onebit_data::image::{MAX_IMAGE_BYTES, parse_image};

fuzz_target!(|bytes: &[u8]| match parse_image(Path::new("fuzz"), bytes) {
    Ok(image) => {
        assert!(matches!(image.shape[..], [_, _, 1 | 3]));
        assert!(!image.data.is_empty());
        assert_eq!(image.shape.iter().product::<usize>(), image.data.len());
        assert!(image.data.len() <= MAX_IMAGE_BYTES);
    }
    Err(error) => assert!(!error.to_string().contains('\n')),
});

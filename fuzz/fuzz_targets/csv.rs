//! Any bytes as a table: an error, or a set whose splits fill their shapes and whose labels have names.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use onebit_data::OpenOptions;
use onebit_data::csv::parse_csv;

fuzz_target!(|bytes: &[u8]| {
    let file = Path::new("fuzz");
    // The table is its own test file where that is possible, so that both ways in are fuzzed.
    for test in [None, Some((file, bytes))] {
        let Ok(opened) = parse_csv(file, bytes, test, &OpenOptions::default()) else {
            continue;
        };
        let set = opened.dataset;
        assert_eq!(set.class_names.len(), set.n_classes);
        for split in [&set.train, &set.test] {
            assert_eq!(split.features.n_values(), split.len() * set.shape[0]);
            assert!(
                split
                    .labels
                    .iter()
                    .all(|&label| usize::from(label) < set.n_classes)
            );
        }
    }
});

//! Parses the text form of Programs: no panic, and what is parsed prints and parses to itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use onebit_model::text;

fuzz_target!(|data: &[u8]| {
    let Ok(source) = core::str::from_utf8(data) else {
        return;
    };
    if let Ok(outline) = text::parse(source) {
        let printed = outline.to_string();
        assert_eq!(text::parse(&printed).as_ref(), Ok(&outline));
    }
});

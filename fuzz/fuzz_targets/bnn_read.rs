//! Reads `.bnn` bytes: no panic, and what is read can be written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use onebit_model::bnn;

fuzz_target!(|data: &[u8]| {
    let _ = bnn::read(data);
    let Some(bytes) = onebit_fuzz::sealed(data) else {
        return;
    };
    if let Ok(program) = bnn::read(&bytes) {
        let written = bnn::write(&program);
        let again = bnn::read(&written).expect("what is written can be read");
        assert_eq!(again, program);
    }
});

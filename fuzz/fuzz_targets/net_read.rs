//! Reads Net files: no panic, and what is read can be written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use onebit_model::{net_from_bytes, net_to_bytes};

fuzz_target!(|data: &[u8]| {
    let _ = net_from_bytes(data);
    let Some(bytes) = onebit_fuzz::sealed(data) else {
        return;
    };
    if let Ok(net) = net_from_bytes(&bytes) {
        let written = net_to_bytes(&net);
        let again = net_from_bytes(&written).expect("what is written can be read");
        assert_eq!(again, net);
    }
});

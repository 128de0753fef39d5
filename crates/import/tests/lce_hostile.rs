//! Damaged Larq Compute Engine files: an error or a sound Program, never a panic.

mod common;

use common::{shared, tflite};
use onebit_import::{ImportError, import_lce_bytes};

/// Imports bytes; whatever is imported must be well formed.
fn survive(bytes: &[u8]) -> Result<(), ImportError> {
    let imported = import_lce_bytes(bytes)?;
    onebit_model::verify(&imported.program).unwrap();
    Ok(())
}

/// Every place in a small file, fewer in a larger one.
fn places(sample: &[u8], step: usize) -> impl Iterator<Item = usize> + use<> {
    let stride = step * (1 + sample.len() / 2500);
    (0..sample.len() - 4).step_by(stride)
}

/// Files of different ops, small enough to damage every byte of each.
fn samples() -> Vec<Vec<u8>> {
    let mut samples = vec![tflite::sample()];
    if let Some(shared) = shared() {
        let names = [
            "quantize_dequantize",
            "bmaxpool_3s2_same",
            "chain_ties_gamma0",
            "quantize_bool",
            "int8_qat",
        ];
        for name in names {
            let path = shared.join(format!("fixtures/lce/{name}.tflite"));
            samples.push(std::fs::read(path).unwrap());
        }
    }
    samples
}

#[test]
fn a_file_cut_short_is_no_panic() {
    for sample in samples() {
        survive(&sample).unwrap();
        for n in places(&sample, 1) {
            let result = survive(&sample[..n]);
            // The last bytes may be padding.
            assert!(result.is_err() || n + 16 > sample.len(), "{n} bytes");
        }
    }
}

#[test]
fn a_flipped_byte_is_no_panic() {
    for mut sample in samples() {
        for at in places(&sample, 1) {
            let was = sample[at];
            for now in [was ^ 0xff, was ^ 1, was ^ 0x80, 0x7f] {
                sample[at] = now;
                let _ = survive(&sample);
            }
            sample[at] = was;
        }
    }
}

#[test]
fn offsets_that_point_anywhere_are_no_panic() {
    for mut sample in samples() {
        let n = sample.len() as u32;
        for at in places(&sample, 4) {
            let was: [u8; 4] = sample[at..at + 4].try_into().unwrap();
            for now in [0, 4, n, n - at as u32, u32::MAX, 1 << 31, 1 << 24, 1 << 28] {
                sample[at..at + 4].copy_from_slice(&now.to_le_bytes());
                let _ = survive(&sample);
            }
            sample[at..at + 4].copy_from_slice(&was);
        }
    }
}

/// A small file with a large input, each of whose nodes would need a constant for every element.
#[test]
fn a_small_file_cannot_fill_the_memory() {
    let shape = [1, 1 << 23];
    let mut d = tflite::Draft::default();
    let mut x = d.input(&shape, tflite::FLOAT32);
    let two = d.floats(&[1], &[2.0]);
    for _ in 0..1000 {
        let y = d.tensor("net/twice", &shape, tflite::FLOAT32);
        d.builtin(18, &[x, two], y, 21, &[]);
        x = y;
    }
    let error = survive(&d.finish(x)).unwrap_err().to_string();
    let words = "(MUL) cannot be imported: with it the weights and constants take more than";
    assert!(error.contains(words), "{error}");
}

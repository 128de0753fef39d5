//! The playground's page: one file with the network, its loader, style and script inside.
//!
//! In: a Program of the zoo and the sources beside this file. Out: `index.html`'s text, which works from a file system.

use std::path::{Path, PathBuf};

use onebit_emit::emit;
use onebit_emit::lower::Values;
use onebit_emit::wasm::{Lanes, Wasm, WasmOptions};
use onebit_model::bnn;
use onebit_model::program::{Op, Program};

/// The network of the page.
const MODEL: &str = "zoo/mnist-sfc.bnn";

/// Where the page is kept.
pub fn path() -> PathBuf {
    root().join("examples/browser/index.html")
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The page, or why there is none.
pub fn page() -> Result<String, String> {
    let bytes = std::fs::read(root().join(MODEL)).map_err(|error| format!("{MODEL}: {error}"))?;
    let program = bnn::read(&bytes).map_err(|error| format!("{MODEL}: {error}"))?;
    let options = WasmOptions {
        name: String::new(),
        lanes: Lanes::Both,
        values: Values::Kept,
    };
    let emitted = emit(&Wasm { options }, &program).map_err(|error| format!("{MODEL}: {error}"))?;
    let [simd, scalar, loader] = emitted.files.as_slice() else {
        return Err(format!("{} files instead of three", emitted.files.len()));
    };
    let loader = String::from_utf8_lossy(&loader.bytes).into_owned();
    let parts = [
        ("PAGE_CSS", include_str!("page.css").to_string()),
        ("N_WEIGHTS", grouped(n_weights(&program))),
        ("SIMD_MODULE", base64(&simd.bytes)),
        ("SCALAR_MODULE", base64(&scalar.bytes)),
        ("LOADER_MJS", loader),
        ("PAGE_JS", include_str!("page.js").to_string()),
    ];
    let mut page = include_str!("page.html").to_string();
    for (mark, part) in parts {
        page = page.replacen(mark, part.trim_end(), 1);
    }
    Ok(page)
}

fn n_weights(program: &Program) -> usize {
    let n = |op: &Op| match op {
        Op::Dense { weights, .. } => weights.n_rows() * weights.n_cols(),
        _ => 0,
    };
    program.nodes.iter().map(|node| n(&node.op)).sum()
}

/// 1234567 as 1,234,567.
fn grouped(n: usize) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (idx, digit) in digits.chars().enumerate() {
        if idx > 0 && (digits.len() - idx).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Base64 in lines of 120 characters.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for (idx, three) in bytes.chunks(3).enumerate() {
        if idx > 0 && idx.is_multiple_of(30) {
            text.push('\n');
        }
        let byte = |i: usize| u32::from(three.get(i).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let is_there = digit <= three.len();
            let code = (bits >> (18 - 6 * digit)) & 63;
            text.push(if is_there {
                char::from(DIGITS[code as usize])
            } else {
                '='
            });
        }
    }
    text
}

//! The table of `bench`: its structure, which no timing changes.

use crate::common::{Models, ok};

/// Columns that the table of layers fits.
const WIDTH: usize = 100;

/// The lines of the table of layers: headings, layers and their sum.
fn layer_lines(text: &str) -> Vec<&str> {
    let table = text.lines().skip_while(|line| !line.starts_with("layer "));
    table.collect()
}

/// What bars are made of.
const BLOCKS: [char; 8] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];

/// The words of a line without its bar.
fn words(line: &str) -> Vec<&str> {
    line.trim_end_matches(BLOCKS).split_whitespace().collect()
}

#[test]
fn every_layer_is_a_row_and_the_last_is_their_sum() {
    let models = Models::new();
    let args = ["bench", "small.bnn", "--isa", "scalar", "--batch", "64"];
    let timed = [args.as_slice(), &["--seconds", "0.01"]].concat();
    let text = ok(models.path(), &timed);
    assert!(text.contains("Layers on scalar, "), "{text}");
    let lines = layer_lines(&text);
    let headings = [
        "layer",
        "kernel",
        "µs",
        "bit-MAC/s",
        "of",
        "peak",
        "bytes",
        "of",
        "time",
    ];
    assert_eq!(words(lines[0]), headings, "{text}");
    let json = ok(models.path(), &[timed.as_slice(), &["--json"]].concat());
    let report: serde_json::Value = serde_json::from_str(&json).expect("one JSON object");
    let layers = report["layers"].as_array().expect("a list of layers");
    assert_eq!(lines.len(), layers.len() + 2, "{text}");
    for (line, layer) in lines[1..].iter().zip(layers) {
        let name = layer["name"].as_str().expect("a name");
        let (head, tail) = (words(line)[0], words(line)[1]);
        // Long names lose their middle.
        let (start, end) = head.split_once('…').unwrap_or((head, ""));
        assert!(name.starts_with(start) && name.ends_with(end), "{line}");
        assert_eq!(tail, layer["kernel"].as_str().expect("a kernel"), "{line}");
        assert!(line.ends_with(BLOCKS), "{line}");
        let is_binary = layer["bit_macs"].as_u64() > Some(0);
        assert_eq!(layer["share_of_peak"].is_number(), is_binary, "{layer}");
        assert!(layer["bytes"].as_u64() > Some(0), "{layer}");
    }
    let sum = words(lines[lines.len() - 1]);
    assert_eq!(sum[0], "total", "{text}");
    assert_eq!(sum[sum.len() - 2..], ["100.0", "%"], "{text}");
}

#[test]
fn the_columns_line_up_and_fit_a_terminal() {
    let models = Models::new();
    let args = ["bench", "small.bnn", "--isa", "scalar", "--seconds", "0.01"];
    let text = ok(models.path(), &args);
    let lines = layer_lines(&text);
    // The last column of numbers ends where its heading does.
    let end = lines[0].chars().count();
    for line in &lines[1..] {
        assert!(line.chars().count() <= WIDTH, "{line}");
        assert_eq!(line.chars().nth(end - 1), Some('%'), "{text}");
    }
}

//! Files that inflate to a gigabyte do not take a gigabyte. Alone in its process, because it reads the peak
//! memory of the process.
#![cfg(target_os = "linux")]

mod common;

use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;

use common::idx;
use flate2::Compression;
use flate2::write::GzEncoder;
use onebit_data::{ArrayData, npy_bytes, parse_input};

/// The most memory this process ever held, in MiB.
fn peak_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim()
        .trim_end_matches("kB")
        .trim()
        .parse::<u64>()
        .unwrap()
        >> 10
}

/// `head`, then a gibibyte of zeros, as gzip: about a mebibyte.
fn bomb(head: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(head).unwrap();
    let zeros = vec![0; 1 << 20];
    (0..1024).for_each(|_| encoder.write_all(&zeros).unwrap());
    encoder.finish().unwrap()
}

/// An archive whose one member is `head`, then a gibibyte of zeros.
fn npz_bomb(head: &[u8]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    writer
        .start_file("x.npy", zip::write::SimpleFileOptions::default())
        .unwrap();
    writer.write_all(head).unwrap();
    let zeros = vec![0; 1 << 20];
    (0..1024).for_each(|_| writer.write_all(&zeros).unwrap());
    writer.finish().unwrap().into_inner()
}

#[test]
fn bombs_are_cut_at_the_size_their_header_announces() {
    let read = |bytes: &[u8]| {
        parse_input(Path::new("bomb"), bytes)
            .unwrap_err()
            .to_string()
    };
    let idx_bomb = bomb(&idx(&[10], &[0; 10]));
    assert!(
        idx_bomb.len() > 1 << 20,
        "the ratio alone does not give it away"
    );
    let text = read(&idx_bomb);
    assert!(text.contains("goes on after its 18 bytes"), "{text}");
    let text = read(&bomb(&[1, 2, 3]));
    assert!(text.contains("two zero bytes"), "{text}");
    let npz_bomb = npz_bomb(&npy_bytes(&[10], &ArrayData::U8(vec![0; 10])));
    let before = peak_mib();
    let text = read(&npz_bomb);
    assert!(text.contains("follow the last value"), "{text}");
    assert!(
        peak_mib() < before + 32,
        "{} MiB, {before} MiB before",
        peak_mib()
    );
    assert!(before < 64, "the gzip bombs took memory: {before} MiB");
}

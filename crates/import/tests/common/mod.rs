//! What the tests of importers share: the shared files, arrays of .npz archives, and running a Program on them.
//!
//! The reader of arrays is written here because conformance files hold infinities, which `onebit_data` refuses.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod tflite;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use onebit_model::program::{Kind, Program};
use onebit_model::{Tensor, interpret, verify};

/// The folder of shared test files; where there is none, says so and gives `None`.
pub fn shared() -> Option<PathBuf> {
    let folder = std::env::var_os("ONEBIT_SHARED").map(PathBuf::from);
    let folder = folder.filter(|folder| folder.join("fixtures").is_dir());
    if folder.is_none() {
        println!(
            "skipped: set ONEBIT_SHARED to the folder of conformance files, the one that holds `fixtures`"
        );
    }
    folder
}

/// The numbers of an array.
#[derive(Clone, Debug, PartialEq)]
pub enum Numbers {
    Bool(Vec<bool>),
    U8(Vec<u8>),
    I8(Vec<i8>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    F32(Vec<f32>),
}

/// An array of a .npz archive, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    pub shape: Vec<usize>,
    pub numbers: Numbers,
}

impl Array {
    /// The elements as binary64.
    pub fn to_f64(&self) -> Vec<f64> {
        match &self.numbers {
            Numbers::Bool(x) => x.iter().map(|&x| f64::from(u8::from(x))).collect(),
            Numbers::U8(x) => x.iter().map(|&x| f64::from(x)).collect(),
            Numbers::I8(x) => x.iter().map(|&x| f64::from(x)).collect(),
            Numbers::I32(x) => x.iter().map(|&x| f64::from(x)).collect(),
            Numbers::I64(x) => x.iter().map(|&x| x as f64).collect(),
            Numbers::F32(x) => x.iter().map(|&x| f64::from(x)).collect(),
        }
    }

    /// The elements as binary32; they must be.
    pub fn f32(&self) -> &[f32] {
        match &self.numbers {
            Numbers::F32(x) => x,
            other => panic!("the array holds {other:?}"),
        }
    }
}

/// A .npz archive.
pub struct Npz {
    path: PathBuf,
    archive: zip::ZipArchive<File>,
}

impl Npz {
    /// Opens an archive.
    pub fn open(path: &Path) -> Self {
        let file = File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let archive = zip::ZipArchive::new(file).unwrap();
        Npz {
            path: path.into(),
            archive,
        }
    }

    /// Whether there is an array of this name.
    pub fn has(&self, name: &str) -> bool {
        self.archive
            .index_for_name(&format!("{name}.npy"))
            .is_some()
    }

    /// The array of this name.
    pub fn get(&mut self, name: &str) -> Array {
        let member = self.archive.by_name(&format!("{name}.npy"));
        let mut member = member.unwrap_or_else(|e| panic!("{}: {name}: {e}", self.path.display()));
        let mut bytes = Vec::new();
        member.read_to_end(&mut bytes).unwrap();
        parse_npy(&bytes)
    }
}

/// The array of a .npy file of version 1, little-endian, in C order.
fn parse_npy(bytes: &[u8]) -> Array {
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
    let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..start]).unwrap();
    assert!(header.contains("'fortran_order': False"), "{header}");
    let after = |key: &str| {
        let (_, rest) = header.split_once(&format!("'{key}': ")).unwrap();
        rest
    };
    let kind = after("descr").split('\'').nth(1).unwrap();
    let axes = after("shape").trim_start_matches('(');
    let axes = axes.split_once(')').unwrap().0;
    let axes = axes
        .split(',')
        .map(str::trim)
        .filter(|axis| !axis.is_empty());
    let shape: Vec<usize> = axes.map(|axis| axis.parse().unwrap()).collect();
    let data = &bytes[start..];
    let (fours, _) = data.as_chunks::<4>();
    let (eights, _) = data.as_chunks::<8>();
    let numbers = match kind {
        "|b1" => Numbers::Bool(data.iter().map(|&b| b != 0).collect()),
        "|u1" => Numbers::U8(data.into()),
        "|i1" => Numbers::I8(data.iter().map(|&b| b.cast_signed()).collect()),
        "<i4" => Numbers::I32(fours.iter().map(|&b| i32::from_le_bytes(b)).collect()),
        "<i8" => Numbers::I64(eights.iter().map(|&b| i64::from_le_bytes(b)).collect()),
        "<f4" => Numbers::F32(fours.iter().map(|&b| f32::from_le_bytes(b)).collect()),
        other => panic!("arrays of {other} are not read"),
    };
    Array { shape, numbers }
}

/// The images of a batch as inputs of a Program; every axis before the image's is a batch axis.
pub fn inputs(program: &Program, batch: &Array) -> Vec<Tensor> {
    let n = program.input.n_elements();
    match (&batch.numbers, program.input.kind) {
        (Numbers::F32(x), Kind::Real) => {
            x.chunks_exact(n).map(|x| Tensor::Real(x.into())).collect()
        }
        (Numbers::U8(x), Kind::Levels(_)) => x
            .chunks_exact(n)
            .map(|x| Tensor::Levels(x.into()))
            .collect(),
        (Numbers::Bool(x), Kind::Bits) => {
            x.chunks_exact(n).map(|x| Tensor::Bits(x.into())).collect()
        }
        (_, Kind::Int) => {
            let x: Vec<i32> = batch.to_f64().into_iter().map(|x| x as i32).collect();
            x.chunks_exact(n).map(|x| Tensor::Int(x.into())).collect()
        }
        (numbers, kind) => panic!("the input is {kind:?}, the array holds {numbers:?}"),
    }
}

/// What a Program answers to each image of a batch, by the interpreter, one after the other.
pub fn run(program: &Program, batch: &Array) -> Vec<Tensor> {
    let types = verify(program).unwrap();
    let images = inputs(program, batch);
    images
        .iter()
        .map(|image| interpret(program, &types, image))
        .collect()
}

/// The elements of tensors as binary64, one after the other; bits are -1 and +1.
pub fn flatten(tensors: &[Tensor]) -> Vec<f64> {
    let of_one = |tensor: &Tensor| -> Vec<f64> {
        match tensor {
            Tensor::Bits(x) => x.iter().map(|&x| if x { 1.0 } else { -1.0 }).collect(),
            Tensor::Levels(x) => x.iter().map(|&x| f64::from(x)).collect(),
            Tensor::Int(x) => x.iter().map(|&x| f64::from(x)).collect(),
            Tensor::Real(x) => x.iter().map(|&x| f64::from(x)).collect(),
        }
    };
    tensors.iter().flat_map(of_one).collect()
}

/// The greatest relative error of `found`: `|found - truth| / max(|truth|, max |truth| / 32)`.
///
/// The floor is there because an element near zero is a difference of larger numbers, whose rounding it shows.
pub fn relative_error(found: &[f64], truth: &[f64]) -> f64 {
    assert_eq!(found.len(), truth.len(), "number of elements");
    let greatest = truth.iter().fold(0.0f64, |most, x| most.max(x.abs()));
    let floor = (greatest / 32.0).max(f64::MIN_POSITIVE);
    let of_one = |(found, truth): (&f64, &f64)| {
        if found == truth {
            return 0.0;
        }
        (found - truth).abs() / truth.abs().max(floor)
    };
    let errors = found.iter().zip(truth).map(of_one);
    errors.fold(0.0, |most: f64, error| {
        if error > most || error.is_nan() {
            error
        } else {
            most
        }
    })
}

/// The greatest absolute difference.
pub fn absolute_error(found: &[f64], truth: &[f64]) -> f64 {
    assert_eq!(found.len(), truth.len(), "number of elements");
    let pairs = found.iter().zip(truth);
    pairs.fold(0.0, |most, (found, truth)| most.max((found - truth).abs()))
}

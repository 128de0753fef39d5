//! What the tests share: running the binary, expected files, fixed models.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use onebit_model::net::{BatchNorm, Encoder, Layer, LayerOp, Net};
use onebit_model::net_to_bytes;
use onebit_model::program::{Kind, Type, ValueId};
use onebit_model::weights::{BitMatrix, Weights};

/// The binary, without the caller's settings.
pub fn onebit() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onebit"));
    command
        .env_remove("ONEBIT_ISA")
        .env_remove("ONEBIT_DATA")
        .env_remove("ONEBIT_CIFAR10")
        .env_remove("ONEBIT_SHARED");
    command
}

/// What one invocation gave.
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs the binary in a folder.
pub fn run_in(folder: &Path, args: &[&str]) -> Ran {
    ran(onebit().current_dir(folder).args(args))
}

/// Runs a command to its end.
pub fn ran(command: &mut Command) -> Ran {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("the binary starts");
    Ran {
        code: status.code().expect("the binary exits by itself"),
        stdout: String::from_utf8(stdout).expect("stdout is UTF-8"),
        stderr: String::from_utf8(stderr).expect("stderr is UTF-8"),
    }
}

/// Runs the binary and demands success; its stdout.
pub fn ok(folder: &Path, args: &[&str]) -> String {
    let ran = run_in(folder, args);
    assert_eq!(
        ran.code,
        0,
        "onebit {}\n{}{}",
        args.join(" "),
        ran.stdout,
        ran.stderr
    );
    ran.stdout
}

/// Runs the binary and demands one clear error with this code; its stderr.
pub fn fails(folder: &Path, code: i32, args: &[&str]) -> String {
    let ran = run_in(folder, args);
    assert_eq!(
        ran.code,
        code,
        "onebit {}\n{}{}",
        args.join(" "),
        ran.stdout,
        ran.stderr
    );
    let n_errors = ran
        .stderr
        .lines()
        .filter(|line| line.starts_with("error: "))
        .count();
    assert_eq!(n_errors, 1, "not one error: {}", ran.stderr);
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    ran.stderr
}

/// Compares text with `tests/expected/NAME`, or rewrites it.
pub fn expect(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/expected")
        .join(name);
    if std::env::var_os("BLESS").is_some_and(|value| value == "1") {
        std::fs::write(&path, actual).expect("the expected file can be written");
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        actual == expected,
        "{} differs; BLESS=1 rewrites it\n--- expected\n{expected}\n--- actual\n{actual}",
        path.display()
    );
}

/// A temporary folder with `small.net` and `small.bnn`, and the Net.
pub struct Models {
    pub folder: tempfile::TempDir,
    pub net: Net,
}

impl Models {
    pub fn new() -> Models {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let net = small_net();
        std::fs::write(folder.path().join("small.net"), net_to_bytes(&net))
            .expect("the Net is written");
        ok(folder.path(), &["compile", "small.net", "-o", "small.bnn"]);
        Models { folder, net }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// A net for the digits whose numbers are the same on every machine: ternary and binary weights, a bias, gains
/// of both signs and one of zero, integer scores.
pub fn small_net() -> Net {
    let mut state = 12345u32;
    let mut noise = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 16
    };
    let mut bits =
        |rows, cols, one_in: u32| BitMatrix::from_fn(rows, cols, |_, _| noise() % one_in == 0);
    let mask = bits(24, 64, 2);
    let sign = bits(24, 64, 2);
    let sign = BitMatrix::from_fn(24, 64, |row, col| mask.get(row, col) && sign.get(row, col));
    let norm = BatchNorm {
        gamma: (0..24)
            .map(|i| [1.0, -0.5, 2.0, 0.25][i % 4] * if i == 7 { 0.0 } else { 1.0 })
            .collect(),
        beta: (0..24).map(|i| (i as f32 - 12.0) / 16.0).collect(),
        mean: (0..24).map(|i| (i as f32 * 3.0) % 7.0 - 3.0).collect(),
        var: (0..24).map(|i| 20.0 + i as f32).collect(),
        eps: 1e-5,
    };
    // Each layer reads the one before it.
    let layer = |(idx, (name, op)): (usize, (&str, LayerOp))| Layer {
        name: name.into(),
        op,
        inputs: vec![ValueId(idx)],
    };
    let dense = |weights, bias| LayerOp::Dense { weights, bias };
    let hidden2 = Weights::Bits(bits(16, 24, 2));
    let scores = Weights::Bits(bits(10, 16, 2));
    let bias = Some((0..16).map(|i| i % 3 - 1).collect());
    let layers = [
        ("hidden1", dense(Weights::Ternary { sign, mask }, None)),
        ("hidden1.norm", LayerOp::Norm(norm)),
        ("hidden1.sign", LayerOp::Sign),
        ("hidden2", dense(hidden2, bias)),
        ("hidden2.sign", LayerOp::Sign),
        ("scores", dense(scores, None)),
    ];
    Net {
        name: "small".into(),
        input: Type {
            kind: Kind::Levels(8),
            shape: vec![8, 8, 1],
        },
        encoder: Encoder::Sign { at: 128 },
        layers: layers.into_iter().enumerate().map(layer).collect(),
        notes: vec![
            ("classes".into(), "0,1,2,3,4,5,6,7,8,9".into()),
            ("data".into(), "digits".into()),
        ],
    }
}

/// A recipe on the digits that trains in a moment.
pub fn tiny_recipe(name: &str, epochs: usize) -> String {
    format!(
        "name = \"{name}\"\ndata = \"digits\"\nseed = 3\nvalidation = 200\n\n[input]\nencoding = \"sign\"\nat = 128\n\n\
         [model]\nhidden = [48]\nnorm = \"batch\"\n\n[[stage]]\nkind = \"bitwise\"\nepochs = {epochs}\nbatch = 64\n\
         lr = 0.01\nlr_end = 1e-4\nlatent_clip = 1.0\n"
    )
}

/// The folder of a shared data set; `None`, with the way to get it, where there is none.
pub fn shared_data(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("ONEBIT_SHARED").map(|shared| PathBuf::from(shared).join("data"));
    if let Some(path) = path.filter(|path| path.join(name).is_dir()) {
        return Some(path);
    }
    let missing = format!("set ONEBIT_SHARED to the folder with data/{name}");
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "nothing is skipped in CI: {missing}"
    );
    println!("skipped: {missing}");
    None
}

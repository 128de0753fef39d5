//! FINN: the published networks give what the original hardware gave, and damaged folders are named.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use onebit_data::{Array, ArrayData, Features, Split, read_npz};
use onebit_import::{Head, ImportError, Imported, Options, Source, import};
use onebit_model::program::{Kind, Op, Program};
use onebit_model::weights::Weights;
use onebit_model::{Tensor, interpret, verify};
use onebit_run::{InputBatch, OutputBatch, Plan, PlanOptions};
use tempfile::TempDir;

const LFC: &str = "mnist_lfcW1A1.tar.gz";
const CNV: &str = "cifar10_cnvW1A1.tar.gz";

fn shared() -> Option<PathBuf> {
    let found = env::var_os("ONEBIT_SHARED").map(|dir| PathBuf::from(dir).join("models/finn"));
    let found = found.filter(|dir| dir.is_dir());
    if found.is_none() {
        println!("skipped: set ONEBIT_SHARED to the folder that holds models/finn");
    }
    found
}

fn import_with(path: &Path, head: Head) -> Result<Imported, ImportError> {
    let options = Options {
        head,
        ..Options::default()
    };
    import(path, &options)
}

/// The scores of every image, computed by the engine.
fn scores(program: &Program, pixels: &[u8]) -> Vec<i32> {
    let plan = Plan::new(program, &PlanOptions::default()).unwrap();
    let n_images = pixels.len() / program.input.n_elements();
    let mut scores = vec![0; n_images * 10];
    let mut session = plan.session().unwrap();
    session
        .run(InputBatch::Levels(pixels), OutputBatch::Int(&mut scores))
        .unwrap();
    scores
}

/// The index of the greatest score, the first on a tie.
fn answer(scores: &[i32]) -> usize {
    let greatest = scores.iter().max().unwrap();
    scores.iter().position(|score| score == greatest).unwrap()
}

fn n_correct(program: &Program, split: &Split) -> usize {
    let scores = scores(program, pixels(split));
    let answers = scores.chunks_exact(10).map(answer);
    let pairs = answers.zip(&split.labels);
    pairs
        .filter(|&(answer, &label)| answer == usize::from(label))
        .count()
}

fn pixels(split: &Split) -> &[u8] {
    match &split.features {
        Features::U8(pixels) => pixels,
        Features::F32(_) => panic!("pixels are bytes"),
    }
}

fn ints(array: &Array) -> &[i32] {
    match &array.data {
        ArrayData::I32(values) => values,
        other => panic!("{} instead of int32", other.type_name()),
    }
}

/// The interpreter, which shares no code with the engine, agrees on the first images.
fn check_interpreter(program: &Program, pixels: &[u8], n_images: usize) {
    let types = verify(program).unwrap();
    let n = program.input.n_elements();
    let wanted = scores(program, &pixels[..n_images * n]);
    for (image, wanted) in pixels.chunks_exact(n).zip(wanted.chunks_exact(10)) {
        let scores = interpret(program, &types, &Tensor::Levels(image.to_vec()));
        assert_eq!(scores, Tensor::Int(wanted.to_vec()));
    }
}

#[test]
fn lfc_answers_as_published() {
    let Some(dir) = shared() else { return };
    let imported = import(&dir.join(LFC), &Options::default()).unwrap();
    assert_eq!(imported.source, Source::Finn);
    assert_eq!(imported.warnings, Vec::<String>::new());
    let program = imported.program;
    assert_eq!(program.name, "lfcW1A1");
    assert_eq!(program.input.shape, [28, 28, 1]);
    assert_eq!(program.input.kind, Kind::Levels(8));
    let classes = ("classes".into(), "0,1,2,3,4,5,6,7,8,9".into());
    assert_eq!(program.notes, [classes]);
    let mnist = onebit_data::open("mnist").unwrap();
    assert_eq!(n_correct(&program, &mnist.test), 9840);
    check_interpreter(&program, pixels(&mnist.test), 20);
}

#[test]
fn lfc_popcounts_are_the_recorded_ones() {
    let Some(dir) = shared() else { return };
    let program = import_with(&dir.join(LFC), Head::Popcounts)
        .unwrap()
        .program;
    let mnist = onebit_data::open("mnist").unwrap();
    let [recorded] = read_npz(&dir.join("mnist_lfcW1A1_t10k.npz"), ["popcount"]).unwrap();
    assert_eq!(recorded.shape, [10_000, 10]);
    let popcounts = scores(&program, pixels(&mnist.test));
    let n_different = popcounts
        .iter()
        .zip(ints(&recorded))
        .filter(|(a, b)| a != b)
        .count();
    assert_eq!(n_different, 0, "of {}", popcounts.len());
    check_interpreter(&program, pixels(&mnist.test), 5);
}

#[test]
fn cnv_scores_are_those_of_the_hardware() {
    let Some(dir) = shared() else { return };
    let recorded = dir.join("cifar10_cnvW1A1_fpga_scores.npz");
    let [images, recorded] = read_npz(&recorded, ["images_hwc_u8", "fpga_scores"]).unwrap();
    let ArrayData::U8(images) = images.data else {
        panic!("images are bytes")
    };
    for head in [Head::Scores, Head::Popcounts] {
        let program = import_with(&dir.join(CNV), head).unwrap().program;
        assert_eq!(program.input.shape, [32, 32, 3]);
        assert_eq!(scores(&program, &images), ints(&recorded));
        assert_eq!(program.notes[0].1.split(',').nth(1), Some("Automobile"));
        check_interpreter(&program, &images, 1);
    }
}

#[test]
fn cnv_answers_as_published() {
    let Some(dir) = shared() else { return };
    if env::var_os("ONEBIT_CIFAR10").is_none() {
        println!("skipped: set ONEBIT_CIFAR10 to a folder with the binary version of CIFAR-10");
        return;
    }
    let program = import(&dir.join(CNV), &Options::default()).unwrap().program;
    let cifar = onebit_data::open("cifar10").unwrap();
    assert_eq!(n_correct(&program, &cifar.test), 7922);
}

/// The archive's folder, unpacked.
fn unpacked(archive: &str) -> Option<(TempDir, PathBuf)> {
    let dir = shared()?;
    let folder = TempDir::new().unwrap();
    let file = fs::File::open(dir.join(archive)).unwrap();
    tar::Archive::new(flate2::read::GzDecoder::new(file))
        .unpack(folder.path())
        .unwrap();
    let net = archive.trim_end_matches(".tar.gz").replace('_', "/");
    let net = folder.path().join("bnn/params").join(net);
    assert!(net.is_dir());
    Some((folder, net))
}

#[track_caller]
fn assert_error(path: &Path, words: &[&str]) {
    let error = import(path, &Options::default()).unwrap_err().to_string();
    for word in words {
        assert!(error.contains(word), "`{word}` is not in: {error}");
    }
}

#[test]
fn a_folder_gives_what_its_archive_gives() {
    let Some((root, net)) = unpacked(LFC) else {
        return;
    };
    let from_archive = import(&shared().unwrap().join(LFC), &Options::default()).unwrap();
    for path in [root.path(), &net] {
        let from_folder = import(path, &Options::default()).unwrap();
        assert_eq!(from_folder.program, from_archive.program);
    }
    let tar = root.path().join("net.tar");
    let mut builder = tar::Builder::new(fs::File::create(&tar).unwrap());
    builder.append_dir_all(".", &net).unwrap();
    builder.finish().unwrap();
    let from_tar = import(&tar, &Options::default()).unwrap();
    assert_eq!(from_tar.program, from_archive.program);
}

#[test]
fn damaged_folders_name_the_file() {
    let Some((_root, net)) = unpacked(LFC) else {
        return;
    };
    let path = |name: &str| net.join(name);
    let original = fs::read(path("1-7-weights.bin")).unwrap();
    fs::write(path("1-7-weights.bin"), &original[..4088]).unwrap();
    assert_error(&net, &["1-7-weights.bin", "has 4088 bytes instead of 4096"]);
    // 32 synapses to a word: bit 40 is none of them.
    let mut dirty = original.clone();
    dirty[8 * 3 + 5] |= 1;
    fs::write(path("1-7-weights.bin"), &dirty).unwrap();
    assert_error(&net, &["1-7-weights.bin", "word 3 has bits above the 32"]);
    fs::write(path("1-7-weights.bin"), &original).unwrap();
    fs::rename(path("2-31-thres.bin"), path("away")).unwrap();
    assert_error(&net, &["2-31-thres.bin", "is missing"]);
    fs::rename(path("away"), path("2-31-thres.bin")).unwrap();
    fs::rename(path("2-31-weights.bin"), path("away")).unwrap();
    assert_error(
        &net,
        &[
            "4 layers of [32, 64, 31, 16]",
            "lfcW1A1 has [32, 64, 32, 16]",
        ],
    );
    fs::rename(path("away"), path("2-31-weights.bin")).unwrap();
    fs::write(path("0-0-thres.bin"), [0; 7]).unwrap();
    assert_error(
        &net,
        &[
            "0-0-thres.bin",
            "has 7 bytes",
            "256 in lfcW1A1 and 512 in lfcW1A2",
        ],
    );
    fs::write(path("classes.txt"), "").unwrap();
    fs::write(path("0-0-thres.bin"), [0; 256]).unwrap();
    assert_error(&net, &["classes.txt", "names 0 classes"]);
}

#[test]
fn rows_of_the_last_layer_that_nobody_uses_may_be_missing() {
    let Some((_root, net)) = unpacked(LFC) else {
        return;
    };
    let whole = import(&net, &Options::default()).unwrap().program;
    for pe in 0..16 {
        for (part, n_bytes) in [("weights", 8 * 128), ("thres", 8)] {
            let path = net.join(format!("3-{pe}-{part}.bin"));
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..n_bytes]).unwrap();
        }
    }
    let short = import(&net, &Options::default()).unwrap();
    assert_eq!(short.program, whole);
    fs::remove_file(net.join("classes.txt")).unwrap();
    let unnamed = import(&net, &Options::default()).unwrap();
    assert_eq!(unnamed.program.nodes, whole.nodes);
    assert_eq!(unnamed.warnings.len(), 1);
    fs::write(net.join("3-0-weights.bin"), [0; 8 * 127]).unwrap();
    assert_error(&net, &["3-0-weights.bin", "instead of 1024 to 4096"]);
}

#[test]
fn several_networks_are_listed_and_none_is_an_error() {
    let folder = TempDir::new().unwrap();
    assert_error(folder.path(), &["no files like 0-0-weights.bin"]);
    for name in ["a", "b"] {
        fs::create_dir(folder.path().join(name)).unwrap();
        fs::write(folder.path().join(name).join("0-0-weights.bin"), [0; 8]).unwrap();
    }
    assert_error(
        folder.path(),
        &["there are 2 networks: a, b", "give the path"],
    );
    fs::write(folder.path().join("x.tar.gz"), [0x1f, 0x8b, 8, 0]).unwrap();
    assert_error(
        &folder.path().join("x.tar.gz"),
        &["the archive cannot be read"],
    );
}

#[test]
fn an_archive_that_unpacks_to_too_much_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("bomb.tar.gz");
    let file = fs::File::create(&path).unwrap();
    let encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    let mut builder = tar::Builder::new(encoder);
    let zeros = vec![0; 1 << 20];
    for pe in 0..70 {
        let mut header = tar::Header::new_gnu();
        header.set_size(zeros.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        let name = format!("net/0-{pe}-weights.bin");
        builder.append_data(&mut header, name, &zeros[..]).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap();
    assert_error(&path, &["more than 64 MiB"]);
}

/// A generator of test numbers.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
}

/// A layer for [`write_net`]: columns, rows, SIMD and PE.
type Fold = [usize; 4];

/// A layer's random numbers.
struct Numbers {
    /// By row and column.
    weights: Vec<Vec<i64>>,
    /// By row, ascending.
    limits: Vec<Vec<i64>>,
}

impl Numbers {
    fn random(random: &mut Random, fold: Fold, weight_bits: usize, n_limits: usize) -> Self {
        let [cols, rows, ..] = fold;
        let mut weight = || match weight_bits {
            1 => 2 * (random.next() % 2) as i64 - 1,
            _ => (random.next() % 3) as i64 - 1,
        };
        let weights = (0..rows).map(|_| (0..cols).map(|_| weight()).collect());
        let weights = weights.collect();
        let mut limits: Vec<Vec<i64>> = Vec::new();
        for _ in 0..rows {
            let mut row: Vec<i64> = (0..n_limits)
                .map(|_| (random.next() % 60) as i64 - 30)
                .collect();
            row.sort_unstable();
            limits.push(row);
        }
        Numbers { weights, limits }
    }

    fn sum(&self, row: usize, x: &[i64]) -> i64 {
        self.weights[row].iter().zip(x).map(|(w, x)| w * x).sum()
    }

    /// What the hardware makes of a sum: -1, 0 or +1.
    fn active(&self, row: usize, sum: i64) -> i64 {
        self.limits[row]
            .iter()
            .filter(|&&limit| sum > limit)
            .count() as i64
            - 1
    }

    fn dense(&self, x: &[i64]) -> Vec<i64> {
        (0..self.weights.len())
            .map(|row| self.sum(row, x))
            .collect()
    }

    fn dense_active(&self, x: &[i64]) -> Vec<i64> {
        let sums = self.dense(x).into_iter().enumerate();
        sums.map(|(row, sum)| self.active(row, sum)).collect()
    }

    /// A 3 x 3 convolution; `factor` is what sums are multiplied by before they are compared.
    fn conv_active(&self, x: &[i64], size: usize, factor: i64) -> Vec<i64> {
        let (out, channels) = (size - 2, x.len() / (size * size));
        let mut y = Vec::new();
        for at in 0..out * out {
            let tap = |tap: usize| {
                let from = ((at / out + tap / 3) * size + at % out + tap % 3) * channels;
                &x[from..from + channels]
            };
            let columns = (0..9).flat_map(tap).copied().collect::<Vec<i64>>();
            let rows = 0..self.weights.len();
            y.extend(rows.map(|row| self.active(row, factor * self.sum(row, &columns))));
        }
        y
    }

    fn write(&self, dir: &Path, layer: usize, fold: Fold, weight_bits: usize) {
        let [_, rows, simd, pe] = fold;
        let code = |weight: i64| match weight_bits {
            1 => u64::from(weight > 0),
            _ => (weight & 3) as u64,
        };
        let word = |synapses: &[i64]| -> u64 {
            let reversed = synapses.iter().rev();
            reversed.fold(0, |word, &weight| word << weight_bits | code(weight))
        };
        for p in 0..pe {
            let own_rows = || (p..rows).step_by(pe);
            let words = own_rows().flat_map(|row| self.weights[row].chunks(simd).map(word));
            let words: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
            fs::write(dir.join(format!("{layer}-{p}-weights.bin")), words).unwrap();
            let limits = own_rows().flat_map(|row| &self.limits[row]);
            let limits: Vec<u8> = limits.flat_map(|limit| limit.to_le_bytes()).collect();
            if !limits.is_empty() {
                fs::write(dir.join(format!("{layer}-{p}-thres.bin")), limits).unwrap();
            }
        }
    }
}

/// Writes a folder of random numbers with two thresholds for each row, and `n_last` in the last layer.
fn write_net(dir: &Path, folds: &[Fold], weight_bits: usize, n_last: usize) -> Vec<Numbers> {
    let mut random = Random(7);
    let layers = folds.iter().enumerate().map(|(layer, &fold)| {
        let n_limits = if layer + 1 == folds.len() { n_last } else { 2 };
        let numbers = Numbers::random(&mut random, fold, weight_bits, n_limits);
        numbers.write(dir, layer, fold, weight_bits);
        numbers
    });
    layers.collect()
}

fn ten(sums: &[i64]) -> Vec<i32> {
    sums[..10].iter().map(|&sum| sum as i32).collect()
}

#[test]
fn two_bit_activations_keep_the_arithmetic_of_the_hardware() {
    let folder = TempDir::new().unwrap();
    let folds = [
        [832, 1024, 64, 32],
        [1024, 1024, 32, 64],
        [1024, 1024, 64, 32],
        [1024, 64, 8, 16],
    ];
    let layers = write_net(folder.path(), &folds, 1, 1);
    let program = import_with(folder.path(), Head::Popcounts).unwrap().program;
    assert_eq!(program.name, "lfcW1A2");
    let scored = import(folder.path(), &Options::default()).unwrap().program;
    let mut random = Random(11);
    for _ in 0..3 {
        let image: Vec<u8> = (0..784).map(|_| random.next() as u8).collect();
        let bits = image.iter().map(|&pixel| if pixel >= 128 { 1 } else { -1 });
        let mut x: Vec<i64> = bits.collect();
        // Columns without a pixel read -1.
        x.resize(832, -1);
        for layer in &layers[..3] {
            x = layer.dense_active(&x);
        }
        let last = layers[3].dense(&x);
        assert_eq!(scores(&program, &image), ten(&last));
        let is_set = |&class: &usize| last[class] > layers[3].limits[class][0];
        let highest = (0..10).rev().find(is_set).unwrap_or(0);
        assert_eq!(answer(&scores(&scored, &image)), highest);
    }
}

#[test]
fn ternary_weights_keep_the_arithmetic_of_the_hardware() {
    let folder = TempDir::new().unwrap();
    let folds = [
        [27, 64, 3, 8],
        [576, 64, 16, 16],
        [576, 128, 16, 8],
        [1152, 128, 16, 8],
        [1152, 256, 8, 4],
        [2304, 256, 8, 1],
        [256, 512, 2, 1],
        [512, 512, 2, 2],
        [512, 64, 1, 4],
    ];
    let layers = write_net(folder.path(), &folds, 2, 0);
    let program = import(folder.path(), &Options::default()).unwrap().program;
    assert_eq!(program.name, "cnvW2A2");
    let is_ternary = |op: &Op| match op {
        Op::Dense { weights, .. } => matches!(weights, Weights::Ternary { .. }),
        Op::Conv2d(conv) => matches!(conv.weights, Weights::Ternary { .. }),
        _ => true,
    };
    assert!(program.nodes.iter().all(|node| is_ternary(&node.op)));
    let mut random = Random(5);
    let image: Vec<u8> = (0..3072).map(|_| random.next() as u8).collect();
    let fixed = |&pixel: &u8| ((i64::from(pixel) * 512 + 255) / 510 - 128).min(127);
    let mut x: Vec<i64> = image.iter().map(fixed).collect();
    let mut size = 32;
    for (idx, layer) in layers[..6].iter().enumerate() {
        // The first layer's sums have 7 fractional bits, its thresholds 8.
        x = layer.conv_active(&x, size, if idx == 0 { 2 } else { 1 });
        size -= 2;
        if idx == 1 || idx == 3 {
            x = max_pool(&x, size);
            size /= 2;
        }
    }
    for layer in &layers[6..8] {
        x = layer.dense_active(&x);
    }
    assert_eq!(scores(&program, &image), ten(&layers[8].dense(&x)));
}

/// The greatest of each 2 x 2 pixels.
fn max_pool(x: &[i64], size: usize) -> Vec<i64> {
    let (half, channels) = (size / 2, x.len() / (size * size));
    let mut pooled = Vec::new();
    for at in 0..half * half * channels {
        let (pixel, channel) = (at / channels, at % channels);
        let (row, col) = (2 * (pixel / half), 2 * (pixel % half));
        let tap =
            |down: usize, right: usize| x[((row + down) * size + col + right) * channels + channel];
        let taps = [tap(0, 0), tap(0, 1), tap(1, 0), tap(1, 1)];
        pooled.extend(taps.iter().max());
    }
    pooled
}

//! Timing of a Plan: whole batches, and layer by layer.
//!
//! Owns the clock and the statistics. Printing and comparing records is left to the caller.

use std::time::{Duration, Instant};

use onebit_model::program::{Kind, ValueId};

use crate::batch::{InputBatch, OutputBatch};
use crate::error::{PlanError, RunError};
use crate::peak::{Peak, measure};
use crate::plan::{LayerInfo, Plan, tile_size};
use crate::session::Session;
use crate::step::When;
use crate::workspace::Workspace;

/// How long and how large.
#[derive(Clone, Copy, Debug)]
pub struct BenchOptions {
    /// Images of one run; 0 is taken as 1.
    pub batch: usize,
    /// Time spent on whole batches; layers and the peak take about as much again.
    pub duration: Duration,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct BenchReport {
    /// Name of the instruction set.
    pub isa: &'static str,
    /// Threads, the caller's included.
    pub threads: usize,
    /// Images of one run.
    pub batch: usize,
    /// Runs that were timed.
    pub runs: usize,
    /// Images per second, from the median run.
    pub images_per_s: f64,
    /// The median run, in milliseconds.
    pub median_ms: f64,
    /// The 99th percentile of the runs, in milliseconds.
    pub p99_ms: f64,
    /// The fastest run, in milliseconds.
    pub min_ms: f64,
    /// Products of single bits per second, from the median run.
    pub bit_macs_per_s: f64,
    /// The line of one core.
    pub peak: Peak,
    /// `bit_macs_per_s` as a share of the line of all threads; an algorithm with fewer operations
    /// than counting may pass 1.
    pub share_of_peak: f64,
    /// The layers, timed on one thread.
    pub layers: Vec<LayerTiming>,
}

/// One layer's share of a tile.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct LayerTiming {
    /// What the layer does.
    #[serde(flatten)]
    pub info: LayerInfo,
    /// The median time of one tile, in microseconds.
    pub median_us: f64,
    /// Images of the tile.
    pub tile: usize,
    /// Bytes of weights, operands and results that the tile reads and writes.
    pub bytes: usize,
    /// The layer's share of the time of all layers.
    pub share_of_time: f64,
    /// Products of single bits per second.
    pub bit_macs_per_s: f64,
    /// `bit_macs_per_s` as a share of the line of one core; `None` where no bits are multiplied.
    pub share_of_peak: Option<f64>,
}

/// Why a Plan could not be timed.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The session could not be made.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A run failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The batch and a single image give different answers, which is a bug in onebit.
    #[error(
        "image {image} has another answer in the batch than alone; please report this as a bug of onebit"
    )]
    Answer {
        /// Index of the image in the batch.
        image: usize,
    },
}

/// An owned input batch of repeatable noise.
enum Noise {
    Codes(Vec<u8>),
    Bits(Vec<u64>),
    Ints(Vec<i32>),
    Reals(Vec<f32>),
}

impl Noise {
    fn new(plan: &Plan, batch: usize) -> Self {
        let ty = plan.input_type();
        let n = batch * ty.n_elements();
        let mut state = 0x9E37_79B9_7F4A_7C15u64;
        let mut next = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        match ty.kind {
            Kind::Levels(bits) => {
                Noise::Codes((0..n).map(|_| (next() >> (64 - bits)) as u8).collect())
            }
            Kind::Bits => {
                let words = batch * onebit_bits::n_words(ty.n_elements());
                Noise::Bits((0..words).map(|_| next()).collect())
            }
            Kind::Int => Noise::Ints((0..n).map(|_| next() as i8 as i32).collect()),
            Kind::Real => Noise::Reals((0..n).map(|_| next() as i32 as f32 / 2e9).collect()),
        }
    }

    fn as_batch(&self) -> InputBatch<'_> {
        match self {
            Noise::Codes(x) => InputBatch::Levels(x),
            Noise::Bits(x) => InputBatch::PackedBits(x),
            Noise::Ints(x) => InputBatch::Int(x),
            Noise::Reals(x) => InputBatch::Real(x),
        }
    }

    /// One image of `batch`.
    fn image(&self, image: usize, batch: usize) -> InputBatch<'_> {
        fn part<T>(x: &[T], image: usize, batch: usize) -> &[T] {
            let n = x.len() / batch;
            &x[image * n..(image + 1) * n]
        }
        match self {
            Noise::Codes(x) => InputBatch::Levels(part(x, image, batch)),
            Noise::Bits(x) => InputBatch::PackedBits(part(x, image, batch)),
            Noise::Ints(x) => InputBatch::Int(part(x, image, batch)),
            Noise::Reals(x) => InputBatch::Real(part(x, image, batch)),
        }
    }
}

/// Answers of either kind.
struct Answers {
    is_real: bool,
    ints: Vec<i32>,
    reals: Vec<f32>,
}

impl Answers {
    fn new(plan: &Plan, batch: usize) -> Self {
        let n = batch * plan.output_type().n_elements();
        let is_real = plan.output_type().kind == Kind::Real;
        let (n_ints, n_reals) = if is_real { (0, n) } else { (n, 0) };
        Answers {
            is_real,
            ints: vec![0; n_ints],
            reals: vec![0.0; n_reals],
        }
    }

    fn as_batch(&mut self) -> OutputBatch<'_> {
        if self.is_real {
            OutputBatch::Real(&mut self.reals)
        } else {
            OutputBatch::Int(&mut self.ints)
        }
    }

    /// Whether the answers of one image of these are all the answers of `single`.
    fn image_is(&self, image: usize, single: &Answers) -> bool {
        let ints = self.ints.iter().skip(image * single.ints.len());
        let reals = self.reals.iter().skip(image * single.reals.len());
        single.ints.iter().zip(ints).all(|(a, b)| a == b)
            && single
                .reals
                .iter()
                .zip(reals)
                .all(|(a, b)| a.to_bits() == b.to_bits())
    }
}

/// Checks a batch's answers against single images, which take other kernels than large batches.
fn check_answers(
    session: &mut Session,
    noise: &Noise,
    answers: &Answers,
    batch: usize,
) -> Result<(), BenchError> {
    let mut single = Answers::new(session.plan(), 1);
    for image in (0..batch).step_by(batch.div_ceil(N_CHECKED)) {
        session.run(noise.image(image, batch), single.as_batch())?;
        if !answers.image_is(image, &single) {
            return Err(BenchError::Answer { image });
        }
    }
    Ok(())
}

/// Most images that are checked.
const N_CHECKED: usize = 16;

/// Times whole batches of noise, whose answers are checked first, then every layer, then the peak of the core.
pub fn bench(plan: &Plan, options: &BenchOptions) -> Result<BenchReport, BenchError> {
    let batch = options.batch.max(1);
    let noise = Noise::new(plan, batch);
    let mut session = plan.session()?;
    let mut answers = Answers::new(plan, batch);
    session.run(noise.as_batch(), answers.as_batch())?;
    check_answers(&mut session, &noise, &answers, batch)?;
    let mut times = sample(options.duration, || {
        session.run(noise.as_batch(), answers.as_batch())
    })?;
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    let p99 = times[(times.len() * 99 / 100).min(times.len() - 1)];
    let peak = measure(plan.options().isa);
    let macs: u64 = plan.layers(batch).iter().map(|layer| layer.bit_macs).sum();
    let bit_macs_per_s = macs as f64 * batch as f64 / median;
    let threads = plan.options().threads;
    Ok(BenchReport {
        isa: plan.options().isa.name(),
        threads,
        batch,
        runs: times.len(),
        images_per_s: batch as f64 / median,
        median_ms: median * 1e3,
        p99_ms: p99 * 1e3,
        min_ms: times[0] * 1e3,
        bit_macs_per_s,
        share_of_peak: bit_macs_per_s / (peak.bit_macs_per_s * threads as f64),
        layers: layers(plan, batch, &noise, options.duration, &peak),
        peak,
    })
}

/// Times `run` again and again for a duration: seconds of every call, at least one.
fn sample(
    duration: Duration,
    mut run: impl FnMut() -> Result<(), RunError>,
) -> Result<Vec<f64>, RunError> {
    let start = Instant::now();
    let mut times = Vec::with_capacity(1 << 16);
    loop {
        let begin = Instant::now();
        run()?;
        times.push(begin.elapsed().as_secs_f64());
        if start.elapsed() >= duration || times.len() == times.capacity() {
            return Ok(times);
        }
    }
}

/// Times every step of a tile on this thread.
fn layers(
    plan: &Plan,
    batch: usize,
    noise: &Noise,
    duration: Duration,
    peak: &Peak,
) -> Vec<LayerTiming> {
    let parts = &plan.shared;
    let tile = tile_size(batch, plan.options().threads, parts.tile);
    let infos = plan.layers(batch);
    let mut workspace = Workspace::new(parts, &parts.memory, tile, When::Always);
    noise
        .as_batch()
        .load(parts.stored(ValueId(0)), 0..tile, workspace.input_mut());
    let mut times: Vec<Vec<f64>> = infos.iter().map(|_| Vec::new()).collect();
    let start = Instant::now();
    while times
        .first()
        .is_some_and(|times| times.is_empty() || start.elapsed() < duration)
    {
        let steps = parts.steps.iter().enumerate();
        let due = steps.filter(|(_, step)| step.when == When::Always);
        for ((idx, step), times) in due.zip(&mut times) {
            let begin = Instant::now();
            workspace.execute_step(parts, idx, step, tile);
            times.push(begin.elapsed().as_secs_f64());
        }
    }
    let medians: Vec<f64> = times.iter_mut().map(|times| median(times)).collect();
    let total: f64 = medians.iter().sum();
    infos
        .into_iter()
        .zip(medians)
        .map(|(info, median)| {
            let bit_macs_per_s = info.bit_macs as f64 * tile as f64 / median;
            let share = bit_macs_per_s / peak.bit_macs_per_s;
            LayerTiming {
                median_us: median * 1e6,
                tile,
                bytes: info.weight_bytes + info.value_bytes * tile,
                share_of_time: median / total,
                bit_macs_per_s,
                share_of_peak: (info.bit_macs > 0).then_some(share),
                info,
            }
        })
        .collect()
}

/// The median of seconds, of which there are some; never zero, so that rates are finite.
fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2].max(1e-9)
}

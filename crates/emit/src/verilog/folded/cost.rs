//! What the modules of the folded style cost: LUTs with six inputs and flip-flops, memories apart.
//!
//! A module's sizes come in; figures go out. The factors are fitted to single modules that Yosys mapped with
//! `synth_xilinx`: `bench/fpga/synth.py` prints both side by side.

use onebit_model::weights::Weights;

use super::pointwise::Map;
use super::product::Product;
use super::stream::{Element, Form, Stream};
use super::window::Walk;
use crate::verilog::text::unsigned_width;

/// LUTs and flip-flops.
pub(super) type Logic = [f64; 2];

fn width(n: usize) -> f64 {
    unsigned_width(n as u64 - 1) as f64
}

/// A module that cuts a beat into `factor`.
pub(super) fn narrow(x: &Stream, factor: usize) -> Logic {
    let (bits, count) = (x.bits() as f64, width(factor + 1));
    [bits + 2.0 * count, bits + count]
}

/// A module that joins `factor` beats to one.
pub(super) fn widen(y: &Stream, factor: usize) -> Logic {
    let count = width(factor);
    [4.0 + count, y.bits() as f64 + count + 1.0]
}

/// The module that makes 32-bit answers.
pub(super) fn answer(x: &Stream) -> Logic {
    let index = width(x.n_elements);
    [3.0 + index, x.bits() as f64 + index + 2.0]
}

/// The greatest of a window, for each element of a beat.
pub(super) fn max_pool(x: &Stream) -> Logic {
    let (n, bits) = (x.per_beat as f64, x.element.bits as f64);
    let compare = if x.element.bits == 1 { 1.0 } else { 1.5 * bits };
    [3.0 + n * compare, 2.0 + n * bits]
}

/// The sums of two streams.
pub(super) fn add(y: &Stream) -> Logic {
    [3.0 + 1.2 * y.bits() as f64, 0.0]
}

/// The index of the greatest.
pub(super) fn argmax(x: &Stream) -> Logic {
    let (index, bits) = (width(x.n_elements), x.element.bits as f64);
    [6.0 + 2.0 * index + bits, 2.0 * index + bits + 1.0]
}

/// Elements in any order.
pub(super) fn gather(operands: &[(Element, usize)], n: usize) -> Logic {
    let addresses: f64 = operands.iter().map(|(_, n)| 2.0 * width(*n) + 12.0).sum();
    let flops: f64 = operands.iter().map(|(_, n)| width(*n) + 4.0).sum();
    let index = width(n);
    [10.0 + 2.0 * index + addresses, 8.0 + 2.0 * index + flops]
}

impl Walk {
    /// The addresses and counters.
    pub(super) fn cost(&self) -> Logic {
        let address = width(self.depth());
        let trips = self.loops.iter().map(|step| step.trip);
        let n_loops = trips.clone().filter(|trip| *trip > 1).count() as f64;
        let counters: f64 = trips.filter(|trip| *trip > 1).map(width).sum();
        let word = self.word_bits as f64;
        let pads = match (&self.pad_word, self.has_pads(0) || self.has_pads(1)) {
            (_, false) => 0.0,
            (None, true) => 45.0,
            (Some(_), true) => 45.0 + 0.9 * word,
        };
        // A block memory has a register of its own.
        let register = if self.memory().is_block() { 0.0 } else { word };
        [
            8.0 + 1.3 * counters + (1.5 + n_loops) * address + pads,
            2.0 + 3.0 * address + 6.0 * n_loops + register,
        ]
    }
}

impl Product<'_> {
    /// The sums of a word and the accumulators.
    pub(super) fn cost(&self) -> Logic {
        let (pe, simd) = (self.pe as f64, self.simd as f64);
        let accumulator = self.accumulator().element.bits as f64;
        let x_bits = self.element.bits as f64;
        let columns = match (self.element.form, self.weights) {
            (Form::Sign, Weights::Bits(_)) => 1.65,
            (Form::Sign, Weights::Ternary { .. }) => 2.3,
            (Form::Sign, _) => 12.0,
            (_, Weights::Planes(planes)) => (planes.planes().len() + 1) as f64 * x_bits,
            (_, Weights::Int8(_)) => 8.0 * x_bits,
            _ => 2.5 * (x_bits + 1.0),
        };
        let sum = unsigned_width(self.simd as u64) as f64;
        let rom = self.memories();
        let register = match rom.depth == 1 || rom.is_block() {
            true => 0.0,
            false => rom.width as f64,
        };
        [
            pe * (columns * simd + 1.05 * accumulator) + 15.0,
            simd * x_bits + pe * (accumulator + sum + register) + 6.0 + width(rom.depth),
        ]
    }
}

impl Map {
    /// The module for a stream.
    pub(super) fn cost(&self, x: &Stream) -> Logic {
        let (n, bits) = (x.per_beat as f64, x.element.bits as f64);
        let n_beats = (self.n_channels() / x.per_beat).max(1);
        // A constant function of the beat's number, which is part of what reads it where the numbers are few.
        let table = match self.n_channels() {
            1 => 0.0,
            _ => self.rom_bits(x.element) as f64 / 50.0,
        };
        let n_cuts = match self {
            Map::Cuts { cuts, .. } => cuts[0].len() as f64,
            Map::Offset { .. } | Map::Relu { .. } => 0.0,
        };
        let [work, registers] = match (self, self.n_channels()) {
            (Map::Cuts { .. }, 1) => [n_cuts * bits * 0.3, 0.0],
            (Map::Cuts { .. }, _) => [n_cuts * bits * 0.7, if n_beats > 8 { 8.0 } else { 0.0 }],
            _ => [self.result().bits as f64, 0.0],
        };
        [
            n * work + table + if n_beats > 1 { 12.0 } else { 1.0 },
            n * (self.result().bits as f64 + registers) + width(n_beats) + 1.0,
        ]
    }
}

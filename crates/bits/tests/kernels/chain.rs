//! Chains and windows of floats on every tier, against one operation after the other on single values.
//!
//! Owns [`Case`], a random chain with its operands, its places for results and its meaning; the tests of
//! convolutions end in the same chains.

use onebit_bits::Isa;
use onebit_bits::chain::{
    ChainOps, ChainOut, FloatWindow, RealThresholds, chain_ints, chain_reals,
};
use onebit_bits::conv::Geometry;

use crate::random::{Random, Specials, bits_of, packed, paired};

/// An operation by itself.
#[derive(Clone, Debug)]
enum Op {
    Relu,
    Clip(f32, f32),
    Affine(Vec<f32>, Vec<f32>),
    Prelu(Vec<f32>),
    Shift(Vec<f32>),
    Add(usize),
    AddHeld,
    Mul(usize),
}

/// A chain on values of `n` channels.
#[derive(Clone, Debug)]
pub struct Case {
    n: usize,
    relu: bool,
    ops: Vec<Op>,
    operands: Vec<Vec<f32>>,
    // What the place of the result holds before; `None` where only bits are wanted.
    held: Option<Vec<f32>>,
    thresholds: Option<(Vec<f32>, Vec<bool>)>,
}

impl Case {
    /// A chain on `len` values that are of the size of `typical`.
    pub fn new(random: &mut Random, len: usize, n: usize, typical: &[f32]) -> Self {
        let wants = random.below(3);
        let thresholds = (wants != 0).then(|| {
            let at = (0..n).map(|_| match random.below(8) {
                0 => random.pick(&[0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN]),
                1 => random.real(),
                _ => random.pick(typical),
            });
            let at: Vec<f32> = at.collect();
            (at, (0..n).map(|_| random.one_in(2)).collect())
        });
        let mut case = Case {
            n,
            relu: random.one_in(4),
            ops: Vec::new(),
            operands: (0..2).map(|_| random.reals(len, Specials::Some)).collect(),
            held: (wants != 1).then(|| random.reals(len, Specials::Some)),
            thresholds,
        };
        for _ in 0..random.below(6) {
            let op = case.op(random);
            case.ops.push(op);
        }
        case
    }

    /// The same chain for sums that are floats already.
    pub fn without_int_relu(mut self) -> Self {
        self.relu = false;
        self
    }

    fn op(&self, random: &mut Random) -> Op {
        let list = |random: &mut Random| random.reals(self.n, Specials::Some);
        match random.below(8) {
            0 => Op::Relu,
            1 => {
                let (min, max) = random.pick(&[(-1.0, 1.0), (0.0, 6.0), (-0.0, 0.0), (1.0, -1.0)]);
                Op::Clip(min, max)
            }
            2 => Op::Affine(list(random), list(random)),
            3 => Op::Prelu(list(random)),
            4 => Op::Shift(list(random)),
            5 => Op::Add(random.below(2)),
            6 if self.held.is_some() => Op::AddHeld,
            _ => Op::Mul(random.below(2)),
        }
    }

    /// The answers that `run` writes through the output it is given: floats, then packed bits.
    pub fn answers(&self, run: impl FnOnce(ChainOut<'_>)) -> Vec<u64> {
        let mut ops = ChainOps::new();
        if self.relu {
            ops.relu_of_ints();
        }
        for op in &self.ops {
            match op {
                Op::Relu => ops.relu(),
                Op::Clip(min, max) => ops.clip(*min, *max),
                Op::Affine(scale, shift) => ops.affine(scale, shift),
                Op::Prelu(slope) => ops.prelu(slope),
                Op::Shift(shift) => ops.shift(shift),
                Op::Add(idx) => ops.add(*idx),
                Op::AddHeld => ops.add(self.operands.len()),
                Op::Mul(idx) => ops.mul(*idx),
            }
        }
        assert_eq!(ops.len(), self.ops.len() + usize::from(self.relu));
        let operands: Vec<&[f32]> = self.operands.iter().map(Vec::as_slice).collect();
        let mut reals = self.held.clone();
        let n_bits = self.operands[0].len() / self.n * self.n.div_ceil(32);
        let mut bits = vec![!0; n_bits.div_ceil(2)];
        let thresholds = self.thresholds.as_ref();
        let thresholds = thresholds.map(|(at, flip)| RealThresholds::new(at, flip));
        run(ChainOut {
            ops: &ops,
            operands: &operands,
            held: Some(operands.len()),
            reals: reals.as_deref_mut(),
            bits: thresholds.as_ref().map(|at| (at, bits.as_mut_slice())),
        });
        let mut answers = bits_of(&reals.unwrap_or_default());
        if thresholds.is_some() {
            answers.extend(bits);
        }
        answers
    }

    /// What the chain means on integers.
    pub fn expected_of_ints(&self, x: &[i32]) -> Vec<u64> {
        let x = x.iter().map(|&x| if self.relu { x.max(0) } else { x });
        self.finished(x.map(|x| x as f32).collect())
    }

    /// What the chain means on floats.
    pub fn expected_of_reals(&self, x: &[f32]) -> Vec<u64> {
        self.finished(x.to_vec())
    }

    fn finished(&self, mut x: Vec<f32>) -> Vec<u64> {
        for op in &self.ops {
            for (at, x) in x.iter_mut().enumerate() {
                *x = self.applied(op, *x, at);
            }
        }
        let mut answers = match self.held {
            Some(_) => bits_of(&x),
            None => Vec::new(),
        };
        if let Some((at, flip)) = &self.thresholds {
            let channel = |i: usize| i % self.n;
            let bits = x.iter().enumerate();
            let bits = bits.map(|(i, &x)| (x >= at[channel(i)]) != flip[channel(i)]);
            answers.extend(paired(&packed(&bits.collect::<Vec<_>>(), self.n)));
        }
        answers
    }

    fn applied(&self, op: &Op, x: f32, at: usize) -> f32 {
        let channel = at % self.n;
        match op {
            Op::Relu => {
                if x > 0.0 {
                    x
                } else {
                    0.0
                }
            }
            Op::Clip(min, max) => {
                let raised = if x > *min { x } else { *min };
                if raised < *max { raised } else { *max }
            }
            Op::Affine(scale, shift) => scale[channel] * x + shift[channel],
            Op::Prelu(slope) => {
                if x >= 0.0 {
                    x
                } else {
                    slope[channel] * x
                }
            }
            Op::Shift(shift) => x + shift[channel],
            Op::Add(idx) => x + self.operands[*idx][at],
            Op::AddHeld => x + self.held.as_ref().map_or(0.0, |held| held[at]),
            Op::Mul(idx) => x * self.operands[*idx][at],
        }
    }
}

/// A chain on stored integers or floats: what every tier must answer, or what one does.
pub fn stored(isa: Option<Isa>, seed: u64) -> Vec<u64> {
    let mut random = Random::new(seed);
    let (n, positions) = (1 + random.below(130), 1 + random.below(9));
    let len = n * positions;
    if random.one_in(2) {
        let x: Vec<i32> = (0..len)
            .map(|_| random.next() as i32 >> random.pick(&[0, 7, 20, 29]))
            .collect();
        let floats: Vec<f32> = x.iter().map(|&x| x as f32).collect();
        let case = Case::new(&mut random, len, n, &floats);
        match isa {
            Some(isa) => case.answers(|out| chain_ints(isa, &x, n, out)),
            None => case.expected_of_ints(&x),
        }
    } else {
        let x = random.reals(len, Specials::Some);
        let case = Case::new(&mut random, len, n, &x).without_int_relu();
        match isa {
            Some(isa) => case.answers(|out| chain_reals(isa, &x, n, out)),
            None => case.expected_of_reals(&x),
        }
    }
}

/// What a window makes of its elements.
#[derive(Clone, Copy, Debug)]
enum Reduce {
    Max,
    Avg { count_pads: bool },
    Weighted,
}

/// Pools and depthwise convolutions with a chain: what every tier must answer, or what one does.
pub fn window(isa: Option<Isa>, seed: u64) -> Vec<u64> {
    let mut random = Random::new(seed);
    let count_pads = random.one_in(2);
    let reduce = random.pick(&[Reduce::Max, Reduce::Avg { count_pads }, Reduce::Weighted]);
    let geometry = window_geometry(&mut random);
    let Geometry {
        size,
        kernel,
        channels,
        ..
    } = geometry.clone();
    let images = 1 + random.below(3);
    let x = random.reals(images * size[0] * size[1] * channels, Specials::Some);
    let weights = random.reals(kernel[0] * kernel[1] * channels, Specials::None);
    let reduced = reduced(reduce, &geometry, &x, &weights);
    let case = Case::new(&mut random, reduced.len(), channels, &reduced).without_int_relu();
    let Some(isa) = isa else {
        return case.expected_of_reals(&reduced);
    };
    let window = match reduce {
        Reduce::Max => FloatWindow::max_pool(geometry),
        Reduce::Avg { count_pads } => FloatWindow::avg_pool(geometry, count_pads),
        Reduce::Weighted => {
            FloatWindow::depthwise(geometry, |tap, channel| weights[tap * channels + channel])
        }
    };
    case.answers(|out| window.run(isa, &x, images, out))
}

/// A shape whose windows all have a tap inside the image.
fn window_geometry(random: &mut Random) -> Geometry {
    let channels = 1 + random.below(130);
    let mut geometry = Geometry {
        size: [1, 1],
        channels,
        out: [1, 1],
        rows: channels,
        groups: channels,
        kernel: [1, 1],
        stride: [1, 1],
        dilation: [1, 1],
        pads: [0, 0],
    };
    for axis in 0..2 {
        let (kernel, dilation) = (1 + random.below(5), 1 + random.below(2));
        let stride = 1 + random.below(3);
        let (before, after) = (random.below(kernel), random.below(kernel));
        let span = (kernel - 1) * dilation + 1;
        let size = span + random.below(6);
        geometry.kernel[axis] = kernel;
        geometry.dilation[axis] = dilation;
        geometry.stride[axis] = stride;
        geometry.pads[axis] = before;
        geometry.size[axis] = size;
        geometry.out[axis] = (size + before + after - span) / stride + 1;
    }
    geometry
}

/// What the windows mean, before the chain.
fn reduced(reduce: Reduce, geometry: &Geometry, x: &[f32], weights: &[f32]) -> Vec<f32> {
    let Geometry {
        size,
        channels,
        out,
        kernel,
        ..
    } = *geometry;
    let image_len = size[0] * size[1] * channels;
    let mut results = Vec::new();
    for image in x.chunks(image_len) {
        for position in 0..out[0] * out[1] {
            for channel in 0..channels {
                let mut taps = Vec::new();
                for tap in 0..kernel[0] * kernel[1] {
                    let at = [position / out[1], position % out[1]];
                    let offset = [tap / kernel[1], tap % kernel[1]];
                    if let Some([y, column]) = geometry_at(geometry, at, offset) {
                        taps.push((tap, image[(y * size[1] + column) * channels + channel]));
                    }
                }
                let sum = taps.iter().fold(0.0, |sum, (_, x)| sum + x);
                results.push(match reduce {
                    Reduce::Max => {
                        let later = taps.iter().skip(1);
                        later.fold(taps[0].1, |most, &(_, x)| if x > most { x } else { most })
                    }
                    Reduce::Avg { count_pads: true } => sum / (kernel[0] * kernel[1]) as f32,
                    Reduce::Avg { count_pads: false } => sum / taps.len() as f32,
                    Reduce::Weighted => taps.iter().fold(0.0, |sum, &(tap, x)| {
                        sum + x * weights[tap * channels + channel]
                    }),
                });
            }
        }
    }
    results
}

/// Row and column of the image that a tap of an output position reads; `None` outside the image.
pub fn geometry_at(geometry: &Geometry, at: [usize; 2], tap: [usize; 2]) -> Option<[usize; 2]> {
    let mut place = [0; 2];
    for axis in 0..2 {
        let padded = at[axis] * geometry.stride[axis] + tap[axis] * geometry.dilation[axis];
        place[axis] = padded.checked_sub(geometry.pads[axis])?;
        if place[axis] >= geometry.size[axis] {
            return None;
        }
    }
    Some(place)
}

#[test]
fn an_operand_may_lie_in_the_place_of_the_result() {
    for isa in Isa::available() {
        let mut random = Random::new(7);
        let (n, len) = (37, 5 * 37);
        let x = random.reals(len, Specials::Some);
        let operand = random.reals(len, Specials::Some);
        let mut ops = ChainOps::new();
        ops.relu();
        ops.add(1);
        ops.clip(-3.0, 3.0);
        ops.mul(1);
        let mut outs = [vec![0.0; len], operand.clone()];
        for (out, held) in outs.iter_mut().zip([None, Some(1)]) {
            let out = ChainOut {
                ops: &ops,
                operands: &[&[], if held.is_some() { &[] } else { &operand }],
                held,
                reals: Some(out),
                bits: None,
            };
            chain_reals(isa, &x, n, out);
        }
        assert_eq!(bits_of(&outs[0]), bits_of(&outs[1]), "{isa:?}");
    }
}

//! Which elements of which taps a position reads, as runs of neighbours in memory, and weights packed to match.
//!
//! Owns [`Segment`], positions along one axis that read the same taps; [`Region`], the same in two axes; and
//! [`Packed`], weights in the order in which kernels read them. Shapes and weights come in, what `generic::train`
//! walks goes out. Leaves images to `train_conv`.

use alloc::vec;
use alloc::vec::Vec;

use crate::aligned::{AlignedWords, halves, halves_mut};
use crate::float_unit::{Frame, Unit};
use crate::generic::train::{Place, Run, TRAIN_PANEL};
use crate::geometry::Geometry;

/// Along one axis, evenly spaced positions of what is written, and what their taps read.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    /// The first position, the step to the next, and how many there are.
    first: usize,
    step: usize,
    n: usize,
    /// Taps with the coordinate that each reads for the first position.
    taps: Vec<(usize, isize)>,
    /// From the coordinate that a tap reads to the one it reads for the next position.
    read_step: usize,
}

/// The segment of a product: all positions read all taps.
pub(crate) fn product_segments(geometry: &Geometry, axis: usize) -> Vec<Segment> {
    let tap = |tap| {
        let at = (tap * geometry.dilation[axis]) as isize;
        (tap, at - geometry.pads[axis] as isize)
    };
    vec![Segment {
        first: 0,
        step: 1,
        n: geometry.out[axis],
        taps: (0..geometry.kernel[axis]).map(tap).collect(),
        read_step: geometry.stride[axis],
    }]
}

/// The segments of an input gradient: strides set apart the positions that read different taps.
pub(crate) fn gradient_segments(geometry: &Geometry, axis: usize) -> Vec<Segment> {
    let stride = geometry.stride[axis];
    let mut segments = Vec::new();
    for first in 0..stride.min(geometry.size[axis]) {
        let mut taps = Vec::new();
        for tap in 0..geometry.kernel[axis] {
            let ahead = (first + geometry.pads[axis]) as isize;
            let ahead = ahead - (tap * geometry.dilation[axis]) as isize;
            if ahead.rem_euclid(stride as isize) == 0 {
                taps.push((tap, ahead.div_euclid(stride as isize)));
            }
        }
        segments.push(Segment {
            first,
            step: stride,
            n: (geometry.size[axis] - first).div_ceil(stride),
            taps,
            read_step: 1,
        });
    }
    segments
}

/// Splits segments so that no tap reads outside `0..size`.
pub(crate) fn trimmed(segments: &[Segment], size: usize) -> Vec<Segment> {
    let mut trimmed: Vec<Segment> = Vec::new();
    for segment in segments {
        let begin = trimmed.len();
        for i in 0..segment.n {
            let taps = segment
                .taps
                .iter()
                .map(|&(tap, at)| (tap, at + (i * segment.read_step) as isize));
            let taps: Vec<_> = taps
                .filter(|&(_, at)| (0..size as isize).contains(&at))
                .collect();
            let same = |last: &Segment| {
                last.taps
                    .iter()
                    .map(|tap| tap.0)
                    .eq(taps.iter().map(|tap| tap.0))
            };
            match trimmed[begin..].last_mut() {
                Some(last) if same(last) => last.n += 1,
                _ => trimmed.push(Segment {
                    first: segment.first + i * segment.step,
                    n: 1,
                    taps,
                    ..*segment
                }),
            }
        }
    }
    trimmed
}

/// Coordinates before the first that is read.
pub(crate) fn before(segments: &[Segment]) -> usize {
    let taps = segments.iter().flat_map(|segment| &segment.taps);
    taps.map(|&(_, at)| (-at).max(0) as usize)
        .max()
        .unwrap_or(0)
}

/// Coordinates from 0 to the last that is read, at least `size`.
pub(crate) fn reach(segments: &[Segment], size: usize) -> usize {
    let ends = segments.iter().flat_map(|segment| {
        let ahead = ((segment.n - 1) * segment.read_step) as isize;
        segment.taps.iter().map(move |&(_, at)| at + ahead + 1)
    });
    ends.fold(size, |most, end| most.max(end.max(0) as usize))
}

/// Every `(row, column)` of a grid.
pub(crate) fn grid(size: [usize; 2]) -> impl Iterator<Item = (usize, usize)> {
    (0..size[0]).flat_map(move |y| (0..size[1]).map(move |x| (y, x)))
}

/// Taps whose elements are neighbours in memory.
#[derive(Clone, Debug)]
pub(crate) struct Neighbours {
    /// Elements from a window's first to theirs.
    pub start: usize,
    /// Taps in order.
    pub taps: Vec<usize>,
}

/// Joins taps, given as `(element of the window, tap)`, of `channels` elements into runs of equal length, each within
/// a row of the kernel.
pub(crate) fn join(
    mut taps: Vec<(usize, usize)>,
    channels: usize,
    kernel_width: usize,
) -> Vec<Neighbours> {
    taps.sort_unstable();
    let single = |&(start, tap): &(usize, usize)| Neighbours {
        start,
        taps: vec![tap],
    };
    let mut runs: Vec<Neighbours> = Vec::new();
    for tap in &taps {
        let follows = |run: &Neighbours| {
            run.start + run.taps.len() * channels == tap.0
                && run.taps[0] / kernel_width == tap.1 / kernel_width
        };
        match runs.last_mut() {
            Some(run) if follows(run) => run.taps.push(tap.1),
            _ => runs.push(single(tap)),
        }
    }
    let is_even = runs.iter().all(|run| run.taps.len() == runs[0].taps.len());
    match is_even {
        true => runs,
        false => taps.iter().map(single).collect(),
    }
}

/// Positions that read the same taps, of one image.
#[derive(Clone, Debug)]
pub(crate) struct Region {
    /// What they read and write.
    pub places: Vec<Place>,
    /// See [`crate::generic::train::Gather`].
    pub runs: Vec<Run>,
    /// Words of each run.
    pub words: usize,
}

impl Region {
    /// The places of so many images.
    pub(crate) fn repeat(&self, images: usize, image_bytes: usize, out_len: usize) -> Vec<Place> {
        let mut places = Vec::with_capacity(images * self.places.len());
        for image in 0..images {
            let (x, out) = ((image * image_bytes) as u32, (image * out_len) as u32);
            places.extend(self.places.iter().map(|place| Place {
                x: place.x + x,
                out: place.out + out,
            }));
        }
        places
    }
}

/// How what is written is divided into regions, and the frame that these read.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub frame: Frame,
    pub regions: Vec<Region>,
}

impl Layout {
    /// Steps of a kernel for each image, when it works on so many at a time, in blocks of `block` places.
    pub(crate) fn steps(&self, images: usize, block: usize) -> f64 {
        let steps = self.regions.iter().map(|region| {
            let blocks = (images * region.places.len()).div_ceil(block);
            // A block takes as long as some steps before its first.
            blocks * (region.runs.len() * region.words + 8)
        });
        steps.sum::<usize>() as f64 / images as f64
    }
}

/// Weights in panels, and where each tap's are.
#[derive(Clone, Debug)]
pub(crate) struct Packed {
    /// `[panel][word][TRAIN_PANEL]`.
    pub weights: AlignedWords,
    /// Words of a panel.
    pub depth: usize,
    // Of each tap that begins a run, or of each tap when taps are whole words.
    word_of: Vec<u32>,
}

/// What a window's elements are multiplied with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Weights<'a> {
    /// `[lane][tap][element]`: rows of a product.
    Rows(&'a [f32]),
    /// `[element][tap][lane]`: the same weights, for a gradient.
    Elements(&'a [f32]),
}

/// A unit and the frame that it reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader {
    pub unit: Unit,
    pub frame: Frame,
    /// Columns of the kernel.
    pub kernel_width: usize,
}

impl Reader {
    /// Words of a run of taps.
    fn words(&self, run: &Neighbours) -> usize {
        let n = run.taps.len() * self.frame.channels;
        if self.unit.has_pairs() {
            n.div_ceil(2)
        } else {
            n
        }
    }

    /// Whether taps begin at words of their own.
    pub(crate) fn has_whole_words(&self) -> bool {
        !self.unit.has_pairs() || self.frame.channels.is_multiple_of(2)
    }

    /// The runs that positions of two segments read, and the element of their first position's window.
    fn runs(&self, down: &Segment, across: &Segment) -> Vec<Neighbours> {
        let mut taps = Vec::new();
        for (y, x) in grid([down.taps.len(), across.taps.len()]) {
            let ((ky, y), (kx, x)) = (down.taps[y], across.taps[x]);
            let y = (y + self.frame.before[0] as isize) as usize;
            let x = (x + self.frame.before[1] as isize) as usize;
            let start = (y * self.frame.size[1] + x) * self.frame.channels;
            taps.push((start, ky * self.kernel_width + kx));
        }
        join(taps, self.frame.channels, self.kernel_width)
    }

    /// Packs the weights of all taps for `lanes` lanes.
    pub(crate) fn pack(&self, axes: [&[Segment]; 2], weights: Weights<'_>, lanes: usize) -> Packed {
        let runs = grid([axes[0].len(), axes[1].len()]);
        let runs: Vec<_> = runs
            .flat_map(|(y, x)| self.runs(&axes[0][y], &axes[1][x]))
            .collect();
        let depth = runs.iter().map(|run| self.words(run)).sum();
        let channels = self.frame.channels;
        let values = match weights {
            Weights::Rows(values) | Weights::Elements(values) => values,
        };
        let n_taps = values.len() / lanes / channels;
        let mut packed = Packed {
            weights: AlignedWords::zeros(lanes.next_multiple_of(TRAIN_PANEL) * depth / 2),
            depth,
            word_of: vec![0; n_taps],
        };
        let mut word = 0;
        for run in &runs {
            for (i, &tap) in run.taps.iter().enumerate() {
                packed.word_of[tap] = (word + i * self.words(run) / run.taps.len()) as u32;
            }
            match weights {
                Weights::Rows(values) => self.pack_rows(run, values, lanes, word, &mut packed),
                Weights::Elements(values) => {
                    self.pack_elements(run, values, lanes, word, &mut packed);
                }
            }
            word += self.words(run);
        }
        packed
    }

    /// Packs a run from rows, `[lane][tap][element]`; its taps follow each other there too.
    fn pack_rows(
        &self,
        run: &Neighbours,
        rows: &[f32],
        lanes: usize,
        at: usize,
        packed: &mut Packed,
    ) {
        let (words, n) = (self.words(run), run.taps.len() * self.frame.channels);
        let row_len = rows.len() / lanes;
        // A lane's words, a little further apart than a power of two: one cache set cannot hold a panel's.
        let stride = words.next_multiple_of(16) + 16;
        let mut panel = AlignedWords::zeros(TRAIN_PANEL * stride / 2);
        for first in (0..lanes).step_by(TRAIN_PANEL) {
            let present = TRAIN_PANEL.min(lanes - first);
            for lane in 0..present {
                let from = (first + lane) * row_len + run.taps[0] * self.frame.channels;
                let to = lane * stride * 4 / self.unit.element_bytes();
                self.unit.write(&rows[from..][..n], &mut panel, to);
            }
            let to = first * packed.depth + at * TRAIN_PANEL;
            let out = &mut halves_mut(&mut packed.weights)[to..][..words * TRAIN_PANEL];
            let panel = halves(&panel);
            for (word, out) in out.chunks_exact_mut(TRAIN_PANEL).enumerate() {
                for (lane, out) in out[..present].iter_mut().enumerate() {
                    *out = panel[lane * stride + word];
                }
            }
        }
    }

    /// Packs a run from elements, `[element][tap][lane]`.
    fn pack_elements(
        &self,
        run: &Neighbours,
        values: &[f32],
        lanes: usize,
        at: usize,
        packed: &mut Packed,
    ) {
        let channels = self.frame.channels;
        let n_taps = values.len() / lanes / channels;
        let element = |i: usize| {
            let (tap, element) = (run.taps[i / channels], i % channels);
            &values[(element * n_taps + tap) * lanes..][..lanes]
        };
        let per_word = if self.unit.has_pairs() { 2 } else { 1 };
        let mut words = vec![0; lanes];
        for word in 0..self.words(run) {
            let second = match word * per_word + 1 < run.taps.len() * channels {
                true => element(word * per_word + 1),
                false => &[],
            };
            self.unit
                .write_words(element(word * per_word), second, &mut words);
            for (panel, words) in words.chunks(TRAIN_PANEL).enumerate() {
                let to = (panel * packed.depth + at + word) * TRAIN_PANEL;
                halves_mut(&mut packed.weights)[to..][..words.len()].copy_from_slice(words);
            }
        }
    }

    /// The regions of every pair of segments; what is written has `out_width` columns of `out_channels` floats.
    pub(crate) fn regions(
        &self,
        axes: [&[Segment]; 2],
        packed: &Packed,
        out_width: usize,
        out_channels: usize,
    ) -> Vec<Region> {
        let (bytes, frame) = (self.unit.element_bytes(), &self.frame);
        let mut regions = Vec::new();
        for (down, across) in grid([axes[0].len(), axes[1].len()]) {
            let (down, across) = (&axes[0][down], &axes[1][across]);
            let place = |(i, j): (usize, usize)| {
                let x = i * down.read_step * frame.size[1] + j * across.read_step;
                let y = (down.first + i * down.step) * out_width + across.first + j * across.step;
                Place {
                    x: (x * frame.channels * bytes) as u32,
                    out: (y * out_channels) as u32,
                }
            };
            let runs = self.runs(down, across);
            regions.push(Region {
                places: grid([down.n, across.n]).map(place).collect(),
                words: runs.first().map_or(0, |run| self.words(run)),
                runs: runs
                    .iter()
                    .map(|run| Run {
                        x: (run.start * bytes) as u32,
                        weights: packed.word_of[run.taps[0]],
                    })
                    .collect(),
            });
        }
        regions
    }
}

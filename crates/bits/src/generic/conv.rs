//! Convolutions without an image-to-column copy: products of every tap at every output position.
//!
//! Weights come as panels of 64 output channels, `[tap element][channel of the panel]`, so that lanes
//! are channels. A block of `MR` positions by `NV` registers of channels stays in registers while the
//! elements of its window stream by; positions whose windows leave the image in the same way form a
//! [`Rect`], so padded elements are never read. Finished totals go to a [`Finish`].

use crate::generic::finish::{Finish, Place};
use crate::lanes::Lanes;

/// Output channels in a full panel.
pub(crate) const PANEL: usize = 64;

/// Output positions that read the same taps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rect {
    /// First row and the row after the last.
    pub y: [usize; 2],
    /// First column and the column after the last.
    pub x: [usize; 2],
    /// First kernel row inside the image and the row after the last.
    pub ky: [usize; 2],
    /// First kernel column inside the image and the column after the last.
    pub kx: [usize; 2],
}

/// A four-byte element of a window and its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Element {
    /// Bytes from the first element that the window reads.
    pub x: u32,
    /// Index among the elements that panels store.
    pub w: u32,
}

/// A [`Rect`] with the elements that its windows read.
#[derive(Clone, Debug)]
pub(crate) struct Region {
    /// First row and the row after the last.
    pub y: [usize; 2],
    /// First column and the column after the last.
    pub x: [usize; 2],
    /// Bytes from the image to the first element of the first window.
    pub start: usize,
    /// Which of the walk's elements, in the order in which products are summed.
    pub elements: core::ops::Range<usize>,
}

/// What is read and where. An element is four bytes.
#[derive(Clone, Copy)]
pub(crate) struct Walk<'a> {
    /// Images, one after the other.
    pub x: *const u8,
    /// Bytes from an image to the next.
    pub image_bytes: usize,
    /// Bytes between the windows of neighbouring output rows.
    pub down: usize,
    /// Bytes between the windows of neighbouring output columns.
    pub across: usize,
    /// Panels of weights.
    pub weights: *const u32,
    /// Panels of masks, or `weights` again.
    pub mask: *const u32,
    /// Elements of a whole window.
    pub depth: usize,
    /// Output channels.
    pub rows: usize,
    /// `rows` rounded up to what the panels store.
    pub stored_rows: usize,
    /// Columns of the output.
    pub out_width: usize,
    /// Positions of an output image.
    pub out_px: usize,
    /// Images.
    pub images: usize,
    /// Output positions by the taps they read.
    pub regions: &'a [Region],
    /// The elements of all regions.
    pub elements: &'a [Element],
}

/// One step of a product: what an element and a weight add to a total.
///
/// # Safety
///
/// As [`Lanes`].
pub(crate) trait Product<V: Lanes> {
    /// Steps after which totals must be widened.
    const MAX_STEPS: usize;
    /// Whether `mask` is read.
    const MASKED: bool;
    /// Adds one element's product.
    ///
    /// # Safety
    ///
    /// As the trait.
    unsafe fn step(total: V, x: V, weight: V, mask: V) -> V;
    /// Widens totals of `MAX_STEPS` steps.
    ///
    /// # Safety
    ///
    /// As the trait.
    unsafe fn widen(total: V) -> V;
}

/// Differing bits.
pub(crate) struct Differing;
/// Differing bits within a mask.
pub(crate) struct DifferingMasked;
/// Unsigned bytes by signed bytes, four at a time.
pub(crate) struct Codes;
/// Floats.
pub(crate) struct Floats;

impl<V: Lanes> Product<V> for Differing {
    const MAX_STEPS: usize = V::MAX_COUNTS;
    const MASKED: bool = false;
    #[inline(always)]
    unsafe fn step(total: V, x: V, weight: V, _mask: V) -> V {
        // SAFETY: the trait's contract.
        unsafe { total.add_counts(x.xor(weight).count()) }
    }
    #[inline(always)]
    unsafe fn widen(total: V) -> V {
        // SAFETY: the trait's contract.
        unsafe { total.widen() }
    }
}

impl<V: Lanes> Product<V> for DifferingMasked {
    const MAX_STEPS: usize = V::MAX_COUNTS;
    const MASKED: bool = true;
    #[inline(always)]
    unsafe fn step(total: V, x: V, weight: V, mask: V) -> V {
        // SAFETY: the trait's contract.
        unsafe { total.add_counts(x.xor_and(weight, mask).count()) }
    }
    #[inline(always)]
    unsafe fn widen(total: V) -> V {
        // SAFETY: the trait's contract.
        unsafe { total.widen() }
    }
}

impl<V: Lanes> Product<V> for Codes {
    const MAX_STEPS: usize = usize::MAX;
    const MASKED: bool = false;
    #[inline(always)]
    unsafe fn step(total: V, x: V, weight: V, _mask: V) -> V {
        // SAFETY: the trait's contract; packing keeps weights from -64 to 64.
        unsafe { total.dot4(x, weight) }
    }
    #[inline(always)]
    unsafe fn widen(total: V) -> V {
        total
    }
}

impl<V: Lanes> Product<V> for Floats {
    const MAX_STEPS: usize = usize::MAX;
    const MASKED: bool = false;
    #[inline(always)]
    unsafe fn step(total: V, x: V, weight: V, _mask: V) -> V {
        // SAFETY: the trait's contract.
        unsafe { total.add_float(x.mul_float(weight)) }
    }
    #[inline(always)]
    unsafe fn widen(total: V) -> V {
        total
    }
}

/// Where a block of positions reads.
#[derive(Clone, Copy)]
struct Block<'a, const M: usize> {
    // The first element of each position's window.
    x: [*const u8; M],
    // The weights and masks of the block's first channel.
    weights: *const u32,
    mask: *const u32,
    // Channels that the panel stores, the distance between elements' weights.
    stored: usize,
    elements: &'a [Element],
}

/// Computes every output position and hands the totals on.
///
/// `MH` and 1 are the sizes of the blocks that finish what blocks of `MR` positions leave over; `MR1` and `MH1`
/// are used where only one register of channels is left.
///
/// # Safety
///
/// As [`Lanes`]; the walk's pointers and numbers describe memory that is valid for what it says, and the
/// finish has room for every position and channel.
#[inline(always)]
pub(crate) unsafe fn convolve<
    V: Lanes,
    P: Product<V>,
    const NV: usize,
    const MR: usize,
    const MH: usize,
    const MR1: usize,
    const MH1: usize,
>(
    walk: Walk<'_>,
    finish: &mut Finish<'_>,
) {
    let mut first = 0;
    while first < walk.stored_rows {
        let stored = PANEL.min(walk.stored_rows - first);
        let mut row = 0;
        // SAFETY: panels store `stored` channels, a multiple of 32, each; blocks stay inside.
        unsafe {
            while row + NV * V::N <= stored {
                rects::<V, P, NV, MR, MH>(&walk, finish, first, row, stored);
                row += NV * V::N;
            }
            while row < stored {
                rects::<V, P, 1, MR1, MH1>(&walk, finish, first, row, stored);
                row += V::N;
            }
        }
        first += PANEL;
    }
}

/// Every position for the channels from `first + row` on.
///
/// # Safety
///
/// As [`convolve`].
#[inline(always)]
unsafe fn rects<V: Lanes, P: Product<V>, const NV: usize, const MR: usize, const MH: usize>(
    walk: &Walk<'_>,
    finish: &mut Finish<'_>,
    first: usize,
    row: usize,
    stored: usize,
) {
    if first + row >= walk.rows {
        return;
    }
    for (class, region) in walk.regions.iter().enumerate() {
        let offset = first * walk.depth + row;
        // SAFETY: a region's elements lie inside the image, and panels hold `depth * stored` weights.
        let (weights, mask) = unsafe { (walk.weights.add(offset), walk.mask.add(offset)) };
        let elements = &walk.elements[region.elements.clone()];
        let place = Place {
            class,
            row: first + row,
        };
        let mut cursor = Cursor::new(walk, region);
        macro_rules! blocks {
            ($m:ident) => {
                while cursor.left >= $m {
                    let mut x = [walk.x; $m];
                    let mut px = [0; $m];
                    for i in 0..$m {
                        // Positions without elements may lie anywhere; nothing is read there.
                        x[i] = walk.x.wrapping_add(cursor.bytes);
                        px[i] = cursor.px;
                        cursor.advance(walk, region);
                    }
                    let block = Block {
                        x,
                        weights,
                        mask,
                        stored,
                        elements,
                    };
                    // SAFETY: every element of the positions is inside its image.
                    unsafe {
                        let totals = totals::<V, P, NV, $m>(block);
                        finish.put::<V, NV, $m>(&totals, place, &px);
                    }
                }
            };
        }
        const ONE: usize = 1;
        blocks!(MR);
        blocks!(MH);
        blocks!(ONE);
    }
}

/// A walk over the positions of a region, column by column, row by row, image by image.
struct Cursor {
    // Bytes from the first image to the window, and the output position, counted through all images.
    bytes: usize,
    px: usize,
    // The same at the beginning of the row and of the image.
    row: (usize, usize),
    image: (usize, usize),
    // Columns left in the row, rows left in the image, positions left in all.
    columns: usize,
    rows: usize,
    left: usize,
}

impl Cursor {
    #[inline(always)]
    fn new(walk: &Walk<'_>, region: &Region) -> Self {
        let start = (region.start, region.y[0] * walk.out_width + region.x[0]);
        let (rows, columns) = (region.y[1] - region.y[0], region.x[1] - region.x[0]);
        Cursor {
            bytes: start.0,
            px: start.1,
            row: start,
            image: start,
            columns,
            rows,
            left: walk.images * rows * columns,
        }
    }

    #[inline(always)]
    fn advance(&mut self, walk: &Walk<'_>, region: &Region) {
        self.left -= 1;
        self.columns -= 1;
        self.bytes += walk.across;
        self.px += 1;
        if self.columns > 0 {
            return;
        }
        self.columns = region.x[1] - region.x[0];
        self.rows -= 1;
        self.row = (self.row.0 + walk.down, self.row.1 + walk.out_width);
        if self.rows == 0 {
            self.rows = region.y[1] - region.y[0];
            self.image = (self.image.0 + walk.image_bytes, self.image.1 + walk.out_px);
            self.row = self.image;
        }
        (self.bytes, self.px) = self.row;
    }
}

/// Totals of `M` positions and `NV` registers of channels.
///
/// # Safety
///
/// As [`convolve`].
#[inline(always)]
unsafe fn totals<V: Lanes, P: Product<V>, const NV: usize, const M: usize>(
    block: Block<'_, M>,
) -> [[V; NV]; M] {
    // SAFETY: the caller's promise covers every element that is read.
    unsafe {
        if P::MAX_STEPS == usize::MAX {
            return steps::<V, P, NV, M>(block, block.elements);
        }
        let mut wide = [[V::zero(); NV]; M];
        for elements in block.elements.chunks(P::MAX_STEPS) {
            let narrow = steps::<V, P, NV, M>(block, elements);
            for i in 0..M {
                for v in 0..NV {
                    wide[i][v] = wide[i][v].add(P::widen(narrow[i][v]));
                }
            }
        }
        wide
    }
}

/// The products of some elements, not yet widened.
///
/// # Safety
///
/// As [`convolve`]; there are at most `P::MAX_STEPS` elements.
#[inline(always)]
unsafe fn steps<V: Lanes, P: Product<V>, const NV: usize, const M: usize>(
    block: Block<'_, M>,
    elements: &[Element],
) -> [[V; NV]; M] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut totals = [[V::zero(); NV]; M];
        for element in elements {
            let offset = element.x as usize;
            let at = element.w as usize * block.stored;
            let mut xs = [V::zero(); M];
            for i in 0..M {
                xs[i] = V::splat(
                    block.x[i]
                        .wrapping_add(offset)
                        .cast::<u32>()
                        .read_unaligned(),
                );
            }
            for v in 0..NV {
                let weight = V::load(block.weights.add(at + v * V::N));
                let mask = if P::MASKED {
                    V::load(block.mask.add(at + v * V::N))
                } else {
                    weight
                };
                for i in 0..M {
                    totals[i][v] = P::step(totals[i][v], xs[i], weight, mask);
                }
            }
        }
        totals
    }
}

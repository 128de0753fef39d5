//! The named limits every Program, Net and file stays under.
//!
//! They keep sizes inside `usize` arithmetic and bound what a hostile file can make a reader do.
//! `verify` and `check_net` enforce the limits on structure, the file readers the ones on bytes.

/// Most nodes in a Program, and most layers in a Net.
pub const MAX_NODES: usize = 4096;

/// Most operands over all nodes of a Program.
pub const MAX_OPERANDS: usize = 16_384;

/// Longest name of a node or layer, in bytes.
pub const MAX_NAME_LEN: usize = 64;

/// Longest name of a Program or Net, in bytes.
pub const MAX_TITLE_LEN: usize = 256;

/// Most bytes in all notes together, keys and texts.
pub const MAX_NOTES_LEN: usize = 65_536;

/// Most axes of a shape.
pub const MAX_RANK: usize = 4;

/// Most elements of one value per image, and most rows or columns of a weight matrix.
pub const MAX_ELEMENTS: usize = 1 << 24;

/// Most rows or columns that a window adds on one side of an image.
pub const MAX_PAD: usize = 4096;

/// Greatest magnitude of the value outside the image of an `int` or `real` operand; binary32 holds it
/// exactly.
pub const MAX_PAD_VALUE: i32 = 1 << 24;

/// Most elements of all values of a Program together, for one image: what an engine may have to hold.
pub const MAX_TOTAL_ELEMENTS: usize = 1 << 28;

/// Most weights in one matrix.
pub const MAX_WEIGHTS: u64 = 1 << 31;

/// Longest safetensors header a reader accepts, in bytes.
pub const MAX_HEADER_LEN: u64 = 8 << 20;

/// Every sum of a Net has a magnitude below this, so binary32 holds it exactly.
pub const MAX_EXACT_SUM: i64 = 1 << 24;

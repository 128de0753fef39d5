//! A reader of FlatBuffers tables that trusts no offset.
//!
//! In: the bytes of a file. Out: where the fields of a table lie, and the scalars, strings and vectors there.
//! Every step goes through the verifier of the `flatbuffers` crate, whose generated accessors would need
//! `unsafe`. Leaves what the fields mean to `schema`.

use flatbuffers::{InvalidFlatbuffer, Verifier, VerifierOptions};

/// Every byte of a sound file is visited a few times; more means that tables share their parts to make a
/// small file look large.
const VISITS_PER_BYTE: usize = 8;

/// Visits that any file may take, however short it is.
const FREE_VISITS: usize = 1 << 16;

/// Where a file is damaged, and how.
pub(super) struct Damage {
    pub place: String,
    pub reason: String,
}

impl Damage {
    pub fn new(place: impl Into<String>, reason: impl Into<String>) -> Self {
        let (place, reason) = (place.into(), reason.into());
        Damage { place, reason }
    }
}

impl From<InvalidFlatbuffer> for Damage {
    fn from(error: InvalidFlatbuffer) -> Self {
        let text = error.to_string();
        let what = text
            .lines()
            .next()
            .unwrap_or_default()
            .trim_end_matches('.');
        Damage::new(
            "the FlatBuffer",
            format!("{what}: the file is damaged or cut short; convert or download it again"),
        )
    }
}

/// What a file of `n_bytes` may cost to read.
pub(super) fn limits(n_bytes: usize) -> VerifierOptions {
    VerifierOptions {
        max_apparent_size: n_bytes
            .saturating_mul(VISITS_PER_BYTE)
            .saturating_add(FREE_VISITS),
        ..VerifierOptions::default()
    }
}

/// The bytes of a file with the verifier that walks them.
pub(super) struct Flat<'limits, 'a> {
    bytes: &'a [u8],
    verifier: Verifier<'limits, 'a>,
}

impl<'limits, 'a> Flat<'limits, 'a> {
    pub fn new(limits: &'limits VerifierOptions, bytes: &'a [u8]) -> Self {
        let verifier = Verifier::new(limits, bytes);
        Flat { bytes, verifier }
    }

    /// Where the root table lies.
    pub fn root(&mut self) -> Result<usize, Damage> {
        self.follow(0)
    }

    /// Where the first `N` fields of the table at `table` lie, by field id; `None` for defaults.
    pub fn fields<const N: usize>(&mut self, table: usize) -> Result<[Option<usize>; N], Damage> {
        let mut table = self.verifier.visit_table(table)?;
        let mut fields = [None; N];
        for (slot, field) in (4u16..).step_by(2).zip(&mut fields) {
            *field = table.deref(slot)?;
        }
        table.finish();
        Ok(fields)
    }

    /// Where the offset at `at` leads.
    pub fn follow(&mut self, at: usize) -> Result<usize, Damage> {
        let offset = self.verifier.get_uoffset(at)? as usize;
        Ok(at.saturating_add(offset))
    }

    fn array<const N: usize>(&mut self, at: usize) -> Result<[u8; N], Damage> {
        let bytes = self.range(at, N)?;
        Ok(bytes.try_into().expect("the range has N bytes"))
    }

    fn range(&mut self, at: usize, n_bytes: usize) -> Result<&'a [u8], Damage> {
        self.verifier.range_in_buffer(at, n_bytes)?;
        Ok(&self.bytes[at..at + n_bytes])
    }

    /// An unsigned byte, `default` where the field is absent.
    pub fn byte(&mut self, field: Option<usize>, default: u8) -> Result<u8, Damage> {
        field.map_or(Ok(default), |at| Ok(self.verifier.get_u8(at)?))
    }

    /// A 32-bit integer, `default` where the field is absent.
    pub fn int(&mut self, field: Option<usize>, default: i32) -> Result<i32, Damage> {
        field.map_or(Ok(default), |at| self.array(at).map(i32::from_le_bytes))
    }

    /// A 64-bit integer, 0 where the field is absent.
    pub fn long(&mut self, field: Option<usize>) -> Result<u64, Damage> {
        field.map_or(Ok(0), |at| self.array(at).map(u64::from_le_bytes))
    }

    /// The elements of a vector of `width` bytes each; empty where the field is absent.
    fn vector(&mut self, field: Option<usize>, width: usize) -> Result<&'a [u8], Damage> {
        let Some(at) = field else {
            return Ok(&[]);
        };
        let start = self.follow(at)?;
        let n = self.verifier.get_uoffset(start)? as usize;
        self.range(start.saturating_add(4), n.saturating_mul(width))
    }

    /// A vector of bytes; empty where the field is absent.
    pub fn bytes(&mut self, field: Option<usize>) -> Result<&'a [u8], Damage> {
        self.vector(field, 1)
    }

    /// Text; bytes that are not UTF-8 are replaced.
    pub fn text(&mut self, field: Option<usize>) -> Result<String, Damage> {
        let bytes = self.bytes(field)?;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    /// A vector of 32-bit integers.
    pub fn ints(&mut self, field: Option<usize>) -> Result<Vec<i32>, Damage> {
        let (chunks, _) = self.vector(field, 4)?.as_chunks::<4>();
        Ok(chunks.iter().map(|&c| i32::from_le_bytes(c)).collect())
    }

    /// A vector of 64-bit integers.
    pub fn longs(&mut self, field: Option<usize>) -> Result<Vec<i64>, Damage> {
        let (chunks, _) = self.vector(field, 8)?.as_chunks::<8>();
        Ok(chunks.iter().map(|&c| i64::from_le_bytes(c)).collect())
    }

    /// A vector of binary32 numbers.
    pub fn floats(&mut self, field: Option<usize>) -> Result<Vec<f32>, Damage> {
        let (chunks, _) = self.vector(field, 4)?.as_chunks::<4>();
        Ok(chunks.iter().map(|&c| f32::from_le_bytes(c)).collect())
    }

    /// Where the tables of a vector of tables lie, at most `limit`.
    pub fn tables(
        &mut self,
        field: Option<usize>,
        what: &str,
        limit: usize,
    ) -> Result<Vec<usize>, Damage> {
        let Some(at) = field else {
            return Ok(Vec::new());
        };
        let first = self.follow(at)?.saturating_add(4);
        let (offsets, _) = self.vector(field, 4)?.as_chunks::<4>();
        if offsets.len() > limit {
            let reason = format!("there are {}, the limit is {limit}", offsets.len());
            return Err(Damage::new(what, reason));
        }
        let place = |(idx, &offset): (usize, &[u8; 4])| {
            let own = first.saturating_add(4 * idx);
            own.saturating_add(u32::from_le_bytes(offset) as usize)
        };
        Ok(offsets.iter().enumerate().map(place).collect())
    }

    /// The bytes of a table from a field on, up to 4: enough for any scalar of an options table.
    pub fn scalar(&mut self, field: Option<usize>) -> Option<&'a [u8]> {
        let tail = self.bytes.get(field?..)?;
        Some(&tail[..tail.len().min(4)])
    }

    /// Bytes that lie outside the FlatBuffer, in the same file.
    pub fn outside(&mut self, offset: u64, size: u64) -> Option<&'a [u8]> {
        let start = usize::try_from(offset).ok()?;
        let end = start.checked_add(usize::try_from(size).ok()?)?;
        self.bytes.get(start..end)
    }
}

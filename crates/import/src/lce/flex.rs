//! A FlexBuffer map of integers, the form of every custom op's options.
//!
//! In: the bytes of `custom_options`. Out: the value of each key. Written here because the known crate indexes
//! outside the buffer where a length or an offset is wrong, which would end the program on a damaged file.
//! Leaves what the keys mean to `binary`.

/// Most keys of a map.
const MAX_KEYS: usize = 64;

/// Type numbers of the format.
const TYPE_INT: u8 = 1;
const TYPE_UINT: u8 = 2;
const TYPE_MAP: u8 = 9;
const TYPE_BOOL: u8 = 26;

/// The keys and values of a map.
pub(super) struct IntMap(Vec<(String, i64)>);

impl IntMap {
    /// Reads a map; keys whose value is no integer are left out.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        read(bytes).map(IntMap).ok_or_else(|| {
            String::from("its custom options are no FlexBuffer map: the file is damaged")
        })
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<i64> {
        let entry = self.0.iter().find(|(name, _)| name == key)?;
        Some(entry.1)
    }
}

fn read(bytes: &[u8]) -> Option<Vec<(String, i64)>> {
    let [body @ .., packed, root_width] = bytes else {
        return None;
    };
    let root_width = usize::from(*root_width);
    if packed >> 2 != TYPE_MAP {
        return None;
    }
    let width = width_of(*packed);
    let root = body.len().checked_sub(root_width)?;
    let values = offset_from(bytes, root, root_width)?;
    // Before the values lie their number, the width of the keys and the offset of the keys.
    let n = usize::try_from(unsigned(bytes, values.checked_sub(width)?, width)?).ok()?;
    if n > MAX_KEYS {
        return None;
    }
    let keys_width = unsigned(bytes, values.checked_sub(2 * width)?, width)?;
    let keys_width = usize::try_from(keys_width).ok()?;
    let keys = offset_from(bytes, values.checked_sub(3 * width)?, width)?;
    let types = values.checked_add(n * width)?;
    let mut map = Vec::with_capacity(n);
    for i in 0..n {
        let key = offset_from(
            bytes,
            keys.checked_add(i.checked_mul(keys_width)?)?,
            keys_width,
        )?;
        let key = bytes.get(key..)?.split(|&byte| byte == 0).next()?;
        let at = values + i * width;
        let value = match bytes.get(types + i)? >> 2 {
            TYPE_INT => signed(bytes, at, width)?,
            TYPE_UINT | TYPE_BOOL => i64::try_from(unsigned(bytes, at, width)?).ok()?,
            _ => continue,
        };
        map.push((String::from_utf8_lossy(key).into_owned(), value));
    }
    Some(map)
}

/// The width in bytes that the low bits of a type byte give.
fn width_of(packed: u8) -> usize {
    1 << (packed & 3)
}

/// Where the offset at `at` leads: offsets point backwards.
fn offset_from(bytes: &[u8], at: usize, width: usize) -> Option<usize> {
    let offset = usize::try_from(unsigned(bytes, at, width)?).ok()?;
    at.checked_sub(offset)
}

fn unsigned(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    if !matches!(width, 1 | 2 | 4 | 8) {
        return None;
    }
    let digits = bytes.get(at..at.checked_add(width)?)?;
    Some(
        digits
            .iter()
            .rev()
            .fold(0, |value, &byte| value << 8 | u64::from(byte)),
    )
}

fn signed(bytes: &[u8], at: usize, width: usize) -> Option<i64> {
    let unused = 64 - 8 * u32::try_from(width).ok()?;
    let value = unsigned(bytes, at, width)?.cast_signed();
    Some(value << unused >> unused)
}

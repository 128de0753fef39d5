//! The header of a .npy file.
//!
//! In: the first bytes of a file, or a shape to write. Out: type, order and shape, checked, with the byte at
//! which the values begin. Reads the one dictionary that numpy writes and nothing else of Python.

use crate::array::ArrayData;
use crate::error::{DataError, Source};
use crate::files::MAX_EXPANDED_BYTES;
use crate::npy::{Kind, MAGIC};

/// The most axes read, far above any input of a network.
const MAX_RANK: usize = 8;
/// The longest dictionary read in bytes; numpy itself stops at 10,000.
const MAX_DICTIONARY: usize = 10_000;

/// The most bytes before the first value.
pub(crate) const MAX_BYTES: usize = 12 + MAX_DICTIONARY;

const NOT_NPY: &str = "check that this file was written by numpy.save";

/// What a header says.
pub(crate) struct Header {
    pub kind: Kind,
    pub big_endian: bool,
    /// No axis is 0.
    pub shape: Vec<usize>,
    /// The product of the shape.
    pub n_values: usize,
    /// Offset of the first value in bytes.
    pub start: usize,
}

impl Header {
    /// Size of header and values in bytes, within the limit.
    pub fn end(&self) -> usize {
        self.start + self.n_values * self.kind.width()
    }
}

pub(crate) fn parse(source: Source, bytes: &[u8]) -> Result<Header, DataError> {
    if !bytes.starts_with(MAGIC) {
        return Err(source.malformed(0, "this is not a .npy file", NOT_NPY));
    }
    let (begin, len) = bounds(source, bytes)?;
    let text = bytes
        .get(begin..begin + len)
        .ok_or_else(|| ends(source, bytes))?;
    let fields = Dictionary {
        source,
        text,
        begin,
        at: 0,
    }
    .fields()?;
    header(source, fields, begin + len)
}

/// Where the dictionary begins and how long it is, in bytes.
fn bounds(source: Source, bytes: &[u8]) -> Result<(usize, usize), DataError> {
    let ends = || ends(source, bytes);
    let field = bytes.get(8..).ok_or_else(ends);
    let (begin, len) = match *bytes.get(6).ok_or_else(ends)? {
        1 => (
            10,
            u32::from(u16::from_le_bytes(*field?.first_chunk().ok_or_else(ends)?)),
        ),
        2 | 3 => (
            12,
            u32::from_le_bytes(*field?.first_chunk().ok_or_else(ends)?),
        ),
        other => {
            let problem = format!("version {other} of the format is not known");
            return Err(source.unsupported(6, problem, NOT_NPY));
        }
    };
    if len as usize > MAX_DICTIONARY {
        let problem = format!("the header claims {len} bytes, the limit is {MAX_DICTIONARY}");
        return Err(source.too_large(8, problem, NOT_NPY));
    }
    Ok((begin, len as usize))
}

fn ends(source: Source, bytes: &[u8]) -> DataError {
    let remedy = "the file is damaged or incomplete: write it again with numpy.save";
    source.malformed(bytes.len(), "the file ends inside its header", remedy)
}

/// The three entries, each with the offset at which its value begins.
struct Fields {
    descr: (String, usize),
    fortran_order: (bool, usize),
    shape: (Vec<usize>, usize),
}

fn header(source: Source, fields: Fields, start: usize) -> Result<Header, DataError> {
    let (descr, at) = fields.descr;
    let (kind, big_endian) = kind(source, &descr, at)?;
    if fields.fortran_order.0 {
        let problem = "the values are in Fortran order, onebit reads C order";
        let remedy = "save numpy.ascontiguousarray(x) instead";
        return Err(source.unsupported(fields.fortran_order.1, problem, remedy));
    }
    let (shape, at) = fields.shape;
    if let Some(empty) = shape.iter().position(|&axis| axis == 0) {
        let problem = format!("axis {empty} of the shape {shape:?} is empty");
        return Err(source.malformed(at, problem, "give at least one example"));
    }
    let n_values = shape
        .iter()
        .try_fold(1usize, |n, &axis| n.checked_mul(axis));
    let fits = |&n: &usize| {
        n.checked_mul(kind.width_in_memory())
            .is_some_and(|size| size as u64 <= MAX_EXPANDED_BYTES)
    };
    let n_values = n_values.filter(fits).ok_or_else(|| {
        let problem = format!("the shape {shape:?} needs more than {MAX_EXPANDED_BYTES} bytes");
        source.too_large(at, problem, "split the data into smaller files")
    })?;
    Ok(Header {
        kind,
        big_endian,
        shape,
        n_values,
        start,
    })
}

fn kind(source: Source, descr: &str, at: usize) -> Result<(Kind, bool), DataError> {
    let (order, name) = match descr.split_at_checked(1) {
        Some((order @ ("<" | ">" | "|" | "="), name)) => (order, name),
        _ => ("|", descr),
    };
    let kind = match name {
        "u1" => Kind::U8,
        "i1" => Kind::I8,
        "i2" => Kind::I16,
        "u2" => Kind::U16,
        "i4" => Kind::I32,
        "i8" => Kind::I64,
        "f4" => Kind::F32,
        "f8" => Kind::F64,
        _ => {
            let problem = format!("values of type `{}` are not read", descr.escape_debug());
            let remedy =
                "save x.astype(numpy.float32), or numpy.uint8 for pixels, numpy.int64 for labels";
            return Err(source.unsupported(at, problem, remedy));
        }
    };
    if order == "|" && kind.width() > 1 {
        let problem = format!(
            "the type `{}` does not say its byte order",
            descr.escape_debug()
        );
        return Err(source.malformed(at, problem, NOT_NPY));
    }
    Ok((
        kind,
        order == ">" || (order == "=" && cfg!(target_endian = "big")),
    ))
}

/// A cursor over the dictionary's text.
struct Dictionary<'a> {
    source: Source<'a>,
    text: &'a [u8],
    /// Offset of the text in the file.
    begin: usize,
    at: usize,
}

impl Dictionary<'_> {
    fn fields(&mut self) -> Result<Fields, DataError> {
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        self.expect(b'{')?;
        while !self.take(b'}') {
            let at = self.begin + self.at;
            let key = self.string()?;
            self.expect(b':')?;
            self.skip_spaces();
            let value_at = self.begin + self.at;
            let first = match key.as_str() {
                "descr" => descr.replace((self.descr()?, value_at)).is_none(),
                "fortran_order" => fortran_order.replace((self.truth()?, value_at)).is_none(),
                "shape" => shape.replace((self.shape()?, value_at)).is_none(),
                _ => false,
            };
            if !first {
                let problem = format!(
                    "the header's entry `{}` is not known or comes twice",
                    key.escape_debug()
                );
                return Err(self.source.malformed(at, problem, NOT_NPY));
            }
            if !self.take(b',') {
                self.expect(b'}')?;
                break;
            }
        }
        self.skip_spaces();
        if self.at < self.text.len() {
            return Err(self.wrong("text after the dictionary"));
        }
        match (descr, fortran_order, shape) {
            (Some(descr), Some(fortran_order), Some(shape)) => Ok(Fields {
                descr,
                fortran_order,
                shape,
            }),
            _ => Err(self.wrong("a dictionary without one of descr, fortran_order and shape")),
        }
    }

    fn descr(&mut self) -> Result<String, DataError> {
        if self.text.get(self.at) == Some(&b'[') {
            let problem = "structured values (several fields a value) are not read";
            let remedy = "save each field as an array of its own";
            return Err(self
                .source
                .unsupported(self.begin + self.at, problem, remedy));
        }
        self.string()
    }

    fn skip_spaces(&mut self) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\n' | b'\t' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        self.skip_spaces();
        let found = self.text.get(self.at) == Some(&byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Result<(), DataError> {
        if self.take(byte) {
            Ok(())
        } else {
            Err(self.wrong(&format!("no `{}`", byte as char)))
        }
    }

    fn wrong(&self, found: &str) -> DataError {
        self.source.malformed(
            self.begin + self.at,
            format!("the header has {found} here"),
            NOT_NPY,
        )
    }

    /// The text up to and without the first byte that `stop` accepts.
    fn until(&mut self, stop: impl Fn(u8) -> bool) -> String {
        let rest = &self.text[self.at..];
        let len = rest
            .iter()
            .position(|&byte| stop(byte))
            .unwrap_or(rest.len());
        self.at += len;
        String::from_utf8_lossy(&rest[..len]).into_owned()
    }

    fn string(&mut self) -> Result<String, DataError> {
        for quote in [b'\'', b'"'] {
            if self.take(quote) {
                let text = self.until(|byte| byte == quote);
                return self.expect(quote).map(|()| text);
            }
        }
        Err(self.wrong("no quoted text"))
    }

    fn truth(&mut self) -> Result<bool, DataError> {
        match self.until(|byte| !byte.is_ascii_alphabetic()).as_str() {
            "True" => Ok(true),
            "False" => Ok(false),
            _ => Err(self.wrong("neither True nor False")),
        }
    }

    fn shape(&mut self) -> Result<Vec<usize>, DataError> {
        let mut shape = Vec::new();
        self.expect(b'(')?;
        while !self.take(b')') {
            let digits = self.until(|byte| !byte.is_ascii_digit());
            shape.push(
                digits
                    .parse()
                    .map_err(|_| self.wrong("no size that fits"))?,
            );
            if shape.len() > MAX_RANK {
                let problem = format!("the array has more than {MAX_RANK} axes");
                return Err(self.source.unsupported(
                    self.begin + self.at,
                    problem,
                    "save x.reshape(len(x), -1)",
                ));
            }
            if !self.take(b',') {
                self.expect(b')')?;
                break;
            }
        }
        Ok(shape)
    }
}

/// The header that numpy 1.0 files have: padded with spaces so that the values begin at a multiple of 64.
pub(crate) fn bytes(shape: &[usize], data: &ArrayData) -> Vec<u8> {
    let descr = match data {
        ArrayData::U8(_) => "|u1",
        ArrayData::I8(_) => "|i1",
        ArrayData::I32(_) => "<i4",
        ArrayData::I64(_) => "<i8",
        ArrayData::F32(_) => "<f4",
    };
    let axes: Vec<String> = shape.iter().map(usize::to_string).collect();
    let comma = if axes.len() == 1 { "," } else { "" };
    let axes = axes.join(", ");
    let mut text =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({axes}{comma}), }}");
    let unpadded = 10 + text.len() + 1;
    text.push_str(&" ".repeat(unpadded.next_multiple_of(64) - unpadded));
    text.push('\n');
    let len = u16::try_from(text.len()).expect("a handful of axes is far below 64 KiB of text");
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&[1, 0]);
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

//! Scanning of the text forms: lines, words, numbers, strings and types.
//!
//! Owns the lexical rules that the Program's and the Net's text share, and the error that names a
//! line. What the lines mean is left to `text` and `netfile`.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::{self, Write};
use core::ops::RangeInclusive;
use core::str::FromStr;

use thiserror::Error;

use crate::limits::MAX_RANK;
use crate::program::{Kind, Type};
use crate::weights::BitPlanes;

/// What is wrong with a text form, and on which line (the first is 1).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}: {kind}")]
pub struct TextError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub kind: TextErrorKind,
}

/// The ways a line can be wrong.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TextErrorKind {
    /// The text ends too early.
    #[error("the text ends here; {0} is missing")]
    Ended(&'static str),
    /// Something else stands where this belongs.
    #[error("expected {expected}, found {found:?}")]
    Expected {
        /// What belongs here.
        expected: &'static str,
        /// The rest of the line.
        found: String,
    },
    /// A number that is malformed or too large.
    #[error("{0:?} is not a number that fits here")]
    Number(String),
    /// `levels(k)` with an impossible `k`.
    #[error("levels({0}) is not one of levels(1) to levels(8)")]
    Levels(u64),
    /// `planes(k)` with an impossible `k`.
    #[error("planes({0}) is not one of planes(2) to planes(7)")]
    Planes(u64),
    /// A shape of too many axes.
    #[error("a shape of more than {MAX_RANK} axes")]
    Rank,
    /// A string without its closing quote or with an unknown escape.
    #[error("a string is not closed or has an escape other than \\\\ \\\" \\n \\r \\t")]
    String,
    /// Another document, or another version of it.
    #[error(
        "this is {found:?}, not {wanted:?}: it is another kind of file or needs a newer onebit"
    )]
    Document {
        /// The first line.
        found: String,
        /// What the first line must be.
        wanted: &'static str,
    },
    /// An op that does not exist.
    #[error("there is no op {0:?}")]
    UnknownOp(String),
    /// An encoder that does not exist.
    #[error("there is no encoder {0:?}")]
    UnknownEncoder(String),
    /// A value that no earlier line defines.
    #[error("no earlier line defines {0:?}")]
    UnknownValue(String),
    /// A name that an earlier line has taken.
    #[error("an earlier line defines {0:?} already")]
    Redefined(String),
}

/// Walks a text line by line, and one line from left to right.
pub(crate) struct Scanner<'text> {
    lines: core::str::Split<'text, char>,
    /// Number of the current line, from 1; 0 before the first.
    line: usize,
    /// What is left of the current line.
    rest: &'text str,
}

impl<'text> Scanner<'text> {
    pub(crate) fn new(text: &'text str) -> Self {
        let text = text.strip_suffix('\n').unwrap_or(text);
        Scanner {
            lines: text.split('\n'),
            line: 0,
            rest: "",
        }
    }

    pub(crate) fn error(&self, kind: TextErrorKind) -> TextError {
        TextError {
            line: self.line,
            kind,
        }
    }

    /// Goes to the next line; `what` says what it should hold.
    pub(crate) fn next_line(&mut self, what: &'static str) -> Result<(), TextError> {
        self.line += 1;
        match self.lines.next() {
            Some(line) => {
                self.rest = line;
                Ok(())
            }
            None => Err(self.error(TextErrorKind::Ended(what))),
        }
    }

    /// Demands that no line is left.
    pub(crate) fn end_of_text(&mut self) -> Result<(), TextError> {
        match self.lines.next() {
            None => Ok(()),
            Some(line) => {
                self.line += 1;
                self.rest = line;
                Err(self.expected("the end of the text"))
            }
        }
    }

    /// Demands that nothing is left on the line.
    pub(crate) fn end_of_line(&mut self) -> Result<(), TextError> {
        if self.at_end_of_line() {
            Ok(())
        } else {
            Err(self.expected("the end of the line"))
        }
    }

    pub(crate) fn at_end_of_line(&mut self) -> bool {
        self.skip_spaces();
        self.rest.is_empty()
    }

    /// Demands the first line of a document, such as `onebit program 1`.
    pub(crate) fn document(&mut self, wanted: &'static str) -> Result<(), TextError> {
        self.next_line("the first line")?;
        if self.rest == wanted {
            return Ok(());
        }
        let found = excerpt(self.rest);
        Err(self.error(TextErrorKind::Document { found, wanted }))
    }

    /// Demands the first line of a document of which an earlier version is read too; whether it is that one.
    #[cfg(feature = "std")]
    pub(crate) fn document_of(
        &mut self,
        wanted: &'static str,
        earlier: &str,
    ) -> Result<bool, TextError> {
        let mut ahead = Scanner {
            lines: self.lines.clone(),
            ..*self
        };
        if ahead.next_line("the first line").is_ok() && ahead.rest == earlier {
            *self = ahead;
            return Ok(true);
        }
        self.document(wanted).map(|()| false)
    }

    pub(crate) fn expected(&self, expected: &'static str) -> TextError {
        let found = excerpt(self.rest);
        self.error(TextErrorKind::Expected { expected, found })
    }

    fn skip_spaces(&mut self) {
        self.rest = self.rest.trim_start_matches(' ');
    }

    /// Takes `token` if it comes next.
    pub(crate) fn take(&mut self, token: &str) -> bool {
        self.skip_spaces();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Demands `token`.
    pub(crate) fn demand(&mut self, token: &'static str) -> Result<(), TextError> {
        if self.take(token) {
            Ok(())
        } else {
            Err(self.expected(token))
        }
    }

    /// Takes the word `word` if it comes next as a whole.
    pub(crate) fn take_word(&mut self, word: &str) -> bool {
        let before = self.rest;
        if self.word("a word").is_ok_and(|found| found == word) {
            return true;
        }
        self.rest = before;
        false
    }

    /// Takes letters, digits, `_`, `.`, `-` and `@`.
    pub(crate) fn word(&mut self, what: &'static str) -> Result<&'text str, TextError> {
        self.skip_spaces();
        let is_part = |c: char| c.is_ascii_alphanumeric() || "_.-@".contains(c);
        let n = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        if n == 0 {
            return Err(self.expected(what));
        }
        let (word, rest) = self.rest.split_at(n);
        self.rest = rest;
        Ok(word)
    }

    pub(crate) fn number<T: FromStr>(&mut self) -> Result<T, TextError> {
        let word = self.word("a number")?;
        word.parse()
            .map_err(|_| self.error(TextErrorKind::Number(excerpt(word))))
    }

    /// Takes a binary32 number that is not NaN.
    pub(crate) fn real(&mut self) -> Result<f32, TextError> {
        let word = self.word("a number")?;
        let real = word.parse().ok().filter(|real: &f32| !real.is_nan());
        real.ok_or_else(|| self.error(TextErrorKind::Number(excerpt(word))))
    }

    /// Takes a quoted string.
    pub(crate) fn string(&mut self) -> Result<String, TextError> {
        self.demand("\"")?;
        let mut string = String::new();
        let mut chars = self.rest.chars();
        loop {
            match chars.next() {
                Some('"') => break,
                Some('\\') => match chars.next() {
                    Some('n') => string.push('\n'),
                    Some('r') => string.push('\r'),
                    Some('t') => string.push('\t'),
                    Some(c @ ('"' | '\\')) => string.push(c),
                    _ => return Err(self.error(TextErrorKind::String)),
                },
                Some(c) => string.push(c),
                None => return Err(self.error(TextErrorKind::String)),
            }
        }
        self.rest = chars.as_str();
        Ok(string)
    }

    /// Takes `[a, b, ...]` with at least one number.
    pub(crate) fn shape(&mut self) -> Result<Vec<usize>, TextError> {
        self.demand("[")?;
        let mut shape = Vec::new();
        loop {
            shape.push(self.number()?);
            if shape.len() > MAX_RANK {
                return Err(self.error(TextErrorKind::Rank));
            }
            if self.take("]") {
                return Ok(shape);
            }
            self.demand(",")?;
        }
    }

    /// Takes `(k)` after the word `levels`.
    pub(crate) fn level_bits(&mut self) -> Result<u8, TextError> {
        self.count(1..=8, TextErrorKind::Levels)
    }

    /// Takes `(k)` after the word `planes`.
    pub(crate) fn n_planes(&mut self) -> Result<u8, TextError> {
        self.count(BitPlanes::N_PLANES, TextErrorKind::Planes)
    }

    /// Takes `(n)`, where `n` is in a range.
    fn count(
        &mut self,
        range: RangeInclusive<u8>,
        wrong: impl Fn(u64) -> TextErrorKind,
    ) -> Result<u8, TextError> {
        self.demand("(")?;
        let n: u64 = self.number()?;
        self.demand(")")?;
        match u8::try_from(n) {
            Ok(n) if range.contains(&n) => Ok(n),
            _ => Err(self.error(wrong(n))),
        }
    }

    /// Takes a type, such as `levels(8)[28, 28, 1]`.
    pub(crate) fn ty(&mut self) -> Result<Type, TextError> {
        let before = self.rest;
        let kind = match self.word("a type")? {
            "bits" => Kind::Bits,
            "int" => Kind::Int,
            "real" => Kind::Real,
            "levels" => Kind::Levels(self.level_bits()?),
            _ => {
                self.rest = before;
                return Err(self.expected("bits, levels(k), int or real"));
            }
        };
        Ok(Type {
            kind,
            shape: self.shape()?,
        })
    }

    /// Takes the lines `name`, `note` and `input`, which begin every document.
    pub(crate) fn preamble(&mut self) -> Result<Preamble, TextError> {
        self.next_line("the name")?;
        self.demand("name ")?;
        let name = self.string()?;
        self.end_of_line()?;
        let mut notes = Vec::new();
        loop {
            self.next_line("the input")?;
            if self.take("input ") {
                break;
            }
            self.demand("note ")?;
            notes.push((self.string()?, self.string()?));
            self.end_of_line()?;
        }
        let input = self.ty()?;
        self.end_of_line()?;
        Ok(Preamble { name, notes, input })
    }
}

/// What every document begins with.
pub(crate) struct Preamble {
    pub(crate) name: String,
    pub(crate) notes: Vec<(String, String)>,
    pub(crate) input: Type,
}

/// Writes the lines `name`, `note` and `input`.
pub(crate) fn write_preamble(
    f: &mut impl Write,
    name: &str,
    notes: &[(String, String)],
    input: &Type,
) -> fmt::Result {
    writeln!(f, "name {}", Quoted(name))?;
    for (key, text) in notes {
        writeln!(f, "note {} {}", Quoted(key), Quoted(text))?;
    }
    writeln!(f, "input {input}")
}

/// A string in quotes, with `\\ \" \n \r \t` escaped.
pub(crate) struct Quoted<'a>(pub(crate) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

/// The beginning of a line, short enough for a message.
fn excerpt(line: &str) -> String {
    match line.char_indices().nth(40) {
        Some((end, _)) => alloc::format!("{}...", &line[..end]),
        None => line.to_string(),
    }
}

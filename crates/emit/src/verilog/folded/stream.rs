//! Streams between modules: what an element is, and modules that change how many of them a beat has.
//!
//! A stream has `valid`, `ready` and `data`; a beat moves where both are high, element 0 of a beat in the lowest
//! bits. No `ready` depends on its own `valid`.

use crate::verilog::text::{constant, part, range, unsigned_width};

/// How the bits of an element are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// One bit: 1 is +1, 0 is -1.
    Sign,
    /// A number from 0.
    Unsigned,
    /// Two's complement.
    Signed,
}

/// What an element of a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) bits: usize,
    pub(super) form: Form,
}

impl Element {
    pub(super) const SIGN: Element = Element {
        bits: 1,
        form: Form::Sign,
    };

    pub(super) fn unsigned(bits: usize) -> Self {
        Element {
            bits,
            form: Form::Unsigned,
        }
    }

    pub(super) fn signed(bits: usize) -> Self {
        Element {
            bits,
            form: Form::Signed,
        }
    }

    /// The least and the greatest number that the bits can be.
    pub(super) fn bounds(self) -> (i64, i64) {
        match self.form {
            Form::Sign => (-1, 1),
            Form::Unsigned => (0, (1 << self.bits) - 1),
            Form::Signed => (-1 << (self.bits - 1), (1 << (self.bits - 1)) - 1),
        }
    }

    /// Bits of a signed number that holds every element.
    pub(super) fn signed_bits(self) -> usize {
        match self.form {
            Form::Sign => 2,
            Form::Unsigned => self.bits + 1,
            Form::Signed => self.bits,
        }
    }

    /// Element `index` of a vector with zeros or copies of its sign in front, `width` bits.
    pub(super) fn extended(self, vector: &str, index: usize, width: usize) -> String {
        let start = index * self.bits;
        let value = part(vector, start, self.bits);
        match (width.saturating_sub(self.bits), self.form) {
            (0, _) => value,
            (more, Form::Signed) => format!(
                "{{{{{more}{{{vector}[{}]}}}}, {value}}}",
                start + self.bits - 1
            ),
            (more, _) => format!("{{{more}'d0, {value}}}"),
        }
    }

    /// Element `index` of a vector as a signed number of `width` bits, at least [`Element::signed_bits`].
    pub(super) fn number(self, vector: &str, index: usize, width: usize) -> String {
        match self.form {
            Form::Sign => format!("$signed({{{{{}{{!{vector}[{index}]}}}}, 1'b1}})", width - 1),
            _ => format!("$signed({})", self.extended(vector, index, width)),
        }
    }
}

/// A stream of the design.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    /// Begins the names of its wires.
    pub(super) name: String,
    pub(super) element: Element,
    /// Elements of a beat; divides `n_elements`.
    pub(super) per_beat: usize,
    /// Elements of an image.
    pub(super) n_elements: usize,
}

impl Stream {
    /// Bits of a beat.
    pub(super) fn bits(&self) -> usize {
        self.element.bits * self.per_beat
    }
}

/// The ports of a module with one stream in and one out.
pub(super) fn ports(in_bits: usize, out_bits: usize, valid: &str, data: &str) -> String {
    format!(
        "  input wire clk,\n  input wire rst,\n  input wire s_valid,\n  output wire s_ready,\n  input wire {}s_data,\n  \
         output {valid} m_valid,\n  input wire m_ready,\n  output {data} {}m_data\n",
        range(in_bits),
        range(out_bits)
    )
}

/// Joins `factor` beats of `bits` bits to one.
pub(super) fn widen(name: &str, bits: usize, factor: usize) -> String {
    let count = unsigned_width(factor as u64 - 1);
    format!(
        "// Joins {factor} beats to one.\nmodule {name} (\n{ports});\n  reg {count_range}count;\n  \
         assign s_ready = !m_valid || m_ready;\n  always @(posedge clk)\n    if (rst) begin\n      count <= {zero};\n      \
         m_valid <= 1'b0;\n    end else begin\n      if (m_ready) m_valid <= 1'b0;\n      if (s_valid && s_ready) begin\n        \
         m_valid <= count == {last};\n        count <= count == {last} ? {zero} : count + {one};\n      end\n    end\n  \
         always @(posedge clk)\n    if (s_valid && s_ready) m_data <= {{s_data, m_data[{top}:{bits}]}};\nendmodule\n",
        ports = ports(bits, bits * factor, "reg", "reg"),
        count_range = range(count),
        zero = constant(count, 0),
        one = constant(count, 1),
        last = constant(count, factor as u64 - 1),
        top = bits * factor - 1,
    )
}

/// Cuts a beat into `factor` beats of `bits` bits.
pub(super) fn narrow(name: &str, bits: usize, factor: usize) -> String {
    let left = unsigned_width(factor as u64);
    format!(
        "// Cuts a beat into {factor}.\nmodule {name} (\n{ports});\n  reg {left_range}left;\n  reg {all}rest;\n  \
         assign s_ready = left == {zero} || (left == {one} && m_ready);\n  assign m_valid = left != {zero};\n  \
         assign m_data = rest[{last}:0];\n  always @(posedge clk)\n    if (rst) left <= {zero};\n    \
         else if (s_valid && s_ready) left <= {full};\n    else if (m_valid && m_ready) left <= left - {one};\n  \
         always @(posedge clk)\n    if (s_valid && s_ready) rest <= s_data;\n    \
         else if (m_ready) rest <= {{{bits}'d0, rest[{top}:{bits}]}};\nendmodule\n",
        ports = ports(bits * factor, bits, "wire", "wire"),
        left_range = range(left),
        all = range(bits * factor),
        zero = constant(left, 0),
        one = constant(left, 1),
        full = constant(left, factor as u64),
        last = bits - 1,
        top = bits * factor - 1,
    )
}

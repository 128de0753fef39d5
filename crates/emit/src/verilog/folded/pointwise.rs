//! Modules that map one element to one: thresholds, cuts, offsets, and the negative ones to zero.
//!
//! In: what happens to an element of each channel. Out: a module with one register between its streams. Constants
//! that differ between channels lie in a ROM that one beat's channels are read from.

use super::stream::{Element, Form, Stream, ports};
use crate::verilog::text::{
    bits_constant, constant, part, push_bits, range, signed_constant, signed_width, unsigned_width,
};

/// What happens to an element; lists have one entry per channel, or one for all.
pub(super) enum Map {
    /// The number of cuts that the element reaches; with one cut, its threshold, which `flip` inverts.
    Cuts {
        cuts: Vec<Vec<i64>>,
        flip: Vec<bool>,
        result: Element,
    },
    /// `scale * x + offset`.
    Offset {
        scale: i64,
        offsets: Vec<i64>,
        result: Element,
    },
    /// `x` where it is positive, else 0.
    Relu { result: Element },
}

impl Map {
    pub(super) fn result(&self) -> Element {
        match self {
            Map::Cuts { result, .. } | Map::Offset { result, .. } | Map::Relu { result } => *result,
        }
    }

    /// Channels whose constants differ; 1 if none do.
    pub(super) fn n_channels(&self) -> usize {
        let is_one = |mut n: usize, all_same: bool| {
            if all_same {
                n = 1;
            }
            n
        };
        match self {
            Map::Cuts { cuts, flip, .. } => {
                let same = cuts.iter().all(|list| *list == cuts[0])
                    && flip.iter().all(|bit| *bit == flip[0]);
                is_one(cuts.len(), same)
            }
            Map::Offset { offsets, .. } => {
                is_one(offsets.len(), offsets.iter().all(|x| *x == offsets[0]))
            }
            Map::Relu { .. } => 1,
        }
    }

    /// Bits of the constant `cut` or offset of an element.
    fn constant_bits(&self, x: Element) -> usize {
        match self {
            Map::Cuts { .. } => compare_bits(x),
            Map::Offset { offsets, .. } => {
                let min = offsets.iter().copied().min().unwrap_or(0);
                let max = offsets.iter().copied().max().unwrap_or(0);
                signed_width(min, max)
            }
            Map::Relu { .. } => 1,
        }
    }

    /// The constants of a channel, one after the other.
    fn entry(&self, channel: usize, x: Element) -> Vec<bool> {
        let bits = self.constant_bits(x);
        let mut entry = Vec::new();
        match self {
            Map::Cuts { cuts, flip, .. } => {
                for &cut in &cuts[channel.min(cuts.len() - 1)] {
                    push_bits(&mut entry, bits, clamped(cut, x));
                }
                entry.push(flip[channel.min(flip.len() - 1)]);
            }
            Map::Offset { offsets, .. } => {
                push_bits(&mut entry, bits, offsets[channel.min(offsets.len() - 1)]);
            }
            Map::Relu { .. } => {}
        }
        entry
    }

    /// The ROM bits of a module.
    pub(super) fn rom_bits(&self, x: Element) -> usize {
        match self.n_channels() {
            1 => 0,
            n => n * self.entry(0, x).len(),
        }
    }

    /// The module for a stream whose beats hold whole runs of channels: `per_beat` divides their number.
    pub(super) fn module(&self, name: &str, x: &Stream) -> String {
        let n_channels = self.n_channels();
        let n_beats = if n_channels == 1 {
            1
        } else {
            n_channels / x.per_beat
        };
        let out = self.result();
        let mut text = format!(
            "// {} at a time.\nmodule {name} (\n{});\n  assign s_ready = !m_valid || m_ready;\n",
            x.per_beat,
            ports(x.bits(), out.bits * x.per_beat, "reg", "reg")
        );
        if n_channels > 1 {
            text.push_str(&self.table(n_beats, x));
        }
        for i in 0..x.per_beat {
            text.push_str(&self.one(i, x, n_channels > 1));
        }
        let parts: Vec<String> = (0..x.per_beat).rev().map(|i| format!("y{i}")).collect();
        text.push_str(&format!(
            "  always @(posedge clk)\n    if (rst) m_valid <= 1'b0;\n    else if (s_ready) m_valid <= s_valid;\n  \
             always @(posedge clk)\n    if (s_ready) m_data <= {{{}}};\nendmodule\n",
            parts.join(", ")
        ));
        text
    }

    /// The ROM of constants, one word per beat of a run of channels.
    fn table(&self, n_beats: usize, x: &Stream) -> String {
        let word = |beat: usize| {
            let channels = beat * x.per_beat..(beat + 1) * x.per_beat;
            let bits: Vec<bool> = channels
                .flat_map(|channel| self.entry(channel, x.element))
                .collect();
            bits
        };
        let bits = word(0).len();
        if n_beats == 1 {
            return format!("  wire {}row = {};\n", range(bits), bits_constant(&word(0)));
        }
        let index_bits = unsigned_width(n_beats as u64 - 1);
        let mut text = format!(
            "  reg {}beat;\n  reg {}row;\n  always @(posedge clk)\n    if (rst) beat <= {zero};\n    \
             else if (s_valid && s_ready) beat <= beat == {last} ? {zero} : beat + {one};\n  \
             always @*\n    case (beat)\n",
            range(index_bits),
            range(bits),
            zero = constant(index_bits, 0),
            last = constant(index_bits, n_beats as u64 - 1),
            one = constant(index_bits, 1),
        );
        for beat in 0..n_beats {
            let index = match beat + 1 == n_beats {
                true => "default".to_string(),
                false => constant(index_bits, beat as u64),
            };
            text.push_str(&format!(
                "      {index}: row = {};\n",
                bits_constant(&word(beat))
            ));
        }
        text.push_str("    endcase\n");
        text
    }

    /// Element `i` of a beat.
    fn one(&self, i: usize, x: &Stream, has_table: bool) -> String {
        let out = self.result();
        let entry_bits = self.entry(0, x.element).len();
        let number = |width: usize| x.element.number("s_data", i, width);
        match self {
            Map::Cuts { cuts, flip, .. } => self.cuts_text(i, x, has_table, cuts, flip),
            Map::Offset { scale, offsets, .. } => {
                let bits = self.constant_bits(x.element);
                let width = (x.element.signed_bits() + 1).max(bits).max(out.bits) + 1;
                let offset = match has_table {
                    true => {
                        let start = i * entry_bits;
                        format!(
                            "$signed({{{{{}{{row[{}]}}}}, {}}})",
                            width - bits,
                            start + bits - 1,
                            part("row", start, bits)
                        )
                    }
                    false => signed_constant(width, offsets[0]),
                };
                let x = match scale {
                    1 => number(width),
                    _ => format!("$signed({{{}, 1'b0}})", number(width - 1)),
                };
                format!(
                    "  wire signed {wide}z{i} = {x} + {offset};\n  wire {}y{i} = z{i}[{}:0];\n  \
                     wire unused_z{i} = &{{1'b0, z{i}[{}:{}]}};\n",
                    range(out.bits),
                    out.bits - 1,
                    width - 1,
                    out.bits,
                    wide = range(width),
                )
            }
            Map::Relu { .. } => {
                let width = x.element.bits.max(out.bits) + 1;
                format!(
                    "  wire signed {wide}x{i} = {};\n  wire {}y{i} = x{i}[{top}] ? {} : x{i}[{}:0];\n  \
                     wire unused_x{i} = &{{1'b0, x{i}[{top}:{}]}};\n",
                    number(width),
                    range(out.bits),
                    constant(out.bits, 0),
                    out.bits - 1,
                    out.bits,
                    top = width - 1,
                    wide = range(width),
                )
            }
        }
    }

    /// Element `i` of a beat, compared with its cuts.
    fn cuts_text(
        &self,
        i: usize,
        x: &Stream,
        has_table: bool,
        cuts: &[Vec<i64>],
        flip: &[bool],
    ) -> String {
        let out = self.result();
        let entry_bits = self.entry(0, x.element).len();
        let width = compare_bits(x.element);
        let mut text = format!(
            "  wire signed {}x{i} = {};\n",
            range(width),
            x.element.number("s_data", i, width)
        );
        let reaches = |cut_idx: usize| {
            let at = match has_table {
                true => format!(
                    "$signed({})",
                    part("row", i * entry_bits + cut_idx * width, width)
                ),
                false => signed_constant(width, clamped(cuts[0][cut_idx], x.element)),
            };
            format!("x{i} >= {at}")
        };
        let value = if out.form == Form::Sign {
            let invert = match has_table {
                true => format!(" ^ row[{}]", (i + 1) * entry_bits - 1),
                false => format!(" ^ 1'b{}", u8::from(flip[0])),
            };
            format!("({}){invert}", reaches(0))
        } else {
            let zeros = match out.bits - 1 {
                0 => String::new(),
                zeros => format!("{zeros}'d0, "),
            };
            let terms =
                (0..cuts[0].len()).map(|cut_idx| format!("{{{zeros}{}}}", reaches(cut_idx)));
            let terms: Vec<String> = terms.collect();
            if has_table {
                text.push_str(&format!(
                    "  wire unused_flip{i} = &{{1'b0, row[{}]}};\n",
                    (i + 1) * entry_bits - 1
                ));
            }
            terms.join(" + ")
        };
        text.push_str(&format!("  wire {}y{i} = {value};\n", range(out.bits)));
        text
    }
}

/// Bits of a signed comparison of an element with what it may never reach.
fn compare_bits(x: Element) -> usize {
    match x.form {
        Form::Sign => 3,
        Form::Unsigned => x.bits + 2,
        Form::Signed => x.bits + 1,
    }
}

/// The cut, brought to where the comparison has bits for it and its answers stay the same.
fn clamped(cut: i64, x: Element) -> i64 {
    let (min, max) = x.bounds();
    cut.clamp(min, max + 1)
}

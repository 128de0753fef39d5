//! The reals that an answer ends in: a table of binary32 numbers for every channel and every integer they follow from.
//!
//! In: the stream of the integers and the table. Out: a module that reads the table, so that a norm of the scores
//! takes no floating-point unit and loses no bit.

use super::cost::Logic;
use super::stream::{Stream, ports};
use crate::File;
use crate::verilog::text::{constant, range, rom, unsigned_width};

/// Numbers for `n_channels` channels, those of a channel after one another from the integer `low` on.
pub(super) struct Lookup {
    pub(super) low: i64,
    pub(super) n_channels: usize,
    /// The bits of binary32 numbers, as many for each channel.
    pub(super) table: Vec<u32>,
}

impl Lookup {
    /// Numbers of a channel.
    fn per_channel(&self) -> usize {
        self.table.len() / self.n_channels
    }

    fn address_bits(&self) -> usize {
        unsigned_width(self.table.len() as u64 - 1)
    }

    /// LUTs and flip-flops, without the table.
    pub(super) fn cost(&self) -> Logic {
        let bits = self.address_bits() as f64;
        [2.5 * bits + 2.0, bits + 1.0]
    }

    /// The module for a stream of one element a beat, channels fastest, and the words of a long table.
    pub(super) fn module(&self, name: &str, x: &Stream) -> (String, Option<File>) {
        let bits = self.address_bits();
        let width = (bits + 1).max(x.element.signed_bits());
        // Where integer 0 of a channel would be; addresses wrap.
        let mask = (1u64 << bits) - 1;
        let base = |channel: usize| {
            let start = (channel * self.per_channel()) as i64 - self.low;
            constant(bits, start.cast_unsigned() & mask)
        };
        let mut text = format!(
            "// The binary32 number of each channel and integer.\nmodule {name} (\n{ports});\n  \
             wire signed {wide}x = {number};\n  \
             wire unused_x = &{{1'b0, x[{top}:{bits}]}};\n  assign s_ready = !m_valid || m_ready;\n",
            ports = ports(x.bits(), 32, "reg", "reg"),
            wide = range(width),
            number = x.element.number("s_data", 0, width),
            top = width - 1,
        );
        if self.n_channels == 1 {
            text.push_str(&format!("  wire {}base = {};\n", range(bits), base(0)));
        } else {
            text.push_str(&format!(
                "  reg {}base;\n  always @(posedge clk)\n    if (rst) base <= {first};\n    \
                 else if (s_valid && s_ready) base <= base == {last} ? {first} : base + {step};\n",
                range(bits),
                first = base(0),
                last = base(self.n_channels - 1),
                step = constant(bits, self.per_channel() as u64),
            ));
        }
        text.push_str(&format!(
            "  wire {}address = base + x[{}:0];\n",
            range(bits),
            bits - 1
        ));
        let bits_of = |word: &u32| (0..32).map(|i| (word >> i) & 1 == 1).collect();
        let words: Vec<Vec<bool>> = self.table.iter().map(bits_of).collect();
        let (table, file) = rom("rom", 32, &format!("{name}.hex"), &words);
        text.push_str(&table);
        text.push_str(
            "  always @(posedge clk)\n    if (rst) m_valid <= 1'b0;\n    else if (s_ready) m_valid <= s_valid;\n  \
             always @(posedge clk)\n    if (s_ready) m_data <= rom[address];\nendmodule\n",
        );
        (text, file)
    }
}

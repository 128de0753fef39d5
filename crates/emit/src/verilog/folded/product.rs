//! The product of weights in ROM with the words of a window: `PE` rows at a time, `SIMD` columns a cycle.
//!
//! In: a layer's weights, its folding, and what an element of the stream is. Out: a module whose stream carries
//! `PE` accumulators a beat, and how an accumulator becomes the sum of the op. On bits the accumulator counts the
//! columns that agree, as an XNOR and a population count do (XNOR-Net, Rastegari et al. 2016; the folding into
//! processing elements and lanes is that of FINN, Umuroglu et al. 2017).

use onebit_model::weights::Weights;

use super::count;
use super::design::{Memory, module_file};
use super::stream::{Element, Form};
use crate::File;
use crate::verilog::text::{
    bits_constant, constant, part, push_bits, range, rom, signed_width, unsigned_width,
};

/// A layer's product and how it is folded.
pub(super) struct Product<'a> {
    pub(super) weights: &'a Weights,
    /// Rows at a time; divides the rows of a group.
    pub(super) pe: usize,
    /// Columns at a time; divides the channels that a row reads of a pixel.
    pub(super) simd: usize,
    pub(super) element: Element,
    /// Whether words can lie in the pads and add nothing there, though a bit cannot be zero.
    pub(super) has_zero_pads: bool,
    /// Greatest magnitude of an element of the operand, pads included.
    pub(super) most: i64,
}

/// How an accumulator becomes the op's sum: `scale * accumulator + offset`.
pub(super) struct Accumulator {
    pub(super) element: Element,
    pub(super) scale: i64,
    /// One per row.
    pub(super) offsets: Vec<i64>,
}

impl Product<'_> {
    /// Whether accumulators count agreeing columns.
    fn counts(&self) -> bool {
        self.element.form == Form::Sign
            && !self.has_zero_pads
            && matches!(self.weights, Weights::Bits(_) | Weights::Ternary { .. })
    }

    /// The accumulators of the module.
    pub(super) fn accumulator(&self) -> Accumulator {
        let n_rows = self.weights.n_rows();
        if self.counts() {
            let nonzero = |row: usize| i64::from(self.weights.row_nonzero(row));
            let most = (0..n_rows).map(nonzero).max().unwrap_or(0);
            return Accumulator {
                element: Element::unsigned(unsigned_width(most as u64)),
                scale: 2,
                offsets: (0..n_rows).map(|row| -nonzero(row)).collect(),
            };
        }
        let reach = |row: usize| {
            let (plus, minus) = self.weights.row_sums(row);
            (plus - minus) * self.most
        };
        let most = (0..n_rows).map(reach).max().unwrap_or(0);
        Accumulator {
            element: Element::signed(signed_width(-most, most).max(self.operand_bits())),
            scale: 1,
            offsets: vec![0; n_rows],
        }
    }

    /// Bits that hold an element or a weight as a signed number: no sum is narrower than what it adds.
    fn operand_bits(&self) -> usize {
        self.weight_bits().max(2).max(self.element.signed_bits())
    }

    /// Bits of one weight as a signed number; of those that have none but signs and masks, of these.
    fn weight_bits(&self) -> usize {
        match self.weights {
            Weights::Bits(_) => 1,
            Weights::Ternary { .. } => 2,
            Weights::Planes(planes) => planes.planes().len() + 1,
            _ => 8,
        }
    }

    /// Bits of one weight in ROM: numbers made of planes are odd, and their last bit is left out.
    fn rom_bits(&self) -> usize {
        self.weight_bits() - usize::from(matches!(self.weights, Weights::Planes(_)))
    }

    /// Weight `i` of a word as an expression of `bits` bits, signed.
    fn weight(&self, i: usize, bits: usize) -> String {
        if !matches!(self.weights, Weights::Planes(_)) {
            return Element::signed(self.weight_bits()).number("w", i, bits);
        }
        let n = self.rom_bits();
        let all = part("w", i * n, n);
        match bits - n - 1 {
            0 => format!("$signed({{{all}, 1'b1}})"),
            more => format!(
                "$signed({{{{{more}{{w[{}]}}}}, {all}, 1'b1}})",
                (i + 1) * n - 1
            ),
        }
    }

    /// Words of each ROM.
    fn depth(&self) -> usize {
        self.weights.n_rows() / self.pe * (self.weights.n_cols() / self.simd)
    }

    /// The ROMs, one of each row that is computed at a time.
    pub(super) fn memories(&self) -> Memory {
        Memory::rom(self.depth(), self.simd * self.rom_bits(), self.pe)
    }

    /// One word's sum, which is no wider than the accumulator: the rest of its row adds nothing to its bounds.
    fn word_sum(&self) -> Element {
        let simd = self.simd as i64;
        let most_bits = self.accumulator().element.bits;
        if self.counts() {
            return Element::unsigned(unsigned_width(simd as u64).min(most_bits));
        }
        let weight = match self.weights {
            Weights::Planes(planes) => (1 << planes.planes().len()) - 1,
            Weights::Int8(_) => 128,
            _ => 1,
        };
        let most = simd * weight * self.most;
        Element::signed(
            signed_width(-most, most)
                .max(self.operand_bits())
                .min(most_bits),
        )
    }

    /// The word of a row's ROM: sign bits, then mask bits, or numbers.
    fn rom_word(&self, row: usize, chunk: usize) -> Vec<bool> {
        let columns = chunk * self.simd..(chunk + 1) * self.simd;
        let mut bits = Vec::new();
        match self.weights {
            Weights::Bits(sign) => bits.extend(columns.map(|col| sign.get(row, col))),
            Weights::Ternary { sign, mask } => {
                bits.extend(columns.clone().map(|col| sign.get(row, col)));
                bits.extend(columns.map(|col| mask.get(row, col)));
            }
            weights => {
                let odd = self.weight_bits() - self.rom_bits();
                for col in columns {
                    let number = i64::from(weights.get(row, col)) >> odd;
                    push_bits(&mut bits, self.rom_bits(), number);
                }
            }
        }
        bits
    }

    /// The rows that a processing element computes, in order.
    fn rows_of(&self, pe: usize) -> impl Iterator<Item = usize> {
        (pe..self.weights.n_rows()).step_by(self.pe)
    }

    /// The files of the layer's product: the module `name`, the module `name_dot`, and the words of deep ROMs.
    pub(super) fn files(&self, name: &str) -> Vec<File> {
        let dot = format!("{name}_dot");
        let mut files = vec![module_file(&dot, self.dot(&dot))];
        let text = self.module(name, &mut files);
        files.insert(0, module_file(name, text));
        files
    }

    fn module(&self, name: &str, files: &mut Vec<File>) -> String {
        let (depth, accumulator, sum) = (self.depth(), self.accumulator().element, self.word_sum());
        let x_bits = self.simd * self.element.bits;
        let pads = |text: &'static str| if self.has_zero_pads { text } else { "" };
        let out_bits = self.pe * accumulator.bits;
        let mut text = format!(
            "// {pe} rows at a time, {simd} columns a cycle, {depth} words a row's ROM.\n\
             module {name} (\n  input wire clk,\n  input wire rst,\n  input wire s_valid,\n  output wire s_ready,\n  \
             input wire {x}s_data,\n{pad_port}  input wire s_last,\n  output reg m_valid,\n  input wire m_ready,\n  \
             output wire {out}m_data\n);\n  wire ce = !m_valid || m_ready;\n  assign s_ready = ce;\n  \
             reg v1, v2, last1, last2, fresh;\n{pad_reg}  reg {x}x1;\n",
            pe = self.pe,
            simd = self.simd,
            x = range(x_bits),
            out = range(out_bits),
            pad_port = pads("  input wire s_pad,\n"),
            pad_reg = pads("  reg pad1;\n"),
        );
        let (address, step) = self.rom_address();
        text.push_str(&address);
        for pe in 0..self.pe {
            let (element, rom) = self.element_text(pe, name, accumulator, sum);
            text.push_str(&element);
            files.extend(rom);
        }
        text.push_str(&format!(
            "  always @(posedge clk)\n    if (rst) begin\n      v1 <= 1'b0;\n      v2 <= 1'b0;\n      m_valid <= 1'b0;\n      \
             fresh <= 1'b1;\n    end else if (ce) begin\n      v1 <= s_valid;\n      v2 <= v1;\n      \
             m_valid <= v2 && last2;\n      if (v2) fresh <= last2;\n    end\n  \
             always @(posedge clk)\n    if (ce) begin\n      x1 <= s_data;\n{pad}      last1 <= s_last;\n      \
             last2 <= last1;\n    end\n{step}",
            pad = pads("      pad1 <= s_pad;\n"),
        ));
        let parts: Vec<String> = (0..self.pe).rev().map(|pe| format!("acc{pe}")).collect();
        text.push_str(&format!(
            "  assign m_data = {{{}}};\nendmodule\n",
            parts.join(", ")
        ));
        text
    }

    /// The address of the ROMs, and what advances it.
    fn rom_address(&self) -> (String, String) {
        let depth = self.depth();
        if depth == 1 {
            return (String::new(), String::new());
        }
        let bits = unsigned_width(depth as u64 - 1);
        let step = format!(
            "  always @(posedge clk)\n    if (rst) address <= {zero};\n    else if (ce && s_valid)\n      \
             address <= address == {last} ? {zero} : address + {one};\n",
            zero = constant(bits, 0),
            last = constant(bits, depth as u64 - 1),
            one = constant(bits, 1),
        );
        (format!("  reg {}address;\n", range(bits)), step)
    }

    /// One processing element: its ROM, its sum of a word and its accumulator.
    fn element_text(
        &self,
        pe: usize,
        name: &str,
        accumulator: Element,
        sum: Element,
    ) -> (String, Option<File>) {
        let (depth, bits) = (self.depth(), self.simd * self.rom_bits());
        let n_chunks = self.weights.n_cols() / self.simd;
        let words = self
            .rows_of(pe)
            .flat_map(|row| (0..n_chunks).map(move |chunk| (row, chunk)));
        let words: Vec<Vec<bool>> = words
            .map(|(row, chunk)| self.rom_word(row, chunk))
            .collect();
        let mut text = String::new();
        let mut file = None;
        if depth == 1 {
            let word = bits_constant(&words[0]);
            text.push_str(&format!("  wire {}w{pe} = {word};\n", range(bits)));
        } else {
            let file_name = format!("{name}_rom{pe}.hex");
            (text, file) = rom(&format!("rom{pe}"), bits, &file_name, &words);
            text.push_str(&format!(
                "  reg {}w{pe};\n  always @(posedge clk) if (ce) w{pe} <= rom{pe}[address];\n",
                range(bits)
            ));
        }
        let pad = if self.has_zero_pads {
            ", .pad(pad1)"
        } else {
            ""
        };
        let sign = if sum.form == Form::Signed {
            "signed "
        } else {
            ""
        };
        let extended = sum.extended(&format!("sum{pe}"), 0, accumulator.bits);
        text.push_str(&format!(
            "  wire {sign}{sums}dot{pe};\n  {name}_dot d{pe} (.x(x1), .w(w{pe}){pad}, .sum(dot{pe}));\n  \
             reg {sign}{sums}sum{pe};\n  reg {sign}{acc}acc{pe};\n  always @(posedge clk)\n    if (ce) begin\n      \
             sum{pe} <= dot{pe};\n      if (v2) acc{pe} <= (fresh ? {zero} : acc{pe}) + {extended};\n    end\n",
            sums = range(sum.bits),
            acc = range(accumulator.bits),
            zero = match accumulator.form {
                Form::Signed => format!("{}'sd0", accumulator.bits),
                _ => constant(accumulator.bits, 0),
            },
        ));
        (text, file)
    }

    /// The module that adds up one word.
    fn dot(&self, name: &str) -> String {
        let sum = self.word_sum();
        let sign = if sum.form == Form::Signed {
            "signed "
        } else {
            ""
        };
        let pad = if self.has_zero_pads {
            "  input wire pad,\n"
        } else {
            ""
        };
        let body = match (self.element.form, self.weights) {
            (Form::Sign, Weights::Bits(_) | Weights::Ternary { .. }) => self.dot_of_bits(sum),
            _ => self.dot_of_numbers(sum),
        };
        format!(
            "// The sum of {} products.\nmodule {name} (\n  input wire {}x,\n  input wire {}w,\n{pad}  \
             output wire {sign}{}sum\n);\n{body}endmodule\n",
            self.simd,
            range(self.simd * self.element.bits),
            range(self.simd * self.rom_bits()),
            range(sum.bits),
        )
    }

    fn dot_of_bits(&self, sum: Element) -> String {
        let n = self.simd;
        let is_ternary = matches!(self.weights, Weights::Ternary { .. });
        let mut text = format!("  wire {}same = ~(x ^ w[{}:0]);\n", range(n), n - 1);
        let count = unsigned_width(n as u64);
        if is_ternary {
            text = format!(
                "  wire {}mask = {};\n  wire {}same = mask & ~(x ^ w[{}:0]);\n",
                range(n),
                part("w", n, n),
                range(n),
                n - 1
            );
        }
        let mut ones = |of: &str, bits: usize| {
            let (wires, value) = count::ones(&format!("{of}_"), of, n, bits);
            text.push_str(&wires);
            value
        };
        if self.counts() {
            let value = ones("same", sum.bits);
            text.push_str(&format!("  assign sum = {value};\n"));
            return text;
        }
        let agree = ones("same", count);
        let all = match is_ternary {
            true => ones("mask", count),
            false => constant(count, n as u64),
        };
        text.push_str(&format!(
            "  wire {r}agree = {agree};\n  wire {r}all = {all};\n",
            r = range(count)
        ));
        // Twice the agreements less the columns; a word of pads adds nothing.
        let wide = sum.bits.max(count + 2);
        let difference = format!(
            "$signed({{{}'d0, agree, 1'b0}}) - $signed({{{}'d0, all}})",
            wide - count - 1,
            wide - count
        );
        text.push_str(&format!(
            "  wire signed {}difference = {difference};\n",
            range(wide)
        ));
        if wide > sum.bits {
            text.push_str(&format!(
                "  wire unused_difference = &{{1'b0, difference[{}:{}]}};\n",
                wide - 1,
                sum.bits
            ));
        }
        text.push_str(&format!(
            "  assign sum = pad ? {}'sd0 : difference[{}:0];\n",
            sum.bits,
            sum.bits - 1
        ));
        text
    }

    /// The sum of products of numbers, each extended to the width of the sum.
    fn dot_of_numbers(&self, sum: Element) -> String {
        let mut text = String::new();
        let n = self.simd;
        for i in 0..n {
            let x = self.element.number("x", i, sum.bits);
            let declare = format!(
                "  wire signed {}x{i} = {x};\n  wire signed {}p{i} = ",
                range(sum.bits),
                range(sum.bits)
            );
            let zero = format!("{}'sd0", sum.bits);
            let product = match self.weights {
                Weights::Bits(_) => format!("w[{i}] ? x{i} : -x{i}"),
                Weights::Ternary { .. } => {
                    format!("!w[{}] ? {zero} : w[{i}] ? x{i} : -x{i}", n + i)
                }
                _ => {
                    let w = self.weight(i, sum.bits);
                    match self.element.form {
                        Form::Sign => {
                            text.push_str(&format!(
                                "  wire signed {}w{i} = {w};\n",
                                range(sum.bits)
                            ));
                            let x = part("x", i, 1);
                            text.push_str(&format!(
                                "  wire signed {}p{i} = {x} ? w{i} : -w{i};\n",
                                range(sum.bits)
                            ));
                            continue;
                        }
                        _ => format!("x{i} * {w}"),
                    }
                }
            };
            text.push_str(&format!("{declare}{product};\n"));
        }
        let terms: Vec<String> = (0..n).map(|i| format!("p{i}")).collect();
        let total = terms.join(" + ");
        let total = match self.has_zero_pads {
            true => format!("pad ? {}'sd0 : {total}", sum.bits),
            false => total,
        };
        text.push_str(&format!("  assign sum = {total};\n"));
        text
    }
}

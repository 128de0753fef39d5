//! The ring of rows that a layer reads, and the walk over it.
//!
//! A stream of words comes in, row after row of one image after the other; words go out in the order in which
//! the layer needs them. The order is a nest of loops with fixed strides, so every register of an address is
//! advanced by a constant, and rows are freed when no later output needs them. Nothing has a size to tune.

use onebit_model::program::Window;

use super::design::Memory;
use crate::verilog::text::{
    bits_constant, constant, range, signed_constant, signed_width, unsigned_width,
};

/// One loop of a walk and what a step of it adds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Loop {
    /// Name of the counter.
    pub(super) name: &'static str,
    /// Number of iterations.
    pub(super) trip: usize,
    /// Rows of the image.
    pub(super) y: i64,
    /// Columns of the image.
    pub(super) x: i64,
    /// Words of a row.
    pub(super) words: i64,
}

/// What a window reads: an image of `size` pixels of `words` words each, in the order of `loops`, outermost first.
pub(super) struct Walk {
    /// Height and width.
    pub(super) size: [usize; 2],
    /// Words of a pixel.
    pub(super) words: usize,
    /// Bits of a word.
    pub(super) word_bits: usize,
    /// What a word outside the image is; `None` leaves it to the reader of `m_pad`.
    pub(super) pad_word: Option<Vec<bool>>,
    /// Whether `m_pad` is a port.
    pub(super) has_pad_port: bool,
    /// Where the first tap lies.
    pub(super) window: Window,
    /// Rows of output positions; 1 also where the walk has no such loop.
    pub(super) out_rows: usize,
    /// The loops; the one over rows of outputs is called `oy` and is the outermost.
    pub(super) loops: Vec<Loop>,
    /// Number of inner loops that make one result: the last word of them has `m_last`.
    pub(super) n_inner: usize,
    /// Rows that the ring holds beyond those that reading at full speed takes.
    pub(super) spare_rows: usize,
}

impl Walk {
    /// A walk that reads values once, from beginning to end, and holds so many of them.
    ///
    /// # Panics
    ///
    /// If it is to hold fewer than two.
    pub(super) fn once(words: usize, word_bits: usize, n_held: usize) -> Self {
        let word = Loop {
            name: "word",
            trip: words,
            words: 1,
            ..Loop::default()
        };
        Walk {
            size: [1, 1],
            words,
            word_bits,
            pad_word: None,
            has_pad_port: false,
            window: Window::new([1, 1]),
            out_rows: 1,
            loops: vec![word],
            n_inner: 1,
            spare_rows: n_held - 2,
        }
    }

    /// Cycles that one image takes.
    pub(super) fn cycles(&self) -> u64 {
        self.loops.iter().map(|step| step.trip as u64).product()
    }

    fn row_words(&self) -> usize {
        self.size[1] * self.words
    }

    /// Rows that no output before output row `oy` reads again.
    fn freed_before(&self, oy: usize) -> usize {
        if oy == self.out_rows {
            return self.size[0];
        }
        let first = oy * self.window.stride[0];
        first.saturating_sub(self.window.pads[0]).min(self.size[0])
    }

    /// Rows that must be held before output row `oy` begins, and rows that are freed after it.
    fn need_and_free(&self, oy: usize) -> (usize, usize) {
        let freed = self.freed_before(oy);
        let reach =
            oy * self.window.stride[0] + (self.window.kernel[0] - 1) * self.window.dilation[0] + 1;
        let end = match oy + 1 == self.out_rows {
            true => self.size[0],
            false => reach
                .saturating_sub(self.window.pads[0])
                .clamp(freed, self.size[0]),
        };
        let free = self.freed_before(oy + 1).max(freed) - freed;
        // A row of outputs that lies in the pads waits for its image as well: no answer comes before its question.
        let least = usize::from(oy == 0);
        // A stride beyond the kernel frees rows that nothing reads; they have to arrive all the same.
        ((end - freed).max(free).max(least), free)
    }

    /// Rows of the ring: what one output row reads, and what may arrive meanwhile.
    pub(super) fn ring_rows(&self) -> usize {
        let rows = (0..self.out_rows).map(|oy| self.need_and_free(oy));
        let (need, free) = rows.fold((0, 1), |most, row| (most.0.max(row.0), most.1.max(row.1)));
        need + free + self.spare_rows
    }

    /// Words of the ring's memory.
    pub(super) fn depth(&self) -> usize {
        self.ring_rows() * self.row_words()
    }

    /// The ring's memory.
    pub(super) fn memory(&self) -> Memory {
        Memory::buffer(self.depth(), self.word_bits)
    }

    pub(super) fn has_pads(&self, axis: usize) -> bool {
        let window = &self.window;
        window.pads[axis] > 0 || window.pads[axis + 2] > 0
    }

    /// What a step of loop `k` adds to a register, given what a step of each loop is worth: the loop advances and
    /// those inside it start again.
    fn delta(&self, k: usize, worth: impl Fn(&Loop) -> i64) -> i64 {
        let inner = self.loops[k + 1..].iter();
        let back: i64 = inner.map(|step| (step.trip as i64 - 1) * worth(step)).sum();
        worth(&self.loops[k]) - back
    }

    /// Least and greatest value of a register that starts at `first`.
    fn reach(&self, first: i64, worth: impl Fn(&Loop) -> i64) -> (i64, i64) {
        let total: i64 = self
            .loops
            .iter()
            .map(|step| (step.trip as i64 - 1) * worth(step))
            .sum();
        (first, first + total)
    }

    /// The text of the module.
    pub(super) fn module(&self, name: &str) -> String {
        let mut text = self.head(name);
        text.push_str(&self.writer());
        text.push_str(&self.reader());
        text.push_str(&self.steps());
        text.push_str("endmodule\n");
        text
    }

    fn head(&self, name: &str) -> String {
        let data = range(self.word_bits);
        let pad = match self.has_pad_port {
            true => "  output reg m_pad,\n",
            false => "",
        };
        let [height, width] = self.size;
        format!(
            "// Holds {rows} rows of {width} pixels of an image of {height} rows, {words} words a pixel, and reads\n\
             // {cycles} words an image.\n\
             module {name} (\n  input wire clk,\n  input wire rst,\n  input wire s_valid,\n  output wire s_ready,\n  \
             input wire {data}s_data,\n  output reg m_valid,\n  input wire m_ready,\n  output wire {data}m_data,\n\
             {pad}  output reg m_last\n);\n",
            rows = self.ring_rows(),
            words = self.words,
            cycles = self.cycles(),
        )
    }

    /// The memory and the side that fills it.
    fn writer(&self) -> String {
        let (depth, row_words, n_rows) = (self.depth(), self.row_words(), self.ring_rows());
        let address_bits = unsigned_width(depth as u64 - 1);
        let held_bits = unsigned_width(n_rows as u64);
        let (address, held) = (range(address_bits), range(held_bits));
        let mut text = format!(
            "  reg {data}mem [0:{last}];\n  reg {data}q;\n  reg {address}w_addr;\n  reg {held}held;\n  \
             assign s_ready = held != {full};\n  wire write = s_valid && s_ready;\n",
            data = range(self.word_bits),
            last = depth - 1,
            full = constant(held_bits, n_rows as u64),
        );
        if row_words == 1 {
            text.push_str("  wire row_done = write;\n");
        } else {
            let bits = unsigned_width(row_words as u64 - 1);
            let last = constant(bits, row_words as u64 - 1);
            text.push_str(&format!(
                "  reg {}w_col;\n  wire row_done = write && w_col == {last};\n  \
                 always @(posedge clk)\n    if (rst) w_col <= {zero};\n    \
                 else if (write) w_col <= w_col == {last} ? {zero} : w_col + {one};\n",
                range(bits),
                zero = constant(bits, 0),
                one = constant(bits, 1),
            ));
        }
        text.push_str(&format!(
            "  always @(posedge clk)\n    if (rst) w_addr <= {zero};\n    \
             else if (write) w_addr <= w_addr == {last} ? {zero} : w_addr + {one};\n  \
             always @(posedge clk)\n    if (write) mem[w_addr] <= s_data;\n",
            zero = constant(address_bits, 0),
            last = constant(address_bits, depth as u64 - 1),
            one = constant(address_bits, 1),
        ));
        text
    }

    /// What is needed before a row, the registered read and the count of rows.
    fn reader(&self) -> String {
        let held_bits = unsigned_width(self.ring_rows() as u64);
        let rows: Vec<(usize, usize)> = (0..self.out_rows)
            .map(|oy| self.need_and_free(oy))
            .collect();
        let table = |name: &str, pick: fn(&(usize, usize)) -> usize| {
            self.row_table(name, held_bits, &rows, pick)
        };
        // Names are declared before they are read, which some tools demand.
        let mut text = String::new();
        for (_, step) in self.active() {
            let bits = unsigned_width(step.trip as u64 - 1);
            let last = constant(bits, step.trip as u64 - 1);
            text.push_str(&format!(
                "  reg {}c_{name};\n  wire last_{name} = c_{name} == {last};\n",
                range(bits),
                name = step.name
            ));
        }
        text.push_str(&table("need", |row| row.0));
        text.push_str(&table("free", |row| row.1));
        let pad_test = self.pad_test();
        let is_pad = match &pad_test {
            Some(test) => format!("  wire is_pad = {test};\n"),
            None => String::new(),
        };
        text.push_str("  wire ce = !m_valid || m_ready;\n  wire go = held >= need;\n  wire step = go && ce;\n");
        text.push_str(&self.address());
        text.push_str(&is_pad);
        let names: Vec<String> = self
            .active()
            .map(|(_, step)| format!("last_{}", step.name))
            .collect();
        let is_inner = |k: usize| k >= self.loops.len() - self.n_inner;
        let all = |names: Vec<String>| {
            if names.is_empty() {
                "1'b1".to_string()
            } else {
                names.join(" && ")
            }
        };
        let inner = self.active().filter(|(k, _)| is_inner(*k));
        let inner = all(inner
            .map(|(_, step)| format!("last_{}", step.name))
            .collect());
        let row = all(names.into_iter().filter(|name| name != "last_oy").collect());
        let pad = match (&pad_test, self.has_pad_port, self.pad_word.is_some()) {
            (Some(_), true, _) => "      m_pad <= is_pad;\n",
            (Some(_), false, true) => "      q_pad <= is_pad;\n",
            (None, true, _) => "      m_pad <= 1'b0;\n",
            _ => "",
        };
        let has_own = pad.contains("q_pad");
        text.push_str(&format!(
            "  wire end_row = {row};\n{own}  always @(posedge clk)\n    if (rst) m_valid <= 1'b0;\n    \
             else if (ce) m_valid <= go;\n  always @(posedge clk)\n    if (ce) begin\n      q <= mem[r_addr];\n{pad}      \
             m_last <= {inner};\n    end\n  always @(posedge clk)\n    if (rst) held <= {zero};\n    \
             else held <= held + (row_done ? {one} : {zero}) - (step && end_row ? free : {zero});\n",
            own = if has_own { "  reg q_pad;\n" } else { "" },
            zero = constant(held_bits, 0),
            one = constant(held_bits, 1),
        ));
        let value = match &self.pad_word {
            Some(word) if has_own => format!("q_pad ? {} : q", bits_constant(word)),
            _ => "q".to_string(),
        };
        text.push_str(&format!("  assign m_data = {value};\n"));
        text
    }

    /// A number for each row of outputs, as a constant where all are equal.
    fn row_table(
        &self,
        name: &str,
        bits: usize,
        rows: &[(usize, usize)],
        pick: fn(&(usize, usize)) -> usize,
    ) -> String {
        let first = pick(&rows[0]);
        if rows.iter().all(|row| pick(row) == first) {
            return format!(
                "  wire {}{name} = {};\n",
                range(bits),
                constant(bits, first as u64)
            );
        }
        let row_bits = unsigned_width(rows.len() as u64 - 1);
        // The number of most rows is the default, so that the table stays short.
        let numbers: Vec<usize> = rows.iter().map(pick).collect();
        let common = numbers[rows.len() / 2];
        let mut text = format!(
            "  reg {}{name};\n  always @* begin\n    case (c_oy)\n",
            range(bits)
        );
        for (oy, &number) in numbers
            .iter()
            .enumerate()
            .filter(|(_, number)| **number != common)
        {
            let (oy, number) = (constant(row_bits, oy as u64), constant(bits, number as u64));
            text.push_str(&format!("      {oy}: {name} = {number};\n"));
        }
        text.push_str(&format!(
            "      default: {name} = {};\n    endcase\n  end\n",
            constant(bits, common as u64)
        ));
        text
    }

    /// Whether the tap lies outside the image; `None` if none ever does.
    fn pad_test(&self) -> Option<String> {
        let mut tests = Vec::new();
        for (axis, name) in [(0, "y"), (1, "x")] {
            if self.has_pads(axis) {
                let bits = self.position_bits(axis);
                let end = signed_constant(bits, self.size[axis] as i64);
                tests.push(format!("{name}[{}] || {name} >= {end}", bits - 1));
            }
        }
        (!tests.is_empty()).then(|| tests.join(" || "))
    }

    fn position_bits(&self, axis: usize) -> usize {
        let first = -(self.window.pads[axis] as i64);
        let (min, max) = match axis {
            0 => self.reach(first, |step| step.y),
            _ => self.reach(first, |step| step.x),
        };
        signed_width(min, max.max(self.size[axis] as i64))
    }

    /// Words from the beginning of a row, which pads may bring below zero.
    fn word_reach(&self) -> (i64, i64) {
        let first = -((self.window.pads[1] * self.words) as i64);
        self.reach(first, |step| step.words)
    }

    /// The declared registers of the address, and the address.
    fn address(&self) -> String {
        let address_bits = unsigned_width(self.depth() as u64 - 1);
        let (min, max) = self.word_reach();
        let word_bits = signed_width(min, max).max(address_bits + 1);
        let mut text = format!("  reg {}ring;\n", range(address_bits));
        for (axis, name) in [(0, "y"), (1, "x")] {
            if self.has_pads(axis) {
                text.push_str(&format!(
                    "  reg signed {}{name};\n",
                    range(self.position_bits(axis))
                ));
            }
        }
        if (min, max) == (0, 0) {
            text.push_str(&format!("  wire {}r_addr = ring;\n", range(address_bits)));
        } else {
            text.push_str(&format!(
                "  reg signed {}words;\n  wire {}r_addr = ring + words[{}:0];\n",
                range(word_bits),
                range(address_bits),
                address_bits - 1
            ));
            text.push_str(&format!(
                "  wire unused_words = &{{1'b0, words[{}:{address_bits}]}};\n",
                word_bits - 1
            ));
        }
        text
    }

    /// The loops that repeat anything.
    fn active(&self) -> impl Iterator<Item = (usize, &Loop)> {
        self.loops
            .iter()
            .enumerate()
            .filter(|(_, step)| step.trip > 1)
    }

    /// What each step does to the counters and the registers of the address.
    fn steps(&self) -> String {
        let reset = self.assignments(None, true);
        let mut text = format!(
            "  always @(posedge clk)\n    if (rst) begin\n{reset}    end else if (step) begin\n"
        );
        let mut is_first = true;
        let active: Vec<(usize, &Loop)> = self.active().collect();
        for &(k, step) in active.iter().rev() {
            let word = if is_first { "      if" } else { " else if" };
            is_first = false;
            text.push_str(&format!(
                "{word} (!last_{}) begin\n{}      end",
                step.name,
                self.assignments(Some(k), false)
            ));
        }
        let end = self.assignments(None, false);
        if is_first {
            text.push_str(&end);
        } else {
            text.push_str(&format!(" else begin\n{end}      end\n"));
        }
        text.push_str("    end\n");
        text
    }

    /// The assignments of a step of loop `k`, or of the step to the next image, or of the reset.
    fn assignments(&self, k: Option<usize>, is_reset: bool) -> String {
        let mut text = String::new();
        let mut assign =
            |name: &str, value: String| text.push_str(&format!("        {name} <= {value};\n"));
        for (index, step) in self.active() {
            let bits = unsigned_width(step.trip as u64 - 1);
            let name = format!("c_{}", step.name);
            match k {
                Some(k) if index < k => {}
                Some(k) if index == k => assign(&name, format!("{name} + {}", constant(bits, 1))),
                _ => assign(&name, constant(bits, 0)),
            }
        }
        for (axis, name) in [(0, "y"), (1, "x")] {
            if self.has_pads(axis) {
                let first = -(self.window.pads[axis] as i64);
                let worth = |step: &Loop| if axis == 0 { step.y } else { step.x };
                let delta = k.map(|k| self.delta(k, worth));
                if let Some(value) = advanced(name, self.position_bits(axis), first, delta) {
                    assign(name, value);
                }
            }
        }
        let (min, max) = self.word_reach();
        let address_bits = unsigned_width(self.depth() as u64 - 1);
        if (min, max) != (0, 0) {
            let bits = signed_width(min, max).max(address_bits + 1);
            let delta = k.map(|k| self.delta(k, |step| step.words));
            if let Some(value) = advanced("words", bits, min, delta) {
                assign("words", value);
            }
        }
        if let Some(value) = self.ring_step(k, is_reset) {
            assign("ring", value);
        }
        text
    }

    /// The address of the first word of the tap's row after a step; `None` if it stays.
    fn ring_step(&self, k: Option<usize>, is_reset: bool) -> Option<String> {
        let n_rows = self.ring_rows() as i64;
        let top = -(self.window.pads[0] as i64);
        let rows = match k {
            Some(k) => self.delta(k, |step| step.y),
            None if is_reset => top,
            // The next image's first row follows this one's last.
            None => {
                let (_, last) = self.reach(top, |step| step.y);
                self.size[0] as i64 + top - last
            }
        };
        let delta = (rows.rem_euclid(n_rows) * self.row_words() as i64) as u64;
        let bits = unsigned_width(self.depth() as u64 - 1);
        if is_reset {
            return Some(constant(bits, delta));
        }
        if delta == 0 {
            return None;
        }
        let room = self.depth() as u64 - delta;
        Some(format!(
            "ring >= {room} ? ring - {room} : ring + {delta}",
            room = constant(bits, room),
            delta = constant(bits, delta)
        ))
    }
}

/// A register after a step that adds `delta`, or starts again at `first`; `None` if it stays.
fn advanced(name: &str, bits: usize, first: i64, delta: Option<i64>) -> Option<String> {
    match delta {
        None => Some(signed_constant(bits, first)),
        Some(0) => None,
        Some(delta) if delta < 0 => Some(format!("{name} - {}", signed_constant(bits, -delta))),
        Some(delta) => Some(format!("{name} + {}", signed_constant(bits, delta))),
    }
}

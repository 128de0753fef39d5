//! A design under construction: modules, the streams between them, and what each stage costs.
//!
//! Stages come in one after the other; the files of their modules and the body of the top module go out.

use super::cost;
use super::stream::{Element, Stream, narrow, widen};
use crate::File;
use crate::verilog::text::range;

/// What a layer costs, with what brings its operands to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::verilog) struct Stage {
    /// The node's name, or what the stage is for.
    pub(in crate::verilog) layer: String,
    /// The node's op; of the ends of a design `input` and `answer`.
    pub(in crate::verilog) op: &'static str,
    /// Elements or rows at a time.
    pub(in crate::verilog) pe: usize,
    /// Columns at a time; 0 where there are none.
    pub(in crate::verilog) simd: usize,
    /// Cycles of an image.
    pub(in crate::verilog) cycles: u64,
    /// Cycles from the last beat that comes in to the last that goes out, at most.
    pub(in crate::verilog) delay: u64,
    /// Bits of constant memory.
    pub(in crate::verilog) rom_bits: usize,
    /// Bits of memory for values.
    pub(in crate::verilog) buffer_bits: usize,
    /// All memories.
    pub(in crate::verilog) memories: Vec<Memory>,
    /// Estimated LUTs and flip-flops, without memories.
    pub(in crate::verilog) logic: [f64; 2],
}

/// Equal memories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::verilog) struct Memory {
    pub(in crate::verilog) depth: usize,
    pub(in crate::verilog) width: usize,
    pub(in crate::verilog) n: usize,
    pub(in crate::verilog) is_constant: bool,
}

impl Memory {
    /// A memory for values.
    pub(super) fn buffer(depth: usize, width: usize) -> Self {
        Memory {
            depth,
            width,
            n: 1,
            is_constant: false,
        }
    }

    /// Memories of constants.
    pub(super) fn rom(depth: usize, width: usize, n: usize) -> Self {
        Memory {
            depth,
            width,
            n,
            is_constant: true,
        }
    }

    /// Whether a tool makes it of block memories. Yosys leaves constants of few words to LUTs and shallow memories too.
    pub(in crate::verilog) fn is_block(&self) -> bool {
        let [least_depth, least_bits] = match self.is_constant {
            true => [128, 4096],
            false => [64, 2048],
        };
        self.depth >= least_depth && self.depth * self.width >= least_bits
    }
}

impl Stage {
    /// Adds LUTs and flip-flops.
    pub(super) fn spend(&mut self, [luts, flip_flops]: [f64; 2]) {
        self.logic[0] += luts;
        self.logic[1] += flip_flops;
    }

    /// Adds a part that takes so many cycles an image, and whose last beat leaves so long after the last came in.
    pub(super) fn take(&mut self, cycles: u64, delay: u64) {
        self.cycles = self.cycles.max(cycles);
        self.delay += delay;
    }

    /// Adds memories.
    pub(super) fn hold(&mut self, memory: Memory) {
        let bits = memory.depth * memory.width * memory.n;
        match memory.is_constant {
            true => self.rom_bits += bits,
            false => self.buffer_bits += bits,
        }
        // A single word is a constant.
        if !memory.is_constant || memory.depth > 1 {
            self.memories.push(memory);
        }
    }
}

/// Modules and streams.
pub(super) struct Design {
    /// Begins every module's name.
    pub(super) module: String,
    pub(super) files: Vec<File>,
    /// Declarations and instances of the top module.
    pub(super) body: String,
    pub(super) stages: Vec<Stage>,
    n_streams: usize,
    n_modules: usize,
}

impl Design {
    pub(super) fn new(module: &str) -> Self {
        Design {
            module: module.to_string(),
            files: Vec::new(),
            body: String::new(),
            stages: Vec::new(),
            n_streams: 0,
            n_modules: 0,
        }
    }

    /// Begins the stage of a node; what is built from now on is part of it.
    pub(super) fn begin(&mut self, layer: &str, op: &'static str) {
        self.stages.push(Stage {
            layer: layer.to_string(),
            op,
            ..Stage::default()
        });
    }

    /// The stage that is being built.
    pub(super) fn stage(&mut self) -> &mut Stage {
        self.stages
            .last_mut()
            .expect("`build` begins a stage before anything is built")
    }

    /// A name for the next module.
    pub(super) fn module_name(&mut self, label: &str) -> String {
        self.n_modules += 1;
        let label = crate::verilog::text::identifier(label);
        format!("{}_{}_{label}", self.module, self.n_modules)
    }

    /// A stream with wires of its own.
    pub(super) fn stream(
        &mut self,
        element: Element,
        per_beat: usize,
        n_elements: usize,
    ) -> Stream {
        self.n_streams += 1;
        let name = format!("x{}", self.n_streams);
        let stream = Stream {
            name,
            element,
            per_beat,
            n_elements,
        };
        self.body.push_str(&format!(
            "  wire {name}_valid, {name}_ready;\n  wire {}{name}_data;\n",
            range(stream.bits()),
            name = stream.name
        ));
        stream
    }

    /// Adds a module's file.
    pub(super) fn file(&mut self, name: &str, text: String) {
        self.files.push(module_file(name, text));
    }

    /// Places a module between streams; `more` are further connections.
    pub(super) fn place(
        &mut self,
        name: &str,
        inputs: &[(&str, &Stream)],
        output: &Stream,
        more: &str,
    ) {
        let mut ports = vec![".clk(aclk), .rst(rst)".to_string()];
        for (port, stream) in inputs.iter().chain([&("m", output)]) {
            let wires = ["valid", "ready", "data"];
            let wires = wires.map(|wire| format!(".{port}_{wire}({}_{wire})", stream.name));
            ports.push(wires.join(", "));
        }
        if !more.is_empty() {
            ports.push(more.to_string());
        }
        self.body.push_str(&format!(
            "  {name} u_{name} (\n    {}\n  );\n",
            ports.join(",\n    ")
        ));
    }

    /// A module with one stream in and one out.
    pub(super) fn chain(
        &mut self,
        label: &str,
        input: &Stream,
        output: &Stream,
        text: impl FnOnce(&str) -> String,
    ) {
        let name = self.module_name(label);
        let text = text(&name);
        self.file(&name, text);
        self.place(&name, &[("s", input)], output, "");
    }

    /// The same elements with `per_beat` of them in a beat.
    pub(super) fn regroup(&mut self, x: Stream, per_beat: usize) -> Stream {
        if x.per_beat == per_beat {
            return x;
        }
        let unit = gcd(x.per_beat, per_beat);
        let mut x = x;
        if x.per_beat > unit {
            let factor = x.per_beat / unit;
            let y = self.stream(x.element, unit, x.n_elements);
            self.chain("narrow", &x, &y, |name| narrow(name, y.bits(), factor));
            let cycles = (x.n_elements / unit) as u64;
            self.stage().take(cycles, cycles);
            self.stage().spend(cost::narrow(&x, factor));
            x = y;
        }
        if per_beat > unit {
            let y = self.stream(x.element, per_beat, x.n_elements);
            self.chain("widen", &x, &y, |name| {
                widen(name, x.bits(), per_beat / unit)
            });
            self.stage().take(0, 1);
            self.stage().spend(cost::widen(&y, per_beat / unit));
            x = y;
        }
        x
    }

    /// As many streams as are asked for that all carry `x`; a beat moves when all can take it.
    pub(super) fn fork(&mut self, x: Stream, n: usize) -> Vec<Stream> {
        if n == 1 {
            return vec![x];
        }
        let streams: Vec<Stream> = (0..n)
            .map(|_| self.stream(x.element, x.per_beat, x.n_elements))
            .collect();
        let ready = |except: usize| {
            let others = streams.iter().enumerate().filter(|(i, _)| *i != except);
            let names: Vec<String> = others
                .map(|(_, stream)| format!("{}_ready", stream.name))
                .collect();
            names.join(" && ")
        };
        let from = &x.name;
        let mut body = format!("  assign {from}_ready = {};\n", ready(n));
        for (i, stream) in streams.iter().enumerate() {
            let to = &stream.name;
            body.push_str(&format!(
                "  assign {to}_data = {from}_data;\n  assign {to}_valid = {from}_valid && {};\n",
                ready(i)
            ));
        }
        self.body.push_str(&body);
        streams
    }
}

/// The file of a module.
pub(super) fn module_file(name: &str, text: String) -> File {
    File {
        name: format!("{name}.v"),
        bytes: text.into_bytes(),
    }
}

pub(super) fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Cycles in which [`Design::regroup`] passes an image on.
pub(super) fn regroup_cycles(n_elements: usize, from: usize, to: usize) -> u64 {
    (n_elements / gcd(from, to)) as u64
}

/// The divisors of a number, ascending.
pub(super) fn divisors(n: usize) -> Vec<usize> {
    (1..=n).filter(|d| n.is_multiple_of(*d)).collect()
}

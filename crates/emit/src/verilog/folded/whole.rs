//! The ops of the folded style that have no weights: pools, sums of values, argmax, and elements that move.
//!
//! A node and the streams of its operands come in; a stream goes out. Values that are joined are kept whole first.

use onebit_model::program::{Node, ValueId, Window};

use super::cost;
use super::design::{Memory, regroup_cycles};
use super::joins::{Source, add, argmax, gather, max_pool, order_bits};
use super::layers::{Builder, element_of, image, least_divisor};
use super::stream::{Element, Stream};
use super::window::{Loop, Walk};
use crate::verilog::reorder::sources;

/// The operands of a node without repetitions, in order.
fn distinct(node: &Node) -> Vec<ValueId> {
    let mut ids = Vec::new();
    for id in &node.inputs {
        if !ids.contains(id) {
            ids.push(*id);
        }
    }
    ids
}

impl Builder<'_> {
    pub(super) fn max_pool(&mut self, node: &Node, window: &Window) -> Stream {
        let x = self.settled(node.inputs[0]);
        let [height, width, channels] = image(self.graph.ty(node.inputs[0]));
        let out = window
            .output([height, width])
            .expect("verify: the window fits");
        let taps = (out[0] * out[1] * window.kernel[0] * window.kernel[1]) as u64;
        let n = x.n_elements;
        let target = self.target;
        let is_enough = |p: usize| {
            let cycles = taps * (channels / p) as u64;
            cycles.max(regroup_cycles(n, x.per_beat, p)) <= target
        };
        let per_beat = least_divisor(channels, is_enough);
        let x = self.regroup(x, per_beat);
        let words = channels / per_beat;
        let step = |name, trip, y: usize, x: usize, words: usize| Loop {
            name,
            trip,
            y: y as i64,
            x: x as i64,
            words: words as i64,
        };
        let [[sy, sx], [dy, dx]] = [window.stride, window.dilation];
        let walk = Walk {
            size: [height, width],
            words,
            word_bits: x.bits(),
            pad_word: None,
            has_pad_port: true,
            window: *window,
            out_rows: out[0],
            loops: vec![
                step("oy", out[0], sy, 0, 0),
                step("ox", out[1], 0, sx, sx * words),
                step("cf", words, 0, 0, 1),
                step("ky", window.kernel[0], dy, 0, 0),
                step("kx", window.kernel[1], 0, dx, dx * words),
            ],
            n_inner: 2,
            spare_rows: 0,
        };
        let design = &mut self.design;
        let seen = design.stream(x.element, per_beat, n);
        let result = design.stream(x.element, per_beat, out[0] * out[1] * channels);
        let name = design.module_name(&format!("{}_window", node.name));
        design.file(&name, walk.module(&name));
        let [last, pad] = ["last", "pad"].map(|flag| format!("{}_{flag}", seen.name));
        design.body.push_str(&format!("  wire {last}, {pad};\n"));
        design.place(
            &name,
            &[("s", &x)],
            &seen,
            &format!(".m_last({last}), .m_pad({pad})"),
        );
        let name = design.module_name(&node.name);
        design.file(&name, max_pool(&name, x.element, per_beat));
        design.place(
            &name,
            &[("s", &seen)],
            &result,
            &format!(".s_last({last}), .s_pad({pad})"),
        );
        self.stage(per_beat, walk.cycles(), walk.cycles() + 3);
        let stage = self.design.stage();
        stage.hold(walk.memory());
        stage.spend(walk.cost());
        stage.spend(cost::max_pool(&seen));
        result
    }

    /// The value whole, so many times, so that its reader can wait for another one.
    fn kept(&mut self, layer: &str, x: Stream, n_held: usize) -> Stream {
        let walk = Walk::once(x.n_elements / x.per_beat, x.bits(), n_held);
        let design = &mut self.design;
        let y = design.stream(x.element, x.per_beat, x.n_elements);
        let name = design.module_name(&format!("{layer}_bank"));
        design.file(&name, walk.module(&name));
        design.body.push_str(&format!(
            "  wire {0}_last;\n  wire unused_{0} = &{{1'b0, {0}_last}};\n",
            y.name
        ));
        design.place(
            &name,
            &[("s", &x)],
            &y,
            &format!(".m_last({}_last)", y.name),
        );
        let stage = self.design.stage();
        stage.take(walk.cycles(), 0);
        stage.hold(walk.memory());
        stage.spend(walk.cost());
        y
    }

    pub(super) fn add(&mut self, id: ValueId, node: &Node) -> Stream {
        let [a, b] = [0, 1].map(|idx| self.settled(node.inputs[idx]));
        let per_beat = a.per_beat.min(b.per_beat);
        let [a, b] = [(a, 0), (b, 1)].map(|(x, idx)| {
            let x = self.regroup(x, per_beat);
            let n_held = 2 + self.n_waiting(node, node.inputs[idx]);
            self.kept(&node.name, x, n_held)
        });
        let result = element_of(self.graph, id);
        let y = self.design.stream(result, per_beat, a.n_elements);
        let name = self.design.module_name(&node.name);
        self.design
            .file(&name, add(&name, [a.element, b.element], result, per_beat));
        self.design.place(&name, &[("s", &a), ("t", &b)], &y, "");
        let cycles = (a.n_elements / per_beat) as u64;
        self.stage(per_beat, cycles, cycles + 2);
        self.design.stage().spend(cost::add(&y));
        y
    }

    pub(super) fn argmax(&mut self, id: ValueId, node: &Node) -> Stream {
        let x = self.settled(node.inputs[0]);
        let x = self.regroup(x, 1);
        let result = element_of(self.graph, id);
        let y = self.design.stream(result, 1, 1);
        self.design.chain(&node.name, &x, &y, |name| {
            argmax(name, x.element, x.n_elements, result)
        });
        self.stage(1, x.n_elements as u64, 1);
        self.design.stage().spend(cost::argmax(&x));
        y
    }

    /// An op that only moves elements.
    pub(super) fn gather(&mut self, id: ValueId, node: &Node) -> Stream {
        let ids = distinct(node);
        let mut streams = Vec::new();
        for operand in &ids {
            let x = self.settled(*operand);
            let x = self.regroup(x, 1);
            streams.push(match self.n_waiting(node, *operand) {
                0 => x,
                n_held => {
                    self.stage(1, x.n_elements as u64, x.n_elements as u64 + 2);
                    self.kept(&node.name, x, n_held.max(2))
                }
            });
        }
        let place = |operand: usize| ids.iter().position(|id| *id == node.inputs[operand]);
        let moved = sources(node, self.graph).into_iter().map(|source| Source {
            operand: place(source.operand).expect("every operand is among the distinct ones"),
            element: source.element,
            bit: source.bit,
        });
        let order: Vec<Source> = moved.collect();
        let result = element_of(self.graph, id);
        let y = self.design.stream(result, 1, order.len());
        let operands: Vec<(Element, usize)> =
            streams.iter().map(|x| (x.element, x.n_elements)).collect();
        let name = self.design.module_name(&node.name);
        self.design
            .file(&name, gather(&name, &operands, result, &order));
        let ports: Vec<String> = (0..streams.len()).map(|k| format!("s{k}")).collect();
        let inputs: Vec<(&str, &Stream)> = ports.iter().map(String::as_str).zip(&streams).collect();
        self.design.place(&name, &inputs, &y, "");
        let cycles = order.len() as u64;
        self.stage(1, cycles, cycles + 3);
        let stage = self.design.stage();
        for (element, n) in &operands {
            stage.hold(Memory::buffer(2 * n.next_power_of_two(), element.bits));
        }
        stage.hold(Memory::rom(order.len(), order_bits(&operands), 1));
        stage.spend(cost::gather(&operands, order.len()));
        y
    }
}

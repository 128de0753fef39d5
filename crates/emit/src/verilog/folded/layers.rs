//! Every node of a Program as stages of a design.
//!
//! A Program comes in, node after node; each op takes the streams of its operands and gives one. Sums leave a product
//! as it counts them: a threshold that follows is moved to where it compares the count, and only a sum that
//! something else reads is brought to its own scale.

use std::collections::HashMap;

use onebit_model::program::{
    Conv2d, Cuts, Kind, Node, Op, ThresholdValues, Thresholds, Type, ValueId, Window,
};
use onebit_model::weights::Weights;

use super::cost;
use super::design::{Design, Memory, divisors, regroup_cycles};
use super::lookup::Lookup;
use super::pointwise::Map;
use super::product::Product;
use super::stream::{Element, Form, Stream};
use super::window::{Loop, Walk};
use crate::verilog::graph::{Graph, Tail};
use crate::verilog::text::{push_bits, signed_width};

/// A value on its way: a stream, and how its elements become the value's.
#[derive(Clone, Debug)]
struct Produced {
    stream: Stream,
    /// `scale` and `offset` per channel, where the elements are counts.
    affine: Option<(i64, Vec<i64>)>,
}

/// A design with the stream of the input and that of the answer.
pub(super) struct Built {
    pub(super) design: Design,
    pub(super) input: Stream,
    pub(super) answer: Stream,
}

pub(super) struct Builder<'a> {
    pub(super) graph: &'a Graph<'a>,
    pub(super) design: Design,
    /// Cycles an image may take.
    pub(super) target: u64,
    /// Cycles between images, which say how many of them pass while a value waits at a join.
    interval: u64,
    /// Cycles from the first beat of an image to the last of each value, at most.
    delays: HashMap<ValueId, u64>,
    /// The copies of each value that nobody has taken.
    values: HashMap<ValueId, Vec<Produced>>,
}

/// Builds all stages for so many cycles an image.
pub(super) fn build(graph: &Graph<'_>, module: &str, target: u64) -> Built {
    let target = target.max(1);
    let built = build_at(graph, module, target, target);
    let cycles = built.design.stages.iter().map(|stage| stage.cycles);
    let interval = cycles.max().unwrap_or(target);
    let is_join = |node: &Node| matches!(node.op, Op::Add | Op::Concat | Op::ConcatChannels);
    if interval == target || !graph.nodes().any(|(_, node)| is_join(node)) {
        return built;
    }
    build_at(graph, module, target, interval)
}

/// Builds all stages, given how often images come.
fn build_at(graph: &Graph<'_>, module: &str, target: u64, interval: u64) -> Built {
    let mut builder = Builder {
        graph,
        design: Design::new(module),
        target,
        interval,
        delays: HashMap::new(),
        values: HashMap::new(),
    };
    let ty = graph.ty(ValueId(0));
    let n = ty.n_elements();
    builder.design.begin("input", "input");
    let per_beat = least_divisor(n, |d| n as u64 / d as u64 <= target);
    let input = builder
        .design
        .stream(element_of(graph, ValueId(0)), per_beat, n);
    let cycles = (n / per_beat) as u64;
    builder.stage(per_beat, cycles, cycles);
    builder.keep(
        ValueId(0),
        Produced {
            stream: input.clone(),
            affine: None,
        },
    );
    builder.delays.insert(ValueId(0), cycles);
    let tail = graph.tail();
    for (id, node) in graph.nodes() {
        if let Some(tail) = &tail
            && tail.ids.contains(&id)
        {
            if tail.ids[0] == id {
                builder.design.begin(&node.name, node.op.name());
                let stream = builder.lookup(&node.name, tail);
                let produced = Produced {
                    stream,
                    affine: None,
                };
                builder.keep(graph.program.output, produced);
            }
            continue;
        }
        builder.design.begin(&node.name, node.op.name());
        let produced = builder.node(id, node);
        let delay = builder.delay(&node.inputs) + builder.design.stage().delay;
        builder.delays.insert(id, delay);
        builder.keep(id, produced);
    }
    builder.design.begin("answer", "answer");
    let answer = builder.settled(graph.program.output);
    let answer = builder.regroup(answer, 1);
    builder.stage(1, answer.n_elements as u64, 2);
    builder.design.stage().spend(cost::answer(&answer));
    Built {
        design: builder.design,
        input,
        answer,
    }
}

/// What the elements of a value are.
pub(super) fn element_of(graph: &Graph<'_>, id: ValueId) -> Element {
    match graph.ty(id).kind {
        Kind::Bits => Element::SIGN,
        Kind::Levels(bits) => Element::unsigned(bits.into()),
        Kind::Int | Kind::Real => {
            let range = graph.range(id);
            Element::signed(signed_width(range.min.into(), range.max.into()))
        }
    }
}

pub(super) fn least_divisor(n: usize, is_enough: impl Fn(usize) -> bool) -> usize {
    let all = divisors(n);
    all.into_iter().find(|d| is_enough(*d)).unwrap_or(n)
}

impl Builder<'_> {
    /// The main part of a stage: so many elements at a time, its cycles an image and its delay.
    pub(super) fn stage(&mut self, pe: usize, cycles: u64, delay: u64) {
        let stage = self.design.stage();
        stage.pe = pe;
        stage.take(cycles, delay);
    }

    /// Cycles from the first beat of an image to the last of these values, at most.
    pub(super) fn delay(&self, ids: &[ValueId]) -> u64 {
        let delays = ids.iter().filter_map(|id| self.delays.get(id));
        delays.copied().max().unwrap_or(0)
    }

    /// Images of a value that come in while another one of its join is still on its way.
    pub(super) fn n_waiting(&self, node: &Node, id: ValueId) -> usize {
        let late = self.delay(&node.inputs) - self.delay(&[id]);
        late.div_ceil(self.interval) as usize
    }

    /// Keeps a value for its readers, a stream for each; a value without readers has none.
    fn keep(&mut self, id: ValueId, produced: Produced) {
        let mut n_readers = usize::from(self.graph.program.output == id);
        for (_, node) in self.graph.nodes() {
            n_readers += match node.op {
                Op::Add => node.inputs.iter().filter(|input| **input == id).count(),
                _ => usize::from(node.inputs.contains(&id)),
            };
        }
        if n_readers == 0 {
            // Only the input can have none, of a Program of one constant answer; it is read and dropped.
            self.design.body.push_str(&format!(
                "  assign {}_ready = 1'b1;\n",
                produced.stream.name
            ));
            return;
        }
        let streams = self.design.fork(produced.stream, n_readers);
        let copies = streams.into_iter().map(|stream| Produced {
            stream,
            affine: produced.affine.clone(),
        });
        self.values.insert(id, copies.collect());
    }

    fn take(&mut self, id: ValueId) -> Produced {
        let copies = self.values.get_mut(&id);
        copies
            .and_then(Vec::pop)
            .expect("`keep` makes one stream for each reader")
    }

    /// The stream of a value whose elements are the value's own.
    pub(super) fn settled(&mut self, id: ValueId) -> Stream {
        let Produced { stream, affine } = self.take(id);
        let Some((scale, offsets)) = affine else {
            return stream;
        };
        let result = element_of(self.graph, id);
        self.map(
            "sum",
            stream,
            Map::Offset {
                scale,
                offsets,
                result,
            },
        )
    }

    pub(super) fn regroup(&mut self, x: Stream, per_beat: usize) -> Stream {
        self.design.regroup(x, per_beat)
    }

    /// A pointwise stage.
    fn map(&mut self, layer: &str, x: Stream, map: Map) -> Stream {
        let n_channels = map.n_channels();
        let x = if n_channels > 1 && !n_channels.is_multiple_of(x.per_beat) {
            let n = x.n_elements as u64;
            let target = self.target;
            let per_beat = least_divisor(n_channels, |d| {
                regroup_cycles(x.n_elements, x.per_beat, d).max(n / d as u64) <= target
            });
            self.regroup(x, per_beat)
        } else {
            x
        };
        let y = self.design.stream(map.result(), x.per_beat, x.n_elements);
        self.design
            .chain(layer, &x, &y, |name| map.module(name, &x));
        let stage = self.design.stage();
        stage.take((x.n_elements / x.per_beat) as u64, 1);
        stage.pe = x.per_beat;
        stage.rom_bits += map.rom_bits(x.element);
        stage.spend(map.cost(&x));
        y
    }

    fn node(&mut self, id: ValueId, node: &Node) -> Produced {
        let stream = match &node.op {
            Op::Dense { weights, bias } => return self.dense(id, node, weights, bias.as_deref()),
            Op::Conv2d(conv) => return self.product(id, node, conv),
            Op::Threshold(thresholds) => self.threshold(node, thresholds),
            Op::Quantize { bits, cuts } => self.quantize(node, *bits, cuts),
            Op::Relu => {
                let x = self.settled(node.inputs[0]);
                let result = element_of(self.graph, id);
                self.map(&node.name, x, Map::Relu { result })
            }
            Op::MaxPool(window) => self.max_pool(node, window),
            Op::Add => self.add(id, node),
            Op::Reshape { .. } => self.settled(node.inputs[0]),
            Op::Argmax => self.argmax(id, node),
            _ => self.gather(id, node),
        };
        Produced {
            stream,
            affine: None,
        }
    }

    /// The real answer of the integers that it follows from.
    fn lookup(&mut self, name: &str, tail: &Tail) -> Stream {
        let Produced { stream, affine } = self.take(tail.from);
        let n_channels = tail.n_channels;
        let (scale, offsets) = affine.unwrap_or_else(|| (1, vec![0; n_channels]));
        let (least, most) = stream.element.bounds();
        let range = self.graph.range(tail.from);
        let down = |offset: &i64| (i64::from(range.max) - offset).div_euclid(scale);
        let up = |offset: &i64| -(offset - i64::from(range.min)).div_euclid(scale);
        let low = offsets.iter().map(up).min().unwrap_or(0).max(least);
        let high = offsets.iter().map(down).max().unwrap_or(0).min(most);
        let integers = offsets
            .iter()
            .flat_map(|offset| (low..=high).map(move |x| scale * x + offset));
        let lookup = Lookup {
            low,
            n_channels,
            table: self.graph.tail_bits(tail, &integers.collect::<Vec<i64>>()),
        };
        let x = self.regroup(stream, 1);
        let y = self.design.stream(Element::signed(32), 1, x.n_elements);
        let mut words = None;
        self.design.chain(name, &x, &y, |name| {
            let (text, file) = lookup.module(name, &x);
            words = file;
            text
        });
        self.design.files.extend(words);
        self.stage(1, x.n_elements as u64, 1);
        let stage = self.design.stage();
        stage.hold(Memory::rom(lookup.table.len(), 32, 1));
        stage.spend(lookup.cost());
        y
    }

    fn dense(
        &mut self,
        id: ValueId,
        node: &Node,
        weights: &Weights,
        bias: Option<&[i32]>,
    ) -> Produced {
        let conv = Conv2d {
            weights: weights.clone(),
            bias: bias.map(<[i32]>::to_vec),
            window: Window::new([1, 1]),
            groups: 1,
            pad: 0,
        };
        self.product(id, node, &conv)
    }

    /// A convolution, or a dense layer as one over a single pixel.
    fn product(&mut self, id: ValueId, node: &Node, conv: &Conv2d) -> Produced {
        let is_dense = matches!(node.op, Op::Dense { .. });
        let x = self.settled(node.inputs[0]);
        let [height, width, channels] = match is_dense {
            true => [1, 1, x.n_elements],
            false => image(self.graph.ty(node.inputs[0])),
        };
        let [out_height, out_width] = match is_dense {
            true => [1, 1],
            false => [self.graph.ty(id).shape[0], self.graph.ty(id).shape[1]],
        };
        let n_rows = conv.weights.n_rows();
        let (group_rows, group_channels) = (n_rows / conv.groups, channels / conv.groups);
        let taps = conv.window.kernel[0] * conv.window.kernel[1];
        let positions = (out_height * out_width * conv.groups * taps) as u64;
        let x = match is_dense || conv.window.pads == [0; 4] {
            true => x,
            false => self.with_room_for_pad(node, x, conv.pad.into()),
        };
        let (pe, simd) = fold(&x, group_rows, group_channels, positions, self.target);
        let x = self.regroup(x, simd);
        let has_pads = conv.window.pads != [0; 4];
        let is_bits = x.element == Element::SIGN;
        let has_zero_pads = has_pads && is_bits && conv.pad == 0;
        let words = channels / simd;
        let walk = Walk {
            size: [height, width],
            words,
            word_bits: x.bits(),
            pad_word: (has_pads && !has_zero_pads).then(|| pad_word(conv.pad, x.element, simd)),
            has_pad_port: has_zero_pads,
            window: conv.window,
            out_rows: out_height,
            loops: product_loops(conv, [out_height, out_width], words, group_rows / pe),
            n_inner: 3,
            spare_rows: 0,
        };
        let range = self.graph.range(node.inputs[0]);
        let pad = if has_pads {
            i64::from(conv.pad).abs()
        } else {
            0
        };
        let most = i64::from(range.min)
            .abs()
            .max(i64::from(range.max).abs())
            .max(pad);
        let product = Product {
            weights: &conv.weights,
            pe,
            simd,
            element: x.element,
            has_zero_pads,
            most,
        };
        let result = self.place_product(node, &x, &walk, &product, n_rows * out_height * out_width);
        let bias = conv.bias.as_deref();
        let accumulator = product.accumulator();
        let offset =
            |row: usize| accumulator.offsets[row] + bias.map_or(0, |bias| i64::from(bias[row]));
        let offsets: Vec<i64> = (0..n_rows).map(offset).collect();
        Produced {
            stream: result,
            affine: Some((accumulator.scale, offsets)),
        }
    }

    /// The same integers in elements that hold the pad as well.
    fn with_room_for_pad(&mut self, node: &Node, x: Stream, pad: i64) -> Stream {
        let bits = signed_width(pad, pad);
        if x.element.form != Form::Signed || bits <= x.element.bits {
            return x;
        }
        let (offsets, result) = (vec![0], Element::signed(bits));
        self.map(
            &format!("{}_widen", node.name),
            x,
            Map::Offset {
                scale: 1,
                offsets,
                result,
            },
        )
    }

    /// The window and the product of a layer.
    fn place_product(
        &mut self,
        node: &Node,
        x: &Stream,
        walk: &Walk,
        product: &Product<'_>,
        n: usize,
    ) -> Stream {
        let design = &mut self.design;
        let words = design.stream(x.element, x.per_beat, x.n_elements);
        let window_name = design.module_name(&format!("{}_window", node.name));
        design.file(&window_name, walk.module(&window_name));
        let result = design.stream(product.accumulator().element, product.pe, n);
        let [last, pad] = ["last", "pad"].map(|flag| format!("{}_{flag}", words.name));
        design.body.push_str(&format!("  wire {last};\n"));
        let mut flags = [format!(".m_last({last})"), format!(".s_last({last})")];
        if walk.has_pad_port {
            design.body.push_str(&format!("  wire {pad};\n"));
            flags = [
                format!("{}, .m_pad({pad})", flags[0]),
                format!("{}, .s_pad({pad})", flags[1]),
            ];
        }
        design.place(&window_name, &[("s", x)], &words, &flags[0]);
        let name = design.module_name(&node.name);
        design.files.extend(product.files(&name));
        design.place(&name, &[("s", &words)], &result, &flags[1]);
        let stage = design.stage();
        (stage.pe, stage.simd) = (product.pe, product.simd);
        stage.take(walk.cycles(), walk.cycles() + 6);
        stage.hold(walk.memory());
        stage.hold(product.memories());
        stage.spend(walk.cost());
        stage.spend(product.cost());
        result
    }

    /// What a product's counts are compared with instead of its sums: the least count whose sum reaches the cut.
    fn cut(
        &mut self,
        node: &Node,
        cuts: Vec<Vec<i64>>,
        flip: Vec<bool>,
        result: Element,
    ) -> Stream {
        let Produced { stream, affine } = self.take(node.inputs[0]);
        let map = match affine {
            None => Map::Cuts { cuts, flip, result },
            Some((scale, offsets)) => {
                let moved = |channel: usize, cut: i64| {
                    let distance = cut - offsets[channel];
                    distance.div_euclid(scale) + i64::from(distance.rem_euclid(scale) > 0)
                };
                let list = |channel: usize| {
                    let cuts = &cuts[channel.min(cuts.len() - 1)];
                    cuts.iter().map(|cut| moved(channel, *cut)).collect()
                };
                let cuts = (0..offsets.len()).map(list).collect();
                let flip = (0..offsets.len()).map(|channel| flip[channel.min(flip.len() - 1)]);
                Map::Cuts {
                    cuts,
                    flip: flip.collect(),
                    result,
                }
            }
        };
        self.map(&node.name, stream, map)
    }

    fn threshold(&mut self, node: &Node, thresholds: &Thresholds) -> Stream {
        let ThresholdValues::Int(at) = &thresholds.at else {
            unreachable!("`check` refuses reals")
        };
        let cuts = at.iter().map(|at| vec![i64::from(*at)]).collect();
        self.cut(node, cuts, thresholds.flip.clone(), Element::SIGN)
    }

    fn quantize(&mut self, node: &Node, bits: u8, cuts: &Cuts) -> Stream {
        let Cuts::Int(cuts) = cuts else {
            unreachable!("`check` refuses reals")
        };
        let n_cuts = (1 << bits) - 1;
        let lists = cuts
            .chunks(n_cuts)
            .map(|list| list.iter().map(|cut| i64::from(*cut)).collect());
        self.cut(
            node,
            lists.collect(),
            vec![false],
            Element::unsigned(bits.into()),
        )
    }
}

/// The loops of a product, outermost first.
fn product_loops(conv: &Conv2d, out: [usize; 2], words: usize, row_folds: usize) -> Vec<Loop> {
    let step = |name, trip, y: usize, x: usize, words: usize| Loop {
        name,
        trip,
        y: y as i64,
        x: x as i64,
        words: words as i64,
    };
    let group_words = words / conv.groups;
    let Window {
        kernel,
        stride,
        dilation,
        ..
    } = conv.window;
    vec![
        step("oy", out[0], stride[0], 0, 0),
        step("ox", out[1], 0, stride[1], stride[1] * words),
        step("group", conv.groups, 0, 0, group_words),
        step("rows", row_folds, 0, 0, 0),
        step("ky", kernel[0], dilation[0], 0, 0),
        step("kx", kernel[1], 0, dilation[1], dilation[1] * words),
        step("cf", group_words, 0, 0, 1),
    ]
}

fn pad_word(pad: i32, element: Element, simd: usize) -> Vec<bool> {
    let mut bits = Vec::new();
    for _ in 0..simd {
        match element == Element::SIGN {
            true => bits.push(pad > 0),
            false => push_bits(&mut bits, element.bits, pad.into()),
        }
    }
    bits
}

/// Height, width and channels.
pub(super) fn image(ty: &Type) -> [usize; 3] {
    [ty.shape[0], ty.shape[1], ty.shape[2]]
}

/// Most columns of one sum of a cycle, beyond which its adders would set the clock.
const MAX_SIMD: usize = 128;

/// Rows and columns at a time: the least logic that takes at most `target` cycles, or else the fewest cycles.
fn fold(
    x: &Stream,
    n_rows: usize,
    n_columns: usize,
    positions: u64,
    target: u64,
) -> (usize, usize) {
    let mut best = (1, 1);
    let mut best_cost = (u64::MAX, u64::MAX);
    for simd in divisors(n_columns) {
        let arrival = regroup_cycles(x.n_elements, x.per_beat, simd);
        for pe in divisors(n_rows) {
            let cycles = positions * (n_rows / pe) as u64 * (n_columns / simd) as u64;
            let late = cycles.max(arrival).saturating_sub(target);
            let depth = (simd.div_ceil(MAX_SIMD) - 1) * 1_000_000;
            let logic = (pe * (5 * simd + 30) + depth) as u64;
            if (late, logic) < best_cost {
                best_cost = (late, logic);
                best = (pe, simd);
            }
        }
    }
    best
}

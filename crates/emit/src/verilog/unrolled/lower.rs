//! A whole Program as one network of tables.
//!
//! A Program comes in, node after node; each element of a value is a literal or a sum that is not computed yet. What
//! compares a sum computes only the comparison.

use onebit_model::program::{
    Conv2d, Cuts, Kind, Node, Op, ThresholdValues, Thresholds, ValueId, Window,
};
use onebit_model::weights::Weights;

use super::linear::{Sum, at_least, bits_of};
use super::netlist::{Lit, Netlist};
use super::share::share;
use crate::verilog::graph::Graph;
use crate::verilog::reorder::sources;
use crate::verilog::text::{signed_width, unsigned_width};

/// The elements of a value.
#[derive(Clone)]
enum Value {
    /// 1 is +1.
    Bits(Vec<Lit>),
    /// Codes and integers.
    Sums(Vec<Sum>),
}

impl Value {
    fn sum(&self, element: usize) -> Sum {
        match self {
            Value::Bits(bits) => {
                let mut sum = Sum::of_constant(-1);
                sum.add_lit(bits[element], 2);
                sum
            }
            Value::Sums(sums) => sums[element].clone(),
        }
    }
}

/// A Program as tables.
pub(super) struct Lowered {
    pub(super) netlist: Netlist,
    /// The bits of the answer: its elements one after the other, each with its least significant bit first.
    pub(super) outputs: Vec<Lit>,
    /// Bits of the input and of one of its elements, of the answer's elements.
    pub(super) input_bits: usize,
    pub(super) element_bits: usize,
    pub(super) answer_bits: usize,
}

struct Lowering<'a> {
    graph: &'a Graph<'a>,
    netlist: Netlist,
    values: Vec<Option<Value>>,
}

/// Bits of an element where all of them are needed.
pub(super) fn element_bits(graph: &Graph<'_>, id: ValueId) -> usize {
    let range = graph.range(id);
    match graph.ty(id).kind {
        Kind::Bits => 1,
        Kind::Levels(bits) => bits.into(),
        Kind::Int | Kind::Real => signed_width(range.min.into(), range.max.into()),
    }
}

/// Literals that become logic at each value: those a product or a sum adds up, and those that are compared or chosen.
pub(super) fn n_terms(graph: &Graph<'_>) -> Vec<u64> {
    let n_values = graph.types.n_values();
    // Most literals of an element of each value, and what all of its elements take.
    let (mut lengths, mut terms) = (vec![0u64; n_values], vec![0u64; n_values]);
    lengths[0] = element_bits(graph, ValueId(0)) as u64;
    terms[0] = lengths[0] * graph.ty(ValueId(0)).n_elements() as u64;
    for (id, node) in graph.nodes() {
        let x = node.inputs[0];
        let (n, n_in) = (graph.ty(id).n_elements(), graph.ty(x).n_elements());
        let (width, width_in) = (element_bits(graph, id), element_bits(graph, x));
        let [n, n_in, width, width_in] = [n, n_in, width, width_in].map(|count| count as u64);
        let whole = n_in.saturating_mul(width_in);
        (lengths[id.0], terms[id.0]) = match &node.op {
            Op::Dense { weights, .. } | Op::Conv2d(Conv2d { weights, .. }) => {
                let nonzero = |row: usize| u64::from(weights.row_nonzero(row));
                let rows = (0..weights.n_rows()).map(nonzero);
                let positions = n / weights.n_rows() as u64;
                let longest = rows.clone().max().unwrap_or(0);
                let all = rows.sum::<u64>().saturating_mul(positions);
                let length = lengths[x.0];
                (longest.saturating_mul(length), all.saturating_mul(length))
            }
            Op::Add => {
                let length = lengths[x.0].saturating_add(lengths[node.inputs[1].0]);
                (length, length.saturating_mul(n))
            }
            Op::Threshold(_) => (1, n),
            Op::Quantize { bits, .. } => (width, whole.saturating_mul(1 << bits).max(n)),
            Op::MaxPool(window) => {
                let taps = (window.kernel[0] * window.kernel[1]) as u64;
                // A comparison and a choice a tap.
                let each = taps.saturating_mul(2 * width);
                (width, each.saturating_mul(n))
            }
            Op::Relu | Op::Argmax => (width, whole.saturating_mul(2)),
            _ => {
                let inputs = node.inputs.iter();
                (inputs.map(|x| lengths[x.0]).max().unwrap_or(0), n)
            }
        };
    }
    terms
}

/// Lowers all nodes.
pub(super) fn lower(graph: &Graph<'_>) -> Lowered {
    let mut lowering = Lowering {
        graph,
        netlist: Netlist::new(),
        values: vec![None; graph.types.n_values()],
    };
    let input = ValueId(0);
    let width = element_bits(graph, input);
    let n = graph.ty(input).n_elements();
    let is_signed = graph.ty(input).kind == Kind::Int;
    let mut sums = Vec::new();
    let mut bits = Vec::new();
    for element in 0..n {
        let literals: Vec<Lit> = (0..width)
            .map(|bit| lowering.netlist.input(element * width + bit))
            .collect();
        match graph.ty(input).kind {
            Kind::Bits => bits.extend(literals),
            _ => sums.push(sum_of_bits(&literals, is_signed)),
        }
    }
    lowering.values[0] = Some(if sums.is_empty() {
        Value::Bits(bits)
    } else {
        Value::Sums(sums)
    });
    for (id, node) in graph.nodes() {
        lowering.netlist.layer = id.0;
        let value = lowering.node(id, node);
        lowering.values[id.0] = Some(value);
    }
    let output = graph.program.output;
    let answer_bits = element_bits(graph, output);
    let outputs = match lowering.value(output).clone() {
        Value::Bits(bits) => bits,
        Value::Sums(sums) => {
            let bits = |sum: &Sum| bits_of(&mut lowering.netlist, sum, answer_bits);
            sums.iter().flat_map(bits).collect()
        }
    };
    lowering.netlist.merge(&outputs);
    Lowered {
        netlist: lowering.netlist,
        outputs,
        input_bits: n * width,
        element_bits: width,
        answer_bits,
    }
}

fn sum_of_bits(bits: &[Lit], is_signed: bool) -> Sum {
    if is_signed {
        return Sum::of_signed(bits);
    }
    let mut sum = Sum::default();
    for (place, &bit) in bits.iter().enumerate() {
        sum.add_lit(bit, 1 << place);
    }
    sum
}

impl Lowering<'_> {
    fn value(&self, id: ValueId) -> &Value {
        self.values[id.0]
            .as_ref()
            .expect("operands come before their readers")
    }

    fn node(&mut self, id: ValueId, node: &Node) -> Value {
        let x = node.inputs[0];
        match &node.op {
            Op::Dense { weights, bias } => self.dense(x, weights, bias.as_deref()),
            Op::Conv2d(conv) => self.conv2d(id, x, conv),
            Op::Threshold(thresholds) => self.threshold(x, thresholds),
            Op::Quantize { bits, cuts } => self.quantize(x, *bits, cuts),
            Op::Relu => self.relu(id, x),
            Op::Add => {
                let n = self.graph.ty(id).n_elements();
                let [a, b] = [0, 1].map(|operand| self.value(node.inputs[operand]));
                let total = |element: usize| {
                    let mut sum = a.sum(element);
                    sum.add(&b.sum(element), 1);
                    sum
                };
                Value::Sums((0..n).map(total).collect())
            }
            Op::MaxPool(window) => self.max_pool(id, x, window),
            Op::Argmax => self.argmax(id, x),
            _ => self.reorder(id, node),
        }
    }

    /// The sum of a row: columns with their elements, and what pads add.
    fn row(
        x: &Value,
        weights: &Weights,
        row: usize,
        bias: Option<&[i32]>,
        columns: &[Option<usize>],
        pad: i64,
    ) -> Sum {
        let mut sum = Sum::of_constant(bias.map_or(0, |bias| bias[row].into()));
        for (col, element) in columns.iter().enumerate() {
            let weight = i64::from(weights.get(row, col));
            match element {
                _ if weight == 0 => {}
                None => sum.constant += weight * pad,
                Some(element) => match x {
                    Value::Bits(bits) => {
                        sum.constant -= weight;
                        sum.add_lit(bits[*element], 2 * weight);
                    }
                    Value::Sums(sums) => sum.add(&sums[*element], weight),
                },
            }
        }
        sum
    }

    fn dense(&mut self, x: ValueId, weights: &Weights, bias: Option<&[i32]>) -> Value {
        let x = self.value(x).clone();
        let columns: Vec<Option<usize>> = (0..weights.n_cols()).map(Some).collect();
        let row = |row: usize| Self::row(&x, weights, row, bias, &columns, 0);
        let mut sums: Vec<Sum> = (0..weights.n_rows()).map(row).collect();
        share(&mut self.netlist, &mut sums);
        Value::Sums(sums)
    }

    fn conv2d(&mut self, id: ValueId, x: ValueId, conv: &Conv2d) -> Value {
        let [height, width, channels] = self.image(x);
        let [out_height, out_width, n_rows] = self.image(id);
        let x = self.value(x).clone();
        let (group_rows, group_channels) = (n_rows / conv.groups, channels / conv.groups);
        let mut all = Vec::new();
        for position in 0..out_height * out_width {
            let (oy, ox) = (position / out_width, position % out_width);
            let mut sums = Vec::new();
            for group in 0..conv.groups {
                let mut columns = Vec::new();
                for tap in 0..conv.window.kernel[0] * conv.window.kernel[1] {
                    let (ky, kx) = (tap / conv.window.kernel[1], tap % conv.window.kernel[1]);
                    let y = conv.window.source(0, oy, ky, height);
                    let x = conv.window.source(1, ox, kx, width);
                    let pixel = y
                        .zip(x)
                        .map(|(y, x)| (y * width + x) * channels + group * group_channels);
                    columns.extend(
                        (0..group_channels).map(|channel| pixel.map(|pixel| pixel + channel)),
                    );
                }
                let rows = group * group_rows..(group + 1) * group_rows;
                let row = |row: usize| {
                    Self::row(
                        &x,
                        &conv.weights,
                        row,
                        conv.bias.as_deref(),
                        &columns,
                        conv.pad.into(),
                    )
                };
                sums.extend(rows.map(row));
            }
            share(&mut self.netlist, &mut sums);
            all.extend(sums);
        }
        Value::Sums(all)
    }

    fn image(&self, id: ValueId) -> [usize; 3] {
        let shape = &self.graph.ty(id).shape;
        [shape[0], shape[1], shape[2]]
    }

    fn n_channels(&self, id: ValueId) -> usize {
        self.graph.ty(id).shape.last().copied().unwrap_or(1)
    }

    fn threshold(&mut self, x: ValueId, thresholds: &Thresholds) -> Value {
        let ThresholdValues::Int(at) = &thresholds.at else {
            unreachable!("`check` refuses reals")
        };
        let n = self.graph.ty(x).n_elements();
        let channels = self.n_channels(x);
        let value = self.value(x).clone();
        let bit = |element: usize| {
            // One entry stands for all channels where there is only one.
            let channel = (element % channels).min(at.len() - 1);
            let answer = at_least(&mut self.netlist, &value.sum(element), at[channel].into());
            answer.inverted_if(thresholds.flip[channel])
        };
        Value::Bits((0..n).map(bit).collect())
    }

    /// A sum as its bits, where it is read more than once.
    fn settled(&mut self, sum: &Sum, bits: usize, is_signed: bool) -> Sum {
        let literals = bits_of(&mut self.netlist, sum, bits);
        sum_of_bits(&literals, is_signed)
    }

    fn quantize(&mut self, x: ValueId, bits: u8, cuts: &Cuts) -> Value {
        let Cuts::Int(cuts) = cuts else {
            unreachable!("`check` refuses reals")
        };
        let n_cuts = (1usize << bits) - 1;
        let (n, channels) = (self.graph.ty(x).n_elements(), self.n_channels(x));
        let value = self.value(x).clone();
        let width = element_bits(self.graph, x);
        let is_int = self.graph.ty(x).kind == Kind::Int;
        let mut sums = Vec::with_capacity(n);
        for element in 0..n {
            let start = (element % channels * n_cuts) % cuts.len();
            let mut sum = value.sum(element);
            if is_int && n_cuts > 1 {
                sum = self.settled(&sum, width, true);
            }
            let mut code = Sum::default();
            for cut in &cuts[start..start + n_cuts] {
                code.add_lit(at_least(&mut self.netlist, &sum, (*cut).into()), 1);
            }
            sums.push(self.settled(&code, bits.into(), false));
        }
        Value::Sums(sums)
    }

    fn relu(&mut self, id: ValueId, x: ValueId) -> Value {
        let width = element_bits(self.graph, x);
        let n = self.graph.ty(id).n_elements();
        let value = self.value(x).clone();
        let mut sums = Vec::with_capacity(n);
        for element in 0..n {
            let bits = bits_of(&mut self.netlist, &value.sum(element), width);
            let sign = bits[width - 1];
            let kept = |bit: &Lit| self.netlist.table(&[*bit, sign], |argument| argument == 1);
            let bits: Vec<Lit> = bits[..width - 1].iter().map(kept).collect();
            sums.push(sum_of_bits(&bits, false));
        }
        Value::Sums(sums)
    }

    /// Whether `a` is at least `b`, both as bits.
    fn is_at_least(&mut self, a: &Sum, b: &Sum) -> Lit {
        let mut difference = a.clone();
        difference.add(b, -1);
        at_least(&mut self.netlist, &difference, 0)
    }

    /// `a` where `take_a`, else `b`.
    fn choose(&mut self, take_a: Lit, a: Lit, b: Lit) -> Lit {
        self.netlist
            .table(&[a, b, take_a], |argument| match argument >> 2 {
                1 => argument & 1 == 1,
                _ => argument & 2 == 2,
            })
    }

    fn max_pool(&mut self, id: ValueId, x: ValueId, window: &Window) -> Value {
        let [height, width, channels] = self.image(x);
        let n = self.graph.ty(id).n_elements();
        let out_width = self.image(id)[1];
        let (bits, is_signed) = (
            element_bits(self.graph, x),
            self.graph.ty(x).kind == Kind::Int,
        );
        let value = self.value(x).clone();
        let mut sums = Vec::new();
        let mut literals = Vec::new();
        for element in 0..n {
            let (position, channel) = (element / channels, element % channels);
            let mut best: Option<Vec<Lit>> = None;
            for tap in 0..window.kernel[0] * window.kernel[1] {
                let y = window.source(0, position / out_width, tap / window.kernel[1], height);
                let x = window.source(1, position % out_width, tap % window.kernel[1], width);
                let Some((y, x)) = y.zip(x) else { continue };
                let from = (y * width + x) * channels + channel;
                let seen = match &value {
                    Value::Bits(all) => vec![all[from]],
                    Value::Sums(all) => bits_of(&mut self.netlist, &all[from], bits),
                };
                best = Some(match best {
                    None => seen,
                    Some(best) => self.greater(&best, &seen, is_signed),
                });
            }
            let best = best.expect("verify: every window has a tap inside the image");
            match value {
                Value::Bits(_) => literals.push(best[0]),
                Value::Sums(_) => sums.push(sum_of_bits(&best, is_signed)),
            }
        }
        if sums.is_empty() {
            Value::Bits(literals)
        } else {
            Value::Sums(sums)
        }
    }

    fn greater(&mut self, a: &[Lit], b: &[Lit], is_signed: bool) -> Vec<Lit> {
        let take_a = self.is_at_least(&sum_of_bits(a, is_signed), &sum_of_bits(b, is_signed));
        a.iter()
            .zip(b)
            .map(|(a, b)| self.choose(take_a, *a, *b))
            .collect()
    }

    /// A tournament: of two equal ones the earlier wins, as it does at every later round.
    fn argmax(&mut self, id: ValueId, x: ValueId) -> Value {
        let n = self.graph.ty(x).n_elements();
        let width = element_bits(self.graph, x);
        let index_bits = unsigned_width(n as u64 - 1);
        debug_assert!(self.graph.ty(id).n_elements() == 1);
        let value = self.value(x).clone();
        let mut round: Vec<(Vec<Lit>, Vec<Lit>)> = Vec::with_capacity(n);
        for element in 0..n {
            let bits = bits_of(&mut self.netlist, &value.sum(element), width);
            let index =
                (0..index_bits).map(|bit| Lit::FALSE.inverted_if((element >> bit) & 1 == 1));
            round.push((bits, index.collect()));
        }
        while round.len() > 1 {
            let mut next = Vec::with_capacity(round.len().div_ceil(2));
            for pair in round.chunks(2) {
                let [a, b] = pair else {
                    next.push(pair[0].clone());
                    continue;
                };
                let take_a = self.is_at_least(&Sum::of_signed(&a.0), &Sum::of_signed(&b.0));
                let mut mix = |a: &[Lit], b: &[Lit]| -> Vec<Lit> {
                    a.iter()
                        .zip(b)
                        .map(|(a, b)| self.choose(take_a, *a, *b))
                        .collect()
                };
                next.push((mix(&a.0, &b.0), mix(&a.1, &b.1)));
            }
            round = next;
        }
        Value::Sums(vec![sum_of_bits(&round[0].1, false)])
    }

    /// An op that only moves elements.
    fn reorder(&mut self, id: ValueId, node: &Node) -> Value {
        let all = sources(node, self.graph);
        let is_bits = self.graph.ty(id).kind == Kind::Bits;
        if let (Op::Planes, Kind::Levels(width)) = (&node.op, self.graph.ty(node.inputs[0]).kind) {
            let value = self.value(node.inputs[0]).clone();
            let n = self.graph.ty(node.inputs[0]).n_elements();
            let bits: Vec<Vec<Lit>> = (0..n)
                .map(|i| bits_of(&mut self.netlist, &value.sum(i), width.into()))
                .collect();
            return Value::Bits(
                all.iter()
                    .map(|source| bits[source.element][source.bit])
                    .collect(),
            );
        }
        if is_bits {
            let bit = |source: &crate::verilog::reorder::Source| match self
                .value(node.inputs[source.operand])
            {
                Value::Bits(bits) => bits[source.element],
                Value::Sums(_) => unreachable!("verify: the operands of bits are bits"),
            };
            return Value::Bits(all.iter().map(bit).collect());
        }
        let sum = |source: &crate::verilog::reorder::Source| {
            self.value(node.inputs[source.operand]).sum(source.element)
        };
        Value::Sums(all.iter().map(sum).collect())
    }
}

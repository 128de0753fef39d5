//! From a Program to the loop language.
//!
//! A verified Program comes in; a [`Module`] goes out: constants, the kernels in use and one function that calls
//! them, whose values lie where the memory plan says. Targets differ in how they print it only.

mod constants;
mod kernels;
mod plan;
mod products;

use onebit_model::ProgramTypes;
use onebit_model::program::{
    Cuts, Kind, Node, Op, Program, ThresholdValues, Thresholds, Type, ValueId, Window,
};

use crate::loops::build::Build;
use crate::loops::{Elem, Expr, Module, Var, WordBits};
use constants::{Constants, identifier};
use kernels::elementwise::RealOp;
use kernels::{Form, Kernels};
use plan::{Place, Plan};

/// What an element of a value is in memory, for the caller's input and output.
pub fn elem_of(kind: Kind) -> Elem {
    Form::of(kind).elem()
}

/// What becomes of the values between input and output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Values {
    /// They share memory and may never be stored.
    #[default]
    Reused,
    /// Each has a place of its own and can be read after a run, unless the answer does not need it.
    Kept,
}

/// Lowers a verified Program. The limits of a Program keep every size and index below 2^32.
pub fn lower(program: &Program, types: &ProgramTypes, word: WordBits) -> Module {
    lower_with(program, types, word, Values::Reused)
}

/// [`lower`], with a choice.
pub fn lower_with(
    program: &Program,
    types: &ProgramTypes,
    word: WordBits,
    values: Values,
) -> Module {
    let mut run = Build::new("run", &[]);
    let input = run.input("input", elem_of(program.input.kind));
    let output = run.output("output", elem_of(types.of(program.output).kind));
    let mut lower = Lower {
        program,
        types,
        plan: plan::plan(program, types, word, values),
        constants: Constants::new(word),
        kernels: Kernels::new(word),
        run,
        values: vec![None; types.n_values()],
        output,
    };
    lower.input(input);
    for (idx, node) in program.nodes.iter().enumerate() {
        let is_threshold_done = lower.plan.threshold_of.contains(&Some(idx));
        if lower.plan.is_needed[idx] && !is_threshold_done {
            lower.node(idx, node);
        }
    }
    if lower.plan.places[program.output.0] != Place::Output {
        lower.copy_out();
    }
    Module {
        word,
        locations: lower.plan.locations(values),
        constants: lower.constants.list,
        functions: lower.kernels.functions,
        run: lower.run.finish(),
        arena_bytes: lower.plan.arena_bytes,
    }
}

/// A module under construction.
struct Lower<'a> {
    program: &'a Program,
    types: &'a ProgramTypes,
    plan: Plan,
    constants: Constants,
    kernels: Kernels,
    run: Build,
    /// By value: the pointer to it, once it is computed.
    values: Vec<Option<Var>>,
    output: Var,
}

/// A size as a literal.
fn u32_of(n: usize) -> u32 {
    u32::try_from(n).expect("limits: a value has 2^24 elements at most, a matrix 2^31")
}

fn size(n: usize) -> Expr {
    Expr::U32(u32_of(n))
}

impl Lower<'_> {
    /// Value 0: what the caller hands in, or a copy of it with clean bits.
    fn input(&mut self, input: Var) {
        let ty = &self.program.input;
        self.values[0] = Some(input);
        if let (true, Place::Arena(offset)) = (self.plan.cleans_input, self.plan.places[0]) {
            let clean = self
                .run
                .local("clean_input", Expr::Arena(offset, Elem::Word));
            let kernel = self.kernels.copy_bits();
            let args = [
                clean.into(),
                size(0),
                input.into(),
                size(0),
                size(ty.n_elements()),
            ];
            self.run.call(&kernel, args);
            self.values[0] = Some(clean);
        }
    }

    /// The output, where it is the input or a reshape of it.
    fn copy_out(&mut self) {
        let ty = self.types.of(self.program.output);
        let form = Form::of(ty.kind);
        let n = match form {
            Form::Bits => ty.n_elements().div_ceil(self.kernels.word.bits() as usize),
            _ => ty.n_elements(),
        };
        let kernel = self.kernels.copy(form);
        let x = self.values[self.program.output.0].expect("the output is the input");
        let out = self.output;
        self.run.call(&kernel, [x.into(), size(n), out.into()]);
    }

    fn operand(&self, node: usize, operand: usize) -> Expr {
        let id = self.program.nodes[node].inputs[operand];
        self.values[id.0]
            .expect("operands are computed before their readers")
            .into()
    }

    fn operand_type(&self, node: usize, operand: usize) -> &Type {
        self.types.of(self.program.nodes[node].inputs[operand])
    }

    fn form_of(&self, node: usize, operand: usize) -> Form {
        Form::of(self.operand_type(node, operand).kind)
    }

    /// The place of a node's value, from now on a local.
    fn result(&mut self, node: usize) -> Expr {
        let value = node + 1;
        let elem = elem_of(self.types.of(ValueId(value)).kind);
        let var = match self.plan.places[value] {
            Place::Output => self.output,
            Place::Arena(offset) => {
                let name = format!("ob_v_{}", identifier(&self.program.nodes[node].name));
                self.run.local(&name, Expr::Arena(offset, elem))
            }
            Place::Input | Place::Nowhere => {
                unreachable!("the plan has a place for what is computed")
            }
        };
        self.values[value] = Some(var);
        var.into()
    }

    #[expect(clippy::too_many_lines, reason = "a flat match over the ops")]
    fn node(&mut self, idx: usize, node: &Node) {
        let ty = self.types.of(ValueId(idx + 1));
        let fused = self.plan.threshold_of[idx].map(|node| &self.program.nodes[node].name);
        let fused = fused.map_or(String::new(), |name| format!(", with {name}"));
        let op = node.op.name();
        self.run
            .comment(format!("{}: {op} to {ty}{fused}", node.name));
        match &node.op {
            Op::Dense { weights, bias } => self.dense(idx, weights, bias.as_deref()),
            Op::Conv2d(conv) => self.conv2d(idx, conv),
            Op::Reshape { .. } => self.values[idx + 1] = self.values[node.inputs[0].0],
            Op::Threshold(thresholds) => self.threshold(idx, thresholds),
            Op::Quantize { bits, cuts } => self.quantize(idx, *bits, cuts),
            Op::Affine { scale, shift } => {
                let arrays = [("scale", scale.as_slice()), ("shift", shift)];
                self.per_channel(idx, RealOp::Affine, &arrays);
            }
            Op::Relu => self.per_channel(idx, RealOp::Relu, &[]),
            Op::Clip { min, max } => {
                let kernel = self.kernels.real_op(RealOp::Clip, Form::Reals);
                self.on_elements(idx, &kernel, vec![Expr::F32(*min), Expr::F32(*max)]);
            }
            Op::Prelu { slope } => self.per_channel(idx, RealOp::Prelu, &[("slope", slope)]),
            Op::Rprelu {
                before,
                slope,
                after,
            } => {
                let arrays = [
                    ("before", before.as_slice()),
                    ("slope", slope),
                    ("after", after),
                ];
                self.per_channel(idx, RealOp::Rprelu, &arrays);
            }
            Op::GroupNorm(norm) => {
                let kernel = self.kernels.group_norm();
                let shape = &ty.shape;
                let n_channels = shape[shape.len() - 1];
                let gamma = self.constants.reals(&node.name, "gamma", &norm.gamma);
                let beta = self.constants.reals(&node.name, "beta", &norm.beta);
                let args = [
                    self.operand(idx, 0),
                    size(ty.n_elements() / n_channels),
                    size(n_channels),
                    size(n_channels / norm.groups),
                    gamma,
                    beta,
                    Expr::F32(norm.eps),
                    self.result(idx),
                ];
                self.run.call(&kernel, args);
            }
            Op::Add | Op::Mul => {
                let kernel = match node.op {
                    Op::Add => self.kernels.add(self.form_of(idx, 0)),
                    _ => self.kernels.mul(),
                };
                let (a, b) = (self.operand(idx, 0), self.operand(idx, 1));
                let out = self.result(idx);
                self.run.call(&kernel, [a, b, size(ty.n_elements()), out]);
            }
            Op::Softmax | Op::Argmax => {
                let x = self.operand_type(idx, 0).clone();
                let n = x.shape[x.shape.len() - 1];
                let mut args = vec![self.operand(idx, 0)];
                let kernel = match node.op {
                    Op::Softmax => {
                        args.push(size(x.n_elements() / n));
                        self.kernels.softmax()
                    }
                    _ => self.kernels.argmax(Form::of(x.kind)),
                };
                args.extend([size(n), self.result(idx)]);
                self.run.call(&kernel, args);
            }
            Op::Planes => {
                let kernel = self.kernels.planes();
                let x = self.operand_type(idx, 0);
                let n = x.n_elements();
                let n_bits = ty.n_elements() / n;
                self.on_elements(idx, &kernel, vec![size(n_bits)]);
            }
            Op::Concat | Op::ConcatChannels => self.join(idx, node),
            Op::Slice { start, .. } => {
                let steps = steps(&self.operand_type(idx, 0).shape);
                let base = start.iter().zip(&steps).map(|(at, step)| at * step).sum();
                self.block(idx, base, &steps);
            }
            Op::Transpose { perm } => {
                let steps = steps(&self.operand_type(idx, 0).shape);
                let moved: Vec<usize> = perm.iter().map(|&axis| steps[axis]).collect();
                self.block(idx, 0, &moved);
            }
            Op::MaxPool(window) => {
                let kernel = self.kernels.max_pool(self.form_of(idx, 0));
                self.pool(idx, &kernel, window, vec![]);
            }
            Op::AvgPool { window, count_pads } => {
                let count = match count_pads {
                    true => (window.kernel[0] * window.kernel[1]) as f32,
                    false => 0.0,
                };
                let kernel = self.kernels.avg_pool(self.form_of(idx, 0));
                self.pool(idx, &kernel, window, vec![Expr::F32(count)]);
            }
            Op::GlobalAvgPool => {
                let shape = &self.operand_type(idx, 0).shape;
                let window = Window::new([shape[0], shape[1]]);
                let kernel = self.kernels.avg_pool(self.form_of(idx, 0));
                self.pool(idx, &kernel, &window, vec![Expr::F32(0.0)]);
            }
        }
    }

    /// `kernel(x, n, more.., out)`.
    fn on_elements(&mut self, idx: usize, kernel: &str, more: Vec<Expr>) {
        let n = self.operand_type(idx, 0).n_elements();
        let mut args = vec![self.operand(idx, 0), size(n)];
        args.extend(more);
        args.push(self.result(idx));
        self.run.call(kernel, args);
    }

    fn n_channels(&self, idx: usize) -> usize {
        let shape = &self.operand_type(idx, 0).shape;
        shape[shape.len() - 1]
    }

    fn per_channel(&mut self, idx: usize, op: RealOp, arrays: &[(&str, &[f32])]) {
        let kernel = self.kernels.real_op(op, self.form_of(idx, 0));
        let mut more = Vec::new();
        if !arrays.is_empty() {
            more.push(size(self.n_channels(idx)));
        }
        let name = &self.program.nodes[idx].name;
        for (part, reals) in arrays {
            more.push(self.constants.reals(name, part, reals));
        }
        self.on_elements(idx, &kernel, more);
    }

    /// Flips as bytes, if there are any.
    fn flips(&mut self, name: &str, flips: &[bool]) -> Option<Expr> {
        let bytes = flips.iter().map(|&flip| i32::from(flip)).collect();
        flips
            .contains(&true)
            .then(|| self.constants.bytes(name, "flips", Elem::U8, bytes))
    }

    fn threshold(&mut self, idx: usize, thresholds: &Thresholds) {
        let name = &self.program.nodes[idx].name;
        let form = self.form_of(idx, 0);
        let flip = &thresholds.flip;
        let is_one_flip = flip.iter().all(|other| *other == flip[0]);
        let one = match &thresholds.at {
            ThresholdValues::Int(at) => (at.iter().all(|x| *x == at[0])).then(|| Expr::I32(at[0])),
            ThresholdValues::Real(at) => (at.iter().all(|x| *x == at[0])).then(|| Expr::F32(at[0])),
        };
        if let (Some(at), true) = (one, is_one_flip) {
            let kernel = self.kernels.threshold_all(form);
            let flip = Expr::I32(i32::from(flip[0]));
            self.on_elements(idx, &kernel, vec![at, flip]);
            return;
        }
        let (at, elem) = match &thresholds.at {
            ThresholdValues::Real(at) => (self.constants.reals(name, "thresholds", at), Elem::F32),
            ThresholdValues::Int(at) => {
                let range = self.types.range(self.program.nodes[idx].inputs[0]);
                let range = range.expect("an operand with integer thresholds has a range");
                let above = range.max.saturating_add(1);
                let at = at.iter().map(|at| (*at).clamp(range.min, above)).collect();
                self.constants.ints(name, "thresholds", at)
            }
        };
        let flips = self.flips(name, flip);
        let kernel = self.kernels.threshold(form, elem, flips.is_some());
        let mut more = vec![size(self.n_channels(idx)), at];
        more.extend(flips);
        self.on_elements(idx, &kernel, more);
    }

    fn quantize(&mut self, idx: usize, bits: u8, cuts: &Cuts) {
        let name = &self.program.nodes[idx].name;
        let n_cuts = (1usize << bits) - 1;
        let (array, elem, n) = match cuts {
            Cuts::Int(cuts) => {
                let (array, elem) = self.constants.ints(name, "cuts", cuts.clone());
                (array, elem, cuts.len())
            }
            Cuts::Real(cuts) => (
                self.constants.reals(name, "cuts", cuts),
                Elem::F32,
                cuts.len(),
            ),
        };
        let stride = if n == n_cuts { 0 } else { n_cuts };
        let kernel = self.kernels.quantize(self.form_of(idx, 0), elem);
        let n_channels = self.n_channels(idx);
        let more = vec![size(n_channels), array, size(bits.into()), size(stride)];
        self.on_elements(idx, &kernel, more);
    }

    /// Operands one after the other, for every position of all but the last axis.
    fn join(&mut self, idx: usize, node: &Node) {
        let form = self.form_of(idx, 0);
        let kernel = self.kernels.copy_run(form);
        let run_of = |ty: &Type| match node.op {
            Op::Concat => ty.n_elements(),
            _ => ty.shape[ty.shape.len() - 1],
        };
        let runs: Vec<usize> = (0..node.inputs.len())
            .map(|operand| run_of(self.operand_type(idx, operand)))
            .collect();
        let n_positions = self.operand_type(idx, 0).n_elements() / runs[0];
        let n_all: usize = runs.iter().sum();
        let operands: Vec<Expr> = (0..runs.len()).map(|i| self.operand(idx, i)).collect();
        let out = self.result(idx);
        self.run.repeat("p", 0u32, u32_of(n_positions), |f, p| {
            let mut before = 0;
            for (x, &n) in operands.iter().zip(&runs) {
                let (out_at, x_at) = (p * u32_of(n_all) + u32_of(before), p * u32_of(n));
                f.call(&kernel, [out.clone(), out_at, x.clone(), x_at, size(n)]);
                before += n;
            }
        });
    }

    /// The result's elements in order, at these steps of the operand's.
    fn block(&mut self, idx: usize, base: usize, steps: &[usize]) {
        let kernel = self.kernels.block(self.form_of(idx, 0));
        let shape = &self.types.of(ValueId(idx + 1)).shape;
        let n_missing = 4 - shape.len();
        let mut geometry = vec![1; n_missing];
        geometry.extend(shape);
        geometry.extend(vec![0; n_missing]);
        geometry.extend(steps);
        let name = &self.program.nodes[idx].name;
        let geometry = self.constants.sizes(name, "geometry", &geometry);
        let args = [self.operand(idx, 0), size(base), geometry, self.result(idx)];
        self.run.call(&kernel, args);
    }

    fn pool(&mut self, idx: usize, kernel: &str, window: &Window, more: Vec<Expr>) {
        let shape = self.operand_type(idx, 0).shape.clone();
        let name = self.program.nodes[idx].name.clone();
        let geometry = self.geometry(&name, &shape, shape[2], window);
        let out = window
            .output([shape[0], shape[1]])
            .expect("verify: the window fits");
        let mut args = vec![self.operand(idx, 0), geometry, size(out[0]), size(out[1])];
        args.extend(more);
        args.push(self.result(idx));
        self.run.call(kernel, args);
    }

    /// What a window's kernel reads of sizes and steps.
    fn geometry(&mut self, name: &str, shape: &[usize], n_group: usize, window: &Window) -> Expr {
        let [top, left, _, _] = window.pads;
        let pairs = [window.kernel, window.stride, window.dilation, [top, left]];
        let mut sizes = vec![shape[0], shape[1], shape[2], n_group];
        sizes.extend(pairs.into_iter().flatten());
        self.constants.sizes(name, "geometry", &sizes)
    }
}

/// Elements from one index to the next, for every axis.
fn steps(shape: &[usize]) -> Vec<usize> {
    let mut steps = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        steps[axis - 1] = steps[axis] * shape[axis];
    }
    steps
}

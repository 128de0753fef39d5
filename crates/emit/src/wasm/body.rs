//! Functions of the loop language as WebAssembly instructions.
//!
//! A function comes in, with where constants and the arena lie; locals and instructions go out. Pointers and both kinds
//! of 32-bit integers are `i32`, a word is `i64`.

use std::collections::BTreeMap;

use wasm_encoder::{
    BlockType, Function as Encoded, Instruction as I, MemArg, MemArgTarget, ValType,
};

use super::Counting;
use super::counting::Operands;
use crate::loops::{Binary, Elem, Expr, Function, Intrinsic, Stmt, Ty, WordBits};

/// Bytes of an element.
fn n_bytes(elem: Elem) -> u32 {
    u32::try_from(elem.n_bytes(WordBits::W64)).expect("elements have 8 bytes at most")
}

/// Where an instruction reads or writes, from the address on the stack on; `align` is a power of two's exponent.
pub(super) fn place(offset: u64, align: u32) -> MemArg {
    MemArg {
        offset,
        align,
        target: MemArgTarget::Memory(0),
        ordering: None,
    }
}

/// The type of a local.
pub(super) fn val_type(ty: Ty) -> ValType {
    match ty {
        Ty::I32 | Ty::U32 | Ty::Ptr(_) | Ty::MutPtr(_) => ValType::I32,
        Ty::F32 => ValType::F32,
        Ty::Word => ValType::I64,
    }
}

/// What code refers to.
pub(super) struct Context<'a> {
    /// The address of each constant.
    pub(super) constants: &'a [u32],
    /// The address of the arena.
    pub(super) arena: u32,
    /// The index of each function.
    pub(super) functions: &'a BTreeMap<String, u32>,
    /// How bits are counted.
    pub(super) counting: Counting,
}

/// A function under construction.
pub(super) struct Body<'a> {
    context: &'a Context<'a>,
    code: Vec<I<'static>>,
    /// By [`crate::loops::Var::id`]: the local.
    vars: Vec<Option<u32>>,
    n_params: usize,
    /// The locals after the parameters.
    locals: Vec<ValType>,
}

/// The instructions of a function.
pub(super) fn encode(function: &Function, context: &Context<'_>) -> Encoded {
    let mut body = Body {
        context,
        code: Vec::new(),
        vars: vec![None; function.names.len()],
        n_params: function.params.len(),
        locals: Vec::new(),
    };
    for (idx, param) in (0u32..).zip(&function.params) {
        body.vars[param.id] = Some(idx);
    }
    body.block(&function.body);
    if let Some(result) = &function.result {
        body.expr(result);
    }
    body.push(I::End);
    let mut encoded = Encoded::new_with_locals_types(body.locals);
    for instruction in &body.code {
        encoded.instruction(instruction);
    }
    encoded
}

impl Body<'_> {
    pub(super) fn push(&mut self, instruction: I<'static>) {
        self.code.push(instruction);
    }

    pub(super) fn all<const N: usize>(&mut self, instructions: [I<'static>; N]) {
        self.code.extend(instructions);
    }

    /// A local of its own.
    pub(super) fn temp(&mut self, ty: ValType) -> u32 {
        self.locals.push(ty);
        u32::try_from(self.n_params + self.locals.len() - 1).expect("a function has few locals")
    }

    /// The local of a variable, made where it is not there yet.
    fn local(&mut self, var: crate::loops::Var) -> u32 {
        match self.vars[var.id] {
            Some(local) => local,
            None => {
                let local = self.temp(val_type(var.ty));
                self.vars[var.id] = Some(local);
                local
            }
        }
    }

    fn block(&mut self, stmts: &[Stmt]) {
        for stmt in stmts {
            self.stmt(stmt);
        }
    }

    fn stmt(&mut self, stmt: &Stmt) {
        match stmt {
            Stmt::Comment(_) => {}
            Stmt::Let(var, value) | Stmt::Set(var, value) => {
                self.expr(value);
                let local = self.local(*var);
                self.push(I::LocalSet(local));
            }
            Stmt::Store { ptr, index, value } => {
                let Ty::MutPtr(elem) = ptr.ty() else {
                    unreachable!("a store is built with a pointer to write to")
                };
                let at = self.address(ptr, index, elem);
                self.expr(value);
                self.push(match elem {
                    Elem::U8 | Elem::I8 => I::I32Store8(at),
                    Elem::U16 | Elem::I16 => I::I32Store16(at),
                    Elem::I32 => I::I32Store(at),
                    Elem::F32 => I::F32Store(at),
                    Elem::Word => I::I64Store(at),
                });
            }
            Stmt::For {
                var,
                from,
                to,
                body,
            } => self.count(*var, from, to, body),
            Stmt::While { condition, body } => {
                self.all([I::Block(BlockType::Empty), I::Loop(BlockType::Empty)]);
                self.condition(condition);
                self.all([I::I32Eqz, I::BrIf(1)]);
                self.block(body);
                self.all([I::Br(0), I::End, I::End]);
            }
            Stmt::If {
                condition,
                then,
                otherwise,
            } => {
                self.condition(condition);
                self.push(I::If(BlockType::Empty));
                self.block(then);
                if !otherwise.is_empty() {
                    self.push(I::Else);
                    self.block(otherwise);
                }
                self.push(I::End);
            }
            Stmt::Call(name, args) => self.call(name, args),
        }
    }

    /// A loop with its test at the end, inside a test whether it runs at all.
    fn count(&mut self, var: crate::loops::Var, from: &Expr, to: &Expr, body: &[Stmt]) {
        let local = self.local(var);
        self.expr(from);
        self.push(I::LocalSet(local));
        let end = match to {
            Expr::U32(end) => I::I32Const(end.cast_signed()),
            _ => {
                self.expr(to);
                let end = self.temp(ValType::I32);
                self.push(I::LocalSet(end));
                I::LocalGet(end)
            }
        };
        self.all([I::LocalGet(local), end.clone(), I::I32LtU]);
        self.all([I::If(BlockType::Empty), I::Loop(BlockType::Empty)]);
        self.block(body);
        self.all([
            I::LocalGet(local),
            I::I32Const(1),
            I::I32Add,
            I::LocalTee(local),
        ]);
        self.all([end, I::I32LtU, I::BrIf(0), I::End, I::End]);
    }

    fn call(&mut self, name: &str, args: &[Expr]) {
        for arg in args {
            self.expr(arg);
        }
        let function = self.context.functions[name];
        self.push(I::Call(function));
    }

    /// An `i32` that is not 0 where the value is not.
    fn condition(&mut self, condition: &Expr) {
        self.expr(condition);
        if condition.ty() == Ty::Word {
            self.all([I::I64Const(0), I::I64Ne]);
        }
    }

    /// Pushes a pointer moved by elements; a literal index goes to the instruction's own offset.
    fn address(&mut self, ptr: &Expr, index: &Expr, elem: Elem) -> MemArg {
        let mut offset = 0;
        self.expr(ptr);
        match index {
            Expr::U32(index) => offset = u64::from(*index) * u64::from(n_bytes(elem)),
            _ => self.moved(index, elem),
        }
        place(offset, n_bytes(elem).ilog2())
    }

    /// Adds elements to the address on the stack.
    fn moved(&mut self, by: &Expr, elem: Elem) {
        self.expr(by);
        let shift = n_bytes(elem).ilog2();
        if shift > 0 {
            self.all([I::I32Const(shift.cast_signed()), I::I32Shl]);
        }
        self.push(I::I32Add);
    }

    /// Pushes a value.
    pub(super) fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::I32(x) => self.push(I::I32Const(*x)),
            Expr::U32(x) => self.push(I::I32Const(x.cast_signed())),
            Expr::F32(x) => self.push(I::F32Const((*x).into())),
            Expr::Word(x) => self.push(I::I64Const(x.cast_signed())),
            Expr::Var(var) => {
                let local = self.local(*var);
                self.push(I::LocalGet(local));
            }
            Expr::Constant(idx, _) => {
                let address = self.context.constants[*idx];
                self.push(I::I32Const(address.cast_signed()));
            }
            Expr::Arena(offset, _) => {
                let offset = u32::try_from(*offset).expect("the layout fits into 4 GiB");
                self.push(I::I32Const((self.context.arena + offset).cast_signed()));
            }
            Expr::Load(ptr, index) => self.load(ptr, index),
            Expr::Offset(ptr, by) => {
                let (Ty::Ptr(elem) | Ty::MutPtr(elem)) = ptr.ty() else {
                    unreachable!("offsets are built of pointers")
                };
                self.expr(ptr);
                self.moved(by, elem);
            }
            Expr::Binary(op, a, b) => self.binary(*op, a, b),
            Expr::Select(condition, a, b) => {
                self.expr(a);
                self.expr(b);
                self.condition(condition);
                self.push(I::Select);
            }
            Expr::Convert(ty, x) => {
                self.expr(x);
                self.convert(x.ty(), *ty);
            }
            Expr::Intrinsic(which, args) => self.intrinsic(*which, args),
            Expr::Call(name, args, _) => self.call(name, args),
        }
    }

    fn load(&mut self, ptr: &Expr, index: &Expr) {
        let (Ty::Ptr(elem) | Ty::MutPtr(elem)) = ptr.ty() else {
            unreachable!("loads are built of pointers")
        };
        let at = self.address(ptr, index, elem);
        self.push(match elem {
            Elem::U8 => I::I32Load8U(at),
            Elem::I8 => I::I32Load8S(at),
            Elem::U16 => I::I32Load16U(at),
            Elem::I16 => I::I32Load16S(at),
            Elem::I32 => I::I32Load(at),
            Elem::F32 => I::F32Load(at),
            Elem::Word => I::I64Load(at),
        });
    }

    fn binary(&mut self, op: Binary, a: &Expr, b: &Expr) {
        self.expr(a);
        let is_shift = matches!(op, Binary::Shl | Binary::Shr);
        match b {
            Expr::U32(count) if is_shift && a.ty() == Ty::Word => {
                self.push(I::I64Const(i64::from(*count)));
            }
            _ => {
                self.expr(b);
                if is_shift && a.ty() == Ty::Word {
                    self.push(I::I64ExtendI32U);
                }
            }
        }
        self.push(match a.ty() {
            Ty::F32 => real(op),
            Ty::Word => word(op),
            Ty::I32 => integer(op, true),
            _ => integer(op, false),
        });
    }

    fn convert(&mut self, from: Ty, to: Ty) {
        let is_signed = from == Ty::I32;
        let instruction = match (val_type(from), val_type(to)) {
            (ValType::I32, ValType::I64) if is_signed => I::I64ExtendI32S,
            (ValType::I32, ValType::I64) => I::I64ExtendI32U,
            (ValType::I64, ValType::I32) => I::I32WrapI64,
            (ValType::I32, ValType::F32) if is_signed => I::F32ConvertI32S,
            (ValType::I32, ValType::F32) => I::F32ConvertI32U,
            (ValType::I64, ValType::F32) => I::F32ConvertI64U,
            // What does not fit is never used, and must not trap.
            (ValType::F32, ValType::I32) if to == Ty::I32 => I::I32TruncSatF32S,
            (ValType::F32, ValType::I32) => I::I32TruncSatF32U,
            (ValType::F32, ValType::I64) => I::I64TruncSatF32U,
            _ => return,
        };
        self.push(instruction);
    }

    fn intrinsic(&mut self, which: Intrinsic, args: &[Expr]) {
        match (which, args) {
            (Intrinsic::Sqrt, [x]) => {
                self.expr(x);
                self.push(I::F32Sqrt);
            }
            (Intrinsic::FromBits, [bits]) => {
                self.expr(bits);
                self.push(I::F32ReinterpretI32);
            }
            (Intrinsic::Differ | Intrinsic::DifferMasked, [planes @ .., n]) => {
                let mut temps = Vec::new();
                for arg in planes.iter().chain([n]) {
                    self.expr(arg);
                    let temp = self.temp(ValType::I32);
                    self.push(I::LocalSet(temp));
                    temps.push(temp);
                }
                let n = temps
                    .pop()
                    .expect("the last argument is the number of words");
                let operands = Operands { planes: temps, n };
                self.differ(self.context.counting, &operands);
            }
            _ => unreachable!("intrinsics are built with their arguments"),
        }
    }
}

fn real(op: Binary) -> I<'static> {
    match op {
        Binary::Add => I::F32Add,
        Binary::Sub => I::F32Sub,
        Binary::Mul => I::F32Mul,
        Binary::Div => I::F32Div,
        Binary::Lt => I::F32Lt,
        Binary::Gt => I::F32Gt,
        Binary::Ge => I::F32Ge,
        Binary::Eq => I::F32Eq,
        Binary::And | Binary::Or | Binary::Xor | Binary::Shl | Binary::Shr => {
            unreachable!("reals have no bits")
        }
    }
}

fn word(op: Binary) -> I<'static> {
    match op {
        Binary::Add => I::I64Add,
        Binary::Sub => I::I64Sub,
        Binary::Mul => I::I64Mul,
        Binary::And => I::I64And,
        Binary::Or => I::I64Or,
        Binary::Xor => I::I64Xor,
        Binary::Shl => I::I64Shl,
        Binary::Shr => I::I64ShrU,
        Binary::Lt => I::I64LtU,
        Binary::Gt => I::I64GtU,
        Binary::Ge => I::I64GeU,
        Binary::Eq => I::I64Eq,
        Binary::Div => unreachable!("words are not divided"),
    }
}

fn integer(op: Binary, is_signed: bool) -> I<'static> {
    match (op, is_signed) {
        (Binary::Add, _) => I::I32Add,
        (Binary::Sub, _) => I::I32Sub,
        (Binary::Mul, _) => I::I32Mul,
        (Binary::And, _) => I::I32And,
        (Binary::Or, _) => I::I32Or,
        (Binary::Xor, _) => I::I32Xor,
        (Binary::Shl, _) => I::I32Shl,
        (Binary::Shr, _) => I::I32ShrU,
        (Binary::Lt, true) => I::I32LtS,
        (Binary::Lt, false) => I::I32LtU,
        (Binary::Gt, true) => I::I32GtS,
        (Binary::Gt, false) => I::I32GtU,
        (Binary::Ge, true) => I::I32GeS,
        (Binary::Ge, false) => I::I32GeU,
        (Binary::Eq, _) => I::I32Eq,
        (Binary::Div, _) => unreachable!("integers are not divided"),
    }
}

//! The loop language: what C and WebAssembly are printed from.
//!
//! Owns its types, expressions and statements; [`build`] writes functions in it, `lower` turns a Program into a
//! [`Module`], and a printer per target turns a Module into text or bytes. Signed additions and products do not
//! overflow, unsigned ones wrap, shift counts are below the width, and every operation on reals rounds once, so
//! that a printer has no case to think about.

pub mod build;
mod operators;

/// Bits of a word of packed values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WordBits {
    /// `uint32_t`: for microcontrollers.
    #[default]
    W32,
    /// `uint64_t`: for 64-bit processors.
    W64,
}

impl WordBits {
    /// 32 or 64.
    pub fn bits(self) -> u32 {
        match self {
            WordBits::W32 => 32,
            WordBits::W64 => 64,
        }
    }
}

/// What a pointer points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Elem {
    /// 8 bits, unsigned.
    U8,
    /// 8 bits, signed.
    I8,
    /// 16 bits, unsigned.
    U16,
    /// 16 bits, signed.
    I16,
    /// 32 bits, signed.
    I32,
    /// IEEE binary32.
    F32,
    /// A word of packed bits, least significant first.
    Word,
}

impl Elem {
    /// Bytes of one element.
    pub fn n_bytes(self, word: WordBits) -> usize {
        match self {
            Elem::U8 | Elem::I8 => 1,
            Elem::U16 | Elem::I16 => 2,
            Elem::I32 | Elem::F32 => 4,
            Elem::Word => word.bits() as usize / 8,
        }
    }

    /// A part of a kernel's name.
    pub fn name(self) -> &'static str {
        match self {
            Elem::U8 => "u8",
            Elem::I8 => "i8",
            Elem::U16 => "u16",
            Elem::I16 => "i16",
            Elem::I32 => "i32",
            Elem::F32 => "f32",
            Elem::Word => "word",
        }
    }

    /// What a load gives: narrow integers widen to `I32`.
    pub fn loaded(self) -> Ty {
        match self {
            Elem::F32 => Ty::F32,
            Elem::Word => Ty::Word,
            _ => Ty::I32,
        }
    }
}

/// The type of a local or an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ty {
    /// Signed; also the 0 or 1 of a comparison.
    I32,
    /// Unsigned: indices, sizes and counts.
    U32,
    /// IEEE binary32.
    F32,
    /// A word of packed bits.
    Word,
    /// Elements to read.
    Ptr(Elem),
    /// Elements to read and write.
    MutPtr(Elem),
}

/// A parameter or local of one function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Var {
    /// Index into [`Function::names`].
    pub id: usize,
    /// Its type.
    pub ty: Ty,
}

/// An operation on two operands of one type; a shift's count is `U32`, a comparison's result `I32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// Sum.
    Add,
    /// Difference.
    Sub,
    /// Product.
    Mul,
    /// Quotient of reals.
    Div,
    /// Bitwise and.
    And,
    /// Bitwise or.
    Or,
    /// Bitwise exclusive or.
    Xor,
    /// Left shift of `U32` or `Word`.
    Shl,
    /// Logical right shift of `U32` or `Word`.
    Shr,
    /// Less.
    Lt,
    /// Greater.
    Gt,
    /// At least.
    Ge,
    /// Equal.
    Eq,
}

impl Binary {
    /// Whether the result is 0 or 1.
    pub fn is_comparison(self) -> bool {
        matches!(self, Binary::Lt | Binary::Gt | Binary::Ge | Binary::Eq)
    }
}

/// What each target has its own best code for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intrinsic {
    /// `(a: Ptr(Word), b: Ptr(Word), n: U32) -> I32`: bits in which `n` words differ.
    Differ,
    /// `(a: Ptr(Word), mask: Ptr(Word), b: Ptr(Word), n: U32) -> I32`: the same where the mask is 1.
    DifferMasked,
    /// `(x: F32) -> F32`: the square root, rounded to nearest.
    Sqrt,
    /// `(bits: U32) -> F32`: the real of these bits.
    FromBits,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A literal.
    I32(i32),
    /// A literal.
    U32(u32),
    /// A literal; never NaN.
    F32(f32),
    /// A literal, of which a 32-bit word takes the low half.
    Word(u64),
    /// A parameter or local.
    Var(Var),
    /// The first element of a constant, by its index in [`Module::constants`].
    Constant(usize, Elem),
    /// The arena at a byte offset, which is a multiple of 8.
    Arena(usize, Elem),
    /// Element `1` of pointer `0`.
    Load(Box<Expr>, Box<Expr>),
    /// Pointer `0`, moved by `1` elements.
    Offset(Box<Expr>, Box<Expr>),
    /// An operation.
    Binary(Binary, Box<Expr>, Box<Expr>),
    /// `1` where `0` is not zero, else `2`; a target may evaluate both.
    Select(Box<Expr>, Box<Expr>, Box<Expr>),
    /// Conversion between numbers: integers modulo 2^bits, to reals rounded to nearest even, from reals (in range)
    /// towards zero.
    Convert(Ty, Box<Expr>),
    /// An intrinsic of its arguments.
    Intrinsic(Intrinsic, Vec<Expr>),
    /// The result of another function of the module, of this type.
    Call(String, Vec<Expr>, Ty),
}

impl Expr {
    /// The type.
    pub fn ty(&self) -> Ty {
        match self {
            Expr::I32(_) => Ty::I32,
            Expr::U32(_) => Ty::U32,
            Expr::F32(_) => Ty::F32,
            Expr::Word(_) => Ty::Word,
            Expr::Var(var) => var.ty,
            Expr::Constant(_, elem) => Ty::Ptr(*elem),
            Expr::Arena(_, elem) => Ty::MutPtr(*elem),
            Expr::Load(ptr, _) => match ptr.ty() {
                Ty::Ptr(elem) | Ty::MutPtr(elem) => elem.loaded(),
                other => panic!("a load from {other:?}, which is no pointer"),
            },
            Expr::Offset(ptr, _) => ptr.ty(),
            Expr::Binary(op, _, _) if op.is_comparison() => Ty::I32,
            Expr::Binary(_, a, _) => a.ty(),
            Expr::Select(_, a, _) => a.ty(),
            Expr::Convert(ty, _) | Expr::Call(_, _, ty) => *ty,
            Expr::Intrinsic(Intrinsic::Sqrt | Intrinsic::FromBits, _) => Ty::F32,
            Expr::Intrinsic(_, _) => Ty::I32,
        }
    }
}

/// A step.
#[derive(Clone, Debug, PartialEq)]
pub enum Stmt {
    /// A line for the reader.
    Comment(String),
    /// Declares a local.
    Let(Var, Expr),
    /// Changes a local.
    Set(Var, Expr),
    /// Writes element `index` of `ptr`, narrowed to its width.
    Store {
        /// Where.
        ptr: Expr,
        /// Which element.
        index: Expr,
        /// What; in the range of the element's type.
        value: Expr,
    },
    /// Counts a fresh `U32` from `from` while it is below `to`; the body changes neither.
    For {
        /// The counter.
        var: Var,
        /// The first value.
        from: Expr,
        /// One past the last.
        to: Expr,
        /// What is repeated.
        body: Vec<Stmt>,
    },
    /// Repeats while the condition is not zero.
    While {
        /// Checked before each round.
        condition: Expr,
        /// What is repeated.
        body: Vec<Stmt>,
    },
    /// Chooses.
    If {
        /// Not zero: `then`.
        condition: Expr,
        /// One way.
        then: Vec<Stmt>,
        /// The other; may be empty.
        otherwise: Vec<Stmt>,
    },
    /// Calls a function without a result.
    Call(String, Vec<Expr>),
}

/// A function.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    /// Unique in its module.
    pub name: String,
    /// What it computes, one line for each entry.
    pub about: Vec<String>,
    /// The name of every parameter and local, by [`Var::id`]; unique.
    pub names: Vec<String>,
    /// The parameters.
    pub params: Vec<Var>,
    /// What it does.
    pub body: Vec<Stmt>,
    /// What it returns at its end.
    pub result: Option<Expr>,
}

/// The numbers of a constant.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Of `Word` elements; a 32-bit word has its value in the low half.
    Words(Vec<u64>),
    /// Of integer elements, in their range.
    Ints(Vec<i32>),
    /// Of `F32` elements, never NaN.
    Reals(Vec<f32>),
}

impl Data {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Data::Words(x) => x.len(),
            Data::Ints(x) => x.len(),
            Data::Reals(x) => x.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A constant array.
#[derive(Clone, Debug, PartialEq)]
pub struct Constant {
    /// Unique in its module.
    pub name: String,
    /// What it holds, for the reader.
    pub about: String,
    /// What an element is.
    pub elem: Elem,
    /// The elements.
    pub data: Data,
}

/// Where a value lies when [`Module::run`] has returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// In the caller's input.
    Input,
    /// In the caller's output.
    Output,
    /// At this byte offset of the arena, a multiple of 8.
    Arena(usize),
}

/// A whole Program in the loop language.
#[derive(Clone, Debug, PartialEq)]
pub struct Module {
    /// What `Word` is.
    pub word: WordBits,
    /// Weights, thresholds and the like.
    pub constants: Vec<Constant>,
    /// What is called, callees first.
    pub functions: Vec<Function>,
    /// The whole: `(input: Ptr, output: MutPtr)`, with the arena as [`Expr::Arena`].
    pub run: Function,
    /// Bytes of the arena; aligned to 8 bytes.
    pub arena_bytes: usize,
    /// By value of the Program, the input first: where it can be read after a run, if it is kept.
    pub locations: Vec<Option<Location>>,
}

impl Module {
    /// Bytes of all constants.
    pub fn constant_bytes(&self) -> usize {
        let bytes = |constant: &Constant| constant.data.len() * constant.elem.n_bytes(self.word);
        self.constants.iter().map(bytes).sum()
    }
}

//! Rust's operators on expressions, so that a kernel reads like what it computes.
//!
//! An `i32` literal takes the type of the other operand.

use super::{Binary, Expr, Intrinsic, Ty, Var};

impl From<Var> for Expr {
    fn from(var: Var) -> Self {
        Expr::Var(var)
    }
}

impl From<i32> for Expr {
    fn from(x: i32) -> Self {
        Expr::I32(x)
    }
}

impl From<u32> for Expr {
    fn from(x: u32) -> Self {
        Expr::U32(x)
    }
}

impl From<f32> for Expr {
    fn from(x: f32) -> Self {
        Expr::F32(x)
    }
}

/// A literal `i32` in the type of what it is combined with.
pub(super) fn fitted(literal: Expr, ty: Ty) -> Expr {
    match (&literal, ty) {
        (Expr::I32(x), Ty::U32) => Expr::U32(x.cast_unsigned()),
        (Expr::I32(x), Ty::F32) => Expr::F32(*x as f32),
        (Expr::I32(x), Ty::Word) => Expr::Word(i64::from(*x).cast_unsigned()),
        _ => literal,
    }
}

fn binary(op: Binary, a: Expr, b: Expr) -> Expr {
    let (a, b) = match op {
        Binary::Shl | Binary::Shr => {
            let count = fitted(b, Ty::U32);
            (a, count)
        }
        _ => {
            let b = fitted(b, a.ty());
            (fitted(a, b.ty()), b)
        }
    };
    let is_shift = matches!(op, Binary::Shl | Binary::Shr);
    let fits = if is_shift {
        matches!(a.ty(), Ty::U32 | Ty::Word) && b.ty() == Ty::U32
    } else {
        a.ty() == b.ty()
    };
    assert!(fits, "{op:?} of {:?} and {:?}", a.ty(), b.ty());
    Expr::Binary(op, Box::new(a), Box::new(b))
}

macro_rules! operator {
    ($operator:ident, $method:ident) => {
        impl<R: Into<Expr>> std::ops::$operator<R> for Expr {
            type Output = Expr;
            fn $method(self, right: R) -> Expr {
                binary(operator!(@op $operator), self, right.into())
            }
        }
        impl<R: Into<Expr>> std::ops::$operator<R> for Var {
            type Output = Expr;
            fn $method(self, right: R) -> Expr {
                binary(operator!(@op $operator), self.into(), right.into())
            }
        }
    };
    (@op BitAnd) => { Binary::And };
    (@op BitOr) => { Binary::Or };
    (@op BitXor) => { Binary::Xor };
    (@op $op:ident) => { Binary::$op };
}

operator!(Add, add);
operator!(Sub, sub);
operator!(Mul, mul);
operator!(Div, div);
operator!(BitAnd, bitand);
operator!(BitOr, bitor);
operator!(BitXor, bitxor);
operator!(Shl, shl);
operator!(Shr, shr);

/// What `Expr` and `Var` share beyond Rust's operators.
pub trait Value: Into<Expr> {
    /// 1 where less.
    fn lt(self, other: impl Into<Expr>) -> Expr {
        binary(Binary::Lt, self.into(), other.into())
    }

    /// 1 where greater.
    fn gt(self, other: impl Into<Expr>) -> Expr {
        binary(Binary::Gt, self.into(), other.into())
    }

    /// 1 where at least.
    fn ge(self, other: impl Into<Expr>) -> Expr {
        binary(Binary::Ge, self.into(), other.into())
    }

    /// 1 where equal.
    fn equals(self, other: impl Into<Expr>) -> Expr {
        binary(Binary::Eq, self.into(), other.into())
    }

    /// The element at an index of a pointer.
    fn at(self, index: impl Into<Expr>) -> Expr {
        let index = fitted(index.into(), Ty::U32);
        Expr::Load(Box::new(self.into()), Box::new(index))
    }

    /// A pointer moved by elements.
    fn offset(self, by: impl Into<Expr>) -> Expr {
        let by = fitted(by.into(), Ty::U32);
        Expr::Offset(Box::new(self.into()), Box::new(by))
    }

    /// Converted, unless it is of that type.
    fn to(self, ty: Ty) -> Expr {
        let value = self.into();
        if value.ty() == ty {
            return value;
        }
        Expr::Convert(ty, Box::new(value))
    }

    /// `a` where this is not zero, else `b`.
    fn select(self, a: impl Into<Expr>, b: impl Into<Expr>) -> Expr {
        let (a, b) = (a.into(), b.into());
        let b = fitted(b, a.ty());
        let a = fitted(a, b.ty());
        Expr::Select(Box::new(self.into()), Box::new(a), Box::new(b))
    }
}

impl Value for Expr {}
impl Value for Var {}

/// An intrinsic of its arguments.
pub fn intrinsic(which: Intrinsic, args: impl IntoIterator<Item = Expr>) -> Expr {
    Expr::Intrinsic(which, args.into_iter().collect())
}

//! Writing functions of the loop language.
//!
//! A [`Build`] collects statements; blocks are closures. Names of locals come out unique.

pub use super::operators::{Value, intrinsic};

use super::operators::fitted;
use super::{Elem, Expr, Function, Stmt, Ty, Var};

/// A function under construction.
pub struct Build {
    function: Function,
    /// The statements of the open blocks, the innermost last; never empty.
    blocks: Vec<Vec<Stmt>>,
}

impl Build {
    /// A function without parameters and statements.
    pub fn new(name: &str, about: &[&str]) -> Self {
        Build {
            function: Function {
                name: name.into(),
                about: about.iter().map(ToString::to_string).collect(),
                names: Vec::new(),
                params: Vec::new(),
                body: Vec::new(),
                result: None,
            },
            blocks: vec![Vec::new()],
        }
    }

    fn name(&mut self, name: &str, ty: Ty) -> Var {
        let is_taken = |name: &str| self.function.names.iter().any(|other| other == name);
        let unique = match is_taken(name) {
            false => name.to_string(),
            true => (2..)
                .map(|n| format!("{name}_{n}"))
                .find(|name| !is_taken(name))
                .expect("finitely many names are taken"),
        };
        self.function.names.push(unique);
        let id = self.function.names.len() - 1;
        Var { id, ty }
    }

    /// The next parameter.
    pub fn param(&mut self, name: &str, ty: Ty) -> Var {
        let var = self.name(name, ty);
        self.function.params.push(var);
        var
    }

    /// The next parameter, elements to read.
    pub fn input(&mut self, name: &str, elem: Elem) -> Var {
        self.param(name, Ty::Ptr(elem))
    }

    /// The next parameter, elements to write.
    pub fn output(&mut self, name: &str, elem: Elem) -> Var {
        self.param(name, Ty::MutPtr(elem))
    }

    /// The next parameter, a size or index.
    pub fn size(&mut self, name: &str) -> Var {
        self.param(name, Ty::U32)
    }

    fn push(&mut self, stmt: Stmt) {
        let block = self.blocks.last_mut().expect("the body is always open");
        block.push(stmt);
    }

    /// A line for the reader.
    pub fn comment(&mut self, text: impl Into<String>) {
        self.push(Stmt::Comment(text.into()));
    }

    /// A local with its first value.
    pub fn local(&mut self, name: &str, value: impl Into<Expr>) -> Var {
        let value = value.into();
        let var = self.name(name, value.ty());
        self.push(Stmt::Let(var, value));
        var
    }

    /// Changes a local.
    pub fn set(&mut self, var: Var, value: impl Into<Expr>) {
        let value = fitted(value.into(), var.ty);
        assert!(value.ty() == var.ty, "{:?} set to {:?}", var.ty, value.ty());
        self.push(Stmt::Set(var, value));
    }

    /// Writes an element.
    pub fn store(&mut self, ptr: impl Into<Expr>, index: impl Into<Expr>, value: impl Into<Expr>) {
        let (ptr, index) = (ptr.into(), fitted(index.into(), Ty::U32));
        let Ty::MutPtr(elem) = ptr.ty() else {
            panic!("a store to {:?}", ptr.ty())
        };
        let value = fitted(value.into(), elem.loaded());
        assert!(value.ty() == elem.loaded(), "{elem:?} of {:?}", value.ty());
        self.push(Stmt::Store { ptr, index, value });
    }

    /// Counts from `from` while below `to`.
    pub fn repeat(
        &mut self,
        name: &str,
        from: impl Into<Expr>,
        to: impl Into<Expr>,
        body: impl FnOnce(&mut Build, Var),
    ) {
        let (from, to) = (fitted(from.into(), Ty::U32), fitted(to.into(), Ty::U32));
        let var = self.name(name, Ty::U32);
        let body = self.block(|build| body(build, var));
        self.push(Stmt::For {
            var,
            from,
            to,
            body,
        });
    }

    /// Repeats while the condition holds.
    pub fn repeat_while(&mut self, condition: Expr, body: impl FnOnce(&mut Build)) {
        let body = self.block(body);
        self.push(Stmt::While { condition, body });
    }

    /// Does something where the condition holds.
    pub fn when(&mut self, condition: Expr, then: impl FnOnce(&mut Build)) {
        self.either(condition, then, |_| {});
    }

    /// Does one or the other.
    pub fn either(
        &mut self,
        condition: Expr,
        then: impl FnOnce(&mut Build),
        otherwise: impl FnOnce(&mut Build),
    ) {
        let then = self.block(then);
        let otherwise = self.block(otherwise);
        self.push(Stmt::If {
            condition,
            then,
            otherwise,
        });
    }

    fn block(&mut self, fill: impl FnOnce(&mut Build)) -> Vec<Stmt> {
        self.blocks.push(Vec::new());
        fill(self);
        self.blocks.pop().expect("pushed above")
    }

    /// Calls a function without a result.
    pub fn call(&mut self, function: &str, args: impl IntoIterator<Item = Expr>) {
        self.push(Stmt::Call(function.into(), args.into_iter().collect()));
    }

    /// The function.
    pub fn finish(mut self) -> Function {
        self.function.body = self.blocks.pop().expect("the body is always open");
        self.function
    }

    /// The function, which returns this.
    pub fn finish_with(self, result: impl Into<Expr>) -> Function {
        let mut function = self.finish();
        function.result = Some(result.into());
        function
    }
}

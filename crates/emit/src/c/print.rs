//! Functions and constants of the loop language as C99.
//!
//! Every conversion is spelled out, so that the text means the same where `int` has 16 bits and warnings about
//! conversions have nothing to find.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::loops::{
    Binary, Constant, Data, Elem, Expr, Function, Intrinsic, Module, Stmt, Ty, WordBits,
};

/// Longest line of an array.
const WIDTH: usize = 118;

/// What the text so far needs from the beginning of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Needs {
    /// Helpers, by name.
    pub(super) helpers: BTreeSet<&'static str>,
    /// Whether there is any real number.
    pub(super) has_reals: bool,
    /// Whether a literal is infinite.
    pub(super) has_infinity: bool,
}

/// The C name of an element's type.
pub(super) fn c_elem(elem: Elem) -> &'static str {
    match elem {
        Elem::U8 => "uint8_t",
        Elem::I8 => "int8_t",
        Elem::U16 => "uint16_t",
        Elem::I16 => "int16_t",
        Elem::I32 => "int32_t",
        Elem::F32 => "float",
        Elem::Word => "ob_word",
    }
}

fn c_declaration(ty: Ty, name: &str) -> String {
    match ty {
        Ty::I32 => format!("int32_t {name}"),
        Ty::U32 => format!("uint32_t {name}"),
        Ty::F32 => format!("float {name}"),
        Ty::Word => format!("ob_word {name}"),
        Ty::Ptr(elem) => format!("const {} *{name}", c_elem(elem)),
        Ty::MutPtr(elem) => format!("{} *{name}", c_elem(elem)),
    }
}

/// Prints one module.
pub(super) struct Printer<'a> {
    module: &'a Module,
    pub(super) needs: Needs,
}

impl<'a> Printer<'a> {
    pub(super) fn new(module: &'a Module) -> Self {
        Printer {
            module,
            needs: Needs::default(),
        }
    }

    /// A constant array.
    pub(super) fn constant(&mut self, constant: &Constant) -> String {
        let items: Vec<String> = match &constant.data {
            Data::Words(words) => words.iter().map(|word| format!("{word:#x}")).collect(),
            Data::Ints(ints) => ints.iter().map(|&x| int(x)).collect(),
            Data::Reals(reals) => reals.iter().map(|&x| self.real(x)).collect(),
        };
        let (name, elem, n) = (&constant.name, c_elem(constant.elem), items.len());
        let mut text = format!(
            "/* {} */\nstatic const {elem} {name}[{n}] = {{\n",
            constant.about
        );
        let mut line = String::new();
        for item in items {
            if line.len() + item.len() >= WIDTH {
                writeln!(text, "{line}").expect("writing to a String cannot fail");
                line.clear();
            }
            line.push_str(&item);
            line.push(',');
        }
        text.push_str(&line);
        text.push_str("\n};\n");
        text
    }

    /// A function, static unless `signature` replaces its own.
    pub(super) fn function(&mut self, function: &Function, signature: Option<&str>) -> String {
        let mut text = String::new();
        for line in &function.about {
            let _ = writeln!(text, "/* {line} */");
        }
        let own = || {
            let params: Vec<String> = function
                .params
                .iter()
                .map(|param| c_declaration(param.ty, &function.names[param.id]))
                .collect();
            let result = match function.result.as_ref().map(Expr::ty) {
                None => "void".to_string(),
                Some(ty) => c_declaration(ty, "").trim_end().to_string(),
            };
            format!("static {result} {}({})", function.name, params.join(", "))
        };
        let signature = signature.map_or_else(own, str::to_string);
        if function
            .params
            .iter()
            .any(|param| matches!(param.ty, Ty::F32 | Ty::Ptr(Elem::F32)))
        {
            self.needs.has_reals = true;
        }
        let _ = writeln!(text, "{signature}\n{{");
        self.block(function, &function.body, 1, &mut text);
        if let Some(result) = &function.result {
            let result = self.expr(function, result);
            let _ = writeln!(text, "    return {result};");
        }
        text.push_str("}\n");
        text
    }

    fn block(&mut self, function: &Function, stmts: &[Stmt], depth: usize, text: &mut String) {
        for stmt in stmts {
            self.stmt(function, stmt, depth, text);
        }
    }

    fn stmt(&mut self, function: &Function, stmt: &Stmt, depth: usize, text: &mut String) {
        let pad = "    ".repeat(depth);
        let line = match stmt {
            Stmt::Comment(comment) => format!("/* {comment} */"),
            Stmt::Let(var, value) => {
                let declared = c_declaration(var.ty, &function.names[var.id]);
                format!("{declared} = {};", self.expr(function, value))
            }
            Stmt::Set(var, value) => self.assignment(function, &function.names[var.id], value),
            Stmt::Store { ptr, index, value } => {
                let place = self.element(function, ptr, index);
                let Ty::MutPtr(elem) = ptr.ty() else {
                    unreachable!("a store is built with a pointer to write to")
                };
                let value = self.expr(function, value);
                match elem {
                    Elem::I32 | Elem::F32 | Elem::Word => format!("{place} = {value};"),
                    narrow => format!("{place} = ({})({value});", c_elem(narrow)),
                }
            }
            Stmt::Call(name, args) => format!("{};", self.call(function, name, args)),
            Stmt::For {
                var,
                from,
                to,
                body,
            } => {
                let name = &function.names[var.id];
                let (from, to) = (self.expr(function, from), self.operand(function, to));
                let _ = writeln!(
                    text,
                    "{pad}for (uint32_t {name} = {from}; {name} < {to}; {name}++) {{"
                );
                self.block(function, body, depth + 1, text);
                "}".into()
            }
            Stmt::While { condition, body } => {
                let condition = self.expr(function, condition);
                let _ = writeln!(text, "{pad}while ({condition}) {{");
                self.block(function, body, depth + 1, text);
                "}".into()
            }
            Stmt::If {
                condition,
                then,
                otherwise,
            } => {
                let condition = self.expr(function, condition);
                let _ = writeln!(text, "{pad}if ({condition}) {{");
                self.block(function, then, depth + 1, text);
                if !otherwise.is_empty() {
                    let _ = writeln!(text, "{pad}}} else {{");
                    self.block(function, otherwise, depth + 1, text);
                }
                "}".into()
            }
        };
        let _ = writeln!(text, "{pad}{line}");
    }

    fn assignment(&mut self, function: &Function, name: &str, value: &Expr) -> String {
        if let Expr::Binary(op @ (Binary::Add | Binary::Or | Binary::Sub), a, b) = value
            && let Expr::Var(var) = a.as_ref()
            && function.names[var.id] == name
        {
            return format!("{name} {}= {};", symbol(*op), self.expr(function, b));
        }
        format!("{name} = {};", self.expr(function, value))
    }

    fn call(&mut self, function: &Function, name: &str, args: &[Expr]) -> String {
        let args: Vec<String> = args.iter().map(|arg| self.expr(function, arg)).collect();
        format!("{name}({})", args.join(", "))
    }

    fn element(&mut self, function: &Function, ptr: &Expr, index: &Expr) -> String {
        let (ptr, index) = (self.operand(function, ptr), self.expr(function, index));
        format!("{ptr}[{index}]")
    }

    /// An expression that can be an operand of anything.
    fn operand(&mut self, function: &Function, expr: &Expr) -> String {
        let text = self.expr(function, expr);
        match expr {
            Expr::Binary(..) | Expr::Offset(..) | Expr::Select(..) | Expr::Convert(..) => {
                format!("({text})")
            }
            Expr::Load(..) if text.starts_with('(') => format!("({text})"),
            _ => text,
        }
    }

    /// An operand of `op`, without parentheses where everybody knows the order.
    fn operand_of(
        &mut self,
        function: &Function,
        op: Binary,
        is_left: bool,
        expr: &Expr,
    ) -> String {
        if let Expr::Binary(inner, ..) = expr {
            let is_sum = matches!(op, Binary::Add | Binary::Sub);
            let is_chain = is_left && op == Binary::Add && *inner == Binary::Add;
            let is_product = is_sum && *inner == Binary::Mul;
            let is_arithmetic =
                matches!(inner, Binary::Add | Binary::Sub | Binary::Mul | Binary::Div);
            if is_chain || is_product || (op.is_comparison() && is_arithmetic) {
                return self.expr(function, expr);
            }
        }
        if matches!(expr, Expr::Convert(..) | Expr::Load(..)) {
            return self.expr(function, expr);
        }
        self.operand(function, expr)
    }

    fn expr(&mut self, function: &Function, expr: &Expr) -> String {
        match expr {
            Expr::I32(x) => int(*x),
            Expr::U32(x) => format!("{x}u"),
            Expr::F32(x) => self.real(*x),
            Expr::Word(u64::MAX) => "~(ob_word)0".into(),
            Expr::Word(x) => match self.module.word {
                WordBits::W32 => format!("(ob_word){}u", x & 0xffff_ffff),
                WordBits::W64 => format!("(ob_word){x}u"),
            },
            Expr::Var(var) => function.names[var.id].clone(),
            Expr::Constant(idx, _) => self.module.constants[*idx].name.clone(),
            Expr::Arena(offset, _) => {
                format!("(void *)(ob_arena + {offset})")
            }
            Expr::Load(ptr, index) => {
                let place = self.element(function, ptr, index);
                match ptr.ty() {
                    Ty::Ptr(Elem::I32 | Elem::F32 | Elem::Word)
                    | Ty::MutPtr(Elem::I32 | Elem::F32 | Elem::Word) => place,
                    _ => format!("(int32_t){place}"),
                }
            }
            Expr::Offset(ptr, by) => {
                let (ptr, by) = (self.operand(function, ptr), self.operand(function, by));
                format!("{ptr} + {by}")
            }
            Expr::Binary(op, a, b) => {
                let left = self.operand_of(function, *op, true, a);
                let right = self.operand_of(function, *op, false, b);
                format!("{left} {} {right}", symbol(*op))
            }
            Expr::Select(condition, a, b) => {
                let condition = self.operand(function, condition);
                let (a, b) = (self.operand(function, a), self.operand(function, b));
                format!("{condition} ? {a} : {b}")
            }
            Expr::Convert(ty, x) => {
                let name = c_declaration(*ty, "");
                format!("({}){}", name.trim_end(), self.operand(function, x))
            }
            Expr::Intrinsic(which, args) => {
                let name = match which {
                    Intrinsic::Differ => "ob_differ",
                    Intrinsic::DifferMasked => "ob_differ_masked",
                    Intrinsic::Sqrt => "ob_sqrt",
                    Intrinsic::FromBits => "ob_from_bits",
                };
                self.needs.helpers.insert(name);
                self.call(function, name, args)
            }
            Expr::Call(name, args, _) => self.call(function, name, args),
        }
    }

    fn real(&mut self, x: f32) -> String {
        self.needs.has_reals = true;
        if x.is_infinite() {
            self.needs.has_infinity = true;
            return if x > 0.0 {
                "OB_INFINITY"
            } else {
                "(-OB_INFINITY)"
            }
            .into();
        }
        hexadecimal(x)
    }
}

fn int(x: i32) -> String {
    match x {
        i32::MIN => "(-2147483647 - 1)".into(),
        _ if x < 0 => format!("({x})"),
        _ => x.to_string(),
    }
}

/// A finite real as a hexadecimal literal, which says every bit.
fn hexadecimal(x: f32) -> String {
    let bits = x.to_bits();
    let sign = if x.is_sign_negative() { "-" } else { "" };
    let (field, fraction) = ((bits >> 23) & 0xff, (bits & 0x7f_ffff) << 1);
    let (lead, exponent) = match (field, fraction) {
        (0, 0) => (0, 0),
        (0, _) => (0, -126),
        _ => (1, field.cast_signed() - 127),
    };
    let digits = format!("{fraction:06x}");
    let digits = digits.trim_end_matches('0');
    let point = if digits.is_empty() { "" } else { "." };
    let text = format!("{sign}0x{lead}{point}{digits}p{exponent}f");
    if sign.is_empty() {
        text
    } else {
        format!("({text})")
    }
}

fn symbol(op: Binary) -> &'static str {
    match op {
        Binary::Add => "+",
        Binary::Sub => "-",
        Binary::Mul => "*",
        Binary::Div => "/",
        Binary::And => "&",
        Binary::Or => "|",
        Binary::Xor => "^",
        Binary::Shl => "<<",
        Binary::Shr => ">>",
        Binary::Lt => "<",
        Binary::Gt => ">",
        Binary::Ge => ">=",
        Binary::Eq => "==",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_literals_say_every_bit() {
        assert_eq!(hexadecimal(1.0), "0x1p0f");
        assert_eq!(hexadecimal(-0.0), "(-0x0p0f)");
        assert_eq!(hexadecimal(0.1), "0x1.99999ap-4f");
        assert_eq!(hexadecimal(f32::MAX), "0x1.fffffep127f");
        assert_eq!(hexadecimal(f32::from_bits(1)), "0x0.000002p-126f");
    }
}

//! C99: `NAME.h` and `NAME.c`, for firmware and for everything that links C.
//!
//! No allocation, no library beyond `stdint.h` (and `string.h`, `float.h` where there are reals), nothing global
//! but constants; the caller owns input, output and arena.

mod helpers;
mod print;

use std::fmt::Write;

use onebit_model::ProgramTypes;
use onebit_model::program::{Kind, Program, Type};

use crate::loops::{Elem, Module, WordBits};
use crate::lower;
use crate::{EmitError, Emitted, Emitter, File};
use print::{Printer, c_elem};

/// What is chosen for a whole file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct COptions {
    /// The files' name and the beginning of every public name; made from the Program's name where it is empty.
    pub name: String,
    /// The width of packed bits' words.
    pub word: WordBits,
}

/// The emitter `c`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct C {
    /// What is chosen.
    pub options: COptions,
}

impl C {
    /// The name of the files, an identifier.
    pub fn file_name(&self, program: &Program) -> String {
        let wanted = match self.options.name.as_str() {
            "" => program.name.as_str(),
            name => name,
        };
        let plain: String = wanted
            .chars()
            .map(|c| match c.is_ascii_alphanumeric() {
                true => c.to_ascii_lowercase(),
                false => '_',
            })
            .collect();
        // `ob_` begins the names inside the file.
        let is_own = |name: &str| name == "ob" || name.starts_with("ob_");
        match plain.chars().next() {
            Some(first) if first.is_ascii_alphabetic() && !is_own(&plain) => plain,
            _ => format!("net_{plain}"),
        }
    }
}

impl Emitter for C {
    fn name(&self) -> &'static str {
        "c"
    }

    /// C can express every verified Program.
    fn check(&self, _program: &Program, _types: &ProgramTypes) -> Result<(), EmitError> {
        Ok(())
    }

    fn emit(&self, program: &Program, types: &ProgramTypes) -> Result<Emitted, EmitError> {
        let module = lower::lower(program, types, self.options.word);
        let name = self.file_name(program);
        let interface = Interface {
            program,
            input: &program.input,
            output: types.of(program.output),
            module: &module,
            name: &name,
        };
        let files = [("h", interface.header()), ("c", interface.source())];
        let files = files.map(|(extension, text)| File {
            name: format!("{name}.{extension}"),
            bytes: text.into_bytes(),
        });
        let figures = [
            (
                "constants (flash)",
                format!("{} bytes", module.constant_bytes()),
            ),
            ("arena (RAM)", format!("{} bytes", module.arena_bytes)),
            ("layers", program.nodes.len().to_string()),
            ("kernels", module.functions.len().to_string()),
        ];
        Ok(Emitted {
            files: files.into(),
            report: figures.map(|(what, figure)| (what.into(), figure)).into(),
        })
    }
}

/// What the two files have in common.
struct Interface<'a> {
    program: &'a Program,
    input: &'a Type,
    output: &'a Type,
    module: &'a Module,
    name: &'a str,
}

impl Interface<'_> {
    /// The caller's type of an element; words have a public name.
    fn public_elem(&self, kind: Kind) -> String {
        match lower::elem_of(kind) {
            Elem::Word => format!("{}_word", self.name),
            elem => c_elem(elem).into(),
        }
    }

    fn length(&self, ty: &Type) -> usize {
        match ty.kind {
            Kind::Bits => ty.n_elements().div_ceil(self.module.word.bits() as usize),
            _ => ty.n_elements(),
        }
    }

    fn signature(&self) -> String {
        let (input, output) = (
            self.public_elem(self.input.kind),
            self.public_elem(self.output.kind),
        );
        format!(
            "void {}_run(const {input} *input, {output} *output, void *arena)",
            self.name
        )
    }

    fn header(&self) -> String {
        let (name, upper) = (self.name, self.name.to_uppercase());
        let bits = self.module.word.bits();
        let (input, output) = (self.input, self.output);
        let title = comment(&self.program.name);
        let mut text = format!("/* {title}: a bitwise neural network, one image at a time.\n *\n");
        let _ = writeln!(
            text,
            " * input:  {input}: {}",
            layout(input.kind, bits, "are ignored")
        );
        let _ = writeln!(
            text,
            " * output: {output}: {}",
            layout(output.kind, bits, "are 0")
        );
        let _ = write!(
            text,
            " *\n * Elements are in row-major order, channels last. Input, output and arena do not overlap; the arena\n \
             * is memory of {upper}_ARENA_BYTES bytes aligned to 8 and holds nothing between two calls, so that calls\n \
             * with arenas of their own may run at the same time. Generated; do not edit. */\n"
        );
        let _ = write!(
            text,
            "#ifndef {upper}_H\n#define {upper}_H\n\n#include <stdint.h>\n\n#ifdef __cplusplus\nextern \"C\" {{\n#endif\n\n"
        );
        let _ = writeln!(
            text,
            "/* Words of packed bits, element 0 in the least significant bit. */"
        );
        let _ = writeln!(text, "typedef uint{bits}_t {name}_word;");
        let _ = writeln!(text, "#define {upper}_WORD_BITS {bits}\n");
        let sizes = [("INPUT", input), ("OUTPUT", output)];
        for (what, ty) in sizes {
            let (n, length) = (ty.n_elements(), self.length(ty));
            let _ = writeln!(
                text,
                "/* Elements of the {}, and the array's length. */",
                what.to_lowercase()
            );
            let _ = writeln!(text, "#define {upper}_{what}_COUNT {n}");
            let _ = writeln!(text, "#define {upper}_{what}_LENGTH {length}");
        }
        let _ = writeln!(
            text,
            "\n#define {upper}_ARENA_BYTES {}\n",
            self.module.arena_bytes.max(8)
        );
        let _ = write!(
            text,
            "{};\n\n#ifdef __cplusplus\n}}\n#endif\n\n#endif\n",
            self.signature()
        );
        text
    }

    fn source(&self) -> String {
        let name = self.name;
        let mut printer = Printer::new(self.module);
        let mut text = String::new();
        for constant in &self.module.constants {
            text.push('\n');
            text.push_str(&printer.constant(constant));
        }
        for function in &self.module.functions {
            text.push('\n');
            text.push_str(&printer.function(function, None));
        }
        let run = printer.function(&self.module.run, Some(&self.signature()));
        let arena = match self.module.arena_bytes {
            0 => "    (void)arena;\n",
            _ => "    uint8_t *ob_arena = arena;\n",
        };
        let run = run.replacen("\n{\n", &format!("\n{{\n{arena}"), 1);
        let mut head = format!(
            "/* {}. See {name}.h; generated, do not edit. */\n#include \"{name}.h\"\n\ntypedef {name}_word ob_word;\n",
            comment(&self.program.name)
        );
        head.push_str(&helpers::helpers(&printer.needs, self.module.word));
        format!("{head}{text}\n{run}")
    }
}

/// Free text that cannot end a comment.
fn comment(text: &str) -> String {
    let safe = |c: char| {
        if c.is_ascii_graphic() || c == ' ' {
            c
        } else {
            '?'
        }
    };
    let text: String = text.chars().map(safe).collect();
    text.replace("*/", "* /")
        .replace("/*", "/ *")
        .replace("??", "? ?")
}

fn layout(kind: Kind, bits: u32, spare: &str) -> String {
    match kind {
        Kind::Bits => format!(
            "packed, element i is bit i % {bits} of word i / {bits}; 1 is +1, 0 is -1, spare bits {spare}"
        ),
        Kind::Levels(k) => format!("a byte per element, 0 to {}", (1u32 << k) - 1),
        Kind::Int => "an int32_t per element".into(),
        Kind::Real => "a binary32 number per element".into(),
    }
}

//! A module of the loop language as the bytes of a WebAssembly module, and what lies where in its memory.
//!
//! The memory holds constants, then input, output and arena, each from a multiple of 16 on.

use std::collections::BTreeMap;

use onebit_model::ProgramTypes;
use onebit_model::program::{Program, Type};
use wasm_encoder::{
    CodeSection, ConstExpr, CustomSection, DataSection, ExportKind, ExportSection,
    Function as Encoded, FunctionSection, GlobalSection, GlobalType, Instruction as I,
    MemorySection, MemoryType, Module as Encoder, TypeSection, ValType,
};

use super::Counting;
use super::body::{Context, encode, val_type};
use crate::EmitError;
use crate::loops::{Constant, Data, Elem, Expr, Function, Module};
use crate::lower::elem_of;

/// Bytes of a page of memory.
pub(super) const PAGE: u64 = 65_536;

/// Bytes that addresses of 32 bits reach.
const MOST: u64 = 1 << 32;

/// Addresses, in bytes; everything lies below [`MOST`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Of each constant.
    pub(super) constants: Vec<u32>,
    pub(super) input: u32,
    pub(super) output: u32,
    pub(super) arena: u32,
    /// One past the last byte.
    end: u64,
}

impl Layout {
    /// Pages of memory, at least one.
    pub(super) fn n_pages(&self) -> u64 {
        self.end.div_ceil(PAGE)
    }
}

/// Where the next bytes lie.
struct Places {
    /// One past the last byte so far.
    end: u64,
}

impl Places {
    /// The address of so many bytes, from a multiple of `align` on; `None` where they end beyond 4 GiB.
    fn take(&mut self, n_bytes: usize, align: u64) -> Option<u32> {
        let start = self.end.next_multiple_of(align);
        self.end = start.checked_add(u64::try_from(n_bytes).ok()?)?;
        (self.end <= MOST).then(|| u32::try_from(start).ok())?
    }
}

/// Bytes of a value in memory.
fn n_bytes(ty: &Type, module: &Module) -> usize {
    let bits = module.word.bits() as usize;
    match elem_of(ty.kind) {
        Elem::Word => ty.n_elements().div_ceil(bits) * (bits / 8),
        elem => ty.n_elements() * elem.n_bytes(module.word),
    }
}

/// Lays a module out.
pub(super) fn layout(
    program: &Program,
    types: &ProgramTypes,
    module: &Module,
) -> Result<Layout, EmitError> {
    let too_large = |layer: &str| {
        let node = program.nodes.iter().find(|node| node.name == layer);
        EmitError::Unsupported {
            target: "wasm",
            layer: layer.into(),
            op: node.map_or("input", |node| node.op.name()),
            reason: "constants and values up to it need more than the 4 GiB that a WebAssembly memory has; emit C, or \
                     use a smaller network"
                .into(),
        }
    };
    // Null is no address of anything.
    let mut places = Places { end: 16 };
    let mut constants = Vec::new();
    for constant in &module.constants {
        let elem_bytes = constant.elem.n_bytes(module.word);
        let align = match constant.elem {
            Elem::Word => 16,
            _ => elem_bytes as u64,
        };
        let address = places.take(constant.data.len() * elem_bytes, align);
        let layer = constant.about.split(": ").next().unwrap_or_default();
        constants.push(address.ok_or_else(|| too_large(layer))?);
    }
    let layer_of = |value: usize| match value {
        0 => "@input",
        _ => program.nodes[value - 1].name.as_str(),
    };
    let output = types.of(program.output);
    let input = places.take(n_bytes(&program.input, module), 16);
    let input = input.ok_or_else(|| too_large(layer_of(0)))?;
    let output = places.take(n_bytes(output, module), 16);
    let output = output.ok_or_else(|| too_large(layer_of(program.output.0)))?;
    let arena = places.take(module.arena_bytes, 16);
    let arena = arena.ok_or_else(|| too_large(layer_of(program.output.0)))?;
    Ok(Layout {
        constants,
        input,
        output,
        arena,
        end: places.end,
    })
}

/// The bytes of the constants from `layout`'s first on.
fn constant_bytes(module: &Module, layout: &Layout) -> (u32, Vec<u8>) {
    let first = layout.constants.first().copied().unwrap_or(0);
    let mut bytes = Vec::new();
    for (constant, &address) in module.constants.iter().zip(&layout.constants) {
        bytes.resize((address - first) as usize, 0);
        push_elements(&mut bytes, constant);
    }
    (first, bytes)
}

fn push_elements(bytes: &mut Vec<u8>, constant: &Constant) {
    match &constant.data {
        Data::Words(words) => bytes.extend(words.iter().flat_map(|x| x.to_le_bytes())),
        Data::Reals(reals) => bytes.extend(reals.iter().flat_map(|x| x.to_le_bytes())),
        Data::Ints(ints) => {
            let n = constant.elem.n_bytes(crate::loops::WordBits::W64);
            bytes.extend(
                ints.iter()
                    .flat_map(|x| x.to_le_bytes().into_iter().take(n)),
            );
        }
    }
}

/// The whole module.
pub(super) fn assemble(
    module: &Module,
    layout: &Layout,
    counting: Counting,
    section: &str,
) -> Vec<u8> {
    let functions: Vec<&Function> = module.functions.iter().chain([&module.run]).collect();
    let indices: BTreeMap<String, u32> = (0u32..)
        .zip(&functions)
        .map(|(idx, function)| (function.name.clone(), idx))
        .collect();
    let context = Context {
        constants: &layout.constants,
        arena: layout.arena,
        functions: &indices,
        counting,
    };
    let mut types = TypeSection::new();
    let mut declared = FunctionSection::new();
    let mut code = CodeSection::new();
    for (idx, function) in (0u32..).zip(&functions) {
        let params = function.params.iter().map(|param| val_type(param.ty));
        let results = function
            .result
            .iter()
            .map(|result| val_type(Expr::ty(result)));
        types.ty().function(params, results);
        declared.function(idx);
        code.function(&encode(function, &context));
    }
    let n_functions = u32::try_from(functions.len()).expect("there are few kernels");
    types.ty().function([], []);
    declared.function(n_functions);
    code.function(&entry(layout, n_functions - 1));

    let mut memories = MemorySection::new();
    memories.memory(MemoryType {
        minimum: layout.n_pages(),
        maximum: Some(layout.n_pages()),
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    let mut globals = GlobalSection::new();
    let mut exports = ExportSection::new();
    exports.export("memory", ExportKind::Memory, 0);
    exports.export("run", ExportKind::Func, n_functions);
    let addresses = [("input", layout.input), ("output", layout.output)];
    for (idx, (name, address)) in (0u32..).zip(addresses) {
        let ty = GlobalType {
            val_type: ValType::I32,
            mutable: false,
            shared: false,
        };
        globals.global(ty, &ConstExpr::i32_const(address.cast_signed()));
        exports.export(name, ExportKind::Global, idx);
    }
    let (first, bytes) = constant_bytes(module, layout);
    let mut data = DataSection::new();
    data.active(0, &ConstExpr::i32_const(first.cast_signed()), bytes);
    let about = CustomSection {
        name: "onebit".into(),
        data: section.as_bytes().into(),
    };
    let mut encoder = Encoder::new();
    encoder
        .section(&types)
        .section(&declared)
        .section(&memories)
        .section(&globals)
        .section(&exports)
        .section(&code)
        .section(&data)
        .section(&about);
    encoder.finish()
}

/// `run` without parameters.
fn entry(layout: &Layout, run: u32) -> Encoded {
    let mut function = Encoded::new([]);
    function
        .instruction(&I::I32Const(layout.input.cast_signed()))
        .instruction(&I::I32Const(layout.output.cast_signed()))
        .instruction(&I::Call(run))
        .instruction(&I::End);
    function
}

#[cfg(test)]
mod tests {
    use onebit_model::builder::ProgramBuilder;
    use onebit_model::program::Kind;
    use onebit_model::verify;

    use super::*;
    use crate::lower::lower;

    #[test]
    fn what_does_not_fit_into_four_gibibytes_is_refused() {
        let mut builder = ProgramBuilder::new("large", Kind::Int, &[8]);
        let x = builder.input();
        let relu = builder.relu("relu", x);
        let program = builder.finish(relu).expect("the Program is well formed");
        let types = verify(&program).expect("the Program is well formed");
        let mut module = lower(&program, &types, crate::loops::WordBits::W64);
        let laid_out = layout(&program, &types, &module).expect("64 bytes and the first 16 fit");
        assert_eq!(
            (laid_out.input, laid_out.output, laid_out.end),
            (16, 48, 80)
        );
        let free = usize::try_from(MOST - 80).expect("a usize of 64 bits");
        module.arena_bytes = free;
        let laid_out = layout(&program, &types, &module).expect("it fits exactly");
        assert_eq!(laid_out.n_pages() * PAGE, MOST);
        for arena_bytes in [free + 1, usize::MAX] {
            module.arena_bytes = arena_bytes;
            let refused = layout(&program, &types, &module);
            let Err(EmitError::Unsupported { layer, op, .. }) = refused else {
                panic!("{refused:?}")
            };
            assert_eq!((layer.as_str(), op), ("relu", "relu"));
        }
    }
}

//! The Net file: a trained network as bytes, in the container of `.bnn`.
//!
//! A checked Net comes in and bytes go out, or the reverse. Weights are packed bits, statistics are
//! binary32. Layers are written as the nodes of a Program are. Version 2 is written; version 1, chains of
//! dense layers, is still read. FORMAT.md has both layouts.

mod encoder;
mod version1;

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::bnn::{pack_node, read_node};
use crate::check_net::check_net;
use crate::container::{self, BnnError, Contents};
use crate::net::{BatchNorm, Layer, LayerOp, Net};
use crate::outline::{OutlineNode, OutlineOp};
use crate::packed::{PackedTensor, pack_reals, unpack_reals};
use crate::program::{Node, ValueId};
use crate::scan::{Scanner, TextErrorKind, write_preamble};
use crate::text::{self, Attributes};

/// The first line of a Net's text, and of what earlier versions wrote.
const DOCUMENT: &str = "onebit net 2";
const DOCUMENT_1: &str = "onebit net 1";

/// The name of value 0 in the text; no layer can have it.
const ENCODED: &str = "@encoded";

/// The bytes of a Net's file.
///
/// # Panics
///
/// If the Net is malformed; what `check_net` accepts can always be written.
pub fn net_to_bytes(net: &Net) -> Vec<u8> {
    if let Err(errors) = check_net(net) {
        panic!("a malformed Net cannot be written: {errors}");
    }
    let mut tensors: Vec<PackedTensor> = net.layers.iter().flat_map(pack_layer).collect();
    tensors.extend(encoder::pack(net));
    container::pack(&print(net), &tensors)
}

/// The Net in a file's bytes.
pub fn net_from_bytes(bytes: &[u8]) -> Result<Net, BnnError> {
    let mut contents = container::unpack(bytes)?;
    let text = std::mem::take(&mut contents.text);
    let mut scanner = Scanner::new(&text);
    let is_first = scanner.document_of(DOCUMENT, DOCUMENT_1)?;
    let preamble = scanner.preamble()?;
    let n_inputs = preamble
        .input
        .shape
        .iter()
        .try_fold(1usize, |n, &axis| n.checked_mul(axis));
    let n_inputs = n_inputs.unwrap_or(usize::MAX);
    let encoder = encoder::parse(&mut scanner, &mut contents, n_inputs)?;
    let layers = match is_first {
        true => version1::parse_layers(&mut scanner, &mut contents)?,
        false => parse_layers(&mut scanner, &mut contents)?,
    };
    scanner.end_of_line()?;
    scanner.end_of_text()?;
    contents.finish()?;
    let (name, notes, input) = (preamble.name, preamble.notes, preamble.input);
    let net = Net {
        name,
        input,
        encoder,
        layers,
        notes,
    };
    check_net(&net).map_err(BnnError::InvalidNet)?;
    Ok(net)
}

fn print(net: &Net) -> String {
    let mut text = String::new();
    print_into(&mut text, net).expect("writing to a String cannot fail");
    text
}

fn print_into(text: &mut String, net: &Net) -> std::fmt::Result {
    writeln!(text, "{DOCUMENT}")?;
    write_preamble(text, &net.name, &net.notes, &net.input)?;
    encoder::print(text, &net.encoder)?;
    for layer in &net.layers {
        let outline = layer.op.program_op().map(|op| OutlineOp::of(&op));
        let op_name = match (&outline, &layer.op) {
            (Some(outline), _) => text::op_name(outline),
            (None, LayerOp::Norm(_)) => "norm",
            (None, LayerOp::Sign) => "sign",
            (None, LayerOp::Heaviside) => "heaviside",
            (None, _) => "quantize",
        };
        write!(text, "{} = {op_name}", layer.name)?;
        for id in &layer.inputs {
            let operand = id.0.checked_sub(1).map(|idx| net.layers[idx].name.as_str());
            write!(text, " {}", operand.unwrap_or(ENCODED))?;
        }
        match (&outline, &layer.op) {
            (Some(outline), _) => write!(text, "{}", Attributes(outline))?,
            (None, LayerOp::Norm(norm)) => {
                write!(text, " real[{}] eps {:?}", norm.gamma.len(), norm.eps)?;
            }
            (None, LayerOp::Quantize { bits }) => write!(text, " levels({bits})")?,
            (None, _) => {}
        }
        writeln!(text)?;
    }
    writeln!(text, "end")
}

/// The tensors of one layer: those of the Program op of its name, or of a norm.
fn pack_layer(layer: &Layer) -> Vec<PackedTensor> {
    match (layer.op.program_op(), &layer.op) {
        (Some(op), _) => pack_node(&Node {
            name: layer.name.clone(),
            op,
            inputs: Vec::new(),
        }),
        (None, LayerOp::Norm(norm)) => {
            let lists = [&norm.gamma, &norm.beta, &norm.mean, &norm.var];
            let named = ["gamma", "beta", "mean", "var"].iter().zip(lists);
            named
                .map(|(part, list)| pack_reals(format!("{}.{part}", layer.name), list))
                .collect()
        }
        (None, _) => Vec::new(),
    }
}

/// Parses the layers and the word `end`.
fn parse_layers(
    scanner: &mut Scanner<'_>,
    contents: &mut Contents<'_>,
) -> Result<Vec<Layer>, BnnError> {
    let mut values = BTreeMap::from([(ENCODED, ValueId(0))]);
    let mut layers = Vec::new();
    loop {
        scanner.next_line("a layer, or the end")?;
        let name = scanner.word("the name of a layer, or end")?;
        if !scanner.take("=") {
            if name != "end" {
                return Err(scanner.expected("=").into());
            }
            return Ok(layers);
        }
        // Two layers of one name would read, and hold, the same tensors twice.
        if values.contains_key(name) {
            return Err(scanner.error(TextErrorKind::Redefined(name.into())).into());
        }
        layers.push(parse_layer(name, scanner, contents, &values)?);
        scanner.end_of_line()?;
        values.insert(name, ValueId(layers.len()));
    }
}

/// Parses what follows `NAME =`.
fn parse_layer(
    name: &str,
    scanner: &mut Scanner<'_>,
    contents: &mut Contents<'_>,
    values: &BTreeMap<&str, ValueId>,
) -> Result<Layer, BnnError> {
    let own = ["norm", "sign", "heaviside", "quantize"];
    let Some(own) = own.into_iter().find(|own| scanner.take_word(own)) else {
        let node = text::node(name, scanner, values)?;
        return layer_of(node, scanner, contents);
    };
    let inputs = vec![text::operand(scanner, values)?];
    let op = match own {
        "norm" => {
            let n_channels = text::real_length(scanner)?;
            scanner.demand("eps")?;
            let eps = scanner.real()?;
            LayerOp::Norm(read_norm(name, n_channels, eps, contents)?)
        }
        "quantize" => {
            scanner.demand("levels")?;
            LayerOp::Quantize {
                bits: scanner.level_bits()?,
            }
        }
        "sign" => LayerOp::Sign,
        _ => LayerOp::Heaviside,
    };
    Ok(Layer {
        name: name.into(),
        op,
        inputs,
    })
}

/// The layer that a line of a Program's text describes.
fn layer_of(
    outline: OutlineNode,
    scanner: &Scanner<'_>,
    contents: &mut Contents<'_>,
) -> Result<Layer, BnnError> {
    let op_name = text::op_name(&outline.op);
    let Node { name, op, inputs } = read_node(outline, contents)?;
    let unknown = || scanner.error(TextErrorKind::UnknownOp(op_name.into()));
    let op = LayerOp::of_program_op(op).ok_or_else(unknown)?;
    Ok(Layer { name, op, inputs })
}

/// Reads the statistics of a norm.
fn read_norm(
    name: &str,
    n_channels: usize,
    eps: f32,
    contents: &mut Contents<'_>,
) -> Result<BatchNorm, BnnError> {
    let mut list =
        |part: &str| unpack_reals(&contents.tensor(&format!("{name}.{part}"))?, n_channels);
    Ok(BatchNorm {
        gamma: list("gamma")?,
        beta: list("beta")?,
        mean: list("mean")?,
        var: list("var")?,
        eps,
    })
}

//! The Net file: a trained network as bytes, in the container of `.bnn`.
//!
//! A checked Net comes in and bytes go out, or the reverse. Weights are packed bits, statistics are
//! binary32. FORMAT.md has the layout.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::bnn::{pack_weights, read_weights};
use crate::check_net::check_net;
use crate::container::{self, BnnError, Contents};
use crate::net::{Activation, BatchNorm, Encoder, Layer, Net};
use crate::outline::WeightsOutline;
use crate::packed::{PackedTensor, pack_ints, pack_reals, unpack_ints, unpack_reals};
use crate::scan::{Scanner, TextError, TextErrorKind, write_preamble};
use crate::text::parse_weights;
use crate::weights::Weights;

/// The first line of a Net's text.
const DOCUMENT: &str = "onebit net 1";

/// The tensor of a real thermometer's cuts.
const CUTS: &str = "encoder.cuts";

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
    if let Encoder::RealThermometer { cuts } = &net.encoder {
        let mut tensor = pack_reals(CUTS.into(), &cuts.concat());
        tensor.shape = vec![cuts.len(), net.input.n_elements()];
        tensors.push(tensor);
    }
    container::pack(&print(net), &tensors)
}

/// The Net in a file's bytes.
pub fn net_from_bytes(bytes: &[u8]) -> Result<Net, BnnError> {
    let mut contents = container::unpack(bytes)?;
    let text = std::mem::take(&mut contents.text);
    let mut scanner = Scanner::new(&text);
    scanner.document(DOCUMENT)?;
    let preamble = scanner.preamble()?;
    let n_inputs = preamble
        .input
        .shape
        .iter()
        .try_fold(1usize, |n, &axis| n.checked_mul(axis));
    let encoder = parse_encoder(&mut scanner, &mut contents, n_inputs.unwrap_or(usize::MAX))?;
    let mut layers = Vec::new();
    let mut names = BTreeSet::new();
    loop {
        scanner.next_line("a layer, or the end")?;
        if scanner.take_word("end") {
            break;
        }
        let layer = parse_layer(&mut scanner, &mut contents)?;
        // Two layers of one name would read, and hold, the same tensors twice.
        if !names.insert(layer.name.clone()) {
            return Err(scanner.error(TextErrorKind::Redefined(layer.name)).into());
        }
        layers.push(layer);
    }
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
    match &net.encoder {
        Encoder::Sign { at } => writeln!(text, "encoder sign({at})")?,
        Encoder::ZeroOne { at } => writeln!(text, "encoder zero-one({at})")?,
        Encoder::FixedPoint { bits } => writeln!(text, "encoder fixed-point({bits})")?,
        Encoder::Thermometer { cuts } => {
            let cuts: Vec<String> = cuts.iter().map(u8::to_string).collect();
            writeln!(text, "encoder thermometer({})", cuts.join(", "))?;
        }
        Encoder::RealThermometer { cuts } => {
            writeln!(text, "encoder real-thermometer({})", cuts.len())?;
        }
        Encoder::Levels => writeln!(text, "encoder levels")?,
    }
    for layer in &net.layers {
        write!(
            text,
            "layer {} dense {}",
            layer.name,
            WeightsOutline::of(&layer.weights)
        )?;
        if layer.bias.is_some() {
            write!(text, " bias")?;
        }
        if let Some(norm) = &layer.norm {
            write!(text, " norm({:?})", norm.eps)?;
        }
        let activation = match layer.activation {
            Activation::Sign => "sign",
            Activation::Scores => "scores",
        };
        writeln!(text, " {activation}")?;
    }
    writeln!(text, "end")
}

fn pack_layer(layer: &Layer) -> Vec<PackedTensor> {
    let name = |part: &str| format!("{}.{part}", layer.name);
    let mut tensors = pack_weights(&layer.name, &layer.weights);
    if let Some(bias) = &layer.bias {
        tensors.push(pack_ints(name("bias"), bias));
    }
    if let Some(norm) = &layer.norm {
        tensors.push(pack_reals(name("gamma"), &norm.gamma));
        tensors.push(pack_reals(name("beta"), &norm.beta));
        tensors.push(pack_reals(name("mean"), &norm.mean));
        tensors.push(pack_reals(name("var"), &norm.var));
    }
    tensors
}

fn parse_encoder(
    scanner: &mut Scanner<'_>,
    contents: &mut Contents<'_>,
    n_inputs: usize,
) -> Result<Encoder, BnnError> {
    scanner.next_line("the encoder")?;
    scanner.demand("encoder ")?;
    let name = scanner.word("an encoder")?;
    let encoder = match name {
        "sign" => Encoder::Sign {
            at: argument(scanner)?,
        },
        "zero-one" => Encoder::ZeroOne {
            at: argument(scanner)?,
        },
        "fixed-point" => Encoder::FixedPoint {
            bits: argument(scanner)?,
        },
        "thermometer" => {
            scanner.demand("(")?;
            let mut cuts = vec![scanner.number()?];
            while scanner.take(",") {
                cuts.push(scanner.number()?);
            }
            scanner.demand(")")?;
            Encoder::Thermometer { cuts }
        }
        "real-thermometer" => {
            let n_cuts: usize = argument(scanner)?;
            let stored = contents.tensor(CUTS)?;
            if stored.shape != [n_cuts, n_inputs] || n_inputs == 0 {
                let wanted = format!("[{n_cuts}, {n_inputs}]");
                let (name, found) = (CUTS.into(), format!("{:?}", stored.shape));
                return Err(BnnError::TensorShape {
                    name,
                    found,
                    wanted,
                });
            }
            let n_reals = stored.bytes.len() / 4;
            let flat = container::Stored {
                shape: &[n_reals],
                ..stored
            };
            let reals = unpack_reals(&flat, n_reals)?;
            Encoder::RealThermometer {
                cuts: reals.chunks(n_inputs).map(<[f32]>::to_vec).collect(),
            }
        }
        "levels" => Encoder::Levels,
        _ => {
            let unknown = TextErrorKind::UnknownEncoder(name.into());
            return Err(scanner.error(unknown).into());
        }
    };
    scanner.end_of_line()?;
    Ok(encoder)
}

/// Takes `(number)`.
fn argument<T: std::str::FromStr>(scanner: &mut Scanner<'_>) -> Result<T, TextError> {
    scanner.demand("(")?;
    let number = scanner.number()?;
    scanner.demand(")")?;
    Ok(number)
}

fn parse_layer(scanner: &mut Scanner<'_>, contents: &mut Contents<'_>) -> Result<Layer, BnnError> {
    scanner.demand("layer ")?;
    let name = scanner.word("the name of a layer")?.to_string();
    scanner.demand("dense")?;
    let outline = parse_weights(scanner)?;
    let n_rows = outline.n_rows;
    let weights: Weights = read_weights(&name, outline, contents)?;
    let bias = match scanner.take_word("bias") {
        false => None,
        true => Some(unpack_ints(
            &contents.tensor(&format!("{name}.bias"))?,
            n_rows,
        )?),
    };
    let norm = match scanner.take_word("norm") {
        false => None,
        true => {
            let eps = argument(scanner)?;
            let mut list =
                |part: &str| unpack_reals(&contents.tensor(&format!("{name}.{part}"))?, n_rows);
            let (gamma, beta) = (list("gamma")?, list("beta")?);
            Some(BatchNorm {
                gamma,
                beta,
                mean: list("mean")?,
                var: list("var")?,
                eps,
            })
        }
    };
    let activation = if scanner.take_word("sign") {
        Activation::Sign
    } else if scanner.take_word("scores") {
        Activation::Scores
    } else {
        return Err(scanner.expected("sign or scores").into());
    };
    scanner.end_of_line()?;
    Ok(Layer {
        name,
        weights,
        bias,
        norm,
        activation,
    })
}

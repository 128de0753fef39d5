//! The encoder's line, and the tensor of a real thermometer's cuts.

use std::fmt::Write;

use crate::container::{self, BnnError, Contents};
use crate::net::{Encoder, Net};
use crate::packed::{PackedTensor, pack_reals, unpack_reals};
use crate::scan::{Scanner, TextError, TextErrorKind};

/// The tensor of a real thermometer's cuts.
const CUTS: &str = "encoder.cuts";

/// The tensor of the encoder, if it has one.
pub(super) fn pack(net: &Net) -> Option<PackedTensor> {
    let Encoder::RealThermometer { cuts } = &net.encoder else {
        return None;
    };
    Some(PackedTensor {
        shape: vec![cuts.len(), net.input.n_elements()],
        ..pack_reals(CUTS.into(), &cuts.concat())
    })
}

/// Writes the line of the encoder.
pub(super) fn print(text: &mut String, encoder: &Encoder) -> std::fmt::Result {
    let list = |cuts: &[u8]| {
        let cuts: Vec<String> = cuts.iter().map(u8::to_string).collect();
        cuts.join(", ")
    };
    match encoder {
        Encoder::Sign { at } => writeln!(text, "encoder sign({at})"),
        Encoder::ZeroOne { at } => writeln!(text, "encoder zero-one({at})"),
        Encoder::FixedPoint { bits } => writeln!(text, "encoder fixed-point({bits})"),
        Encoder::Thermometer { cuts } => writeln!(text, "encoder thermometer({})", list(cuts)),
        Encoder::ChannelThermometer { cuts } => {
            writeln!(text, "encoder channel-thermometer({})", list(cuts))
        }
        Encoder::RealThermometer { cuts } => {
            writeln!(text, "encoder real-thermometer({})", cuts.len())
        }
        Encoder::Levels => writeln!(text, "encoder levels"),
    }
}

/// Parses the line of the encoder.
pub(super) fn parse(
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
        "thermometer" => Encoder::Thermometer {
            cuts: cuts(scanner)?,
        },
        "channel-thermometer" => Encoder::ChannelThermometer {
            cuts: cuts(scanner)?,
        },
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

/// Takes `(cut, cut, ...)`.
fn cuts(scanner: &mut Scanner<'_>) -> Result<Vec<u8>, TextError> {
    scanner.demand("(")?;
    let mut cuts = vec![scanner.number()?];
    while scanner.take(",") {
        cuts.push(scanner.number()?);
    }
    scanner.demand(")")?;
    Ok(cuts)
}

/// Takes `(number)`.
pub(super) fn argument<T: std::str::FromStr>(scanner: &mut Scanner<'_>) -> Result<T, TextError> {
    scanner.demand("(")?;
    let number = scanner.number()?;
    scanner.demand(")")?;
    Ok(number)
}

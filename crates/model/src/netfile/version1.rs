//! The layers of `onebit net 1`: a chain of dense layers, each with its norm and its activation on one line.
//!
//! Such a line becomes up to three layers: `NAME`, `NAME.norm` and `NAME.sign`.

use std::collections::BTreeSet;

use super::encoder::argument;
use super::read_norm;
use crate::bnn::read_weights;
use crate::container::{BnnError, Contents};
use crate::net::{Layer, LayerOp};
use crate::packed::unpack_ints;
use crate::program::ValueId;
use crate::scan::{Scanner, TextErrorKind};
use crate::text::parse_weights;

/// Parses the layers and the word `end`.
pub(super) fn parse_layers(
    scanner: &mut Scanner<'_>,
    contents: &mut Contents<'_>,
) -> Result<Vec<Layer>, BnnError> {
    let mut layers = Vec::new();
    let mut names = BTreeSet::new();
    // Whether the layer before gives the scores, after which nothing can follow.
    let mut is_over = false;
    loop {
        scanner.next_line("a layer, or the end")?;
        if scanner.take_word("end") {
            return Ok(layers);
        }
        if is_over {
            return Err(scanner.expected("end, after the scores").into());
        }
        scanner.demand("layer ")?;
        let name = scanner.word("the name of a layer")?.to_string();
        // Two layers of one name would read, and hold, the same tensors twice.
        if !names.insert(name.clone()) {
            return Err(scanner.error(TextErrorKind::Redefined(name)).into());
        }
        is_over = parse_layer(&name, scanner, contents, &mut layers)?;
        scanner.end_of_line()?;
    }
}

/// Parses what follows the name and appends the layers; whether these are the scores.
fn parse_layer(
    name: &str,
    scanner: &mut Scanner<'_>,
    contents: &mut Contents<'_>,
    layers: &mut Vec<Layer>,
) -> Result<bool, BnnError> {
    let mut push = |name: String, op: LayerOp| {
        let inputs = vec![ValueId(layers.len())];
        layers.push(Layer { name, op, inputs });
    };
    scanner.demand("dense")?;
    let outline = parse_weights(scanner)?;
    let n_rows = outline.n_rows;
    let weights = read_weights(name, outline, contents)?;
    let bias = match scanner.take_word("bias") {
        false => None,
        true => Some(unpack_ints(
            &contents.tensor(&format!("{name}.bias"))?,
            n_rows,
        )?),
    };
    push(name.into(), LayerOp::Dense { weights, bias });
    if scanner.take_word("norm") {
        let eps = argument(scanner)?;
        let norm = read_norm(name, n_rows, eps, contents)?;
        push(format!("{name}.norm"), LayerOp::Norm(norm));
    }
    if scanner.take_word("sign") {
        push(format!("{name}.sign"), LayerOp::Sign);
        Ok(false)
    } else if scanner.take_word("scores") {
        Ok(true)
    } else {
        Err(scanner.expected("sign or scores").into())
    }
}

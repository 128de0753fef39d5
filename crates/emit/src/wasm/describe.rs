//! The custom section `onebit`: JSON that says what a network is and where its values lie.
//!
//! `{"name", "input": VALUE, "output": VALUE, "values": [VALUE..]}`, where a VALUE is
//! `{"name", "kind", "shape", "address"}`, its name that of the layer or `@input`. `values` is empty unless they are
//! kept.

use std::fmt::Write;

use onebit_model::ProgramTypes;
use onebit_model::program::{Kind, Program, ValueId};

use super::assemble::Layout;
use crate::loops::{Location, Module};

/// The section's text.
pub(super) fn describe(
    program: &Program,
    types: &ProgramTypes,
    module: &Module,
    layout: &Layout,
) -> String {
    let value = |id: usize, address: u32| {
        let name = match id {
            0 => "@input",
            _ => program.nodes[id - 1].name.as_str(),
        };
        let ty = types.of(ValueId(id));
        let sizes: Vec<String> = ty.shape.iter().map(ToString::to_string).collect();
        format!(
            "{{\"name\":{},\"kind\":\"{}\",\"shape\":[{}],\"address\":{address}}}",
            string(name),
            kind(ty.kind),
            sizes.join(",")
        )
    };
    let address = |location: Location| match location {
        Location::Input => layout.input,
        Location::Output => layout.output,
        Location::Arena(offset) => {
            layout.arena + u32::try_from(offset).expect("the layout fits into 4 GiB")
        }
    };
    let kept = module.locations.iter().enumerate();
    let values: Vec<String> = kept
        .filter_map(|(id, location)| location.map(|location| value(id, address(location))))
        .collect();
    format!(
        "{{\"name\":{},\"input\":{},\"output\":{},\"values\":[{}]}}",
        string(&program.name),
        value(0, layout.input),
        value(program.output.0, layout.output),
        values.join(",")
    )
}

fn kind(kind: Kind) -> String {
    match kind {
        Kind::Bits => "bits".into(),
        Kind::Levels(k) => format!("levels({k})"),
        Kind::Int => "int".into(),
        Kind::Real => "real".into(),
    }
}

/// A JSON string.
fn string(text: &str) -> String {
    let mut json = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            c if c < ' ' => {
                let _ = write!(json, "\\u{:04x}", u32::from(c));
            }
            c => json.push(c),
        }
    }
    json.push('"');
    json
}

#[cfg(test)]
mod tests {
    use super::string;

    #[test]
    fn strings_are_escaped() {
        assert_eq!(string("a\"b\\c\nd\u{e9}"), "\"a\\\"b\\\\c\\u000ad\u{e9}\"");
    }
}

//! Straight-through estimators that a training script left in the graph.
//!
//! `h + (sign(x) - h)` has the value of `sign(x)` and, in training, the gradient of `h`; exporters keep the sum.
//! A graph comes in; in place of such a sum it has the binarised value afterwards, and what only the sum needed
//! is gone. The rewrite holds for weights and activations alike. In floats the sum is off by a rounding error,
//! which nobody wants from it. The sign of `tanh(x)` is read as the sign of `x`.

use std::collections::HashMap;

use prost::Message;

use super::graph::{Graph, is_standard, needed};
use super::proto::NodeProto;

/// Which values of a graph are computed alike, and by which nodes.
pub(super) struct Producers {
    node_of: HashMap<String, usize>,
    first_alike: HashMap<String, String>,
}

impl Producers {
    /// Looks through a graph.
    pub(super) fn new(nodes: &[NodeProto]) -> Producers {
        let mut found = Producers {
            node_of: HashMap::new(),
            first_alike: HashMap::new(),
        };
        let mut seen: HashMap<Vec<u8>, String> = HashMap::new();
        for (idx, node) in nodes.iter().enumerate() {
            let [output] = node.output.as_slice() else {
                continue;
            };
            found.node_of.insert(output.clone(), idx);
            let alike = match (node.op_type.as_str(), node.input.as_slice()) {
                ("Identity", [input]) => found.canonical(input).to_owned(),
                _ => {
                    let input = node
                        .input
                        .iter()
                        .map(|name| found.canonical(name).to_owned())
                        .collect();
                    let key = NodeProto {
                        input,
                        output: Vec::new(),
                        name: String::new(),
                        ..node.clone()
                    };
                    seen.entry(key.encode_to_vec())
                        .or_insert_with(|| output.clone())
                        .clone()
                }
            };
            found.first_alike.insert(output.clone(), alike);
        }
        found
    }

    /// The first value that is computed in the same way.
    pub(super) fn canonical<'a>(&'a self, name: &'a str) -> &'a str {
        self.first_alike.get(name).map_or(name, String::as_str)
    }

    /// The standard node that computes a value, if it is of this op.
    pub(super) fn by<'a>(
        &self,
        nodes: &'a [NodeProto],
        name: &str,
        op: &str,
    ) -> Option<&'a NodeProto> {
        let node = &nodes[*self.node_of.get(self.canonical(name))?];
        (node.op_type == op && is_standard(&node.domain)).then_some(node)
    }

    fn same(&self, a: &str, b: &str) -> bool {
        self.canonical(a) == self.canonical(b)
    }
}

/// Replaces every straight-through sum by what it stands for.
pub(super) fn rewrite(graph: &mut Graph) {
    let producers = Producers::new(&graph.nodes);
    let replacements: Vec<Option<String>> = graph
        .nodes
        .iter()
        .map(|node| stands_for(node, &graph.nodes, &producers))
        .collect();
    for (node, replacement) in graph.nodes.iter_mut().zip(replacements) {
        if let Some(value) = replacement {
            node.op_type = "Identity".into();
            node.input = vec![value];
            node.attribute.clear();
        }
    }
    see_through(graph, &producers);
    let nodes = std::mem::take(&mut graph.nodes);
    graph.nodes = needed(nodes, &graph.output);
}

/// Makes the sign of an odd, rising function the sign of its argument.
fn see_through(graph: &mut Graph, producers: &Producers) {
    let argument = |node: &NodeProto| {
        let (true, [input]) = (
            node.op_type == "Sign" && is_standard(&node.domain),
            node.input.as_slice(),
        ) else {
            return None;
        };
        let by = |op: &&str| producers.by(&graph.nodes, input, op);
        ["Tanh", "Softsign", "Atan", "Erf"]
            .iter()
            .find_map(by)?
            .input
            .first()
            .cloned()
    };
    let found: Vec<Option<String>> = graph.nodes.iter().map(argument).collect();
    for (node, argument) in graph.nodes.iter_mut().zip(found) {
        if let Some(argument) = argument {
            node.input = vec![argument];
        }
    }
}

/// The value that a sum or difference stands for, if it is one of these forms.
fn stands_for(node: &NodeProto, nodes: &[NodeProto], producers: &Producers) -> Option<String> {
    let [a, b] = node.input.as_slice() else {
        return None;
    };
    if !is_standard(&node.domain) {
        return None;
    }
    let operands = |name: &str, op: &str| match producers.by(nodes, name, op)?.input.as_slice() {
        [left, right] => Some((left.clone(), right.clone())),
        _ => None,
    };
    match node.op_type.as_str() {
        "Add" => [(a, b), (b, a)].into_iter().find_map(|(kept, difference)| {
            let (left, right) = operands(difference, "Sub")?;
            if producers.same(&right, kept) {
                return Some(left);
            }
            producers.same(&left, &right).then(|| kept.clone())
        }),
        "Sub" => {
            let difference = operands(b, "Sub").filter(|(left, _)| producers.same(left, a));
            if let Some((_, right)) = difference {
                return Some(right);
            }
            let (left, right) = operands(a, "Add")?;
            if producers.same(&right, b) {
                Some(left)
            } else {
                producers.same(&left, b).then_some(right)
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(op: &str, input: &[&str], output: &str) -> NodeProto {
        NodeProto {
            input: input.iter().map(|&name| name.into()).collect(),
            output: vec![output.into()],
            op_type: op.into(),
            ..Default::default()
        }
    }

    fn answer(nodes: &[NodeProto]) -> Option<String> {
        stands_for(nodes.last()?, nodes, &Producers::new(nodes))
    }

    #[test]
    fn every_form_stands_for_the_sign() {
        let head = [
            node("Sign", &["x"], "s"),
            node("Clip", &["x"], "h"),
            node("Clip", &["x"], "h2"),
        ];
        let forms: [&[NodeProto]; 5] = [
            &[
                node("Sub", &["s", "h"], "d"),
                node("Add", &["h2", "d"], "y"),
            ],
            &[node("Sub", &["s", "h"], "d"), node("Add", &["d", "h"], "y")],
            &[
                node("Sub", &["h", "h2"], "d"),
                node("Add", &["d", "s"], "y"),
            ],
            &[node("Sub", &["h", "s"], "d"), node("Sub", &["h", "d"], "y")],
            &[node("Add", &["s", "h"], "d"), node("Sub", &["d", "h"], "y")],
        ];
        for form in forms {
            let nodes = [&head[..], form].concat();
            assert_eq!(answer(&nodes).as_deref(), Some("s"), "{form:?}");
        }
    }

    #[test]
    fn other_sums_are_left_alone() {
        let nodes = [node("Sub", &["s", "h"], "d"), node("Add", &["g", "d"], "y")];
        assert_eq!(answer(&nodes), None);
    }
}

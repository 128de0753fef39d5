//! Binarisers that mend the sign of zero by hand.
//!
//! `where(x == 0, 1, sign(x))` and `sign(x) + (x == 0)` are one comparison in two steps. A graph comes in; in
//! place of such a mend it has `where(x >= 0, 1, -1)` afterwards (or `x > 0`, where zero becomes -1).

use super::constant::{Const, Data};
use super::fold_shape;
use super::graph::{Graph, is_standard, needed};
use super::proto::NodeProto;
use super::straight_through::Producers;

/// Names of the constants that the new nodes use.
const ZERO: &str = "onebit.zero";
const PLUS: &str = "onebit.plus";
const MINUS: &str = "onebit.minus";

/// How deep a constant is looked for.
const MAX_DEPTH: usize = 8;

/// Replaces every mend by a comparison and a choice.
pub(super) fn rewrite(graph: &mut Graph) {
    let producers = Producers::new(&graph.nodes);
    let found: Vec<Option<(String, f64)>> = graph
        .nodes
        .iter()
        .map(|node| mended(node, graph, &producers))
        .collect();
    if found.iter().all(Option::is_none) {
        return;
    }
    for (name, value) in [(ZERO, 0.0), (PLUS, 1.0), (MINUS, -1.0)] {
        let value =
            Const::new(Vec::new(), Data::F32(vec![value])).expect("a scalar has one element");
        graph.constants.insert(name.into(), value);
    }
    let nodes = std::mem::take(&mut graph.nodes);
    for (mut node, found) in nodes.into_iter().zip(found) {
        if let Some((x, at_zero)) = found {
            let output = format!("{}/is_plus", node.output[0]);
            graph.nodes.push(NodeProto {
                input: vec![x, ZERO.into()],
                output: vec![output.clone()],
                name: node.name.clone(),
                op_type: if at_zero > 0.0 {
                    "GreaterOrEqual".into()
                } else {
                    "Greater".into()
                },
                ..Default::default()
            });
            node.op_type = "Where".into();
            node.attribute.clear();
            node.input = vec![output, PLUS.into(), MINUS.into()];
        }
        graph.nodes.push(node);
    }
    let nodes = std::mem::take(&mut graph.nodes);
    graph.nodes = needed(nodes, &graph.output);
}

/// What is binarised, and what a zero becomes, if the node is such a mend.
fn mended(node: &NodeProto, graph: &Graph, producers: &Producers) -> Option<(String, f64)> {
    if !is_standard(&node.domain) {
        return None;
    }
    let input = |of: &NodeProto, idx: usize| of.input.get(idx).cloned();
    let by = |name: &str, op: &str| producers.by(&graph.nodes, name, op);
    let sign_of = |name: &str| input(by(name, "Sign")?, 0);
    let sign_input = |equal: &str, sign: &str| {
        let test = by(equal, "Equal")?;
        let (tested, zero) = (input(test, 0)?, input(test, 1)?);
        let x = sign_of(sign)?;
        let is_same = [x.as_str(), sign]
            .iter()
            .any(|name| producers.canonical(name) == producers.canonical(&tested));
        (is_same && known(&zero, graph, producers, MAX_DEPTH)? == 0.0).then_some(x)
    };
    match node.op_type.as_str() {
        "Where" => {
            let x = sign_input(&input(node, 0)?, &input(node, 2)?)?;
            let at_zero = known(&input(node, 1)?, graph, producers, MAX_DEPTH)?;
            (at_zero.abs() == 1.0).then_some((x, at_zero))
        }
        "Add" => {
            let (a, b) = (input(node, 0)?, input(node, 1)?);
            [(&a, &b), (&b, &a)].into_iter().find_map(|(sign, added)| {
                let x = sign_input(&input(by(added, "Cast")?, 0)?, sign)?;
                Some((x, 1.0))
            })
        }
        _ => None,
    }
}

/// The one number that a value holds everywhere, if that can be seen without computing.
fn known(name: &str, graph: &Graph, producers: &Producers, depth: usize) -> Option<f64> {
    if let Some(value) = graph.constants.get(name) {
        return value.uniform();
    }
    let first =
        |node: &NodeProto| known(node.input.first()?, graph, producers, depth.checked_sub(1)?);
    let by = |op: &str| producers.by(&graph.nodes, name, op);
    if let Some(node) = by("Neg") {
        return first(node).map(|x| -x);
    }
    if let Some(node) = by("Expand").or_else(|| by("Cast")) {
        return first(node);
    }
    if let Some(node) = by("ConstantOfShape") {
        let tensor = node.attr("value").and_then(|attr| attr.t.as_ref());
        return tensor.map_or(Some(0.0), |tensor| {
            super::constant::from_proto(tensor, None).ok()?.uniform()
        });
    }
    fold_shape::constant(by("Constant")?).ok()?.uniform()
}

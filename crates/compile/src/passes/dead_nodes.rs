//! The pass `dead_nodes`: removes nodes whose value does not reach the answer.
//!
//! A Program may have nodes that nothing reads, and other passes leave some behind. The other nodes keep
//! their names and their order.

use onebit_model::program::{Program, ValueId};

/// Runs the pass on a well-formed Program.
pub fn dead_nodes(mut program: Program) -> Program {
    let is_used = used_values(&program);
    // The new number of each value; the input stays 0 whether it is used or not.
    let mut renumbered = vec![ValueId(0)];
    let mut n_kept = 0;
    for is_used in &is_used[1..] {
        n_kept += usize::from(*is_used);
        renumbered.push(ValueId(n_kept));
    }
    let mut is_node_used = is_used[1..].iter();
    program
        .nodes
        .retain(|_| is_node_used.next().is_some_and(|is_used| *is_used));
    for id in program.nodes.iter_mut().flat_map(|node| &mut node.inputs) {
        *id = renumbered[id.0];
    }
    program.output = renumbered[program.output.0];
    program
}

/// Which values reach the answer.
pub(crate) fn used_values(program: &Program) -> Vec<bool> {
    let mut is_used = vec![false; program.nodes.len() + 1];
    is_used[program.output.0] = true;
    for node_idx in (0..program.nodes.len()).rev() {
        if is_used[node_idx + 1] {
            for id in &program.nodes[node_idx].inputs {
                is_used[id.0] = true;
            }
        }
    }
    is_used
}

#[cfg(test)]
mod tests {
    use super::*;
    use onebit_model::builder::ProgramBuilder;
    use onebit_model::program::Kind;
    use onebit_model::verify;

    #[test]
    fn it_removes_what_does_not_reach_the_answer() {
        let mut b = ProgramBuilder::new("p", Kind::Real, &[3]);
        let dead = b.relu("dead", b.input());
        b.clip("dead-too", dead, 0.0, 1.0);
        let a = b.prelu("a", b.input(), vec![0.5; 3]);
        let c = b.add("c", a, b.input());
        b.softmax("after", c);
        let program = dead_nodes(b.finish(c).unwrap());
        let names: Vec<&str> = program.nodes.iter().map(|node| &*node.name).collect();
        assert_eq!(names, ["a", "c"]);
        assert_eq!(program.nodes[1].inputs, [ValueId(1), ValueId(0)]);
        assert_eq!(program.output, ValueId(2));
        verify(&program).unwrap();
        assert_eq!(dead_nodes(program.clone()), program);
    }

    #[test]
    fn an_answer_that_is_the_input_leaves_no_node() {
        let mut b = ProgramBuilder::new("p", Kind::Real, &[3]);
        b.relu("dead", b.input());
        let input = b.input();
        let program = dead_nodes(b.finish(input).unwrap());
        assert!(program.nodes.is_empty());
        verify(&program).unwrap();
    }
}

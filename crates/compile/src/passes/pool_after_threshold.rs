//! The pass `pool_after_threshold`: pools bits instead of the numbers before their threshold.
//!
//! The greatest of some numbers reaches a threshold exactly if one of them does, so a threshold after a
//! max pool becomes a max pool after the threshold; on bits the pool is an OR of words. Ops between the two
//! that rise in every channel go along where what is pooled is computed from an integer, for then
//! `fold_thresholds` makes one integer comparison of them; so does a quantize, whose codes are pooled. It fires
//! where nothing else reads what moves, no channel is flipped, and no element can be NaN, which a pool may
//! keep or skip by its place.

use onebit_model::ProgramTypes;
use onebit_model::program::{Kind, Op, Program, ValueId};

use super::{is_elementwise, producer, use_counts};
use crate::bounds::{Bounds, bounds};

/// Runs the pass on a well-formed Program.
pub fn pool_after_threshold(mut program: Program) -> Program {
    let mut idx = 0;
    // What has moved changes types and bounds, so they are found anew.
    while let Some(moved) = first_move(&program, idx) {
        idx = moved[moved.len() - 1];
        // Names go with their ops; the operands stay where they are.
        for pair in moved.windows(2) {
            let (before, after) = program.nodes.split_at_mut(pair[1]);
            let (first, second) = (&mut before[pair[0]], &mut after[0]);
            std::mem::swap(&mut first.op, &mut second.op);
            std::mem::swap(&mut first.name, &mut second.name);
        }
    }
    program
}

/// The nodes from a pool to the first threshold, from node `from` on, that it can move behind.
fn first_move(program: &Program, from: usize) -> Option<Vec<usize>> {
    let types = onebit_model::verify(program).expect("a pass is given a well-formed Program");
    let counts = use_counts(program);
    let bounds = bounds(program, &types);
    (from..program.nodes.len()).find_map(|idx| movable(program, &types, &counts, &bounds, idx))
}

/// The nodes from a pool to the threshold or quantize `question_idx`, ascending, if the pool can move behind.
fn movable(
    program: &Program,
    types: &ProgramTypes,
    counts: &[usize],
    bounds: &[Option<Bounds>],
    question_idx: usize,
) -> Option<Vec<usize>> {
    let is_threshold = match &program.nodes[question_idx].op {
        Op::Threshold(thresholds) if !thresholds.flip.contains(&true) => true,
        Op::Quantize { .. } => false,
        _ => return None,
    };
    let is_ordered = |id: ValueId| types.of(id).kind != Kind::Real || bounds[id.0].is_some();
    let mut nodes = vec![question_idx];
    loop {
        let before = program.nodes[nodes[nodes.len() - 1]].inputs[0];
        let node_idx = producer(before).filter(|_| counts[before.0] == 1)?;
        nodes.push(node_idx);
        match &program.nodes[node_idx].op {
            Op::MaxPool(_) => break,
            op if rises(op) && is_ordered(before) => {}
            _ => return None,
        }
    }
    nodes.reverse();
    let pooled = program.nodes[nodes[0]].inputs[0];
    let is_worth = match nodes.len() {
        2 if is_threshold => true,
        2 => types.of(pooled).kind == Kind::Real && is_of_integers(program, types, pooled),
        _ => is_of_integers(program, types, pooled),
    };
    (is_worth && is_ordered(pooled)).then_some(nodes)
}

/// Whether an op on single elements never falls, in any channel.
fn rises(op: &Op) -> bool {
    match op {
        Op::Affine { scale, .. } => scale.iter().all(|&scale| scale >= 0.0),
        Op::Relu | Op::Clip { .. } => true,
        Op::Prelu { slope } | Op::Rprelu { slope, .. } => slope.iter().all(|&slope| slope >= 0.0),
        _ => false,
    }
}

/// Whether ops on single elements make a value of one that `fold_thresholds` can begin at.
fn is_of_integers(program: &Program, types: &ProgramTypes, mut id: ValueId) -> bool {
    while let Some(node_idx) = producer(id)
        && is_elementwise(&program.nodes[node_idx].op)
    {
        id = program.nodes[node_idx].inputs[0];
    }
    matches!(types.of(id).kind, Kind::Int | Kind::Levels(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use onebit_model::builder::ProgramBuilder;
    use onebit_model::program::{Cuts, ValueId, Window};
    use onebit_model::text::print;
    use onebit_model::{interpret, verify};
    use onebit_testkit::random_input;

    /// An image, a pool and a threshold.
    fn program(kind: Kind, flip: bool, is_shared: bool) -> Program {
        let mut b = ProgramBuilder::new("p", kind, &[5, 4, 3]);
        let window = Window {
            stride: [2, 1],
            pads: [1, 0, 0, 1],
            ..Window::new([3, 2])
        };
        let pool = b.max_pool("pool", b.input(), window);
        let flip = vec![false, flip, false];
        let bits = match kind {
            Kind::Real => b.threshold_real("sign", pool, vec![0.0, -1.0, 20.0], flip),
            _ => b.threshold_flip("sign", pool, vec![0, 100, i32::MIN], flip),
        };
        if is_shared {
            b.global_avg_pool("also", pool);
        }
        b.finish(bits).unwrap()
    }

    #[test]
    fn it_swaps_pool_and_threshold_and_changes_no_answer() {
        for kind in [Kind::Int, Kind::Levels(8)] {
            let before = program(kind, false, false);
            let after = pool_after_threshold(before.clone());
            let types = verify(&after).unwrap();
            assert_eq!(types.of(ValueId(1)).shape, [5, 4, 3]);
            assert!(print(&after).contains("pool = max_pool sign"));
            for seed in 0..20 {
                let input = random_input(&before, seed);
                let expected = interpret(&before, &verify(&before).unwrap(), &input);
                assert_eq!(interpret(&after, &types, &input), expected);
            }
            assert_eq!(pool_after_threshold(after.clone()), after);
        }
    }

    /// Sums, a norm, a pool, an op that rises, and bits or codes.
    fn chain(scale: f32, slope: f32, is_threshold: bool) -> Program {
        let mut b = ProgramBuilder::new("p", Kind::Levels(8), &[4, 4, 2]);
        // A quantize of pixels has no row of weights to turn round.
        let first = if is_threshold { -0.5 } else { 0.5 };
        let norm = b.affine("norm", b.input(), vec![first, 1.0], vec![20.0, -30.0]);
        let window = Window {
            stride: [2, 2],
            ..Window::new([2, 2])
        };
        let pool = b.max_pool("pool", norm, window);
        let again = b.affine("again", pool, vec![scale; 2], vec![0.5, -0.25]);
        let act = b.prelu("act", again, vec![slope; 2]);
        let last = match is_threshold {
            true => b.threshold_real("last", act, vec![3.0, -2.0], vec![false; 2]),
            false => b.quantize("last", act, 2, Cuts::Real(vec![-4.0, 2.0, 40.0])),
        };
        b.finish(last).unwrap()
    }

    #[test]
    fn what_rises_between_them_goes_along() {
        for is_threshold in [true, false] {
            let before = chain(0.75, 0.5, is_threshold);
            let after = pool_after_threshold(before.clone());
            let names: Vec<&str> = after.nodes.iter().map(|node| &*node.name).collect();
            assert_eq!(names, ["norm", "again", "act", "last", "pool"]);
            let folded = crate::passes::fold_thresholds(after.clone());
            assert_eq!(folded.nodes[3].inputs, [ValueId(0)]);
            for seed in 0..40 {
                let input = random_input(&before, seed);
                let expected = interpret(&before, &verify(&before).unwrap(), &input);
                for program in [&after, &folded] {
                    let types = verify(program).unwrap();
                    assert_eq!(interpret(program, &types, &input), expected);
                }
            }
            for falling in [
                chain(-0.75, 0.5, is_threshold),
                chain(0.75, -0.5, is_threshold),
            ] {
                assert_eq!(pool_after_threshold(falling.clone()), falling);
            }
        }
    }

    #[test]
    fn it_leaves_flips_other_readers_and_what_may_be_nan() {
        let mut shared = program(Kind::Levels(8), false, true);
        for before in [
            program(Kind::Int, true, false),
            program(Kind::Real, false, false),
        ] {
            assert_eq!(pool_after_threshold(before.clone()), before);
        }
        assert_eq!(pool_after_threshold(shared.clone()), shared);
        shared.output = ValueId(1);
        assert_eq!(pool_after_threshold(shared.clone()), shared);
    }
}

//! The pass `pool_after_threshold`: pools bits instead of the numbers before their threshold.
//!
//! The greatest of some numbers reaches a threshold exactly if one of them does, so a threshold after a
//! max pool becomes a max pool after the threshold; on bits the pool is an OR of words. It fires where the
//! threshold is the pool's only reader, no channel is flipped, and no element can be NaN, which a pool may
//! keep or skip by its place.

use onebit_model::program::{Kind, Op, Program};

use super::{producer, use_counts};
use crate::bounds::bounds;

/// Runs the pass on a well-formed Program.
pub fn pool_after_threshold(mut program: Program) -> Program {
    let types = onebit_model::verify(&program).expect("a pass is given a well-formed Program");
    let counts = use_counts(&program);
    let bounds = bounds(&program, &types);
    for threshold_idx in 0..program.nodes.len() {
        let node = &program.nodes[threshold_idx];
        let Op::Threshold(thresholds) = &node.op else {
            continue;
        };
        let pooled = node.inputs[0];
        let Some(pool_idx) = producer(pooled).filter(|_| counts[pooled.0] == 1) else {
            continue;
        };
        let pool = &program.nodes[pool_idx];
        let x = pool.inputs[0];
        let is_ordered = types.of(x).kind != Kind::Real || bounds[x.0].is_some();
        let is_pool = matches!(pool.op, Op::MaxPool(_));
        if !is_pool || !is_ordered || thresholds.flip.contains(&true) {
            continue;
        }
        // Names go with their ops; the operands stay where they are.
        let (before, after) = program.nodes.split_at_mut(threshold_idx);
        let (first, second) = (&mut before[pool_idx], &mut after[0]);
        std::mem::swap(&mut first.op, &mut second.op);
        std::mem::swap(&mut first.name, &mut second.name);
    }
    program
}

#[cfg(test)]
mod tests {
    use super::*;
    use onebit_model::builder::ProgramBuilder;
    use onebit_model::program::{ValueId, Window};
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

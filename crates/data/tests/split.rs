//! The validation split: seeded, stratified, complete.

use onebit_data::{Features, Split, SplitMix64, split_validation};
use proptest::prelude::*;

/// Examples of two features, the first of which is the example's number.
fn numbered(labels: &[u16]) -> Split {
    let features = (0..labels.len()).flat_map(|i| [i as f32, 0.0]).collect();
    Split {
        features: Features::F32(features),
        labels: labels.to_vec(),
    }
}

fn numbers(split: &Split) -> Vec<usize> {
    match &split.features {
        Features::F32(values) => values
            .as_chunks::<2>()
            .0
            .iter()
            .map(|row| row[0] as usize)
            .collect(),
        Features::U8(_) => panic!("floats went in"),
    }
}

fn count(split: &Split, class: u16) -> usize {
    split.labels.iter().filter(|&&label| label == class).count()
}

#[test]
fn the_generator_is_the_published_one() {
    let mut rng = SplitMix64::new(1_234_567);
    let first: Vec<u64> = (0..3).map(|_| rng.next_u64()).collect();
    assert_eq!(
        first,
        [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423
        ]
    );
}

#[test]
fn draws_below_a_number_are_even() {
    let mut rng = SplitMix64::new(0);
    let mut counts = [0; 6];
    (0..60_000).for_each(|_| counts[rng.below(6)] += 1);
    assert!(
        counts.iter().all(|count| (9_500..10_500).contains(count)),
        "{counts:?}"
    );
    assert_eq!(rng.below(1), 0);
    assert_eq!(rng.below(0), 0);
}

#[test]
fn classes_give_in_proportion() {
    let labels: Vec<u16> = (0..1000)
        .map(|i| {
            if i < 700 {
                0
            } else if i < 900 {
                1
            } else {
                2
            }
        })
        .collect();
    let (rest, val) = split_validation(&numbered(&labels), 100, 42);
    assert_eq!(
        [count(&val, 0), count(&val, 1), count(&val, 2)],
        [70, 20, 10]
    );
    assert_eq!(
        [count(&rest, 0), count(&rest, 1), count(&rest, 2)],
        [630, 180, 90]
    );
}

#[test]
fn a_rare_class_keeps_an_example_while_others_can_give() {
    let labels = [0, 1, 1, 1, 1, 2, 2, 2, 2, 2];
    for n_val in 1..=7 {
        let (rest, _) = split_validation(&numbered(&labels), n_val, 1);
        assert!(
            (0..3).all(|class| count(&rest, class) >= 1),
            "{n_val}: {:?}",
            rest.labels
        );
    }
    let (rest, val) = split_validation(&numbered(&labels), 9, 1);
    assert_eq!((rest.len(), val.len()), (1, 9));
}

#[test]
fn the_extremes_are_empty_splits() {
    let split = numbered(&[0, 1, 2]);
    let (rest, val) = split_validation(&split, 0, 0);
    assert_eq!((rest, val.len(), val.n_features()), (split.clone(), 0, 0));
    let (rest, val) = split_validation(&split, 99, 0);
    assert_eq!((rest.is_empty(), val), (true, split));
    let empty = Split {
        features: Features::U8(Vec::new()),
        labels: Vec::new(),
    };
    assert_eq!(split_validation(&empty, 5, 0), (empty.clone(), empty));
}

#[test]
fn a_recorded_choice_stays() {
    let labels: Vec<u16> = (0..20).map(|i| i % 2).collect();
    let (_, val) = split_validation(&numbered(&labels), 6, 2024);
    assert_eq!(
        numbers(&val),
        RECORDED,
        "recorded results quote splits: this choice must never change"
    );
}

const RECORDED: [usize; 6] = [2, 3, 6, 10, 15, 17];

proptest! {
    #[test]
    fn every_example_is_in_exactly_one_part(
        labels in prop::collection::vec(0u16..5, 0..60),
        n_val in 0usize..70,
        seed in any::<u64>(),
    ) {
        let split = numbered(&labels);
        let (rest, val) = split_validation(&split, n_val, seed);
        prop_assert_eq!(val.len(), n_val.min(labels.len()));
        let (rest_numbers, val_numbers) = (numbers(&rest), numbers(&val));
        prop_assert!(rest_numbers.is_sorted() && val_numbers.is_sorted());
        let mut all = [rest_numbers.clone(), val_numbers.clone()].concat();
        all.sort_unstable();
        prop_assert_eq!(all, (0..labels.len()).collect::<Vec<_>>());
        for (part, numbers) in [(&rest, rest_numbers), (&val, val_numbers)] {
            prop_assert_eq!(&part.labels, &numbers.iter().map(|&i| labels[i]).collect::<Vec<_>>());
        }
        prop_assert_eq!(split_validation(&split, n_val, seed), (rest, val));
    }
}

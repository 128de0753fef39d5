//! The interpreter against a second reading of the definition, written per element.

use onebit_model::program::{Cuts, Kind, Op, ThresholdValues};
use onebit_model::weights::Weights;
use onebit_model::{Tensor, interpret, interpret_all, verify};
use onebit_testkit::{random_input, random_program};

/// An element as the exact number it stands for.
fn number(x: &Tensor, idx: usize) -> f64 {
    match x {
        Tensor::Bits(x) => {
            if x[idx] {
                1.0
            } else {
                -1.0
            }
        }
        Tensor::Levels(x) => x[idx].into(),
        Tensor::Int(x) => x[idx].into(),
        Tensor::Real(x) => x[idx].into(),
    }
}

/// One element of an op's value.
fn element(op: &Op, operands: &[&Tensor], kind: Kind, n_channels: usize, idx: usize) -> f64 {
    let x = operands[0];
    let channel = idx % n_channels;
    match op {
        Op::Dense { weights, bias } => {
            let start = bias.as_ref().map_or(0, |bias| bias[idx]);
            let terms = (0..weights.n_cols()).map(|c| weights.get(idx, c) * number(x, c) as i32);
            f64::from(start + terms.sum::<i32>())
        }
        Op::Threshold(thresholds) => {
            let at = match &thresholds.at {
                ThresholdValues::Int(at) => at[channel].into(),
                ThresholdValues::Real(at) => at[channel].into(),
            };
            let answer = (number(x, idx) >= at) ^ thresholds.flip[channel];
            if answer { 1.0 } else { -1.0 }
        }
        Op::Quantize { cuts, .. } => {
            let cuts: Vec<f64> = match cuts {
                Cuts::Int(cuts) => cuts.iter().map(|&cut| cut.into()).collect(),
                Cuts::Real(cuts) => cuts.iter().map(|&cut| cut.into()).collect(),
            };
            cuts.iter()
                .map(|&cut| if number(x, idx) >= cut { 1.0 } else { 0.0 })
                .sum()
        }
        Op::Planes => {
            let Kind::Levels(_) = kind else {
                unreachable!()
            };
            let code = number(x, idx % x.len()) as u32;
            if (code >> (idx / x.len())) & 1 == 1 {
                1.0
            } else {
                -1.0
            }
        }
        Op::Affine { scale, shift } => {
            // The product of two binary32 is exact in binary64; so one rounding follows it.
            let converted = f64::from(number(x, idx) as f32);
            let product = (f64::from(scale[channel]) * converted) as f32;
            (product + shift[channel]).into()
        }
        Op::Concat => {
            let all = operands
                .iter()
                .flat_map(|x| (0..x.len()).map(move |idx| number(x, idx)));
            all.clone().nth(idx).unwrap()
        }
        Op::Argmax => {
            let mut best = 0;
            for other in 0..x.len() {
                if number(x, other) > number(x, best) {
                    best = other;
                }
            }
            best as f64
        }
    }
}

#[test]
fn random_programs_follow_the_definition_element_by_element() {
    for seed in 0..150 {
        let program = random_program(seed);
        let types = verify(&program).unwrap();
        for image in 0..2 {
            let input = random_input(&program, seed + 1000 * image);
            let values = interpret_all(&program, &types, &input);
            assert_eq!(values[0].first_difference(&input), None);
            for (node, value) in program.nodes.iter().zip(&values[1..]) {
                let operands: Vec<&Tensor> = node.inputs.iter().map(|id| &values[id.0]).collect();
                let ty = types.of(node.inputs[0]);
                let n_channels = *ty.shape.last().unwrap();
                let stride = if matches!(node.op, Op::Concat) { 37 } else { 1 };
                for idx in (0..value.len()).step_by(stride) {
                    let expected = element(&node.op, &operands, ty.kind, n_channels, idx);
                    let found = number(value, idx);
                    assert!(found == expected, "seed {seed} {} {idx}", node.name);
                }
            }
            let answer = interpret(&program, &types, &input);
            assert_eq!(answer.first_difference(&values[program.output.0]), None);
        }
    }
}

#[test]
fn every_value_has_its_type_and_lies_in_its_range() {
    for seed in 0..150 {
        let program = random_program(seed);
        let types = verify(&program).unwrap();
        let input = random_input(&program, seed);
        let values = interpret_all(&program, &types, &input);
        for (idx, value) in values.iter().enumerate() {
            let id = onebit_model::program::ValueId(idx);
            value.check(types.of(id)).unwrap();
            let (Some(range), Tensor::Int(x)) = (types.range(id), value) else {
                continue;
            };
            assert!(
                x.iter().all(|&x| (range.min..=range.max).contains(&x)),
                "seed {seed}"
            );
        }
    }
}

#[test]
fn ties_and_nan_of_argmax() {
    use onebit_model::builder::ProgramBuilder;
    let argmax = |x: Tensor, kind: Kind| {
        let mut b = ProgramBuilder::new("p", kind, &[x.len()]);
        let best = b.argmax("best", b.input());
        let program = b.finish(best).unwrap();
        interpret(&program, &verify(&program).unwrap(), &x)
    };
    let index = |n: i32| Tensor::Int(vec![n]);
    assert_eq!(argmax(Tensor::Int(vec![3, 5, 5, 1]), Kind::Int), index(1));
    assert_eq!(argmax(Tensor::Int(vec![i32::MIN; 3]), Kind::Int), index(0));
    assert_eq!(argmax(Tensor::Real(vec![-0.0, 0.0]), Kind::Real), index(0));
    assert_eq!(
        argmax(Tensor::Real(vec![f32::NAN, 9.0]), Kind::Real),
        index(0)
    );
    assert_eq!(
        argmax(Tensor::Real(vec![1.0, f32::NAN, 2.0]), Kind::Real),
        index(2)
    );
}

#[test]
#[should_panic(expected = "the input does not fit the Program")]
fn an_input_of_another_type_is_refused() {
    let program = random_program(3);
    let input = match program.input.kind {
        Kind::Bits => Tensor::Int(vec![0]),
        _ => Tensor::Bits(vec![true]),
    };
    interpret(&program, &verify(&program).unwrap(), &input);
}

#[test]
fn ternary_weights_equal_to_bipolar_ones_give_the_same() {
    use onebit_model::weights::BitMatrix;
    let mut checked = 0;
    for seed in 0..150 {
        let mut program = random_program(seed);
        let before = program.clone();
        for node in &mut program.nodes {
            if let Op::Dense { weights, .. } = &mut node.op
                && let Weights::Bits(sign) = weights
            {
                let mask = BitMatrix::from_fn(sign.n_rows(), sign.n_cols(), |_, _| true);
                *weights = Weights::Ternary {
                    sign: sign.clone(),
                    mask,
                };
                checked += 1;
            }
        }
        let input = random_input(&program, seed);
        let answer = |program| interpret(program, &verify(program).unwrap(), &input);
        assert_eq!(answer(&program).first_difference(&answer(&before)), None);
    }
    assert!(checked > 50);
}

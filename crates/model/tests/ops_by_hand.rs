//! Every op on images and reals against numbers worked out by hand.

use onebit_model::builder::ProgramBuilder;
use onebit_model::program::{Conv2d, Cuts, GroupNorm, Kind, Op, ValueId, Window};
use onebit_model::weights::{BitMatrix, BitPlanes, Matrix, Weights};
use onebit_model::{Tensor, interpret, verify};

const INF: f32 = f32::INFINITY;
const NAN: f32 = f32::NAN;

/// The value of one op of one operand.
fn value(op: Op, kind: Kind, shape: &[usize], x: Tensor) -> Tensor {
    let mut b = ProgramBuilder::new("p", kind, shape);
    let id = b.try_node("op", op, &[ValueId(0)]).unwrap();
    let program = b.finish(id).unwrap();
    interpret(&program, &verify(&program).unwrap(), &x)
}

fn is_same(found: Tensor, expected: Tensor) {
    let difference = found.first_difference(&expected);
    assert_eq!(difference, None, "{found:?} is not {expected:?}");
}

fn ones(n_rows: usize, n_cols: usize) -> Weights {
    Weights::Bits(BitMatrix::from_fn(n_rows, n_cols, |_, _| true))
}

fn conv(weights: Weights, window: Window, groups: usize, pad: i32) -> Op {
    Op::Conv2d(Conv2d {
        weights,
        bias: None,
        window,
        groups,
        pad,
    })
}

#[test]
fn padding_takes_part_in_the_sum() {
    let window = Window {
        pads: [1; 4],
        ..Window::new([3, 3])
    };
    // Two by two pixels of +1: every window sees four of them and five times the padding.
    for pad in [-1, 0, 1] {
        let op = conv(ones(1, 9), window, 1, pad);
        let found = value(op, Kind::Bits, &[2, 2, 1], Tensor::Bits(vec![true; 4]));
        is_same(found, Tensor::Int(vec![4 + 5 * pad; 4]));
    }
    let op = conv(ones(1, 9), window, 1, 7);
    let pixels = Tensor::Levels(vec![1, 2, 3, 4]);
    let found = value(op, Kind::Levels(3), &[2, 2, 1], pixels);
    is_same(found, Tensor::Int(vec![10 + 35; 4]));
}

#[test]
fn asymmetric_pads_stride_and_dilation() {
    let window = Window {
        kernel: [1, 2],
        stride: [1, 3],
        dilation: [1, 2],
        pads: [0, 1, 0, 2],
    };
    // Padded: 9 | 1 2 3 4 5 | 9 9, taps two apart, steps of three.
    let weights = Weights::Int8(Matrix::from_vec(1, 2, vec![1, 10]).unwrap());
    let x = Tensor::Levels(vec![1, 2, 3, 4, 5]);
    let found = value(conv(weights, window, 1, 9), Kind::Levels(4), &[1, 5, 1], x);
    is_same(found, Tensor::Int(vec![9 + 20, 3 + 50]));
}

#[test]
fn planes_weigh_their_powers_of_two() {
    // 2 s1 + s0 is -3, -1, 1, 3.
    let plane = |bits: [bool; 4]| BitMatrix::from_fn(1, 4, |_, col| bits[col]);
    let low = plane([false, true, false, true]);
    let high = plane([false, false, true, true]);
    let weights = || Weights::Planes(BitPlanes::new(vec![low.clone(), high.clone()]).unwrap());
    let op = || Op::Dense {
        weights: weights(),
        bias: None,
    };
    let x = Tensor::Levels(vec![1, 10, 50, 200]);
    is_same(
        value(op(), Kind::Levels(8), &[4], x),
        Tensor::Int(vec![637]),
    );
    let x = Tensor::Real(vec![1.0, 0.5, 0.25, 0.125]);
    is_same(value(op(), Kind::Real, &[4], x), Tensor::Real(vec![-2.875]));
}

#[test]
fn groups_and_depthwise_read_their_channels() {
    // Four channels 1, 10, 100 and 1000 of one pixel.
    let x = || Tensor::Real(vec![1.0, 10.0, 100.0, 1000.0]);
    let two = Weights::Int8(Matrix::from_vec(4, 2, vec![1, 0, 0, 1, 1, 1, 2, -1]).unwrap());
    let op = conv(two, Window::new([1, 1]), 2, 0);
    let expected = vec![1.0, 10.0, 1100.0, -800.0];
    is_same(
        value(op, Kind::Real, &[1, 1, 4], x()),
        Tensor::Real(expected),
    );
    let four = Weights::Int8(Matrix::from_vec(8, 1, vec![1, 2, 3, 4, 5, 6, 7, 8]).unwrap());
    let op = conv(four, Window::new([1, 1]), 4, 0);
    let expected = vec![1.0, 2.0, 30.0, 40.0, 500.0, 600.0, 7000.0, 8000.0];
    is_same(
        value(op, Kind::Real, &[1, 1, 4], x()),
        Tensor::Real(expected),
    );
}

#[test]
fn columns_are_kernel_row_kernel_column_channel() {
    let x = Tensor::Levels(vec![0, 1, 2, 3, 4, 5, 6, 7]);
    for col in 0..8 {
        let one = Weights::Int8(Matrix::from_fn(1, 8, |_, c| i8::from(c == col)));
        let op = conv(one, Window::new([2, 2]), 1, 0);
        let found = value(op, Kind::Levels(3), &[2, 2, 2], x.clone());
        is_same(found, Tensor::Int(vec![col as i32]));
    }
}

#[test]
fn real_sums_round_from_left_to_right() {
    // 2^24 + 1 is a tie that goes to even, twice; the other way round the ones add up first.
    let x = Tensor::Real(vec![16_777_216.0, 1.0, 1.0]);
    let op = |weights| Op::Dense {
        weights,
        bias: None,
    };
    let found = value(op(ones(1, 3)), Kind::Real, &[3], x);
    is_same(found, Tensor::Real(vec![16_777_216.0]));
    let x = Tensor::Real(vec![1.0, 1.0, 16_777_216.0]);
    let found = value(op(ones(1, 3)), Kind::Real, &[3], x);
    is_same(found, Tensor::Real(vec![16_777_218.0]));
    // Weights of zero take part, so infinity times zero is seen.
    let zeros = || Weights::Ternary {
        sign: BitMatrix::zeros(1, 2),
        mask: BitMatrix::zeros(1, 2),
    };
    let x = Tensor::Real(vec![-1.0, -0.0]);
    is_same(
        value(op(zeros()), Kind::Real, &[2], x),
        Tensor::Real(vec![0.0]),
    );
    let x = Tensor::Real(vec![INF, 0.0]);
    is_same(
        value(op(zeros()), Kind::Real, &[2], x),
        Tensor::Real(vec![NAN]),
    );
    // Real weights make sums of bits and levels real.
    let real = || Weights::Real(Matrix::from_vec(1, 2, vec![0.5, -0.25]).unwrap());
    let found = value(
        op(real()),
        Kind::Bits,
        &[2],
        Tensor::Bits(vec![false, true]),
    );
    is_same(found, Tensor::Real(vec![-0.75]));
    let found = value(
        op(real()),
        Kind::Levels(8),
        &[2],
        Tensor::Levels(vec![255, 2]),
    );
    is_same(found, Tensor::Real(vec![127.0]));
    // An int is rounded when it becomes real: 2^24 + 1 to 2^24.
    let found = value(
        op(real()),
        Kind::Int,
        &[2],
        Tensor::Int(vec![16_777_217, 0]),
    );
    is_same(found, Tensor::Real(vec![8_388_608.0]));
}

#[test]
fn single_elements_with_their_zeros_and_nan() {
    let x = || Tensor::Real(vec![-2.0, -0.0, 0.0, 3.0, NAN, INF, -INF]);
    let one = |op: Op| value(op, Kind::Real, &[7, 1], x());
    let expected = vec![0.0, 0.0, 0.0, 3.0, 0.0, INF, 0.0];
    is_same(one(Op::Relu), Tensor::Real(expected));
    let clip = Op::Clip {
        min: -1.0,
        max: 2.0,
    };
    let expected = vec![-1.0, -0.0, 0.0, 2.0, -1.0, 2.0, -1.0];
    is_same(one(clip), Tensor::Real(expected));
    let prelu = Op::Prelu { slope: vec![-0.5] };
    let expected = vec![1.0, -0.0, 0.0, 3.0, NAN, INF, INF];
    is_same(one(prelu), Tensor::Real(expected));
    let rprelu = Op::Rprelu {
        before: vec![1.0],
        slope: vec![0.5],
        after: vec![10.0],
    };
    let expected = vec![9.5, 11.0, 11.0, 14.0, NAN, INF, -INF];
    is_same(one(rprelu), Tensor::Real(expected));
    let found = value(Op::Relu, Kind::Int, &[3], Tensor::Int(vec![-5, 0, 5]));
    is_same(found, Tensor::Int(vec![0, 0, 5]));
}

#[test]
fn affine_and_quantize_read_every_kind() {
    let affine = |n: usize| Op::Affine {
        scale: vec![2.0; n],
        shift: vec![0.5; n],
    };
    let found = value(affine(2), Kind::Bits, &[2], Tensor::Bits(vec![false, true]));
    is_same(found, Tensor::Real(vec![-1.5, 2.5]));
    let found = value(affine(1), Kind::Levels(2), &[1], Tensor::Levels(vec![3]));
    is_same(found, Tensor::Real(vec![6.5]));
    let found = value(affine(1), Kind::Real, &[1], Tensor::Real(vec![0.25]));
    is_same(found, Tensor::Real(vec![1.0]));
    let cuts = Cuts::Int(vec![-1, 0, 1, 0, 1, 2]);
    let quantize = Op::Quantize { bits: 2, cuts };
    let x = Tensor::Bits(vec![false, false, true, true]);
    let found = value(quantize, Kind::Bits, &[2, 2], x);
    is_same(found, Tensor::Levels(vec![1, 0, 3, 2]));
    let cuts = Cuts::Real(vec![-0.5, 0.5]);
    let quantize = Op::Quantize { bits: 1, cuts };
    let x = Tensor::Real(vec![0.0, 0.0, NAN, 0.5]);
    let found = value(quantize, Kind::Real, &[2, 2], x);
    is_same(found, Tensor::Levels(vec![1, 0, 0, 1]));
}

#[test]
fn sums_and_products_of_two() {
    let two = |op: Op, kind: Kind, x: Tensor| {
        let mut b = ProgramBuilder::new("p", kind, &[x.len()]);
        let input = b.input();
        let id = b.try_node("op", op, &[input, input]).unwrap();
        let program = b.finish(id).unwrap();
        interpret(&program, &verify(&program).unwrap(), &x)
    };
    let x = || Tensor::Real(vec![1.5, -0.0, INF, 3e38]);
    is_same(
        two(Op::Add, Kind::Real, x()),
        Tensor::Real(vec![3.0, -0.0, INF, INF]),
    );
    is_same(
        two(Op::Mul, Kind::Real, x()),
        Tensor::Real(vec![2.25, 0.0, INF, INF]),
    );
    let mut b = ProgramBuilder::new("p", Kind::Levels(4), &[2]);
    let eye = Weights::Int8(Matrix::from_fn(2, 2, |row, col| -i8::from(row == col)));
    let ints = b.dense("ints", b.input(), eye, Some(vec![0, 9]));
    let sum = b.add("sum", ints, ints);
    let program = b.finish(sum).unwrap();
    let found = interpret(
        &program,
        &verify(&program).unwrap(),
        &Tensor::Levels(vec![3, 4]),
    );
    is_same(found, Tensor::Int(vec![-6, 10]));
}

#[test]
fn max_pools_skip_padding_and_keep_the_first_of_equals() {
    let window = Window {
        stride: [1, 2],
        pads: [0, 1, 0, 1],
        ..Window::new([1, 3])
    };
    let pool = |kind, x| value(Op::MaxPool(window), kind, &[1, 4, 1], x);
    is_same(
        pool(Kind::Int, Tensor::Int(vec![-5, -7, -9, -8])),
        Tensor::Int(vec![-5, -7]),
    );
    is_same(
        pool(Kind::Bits, Tensor::Bits(vec![false, false, false, true])),
        Tensor::Bits(vec![false, true]),
    );
    is_same(
        pool(Kind::Levels(2), Tensor::Levels(vec![0, 1, 3, 2])),
        Tensor::Levels(vec![1, 3]),
    );
    // NaN is kept where it comes first and never taken later; of the zeros the first is kept.
    is_same(
        pool(Kind::Real, Tensor::Real(vec![NAN, 1.0, 2.0, NAN])),
        Tensor::Real(vec![NAN, 2.0]),
    );
    is_same(
        pool(Kind::Real, Tensor::Real(vec![-0.0, 0.0, -0.0, 0.0])),
        Tensor::Real(vec![-0.0, 0.0]),
    );
}

#[test]
fn average_pools_count_what_they_say() {
    let window = Window {
        pads: [0, 1, 0, 0],
        ..Window::new([1, 2])
    };
    let pool = |count_pads, kind, x| {
        let op = Op::AvgPool { window, count_pads };
        value(op, kind, &[1, 2, 1], x)
    };
    let found = pool(false, Kind::Levels(3), Tensor::Levels(vec![3, 4]));
    is_same(found, Tensor::Real(vec![3.0, 3.5]));
    let found = pool(true, Kind::Levels(3), Tensor::Levels(vec![3, 4]));
    is_same(found, Tensor::Real(vec![1.5, 3.5]));
    let found = pool(true, Kind::Bits, Tensor::Bits(vec![true, false]));
    is_same(found, Tensor::Real(vec![0.5, 0.0]));
    let found = pool(false, Kind::Bits, Tensor::Bits(vec![true, false]));
    is_same(found, Tensor::Real(vec![1.0, 0.0]));
    let found = pool(false, Kind::Real, Tensor::Real(vec![-0.0, -0.0]));
    is_same(found, Tensor::Real(vec![0.0, 0.0]));
    let x = Tensor::Levels(vec![1, 10, 2, 20, 4, 40]);
    let found = value(Op::GlobalAvgPool, Kind::Levels(8), &[3, 1, 2], x);
    is_same(found, Tensor::Real(vec![7.0 / 3.0, 70.0 / 3.0]));
}

#[test]
fn elements_move_where_they_should() {
    let x = || Tensor::Levels((0..12).collect());
    let turned = Op::Transpose {
        perm: vec![2, 0, 1],
    };
    let expected = vec![0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11];
    is_same(
        value(turned, Kind::Levels(4), &[2, 2, 3], x()),
        Tensor::Levels(expected),
    );
    let (start, size) = (vec![1, 0, 1], vec![1, 2, 2]);
    let block = Op::Slice { start, size };
    is_same(
        value(block, Kind::Levels(4), &[2, 2, 3], x()),
        Tensor::Levels(vec![7, 8, 10, 11]),
    );
    let shaped = Op::Reshape { shape: vec![3, 4] };
    is_same(value(shaped, Kind::Levels(4), &[2, 2, 3], x()), x());
    let mut b = ProgramBuilder::new("p", Kind::Levels(4), &[2, 1, 2]);
    let left = b.slice("left", b.input(), &[0, 0, 0], &[2, 1, 1]);
    let joined = b.concat_channels("joined", &[left, b.input(), left]);
    let program = b.finish(joined).unwrap();
    let x = Tensor::Levels(vec![1, 2, 3, 4]);
    is_same(
        interpret(&program, &verify(&program).unwrap(), &x),
        Tensor::Levels(vec![1, 1, 2, 1, 3, 3, 4, 3]),
    );
}

#[test]
fn softmax_sums_to_one_and_knows_its_limits() {
    let softmax = |shape: &[usize], x: Vec<f32>| {
        let Tensor::Real(out) = value(Op::Softmax, Kind::Real, shape, Tensor::Real(x)) else {
            panic!("not reals")
        };
        out
    };
    assert_eq!(softmax(&[2, 2], vec![3.0, 3.0, -1.0, -1.0]), [0.5; 4]);
    assert_eq!(softmax(&[3], vec![0.0, -88.0, -INF]), [1.0, 0.0, 0.0]);
    let out = softmax(&[4], vec![1.0, 2.0, 3.0, 4.0]);
    let sum: f32 = out.iter().sum();
    assert!((sum - 1.0).abs() < 1e-6, "{out:?}");
    let exact: f64 = (0..4).map(|n| f64::from(n - 3).exp()).sum();
    assert!((f64::from(out[3]) - 1.0 / exact).abs() < 1e-6, "{out:?}");
    // The greatest is infinity, or a NaN that comes first: all NaN. A later NaN has no weight.
    for x in [vec![1.0, INF], vec![NAN, 1.0], vec![-INF, -INF]] {
        assert!(softmax(&[2], x).iter().all(|x| x.is_nan()));
    }
    assert_eq!(softmax(&[2], vec![1.0, NAN]), [1.0, 0.0]);
}

#[test]
fn groups_are_normalised_apart_and_over_all_positions() {
    let norm = |groups: usize, eps: f32| {
        Op::GroupNorm(GroupNorm {
            groups,
            gamma: vec![1.0, 2.0],
            beta: vec![0.0, 1.0],
            eps,
        })
    };
    let two_pixels = |op| {
        value(
            op,
            Kind::Real,
            &[1, 2, 2],
            Tensor::Real(vec![1.0, 10.0, 3.0, 30.0]),
        )
    };
    // Channel 0 is 1 and 3: mean 2, variance 1. Channel 1 is 10 and 30: mean 20, variance 100.
    let each = Tensor::Real(vec![-1.0, -1.0, 1.0, 3.0]);
    is_same(two_pixels(norm(2, 0.0)), each);
    // With 3 more the root is 2 and not 1.
    let Tensor::Real(wider) = two_pixels(norm(2, 3.0)) else {
        panic!("not reals")
    };
    assert_eq!((wider[0], wider[2]), (-0.5, 0.5));
    // All four: mean 11, squares 100, 1, 64 and 361.
    let root = (526.0f32 / 4.0).sqrt();
    let together = [
        -10.0 / root,
        -1.0 / root * 2.0 + 1.0,
        -8.0 / root,
        19.0 / root * 2.0 + 1.0,
    ];
    is_same(two_pixels(norm(1, 0.0)), Tensor::Real(together.to_vec()));
    let still = value(
        norm(2, 0.0),
        Kind::Real,
        &[2],
        Tensor::Real(vec![4.0, -4.0]),
    );
    is_same(still, Tensor::Real(vec![NAN, NAN]));
}

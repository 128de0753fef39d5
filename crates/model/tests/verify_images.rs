//! Every invariant of the ops on images and reals is checked, and their types and ranges are inferred.

use onebit_model::builder::ProgramBuilder;
use onebit_model::program::{
    Conv2d, Cuts, GroupNorm, Kind, Node, Op, Program, Type, ValueId, Window,
};
use onebit_model::weights::{BitMatrix, Matrix, Weights};
use onebit_model::{IntRange, verify};

fn int8(n_rows: usize, n_cols: usize) -> Weights {
    Weights::Int8(Matrix::from_fn(n_rows, n_cols, |row, col| {
        (row as i8 - col as i8) % 3
    }))
}

fn window(kernel: usize, stride: usize, pads: [usize; 4]) -> Window {
    Window {
        stride: [stride; 2],
        pads,
        ..Window::new([kernel; 2])
    }
}

/// A group normalisation of six channels.
fn groups(groups: usize) -> GroupNorm {
    GroupNorm {
        groups,
        gamma: vec![1.0; 6],
        beta: vec![0.5; 6],
        eps: 1e-5,
    }
}

/// Pixels, then every op on images and reals.
fn good() -> Program {
    let mut b = ProgramBuilder::new("good", Kind::Levels(8), &[6, 5, 4]);
    let stem = Conv2d {
        weights: int8(6, 18),
        bias: Some(vec![7; 6]),
        window: window(3, 1, [1; 4]),
        groups: 2,
        pad: 255,
    };
    let conv = b.conv2d("conv", b.input(), stem);
    let sign = b.threshold("sign", conv, vec![0; 6]);
    let binary = Conv2d {
        weights: Weights::Bits(BitMatrix::from_fn(4, 24, |row, col| row > col)),
        bias: None,
        window: window(2, 2, [1, 0, 0, 1]),
        groups: 1,
        pad: -1,
    };
    b.conv2d("bconv", sign, binary);
    let pool = b.max_pool("pool", conv, window(2, 2, [0; 4]));
    let relu = b.relu("relu", pool);
    let sum = b.add("sum", pool, relu);
    let mean = b.avg_pool("mean", sum, Window::new([3, 2]));
    let act = b.prelu("act", mean, vec![0.25; 6]);
    let shifted = b.rprelu("shifted", act, vec![1.0; 6], vec![0.5; 6], vec![-1.0; 6]);
    b.group_norm("groups", shifted, groups(3));
    let clip = b.clip("clip", shifted, -1.0, f32::INFINITY);
    let product = b.mul("product", clip, shifted);
    let joined = b.concat_channels("joined", &[product, clip]);
    let flat = b.reshape("flat", joined, &[12]);
    let part = b.slice("part", flat, &[2], &[10]);
    b.transpose("turned", joined, &[2, 0, 1]);
    let real = Weights::Real(Matrix::from_fn(3, 10, |row, col| row as f32 - col as f32));
    let scores = b.dense("fc", part, real, None);
    let soft = b.softmax("soft", scores);
    let cuts = (0..6).flat_map(|c| [c - 5, c, c + 5]).collect();
    b.quantize("codes", conv, 2, Cuts::Int(cuts));
    b.global_avg_pool("gap", sign);
    b.dense("ints", relu, int8(2, 36), None);
    b.quantize("of-bits", sign, 1, Cuts::Int(vec![0]));
    b.affine("of-bits-too", sign, vec![1.0; 6], vec![0.0; 6]);
    b.finish(soft).unwrap()
}

#[test]
fn types_and_ranges_are_inferred() {
    let program = good();
    let types = verify(&program).unwrap();
    let shown: Vec<String> = (1..types.n_values())
        .map(|idx| types.of(ValueId(idx)).to_string())
        .collect();
    let expected = [
        "int[6, 5, 6]",
        "bits[6, 5, 6]",
        "int[3, 3, 4]",
        "int[3, 2, 6]",
        "int[3, 2, 6]",
        "int[3, 2, 6]",
        "real[1, 1, 6]",
        "real[1, 1, 6]",
        "real[1, 1, 6]",
        "real[1, 1, 6]",
        "real[1, 1, 6]",
        "real[1, 1, 6]",
        "real[1, 1, 12]",
        "real[12]",
        "real[10]",
        "real[12, 1, 1]",
        "real[3]",
        "real[3]",
        "levels(2)[6, 5, 6]",
        "real[6]",
        "int[2]",
        "levels(1)[6, 5, 6]",
        "real[6, 5, 6]",
    ];
    assert_eq!(shown, expected);
    // Row 0 of the stem is 0, -1, -2 again and again; row 5 is 2, 1, 0, 2, 1, 0, 0, -1, -2, 0, ...
    let range = |idx: usize| types.range(ValueId(idx)).unwrap();
    assert_eq!(range(1).min, 7 - 255 * 18);
    assert_eq!(range(4), range(1));
    assert_eq!((range(5).min, range(5).max), (0, range(1).max));
    assert_eq!(range(6).min, range(1).min);
    assert_eq!(range(6).max, 2 * range(1).max);
    assert_eq!(range(3), IntRange { min: -24, max: 24 });
    assert_eq!(types.range(ValueId(7)), None);
}

/// A word of the violation and the mutation of a good Program that must cause it.
type Case = (&'static str, fn(&mut Program));

fn op<'a>(program: &'a mut Program, name: &str) -> &'a mut Op {
    let mut nodes = program.nodes.iter_mut();
    &mut nodes.find(|node| node.name == name).unwrap().op
}

fn conv<'a>(program: &'a mut Program, name: &str) -> &'a mut Conv2d {
    let Op::Conv2d(conv) = op(program, name) else {
        unreachable!()
    };
    conv
}

fn pool(program: &mut Program) -> &mut Window {
    let Op::MaxPool(window) = op(program, "pool") else {
        unreachable!()
    };
    window
}

/// Puts another op in a node's place.
fn set(program: &mut Program, name: &str, new: Op) {
    *op(program, name) = new;
}

/// Appends a node of this name and its op that reads other values; the old one gets another name.
fn read(program: &mut Program, name: &str, of: &[&str]) {
    let id = |name: &&str| match program.nodes.iter().position(|node| node.name == *name) {
        Some(node_idx) => ValueId(node_idx + 1),
        None => ValueId(0),
    };
    let inputs: Vec<ValueId> = of.iter().map(id).collect();
    let mut nodes = program.nodes.iter_mut();
    let old = nodes.find(|node| node.name == name).unwrap();
    let new = Node {
        name: std::mem::replace(&mut old.name, "old".into()),
        op: old.op.clone(),
        inputs,
    };
    program.nodes.push(new);
}

#[rustfmt::skip]
const CASES: &[Case] = &[
    // Products.
    ("the weight at row 1, column 2 is not a finite", |p| set(p, "fc", Op::Dense { bias: None,
        weights: Weights::Real(Matrix::from_fn(3, 10, |row, col| if (row, col) == (1, 2) { f32::NAN } else { 0.0 })) })),
    ("(fc): a real sum has no integer bias", |p| { let Op::Dense { bias, .. } = op(p, "fc") else { unreachable!() }; *bias = Some(vec![0; 3]) }),
    ("(bconv): a real sum has no integer bias", |p| { let conv = conv(p, "bconv");
        conv.weights = Weights::Real(Matrix::from_fn(4, 24, |_, _| 1.0)); conv.bias = Some(vec![0; 4]) }),
    ("(bconv): bias has 3 entries, 4", |p| conv(p, "bconv").bias = Some(vec![0; 3])),
    ("(conv): weights are 0 by 18", |p| conv(p, "conv").weights = int8(0, 18)),
    ("(conv): a row of weights has 36 entries, 18", |p| conv(p, "conv").weights = int8(6, 36)),
    ("(conv): has 0 groups", |p| conv(p, "conv").groups = 0),
    ("3 groups do not divide 4 channels and 6 rows", |p| conv(p, "conv").groups = 3),
    ("4 groups do not divide 4 channels and 6 rows", |p| conv(p, "conv").groups = 4),
    ("conv2d needs rank 3, the operand is real[12]", |p| read(p, "bconv", &["flat"])),
    ("pad -2 is not from -1 to 1", |p| conv(p, "bconv").pad = -2),
    ("pad 2 is not from -1 to 1", |p| conv(p, "bconv").pad = 2),
    ("pad -1 is not from 0 to 255", |p| conv(p, "conv").pad = -1),
    ("pad 256 is not from 0 to 255", |p| conv(p, "conv").pad = 256),
    ("pad 16777217 is not from -16777216 to 16777216", |p| { p.input.kind = Kind::Real; conv(p, "conv").pad = (1 << 24) + 1 }),
    ("row 0 reaches -38654705639 to 38654705671, outside i32", |p| { p.input.kind = Kind::Int; conv(p, "conv").pad = 0; conv(p, "conv").weights = int8(6, 18) }),
    ("(conv): the window does not fit", |p| conv(p, "conv").window.kernel = [9, 1]),
    ("kernel [0, 3] is not from 1", |p| conv(p, "conv").window.kernel = [0, 3]),
    ("stride [1, 0] is not from 1", |p| conv(p, "conv").window.stride = [1, 0]),
    ("dilation [0, 1] is not from 1", |p| conv(p, "conv").window.dilation = [0, 1]),
    ("stride [1, 16777217] is not from 1", |p| conv(p, "conv").window.stride = [1, (1 << 24) + 1]),
    ("kernel [18446744073709551615, 1] is not from 1", |p| conv(p, "conv").window.kernel = [usize::MAX, 1]),
    ("pads [0, 4097, 0, 0] are over the limit of 4096", |p| conv(p, "conv").window.pads = [0, 4097, 0, 0]),
    ("a kernel of more than 16777216 taps", |p| conv(p, "conv").window.kernel = [1 << 13, 1 << 13]),
    ("(bconv): has more than 16777216 elements", |p| { let conv = conv(p, "bconv");
        conv.window = window(1, 1, [4096; 4]); conv.weights = Weights::Bits(BitMatrix::zeros(4, 6)) }),
    // Pools.
    ("max_pool needs rank 3", |p| read(p, "pool", &["flat"])),
    ("avg_pool needs rank 3", |p| read(p, "mean", &["flat"])),
    ("global_avg_pool needs rank 3", |p| read(p, "gap", &["flat"])),
    ("(pool): the window does not fit", |p| pool(p).kernel = [7, 1]),
    ("(mean): the window does not fit", |p| set(p, "mean", Op::AvgPool { window: Window::new([4, 1]), count_pads: true })),
    ("(pool): stride [0, 1]", |p| pool(p).stride = [0, 1]),
    ("(mean): pads [4097", |p| set(p, "mean", Op::AvgPool { window: window(1, 1, [4097, 0, 0, 0]), count_pads: true })),
    ("(pool): a position of the window lies in the padding alone", |p| *pool(p) = window(2, 1, [2, 0, 0, 0])),
    ("(pool): a position of the window lies in the padding alone", |p| *pool(p) = window(2, 1, [0, 0, 0, 2])),
    ("(pool): a position of the window lies in the padding alone", |p| *pool(p) = Window { dilation: [1, 7], ..window(2, 1, [0, 3, 0, 3]) }),
    ("(mean): a position of the window lies in the padding alone", |p| set(p, "mean", Op::AvgPool { window: window(1, 1, [0, 0, 1, 0]), count_pads: false })),
    ("the sum of 2 elements reaches -4294967296 to 4294967294", |p| { p.input = Type { kind: Kind::Int, shape: vec![2, 1, 4] }; read(p, "gap", &["@input"]) }),
    ("(mean): the sum of 6 elements reaches", |p| { p.input.kind = Kind::Int; read(p, "mean", &["@input"]) }),
    // Single elements.
    ("relu cannot read an operand of type bits", |p| read(p, "relu", &["sign"])),
    ("clip cannot read an operand of type int", |p| read(p, "clip", &["conv"])),
    ("prelu cannot read an operand of type int", |p| read(p, "act", &["conv"])),
    ("rprelu cannot read an operand of type int", |p| read(p, "shifted", &["conv"])),
    ("softmax cannot read an operand of type int", |p| read(p, "soft", &["conv"])),
    ("mul cannot read an operand of type int", |p| read(p, "product", &["conv", "conv"])),
    ("add cannot read an operand of type bits", |p| read(p, "sum", &["sign", "sign"])),
    ("add needs operands of one type, not int[3, 2, 6] and int[6, 5, 6]", |p| read(p, "sum", &["pool", "conv"])),
    ("mul needs operands of one type, not real[1, 1, 6] and real[6, 5, 6]", |p| read(p, "product", &["act", "of-bits-too"])),
    ("(sum): has 1 operands, exactly 2", |p| read(p, "sum", &["pool"])),
    ("(product): has 3 operands, exactly 2", |p| read(p, "product", &["clip", "clip", "clip"])),
    ("(sum): the sum reaches -4294967296 to 4294967294, outside i32", |p| { p.input.kind = Kind::Int; read(p, "sum", &["@input", "@input"]) }),
    ("clips from 1.0 to -1.0, which is no range", |p| set(p, "clip", Op::Clip { min: 1.0, max: -1.0 })),
    ("clips from NaN to 0.0", |p| set(p, "clip", Op::Clip { min: f32::NAN, max: 0.0 })),
    ("clips from 0.0 to NaN", |p| set(p, "clip", Op::Clip { min: 0.0, max: f32::NAN })),
    ("clips from inf to inf", |p| set(p, "clip", Op::Clip { min: f32::INFINITY, max: f32::INFINITY })),
    ("clips from -inf to -inf", |p| set(p, "clip", Op::Clip { min: f32::NEG_INFINITY, max: f32::NEG_INFINITY })),
    ("slope has 5 entries, 6", |p| set(p, "act", Op::Prelu { slope: vec![0.0; 5] })),
    ("slope of channel 2 is not a finite", |p| set(p, "act", Op::Prelu { slope: vec![0.0, 0.0, f32::NAN, 0.0, 0.0, 0.0] })),
    ("before has 5 entries, 6", |p| set(p, "shifted", Op::Rprelu { before: vec![0.0; 5], slope: vec![0.0; 6], after: vec![0.0; 6] })),
    ("after has 7 entries, 6", |p| set(p, "shifted", Op::Rprelu { before: vec![0.0; 6], slope: vec![0.0; 6], after: vec![0.0; 7] })),
    ("before of channel 0 is not", |p| set(p, "shifted", Op::Rprelu { before: vec![f32::INFINITY; 6], slope: vec![0.0; 6], after: vec![0.0; 6] })),
    ("after of channel 0 is not", |p| set(p, "shifted", Op::Rprelu { before: vec![0.0; 6], slope: vec![0.0; 6], after: vec![f32::NAN; 6] })),
    ("cuts has 6 entries, 3 are needed or as many for each channel", |p| set(p, "codes", Op::Quantize { bits: 2, cuts: Cuts::Int(vec![0; 6]) })),
    ("(codes): the cuts are not in ascending order", |p| { let Op::Quantize { cuts: Cuts::Int(cuts), .. } = op(p, "codes") else { unreachable!() }; cuts.swap(3, 4) }),
    ("cuts cannot read an operand of type bits", |p| set(p, "of-bits", Op::Quantize { bits: 1, cuts: Cuts::Real(vec![0.0]) })),
    ("group_norm cannot read an operand of type int", |p| read(p, "groups", &["conv"])),
    ("(groups): has 0 groups", |p| set(p, "groups", Op::GroupNorm(groups(0)))),
    ("4 groups do not divide 6 channels", |p| set(p, "groups", Op::GroupNorm(groups(4)))),
    ("gamma has 5 entries, 6", |p| set(p, "groups", Op::GroupNorm(GroupNorm { gamma: vec![0.0; 5], ..groups(3) }))),
    ("beta has 7 entries, 6", |p| set(p, "groups", Op::GroupNorm(GroupNorm { beta: vec![0.0; 7], ..groups(3) }))),
    ("gamma of channel 0 is not", |p| set(p, "groups", Op::GroupNorm(GroupNorm { gamma: vec![f32::NAN; 6], ..groups(3) }))),
    ("beta of channel 0 is not", |p| set(p, "groups", Op::GroupNorm(GroupNorm { beta: vec![f32::INFINITY; 6], ..groups(3) }))),
    ("(groups): eps is -1", |p| set(p, "groups", Op::GroupNorm(GroupNorm { eps: -1.0, ..groups(3) }))),
    ("(groups): eps is NaN", |p| set(p, "groups", Op::GroupNorm(GroupNorm { eps: f32::NAN, ..groups(3) }))),
    // Shapes.
    ("(joined): has 0 operands, at least 1", |p| read(p, "joined", &[])),
    ("concat_channels needs operands of one kind", |p| read(p, "joined", &["conv", "sign"])),
    ("differ in the last axis only, not int[6, 5, 6] and int[3, 2, 6]", |p| read(p, "joined", &["conv", "pool"])),
    ("not real[1, 1, 6] and levels(8)[6, 5, 4]", |p| read(p, "joined", &["act", "@input"])),
    ("start has 2 entries, 1", |p| set(p, "part", Op::Slice { start: vec![0, 0], size: vec![10] })),
    ("size has 0 entries, 1", |p| set(p, "part", Op::Slice { start: vec![0], size: vec![] })),
    ("axis 0: 10 elements from 3 are no part of 12", |p| set(p, "part", Op::Slice { start: vec![3], size: vec![10] })),
    ("axis 0: 0 elements from 3 are no part", |p| set(p, "part", Op::Slice { start: vec![3], size: vec![0] })),
    ("elements from 18446744073709551615 are no part", |p| set(p, "part", Op::Slice { start: vec![usize::MAX], size: vec![10] })),
    ("real[1, 1, 12] has another number of elements than real[2, 5]", |p| set(p, "flat", Op::Reshape { shape: vec![2, 5] })),
    ("(flat): rank 0 is not", |p| set(p, "flat", Op::Reshape { shape: vec![] })),
    ("(flat): rank 5 is not", |p| set(p, "flat", Op::Reshape { shape: vec![1, 1, 1, 1, 12] })),
    ("(flat): an axis has size zero", |p| set(p, "flat", Op::Reshape { shape: vec![0] })),
    ("perm [0, 1] is no permutation of 3 axes", |p| set(p, "turned", Op::Transpose { perm: vec![0, 1] })),
    ("perm [0, 1, 1] is no permutation", |p| set(p, "turned", Op::Transpose { perm: vec![0, 1, 1] })),
    ("perm [0, 1, 3] is no permutation", |p| set(p, "turned", Op::Transpose { perm: vec![0, 1, 3] })),
];

#[test]
fn every_invariant_is_checked() {
    for (word, spoil) in CASES {
        let mut program = good();
        spoil(&mut program);
        let errors = verify(&program).expect_err(word).to_string();
        assert!(errors.contains(word), "{word:?} is not in: {errors}");
    }
}

/// The row of weights `w` over integers from `min` to `max`, which a relu or a bias makes.
fn over_ints(min: i32, max: i32, w: &[i8], bias: i32) -> Result<Option<IntRange>, String> {
    let mut b = ProgramBuilder::new("p", Kind::Levels(1), &[1]);
    let spread = i64::from(max) - i64::from(min);
    // A sum of one code of 0 or 1 has the two values; a wide spread needs several 8-bit weights.
    let step = i8::try_from(spread).map_err(|_| "too wide".to_string())?;
    let one = Weights::Int8(Matrix::from_fn(w.len(), 1, |_, _| step));
    let ints = b.dense("ints", b.input(), one, Some(vec![min; w.len()]));
    let row = Weights::Int8(Matrix::from_fn(1, w.len(), |_, col| w[col]));
    let op = Op::Dense {
        weights: row,
        bias: Some(vec![bias]),
    };
    let sum = b.try_node("sum", op, &[ints]);
    sum.map(|id| b.range(id))
        .map_err(|errors| errors.to_string())
}

#[test]
fn sums_of_integers_fit_in_every_order() {
    let range = |min, max| Ok(Some(IntRange { min, max }));
    assert_eq!(over_ints(5, 10, &[1, 1, -1], 0), range(0, 15));
    assert_eq!(over_ints(-3, 4, &[2, -3], 1), range(1 - 6 - 12, 1 + 8 + 9));
    let far = 1_100_000_000;
    // The sum is small, but both positive terms together are not.
    let error = over_ints(far, far + 1, &[1, 1, -1, -1], 0).unwrap_err();
    assert!(error.contains("outside i32"), "{error}");
    assert!(over_ints(far, far + 1, &[1, -1], 0).is_ok());
    // The bias may come first, last or in between.
    assert!(over_ints(far, far + 1, &[1], -far).is_ok());
    let error = over_ints(far, far + 1, &[2], -far).unwrap_err();
    assert!(error.contains("outside i32"), "{error}");
}

#[test]
fn a_window_may_use_any_padding_that_leaves_a_tap() {
    for size in 1..=4usize {
        for kernel in 1..=3 {
            for stride in 1..=3 {
                for dilation in 1..=3 {
                    for before in 0..=4 {
                        for after in 0..=4 {
                            let window = Window {
                                kernel: [1, kernel],
                                stride: [1, stride],
                                dilation: [1, dilation],
                                pads: [0, before, 0, after],
                            };
                            check_taps(size, window);
                        }
                    }
                }
            }
        }
    }
}

/// Compares the verifier with a look at every position.
fn check_taps(width: usize, window: Window) {
    let mut b = ProgramBuilder::new("p", Kind::Int, &[1, width, 1]);
    let is_accepted = b
        .try_node("pool", Op::MaxPool(window), &[ValueId(0)])
        .is_ok();
    let Some([_, n_outputs]) = window.output([1, width]) else {
        assert!(!is_accepted, "{width} {window:?}");
        return;
    };
    let sees = |at: usize| {
        (0..window.kernel[1]).any(|tap| {
            let x = (at * window.stride[1] + tap * window.dilation[1]) as i64;
            (0..width as i64).contains(&(x - window.pads[1] as i64))
        })
    };
    assert_eq!(is_accepted, (0..n_outputs).all(sees), "{width} {window:?}");
}

#[test]
fn the_builder_refuses_what_is_wrong_and_goes_on() {
    let mut b = ProgramBuilder::new("p", Kind::Real, &[4]);
    let x = b.try_node("x", Op::Relu, &[b.input()]).unwrap();
    for (name, op, inputs, word) in [
        ("x", Op::Relu, vec![x], "another node has the same name"),
        ("a b", Op::Relu, vec![x], "is not 1 to 64"),
        ("y", Op::Relu, vec![ValueId(7)], "not an earlier value"),
        ("y", Op::Planes, vec![x], "planes cannot read"),
        ("y", Op::Add, vec![x], "exactly 2 needed"),
    ] {
        let error = b.try_node(name, op, &inputs).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    let y = b.try_node("y", Op::Add, &[x, x]).unwrap();
    assert_eq!(b.ty(y).unwrap().to_string(), "real[4]");
    assert_eq!(b.ty(ValueId(3)), None);
    assert_eq!(b.range(y), None);
    assert_eq!(b.finish(y).unwrap().nodes.len(), 2);
    let mut b = ProgramBuilder::new("p", Kind::Real, &[0]);
    let error = b.try_node("x", Op::Relu, &[ValueId(0)]).unwrap_err();
    assert!(error.to_string().contains("itself malformed"), "{error}");
}

#[test]
fn unused_names_are_legal_and_unused() {
    let mut b = ProgramBuilder::new("p", Kind::Real, &[4]);
    assert_eq!(b.unused_name("/layer1/Conv:0"), "_layer1_Conv_0");
    assert_eq!(b.unused_name(""), "_");
    assert_eq!(b.unused_name("größe"), "gr__e");
    let long = "x".repeat(100);
    let mut x = b.input();
    for n in 1..=12 {
        let name = b.unused_name(&long);
        assert_eq!(name.len(), 64);
        assert!(n == 1 || name.ends_with(&format!("x{n}")), "{name}");
        x = b.try_node(&name, Op::Relu, &[x]).unwrap();
    }
    b.finish(x).unwrap();
}

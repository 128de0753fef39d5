//! One case for every way a batch can be wrong.

use onebit_model::builder::ProgramBuilder;
use onebit_model::program::{Kind, Program};
use onebit_model::weights::{BitMatrix, Weights};
use onebit_run::{InputBatch, OutputBatch, Plan, PlanError, PlanOptions, RunError, Session};

fn program(kind: Kind) -> Program {
    let mut builder = ProgramBuilder::new("small", kind, &[3]);
    let weights = Weights::Bits(BitMatrix::from_fn(2, 3, |row, col| row == col));
    let sums = builder.dense("fc", builder.input(), weights, None);
    builder.finish(sums).expect("the program is well formed")
}

fn session(kind: Kind) -> Session {
    Plan::new(&program(kind), &PlanOptions::default())
        .expect("a plan")
        .session()
        .expect("a session")
}

#[test]
fn inputs_of_another_kind_are_refused() {
    let error = session(Kind::Bits).run(InputBatch::Real(&[0.0; 3]), OutputBatch::Int(&mut [0; 2]));
    assert_eq!(
        error,
        Err(RunError::InputKind {
            found: "floats",
            wanted: "bits[3]".into()
        })
    );
}

#[test]
fn inputs_that_hold_part_of_an_image_are_refused() {
    let error =
        session(Kind::Levels(8)).run(InputBatch::Levels(&[0; 4]), OutputBatch::Int(&mut [0; 2]));
    assert_eq!(
        error,
        Err(RunError::InputLength {
            found: 4,
            per_image: 3
        })
    );
}

#[test]
fn codes_too_large_for_the_input_are_refused() {
    let codes = [0, 7, 1, 2, 8, 0];
    let error =
        session(Kind::Levels(3)).run(InputBatch::Levels(&codes), OutputBatch::Int(&mut [0; 4]));
    let wanted = "levels(3)[3]".into();
    assert_eq!(
        error,
        Err(RunError::InputValue {
            image: 1,
            element: 1,
            value: 8,
            wanted
        })
    );
}

#[test]
fn signed_bytes_other_than_one_are_no_bits() {
    let mut out = [0; 2];
    let mut session = session(Kind::Bits);
    session
        .run(InputBatch::Int8(&[1, -1, 1]), OutputBatch::Int(&mut out))
        .expect("a run");
    assert_eq!(out, [1, -3]);
    let error = session.run(InputBatch::Int8(&[1, 0, 1]), OutputBatch::Int(&mut out));
    assert!(matches!(
        error,
        Err(RunError::InputValue {
            image: 0,
            element: 1,
            value: 0,
            ..
        })
    ));
}

#[test]
fn outputs_of_another_kind_or_length_are_refused() {
    let codes = InputBatch::Levels(&[0; 6]);
    let error = session(Kind::Levels(8)).run(codes, OutputBatch::Real(&mut [0.0; 4]));
    assert_eq!(
        error,
        Err(RunError::OutputKind {
            found: "floats",
            wanted: "int[2]".into()
        })
    );
    let error = session(Kind::Levels(8)).run(codes, OutputBatch::Int(&mut [0; 5]));
    assert_eq!(
        error,
        Err(RunError::OutputLength {
            found: 5,
            wanted: 4,
            images: 2
        })
    );
}

#[test]
fn an_empty_batch_is_fine() {
    session(Kind::Bits)
        .run(InputBatch::PackedBits(&[]), OutputBatch::Int(&mut []))
        .expect("a run");
}

#[test]
fn programs_and_options_are_checked() {
    let mut broken = program(Kind::Bits);
    broken.output.0 = 9;
    assert!(matches!(
        Plan::new(&broken, &PlanOptions::default()),
        Err(PlanError::Invalid(_))
    ));
    let options = PlanOptions {
        threads: 0,
        ..PlanOptions::default()
    };
    assert!(matches!(
        Plan::new(&program(Kind::Bits), &options),
        Err(PlanError::Threads { .. })
    ));
}

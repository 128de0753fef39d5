//! What can go wrong between a Program and its answers.

use onebit_model::VerifyErrors;

/// Why a Plan or a Session could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The Program is not well formed.
    #[error("the program is not valid: {0}")]
    Invalid(#[from] VerifyErrors),
    /// No threads, or more than make sense.
    #[error("{threads} threads were asked for; use 1 to {max}")]
    Threads {
        /// What was asked for.
        threads: usize,
        /// The most that is possible.
        max: usize,
    },
    /// The system refused a thread.
    #[error("a worker thread could not be started: {0}; ask for fewer threads")]
    Spawn(#[from] std::io::Error),
}

/// Why a batch could not be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// The input is of another kind than the Program reads.
    #[error("the input holds {found}, but the program reads {wanted}")]
    InputKind {
        /// What the batch holds.
        found: &'static str,
        /// The Program's input type.
        wanted: String,
    },
    /// The input does not hold whole images.
    #[error("the input has {found} elements, which is not a whole number of images of {per_image}")]
    InputLength {
        /// Elements (words, for packed bits) in the batch.
        found: usize,
        /// Elements (words, for packed bits) of one image.
        per_image: usize,
    },
    /// An element is outside the input's type.
    #[error("image {image}, element {element} of the input is {value}, outside {wanted}")]
    InputValue {
        /// Index of the image in the batch.
        image: usize,
        /// Index of the element in the image.
        element: usize,
        /// The element.
        value: i64,
        /// The Program's input type.
        wanted: String,
    },
    /// The output is of another kind than the Program answers with.
    #[error("the output holds {found}, but the program answers with {wanted}")]
    OutputKind {
        /// What the batch holds.
        found: &'static str,
        /// The type of the Program's answer.
        wanted: String,
    },
    /// The output has not room for exactly one answer per image.
    #[error("the output has {found} elements; {images} images need {wanted}")]
    OutputLength {
        /// Elements in the batch.
        found: usize,
        /// Elements needed.
        wanted: usize,
        /// Images in the input.
        images: usize,
    },
    /// A worker thread panicked, which is a bug in onebit.
    #[error("a worker thread failed; please report this as a bug of onebit")]
    Worker,
}

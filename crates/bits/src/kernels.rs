//! The list of kernels.
//!
//! A kernel exists when it is in [`KERNELS`]: tests and benchmarks go through the list with an
//! exhaustive `match`, so that a new kernel cannot be left out of either.

/// A function with one implementation per tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// [`crate::train::pack_signs`].
    PackSigns,
    /// [`crate::train::pack_nonzero`].
    PackNonzero,
    /// [`crate::train::unpack_signs`].
    UnpackSigns,
    /// [`crate::train::unpack_ternary`].
    UnpackTernary,
    /// [`crate::train::xnor_gemm_f32`].
    XnorGemm,
    /// [`crate::train::ternary_gemm_f32`].
    TernaryGemm,
    /// [`crate::dense::dense_scores`], with and without a mask, of bits and of codes.
    DenseScores,
    /// [`crate::dense::dense_bits`], with and without a mask, of bits and of codes.
    DenseBits,
    /// [`crate::sliced::dense_bits_sliced`]; its scalar twin is [`crate::dense::dense_bits`].
    DenseBitsSliced,
    /// [`crate::dense::threshold_codes`].
    ThresholdCodes,
    /// [`crate::dense::code_planes`].
    CodePlanes,
    /// [`crate::conv::Conv::run_bits`], with and without a mask, to every [`crate::conv::Output`].
    ConvBits,
    /// [`crate::conv::Conv::run_codes`], to every [`crate::conv::Output`].
    ConvCodes,
    /// [`crate::conv::Conv::run_floats`].
    ConvFloats,
    /// [`crate::chain::chain_ints`] and [`crate::chain::chain_reals`].
    Chain,
    /// [`crate::chain::FloatWindow::run`]: pools and depthwise convolutions.
    FloatWindow,
    /// [`crate::train_conv::FloatConv::product`], of both precisions.
    TrainProduct,
    /// [`crate::train_conv::FloatConv::input_gradient`], of both precisions.
    TrainInputGradient,
    /// [`crate::train_conv::weight_gradient`], of both precisions.
    TrainWeightGradient,
    /// [`crate::train_conv::SignConv::product`].
    TrainSigns,
}

/// Every kernel.
pub const KERNELS: [Kernel; 20] = [
    Kernel::PackSigns,
    Kernel::PackNonzero,
    Kernel::UnpackSigns,
    Kernel::UnpackTernary,
    Kernel::XnorGemm,
    Kernel::TernaryGemm,
    Kernel::DenseScores,
    Kernel::DenseBits,
    Kernel::DenseBitsSliced,
    Kernel::ThresholdCodes,
    Kernel::CodePlanes,
    Kernel::ConvBits,
    Kernel::ConvCodes,
    Kernel::ConvFloats,
    Kernel::Chain,
    Kernel::FloatWindow,
    Kernel::TrainProduct,
    Kernel::TrainInputGradient,
    Kernel::TrainWeightGradient,
    Kernel::TrainSigns,
];

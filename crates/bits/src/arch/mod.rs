//! The kernels of each tier: thin wrappers that compile `generic` with the tier's instructions.
//!
//! Owns the macro that writes them. A tier's folder implements the traits of [`crate::vector`] for
//! its register and calls the macro once.

/// Defines a tier's kernels: `generic` compiled with the tier's instructions.
///
/// `$mr` images by `$nv` registers is the block of a counting product; `$n8` registers hold 8 words.
#[allow(unused_macros, reason = "a machine may have the scalar twins only")]
macro_rules! wrappers {
    ($vector:ty, $features:literal, $mr:literal, $nv:literal, $n8:literal) => {
        wrappers!(@each $vector, $features,
            pack_signs(values: &[f32], n_cols: usize, words: &mut [u64])
                = crate::generic::signs::pack_signs::<$vector>;
            pack_nonzero(values: &[f32], n_cols: usize, sign: &mut [u64], mask: &mut [u64])
                = crate::generic::signs::pack_nonzero::<$vector>;
            unpack_signs(words: &[u64], n_cols: usize, values: &mut [f32])
                = crate::generic::signs::unpack_signs::<$vector>;
            unpack_ternary(sign: &[u64], mask: &[u64], n_cols: usize, values: &mut [f32])
                = crate::generic::signs::unpack_ternary::<$vector>;
            count_dots(operands: Operands<'_>, sink: &mut Dots<'_>)
                = crate::generic::count::count::<$vector, _, $mr, $nv, $n8, false>;
            count_scores(operands: Operands<'_>, sink: &mut Scores<'_>)
                = crate::generic::count::count::<$vector, _, $mr, $nv, $n8, false>;
            count_scores_masked(operands: Operands<'_>, sink: &mut Scores<'_>)
                = crate::generic::count::count::<$vector, _, $mr, $nv, $n8, true>;
            count_compared(operands: Operands<'_>, sink: &mut Compared<'_>)
                = crate::generic::count::count::<$vector, _, $mr, $nv, $n8, false>;
            count_compared_masked(operands: Operands<'_>, sink: &mut Compared<'_>)
                = crate::generic::count::count::<$vector, _, $mr, $nv, $n8, true>;
            sliced(product: SlicedProduct<'_>)
                = crate::generic::sliced::sliced::<$vector>;
            ternary_dots(product: TernaryDots<'_>)
                = crate::generic::ternary::ternary_dots::<$vector, $mr, $n8>;
            peak(x: &[u64], rounds: usize, checksum: &mut u64)
                = crate::generic::peak::peak::<$vector>;
            threshold_codes(codes: &[u8], n: usize, bounds: CodeBounds<'_>, out: &mut [u64])
                = crate::generic::codes::threshold_codes::<$vector>;
            code_planes(codes: &[u8], n: usize, n_planes: usize, out: &mut [u64])
                = crate::generic::codes::code_planes::<$vector>;
        );
    };
    (@each $vector:ty, $features:literal,
        $($name:ident($($arg:ident: $ty:ty),*) = $generic:expr;)*) => {
        use crate::generic::codes::CodeBounds;
        use crate::generic::count::Operands;
        use crate::generic::sinks::{Compared, Dots, Scores};
        use crate::generic::sliced::SlicedProduct;
        use crate::generic::ternary::TernaryDots;
        $(
            /// The algorithm of the same name in `generic`.
            ///
            /// # Safety
            ///
            /// The CPU has the tier's instructions, and lengths are as `generic` states.
            #[target_feature(enable = $features)]
            pub(crate) unsafe fn $name($($arg: $ty),*) {
                // SAFETY: the caller's promise.
                unsafe { $generic($($arg),*) }
            }
        )*
    };
}
#[allow(unused_imports, reason = "as the macro")]
pub(crate) use wrappers;

mod lane_wrappers;
pub(crate) use lane_wrappers::lane_wrappers;
#[allow(unused_imports, reason = "as the macros")]
pub(crate) use lane_wrappers::one;
mod train_wrappers;
pub(crate) use train_wrappers::train_wrappers;

#[cfg(target_arch = "aarch64")]
pub(crate) mod aarch64;
pub(crate) mod plain;
pub(crate) mod scalar;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub(crate) mod wasm32;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86_64;

#[cfg(test)]
mod tests;

//! The macro that writes a tier's kernels of the training step.

/// Defines kernels: `generic::train` compiled with the tier's instructions.
///
/// `$nv` registers by `$mr` positions is the block of a convolution, of which `$n1` registers are a panel; `$onv`
/// registers by `$omr` rows is that of a sum of outer products.
macro_rules! train_wrappers {
    ($attribute:tt, $lanes:ty, $multiply:ty, $nv:literal, $n1:literal, $mr:literal, $onv:literal, $omr:literal) => {
        crate::arch::train_wrappers!(@functions $attribute
            gather(product: Gather<'_>)
                = crate::generic::train::gather::<$lanes, $multiply, $nv, $n1, $mr>;
            outer(product: Outer<'_>)
                = crate::generic::train::outer::<$lanes, $multiply, $onv, $omr>;
            narrow(values: &[f32], out: &mut [u16])
                = crate::generic::train::narrow;
            round(values: &[f32], out: &mut [u32])
                = crate::generic::train::round;
            pair(first: &[f32], second: &[f32], out: &mut [u32])
                = crate::generic::train::pair;
        );
    };
    (@functions $attribute:tt $($name:ident($($arg:ident: $ty:ty),*) = $generic:expr;)*) => {
        use crate::generic::train::{Gather, Outer};
        $(
            /// The algorithm of the same name in `generic`.
            ///
            /// # Safety
            ///
            /// The CPU has the tier's instructions, and pointers and lengths are as `generic` states.
            #$attribute
            pub(crate) unsafe fn $name($($arg: $ty),*) {
                // SAFETY: the caller's promise.
                unsafe { $generic($($arg),*) }
            }
        )*
    };
}
pub(crate) use train_wrappers;

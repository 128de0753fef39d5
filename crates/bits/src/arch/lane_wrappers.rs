//! The macros that write a tier's register of lanes and its kernels over [`crate::lanes`].

/// Defines kernels: `generic` compiled with the tier's instructions.
///
/// `$nv` registers of channels by `$mr` positions is the block of a convolution, and `$mh` positions that of what
/// is left; `$mr1` and `$mh1` are the same for blocks of one register.
macro_rules! lane_wrappers {
    ($lanes:ty, $features:literal, $nv:literal, $mr:literal, $mh:literal, $mr1:literal, $mh1:literal) => {
        crate::arch::lane_wrappers!(@each [target_feature(enable = $features)] $lanes, $nv, $mr, $mh, $mr1, $mh1);
    };
    // A tier that every machine has.
    ($lanes:ty, $nv:literal, $mr:literal, $mh:literal, $mr1:literal, $mh1:literal) => {
        crate::arch::lane_wrappers!(@each [inline] $lanes, $nv, $mr, $mh, $mr1, $mh1);
    };
    (@each $attribute:tt $lanes:ty, $nv:literal, $mr:literal, $mh:literal, $mr1:literal, $mh1:literal) => {
        crate::arch::lane_wrappers!(@functions $attribute
            conv_bits(walk: Walk<'_>, finish: &mut Finish<'_>)
                = crate::generic::conv::convolve::<$lanes, crate::generic::conv::Differing, $nv, $mr, $mh, $mr1, $mh1>;
            conv_bits_masked(walk: Walk<'_>, finish: &mut Finish<'_>)
                = crate::generic::conv::convolve::<$lanes, crate::generic::conv::DifferingMasked, $nv, $mr, $mh, $mr1, $mh1>;
            conv_codes(walk: Walk<'_>, finish: &mut Finish<'_>)
                = crate::generic::conv::convolve::<$lanes, crate::generic::conv::Codes, $nv, $mr, $mh, $mr1, $mh1>;
            conv_floats(walk: Walk<'_>, finish: &mut Finish<'_>)
                = crate::generic::conv::convolve::<$lanes, crate::generic::conv::Floats, $nv, $mr, $mh, $mr1, $mh1>;
            elementwise(values: Values<'_>, n: usize, chain: &mut Chain<'_>)
                = crate::generic::pixels::elementwise::<$lanes>;
            windows(windows: Windows<'_>, chain: &mut Chain<'_>)
                = crate::generic::pixels::windows::<$lanes>;
            pack_pixels(values: &[f32], channels: usize, at: f32, words: &mut [u32])
                = crate::generic::signs::pack_pixels::<$lanes>;
        );
    };
    (@functions $attribute:tt $($name:ident($($arg:ident: $ty:ty),*) = $generic:expr;)*) => {
        use crate::generic::conv::Walk;
        use crate::generic::finish::{Chain, Finish};
        use crate::generic::pixels::{Values, Windows};
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
pub(crate) use lane_wrappers;

/// Methods of `Lanes` that are one intrinsic each.
#[allow(
    unused_macros,
    reason = "a machine may have the portable register only"
)]
macro_rules! one {
    ($($name:ident($a:ident $(, $arg:ident)*) = $body:expr;)*) => {
        $(
            #[inline(always)]
            unsafe fn $name(self $(, $arg: Self)*) -> Self {
                let $a = self;
                // SAFETY: the trait's contract.
                unsafe { $body }
            }
        )*
    };
}
#[allow(unused_imports, reason = "as the macro")]
pub(crate) use one;

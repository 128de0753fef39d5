//! From an [`crate::Isa`] to the kernel of its tier.

/// Calls the tier's kernel, or the scalar twin of the same name.
///
/// The caller has checked the lengths that `generic` states; the `Isa` proves the instructions.
macro_rules! dispatch {
    ($isa:expr, $kernel:ident($($arg:expr),*)) => {
        match $isa.tier() {
            // SAFETY: the `Isa` proves the instructions, and the lengths were checked.
            #[cfg(target_arch = "x86_64")]
            Tier::Avx2 => unsafe { $crate::arch::x86_64::avx2::$kernel($($arg),*) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512 => unsafe { $crate::arch::x86_64::avx512::$kernel($($arg),*) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Tier::Neon => unsafe { $crate::arch::aarch64::neon::$kernel($($arg),*) },
            // SAFETY: as above.
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Tier::Simd128 => unsafe { $crate::arch::wasm32::simd128::$kernel($($arg),*) },
            _ => $crate::arch::scalar::$kernel($($arg),*),
        }
    };
}
pub(crate) use dispatch;

/// As [`dispatch`], for the kernels over [`crate::lanes`]; the scalar tier runs them on arrays.
macro_rules! dispatch_lanes {
    ($isa:expr, $kernel:ident($($arg:expr),*)) => {
        match $isa.tier() {
            // SAFETY: the `Isa` proves the instructions, and the lengths were checked.
            #[cfg(target_arch = "x86_64")]
            Tier::Avx2 => unsafe { $crate::arch::x86_64::lanes256::$kernel($($arg),*) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512 => unsafe { $crate::arch::x86_64::lanes512::$kernel($($arg),*) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Tier::Neon => unsafe { $crate::arch::aarch64::lanes128::$kernel($($arg),*) },
            // SAFETY: as above.
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Tier::Simd128 => unsafe { $crate::arch::wasm32::lanes128::$kernel($($arg),*) },
            // SAFETY: as above; every machine has the instructions.
            _ => unsafe { $crate::arch::plain::$kernel($($arg),*) },
        }
    };
}
pub(crate) use dispatch_lanes;

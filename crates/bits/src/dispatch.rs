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
            _ => $crate::arch::scalar::$kernel($($arg),*),
        }
    };
}
pub(crate) use dispatch;

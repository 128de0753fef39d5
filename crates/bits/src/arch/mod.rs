//! The kernels of each tier: thin wrappers that compile `generic` with the tier's instructions.

pub(crate) mod scalar;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86_64;

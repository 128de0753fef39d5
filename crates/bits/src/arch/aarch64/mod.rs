//! AArch64 tiers.

pub(crate) mod lanes128;
pub(crate) mod neon;

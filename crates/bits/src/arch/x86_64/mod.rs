//! x86-64 tiers.

pub(crate) mod avx2;
pub(crate) mod avx512;
pub(crate) mod lanes256;
pub(crate) mod lanes512;
pub(crate) mod train;

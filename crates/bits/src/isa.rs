//! Which instruction set the kernels use.
//!
//! Owns [`Isa`], a value whose existence proves that this CPU has the instructions of its tier, and
//! the detection behind it. Kernels take an `Isa` and dispatch on it; nothing else in the project
//! asks the CPU what it can do.

use core::fmt;

/// A family of instructions that kernels are written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Plain Rust on 64-bit words; every machine has it.
    Scalar,
    /// WebAssembly 128-bit vectors, in a module that was built with them.
    Simd128,
    /// ARM 128-bit vectors, which every AArch64 CPU has.
    Neon,
    /// x86-64 256-bit integer vectors.
    Avx2,
    /// x86-64 512-bit vectors with `VPOPCNTDQ`, `BW`, `DQ`, `VL`, `VBMI` and `VNNI` (Ice Lake, Zen 4 and later).
    Avx512,
}

impl Tier {
    /// Every tier there is, slowest first.
    pub const ALL: [Tier; 5] = [
        Tier::Scalar,
        Tier::Simd128,
        Tier::Neon,
        Tier::Avx2,
        Tier::Avx512,
    ];

    /// The name used by `ONEBIT_ISA` and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Tier::Scalar => "scalar",
            Tier::Simd128 => "simd128",
            Tier::Neon => "neon",
            Tier::Avx2 => "avx2",
            Tier::Avx512 => "avx512",
        }
    }
}

/// Proof that this CPU has the instructions of one [`Tier`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Isa {
    // Private: an `Isa` of a tier is only made after the CPU was found to have it.
    tier: Tier,
}

impl Isa {
    /// The tier that every CPU has.
    pub const SCALAR: Isa = Isa { tier: Tier::Scalar };

    /// The fastest tier this CPU has.
    pub fn best() -> Isa {
        let tier = Tier::ALL
            .into_iter()
            .rfind(|&tier| detect(tier))
            .unwrap_or(Tier::Scalar);
        Isa { tier }
    }

    /// The given tier, or an error when this CPU lacks it.
    pub fn new(tier: Tier) -> Result<Isa, IsaError> {
        if detect(tier) {
            Ok(Isa { tier })
        } else {
            Err(IsaError::Missing {
                name: tier.name(),
                best: Isa::best().name(),
            })
        }
    }

    /// The tier of this name: `scalar`, `avx2`, `avx512`, `neon` or `simd128`.
    pub fn from_name(name: &str) -> Result<Isa, IsaError> {
        match Tier::ALL.into_iter().find(|tier| tier.name() == name) {
            Some(tier) => Isa::new(tier),
            None => Err(IsaError::Unknown),
        }
    }

    /// The tier that the environment variable `ONEBIT_ISA` names, or the best one when it is not set.
    #[cfg(feature = "std")]
    pub fn from_env() -> Result<Isa, IsaError> {
        match std::env::var_os("ONEBIT_ISA") {
            None => Ok(Isa::best()),
            Some(name) => Isa::from_name(name.to_str().ok_or(IsaError::Unknown)?),
        }
    }

    /// Every tier this CPU has, slowest first.
    pub fn available() -> impl Iterator<Item = Isa> {
        Tier::ALL
            .into_iter()
            .filter(|&tier| detect(tier))
            .map(|tier| Isa { tier })
    }

    /// The tier this value proves.
    pub fn tier(self) -> Tier {
        self.tier
    }

    /// The tier's name, as `ONEBIT_ISA` spells it.
    pub fn name(self) -> &'static str {
        self.tier.name()
    }
}

impl Isa {
    /// Whether the tier's registers can be used with fused multiplications.
    pub(crate) fn has_fused(self) -> bool {
        match self.tier {
            Tier::Avx2 | Tier::Avx512 => has_fma(),
            _ => false,
        }
    }

    /// Whether the tier's registers can be used with products of bfloat16 pairs.
    pub(crate) fn has_bfloat16(self) -> bool {
        self.tier == Tier::Avx512 && has_avx512bf16()
    }
}

impl fmt::Debug for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Isa({})", self.name())
    }
}

/// Why an [`Isa`] could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IsaError {
    /// The name is not one of a tier.
    #[error(
        "ONEBIT_ISA names no instruction set; use scalar, avx2, avx512, neon or simd128, or unset it"
    )]
    Unknown,
    /// The CPU lacks the tier's instructions, or this build has no kernels for it.
    #[error(
        "the instruction set `{name}` cannot be used here; use `{best}` or `scalar`, or unset ONEBIT_ISA"
    )]
    Missing {
        /// The tier that was asked for.
        name: &'static str,
        /// The best tier this CPU has.
        best: &'static str,
    },
}

/// Whether this CPU has the instructions of a tier.
fn detect(tier: Tier) -> bool {
    match tier {
        Tier::Scalar => true,
        Tier::Simd128 => cfg!(all(target_arch = "wasm32", target_feature = "simd128")),
        // The kernels take the first byte of a word for its least significant one.
        Tier::Neon => cfg!(all(
            target_arch = "aarch64",
            target_feature = "neon",
            target_endian = "little"
        )),
        Tier::Avx2 => has_avx2(),
        Tier::Avx512 => has_avx512(),
    }
}

#[cfg(all(target_arch = "x86_64", feature = "std"))]
fn has_avx2() -> bool {
    std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("popcnt")
}

#[cfg(all(target_arch = "x86_64", feature = "std"))]
fn has_avx512() -> bool {
    has_avx2()
        && std::is_x86_feature_detected!("avx512f")
        && std::is_x86_feature_detected!("avx512bw")
        && std::is_x86_feature_detected!("avx512dq")
        && std::is_x86_feature_detected!("avx512vl")
        && std::is_x86_feature_detected!("avx512vbmi")
        && std::is_x86_feature_detected!("avx512vpopcntdq")
        && std::is_x86_feature_detected!("avx512vnni")
}

#[cfg(all(target_arch = "x86_64", feature = "std"))]
fn has_fma() -> bool {
    std::is_x86_feature_detected!("fma")
}

#[cfg(all(target_arch = "x86_64", feature = "std"))]
fn has_avx512bf16() -> bool {
    std::is_x86_feature_detected!("avx512bf16")
}

#[cfg(not(all(target_arch = "x86_64", feature = "std")))]
fn has_fma() -> bool {
    cfg!(all(target_arch = "x86_64", target_feature = "fma"))
}

#[cfg(not(all(target_arch = "x86_64", feature = "std")))]
fn has_avx512bf16() -> bool {
    cfg!(all(target_arch = "x86_64", target_feature = "avx512bf16"))
}

#[cfg(not(all(target_arch = "x86_64", feature = "std")))]
fn has_avx2() -> bool {
    cfg!(all(
        target_arch = "x86_64",
        target_feature = "avx2",
        target_feature = "popcnt"
    ))
}

#[cfg(not(all(target_arch = "x86_64", feature = "std")))]
fn has_avx512() -> bool {
    has_avx2()
        && cfg!(all(
            target_feature = "avx512f",
            target_feature = "avx512bw",
            target_feature = "avx512dq",
            target_feature = "avx512vl",
            target_feature = "avx512vbmi",
            target_feature = "avx512vpopcntdq",
            target_feature = "avx512vnni"
        ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_name_is_an_error() {
        assert_eq!(Isa::from_name("sse9"), Err(IsaError::Unknown));
    }

    #[test]
    fn a_tier_of_another_machine_is_an_error() {
        let foreign = if cfg!(target_arch = "aarch64") {
            "avx2"
        } else {
            "neon"
        };
        assert!(matches!(
            Isa::from_name(foreign),
            Err(IsaError::Missing { .. })
        ));
    }

    #[test]
    fn a_target_with_vectors_of_its_own_uses_them() {
        let wanted = if cfg!(target_arch = "aarch64") {
            Some("neon")
        } else if cfg!(target_arch = "wasm32") {
            Some("simd128")
        } else {
            None
        };
        if let Some(name) = wanted {
            assert_eq!(Isa::best().name(), name);
        }
    }

    #[test]
    fn every_tier_is_found_by_its_name() {
        for tier in Tier::ALL {
            assert_eq!(Isa::from_name(tier.name()), Isa::new(tier));
        }
    }

    #[test]
    fn scalar_comes_first_and_best_comes_last() {
        assert_eq!(Isa::available().next(), Some(Isa::SCALAR));
        assert_eq!(Isa::available().last(), Some(Isa::best()));
    }
}

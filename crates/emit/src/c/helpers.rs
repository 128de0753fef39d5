//! The C text of intrinsics: counting bits, square roots, bits of reals.
//!
//! Bits are counted with what the compiler's macros promise: NEON, AVX2, an instruction that counts a word, or
//! else three words at a time: the third one's bits are added to the pairs of the first two, so that a group costs 19
//! operations, and one multiplication, or on ARM one addition of four bytes, ends its sum.

use super::print::Needs;
use crate::loops::WordBits;

/// The beginning of a file that needs these.
pub(super) fn helpers(needs: &Needs, word: WordBits) -> String {
    let mut text = String::new();
    if needs.has_reals {
        text.push_str(REALS);
    }
    if needs.has_infinity {
        text.push_str(INFINITY);
    }
    let needs_helper = |name: &str| needs.helpers.contains(name);
    let counts = ["ob_differ", "ob_differ_masked"];
    if counts.iter().any(|name| needs_helper(name)) {
        text.push_str(&counting(word));
    }
    if needs_helper("ob_differ") {
        text.push_str(&differ(Mask::None, word));
    }
    if needs_helper("ob_differ_masked") {
        text.push_str(&differ(Mask::Words, word));
    }
    if needs_helper("ob_from_bits") || needs_helper("ob_sqrt") {
        text.push_str(FROM_BITS);
    }
    if needs_helper("ob_sqrt") {
        text.push_str(SQRT);
    }
    text
}

const REALS: &str = r#"
/* Every operation on reals rounds once, to binary32: no wider intermediates, no fused multiply-add. */
#include <float.h>
#if defined(__FAST_MATH__)
#error "compile without -ffast-math: it changes results"
#endif
#if !defined(FLT_EVAL_METHOD) || FLT_EVAL_METHOD != 0
#error "floats must be computed as binary32: on 32-bit x86 compile with -msse2 -mfpmath=sse"
#endif
#if defined(__clang__) || !defined(__GNUC__)
#pragma STDC FP_CONTRACT OFF
#else
#pragma GCC optimize("fp-contract=off")
#endif
"#;

const INFINITY: &str = r#"
#if defined(__GNUC__)
#define OB_INFINITY __builtin_inff()
#else
#include <math.h>
#define OB_INFINITY INFINITY
#endif
"#;

const FROM_BITS: &str = r#"
#include <string.h>
/* The real of these bits. */
static inline float ob_from_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}
"#;

const SQRT: &str = r#"
/* The square root, rounded to nearest, bit by bit: exact on every machine and without a library. */
static float ob_sqrt(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if (!(x > 0.0f) || bits == 0x7f800000u) {
        return x < 0.0f ? ob_from_bits(0x7fc00000u) : x;
    }
    int32_t exponent = (int32_t)(bits >> 23) - 127;
    uint32_t rest = bits & 0x7fffffu;
    if (exponent == -127) {
        exponent = -126;
        while ((rest & 0x800000u) == 0u) {
            rest <<= 1;
            exponent--;
        }
    } else {
        rest |= 0x800000u;
    }
    if ((exponent & 1) != 0) {
        rest <<= 1;
        exponent--;
    }
    /* 25 bits of the root, the last of which rounds; there are no ties. */
    uint32_t root = 0, twice = 0;
    rest <<= 1;
    for (uint32_t bit = 0x1000000u; bit != 0u; bit >>= 1) {
        if (rest >= twice + bit) {
            rest -= twice + bit;
            twice += bit << 1;
            root += bit;
        }
        rest <<= 1;
    }
    root = (root + 1u) >> 1;
    return ob_from_bits(root + ((uint32_t)(exponent / 2 + 126) << 23));
}
"#;

fn counting(word: WordBits) -> String {
    let (ones, builtin, shift) = match word {
        WordBits::W32 => ("0xffffffffu", "__builtin_popcount", 24),
        WordBits::W64 => ("0xffffffffffffffffu", "__builtin_popcountll", 56),
    };
    format!(
        r#"
#if defined(__POPCNT__) || defined(__riscv_zbb) || defined(__wasm__)
#define OB_HAS_POPCOUNT 1
#endif
#define OB_M1 ((ob_word){ones} / 3u)
#define OB_M2 ((ob_word){ones} / 5u)
#define OB_M4 ((ob_word){ones} / 17u)

/* One bits of a word. */
static inline int32_t ob_popcount(ob_word x)
{{
#if defined(OB_HAS_POPCOUNT)
    return (int32_t){builtin}(x);
#else
    x -= (x >> 1) & OB_M1;
    x = (x & OB_M2) + ((x >> 2) & OB_M2);
    x = (x + (x >> 4)) & OB_M4;
    return (int32_t)((x * ((ob_word){ones} / 255u)) >> {shift});
#endif
}}
#if defined(__aarch64__) && defined(__ARM_NEON)
#include <arm_neon.h>
#elif defined(__AVX2__)
#include <immintrin.h>
#elif defined(__GNUC__) && defined(__ARM_FEATURE_SIMD32)
#include <arm_acle.h>
#endif
"#
    )
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mask {
    None,
    Words,
}

/// `ob_differ` or `ob_differ_masked`.
fn differ(mask: Mask, word: WordBits) -> String {
    let bits = word.bits();
    let at = |i: &str| match mask {
        Mask::None => format!("a[{i}] ^ b[{i}]"),
        Mask::Words => format!("(a[{i}] ^ b[{i}]) & mask[{i}]"),
    };
    let (name, params, about) = match mask {
        Mask::None => ("ob_differ", "", "Bits in which n words differ."),
        Mask::Words => (
            "ob_differ_masked",
            "const ob_word *mask, ",
            "Bits of the mask in which n words differ.",
        ),
    };
    let (neon_mask, avx_mask) = match mask {
        Mask::None => ("", ""),
        Mask::Words => (
            "\n        x = vandq_u$BITS(x, vld1q_u$BITS(mask + i));",
            "\n        x = _mm256_and_si256(x, _mm256_loadu_si256((const void *)(mask + i)));",
        ),
    };
    let (step_1, step_3) = match mask {
        Mask::None => ("a++, b++;", "a += 3, b += 3;"),
        Mask::Words => ("a++, b++, mask++;", "a += 3, b += 3, mask += 3;"),
    };
    let dsp = match word {
        WordBits::W32 => DSP,
        WordBits::W64 => "",
    };
    let ones = match word {
        WordBits::W32 => "0xffffffffu",
        WordBits::W64 => "0xffffffffffffffffu",
    };
    DIFFER
        .replace("$DSP", dsp)
        .replace("$NEON_MASK", neon_mask)
        .replace("$AVX_MASK", avx_mask)
        .replace("$NAME", name)
        .replace("$PARAMS", params)
        .replace("$ABOUT", about)
        .replace("$STEP_1", step_1)
        .replace("$STEP_3", step_3)
        .replace("$0", &at("0"))
        .replace("$1", &at("1"))
        .replace("$2", &at("2"))
        .replace("$X", &at("i"))
        .replace("$Y", &at("i + 1u"))
        .replace("$Z", &at("i + 2u"))
        .replace("$ONES", ones)
        .replace("$TOP", &(bits - 16).to_string())
        .replace("$N_NEON", &(128 / bits).to_string())
        .replace("$N_AVX", &(256 / bits).to_string())
        .replace("$BITS", &bits.to_string())
}

/// For ARM's DSP instructions, one of which adds four bytes to a sum. The empty assembly keeps the masks in registers:
/// an operation with a literal cannot shift its operand as well.
const DSP: &str = r#"#elif defined(__GNUC__) && defined(__ARM_FEATURE_SIMD32)
    uint32_t m1 = OB_M1, m2 = OB_M2, m4 = OB_M4, sum = 0;
    __asm__("" : "+r"(m1), "+r"(m2), "+r"(m4));
    for (; n >= 3u; n -= 3u) {
        ob_word x = $0;
        ob_word y = $1;
        ob_word z = $2;
        x = x - ((x >> 1) & m1) + (z & m1);
        y = y - ((y >> 1) & m1) + ((z >> 1) & m1);
        x = (x & m2) + ((x >> 2) & m2) + (y & m2) + ((y >> 2) & m2);
        sum = __usada8((x & m4) + ((x >> 4) & m4), 0, sum);
        $STEP_3
    }
    for (; n != 0u; n--) {
        ob_word x = $0;
        x -= (x >> 1) & m1;
        x = (x & m2) + ((x >> 2) & m2);
        sum = __usada8((x + (x >> 4)) & m4, 0, sum);
        $STEP_1
    }
    count = (int32_t)sum;
"#;

const DIFFER: &str = r#"
/* $ABOUT */
static int32_t $NAME(const ob_word *a, $PARAMSconst ob_word *b, uint32_t n)
{
    uint32_t i = 0;
    int32_t count = 0;
#if defined(__aarch64__) && defined(__ARM_NEON)
    uint32x4_t sums = vdupq_n_u32(0);
    for (; n - i >= $N_NEONu; i += $N_NEONu) {
        uint$BITSx$N_NEON_t x = veorq_u$BITS(vld1q_u$BITS(a + i), vld1q_u$BITS(b + i));$NEON_MASK
        sums = vpadalq_u16(sums, vpaddlq_u8(vcntq_u8(vreinterpretq_u8_u$BITS(x))));
    }
    count = (int32_t)vaddvq_u32(sums);
#elif defined(__AVX2__)
    const __m256i low = _mm256_set1_epi8(15);
    const __m256i table = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,
                                           0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    __m256i sums = _mm256_setzero_si256();
    for (; n - i >= $N_AVXu; i += $N_AVXu) {
        __m256i x = _mm256_xor_si256(_mm256_loadu_si256((const void *)(a + i)),
                                     _mm256_loadu_si256((const void *)(b + i)));$AVX_MASK
        __m256i counts = _mm256_add_epi8(_mm256_shuffle_epi8(table, _mm256_and_si256(x, low)),
            _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(x, 4), low)));
        sums = _mm256_add_epi64(sums, _mm256_sad_epu8(counts, _mm256_setzero_si256()));
    }
    __m128i halves = _mm_add_epi64(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
    count = _mm_cvtsi128_si32(halves) + _mm_cvtsi128_si32(_mm_unpackhi_epi64(halves, halves));
$DSP#elif !defined(OB_HAS_POPCOUNT)
    while (n - i >= 3u) {
        ob_word bytes = 0;
        uint32_t n_groups = (n - i) / 3u;
        if (n_groups > 9u) {
            n_groups = 9u;
        }
        for (; n_groups != 0u; n_groups--) {
            ob_word x = $X;
            ob_word y = $Y;
            ob_word z = $Z;
            x = x - ((x >> 1) & OB_M1) + (z & OB_M1);
            y = y - ((y >> 1) & OB_M1) + ((z >> 1) & OB_M1);
            x = (x & OB_M2) + ((x >> 2) & OB_M2) + (y & OB_M2) + ((y >> 2) & OB_M2);
            bytes += (x & OB_M4) + ((x >> 4) & OB_M4);
            i += 3u;
        }
        if (n - i < 3u) {
            for (; i < n; i++) {
                ob_word x = $X;
                x -= (x >> 1) & OB_M1;
                x = (x & OB_M2) + ((x >> 2) & OB_M2);
                bytes += (x + (x >> 4)) & OB_M4;
            }
        }
        bytes = (bytes & ((ob_word)$ONES / 257u)) + ((bytes >> 8) & ((ob_word)$ONES / 257u));
        count += (int32_t)((bytes * ((ob_word)$ONES / 65535u)) >> $TOP);
    }
#endif
    for (; i < n; i++) {
        count += ob_popcount($X);
    }
    return count;
}
"#;

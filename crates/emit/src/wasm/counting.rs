//! Counting the bits in which rows differ: with words of 64 bits, or with vectors of 128.
//!
//! Vectors are counted byte by byte. A byte of counts holds 31 vectors of at most 8, so counts are widened after at
//! most 28, four at a time, and the one of the row's odd word.

use wasm_encoder::{BlockType, Instruction as I, MemArg, ValType};

use super::Counting;
use super::body::{Body, place};

/// Bytes of a word.
const WORD: i32 = 8;
/// Bytes of a vector.
const VECTOR: i32 = 16;
/// Vectors or words that one round reads: the first of these in a loop, then each of the others at most once.
const ROUNDS: [i32; 3] = [4, 2, 1];
/// Vectors until counts are widened: with the odd word's, `29 * 8` fits into a byte.
const N_UNTIL_WIDE: i32 = 28;

/// Locals with the arguments of an intrinsic.
pub(super) struct Operands {
    /// `a`, perhaps the mask, and `b`: pointers, which are moved.
    pub(super) planes: Vec<u32>,
    /// Number of words, which is used up.
    pub(super) n: u32,
}

/// How bits are read and combined.
struct Unit {
    load: fn(MemArg) -> I<'static>,
    xor: fn() -> I<'static>,
    and: fn() -> I<'static>,
}

const WORDS: Unit = Unit {
    load: I::I64Load,
    xor: || I::I64Xor,
    and: || I::I64And,
};
const VECTORS: Unit = Unit {
    load: I::V128Load,
    xor: || I::V128Xor,
    and: || I::V128And,
};
/// A word in the low half of a vector of zeros.
const ODD_WORD: Unit = Unit {
    load: I::V128Load64Zero,
    xor: || I::V128Xor,
    and: || I::V128And,
};

impl Body<'_> {
    /// Pushes the number of bits in which `planes[0]` and the last one differ, where the mask between them is 1.
    pub(super) fn differ(&mut self, counting: Counting, operands: &Operands) {
        match counting {
            Counting::Words => self.differ_words(operands),
            Counting::Vectors => self.differ_vectors(operands),
        }
    }

    fn differ_words(&mut self, operands: &Operands) {
        let sum = self.temp(ValType::I64);
        self.all([I::I64Const(0), I::LocalSet(sum)]);
        for n in ROUNDS {
            self.while_at_least(operands.n, n, |body| {
                body.push(I::LocalGet(sum));
                for word in 0..n {
                    body.differing(operands, word * WORD, &WORDS);
                    body.all([I::I64Popcnt, I::I64Add]);
                }
                body.push(I::LocalSet(sum));
                body.advance(operands, n * WORD);
                body.less(operands.n, n);
            });
        }
        self.all([I::LocalGet(sum), I::I32WrapI64]);
    }

    fn differ_vectors(&mut self, operands: &Operands) {
        let [counts, total] = [(); 2].map(|()| self.temp(ValType::V128));
        let [n_vectors, n_now] = [(); 2].map(|()| self.temp(ValType::I32));
        let n = operands.n;
        self.all([I::V128Const(0), I::LocalSet(total)]);
        self.all([I::V128Const(0), I::LocalSet(counts)]);
        self.all([I::LocalGet(n), I::I32Const(1), I::I32And]);
        self.push(I::If(BlockType::Empty));
        self.differing(operands, 0, &ODD_WORD);
        self.all([I::I8x16Popcnt, I::LocalSet(counts)]);
        self.advance(operands, WORD);
        self.push(I::End);
        self.all([
            I::LocalGet(n),
            I::I32Const(1),
            I::I32ShrU,
            I::LocalSet(n_vectors),
        ]);
        self.push(I::Loop(BlockType::Empty));
        // n_now = min(n_vectors, N_UNTIL_WIDE)
        self.all([I::LocalGet(n_vectors), I::I32Const(N_UNTIL_WIDE)]);
        self.all([I::LocalGet(n_vectors), I::I32Const(N_UNTIL_WIDE), I::I32LtU]);
        self.all([I::Select, I::LocalTee(n_now)]);
        self.all([I::LocalGet(n_vectors), I::LocalGet(n_now), I::I32Sub]);
        self.all([I::LocalSet(n_vectors), I::Drop]);
        for n in ROUNDS {
            self.while_at_least(n_now, n, |body| {
                body.push(I::LocalGet(counts));
                for vector in 0..n {
                    body.differing(operands, vector * VECTOR, &VECTORS);
                    body.all([I::I8x16Popcnt, I::I8x16Add]);
                }
                body.push(I::LocalSet(counts));
                body.advance(operands, n * VECTOR);
                body.less(n_now, n);
            });
        }
        self.all([I::LocalGet(total), I::LocalGet(counts)]);
        self.all([I::I16x8ExtAddPairwiseI8x16U, I::I32x4ExtAddPairwiseI16x8U]);
        self.all([I::I32x4Add, I::LocalSet(total)]);
        self.all([I::V128Const(0), I::LocalSet(counts)]);
        self.all([I::LocalGet(n_vectors), I::BrIf(0), I::End]);
        for lane in 0..4 {
            self.all([I::LocalGet(total), I::I32x4ExtractLane(lane)]);
            if lane > 0 {
                self.push(I::I32Add);
            }
        }
    }

    /// Repeats a round of [`ROUNDS`] while a number is at least `n`.
    fn while_at_least(&mut self, number: u32, n: i32, round: impl FnOnce(&mut Self)) {
        let test = [I::LocalGet(number), I::I32Const(n), I::I32GeU];
        let is_loop = n == ROUNDS[0];
        self.all(test.clone());
        self.push(I::If(BlockType::Empty));
        if is_loop {
            self.push(I::Loop(BlockType::Empty));
        }
        round(self);
        if is_loop {
            self.all(test);
            self.all([I::BrIf(0), I::End]);
        }
        self.push(I::End);
    }

    /// Pushes the bits that differ, at this many bytes from the pointers.
    fn differing(&mut self, operands: &Operands, offset: i32, unit: &Unit) {
        let (first, last) = (
            operands.planes[0],
            operands.planes[operands.planes.len() - 1],
        );
        let at = place(u64::from(offset.unsigned_abs()), 3);
        let load = |pointer: u32| [I::LocalGet(pointer), (unit.load)(at)];
        self.all(load(first));
        self.all(load(last));
        self.push((unit.xor)());
        if let [_, mask, _] = operands.planes[..] {
            self.all(load(mask));
            self.push((unit.and)());
        }
    }

    /// Moves the pointers.
    fn advance(&mut self, operands: &Operands, n_bytes: i32) {
        for pointer in operands.planes.clone() {
            self.all([I::LocalGet(pointer), I::I32Const(n_bytes)]);
            self.all([I::I32Add, I::LocalSet(pointer)]);
        }
    }

    fn less(&mut self, number: u32, by: i32) {
        self.all([I::LocalGet(number), I::I32Const(by)]);
        self.all([I::I32Sub, I::LocalSet(number)]);
    }
}

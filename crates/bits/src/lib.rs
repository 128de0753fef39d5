//! SIMD kernels on packed words: the only room with unsafe code.

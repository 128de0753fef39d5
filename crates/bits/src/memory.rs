//! What becomes of memory that the process frees.
//!
//! Nothing comes in; a setting of the whole process's allocator goes out, where there is one to choose.

/// Has the allocator keep freed memory for later requests, for as long as the process lives; whether it does.
///
/// A training step takes and frees the same large blocks again and again. glibc hands each back to the system, which
/// interrupts all cores to unmap it and clears every page when it is asked for again. Results do not change; the process
/// holds as much memory as it once needed. Other C libraries are left as they are.
///
/// Call it before the process has other threads: glibc does not promise that they may allocate meanwhile.
pub fn keep_freed() -> bool {
    imp::keep_freed()
}

#[cfg(all(feature = "std", target_os = "linux", target_env = "gnu", not(miri)))]
mod imp {
    use core::ffi::c_int;

    const M_TRIM_THRESHOLD: c_int = -1;
    const M_TOP_PAD: c_int = -2;
    const M_MMAP_MAX: c_int = -4;

    /// Bytes by which the heap grows at least.
    const PAD: c_int = 64 << 20;

    unsafe extern "C" {
        fn mallopt(param: c_int, value: c_int) -> c_int;
    }

    pub(super) fn keep_freed() -> bool {
        // -1 becomes the greatest size: the heap's end never goes back. Without maps large blocks are on the heap too.
        let settings = [(M_TRIM_THRESHOLD, -1), (M_TOP_PAD, PAD), (M_MMAP_MAX, 0)];
        settings.into_iter().all(|(param, value)| {
            // SAFETY: numbers alone go in, the parameters are those of <malloc.h>, and a value it refuses changes
            // nothing. It locks the heap while it changes it.
            unsafe { mallopt(param, value) == 1 }
        })
    }
}

#[cfg(not(all(feature = "std", target_os = "linux", target_env = "gnu", not(miri))))]
mod imp {
    pub(super) fn keep_freed() -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    #[test]
    fn blocks_of_all_sizes_are_still_given_and_taken() {
        assert_eq!(
            super::keep_freed(),
            cfg!(all(
                feature = "std",
                target_os = "linux",
                target_env = "gnu",
                not(miri)
            ))
        );
        for size in [1usize, 1 << 12, 1 << 20, 1 << 28] {
            for round in 0..3u8 {
                let block: Vec<u8> = std::vec![round; size];
                assert_eq!(block[size - 1], round);
            }
        }
    }
}

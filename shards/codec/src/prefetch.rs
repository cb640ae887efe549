//! Asking for a cache line before it is needed.
//!
//! A hint without an effect on what a program computes; where the target has no instruction for it, nothing happens.

/// Asks for the cache line where an element begins. An index outside the slice is harmless.
#[inline(always)]
pub fn prefetch_read<T>(slice: &[T], index: usize) {
    line(slice.as_ptr().wrapping_add(index));
}

/// Asks for the cache line where a value begins.
#[inline(always)]
pub fn prefetch<T: ?Sized>(value: &T) {
    line(std::ptr::from_ref(value).cast::<u8>());
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn line<T>(address: *const T) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a prefetch reads nothing as far as the program can tell and does not fault, whatever the address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn line<T>(_address: *const T) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_index_is_harmless() {
        let numbers = [1u64, 2, 3];
        for index in [0, 2, 3, 1 << 20, usize::MAX] {
            prefetch_read(&numbers, index);
        }
        prefetch_read::<u64>(&[], 0);
        prefetch(&numbers[1]);
        prefetch("text");
        assert_eq!(numbers, [1, 2, 3]);
    }
}

//! Four differences at a time, with AVX2: gathered by the byte that each begins in.

use std::arch::x86_64::{
    __m256i, _mm256_add_epi64, _mm256_and_si256, _mm256_blend_epi32, _mm256_i64gather_epi64, _mm256_permute4x64_epi64,
    _mm256_set_epi64x, _mm256_set1_epi64x, _mm256_setzero_si256, _mm256_slli_si256, _mm256_srli_epi64,
    _mm256_srlv_epi64, _mm256_storeu_si256,
};

use super::GROUP;

const LANES: usize = 4;

/// Widest differences that lie in the eight bytes that they begin in.
pub(super) const WIDTH_MAX: u32 = 57;

/// Bytes of the longest group, and of the gather that begins in its last one.
const GROUP_BYTES_MAX: usize = GROUP * WIDTH_MAX as usize / 8 + 8;

pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx2")
}

/// Each lane the sum of itself and those before it.
#[inline]
#[target_feature(enable = "avx2")]
fn prefix_sum(lanes: __m256i) -> __m256i {
    let sum = _mm256_add_epi64(lanes, _mm256_slli_si256::<8>(lanes));
    let lower = _mm256_permute4x64_epi64::<0b01_01_01_01>(sum);
    _mm256_add_epi64(sum, _mm256_blend_epi32::<0b1111_0000>(_mm256_setzero_si256(), lower))
}

/// As [`super::scalar::unpack`], for widths from 1 to [`WIDTH_MAX`] and groups to [`GROUP`].
#[target_feature(enable = "avx2")]
pub(super) fn unpack(packed: &[u8], width: u32, base: u64, last: u64, group: &mut [u64]) -> u64 {
    let length = (group.len() * width as usize).div_ceil(8);
    // Whole fours are gathered, and eight bytes from where the last one begins.
    let reach = group.len().next_multiple_of(LANES) * width as usize / 8 + 8;
    let mut copy = [0; GROUP_BYTES_MAX];
    let bytes = if packed.len() >= reach {
        packed
    } else {
        copy[..length].copy_from_slice(&packed[..length]);
        &copy[..]
    };
    assert!(bytes.len() >= reach, "a group of at most {GROUP} differences of at most {WIDTH_MAX} bits");
    let mask = _mm256_set1_epi64x((u64::MAX >> (u64::BITS - width)) as i64);
    let base = _mm256_set1_epi64x(base as i64);
    let width = i64::from(width);
    let step = _mm256_set1_epi64x(LANES as i64 * width);
    let mut bits = _mm256_set_epi64x(3 * width, 2 * width, width, 0);
    let mut carry = _mm256_set1_epi64x(last as i64);
    let mut sums = [0; LANES];
    for lanes in group.chunks_mut(LANES) {
        // SAFETY: each lane begins at most at the byte in which the last of the whole fours does; eight bytes are there from it on, as asserted.
        let words = unsafe { _mm256_i64gather_epi64::<1>(bytes.as_ptr().cast(), _mm256_srli_epi64::<3>(bits)) };
        let shifts = _mm256_and_si256(bits, _mm256_set1_epi64x(7));
        let differences = _mm256_and_si256(_mm256_srlv_epi64(words, shifts), mask);
        let all = _mm256_add_epi64(prefix_sum(_mm256_add_epi64(differences, base)), carry);
        carry = _mm256_permute4x64_epi64::<0b11_11_11_11>(all);
        bits = _mm256_add_epi64(bits, step);
        match lanes.first_chunk_mut::<LANES>() {
            // SAFETY: the array has the 32 bytes that are written.
            Some(lanes) => unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), all) },
            None => {
                // SAFETY: as above.
                unsafe { _mm256_storeu_si256(sums.as_mut_ptr().cast(), all) };
                lanes.copy_from_slice(&sums[..lanes.len()]);
            }
        }
    }
    group.last().copied().unwrap_or(last)
}

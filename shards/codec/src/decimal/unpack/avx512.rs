//! Eight differences at a time, with AVX-512.
//!
//! Eight differences of a width take as many bytes as one has bits, so each eight begin at a whole byte, and lie in it alike: one permutation of bytes
//! brings to each lane the eight bytes that its difference begins in, one shift puts it to the bottom. What follows is a prefix sum in three steps.

use std::arch::x86_64::{
    __m512i, _mm512_add_epi64, _mm512_alignr_epi64, _mm512_and_si512, _mm512_loadu_si512, _mm512_mask_storeu_epi64,
    _mm512_maskz_loadu_epi8, _mm512_permutexvar_epi8, _mm512_permutexvar_epi64, _mm512_set1_epi64,
    _mm512_setzero_si512, _mm512_srlv_epi64,
};

const LANES: usize = 8;

/// Widest differences that lie in the eight bytes that they begin in, and eight of which lie in the 64 bytes of a load.
pub(super) const WIDTH_MAX: u32 = 57;

pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vbmi")
}

/// Where the differences of one width lie.
#[repr(C, align(64))]
struct Layout {
    /// For each byte of each lane the byte that it is taken from.
    bytes: [u8; 64],
    /// For each lane the bits below its difference.
    shifts: [u64; LANES],
}

static LAYOUTS: [Layout; WIDTH_MAX as usize + 1] = layouts();

const fn layouts() -> [Layout; WIDTH_MAX as usize + 1] {
    const EMPTY: Layout = Layout { bytes: [0; 64], shifts: [0; LANES] };
    let mut all = [EMPTY; WIDTH_MAX as usize + 1];
    let mut width = 1;
    while width < all.len() {
        let mut lane = 0;
        while lane < LANES {
            let bit = lane * width;
            all[width].shifts[lane] = (bit % 8) as u64;
            let mut byte = 0;
            while byte < 8 {
                all[width].bytes[lane * 8 + byte] = (bit / 8 + byte) as u8;
                byte += 1;
            }
            lane += 1;
        }
        width += 1;
    }
    all
}

/// As many bytes as there are, up to 64; zeros behind them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn load(bytes: &[u8]) -> __m512i {
    let mask = if bytes.len() >= 64 { u64::MAX } else { (1 << bytes.len()) - 1 };
    // SAFETY: the mask has a bit for each byte of the slice and none for those behind it, which are not touched.
    unsafe { _mm512_maskz_loadu_epi8(mask, bytes.as_ptr().cast()) }
}

/// Each lane the sum of itself and those before it.
#[inline]
#[target_feature(enable = "avx512f")]
fn prefix_sum(lanes: __m512i) -> __m512i {
    let zero = _mm512_setzero_si512();
    let sum = _mm512_add_epi64(lanes, _mm512_alignr_epi64::<7>(lanes, zero));
    let sum = _mm512_add_epi64(sum, _mm512_alignr_epi64::<6>(sum, zero));
    _mm512_add_epi64(sum, _mm512_alignr_epi64::<4>(sum, zero))
}

/// As [`super::scalar::unpack`], for widths from 1 to [`WIDTH_MAX`].
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
pub(super) fn unpack(packed: &[u8], width: u32, base: u64, last: u64, group: &mut [u64]) -> u64 {
    let layout = &LAYOUTS[width as usize];
    // SAFETY: both arrays have 64 bytes.
    let (bytes, shifts) = unsafe {
        (_mm512_loadu_si512(layout.bytes.as_ptr().cast()), _mm512_loadu_si512(layout.shifts.as_ptr().cast()))
    };
    let mask = _mm512_set1_epi64((u64::MAX >> (u64::BITS - width)) as i64);
    let base = _mm512_set1_epi64(base as i64);
    let highest = _mm512_set1_epi64(LANES as i64 - 1);
    let mut carry = _mm512_set1_epi64(last as i64);
    for (number, lanes) in group.chunks_mut(LANES).enumerate() {
        let words = _mm512_permutexvar_epi8(bytes, load(&packed[number * width as usize..]));
        let differences = _mm512_and_si512(_mm512_srlv_epi64(words, shifts), mask);
        let sums = _mm512_add_epi64(prefix_sum(_mm512_add_epi64(differences, base)), carry);
        carry = _mm512_permutexvar_epi64(highest, sums);
        let stored = u8::MAX >> (LANES - lanes.len());
        // SAFETY: the mask has a bit for each place of the slice, of which there are at most eight, and none behind it.
        unsafe { _mm512_mask_storeu_epi64(lanes.as_mut_ptr().cast(), stored, sums) };
    }
    group.last().copied().unwrap_or(last)
}

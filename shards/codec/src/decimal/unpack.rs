//! Unpacking a group: differences of one width become integers. The scalar code is the specification; a kernel gives the same bits, several at a
//! time. Which one is taken is decided when the program runs, by what the processor has.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod scalar;

/// Differences in a group: an odd one (a reset, a missed scrape) widens its group alone.
pub(super) const GROUP: usize = 32;

/// How groups are unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// With byte permutations (VBMI): Ice Lake, Zen 4 and later.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Kernel {
    /// The fastest that this processor has.
    #[inline]
    pub(super) fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        if avx512::is_available() {
            return Self::Avx512;
        } else if avx2::is_available() {
            return Self::Avx2;
        }
        Self::Scalar
    }

    /// All that this processor has.
    #[cfg(test)]
    pub(super) fn all() -> Vec<Self> {
        #[cfg_attr(not(target_arch = "x86_64"), expect(unused_mut))]
        let mut all = vec![Self::Scalar];
        #[cfg(target_arch = "x86_64")]
        {
            all.extend(avx2::is_available().then_some(Self::Avx2));
            all.extend(avx512::is_available().then_some(Self::Avx512));
        }
        all
    }

    /// Fills a group of at most [`GROUP`] from the front of `packed`, which has at least as many bytes as the group takes; returns its last
    /// integer. `width` is at most 64.
    #[inline(always)]
    pub(super) fn unpack(self, packed: &[u8], width: u32, base: u64, last: u64, group: &mut [u64]) -> u64 {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 if (1..=avx2::WIDTH_MAX).contains(&width) => {
                // SAFETY: this kernel is only ever named where the processor has what it needs.
                unsafe { avx2::unpack(packed, width, base, last, group) }
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 if (1..=avx512::WIDTH_MAX).contains(&width) => {
                // SAFETY: as above.
                unsafe { avx512::unpack(packed, width, base, last, group) }
            }
            _ => scalar::unpack(packed, width, base, last, group),
        }
    }
}

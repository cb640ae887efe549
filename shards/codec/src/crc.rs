//! CRC-32C (Castagnoli), the checksum of Prometheus' files and of ours.

/// Checksum of some bytes.
#[inline]
pub fn crc32c(bytes: &[u8]) -> u32 {
    ::crc32c::crc32c(bytes)
}

/// Continues a checksum: `extend(crc32c(a), b)` is the checksum of `a` followed by `b`.
#[inline]
pub fn extend(checksum: u32, bytes: &[u8]) -> u32 {
    ::crc32c::crc32c_append(checksum, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_vectors() {
        // RFC 3720, appendix B.4.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(b""), 0);
    }

    #[test]
    fn pieces_give_what_the_whole_gives() {
        let bytes: Vec<u8> = (0..=255).collect();
        for middle in 0..bytes.len() {
            assert_eq!(extend(crc32c(&bytes[..middle]), &bytes[middle..]), crc32c(&bytes), "cut at {middle}");
        }
    }
}

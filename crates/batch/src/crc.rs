//! CRC-32C, the checksum of record batches.

/// The CRC-32C (Castagnoli) of `bytes`, with the instructions of the processor at hand.
///
/// Of the two well-kept crates with hardware support, `crc-fast` 1.10 did 47 GB/s on 1 MiB and 12 GB/s on 128
/// bytes, `crc32c` 0.6 did 28 and 10 (one core of an AMD EPYC with AVX-512).
#[expect(clippy::cast_possible_truncation, reason = "a 32-bit checksum in a 64-bit return type")]
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

#[cfg(test)]
mod tests {
    #[test]
    fn check_values() {
        // RFC 3720 appendix B.4 and the check value of the CRC catalogue.
        assert_eq!(super::crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(super::crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(super::crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(super::crc32c(b""), 0);
    }
}

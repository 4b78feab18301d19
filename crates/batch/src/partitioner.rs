//! Which partition a key belongs to: Kafka's murmur2, so that clients of both agree.

use corduroy_types::PartitionIndex;

/// The partition of `key` in a topic of `partitions` partitions: Kafka's default partitioner for keyed records.
///
/// The same key always maps to the same partition as long as the number of partitions stays; adding partitions
/// maps keys again. `partitions` is at least 1; 0 is answered with partition 0.
#[must_use]
pub fn partition_for_key(key: &[u8], partitions: u32) -> PartitionIndex {
    let positive = murmur2(key) & 0x7fff_ffff;
    PartitionIndex(positive.checked_rem(partitions).unwrap_or(0))
}

/// Murmur2 (Austin Appleby, 32 bits) with the seed that Kafka's `Utils.murmur2` uses.
fn murmur2(key: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "Java's arrays have 31-bit lengths; longer keys wrap"
    )]
    let mut hash = SEED ^ key.len() as u32;
    let (words, tail) = key.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        let last = tail.iter().rev().fold(0_u32, |last, byte| (last << 8) | u32::from(*byte));
        hash = (hash ^ last).wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kafkas_published_vectors() {
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }

    #[test]
    fn partitions_stay_in_range() {
        assert_eq!(partition_for_key(b"abc", 0), PartitionIndex(0));
        assert_eq!(partition_for_key(b"abc", 1), PartitionIndex(0));
        for key in 0..1000_u32 {
            assert!(partition_for_key(&key.to_le_bytes(), 7).0 < 7);
        }
        // (-973932308 & 0x7fffffff) % 1000, as Java computes it
        assert_eq!(partition_for_key(b"21", 1000), PartitionIndex(340));
    }
}

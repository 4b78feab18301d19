//! From keys to their last offsets, in bounded memory.
//!
//! Keys are distinguished by 128 bits of a keyed hash, so a slot has the same size whatever the key. Two keys with the
//! same hash would cost the older one its record. The hash is SipHash-1-3 twice, with keys that are random for each
//! map: no one can choose two keys that collide (with MD5, which Kafka takes here, anybody can), and by chance two
//! among 2^32 keys do so once in 2^65 maps.

use std::hash::{BuildHasher, Hasher, RandomState};

use corduroy_types::Offset;

/// Bytes of memory that one slot takes.
const SLOT_BYTES: u64 = size_of::<Slot>() as u64;
/// No offset: an empty slot. Offsets are below 2^63.
const EMPTY: u64 = u64::MAX;

#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: [u64; 2],
    offset: u64,
}

/// Open addressing over a table that never grows.
#[derive(Debug)]
pub(super) struct KeyMap {
    slots: Vec<Slot>,
    used: usize,
    most: usize,
    hashers: [RandomState; 2],
}

impl KeyMap {
    /// A map that takes at most `bytes` of memory, and less where there are at most `keys_max` keys. It has room
    /// for at least one key.
    pub(super) fn new(bytes: u64, keys_max: u64) -> Self {
        // Three quarters full: a search then looks at nine slots at most on average.
        let slots = (bytes / SLOT_BYTES).min(keys_max.saturating_add(keys_max / 3 + 1)).max(2);
        let slots = usize::try_from(slots).unwrap_or(usize::MAX);
        Self {
            slots: vec![Slot { hash: [0; 2], offset: EMPTY }; slots],
            used: 0,
            most: slots - slots.div_ceil(4),
            hashers: [RandomState::new(), RandomState::new()],
        }
    }

    fn hash(&self, key: &[u8]) -> [u64; 2] {
        let [first, second] = &self.hashers;
        let mut hasher = first.build_hasher();
        hasher.write(key);
        let front = hasher.finish();
        let mut hasher = second.build_hasher();
        hasher.write_u64(front);
        hasher.write(key);
        [front, hasher.finish()]
    }

    /// The slot of a hash, or the empty one where it would go.
    fn find(&self, hash: [u64; 2]) -> usize {
        let count = self.slots.len();
        // The hash's place among all, scaled: no division.
        let start = usize::try_from((u128::from(hash[0]) * count as u128) >> 64).unwrap_or(0);
        let place = |slot: &Slot| slot.offset == EMPTY || slot.hash == hash;
        let behind = self.slots.iter().skip(start).position(place).map(|at| start + at);
        behind.or_else(|| self.slots.iter().position(place)).unwrap_or(0)
    }

    /// Takes note of a record; `false` when there is no room for one more key.
    pub(super) fn put(&mut self, key: &[u8], offset: Offset) -> bool {
        let hash = self.hash(key);
        let at = self.find(hash);
        let full = self.used >= self.most;
        let Some(slot) = self.slots.get_mut(at) else { return false };
        if slot.offset == EMPTY {
            if full {
                return false;
            }
            self.used += 1;
        }
        *slot = Slot { hash, offset: offset.get() };
        true
    }

    /// The last offset that was noted for a key.
    pub(super) fn last(&self, key: &[u8]) -> Option<Offset> {
        let slot = self.slots.get(self.find(self.hash(key)))?;
        Offset::new(slot.offset)
    }

    /// How many keys it has.
    pub(super) fn keys(&self) -> usize {
        self.used
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_map_until_it_is_full(
            keys in prop::collection::vec(0_u32..400, 0..800),
            slots in 2_u64..500,
        ) {
            let mut map = KeyMap::new(slots * SLOT_BYTES, u64::MAX);
            let mut model = HashMap::new();
            for (offset, key) in (0..).zip(&keys) {
                let has_room = model.contains_key(key) || model.len() < map.most;
                prop_assert_eq!(map.put(&key.to_be_bytes(), Offset::new(offset).unwrap()), has_room);
                if has_room {
                    model.insert(*key, offset);
                }
            }
            prop_assert_eq!(map.keys(), model.len());
            for key in 0..400_u32 {
                prop_assert_eq!(map.last(&key.to_be_bytes()).map(Offset::get), model.get(&key).copied());
            }
        }
    }

    #[test]
    fn memory_is_bounded_by_keys_and_by_bytes() {
        let bytes = |map: &KeyMap| map.slots.len() as u64 * SLOT_BYTES;
        assert!(bytes(&KeyMap::new(1 << 20, u64::MAX)) <= 1 << 20);
        assert!(bytes(&KeyMap::new(1 << 20, 10)) < 400);
        let mut least = KeyMap::new(0, 0);
        assert!(least.put(b"", Offset::ZERO) && !least.put(b"a", Offset::ZERO));
        assert_eq!((least.last(b""), least.last(b"a")), (Some(Offset::ZERO), None));
        // Every promised key finds room.
        let mut map = KeyMap::new(u64::MAX, 1000);
        assert!((0..1000_u32).all(|key| map.put(&key.to_be_bytes(), Offset::ZERO)));
    }
}

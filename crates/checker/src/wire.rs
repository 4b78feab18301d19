//! How domain words stand in a line of JSON: offsets and epochs as numbers, `acks` as its word.
//!
//! The types of `corduroy-types` know no JSON, so the fields of a line name one of these modules. A number outside its
//! range is refused here, so that nothing behind the reader meets one.

/// An [`Offset`](corduroy_types::Offset) as a number of at most 2^63 - 1.
pub(crate) mod offset {
    use corduroy_types::Offset;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(offset: &Offset, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(offset.get())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Offset, D::Error> {
        Offset::try_from(u64::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// An offset that may be absent.
pub(crate) mod offset_option {
    use corduroy_types::Offset;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(offset: &Option<Offset>, to: S) -> Result<S::Ok, S::Error> {
        offset.map(Offset::get).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Offset>, D::Error> {
        let number = Option::<u64>::deserialize(from)?;
        number.map(|number| Offset::try_from(number).map_err(D::Error::custom)).transpose()
    }
}

/// A [`LeaderEpoch`](corduroy_types::LeaderEpoch) as a number of at most 2^31 - 1.
pub(crate) mod epoch {
    use corduroy_types::LeaderEpoch;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(epoch: &LeaderEpoch, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u32(epoch.get())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<LeaderEpoch, D::Error> {
        super::leader_epoch(u32::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// A leader epoch that may be absent.
pub(crate) mod epoch_option {
    use corduroy_types::LeaderEpoch;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(epoch: &Option<LeaderEpoch>, to: S) -> Result<S::Ok, S::Error> {
        epoch.map(LeaderEpoch::get).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<LeaderEpoch>, D::Error> {
        let number = Option::<u32>::deserialize(from)?;
        number.map(|number| super::leader_epoch(number).map_err(D::Error::custom)).transpose()
    }
}

/// [`Acks`](corduroy_types::Acks) as `one`, `quorum` or `all`.
pub(crate) mod acks {
    use std::borrow::Cow;

    use corduroy_types::Acks;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(acks: &Acks, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(acks.as_str())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Acks, D::Error> {
        Cow::<'de, str>::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// The epoch of this number, or a sentence that says why there is none.
pub(crate) fn leader_epoch(number: u32) -> Result<corduroy_types::LeaderEpoch, String> {
    let max = corduroy_types::LeaderEpoch::MAX;
    corduroy_types::LeaderEpoch::new(number)
        .ok_or_else(|| format!("leader epoch {number} is out of range 0..={max}"))
}

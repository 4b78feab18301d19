//! The batch's attribute bits, and the words for what they say.

use std::{fmt, str::FromStr};

use corduroy_types::{TimestampType, UnknownWord};

/// How the records of a batch are compressed, all of them together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip (RFC 1952).
    Gzip,
    /// Snappy, in the framing that Java's snappy writes; plain Snappy is read as well.
    Snappy,
    /// An LZ4 frame.
    Lz4,
    /// A Zstandard frame; only in builds with the feature `zstd`.
    Zstd,
}

impl Compression {
    /// Every codec of the format, whether or not this build has it.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The word in configuration, command line and API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// The codec number, 0 to 4, in the attribute bits.
    pub const fn bits(self) -> u16 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// The codec with this number, or `None` for the numbers that the format has not given away.
    pub const fn from_bits(bits: u16) -> Option<Self> {
        match bits {
            0 => Some(Self::None),
            1 => Some(Self::Gzip),
            2 => Some(Self::Snappy),
            3 => Some(Self::Lz4),
            4 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Whether this build can read and write the codec.
    pub const fn is_supported(self) -> bool {
        match self {
            Self::Zstd => cfg!(feature = "zstd"),
            Self::None | Self::Gzip | Self::Snappy | Self::Lz4 => true,
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Compression {
    type Err = UnknownWord;
    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        Self::ALL.into_iter().find(|codec| codec.as_str() == word).ok_or_else(|| UnknownWord {
            what: "compression",
            got: word.to_owned(),
            allowed: "none, gzip, snappy, lz4, zstd",
        })
    }
}

/// The attribute bits of a batch. The codec among them is one of the known five.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Attributes(u16);

impl Attributes {
    const CODEC: u16 = 0b111;
    const LOG_APPEND_TIME: u16 = 1 << 3;
    const TRANSACTIONAL: u16 = 1 << 4;
    const CONTROL: u16 = 1 << 5;
    const DELETE_HORIZON: u16 = 1 << 6;
    const KNOWN: u16 = (1 << 7) - 1;

    /// The attributes of a client's batch: a codec and nothing else.
    pub const fn new(compression: Compression) -> Self {
        Self(compression.bits())
    }

    /// Attributes from the header field, or `None` when the codec number is unknown.
    pub const fn from_bits(bits: u16) -> Option<Self> {
        match Compression::from_bits(bits & Self::CODEC) {
            Some(_) => Some(Self(bits)),
            None => None,
        }
    }

    /// The header field.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// How the records are compressed.
    pub const fn compression(self) -> Compression {
        match Compression::from_bits(self.0 & Self::CODEC) {
            Some(codec) => codec,
            None => Compression::None,
        }
    }

    /// Whose clock the timestamps come from.
    pub const fn timestamp_type(self) -> TimestampType {
        if self.0 & Self::LOG_APPEND_TIME == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    /// Whether the batch is part of a transaction.
    pub const fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    /// Whether the batch holds the broker's own marks and no records of users.
    pub const fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    /// Whether compaction set a delete horizon, which then stands in the base timestamp.
    pub const fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }

    /// The same, with or without a delete horizon.
    pub(crate) const fn with_delete_horizon(self, set: bool) -> Self {
        if set { Self(self.0 | Self::DELETE_HORIZON) } else { Self(self.0 & !Self::DELETE_HORIZON) }
    }

    /// The bits that the format has not given away.
    pub const fn unknown_bits(self) -> u16 {
        self.0 & !Self::KNOWN
    }

    /// The same, with the leader's timestamp.
    pub const fn with_log_append_time(self) -> Self {
        Self(self.0 | Self::LOG_APPEND_TIME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_bits_read_back() {
        for codec in Compression::ALL {
            assert_eq!(codec.as_str().parse(), Ok(codec));
            assert_eq!(Compression::from_bits(codec.bits()), Some(codec));
            assert_eq!(Attributes::new(codec).compression(), codec);
        }
        assert!("zip".parse::<Compression>().unwrap_err().to_string().contains("lz4"));
        assert_eq!("LogAppendTime".parse(), Ok(TimestampType::LogAppendTime));
        assert!("logappendtime".parse::<TimestampType>().is_err());
    }

    #[test]
    fn bits_of_the_format() {
        assert_eq!(Attributes::from_bits(5), None);
        let all = Attributes::from_bits(!0b111 | 3).unwrap();
        assert_eq!(all.compression(), Compression::Lz4);
        assert_eq!(all.timestamp_type(), TimestampType::LogAppendTime);
        assert!(all.is_control() && all.is_transactional() && all.has_delete_horizon());
        assert_eq!(all.unknown_bits(), 0xff80);
    }
}

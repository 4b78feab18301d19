//! The kinds of value that configuration keys have, with their words: each is read from and written as text.

use std::fmt;

use corduroy_types::{format_byte_size, parse_byte_size};

/// A value, or the word `auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auto<T> {
    /// The broker chooses.
    Auto,
    /// The operator chose.
    Set(T),
}

impl<T: Copy> Auto<T> {
    /// The operator's value, or what `auto` means here.
    pub fn or_else(self, auto: impl FnOnce() -> T) -> T {
        match self {
            Self::Auto => auto(),
            Self::Set(value) => value,
        }
    }
}

/// An amount of free disk space: a share of the whole disk, or bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watermark {
    /// Per cent of the disk, 0 to 99, but at most [`Watermark::SHARE_BYTES_MAX`] for each per cent: a tenth of
    /// a huge disk is no shortage.
    Percent(u8),
    /// Bytes.
    Bytes(u64),
}

impl Watermark {
    /// The most that one per cent counts for: so 5% is never more than 10 GiB.
    pub const SHARE_BYTES_MAX: u64 = 2 * corduroy_types::GIB;

    /// The watermark in bytes for a disk of `total_bytes`.
    pub fn bytes(self, total_bytes: u64) -> u64 {
        match self {
            Self::Percent(percent) => {
                u64::from(percent).saturating_mul((total_bytes / 100).min(Self::SHARE_BYTES_MAX))
            }
            Self::Bytes(bytes) => bytes,
        }
    }

    /// Reads `5%` or a byte size.
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text.strip_suffix('%') {
            Some(number) => number.trim().parse().ok().filter(|percent| *percent < 100).map(Self::Percent),
            None => parse_byte_size(text).ok().map(Self::Bytes),
        }
    }
}

impl fmt::Display for Watermark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::Bytes(bytes) => f.write_str(&format_byte_size(*bytes)),
        }
    }
}

/// The address that clients connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Advertise {
    /// The authority that the client dialled.
    Auto,
    /// This `host:port`.
    Address(String),
}

impl Advertise {
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text == "auto" {
            return Some(Self::Auto);
        }
        let (host, port) = text.rsplit_once(':')?;
        let port: u16 = port.parse().ok()?;
        let authority: http::uri::Authority = text.parse().ok()?;
        (port != 0 && !host.is_empty() && authority.as_str() == text && !text.contains('@'))
            .then(|| Self::Address(text.to_owned()))
    }
}

impl fmt::Display for Advertise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Address(address) => f.write_str(address),
        }
    }
}

macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_meta])* $variant,)+ }

        impl $name {
            /// The words that are accepted.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            pub(super) fn parse(text: &str) -> Option<Self> {
                match text { $($word => Some(Self::$variant),)+ _ => None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $word),+ })
            }
        }
    };
}

words! {
    /// For which partitions metrics have series of their own.
    PartitionLevel {
        /// None: topics are the finest grain.
        Off = "off",
        /// Every partition; three series for each.
        All = "all",
    }
}

words! {
    /// The form of the log.
    LogFormat {
        /// Text on a terminal, JSON otherwise.
        Auto = "auto",
        /// Lines for people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}

/// What is logged: a level, and levels of single targets: `info`, `info,corduroy_log=debug`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(String);

impl LogFilter {
    const LEVELS: [&'static str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

    pub(super) fn info() -> Self {
        Self("info".to_owned())
    }

    /// The filter in the form that tracing reads.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let known = |level: &str| Self::LEVELS.contains(&level);
        let is_target = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
        let good = text.split(',').all(|part| match part.split_once('=') {
            None => known(part),
            Some((target, level)) => !target.is_empty() && target.chars().all(is_target) && known(level),
        });
        good.then(|| Self(text.to_owned()))
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watermarks_are_shares_or_bytes_and_a_share_has_an_upper_limit() {
        assert_eq!(Watermark::parse("5%").unwrap().bytes(1_000_000), 50_000);
        assert_eq!(Watermark::parse("5%").unwrap().bytes(u64::MAX), 10 * corduroy_types::GIB);
        assert_eq!(Watermark::parse("1GiB").unwrap().bytes(5), corduroy_types::GIB);
        for bad in ["100%", "-1%", "%", "x", "1.5%"] {
            assert_eq!(Watermark::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn advertised_addresses_have_host_and_port() {
        assert_eq!(Advertise::parse("auto"), Some(Advertise::Auto));
        for good in ["b1:9480", "10.0.0.1:1", "[::1]:9480"] {
            assert_eq!(Advertise::parse(good).unwrap().to_string(), good);
        }
        for bad in ["", "b1", "b1:", ":9480", "b1:0", "http://b1:9480", "b1:9480/x", "me@b1:9480"] {
            assert_eq!(Advertise::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn log_filters_are_levels_with_targets() {
        for good in ["info", "off", "warn,corduroy_log=debug", "corduroy_broker::http=trace,error"] {
            assert_eq!(LogFilter::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "loud", "info,", "=debug", "a b=info", "x=loud"] {
            assert_eq!(LogFilter::parse(bad), None, "{bad}");
        }
    }
}

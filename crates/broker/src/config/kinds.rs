//! How each kind of value is read from and written as text.

use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

use corduroy_types::{BrokerId, format_byte_size, format_duration_ms, parse_byte_size, parse_duration_ms};

use super::{
    key::{BadValue, Form},
    values::{Advertise, Auto, LogFilter, Watermark},
};

type Read<T> = Box<dyn Fn(&str) -> Result<T, BadValue> + Send + Sync>;
type Write<T> = Box<dyn Fn(&T) -> String + Send + Sync>;

/// One kind of value.
pub(super) struct Kind<T> {
    pub(super) form: Form,
    pub(super) accepts: String,
    pub(super) read: Read<T>,
    pub(super) write: Write<T>,
}

impl<T: 'static> Kind<T> {
    fn new(
        form: Form,
        accepts: impl Into<String>,
        read: impl Fn(&str) -> Result<T, BadValue> + Send + Sync + 'static,
        write: impl Fn(&T) -> String + Send + Sync + 'static,
    ) -> Self {
        Self { form, accepts: accepts.into(), read: Box::new(read), write: Box::new(write) }
    }

    /// The same values under another type.
    fn map<U: 'static>(
        self,
        into: impl Fn(T) -> U + Send + Sync + 'static,
        back: impl Fn(&U) -> T + Send + Sync + 'static,
    ) -> Kind<U> {
        let Self { form, accepts, read, write } = self;
        Kind::new(form, accepts, move |text| read(text).map(&into), move |value| write(&back(value)))
    }
}

/// A whole number.
pub(super) fn number(range: RangeInclusive<u32>) -> Kind<u32> {
    let accepts = format!("{} to {}", range.start(), range.end());
    let wanted = format!("a whole number from {accepts}");
    Kind::new(
        Form::Number,
        accepts,
        move |text| {
            let digits = text.replace('_', "");
            let value: i128 = digits.parse().map_err(|_| BadValue::form(text, &wanted))?;
            let value = u32::try_from(value).ok().filter(|value| range.contains(value));
            value.ok_or_else(|| BadValue::range(text, &wanted))
        },
        ToString::to_string,
    )
}

/// A broker's number.
pub(super) fn broker_id() -> Kind<BrokerId> {
    number(1..=i32::MAX.unsigned_abs()).map(BrokerId, |id| id.0)
}

/// An amount of bytes.
pub(super) fn bytes(range: RangeInclusive<u64>) -> Kind<u64> {
    let accepts = format!("{} to {}", format_byte_size(*range.start()), format_byte_size(*range.end()));
    let wanted = format!("a size from {accepts}, like \"64KiB\" or \"1GiB\"");
    Kind::new(
        Form::TextOrNumber,
        accepts,
        move |text| {
            let value = parse_byte_size(text).map_err(|_| BadValue::form(text, &wanted))?;
            if range.contains(&value) { Ok(value) } else { Err(BadValue::range(text, &wanted)) }
        },
        |value| format_byte_size(*value),
    )
}

/// A length of time.
pub(super) fn duration(range: RangeInclusive<Duration>) -> Kind<Duration> {
    let show = |value: &Duration| format_duration_ms(u64::try_from(value.as_millis()).unwrap_or(u64::MAX));
    let accepts = format!("{} to {}", show(range.start()), show(range.end()));
    let wanted = format!("a duration from {accepts}, like \"500ms\" or \"30s\"");
    Kind::new(
        Form::TextOrNumber,
        accepts,
        move |text| {
            let value = parse_duration_ms(text).map_err(|_| BadValue::form(text, &wanted))?;
            let value = Duration::from_millis(value);
            if range.contains(&value) { Ok(value) } else { Err(BadValue::range(text, &wanted)) }
        },
        show,
    )
}

/// A value of `kind`, or `auto`.
pub(super) fn auto<T: Copy + 'static>(kind: Kind<T>) -> Kind<Auto<T>> {
    let Kind { form: _, accepts, read, write } = kind;
    let read = move |text: &str| match text {
        "auto" => Ok(Auto::Auto),
        _ => read(text).map(Auto::Set).map_err(|mut bad| {
            bad.text.push_str(", or \"auto\"");
            bad
        }),
    };
    let write = move |value: &Auto<T>| match value {
        Auto::Auto => "auto".to_owned(),
        Auto::Set(value) => write(value),
    };
    Kind::new(Form::TextOrNumber, format!("auto, or {accepts}"), read, write)
}

/// A word out of a few.
pub(super) fn word<T: ToString + 'static>(
    words: &'static [&'static str],
    parse: fn(&str) -> Option<T>,
) -> Kind<T> {
    let accepts = words.join(" | ");
    let wanted = format!("one of {}", words.join(", "));
    Kind::new(
        Form::Text,
        accepts,
        move |text| parse(text).ok_or_else(|| BadValue::form(text, &wanted)),
        ToString::to_string,
    )
}

/// `true` or `false`.
pub(super) fn truth() -> Kind<bool> {
    let read = |text: &str| text.parse().map_err(|_| BadValue::form(text, "true or false"));
    Kind::new(Form::Truth, "true | false", read, ToString::to_string)
}

/// A directory.
pub(super) fn path() -> Kind<PathBuf> {
    let read = |text: &str| {
        let good = !text.is_empty() && !text.contains('\0');
        good.then(|| PathBuf::from(text)).ok_or_else(|| BadValue::form(text, "a path"))
    };
    Kind::new(Form::Text, "a path", read, |value| value.to_string_lossy().into_owned())
}

/// An address to listen on.
pub(super) fn address() -> Kind<SocketAddr> {
    let read = |text: &str| {
        let numeric = match text.strip_prefix("localhost:") {
            Some(port) => format!("127.0.0.1:{port}"),
            None => text.to_owned(),
        };
        numeric.parse().map_err(|_| BadValue::form(text, "an IP address and a port, like \"127.0.0.1:9480\""))
    };
    Kind::new(Form::Text, "IP:PORT", read, ToString::to_string)
}

/// The address that clients connect to.
pub(super) fn advertise() -> Kind<Advertise> {
    let wanted = "\"auto\", or a host and a port like \"b1.example.org:9480\"";
    let read = move |text: &str| Advertise::parse(text).ok_or_else(|| BadValue::form(text, wanted));
    Kind::new(Form::Text, "auto, or HOST:PORT", read, ToString::to_string)
}

/// Free disk space.
pub(super) fn watermark() -> Kind<Watermark> {
    let wanted = "a share from 0% to 99%, or a size like \"10GiB\"";
    let read = move |text: &str| Watermark::parse(text).ok_or_else(|| BadValue::form(text, wanted));
    Kind::new(Form::TextOrNumber, "0% to 99%, or a size", read, ToString::to_string)
}

/// What is logged.
pub(super) fn log_filter() -> Kind<LogFilter> {
    let wanted =
        "off, error, warn, info, debug or trace, with targets after it like \"info,corduroy_log=debug\"";
    let read = move |text: &str| LogFilter::parse(text).ok_or_else(|| BadValue::form(text, wanted));
    Kind::new(Form::Text, "off | error | warn | info | debug | trace", read, ToString::to_string)
}

/// A name for people.
pub(super) fn name() -> Kind<String> {
    let wanted = "a name of 1 to 64 of a-z A-Z 0-9 . _ -";
    let read = move |text: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let good = (1..=64).contains(&text.len()) && text.chars().all(allowed);
        good.then(|| text.to_owned()).ok_or_else(|| BadValue::form(text, wanted))
    };
    Kind::new(Form::Text, "1 to 64 of a-z A-Z 0-9 . _ -", read, Clone::clone)
}

/// A number of replicas.
pub(super) fn replicas() -> Kind<u16> {
    number(1..=64).map(|count| u16::try_from(count).unwrap_or(u16::MAX), |count| u32::from(*count))
}

//! JSON objects as records.

use std::{borrow::Cow, fmt};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use corduroy_types::TimestampMs;
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor},
};

use super::read::ParsedRecord;

/// Which JSON values a record's value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JsonStyle {
    /// A string, `{"base64":".."}` or null: lossless.
    Lossless,
    /// Any value; what is not a string is sent as JSON text.
    Inlined,
}

/// Reads one line. A record that says its offset was read from a topic, and its partition says where; without
/// an offset the partition says where to go.
///
/// # Errors
/// [`JsonFault`]: what is wrong with the line.
pub(crate) fn read_json(line: &[u8], style: JsonStyle) -> Result<ParsedRecord<'_>, JsonFault> {
    let object: Object<'_> = serde_json::from_slice(line)?;
    let Object { _topic: _, partition, offset, timestamp_ms, key, value, headers } = object;
    let value = match (value, style) {
        (JsonBytes::Other(text), JsonStyle::Inlined) => Some(Cow::Owned(text.into_bytes())),
        (JsonBytes::Other(_), JsonStyle::Lossless) => return Err(JsonFault::InlinedValue),
        (other, _) => other.into_bytes("value")?,
    };
    let headers = headers.into_iter().map(|header| Ok((header.key, header.value.into_bytes("headers")?)));
    Ok(ParsedRecord {
        key: key.into_bytes("key")?,
        value,
        headers: headers.collect::<Result<_, JsonFault>>()?,
        timestamp: timestamp_ms.map(TimestampMs),
        partition: partition.filter(|_| offset.is_none()),
    })
}

/// What is wrong with a line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JsonFault {
    #[error("{}", without_line(.0))]
    Json(#[from] serde_json::Error),
    #[error("{0:?} is neither a string, {{\"base64\":\"..\"}} nor null")]
    NoBytes(&'static str),
    #[error("{}; use --format json for inlined values", Self::NoBytes("value"))]
    InlinedValue,
}

/// The parser's message without its position: the line is always its first, and ours is named elsewhere.
fn without_line(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let cut = text.find(" at line ").unwrap_or(text.len());
    format!("{}, column {}", text.get(..cut).unwrap_or(&text), error.column())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Object<'a> {
    /// Checked for being a text, and not used.
    #[serde(default, rename = "topic", borrow)]
    _topic: Option<Cow<'a, str>>,
    #[serde(default)]
    partition: Option<u32>,
    #[serde(default)]
    offset: Option<u64>,
    #[serde(default)]
    timestamp_ms: Option<i64>,
    #[serde(default, borrow)]
    key: JsonBytes<'a>,
    #[serde(borrow)]
    value: JsonBytes<'a>,
    #[serde(default, borrow)]
    headers: Vec<JsonHeader<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonHeader<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    #[serde(borrow)]
    value: JsonBytes<'a>,
}

#[derive(Default)]
enum JsonBytes<'a> {
    #[default]
    Null,
    Bytes(Cow<'a, [u8]>),
    /// Any other JSON value, as text.
    Other(String),
}

impl<'a> JsonBytes<'a> {
    fn into_bytes(self, what: &'static str) -> Result<Option<Cow<'a, [u8]>>, JsonFault> {
        match self {
            Self::Null => Ok(None),
            Self::Bytes(bytes) => Ok(Some(bytes)),
            Self::Other(_) => Err(JsonFault::NoBytes(what)),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for JsonBytes<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BytesVisitor)
    }
}

struct BytesVisitor;

impl<'de> Visitor<'de> for BytesVisitor {
    type Value = JsonBytes<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(JsonBytes::Bytes(Cow::Borrowed(text.as_bytes())))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(JsonBytes::Bytes(Cow::Owned(text.as_bytes().to_vec())))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(JsonBytes::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(JsonBytes::Other(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(JsonBytes::Other(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(JsonBytes::Other(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(JsonBytes::Other(serde_json::Value::from(value).to_string()))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        let value = serde_json::Value::deserialize(de::value::SeqAccessDeserializer::new(seq))?;
        Ok(JsonBytes::Other(value.to_string()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let value = serde_json::Value::deserialize(de::value::MapAccessDeserializer::new(map))?;
        let object = value.as_object();
        let encoded = object.filter(|object| object.len() == 1).and_then(|object| object.get("base64"));
        match encoded.and_then(serde_json::Value::as_str) {
            Some(text) => match STANDARD.decode(text) {
                Ok(bytes) => Ok(JsonBytes::Bytes(Cow::Owned(bytes))),
                Err(_) => Err(de::Error::custom("{\"base64\":..} holds no valid base64")),
            },
            None => Ok(JsonBytes::Other(value.to_string())),
        }
    }
}

//! Single fields, checked on their way in.

use bytes::Bytes;
use corduroy_types::{Acks, ErrorCode, Offset, TopicId, TopicName};

use crate::{Refusal, v1};

/// A field whose value is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct InvalidField {
    /// The field's name in the `.proto`.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

impl From<InvalidField> for Refusal {
    fn from(invalid: InvalidField) -> Self {
        Self::new(ErrorCode::InvalidRequest, invalid.to_string())
    }
}

/// Reads an `acks` field; unspecified is the broker's default.
///
/// # Errors
/// [`InvalidField`] for a number that is no value of the enum.
pub fn acks_from_wire(acks: i32) -> Result<Acks, InvalidField> {
    match v1::Acks::try_from(acks) {
        Ok(v1::Acks::Unspecified | v1::Acks::Quorum) => Ok(Acks::Quorum),
        Ok(v1::Acks::One) => Ok(Acks::One),
        Ok(v1::Acks::All) => Ok(Acks::All),
        Err(_) => Err(InvalidField { field: "acks", problem: format!("{acks} is not a value of Acks") }),
    }
}

/// Writes an `acks` field.
pub fn acks_to_wire(acks: Acks) -> i32 {
    match acks {
        Acks::One => v1::Acks::One,
        Acks::Quorum => v1::Acks::Quorum,
        Acks::All => v1::Acks::All,
    }
    .into()
}

/// Reads a `topic_id` field; empty is absent.
///
/// # Errors
/// [`InvalidField`] for any other length than 0 or 16 bytes.
pub fn topic_id_from_wire(topic_id: &Bytes) -> Result<Option<TopicId>, InvalidField> {
    if topic_id.is_empty() {
        return Ok(None);
    }
    <[u8; 16]>::try_from(topic_id.as_ref()).map(|bytes| Some(TopicId::from_bytes(bytes))).map_err(|_| {
        InvalidField { field: "topic_id", problem: format!("{} bytes, must be 16", topic_id.len()) }
    })
}

/// Reads a `topic` field.
///
/// # Errors
/// `INVALID_TOPIC_NAME` says which rule the name breaks.
pub fn topic_name_from_wire(topic: &str) -> Result<TopicName, Refusal> {
    TopicName::new(topic).map_err(|e| Refusal::new(ErrorCode::InvalidTopicName, e.to_string()))
}

/// Reads an offset field.
///
/// # Errors
/// [`InvalidField`] above 2⁶³−1.
pub fn offset_from_wire(field: &'static str, offset: u64) -> Result<Offset, InvalidField> {
    Offset::try_from(offset).map_err(|e| InvalidField { field, problem: e.to_string() })
}

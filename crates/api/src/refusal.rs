//! One refusal, in its domain form, as an answer's `Error`, and as a gRPC status.

use corduroy_types::{BrokerId, ErrorCode, Offset, Outcome};
use prost::Message;
use tonic::{Code, Status, metadata::MetadataValue};

use crate::v1;

/// The trailer that carries the whole [`v1::Error`] next to a gRPC status.
pub const ERROR_DETAIL_KEY: &str = "corduroy-error-bin";

/// Why something was refused or failed, as both sides of the wire speak of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// The code, from the closed set.
    pub code: ErrorCode,
    /// What was wrong, with the values that were wrong.
    pub message: String,
    /// What to do about it; may be empty.
    pub hint: String,
    /// Set for a produce, and for nothing else.
    pub outcome: Option<Outcome>,
    /// The first readable offset, where the refusal is about an offset.
    pub log_start: Option<Offset>,
    /// The end of what is readable, where the refusal is about an offset.
    pub high_watermark: Option<Offset>,
    /// Where reading can go on behind damaged bytes.
    pub next_good_offset: Option<Offset>,
    /// The partition's next offset, where another one was expected.
    pub next_offset: Option<Offset>,
    /// Who leads the partition, where another broker was asked.
    pub leader: Option<Box<Leader>>,
}

/// The broker that leads a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// Its id.
    pub id: BrokerId,
    /// Where clients reach it, as host:port; empty where it does not advertise an address.
    pub address: String,
}

impl Refusal {
    /// A refusal with the code's own advice as its hint.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: code.action().to_owned(),
            outcome: None,
            log_start: None,
            high_watermark: None,
            next_good_offset: None,
            next_offset: None,
            leader: None,
        }
    }

    /// The same with another hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// The same, as the end of a produce.
    #[must_use]
    pub fn with_outcome(mut self, outcome: Outcome) -> Self {
        self.outcome = Some(outcome);
        self
    }

    /// The same, as the end of something that is no produce.
    #[must_use]
    pub fn without_outcome(mut self) -> Self {
        self.outcome = None;
        self
    }

    /// The same, with the range that can be read.
    #[must_use]
    pub fn with_range(mut self, log_start: Offset, high_watermark: Offset) -> Self {
        self.log_start = Some(log_start);
        self.high_watermark = Some(high_watermark);
        self
    }

    /// The gRPC status for an rpc that has no answer message to carry the refusal.
    pub fn into_status(self) -> Status {
        let grpc = grpc_code(self.code);
        let text = self.to_string();
        let detail = v1::Error::from(self).encode_to_vec();
        let mut status = Status::new(grpc, text);
        status.metadata_mut().insert_bin(ERROR_DETAIL_KEY, MetadataValue::from_bytes(&detail));
        status
    }

    /// Why a request could not be read: what the status says, or the nearest for one that the gRPC library made, of a
    /// message that cannot be decoded, or a method that does not exist.
    pub fn of_request(status: &Status) -> Self {
        if status.metadata().get_bin(ERROR_DETAIL_KEY).is_some() {
            return Self::from_status(status);
        }
        let (code, what) = match status.code() {
            Code::Internal | Code::InvalidArgument | Code::OutOfRange => {
                (ErrorCode::InvalidRequest, "the request cannot be decoded: ")
            }
            code => (foreign_code(code), ""),
        };
        Self::new(code, format!("{what}{}", status.message()))
    }

    /// Reads a refusal out of a status, or makes the nearest one for a status that no broker of ours sent.
    pub fn from_status(status: &Status) -> Self {
        let detail = status
            .metadata()
            .get_bin(ERROR_DETAIL_KEY)
            .and_then(|value| value.to_bytes().ok())
            .and_then(|bytes| v1::Error::decode(bytes).ok());
        match detail {
            Some(error) => Self::from(error),
            None => Self::new(foreign_code(status.code()), status.message()),
        }
    }
}

/// The one table from our codes to gRPC's; no wildcard, so that a new code has to choose.
fn grpc_code(code: ErrorCode) -> Code {
    use ErrorCode as E;
    match code {
        E::InvalidRequest
        | E::InvalidTopicName
        | E::InvalidPartitionCount
        | E::InvalidReplication
        | E::UnknownConfigKey
        | E::InvalidConfigValue
        | E::BatchTooLarge
        | E::RecordTooLarge
        | E::CorruptBatch
        | E::InvalidBatch
        | E::InvalidTimestamp
        | E::KeyRequired
        | E::DecompressedTooLarge
        | E::InvalidAddress
        | E::Usage
        | E::UnknownContext
        | E::InvalidInput => Code::InvalidArgument,
        E::Unsupported | E::UnsupportedCompression => Code::Unimplemented,
        E::Internal | E::StorageFailed | E::UnexpectedAnswer | E::FileFailed => Code::Internal,
        E::DiskFull | E::Overloaded | E::BufferFull | E::GroupFull => Code::ResourceExhausted,
        E::Corrupt => Code::DataLoss,
        E::ShuttingDown
        | E::Starting
        | E::PartitionOffline
        | E::NotLeader
        | E::Unavailable
        | E::CoordinatorLoading => Code::Unavailable,
        E::TimedOut => Code::DeadlineExceeded,
        E::TopicExists => Code::AlreadyExists,
        E::TopicNotFound | E::PartitionNotFound | E::GroupNotFound => Code::NotFound,
        E::OffsetOutOfRange | E::PositionLost => Code::OutOfRange,
        E::OffsetMismatch => Code::Aborted,
        E::TopicIdMismatch
        | E::FencedLeaderEpoch
        | E::UnknownLeaderEpoch
        | E::OutOfSequence
        | E::SequenceUnknown
        | E::ProducerFenced
        | E::UnknownMember
        | E::FencedMember
        | E::FencedInstance
        | E::PartitionNotAssigned
        | E::GroupNotEmpty
        | E::ConfirmationNeeded
        | E::ReadOnlyContext
        | E::DirectoryInUse
        | E::PartlyFailed
        | E::HasFindings
        | E::Interrupted => Code::FailedPrecondition,
        E::Closed => Code::Cancelled,
        _ => Code::Unknown,
    }
}

/// What a status without our detail means: it comes from the transport, a proxy, or a stranger.
fn foreign_code(code: Code) -> ErrorCode {
    match code {
        Code::Unavailable | Code::Cancelled | Code::Unknown | Code::Aborted => ErrorCode::Unavailable,
        Code::DeadlineExceeded => ErrorCode::TimedOut,
        Code::ResourceExhausted => ErrorCode::Overloaded,
        Code::InvalidArgument | Code::OutOfRange => ErrorCode::InvalidRequest,
        Code::Unimplemented => ErrorCode::Unsupported,
        _ => ErrorCode::UnexpectedAnswer,
    }
}

impl From<Refusal> for v1::Error {
    fn from(refusal: Refusal) -> Self {
        let Refusal {
            code,
            message,
            hint,
            outcome,
            log_start,
            high_watermark,
            next_good_offset,
            next_offset,
            leader,
        } = refusal;
        let leader_id = leader.as_ref().map(|leader| leader.id.0);
        Self {
            code: i32::from(code.number()),
            message,
            hint,
            retriable: code.is_retriable(),
            outcome: match outcome {
                None => v1::Outcome::Unspecified,
                Some(Outcome::NotWritten) => v1::Outcome::NotWritten,
                Some(Outcome::Unknown) => v1::Outcome::Unknown,
            }
            .into(),
            log_start: log_start.map(Offset::get),
            high_watermark: high_watermark.map(Offset::get),
            next_good_offset: next_good_offset.map(Offset::get),
            next_offset: next_offset.map(Offset::get),
            leader_id,
            leader_address: leader.map(|leader| leader.address).unwrap_or_default(),
        }
    }
}

impl From<v1::Error> for Refusal {
    /// A code or outcome that this build does not know becomes `UnexpectedAnswer` and `Unknown`.
    fn from(error: v1::Error) -> Self {
        let known = u16::try_from(error.code).ok().and_then(ErrorCode::from_number);
        let outcome = match v1::Outcome::try_from(error.outcome) {
            Ok(v1::Outcome::Unspecified) => None,
            Ok(v1::Outcome::NotWritten) => Some(Outcome::NotWritten),
            Ok(v1::Outcome::Unknown) | Err(_) => Some(Outcome::Unknown),
        };
        Self {
            code: known.unwrap_or(ErrorCode::UnexpectedAnswer),
            message: error.message,
            hint: error.hint,
            outcome,
            log_start: error.log_start.and_then(Offset::new),
            high_watermark: error.high_watermark.and_then(Offset::new),
            next_good_offset: error.next_good_offset.and_then(Offset::new),
            next_offset: error.next_offset.and_then(Offset::new),
            leader: error
                .leader_id
                .map(|id| Box::new(Leader { id: BrokerId(id), address: error.leader_address })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_enum_is_the_registry() {
        for code in ErrorCode::ALL {
            let wire = v1::ErrorCode::try_from(i32::from(code.number())).unwrap();
            assert_eq!(wire.as_str_name(), format!("ERROR_CODE_{}", code.name()));
            assert_ne!(grpc_code(*code), Code::Unknown, "{code} has no place in the table");
        }
        let wire_codes = (1..=u16::MAX).filter(|n| v1::ErrorCode::try_from(i32::from(*n)).is_ok()).count();
        assert_eq!(wire_codes, ErrorCode::ALL.len());
    }

    #[test]
    fn a_refusal_survives_the_status() {
        let refusal = Refusal::new(ErrorCode::OffsetOutOfRange, "offset 9 > 3")
            .with_outcome(Outcome::NotWritten)
            .with_range(Offset::ZERO, Offset::new(3).unwrap());
        let status = refusal.clone().into_status();
        assert_eq!(status.code(), Code::OutOfRange);
        assert_eq!(Refusal::from_status(&status), refusal);
    }

    #[test]
    fn the_leader_that_a_refusal_names_survives_the_status() {
        let mut refusal = Refusal::new(ErrorCode::NotLeader, "broker 2 leads orders/0");
        refusal.leader = Some(Box::new(Leader { id: BrokerId(2), address: "b:9400".to_owned() }));
        assert_eq!(Refusal::from_status(&refusal.clone().into_status()), refusal);
    }

    #[test]
    fn a_request_that_cannot_be_decoded_is_the_senders_fault() {
        let refusal = Refusal::of_request(&Status::internal("failed to decode Protobuf message"));
        assert_eq!(refusal.code, ErrorCode::InvalidRequest);
        assert!(refusal.message.contains("cannot be decoded: failed to decode"), "{refusal}");
        let ours = Refusal::new(ErrorCode::BatchTooLarge, "large");
        assert_eq!(Refusal::of_request(&ours.clone().into_status()), ours);
        assert_eq!(Refusal::of_request(&Status::unimplemented("")).code, ErrorCode::Unsupported);
    }

    #[test]
    fn a_strangers_status_is_still_understood() {
        let status = Status::unavailable("connection refused");
        assert_eq!(Refusal::from_status(&status).code, ErrorCode::Unavailable);
    }
}

//! The closed set of error codes: the one registry behind the API, `docs/errors.md` and `logctl explain`.

use std::fmt;

use crate::Outcome;

/// What a script should make of an error: the exit status that `logctl` ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitClass {
    /// 1: it failed.
    Failed,
    /// 2: the command itself was wrong.
    Usage,
    /// 3: what was named does not exist.
    NotFound,
    /// 4: something that exists is in the way, or a condition did not hold.
    Conflict,
    /// 6: not reachable, not ready, or too slow.
    Unavailable,
    /// 7: some items failed.
    Partial,
    /// 8: an answer is needed, and no one can be asked.
    InputNeeded,
    /// 9: a check has findings.
    Findings,
}

impl ExitClass {
    /// The exit status.
    pub const fn status(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Conflict => 4,
            Self::Unavailable => 6,
            Self::Partial => 7,
            Self::InputNeeded => 8,
            Self::Findings => 9,
        }
    }
}

/// What a code says of the records of a produce that ends with it.
///
/// NOT_WRITTEN stands only where it is known that the log does not hold the records. A batch with a producer id may have
/// been sent before, so its refusal is UNKNOWN where the partition cannot exclude that the earlier request wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProduceEnd {
    /// The request wrote nothing: NOT_WRITTEN. UNKNOWN only for a batch that an earlier request may have written, or
    /// where the request has records of another partition too, and those were written.
    NotWritten,
    /// The request wrote nothing, but an earlier one may have written the same batch: UNKNOWN.
    NotNow,
    /// It is refused before anything is written, or the wait for its acknowledgement ends: the answer's outcome says it.
    Either,
    /// No produce ends with it.
    Never,
}

impl ProduceEnd {
    /// Whether the request that ended with this wrote nothing, whatever became of earlier ones.
    pub const fn wrote_nothing(self) -> bool {
        matches!(self, Self::NotWritten | Self::NotNow)
    }

    /// Whether a produce may end with this and `outcome`.
    pub const fn allows(self, outcome: Outcome) -> bool {
        match self {
            Self::NotWritten | Self::Either => true,
            Self::NotNow => matches!(outcome, Outcome::Unknown),
            Self::Never => false,
        }
    }

    /// In words, as `docs/errors.md` and `logctl explain` have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotWritten => "not written",
            Self::NotNow => "unknown",
            Self::Either => "as answered",
            Self::Never => "",
        }
    }
}

macro_rules! codes {
    ($($variant:ident = $number:literal, $name:literal, $retriable:literal, $class:ident, $produce:ident,
        $summary:literal, $action:literal;)+) => {
        /// Why a request was refused or failed.
        ///
        /// The number is stable: it is the protobuf enum's value, and `E` before it makes the code people see.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        #[repr(u16)]
        pub enum ErrorCode {
            $(#[doc = $summary] #[doc = ""] #[doc = $action] $variant = $number,)+
        }

        impl ErrorCode {
            /// Every code, in the order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The code with this number, if this build knows it.
            pub const fn from_number(number: u16) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)+ _ => None }
            }

            /// The name in the API, in capitals: `TOPIC_NOT_FOUND`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// Whether the same request may succeed later without anybody changing it.
            pub const fn is_retriable(self) -> bool {
                match self { $(Self::$variant => $retriable),+ }
            }

            /// What a script should make of it.
            pub const fn exit_class(self) -> ExitClass {
                match self { $(Self::$variant => ExitClass::$class),+ }
            }

            /// What it says of the records, where a produce ends with it.
            pub const fn produce_end(self) -> ProduceEnd {
                match self { $(Self::$variant => ProduceEnd::$produce),+ }
            }

            /// What it means, in one sentence.
            pub const fn summary(self) -> &'static str {
                match self { $(Self::$variant => $summary),+ }
            }

            /// What to do about it.
            pub const fn action(self) -> &'static str {
                match self { $(Self::$variant => $action),+ }
            }
        }
    };
}

codes! {
    InvalidRequest = 1001, "INVALID_REQUEST", false, Usage, NotWritten,
        "The request breaks a rule of the API: a field is missing, contradictory or out of range.",
        "Correct the field that the message names.";
    Unsupported = 1002, "UNSUPPORTED", false, Usage, NotWritten,
        "This version does not have what was asked for.",
        "Use a version that has it, or do without.";
    Internal = 1003, "INTERNAL", false, Failed, Either,
        "The broker met a state it should never be in.",
        "Report it with the broker's log around that time.";
    StorageFailed = 1101, "STORAGE_FAILED", true, Failed, Either,
        "A write or sync to disk failed. What was being written may or may not survive; nothing acknowledged is affected.",
        "Check the disk and the broker's log; for a produce, the outcome is unknown.";
    DiskFull = 1102, "DISK_FULL", true, Unavailable, NotWritten,
        "The data directory is below its free-space reserve, so appends are refused; reads go on.",
        "Free space, shorten retention or delete records; it recovers by itself.";
    Corrupt = 1103, "CORRUPT", false, Failed, Never,
        "Stored bytes at that position fail their checksum.",
        "Do not retry. The message names file and position; `logctl log verify` shows the extent.";
    Overloaded = 1104, "OVERLOADED", true, Unavailable, NotWritten,
        "A memory or connection limit is reached.",
        "Retry with backoff; send less at once, or raise the limit that the message names.";
    ShuttingDown = 1105, "SHUTTING_DOWN", true, Unavailable, Either,
        "The broker is stopping and takes no new work.",
        "Reconnect and retry.";
    TimedOut = 1106, "TIMED_OUT", true, Unavailable, Either,
        "The request was not finished within its time-out. A produce that waited for its acknowledgement may or may not be written.",
        "Retry; a produce whose outcome is unknown may then appear twice.";
    Starting = 1107, "STARTING", true, Unavailable, NotWritten,
        "The broker is still recovering its logs.",
        "Retry; /readyz and `logctl status` say when it is ready.";
    PartitionOffline = 1108, "PARTITION_OFFLINE", true, Unavailable, NotWritten,
        "The partition's log cannot be opened, or is not led yet, for the reason that the message gives; other partitions are served.",
        "Retry with backoff: opening it is tried again by itself. If it lasts, remove the cause that the message and `logctl status` name.";
    InvalidTopicName = 1201, "INVALID_TOPIC_NAME", false, Usage, NotWritten,
        "A topic name has 1 to 249 of a-z A-Z 0-9 . _ - and is neither \".\" nor \"..\"; names that begin with \"__\" belong to the broker.",
        "Choose another name.";
    TopicExists = 1202, "TOPIC_EXISTS", false, Conflict, Never,
        "A topic of that name exists already.",
        "Choose another name, or ask for it only if it does not exist (`--if-not-exists`).";
    TopicNotFound = 1203, "TOPIC_NOT_FOUND", false, NotFound, Either,
        "No topic has that name. Topics are never created by producing or consuming.",
        "Check the spelling with `logctl topic ls`, or create it.";
    PartitionNotFound = 1204, "PARTITION_NOT_FOUND", false, NotFound, NotWritten,
        "The topic has no partition with that index. Partitions are counted from 0.",
        "Check with `logctl topic describe`.";
    InvalidPartitionCount = 1205, "INVALID_PARTITION_COUNT", false, Usage, Never,
        "The number of partitions is not allowed: it is at least 1, has an upper limit, and can only grow.",
        "Choose a number that the message allows.";
    InvalidReplication = 1206, "INVALID_REPLICATION", false, Usage, Never,
        "There are fewer brokers than replicas asked for, or none was asked for.",
        "Ask for at most as many replicas as there are brokers.";
    UnknownConfigKey = 1207, "UNKNOWN_CONFIG_KEY", false, Usage, Never,
        "No topic config has that key.",
        "Use the key that the message suggests; `logctl explain KEY` says what a key does.";
    InvalidConfigValue = 1208, "INVALID_CONFIG_VALUE", false, Usage, Never,
        "A topic config's value has the wrong form, is out of range, or contradicts another one.",
        "Choose a value that the message allows.";
    TopicIdMismatch = 1209, "TOPIC_ID_MISMATCH", true, Conflict, NotWritten,
        "The topic was deleted and created again: its id is not the one the request names.",
        "Look the topic up again; offsets of the old topic mean nothing in the new one.";
    BatchTooLarge = 1301, "BATCH_TOO_LARGE", false, Failed, NotWritten,
        "The record batch is larger than the topic's max.message.bytes.",
        "Send smaller batches, or raise max.message.bytes.";
    RecordTooLarge = 1302, "RECORD_TOO_LARGE", false, Failed, NotWritten,
        "One record alone is larger than the topic's max.message.bytes allows.",
        "Store large values elsewhere and send a reference, or raise max.message.bytes.";
    CorruptBatch = 1303, "CORRUPT_BATCH", true, Failed, NotWritten,
        "The record batch does not match its CRC-32C: it was damaged on the way.",
        "Send it again; if it repeats, suspect the sender's memory or library.";
    InvalidBatch = 1304, "INVALID_BATCH", false, Failed, NotWritten,
        "The bytes are no valid record batch: wrong magic, or counts and lengths that do not agree.",
        "The message names batch and record; correct the producer.";
    InvalidTimestamp = 1305, "INVALID_TIMESTAMP", false, Failed, NotWritten,
        "A record's timestamp is further from the broker's clock than the topic allows.",
        "Check the producer's clock, or set message.timestamp.before.max.ms / after.max.ms.";
    KeyRequired = 1306, "KEY_REQUIRED", false, Failed, NotWritten,
        "The topic is compacted, and a record has no key.",
        "Give every record a key.";
    DecompressedTooLarge = 1307, "DECOMPRESSED_TOO_LARGE", false, Failed, NotWritten,
        "The record batch grows past the broker's limit when it is decompressed.",
        "Send fewer records in a batch.";
    UnsupportedCompression = 1308, "UNSUPPORTED_COMPRESSION", false, Failed, NotWritten,
        "The record batch uses a codec that is unknown or not in this build.",
        "Use none, gzip, snappy, lz4 or zstd.";
    OffsetOutOfRange = 1401, "OFFSET_OUT_OF_RANGE", false, NotFound, Never,
        "The offset lies before the log start or after the log end.",
        "Begin again at `start` or `end`, or at an offset within the range that the message names.";
    FencedLeaderEpoch = 1402, "FENCED_LEADER_EPOCH", true, Conflict, Either,
        "The request names an older leader epoch than the partition's.",
        "Look the partition up again, then retry.";
    UnknownLeaderEpoch = 1403, "UNKNOWN_LEADER_EPOCH", true, Unavailable, NotWritten,
        "The request names a newer leader epoch than this broker knows.",
        "Retry with backoff; the broker will catch up.";
    OffsetMismatch = 1404, "OFFSET_MISMATCH", false, Conflict, NotWritten,
        "The produce named the offset it expected to get, and the partition's next offset is another one. Nothing was written.",
        "Read what was appended meanwhile, decide again, and name the offset that the message gives.";
    NotLeader = 1405, "NOT_LEADER", true, Unavailable, NotWritten,
        "Another broker leads the partition. This request wrote nothing.",
        "Ask the broker that the error names, or look the partition up again.";
    Unavailable = 1501, "UNAVAILABLE", true, Unavailable, Either,
        "No broker could be reached, or the connection broke before the answer.",
        "Check that the broker runs and that the address is right.";
    Closed = 1502, "CLOSED", false, Failed, Either,
        "The client, producer or consumer was closed.",
        "Build a new one.";
    BufferFull = 1503, "BUFFER_FULL", true, Unavailable, NotWritten,
        "The producer's buffer is full: records come in faster than the broker takes them.",
        "Wait for deliveries, use the call that waits for room, or raise buffer_bytes.";
    InvalidAddress = 1504, "INVALID_ADDRESS", false, Usage, NotWritten,
        "The broker's address is no URL that can be dialled.",
        "Write it as http://HOST:PORT.";
    UnexpectedAnswer = 1505, "UNEXPECTED_ANSWER", false, Failed, Either,
        "The other side answered something that the API does not allow.",
        "Check that the address belongs to a Corduroy broker of a compatible version.";
    OutOfSequence = 1601, "OUT_OF_SEQUENCE", false, Failed, NotWritten,
        "The batch skips sequences of its producer: one before it is not in the partition. This request wrote nothing; an earlier one may have, where the producer was forgotten before.",
        "Send what is missing first. If it was acknowledged, records are lost: do not go on as if they were there.";
    ProducerFenced = 1602, "PRODUCER_FENCED", false, Conflict, NotNow,
        "The batch is of an older epoch than its producer's present one. This request wrote nothing; an earlier one may have written the batch.",
        "Do not send it again: the producer gave it up when it raised its epoch, or another one runs with the same id.";
    SequenceUnknown = 1603, "SEQUENCE_UNKNOWN", false, Failed, NotNow,
        "The partition does not remember the producer, or not that far back: it cannot tell whether the batch was written before. This request wrote nothing.",
        "Read the partition to find out. To go on, begin a new producer epoch at sequence 0.";
    GroupNotFound = 1701, "GROUP_NOT_FOUND", false, NotFound, Never,
        "No group has that name. A group exists once a member has joined or an offset was committed.",
        "Check the spelling with `logctl group ls`.";
    UnknownMember = 1702, "UNKNOWN_MEMBER", false, NotFound, Never,
        "The member is not in the group: it left, was removed, or its session ended.",
        "Drop all partitions and join again; the client does so by itself.";
    FencedMember = 1703, "FENCED_MEMBER", false, Conflict, Never,
        "The member names an epoch that is not its own, so its partitions may have gone to others.",
        "Drop all partitions and join again; the client does so by itself.";
    FencedInstance = 1704, "FENCED_INSTANCE", false, Conflict, Never,
        "Another process has joined the group under the same instance id.",
        "Stop one of the two, or give it another instance id.";
    PartitionNotAssigned = 1705, "PARTITION_NOT_ASSIGNED", false, Conflict, Never,
        "Only the member that holds a partition may commit offsets there, and this one does not.",
        "Nothing to do: its present owner reads the records again from the last committed offset.";
    GroupNotEmpty = 1706, "GROUP_NOT_EMPTY", true, Conflict, Never,
        "The group has members, and what was asked for needs a group without.",
        "Stop the group's consumers, or put members out with `logctl group kick`, then retry.";
    GroupFull = 1707, "GROUP_FULL", false, Failed, Never,
        "The group has as many members as it may have.",
        "Use fewer consumers: more members than partitions have nothing to do.";
    CoordinatorLoading = 1708, "COORDINATOR_LOADING", true, Unavailable, Never,
        "The broker is still reading the group's state.",
        "Retry with backoff.";
    PositionLost = 1709, "POSITION_LOST", false, Failed, Never,
        "Retention has removed records that the group had not read: its committed offset lies below the log start.",
        "Decide what to do about the missing records, then `logctl group reset`; or choose `start` or `end` as what to do in that case.";
    Usage = 1901, "USAGE", false, Usage, Never,
        "The command line is wrong.",
        "See `--help` of that command.";
    UnknownContext = 1902, "UNKNOWN_CONTEXT", false, Usage, Never,
        "No context has that name.",
        "See `logctl context ls`, or add it.";
    InvalidInput = 1903, "INVALID_INPUT", false, Failed, Never,
        "The input does not match its format.",
        "The message names file and line; correct it, or choose another `--format`.";
    FileFailed = 1904, "FILE_FAILED", false, Failed, Never,
        "A file could not be read or written.",
        "Check that it exists and its permissions.";
    ConfirmationNeeded = 1905, "CONFIRMATION_NEEDED", false, InputNeeded, Never,
        "The command asks for confirmation, and there is no terminal to ask on.",
        "Give `--yes` if you mean it.";
    ReadOnlyContext = 1906, "READ_ONLY_CONTEXT", false, Conflict, Never,
        "The context was added with `--read-only`, so it refuses changes.",
        "Use another context.";
    PartlyFailed = 1907, "PARTLY_FAILED", false, Partial, Never,
        "Some items succeeded and some failed.",
        "The list on stderr says which; run it again for those.";
    DirectoryInUse = 1908, "DIRECTORY_IN_USE", false, Conflict, Never,
        "Another process holds the data directory's lock.",
        "Stop the broker first: offline commands need the directory for themselves.";
    HasFindings = 1909, "HAS_FINDINGS", false, Findings, Never,
        "The check ran to its end and found something wrong.",
        "Read the findings it printed.";
    Interrupted = 1910, "INTERRUPTED", false, Failed, Either,
        "Ctrl-C, SIGTERM or SIGHUP ended the command; it exits 130 or 143.",
        "The details say how far it came.";
}

impl ErrorCode {
    /// The number: the protobuf enum's value.
    pub const fn number(self) -> u16 {
        self as u16
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "E{:04}", self.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is known to be absent, code by code: a new code has to choose, and a changed one to say so here.
    #[test]
    fn the_registry_says_what_became_of_the_records() {
        use ErrorCode as E;
        let not_now = [E::ProducerFenced, E::SequenceUnknown];
        let either = [
            E::Internal,
            E::StorageFailed,
            E::ShuttingDown,
            E::TimedOut,
            E::TopicNotFound,
            E::FencedLeaderEpoch,
            E::Unavailable,
            E::Closed,
            E::UnexpectedAnswer,
            E::Interrupted,
        ];
        for code in ErrorCode::ALL {
            let end = code.produce_end();
            assert_eq!(end == ProduceEnd::NotNow, not_now.contains(code), "{code}");
            assert_eq!(end == ProduceEnd::Either, either.contains(code), "{code}");
            assert_eq!(
                end.allows(Outcome::Unknown),
                end != ProduceEnd::Never,
                "{code}: doubt is always allowed"
            );
            assert_eq!(
                end.allows(Outcome::NotWritten),
                end == ProduceEnd::NotWritten || either.contains(code)
            );
            // A text that promises what the outcome does not.
            let promises = code.summary().contains("Nothing was written");
            assert!(!promises || end == ProduceEnd::NotWritten, "{code}: {}", code.summary());
        }
        for code in [E::OutOfSequence, E::OffsetMismatch, E::DiskFull, E::Starting, E::BatchTooLarge] {
            assert!(code.produce_end().wrote_nothing() && code.produce_end().allows(Outcome::NotWritten));
        }
    }

    #[test]
    fn numbers_are_unique_and_in_order_and_read_back() {
        assert!(ErrorCode::ALL.is_sorted_by_key(|code| code.number()));
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_number(code.number()), Some(*code));
            assert!(code.summary().ends_with('.') && code.action().ends_with('.'), "{code}");
        }
        assert_eq!(ErrorCode::TopicNotFound.to_string(), "E1203");
    }
}

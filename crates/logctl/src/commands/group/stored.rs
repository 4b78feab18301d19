//! Committed offsets as JSON lines: one object per line, and nothing lost between export and import.

use std::{collections::HashMap, io::Read as _, path::Path};

use corduroy_client::GroupOffset;
use corduroy_types::{ErrorCode, InvalidTopicName, LeaderEpoch, Offset, TopicName};
use serde::{Deserialize, Serialize};

use super::snapshot::TopicPartition;
use crate::{error::CliError, input::Source};

/// The greatest file that is read; at a hundred bytes a line, ten million offsets.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// How many wrong lines are named.
const REPORTED_MAX: usize = 10;

/// One committed offset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredOffset {
    topic: String,
    partition: u32,
    offset: u64,
    #[serde(default)]
    leader_epoch: Option<u32>,
    #[serde(default)]
    pub(super) metadata: String,
}

/// What a file holds: offsets with the number of their line.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) name: String,
    pub(super) offsets: Vec<(usize, StoredOffset)>,
}

impl StoredOffset {
    /// Where it was committed; always a valid place, as is its offset.
    pub(super) fn partition(&self) -> TopicPartition {
        (self.topic.clone(), self.partition)
    }

    pub(super) fn offset(&self) -> Offset {
        Offset::new(self.offset).unwrap_or(Offset::MAX)
    }

    pub(super) fn leader_epoch(&self) -> Option<LeaderEpoch> {
        self.leader_epoch.and_then(LeaderEpoch::new)
    }

    /// A line of an export; `None` where nothing was committed.
    pub(super) fn of(offset: &GroupOffset) -> Option<Self> {
        let committed = offset.committed.as_ref()?;
        Some(Self {
            topic: offset.topic.to_string(),
            partition: offset.partition.0,
            offset: committed.offset.get(),
            leader_epoch: committed.leader_epoch.map(LeaderEpoch::get),
            metadata: committed.metadata.clone(),
        })
    }

    /// The line, without its end.
    ///
    /// # Errors
    /// `INTERNAL` for what JSON cannot hold, which nothing here is.
    pub(super) fn to_line(&self) -> Result<String, CliError> {
        serde_json::to_string(self).map_err(|error| {
            CliError::new(ErrorCode::Internal, format!("the offset cannot be written as JSON: {error}"))
        })
    }

    fn check(&self) -> Result<(), LineFault> {
        TopicName::new(&self.topic)?;
        if Offset::new(self.offset).is_none() {
            return Err(LineFault::Offset(self.offset));
        }
        match self.leader_epoch {
            Some(epoch) if LeaderEpoch::new(epoch).is_none() => Err(LineFault::LeaderEpoch(epoch)),
            _ => Ok(()),
        }
    }
}

/// Reads a whole file; `-` is stdin.
///
/// # Errors
/// `FILE_FAILED`; `INVALID_INPUT` with the lines that are wrong.
pub(super) fn read_file(path: &Path) -> Result<Stored, CliError> {
    let source = Source::all(&[path.to_owned()]).pop().unwrap_or(Source::Stdin);
    let name = source.name();
    let mut bytes = Vec::new();
    source
        .open()?
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| CliError::file(Path::new(&name), "read", &error))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(CliError::new(ErrorCode::InvalidInput, format!("{name} is larger than 1 GiB")));
    }
    read(name, &bytes)
}

fn read(name: String, bytes: &[u8]) -> Result<Stored, CliError> {
    let (mut offsets, mut wrong) = (Vec::new(), Vec::new());
    let mut seen: HashMap<TopicPartition, usize> = HashMap::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let number = index + 1;
        if line.trim_ascii().is_empty() {
            continue;
        }
        match read_line(line) {
            Ok(offset) => {
                if let Some(first) = seen.insert(offset.partition(), number) {
                    let (topic, partition) = offset.partition();
                    wrong
                        .push(format!("{name}:{number}: {topic}:{partition} stands in line {first} already"));
                }
                offsets.push((number, offset));
            }
            Err(why) => wrong.push(format!("{name}:{number}: {why}")),
        }
    }
    if let Some(first) = wrong.first() {
        let more = wrong.len() - 1;
        let message = if more == 0 { first.clone() } else { format!("{first}; and {more} more wrong lines") };
        wrong.truncate(REPORTED_MAX);
        let hints = wrong.iter().skip(1).cloned();
        let error = CliError::new(ErrorCode::InvalidInput, message).with_detail("lines", wrong.clone());
        return Err(hints.fold(error, CliError::with_hint));
    }
    if offsets.is_empty() {
        return Err(CliError::new(ErrorCode::InvalidInput, format!("{name} holds no offsets"))
            .with_hint("make it with logctl group export GROUP > FILE"));
    }
    Ok(Stored { name, offsets })
}

/// What is wrong with a line.
#[derive(Debug, thiserror::Error)]
enum LineFault {
    #[error("{}", without_line(.0))]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Topic(#[from] InvalidTopicName),
    #[error("offset {0} is out of range; the greatest is {max}", max = Offset::MAX)]
    Offset(u64),
    #[error("leader_epoch {0} is out of range")]
    LeaderEpoch(u32),
}

/// The parser's message without its line: that is always the first, and the line of the file is named elsewhere.
fn without_line(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or(&text).to_owned()
}

fn read_line(line: &[u8]) -> Result<StoredOffset, LineFault> {
    let offset: StoredOffset = serde_json::from_slice(line)?;
    offset.check()?;
    Ok(offset)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wrong(text: &str) -> CliError {
        read("f".to_owned(), text.as_bytes()).unwrap_err()
    }

    #[test]
    fn every_wrong_line_is_named_by_file_and_line() {
        let good = r#"{"topic":"t","partition":0,"offset":1}"#;
        let cases = [
            ("nonsense", "f:2: expected"),
            (r#"{"topic":"t","partition":1}"#, "f:2: missing field `offset`"),
            (r#"{"topic":"t","partition":1,"offset":1,"x":1}"#, "f:2: unknown field `x`"),
            (r#"{"topic":"t t","partition":1,"offset":1}"#, "f:2: "),
            (r#"{"topic":"t","partition":-1,"offset":1}"#, "f:2: invalid value"),
            (
                r#"{"topic":"t","partition":1,"offset":9223372036854775808}"#,
                "f:2: offset 9223372036854775808",
            ),
            (good, "f:2: t:0 stands in line 1 already"),
        ];
        for (line, expected) in cases {
            let error = wrong(&format!("{good}\n{line}\n"));
            assert!(error.message.starts_with(expected), "{line}: {}", error.message);
            assert_eq!(error.code, ErrorCode::InvalidInput);
        }
        let several = wrong("x\n\ny\n");
        assert!(several.message.ends_with("; and 1 more wrong lines"), "{}", several.message);
        assert!(several.hints.first().is_some_and(|hint| hint.starts_with("f:3: ")), "{:?}", several.hints);
        assert!(wrong(" \n\n").message.contains("holds no offsets"));
    }

    #[test]
    fn optional_parts_may_be_missing() {
        let read = read("f".to_owned(), br#"{"topic":"t","partition":0,"offset":7}"#).unwrap();
        let (line, offset) = read.offsets.first().unwrap();
        assert_eq!((*line, offset.offset().get(), offset.leader_epoch()), (1, 7, None));
        assert_eq!(offset.metadata, "");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            offset in 0..=i64::MAX as u64,
            partition: u32,
            epoch in proptest::option::of(0..=i32::MAX as u32),
            metadata in "\\PC{0,20}|[\\n\"\\\\\u{0}]{0,5}",
        ) {
            let stored = StoredOffset { topic: "t".to_owned(), partition, offset, leader_epoch: epoch, metadata };
            let text = serde_json::to_string(&stored).unwrap();
            let read = read("f".to_owned(), text.as_bytes()).unwrap();
            prop_assert_eq!(read.offsets, vec![(1, stored)]);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = read("f".to_owned(), &bytes);
        }
    }
}

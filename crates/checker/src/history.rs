//! A history in memory: operations with both their times, and the builder that puts them together from lines.

use std::collections::BTreeMap;

use corduroy_types::{Offset, TopicName};

use crate::line::{Call, End, FORMAT_VERSION, Line, Sent};

/// A partition that the history names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionInfo {
    /// `topic/index`.
    pub name: String,
    /// Records may be removed once they are this old, in milliseconds.
    pub retention_ms: Option<u64>,
    /// Records may be removed once the partition is larger, in bytes.
    pub retention_bytes: Option<u64>,
}

/// One operation, from its invocation to its completion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// The client that began it.
    pub client: u32,
    /// The broker that was asked.
    pub node: Option<u32>,
    /// The partition it is about, as its place in [`History::partitions`].
    pub partition: Option<u32>,
    /// When it began, in nanoseconds.
    pub invoked_ns: u64,
    /// When it ended, in nanoseconds; never before it began.
    pub completed_ns: u64,
    /// What was asked.
    pub call: Call,
    /// How it ended.
    pub end: End,
}

/// A panic of a process under test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PanicInfo {
    /// When, in nanoseconds.
    pub at_ns: u64,
    /// Which broker.
    pub node: Option<u32>,
    /// What it said.
    pub message: String,
}

/// What clients and the harness did and saw in one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The operations; an operation's number is its place here.
    pub ops: Vec<Op>,
    /// The partitions, in the order in which they were first named.
    pub partitions: Vec<PartitionInfo>,
    /// The panics.
    pub panics: Vec<PanicInfo>,
}

/// Why a line does not belong into a history at its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The file does not begin with its version.
    #[error(
        "the first line must be {{\"history\":{{\"version\":{FORMAT_VERSION}}}}}, and no other line is one"
    )]
    Header,
    /// Another version.
    #[error("format version {0} is not known; this program reads version {FORMAT_VERSION}")]
    Version(u32),
    /// A partition's name is none.
    #[error("{0:?} is no partition; write topic/index, like orders/0")]
    PartitionName(String),
    /// The line that describes a partition comes too late or twice.
    #[error("partition {0} is described after it was used, or twice")]
    PartitionLate(String),
    /// The call needs a partition and has none.
    #[error("this call needs a partition")]
    PartitionMissing,
    /// The call is about no partition and has one.
    #[error("this call is about no partition")]
    PartitionUnused,
    /// Numbers of operations go up by one.
    #[error("operation {got} stands where {expected} is expected: invocations are numbered from 0")]
    OpNumber {
        /// The number that was given.
        got: u64,
        /// The next one.
        expected: u64,
    },
    /// A completion without an invocation before it.
    #[error("operation {0} is completed and was not invoked before")]
    NotInvoked(u64),
    /// A second completion.
    #[error("operation {0} is completed a second time")]
    CompletedTwice(u64),
    /// A completion before the invocation.
    #[error("operation {op} ends at {completed_ns} ns, before it begins at {invoked_ns} ns")]
    TimeBackwards {
        /// The operation.
        op: u64,
        /// When it began, in nanoseconds.
        invoked_ns: u64,
        /// When it ended, in nanoseconds.
        completed_ns: u64,
    },
    /// An end that the call cannot have.
    #[error("operation {op} cannot end like this: its call and its end do not belong together")]
    WrongEnd {
        /// The operation.
        op: u64,
    },
    /// A produce of nothing.
    #[error("a produce needs at least one record")]
    NoRecords,
    /// A value twice in one batch.
    #[error("value {0} stands twice in one produce, and names one record only")]
    ValueTwice(u64),
    /// An offset past the greatest one.
    #[error("{records} records from offset {base} on pass the greatest offset, {}", Offset::MAX)]
    OffsetRange {
        /// The offset of the first.
        base: Offset,
        /// How many.
        records: usize,
    },
    /// More operations than can be numbered.
    #[error("a history has at most {} operations", u32::MAX)]
    TooManyOps,
    /// An invocation that is never completed.
    #[error("operation {0} is invoked here and never completed; where no answer came, it ends unknown")]
    NotCompleted(u64),
}

/// Puts a history together, line by line, and refuses what does not fit.
#[derive(Debug, Default)]
pub struct Builder {
    history: History,
    by_name: BTreeMap<String, u32>,
    /// Operations without a completion, and the lines of their invocations.
    open: BTreeMap<u64, u64>,
    lines: u64,
}

impl Builder {
    /// A history without a line.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many lines were given, refused ones included.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Takes the next line.
    ///
    /// # Errors
    /// [`Problem`] where it does not fit to those before it. The history cannot be continued then.
    pub fn push(&mut self, line: Line<'_>) -> Result<(), Problem> {
        self.lines += 1;
        if (self.lines == 1) != matches!(line, Line::History { .. }) {
            return Err(Problem::Header);
        }
        match line {
            Line::History { version: FORMAT_VERSION } => Ok(()),
            Line::History { version } => Err(Problem::Version(version)),
            Line::Partition { name, retention_ms, retention_bytes } => {
                if self.by_name.contains_key(name.as_ref()) {
                    return Err(Problem::PartitionLate(name.into_owned()));
                }
                let at = self.partition(&name)?;
                if let Some(partition) = self.history.partitions.get_mut(at as usize) {
                    (partition.retention_ms, partition.retention_bytes) = (retention_ms, retention_bytes);
                }
                Ok(())
            }
            Line::Invoke { op, at_ns, client, node, partition, call } => {
                self.check_call(op, partition.is_some(), &call)?;
                let partition = partition.map(|name| self.partition(&name)).transpose()?;
                let (invoked_ns, completed_ns, end) = (at_ns, at_ns, End::Unknown);
                self.history.ops.push(Op { client, node, partition, invoked_ns, completed_ns, call, end });
                self.open.insert(op, self.lines);
                Ok(())
            }
            Line::Complete { op, at_ns, end } => self.complete(op, at_ns, end),
            Line::Panic { at_ns, node, message } => {
                self.history.panics.push(PanicInfo { at_ns, node, message: message.into_owned() });
                Ok(())
            }
        }
    }

    /// The whole history.
    ///
    /// # Errors
    /// The first line whose operation is never completed, or the first line of a history without any.
    pub fn finish(self) -> Result<History, (u64, Problem)> {
        if self.lines == 0 {
            return Err((1, Problem::Header));
        }
        match self.open.first_key_value() {
            Some((op, line)) => Err((*line, Problem::NotCompleted(*op))),
            None => Ok(self.history),
        }
    }

    /// The place of a partition, which is made where it is new.
    fn partition(&mut self, name: &str) -> Result<u32, Problem> {
        if let Some(at) = self.by_name.get(name) {
            return Ok(*at);
        }
        let is_partition = name.rsplit_once('/').is_some_and(|(topic, index)| {
            TopicName::new(topic).is_ok() && index.parse::<u32>().is_ok_and(|n| n.to_string() == index)
        });
        let at = u32::try_from(self.history.partitions.len()).map_err(|_| Problem::TooManyOps)?;
        if !is_partition {
            return Err(Problem::PartitionName(name.to_owned()));
        }
        self.by_name.insert(name.to_owned(), at);
        let (retention_ms, retention_bytes) = (None, None);
        self.history.partitions.push(PartitionInfo { name: name.to_owned(), retention_ms, retention_bytes });
        Ok(at)
    }

    fn check_call(&self, op: u64, has_partition: bool, call: &Call) -> Result<(), Problem> {
        let expected = u32::try_from(self.history.ops.len()).map_err(|_| Problem::TooManyOps)?;
        if op != u64::from(expected) {
            return Err(Problem::OpNumber { got: op, expected: expected.into() });
        }
        if expected == u32::MAX {
            return Err(Problem::TooManyOps);
        }
        match (call, has_partition) {
            (Call::Crash | Call::Nemesis { .. } | Call::Heal, true) => Err(Problem::PartitionUnused),
            (Call::Crash | Call::Nemesis { .. } | Call::Heal, false) => Ok(()),
            (_, false) => Err(Problem::PartitionMissing),
            (Call::Produce { records, .. }, true) => check_records(records),
            (_, true) => Ok(()),
        }
    }

    fn complete(&mut self, number: u64, at_ns: u64, end: End) -> Result<(), Problem> {
        let at = usize::try_from(number).map_err(|_| Problem::NotInvoked(number))?;
        let op = self.history.ops.get_mut(at).ok_or(Problem::NotInvoked(number))?;
        if self.open.remove(&number).is_none() {
            return Err(Problem::CompletedTwice(number));
        }
        if at_ns < op.invoked_ns {
            let (invoked_ns, completed_ns) = (op.invoked_ns, at_ns);
            return Err(Problem::TimeBackwards { op: number, invoked_ns, completed_ns });
        }
        if !belong_together(&op.call, &end) {
            return Err(Problem::WrongEnd { op: number });
        }
        if let (Call::Produce { records, .. }, End::Produced { base_offset, .. }) = (&op.call, &end) {
            let (base, records) = (*base_offset, records.len());
            base.checked_add(records as u64).ok_or(Problem::OffsetRange { base, records })?;
        }
        (op.completed_ns, op.end) = (at_ns, end);
        Ok(())
    }
}

fn check_records(records: &[Sent]) -> Result<(), Problem> {
    let mut values: Vec<_> = records.iter().map(|sent| sent.value).collect();
    values.sort_unstable();
    let twice = values.windows(2).find(|pair| pair.first() == pair.last());
    match (records, twice.and_then(<[u64]>::first)) {
        ([], _) => Err(Problem::NoRecords),
        (_, Some(value)) => Err(Problem::ValueTwice(*value)),
        (_, None) => Ok(()),
    }
}

/// Whether a call can end like this. Only a produce can be *not written*, and only what is asked of a broker is refused.
fn belong_together(call: &Call, end: &End) -> bool {
    match end {
        End::Unknown => true,
        End::Produced { .. } | End::NotWritten => matches!(call, Call::Produce { .. }),
        End::Fetched { .. } => matches!(call, Call::Fetch { .. }),
        End::Listed { .. } => matches!(call, Call::ListOffsets { .. }),
        End::Deleted { .. } => matches!(call, Call::DeleteRecords { .. }),
        End::Probed { .. } => matches!(call, Call::Probe),
        End::Refused => matches!(
            call,
            Call::Fetch { .. } | Call::ListOffsets { .. } | Call::DeleteRecords { .. } | Call::Probe
        ),
        End::Done => matches!(
            call,
            Call::Assign | Call::Revoke | Call::Seek | Call::Crash | Call::Nemesis { .. } | Call::Heal
        ),
    }
}

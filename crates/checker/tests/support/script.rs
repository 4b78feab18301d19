//! Histories in a few words: one operation after the other, unless a test says when.

use corduroy_checker::{
    History, Options, Report, Writer, check,
    line::{Call, End, Line, ProducerNumbers, Read, Sent, Spec},
    read,
};
use corduroy_types::{Acks, LeaderEpoch, Offset};

/// A history that is being written.
pub(crate) struct Script {
    pub(crate) lines: Vec<Line<'static>>,
    pub(crate) now_ns: u64,
    ops: u64,
}

impl Default for Script {
    fn default() -> Self {
        Self { lines: Vec::new(), now_ns: 100, ops: 0 }
    }
}

impl Script {
    /// An operation of partition `t/0`, after all others.
    pub(crate) fn op(&mut self, client: u32, call: Call, end: End) -> u64 {
        let times = (self.now_ns + 10, self.now_ns + 20);
        self.op_at(client, times, call, end)
    }

    /// An operation that begins and ends at these times, in nanoseconds.
    pub(crate) fn op_at(&mut self, client: u32, times_ns: (u64, u64), call: Call, end: End) -> u64 {
        let partition = (!matches!(call, Call::Crash | Call::Heal | Call::Nemesis { .. })).then_some("t/0");
        self.op_full((client, None), partition, times_ns, call, end)
    }

    /// An operation with everything that can be said of it.
    pub(crate) fn op_full(
        &mut self,
        (client, node): (u32, Option<u32>),
        partition: Option<&str>,
        times_ns: (u64, u64),
        call: Call,
        end: End,
    ) -> u64 {
        let (op, partition) = (self.ops, partition.map(|name| name.to_owned().into()));
        self.lines.push(Line::Invoke { op, at_ns: times_ns.0, client, node, partition, call });
        self.lines.push(Line::Complete { op, at_ns: times_ns.1, end });
        self.now_ns = self.now_ns.max(times_ns.1);
        self.ops += 1;
        op
    }

    /// The final reads: start, end, and everything between.
    pub(crate) fn finish(&mut self, start: u64, end: u64, records: &[(u64, u64)]) -> &mut Self {
        let list = |spec| Call::ListOffsets { spec, is_final: true };
        self.op(99, list(Spec::Start), listed(start, 9));
        self.op(99, list(Spec::End), listed(end, 9));
        let call = Call::Fetch { from: at(start), from_epoch: None, follower: false, is_final: true };
        self.op(99, call, got_from(start, records));
        self
    }

    /// The history, by way of its JSON lines.
    pub(crate) fn history(&self) -> History {
        let mut writer = Writer::new(Vec::new()).unwrap();
        for line in &self.lines {
            writer.line(line).unwrap();
        }
        read(&writer.finish().unwrap()[..]).unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) fn report(&self) -> Report {
        check(&self.history(), &Options::default())
    }
}

pub(crate) fn at(offset: u64) -> Offset {
    Offset::new(offset).unwrap()
}

pub(crate) fn epoch(number: u32) -> LeaderEpoch {
    LeaderEpoch::new(number).unwrap()
}

pub(crate) fn sent(value: u64) -> Sent {
    Sent { value, bytes: 8, hash: value.wrapping_mul(31) }
}

pub(crate) fn record(offset: u64, epoch_number: u32, value: u64) -> Read {
    let Sent { value, bytes, hash } = sent(value);
    Read { offset: at(offset), leader_epoch: epoch(epoch_number), value, bytes, hash }
}

pub(crate) fn produce(acks: Acks, values: &[u64]) -> Call {
    Call::Produce { acks, producer: None, records: values.iter().copied().map(sent).collect() }
}

/// With a producer id, an epoch and a sequence.
pub(crate) fn numbered(id: u64, epoch: u32, sequence: u64, values: &[u64]) -> Call {
    let producer = Some(ProducerNumbers { id, epoch, sequence });
    Call::Produce { acks: Acks::Quorum, producer, records: values.iter().copied().map(sent).collect() }
}

pub(crate) fn fetch(from: u64) -> Call {
    Call::Fetch { from: at(from), from_epoch: None, follower: false, is_final: false }
}

pub(crate) fn list_end() -> Call {
    Call::ListOffsets { spec: Spec::End, is_final: false }
}

pub(crate) fn nemesis() -> Call {
    Call::Nemesis { kind: "kill".to_owned(), targets: vec!["broker 1".to_owned()] }
}

/// Acknowledged in epoch 1.
pub(crate) fn base(offset: u64) -> End {
    End::Produced { base_offset: at(offset), leader_epoch: epoch(1) }
}

pub(crate) fn listed(offset: u64, epoch_number: u32) -> End {
    End::Listed { offset: at(offset), leader_epoch: epoch(epoch_number) }
}

/// A fetch from a log that begins at 0, with records of epoch 1.
pub(crate) fn got(records: &[(u64, u64)]) -> End {
    got_from(0, records)
}

/// A fetch from a log that begins at `log_start`.
pub(crate) fn got_from(log_start: u64, records: &[(u64, u64)]) -> End {
    End::Fetched {
        leader_epoch: epoch(1),
        high_watermark: None,
        log_start: at(log_start),
        next_offset: None,
        records: records.iter().map(|(offset, value)| record(*offset, 1, *value)).collect(),
    }
}

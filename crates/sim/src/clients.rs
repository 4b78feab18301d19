//! Clients: producers that wait for acknowledgements, and readers that follow a partition.

use std::collections::BTreeMap;

use corduroy_checker::line::{Call, End, Spec};
use corduroy_partition::{Acknowledged, Event, MonotonicMs, RequestId};
use corduroy_types::{Acks, Offset, TimestampMs};

use crate::actions::read_log;
use crate::net::Net;
use crate::outcome::Settings;
use crate::random::Random;
use crate::records;
use crate::rule::Rule;
use crate::world::{SimEvent, World};

/// How long a client waits for an answer, in microseconds.
const TIMEOUT_US: u64 = 4_000_000;
/// How long a broker waits before it answers *unknown*, in milliseconds.
const DEADLINE_MS: u64 = 3_000;
/// For how long a round trip to a quorum lets a leader serve reads, in milliseconds (rule R18).
pub(crate) const LEASE_MS: u64 = 1_000;
const FETCH_BYTES: u32 = 4_000;
const PRODUCERS: u32 = 4;
const READERS: u32 = 3;

#[derive(Clone, Debug)]
pub(crate) enum Request {
    Produce { acks: Acks, values: Vec<u64> },
    Fetch { from: Offset },
    ListEnd,
}

#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// `None`: it is unknown whether the records will stay.
    Produced(Option<Acknowledged>),
    NotWritten,
    /// The answer to a read.
    Read(End),
}

#[derive(Debug)]
struct Client {
    /// A reader's partition and position.
    reads: Option<(u32, Offset)>,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    client: u32,
    partition: u32,
    acks: Option<Acks>,
}

#[derive(Debug)]
pub(crate) struct Clients {
    clients: Vec<Client>,
    pending: BTreeMap<u64, Pending>,
    next_value: u64,
    pub(crate) until_us: u64,
}

impl Clients {
    pub(crate) fn new(settings: &Settings, random: &mut Random) -> Self {
        let producers = (0..PRODUCERS).map(|_| Client { reads: None });
        let mut partition = || u32::try_from(random.below(settings.partitions.into())).unwrap_or(0);
        let readers = (0..READERS).map(|_| Client { reads: Some((partition(), Offset::ZERO)) });
        let clients = producers.chain(readers).collect();
        Self { clients, pending: BTreeMap::new(), next_value: 1, until_us: u64::MAX }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }
}

impl World {
    pub(crate) fn begin_clients(&mut self) {
        for client in 0..PRODUCERS + READERS {
            self.after(500_000, SimEvent::Turn { client });
        }
    }

    /// A client asks for the next thing.
    pub(crate) fn turn(&mut self, client: u32) {
        let Some(state) = self.clients.clients.get(client as usize) else { return };
        if self.now_us >= self.clients.until_us {
            return;
        }
        let (partition, request, call, acks) = match state.reads {
            Some((partition, from)) if self.random.in_thousand(900) => {
                let call = Call::Fetch { from, from_epoch: None, follower: false, is_final: false };
                (partition, Request::Fetch { from }, call, None)
            }
            Some((partition, _)) => {
                (partition, Request::ListEnd, Call::ListOffsets { spec: Spec::End, is_final: false }, None)
            }
            None => {
                let partition =
                    u32::try_from(self.random.below(self.settings.partitions.into())).unwrap_or(0);
                let acks = match self.random.below(10) {
                    0 => Acks::One,
                    1..4 => Acks::All,
                    _ => Acks::Quorum,
                };
                let count = self.random.between(1, 4);
                let values: Vec<_> = (self.clients.next_value..self.clients.next_value + count).collect();
                self.clients.next_value += count;
                let sent = values.iter().map(|value| records::sent(*value)).collect();
                let call = Call::Produce { acks, producer: None, records: sent };
                (partition, Request::Produce { acks, values }, call, Some(acks))
            }
        };
        // A client that knows no leader asks any broker.
        let leader = self.controller.leader(partition);
        let to = leader.unwrap_or_else(|| self.random.index(self.brokers.len()));
        let op = self.recorder.invoke(self.now_us, client, Some(to), Some(partition), call);
        self.clients.pending.insert(op, Pending { client, partition, acks });
        let delay_us = Net::delay_us(&mut self.random);
        self.after(delay_us, SimEvent::Request { to, op, partition, request });
        self.after(TIMEOUT_US, SimEvent::Timeout { op });
    }

    pub(crate) fn timed_out(&mut self, op: u64) {
        self.complete(op, End::Unknown);
    }

    pub(crate) fn replied(&mut self, op: u64, reply: Reply) {
        let Some(Pending { client, partition, acks }) = self.clients.pending.get(&op).copied() else {
            return;
        };
        let end = match reply {
            Reply::Produced(Some(Acknowledged { base, end, epoch, .. })) => {
                self.coverage.acknowledged += end.distance_from(base);
                let truth = self.truths.get(partition as usize).filter(|_| acks != Some(Acks::One));
                if let Some(Err(found)) = truth.map(|truth| truth.check_acknowledged(end.get())) {
                    self.fail(|| format!("partition {partition}: {found}"));
                }
                End::Produced { base_offset: base, leader_epoch: epoch }
            }
            Reply::Produced(None) => End::Unknown,
            Reply::NotWritten => End::NotWritten,
            Reply::Read(end) => end,
        };
        if let (End::Fetched { records, .. }, Some(state)) =
            (&end, self.clients.clients.get_mut(client as usize))
            && let (Some((_, position)), Some(last)) = (&mut state.reads, records.last())
        {
            *position = last.offset.saturating_add(1);
        }
        self.complete(op, end);
    }

    fn complete(&mut self, op: u64, end: End) {
        let Some(Pending { client, .. }) = self.clients.pending.remove(&op) else { return };
        let failed = matches!(end, End::Unknown | End::NotWritten | End::Refused);
        self.coverage.unknown += u64::from(matches!(end, End::Unknown));
        self.recorder.complete(op, self.now_us, end);
        let think_us =
            if failed { self.random.between(20_000, 120_000) } else { self.random.between(1_000, 30_000) };
        self.after(think_us, SimEvent::Turn { client });
    }

    /// A broker answers; the answer is on its way.
    pub(crate) fn reply(&mut self, op: u64, reply: Reply) {
        let delay_us = Net::delay_us(&mut self.random);
        self.after(delay_us, SimEvent::Reply { op, reply });
    }

    /// A broker gets a request.
    pub(crate) fn serve(&mut self, broker: usize, op: u64, partition: u32, request: Request) {
        if self.run_of(broker).is_none() {
            return;
        }
        match request {
            Request::Produce { acks, values } => self.produce(broker, op, partition, acks, &values),
            Request::Fetch { from } => {
                let end = self.fetch(broker, partition, from).unwrap_or(End::Refused);
                self.reply(op, Reply::Read(end));
            }
            Request::ListEnd => {
                let end = self.list_end(broker, partition).unwrap_or(End::Refused);
                self.reply(op, Reply::Read(end));
            }
        }
    }

    fn produce(&mut self, broker: usize, op: u64, partition: u32, acks: Acks, values: &[u64]) {
        let now_ms = self.now_us / 1_000;
        let process = self.brokers.get_mut(broker).and_then(|it| it.process.as_mut());
        let Some(replica) = process.and_then(|it| it.replicas.get_mut(&partition)) else { return };
        let now = TimestampMs(i64::try_from(now_ms).unwrap_or(i64::MAX));
        let batch = records::batch(values, now);
        let (Ok(epoch), Some(batch)) = (replica.partition.check_produce(None), batch) else {
            return self.reply(op, Reply::NotWritten);
        };
        let Ok(appended) = replica.log.append(batch, epoch, now) else {
            return self.reply(op, Reply::NotWritten);
        };
        let (request, deadline) = (RequestId(op), MonotonicMs(now_ms + DEADLINE_MS));
        let (base, end) = (appended.base_offset, appended.next_offset);
        self.step_partition(
            broker,
            partition,
            Event::Appended { request, epoch, base, end, acks, deadline },
            None,
        );
    }

    /// Reads as a client of this broker; `None` where that is refused.
    pub(crate) fn fetch(&mut self, broker: usize, partition: u32, from: Offset) -> Option<End> {
        let now = MonotonicMs(self.now_us / 1_000);
        let process = self.brokers.get(broker)?.process.as_ref()?;
        let replica = process.replicas.get(&partition)?;
        let (cursors, leader_epoch) = (replica.partition.check_read(None).ok()?, replica.partition.epoch()?);
        let heard = |id| process.round_trip_ms.get(&(id, partition)).copied().map(MonotonicMs);
        let is_fresh = replica.partition.check_lease(now, LEASE_MS, heard).is_ok();
        if !is_fresh && self.settings.keeps(Rule::LeaseForReads) {
            return None;
        }
        let upper = cursors.high_watermark();
        let bytes = if from < upper {
            read_log(&replica.log, from, FETCH_BYTES, upper).ok()?
        } else {
            bytes::Bytes::new()
        };
        let records = records::read(&records::batches(bytes)?)?;
        let records = records.into_iter().filter(|record| record.offset >= from).collect();
        let high_watermark = replica.partition.check_end().ok().map(|_| upper);
        Some(End::Fetched {
            leader_epoch,
            high_watermark,
            log_start: cursors.log_start(),
            next_offset: None,
            records,
        })
    }

    pub(crate) fn list_end(&mut self, broker: usize, partition: u32) -> Option<End> {
        let now = MonotonicMs(self.now_us / 1_000);
        let process = self.brokers.get(broker)?.process.as_ref()?;
        let replica = process.replicas.get(&partition)?;
        let (cursors, leader_epoch) = (replica.partition.check_end().ok()?, replica.partition.epoch()?);
        let heard = |id| process.round_trip_ms.get(&(id, partition)).copied().map(MonotonicMs);
        let is_fresh = replica.partition.check_lease(now, LEASE_MS, heard).is_ok();
        if !is_fresh && self.settings.keeps(Rule::LeaseForReads) {
            return None;
        }
        Some(End::Listed { offset: cursors.high_watermark(), leader_epoch })
    }
}

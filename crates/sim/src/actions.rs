//! What a partition asks its broker to do.

use bytes::Bytes;
use corduroy_batch::Batch;
use corduroy_log::Log;
use corduroy_partition::{Action, BatchSpan, Event, Push};
use corduroy_types::{BrokerId, LeaderEpoch, Offset, TimestampMs};

use crate::clients::Reply;
use crate::net::Net;
use crate::records;
use crate::replica::Op;
use crate::world::{Message, SimEvent, World};

/// Bytes of batches in one message.
const PUSH_BYTES: u32 = 2_000;

fn index(broker: BrokerId) -> usize {
    usize::try_from(broker.0).unwrap_or(usize::MAX)
}

/// The batches of a log from `from` on, below `upper`.
pub(crate) fn read_log(log: &Log, from: Offset, max_bytes: u32, upper: Offset) -> Result<Bytes, String> {
    let plan = log.plan_read(from, max_bytes, upper).map_err(|error| error.to_string())?;
    plan.perform().map(|read| read.bytes).map_err(|error| error.to_string())
}

impl World {
    pub(crate) fn act(
        &mut self,
        broker: usize,
        partition: u32,
        action: Action,
        received: Option<(&Push, &Bytes)>,
    ) {
        match action {
            Action::Promise { epoch } => self.ask(broker, partition, Op::Promise(epoch)),
            Action::Reconcile { epoch, agreement } => {
                self.ask(broker, partition, Op::Reconcile(epoch, agreement))
            }
            Action::Adopt { epoch, entry } => self.ask(broker, partition, Op::Adopt(epoch, entry)),
            Action::Report(report) => {
                if self.net.reaches_controller(broker) {
                    let delay_us = Net::delay_us(&mut self.random);
                    self.after(delay_us, SimEvent::Report { from: broker, partition, report });
                }
            }
            Action::Resign { epoch, .. } => {
                if self.net.reaches_controller(broker) {
                    let delay_us = Net::delay_us(&mut self.random);
                    self.after(delay_us, SimEvent::Resigned { partition, epoch });
                }
            }
            Action::Connect { leader } => {
                let (leader, run) = (index(leader), self.run_of(broker).unwrap_or(0));
                let delay_us = Net::delay_us(&mut self.random);
                self.after(delay_us, SimEvent::Connect { broker, run, partition, leader });
            }
            Action::SendHello { to, hello } => self.send(broker, to, partition, Message::Hello(hello)),
            Action::SendWelcome { to, welcome } => {
                self.send(broker, to, partition, Message::Welcome(welcome))
            }
            Action::SendAck { to, ack } => self.send(broker, to, partition, Message::Ack(ack)),
            Action::CloseStream { peer } => self.break_stream(broker, index(peer), partition),
            Action::Push { to, push, up_to } => self.push(broker, partition, to, push, up_to),
            Action::Replicate { from } => self.replicate(broker, partition, from, received),
            Action::HighWatermark(to) => self.committed(broker, partition, to),
            Action::Answer { request, result } => {
                self.reply(request.0, Reply::Produced(result.ok()));
            }
            Action::Contradiction(invariant) => {
                self.fail(|| format!("broker {broker}, {partition}: {invariant}"))
            }
            Action::VisibleRecordsLost { from, to } => {
                self.fail(|| {
                    format!("broker {broker}, {partition}: visible records {from} to {to} are lost")
                });
            }
            Action::Quarantined { cut_to, high_watermark } => self.fail(|| {
                format!("broker {broker}, {partition}: would be cut to {cut_to}, below {high_watermark}")
            }),
            Action::RaiseLogStart { .. } => {
                self.fail(|| "a log start rises, and nothing is removed here".to_owned())
            }
            Action::LeadershipEnded { .. } => self.coverage.leaderships_ended += 1,
            Action::RefuseFence(_)
            | Action::Activated { .. }
            | Action::InSync(_)
            | Action::ReplicaClean { .. } => {}
        }
    }

    fn ask(&mut self, broker: usize, partition: u32, op: Op) {
        let process = self.brokers.get_mut(broker).and_then(|it| it.process.as_mut());
        if let Some(replica) = process.and_then(|it| it.replicas.get_mut(&partition)) {
            replica.ops.push_back(op);
        }
    }

    fn send(&mut self, from: usize, to: BrokerId, partition: u32, message: Message) {
        let to = index(to);
        if self.net.is_up(from, to) {
            let (at_us, generation) = self.net.send(self.now_us, (from, to), partition, &mut self.random);
            self.at(at_us, SimEvent::Message { from, to, generation, partition, message });
        }
    }

    /// The leader sends batches to a follower.
    fn push(&mut self, broker: usize, partition: u32, to: BrokerId, push: Push, up_to: Offset) {
        let Some(log) = self.log(broker, partition) else { return };
        let read =
            if push.from < up_to { read_log(log, push.from, PUSH_BYTES, up_to) } else { Ok(Bytes::new()) };
        let bytes = match read {
            Ok(bytes) => bytes,
            Err(error) => {
                return self.fail(|| format!("broker {broker}, {partition}: cannot read to push: {error}"));
            }
        };
        let Some(batches) = records::batches(bytes.clone()) else {
            return self.fail(|| format!("broker {broker}, {partition}: what is read is no batch"));
        };
        let end = batches.last().map_or(push.from, |batch| batch.header().next_offset());
        let sent = bytes.len() as u64;
        self.send(broker, to, partition, Message::Push(push, bytes));
        self.step_partition(broker, partition, Event::Pushed { to, end, bytes: sent }, None);
    }

    /// A follower appends what the leader has sent.
    fn replicate(&mut self, broker: usize, partition: u32, from: Offset, received: Option<(&Push, &Bytes)>) {
        let batches = received.and_then(|(_, bytes)| records::batches(bytes.clone())).unwrap_or_default();
        let now = TimestampMs(i64::try_from(self.now_us / 1_000).unwrap_or(i64::MAX));
        let process = self.brokers.get_mut(broker).and_then(|it| it.process.as_mut());
        let Some(replica) = process.and_then(|it| it.replicas.get_mut(&partition)) else { return };
        for batch in batches.into_iter().filter(|batch| batch.header().base_offset >= from) {
            if let Err(error) = replica.log.append_replicated(batch, now) {
                return self.fail(|| format!("broker {broker}, {partition}: cannot append: {error}"));
            }
        }
    }

    /// A message of a partition arrives.
    pub(crate) fn deliver(&mut self, from: usize, to: usize, partition: u32, message: Message) {
        let Some(id) = self.brokers.get(from).map(|it| it.id) else { return };
        let event = match message {
            Message::Connected => Event::Connected { leader: id },
            Message::Hello(hello) => Event::Hello { from: id, hello },
            Message::Welcome(welcome) => Event::Welcomed { from: id, welcome },
            Message::Ack(ack) => Event::Acked { from: id, ack },
            Message::Push(push, bytes) => {
                let batches = records::batches(bytes.clone()).unwrap_or_default();
                let batches = batches.iter().map(span).collect();
                let event = Event::Received { from: id, push, batches };
                return self.step_partition(to, partition, event, Some((&push, &bytes)));
            }
        };
        self.step_partition(to, partition, event, None);
    }

    pub(crate) fn ping(&mut self, from: usize, to: usize, sent_ms: u64) {
        let Some(process) = self.brokers.get(to).and_then(|it| it.process.as_ref()) else { return };
        let promised = process.replicas.values().map(|replica| replica.partition.promised()).collect();
        if self.net.is_up(from, to) {
            let delay_us = Net::delay_us(&mut self.random);
            self.after(delay_us, SimEvent::Pong { from: to, to: from, sent_ms, promised });
        }
    }

    /// A round trip renews the lease of every partition of which the other side has promised no newer epoch (rule R18).
    pub(crate) fn pong(&mut self, from: usize, to: usize, sent_ms: u64, promised: &[Option<LeaderEpoch>]) {
        let Some(id) = self.brokers.get(from).map(|it| it.id) else { return };
        let Some(process) = self.brokers.get_mut(to).and_then(|it| it.process.as_mut()) else { return };
        for (partition, promised) in (0..).zip(promised) {
            let epoch = process.replicas.get(&partition).and_then(|it| it.partition.epoch());
            if epoch.is_some() && *promised <= epoch {
                process.round_trip_ms.insert((id, partition), sent_ms);
            }
        }
    }

    pub(crate) fn log(&self, broker: usize, partition: u32) -> Option<&Log> {
        Some(&self.brokers.get(broker)?.process.as_ref()?.replicas.get(&partition)?.log)
    }

    /// Records that are committed here are compared with what was committed elsewhere (I5).
    fn committed(&mut self, broker: usize, partition: u32, to: Offset) {
        let process = self.brokers.get_mut(broker).and_then(|it| it.process.as_mut());
        let Some(replica) = process.and_then(|it| it.replicas.get_mut(&partition)) else { return };
        let from = replica.compared_end;
        replica.compared_end = from.max(to.get());
        self.compare(broker, partition, from, to);
    }

    /// Compares the log from `from` on with what is committed.
    pub(crate) fn compare(&mut self, broker: usize, partition: u32, from: u64, to: Offset) {
        let mut at = Offset::new(from).unwrap_or(Offset::MAX);
        while at < to && self.failure.is_none() {
            let process = self.brokers.get(broker).and_then(|it| it.process.as_ref());
            let Some(replica) = process.and_then(|it| it.replicas.get(&partition)) else { return };
            let epoch = replica.partition.current_epoch().unwrap_or(LeaderEpoch::MAX);
            let read = read_log(&replica.log, at, 1 << 20, to);
            let batches = read.and_then(|bytes| records::batches(bytes).ok_or_else(|| "no batch".to_owned()));
            let records = batches.map(|batches| records::read(&batches).unwrap_or_default());
            match records {
                Ok(records) => {
                    let Some(last) = records.last().map(|last| last.offset) else {
                        return self
                            .fail(|| format!("broker {broker}, {partition}: nothing at {at} below {to}"));
                    };
                    let new: Vec<_> = records.into_iter().filter(|record| record.offset >= at).collect();
                    let truth = self.truths.get_mut(partition as usize);
                    if let Some(Err(found)) = truth.map(|truth| truth.committed(broker, epoch, &new)) {
                        return self.fail(|| format!("partition {partition}: {found}"));
                    }
                    at = last.saturating_add(1);
                }
                Err(error) => {
                    return self
                        .fail(|| format!("broker {broker}, {partition}: {at} cannot be read: {error}"));
                }
            }
        }
    }

    /// I1 and I4, before a broker leads.
    pub(crate) fn leads(&mut self, broker: usize, partition: u32, epoch: LeaderEpoch) {
        let process = self.brokers.get(broker).and_then(|it| it.process.as_ref());
        let Some(replica) = process.and_then(|it| it.replicas.get(&partition)) else { return };
        let (incarnation, log_end) = (replica.incarnation, replica.log.cursors().log_end());
        let Some(truth) = self.truths.get_mut(partition as usize) else { return };
        let end = Offset::new(truth.committed_before(epoch)).unwrap_or(Offset::MAX);
        self.coverage.leaderships += 1;
        match truth.led(epoch, broker, incarnation) {
            Ok(()) if log_end < end => self.fail(|| {
                format!("partition {partition}, I4: the leader of epoch {epoch} ends at {log_end}, and {end} is committed")
            }),
            Ok(()) => self.compare(broker, partition, 0, end),
            Err(found) => self.fail(|| format!("partition {partition}: {found}")),
        }
    }
}

fn span(batch: &Batch) -> BatchSpan {
    let header = batch.header();
    BatchSpan {
        base: header.base_offset,
        end: header.next_offset(),
        epoch: header.leader_epoch.unwrap_or(LeaderEpoch::ZERO),
    }
}

//! A naive model of partitions and their clients, which writes legal histories.
//!
//! One log for each partition, in memory. Operations overlap: each begins, takes effect at some moment, and ends, and other
//! operations do the same between. Outcomes get lost, appends arrive late, leaders change and cut what is not committed,
//! clients send again, records are deleted, readers crash and seek. Everything comes from one seed.

mod finish;
pub(crate) mod part;
mod rng;

use std::collections::HashMap;

use corduroy_checker::{
    History, Op, PartitionInfo,
    line::{Call, End, ProducerNumbers, Spec},
};
use corduroy_types::Acks;
use part::{Part, Stored, at, epoch, sent};
pub(crate) use rng::Rng;

/// For how long an old leader may show an old end, in nanoseconds.
pub(crate) const LEASE_NS: u64 = 2_000;

const PRODUCERS: u32 = 4;
const READERS: u32 = 3;
const READER: u32 = 100;
const ADMIN: u32 = 200;

/// An operation between its beginning and its end.
struct Flying {
    op: usize,
    /// For a produce: offset of the first record, offset of the last, epoch.
    applied: Option<(u64, u64, u32)>,
    /// For everything else: the answer.
    answer: Option<End>,
    is_rejected: bool,
}

#[derive(Default)]
struct Client {
    flying: u32,
    is_numbered: bool,
    /// Per partition: producer epoch and next sequence.
    numbers: HashMap<u32, (u32, u64)>,
    again: Option<usize>,
    positions: HashMap<u32, u64>,
}

/// How often the rare things happened.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Reached {
    pub(crate) cuts: u64,
    pub(crate) late_appends: u64,
    pub(crate) sent_again: u64,
    pub(crate) answered_again: u64,
    pub(crate) old_ends: u64,
    pub(crate) deletions: u64,
}

pub(crate) struct Model {
    rng: Rng,
    now_ns: u64,
    parts: Vec<Part>,
    clients: HashMap<u32, Client>,
    flying: Vec<Flying>,
    late: Vec<usize>,
    nemesis: Option<usize>,
    next_value: u64,
    pub(crate) ops: Vec<Op>,
    pub(crate) reached: Reached,
}

/// The history of a run with at least this many operations before its end.
pub(crate) fn generate(seed: u64, ops_min: usize) -> (History, Reached) {
    let mut model = Model::new(seed);
    while model.ops.len() < ops_min {
        model.step();
    }
    model.finish();
    let name = |at| PartitionInfo { name: format!("t/{at}"), retention_ms: None, retention_bytes: None };
    let partitions = (0..model.parts.len()).map(name).collect();
    (History { ops: model.ops, partitions, panics: Vec::new() }, model.reached)
}

impl Model {
    fn new(seed: u64) -> Self {
        let mut rng = Rng(seed);
        let parts = (0..1 + rng.below(2)).map(|_| Part { epoch: 1, ..Part::default() }).collect();
        let mut clients = HashMap::new();
        for client in (0..PRODUCERS).chain(READER..READER + READERS).chain([ADMIN]) {
            clients.insert(client, Client { is_numbered: client % 2 == 0, ..Client::default() });
        }
        let (flying, late, ops, reached) = (Vec::new(), Vec::new(), Vec::new(), Reached::default());
        Self { rng, now_ns: 100, parts, clients, flying, late, nemesis: None, next_value: 1, ops, reached }
    }

    fn step(&mut self) {
        self.now_ns += self.rng.between(1, 40);
        match self.rng.below(1000) {
            0..400 => self.begin(),
            400..650 => {
                let at = self.rng.below(self.flying.len());
                self.apply(at);
            }
            650..740 => self.commit(),
            740..970 => {
                let at = self.rng.below(self.flying.len());
                self.end(at);
            }
            970..985 => self.append_late(),
            985..990 => self.change_leader(),
            990..995 => self.move_reader(),
            _ => self.fault(),
        }
    }

    fn client(&mut self, client: u32) -> &mut Client {
        self.clients.get_mut(&client).unwrap()
    }

    fn push(&mut self, client: u32, partition: Option<u32>, call: Call, end: End) -> usize {
        let (invoked_ns, completed_ns) = (self.now_ns, self.now_ns);
        self.ops.push(Op { client, node: None, partition, invoked_ns, completed_ns, call, end });
        self.ops.len() - 1
    }

    fn fly(&mut self, client: u32, partition: u32, call: Call) {
        let op = self.push(client, Some(partition), call, End::Unknown);
        self.client(client).flying += 1;
        self.flying.push(Flying { op, applied: None, answer: None, is_rejected: false });
    }

    fn begin(&mut self) {
        let partition = u32::try_from(self.rng.below(self.parts.len())).unwrap();
        match self.rng.below(10) {
            0..5 => self.begin_produce(partition),
            5..8 => self.begin_fetch(partition),
            _ if self.clients[&ADMIN].flying < 2 => {
                let (start, mark) =
                    (self.parts[partition as usize].start, self.parts[partition as usize].mark);
                let call = match self.rng.below(12) {
                    0 => Call::DeleteRecords {
                        before: at(start + (self.rng.between(start, mark) - start) / 4),
                    },
                    1..4 => Call::ListOffsets { spec: Spec::Start, is_final: false },
                    _ => Call::ListOffsets { spec: Spec::End, is_final: false },
                };
                self.fly(ADMIN, partition, call);
            }
            _ => {}
        }
    }

    fn begin_produce(&mut self, partition: u32) {
        let client = u32::try_from(self.rng.below(PRODUCERS as usize)).unwrap();
        if self.clients[&client].flying >= 2 {
            return;
        }
        if let Some(op) = self.client(client).again.take() {
            self.reached.sent_again += 1;
            let (call, partition) = (self.ops[op].call.clone(), self.ops[op].partition.unwrap());
            return self.fly(client, partition, call);
        }
        let count = self.rng.between(1, 3);
        let records = (self.next_value..self.next_value + count).map(sent).collect();
        self.next_value += count;
        let is_numbered = self.clients[&client].is_numbered;
        let acks = [Acks::Quorum, Acks::All, Acks::One][self.rng.below(if is_numbered { 2 } else { 3 })];
        let producer = is_numbered.then(|| {
            let (epoch, next) = self.client(client).numbers.entry(partition).or_default();
            let sequence = *next;
            *next += count;
            ProducerNumbers { id: u64::from(client) + 1000, epoch: *epoch, sequence }
        });
        self.fly(client, partition, Call::Produce { acks, producer, records });
    }

    fn begin_fetch(&mut self, partition: u32) {
        let client = READER + u32::try_from(self.rng.below(READERS as usize)).unwrap();
        if self.clients[&client].flying > 0 {
            return;
        }
        let (start, mark) = (self.parts[partition as usize].start, self.parts[partition as usize].mark);
        let fresh = if self.rng.chance(50) { start } else { self.rng.between(start, mark) };
        if !self.clients[&client].positions.contains_key(&partition) {
            self.push(client, Some(partition), Call::Assign, End::Done);
            self.client(client).positions.insert(partition, fresh);
        }
        let from = at(self.clients[&client].positions[&partition]);
        self.fly(client, partition, Call::Fetch { from, from_epoch: None, follower: false, is_final: false });
    }

    /// The moment at which an operation takes effect.
    fn apply(&mut self, flying: usize) {
        let Some(op) = self.flying.get(flying).map(|flying| flying.op) else { return };
        if self.flying[flying].applied.is_some() || self.flying[flying].answer.is_some() {
            return;
        }
        let partition = self.ops[op].partition.unwrap() as usize;
        let answer = match self.ops[op].call.clone() {
            Call::Produce { .. } => {
                let applied = self.append(op);
                self.flying[flying].is_rejected = applied.is_none();
                self.flying[flying].applied = applied;
                return;
            }
            Call::Fetch { from, .. } => {
                let records_max = 1 + self.rng.below(8);
                self.parts[partition].fetched(from.get(), records_max)
            }
            Call::ListOffsets { spec: Spec::Start, .. } => {
                let part = &self.parts[partition];
                End::Listed { offset: at(part.start), leader_epoch: epoch(part.epoch) }
            }
            Call::ListOffsets { .. } => {
                let part = &self.parts[partition];
                let old = part.old.filter(|old| self.now_ns - old.2 <= LEASE_NS);
                let (number, mark) = match old {
                    Some((number, mark, _)) if self.rng.chance(30) => {
                        self.reached.old_ends += u64::from(mark < part.mark);
                        (number, mark)
                    }
                    _ => (part.epoch, part.mark),
                };
                End::Listed { offset: at(mark), leader_epoch: epoch(number) }
            }
            Call::DeleteRecords { before } => {
                let part = &mut self.parts[partition];
                self.reached.deletions += u64::from(before.get() > part.start);
                part.start = part.start.max(before.get());
                End::Deleted { log_start: at(part.start) }
            }
            _ => End::Done,
        };
        self.flying[flying].answer = Some(answer);
    }

    /// Appends a batch, or finds that it is there already. `None` where its producer's numbers do not follow.
    fn append(&mut self, op: usize) -> Option<(u64, u64, u32)> {
        let Call::Produce { producer, records, .. } = self.ops[op].call.clone() else { return None };
        let part = &mut self.parts[self.ops[op].partition.unwrap() as usize];
        let count = records.len() as u64;
        if let Some(ProducerNumbers { id, epoch, sequence }) = producer {
            if let Some(base) = part.batches.get(&(id, epoch, sequence)) {
                self.reached.answered_again += 1;
                return Some((*base, base + count - 1, part.epoch));
            }
            match part.producers.get(&id) {
                Some((current, next)) if epoch == *current && sequence == *next => {}
                Some((current, _)) if epoch > *current && sequence == 0 => {}
                None if sequence == 0 => {}
                _ => return None,
            }
            part.producers.insert(id, (epoch, sequence + count));
            part.batches.insert((id, epoch, sequence), part.end);
        }
        if producer.is_none() && self.rng.chance(5) {
            // Offsets are not dense.
            part.end += 1;
        }
        let base = part.end;
        for (place, sent) in (0..count).zip(records.iter()) {
            let producer = producer.map(|numbers| (numbers.id, numbers.epoch, numbers.sequence + place));
            let (offset, epoch, value) = (base + place, part.epoch, sent.value);
            part.log.push(Stored { offset, epoch, value, producer, ends_batch: place + 1 == count });
        }
        part.end = base + count;
        Some((base, part.end - 1, part.epoch))
    }

    fn commit(&mut self) {
        let partition = self.rng.below(self.parts.len());
        let ends = self.parts[partition].batch_ends();
        if let Some(end) = ends.get(self.rng.below(ends.len())) {
            self.parts[partition].mark = *end;
        }
    }

    fn end(&mut self, flying: usize) {
        let Some(state) = self.flying.get(flying) else { return };
        let (op, applied, answer, is_rejected) =
            (state.op, state.applied, state.answer.clone(), state.is_rejected);
        let part = &self.parts[self.ops[op].partition.unwrap() as usize];
        let is_lost = self.rng.chance(10);
        let end = match (&self.ops[op].call, applied, answer) {
            (Call::Produce { acks, .. }, Some((base, last, number)), _) => {
                let stays = *acks == Acks::One || last < part.mark;
                match (number == part.epoch, stays) {
                    (true, true) if !is_lost => {
                        End::Produced { base_offset: at(base), leader_epoch: epoch(number) }
                    }
                    (true, false) if self.rng.chance(80) => return,
                    _ => End::Unknown,
                }
            }
            (Call::Produce { .. }, None, _) if is_rejected => {
                [End::NotWritten, End::Unknown][self.rng.below(2)].clone()
            }
            (Call::Produce { .. }, None, _) => match self.rng.below(10) {
                0 => End::NotWritten,
                1 => {
                    self.late.push(op);
                    End::Unknown
                }
                _ => return,
            },
            (_, _, Some(_)) if is_lost => End::Unknown,
            (_, _, Some(answer)) => answer,
            (_, _, None) => [End::Refused, End::Unknown][self.rng.below(2)].clone(),
        };
        self.flying.swap_remove(flying);
        self.ended(op, end);
    }

    /// What a client does with an end.
    fn ended(&mut self, op: usize, end: End) {
        let (client, partition) = (self.ops[op].client, self.ops[op].partition.unwrap());
        self.ops[op].completed_ns = self.now_ns;
        self.ops[op].end = end.clone();
        let sends_again = self.rng.chance(40);
        let call = self.ops[op].call.clone();
        let client = self.client(client);
        client.flying -= 1;
        match (call, end) {
            (Call::Produce { .. }, End::Produced { .. }) => {}
            (Call::Produce { .. }, _) if sends_again && client.again.is_none() => client.again = Some(op),
            (Call::Produce { producer: Some(_), .. }, _) => {
                let numbers = client.numbers.entry(partition).or_default();
                *numbers = (numbers.0 + 1, 0);
            }
            (Call::Fetch { .. }, End::Fetched { records, .. }) => {
                if let Some(last) = records.last() {
                    client.positions.insert(partition, last.offset.get() + 1);
                }
            }
            _ => {}
        }
    }

    fn append_late(&mut self) {
        if self.late.is_empty() {
            return;
        }
        let op = self.late.swap_remove(self.rng.below(self.late.len()));
        self.reached.late_appends += u64::from(self.append(op).is_some());
    }

    fn change_leader(&mut self) {
        let partition = self.rng.below(self.parts.len());
        let mut ends = self.parts[partition].batch_ends();
        let part = &mut self.parts[partition];
        part.old = Some((part.epoch, part.mark, self.now_ns));
        part.epoch += 1;
        ends.push(part.mark);
        let end = ends[self.rng.below(ends.len())];
        self.reached.cuts += u64::from(part.log.last().is_some_and(|last| last.offset >= end));
        part.cut(end);
    }

    fn move_reader(&mut self) {
        let client = READER + u32::try_from(self.rng.below(READERS as usize)).unwrap();
        let partition = u32::try_from(self.rng.below(self.parts.len())).unwrap();
        if self.clients[&client].flying > 0 {
            return;
        }
        if self.rng.chance(50) {
            self.push(client, None, Call::Crash, End::Done);
            self.client(client).positions.clear();
        } else {
            self.push(client, Some(partition), Call::Seek, End::Done);
            let (start, mark) = (self.parts[partition as usize].start, self.parts[partition as usize].mark);
            let position = self.rng.between(start, mark);
            self.client(client).positions.insert(partition, position);
        }
    }

    fn fault(&mut self) {
        match self.nemesis.take() {
            Some(op) => self.ops[op].completed_ns = self.now_ns,
            None if self.flying.is_empty() => {}
            None => {
                let call = Call::Nemesis { kind: "cut".to_owned(), targets: Vec::new() };
                self.nemesis = Some(self.push(ADMIN + 1, None, call, End::Done));
            }
        }
    }
}

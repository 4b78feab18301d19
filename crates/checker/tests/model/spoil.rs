//! What is planted into a legal history, one kind for each check. Each returns what it did, or `None` where the history
//! offers nothing for it.

use std::collections::{HashMap, HashSet};

use corduroy_checker::{
    Check, History, Op,
    line::{Call, End, Read, Spec},
};
use corduroy_types::{Acks, LeaderEpoch, Offset};

use crate::model::{LEASE_NS, Rng, part::read};

type Spoiler = fn(&mut History, &mut Rng) -> Option<String>;

pub(crate) const SPOILERS: &[(Check, Spoiler)] = &[
    (Check::DivergentOffset, divergent),
    (Check::Duplicate, duplicate),
    (Check::LostWrite, lost),
    (Check::Phantom, phantom),
    (Check::FailedRead, failed),
    (Check::BatchIntegrity, torn),
    (Check::PollSkip, skip),
    (Check::PollBack, back),
    (Check::ProducerOrder, sequences),
    (Check::RealTimeOrder, real_time),
    (Check::EndRegress, regress),
    (Check::Staleness, stale),
    (Check::Liveness, dead),
];

/// A record of a fetch: the fetch, and its place in it.
#[derive(Clone, Copy, Debug)]
struct Place {
    op: usize,
    at: usize,
    read: Read,
}

fn records_of(op: &Op) -> &[Read] {
    match &op.end {
        End::Fetched { records, .. } => records,
        _ => &[],
    }
}

fn is_final(op: &Op) -> bool {
    matches!(op.call, Call::Fetch { is_final: true, .. })
}

fn places(history: &History, wanted: impl Fn(&Op) -> bool) -> Vec<Place> {
    let ops = history.ops.iter().enumerate().filter(|(_, op)| wanted(op));
    let places = ops.flat_map(|(op, fetch)| {
        records_of(fetch).iter().enumerate().map(move |(at, read)| Place { op, at, read: *read })
    });
    places.collect()
}

fn change(history: &mut History, op: usize, change: impl FnOnce(&mut Vec<Read>)) {
    if let End::Fetched { records, .. } = &mut history.ops[op].end {
        let mut changed = records.to_vec();
        change(&mut changed);
        *records = changed.into();
    }
}

/// One of these, at random.
fn one<T: Clone>(of: &[T], rng: &mut Rng) -> Option<T> {
    of.get(rng.below(of.len())).cloned()
}

/// Produces by value.
fn writers(history: &History) -> HashMap<u64, Vec<usize>> {
    let mut writers: HashMap<u64, Vec<usize>> = HashMap::new();
    for (number, op) in history.ops.iter().enumerate() {
        if let Call::Produce { records, .. } = &op.call {
            for sent in records {
                writers.entry(sent.value).or_default().push(number);
            }
        }
    }
    writers
}

/// What a quorum acknowledged, and what was read: (partition, offset, value), and how often it is shown.
fn shown(history: &History) -> HashMap<(u32, u64, u64), usize> {
    let mut shown = HashMap::new();
    for op in &history.ops {
        let partition = op.partition.unwrap_or(u32::MAX);
        for read in records_of(op) {
            *shown.entry((partition, read.offset.get(), read.value)).or_default() += 1;
        }
        if let (
            Call::Produce { acks: Acks::Quorum | Acks::All, records, .. },
            End::Produced { base_offset, .. },
        ) = (&op.call, &op.end)
        {
            for (offset, sent) in (base_offset.get()..).zip(records) {
                *shown.entry((partition, offset, sent.value)).or_default() += 1;
            }
        }
    }
    shown
}

/// What is shown at least twice, so that it stays known when one of them goes.
fn known_twice(history: &History, places: Vec<Place>) -> Vec<Place> {
    let shown = shown(history);
    let key =
        |place: &Place| (history.ops[place.op].partition.unwrap(), place.read.offset.get(), place.read.value);
    places.into_iter().filter(|place| shown[&key(place)] >= 2).collect()
}

fn divergent(history: &mut History, rng: &mut Rng) -> Option<String> {
    let place = one(&known_twice(history, places(history, is_final)), rng)?;
    let partition = history.ops[place.op].partition;
    let others = places(history, |op| is_final(op) && op.partition == partition);
    let others: Vec<_> = others.into_iter().filter(|other| other.read.value != place.read.value).collect();
    let other = one(&others, rng)?.read;
    let changed = Read { offset: place.read.offset, ..other };
    change(history, place.op, |records| records[place.at] = changed);
    Some(format!("another value at {place:?}"))
}

/// Puts a record behind the last final read of its partition.
fn put_behind(history: &mut History, partition: u32, value: u64) -> Option<String> {
    let is_last = |op: &Op| is_final(op) && op.partition == Some(partition);
    let place = places(history, is_last).last().copied()?;
    let offset = place.read.offset.get() + 1;
    change(history, place.op, |records| records.push(read(offset, 99, value)));
    Some(format!("value {value} at offset {offset}"))
}

fn duplicate(history: &mut History, rng: &mut Rng) -> Option<String> {
    let writers = writers(history);
    let is_numbered = |op: &Op| matches!(op.call, Call::Produce { producer: Some(_), .. });
    let numbered = places(history, is_final).into_iter().filter(|place| {
        writers.get(&place.read.value).is_some_and(|ops| ops.iter().all(|op| is_numbered(&history.ops[*op])))
    });
    let place = one(&numbered.collect::<Vec<_>>(), rng)?;
    put_behind(history, history.ops[place.op].partition?, place.read.value)
}

fn lost(history: &mut History, rng: &mut Rng) -> Option<String> {
    let mut acknowledged = HashSet::new();
    for op in &history.ops {
        if let (
            Call::Produce { acks: Acks::Quorum | Acks::All, records, .. },
            End::Produced { base_offset, .. },
        ) = (&op.call, &op.end)
        {
            acknowledged.extend((base_offset.get()..).zip(records.iter().map(|sent| sent.value)));
        }
    }
    let finals = places(history, is_final).into_iter().filter(|place| {
        let is_last = place.at + 1 == records_of(&history.ops[place.op]).len();
        !is_last && acknowledged.contains(&(place.read.offset.get(), place.read.value))
    });
    let place = one(&finals.collect::<Vec<_>>(), rng)?;
    change(history, place.op, |records| {
        records.remove(place.at);
    });
    Some(format!("the loss of {place:?}"))
}

fn phantom(history: &mut History, rng: &mut Rng) -> Option<String> {
    let place = one(&places(history, |_| true), rng)?;
    let kind = rng.below(3);
    change(history, place.op, |records| match kind {
        0 => records[place.at].hash ^= 1,
        1 => records[place.at].bytes += 1,
        _ => records[place.at].value = u64::MAX - 5,
    });
    Some(format!("kind {kind} at {place:?}"))
}

fn failed(history: &mut History, rng: &mut Rng) -> Option<String> {
    let failed = writers(history)
        .into_iter()
        .filter(|(_, ops)| ops.iter().all(|op| history.ops[*op].end == End::NotWritten));
    let mut failed: Vec<_> = failed.map(|(value, ops)| (value, ops[0])).collect();
    failed.sort_unstable();
    let (value, op) = one(&failed, rng)?;
    put_behind(history, history.ops[op].partition?, value)
}

fn torn(history: &mut History, rng: &mut Rng) -> Option<String> {
    let writers = writers(history);
    let all = places(history, is_final);
    let pairs = all.iter().zip(all.iter().skip(1)).filter(|(a, b)| {
        let (of_a, of_b) = (&writers[&a.read.value], &writers[&b.read.value]);
        a.op == b.op && of_a == of_b && of_a.len() == 1 && a.read.value + 1 == b.read.value
    });
    let pairs: Vec<_> = pairs.map(|(a, b)| (*a, *b)).collect();
    let (a, b) = one(&pairs, rng)?;
    change(history, a.op, |records| {
        records[a.at] = Read { offset: a.read.offset, ..b.read };
        records[b.at] = Read { offset: b.read.offset, ..a.read };
    });
    Some(format!("{a:?} and {b:?} in each other's place"))
}

fn skip(history: &mut History, rng: &mut Rng) -> Option<String> {
    let inner = places(history, |op| !is_final(op))
        .into_iter()
        .filter(|place| place.at > 0 && place.at + 1 < records_of(&history.ops[place.op]).len());
    let place = one(&known_twice(history, inner.collect()), rng)?;
    change(history, place.op, |records| {
        records.remove(place.at);
    });
    Some(format!("a poll without {place:?}"))
}

fn back(history: &mut History, rng: &mut Rng) -> Option<String> {
    let first: Vec<_> = places(history, |_| true).into_iter().filter(|place| place.at == 0).collect();
    let place = one(&first, rng)?;
    let Call::Fetch { from, .. } = history.ops[place.op].call else { return None };
    let before = Offset::new(from.get().checked_sub(1)?)?;
    change(history, place.op, |records| records.insert(0, Read { offset: before, ..place.read }));
    Some(format!("offset {before} before {place:?}"))
}

fn sequences(history: &mut History, rng: &mut Rng) -> Option<String> {
    let writers = writers(history);
    let mut by_producer: HashMap<(Option<u32>, u64), Vec<usize>> = HashMap::new();
    for place in places(history, is_final) {
        let [op] = writers[&place.read.value][..] else { continue };
        if let Call::Produce { producer: Some(numbers), .. } = &history.ops[op].call {
            by_producer.entry((history.ops[op].partition, numbers.id)).or_default().push(op);
        }
    }
    let mut candidates: Vec<_> = by_producer
        .into_values()
        .map(|mut ops| {
            ops.sort_unstable();
            ops.dedup();
            ops
        })
        .filter(|ops| ops.len() >= 2)
        .collect();
    candidates.sort();
    let ops = one(&candidates, rng)?;
    let first = rng.below(ops.len() - 1);
    let (a, b) = (ops[first], ops[first + 1]);
    let numbers = |op: usize| match history.ops[op].call {
        Call::Produce { producer, .. } => producer,
        _ => None,
    };
    for (op, numbers) in [(a, numbers(b)), (b, numbers(a))] {
        if let Call::Produce { producer, .. } = &mut history.ops[op].call {
            *producer = numbers;
        }
    }
    Some(format!("the numbers of {a} and {b} in each other's place"))
}

fn real_time(history: &mut History, rng: &mut Rng) -> Option<String> {
    let writers = writers(history);
    let sent_once = history.ops.iter().enumerate().filter_map(|(number, op)| {
        let (Call::Produce { acks, records, .. }, End::Produced { base_offset, .. }) = (&op.call, &op.end)
        else {
            return None;
        };
        let is_once = records.iter().all(|sent| writers[&sent.value].len() == 1);
        (*acks != Acks::One && is_once).then_some((op.partition, base_offset.get(), number))
    });
    let mut sent_once: Vec<_> = sent_once.collect();
    sent_once.sort_unstable();
    let pairs: Vec<_> = sent_once
        .windows(2)
        .filter(|pair| pair[0].0 == pair[1].0)
        .map(|pair| (pair[0].2, pair[1].2))
        .collect();
    let (lower, higher) = one(&pairs, rng)?;
    let begin_ns = history.ops[lower].invoked_ns;
    (history.ops[higher].invoked_ns, history.ops[higher].completed_ns) = (begin_ns - 2, begin_ns - 1);
    Some(format!("operation {higher} before {lower}"))
}

/// Answers to questions for the end: (partition, begin, end, epoch, offset, operation).
fn ends(history: &History) -> Vec<(Option<u32>, u64, u64, LeaderEpoch, u64, usize)> {
    let ops = history.ops.iter().enumerate();
    ops.filter_map(|(number, op)| match (&op.call, &op.end) {
        (Call::ListOffsets { spec: Spec::End, .. }, End::Listed { offset, leader_epoch }) => {
            Some((op.partition, op.invoked_ns, op.completed_ns, *leader_epoch, offset.get(), number))
        }
        _ => None,
    })
    .collect()
}

fn answer(history: &mut History, op: usize, end: u64, epoch: LeaderEpoch) {
    history.ops[op].end = End::Listed { offset: Offset::new(end).unwrap(), leader_epoch: epoch };
}

fn regress(history: &mut History, rng: &mut Rng) -> Option<String> {
    let ends = ends(history);
    let mut pairs = Vec::new();
    for a in &ends {
        pairs.extend(
            ends.iter().filter(|b| a.0 == b.0 && a.2 < b.1 && a.3 <= b.3 && a.4 > 0).map(|b| (*a, *b)),
        );
    }
    let (a, b) = one(&pairs, rng)?;
    answer(history, b.5, a.4 - 1, b.3);
    Some(format!("{} as the end of operation {}", a.4 - 1, b.5))
}

fn stale(history: &mut History, rng: &mut Rng) -> Option<String> {
    let ends = ends(history);
    let mut pairs = Vec::new();
    for a in &ends {
        pairs.extend(ends.iter().filter(|b| a.0 == b.0 && a.2 + LEASE_NS < b.1 && a.4 > 0).map(|b| (*a, *b)));
    }
    let (a, b) = one(&pairs, rng)?;
    // Of an epoch so old that C11 says nothing.
    answer(history, b.5, a.4 - 1, LeaderEpoch::ZERO);
    Some(format!("{} as the end of operation {}", a.4 - 1, b.5))
}

fn dead(history: &mut History, rng: &mut Rng) -> Option<String> {
    let healed_ns = history.ops.iter().find(|op| op.call == Call::Heal)?.completed_ns;
    let partition = u32::try_from(rng.below(history.partitions.len())).ok()?;
    let (kind, mut changed) = (rng.below(2), 0);
    for op in
        history.ops.iter_mut().filter(|op| op.completed_ns >= healed_ns && op.partition == Some(partition))
    {
        match (&op.call, &mut op.end) {
            (Call::Produce { .. }, end) if kind == 0 => *end = End::Unknown,
            (Call::Probe, End::Probed { chain_hash, .. }) if kind == 1 && changed == 0 => *chain_hash += 1,
            _ => continue,
        }
        changed += 1;
    }
    (changed > 0).then(|| format!("kind {kind} in partition {partition}"))
}

//! What is on its way between nodes: messages of voters, each for itself, and streams of partitions, in order.

use std::collections::{BTreeMap, VecDeque};

use corduroy_partition::{Ack, Hello, Push, Welcome};

use super::history::Rec;
use crate::{Generator, Message};

/// How late a message may come.
pub(super) const LATE_MS_MAX: u64 = 1_500;

/// One message of a partition's stream.
#[derive(Clone, Debug)]
pub(super) enum Frame {
    Connected,
    Hello(Hello),
    Welcome(Welcome),
    Push(Push, Vec<Rec>),
    Ack(Ack),
    Disconnected,
}

/// What has arrived.
#[derive(Clone, Debug)]
pub(super) enum Arrived {
    Message(Message),
    Frame(Frame),
}

#[derive(Debug)]
pub(super) struct Network {
    /// Messages of voters: (when, from, to, what).
    messages: Vec<(u64, usize, usize, Message)>,
    streams: BTreeMap<(usize, usize), VecDeque<(u64, Frame)>>,
    /// Until when nothing gets from one node to another.
    cut_until: BTreeMap<(usize, usize), u64>,
    /// Messages are lost, late, repeated, and overtake each other.
    pub(super) is_rough: bool,
    pub(super) repeated: u64,
}

impl Network {
    pub(super) fn new() -> Self {
        Self {
            messages: Vec::new(),
            streams: BTreeMap::new(),
            cut_until: BTreeMap::new(),
            is_rough: true,
            repeated: 0,
        }
    }

    fn delay_ms(&self, draw: &mut Generator) -> u64 {
        match self.is_rough {
            false => 5,
            true if draw.below(20) == 0 => draw.below(LATE_MS_MAX),
            true => draw.below(25),
        }
    }

    pub(super) fn send(
        &mut self,
        now: u64,
        (from, to): (usize, usize),
        message: Message,
        draw: &mut Generator,
    ) {
        if self.is_rough && draw.below(25) == 0 {
            return;
        }
        let times = 1 + usize::from(self.is_rough && draw.below(20) == 0);
        self.repeated += times as u64 - 1;
        for _ in 0..times {
            self.messages.push((now + self.delay_ms(draw), from, to, message));
        }
    }

    pub(super) fn stream(&mut self, now: u64, between: (usize, usize), frame: Frame, draw: &mut Generator) {
        let delay_ms = if self.is_rough { draw.below(20) } else { 5 };
        self.streams.entry(between).or_default().push_back((now + delay_ms, frame));
    }

    /// A stream breaks: what is on its way is lost, and both ends hear of it.
    pub(super) fn break_stream(&mut self, now: u64, a: usize, b: usize) {
        for between in [(a, b), (b, a)] {
            let queue = self.streams.entry(between).or_default();
            queue.clear();
            queue.push_back((now, Frame::Disconnected));
        }
    }

    pub(super) fn cut(&mut self, from: usize, to: usize, until: u64) {
        self.cut_until.insert((from, to), until);
    }

    pub(super) fn heal(&mut self) {
        self.cut_until.clear();
        self.is_rough = false;
    }

    pub(super) fn is_open(&self, now: u64, from: usize, to: usize) -> bool {
        self.cut_until.get(&(from, to)).is_none_or(|until| *until <= now)
    }

    /// Takes out one thing that reaches a node now, any of them. A message that meets a cut is lost; a stream waits.
    pub(super) fn next(
        &mut self,
        now: u64,
        takes: impl Fn(usize) -> bool,
        draw: &mut Generator,
    ) -> Option<(usize, usize, Arrived)> {
        let cuts = &self.cut_until;
        let is_cut = |from, to| cuts.get(&(from, to)).is_some_and(|until| *until > now);
        self.messages.retain(|(due, from, to, _)| *due > now || !is_cut(*from, *to));
        let due: Vec<_> =
            self.messages.iter().enumerate().filter(|(_, one)| one.0 <= now && takes(one.2)).collect();
        let is_due = |(between, queue): &(&(usize, usize), &VecDeque<(u64, Frame)>)| {
            queue.front().is_some_and(|front| front.0 <= now)
                && takes(between.1)
                && !is_cut(between.0, between.1)
        };
        let streams: Vec<_> = self.streams.iter().filter(is_due).map(|(between, _)| *between).collect();
        let which = draw.below((due.len() + streams.len()) as u64) as usize;
        if let Some((nth, _)) = due.get(which) {
            let nth = *nth;
            let (_, from, to, message) = self.messages.swap_remove(nth);
            return Some((from, to, Arrived::Message(message)));
        }
        let (from, to) = *streams.get(which - due.len())?;
        let (_, frame) = self.streams.get_mut(&(from, to))?.pop_front()?;
        Some((from, to, Arrived::Frame(frame)))
    }
}

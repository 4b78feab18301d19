//! The network: messages take time, keep their order on a connection, and are lost where a link is cut.

use std::collections::{BTreeMap, BTreeSet};

use crate::random::Random;

/// The stream of one partition between two brokers, both ways.
#[derive(Clone, Copy, Debug, Default)]
struct Stream {
    /// Rises whenever it breaks: what was sent before is lost.
    generation: u64,
    /// When the last message of each way arrives, in microseconds: the next one comes later.
    last_us: [u64; 2],
}

#[derive(Debug, Default)]
pub(crate) struct Net {
    /// By brokers and partition.
    streams: BTreeMap<(usize, usize, u32), Stream>,
    cut: BTreeSet<(usize, usize)>,
    /// Brokers that the controller cannot reach, nor they it.
    without_controller: BTreeSet<usize>,
}

fn key(a: usize, b: usize, partition: u32) -> (usize, usize, u32) {
    (a.min(b), a.max(b), partition)
}

fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

impl Net {
    /// How long a message takes, in microseconds.
    pub(crate) fn delay_us(random: &mut Random) -> u64 {
        if random.in_thousand(10) { random.between(10_000, 200_000) } else { random.between(100, 3_000) }
    }

    /// When a message of a stream arrives, in microseconds, and in which generation it is sent.
    pub(crate) fn send(
        &mut self,
        now_us: u64,
        (from, to): (usize, usize),
        partition: u32,
        random: &mut Random,
    ) -> (u64, u64) {
        let stream = self.streams.entry(key(from, to, partition)).or_default();
        let [up, down] = &mut stream.last_us;
        let last = if from < to { up } else { down };
        *last = (now_us + Self::delay_us(random)).max(*last + 1);
        (*last, stream.generation)
    }

    /// Whether a message of this generation arrives now.
    pub(crate) fn arrives(&self, from: usize, to: usize, partition: u32, generation: u64) -> bool {
        let stream = self.streams.get(&key(from, to, partition));
        self.is_up(from, to) && stream.is_some_and(|it| it.generation == generation)
    }

    /// Whether the link between two brokers carries messages.
    pub(crate) fn is_up(&self, a: usize, b: usize) -> bool {
        !self.cut.contains(&pair(a, b))
    }

    /// Breaks a stream: what is on its way is lost. Returns the generation of the next one.
    pub(crate) fn break_stream(&mut self, a: usize, b: usize, partition: u32) -> u64 {
        let stream = self.streams.entry(key(a, b, partition)).or_default();
        stream.generation += 1;
        stream.generation
    }

    pub(crate) fn cut(&mut self, a: usize, b: usize) {
        self.cut.insert(pair(a, b));
    }

    pub(crate) fn mend(&mut self, a: usize, b: usize) {
        self.cut.remove(&pair(a, b));
    }

    pub(crate) fn cut_controller(&mut self, broker: usize) {
        self.without_controller.insert(broker);
    }

    pub(crate) fn mend_controller(&mut self, broker: usize) {
        self.without_controller.remove(&broker);
    }

    pub(crate) fn reaches_controller(&self, broker: usize) -> bool {
        !self.without_controller.contains(&broker)
    }

    /// Mends every link.
    pub(crate) fn heal(&mut self) {
        self.cut.clear();
        self.without_controller.clear();
    }
}

//! The stream of a partition between two brokers: how it begins, breaks, and is noticed to be broken.

use corduroy_partition::Event;

use crate::net::Net;
use crate::world::{Message, SimEvent, World};

impl World {
    /// A connection breaks, with the streams of all partitions.
    pub(crate) fn break_connection(&mut self, a: usize, b: usize) {
        (0..self.settings.partitions).for_each(|partition| self.break_stream(a, b, partition));
    }

    /// A stream breaks: both ends notice after a while.
    pub(crate) fn break_stream(&mut self, a: usize, b: usize, partition: u32) {
        let generation = self.net.break_stream(a, b, partition);
        for (broker, peer) in [(a, b), (b, a)] {
            if let Some(run) = self.run_of(broker) {
                let delay_us = Net::delay_us(&mut self.random);
                self.after(delay_us, SimEvent::Disconnected { broker, run, peer, partition, generation });
            }
        }
    }

    /// A broker notices that a stream to another one has broken: by itself, or because a newer one is there.
    pub(crate) fn notice(&mut self, broker: usize, peer: usize, partition: u32, generation: u64) {
        let Some(id) = self.brokers.get(peer).map(|it| it.id) else { return };
        let Some(process) = self.brokers.get_mut(broker).and_then(|it| it.process.as_mut()) else { return };
        let noticed = process.noticed.entry((peer, partition)).or_default();
        if *noticed >= generation {
            return;
        }
        *noticed = generation;
        self.step_partition(broker, partition, Event::Disconnected { peer: id }, None);
    }

    pub(crate) fn connect(&mut self, broker: usize, run: u64, partition: u32, leader: usize) {
        if self.run_of(broker) != Some(run) {
            return;
        }
        if self.run_of(leader).is_none() || !self.net.is_up(broker, leader) {
            return self.after(50_000, SimEvent::Connect { broker, run, partition, leader });
        }
        let (at_us, generation) = self.net.send(self.now_us, (leader, broker), partition, &mut self.random);
        let message = Message::Connected;
        self.at(at_us, SimEvent::Message { from: leader, to: broker, generation, partition, message });
    }
}

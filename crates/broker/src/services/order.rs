//! The order of answers on a `Produce` stream: those about one partition come in the order of its requests.

use std::collections::{HashMap, VecDeque};

/// What a request is about: answers about the same come in order. Requests without a partition are in order among
/// themselves.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct About {
    pub(super) topic: String,
    pub(super) partition: Option<u32>,
}

/// The place of one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    lane: usize,
    number: u64,
}

/// Answers that wait for those before them. A request takes its place when it is read, and gives its answer there.
#[derive(Debug)]
pub(super) struct AnswerOrder<T> {
    lanes: Vec<Lane<T>>,
    by_about: HashMap<About, usize>,
    /// Lanes without a place.
    free: Vec<usize>,
    places: usize,
}

#[derive(Debug)]
struct Lane<T> {
    about: Option<About>,
    /// The number of the first place.
    first: u64,
    /// The answers, where they are there already.
    places: VecDeque<Option<T>>,
}

impl<T> Default for AnswerOrder<T> {
    fn default() -> Self {
        Self { lanes: Vec::new(), by_about: HashMap::new(), free: Vec::new(), places: 0 }
    }
}

impl<T> AnswerOrder<T> {
    /// How many places are taken: requests that wait for their answer, and answers that wait for others.
    pub(super) fn len(&self) -> usize {
        self.places
    }

    /// Takes the next place.
    pub(super) fn place(&mut self, about: About) -> Ticket {
        let lane = match self.by_about.get(&about) {
            Some(lane) => *lane,
            None => self.open(about),
        };
        self.places += 1;
        let number = self.lanes.get_mut(lane).map_or(0, |lane| {
            lane.places.push_back(None);
            lane.first + lane.places.len() as u64 - 1
        });
        Ticket { lane, number }
    }

    fn open(&mut self, about: About) -> usize {
        let lane = self.free.pop().unwrap_or_else(|| {
            self.lanes.push(Lane { about: None, first: 0, places: VecDeque::new() });
            self.lanes.len() - 1
        });
        if let Some(opened) = self.lanes.get_mut(lane) {
            opened.about = Some(about.clone());
        }
        self.by_about.insert(about, lane);
        lane
    }

    /// Puts an answer in its place, and moves every answer that waits for none before it to the end of `ready`.
    pub(super) fn answer(&mut self, ticket: Ticket, answer: T, ready: &mut VecDeque<T>) {
        let Some(lane) = self.lanes.get_mut(ticket.lane) else { return };
        let at = usize::try_from(ticket.number.saturating_sub(lane.first)).unwrap_or(usize::MAX);
        if let Some(place) = lane.places.get_mut(at) {
            *place = Some(answer);
        }
        while let Some(front) = lane.places.front_mut() {
            let Some(answer) = front.take() else { return };
            ready.push_back(answer);
            lane.places.pop_front();
            lane.first += 1;
            self.places -= 1;
        }
        // Nothing holds a ticket of the lane any more.
        if let Some(about) = lane.about.take() {
            self.by_about.remove(&about);
            self.free.push(ticket.lane);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn about(partition: u32) -> About {
        About { topic: "t".to_owned(), partition: (partition > 0).then_some(partition) }
    }

    proptest! {
        /// Requests are read and answered in any order: each answer comes as soon as those before it about the same
        /// partition are there, and never sooner.
        #[test]
        fn answers_about_one_partition_come_in_order(
            acts in prop::collection::vec((0_u32..4, any::<prop::sample::Index>(), any::<bool>()), 0..200),
        ) {
            let (mut order, mut ready) = (AnswerOrder::default(), VecDeque::new());
            // The naive way: what is open of each partition, answered or not, in order.
            let mut open: Vec<(Ticket, u32, u64, bool)> = Vec::new();
            let mut next = 0_u64;
            for (partition, which, reads) in acts {
                if reads || open.iter().all(|(.., answered)| *answered) {
                    open.push((order.place(about(partition)), partition, next, false));
                    next += 1;
                    continue;
                }
                let waiting: Vec<_> = (0..open.len()).filter(|at| !open[*at].3).collect();
                let at = waiting[which.index(waiting.len())];
                open[at].3 = true;
                order.answer(open[at].0, open[at].2, &mut ready);
                let partition = open[at].1;
                let mut expected = Vec::new();
                while let Some(first) = open.iter().position(|(_, of, ..)| *of == partition)
                    && open[first].3
                {
                    expected.push(open.remove(first).2);
                }
                prop_assert_eq!(ready.drain(..).collect::<Vec<_>>(), expected);
                prop_assert_eq!(order.len(), open.len());
            }
        }
    }

    #[test]
    fn a_stream_costs_as_many_lanes_as_it_has_partitions_in_flight() {
        let (mut order, mut ready) = (AnswerOrder::default(), VecDeque::new());
        for partition in 0..1_000 {
            let ticket = order.place(about(partition));
            order.answer(ticket, (), &mut ready);
        }
        assert_eq!((order.lanes.len(), order.by_about.len(), order.len()), (1, 0, 0));
    }
}

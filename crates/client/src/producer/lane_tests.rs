use bytes::Bytes;
use corduroy_types::{PartitionIndex, TopicName};

use super::*;

use crate::{
    producer::{delivery::Ticket, queues::QueueList, topic::TopicQueues},
    topics::TopicInfo,
};

fn lane() -> Lane {
    let info = TopicInfo {
        name: TopicName::new("t").unwrap(),
        id: None,
        partition_count: 1,
        max_message_bytes: 1000,
        learned_at: Instant::now(),
    };
    let list = QueueList::default();
    let _topic = TopicQueues::new(Arc::new(info), &list);
    Lane::new(list.all().remove(0))
}

fn sealed(place: u64) -> Sealed {
    Sealed {
        bytes: Bytes::new(),
        ticket: Arc::new(Ticket::new(TopicName::new("t").unwrap(), PartitionIndex(0))),
        record_count: 1,
        held_bytes: 0,
        created: Instant::now(),
        place,
        producer: ProducerFields::NONE,
        outcome: Outcome::NotWritten,
    }
}

/// Every combination of answers to four batches in flight, in every order: what is written afterwards, retries
/// included, is in the order of acceptance, and everything else was handed back.
#[test]
fn whatever_is_refused_the_log_keeps_the_order_of_acceptance() {
    for refused in 0_u32..16 {
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2]] {
            let mut lane = lane();
            for correlation_id in 0..4 {
                let sealed = sealed(lane.next_place());
                lane.in_flight.push_back(Flight { correlation_id, sealed });
            }
            let mut log: Vec<u64> = (0..4).filter(|n| refused & (1 << n) == 0).map(|n| n + 1).collect();
            let mut back = Vec::new();
            for n in order {
                assert!(lane.may_send(Instant::now(), 100) || refused != 0);
                let batch = lane.land(n).unwrap();
                if refused & (1 << n) == 0 {
                    lane.written(batch.place);
                } else {
                    lane.retry_later(batch);
                    assert!(!lane.may_send(Instant::now(), 100), "nothing may pass a refused batch");
                }
                back.extend(lane.recover(Instant::now(), false).into_iter().map(|b| b.place));
            }
            while let Again::Send(again) = lane.take_again() {
                log.push(again.place);
            }
            assert!(log.is_sorted(), "refused {refused:04b}: {log:?}");
            let mut all: Vec<_> = log.iter().chain(&back).copied().collect();
            all.sort_unstable();
            assert_eq!(all, [1, 2, 3, 4], "refused {refused:04b}");
            assert!(lane.is_empty());
        }
    }
}
